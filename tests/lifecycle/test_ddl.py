"""What happens to a declared table later: columns and names change,
partitions and triggers come and go.
"""

from __future__ import annotations

import uuid
from typing import Any

import psycopg
import pytest

from kit.example import EXAMPLE, Owner
from kit.scratch import CARD, Scratch, problems, scratch_role, seal, shared_database, unwell, write

KEY = uuid.UUID(int=7)


shared = shared_database(EXAMPLE)
example, admin = scratch_role("app"), scratch_role("postgres")


def put(db: Scratch, owner: Owner, value: bytes | None, **changes: Any) -> dict[str, Any]:
    return write(db, owner, "user_storage", owner.value(value, KEY, **changes))


def sound(db: Scratch) -> None:
    """Nothing stored is wrong, and nothing can get in unchecked."""
    for table in db.all("SELECT relation::text FROM rowseal.declarations"):
        assert problems(db, table) == []
    assert unwell(db) == []


# ----------------------------------------------------------------------------------------- columns
def test_a_nullable_column_leaves_old_signatures_valid(example: Scratch, ann: Owner) -> None:
    old, digest = put(example, ann, b"old"), example.digest("user_storage")
    # versions first: what it lacks cannot be archived
    example.run("ALTER TABLE user_storage_versions ADD note text")
    example.run("ALTER TABLE user_storage ADD note text")
    assert example.digest("user_storage") == digest
    sound(example)
    example.insert("user_storage", old)  # what an old client sends is still a duplicate
    put(example, ann, b"new", note="n")
    put(example, ann, b"newer", note=None)
    assert example.one("SELECT note FROM user_storage_versions WHERE value_b64 = 'new'") == "n"
    forged = {
        **seal(example, ann, "user_storage", ann.value(b"4", KEY, note="n")),
        "note": "forged",
    }
    with pytest.raises(psycopg.Error, match="invalid signature"):
        example.insert("user_storage", forged)
    sound(example)


def test_a_column_that_the_versions_table_lacks_is_refused(example: Scratch, ann: Owner) -> None:
    diag = example.refused("RS007", "ALTER TABLE user_storage ADD note text")
    assert (
        "user_storage_versions" in str(diag.message_primary)
        and "note" in str(diag.message_primary)
        and "Add it" in str(diag.message_hint)
    )
    put(example, ann, b"1")
    sound(example)


def test_a_column_added_with_a_default_shows_in_verify(example: Scratch, ann: Owner) -> None:
    """Its value in the rows that are there was never signed."""
    example.run("ALTER TABLE user_cards ADD colour text DEFAULT 'blue'")
    assert problems(example, "user_cards") == ["RS001"]
    example.run(
        "ALTER TABLE user_cards ALTER colour DROP DEFAULT; ALTER TABLE user_cards DROP colour"
    )
    sound(example)


@pytest.mark.parametrize("type_", ["money", "oid", "regclass[]"])
def test_a_column_that_cannot_be_signed_is_refused(
    type_: str, example: Scratch, ann: Owner
) -> None:
    diag = example.refused("RS007", f"ALTER TABLE user_cards ADD bad {type_}")
    assert (
        "user_cards" in str(diag.message_primary)
        and "bad" in str(diag.message_primary)
        and diag.message_hint
    )
    example.refused("RS007", f"ALTER TABLE user_cards ALTER name TYPE {type_} USING NULL")
    example.refused("RS007", "ALTER TABLE user_cards ADD n int GENERATED ALWAYS AS IDENTITY")
    sound(example)


def test_generated_columns_may_come_later(example: Scratch, ann: Owner) -> None:
    put(example, ann, b"1")
    example.run(
        "ALTER TABLE user_storage ADD size int GENERATED ALWAYS AS (length(value_b64)) STORED"
    )
    put(example, ann, b"22" * 200)
    assert example.one("SELECT size FROM user_storage") == 400
    sound(example)


