"""What came while a table was not declared, or closed, or what comes with a partition, is followed
as if it had come row by row.
"""

from __future__ import annotations

import threading
from typing import Any

import pytest
from test_held_rows_follow import DECLARE, Cast, fed

from kit.attacks import STACKED, deepest
from kit.db import Db, Server
from kit.example import Owner
from kit.network import until
from kit.writers import GRANTS, SIGNED, WRITER, Writer, card, grant, revocation, tables
from rowseal.client import SigningKey

UNWELL = 'SELECT "check", relation::text FROM rowseal.health() WHERE NOT ok'


@pytest.fixture
def c(db: Db) -> Cast:
    return Cast(db)


def away(db: Db, how: str) -> str:
    """Undeclares or closes t; what brings it back."""
    if how == "undeclared":
        db.run("SELECT rowseal.undeclare('t')")
        return DECLARE
    if how == "half a change":
        db.run("ALTER TABLE t_versions ALTER value TYPE bigint")
        return "ALTER TABLE t ALTER value TYPE bigint"
    db.run("CREATE DOMAIN gone AS integer; ALTER TABLE t_versions DROP COLUMN value")
    return "ALTER TABLE t_versions ADD COLUMN value integer"


AWAY = pytest.mark.parametrize("how", ["undeclared", "half a change", "closed"])


# -- a table that was away
@AWAY
def test_a_grant_that_came_while_a_table_was_away_lets_in_when_it_is_back(
    c: Cast, admin: Db, how: str
) -> None:
    """Those of other owners are not kept out by it either."""
    bob = Writer(Owner("Bob"))
    card(c.db, bob.owner)
    his = bob.envelope(c.forms["t"], {"key": "bob's", "owner_timestamp": 1})
    assert c.receive(his, *c.rows("a", "b")) == ["inserted", "deferred", "deferred"]
    back = away(c.db, how)
    assert c.receive(c.granted()) == ["inserted"]
    c.db.run(back)
    assert c.stored() == ["a", "b", "bob's"] and c.sound()
    assert c.db.all(UNWELL) == [] and admin.one("SELECT count(*) FROM rowseal.quarantine") == 0


@AWAY
def test_a_revocation_that_came_while_a_table_was_away_takes_out_when_it_is_back(
    c: Cast, how: str
) -> None:
    rows = c.rows("a")
    first = c.device.last
    c.receive(c.granted(), *rows, *c.rows("b"))
    back = away(c.db, how)
    assert c.receive(c.revoked(first)) == ["superseded"]
    c.db.run(back)
    assert c.stored() == ["a"] and c.sound() and c.db.all("SELECT rowseal.verify('t')") == []


def test_the_row_that_another_table_s_rows_wait_for_comes_when_its_table_is_declared(
    c: Cast,
) -> None:
    u = c.db.form("u")
    c.receive(c.granted(), *c.rows("a"))
    between = c.device.envelope(u, {"key": "between", "owner_timestamp": 1})
    c.receive(between, *c.rows("c"))
    c.db.run("SELECT rowseal.undeclare('t'), rowseal.undeclare('u')")
    c.db.run("SELECT rowseal.undeclare('grants')")
    revoked = c.revoked(c.device.last)
    for statement in tables(feed=True).split("; ")[3:]:
        if "declare('u'" in statement:
            assert c.receive(revoked) == ["superseded"] and c.stored() == ["c"]
        if "rowseal.declare" in statement:
            c.db.run(statement)
    assert c.stored() == ["a", "c"] and c.sound()


def test_no_held_row_keeps_a_table_from_being_declared(
    c: Cast, admin: Db, server: Server, database: str
) -> None:
    """It cannot be let in, for that would run code of a role that nobody trusts."""
    c.receive(*c.rows("a"))
    back = away(c.db, "undeclared")
    c.receive(c.granted())
    c.db.run("GRANT TRIGGER ON u TO mallory")
    admin.run("CREATE SCHEMA m AUTHORIZATION mallory")
    with server.connect(database, "mallory") as connection:
        Db(connection).run(
            "CREATE FUNCTION m.f() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END';"
            " CREATE TRIGGER a AFTER INSERT ON u FOR EACH ROW EXECUTE FUNCTION m.f()"
        )
    c.db.run(back)
    assert c.stored() == []
    held = c.db.all("SELECT sqlstate, problem FROM rowseal.verify('t')")
    assert held == [("RS010", "a row is held that counts, rowseal.retry() lets it in")]
    c.db.run("DROP TRIGGER a ON u; SELECT rowseal.retry()")
    assert c.stored() == ["a"] and c.sound() and c.db.all(UNWELL) == []


def test_what_was_held_when_its_table_was_not_declared_is_passed_on_later(
    c: Cast, admin: Db
) -> None:
    """Beyond the grant's scope it never counts, and is a link all the same."""
    late = c.device.envelope(c.forms["t"], {"key": "late", "owner_timestamp": 50})
    c.receive(late)
    back = away(c.db, "undeclared")
    c.receive(c.granted(until=10))
    c.db.run(back)
    assert fed(admin) == ["late"] and admin.all("SELECT kept FROM rowseal.quarantine") == [True]
    c.receive(c.granted(at=2, until=10))
    assert fed(admin) == ["late"]


