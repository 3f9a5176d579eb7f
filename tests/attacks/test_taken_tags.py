"""A tag is a name, and whoever has it gets what is sent to it: nobody takes that of another one
while its table is there.
"""

from __future__ import annotations

from typing import Any

import pytest
from psycopg.types.json import Json

from kit.attacks import KEY, attempt, row, table
from kit.db import Db
from kit.example import Owner
from kit.writers import Writer, card, grant, revocation, tables
from rowseal.client import SigningKey

TAKE = "SELECT rowseal.declare('taken', owner => 'user_hash', identity => 'user_cards', tag => 'q')"
DISCARD_ALL = "SELECT rowseal.discard(ARRAY(SELECT generate_series(1, 99)))"
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
    assert "'q'" in str(diag.message_primary) and "of app" in str(diag.message_primary)
    mallory.refused(
        "RS008",
        "INSERT INTO rowseal.declarations (relation, tag, owner, identity)"
        " VALUES ('taken', 'q', '{user_hash}', 'user_cards')",
    )
    assert mallory.one(QUARANTINED) == 0
    assert mallory.one(DISCARD_ALL) == 0
    assert admin.one(QUARANTINED) == 1
    # the same owner may declare another table with it, and the row goes there
    example.run("ALTER TABLE q RENAME TO old")
    table(example, "q", "uuid uuid")
    form = example.form("user_cards")
    example.insert("user_cards", waiting.sealed(form, waiting.card()))
    assert example.one("SELECT count(*) FROM q") == 1


def test_a_tag_is_that_of_its_table_though_nothing_waits_for_it(
    mallory: Db, example: Db, admin: Db, ann: Owner
) -> None:
    """A table is undeclared to change it: nobody gets what is sent to it meanwhile."""
    table(mallory, "taken", "uuid uuid", declare=None)
    table(example, "q", "uuid uuid")
    example.run("SELECT rowseal.undeclare('q')")
    mallory.refused("RS008", TAKE)
    declare = "SELECT rowseal.declare('{}', owner => 'user_hash', identity => 'user_cards', {})"
    example.run(declare.format("q", "tag => 'q'"))
    # under another tag it keeps the one that rows may still be sent to
    example.run("SELECT rowseal.undeclare('q');" + declare.format("q", "tag => 'other'"))
    mallory.refused("RS008", TAKE)
    example.run("SELECT rowseal.undeclare('q'); DROP TABLE q")
    assert attempt(mallory, TAKE) is None


@pytest.mark.parametrize("renamed", [False, True])
def test_whoever_owns_a_table_keeps_its_tag(
    renamed: bool, waiting: Owner, mallory: Db, example: Db, admin: Db
) -> None:
    example.run("SELECT rowseal.undeclare('q')")
    if renamed:
        admin.run("CREATE ROLE passing LOGIN; ALTER TABLE q OWNER TO passing")
        example.run("GRANT SELECT ON user_cards TO passing")
        admin.run("UPDATE rowseal.tags SET owner = 'passing'; ALTER ROLE passing RENAME TO passed")
    else:
        admin.run("CREATE ROLE passed LOGIN; ALTER TABLE q OWNER TO passed")
        example.run("GRANT SELECT ON user_cards TO passed")
    try:
        mallory.refused("RS008", TAKE)
        admin.run("SET ROLE passed")
        admin.run("SELECT rowseal.declare('q', owner => 'user_hash', identity => 'user_cards')")
        admin.run("RESET ROLE")
        form = example.form("user_cards")
        admin.run("GRANT rowseal_trusted TO passed; GRANT passed TO app")
        example.insert("user_cards", waiting.sealed(form, waiting.card()))
        assert example.one("SELECT count(*) FROM q") == 1
    finally:
        admin.run("RESET ROLE; DROP OWNED BY passed CASCADE; DROP ROLE passed")


def test_links_of_dropped_rows_outlive_a_stranger_at_the_tag(
    mallory: Db, db: Db, admin: Db
) -> None:
    """A grants table is declared anew: what is known of rows that count no longer stays known."""
    db.run("DROP TABLE user_storage, user_cards CASCADE")
    db.run(tables())
    for tag in ("t", "u", "grants"):
        db.run("SELECT rowseal.undeclare(%s)", tag)
    mallory.run(
        "CREATE TABLE mine (id bytea PRIMARY KEY, k bytea, deleted_flag boolean,"
        " owner_timestamp bigint, sign_b64 bytea)"
    )
    take = "SELECT rowseal.declare('mine', owner => 'id', public_key => 'k', tag => 'grants')"
    mallory.refused("RS008", take)