RENAMED = [
    "ALTER TABLE user_storage RENAME value_b64 TO content",
    "ALTER TABLE user_storage RENAME uuid TO id",
    "ALTER TABLE user_storage RENAME user_hash TO who",
    "ALTER TABLE user_storage RENAME owner_timestamp TO at",
    "ALTER TABLE user_storage RENAME deleted_flag TO gone",
    "ALTER TABLE user_storage RENAME parent_sign_b64 TO base",
    'ALTER TABLE user_storage RENAME sign_b64 TO "Sig"',
    "ALTER TABLE user_storage_versions RENAME value_b64 TO content",
    "ALTER TABLE user_storage_versions RENAME storage_uuid TO uuid",
    "ALTER TABLE user_storage_versions RENAME sign_b64 TO sig",
    "ALTER TABLE user_cards RENAME name TO title",
    "ALTER TABLE user_cards RENAME user_hash TO id",
    "ALTER TABLE user_cards RENAME sign_pkey TO k",
    "ALTER TABLE user_cards RENAME contact_cert TO cert",
    "ALTER TABLE user_cards RENAME contact_pkey TO contact",
    "ALTER TABLE user_cards RENAME sign_b64 TO sig",
    "ALTER TABLE user_storage RENAME TO storage",
    "ALTER TABLE user_storage_versions RENAME TO history",
    "ALTER TABLE user_cards RENAME TO cards",
    "ALTER TABLE user_storage SET SCHEMA other",
    "ALTER TABLE user_storage_versions SET SCHEMA other",
    "ALTER TABLE user_cards SET SCHEMA other",
    "ALTER SCHEMA other RENAME TO another",
]


@pytest.mark.parametrize("statement", RENAMED)
def test_after_a_rename_everything_goes_on_working(
    statement: str, example: Scratch, admin: Scratch, ann: Owner
) -> None:
    admin.run(
        "CREATE SCHEMA other AUTHORIZATION app; GRANT CREATE ON DATABASE "
        + example.connection.info.dbname
        + " TO app"
    )
    put(example, ann, b"1")
    if statement.startswith("ALTER SCHEMA"):
        example.run("ALTER TABLE user_storage SET SCHEMA other")
    example.run(statement)
    tags = ("user_cards", "user_storage")
    card_table, table = (
        example.one("SELECT relation::text FROM rowseal.declarations WHERE tag = %s", t)
        for t in tags
    )
    card_name, name = (
        {
            f: c
            for c, f in example.one(
                "SELECT fields FROM rowseal.declarations WHERE tag = %s", t
            ).items()
        }
        for t in tags
    )

    def stored(
        owner: Owner, row: dict[str, Any], names: dict[str, str], into: str, tag: str
    ) -> None:
        write(example, owner, into, {names[f]: v for f, v in row.items()}, tag=tag)

    bob = Owner("Bob")
    cert = bob.key.sign(b"contact").signature
    stored(
        bob,
        bob.card(contact_pkey=b"contact", contact_cert=cert),
        card_name,
        card_table,
        "user_cards",
    )
    for owner in (ann, bob):
        for value in (b"2", b"3"):
            stored(owner, owner.value(value, KEY), name, table, "user_storage")
    row = ann.value(b"4", KEY)
    envelope = ann.envelope(example.form("user_storage"), row)
    assert example.apply(table, [envelope, envelope]) == [("superseded", None), ("duplicate", None)]
    # a field keeps its name
    example.run(f"SELECT rowseal.payload('{table}', %s)", '{"value_b64": "AA=="}')
    versions = example.one(
        "SELECT versions::text FROM rowseal.declarations WHERE tag = 'user_storage'"
    )
    assert example.one(f"SELECT count(*) FROM {versions}") == 4
    assert len(example.all(f"SELECT * FROM {table}")) == 2
    sound(example)


def test_a_rename_does_not_change_what_is_signed(example: Scratch, ann: Owner) -> None:
    put(example, ann, b"1")
    before = example.digest("user_storage"), example.form("user_storage").names
    example.run("ALTER TABLE user_storage RENAME value_b64 TO content")
    example.run("ALTER TABLE user_storage RENAME TO storage")
    assert (example.digest("storage"), example.form("user_storage").names) == before


def test_two_columns_may_swap_their_names(example: Scratch, ann: Owner) -> None:
    write(example, ann, "user_cards", ann.card(name="Ann", contact_pkey=None))
    example.run("ALTER TABLE user_cards ADD nick text")
    write(example, ann, "user_cards", ann.card(name="name", nick="nick"))
    example.run("""DO $$ BEGIN ALTER TABLE user_cards RENAME name TO tmp;
        ALTER TABLE user_cards RENAME nick TO name;
        ALTER TABLE user_cards RENAME tmp TO nick; END $$""")
    assert example.one("SELECT name, nick FROM user_cards") == ("nick", "name")
    sound(example)


