"""A versions table is created, adopted or refused."""

from __future__ import annotations

import pytest

from kit.declaring import KEY, STORAGE, storage
from kit.example import EXAMPLE, Owner
from kit.scratch import Scratch, card, problems, unwell, write


def test_the_created_versions_table_has_what_it_needs(cards: Scratch) -> None:
    db = cards
    db.run(
        "CREATE TABLE notes (id bytea, n int, twice int GENERATED ALWAYS AS (n * 2) STORED,"
        f" seen bool, {STORAGE}, PRIMARY KEY (id, n))"
    )
    db.run(
        "SELECT rowseal.declare('notes', owner => 'id', identity => 'cards',"
        " versions => 'notes_versions', unsigned => '{seen}')"
    )
    assert db.all(
        "SELECT attname FROM pg_attribute WHERE attrelid = 'notes_versions'::regclass"
        " AND attnum > 0 ORDER BY attnum"
    ) == [
        "id",
        "n",
        "value",
        "deleted_flag",
        "owner_timestamp",
        "parent_sign_b64",
        "sign_b64",
    ]
    assert db.all(
        "SELECT pg_get_indexdef(indexrelid) FROM pg_index"
        " WHERE indrelid = 'notes_versions'::regclass ORDER BY 1"
    ) == [
        "CREATE INDEX notes_versions_id_n_idx ON public.notes_versions USING btree (id, n)",
        "CREATE UNIQUE INDEX notes_versions_pkey ON public.notes_versions USING btree (sign_b64)",
    ]
    assert db.one("SELECT tableowner FROM pg_tables WHERE tablename = 'notes_versions'") == "app"
    assert "notes" in db.one("SELECT obj_description('notes_versions'::regclass)")


def test_a_versions_table_is_adopted_with_its_other_names(db: Scratch) -> None:
    db.run(EXAMPLE)
    assert (
        db.one(
            "SELECT version_columns ->> 'uuid' FROM rowseal.declarations"
            " WHERE relation = 'user_storage'::regclass"
        )
        == "storage_uuid"
    )
    ann = Owner()
    db.insert("user_cards", ann.sealed(db.form("user_cards"), ann.card()))
    form = db.form("user_storage")
    for value in (b"1", b"2"):
        db.insert("user_storage", ann.sealed(form, ann.value(value, KEY)))
    assert db.one("SELECT storage_uuid, value_b64 FROM user_storage_versions") == (KEY, b"1")


def test_version_columns_settle_what_cannot_be_guessed(cards: Scratch) -> None:
    db, ann = cards, Owner()
    db.run(f"CREATE TABLE notes (id bytea, n int, m int, {STORAGE}, PRIMARY KEY (id, n))")
    db.run(
        "CREATE TABLE old (who bytea, a int, b int, text_ text, gone bool, at bigint,"
        " base bytea, sig bytea UNIQUE, extra text)"
    )
    declare = (
        "SELECT rowseal.declare('notes', owner => 'id', identity => 'cards', versions => 'old'"
    )
    diag = db.refused("RS007", declare + ")")
    assert diag.message_hint and 'columns => \'{"versions"' in diag.message_hint
    db.run(
        declare
        + """, columns => '{"versions": {"id": "who", "n": "b", "m": "a", "value": "text_",
            "deleted_flag": "gone", "owner_timestamp": "at", "parent_sign_b64": "base",
            "sign_b64": "sig"}}')"""
    )
    write(db, ann, "cards", card(ann))
    one = write(db, ann, "notes", storage(ann, "1", m=5))
    write(db, ann, "notes", storage(ann, "2", m=6))
    assert db.one("SELECT who, a, b, text_, sig, extra FROM old") == (
        ann.hash,
        5,
        1,
        "1",
        one["sign_b64"],
        None,
    )
    assert problems(db, "notes") == []
    assert unwell(db) == []


