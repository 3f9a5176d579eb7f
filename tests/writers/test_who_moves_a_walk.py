"""The tables never differ from the ledger: a walk goes on with a row only where they can follow."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from psycopg.types.json import Json

from kit.attacks import insert
from kit.db import Db, Server
from kit.example import Owner
from kit.writers import REFUSED, Writer, card, grant, revocation, tables
from rowseal.client import SigningKey

RECEIVE = "SELECT outcome FROM rowseal.receive(%s)"
KEYS = "SELECT key FROM t ORDER BY 1"


class Gap:
    """A revocation up to #3 that has been walked to #3.

    #1 waits for #2, which can be a link alone: the table cannot store it.
    """

    def __init__(self, db: Db):
        db.run(tables() + "; ALTER TABLE t ADD CHECK (key <> 'bad')")
        self.db = db
        self.forms = {table: db.form(table) for table in ("grants", "t")}
        self.ann = Writer(Owner("Ann"))
        device = Writer(self.ann.owner, SigningKey.generate())
        card(db, self.ann.owner)
        rows = [
            device.envelope(self.forms["t"], {"key": key, "owner_timestamp": 1})
            for key in ("a", "bad", "c")
        ]
        self.granted = self.ann.envelope(self.forms["grants"], grant(device))
        self.revoked = self.ann.envelope(
            self.forms["grants"], revocation(device, [device.last or b""], at=9)
        )
        self.first, self.link, self.named = rows
        given = (self.granted, self.revoked, self.first, self.named)
        outcomes = [self.receive(envelope)[0] for envelope in given]
        assert outcomes == ["inserted", "superseded", "deferred", "inserted"]

    def receive(self, *envelopes: Any) -> list[str]:
        return self.db.all(RECEIVE, Json(list(envelopes)))

    def stored(self) -> list[str]:
        return self.db.all(KEYS)


@pytest.fixture
def gap(db: Db) -> Gap:
    return Gap(db)


@pytest.fixture
def mallory(server: Server, database: str, gap: Gap) -> Iterator[Db]:
    gap.db.run("GRANT SELECT ON grants, t TO mallory")
    with server.connect(database, "mallory") as connection:
        yield Db(connection)


def entered(admin: Db) -> list[int]:
    return admin.all("SELECT seq FROM rowseal._writer_rows ORDER BY 1")


def test_a_walk_does_not_go_on_with_a_row_of_someone_who_may_not_write(
    gap: Gap, admin: Db, mallory: Db
) -> None:
    assert mallory.all(RECEIVE, Json([gap.link])) == ["deferred"]
    mallory.run(REFUSED.format("23514,x"), Json(gap.link))
    assert entered(admin) == [1, 3] and gap.stored() == ["c"]
    # the same row from one who may
    gap.receive(gap.link)
    assert entered(admin) == [1, 2, 3] and gap.stored() == ["a", "c"]


def test_retry_makes_a_walk_go_on(gap: Gap, admin: Db, mallory: Db) -> None:
    assert mallory.all(RECEIVE, Json([gap.link])) == ["deferred"]
    (entry,) = admin.all("SELECT id FROM rowseal.quarantine WHERE role = 'mallory'")
    mallory.all("SELECT outcome FROM rowseal.retry(%s)", [entry])
    assert gap.stored() == ["c"]
    gap.db.all("SELECT outcome FROM rowseal.retry()")
    assert gap.stored() == ["a", "c"]


def test_what_follows_from_a_walk_is_done_or_the_walk_does_not_go_on(
    gap: Gap, admin: Db, mallory: Db
) -> None:
    """A manager let in whom he was not to: who may not delete rows does not move that walk."""
    db, ann, forms = gap.db, gap.ann, gap.forms
    manager, guest = (Writer(ann.owner, SigningKey.generate()) for _ in range(2))
    hired = ann.envelope(forms["grants"], grant(manager, may_grant=1))
    let_in = manager.envelope(forms["grants"], grant(guest))
    page = guest.envelope(forms["t"], {"key": "g", "owner_timestamp": 1})
    # the manager takes his grant back, and signs a link that t cannot store after that
    back = manager.envelope(forms["grants"], revocation(guest, []))
    link = manager.envelope(forms["t"], {"key": "bad", "owner_timestamp": 1})
    ended = ann.envelope(forms["grants"], revocation(manager, [manager.last or b""]))
    gap.receive(hired, let_in, page)
    assert gap.stored() == ["c", "g"]
    gap.receive(ended)
    assert gap.stored() == ["c"]
    gap.receive(back)
    assert gap.stored() == ["c"]
    db.run(
        "GRANT INSERT, UPDATE ON t, t_versions, grants TO mallory;"
        "GRANT SELECT ON cards, t_versions TO mallory"
    )
    given = mallory.all("SELECT outcome, reason FROM rowseal.apply('t', %s)", Json([link]))
    assert [(outcome, "no right to take rows" in reason) for outcome, reason in given] == [
        ("deferred", True)
    ]
    assert gap.stored() == ["c"] and db.all("SELECT * FROM rowseal.verify('grants')") == []
    gap.receive(link)
    assert gap.stored() == ["c"] and db.all("SELECT * FROM rowseal.verify('grants')") == []
    assert admin.one("SELECT count(*) FROM rowseal._writer_rows WHERE held IS NOT NULL") >= 1


def managed(db: Db) -> tuple[Writer, Writer, Writer, bytes | None, dict[str, Any]]:
    """An owner, a manager, a guest with a row, the link that let him in, his end (not sent yet)."""
    db.run(tables())
    ann = Writer(Owner("Ann"))
    manager, guest = (Writer(ann.owner, SigningKey.generate()) for _ in range(2))
    card(db, ann.owner)
    grants = db.form("grants")
    db.insert("grants", ann.sealed(grants, grant(manager, may_grant=1)))
    db.insert("grants", manager.sealed(grants, grant(guest)))
    let_in = manager.last
    db.insert("t", guest.sealed(db.form("t"), {"key": "a", "owner_timestamp": 1}))
    return ann, manager, guest, let_in, manager.envelope(grants, revocation(guest, []))


@pytest.mark.parametrize("kind", [grant, revocation])
@pytest.mark.parametrize("trigger", [False, True])
def test_a_revocation_that_counts_by_a_link_is_carried_out_or_the_walk_waits(
    kind: Any, trigger: bool, db: Db, admin: Db, server: Server, database: str
) -> None:
    """Whether that link is a grant or itself a revocation, and whoever's code the tables run."""
    ann, manager, guest, let_in, ended = managed(db)
    other, grants, t = Writer(ann.owner, SigningKey.generate()), db.form("grants"), db.form("t")
    options = {"at": 4} if kind is grant else {"upto": [], "at": 4}
    link = manager.sealed(grants, kind(other, **options))
    db.insert("grants", manager.sealed(grants, grant(other)))
    db.insert("grants", ann.sealed(grants, revocation(manager, [let_in, manager.last], at=7)))
    assert db.apply("grants", [ended])[0][0] == "deferred" and db.all(KEYS) == ["a"]
    if trigger:
        db.run("GRANT TRIGGER ON u TO mallory")
        with server.connect(database, "mallory") as stranger:
            stranger.execute(
                "CREATE FUNCTION no() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END';"
                "CREATE TRIGGER a BEFORE INSERT ON u FOR EACH ROW EXECUTE FUNCTION no()"
            )
    db.run("GRANT SELECT, INSERT, DELETE ON grants, t, t_versions, u, u_versions TO mallory")
    db.run("GRANT SELECT ON cards TO mallory")
    with server.connect(database, "mallory") as loader:
        assert insert(Db(loader), "grants", link) == "42501"
    assert admin.one("SELECT count(*) FROM rowseal._wanted") == 1
    if trigger and kind is grant:  # nobody has named the tables to which it leads
        assert insert(db, "grants", link) == "RS017" and db.all(KEYS) == ["a"]
        return
    assert insert(db, "grants", link) is None
    assert db.all(KEYS) == [] and db.all("SELECT * FROM rowseal.verify('grants')") == []
    again = guest.sealed(t, {"key": "b", "owner_timestamp": 1})
    assert insert(db, "t", again) in ("RS010", "RS012")


