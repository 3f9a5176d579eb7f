"""Who was let in, and who was revoked, is told to whoever may read the grants table or write a
table of it, and to nobody else.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from kit.db import Db, Server
from kit.example import Owner
from kit.writers import Writer, card, grant, revocation, tables
from rowseal.client import SigningKey


class Stage:
    def __init__(self, db: Db, mallory: Db):
        self.db, self.mallory = db, mallory
        db.run(tables())
        self.ann = Writer(Owner("Ann"))
        self.device = Writer(self.ann.owner, SigningKey.generate())
        card(db, self.ann.owner)
        self.forms = {t: db.form(t) for t in ("grants", "t")}
        db.insert("grants", self.ann.sealed(self.forms["grants"], grant(self.device)))
        db.insert("grants", self.ann.sealed(self.forms["grants"], revocation(self.device, [])))
        (self.id,) = db.all("SELECT id FROM rowseal.declarations WHERE grants")
        self.owner = db.one("SELECT rowseal._encoded(%s)", self.ann.owner.hash)


@pytest.fixture
def stage(db: Db, server: Server, database: str) -> Iterator[Stage]:
    with server.connect(database, "mallory") as c:
        yield Stage(db, Db(c))


def questions(s: Stage) -> list[tuple[str, list[Any]]]:
    mine = [s.id, s.owner, s.device.public_key]
    row = ", 1, sha256('x'), 't', 1, false, '{}')"
    return [
        (f"SELECT rowseal._licensed(%s, %s, %s{row}", mine),
        (f"SELECT rowseal._admit(%s, %s, %s{row}", mine),
        ("SELECT rowseal._revoked(%s, %s, %s)", mine),
        ("SELECT rowseal._affected(%s, %s, NULL, NULL, NULL, %s)", mine),
        ("SELECT rowseal._lock_writers(%s, %s, true)", mine[:2]),
        ("SELECT rowseal._lock_writers(%s, NULL, true)", mine[:1]),
        ("SELECT * FROM rowseal._gaps(%s)", mine[:1]),
        ("SELECT * FROM rowseal._kept_grants(%s)", mine[:1]),
        ("SELECT * FROM rowseal._kept_ledger(%s)", mine[:1]),
        ("SELECT * FROM rowseal._inconsistent(%s)", mine[:1]),
    ]


def test_a_stranger_is_told_nothing(stage: Stage) -> None:
    for question, arguments in questions(stage):
        diag = stage.mallory.refused("42501", question, *arguments)
        assert diag.message_hint
    assert stage.mallory.all("SELECT * FROM rowseal.writers") == []
    assert (
        stage.mallory.all(
            "SELECT detail FROM rowseal.health() WHERE \"check\" IN ('derived', 'writers')"
        )
        == []
    )


def test_a_reader_is_told(stage: Stage) -> None:
    stage.db.run("GRANT SELECT ON grants TO mallory")
    for question, arguments in questions(stage):
        if "_lock_writers" in question or "_admit" in question:  # these keep others from writing
            stage.mallory.refused("42501", question, *arguments)
        else:
            stage.mallory.all(question, *arguments)


def test_whom_row_security_hides_rows_of_grants_from_is_told_nothing_of_writers(
    stage: Stage,
) -> None:
    stage.db.run("GRANT SELECT ON grants TO mallory")
    heads = "SELECT * FROM rowseal._heads_of(%s, %s, %s, false)"
    asked = [stage.id, stage.owner, stage.device.public_key]
    stage.mallory.all(heads, *asked)
    assert stage.mallory.one("SELECT count(*) FROM rowseal.writers") == 1
    stage.db.run(
        "ALTER TABLE grants ENABLE ROW LEVEL SECURITY;"
        " CREATE POLICY none ON grants FOR SELECT TO mallory USING (false)"
    )
    assert stage.mallory.all("SELECT * FROM rowseal.writers") == []
    assert stage.mallory.all(heads, *asked) == []
    stage.mallory.refused("42501", "SELECT * FROM rowseal._gaps(%s)", stage.id)
    assert stage.db.one("SELECT count(*) FROM rowseal.writers") == 1  # its owner


def test_locks_of_a_grants_table_are_of_no_other(stage: Stage, admin: Db) -> None:
    """Whoever has one of his own could hold the locks of everybody's owners."""
    mallory = stage.mallory
    stage.db.run("CREATE TABLE hers (LIKE grants INCLUDING ALL); GRANT SELECT ON cards TO mallory")
    admin.run("ALTER TABLE hers OWNER TO mallory")
    mallory.run(
        "SELECT rowseal.declare('hers', owner => 'user_hash', identity => 'cards', grants => true)"
    )
    mallory.run("BEGIN")
    mine = mallory.one("SELECT id FROM rowseal.declarations WHERE tag = 'hers'")
    mallory.run("SELECT rowseal._lock_writers(%s, NULL, true)", mine)
    stage.db.run("SET statement_timeout = '5s'")
    device = Writer(stage.ann.owner, SigningKey.generate())
    stage.db.insert("grants", stage.ann.sealed(stage.forms["grants"], grant(device)))
    row = device.sealed(stage.forms["t"], {"key": "k", "owner_timestamp": 1})
    stage.db.insert("t", row)
    mallory.run("ROLLBACK")
    mallory.run("SELECT rowseal.undeclare('hers')")


