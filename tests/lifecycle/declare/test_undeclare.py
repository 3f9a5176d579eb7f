"""Undeclaring takes everything off, leaves the data, and touches nobody else's tables."""

from __future__ import annotations

from typing import Any

import pytest

from kit.db import Db
from kit.declaring import LATE, STORAGE, C, storage
from kit.example import Owner
from kit.scratch import Scratch, card, write


def fingerprint_of_catalogs(db: Db) -> list[Any]:
    return [
        db.all(
            "SELECT oid::regprocedure::text FROM pg_proc"
            " WHERE pronamespace = 'rowseal'::regnamespace ORDER BY 1"
        ),
        db.all(
            "SELECT tgrelid::regclass::text, tgname FROM pg_trigger WHERE tgname LIKE 'zzz%%'"
            " ORDER BY 1, 2"
        ),
        db.all("SELECT relation::text FROM rowseal.declarations ORDER BY 1"),
        db.all("SELECT polname FROM pg_policy ORDER BY 1"),
        db.all(
            "SELECT conrelid::regclass::text, conname FROM pg_constraint"
            " WHERE connamespace = 'public'::regnamespace ORDER BY 1, 2"
        ),
    ]


@pytest.mark.parametrize("layout", ["unversioned", "two tables", "one table", "partitioned"])
def test_undeclare_takes_everything_off_and_leaves_the_data(layout: str, cards: Scratch) -> None:
    db, ann = cards, Owner()
    write(db, ann, "cards", card(ann))
    key, by = (
        ("id, n, sign_b64" if layout == "one table" else "id, n"),
        ("PARTITION BY HASH (id)" if layout == "partitioned" else ""),
    )
    db.run(f"CREATE TABLE notes (id bytea, n int, {STORAGE}, PRIMARY KEY ({key})) {by}")
    if by:
        db.run("CREATE TABLE p PARTITION OF notes FOR VALUES WITH (MODULUS 1, REMAINDER 0)")
    before = fingerprint_of_catalogs(db)
    db.run(
        "SELECT rowseal.declare('notes', owner => 'id', identity => 'cards', versions => %s)",
        "old" if layout in ("two tables", "partitioned") else None,
    )
    for value in "12":
        write(db, ann, "notes", storage(ann, value))
    rows = db.all("SELECT * FROM notes ORDER BY value")
    old = db.all("SELECT * FROM old") if db.one("SELECT to_regclass('old')") else []
    assert db.one("SELECT rowseal.undeclare('notes')")
    after = fingerprint_of_catalogs(db)
    after[4] = [c for c in after[4] if c[0] != "old"]
    assert after == before
    assert db.all("SELECT * FROM notes ORDER BY value") == rows
    assert (db.all("SELECT * FROM old") if old else []) == old
    db.run(
        "INSERT INTO notes (id, n, sign_b64) VALUES ('x', 1, 'x'); DELETE FROM notes;"
        " TRUNCATE notes"
    )
    if old:
        db.run("DELETE FROM old")


def test_undeclare_of_what_is_not_declared_says_so(db: Scratch) -> None:
    db.run(C)
    assert db.one("SELECT rowseal.undeclare('c')") is False
    assert ("NOTICE", "table public.c is not declared, skipping", None) in db.notices


def test_an_identity_table_outlives_its_dependents(cards: Scratch) -> None:
    cards.run(f"CREATE TABLE notes (id bytea, n int, {STORAGE}, PRIMARY KEY (id, n))")
    cards.run("SELECT rowseal.declare('notes', owner => 'id', identity => 'cards')")
    diag = cards.refused("RS007", "SELECT rowseal.undeclare('cards')")
    assert "cards" in str(diag.message_primary) and diag.message_hint
    assert cards.one("SELECT rowseal.undeclare('notes')")
    assert cards.one("SELECT rowseal.undeclare('cards')")


def test_tables_of_other_people_are_left_alone(cards: Scratch, admin: Scratch) -> None:
    """No trigger, no function, no refusal for whoever does not use rowseal."""
    admin.run(
        """CREATE TABLE theirs (id int PRIMARY KEY, m money); CREATE TABLE kid () INHERITS (theirs);
            CREATE TABLE parts (id int)
            PARTITION BY LIST (id)"""
    )
    before = fingerprint_of_catalogs(admin)
    admin.run(LATE.format("late"))
    admin.run("""ALTER TABLE theirs ADD r regclass; ALTER TABLE theirs RENAME m TO n;
        CREATE RULE r AS ON INSERT TO theirs DO INSTEAD NOTHING;
        CREATE TRIGGER zzzz BEFORE INSERT ON theirs FOR EACH ROW EXECUTE FUNCTION late();
        ALTER TABLE theirs DISABLE TRIGGER zzzz;
        CREATE TABLE part PARTITION OF parts DEFAULT; TRUNCATE theirs, parts; DELETE FROM parts;
        DROP TABLE theirs, kid, parts""")
    assert fingerprint_of_catalogs(admin)[:4] == before[:4]
    assert [n for n in admin.notices if n[0] == "WARNING"] == []