@pytest.mark.parametrize("where", ["grants", "u"])
def test_a_row_that_leads_to_a_revocation_runs_nobodys_code(
    where: str, db: Db, admin: Db, server: Server, database: str
) -> None:
    """It was brought to another table: what it is a link of, the envelope alone says."""
    ann, manager, _, let_in, ended = managed(db)
    grants, t = db.form("grants"), db.form("t")
    link = manager.envelope(t, {"key": "link", "owner_timestamp": 1})
    db.insert("t", manager.sealed(t, {"key": "b", "owner_timestamp": 1}))
    db.insert("grants", ann.sealed(grants, revocation(manager, [let_in, manager.last], at=7)))
    assert db.apply("grants", [ended])[0][0] == "deferred"
    db.run(f"GRANT TRIGGER ON {where} TO mallory")
    with server.connect(database, "mallory") as stranger:
        stranger.execute(
            "CREATE TABLE ran (who text); GRANT ALL ON ran TO PUBLIC;"
            "CREATE FUNCTION spy() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN"
            " INSERT INTO public.ran VALUES (current_user); RETURN coalesce(NEW, OLD); END';"
            f"CREATE TRIGGER a BEFORE INSERT OR DELETE ON {where} FOR EACH ROW"
            " EXECUTE FUNCTION spy()"
        )
    for carrier in admin, db:
        ((answer, reason),) = carrier.apply("t", [link])
        assert answer == "deferred" and str(reason).startswith("RS017")
    assert admin.all("SELECT * FROM ran") == [] and "link" not in db.all(KEYS)


