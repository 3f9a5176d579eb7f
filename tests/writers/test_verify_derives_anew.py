"""verify and health believe nothing that is derived: what a superuser, or an edited dump, puts
beside the signed rows is shown.
"""

from __future__ import annotations

from typing import Any

import psycopg
import pytest
from psycopg.types.json import Json

from kit.db import Db, Server
from kit.example import Owner
from kit.writers import Writer, card, grant, link_of, revocation, tables
from rowseal.client import SigningKey


class Cast:
    """An owner, a manager, and a device that the manager let in; both have written."""

    def __init__(self, db: Db):
        db.run(tables())
        self.db, self.forms = db, {t: db.form(t) for t in ("grants", "t", "u")}
        self.owner = Writer(Owner("Ann"))
        self.manager, self.device, self.stranger = (
            Writer(self.owner.owner, SigningKey.generate()) for _ in range(3)
        )
        card(db, self.owner.owner)
        self.put(self.owner, "grants", **grant(self.manager, may_grant=1))
        self.let_in = self.put(self.manager, "grants", **grant(self.device))
        self.put(self.manager, "u", key="between", owner_timestamp=1)
        self.last = self.put(self.manager, "t", key="m", owner_timestamp=1)
        self.first = self.put(self.device, "t", key="d", owner_timestamp=1)
        self.put(self.device, "t", key="e", owner_timestamp=2)

    def put(self, who: Writer, table: str, **row: Any) -> dict[str, Any]:
        sealed = who.sealed(self.forms[table], row)
        self.db.insert(table, sealed)
        return sealed

    def revoke(self, who: Writer, *upto: dict[str, Any]) -> None:
        self.put(self.owner, "grants", **revocation(who, [link_of(row) for row in upto]))


def problems(db: Db, table: str) -> set[str]:
    return set(db.all("SELECT problem FROM rowseal.verify(%s) WHERE sqlstate = 'RS020'", table))


def unwell(db: Db) -> list[Any]:
    return db.all('SELECT "check" FROM rowseal.health() WHERE NOT ok')


LIES = {
    "INSERT INTO rowseal._licences SELECT authority, %s, chain, until, true, 0, '{}'"
    " FROM rowseal._licences LIMIT 1": "licences do not follow from the grants",
    "UPDATE rowseal._licences SET until = 1000": "licences do not follow from the grants",
    "DELETE FROM rowseal._licences WHERE writer <> %s": "licences do not follow from the grants",
    "INSERT INTO rowseal._grants (authority, sign, at, grantee, tombstones, until, may_grant)"
    " SELECT authority, 'x', 1, %s, true, 100, 0 FROM rowseal._grants LIMIT 1": (
        "grants are kept that are not those in the table"
    ),
    "UPDATE rowseal._grants SET until = 10": "grants are kept that are not those in the table",
    "DELETE FROM rowseal._grants": "grants are kept that are not those in the table",
    "INSERT INTO rowseal._stands SELECT g.id, sha256(%s) FROM rowseal._grants g"
    " WHERE upto IS NOT NULL": "the walk of a revocation does not follow from the rows",
    "INSERT INTO rowseal._wanted SELECT g.id, g.authority, g.grantee, NULL, sha256(%s)"
    " FROM rowseal._grants g WHERE upto IS NOT NULL": (
        "the walk of a revocation does not follow from the rows"
    ),
    "DELETE FROM rowseal._stands": "the walk of a revocation does not follow from the rows",
    "UPDATE rowseal._authority SET revocations = false": (
        "a revocation is kept as if there were none"
    ),
}


@pytest.mark.parametrize("lie", LIES, ids=lambda s: s[:40])
def test_what_was_changed_underneath_is_shown(db: Db, admin: Db, lie: str) -> None:
    c = Cast(db)
    c.revoke(c.device, c.first)
    assert (problems(db, "t"), problems(db, "grants"), unwell(db)) == (set(), set(), [])
    admin.run(lie, *([c.stranger.public_key] if "%s" in lie else []))
    assert LIES[lie] in problems(db, "t") and LIES[lie] in problems(db, "grants")
    assert "derived" in unwell(db)