def test_columns_named_like_options_keep_their_parts_when_one_is_renamed(example: Scratch) -> None:
    example.run(f"CREATE TABLE c (owner bytea PRIMARY KEY, fields text, unsigned text, {CARD})")
    example.run(
        """SELECT rowseal.declare('c', owner => 'owner', public_key => 'k',
            unsigned => '{unsigned}', certificates => '{"owner": "k"}')"""
    )
    example.run(
        "ALTER TABLE c RENAME unsigned TO sign; ALTER TABLE c RENAME fields TO unsigned;"
        " ALTER TABLE c RENAME k TO fields"
    )
    assert example.one(
        "SELECT owner, unsigned, public_key, certificates, fields FROM rowseal.declarations"
        " WHERE tag = 'c'"
    ) == (
        ["owner"],
        ["sign"],
        "fields",
        {"owner": "fields"},
        {
            "owner": "owner",
            "unsigned": "fields",
            "fields": "k",
            "deleted_flag": "deleted_flag",
            "owner_timestamp": "owner_timestamp",
        },
    )
    assert unwell(example) == []


def test_a_new_column_with_the_name_of_a_field_is_refused(example: Scratch) -> None:
    example.run("ALTER TABLE user_cards RENAME name TO title")
    diag = example.refused("RS007", "ALTER TABLE user_cards ADD name text")
    assert "same signed field" in str(diag.message_primary) and diag.message_hint


def test_a_new_table_may_have_the_name_of_a_renamed_one_but_not_its_tag(example: Scratch) -> None:
    example.run(
        "ALTER TABLE user_cards RENAME TO people; CREATE TABLE user_cards (LIKE people INCLUDING"
        " ALL)"
    )
    call = """SELECT tag FROM rowseal.declarations WHERE relation = (SELECT relation
        FROM rowseal.declare('user_cards', owner => 'user_hash', public_key => 'sign_pkey'{}))"""
    diag = example.refused("RS007", call.format(""))
    assert "people" in str(diag.message_primary)
    example.run(
        "SELECT rowseal.declare('user_cards', owner => 'user_hash',"
        " public_key => 'sign_pkey', tag => 'new')"
    )
    sound(example)


def test_a_dropped_column_shows_in_verify_where_it_was_signed(example: Scratch, ann: Owner) -> None:
    write(example, ann, "user_cards", ann.card(crypt_pkey=None))
    example.run("ALTER TABLE user_cards DROP name")
    assert problems(example, "user_cards") == ["RS001"]
    row = {k: v for k, v in ann.card().items() if k != "name"}
    write(example, ann, "user_cards", row)
    sound(example)


def test_a_column_never_filled_can_be_dropped(example: Scratch, ann: Owner) -> None:
    put(example, ann, b"x" * 9000)
    for table in ("user_storage_versions", "user_storage"):
        example.run(f"ALTER TABLE {table} ADD note text")
    for table in ("user_storage", "user_storage_versions"):
        example.run(f"ALTER TABLE {table} DROP note")
    put(example, ann, b"y" * 9000)
    put(example, ann, b"z" * 9000)
    assert example.one("SELECT count(*) FROM user_storage_versions") == 2
    sound(example)


@pytest.mark.parametrize(
    "column",
    ["sign_pkey", "owner_timestamp", "deleted_flag", "sign_b64", "contact_cert", "contact_pkey"],
)
def test_a_column_that_carries_a_rule_cannot_be_dropped(
    column: str, example: Scratch, ann: Owner
) -> None:
    diag = example.refused("RS007", f"ALTER TABLE user_cards DROP {column}")
    assert (
        "user_cards" in str(diag.message_primary)
        and column in str(diag.message_primary)
        and diag.message_hint
    )
    sound(example)


