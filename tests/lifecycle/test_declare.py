"""Declaring: every layout and option, every wrong declaration, and taking it all off again."""

from __future__ import annotations

import hashlib
import json
import uuid
from base64 import b64encode
from decimal import Decimal
from typing import Any

import psycopg
import pytest

from kit.db import Db
from kit.example import EXAMPLE, Owner
from kit.scratch import CARD, Scratch, card, problems, scratch_role, seal, shared_database, unwell, write

STORAGE = "value text, deleted_flag boolean, owner_timestamp bigint, parent_sign_b64 bytea, sign_b64 bytea"
KEY = uuid.UUID(int=7)


shared = shared_database(f"CREATE TABLE cards (id bytea PRIMARY KEY, {CARD}); SELECT rowseal.declare('cards', owner => 'id', public_key => 'k')")
cards = scratch_role("app")  # with a small identity table
admin = scratch_role("postgres")


@pytest.fixture
def db(cards: Scratch) -> Scratch:
    cards.run("DROP TABLE cards")
    return cards


def storage(owner: Owner, value: str | None = "v", **changes: Any) -> dict[str, Any]:
    row = {"id": owner.hash, "n": 1, "value": value, "deleted_flag": False, "owner_timestamp": next(owner.clock), "parent_sign_b64": None}
    return {**row, **changes}


# ------------------------------------------------------------------------------------------- layouts
def test_declare_says_what_it_made(db: Scratch) -> None:
    db.run(f"CREATE TABLE cards (id bytea PRIMARY KEY, {CARD})")
    db.run(f"CREATE TABLE notes (id bytea, n int, {STORAGE}, PRIMARY KEY (id, n))")
    db.run(f"CREATE TABLE logs (id bytea, n int, {STORAGE}, PRIMARY KEY (id, n, sign_b64))")
    call = "SELECT relation::text, layout, versions, created FROM rowseal.declare"
    assert db.one(f"{call}('cards', owner => 'id', public_key => 'k')") == ("cards", "unversioned", None, True)
    assert db.one(f"{call}('notes', owner => 'id', identity => 'cards', versions => 'notes_versions')") == (
        "notes",
        "two tables",
        "public.notes_versions",
        True,
    )
    assert db.one(f"{call}('logs', owner => 'id', identity => 'cards')") == ("logs", "one table", None, True)
    assert unwell(db) == []


@pytest.mark.parametrize("layout", ["unversioned", "two tables", "one table"])
def test_the_tip_is_the_same_in_every_layout(layout: str, cards: Scratch) -> None:
    db, ann = cards, Owner()
    key = "id, n, sign_b64" if layout == "one table" else "id, n"
    db.run(f"CREATE TABLE notes (id bytea, n int, {STORAGE}, PRIMARY KEY ({key}))")
    versions = "'notes_versions'" if layout == "two tables" else "NULL"
    assert db.one(f"SELECT layout FROM rowseal.declare('notes', owner => 'id', identity => 'cards', versions => {versions})") == layout
    write(db, ann, "cards", card(ann))
    rows = [seal(db, ann, "notes", storage(ann, v)) for v in "123"]
    for i in (1, 0, 2, 1, 0):
        db.insert("notes", rows[i])
    tips, all_ = {
        "unversioned": ("notes", "SELECT value FROM notes"),
        "two tables": ("notes", "SELECT value FROM notes UNION ALL SELECT value FROM notes_versions"),
        "one table": ("notes_tips", "SELECT value FROM notes"),
    }[layout]
    assert db.all(f"SELECT value FROM {tips}") == ["3"]
    assert sorted(db.all(all_)) == (["3"] if layout == "unversioned" else ["1", "2", "3"])
    assert problems(db, "notes") == []
    forged = {**seal(db, ann, "notes", storage(ann)), "value": "forged"}
    diag = db.refused("RS001", "INSERT INTO notes SELECT * FROM jsonb_populate_record(NULL::notes, %s)", _json(forged))
    assert diag.table_name == "notes"


def _json(row: dict[str, Any]) -> str:
    return json.dumps({k: "\\x" + v.hex() if isinstance(v, bytes) else v for k, v in row.items()})


def test_one_table_is_append_only_and_its_tips_view_can_be_named(cards: Scratch) -> None:
    db, ann = cards, Owner()
    db.run(f"CREATE TABLE logs (id bytea, n int, {STORAGE}, PRIMARY KEY (id, n, sign_b64))")
    db.run('''SELECT rowseal.declare('logs', owner => 'id', identity => 'cards', tips => '"Now"')''')
    write(db, ann, "cards", card(ann))
    write(db, ann, "logs", storage(ann, "old"))
    write(db, ann, "logs", storage(ann, None, deleted_flag=True))
    assert db.one('SELECT value, deleted_flag FROM "Now"') == (None, True)
    db.refused("RS009", "UPDATE logs SET value = 'x'")
    db.refused("RS004", "DELETE FROM logs")


def test_a_one_table_declaration_can_be_taken_back_and_made_again(cards: Scratch) -> None:
    cards.run(f"CREATE TABLE logs (id bytea, n int, {STORAGE}, PRIMARY KEY (id, n, sign_b64))")
    cards.run("SELECT rowseal.declare('logs', owner => 'id', identity => 'cards')")
    assert cards.one("SELECT rowseal.undeclare('logs')")
    assert cards.one("SELECT created FROM rowseal.declare('logs', owner => 'id', identity => 'cards')")
    assert cards.all("SELECT * FROM logs_tips") == []


def test_the_name_of_the_tips_view_fits_whatever_the_tables_name(cards: Scratch) -> None:
    name = "a" + "ü" * 31  # 63 bytes
    cards.run(f'CREATE TABLE "{name}" (id bytea, n int, {STORAGE}, PRIMARY KEY (id, n, sign_b64))')
    cards.run("SELECT rowseal.declare(%s, owner => 'id', identity => 'cards')", f'"{name}"')
    assert cards.one("SELECT count(*) FROM pg_views WHERE schemaname = 'public' AND viewname LIKE '%%\\_tips'") == 1


# --------------------------------------------------------------------------- identity and its options
@pytest.mark.parametrize("name", ["sha256", "sha512", "sha3-512", "blake2b-256"])
@pytest.mark.parametrize("prefix", [None, "", "user:"])
def test_a_fingerprint_binds_the_owner_to_the_key(name: str, prefix: str | None, db: Scratch) -> None:
    ann, bob = Owner("Ann"), Owner("Bob")

    def owner_id(owner: Owner) -> Any:
        key = owner.public_key
        digest = hashlib.blake2b(key, digest_size=32).digest() if name == "blake2b-256" else hashlib.new(name, key).digest()
        return digest if prefix is None else prefix + digest.hex()

    db.run(f"CREATE TABLE c (id {'bytea' if prefix is None else 'text'} PRIMARY KEY, {CARD})")
    db.run("SELECT rowseal.declare('c', owner => 'id', public_key => 'k', fingerprint => %s, fingerprint_prefix => %s)", name, prefix)
    write(db, ann, "c", card(ann, id=owner_id(ann)))
    squatted = seal(db, bob, "c", card(bob, id=owner_id(Owner())))
    columns = ", ".join(squatted)
    diag = db.refused("RS005", f"INSERT INTO c ({columns}) VALUES (%s, %s, %s, %s, %s)", *squatted.values())
    assert name in str(diag.message_primary)
    assert problems(db, "c") == []