# -- rows that come with a partition
class Parts(Cast):
    def __init__(self, db: Db):
        parted = tables(feed=True)
        for owner_or_key, before in (
            ("user_hash", "grantee_pkey, sign_b64))"),
            ("key", "sign_b64 bytea, PRIMARY KEY (user_hash, key))"),
        ):
            assert before in parted
            parted = parted.replace(before, f"{before} PARTITION BY LIST ({owner_or_key})")
        db.run(parted)
        self.db = db
        self.forms = {table: db.form(table) for table in ("cards", "grants", "t")}
        self.ann, self.bob = Writer(Owner("Ann")), Writer(Owner("Bob"))
        self.device = self.new()
        for owner in (self.ann.owner, self.bob.owner):
            card(db, owner)
        db.run(
            "CREATE TABLE t_1 PARTITION OF t FOR VALUES IN ('a', 'c');"
            f" CREATE TABLE grants_a PARTITION OF grants FOR VALUES IN ({self.hash(self.ann)})"
        )

    @staticmethod
    def hash(writer: Writer) -> str:
        return f"'\\x{writer.owner.hash.hex()}'"

    def attach(self, table: str, values: str, *rows: dict[str, Any]) -> None:
        new = f"{table}_new"
        self.db.run(f"CREATE TABLE IF NOT EXISTS {new} (LIKE {table} INCLUDING ALL)")
        for row in rows:
            self.db.insert(new, row)
        self.db.run(f"ALTER TABLE {table} ATTACH PARTITION {new} FOR VALUES IN ({values})")


@pytest.fixture
def p(db: Db) -> Parts:
    return Parts(db)


def test_a_link_that_comes_with_a_partition(p: Parts) -> None:
    (first,) = p.rows("a")
    link = p.device.sealed(p.forms["t"], {"key": "b", "owner_timestamp": 1})
    p.receive(p.granted(), p.revoked(p.device.last), first)
    assert p.stored() == []
    p.attach("t", "'b'", link)
    assert p.stored() == ["a", "b"] and p.sound() and p.db.all(UNWELL) == []


def test_a_grant_and_later_a_revocation_that_come_with_a_partition(p: Parts, admin: Db) -> None:
    device = Writer(p.bob.owner, SigningKey.generate())
    late = device.envelope(p.forms["t"], {"key": "c", "owner_timestamp": 50})
    assert p.receive(*p.rows("a", by=device), late) == ["deferred", "deferred"]
    p.attach("grants", p.hash(p.bob), p.bob.sealed(p.forms["grants"], grant(device, until=10)))
    assert p.stored() == ["a"] and p.sound() and sorted(fed(admin)) == ["a", "c"]
    p.db.run("ALTER TABLE grants DETACH PARTITION grants_new")
    ended = p.bob.sealed(p.forms["grants"], revocation(device, [], at=2))
    p.attach("grants", p.hash(p.bob), ended)
    assert p.stored() == [] and p.sound() and p.db.all(UNWELL) == []


def test_grants_of_a_partition_that_crowd_out_another(p: Parts) -> None:
    """64 shorter chains to a key: what rested on a longer one leaves every table."""
    boss, manager, device = (Writer(p.bob.owner, SigningKey.generate()) for _ in range(3))
    form = p.forms["grants"]
    p.attach("grants", p.hash(p.bob), p.bob.sealed(form, grant(boss, may_grant=2)))
    p.receive(boss.envelope(form, grant(manager, may_grant=1)))
    p.receive(manager.envelope(form, grant(device)))
    assert p.receive(*p.rows("a", by=device)) == ["inserted"]
    p.db.run("ALTER TABLE grants DETACH PARTITION grants_new")
    crowd = [p.bob.sealed(form, grant(device, at=n + 2, until=0)) for n in range(64)]
    p.attach("grants", p.hash(p.bob), *crowd)
    assert p.stored() == [] and p.sound()


# -- others
def test_a_closed_table_keeps_its_rows(c: Cast) -> None:
    """A DELETE there met no query to ask, and the worker that brought it began again for ever."""
    c.receive(c.granted(), *c.rows("a"))
    away(c.db, "closed")
    c.db.refused("RS004", "DELETE FROM t")
    assert c.stored() == ["a"]


def test_an_undeclare_that_is_open_takes_nothing_from_what_a_revocation_takes_out(
    c: Cast, admin: Db, server: Server, database: str
) -> None:
    """It waits for the table, which has no triggers by then: what it takes out must be kept."""
    c.receive(c.granted(), *c.rows("a", "b"))
    assert c.stored() == ["a", "b"]
    with server.connect(database, "app") as connection:
        other = Db(connection)
        other.run("BEGIN; SELECT rowseal.undeclare('t')")
        thread = threading.Thread(target=c.receive, args=(c.revoked(),))
        thread.start()
        waits = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'"
        until(lambda: other.one(waits) == 1)
        other.run("COMMIT")
        thread.join()
    assert c.stored() == ["a", "b"]  # nobody takes them out of a table that is not declared
    c.db.run(DECLARE)
    assert c.stored() == [] and c.sound()
    held = admin.one("SELECT count(*) FROM rowseal._writer_rows WHERE held > 0")
    assert held == 2  # their bodies are kept