def test_without_primary_key_nothing_gets_in_and_health_tells(example: Scratch, ann: Owner) -> None:
    put(example, ann, b"1")
    example.run("ALTER TABLE user_storage DROP CONSTRAINT user_storage_pkey")
    assert example.warned("no primary key")
    assert "structure" in [c for c, _, _ in unwell(example)]
    forged = {**seal(example, ann, "user_storage", ann.value(b"2", KEY)), "value_b64": b"forged"}
    with pytest.raises(psycopg.Error):
        example.insert("user_storage", forged)
    example.run("ALTER TABLE user_storage ADD PRIMARY KEY (user_hash, uuid)")
    put(example, ann, b"3")
    sound(example)


# ------------------------------------------------------------------------------------------- types
def test_a_type_may_change_where_the_signed_text_stays(example: Scratch, ann: Owner) -> None:
    example.run("ALTER TABLE user_cards ALTER name TYPE varchar(80)")
    write(example, ann, "user_cards", ann.card(name="Ann"))
    example.run("ALTER TABLE user_cards ADD n int; ALTER TABLE user_cards ALTER n TYPE bigint")
    write(example, ann, "user_cards", ann.card(n=2**40))
    sound(example)


def test_a_changed_value_shows_in_verify(example: Scratch, ann: Owner) -> None:
    example.run("ALTER TABLE user_cards ALTER name TYPE text USING name || '!'")
    assert problems(example, "user_cards") == ["RS001"]


def test_the_type_of_a_versioned_column_can_be_changed(example: Scratch, ann: Owner) -> None:
    """In main and versions table one after the other: in one transaction,
    or with the warning that health() repeats.
    """
    for table in ("user_storage_versions", "user_storage"):
        example.run(f"ALTER TABLE {table} ADD n int")
    put(example, ann, b"1", n=1)
    for table in ("user_storage_versions", "user_storage"):
        example.run(f"ALTER TABLE {table} ALTER n TYPE bigint")
    put(example, ann, b"2", n=2**40)
    put(example, ann, b"3", n=None)
    sound(example)


def test_a_composite_type_and_an_enum_may_grow(example: Scratch, ann: Owner) -> None:
    example.run("CREATE TYPE pair AS (a int, b bytea); CREATE TYPE mood AS ENUM ('sad')")
    example.run("ALTER TABLE user_cards ADD p pair, ADD m mood")
    form = example.form("user_cards")
    row = ann.card(p={"a": 1, "b": b"x"}, m="sad")
    columns = ", ".join(row)
    values = ", ".join("ROW(1, 'x')::pair" if c == "p" else "%s" for c in row)
    sealed = ann.sealed(form, row)
    example.run(
        f"INSERT INTO user_cards ({columns}, sign_b64) VALUES ({values}, %s)",
        *[v for c, v in row.items() if c != "p"],
        sealed["sign_b64"],
    )
    sound(example)
    example.run("ALTER TYPE mood ADD VALUE 'glad'")
    sound(example)
    example.run("ALTER TYPE pair ADD ATTRIBUTE c text")
    sound(example)
    assert (
        example.one(
            "SELECT spec -> 'fields' -> 'p' -> 'composite' -> 2 ->> 0 FROM rowseal.declarations"
            " WHERE tag = 'user_cards'"
        )
        == "c"
    )
    example.refused("RS007", "ALTER TYPE pair ADD ATTRIBUTE d money")


# -------------------------------------------------------------------------------------------- drop
def test_a_dropped_table_is_forgotten(example: Scratch, ann: Owner) -> None:
    id_ = example.one("SELECT id FROM rowseal.declarations WHERE tag = 'user_storage'")
    example.run("DROP TABLE user_storage")
    assert example.all("SELECT tag FROM rowseal.declarations") == ["user_cards"]
    assert (
        example.all(
            "SELECT proname FROM pg_proc WHERE pronamespace = 'rowseal'::regnamespace"
            f" AND proname LIKE '%\\_{id_}'"
        )
        == []
    )
    sound(example)
    example.run("DROP TABLE user_cards, user_storage_versions")
    assert example.one("SELECT count(*) FROM rowseal.declarations") == 0
    assert not example.warned("")
    example.run(EXAMPLE)
    sound(example)


