"""Signatures: every provider of the server gives libsodium's verdict."""

from __future__ import annotations

import base64
import json
import os
from collections.abc import Iterator
from typing import Any

import pytest

from kit.db import Db, Server
from kit.ed25519 import VECTORS, Vector, torsion
from kit.example import EXAMPLE, Owner
from rowseal.client import SigningKey
from rowseal.form.signature import pynacl, verifier

VERDICTS = """
CREATE FUNCTION verdicts(provider text, vectors text) RETURNS text[] LANGUAGE plpython3u AS $$
import json
from base64 import b64decode
plpy.execute("SELECT rowseal._load()")
server, signature = GD["rowseal"]("server"), GD["rowseal"]("form.signature")
verify = server._pgsodium(plpy) if provider == "pgsodium" else signature.pynacl()
if verify is None:
    return None
verify = signature.verifier(verify)
out = []
for vector in json.loads(vectors):
    try:
        out.append(str(verify(*map(b64decode, vector))))
    except Exception as e:
        out.append(type(e).__name__)
return out
$$"""


def verdicts(db: Db, provider: str, vectors: list[Vector]) -> list[str]:
    packed = json.dumps(
        [[base64.b64encode(x).decode() for x in (v.signature, v.message, v.key)] for v in vectors]
    )
    return db.one("SELECT verdicts(%s, %s)", provider, packed)  # type: ignore[no-any-return]


@pytest.fixture(scope="module")
def sodium(server: Server) -> Iterator[str]:
    """A database with the extension pgsodium."""
    with server.connect("postgres") as c:
        if not Db(c).all("SELECT FROM pg_available_extensions WHERE name = 'pgsodium'"):
            pytest.skip(
                "the extension pgsodium is not available to this server: its provider is"
                " untested here"
            )
    database = server.database()
    with server.connect(database) as c:
        # without it every ALTER TABLE fails where pgsodium is not in shared_preload_libraries
        c.execute(f"ALTER DATABASE {database} SET pgsodium.enable_event_trigger = 'on'")
    with server.connect(database) as c:
        c.execute("CREATE EXTENSION IF NOT EXISTS pgsodium")
        c.execute(VERDICTS)
    yield database
    server.drop(database)


@pytest.fixture(scope="module", params=["PyNaCl", "pgsodium"])
def provider(request: pytest.FixtureRequest, server: Server) -> Iterator[tuple[str, Db]]:
    if request.param == "pgsodium":
        with server.connect(request.getfixturevalue("sodium")) as c:
            yield request.param, Db(c)
        return
    if os.environ.get("ROWSEAL_PGSODIUM"):
        pytest.skip("pgsodium is in every database")
    database = server.database()
    with server.connect(database) as c:
        c.execute(VERDICTS)
        yield request.param, Db(c)
    server.drop(database)


def test_the_servers_providers_give_the_right_verdict_on_every_vector(
    provider: tuple[str, Db],
) -> None:
    name, db = provider
    assert db.one("SELECT rowseal._provider()").startswith(name)
    answers = verdicts(db, name, VECTORS)
    assert [(v.what, a) for v, a in zip(VECTORS, answers, strict=True) if a != str(v.valid)] == []


def test_all_providers_agree_on_components_of_small_order(provider: tuple[str, Db]) -> None:
    verify, vectors = verifier(pynacl()), torsion()
    assert verdicts(provider[1], provider[0], vectors) == [
        str(verify(v.signature, v.message, v.key)) for v in vectors
    ]


def test_what_guards_call_gives_the_same_verdicts(sodium: str, server: Server) -> None:
    vectors = [v for v in VECTORS + torsion() if (len(v.signature), len(v.key)) == (64, 32)]
    verify = verifier(pynacl())
    with server.connect(sodium, "mallory") as c:
        answers = [
            Db(c).one("SELECT rowseal._verified(%s, %s, %s)", v.signature, v.message, v.key)
            for v in vectors
        ]
    assert len(vectors) > 100 and answers == [
        verify(v.signature, v.message, v.key) for v in vectors
    ]


def test_guards_take_pgsodium_when_it_comes_and_leave_it_when_it_goes(
    sodium: str, server: Server, database: str
) -> None:
    """``sodium`` for its check that the extension is there."""
    with server.connect("postgres") as c:
        c.execute(f"ALTER DATABASE {database} SET pgsodium.enable_event_trigger = 'on'")
    with server.connect(database) as c:
        db, ann = Db(c), Owner("Ann")
        db.run("DROP EXTENSION IF EXISTS pgsodium")
        db.run(EXAMPLE)
        form = db.form("user_storage")
        db.insert("user_cards", ann.sealed(db.form("user_cards"), ann.card()))
        bound = "SELECT probin IS NOT NULL FROM pg_proc WHERE oid = 'rowseal._verified'::regproc"
        for change, now in (
            ("SELECT", False),
            ("CREATE EXTENSION pgsodium", True),
            ("DROP EXTENSION pgsodium", False),
            ("CREATE EXTENSION pgsodium", True),
        ):
            db.run(change)
            assert (db.one(bound), db.all('SELECT "check" FROM rowseal.health() WHERE NOT ok')) == (
                now,
                [],
            )
            row = ann.sealed(form, ann.value(b"genuine"))
            assert db.insert("user_storage", row) == 1
            forged = {**row, "value_b64": b"forged", "owner_timestamp": row["owner_timestamp"] + 1}
            db.refused(
                "RS001",
                f"INSERT INTO user_storage ({', '.join(forged)})"
                f" VALUES ({', '.join(['%s'] * len(forged))})",
                *forged.values(),
            )
            assert db.all("SELECT * FROM rowseal.verify('user_storage')") == []
        # somebody with the rights of a superuser replaces it: evident, and put right
        db.run(
            "CREATE OR REPLACE FUNCTION rowseal._verified(signature bytea, message bytea,"
            " public_key bytea) RETURNS boolean LANGUAGE sql IMMUTABLE AS 'SELECT true'"
        )
        assert db.all('SELECT "check" FROM rowseal.health() WHERE NOT ok') == ["pgsodium"]
        db.run("SELECT rowseal._bind()")
        assert (db.one(bound), db.all("SELECT FROM rowseal.health() WHERE NOT ok")) == (True, [])


