"""Declaring: every layout, rows that are there already, generated and identity columns."""

from __future__ import annotations

import pytest

from kit.declaring import STORAGE, as_json, storage
from kit.example import Owner
from kit.scratch import CARD, Scratch, card, problems, seal, unwell, write


def test_declare_says_what_it_made(db: Scratch) -> None:
    db.run(f"CREATE TABLE cards (id bytea PRIMARY KEY, {CARD})")
    db.run(f"CREATE TABLE notes (id bytea, n int, {STORAGE}, PRIMARY KEY (id, n))")
    db.run(f"CREATE TABLE logs (id bytea, n int, {STORAGE}, PRIMARY KEY (id, n, sign_b64))")
    call = "SELECT relation::text, layout, versions, created FROM rowseal.declare"
    assert db.one(f"{call}('cards', owner => 'id', public_key => 'k')") == (
        "cards",
        "unversioned",
        None,
        True,
    )
    assert db.one(
        f"{call}('notes', owner => 'id', identity => 'cards', versions => 'notes_versions')"
    ) == (
        "notes",
        "two tables",
        "public.notes_versions",
        True,
    )
    assert db.one(f"{call}('logs', owner => 'id', identity => 'cards')") == (
        "logs",
        "one table",
        None,
        True,
    )
    assert unwell(db) == []


@pytest.mark.parametrize("layout", ["unversioned", "two tables", "one table"])
def test_the_tip_is_the_same_in_every_layout(layout: str, cards: Scratch) -> None:
    db, ann = cards, Owner()
    key = "id, n, sign_b64" if layout == "one table" else "id, n"
    db.run(f"CREATE TABLE notes (id bytea, n int, {STORAGE}, PRIMARY KEY ({key}))")
    versions = "'notes_versions'" if layout == "two tables" else "NULL"
    assert (
        db.one(
            "SELECT layout FROM rowseal.declare('notes', owner => 'id', identity => 'cards',"
            f" versions => {versions})"
        )
        == layout
    )
    write(db, ann, "cards", card(ann))
    rows = [seal(db, ann, "notes", storage(ann, v)) for v in "123"]
    for i in (1, 0, 2, 1, 0):
        db.insert("notes", rows[i])
    tips, all_ = {
        "unversioned": ("notes", "SELECT value FROM notes"),
        "two tables": (
            "notes",
            "SELECT value FROM notes UNION ALL SELECT value FROM notes_versions",
        ),
        "one table": ("notes_tips", "SELECT value FROM notes"),
    }[layout]
    assert db.all(f"SELECT value FROM {tips}") == ["3"]
    assert sorted(db.all(all_)) == (["3"] if layout == "unversioned" else ["1", "2", "3"])
    assert problems(db, "notes") == []
    forged = {**seal(db, ann, "notes", storage(ann)), "value": "forged"}
    diag = db.refused(
        "RS001",
        "INSERT INTO notes SELECT * FROM jsonb_populate_record(NULL::notes, %s)",
        as_json(forged),
    )
    assert diag.table_name == "notes"


def test_one_table_is_append_only_and_has_a_view_of_its_tips(cards: Scratch) -> None:
    db, ann = cards, Owner()
    db.run(f"CREATE TABLE logs (id bytea, n int, {STORAGE}, PRIMARY KEY (id, n, sign_b64))")
    db.run("SELECT rowseal.declare('logs', owner => 'id', identity => 'cards')")
    write(db, ann, "cards", card(ann))
    write(db, ann, "logs", storage(ann, "old"))
    write(db, ann, "logs", storage(ann, None, deleted_flag=True))
    assert db.one("SELECT value, deleted_flag FROM logs_tips") == (None, True)
    db.refused("RS009", "UPDATE logs SET value = 'x'")
    db.refused("RS004", "DELETE FROM logs")