def test_all_tables_may_be_dropped_together(example: Scratch, admin: Scratch, ann: Owner) -> None:
    admin.run("CREATE SCHEMA other AUTHORIZATION app")
    for table in ("user_cards", "user_storage", "user_storage_versions"):
        example.run(f"ALTER TABLE {table} SET SCHEMA other")
    admin.run("DROP SCHEMA other CASCADE")
    assert admin.one("SELECT count(*) FROM rowseal.declarations") == 0
    assert (
        admin.all(
            "SELECT proname FROM pg_proc WHERE pronamespace = 'rowseal'::regnamespace"
            " AND proname ~ '_[0-9]+$'"
        )
        == []
    )


@pytest.mark.parametrize("table", ["user_cards", "user_storage_versions"])
def test_what_a_declared_table_needs_cannot_be_dropped_alone(
    table: str, example: Scratch, ann: Owner
) -> None:
    put(example, ann, b"1")
    example.refused("RS007", f"DROP TABLE {table}")  # somebody could put another table in its place
    put(example, ann, b"2")
    assert unwell(example) == []
    assert example.one("SELECT rowseal.undeclare('user_storage')")
    example.run(f"DROP TABLE {table}")
    assert example.one("SELECT value_b64 FROM user_storage") == b"2"
    assert unwell(example) == []


# ---------------------------------------------------------------------------- indexes, constraints
def test_indexes_and_constraints_may_come_and_go(example: Scratch, ann: Owner) -> None:
    put(example, ann, b"1")
    for statement in (
        "CREATE INDEX i ON user_storage (owner_timestamp)",
        "CREATE UNIQUE INDEX u ON user_storage (sign_b64)",
        "ALTER TABLE user_storage ADD CONSTRAINT c CHECK (owner_timestamp > 0)",
        "ALTER TABLE user_storage ADD CONSTRAINT uu UNIQUE (uuid, user_hash, owner_timestamp)",
        "ALTER TABLE user_storage ALTER value_b64 SET STORAGE EXTERNAL",
        "ALTER TABLE user_storage SET (fillfactor = 90)",
        "ALTER TABLE user_storage REPLICA IDENTITY FULL",
        "COMMENT ON TABLE user_storage IS 'x'",
        "GRANT SELECT ON user_storage TO mallory",
        "ALTER TABLE user_storage ALTER value_b64 SET NOT NULL",
        "DROP INDEX u",
        "DROP INDEX i",
        "ALTER TABLE user_storage DROP CONSTRAINT c, DROP CONSTRAINT uu",
    ):
        example.run(statement)
        assert unwell(example) == [], statement
        put(example, ann, b"2")
    assert example.notices == []


def test_a_foreign_key_shows_in_health(example: Scratch, ann: Owner) -> None:
    example.run(
        "ALTER TABLE user_storage ADD CONSTRAINT to_card FOREIGN KEY (user_hash)"
        " REFERENCES user_cards"
    )
    assert [(c, r) for c, r, _ in unwell(example)] == [
        ("foreign keys", "user_cards"),
        ("foreign keys", "user_storage"),
    ]
    assert all("to_card" in d for _, _, d in unwell(example))


def test_an_inheritance_child_shows_in_health(example: Scratch) -> None:
    example.run("CREATE TABLE kid () INHERITS (user_storage)")
    assert any("inheritance" in d for c, _, d in unwell(example) if c == "structure")


def test_unlogged_shows_in_health(example: Scratch) -> None:
    example.run("ALTER TABLE user_storage SET UNLOGGED")
    assert example.warned("unlogged")
    assert any("unlogged" in d for c, _, d in unwell(example) if c == "structure")
    example.run("ALTER TABLE user_storage SET LOGGED")
    sound(example)


# ------------------------------------------------------------------------------ triggers and rules
LATE = "CREATE FUNCTION {0}() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END'"