def test_certificates_are_signatures_over_the_named_columns(db: Scratch) -> None:
    db.run(f"CREATE TABLE c (id bytea PRIMARY KEY, a bytea, a_cert bytea, b text, b_cert text, {CARD})")
    db.run("SELECT rowseal.declare('c', owner => 'id', public_key => 'k', certificates => '{\"a_cert\": \"a\", \"b_cert\": \"b\"}')")
    ann = Owner()

    def of(value: bytes) -> bytes:
        return ann.key.sign(value).signature

    good = {"a": b"A", "a_cert": of(b"A"), "b": b64encode(b"B").decode(), "b_cert": b64encode(of(b"B")).decode()}
    write(db, ann, "c", card(ann, **good))
    write(db, ann, "c", card(ann))  # none at all
    for wrong in ({"a": b"other"}, {"a_cert": None}, {"a": None}, {"b": b64encode(b"A").decode()}, {"b": "not base64"}, {"b_cert": "?"}):
        row = seal(db, ann, "c", card(ann, **{**good, **wrong}))
        diag = db.refused("RS005", f"INSERT INTO c ({', '.join(row)}) VALUES ({', '.join(['%s'] * len(row))})", *row.values())
        assert "_cert" in str(diag.message_primary)


@pytest.mark.parametrize("storage_type", ["bytea", "text"])
def test_keys_signatures_and_parents_may_be_bytes_or_base64(storage_type: str, db: Scratch) -> None:
    ann, text = Owner(), storage_type == "text"

    def stored(raw: bytes) -> Any:
        return b64encode(raw).decode() if text else raw

    db.run(
        f"""CREATE TABLE cards (id bytea PRIMARY KEY, k {storage_type}, deleted_flag boolean, owner_timestamp bigint, sign_b64
            {storage_type})"""
    )
    db.run("SELECT rowseal.declare('cards', owner => 'id', public_key => 'k')")
    db.run(f"""CREATE TABLE notes (id bytea, n int, value text, deleted_flag boolean, owner_timestamp bigint,
        parent_sign_b64 {storage_type}, sign_b64 {storage_type}, PRIMARY KEY (id, n))""")
    db.run("SELECT rowseal.declare('notes', owner => 'id', identity => 'cards', versions => 'notes_versions')")
    write(db, ann, "cards", card(ann, k=stored(ann.public_key)), text=text)
    one = write(db, ann, "notes", storage(ann, "1"), text=text)
    two = write(db, ann, "notes", storage(ann, "2", parent_sign_b64=one["sign_b64"]), text=text)
    assert db.one("SELECT value, sign_b64 FROM notes") == ("2", two["sign_b64"])
    assert db.one("SELECT value, sign_b64 FROM notes_versions") == ("1", one["sign_b64"])
    assert db.all("SELECT depth FROM rowseal.history('notes', %s)", _json({"id": ann.hash, "n": 1})) == [0, 1]
    if text:
        row = {**seal(db, ann, "notes", storage(ann)), "sign_b64": "no base64!"}
        db.refused("RS001", f"INSERT INTO notes ({', '.join(row)}) VALUES ({', '.join(['%s'] * len(row))})", *row.values())
    assert problems(db, "notes") == []


def test_an_identity_table_may_keep_its_own_versions(db: Scratch) -> None:
    ann = Owner()
    db.run(f"CREATE TABLE two (id bytea PRIMARY KEY, parent_sign_b64 bytea, {CARD})")
    db.run("SELECT rowseal.declare('two', owner => 'id', public_key => 'k', versions => 'two_versions')")
    db.run(f"CREATE TABLE one (id bytea, parent_sign_b64 bytea, {CARD}, PRIMARY KEY (id, sign_b64))")
    db.run("SELECT rowseal.declare('one', owner => 'id', public_key => 'k', fingerprint => 'sha256')")
    for table in ("two", "one"):
        write(db, ann, table, card(ann))
        write(db, ann, table, card(ann))
        other = seal(db, Owner(), table, {**card(Owner()), "id": ann.hash})
        with pytest.raises(psycopg.Error, match="public key of an owner never changes"):
            db.insert(table, other)
    assert (db.one("SELECT count(*) FROM two_versions"), db.one("SELECT count(*) FROM one")) == (1, 2)
    assert unwell(db) == []


def test_all_column_names_can_be_chosen(db: Scratch) -> None:
    ann = Owner()
    db.run('CREATE TABLE cards (id bytea PRIMARY KEY, k bytea, gone boolean, "at" bigint, "Sig" bytea)')
    db.run(
        """SELECT rowseal.declare('cards', owner => 'id', public_key => 'k', timestamp_column => 'at', deleted_column => 'gone',
            signature_column => 'Sig')"""
    )
    db.run('CREATE TABLE notes (id bytea, n int, gone boolean, "at" bigint, "from" bytea, "Sig" bytea, PRIMARY KEY (id, n))')
    db.run("""SELECT rowseal.declare('notes', owner => 'id', identity => 'cards', versions => 'old_notes', timestamp_column => 'at',
        deleted_column => 'gone', signature_column => 'Sig', parent_column => 'from')""")
    write(db, ann, "cards", {"id": ann.hash, "k": ann.public_key, "gone": False, "at": 1})
    one = write(db, ann, "notes", {"id": ann.hash, "n": 1, "gone": False, "at": 1, "from": None})
    write(db, ann, "notes", {"id": ann.hash, "n": 1, "gone": False, "at": 2, "from": one["Sig"]})
    assert db.one('SELECT "at" FROM notes') == 2 and db.one('SELECT "at" FROM old_notes') == 1
    assert db.all("SELECT gap FROM rowseal.history('notes', %s)", _json({"id": ann.hash, "n": 1})) == [False, False]


OWN_WORDS = [
    "same",
    "verdict",
    "tip",
    "whole",
    "known",
    "t",
    "v",
    "new",
    "old",
    "excluded",
    "r",
    "rows",
    "format",
    "outcome",
    "outcomes",
    "key",
    "sign",
    "problem",
    "x",
    "e",
]


@pytest.mark.parametrize("layout", ["two tables", "one table"])
def test_key_columns_may_have_the_names_that_the_functions_use(layout: str, cards: Scratch) -> None:
    db, ann = cards, Owner()
    write(db, ann, "cards", card(ann))
    signature = ", sign_b64" if layout == "one table" else ""
    db.run(
        f"""CREATE TABLE notes (id bytea, {", ".join(f"{w} int" for w in OWN_WORDS)}, {STORAGE}, PRIMARY KEY (id,
            {", ".join(OWN_WORDS)}{signature}))"""
    )
    db.run("SELECT rowseal.declare('notes', owner => 'id', identity => 'cards', versions => %s)", "old" if layout == "two tables" else None)
    key = {"id": ann.hash, **dict.fromkeys(OWN_WORDS, 1)}
    for at in (1, 3, 2, 2):
        row = {**key, "value": "v", "deleted_flag": False, "owner_timestamp": at, "parent_sign_b64": None}
        write(db, ann, "notes", row)
        assert db.apply("notes", [ann.envelope(db.form("notes"), row)]) == [("duplicate", None)]
    assert db.one(f"SELECT owner_timestamp FROM notes{'_tips' if signature else ''}") == 3
    assert problems(db, "notes") == []
    assert len(db.all("SELECT * FROM rowseal.history('notes', %s)", _json(key))) == 3


@pytest.mark.parametrize("name", ["same", "tip", "verdict", "outcome", "sign", "key"])
def test_the_timestamp_may_have_a_name_that_the_functions_use(name: str, db: Scratch) -> None:
    ann = Owner()
    db.run(f"CREATE TABLE c (id bytea PRIMARY KEY, k bytea, deleted_flag boolean, {name} bigint, sign_b64 bytea)")
    db.run("SELECT rowseal.declare('c', owner => 'id', public_key => 'k', timestamp_column => %s)", name)
    for at in (1, 3, 2, 2):
        write(db, ann, "c", {"id": ann.hash, "k": ann.public_key, "deleted_flag": False, name: at})
    assert db.one(f"SELECT {name} FROM c") == 3
    assert problems(db, "c") == []


