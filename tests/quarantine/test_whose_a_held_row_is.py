"""A row that the ledger of a grants table knows as held is for the tables of that one, whoever has
its tag meanwhile, whoever brings it again, and when its table is made anew.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from psycopg.types.json import Json

from kit.db import Db, Server
from kit.example import Owner
from kit.writers import REFUSED, SIGNED, WRITER, Writer, card, grant, revocation, tables
from rowseal.client import SigningKey

DISCARD_ALL = "SELECT rowseal.discard(ARRAY(SELECT generate_series(1, 99)))"
UNWELL = "SELECT detail FROM rowseal.health() WHERE NOT ok"
T = f"""CREATE TABLE t (user_hash bytea, key text, value integer, parent_sign_b64 bytea, {WRITER},
          {SIGNED}, PRIMARY KEY (user_hash, key));
        SELECT rowseal.declare('t', owner => 'user_hash', identity => 'cards', writers => 'grants',
                               versions => 't_versions')"""


class Cast:
    """Ann's device may write u; a row of it for t is held, brought by somebody whom t's owner is
    not trusted with.  Then t is dropped.
    """

    def __init__(self, db: Db, admin: Db, service: Db):
        db.run(tables())
        db.run("GRANT SELECT, INSERT, UPDATE ON t, t_versions TO service")
        db.run("GRANT SELECT ON cards, grants TO service")
        self.db, self.admin = db, admin
        self.forms = {t: db.form(t) for t in ("grants", "t", "u")}
        self.ann = Writer(Owner("Ann"))
        self.device = Writer(self.ann.owner, SigningKey.generate())
        card(db, self.ann.owner)
        self.receive(self.ann, "grants", **grant(self.device, tables=["u"]))
        self.receive(self.device, "u", key="1", owner_timestamp=5)
        self.held = self.device.envelope(self.forms["t"], {"key": "2", "owner_timestamp": 5})
        (outcome, reason) = service.apply("t", [self.held])[0]
        assert outcome == "deferred" and str(reason).startswith("RS011")
        self.receive(self.device, "u", key="3", owner_timestamp=5)
        db.run("SELECT rowseal.undeclare('t'); DROP TABLE t, t_versions")

    def receive(self, by: Writer, table: str, **row: Any) -> str:
        sent = Json([by.envelope(self.forms[table], row)])
        return str(self.db.one("SELECT outcome FROM rowseal.receive(%s)", sent))

    def keys(self, table: str) -> list[str]:
        return self.db.all(f"SELECT key FROM {table} ORDER BY 1")

    def sound(self) -> bool:
        return not self.db.all("SELECT * FROM rowseal.verify('grants')")


@pytest.fixture
def mallory(server: Server, database: str) -> Iterator[Db]:
    with server.connect(database, "mallory") as connection:
        yield Db(connection)


@pytest.fixture
def cast(server: Server, database: str, db: Db, admin: Db) -> Iterator[Cast]:
    """The service may write t, and has not given its owner its rights."""
    admin.run("REVOKE rowseal_trusted FROM app; CREATE ROLE service LOGIN")
    try:
        with server.connect(database, "service") as connection:
            yield Cast(db, admin, Db(connection))
    finally:
        admin.run("GRANT rowseal_trusted TO app; DROP OWNED BY service; DROP ROLE service")


def take(c: Cast, mallory: Db) -> None:
    """Mallory has tables of the same shape, with t's tag."""
    c.db.run("GRANT SELECT ON cards TO mallory")
    c.db.run("CREATE TABLE hers (LIKE grants INCLUDING ALL)")
    c.db.run("CREATE TABLE mine (LIKE u INCLUDING ALL)")
    c.admin.run("ALTER TABLE hers OWNER TO mallory; ALTER TABLE mine OWNER TO mallory")
    mallory.run(
        "SELECT rowseal.declare('hers', owner => 'user_hash', identity => 'cards', grants => true);"
    )
    declare(mallory)


def declare(mallory: Db) -> None:
    mallory.run(
        "SELECT rowseal.declare('mine', owner => 'user_hash', identity => 'cards', tag => 't',"
        " writers => 'hers', versions => 'mine_versions')"
    )


def test_who_has_its_tag_and_its_body_gets_no_hold_of_it(cast: Cast, mallory: Db) -> None:
    """It could be discarded, and a walk in the other ledger ended there."""
    c = cast
    take(c, mallory)
    mallory.run(REFUSED.format("RS010,x"), Json(c.held))
    assert mallory.one("SELECT count(*) FROM rowseal.quarantine") == 1  # her own
    assert mallory.one(DISCARD_ALL) == 1 and mallory.one(DISCARD_ALL) == 0
    # nor by a table made anew
    mallory.run("SELECT rowseal.undeclare('mine'); DROP TABLE mine, mine_versions")
    c.db.run("CREATE TABLE mine (LIKE u INCLUDING ALL)")
    c.admin.run("ALTER TABLE mine OWNER TO mallory")
    declare(mallory)
    assert mallory.one(DISCARD_ALL) == 0
    assert mallory.one("SELECT count(*) FROM rowseal.quarantine") == 0
    assert c.sound()
    last = c.device.last or b""
    assert c.receive(c.ann, "grants", **revocation(c.device, [last], at=9)) == "superseded"
    assert c.keys("u") == ["1", "3"] and c.sound()
    assert c.db.all(UNWELL) == []


@pytest.mark.parametrize("then", ["grant", "revocation"])
def test_a_stranger_has_its_tag_for_a_moment(cast: Cast, mallory: Db, then: str) -> None:
    """Grants and revocations of its owner failed ever after."""
    c = cast
    take(c, mallory)
    mallory.run("DROP TABLE mine, mine_versions")
    c.db.run(T)
    assert c.sound() and c.db.one("SELECT sqlstate FROM rowseal.quarantine") == "RS011"
    if then == "grant":
        assert c.receive(c.ann, "grants", **grant(c.device, at=2)) == "superseded"
        assert c.keys("t") == ["2"] and c.keys("u") == ["1", "3"]
        assert c.admin.one("SELECT count(*) FROM rowseal.quarantine") == 0
    else:
        sealed = c.ann.sealed(c.forms["grants"], revocation(c.device, [], at=9))
        c.db.insert("grants", sealed)
        assert c.keys("u") == []
    assert c.sound() and c.db.all(UNWELL) == []


def test_a_revocation_does_not_wait_for_who_may_see_what_is_held(
    cast: Cast, server: Server, database: str
) -> None:
    """What it takes out matters more than why the rest is held."""
    c = cast
    c.db.run(T)
    c.db.run("GRANT SELECT, INSERT, DELETE ON t, t_versions, u, u_versions TO mallory")
    c.db.run("GRANT SELECT, INSERT, UPDATE, DELETE ON grants TO mallory")
    c.db.run("GRANT SELECT ON cards TO mallory")
    with server.connect(database, "mallory") as connection:
        sealed = c.ann.sealed(c.forms["grants"], revocation(c.device, [], at=9))
        Db(connection).insert("grants", sealed)
    assert c.keys("u") == [] and c.sound()