def test_who_has_no_rights_on_the_versions_lets_nobody_in_by_a_grant(
    db: Db, server: Server, database: str
) -> None:
    db.run(tables())
    ann = Writer(Owner("Ann"))
    guest = Writer(ann.owner, SigningKey.generate())
    card(db, ann.owner)
    waits = guest.envelope(db.form("t"), {"key": "a", "owner_timestamp": 1})
    assert db.apply("t", [waits])[0][0] == "deferred"
    db.run("GRANT ALL ON grants, t, u TO mallory; GRANT SELECT ON cards TO mallory")
    granted = ann.sealed(db.form("grants"), grant(guest))
    with server.connect(database, "mallory") as loader:
        assert insert(Db(loader), "grants", granted) == "42501"
    assert insert(db, "grants", granted) is None and db.all(KEYS) == ["a"]


def test_a_held_row_keeps_no_table_from_being_declared(
    db: Db, server: Server, database: str
) -> None:
    """Its code, of a missing right, was taken for that of a stored row."""
    db.run(tables())
    ann = Writer(Owner("Ann"))
    guest = Writer(ann.owner, SigningKey.generate())
    card(db, ann.owner)
    db.insert("grants", ann.sealed(db.form("grants"), grant(guest)))
    db.run("GRANT SELECT, INSERT, UPDATE ON t, t_versions TO mallory")
    db.run("GRANT SELECT ON grants TO mallory")
    row = guest.envelope(db.form("t"), {"key": "a", "owner_timestamp": 1})
    with server.connect(database, "mallory") as loader:
        assert Db(loader).apply("t", [row])[0][0] == "deferred"
    db.run("SELECT rowseal.undeclare('t')")
    db.run(
        "SELECT rowseal.declare('t', owner => 'user_hash', identity => 'cards',"
        " writers => 'grants', versions => 't_versions')"
    )
    assert db.all(KEYS) == ["a"]


def test_rows_of_another_table_count_with_the_walk_or_the_walk_waits(
    gap: Gap, admin: Db, mallory: Db
) -> None:
    db, ann = gap.db, gap.ann
    device, u = Writer(ann.owner, SigningKey.generate()), db.form("u")
    first = device.envelope(u, {"key": "first", "owner_timestamp": 1})
    second, third = (
        device.envelope(gap.forms["t"], {"key": key, "owner_timestamp": 1})
        for key in ("second", "third")
    )
    ended = ann.envelope(gap.forms["grants"], revocation(device, [device.last or b""], at=9))
    gap.receive(ann.envelope(gap.forms["grants"], grant(device)))
    gap.receive(ended, first, third)
    db.run("GRANT ALL ON t, t_versions TO mallory; GRANT SELECT ON cards TO mallory")
    given = mallory.all("SELECT outcome, reason FROM rowseal.apply('t', %s)", Json([second]))
    assert given == [("deferred", "42501: rows would count by this one that you may not write")]
    assert db.all("SELECT key FROM u") == []
    assert gap.receive(second) == ["inserted"]
    assert db.all("SELECT key FROM u") == ["first"]


