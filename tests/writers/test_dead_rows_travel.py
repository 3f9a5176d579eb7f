"""Rows that a revocation has put beyond its frontier never count again; the links stay, and travel:
another revocation may be walked through them.
"""

from __future__ import annotations

from typing import Any

import pytest
from psycopg.types.json import Json, Jsonb

from kit.db import Db, Server
from kit.example import Owner
from kit.writers import Writer, card, grant, revocation, tables
from rowseal.client import SigningKey


class Cast:
    def __init__(self, db: Db):
        self.forms = {t: db.form(t) for t in ("grants", "t")}
        self.owner = Writer(Owner("Ann"))
        self.device = Writer(self.owner.owner, SigningKey.generate())

    def rows(self) -> tuple[list[Any], list[Any]]:
        """A grant, three rows, a revocation up to the first; and one up to the last."""
        links, out = [], [self.owner.envelope(self.forms["grants"], grant(self.device))]
        for at, key in enumerate("abc", 1):
            row = {"key": key, "owner_timestamp": at}
            out.append(self.device.envelope(self.forms["t"], row))
            links.append(self.device.last or b"")
        revoked = [
            self.owner.envelope(self.forms["grants"], revocation(self.device, [link], at=at))
            for at, link in ((1, links[0]), (2, links[2]))
        ]
        return out, revoked


def receive(db: Db, *envelopes: Any) -> None:
    db.all("SELECT * FROM rowseal.receive(%s)", Json(list(envelopes)))


def fed(admin: Db) -> list[Any]:
    return admin.all("SELECT envelope FROM rowseal.feed ORDER BY position")


def test_a_server_behind_another_loses_nothing(
    server: Server, database: str, db: Db, admin: Db
) -> None:
    """B → A → C: A has walked the first revocation when the rest arrives there."""
    db.run(tables(feed=True))
    c = Cast(db)
    card(db, c.owner.owner)
    (granted, *written), (first, second) = c.rows()
    for envelope in (granted, written[0], first, *written[1:], second, *written):
        receive(db, envelope)
    assert db.all("SELECT key FROM t") == ["a"]
    # all of them, each once
    assert [e["row"].get("key") for e in fed(admin)] == [None, None, "a", None, "b", "c", None]
    there = server.database()
    with server.connect(there, "app") as connection:
        behind = Db(connection)
        behind.run(tables(feed=True))
        for envelope in fed(admin):
            receive(behind, envelope)
        assert behind.all("SELECT key FROM t") == ["a"]
        assert behind.digest("t") == db.digest("t")
    server.drop(there)


def test_their_bodies_may_be_dropped_their_links_stay(db: Db, admin: Db) -> None:
    db.run(tables(feed=True))
    c = Cast(db)
    card(db, c.owner.owner)
    (granted, *written), (first, second) = c.rows()
    receive(db, granted, written[0])
    receive(db, first)
    receive(db, *written[1:])
    length = len(fed(admin))
    ids = admin.all("SELECT id FROM rowseal.quarantine")
    assert len(ids) == 2 and admin.one("SELECT rowseal.discard(%s)", ids) == 2
    assert admin.all(
        "SELECT link = rowseal.link(seq, prev, sign) FROM rowseal._writer_rows WHERE held = 0"
    ) == [True, True]
    receive(db, *written[1:])  # again: known, so they go round no more
    assert len(fed(admin)) == length
    admin.run("DELETE FROM rowseal.quarantine")
    receive(db, second)
    assert db.all("SELECT key FROM t") == ["a"]
    assert db.all('SELECT "check", detail FROM rowseal.health() WHERE NOT ok') == []


def test_a_row_that_waits_leaves_the_ledger_with_its_body(db: Db, admin: Db) -> None:
    db.run(tables())
    c = Cast(db)
    card(db, c.owner.owner)
    (_, *written), _ = c.rows()
    receive(db, *written)
    assert admin.one("SELECT count(*) FROM rowseal._writer_rows WHERE NOT fed") == 3
    admin.run("DELETE FROM rowseal.quarantine")
    assert admin.one("SELECT count(*) FROM rowseal._writer_rows") == 0


@pytest.mark.parametrize("way", ["export", "state", "repair"])
def test_a_new_server_walks_what_an_old_one_walked(
    server: Server, database: str, db: Db, admin: Db, way: str
) -> None:
    """The frontier names a row that is outside its writer's grant: it is held, and a link."""
    db.run(tables(feed=True))
    c = Cast(db)
    card(db, c.owner.owner)
    stranger = Writer(c.owner.owner, SigningKey.generate())
    receive(db, stranger.envelope(c.forms["t"], {"key": "nobody's", "owner_timestamp": 1}))
    receive(db, c.owner.envelope(c.forms["grants"], grant(c.device, keys='{"key": "a"}')))
    for at, key in enumerate("az", 1):
        receive(db, c.device.envelope(c.forms["t"], {"key": key, "owner_timestamp": at}))
    revoked = revocation(c.device, [c.device.last or b""])
    receive(db, c.owner.envelope(c.forms["grants"], revoked))
    assert db.all("SELECT key FROM t") == ["a"]
    there = server.database()
    with server.connect(there, "app") as connection:
        fresh = Db(connection)
        fresh.run(tables(feed=True))
        card(fresh, c.owner.owner)
        if way == "repair":
            with server.connect(there) as superuser:
                superuser.execute("CREATE EXTENSION dblink")
                where = f"host={server.host} port={server.port} user=postgres dbname={database}"
                for table in ("grants", "t"):
                    superuser.execute("SELECT * FROM rowseal.repair(%s, %s)", [table, where])
        else:
            admin.run("SET client_min_messages = error; SELECT rowseal.publish()")
            query = {
                "export": "SELECT rowseal.export(%s)",
                "state": "SELECT json_array_elements(rowseal._next_state(1000))"
                " FROM rowseal._open_state('rowseal', %s)",
            }[way]
            for table in ("grants", "t"):
                receive(fresh, *(admin if way == "state" else db).all(query, table))
        assert fresh.all("SELECT key FROM t") == ["a"]
        assert fresh.digest("t") == db.digest("t")
        assert fresh.all("SELECT * FROM rowseal.verify('grants')") == []
    server.drop(there)


def test_what_is_held_is_exported_of_one_owner_and_to_readers_of_the_grants_alone(
    db: Db, server: Server, database: str
) -> None:
    db.run(tables())
    c, other = Cast(db), Cast(db)
    for cast in (c, other):
        card(db, cast.owner.owner)
        receive(db, cast.owner.envelope(c.forms["grants"], grant(cast.device, until=0)))
        receive(db, cast.device.envelope(c.forms["t"], {"key": "held", "owner_timestamp": 1}))
    assert len(db.all("SELECT rowseal.export('t')")) == 2
    owner = Jsonb({"user_hash": f"\\x{c.owner.owner.hash.hex()}"})
    (envelope,) = db.all("SELECT rowseal.export('t', %s)", owner)
    assert envelope["row"]["user_hash"] == db.one("SELECT rowseal._encoded(%s)", c.owner.owner.hash)
    db.run("GRANT SELECT ON t, t_versions TO mallory")
    with server.connect(database, "mallory") as connection:
        assert Db(connection).all("SELECT rowseal.export('t')") == []