def test_a_one_table_declaration_can_be_taken_back_and_made_again(cards: Scratch) -> None:
    cards.run(f"CREATE TABLE logs (id bytea, n int, {STORAGE}, PRIMARY KEY (id, n, sign_b64))")
    cards.run("SELECT rowseal.declare('logs', owner => 'id', identity => 'cards')")
    assert cards.one("SELECT rowseal.undeclare('logs')")
    assert cards.one(
        "SELECT created FROM rowseal.declare('logs', owner => 'id', identity => 'cards')"
    )
    assert cards.all("SELECT * FROM logs_tips") == []


def test_the_name_of_the_tips_view_fits_whatever_the_tables_name(cards: Scratch) -> None:
    name = "a" + "ü" * 31  # 63 bytes
    cards.run(f'CREATE TABLE "{name}" (id bytea, n int, {STORAGE}, PRIMARY KEY (id, n, sign_b64))')
    cards.run("SELECT rowseal.declare(%s, owner => 'id', identity => 'cards')", f'"{name}"')
    assert (
        cards.one(
            "SELECT count(*) FROM pg_views WHERE schemaname = 'public'"
            " AND viewname LIKE '%%\\_tips'"
        )
        == 1
    )


def test_existing_rows_are_verified_first(cards: Scratch) -> None:
    db, ann = cards, Owner()
    db.run(f"CREATE TABLE notes (id bytea, n int, {STORAGE}, PRIMARY KEY (id, n))")
    declare = (
        "SELECT rowseal.declare('notes', owner => 'id', identity => 'cards',"
        " versions => 'notes_versions')"
    )
    db.run(declare)
    write(db, ann, "cards", card(ann))
    for value in ("1", "2"):
        write(db, ann, "notes", storage(ann, value))
    db.run("SELECT rowseal.undeclare('notes')")
    db.run(declare)  # all is well
    db.run("SELECT rowseal.undeclare('notes')")
    for table in ("notes", "notes_versions"):
        db.run(f"UPDATE {table} SET value = value || '!'")
        diag = db.refused("RS001", declare)
        assert (
            "notes" in str(diag.message_primary)
            and '"n": 1' in str(diag.message_detail)
            and diag.message_hint
        )
        assert db.all("SELECT tag FROM rowseal.declarations") == ["cards"]
        db.run(f"UPDATE {table} SET value = rtrim(value, '!')")
    db.run(declare)


@pytest.mark.parametrize("column", ["owner_timestamp", "deleted_flag", "sign_b64"])
def test_existing_rows_without_timestamp_flag_or_signature_cannot_stay(
    column: str, cards: Scratch
) -> None:
    db, ann = cards, Owner()
    row = seal(db, ann, "cards", card(ann, **{column: None} if column != "sign_b64" else {}))
    if column == "sign_b64":
        row["sign_b64"] = None
    db.run("SELECT rowseal.undeclare('cards')")
    db.insert("cards", row)
    db.refused("RS001", "SELECT rowseal.declare('cards', owner => 'id', public_key => 'k')")


def test_a_refused_declaration_leaves_nothing_behind(cards: Scratch) -> None:
    cards.run(f"CREATE TABLE notes (id bytea, n int, m money, {STORAGE}, PRIMARY KEY (id, n))")
    before = cards.all(
        "SELECT oid::regprocedure::text FROM pg_proc WHERE pronamespace ="
        " 'rowseal'::regnamespace ORDER BY 1"
    )
    cards.refused(
        "RS007",
        "SELECT rowseal.declare('notes', owner => 'id', identity => 'cards',"
        " versions => 'notes_versions')",
    )
    assert cards.one("SELECT to_regclass('notes_versions')") is None
    assert cards.all("SELECT * FROM pg_trigger WHERE tgrelid = 'notes'::regclass") == []
    assert (
        cards.all(
            "SELECT oid::regprocedure::text FROM pg_proc"
            " WHERE pronamespace = 'rowseal'::regnamespace ORDER BY 1"
        )
        == before
    )


def test_if_not_exists_gives_a_notice_and_created_is_false(cards: Scratch) -> None:
    call = (
        "SELECT layout, created FROM rowseal.declare('cards', owner => 'id', public_key => 'k'{})"
    )
    diag = cards.refused("RS007", call.format(""))
    assert "declared already" in str(diag.message_primary) and "if_not_exists" in str(
        diag.message_hint
    )
    same = ", feed => false, algorithms => '{ed25519}', if_not_exists => true"
    for options in (", if_not_exists => true", same):
        cards.notices.clear()
        assert cards.one(call.format(options)) == ("unversioned", False)
        assert ("NOTICE", "table public.cards is declared already, skipping", None) in cards.notices