def test_a_grant_lets_the_waiting_rows_in_or_is_not_stored(
    gap: Gap, admin: Db, mallory: Db
) -> None:
    db, ann = gap.db, gap.ann
    device = Writer(ann.owner, SigningKey.generate())
    waiting = device.envelope(gap.forms["t"], {"key": "w", "owner_timestamp": 1})
    assert gap.receive(waiting) == ["deferred"]
    db.run("GRANT ALL ON grants TO mallory; GRANT SELECT ON cards TO mallory")
    granted = ann.envelope(gap.forms["grants"], grant(device))
    apply = "SELECT outcome FROM rowseal.apply('grants', %s)"
    assert mallory.all(apply, Json([granted])) == ["deferred"]
    assert "w" not in gap.stored()
    assert gap.receive(granted) == ["inserted"] and "w" in gap.stored()


def test_whoever_drops_an_entry_keeps_no_owner_waiting(
    server: Server, database: str, gap: Gap, admin: Db
) -> None:
    """The owner's number went with his last held row, under a grant that came meanwhile."""
    bob = Writer(Owner("Bob"))
    card(gap.db, bob.owner)
    stranger, device = (Writer(bob.owner, SigningKey.generate()) for _ in range(2))
    t, grants = gap.forms["t"], gap.forms["grants"]
    assert gap.receive(stranger.envelope(t, {"key": "s", "owner_timestamp": 1})) == ["deferred"]
    with server.connect(database) as other:
        other.autocommit = False
        other.execute(
            "SELECT rowseal.discard(array_agg(id)) FROM rowseal.quarantine WHERE sqlstate = 'RS010'"
        )
        gap.db.run("SET statement_timeout = '5s'")
        assert gap.receive(bob.envelope(grants, grant(device))) == ["inserted"]
        other.commit()
    assert gap.receive(device.envelope(t, {"key": "d", "owner_timestamp": 1})) == ["inserted"]
    assert gap.receive(bob.envelope(grants, revocation(device, [], at=9)))
    assert gap.receive(device.envelope(t, {"key": "e", "owner_timestamp": 2})) == ["deferred"]
    assert gap.db.all("SELECT * FROM rowseal.verify('grants')") == []


def test_what_was_stored_is_kept_whoever_brings_it_again(gap: Gap, admin: Db) -> None:
    """Rows under a manager who fell; what he granted, the owner can heal."""
    ann, t, grants = gap.ann, gap.forms["t"], gap.forms["grants"]
    manager, device = (Writer(ann.owner, SigningKey.generate()) for _ in range(2))
    hired = ann.envelope(grants, grant(manager, may_grant=1))
    let_in = manager.envelope(grants, grant(device))
    rows = [device.envelope(t, {"key": f"k{n}", "owner_timestamp": 1}) for n in range(30)]
    gap.receive(hired, let_in)
    assert gap.receive(*rows) == ["inserted"] * 30
    gap.receive(ann.envelope(grants, revocation(manager, [], at=5)))
    admin.run("UPDATE rowseal.quarantine_limits SET rows = 10")
    gap.receive(*rows)
    gap.receive(*({"table": "t", "n": n} for n in range(200)))
    gap.receive(ann.envelope(grants, grant(device, at=6)))
    assert len([k for k in gap.stored() if k.startswith("k")]) == 30


def test_a_link_of_a_known_writer_is_kept_whatever_its_size(gap: Gap, admin: Db) -> None:
    ann, t = gap.ann, gap.forms["t"]
    device = Writer(ann.owner, SigningKey.generate())
    rows = [
        device.envelope(t, {"key": key, "owner_timestamp": 1}) for key in ("x", "y" * 1900, "z")
    ]
    admin.run("UPDATE rowseal.quarantine_limits SET bytes = 1000")
    grants = gap.forms["grants"]
    gap.receive(ann.envelope(grants, grant(device, keys='{"key": "x"}')))
    gap.receive(*rows)
    gap.receive(ann.envelope(grants, grant(device, at=2)))
    gap.receive(ann.envelope(grants, revocation(device, [device.last or b""], at=9)))
    assert {"x", "z", "y" * 1900} <= set(gap.stored())


def test_rows_of_a_table_that_is_gone_stop_no_grant(gap: Gap) -> None:
    db, ann, grants = gap.db, gap.ann, gap.forms["grants"]
    device = Writer(ann.owner, SigningKey.generate())
    waiting = device.envelope(db.form("u"), {"key": "w", "owner_timestamp": 1})
    assert gap.receive(waiting) == ["deferred"]
    db.run("SELECT rowseal.undeclare('u')")
    assert gap.receive(ann.envelope(grants, grant(device))) == ["inserted"]
    assert gap.receive(ann.envelope(grants, revocation(device, [], at=9))) == ["superseded"]