# ------------------------------------------------------------------------------------ keys and owners
def test_owners_of_several_columns(db: Scratch) -> None:
    db.run(f"CREATE TABLE cards (realm text, id bytea, {CARD}, PRIMARY KEY (realm, id))")
    db.run("SELECT rowseal.declare('cards', owner => '{realm,id}', public_key => 'k')")
    db.run(f"CREATE TABLE notes (who bytea, whence text, n int, {STORAGE}, PRIMARY KEY (n, who, whence))")
    db.run("SELECT rowseal.declare('notes', owner => '{whence, who}', identity => 'cards', versions => 'notes_versions')")
    ann = Owner()
    write(db, ann, "cards", {"realm": "here", **card(ann)})
    note = {"n": 1, "value": "v", "deleted_flag": False, "owner_timestamp": 1, "parent_sign_b64": None}
    write(db, ann, "notes", {**note, "who": ann.hash, "whence": "here"})
    elsewhere = seal(db, ann, "notes", {**note, "who": ann.hash, "whence": "there"})
    diag = db.refused(
        "RS002", f"INSERT INTO notes ({', '.join(elsewhere)}) VALUES ({', '.join(['%s'] * len(elsewhere))})", *elsewhere.values()
    )
    assert '"whence": "there"' in str(diag.message_primary)


def test_an_owner_column_that_looks_like_an_array(db: Scratch) -> None:
    db.run(f'CREATE TABLE c ("{{id}}" bytea PRIMARY KEY, {CARD})')
    db.run("SELECT rowseal.declare('c', owner => '{id}', public_key => 'k')")
    assert db.one("SELECT owner FROM rowseal.declarations") == ["{id}"]


@pytest.mark.parametrize(
    ("type_", "one", "same", "other"),
    [
        ("citext", "Ann", "ANN", "Bob"),
        ("numeric", Decimal("1.0"), Decimal("1.00"), Decimal("1.1")),
        ("text", "a", "a", "A"),
        ("varchar(9)", "a", "a", "b"),
        ("char(3)", "a  ", "a  ", "b  "),
        ("uuid", KEY, KEY, uuid.UUID(int=8)),
        ("timestamptz", "2026-11-21 09:00:00+00", "2026-11-21 09:00:00+00", "2026-11-21 09:00:00.1+00"),
        ("date", "2026-11-21", "2026-11-21", "2026-11-22"),
        ("int[]", [1, 2], [1, 2], [2, 1]),
        ("int4range", "[1,3)", "[1,3)", "[1,4)"),
        ("inet", "10.0.0.1", "10.0.0.1", "10.0.0.2"),
        ("double precision", 1.5, 1.5, 0.1),
        ("mood", "glad", "glad", "sad"),
        ("named", "a", "a", "b"),
        ("bool", True, True, False),
        ("smallint", 1, 1, 2),
    ],
)
def test_keys_of_many_types(type_: str, one: Any, same: Any, other: Any, admin: Scratch, cards: Scratch) -> None:
    db, ann = cards, Owner()
    admin.run("CREATE SCHEMA types; GRANT USAGE ON SCHEMA types TO app; CREATE EXTENSION citext SCHEMA types")
    admin.run("CREATE TYPE types.mood AS ENUM ('sad', 'glad'); CREATE DOMAIN types.named AS text CHECK (VALUE <> '')")
    qualified = f"types.{type_}" if type_ in ("citext", "mood", "named") else type_
    db.run(f"CREATE TABLE notes (id bytea, n {qualified}, {STORAGE}, PRIMARY KEY (id, n))")
    db.run("SELECT rowseal.declare('notes', owner => 'id', identity => 'cards', versions => 'notes_versions')")
    write(db, ann, "cards", card(ann))
    for i, n in enumerate((one, same, other)):
        row = storage(ann, str(i), n=n)
        write(db, ann, "notes", row)
        assert db.apply("notes", [ann.envelope(db.form("notes"), row)]) == [("duplicate", None)]
    assert sorted(db.all("SELECT value FROM notes")) == ["1", "2"]
    assert db.all("SELECT value FROM notes_versions") == ["0"]
    assert problems(db, "notes") == []
    assert db.all("SELECT (SELECT count(*) FROM rowseal.history('notes', to_jsonb(v))) FROM notes_versions v") == [2]


# -------------------------------------------------------------------------------------- versions table
def test_the_created_versions_table_has_what_it_needs(cards: Scratch) -> None:
    db = cards
    db.run(f"CREATE TABLE notes (id bytea, n int, twice int GENERATED ALWAYS AS (n * 2) STORED, seen bool, {STORAGE}, PRIMARY KEY (id, n))")
    db.run("SELECT rowseal.declare('notes', owner => 'id', identity => 'cards', versions => 'notes_versions', unsigned => '{seen}')")
    assert db.all("SELECT attname FROM pg_attribute WHERE attrelid = 'notes_versions'::regclass AND attnum > 0 ORDER BY attnum") == [
        "id",
        "n",
        "value",
        "deleted_flag",
        "owner_timestamp",
        "parent_sign_b64",
        "sign_b64",
    ]
    assert db.all("SELECT pg_get_indexdef(indexrelid) FROM pg_index WHERE indrelid = 'notes_versions'::regclass ORDER BY 1") == [
        "CREATE INDEX notes_versions_id_n_idx ON public.notes_versions USING btree (id, n)",
        "CREATE UNIQUE INDEX notes_versions_pkey ON public.notes_versions USING btree (sign_b64)",
    ]
    assert db.one("SELECT tableowner FROM pg_tables WHERE tablename = 'notes_versions'") == "app"
    assert "notes" in db.one("SELECT obj_description('notes_versions'::regclass)")


def test_a_versions_table_is_adopted_with_its_other_names(db: Scratch) -> None:
    db.run(EXAMPLE)
    assert db.one("SELECT version_columns ->> 'uuid' FROM rowseal.declarations WHERE relation = 'user_storage'::regclass") == "storage_uuid"
    ann = Owner()
    db.insert("user_cards", ann.sealed(db.form("user_cards"), ann.card()))
    form = db.form("user_storage")
    for value in (b"1", b"2"):
        db.insert("user_storage", ann.sealed(form, ann.value(value, KEY)))
    assert db.one("SELECT storage_uuid, value_b64 FROM user_storage_versions") == (KEY, b"1")


def test_version_columns_settle_what_cannot_be_guessed(cards: Scratch) -> None:
    db, ann = cards, Owner()
    db.run(f"CREATE TABLE notes (id bytea, n int, m int, {STORAGE}, PRIMARY KEY (id, n))")
    db.run("CREATE TABLE old (who bytea, a int, b int, text_ text, gone bool, at bigint, base bytea, sig bytea UNIQUE, extra text)")
    declare = "SELECT rowseal.declare('notes', owner => 'id', identity => 'cards', versions => 'old'"
    diag = db.refused("RS007", declare + ")")
    assert diag.message_hint and "version_columns" in diag.message_hint
    db.run(
        declare
        + """, version_columns => '{"id": "who", "n": "b", "m": "a", "value": "text_", "deleted_flag": "gone", "owner_timestamp": "at",
        "parent_sign_b64": "base", "sign_b64": "sig"}')"""
    )
    write(db, ann, "cards", card(ann))
    one = write(db, ann, "notes", storage(ann, "1", m=5))
    write(db, ann, "notes", storage(ann, "2", m=6))
    assert db.one("SELECT who, a, b, text_, sig, extra FROM old") == (ann.hash, 5, 1, "1", one["sign_b64"], None)
    assert problems(db, "notes") == []
    assert unwell(db) == []