BAD = [v for v in VECTORS if not v.valid and len(v.key) == 32][::40] + [
    v for v in VECTORS if len(v.key) != 32 or len(v.signature) != 64
]


@pytest.mark.parametrize("name", ["PyNaCl", "pgsodium"])
def test_a_declared_table_refuses_them_as_it_refuses_any_signature(
    name: str, request: pytest.FixtureRequest, server: Server
) -> None:
    database = request.getfixturevalue("sodium") if name == "pgsodium" else server.database()
    with server.connect(database, "app") as c:
        db = Db(c)
        db.run(
            "CREATE TABLE IF NOT EXISTS edge (h bytea PRIMARY KEY, k bytea,"
            " deleted_flag boolean, owner_timestamp bigint, sign_b64 bytea)"
        )
        db.run(
            "SELECT rowseal.declare('edge', owner => 'h', public_key => 'k', if_not_exists => true)"
        )
        for vector in BAD:
            db.refused(
                "RS001",
                "INSERT INTO edge VALUES ('x', %s, false, 1, %s)",
                vector.key,
                vector.signature,
            )
        assert db.all("SELECT * FROM edge") == []
    if name == "PyNaCl":
        server.drop(database)


def test_an_ordinary_user_works_end_to_end_with_pgsodium(sodium: str, server: Server) -> None:
    with server.connect(sodium, "app") as c:
        db = Db(c)
        assert db.one("SELECT rowseal._provider()").startswith("pgsodium ")
        db.run(EXAMPLE)
        ann = Owner("Ann")
        form = db.form("user_storage")
        db.insert("user_cards", ann.sealed(db.form("user_cards"), ann.card()))
        first = ann.value(b"one")
        second = {**first, "value_b64": b"two", "owner_timestamp": next(ann.clock)}
        assert db.insert("user_storage", ann.sealed(form, first)) == 1
        db.insert("user_storage", ann.sealed(form, second))
        db.refused(
            "RS001",
            "UPDATE user_storage SET value_b64 = 'forged', owner_timestamp = owner_timestamp + 1",
        )
        assert db.all("SELECT value_b64 FROM user_storage") == [b"two"]
        assert db.all("SELECT value_b64 FROM user_storage_versions") == [b"one"]
        for table in ("user_cards", "user_storage"):
            assert db.all("SELECT * FROM rowseal.verify(%s)", table) == []


LIE = """
    CREATE SCHEMA pgsodium;
    CREATE FUNCTION pgsodium.crypto_sign_verify_detached(bytea, bytea, bytea) RETURNS boolean
        LANGUAGE sql AS 'SELECT true';
    GRANT USAGE ON SCHEMA pgsodium TO PUBLIC;
"""


@pytest.mark.skipif("ROWSEAL_PGSODIUM" in os.environ, reason="pgsodium is in every database")
def test_a_schema_called_pgsodium_is_not_the_extension(database: str, server: Server) -> None:
    with server.connect(database) as c:
        c.execute(f"GRANT CREATE ON DATABASE {database} TO mallory")
    with server.connect(database, "mallory") as c:
        c.execute(LIE)
    with server.connect(database, "app") as c:
        db = Db(c)
        assert db.one("SELECT rowseal._provider()").startswith("PyNaCl ")
        db.run(
            "CREATE TABLE t (h bytea PRIMARY KEY, k bytea, deleted_flag boolean,"
            " owner_timestamp bigint, sign_b64 bytea)"
        )
        db.run("SELECT rowseal.declare('t', owner => 'h', public_key => 'k')")
        db.refused(
            "RS001", "INSERT INTO t VALUES ('x', %s, false, 1, %s)", Owner().public_key, bytes(64)
        )


def test_functions_beside_the_extensions_own_are_not_used(sodium: str, server: Server) -> None:
    """A better match by name cannot come between: the schema is not writable,
    the search path has pg_catalog alone.
    """
    with server.connect(sodium, "mallory") as c:
        db = Db(c)
        db.refused(
            "42501",
            "CREATE FUNCTION pgsodium.crypto_sign_verify_detached(bytea, bytea, text)"
            " RETURNS boolean LANGUAGE sql AS 'SELECT true'",
        )
        db.run(
            "CREATE FUNCTION pg_temp.crypto_sign_verify_detached(bytea, bytea, bytea)"
            " RETURNS boolean LANGUAGE sql AS 'SELECT true'"
        )
        assert not db.one("SELECT rowseal._verified(%s, 'm', %s)", bytes(64), Owner().public_key)


def test_the_verifying_function_is_open_to_everybody_and_only_verifies(
    sodium: str, server: Server
) -> None:
    with server.connect(sodium, "mallory") as c:
        db = Db(c)
        key = SigningKey(bytes(32))
        signature: Any = key.sign(b"m").signature
        assert db.one("SELECT rowseal._verified(%s, 'm', %s)", signature, bytes(key.verify_key))
        assert not db.one(
            "SELECT rowseal._verified(%s, 'other', %s)", signature, bytes(key.verify_key)
        )