@pytest.mark.parametrize("table", ["user_cards", "user_storage", "user_storage_versions"])
def test_a_late_trigger_and_a_rule_are_refused(table: str, example: Scratch) -> None:
    example.run(LATE.format("late"))
    for late in ("zzzz BEFORE INSERT", "zzz_rowseal_guarded BEFORE UPDATE OF sign_b64"):
        diag = example.refused(
            "RS007", f"CREATE TRIGGER {late} ON {table} FOR EACH ROW EXECUTE FUNCTION late()"
        )
        assert (
            table in str(diag.message_primary)
            and late.split()[0] in str(diag.message_primary)
            and "zzz_rowseal_guard" in str(diag.message_hint)
        )
    diag = example.refused(
        "RS007", f"CREATE RULE divert AS ON INSERT TO {table} DO INSTEAD NOTHING"
    )
    assert (
        "divert" in str(diag.message_primary)
        and table in str(diag.message_primary)
        and diag.message_hint
    )
    example.run(
        f"CREATE TRIGGER early BEFORE INSERT ON {table} FOR EACH ROW EXECUTE FUNCTION late()"
    )
    example.run(f"CREATE TRIGGER zzzz AFTER INSERT ON {table} FOR EACH ROW EXECUTE FUNCTION late()")
    example.run(f"CREATE TRIGGER zzzz_statement BEFORE INSERT ON {table} EXECUTE FUNCTION late()")
    example.refused("RS007", f"ALTER TRIGGER early ON {table} RENAME TO zzzzz")
    sound(example)


def test_a_trigger_that_goes_first_may_change_rows_and_is_checked(
    example: Scratch, ann: Owner
) -> None:
    example.run(
        "CREATE FUNCTION early() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN NEW.name :="
        " ''changed''; RETURN NEW; END'"
    )
    example.run(
        "CREATE TRIGGER early BEFORE INSERT ON user_cards FOR EACH ROW EXECUTE FUNCTION early()"
    )
    with pytest.raises(psycopg.Error, match="invalid signature"):
        write(example, ann, "user_cards", ann.card(name="Ann"))
    write(example, ann, "user_cards", ann.card(name="changed"))


@pytest.mark.parametrize("what", ["TRIGGER zzz_rowseal_guard", "TRIGGER ALL", "TRIGGER USER"])
@pytest.mark.parametrize("table", ["user_cards", "user_storage", "user_storage_versions"])
def test_disabling_a_trigger_warns_and_shows_in_health(
    what: str, table: str, example: Scratch
) -> None:
    example.run(f"ALTER TABLE {table} DISABLE {what}")
    assert example.warned(table)
    (wrong,) = unwell(example)
    assert wrong[0] == "triggers" and "zzz_rowseal_guard" in wrong[2] and table in wrong[2]
    example.run(f"ALTER TABLE {table} ENABLE {what}")  # that is for ordinary sessions only
    assert example.warned("ENABLE ALWAYS")
    assert [c for c, _, _ in unwell(example)] == ["triggers"]
    for trigger in example.all(
        "SELECT tgname FROM pg_trigger WHERE tgrelid = %s::regclass AND tgname LIKE 'zzz%%'", table
    ):
        example.run(f"ALTER TABLE {table} ENABLE ALWAYS TRIGGER {trigger}")
    example.notices.clear()
    sound(example)


@pytest.mark.parametrize(
    "statement",
    [
        "DROP TRIGGER zzz_rowseal_guard ON user_storage",
        "DROP TRIGGER zzz_rowseal_keep_all ON user_storage_versions",
        "ALTER TRIGGER zzz_rowseal_guard ON user_storage RENAME TO gone",
    ],
)
def test_a_trigger_that_is_gone_shows_in_health(statement: str, example: Scratch) -> None:
    example.run(statement)
    assert "triggers" in [c for c, _, _ in unwell(example)]


def test_somebody_else_can_do_none_of_it(
    example: Scratch, transaction: psycopg.Connection[Any]
) -> None:
    mallory = Scratch(transaction, "mallory")
    example.run("GRANT ALL ON user_cards, user_storage, user_storage_versions TO mallory")
    mallory.run(LATE.format("late"))
    for statement in (
        "ALTER TABLE user_storage DISABLE TRIGGER ALL",
        "DROP TRIGGER zzz_rowseal_guard ON user_storage",
        "ALTER TABLE user_storage ADD x int",
        "CREATE RULE r AS ON INSERT TO user_storage DO INSTEAD NOTHING",
    ):
        mallory.refused("42501", statement)
    mallory.refused(
        "RS007",
        "CREATE TRIGGER zzzz BEFORE INSERT ON user_storage FOR EACH ROW EXECUTE FUNCTION late()",
    )
    sound(example)