@pytest.mark.parametrize(
    ("table", "message"),
    [
        (
            "(id bytea, n int, value text, deleted_flag boolean, owner_timestamp bigint, parent_sign_b64 bytea, sign_b64 bytea)",
            "no primary key on the signature",
        ),
        (
            """(id bytea, n int, value varchar, deleted_flag boolean, owner_timestamp bigint, parent_sign_b64 bytea, sign_b64 bytea
                PRIMARY KEY)""",
            "type",
        ),
        (
            "(id bytea, n int, deleted_flag boolean, owner_timestamp bigint, parent_sign_b64 bytea, sign_b64 bytea PRIMARY KEY)",
            "no column for 'value'",
        ),
        (
            """(id bytea, n int, value text, deleted_flag boolean, owner_timestamp bigint, parent_sign_b64 bytea, sign_b64 bytea PRIMARY
                KEY DEFERRABLE)""",
            "no primary key on the signature",
        ),
        (
            """(id bytea, n int, value text, deleted_flag boolean, owner_timestamp bigint, parent_sign_b64 bytea, sign_b64 bytea PRIMARY
                KEY) PARTITION BY HASH (sign_b64)""",
            "partitioned",
        ),
        (
            """(id bytea, n int, value text, deleted_flag boolean, owner_timestamp bigint, parent_sign_b64 bytea, sign_b64 bytea PRIMARY
                KEY, more text NOT NULL)""",
            "more",
        ),
    ],
)
def test_an_unfit_versions_table_is_refused(table: str, message: str, cards: Scratch) -> None:
    cards.run(f"CREATE TABLE notes (id bytea, n int, {STORAGE}, PRIMARY KEY (id, n))")
    cards.run(f"CREATE TABLE old {table}")
    diag = cards.refused("RS007", "SELECT rowseal.declare('notes', owner => 'id', identity => 'cards', versions => 'old')")
    assert message in str(diag.message_primary) and "old" in str(diag.message_primary)
    assert diag.message_hint


def test_somebody_elses_versions_table_is_refused(cards: Scratch, admin: Scratch) -> None:
    cards.run(f"CREATE TABLE notes (id bytea, n int, {STORAGE}, PRIMARY KEY (id, n))")
    admin.run("CREATE TABLE old (LIKE notes); ALTER TABLE old ADD PRIMARY KEY (sign_b64); GRANT ALL ON old TO app")
    diag = cards.refused("RS008", "SELECT rowseal.declare('notes', owner => 'id', identity => 'cards', versions => 'old')")
    assert diag.message_hint and "old" in str(diag.message_primary)


# ------------------------------------------------------------------------- tag, unsigned, existing rows
def test_the_tag_is_the_tables_name_or_what_the_declaration_says(db: Scratch) -> None:
    db.run(f"CREATE TABLE a (id bytea PRIMARY KEY, {CARD}); CREATE TABLE b (id bytea PRIMARY KEY, {CARD})")
    db.run("SELECT rowseal.declare('a', owner => 'id', public_key => 'k', tag => 'people')")
    diag = db.refused("RS007", "SELECT rowseal.declare('b', owner => 'id', public_key => 'k', tag => 'people')")
    assert "people" in str(diag.message_primary) and "a" in str(diag.message_primary) and "tag =>" in str(diag.message_hint)
    db.run("SELECT rowseal.declare('b', owner => 'id', public_key => 'k')")
    ann = Owner()
    row = write(db, ann, "a", card(ann), tag="people")
    with pytest.raises(psycopg.Error, match="invalid signature"):  # no replay into another table
        db.insert("b", row)
    assert '"table":"people"' in db.one("SELECT rowseal.payload('a', '{}')")


def test_tables_of_one_name_in_two_schemas_need_two_tags(db: Scratch, admin: Scratch) -> None:
    admin.run("CREATE SCHEMA one AUTHORIZATION app; CREATE SCHEMA two AUTHORIZATION app")
    for schema in ("one", "two"):
        db.run(f"CREATE TABLE {schema}.c (id bytea, n int, parent_sign_b64 bytea, {CARD}, PRIMARY KEY (id))")
    call = "SELECT versions FROM rowseal.declare('{}.c', owner => 'id', public_key => 'k', versions => '{}', tag => {})"
    assert db.one(call.format("one", "c_versions", "NULL")) == "one.c_versions"
    db.refused("RS007", call.format("two", "c_versions", "NULL"))
    assert db.one(call.format("two", "one.c_two_versions", "'c two'")) == "one.c_two_versions"
    ann = Owner()
    for tag, table in (("c", "one.c"), ("c two", "two.c")):
        for _ in range(2):
            write(db, ann, table, card(ann), tag=tag)
        assert problems(db, table) == []
    assert unwell(db) == []


def test_existing_rows_are_verified_first(cards: Scratch) -> None:
    db, ann = cards, Owner()
    db.run(f"CREATE TABLE notes (id bytea, n int, {STORAGE}, PRIMARY KEY (id, n))")
    declare = "SELECT rowseal.declare('notes', owner => 'id', identity => 'cards', versions => 'notes_versions')"
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
        assert "notes" in str(diag.message_primary) and '"n": 1' in str(diag.message_detail) and diag.message_hint
        assert db.all("SELECT tag FROM rowseal.declarations") == ["cards"]
        db.run(f"UPDATE {table} SET value = rtrim(value, '!')")
    db.run(declare)


@pytest.mark.parametrize("column", ["owner_timestamp", "deleted_flag", "sign_b64"])
def test_existing_rows_without_timestamp_flag_or_signature_cannot_stay(column: str, cards: Scratch) -> None:
    db, ann = cards, Owner()
    row = seal(db, ann, "cards", card(ann, **{column: None} if column != "sign_b64" else {}))
    if column == "sign_b64":
        row["sign_b64"] = None
    db.run("SELECT rowseal.undeclare('cards')")
    db.insert("cards", row)
    db.refused("RS001", "SELECT rowseal.declare('cards', owner => 'id', public_key => 'k')")


def test_a_refused_declaration_leaves_nothing_behind(cards: Scratch) -> None:
    cards.run(f"CREATE TABLE notes (id bytea, n int, m money, {STORAGE}, PRIMARY KEY (id, n))")
    before = cards.all("SELECT oid::regprocedure::text FROM pg_proc WHERE pronamespace = 'rowseal'::regnamespace ORDER BY 1")
    cards.refused("RS007", "SELECT rowseal.declare('notes', owner => 'id', identity => 'cards', versions => 'notes_versions')")
    assert cards.one("SELECT to_regclass('notes_versions')") is None
    assert cards.all("SELECT * FROM pg_trigger WHERE tgrelid = 'notes'::regclass") == []
    assert cards.all("SELECT oid::regprocedure::text FROM pg_proc WHERE pronamespace = 'rowseal'::regnamespace ORDER BY 1") == before


def test_if_not_exists_gives_a_notice_and_created_is_false(cards: Scratch) -> None:
    call = "SELECT layout, created FROM rowseal.declare('cards', owner => 'id', public_key => 'k'{})"
    diag = cards.refused("RS007", call.format(""))
    assert "declared already" in str(diag.message_primary) and "if_not_exists" in str(diag.message_hint)
    assert cards.one(call.format(", if_not_exists => true")) == ("unversioned", False)
    assert ("NOTICE", "table public.cards is declared already, skipping", None) in cards.notices


# ------------------------------------------------------------------------------------------------ names
ODD = [
    "Mixed Case",
    'dou"ble',
    "sing'le",
    "back\\slash",
    "per%cent %s",
    "dol$$lar $rowseal$",
    "dot.ted",
    "größe 名前 🗝",
    "br{a,c}e",
    "{x}",
    ":colon",
    "select",
]