@pytest.mark.parametrize("grants", ["-1", "NULL", "the table's"])
def test_only_the_owner_of_the_grants_table_locks_all_owners(stage: Stage, grants: str) -> None:
    """A link, and every writer, waits for whoever holds them."""
    lock = f"SELECT rowseal._lock_writers({stage.id if 'table' in grants else grants}, NULL, true)"
    stage.db.run("GRANT SELECT ON grants TO mallory")
    stage.mallory.refused("42501", lock)
    if "table" in grants:
        stage.db.run(lock)


def test_who_writes_needs_no_right_on_the_grants_table(stage: Stage, admin: Db) -> None:
    """Nor does a role that a session takes on."""
    admin.run("CREATE ROLE scribe; GRANT scribe TO mallory; ALTER ROLE mallory NOINHERIT")
    try:
        stage.db.run("GRANT SELECT, INSERT, UPDATE ON t, t_versions TO scribe")
        stage.db.run("GRANT SELECT ON cards TO scribe")
        other = Writer(stage.ann.owner, SigningKey.generate())
        stage.db.insert("grants", stage.ann.sealed(stage.forms["grants"], grant(other)))
        stage.mallory.run("SET ROLE scribe")
        for at in (1, 2):
            row = other.sealed(stage.forms["t"], {"key": "k", "owner_timestamp": at})
            stage.mallory.insert("t", row)
        assert stage.db.all("SELECT owner_timestamp FROM t") == [2]
    finally:
        stage.mallory.run("RESET ROLE")
        admin.run("ALTER ROLE mallory INHERIT; DROP OWNED BY scribe; DROP ROLE scribe")


def test_a_cheap_function_sees_no_row_that_a_view_hides(stage: Stage) -> None:
    """A condition of the asker's is not asked before the view's own."""
    said: list[str] = []
    device = Writer(stage.ann.owner, SigningKey.generate())
    stage.db.insert("grants", stage.ann.sealed(stage.forms["grants"], grant(device)))
    for key in ("a", "b"):  # twice the same number
        value = {"key": key, "value": 1, "owner_timestamp": 5, "parent_sign_b64": None}
        twice = device.sealed(stage.forms["t"], value, number=1, previous=None)
        stage.db.insert("t", twice)
    assert stage.db.one("SELECT count(*) FROM rowseal.equivocations") == 1
    stage.mallory.connection.add_notice_handler(lambda d: said.append(str(d.message_primary)))
    stage.mallory.run(
        "CREATE FUNCTION leak(a anyelement) RETURNS boolean LANGUAGE plpgsql COST 0.0000001"
        " AS $$BEGIN RAISE NOTICE '%', a; RETURN true; END$$"
    )
    for view, columns in (("writers", "owner writer licences rows"), ("equivocations", "owner")):
        for column in columns.split():
            asked = f"SELECT * FROM rowseal.{view} WHERE leak({column})"
            assert stage.mallory.all(asked) == [], view
    assert said == []


def test_every_view_is_a_security_barrier(admin: Db) -> None:
    open_ = admin.all(
        "SELECT relname FROM pg_class WHERE relnamespace = 'rowseal'::regnamespace"
        " AND relkind = 'v' AND NOT coalesce(reloptions @> '{security_barrier=true}', false)"
    )
    assert open_ == []