@pytest.mark.parametrize(
    ("options", "differs"),
    [
        (", feed => true", "feed"),
        (", tag => 'other'", "tag"),
        (", fingerprint => 'sha256'", "fingerprint"),
        (", algorithms => '{ml-dsa-65}'", "algorithms"),
    ],
)
def test_if_not_exists_refuses_another_declaration(
    options: str, differs: str, cards: Scratch
) -> None:
    diag = cards.refused(
        "RS007",
        "SELECT rowseal.declare('cards', owner => 'id', public_key => 'k', if_not_exists => true"
        f"{options})",
    )
    assert str(diag.message_primary).endswith(f"is declared already, and otherwise: {differs}")


def test_a_column_with_a_default_that_is_unsigned_in_one_of_them_is_no_new_column(
    db: Scratch,
) -> None:
    db.run(f"CREATE TABLE c (id bytea PRIMARY KEY, u text DEFAULT 'x', {CARD})")
    call = "SELECT rowseal.declare('c', owner => 'id', public_key => 'k'{})"
    db.run(call.format(", unsigned => '{u}'"))
    diag = db.refused("RS007", call.format(", if_not_exists => true"))
    assert str(diag.message_primary).endswith("and otherwise: fields, unsigned")


def test_if_not_exists_knows_a_table_with_all_options_again(cards: Scratch) -> None:
    """Completed, renamed or not: what was said is compared, not how it is kept."""
    cards.run(f"CREATE TABLE notes (id bytea, n int, x int, {STORAGE}, PRIMARY KEY (id, n))")
    call = """SELECT created FROM rowseal.declare('notes', owner => '{id}', identity => 'cards',
        versions => 'notes_versions', unsigned => '{x}', feed => true, if_not_exists => true,
        columns => '{"versions": {"n": "n"}}')"""
    assert cards.one(call) is True
    assert cards.one(call) is False
    cards.run("ALTER TABLE notes RENAME value TO value_")
    assert cards.one(call) is False
    diag = cards.refused("RS007", call.replace("'notes_versions'", "'public.other'"))
    assert "otherwise: layout" in str(diag.message_primary)


# ------------------------------------------------------------------ generated and identity columns
def test_generated_columns_are_not_signed(cards: Scratch) -> None:
    db, ann = cards, Owner()
    db.run(
        "CREATE TABLE notes (id bytea, n int, size int GENERATED ALWAYS AS (length(value))"
        f" STORED, {STORAGE}, PRIMARY KEY (id, n))"
    )
    db.run(
        "SELECT rowseal.declare('notes', owner => 'id', identity => 'cards',"
        " versions => 'notes_versions')"
    )
    assert "size" not in db.one(
        "SELECT spec -> 'fields' FROM rowseal.declarations WHERE tag = 'notes'"
    )
    write(db, ann, "cards", card(ann))
    for value in ("a", "bb" * 200):
        write(db, ann, "notes", storage(ann, value))
    assert db.one("SELECT size FROM notes") == 400
    assert problems(db, "notes") == []


def test_identity_columns_by_default_are_chosen_by_the_owner(cards: Scratch) -> None:
    db, ann = cards, Owner()
    db.run(
        f"""CREATE TABLE notes (id bytea, n int GENERATED BY DEFAULT AS IDENTITY,
            local int GENERATED ALWAYS AS IDENTITY, {STORAGE},
            PRIMARY KEY (id, n))"""
    )
    db.run(
        "SELECT rowseal.declare('notes', owner => 'id', identity => 'cards', unsigned => '{local}')"
    )
    write(db, ann, "cards", card(ann))
    write(db, ann, "notes", storage(ann, n=7))
    write(db, ann, "notes", storage(ann, "2", n=7))
    assert db.one("SELECT n, value FROM notes") == (7, "2")