def test_rows_that_row_security_hides_are_no_finding(db: Db, server: Server, database: str) -> None:
    c = Cast(db)
    c.revoke(c.device, c.first)
    db.run(
        "ALTER TABLE grants ENABLE ROW LEVEL SECURITY;"
        " CREATE POLICY none ON grants USING (false);"
        " GRANT SELECT ON cards, grants, t, t_versions, u, u_versions TO mallory"
    )
    with server.connect(database, "mallory") as connection:
        hers = Db(connection)
        assert (problems(hers, "t"), problems(hers, "grants"), unwell(hers)) == (set(), set(), [])


def test_a_held_row_that_nobody_signed_is_shown(db: Db, admin: Db) -> None:
    c = Cast(db)
    admin.run(
        "INSERT INTO rowseal._writer_rows SELECT id, %s, 1, sha256('x'), NULL, 0, true, 'x'"
        " FROM rowseal._authority",
        c.stranger.public_key,
    )
    assert problems(db, "grants") == {"the ledger has a held row that nobody signed"}
    admin.run(
        "DELETE FROM rowseal._writer_rows WHERE held IS NULL AND writer = %s AND seq = 1",
        c.device.public_key,
    )
    assert "a stored row is not in the ledger" in problems(db, "grants")


def test_a_held_row_that_the_ledger_lacks_is_shown(db: Db, admin: Db) -> None:
    """No grant would let it in, and no walk find it."""
    c = Cast(db)
    sent = c.stranger.envelope(c.forms["t"], {"key": "s", "owner_timestamp": 1})
    assert db.apply("t", [sent])[0][0] == "deferred"
    assert problems(db, "t") == set() and unwell(db) == []
    admin.run("DELETE FROM rowseal._writer_rows WHERE writer = %s", c.stranger.public_key)
    for table in ("t", "grants"):
        assert problems(db, table) == {"a held row is not in the ledger"}
    assert unwell(db) == ["derived"]
    db.run(
        "SELECT rowseal.undeclare('t'); SELECT rowseal.declare('t', owner => 'user_hash',"
        " identity => 'cards', writers => 'grants', versions => 't_versions')"
    )
    assert problems(db, "t") == set() and unwell(db) == []


def test_a_stranger_whom_an_edited_dump_lets_in_is_shown(
    server: Server, database: str, db: Db, admin: Db
) -> None:
    from test_algorithms import restored

    c = Cast(db)
    admin.run(
        "INSERT INTO rowseal._licences SELECT authority, %s, chain, until, true, 0, '{}'"
        " FROM rowseal._licences LIMIT 1",
        c.stranger.public_key,
    )
    fresh = restored(server, database)
    with server.connect(fresh, "app") as connection:
        c.db = there = Db(connection)
        c.put(c.stranger, "t", key="in Ann's name", owner_timestamp=5)
        assert problems(there, "t") == {"licences do not follow from the grants"}
        assert unwell(there) == ["derived"]
        # and this derives it anew
        there.run("SELECT rowseal.undeclare('t'), rowseal.undeclare('u')")
        there.run("SELECT rowseal.undeclare('grants')")
        with pytest.raises(psycopg.Error, match="no grant for this writer"):
            declare(there)
    server.drop(fresh)


def declare(db: Db, *tags: str) -> None:
    for statement in tables().split("; "):
        if any(f"declare('{tag}'" in statement for tag in tags or ("grants", "t", "u")):
            db.run(statement)


