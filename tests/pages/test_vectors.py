"""Test vectors of real declarations: whoever reads them takes the good ones alone.

The table, the Python client, JavaScript.
"""

from __future__ import annotations

import json
from base64 import b64decode
from collections.abc import Iterator
from typing import Any

import psycopg
import pytest
from nacl.signing import SigningKey
from psycopg.types.json import Json, Jsonb

from kit.db import Db, Server
from kit.example import EXAMPLE
from kit.node import node
from kit.scratch import CARD, scratch_role
from kit.values import COLUMNS, TYPES, name
from rowseal.client import Form, decode, envelope, verify
from rowseal.client.vectors import vectors

# one column of every type, in a few tables: payloads of a very wide one take their time
WIDE = {f"everything_{i}": list(COLUMNS)[i::5] for i in range(5)}
TABLES = f"""
    CREATE EXTENSION citext; CREATE EXTENSION hstore; {TYPES}
    {EXAMPLE}
    -- in text what can be; keys of several columns
    CREATE TABLE people (id text PRIMARY KEY, {CARD.replace("bytea", "text")}, born date NOT NULL,
        mood mood NOT NULL);
    SELECT rowseal.declare('people', owner => 'id', public_key => 'k',
        fingerprint => 'sha512', legacy => '{{"fingerprint_prefix": "u-"}}');
    CREATE TABLE ledger (owner text, at timestamptz(0), entry smallint,
        amount numeric(6,2) NOT NULL, what varchar(3), seen boolean DEFAULT false, gone boolean,
        stamp bigint, parent text, sign text, PRIMARY KEY (owner, at, entry, sign));
    SELECT rowseal.declare('ledger', owner => 'owner', identity => 'people', unsigned => '{{seen}}',
        tag => 'acme.ledger', columns => '{{"deleted": "gone", "timestamp": "stamp",
            "signature": "sign", "parent": "parent"}}');
"""
for _table, _columns in WIDE.items():
    _types = ", ".join(f"{name(c)} {COLUMNS[c][0]}" for c in _columns)
    TABLES += f"""
    CREATE TABLE {_table} (id bytea, {_types}, deleted_flag boolean, owner_timestamp bigint,
        parent_sign_b64 bytea, sign_b64 bytea,
        PRIMARY KEY (id, sign_b64));
    SELECT rowseal.declare('{_table}', owner => 'id', identity => 'user_cards');"""
DECLARED = ["user_cards", "user_storage", "people", "ledger", *WIDE]


@pytest.fixture(scope="module")
def shared(server: Server) -> Iterator[psycopg.Connection[Any]]:
    database = server.database()
    with server.connect(database) as c:
        c.execute(TABLES)
        yield c
    server.drop(database)


@pytest.fixture(scope="module")
def documents(shared: psycopg.Connection[Any]) -> dict[str, Any]:
    return {table: vectors(shared, table) for table in DECLARED}


db = scratch_role("postgres")
every = pytest.mark.parametrize("table", DECLARED)


def owner_of(db: Db, document: dict[str, Any]) -> None:
    """Bring the owner of the vectors, into the table of his tag."""
    if document["owner"] is not None:
        db.run("SELECT rowseal.receive(%s)", Json(document["owner"]["envelope"]))
        assert db.one("SELECT count(*) FROM rowseal.quarantine") == 0


def stored(db: Db, table: str) -> list[Any]:
    return db.all("SELECT rowseal.export(%s)", table)


@every
def test_the_table_accepts_every_good_vector(db: Db, documents: dict[str, Any], table: str) -> None:
    owner_of(db, documents[table])
    good = documents[table]["accept"]
    assert len(good) > 15
    for vector in good[:20] + good[-20:]:
        assert (
            db.one("SELECT rowseal.payload(%s, %s)", table, Jsonb(vector["envelope"]["row"]))
            == vector["payload"]
        )
    # unversioned: what is older than the current version would not be verified
    if table in ("user_cards", "people"):
        for vector in good:
            assert db.apply(table, [vector["envelope"]]) in (
                [("inserted", None)],
                [("superseded", None)],
            ), vector
    else:
        outcomes = {outcome for outcome, _ in db.apply(table, [v["envelope"] for v in good])}
        assert outcomes <= {"inserted", "superseded", "archived"}
        assert len(stored(db, table)) == len(good)
    assert db.all("SELECT * FROM rowseal.verify(%s)", table) == []