def test_held_rows_of_a_dropped_table_are_of_its_grants_not_of_whoever_has_its_tag(
    mallory: Db, db: Db, admin: Db
) -> None:
    """Whoever took the tag stopped grants and revocations, and could discard what waits."""
    db.run("DROP TABLE user_storage, user_cards CASCADE")
    db.run(tables())
    ann = Writer(Owner("Ann"))
    card(db, ann.owner)
    device = Writer(ann.owner, SigningKey.generate())
    forms = {t: db.form(t) for t in ("grants", "t", "u")}

    def receive(by: Writer, table: str, **row: Any) -> str:
        sent = Json([by.envelope(forms[table], row)])
        return str(admin.one("SELECT outcome FROM rowseal.receive(%s)", sent))

    assert receive(device, "t", key="k", owner_timestamp=1) == "deferred"
    db.run("SELECT rowseal.undeclare('t'); DROP TABLE t, t_versions")
    db.run("GRANT SELECT ON cards TO mallory; CREATE TABLE hers (LIKE grants INCLUDING ALL)")
    db.run("CREATE TABLE mine (LIKE u INCLUDING ALL)")
    admin.run("ALTER TABLE hers OWNER TO mallory; ALTER TABLE mine OWNER TO mallory")
    mallory.run(
        "SELECT rowseal.declare('hers', owner => 'user_hash', identity => 'cards', grants => true);"
        "SELECT rowseal.declare('mine', owner => 'user_hash', identity => 'cards', tag => 't',"
        " writers => 'hers', versions => 'mine_versions')"
    )
    refused = (
        "INSERT INTO rowseal._refused (again, verdict, changed) VALUES (%s, '(23514,x)', true)"
    )
    for entry in range(1, 10):
        mallory.run(refused, entry)
    assert (mallory.one(QUARANTINED), mallory.one(DISCARD_ALL), admin.one(QUARANTINED)) == (0, 0, 1)
    assert receive(ann, "grants", **grant(device)) == "inserted"
    admin.run("UPDATE rowseal._writer_rows SET fed = true")  # as if it had been passed on before
    assert mallory.all("SELECT * FROM rowseal._held_envelopes('t')") == []
    assert receive(device, "u", key="k", owner_timestamp=1) == "inserted"
    assert receive(ann, "grants", **revocation(device, [], at=2)) == "superseded"
    assert db.all("SELECT key FROM u") == [] and db.all("SELECT * FROM rowseal.verify('u')") == []


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
    assert mallory.one(DISCARD_ALL) == 0
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
    assert mallory.one(DISCARD_ALL) == 0
    assert (mallory.one(QUARANTINED), mallory.one("SELECT count(*) FROM taken")) == (0, 0)
    mallory.run("SELECT rowseal.undeclare('taken')")
    admin.run("DELETE FROM rowseal.tags")
    example.run(
        "SELECT rowseal.declare('q', owner => 'user_hash', identity => 'user_cards')"
    )  # whom the administrator trusts
    assert example.one("SELECT count(*) FROM q") == 1


def test_no_number_of_a_dropped_table_is_left(db: Db, admin: Db) -> None:
    """A dump would hold it, and where that is restored it is another table."""
    db.run(tables())
    db.run("SELECT rowseal.undeclare('u'); DROP TABLE u")
    admin.run(
        "INSERT INTO rowseal.erasures (relation, tag, key, fields, versions)"
        " SELECT relation, tag, '{}', '{}', 1 FROM rowseal.declarations"
    )
    db.run("CREATE TABLE x (LIKE t INCLUDING ALL)")
    db.run(
        "SELECT rowseal.declare('x', owner => 'user_hash', identity => 'cards',"
        " writers => 'grants', versions => 'x_versions')"
    )
    admin.run("ALTER TABLE t OWNER TO mallory; ALTER TABLE x OWNER TO mallory")
    db.run("DROP TABLE t_versions, x_versions; DROP TABLE grants; DROP TABLE cards")
    left = "SELECT {} FROM rowseal.{} WHERE NOT EXISTS (SELECT FROM pg_class WHERE oid = {}) "
    for column, table_ in (
        ("relation", "tags"),
        ("relation", "erasures"),
        ("versions", "declarations"),
        ("identity", "declarations"),
        ("writers", "declarations"),
    ):
        numbers = db.all(f"{left.format(f'DISTINCT {column}::oid::int', table_, column)}")
        assert set(numbers) <= {0}, (table_, column)
    assert admin.all(
        "SELECT tag, identity::text, versions::text, writers::text"
        " FROM rowseal.declarations ORDER BY tag"
    ) == [
        ("t", "-", "-", "-"),
        ("x", "-", "-", "-"),
    ]
    assert admin.all(
        "SELECT DISTINCT detail FROM rowseal.health() WHERE \"check\" = 'structure'"
    ) == [
        "the versions, identity or grants table of public.t is gone",
        "the versions, identity or grants table of public.x is gone",
    ]
    admin.run("ALTER TABLE t ADD COLUMN y int")
    admin.run("SELECT rowseal.undeclare('t'), rowseal.undeclare('x'); DROP TABLE t, x")
    db.run(tables())


def test_declare_waits_for_no_entry_that_somebody_brings_again(
    mallory: Db, example: Db, admin: Db
) -> None:
    """What waited for a table of somebody else that is gone waits as if it had never been."""
    table(mallory, "q", "uuid uuid")
    junk = Json([{"table": "q", "row": {"user_hash": "AA=="}, "rowseal": 1, "sign_b64": ""}])
    received = "SELECT outcome FROM rowseal.receive(%s)"
    admin.all(received, junk)
    mallory.run("DROP TABLE q")
    mallory.run("BEGIN")
    mallory.all(received, junk)
    admin.run("BEGIN")
    admin.all(received, junk)
    try:
        example.run("SET statement_timeout = '10s'")
        table(example, "q", "uuid uuid")
    finally:
        admin.run("ROLLBACK")
        mallory.run("ROLLBACK")
    assert example.one("SELECT count(*) FROM rowseal.declarations WHERE tag = 'q'") == 1
