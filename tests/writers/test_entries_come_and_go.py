"""The ledger names an entry that is there, though rows come and entries go side by side;
and what is taken out of its table in the statement that has put it there is held.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
import pytest
from test_held_rows_follow import Cast

from kit.db import Db, Server
from kit.example import Owner
from kit.writers import Writer, card, grant, revocation
from rowseal.client import SigningKey, envelope

DISCARD = "SELECT rowseal.discard(ARRAY(SELECT id FROM rowseal.quarantine WHERE role = %s))"
LEDGER = """SELECT r.seq, q.role FROM rowseal._writer_rows r
              LEFT JOIN rowseal.quarantine q ON q.id = r.held ORDER BY r.writer, r.seq, q.id"""
HELD = "SELECT role FROM rowseal.quarantine ORDER BY id"
UNWELL = 'SELECT "check", detail FROM rowseal.health() WHERE NOT ok AND "check" <> \'foreign keys\''


@pytest.fixture
def c(db: Db) -> Cast:
    return Cast(db)


@pytest.fixture
def other(server: Server, database: str) -> Iterator[Db]:
    """A second session of the tables' owner."""
    with server.connect(database, "app") as connection:
        yield Db(connection)


@contextmanager
def beside(first: Db, action: Callable[[], Any], end: str = "COMMIT") -> Iterator[None]:
    """While what the body does with ``first`` is open, somebody else acts; then that ends."""
    errors: list[BaseException] = []

    def act() -> None:
        try:
            action()
        except psycopg.Error as error:
            errors.append(error)

    first.run("BEGIN")
    yield
    thread = threading.Thread(target=act)
    thread.start()
    thread.join(0.5)
    first.run(end)
    thread.join(20)
    assert not thread.is_alive() and errors == []


# -- one brings it while an entry is taken out
@pytest.mark.parametrize("by", ["app", "postgres"])
@pytest.mark.parametrize("kept", [True, False])
@pytest.mark.parametrize("end", ["COMMIT", "ROLLBACK"])
def test_a_row_that_comes_while_its_entry_is_discarded(
    c: Cast, admin: Db, other: Db, by: str, kept: bool, end: str
) -> None:
    if kept:
        c.receive(c.granted(keys='{"key": "a"}'))
    (row,) = c.rows("b")
    c.receive(row)
    with beside(c.db, lambda: c.receive(row, by=other if by == "app" else admin), end):
        c.db.run(DISCARD, "app")
    ledger = admin.all(LEDGER)
    # both, or none of them; it never names one that is gone
    assert [role for _, role in ledger] == admin.all(HELD)[: len(ledger)]
    assert bool(ledger) == bool(admin.all(HELD)) and (ledger or end == "COMMIT")
    assert c.sound() and admin.all("SELECT problem FROM rowseal.verify('grants')") == []
    c.receive(row)
    c.receive(c.granted(until=50))
    assert c.stored() == ["b"] and c.sound() and c.db.all(UNWELL) == []
    c.receive(c.revoked())
    for table in ("t", "u", "grants"):
        assert c.db.one("SELECT rowseal.undeclare(%s)", table)


def test_an_entry_that_is_tried_again_while_it_is_discarded(c: Cast, admin: Db, other: Db) -> None:
    (row,) = c.rows("a")
    c.receive(row)
    again = "INSERT INTO rowseal._refused (again, changed) SELECT id, false FROM rowseal.quarantine"
    with beside(c.db, lambda: other.run(again)):
        c.db.run(DISCARD, "app")
    assert admin.all(LEDGER) == admin.all(HELD) == [] and c.sound()


@pytest.mark.parametrize("level", ["READ COMMITTED", "REPEATABLE READ"])
def test_an_entry_is_discarded_while_another_source_brings_the_row(
    c: Cast, admin: Db, level: str
) -> None:
    (row,) = c.rows("a")
    c.receive(row)

    def discard() -> None:
        c.db.run(f"BEGIN ISOLATION LEVEL {level}")
        try:
            c.db.run(DISCARD, "app")
            c.db.run("COMMIT")
        except psycopg.errors.SerializationFailure:
            c.db.run("ROLLBACK")
            c.db.run(DISCARD, "app")

    with beside(admin, discard):
        c.receive(row, by=admin)
    assert admin.all(LEDGER) == [(1, "postgres")] and admin.all(HELD) == ["postgres"]
    c.receive(c.granted())
    assert c.stored() == ["a"] and c.sound()


