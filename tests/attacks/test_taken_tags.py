"""A tag is a name, and whoever has it gets what is sent to it: nobody takes that of another one
while rows wait for it.
"""

from __future__ import annotations

import pytest
from psycopg.types.json import Json

from kit.attacks import KEY, attempt, row, table
from kit.db import Db
from kit.example import Owner

TAKE = "SELECT rowseal.declare('taken', owner => 'user_hash', identity => 'user_cards', tag => 'q')"
QUARANTINED = "SELECT count(*) FROM rowseal.quarantine"


@pytest.fixture
def waiting(mallory: Db, example: Db, admin: Db, ann: Owner) -> Owner:
    """A row of an unknown owner waits for app's table q; mallory has a table of the same shape."""
    table(example, "q", "uuid uuid")
    table(mallory, "taken", "uuid uuid", declare=None)
    eve = Owner("Eve")
    sent = eve.envelope(example.form("q"), row(eve, uuid=KEY))
    assert [o for o, _ in admin.apply("q", [sent])] == ["deferred"]
    return eve


def test_a_tag_that_is_free_for_a_moment_is_not_taken_by_a_stranger(
    waiting: Owner, mallory: Db, example: Db, admin: Db
) -> None:
    example.run("SELECT rowseal.undeclare('q')")
    diag = mallory.refused("RS008", TAKE)
    assert "'q'" in str(diag.message_primary) and "app" in str(diag.message_primary)
    mallory.refused(
        "RS008",
        "INSERT INTO rowseal.declarations (relation, tag, owner, identity)"
        " VALUES ('taken', 'q', '{user_hash}', 'user_cards')",
    )
    assert mallory.one(QUARANTINED) == 0
    assert attempt(mallory, "DELETE FROM rowseal.quarantine") is None
    assert admin.one(QUARANTINED) == 1
    # the same owner may declare another table with it, and the row goes there
    example.run("ALTER TABLE q RENAME TO old")
    table(example, "q", "uuid uuid")
    form = example.form("user_cards")
    example.insert("user_cards", waiting.sealed(form, waiting.card()))
    assert example.one("SELECT count(*) FROM q") == 1


def test_a_tag_that_nothing_waits_for_is_free(
    waiting: Owner, mallory: Db, example: Db, admin: Db
) -> None:
    example.run("SELECT rowseal.undeclare('q')")
    admin.run("SELECT rowseal.discard(array_agg(id)) FROM rowseal.quarantine")
    assert attempt(mallory, TAKE) is None


def test_a_tag_is_free_when_its_table_is_gone(mallory: Db, example: Db) -> None:
    """Else who had a tag once, and sends something to it, would keep it from everybody."""
    table(mallory, "taken", "uuid uuid", declare=None)
    mallory.run(f"{TAKE}; SELECT rowseal.undeclare('taken'); DROP TABLE taken")
    mallory.run('SELECT * FROM rowseal.receive(\'{"table": "q"}\')')
    mallory.run("SELECT rowseal._quarantine('q', ROW('RS002', 'x'), 'canonical', '{}')")
    table(example, "q", "uuid uuid")


def test_what_waits_for_a_table_that_is_gone_is_not_for_whoever_takes_its_tag(
    waiting: Owner, mallory: Db, example: Db, admin: Db
) -> None:
    example.run("SELECT rowseal.undeclare('q'); DROP TABLE q")
    mallory.run(TAKE)
    assert mallory.all("SELECT * FROM rowseal.retry()") == []
    assert attempt(mallory, "DELETE FROM rowseal.quarantine") is None
    assert (mallory.one(QUARANTINED), admin.one(QUARANTINED)) == (0, 1)


def test_who_makes_his_table_anew_gets_what_waits_for_it(waiting: Owner, example: Db) -> None:
    example.run("SELECT rowseal.undeclare('q'); DROP TABLE q")
    table(example, "q", "uuid uuid")
    form = example.form("user_cards")
    example.insert("user_cards", waiting.sealed(form, waiting.card()))
    assert example.one("SELECT count(*) FROM q") == 1


def test_what_came_before_a_tag_was_declared_is_not_for_whoever_declares_it(
    mallory: Db, example: Db, admin: Db, ann: Owner
) -> None:
    table(mallory, "taken", "uuid uuid", declare=None)
    table(example, "q", "uuid uuid")
    sent = ann.envelope(example.form("q"), row(ann, uuid=KEY))
    example.run("SELECT rowseal.undeclare('q')")
    admin.run("DELETE FROM rowseal.tags")  # another server, where q was never declared
    answer = admin.all("SELECT outcome FROM rowseal.receive(%s)", Json([sent]))
    assert answer == ["deferred"]
    mallory.run(TAKE)
    assert mallory.all("SELECT * FROM rowseal.retry()") == []
    assert attempt(mallory, "DELETE FROM rowseal.quarantine") is None
    assert (mallory.one(QUARANTINED), mallory.one("SELECT count(*) FROM taken")) == (0, 0)
    mallory.run("SELECT rowseal.undeclare('taken')")
    admin.run("DELETE FROM rowseal.tags")
    example.run(
        "SELECT rowseal.declare('q', owner => 'user_hash', identity => 'user_cards')"
    )  # whom the administrator trusts
    assert example.one("SELECT count(*) FROM q") == 1