@pytest.mark.parametrize("order", ["tu", "ut"])
def test_a_manager_who_wrote_data_in_between_is_no_reason_to_refuse(db: Db, order: str) -> None:
    """Below the frontier his grant waits for rows of tables that are declared after."""
    c = Cast(db)
    c.revoke(c.manager, c.last)
    before = [db.digest(t) for t in ("grants", "t", "u")]
    rows = db.all("SELECT writer, rows, held, missing FROM rowseal.writers ORDER BY writer")
    db.run("SELECT rowseal.undeclare('t'), rowseal.undeclare('u')")
    db.run("SELECT rowseal.undeclare('grants')")
    declare(db, "grants")
    for tag in order:
        declare(db, tag)
    assert [db.digest(t) for t in ("grants", "t", "u")] == before
    assert db.all("SELECT writer, rows, held, missing FROM rowseal.writers ORDER BY writer") == rows
    assert [
        p for t in ("grants", "t", "u") for p in db.all("SELECT * FROM rowseal.verify(%s)", t)
    ] == []
    assert unwell(db) == []


def held(c: Cast, who: Writer, **place: Any) -> None:
    envelope = who.envelope(c.forms["t"], {"key": "x", "owner_timestamp": 1}, **place)
    c.db.all("SELECT * FROM rowseal.receive(%s)", Json([envelope]))


def test_a_held_row_of_a_table_that_is_not_declared_is_no_finding(db: Db, admin: Db) -> None:
    """Who signed it cannot be told meanwhile; that it is the link that the ledger knows, can."""
    c = Cast(db)
    held(c, c.stranger)
    db.run("SELECT rowseal.undeclare('t')")
    assert (problems(db, "grants"), unwell(db)) == (set(), [])
    finding = {"the ledger has a held row that nobody signed"}
    admin.run("UPDATE rowseal._writer_rows SET link = sha256('x') WHERE held IS NOT NULL")
    assert (problems(db, "grants"), unwell(db)) == (finding, ["derived"])
    with pytest.raises(psycopg.Error, match="a held row that nobody signed"):
        declare(db, "t")


def test_numbers_are_missed_of_keys_alone_that_a_grant_names(db: Db) -> None:
    c = Cast(db)
    held(c, c.stranger, number=2**62, previous=bytes(32))
    assert unwell(db) == []
    c.put(c.owner, "grants", **grant(c.stranger, at=2))
    assert unwell(db) == ["writers"]


def test_a_check_that_fails_is_not_ok_and_hides_no_other(db: Db, admin: Db) -> None:
    c = Cast(db)
    c.revoke(c.device, c.first)
    whole = db.all('SELECT "check", relation::text FROM rowseal.health()')
    admin.run("ALTER TABLE rowseal._wanted RENAME TO gone")
    checks = db.all('SELECT "check", relation::text, ok, detail FROM rowseal.health()')
    assert [check[:2] for check in checks] == whole
    assert [check for check in checks if not check[2]] == [
        (check, "grants", False, 'relation "rowseal._wanted" does not exist')
        for check in ("derived", "held", "walks")
    ]
    admin.run("ALTER TABLE rowseal._licences RENAME TO gone_too")
    checks = db.all('SELECT "check", relation::text, ok, detail FROM rowseal.health()')
    assert ("writers", "grants", False, 'relation "rowseal._licences" does not exist') in checks
    assert {relation for _, relation in whole} - {c[1] for c in checks} == set()


def test_a_revocation_that_waits_for_a_link_is_shown(db: Db) -> None:
    c = Cast(db)
    missing = c.device.sealed(c.forms["u"], {"key": "f", "owner_timestamp": 1})
    c.revoke(c.device, missing)
    assert db.all("SELECT key FROM t ORDER BY 1") == ["m"]
    ((check, detail),) = db.all('SELECT "check", detail FROM rowseal.health() WHERE NOT ok')
    number = f"{c.device.public_key.hex()[:16]}: 1" if c.device.public_key else ""
    assert (check, detail) == ("walks", f"links that revocations wait for, by writer: {number}")
    db.insert("u", missing)
    assert db.all("SELECT key FROM t ORDER BY 1") == ["d", "e", "m"] and unwell(db) == []