@pytest.mark.parametrize("first", ["app", "postgres"])
@pytest.mark.parametrize("end", ["COMMIT", "ROLLBACK"])
def test_both_entries_of_a_row_are_discarded_side_by_side(
    c: Cast, admin: Db, other: Db, first: str, end: str
) -> None:
    (row,) = c.rows("a")
    c.receive(row)
    c.receive(row, by=admin)
    assert admin.all(HELD) == ["app", "postgres"]
    second = "postgres" if first == "app" else "app"
    with beside(c.db, lambda: other.run(DISCARD, second), end):
        c.db.run(DISCARD, first)
    stays = [first] if end == "ROLLBACK" else []
    assert admin.all(HELD) == stays and admin.all(LEDGER) == [(1, role) for role in stays]
    c.receive(row)
    c.receive(c.granted())
    assert c.stored() == ["a"] and c.sound()


def test_sources_that_make_room_side_by_side(c: Cast, server: Server, database: str) -> None:
    """Neither waits for the other, and the ledger keeps what one of them keeps."""
    people = [Writer(Owner(f"P{n}"), SigningKey.generate()) for n in range(90)]
    for person in people:
        card(c.db, person.owner)
    rows = [p.envelope(c.forms["t"], {"key": "k", "owner_timestamp": 1}) for p in people]
    with server.connect(database, "postgres") as one, server.connect(database, "app") as two:
        a, b = Db(one), Db(two)
        a.run("UPDATE rowseal.quarantine_limits SET rows = 30")
        for source in (a, b):
            c.receive(*rows[:26], by=source)
        b.run("BEGIN")
        c.receive(*rows[26:58], by=b)
        a.run("SET lock_timeout = '5s'")
        a.run("BEGIN")
        c.receive(*rows[58:], by=a)
        dropped = "SELECT role FROM rowseal.quarantine_dropped ORDER BY 1"
        assert a.all(dropped) == ["postgres"] and b.all("SELECT count(*) FROM t") == [0]
        a.run("COMMIT")
        b.run("COMMIT")
        assert a.all(dropped) == ["app", "postgres"]
        astray = """SELECT count(*) FROM rowseal._writer_rows r
                      FULL JOIN (SELECT DISTINCT link FROM rowseal.quarantine) q USING (link)
                     WHERE r.link IS NULL OR q.link IS NULL
                        OR NOT EXISTS (SELECT FROM rowseal.quarantine x WHERE x.id = r.held)"""
        assert a.one(astray) == 0
    assert c.sound()


def test_an_entry_that_leaves_while_a_grant_lets_it_in_stops_no_grant(
    c: Cast, admin: Db, other: Db
) -> None:
    """What has gone was taken for what row security hides: the grant was refused (42501)."""
    c.receive(*c.rows(*"abc"))
    row = c.ann.sealed(c.forms["grants"], c.granted_row())
    other.run("BEGIN; LOCK TABLE t IN ACCESS EXCLUSIVE MODE")  # that is where it will wait
    done: list[Any] = []
    thread = threading.Thread(target=lambda: done.append(c.db.insert("grants", row)))
    thread.start()
    waits = "SELECT count(*) FROM pg_locks WHERE NOT granted"
    while not admin.one(waits) and thread.is_alive():
        time.sleep(0.05)
    admin.run("SELECT rowseal.discard(ARRAY(SELECT min(id) FROM rowseal.quarantine))")
    other.run("COMMIT")
    thread.join(20)
    assert len(done) == 1 and c.stored() == ["b", "c"] and c.sound()


def test_who_has_lost_his_rights_does_not_hold_up_a_revocation_by_his_entry(
    c: Cast, admin: Db, server: Server, database: str
) -> None:
    rows = c.rows("a", "b")
    c.receive(c.granted(tables=["u"]))
    c.db.run(
        "GRANT SELECT, INSERT, UPDATE ON t, t_versions TO mallory; GRANT SELECT ON cards TO mallory"
    )
    with server.connect(database, "mallory") as connection:
        mallory = Db(connection)
        assert c.receive(*rows, by=mallory) == ["deferred", "deferred"]
        c.db.run("REVOKE ALL ON t, t_versions FROM mallory")
        mallory.run("BEGIN")
        kept = admin.all("SELECT row::text FROM rowseal.quarantine")
        mallory.run("SELECT rowseal.receive(%s::json)", f"[{','.join(kept)}]")
        c.db.run("SET lock_timeout = '5s'")
        assert c.receive(c.revoked(at=9)) == ["superseded"]
        assert admin.all("SELECT DISTINCT curable FROM rowseal.quarantine") == [False]
        mallory.run("COMMIT")
    assert c.sound()