@pytest.mark.parametrize("name", ODD)
@pytest.mark.parametrize("layout", ["two tables", "one table"])
def test_names_may_be_anything(name: str, layout: str, db: Scratch, admin: Scratch) -> None:
    def q(text: str) -> str:
        return '"' + text.replace('"', '""') + '"'

    ann, c = Owner(), "c" + name
    admin.run(f"CREATE SCHEMA {q(name)} AUTHORIZATION app")
    cards_, table = f"{q(name)}.{q('cards' + name)}", f"{q(name)}.{q(name)}"
    db.run(f"CREATE TABLE {cards_} ({q(c)} bytea PRIMARY KEY, k bytea, deleted_flag boolean, owner_timestamp bigint, sign_b64 bytea)")
    db.run("SELECT rowseal.declare(%s, owner => %s, public_key => 'k', tag => 'c')", cards_, c)
    db.run(f"""CREATE TABLE {table} ({q(c)} bytea, {q(name)} text, {q("v" + name)} bytea[], deleted_flag boolean, owner_timestamp bigint,
        parent_sign_b64 bytea, sign_b64 bytea, PRIMARY KEY ({q(c)}, {q(name)}{", sign_b64" if layout == "one table" else ""}))""")
    versions = q("old" + name) if layout == "two tables" else None
    db.run("SELECT rowseal.declare(%s, owner => %s, identity => %s, versions => %s)", table, c, cards_, versions)

    def insert(into: str, row: dict[str, Any]) -> None:
        columns = ", ".join(map(q, row)).replace("%", "%%")
        db.run(f"INSERT INTO {into.replace('%', '%%')} ({columns}) VALUES ({', '.join(['%s'] * len(row))})", *row.values())

    insert(cards_, seal(db, ann, "c", {c: ann.hash, "k": ann.public_key, "deleted_flag": False, "owner_timestamp": 1}))
    row = {c: ann.hash, name: "x", "v" + name: [b"a"], "deleted_flag": False, "parent_sign_b64": None}
    for at in (1, 3, 2):
        insert(table, seal(db, ann, name, {**row, "owner_timestamp": at}))
        assert db.apply(table, [ann.envelope(db.form(name), {**row, "owner_timestamp": at})]) == [("duplicate", None)]
    assert (problems(db, table), unwell(db)) == ([], [])
    assert [h[3] for h in db.all("SELECT * FROM rowseal.history(%s, %s)", table, _json({c: ann.hash, name: "x"}))] == [1, 2, 3]
    with pytest.raises(psycopg.Error, match="invalid signature"):
        insert(table, {**seal(db, ann, name, {**row, "owner_timestamp": 4}), "v" + name: [b"b"]})
    assert db.one("SELECT rowseal.undeclare(%s)", table)


def test_names_of_63_bytes(db: Scratch) -> None:
    ann, name = Owner(), "n" * 63
    db.run(f"CREATE TABLE {name} (id bytea PRIMARY KEY, {name} text, parent_sign_b64 bytea, {CARD})")
    db.run("SELECT rowseal.declare(%s, owner => 'id', public_key => 'k', versions => 'v')", name)
    for at in (1, 2):
        write(db, ann, name, card(ann, **{name: "x", "owner_timestamp": at}))
    assert db.one("SELECT owner_timestamp FROM v") == 1


# ------------------------------------------------------------------------------------- partitioned tables
PARTITIONED = {
    "list": ("LIST (n)", ["FOR VALUES IN (1)", "FOR VALUES IN (2)", "DEFAULT"]),
    "range": ("RANGE (n)", ["FOR VALUES FROM (0) TO (2)", "FOR VALUES FROM (2) TO (3)", "DEFAULT"]),
    "hash": ("HASH (id, n)", [f"FOR VALUES WITH (MODULUS 3, REMAINDER {i})" for i in range(3)]),
}


@pytest.mark.parametrize("kind", PARTITIONED)
@pytest.mark.parametrize("when", ["before", "created", "attached"])
def test_partitions_are_guarded_whenever_they_come(kind: str, when: str, cards: Scratch) -> None:
    db, ann = cards, Owner()
    by, bounds = PARTITIONED[kind]
    db.run(f"CREATE TABLE notes (id bytea, n int, {STORAGE}, PRIMARY KEY (id, n)) PARTITION BY {by}")
    declare = "SELECT rowseal.declare('notes', owner => 'id', identity => 'cards', versions => 'notes_versions')"
    if when != "before":
        db.run(declare)
    for i, bound in enumerate(bounds):
        if when == "attached":
            db.run(f"CREATE TABLE p{i} (LIKE notes INCLUDING ALL); ALTER TABLE notes ATTACH PARTITION p{i} {bound}")
        else:
            db.run(f"CREATE TABLE p{i} PARTITION OF notes {bound}")
    if when == "before":
        db.run(declare)
    assert unwell(db) == []
    write(db, ann, "cards", card(ann))
    for n in range(1, 5):
        for value in ("1", "2"):
            write(db, ann, "notes", storage(ann, value, n=n))
    assert db.all("SELECT n, value FROM notes ORDER BY n") == [(n, "2") for n in range(1, 5)]
    assert db.one("SELECT count(*) FROM notes_versions") == 4
    assert problems(db, "notes") == []
    # written directly: the same checks, and the clone sees other partitions' keys through the parent
    for n, partition in db.all("SELECT n, tableoid::regclass::text FROM notes"):
        write(db, ann, partition, storage(ann, "3", n=n), tag="notes")
        forged = {**seal(db, ann, "notes", storage(ann, "4", n=n)), "value": "5"}
        with pytest.raises(psycopg.Error, match="invalid signature"):
            db.insert(partition, forged)
        db.refused("RS004", f"DELETE FROM {partition}")
        db.refused("RS004", f"TRUNCATE {partition}")
    assert db.all("SELECT DISTINCT value FROM notes") == ["3"]
    assert db.one("SELECT count(*) FROM notes_versions") == 8


def test_a_partition_with_a_bad_row_cannot_be_attached_and_one_with_good_rows_can(cards: Scratch) -> None:
    db, ann = cards, Owner()
    write(db, ann, "cards", card(ann))
    db.run(f"CREATE TABLE notes (id bytea, n int, {STORAGE}, PRIMARY KEY (id, n)) PARTITION BY LIST (n)")
    db.run("SELECT rowseal.declare('notes', owner => 'id', identity => 'cards')")
    good = seal(db, ann, "notes", storage(ann, "good", n=1))
    undated = seal(db, ann, "notes", storage(ann, n=1, owner_timestamp=None))
    for i, row in enumerate(({**good, "value": "bad"}, {**good, "id": b"nobody"}, undated)):
        db.run(f"CREATE TABLE bad{i} (LIKE notes INCLUDING ALL)")
        db.insert(f"bad{i}", row)
        diag = db.refused(("RS001", "RS002", "RS001")[i], f"ALTER TABLE notes ATTACH PARTITION bad{i} FOR VALUES IN (1)")
        assert "notes" in str(diag.message_primary) and '"n": 1' in str(diag.message_detail) and diag.message_hint
    db.run("CREATE TABLE good (LIKE notes INCLUDING ALL)")
    db.insert("good", good)
    db.run("ALTER TABLE notes ATTACH PARTITION good FOR VALUES IN (1)")
    assert db.all("SELECT value FROM notes") == ["good"]
    assert (problems(db, "notes"), unwell(db)) == ([], [])


