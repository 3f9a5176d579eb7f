"""To undeclare tables and declare them again changes nothing of what counts, now or later."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import pytest
from psycopg.types.json import Json

from kit.db import Db
from kit.example import Owner
from kit.writers import Writer, card, grant, revocation, tables
from rowseal.client import SigningKey

KEYS = "SELECT key FROM t ORDER BY 1"


def declare_again(db: Db, between: Callable[[], object] = lambda: None) -> None:
    options = "owner => 'user_hash', identity => 'cards'"
    db.run("SELECT rowseal.undeclare('t'), rowseal.undeclare('u')")
    db.run("SELECT rowseal.undeclare('grants')")
    between()
    db.run(f"SELECT rowseal.declare('grants', {options}, grants => true)")
    for table in "tu":
        db.run(
            f"SELECT rowseal.declare('{table}', {options}, writers => 'grants',"
            f" versions => '{table}_versions')"
        )


class Cast:
    def __init__(self, db: Db, keys: str):
        db.run(tables() + "; ALTER TABLE t ADD CHECK (key <> 'bad')")
        self.db = db
        grants, t = db.form("grants"), db.form("t")
        ann = Writer(Owner("Ann"))
        device = Writer(ann.owner, SigningKey.generate())
        card(db, ann.owner)
        rows, links = [], []
        for key in keys.split():
            rows.append(device.envelope(t, {"key": key, "owner_timestamp": 1}))
            links.append([device.last or b""])
        self.receive(ann.envelope(grants, grant(device)), *rows)
        self.rows = rows
        self.revoke = [
            lambda n=n: self.receive(ann.envelope(grants, revocation(device, links[n], at=n + 8)))
            for n in range(len(rows))
        ]

    def receive(self, *envelopes: Any) -> list[str]:
        return self.db.all("SELECT outcome FROM rowseal.receive(%s)", Json(list(envelopes)))


def test_a_held_link_is_still_one(db: Db, admin: Db) -> None:
    c = Cast(db, "a bad c")
    c.revoke[2]()
    assert db.all(KEYS) == ["a", "c"]
    declare_again(db)
    assert db.all(KEYS) == ["a", "c"]
    assert admin.all("SELECT seq FROM rowseal._writer_rows ORDER BY 1") == [1, 2, 3]
    assert db.all("SELECT * FROM rowseal.verify('grants')") == []


@pytest.mark.parametrize("bodies", ["kept", "dropped", "dropped while undeclared"])
def test_a_second_revocation_is_walked_through_what_the_first_has_ended(
    db: Db, admin: Db, bodies: str
) -> None:
    c = Cast(db, "a b c")
    c.revoke[0]()
    assert db.all(KEYS) == ["a"]
    if bodies == "dropped":
        admin.run("SELECT rowseal.discard(array_agg(id)) FROM rowseal.quarantine")
    drop = "SELECT rowseal.discard(array_agg(id)) FROM rowseal.quarantine"
    declare_again(db, lambda: admin.run(drop) if bodies == "dropped while undeclared" else None)
    assert db.all(KEYS) == ["a"]
    c.revoke[2]()  # both are walked to number 1: what stands under both counts
    assert db.all(KEYS) == ["a"]
    assert admin.one("SELECT count(*) FROM rowseal._wanted") == 0
    assert db.all("SELECT * FROM rowseal.verify('grants')") == []
    assert admin.one("SELECT count(*) FROM rowseal._dead_rows") == 0


def test_links_are_not_handed_on_to_somebody_elses_table(db: Db, admin: Db) -> None:
    c = Cast(db, "a b c")
    c.revoke[0]()
    admin.run("SELECT rowseal.discard(array_agg(id)) FROM rowseal.quarantine")
    db.run("SELECT rowseal.undeclare('t'), rowseal.undeclare('u')")
    db.run("SELECT rowseal.undeclare('grants')")
    assert admin.one("SELECT count(*) FROM rowseal._dead_rows") == 2
    db.run("CREATE TABLE mine (LIKE grants INCLUDING ALL); DROP TABLE grants")
    admin.run("ALTER TABLE mine OWNER TO mallory; GRANT SELECT ON cards TO mallory")
    admin.run(
        "SET ROLE mallory; SELECT rowseal.declare('mine', owner => 'user_hash',"
        " identity => 'cards', grants => true, tag => 'grants'); RESET ROLE"
    )
    assert admin.one("SELECT count(*) FROM rowseal._dead_rows") == 0
    assert admin.one("SELECT count(*) FROM rowseal._writer_rows WHERE held = 0") == 0


def test_no_entry_keeps_a_table_from_being_declared(db: Db, admin: Db) -> None:
    """Its owner's name is too long for the ledger's index."""
    c = Cast(db, "a")
    strange = Owner("Ann")
    strange.hash = random.Random(1).randbytes(2600)
    m = Writer(strange, SigningKey.generate())
    row = m.envelope(db.form("t"), {"key": "x", "owner_timestamp": 1})
    assert c.receive(row) == ["deferred"]
    declare_again(db)
    assert db.all(KEYS) == ["a"] and admin.one("SELECT count(*) FROM rowseal.quarantine") == 1


def test_a_table_does_not_open_without_its_grants_table(db: Db, admin: Db) -> None:
    """It opened as one without writers; their rows were refused for good, and nothing told."""
    cast = Cast(db, "a b")
    admin.run("ALTER TABLE grants OWNER TO postgres")
    admin.run("SELECT rowseal.undeclare('grants')")
    db.run("ALTER TABLE t ALTER value SET DEFAULT 1; ALTER TABLE t ALTER value DROP DEFAULT")
    closed = "SELECT queries = '{}' FROM rowseal.declarations WHERE tag = 't'"
    assert admin.one(closed) and set(cast.receive(*cast.rows)) == {"deferred"}
    admin.run("ALTER TABLE grants OWNER TO app")
    db.run("SELECT rowseal.undeclare('t'), rowseal.undeclare('u')")
    options = "owner => 'user_hash', identity => 'cards'"
    db.run(f"SELECT rowseal.declare('grants', {options}, grants => true)")
    for table in "tu":
        db.run(
            f"SELECT rowseal.declare('{table}', {options}, writers => 'grants',"
            f" versions => '{table}_versions')"
        )
    assert db.all(KEYS) == ["a", "b"] and db.all("SELECT * FROM rowseal.verify('grants')") == []