def test_a_table_that_opens_by_somebody_elses_command_runs_nothing_of_its_owners(
    admin: Db, server: Server, database: str
) -> None:
    """A superuser altered his identity table, and wrote hers with his rights."""
    admin.run(
        f"CREATE TABLE cards (user_hash bytea PRIMARY KEY, k bytea, {SIGNED});"
        " SELECT rowseal.declare('cards', owner => 'user_hash', public_key => 'k',"
        " fingerprint => 'sha256'); GRANT SELECT ON cards TO PUBLIC;"
        " CREATE SCHEMA hers AUTHORIZATION mallory"
    )
    ann = Writer(Owner("Ann"))
    card(admin, ann.owner)
    device = Writer(ann.owner, SigningKey.generate())
    with server.connect(database, "mallory") as connection:
        mallory = Db(connection)
        mallory.run(
            "GRANT USAGE ON SCHEMA hers TO rowseal_internal; SET search_path = hers, public;"
            f" {GRANTS}; CREATE TABLE t (user_hash bytea, key text, value integer,"
            f" parent_sign_b64 bytea, {WRITER}, {SIGNED}, PRIMARY KEY (user_hash, key));"
            " SELECT rowseal.declare('grants', owner => 'user_hash', identity => 'cards',"
            f" grants => true); {DECLARE.replace(', feed => true', '')}"
        )
        mallory.insert("grants", ann.sealed(mallory.form("grants"), grant(device)))
        row = {"key": "k", "value": 1, "owner_timestamp": 5, "parent_sign_b64": None}
        mallory.insert("t", device.sealed(mallory.form("t"), row))
        mallory.run(
            "CREATE TABLE ran (who text); CREATE FUNCTION code() RETURNS trigger LANGUAGE plpgsql"
            " AS $$ BEGIN INSERT INTO hers.ran VALUES (current_user); RETURN OLD; END $$;"
            " CREATE TRIGGER a BEFORE DELETE ON t FOR EACH ROW EXECUTE FUNCTION code()"
        )
        # closed by what is put in order without a command that is followed
        admin.run("ALTER TABLE hers.t_versions OWNER TO pg_monitor")
        admin.run(
            "ALTER EVENT TRIGGER rowseal_ddl DISABLE; ALTER TABLE hers.t_versions OWNER TO mallory;"
            " ALTER EVENT TRIGGER rowseal_ddl ENABLE ALWAYS"
        )
        closed = "SELECT count(*) FROM rowseal.declarations WHERE queries = '{}'"
        assert mallory.one(closed) == 1
        mallory.insert("grants", ann.sealed(mallory.form("grants"), revocation(device, [])))
        admin.run("ALTER TABLE cards ADD COLUMN note text")
        assert mallory.one(closed) == 0 and mallory.all("SELECT who FROM ran") == []
        followed = (
            "SELECT detail NOT LIKE '%was closed%' FROM rowseal.health()"
            " WHERE relation = 't'::regclass AND \"check\" = 'revocation'"
        )
        admin.run("SELECT rowseal.retry(); SET search_path = hers, public")
        assert mallory.one("SELECT count(*) FROM t") == 1 and not admin.one(followed)
        mallory.run("REVOKE DELETE ON t FROM mallory; SELECT rowseal.retry()")  # no error
        assert mallory.one("SELECT count(*) FROM t") == 1 and not admin.one(followed)
        mallory.run("GRANT DELETE ON t TO mallory; SELECT rowseal.retry()")
        assert mallory.one("SELECT count(*) FROM t") == 0 and admin.one(followed)
        assert mallory.all("SELECT who FROM ran") == ["mallory"]


def test_a_revocation_from_a_stack_that_is_used_up_is_followed_or_refused(c: Cast) -> None:
    """It was stored, and its writer's rows stayed for good: nothing told but verify."""
    c.receive(c.granted(), *c.rows("a"))
    form = c.forms["grants"]
    c.db.run("CREATE TABLE stash (LIKE grants)")
    c.db.insert("stash", c.ann.sealed(form, revocation(c.device, [])))
    c.db.run(STACKED.format("deep", "INSERT INTO public.grants SELECT * FROM public.stash"))
    most = deepest(c.db, "deep")
    assert most > 100
    for depth in range(most - 40, most + 1, 4):
        c.db.run("BEGIN")
        c.db.run(f"SELECT deep({depth})")
        assert c.stored() == [] and c.db.one("SELECT count(*) FROM grants") == 2
        c.db.run("ROLLBACK")