def test_partitions_of_partitions_are_guarded(cards: Scratch) -> None:
    db, ann = cards, Owner()
    db.run(f"CREATE TABLE notes (id bytea, n int, {STORAGE}, PRIMARY KEY (id, n)) PARTITION BY LIST (n)")
    db.run("SELECT rowseal.declare('notes', owner => 'id', identity => 'cards', versions => 'notes_versions')")
    db.run("CREATE TABLE sub PARTITION OF notes DEFAULT PARTITION BY HASH (id)")
    db.run("CREATE TABLE leaf PARTITION OF sub FOR VALUES WITH (MODULUS 1, REMAINDER 0)")
    assert unwell(db) == []
    write(db, ann, "cards", card(ann))
    write(db, ann, "notes", storage(ann))
    write(db, ann, "leaf", storage(ann), tag="notes")
    assert (db.one("SELECT count(*) FROM leaf"), db.one("SELECT count(*) FROM notes_versions")) == (1, 1)
    for table in ("notes", "sub", "leaf"):
        db.refused("RS004", f"TRUNCATE {table}")


def test_a_one_table_layout_may_be_partitioned(cards: Scratch) -> None:
    db, ann = cards, Owner()
    db.run(f"CREATE TABLE logs (id bytea, n int, {STORAGE}, PRIMARY KEY (id, n, sign_b64)) PARTITION BY HASH (sign_b64)")
    for i in range(2):
        db.run(f"CREATE TABLE logs{i} PARTITION OF logs FOR VALUES WITH (MODULUS 2, REMAINDER {i})")
    db.run("SELECT rowseal.declare('logs', owner => 'id', identity => 'cards')")
    write(db, ann, "cards", card(ann))
    for value in "12345":
        write(db, ann, "logs", storage(ann, value))
    assert db.all("SELECT value FROM logs_tips") == ["5"] and db.one("SELECT count(*) FROM logs") == 5
    assert (problems(db, "logs"), unwell(db)) == ([], [])


LATE = "CREATE FUNCTION {0}() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN NEW.value := ''changed''; RETURN NEW; END';"


@pytest.mark.parametrize("when", ["before", "attached"])
def test_a_partition_with_a_late_trigger_is_refused(when: str, cards: Scratch) -> None:
    db = cards
    db.run(LATE.format("late"))
    db.run(f"CREATE TABLE notes (id bytea, n int, {STORAGE}, PRIMARY KEY (id, n)) PARTITION BY LIST (n)")
    db.run("CREATE TABLE p (LIKE notes INCLUDING ALL); CREATE TRIGGER zzzz BEFORE INSERT ON p FOR EACH ROW EXECUTE FUNCTION late()")
    declare, attach = "SELECT rowseal.declare('notes', owner => 'id', identity => 'cards')", "ALTER TABLE notes ATTACH PARTITION p DEFAULT"
    db.run(attach if when == "before" else declare)
    db.refused("RS007", declare if when == "before" else attach)


def test_undeclare_takes_everything_off_a_detached_partition_too(cards: Scratch) -> None:
    db = cards
    db.run(f"CREATE TABLE notes (id bytea, n int, {STORAGE}, PRIMARY KEY (id, n)) PARTITION BY LIST (n)")
    db.run("CREATE TABLE p PARTITION OF notes DEFAULT")
    db.run("SELECT rowseal.declare('notes', owner => 'id', identity => 'cards')")
    db.run("ALTER TABLE notes DETACH PARTITION p")
    db.run("SELECT rowseal.undeclare('notes')")
    assert db.all("SELECT tgname FROM pg_trigger WHERE tgrelid = 'p'::regclass") == []
    db.run("TRUNCATE p")


# --------------------------------------------------------------------- generated and identity columns
def test_generated_columns_are_not_signed(cards: Scratch) -> None:
    db, ann = cards, Owner()
    db.run(f"CREATE TABLE notes (id bytea, n int, size int GENERATED ALWAYS AS (length(value)) STORED, {STORAGE}, PRIMARY KEY (id, n))")
    db.run("SELECT rowseal.declare('notes', owner => 'id', identity => 'cards', versions => 'notes_versions')")
    assert "size" not in db.one("SELECT spec -> 'fields' FROM rowseal.declarations WHERE tag = 'notes'")
    write(db, ann, "cards", card(ann))
    for value in ("a", "bb" * 200):
        write(db, ann, "notes", storage(ann, value))
    assert db.one("SELECT size FROM notes") == 400
    assert problems(db, "notes") == []


def test_identity_columns_by_default_are_chosen_by_the_owner(cards: Scratch) -> None:
    db, ann = cards, Owner()
    db.run(
        f"""CREATE TABLE notes (id bytea, n int GENERATED BY DEFAULT AS IDENTITY, local int GENERATED ALWAYS AS IDENTITY, {STORAGE},
            PRIMARY KEY (id, n))"""
    )
    db.run("SELECT rowseal.declare('notes', owner => 'id', identity => 'cards', unsigned => '{local}')")
    write(db, ann, "cards", card(ann))
    write(db, ann, "notes", storage(ann, n=7))
    write(db, ann, "notes", storage(ann, "2", n=7))
    assert db.one("SELECT n, value FROM notes") == (7, "2")


# ------------------------------------------------------------------------------------- wrong declarations
C = f"CREATE TABLE c (id bytea PRIMARY KEY, {CARD})"
D = "'c', owner => 'id', public_key => 'k'"
IDENTITY = f"""CREATE TABLE i (id bytea PRIMARY KEY, {CARD}, parent_sign_b64 bytea);
    SELECT rowseal.declare('i', owner => 'id', public_key => 'k')"""