@pytest.mark.parametrize(
    ("table", "message"),
    [
        (
            "(id bytea, n int, value text, deleted_flag boolean, owner_timestamp bigint,"
            " parent_sign_b64 bytea, sign_b64 bytea)",
            "no primary key on the signature",
        ),
        (
            """(id bytea, n int, value varchar, deleted_flag boolean, owner_timestamp bigint,
                parent_sign_b64 bytea, sign_b64 bytea
                PRIMARY KEY)""",
            "type",
        ),
        (
            "(id bytea, n int, deleted_flag boolean, owner_timestamp bigint,"
            " parent_sign_b64 bytea, sign_b64 bytea PRIMARY KEY)",
            "no column for 'value'",
        ),
        (
            """(id bytea, n int, value text, deleted_flag boolean, owner_timestamp bigint,
                parent_sign_b64 bytea, sign_b64 bytea PRIMARY KEY DEFERRABLE)""",
            "no primary key on the signature",
        ),
        (
            """(id bytea, n int, value text, deleted_flag boolean, owner_timestamp bigint,
                parent_sign_b64 bytea, sign_b64 bytea PRIMARY KEY) PARTITION BY HASH (sign_b64)""",
            "partitioned",
        ),
        (
            """(id bytea, n int, value text, deleted_flag boolean, owner_timestamp bigint,
                parent_sign_b64 bytea, sign_b64 bytea PRIMARY KEY, more text NOT NULL)""",
            "more",
        ),
    ],
)
def test_an_unfit_versions_table_is_refused(table: str, message: str, cards: Scratch) -> None:
    cards.run(f"CREATE TABLE notes (id bytea, n int, {STORAGE}, PRIMARY KEY (id, n))")
    cards.run(f"CREATE TABLE old {table}")
    diag = cards.refused(
        "RS007",
        "SELECT rowseal.declare('notes', owner => 'id', identity => 'cards', versions => 'old')",
    )
    assert message in str(diag.message_primary) and "old" in str(diag.message_primary)
    assert diag.message_hint


def test_somebody_elses_versions_table_is_refused(cards: Scratch, admin: Scratch) -> None:
    cards.run(f"CREATE TABLE notes (id bytea, n int, {STORAGE}, PRIMARY KEY (id, n))")
    admin.run(
        "CREATE TABLE old (LIKE notes); ALTER TABLE old ADD PRIMARY KEY (sign_b64);"
        " GRANT ALL ON old TO app"
    )
    diag = cards.refused(
        "RS008",
        "SELECT rowseal.declare('notes', owner => 'id', identity => 'cards', versions => 'old')",
    )
    assert diag.message_hint and "old" in str(diag.message_primary)


def test_a_superuser_adopts_no_table_or_view_of_somebody_else(
    cards: Scratch, admin: Scratch
) -> None:
    """Its owner could say afterwards what is in it."""
    for db, name in ((admin, "mallorys"), (cards, "apps")):
        db.run(f"CREATE TABLE {name} (id bytea, n int, {STORAGE}, PRIMARY KEY (sign_b64))")
    admin.run("ALTER TABLE mallorys OWNER TO mallory")
    cards.run(f"CREATE TABLE notes (id bytea, n int, {STORAGE}, PRIMARY KEY (id, n))")
    declare = (
        "SELECT rowseal.declare('notes', owner => 'id', identity => 'cards', versions => '{}')"
    )
    diag = admin.refused("RS008", declare.format("mallorys"))
    assert "as versions table" in str(diag.message_primary)
    admin.run(declare.format("apps"))

    cards.run(f"CREATE TABLE logs (id bytea, n int, {STORAGE}, PRIMARY KEY (id, n, sign_b64))")
    admin.run("CREATE VIEW logs_tips AS SELECT 1 AS id; ALTER VIEW logs_tips OWNER TO mallory")
    declare = "SELECT rowseal.declare('logs', owner => 'id', identity => 'cards')"
    for db in (cards, admin):
        diag = db.refused("RS008", declare)
        assert "logs_tips" in str(diag.message_primary) and diag.message_hint
    admin.run(f"DROP VIEW logs_tips; {declare}")
    owner = "SELECT relowner::regrole::text FROM pg_class WHERE relname = 'logs_tips'"
    assert admin.one(owner) == "app"