@every
def test_the_table_refuses_every_bad_vector(db: Db, documents: dict[str, Any], table: str) -> None:
    owner_of(db, documents[table])
    bad = documents[table]["refuse"]
    assert len(bad) >= 25 and len({v["what"] for v in bad}) == len(bad)
    for vector in bad:
        with db.connection.transaction(force_rollback=True):
            ((outcome, reason),) = db.apply(table, [vector["envelope"]])
            assert outcome in ("rejected", "deferred") and reason[:5] in (
                "RS001",
                "RS002",
                "RS005",
            ), vector
            assert outcome == "rejected" or "altered" in vector["what"]
            assert stored(db, table) == []
    # the same beside a row that they imitate, all together
    assert db.apply(table, [documents[table]["accept"][0]["envelope"]])[0][0] == "inserted"
    before = db.digest(table)
    db.apply(table, [v["envelope"] for v in bad])
    assert db.digest(table) == before


@every
def test_the_python_client_tells_them_apart_and_signs_the_same(
    documents: dict[str, Any], table: str
) -> None:
    document = documents[table]
    key, public_key = SigningKey(bytes.fromhex(document["seed"])), b64decode(document["public_key"])
    assert bytes(key.verify_key) == public_key
    form = Form(document["spec"]["tag"], document["spec"]["fields"])
    for vector in document["accept"]:
        assert verify(vector["envelope"], public_key), vector
        assert envelope(form, decode(form, vector["envelope"]["row"]), key) == vector["envelope"]
        assert (
            form.payload_of(decode(form, vector["envelope"]["row"])).decode() == vector["payload"]
        )
    for vector in document["refuse"]:
        assert not verify(vector["envelope"], public_key), vector
    if document["owner"]:
        assert verify(document["owner"]["envelope"], public_key)


@every
def test_javascript_tells_them_apart_and_signs_the_same(
    documents: dict[str, Any], table: str
) -> None:
    code = """
        const { spec, seed, public_key, accept, refuse } = given
        const secret = new Uint8Array(Buffer.from(seed, 'hex')), key = bytes(public_key)
        const wrong = accept.filter(({ envelope, payload: text }) =>
          !verify(envelope, key) || payload(spec, envelope.row) !== text ||
          sign(spec, envelope.row, secret).sign_b64 !== envelope.sign_b64)
        const taken = refuse.filter(({ envelope }) => verify(envelope, key))
        console.log(JSON.stringify([...wrong, ...taken].map((vector) => vector.what)))"""
    assert node(code, documents[table]) == []


def test_every_kind_has_its_edges(documents: dict[str, Any]) -> None:
    seen: dict[str, set[str]] = {}
    for document in (documents[table] for table in WIDE):
        assert document["without_value"] == []
        assert len({v["payload"] for v in document["accept"]}) == len(document["accept"])
        for vector in document["accept"]:
            for field, value in vector["envelope"]["row"].items():
                seen.setdefault(field, set()).add(json.dumps(value))
    assert {f for f in COLUMNS if len(seen[f]) < 2} == set()
    assert {"-9223372036854775808", "9223372036854775807", "9007199254740993"} <= {
        json.loads(v) for v in seen["bigint"]
    }
    for field, value in [
        ("double", '"-0"'),
        ("double", "5e-324"),
        ("double", '"NaN"'),
        ("real", "0.10000000149011612"),
        ("jsonb", "null"),
        ("text", '""'),
        ("timestamptz", '"infinity"'),
        ("time", '"24:00:00.000000"'),
        ("bytea", '""'),
        ("numeric", '"-Infinity"'),
        ("integers", "[null]"),
        ("jsonbs", "[[]]"),
        ("composite", "{}"),
    ]:
        assert value in seen[field], field


def test_they_are_the_same_each_time_and_nothing_is_stored(
    shared: psycopg.Connection[Any], documents: dict[str, Any]
) -> None:
    assert vectors(shared, "ledger") == documents["ledger"]
    assert shared.execute(
        "SELECT (SELECT count(*) FROM ledger), (SELECT count(*) FROM rowseal.quarantine)"
    ).fetchone() == (0, 0)
    shared.execute("SET SESSION AUTHORIZATION mallory")  # who has no right on the table
    try:
        assert vectors(shared, "ledger") == documents["ledger"]
    finally:
        shared.execute("SET SESSION AUTHORIZATION postgres")
    with pytest.raises(ValueError, match="not declared"):
        vectors(shared, "pg_class")