# -------------------------------------------------------------------------------------- partitions
@pytest.fixture
def parts(example: Scratch) -> Scratch:
    """user_storage, partitioned: p for the uuid 7, the default partition for the rest."""
    example.run("""SELECT rowseal.undeclare('user_storage'); DROP TABLE user_storage;
        CREATE TABLE user_storage (user_hash bytea, uuid uuid, value_b64 bytea,
        deleted_flag boolean, owner_timestamp bigint, parent_sign_b64 bytea, sign_b64 bytea,
        PRIMARY KEY (user_hash, uuid)) PARTITION BY LIST (uuid);
        CREATE TABLE p PARTITION OF user_storage
            FOR VALUES IN ('00000000-0000-0000-0000-000000000007');
        CREATE TABLE rest PARTITION OF user_storage DEFAULT;
        SELECT rowseal.declare('user_storage', owner => 'user_hash', identity => 'user_cards',
            versions => 'user_storage_versions')""")
    return example


PARTS = [
    "CREATE TABLE q PARTITION OF user_storage FOR VALUES IN"
    " ('00000000-0000-0000-0000-000000000008')",
    """CREATE TABLE q (LIKE user_storage INCLUDING ALL);
        ALTER TABLE user_storage ATTACH PARTITION q FOR VALUES IN
        ('00000000-0000-0000-0000-000000000008')""",
    "ALTER TABLE user_storage DETACH PARTITION rest",
    "DROP TABLE rest",
    "ALTER TABLE p RENAME TO seven",
    "ALTER TABLE user_storage RENAME value_b64 TO content;"
    " ALTER TABLE user_storage RENAME content TO value_b64",
    "ALTER TABLE user_storage_versions ADD x int; ALTER TABLE user_storage ADD x int",
    "CREATE INDEX i ON user_storage (owner_timestamp)",
    "ALTER TABLE p SET (fillfactor = 90)",
]


@pytest.mark.parametrize("statement", PARTS)
def test_partitions_may_come_and_go(statement: str, parts: Scratch, ann: Owner) -> None:
    put(parts, ann, b"1")
    parts.run(statement)
    sound(parts)
    put(parts, ann, b"2")
    assert parts.one("SELECT count(*) FROM user_storage_versions") == 1
    assert parts.notices == []


def test_a_trigger_of_a_partition_alone_is_watched_as_well(parts: Scratch) -> None:
    parts.run(LATE.format("late"))
    parts.refused(
        "RS007", "CREATE TRIGGER zzzz BEFORE INSERT ON p FOR EACH ROW EXECUTE FUNCTION late()"
    )
    parts.run("ALTER TABLE p DISABLE TRIGGER zzz_rowseal_guard")
    assert parts.warned("p")
    assert [c for c, _, _ in unwell(parts)] == ["triggers"]


# --------------------------------------------------------------------------- other people's tables
def test_the_event_triggers_do_nothing_for_undeclared_tables(
    example: Scratch, admin: Scratch
) -> None:
    admin.run("CREATE TABLE theirs (id int PRIMARY KEY, v text)")
    before = admin.one(
        "SELECT array_agg((d.xmin, d.ctid)::text ORDER BY tag) FROM rowseal.declarations d"
    )
    admin.run(
        """ALTER TABLE theirs ADD m money; CREATE INDEX ON theirs (v);
            CREATE VIEW w AS SELECT * FROM theirs; ALTER TABLE theirs RENAME v
            TO u; DROP VIEW w; DROP TABLE theirs"""
    )
    assert (
        admin.one(
            "SELECT array_agg((d.xmin, d.ctid)::text ORDER BY tag) FROM rowseal.declarations d"
        )
        == before
    )
    assert admin.notices == []


def test_ddl_on_undeclared_tables_is_not_slowed_down(example: Scratch, admin: Scratch) -> None:
    """An event trigger costs about as much as the statement:
    100 pairs of them stay far below what a person notices.
    """
    loop = (
        "DO $$ BEGIN FOR i IN 1..100 LOOP EXECUTE 'CREATE TABLE theirs (id int)';"
        " EXECUTE 'DROP TABLE theirs'; END LOOP; END $$"
    )
    start = admin.one("SELECT clock_timestamp()")
    admin.run(loop)
    assert (admin.one("SELECT clock_timestamp()") - start).total_seconds() < 3