WIDE = ", ".join(f"c{i} int" for i in range(92))
REFUSED: dict[str, tuple[str, str, str]] = {
    "no primary key": (f"CREATE TABLE c (id bytea, {CARD})", D, "no primary key"),
    "owner not in the key": (
        f"CREATE TABLE c (id bytea, n int PRIMARY KEY, {CARD})",
        D,
        "owner column 'id' is not part of the primary key",
    ),
    "no such owner": (C, "'c', owner => 'nobody', public_key => 'k'", "no owner column 'nobody'"),
    "an owner half of an array": (C, "'c', owner => '{id', public_key => 'k'", "owner"),
    "no owner": (C, "'c', owner => NULL, public_key => 'k'", "owner"),
    "no relation": (C, "NULL, owner => 'id', public_key => 'k'", "relation"),
    "no signature column": (
        "CREATE TABLE c (id bytea PRIMARY KEY, k bytea, deleted_flag boolean, owner_timestamp bigint)",
        D,
        "no signature column 'sign_b64'",
    ),
    "no timestamp column": (
        "CREATE TABLE c (id bytea PRIMARY KEY, k bytea, deleted_flag boolean, sign_b64 bytea)",
        D,
        "no timestamp column",
    ),
    "no deletion flag": (
        "CREATE TABLE c (id bytea PRIMARY KEY, k bytea, owner_timestamp bigint, sign_b64 bytea)",
        D,
        "no deletion flag column",
    ),
    "no public key column": (C, "'c', owner => 'id', public_key => 'nokey'", "'nokey'"),
    "signature of a wrong type": (
        "CREATE TABLE c (id bytea PRIMARY KEY, k bytea, deleted_flag boolean, owner_timestamp bigint, sign_b64 int)",
        D,
        "signature column 'sign_b64'",
    ),
    "timestamp of a wrong type": (
        "CREATE TABLE c (id bytea PRIMARY KEY, k bytea, deleted_flag boolean, owner_timestamp int, sign_b64 bytea)",
        D,
        "timestamp column",
    ),
    "flag of a wrong type": (
        "CREATE TABLE c (id bytea PRIMARY KEY, k bytea, deleted_flag int, owner_timestamp bigint, sign_b64 bytea)",
        D,
        "deletion flag column",
    ),
    "parent of a wrong type": (f"CREATE TABLE c (id bytea PRIMARY KEY, parent_sign_b64 int, {CARD})", D, "parent column"),
    "key of a wrong type": (
        "CREATE TABLE c (id bytea PRIMARY KEY, k int, deleted_flag boolean, owner_timestamp bigint, sign_b64 bytea)",
        D,
        "public key column",
    ),
    "signature column NULL": (C, D + ", signature_column => NULL", "signature"),
    "timestamp in the key": (f"CREATE TABLE c (id bytea, {CARD}, PRIMARY KEY (id, owner_timestamp))", D, "timestamp or the deletion flag"),
    "flag in the key": (f"CREATE TABLE c (id bytea, {CARD}, PRIMARY KEY (id, deleted_flag))", D, "timestamp or the deletion flag"),
    **{
        f"a column of type {t}": (
            f"""CREATE TYPE comp AS (a int, m money); CREATE DOMAIN dom AS oid; CREATE DOMAIN doms AS regclass[];
            CREATE TYPE roid AS RANGE (SUBTYPE = oid); CREATE DOMAIN ints AS int[];
            CREATE TABLE c (id bytea PRIMARY KEY, bad {t}, {CARD})""",
            D,
            "'bad'",
        )
        for t in (
            "money",
            "oid",
            "regclass",
            "regproc",
            "regrole",
            "xid",
            "tid",
            "money[]",
            "regtype[]",
            "comp",
            "comp[]",
            "dom",
            "dom[]",
            "doms",
            "roid",
            "roid[]",
            "oidvector",
            "aclitem[]",
            "ints[]",
        )
    },
    "an inheritance child": (f"CREATE TABLE p (x int); CREATE TABLE c (id bytea PRIMARY KEY, {CARD}) INHERITS (p)", D, "inheritance"),
    "an inheritance parent": (f"{C}; CREATE TABLE kid () INHERITS (c)", D, "inheritance"),
    "a view": (f"CREATE TABLE b (id bytea PRIMARY KEY, {CARD}); CREATE VIEW c AS SELECT * FROM b", D, "a view"),
    "a materialized view": (
        f"CREATE TABLE b (id bytea PRIMARY KEY, {CARD}); CREATE MATERIALIZED VIEW c AS SELECT * FROM b",
        D,
        "a materialized view",
    ),
    "a temporary table": (C.replace("TABLE", "TEMP TABLE"), D, "a temporary table"),
    "an unlogged table": (C.replace("TABLE", "UNLOGGED TABLE"), D, "an unlogged table"),
    "a sequence": ("CREATE SEQUENCE c", D, "no table"),
    "a partition": (
        f"""CREATE TABLE p (id bytea PRIMARY KEY, {CARD}) PARTITION BY HASH (id); CREATE TABLE c PARTITION OF p FOR VALUES WITH (MODULUS
            1, REMAINDER 0)""",
        D,
        "is a partition",
    ),
    "a deferrable key": (f"CREATE TABLE c (id bytea PRIMARY KEY DEFERRABLE, {CARD})", D, "deferrable"),
    "a late trigger": (
        f"{C}; {LATE.format('late')} CREATE TRIGGER zzzz BEFORE UPDATE ON c FOR EACH ROW EXECUTE FUNCTION late()",
        D,
        "'zzzz'",
    ),
    "a rule": (f"{C}; CREATE RULE divert AS ON INSERT TO c DO INSTEAD NOTHING", D, "divert"),
    "public_key and identity": (
        f"{C}; CREATE TABLE i (id bytea PRIMARY KEY, {CARD}); SELECT rowseal.declare('i', owner => 'id', public_key => 'k')",
        D + ", identity => 'i'",
        "both public_key and identity",
    ),
    "neither public_key nor identity": (C, "'c', owner => 'id'", "neither public_key"),
    "an identity that is not declared": (
        f"{C}; CREATE TABLE i (id bytea PRIMARY KEY, {CARD})",
        "'c', owner => 'id', identity => 'i'",
        "not declared as an identity table",
    ),
    "itself as identity": (C, "'c', owner => 'id', identity => 'c'", "not declared as an identity table"),
    "a dependent table as identity": (
        f"{C}; {IDENTITY}; CREATE TABLE j (LIKE i INCLUDING ALL); SELECT rowseal.declare('j', owner => 'id', identity => 'i')",
        "'c', owner => 'id', identity => 'j'",
        "not declared as an identity table",
    ),
    "an owner of another type": (
        f"CREATE TABLE c (id text PRIMARY KEY, {CARD}); {IDENTITY}",
        "'c', owner => 'id', identity => 'i'",
        "owner of public.c has type",
    ),
    "an identity table with a wider key": (f"CREATE TABLE c (id bytea, n int, {CARD}, PRIMARY KEY (id, n))", D, "not its owner column"),
    "an identity table in one table, without fingerprint": (
        f"CREATE TABLE c (id bytea, parent_sign_b64 bytea, {CARD}, PRIMARY KEY (id, sign_b64))",
        D,
        "without fingerprint",
    ),
    "an unknown fingerprint": (C, D + ", fingerprint => 'md5'", "'md5'"),
    "a fingerprint on a dependent table": (
        f"{C}; CREATE TABLE i (id bytea PRIMARY KEY, {CARD}); SELECT rowseal.declare('i', owner => 'id', public_key => 'k')",
        "'c', owner => 'id', identity => 'i', fingerprint => 'sha256'",
        "fingerprint needs an identity table",
    ),
    "a fingerprint as a number": (f"CREATE TABLE c (id int PRIMARY KEY, {CARD})", D + ", fingerprint => 'sha256'", "owner column 'id'"),
    "a prefix without fingerprint": (C, D + ", fingerprint_prefix => 'x'", "fingerprint_prefix"),
    "a certificate that is not there": (C, D + """, certificates => '{"cert": "k"}'""", "'cert'"),
    "a certificate of nothing": (C, D + """, certificates => '{"k": null}'""", "certificates"),
    "a certificate over a number": (C, D + """, certificates => '{"k": "owner_timestamp"}'""", "'owner_timestamp'"),
    "certificates that are no object": (C, D + ", certificates => '[1]'", "certificates"),
    "certificates over a list": (C, D + """, certificates => '{"k": ["id"]}'""", "certificate"),
    "version_columns that are no object": (
        f"CREATE TABLE c (id bytea PRIMARY KEY, parent_sign_b64 bytea, {CARD})",
        D + ", versions => 'v', version_columns => '[1]'",
        "version_columns",
    ),
    "an identity column ALWAYS": (
        f"CREATE TABLE c (id bytea PRIMARY KEY, n int GENERATED ALWAYS AS IDENTITY, {CARD})",
        D,
        "GENERATED ALWAYS AS IDENTITY",
    ),
    "a generated owner": (f"CREATE TABLE c (x bytea, id bytea GENERATED ALWAYS AS (x) STORED PRIMARY KEY, {CARD})", D, "generated"),
    "too many columns": (f"CREATE TABLE c (id bytea PRIMARY KEY, {WIDE}, {CARD})", D, "96 signed columns"),
    "an unsigned column that is not there": (C, D + ", unsigned => '{x}'", "no unsigned column 'x'"),
    "an unsigned owner": (C, D + ", unsigned => '{id}'", "cannot be unsigned"),
    "an unsigned timestamp": (C, D + ", unsigned => '{owner_timestamp}'", "cannot be unsigned"),
    "an unsigned public key": (C, D + ", unsigned => '{k}'", "cannot be unsigned"),
    "versions without a parent column": (C, D + ", versions => 'c_versions'", "without a parent column"),
    "one table without a parent column": (
        f"CREATE TABLE c (id bytea, {CARD}, PRIMARY KEY (id, sign_b64))",
        D + ", fingerprint => 'sha256'",
        "without a parent column",
    ),
    "one table with a versions table": (
        f"CREATE TABLE c (id bytea, parent_sign_b64 bytea, {CARD}, PRIMARY KEY (id, sign_b64))",
        D + ", fingerprint => 'sha256', versions => 'v'",
        "keeps its versions itself",
    ),
    "itself as versions table": (
        f"CREATE TABLE c (id bytea PRIMARY KEY, parent_sign_b64 bytea, {CARD}, UNIQUE (sign_b64))",
        D + ", versions => 'c'",
        "versions",
    ),
    "a declared table as versions table": (
        f"CREATE TABLE c (id bytea PRIMARY KEY, {CARD}, parent_sign_b64 bytea); {IDENTITY}; ALTER TABLE i ADD UNIQUE (sign_b64)",
        D + ", versions => 'i'",
        "versions",
    ),
    "a versions table twice": (
        f"CREATE TABLE c (id bytea PRIMARY KEY, {CARD}, parent_sign_b64 bytea); "
        + IDENTITY.replace("'k')", "'k', versions => 'i_versions')"),
        D + ", versions => 'i_versions'",
        "versions",
    ),
    "a versions table to be declared": (
        f"CREATE TABLE c (id bytea PRIMARY KEY, {CARD}, parent_sign_b64 bytea, UNIQUE (sign_b64));"
        + IDENTITY.replace("'k')", "'k', versions => 'c')"),
        D,
        "versions",
    ),
}


