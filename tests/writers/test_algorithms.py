"""Owners, managers and writers with keys of every algorithm that the identity table allows."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from typing import Any

import psycopg
import pytest
from psycopg.types.json import Json

from kit.db import Db, Server
from kit.example import Owner
from kit.ml_dsa import PRIVATE
from kit.server import SERVER_PACKAGES
from kit.writers import Writer, card, grant, link_of, revocation, tables
from rowseal.client import SigningKey

KEYS: dict[str, Callable[[], Any]] = {
    "ed25519": SigningKey.generate,
    **{name: private.generate for name, private in PRIVATE.items()},
}
ml_dsa = pytest.mark.skipif(
    not (SERVER_PACKAGES / "cryptography").is_dir(), reason="the server has no ML-DSA"
)


class House:
    """An owner, a manager whom he let in, and a writer whom the manager let in."""

    def __init__(self, db: Db, owner: str, manager: str, writer: str):
        self.db, self.forms = db, {t: db.form(t) for t in ("grants", "t")}
        self.owner = Writer(Owner("Ann", KEYS[owner]()))
        self.manager = Writer(self.owner.owner, KEYS[manager]())
        self.writer = Writer(self.owner.owner, KEYS[writer]())
        card(db, self.owner.owner)

    def sealed(self, who: Writer, table: str, **row: Any) -> dict[str, Any]:
        return who.sealed(self.forms[table], row)

    def put(self, who: Writer, table: str, **row: Any) -> dict[str, Any]:
        sealed = self.sealed(who, table, **row)
        self.db.insert(table, sealed)
        return sealed


def restored(server: Server, database: str) -> str:
    """A fresh database with what pg_dump says of another one."""
    pg_config = os.environ.get("PG_CONFIG", "pg_config")
    bindir = subprocess.run([pg_config, "--bindir"], capture_output=True, text=True, check=True)
    fresh = server.database("template0")
    where = ["-h", server.host, "-p", str(server.port), "-U", "postgres"]
    path = bindir.stdout.strip()
    dump = subprocess.run([f"{path}/pg_dump", *where, database], capture_output=True, check=True)
    load = [f"{path}/psql", *where, "-X", "-q", "-v", "ON_ERROR_STOP=1", fresh]
    subprocess.run(load, input=dump.stdout, capture_output=True, check=True)
    return fresh


@ml_dsa
@pytest.mark.parametrize("layout", ["two tables", "one table"])
@pytest.mark.parametrize("writer", KEYS)
@pytest.mark.parametrize("above", ["ml-dsa-65", "ml-dsa-87"])
def test_grant_write_revoke_restore(
    server: Server, database: str, db: Db, layout: str, above: str, writer: str
) -> None:
    db.run(tables(layout, feed=True, ml_dsa=True))
    h = House(db, above, above, writer)
    h.put(h.owner, "grants", **grant(h.manager, may_grant=1))
    # held first: below, a hash stands for what no index can hold
    early = h.sealed(h.writer, "t", key="early", owner_timestamp=1)
    sent = [dict(early)]
    assert [o for o, _ in db.apply("t", [_envelope(h, h.writer, s) for s in sent])] == ["deferred"]
    h.put(h.manager, "grants", **grant(h.writer))
    h.put(h.manager, "t", key="k", owner_timestamp=1)
    h.put(h.writer, "t", key="k", owner_timestamp=2)
    late = h.sealed(h.writer, "t", key="late", owner_timestamp=3)
    assert db.insert("t", late) == 1
    tips = "t_tips" if layout == "one table" else "t"
    keys = f"SELECT key FROM {tips} ORDER BY 1"
    assert db.all(keys) == ["early", "k", "late"]
    h.put(h.owner, "grants", **revocation(h.writer, [link_of(early)]))
    assert db.all(f"SELECT key, owner_timestamp FROM {tips} ORDER BY 1") == [("early", 1), ("k", 1)]
    fresh = restored(server, database)
    with server.connect(fresh, "app") as c:
        there = Db(c)
        assert there.all("SELECT * FROM rowseal.verify('t')") == []
        h.db = there
        h.put(h.manager, "t", key="after", owner_timestamp=4)
        with pytest.raises(psycopg.Error, match="frontier"):
            h.put(h.writer, "t", key="after", owner_timestamp=5)
        assert there.all(keys) == ["after", "early", "k"]
    server.drop(fresh)


def _envelope(h: House, who: Writer, sealed: dict[str, Any]) -> dict[str, Any]:
    import base64
    import json

    payload = h.forms["t"].payload_of({k: v for k, v in sealed.items() if k != "sign_b64"})
    signature = base64.b64encode(sealed["sign_b64"]).decode()
    return {**json.loads(payload), "sign_b64": signature}


@ml_dsa
@pytest.mark.parametrize("algorithm", PRIVATE)
def test_a_row_below_a_missing_one_waits_for_it_and_its_writer_can_be_revoked(
    db: Db, algorithm: str
) -> None:
    db.run(tables(ml_dsa=True))
    h = House(db, algorithm, algorithm, algorithm)
    h.put(h.owner, "grants", **grant(h.writer))
    first = h.sealed(h.writer, "t", key="a", owner_timestamp=1)
    second, third = (h.put(h.writer, "t", key=k, owner_timestamp=2) for k in "bc")
    h.put(h.owner, "grants", **revocation(h.writer, [link_of(second)]))
    assert db.all("SELECT key FROM t") == ["b"] and third["key"] == "c"
    assert db.insert("t", first) == 1
    assert db.all("SELECT key FROM t ORDER BY 1") == ["a", "b"]


STRANGE = [
    pytest.param(lambda: PRIVATE["ml-dsa-65"].generate(), id="ml-dsa-65"),
    pytest.param(lambda: PRIVATE["ml-dsa-87"].generate(), id="ml-dsa-87"),
]


@pytest.mark.parametrize("key", STRANGE)
def test_a_key_that_the_identity_table_does_not_allow_lets_nobody_in(
    db: Db, key: Callable[[], Any]
) -> None:
    """Else such a writer's tip could never be overwritten: no other signature is as long."""
    db.run(tables())
    h = House(db, "ed25519", "ed25519", "ed25519")
    h.manager = Writer(h.owner.owner, key())
    granted = h.sealed(h.owner, "grants", **grant(h.manager))
    with pytest.raises(psycopg.Error, match="the key of a writer is none of ed25519") as error:
        db.insert("grants", granted)
    assert error.value.sqlstate == "RS013" and error.value.diag.message_hint
    row = h.sealed(h.manager, "t", key="k", owner_timestamp=1)
    with pytest.raises(psycopg.Error, match="the key of a writer is none of ed25519") as error:
        db.insert("t", row)
    assert error.value.sqlstate == "RS013"
    outcomes = db.all(
        "SELECT outcome FROM rowseal.receive(%s)", Json([_envelope(h, h.manager, row)])
    )
    assert outcomes == ["rejected"] and db.all("SELECT * FROM rowseal.writers") == []


@pytest.mark.parametrize("length", [0, 31, 33, 64])
def test_what_is_no_key_is_granted_nothing(db: Db, length: int) -> None:
    db.run(tables())
    h = House(db, "ed25519", "ed25519", "ed25519")
    h.writer.public_key = bytes(length)
    with pytest.raises(psycopg.Error, match="the key of a writer is none of ed25519"):
        h.put(h.owner, "grants", **grant(h.writer))
