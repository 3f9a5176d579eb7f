"""Tables never differ from what has been walked without a word: where rows that count cannot be let
in, because that would run code of a role whom nobody trusts, what they count by is refused.  But a
revocation waits for nobody.
"""

from __future__ import annotations

from collections.abc import Iterator

import psycopg
import pytest
from psycopg.types.json import Json
from test_held_rows_follow import Cast

from kit.db import Db, Server
from kit.writers import revocation

UNWELL = 'SELECT "check", detail FROM rowseal.health() WHERE NOT ok'


@pytest.fixture
def c(db: Db) -> Cast:
    return Cast(db)


@pytest.fixture
def trigger(server: Server, database: str, c: Cast, admin: Db) -> Iterator[Db]:
    """mallory may create triggers on u, nothing else, and has done so."""
    c.db.run("GRANT TRIGGER ON u TO mallory")
    admin.run("CREATE SCHEMA m AUTHORIZATION mallory")
    with server.connect(database, "mallory") as connection:
        hers = Db(connection)
        hers.run(
            "CREATE FUNCTION m.f() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END'"
        )
        hers.run("CREATE TRIGGER a AFTER INSERT ON u FOR EACH ROW EXECUTE FUNCTION m.f()")
        yield hers


def apply(c: Cast, table: str, *envelopes: object) -> list[str]:
    outcome = "SELECT coalesce(left(reason, 5), outcome) FROM rowseal.apply(%s, %s)"
    return [c.db.one(outcome, table, Json(e)) for e in envelopes]


def test_a_grant_waits_while_rows_that_count_by_it_cannot_come_in(c: Cast, trigger: Db) -> None:
    assert apply(c, "t", *c.rows("a")) == ["RS010"]
    granted = c.granted()
    assert apply(c, "grants", granted) == ["RS017"]
    assert c.stored() == [] and c.sound()
    c.db.run("DROP TRIGGER a ON u; SELECT rowseal.retry()")
    assert c.stored() == ["a"] and c.sound() and c.db.all(UNWELL) == []


def test_in_a_session_it_is_an_error(c: Cast, trigger: Db) -> None:
    apply(c, "t", *c.rows("a"))
    row = c.ann.sealed(c.forms["grants"], c.granted_row())
    refused = r"rows would count by this one, and cannot be let in: .*mallory"
    with pytest.raises(psycopg.DatabaseError, match=refused) as error:
        c.db.insert("grants", row)
    assert error.value.sqlstate == "RS017" and c.db.one("SELECT count(*) FROM grants") == 0


def test_a_link_waits_while_rows_below_it_cannot_come_in(c: Cast, trigger: Db) -> None:
    first, second = c.rows("a", "b")
    assert apply(c, "grants", c.granted(), c.revoked(c.device.last)) == ["inserted", "superseded"]
    assert apply(c, "t", first, second) == ["RS012", "RS017"]
    assert c.stored() == [] and c.sound()
    c.db.run("DROP TRIGGER a ON u; SELECT rowseal.retry()")
    assert c.stored() == ["a", "b"] and c.sound()


def test_so_does_one_that_its_table_cannot_store(c: Cast, trigger: Db) -> None:
    c.db.run("ALTER TABLE t ADD CHECK (key <> 'bad')")
    first, second = c.rows("a", "bad")
    apply(c, "grants", c.granted(), c.revoked(c.device.last))
    assert apply(c, "t", first, second) == ["RS012", "RS017"]
    assert c.stored() == [] and c.sound()
    c.db.run("DROP TRIGGER a ON u; SELECT rowseal.retry()")
    assert c.stored() == ["a"] and c.sound()


def test_a_revocation_takes_out_whoever_has_a_trigger_there(c: Cast, trigger: Db) -> None:
    assert apply(c, "grants", c.granted()) == ["inserted"]
    assert apply(c, "t", *c.rows("a", "b")) == ["inserted", "inserted"]
    assert apply(c, "grants", c.revoked()) == ["superseded"]
    assert c.stored() == [] and c.db.all("SELECT rowseal.verify('t')") == []


def test_by_which_others_count_it_takes_out_and_says_what_it_cannot_let_in(
    c: Cast, trigger: Db
) -> None:
    """A manager's revocation is the link that his own rows below it wait for."""
    manager, device = c.new(), c.device
    (row,) = c.rows("m", by=manager)
    (out,) = c.rows("d")
    grants = c.forms["grants"]
    c.device = manager
    hired = c.granted(may_grant=1)
    c.device = device
    let_in = manager.envelope(grants, c.granted_row())
    ended = manager.sealed(grants, revocation(device, [], at=5))
    apply(c, "grants", hired, let_in)
    assert apply(c, "t", out) == ["inserted"]
    c.device = manager
    apply(c, "grants", c.revoked(manager.last))
    c.device = device
    assert c.stored() == [] and apply(c, "t", row) == ["RS012"]
    c.db.insert("grants", ended)
    assert c.stored() == []
    assert dict(c.db.all(UNWELL))["held"] == "2 held rows count, rowseal.retry() lets them in"
    c.db.run("DROP TRIGGER a ON u; SELECT rowseal.retry()")
    assert c.stored() == ["m"] and c.sound() and c.db.all(UNWELL) == []


def test_a_replication_worker_is_not_stopped(c: Cast, trigger: Db, admin: Db) -> None:
    apply(c, "t", *c.rows("a"))
    admin.run("SET session_replication_role = replica")
    admin.insert("grants", c.ann.sealed(c.forms["grants"], c.granted_row()))
    admin.run("RESET session_replication_role; DROP TRIGGER a ON u")
    assert c.stored() == [] and not c.sound()
    c.db.all("SELECT rowseal.retry()")
    assert c.stored() == ["a"] and c.sound()


def test_health_says_what_it_cannot_look_at(c: Cast, trigger: Db, admin: Db) -> None:
    apply(c, "grants", c.granted())
    assert (
        c.db.all(UNWELL)
        == admin.all(UNWELL)
        == [("derived", "cannot be looked at: code of mallory")]
    )