def test_a_ledger_that_somebody_has_damaged_keeps_no_table_from_going(c: Cast, admin: Db) -> None:
    c.receive(*c.rows("a", "b", "c"), c.revoked())
    admin.run("UPDATE rowseal._writer_rows SET held = 99 WHERE seq = 1")
    admin.run('UPDATE rowseal.quarantine SET row = \'{"sign_b64": "?"}\' WHERE id = 2')
    c.db.run("SELECT rowseal.undeclare('t'); SELECT rowseal.undeclare('u'); DROP TABLE grants")
    assert admin.all("SELECT seq FROM rowseal._dead_rows") == [3]


# -- a revocation and a row that it ends, in one statement
class Rows:
    """A manager and a writer of his; their rows are columns for SQL here, envelopes elsewhere."""

    def __init__(self, here: Cast, there: Cast):
        self.here, self.there, self.forms = here, there, here.forms
        there.ann = here.ann
        card(there.db, here.ann.owner)
        self.manager, self.writer = here.new(), here.new()
        self.both(here.ann, "grants", grant(self.manager, may_grant=2))
        self.both(self.manager, "grants", grant(self.writer, may_grant=1))

    def both(self, who: Writer, table: str, row: dict[str, Any]) -> None:
        _, sent = self.signed(who, table, row)
        assert self.here.receive(sent) == self.there.receive(sent)

    def signed(self, who: Writer, table: str, row: dict[str, Any]) -> tuple[dict[str, Any], Any]:
        sealed = who.sealed(self.forms[table], row)
        bare = {k: v for k, v in sealed.items() if k != "sign_b64"}
        return sealed, envelope(self.forms[table], bare, who.key)

    def same(self) -> None:
        for table in ("t", "grants"):
            assert self.here.db.digest(table) == self.there.db.digest(table), table
        assert self.here.sound() and self.there.sound() and self.here.db.all(UNWELL) == []


@pytest.fixture
def rows(c: Cast, server: Server) -> Iterator[Rows]:
    name = server.database()
    with server.connect(name, "app") as connection:
        yield Rows(c, Cast(Db(connection)))


def put(table: str, *rows: dict[str, Any]) -> tuple[str, list[Any]]:
    values = f"({', '.join(['%s'] * len(rows[0]))})"
    sql = f"INSERT INTO {table} ({', '.join(rows[0])}) VALUES {', '.join([values] * len(rows))}"
    return sql, [v for row in rows for v in row.values()]


@pytest.mark.parametrize("first", ["grants", "t"])
def test_a_row_that_the_same_statement_ends_is_held(rows: Rows, admin: Db, first: str) -> None:
    ended, ended_sent = rows.signed(rows.manager, "grants", revocation(rows.writer, [], at=8))
    row, row_sent = rows.signed(rows.writer, "t", {"key": "w", "owner_timestamp": 5})
    a, b = put("t", row), put("grants", ended)
    if first == "grants":
        a, b = b, a
    rows.here.db.run(f"WITH x AS ({a[0]}) {b[0]}", *a[1], *b[1])
    assert rows.there.receive(ended_sent, row_sent) == ["superseded", "deferred"]
    held = "SELECT count(*) FROM rowseal._writer_rows r JOIN rowseal.quarantine q ON q.id = r.held"
    assert admin.one(held) == 1 and rows.here.stored() == []
    rows.same()
    rows.both(rows.here.ann, "grants", grant(rows.writer, at=9))
    assert rows.here.stored() == ["w"] and admin.one(held) == 0
    rows.same()


@pytest.mark.parametrize("order", [1, -1])
def test_a_grant_that_the_same_statement_ends_is_held(rows: Rows, admin: Db, order: int) -> None:
    friend = rows.here.new()
    ended, ended_sent = rows.signed(rows.manager, "grants", revocation(rows.writer, [], at=8))
    granted, granted_sent = rows.signed(rows.writer, "grants", grant(friend, at=7))
    sql, values = put("grants", *[ended, granted][::order])
    rows.here.db.run(sql, *values)
    assert rows.there.receive(ended_sent, granted_sent) == ["superseded", "deferred"]
    rows.same()
    (row,) = rows.here.rows("f", by=friend)
    assert rows.here.receive(row) == rows.there.receive(row) == ["deferred"]
    rows.both(rows.here.ann, "grants", grant(rows.writer, at=9, may_grant=1))
    assert rows.here.stored() == ["f"]
    rows.same()
