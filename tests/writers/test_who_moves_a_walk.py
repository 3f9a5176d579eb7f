"""The tables never differ from the ledger: a walk goes on with a row only where they can follow."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from psycopg.types.json import Json

from kit.db import Db, Server
from kit.example import Owner
from kit.writers import Writer, card, grant, revocation, tables
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

    def keys(self) -> list[str]:
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
    mallory.refused(
        "42501",
        "SELECT rowseal._quarantine('t', '(23514,x)', 'canonical', %s)",
        Json(gap.link),
    )
    assert entered(admin) == [1, 3] and gap.keys() == ["c"]
    # the same row from one who may
    gap.receive(gap.link)
    assert entered(admin) == [1, 2, 3] and gap.keys() == ["a", "c"]


def test_retry_makes_a_walk_go_on(gap: Gap, admin: Db, mallory: Db) -> None:
    assert mallory.all(RECEIVE, Json([gap.link])) == ["deferred"]
    (entry,) = admin.all("SELECT id FROM rowseal.quarantine WHERE role = 'mallory'")
    mallory.all("SELECT outcome FROM rowseal.retry(%s)", [entry])
    assert gap.keys() == ["c"]
    gap.db.all("SELECT outcome FROM rowseal.retry()")
    assert gap.keys() == ["a", "c"]


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
    assert gap.keys() == ["c", "g"]
    gap.receive(ended)
    assert gap.keys() == ["c"]
    gap.receive(back)
    assert gap.keys() == ["c"]
    db.run("GRANT INSERT, UPDATE ON t, t_versions, grants TO mallory")
    assert mallory.all(RECEIVE, Json([link])) == ["rejected"]
    assert gap.keys() == ["c"] and db.all("SELECT * FROM rowseal.verify('grants')") == []
    gap.receive(link)
    assert gap.keys() == ["c"] and db.all("SELECT * FROM rowseal.verify('grants')") == []
    assert admin.one("SELECT count(*) FROM rowseal._writer_rows WHERE held IS NOT NULL") >= 1
