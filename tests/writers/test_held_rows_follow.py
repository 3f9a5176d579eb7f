"""What is held follows grants and walks, whoever brought it, and whatever is said of it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from psycopg.types.json import Json

from kit.db import Db, Server
from kit.example import Owner
from kit.writers import REFUSED, Writer, card, grant, revocation, tables
from rowseal.client import SigningKey

RECEIVE = "SELECT outcome FROM rowseal.receive(%s)"
KEYS = "SELECT key FROM t ORDER BY 1"
DECLARE = (
    "SELECT rowseal.declare('t', owner => 'user_hash', identity => 'cards', writers => 'grants',"
    " versions => 't_versions', feed => true)"
)


class Cast:
    def __init__(self, db: Db):
        db.run(tables(feed=True))
        self.db = db
        self.forms = {table: db.form(table) for table in ("cards", "grants", "t")}
        self.ann = Writer(Owner("Ann"))
        self.device = self.new()
        card(db, self.ann.owner)

    def new(self) -> Writer:
        return Writer(self.ann.owner, SigningKey.generate())

    def granted_row(self, **scope: Any) -> dict[str, Any]:
        return grant(self.device, **scope)

    def granted(self, **scope: Any) -> Any:
        return self.ann.envelope(self.forms["grants"], self.granted_row(**scope))

    def revoked(self, *upto: Any, at: int = 9) -> Any:
        row = revocation(self.device, list(upto), at=at)
        return self.ann.envelope(self.forms["grants"], row)

    def rows(self, *keys: str, by: Writer | None = None) -> list[Any]:
        by = by or self.device
        return [by.envelope(self.forms["t"], {"key": k, "owner_timestamp": 1}) for k in keys]

    def receive(self, *envelopes: Any, by: Db | None = None) -> list[str]:
        return [(by or self.db).all(RECEIVE, Json([e]))[0] for e in envelopes]

    def stored(self) -> list[str]:
        return self.db.all(KEYS)

    def sound(self) -> bool:
        return not self.db.all("SELECT * FROM rowseal.verify('grants')")


@pytest.fixture
def c(db: Db) -> Cast:
    return Cast(db)


@pytest.fixture
def mallory(server: Server, database: str, c: Cast) -> Iterator[Db]:
    """May write t, and owns nothing."""
    c.db.run(
        "GRANT SELECT, INSERT, UPDATE ON t, t_versions TO mallory; GRANT SELECT ON cards TO mallory"
    )
    with server.connect(database, "mallory") as connection:
        yield Db(connection)


@pytest.fixture
def service(server: Server, database: str, c: Cast) -> Iterator[Db]:
    """May write all tables, and owns none."""
    c.db.run("GRANT ALL ON cards, grants, t, t_versions, u, u_versions TO mallory")
    with server.connect(database, "mallory") as connection:
        yield Db(connection)


# -- a key becomes known
def fed(admin: Db) -> list[Any]:
    return admin.all("SELECT envelope #>> '{row,key}' FROM rowseal.feed WHERE tag = 't'")


def test_rows_that_never_count_travel_when_their_key_becomes_known(c: Cast, admin: Db) -> None:
    rows = c.rows("a", "b")
    first = c.device.last
    rows += c.rows("c", "d")
    c.receive(*rows, c.revoked(first))
    assert fed(admin) == []
    c.receive(c.granted())
    assert c.stored() == ["a", "b"]
    assert sorted(fed(admin)) == ["a", "b", "c", "d"]
    assert len(c.db.all("SELECT rowseal._held_envelopes('t')")) == 2
    c.receive(c.granted(at=2))
    assert len(fed(admin)) == 4


def test_what_a_table_cannot_store_travels_whoever_brings_the_grant(
    c: Cast, admin: Db, service: Db
) -> None:
    c.db.run("ALTER TABLE t ADD CHECK (key <> 'bad')")
    c.receive(*c.rows("a", "bad", "c"), by=service)
    assert fed(admin) == []
    c.receive(c.granted(), by=service)
    assert c.stored() == ["a", "c"] and sorted(fed(admin)) == ["a", "bad", "c"]
    held = "SELECT sqlstate, kept FROM rowseal.quarantine q JOIN rowseal._writer_rows r"
    assert admin.all(f"{held} ON r.held = q.id") == [("23514", True)]


def test_a_row_that_waited_for_its_owner_waits_for_his_grant_whoever_brought_him(
    c: Cast, admin: Db, service: Db
) -> None:
    bob = Writer(Owner("Bob"))
    device = Writer(bob.owner, SigningKey.generate())
    assert c.receive(*c.rows("b", by=device), by=service) == ["deferred"]
    card(service, bob.owner)
    c.receive(bob.envelope(c.forms["grants"], grant(device)), by=service)
    assert c.stored() == ["b"] and c.sound()


# -- nobody relabels
@pytest.mark.parametrize("known", [False, True])
def test_what_the_ledger_holds_is_nobody_s_to_relabel(c: Cast, mallory: Db, known: bool) -> None:
    if known:
        c.receive(c.granted(until=0))
    (row,) = c.rows("a")
    c.receive(row, by=mallory)
    for _ in range(2):
        for lie in ("RS001,x", "22000,x", "42501,x"):
            mallory.run(f"SELECT rowseal._quarantine('t', '({lie})', 'canonical', %s)", Json(row))
            mallory.run(
                f"SELECT rowseal._quarantine(q.tag, '({lie})', q.format, q.row, NULL, q.id)"
                " FROM rowseal.quarantine q"
            )
            mallory.run(REFUSED.format(lie), Json(row))
            mallory.run(
                "INSERT INTO rowseal._refused (verdict, again, changed)"
                f" SELECT '({lie})', q.id, true FROM rowseal.quarantine q"
            )
        c.receive(row)
    c.receive(c.granted(at=2))
    assert c.stored() == ["a"] and c.sound()


def test_who_calls_a_row_unstorable_keeps_nobody_from_retrying_it(
    c: Cast, mallory: Db, admin: Db
) -> None:
    """t could not store it; then somebody gives another reason, then t could."""
    c.db.run("ALTER TABLE t ADD CONSTRAINT bad CHECK (key <> 'bad')")
    (row,) = c.rows("bad")
    c.receive(c.granted(), row)
    mallory.run(REFUSED.format("RS001,x"), Json(row))
    mallory.run(REFUSED.format("22000,x"), Json(row))
    c.db.run("ALTER TABLE t DROP CONSTRAINT bad")
    c.db.all("SELECT rowseal.retry()")
    assert c.stored() == ["bad"]


@pytest.mark.parametrize("before", ["", "a grant to come", "an entry"])
def test_nobody_is_believed_that_a_table_cannot_store_what_counts(
    c: Cast, mallory: Db, admin: Db, before: str
) -> None:
    (row,) = c.rows("a")
    if before == "an entry":
        c.receive(row, by=mallory)
        c.db.run("ALTER TABLE grants DISABLE TRIGGER zzz_rowseal_settle")
    if before != "a grant to come":
        c.db.insert("grants", c.ann.sealed(c.forms["grants"], c.granted_row()))
    if before == "an entry":
        c.db.run("ALTER TABLE grants ENABLE ALWAYS TRIGGER zzz_rowseal_settle")
        mallory.run(
            "INSERT INTO rowseal._refused (verdict, again, changed)"
            " SELECT '(23514,x)', q.id, true FROM rowseal.quarantine q"
        )
    else:
        mallory.run(REFUSED.format("23514,x"), Json(row))
    if before == "a grant to come":
        assert c.stored() == []
        c.receive(c.granted())
    assert c.stored() == ["a"] and c.sound()
    assert admin.all("SELECT held FROM rowseal._writer_rows") == [None]


# -- walks
def test_whoever_moves_a_walk_lets_in_what_stands(c: Cast, mallory: Db) -> None:
    rows = c.rows("a", "b", "out of scope")
    c.receive(c.granted(keys='{"key": {"prefix": ""}}', until=1))
    last = c.device.envelope(c.forms["t"], {"key": "late", "owner_timestamp": 50})
    c.receive(c.revoked(c.device.last), *rows)
    assert c.stored() == []
    mallory.run("SELECT rowseal._quarantine('t', '(RS011,x)', 'canonical', %s)", Json(last))
    assert c.stored() == []
    mallory.run(REFUSED.format("RS011,x"), Json(last))
    assert c.stored() == ["a", "b", "out of scope"] and c.sound()


def test_whoever_calls_a_row_that_counts_forged_has_it_stored(c: Cast, mallory: Db) -> None:
    """A column of a length may round what was signed: so an authentic row may have RS001."""
    c.db.run("SELECT rowseal.undeclare('t')")
    for table in ("t", "t_versions"):
        c.db.run(f"ALTER TABLE {table} ALTER key TYPE varchar(50)")
    c.db.run(DECLARE)
    c.receive(c.granted())
    (row,) = c.rows("a")
    mallory.run(REFUSED.format("RS001,x"), Json(row))
    assert c.stored() == ["a"] and c.sound()


@pytest.mark.parametrize("setting", ["off", "on"])
def test_a_revocation_and_the_row_that_it_waits_for_in_one_statement(
    c: Cast, db: Db, setting: str
) -> None:
    """No setting says whether the tables have followed."""
    c.receive(c.granted(), *c.rows("a", "b"))
    row = c.device.sealed(c.forms["t"], {"key": "c", "owner_timestamp": 1})
    ended = c.ann.sealed(c.forms["grants"], revocation(c.device, [c.device.last or b""], at=9))
    one, other = (
        f"INSERT INTO {t} ({', '.join(r)}) VALUES ({', '.join(['%s'] * len(r))})"
        f" RETURNING set_config('rowseal.{s}', '{setting}', false)"
        for t, r, s in (("grants", ended, "settling"), ("t", row, "revoked"))
    )
    db.run(
        f"WITH x AS ({one}), y AS ({other}) SELECT (SELECT count(*) FROM x) FROM y",
        *ended.values(),
        *row.values(),
    )
    assert c.stored() == ["a", "b", "c"] and c.sound()


def test_what_a_walk_has_passed_is_a_link_though_its_body_is_dropped(c: Cast, admin: Db) -> None:
    first, *others = c.rows("a", "b", "c")
    c.receive(c.revoked(c.device.last), first, *others)
    admin.run("SELECT rowseal.discard(array_agg(id)) FROM rowseal.quarantine")
    assert c.sound()
    c.receive(c.granted())
    missing = """SELECT detail FROM rowseal.health() WHERE "check" = 'writers' AND NOT ok"""
    assert [d.rpartition(": ")[2] for d in c.db.all(missing)] == ["3"]
    assert c.receive(first) == ["inserted"]
    c.receive(*others)
    assert c.stored() == ["a", "b", "c"] and c.sound() and c.db.all(missing) == []


def test_verify_reports_what_is_held_and_counts(c: Cast, admin: Db) -> None:
    c.receive(*c.rows("a"))
    c.db.run("ALTER TABLE grants DISABLE TRIGGER zzz_rowseal_settle")
    granted = c.ann.sealed(c.forms["grants"], grant(c.device))
    c.db.insert("grants", granted)
    c.db.run("ALTER TABLE grants ENABLE ALWAYS TRIGGER zzz_rowseal_settle")
    (problem,) = c.db.all("SELECT problem FROM rowseal.verify('grants')")
    assert problem == "a row is held that counts, rowseal.retry() lets it in"
    c.db.all("SELECT rowseal.retry()")
    assert c.stored() == ["a"] and c.sound()


# -- room
def test_a_flood_of_an_unknown_key_does_not_push_out_what_waits_for_the_same_owner(
    c: Cast, admin: Db
) -> None:
    admin.run("UPDATE rowseal.quarantine_limits SET rows = 50")
    waiting = c.rows(*"abcde")
    c.receive(*waiting)
    flood = c.rows(*(f"x{n}" for n in range(120)), by=c.new())
    for n in range(0, 120, 30):
        c.db.all(RECEIVE, Json(flood[n : n + 30]))
    assert admin.one("SELECT count(*) FROM rowseal.quarantine") < 60
    c.receive(c.granted())
    assert c.stored() == list("abcde")


def test_a_worker_counts_what_floods_of_unknown_keys_bring_and_no_more(c: Cast, admin: Db) -> None:
    """Such a row costs four of an unknown owner.  What is held of known keys is no flood."""
    c.receive(c.granted())
    admin.run(
        "UPDATE rowseal.quarantine_limits SET rows = 100; SET session_replication_role = replica"
    )
    refused = [row for n in range(60) for row in c.rows(f"x{n}", by=c.new())]
    for n in range(0, 60, 20):  # 80 rows' worth each time
        admin.all(RECEIVE, Json(refused[n : n + 20]))
    assert admin.one("SELECT count(*), sum(d.rows) FROM rowseal.quarantine_dropped d") == (1, 20)
    assert admin.one("SELECT count(*) FROM rowseal.quarantine") <= 40
    c.device.number, c.device.last = 0, None
    before, bad = c.rows("a", "b")
    admin.run("ALTER TABLE t ADD CHECK (key <> 'b')")
    assert c.receive(before, bad, by=admin) == ["inserted", "rejected"]
    assert admin.one("SELECT kept FROM rowseal.quarantine WHERE sqlstate = '23514'")


# -- what a table has lost
def test_what_comes_back_to_a_table_that_lost_it_is_let_in_when_it_counts(c: Cast) -> None:
    manager = c.new()
    hired = c.ann.envelope(c.forms["grants"], grant(manager, may_grant=1))
    let_in = manager.envelope(c.forms["grants"], grant(c.device))
    ended = manager.envelope(c.forms["grants"], revocation(c.device, [], at=5))
    (row,) = c.rows("a")
    c.receive(hired, let_in, row)
    c.db.run("SELECT rowseal.undeclare('t'); DELETE FROM t")
    c.db.run(DECLARE)
    c.receive(ended, row)
    assert c.stored() == []
    c.receive(c.granted(at=3))
    assert c.stored() == ["a"] and c.sound()


def test_a_pruned_version_that_comes_back_while_it_does_not_count(c: Cast) -> None:
    manager = c.new()
    hired = c.ann.envelope(c.forms["grants"], grant(manager, may_grant=1))
    let_in = manager.envelope(c.forms["grants"], grant(c.device))
    (old,) = c.rows("a")
    newer = c.ann.envelope(c.forms["t"], {"key": "a", "owner_timestamp": 2})
    c.receive(hired, let_in, old, newer)
    assert c.db.one("SELECT rowseal.prune('t')") == 1
    ended = manager.envelope(c.forms["grants"], revocation(c.device, [], at=5))
    c.receive(ended, old)
    c.receive(c.granted(at=3))
    assert c.db.all("SELECT owner_timestamp FROM t_versions") == [1] and c.sound()


def test_a_row_that_was_taken_out_when_its_table_was_declared_again(c: Cast) -> None:
    """It came again in between, for a table that was not declared: its entry is the one."""
    (row,) = c.rows("a")
    c.receive(c.granted(), row)
    c.db.run("SELECT rowseal.undeclare('t')")
    c.receive(row, c.revoked())
    c.db.run(DECLARE)
    assert c.stored() == [] and c.sound()
    c.receive(row)
    assert c.stored() == [] and c.sound()