@pytest.mark.parametrize("wrong", REFUSED)
def test_a_wrong_declaration_is_refused_by_name(wrong: str, db: Scratch) -> None:
    setup, call, message = REFUSED[wrong]
    db.run(setup)
    diag = db.refused("RS007", f"SELECT rowseal.declare({call})")
    assert message in str(diag.message_primary)
    assert diag.message_hint


def test_95_signed_columns_can_be_declared(db: Scratch) -> None:
    ann = Owner()
    db.run(
        f"CREATE TABLE c (id bytea PRIMARY KEY, {WIDE.removesuffix(', c91 int')}, list int[], seen int, {CARD})".replace("c90 int, ", "")
    )
    db.run(f"SELECT rowseal.declare({D}, unsigned => '{{seen}}')")
    assert db.one("SELECT count(*) FROM rowseal.declarations, jsonb_object_keys(spec -> 'fields')") == 95
    write(db, ann, "c", card(ann, c1=1, list=[1]))
    assert problems(db, "c") == []


def test_a_foreign_table_is_refused(db: Scratch, admin: Scratch) -> None:
    admin.run("CREATE FOREIGN DATA WRAPPER w; CREATE SERVER s FOREIGN DATA WRAPPER w; GRANT USAGE ON FOREIGN SERVER s TO app")
    db.run("CREATE FOREIGN TABLE c (id bytea) SERVER s")
    assert "a foreign table" in str(db.refused("RS007", f"SELECT rowseal.declare({D})").message_primary)


def test_only_who_owns_a_table_may_declare_or_undeclare_it(db: Scratch, transaction: psycopg.Connection[Any]) -> None:
    mallory = Scratch(transaction, "mallory")
    db.run(C)
    db.run("GRANT ALL ON c TO mallory")
    diag = mallory.refused("RS008", f"SELECT rowseal.declare({D})")
    assert "c" in str(diag.message_primary) and diag.message_hint
    db.run(f"SELECT rowseal.declare({D})")
    diag = mallory.refused("RS008", "SELECT rowseal.undeclare('c')")
    assert "c" in str(diag.message_primary) and diag.message_hint
    assert mallory.run("DELETE FROM rowseal.declarations") == 0
    mallory.refused("42501", "UPDATE rowseal.declarations SET owner = '{k}'")
    db.run(C.replace("c (", "d ("))
    mallory.refused("42501", "INSERT INTO rowseal.declarations (relation, tag, owner, public_key) VALUES ('d', 'd', '{id}', 'k')")


def test_a_role_that_inherits_ownership_may_declare(db: Scratch, admin: Scratch) -> None:
    db.run(C)
    admin.run("CREATE ROLE owners; GRANT owners TO app; GRANT CREATE ON SCHEMA public TO owners; ALTER TABLE c OWNER TO owners")
    assert db.one(f"SELECT created FROM rowseal.declare({D})")
    assert db.one("SELECT rowseal.undeclare('c')")


def test_a_direct_entry_cannot_squat_on_ids(db: Scratch) -> None:
    """The numbers behind the generated functions come from the sequence, whoever writes the entry."""
    db.run(C)
    db.run("INSERT INTO rowseal.declarations (relation, id, tag, owner, public_key) VALUES ('c', 2000000000, 'c', '{id}', 'k')")
    assert db.one("SELECT id FROM rowseal.declarations") < 2000000000


# -------------------------------------------------------------------------------------------- undeclare
def fingerprint_of_catalogs(db: Db) -> list[Any]:
    return [
        db.all("SELECT oid::regprocedure::text FROM pg_proc WHERE pronamespace = 'rowseal'::regnamespace ORDER BY 1"),
        db.all("SELECT tgrelid::regclass::text, tgname FROM pg_trigger WHERE tgname LIKE 'zzz%%' ORDER BY 1, 2"),
        db.all("SELECT relation::text FROM rowseal.declarations ORDER BY 1"),
        db.all("SELECT polname FROM pg_policy ORDER BY 1"),
        db.all("SELECT conrelid::regclass::text, conname FROM pg_constraint WHERE connamespace = 'public'::regnamespace ORDER BY 1, 2"),
    ]


@pytest.mark.parametrize("layout", ["unversioned", "two tables", "one table", "partitioned"])
def test_undeclare_takes_everything_off_and_leaves_the_data(layout: str, cards: Scratch) -> None:
    db, ann = cards, Owner()
    write(db, ann, "cards", card(ann))
    key, by = ("id, n, sign_b64" if layout == "one table" else "id, n"), ("PARTITION BY HASH (id)" if layout == "partitioned" else "")
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
    db.run("INSERT INTO notes (id, n, sign_b64) VALUES ('x', 1, 'x'); DELETE FROM notes; TRUNCATE notes")
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
    assert cards.run("DELETE FROM rowseal.declarations WHERE tag = 'notes'") == 1
    assert cards.one("SELECT rowseal.undeclare('cards')")


def test_tables_of_other_people_are_left_alone(cards: Scratch, admin: Scratch) -> None:
    """No trigger, no function, no refusal for whoever does not use rowseal."""
    admin.run(
        """CREATE TABLE theirs (id int PRIMARY KEY, m money); CREATE TABLE kid () INHERITS (theirs); CREATE TABLE parts (id int)
            PARTITION BY LIST (id)"""
    )
    before = fingerprint_of_catalogs(admin)
    admin.run(LATE.format("late"))
    admin.run("""ALTER TABLE theirs ADD r regclass; ALTER TABLE theirs RENAME m TO n;
        CREATE RULE r AS ON INSERT TO theirs DO INSTEAD NOTHING;
        CREATE TRIGGER zzzz BEFORE INSERT ON theirs FOR EACH ROW EXECUTE FUNCTION late(); ALTER TABLE theirs DISABLE TRIGGER zzzz;
        CREATE TABLE part PARTITION OF parts DEFAULT; TRUNCATE theirs, parts; DELETE FROM parts; DROP TABLE theirs, kid, parts""")
    assert fingerprint_of_catalogs(admin)[:4] == before[:4]
    assert [n for n in admin.notices if n[0] == "WARNING"] == []
