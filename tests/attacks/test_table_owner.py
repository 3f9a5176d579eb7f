"""A table's owner, or a superuser, can disable, drop and roll back, but not forge without evidence;
and owning a table gives nobody the rights of those who check it.
"""

from __future__ import annotations

from typing import Any

import pytest
from psycopg.types.json import Json, Jsonb

from kit.attacks import (
    KEY,
    SEALED,
    apply,
    attempt,
    insert,
    intact,
    row,
    set_trap,
    sprung,
    table,
    trusted,
    unhealthy,
)
from kit.db import Db
from kit.example import Owner

ENABLE = "ENABLE ALWAYS TRIGGER"
UNTRUSTED = "RS017: a write to the table runs code of mallory, whom the current user does not trust"


def problems(db: Db, name: str) -> list[str]:
    return db.all("SELECT DISTINCT sqlstate FROM rowseal.verify(%s::regclass) ORDER BY 1", name)


def behind_the_guards(db: Db, name: str, *statements: str) -> None:
    """Change rows while the triggers are off, and leave no trace in them."""
    triggers = db.all(
        "SELECT tgname FROM pg_trigger WHERE tgrelid = %s::regclass AND NOT tgisinternal"
        " AND tgname LIKE 'zzz%%'",
        name,
    )
    db.run(f"ALTER TABLE {name} DISABLE TRIGGER ALL")
    for sql in statements:
        db.run(sql)
    for trigger in triggers:
        db.run(f"ALTER TABLE {name} {ENABLE} {trigger}")


def history(db: Db, ann: Owner) -> list[dict[str, Any]]:
    rows = [ann.sealed(db.form("user_storage"), ann.value(v, KEY)) for v in (b"1", b"2")]
    for r in rows:
        insert(db, "user_storage", r)
    return rows


# ---------------------------------------------------------------------------------------- evidence
CHANGES = [
    "UPDATE user_storage SET value_b64 = 'x'",
    "UPDATE user_storage SET owner_timestamp = owner_timestamp + 1",
    "UPDATE user_storage SET sign_b64 = NULL",
    "UPDATE user_storage SET user_hash = 'x'",
    "DELETE FROM user_storage",
    "INSERT INTO user_storage SELECT user_hash, gen_random_uuid(), value_b64, deleted_flag,"
    " owner_timestamp, NULL, sign_b64 FROM user_storage",
    "INSERT INTO user_storage VALUES ('nobody', gen_random_uuid(), '', false, 1, NULL, NULL)",
]


def test_what_is_done_behind_the_guards_is_seen_by_verify_and_by_digest(
    example: Db, ann: Owner
) -> None:
    history(example, ann)
    digest = example.digest("user_storage")
    unseen = []
    for sql in CHANGES:
        with example.connection.transaction(force_rollback=True):
            behind_the_guards(example, "user_storage", sql)
            assert unhealthy(example) == []
            unseen += [("verify", sql)] * (problems(example, "user_storage") == []) + [
                ("digest", sql)
            ] * (example.digest("user_storage") == digest)
    assert unseen == []


def test_a_rollback_is_seen_by_digest(example: Db, ann: Owner) -> None:
    rows, digest = history(example, ann), example.digest("user_storage")
    old = rows[0]
    behind_the_guards(example, "user_storage", "DELETE FROM user_storage")
    behind_the_guards(example, "user_storage_versions", "DELETE FROM user_storage_versions")
    insert(example, "user_storage", old)
    assert example.digest("user_storage") != digest
    insert(example, "user_storage", rows[1])
    assert example.digest("user_storage") == digest


def test_a_row_that_the_guard_would_not_take_is_a_problem_even_when_signed(
    example: Db, ann: Owner
) -> None:
    form = example.form("user_storage")
    example.run("ALTER TABLE user_storage DISABLE TRIGGER ALL")
    for n, change in enumerate(({"owner_timestamp": None}, {"deleted_flag": None})):
        insert(example, "user_storage", ann.sealed(form, {**ann.value(b"x"), **change}))
        assert example.one("SELECT count(*) FROM rowseal.verify('user_storage')") == n + 1


@pytest.mark.parametrize("table_", ["user_cards", "user_storage", "user_storage_versions"])
def test_health_sees_every_trigger_that_is_off_gone_or_altered(
    table_: str, example: Db, admin: Db
) -> None:
    for name in example.all(
        "SELECT tgname FROM pg_trigger WHERE tgrelid = %s::regclass AND NOT tgisinternal", table_
    ):
        for sql in (
            f"ALTER TABLE {table_} DISABLE TRIGGER {name}",
            f"ALTER TABLE {table_} ENABLE TRIGGER {name}",
            f"ALTER TABLE {table_} ENABLE REPLICA TRIGGER {name}",
            f"ALTER TABLE {table_} DISABLE TRIGGER ALL",
            f"ALTER TABLE {table_} DISABLE TRIGGER USER; ALTER TABLE {table_} ENABLE TRIGGER USER",
            f"ALTER TRIGGER {name} ON {table_} RENAME TO a",
            f"DROP TRIGGER {name} ON {table_}",
        ):
            with admin.connection.transaction(force_rollback=True):
                try:
                    with admin.connection.transaction():
                        admin.run(sql)
                except Exception as e:  # refused: as good
                    assert str(getattr(e, "sqlstate", "")).startswith("RS0"), sql  # noqa: PT017
                else:
                    assert "triggers" in unhealthy(admin), sql
    assert unhealthy(admin) == []


TAMPERING = {
    "an empty body": "UPDATE pg_proc SET prosrc = '' WHERE proname = '_judge_2'",
    "a part of the body": "UPDATE pg_proc SET prosrc = 'SD[''call'']' WHERE proname = '_judge_2'",
    "strict": "ALTER FUNCTION rowseal._judge_2 STRICT",
    "immutable": "ALTER FUNCTION rowseal._judge_2 IMMUTABLE",
    "definer": "ALTER FUNCTION rowseal._guard_2 SECURITY DEFINER",
    "search path": "ALTER FUNCTION rowseal._guard_2 SET search_path = public",
    "another language": (
        "UPDATE pg_proc SET prosrc = 'SELECT NULL::rowseal.verdict', prolang ="
        " (SELECT oid FROM pg_language WHERE lanname = 'sql') WHERE proname = '_judge_2'"
    ),
    "gone": "DROP FUNCTION rowseal._apply_2",
    "keep": (
        "CREATE OR REPLACE FUNCTION rowseal._keep() RETURNS trigger LANGUAGE plpgsql AS $$"
        " BEGIN RETURN OLD; END $$"
    ),
    "refuse": (
        "CREATE OR REPLACE FUNCTION rowseal._refuse(relation regclass, main regclass,"
        " verdict rowseal.verdict, key jsonb, payload text, signature bytea, raw record)"
        " RETURNS void LANGUAGE plpgsql AS $$ BEGIN END $$"
    ),
    "refuse overloaded": (
        "CREATE FUNCTION rowseal._refuse(relation regclass, main regclass, verdict rowseal.verdict,"
        " key jsonb, payload text, signature bytea, raw anyelement, content jsonb) RETURNS void"
        " LANGUAGE plpgsql AS $$ BEGIN END $$"
    ),
    "seal overloaded": (
        "CREATE FUNCTION rowseal._judge_2(int) RETURNS rowseal.verdict LANGUAGE sql"
        " AS 'SELECT NULL::rowseal.verdict'"
    ),
    "load": (
        "CREATE OR REPLACE FUNCTION rowseal._load(parallel boolean DEFAULT false)"
        " RETURNS boolean LANGUAGE sql AS 'SELECT true'"
    ),
    "one_based": (
        "CREATE OR REPLACE FUNCTION rowseal._one_based(value anyarray) RETURNS boolean"
        " LANGUAGE sql AS 'SELECT true'"
    ),
    "unbase64": (
        "CREATE OR REPLACE FUNCTION rowseal._unbase64(text) RETURNS bytea"
        " LANGUAGE sql AS 'SELECT decode($1, ''base64'')'"
    ),
    "queries": """UPDATE rowseal.declarations SET queries = jsonb_set(queries, '{verify}',
        '"SELECT NULL::jsonb AS key, NULL::bytea AS sign, NULL::text AS problem"')""",
    "spec": "UPDATE rowseal.declarations SET spec = jsonb_set(spec, '{tag}', '\"x\"')",
    "event trigger": "ALTER EVENT TRIGGER rowseal_ddl DISABLE",
    "event trigger's function": (
        "UPDATE pg_event_trigger SET evtfoid = 'rowseal._on_drop'::regproc"
        " WHERE evtname = 'rowseal_ddl'"
    ),
}


def test_health_sees_what_a_superuser_does_to_rowseal_itself(example: Db, admin: Db) -> None:
    admin.run("SET allow_system_table_mods = on")
    unseen = []
    for what, sql in TAMPERING.items():
        with admin.connection.transaction(force_rollback=True):
            admin.run(sql)
            if unhealthy(admin) == []:
                unseen.append(what)
    assert unseen == []


# ------------------------------------------------------------------------------------- ALTER TABLE
def test_statements_that_change_rows_without_a_trigger_are_seen(example: Db, ann: Owner) -> None:
    history(example, ann)
    for sql in (
        "ALTER TABLE user_storage ALTER value_b64 TYPE bytea USING 'x'",
        "ALTER TABLE user_storage ALTER owner_timestamp TYPE bigint USING owner_timestamp + 1",
    ):
        with example.connection.transaction(force_rollback=True):
            example.run(sql)
            assert problems(example, "user_storage") != [], sql
    table(example, "q", "uuid uuid, a text, b text")
    insert(example, "q", ann.sealed(example.form("q"), row(ann, a="1", b="2")))
    for sql in (
        "ALTER TABLE q ADD COLUMN c text DEFAULT 'x'",
        "ALTER TABLE q DROP COLUMN a, ADD COLUMN a text DEFAULT 'x'",
    ):
        assert attempt(example, sql) == "RS007", sql
    for sql in (
        "ALTER TABLE q DROP COLUMN a",
        "ALTER TABLE q RENAME a TO c; ALTER TABLE q RENAME b TO a; ALTER TABLE q RENAME c TO b;"
        " ALTER TABLE q ALTER a TYPE text USING 'x'",
    ):
        with example.connection.transaction(force_rollback=True):
            example.run(sql)
            assert problems(example, "q") != [], sql


def test_renaming_columns_in_a_circle_moves_no_value_to_another_field(
    example: Db, ann: Owner
) -> None:
    table(example, "q", "uuid uuid, a text, b text")
    form = example.form("q")
    insert(example, "q", ann.sealed(form, row(ann, a="1", b="2")))
    example.run(
        "ALTER TABLE q RENAME a TO c; ALTER TABLE q RENAME b TO a; ALTER TABLE q RENAME c TO b"
    )
    assert intact(example, "q") and unhealthy(example) == []
    assert apply(example, "q", [ann.envelope(form, row(ann, a="3", b="4"))])[0][0] == "inserted"
    assert example.all("SELECT b, a FROM q ORDER BY b") == [("1", "2"), ("3", "4")]
    example.run(
        "ALTER TABLE q RENAME user_hash TO o; ALTER TABLE q RENAME uuid TO user_hash;"
        " ALTER TABLE q RENAME owner_timestamp TO at; ALTER TABLE q RENAME sign_b64 TO s"
    )
    assert intact(example, "q") and unhealthy(example) == []
    assert apply(example, "q", [ann.envelope(form, row(ann, a="5", b="6"))])[0][0] == "inserted"


def test_renaming_a_column_of_the_identity_table_keeps_its_dependents_working(
    example: Db, ann: Owner
) -> None:
    history(example, ann)
    form = example.form("user_storage")
    example.run("ALTER TABLE user_cards RENAME sign_pkey TO pk")
    assert intact(example) and unhealthy(example) == []
    assert insert(example, "user_storage", ann.sealed(form, ann.value(b"3", KEY))) is None


def test_types_that_change_are_followed_or_seen(example: Db, ann: Owner) -> None:
    example.run("CREATE TYPE mood AS ENUM ('a', 'b'); CREATE TYPE pair AS (x text, y text)")
    table(example, "q", "uuid uuid, m mood, p pair")
    form = example.form("q")
    insert(example, "q", ann.sealed(form, row(ann, m="a", p={"x": "1", "y": "2"})) | {"p": "(1,2)"})
    for sql in (
        "ALTER TYPE mood RENAME VALUE 'a' TO 'c'",
        "ALTER TYPE pair RENAME ATTRIBUTE x TO z",
        "ALTER TYPE pair RENAME ATTRIBUTE x TO z; ALTER TYPE pair RENAME ATTRIBUTE y TO x;"
        " ALTER TYPE pair RENAME ATTRIBUTE z TO y",
        "ALTER TYPE pair DROP ATTRIBUTE x",
    ):
        with example.connection.transaction(force_rollback=True):
            example.run(sql)
            assert problems(example, "q") != [] or unhealthy(example) != [], sql


def test_children_rules_and_late_triggers_are_refused_or_seen(
    example: Db, admin: Db, ann: Owner
) -> None:
    example.run(
        "CREATE FUNCTION late() RETURNS trigger LANGUAGE plpgsql AS $$"
        " BEGIN NEW.value_b64 := 'x'; RETURN NEW; END $$"
    )
    for sql in (
        "CREATE TABLE child () INHERITS (user_storage)",
        "CREATE TABLE child (LIKE user_storage); ALTER TABLE child INHERIT user_storage",
        "CREATE RULE r AS ON INSERT TO user_storage DO INSTEAD NOTHING",
        "CREATE RULE r AS ON UPDATE TO user_storage DO ALSO NOTHING",
        "CREATE TRIGGER zzzz BEFORE INSERT ON user_storage FOR EACH ROW EXECUTE FUNCTION late()",
        "CREATE TRIGGER a BEFORE INSERT ON user_storage FOR EACH ROW EXECUTE FUNCTION late();"
        " ALTER TRIGGER a ON user_storage RENAME TO zzzz",
        "ALTER TABLE user_storage SET UNLOGGED",
        "ALTER TABLE user_storage DROP CONSTRAINT user_storage_pkey",
    ):
        with example.connection.transaction(force_rollback=True):
            try:
                with example.connection.transaction():
                    example.run(sql)
            except Exception as e:
                assert getattr(e, "sqlstate", "") == "RS007", sql  # noqa: PT017
            else:
                assert unhealthy(example) != [], sql
    admin.run("ALTER EVENT TRIGGER rowseal_ddl DISABLE")
    example.run(
        "CREATE TABLE child () INHERITS (user_storage);"
        " INSERT INTO child VALUES ('x', gen_random_uuid(), 'x', false, 1, NULL, 'x')"
    )
    admin.run("ALTER EVENT TRIGGER rowseal_ddl ENABLE ALWAYS")
    assert problems(example, "user_storage") != [] and unhealthy(example) != []


# -------------------------------------------------------------------------------------- partitions
def partitioned(db: Db) -> None:
    table(db, "p", "uuid uuid, n int", "user_hash, uuid, n", "PARTITION BY LIST (n)", None)
    db.run(
        "CREATE TABLE p1 PARTITION OF p FOR VALUES IN (1);"
        " SELECT rowseal.declare('p', owner => 'user_hash', identity => 'user_cards')"
    )


def test_the_tables_owner_can_add_partitions(example: Db, ann: Owner) -> None:
    partitioned(example)
    assert attempt(example, "CREATE TABLE p2 PARTITION OF p FOR VALUES IN (2)") is None
    assert (
        attempt(
            example,
            "CREATE TABLE p3 (user_hash bytea NOT NULL, uuid uuid NOT NULL, n int NOT NULL,"
            f" {SEALED}); ALTER TABLE p ATTACH PARTITION p3 FOR VALUES IN (3)",
        )
        is None
    )
    assert (
        insert(example, "p2", ann.sealed(example.form("p"), row(ann, n=2))) is None
        and insert(example, "p3", {**row(ann, n=3), "sign_b64": b"x"}) == "RS001"
    )


def test_partitions_attached_with_forged_rows_or_late_triggers_are_refused_or_seen(
    example: Db, admin: Db, ann: Owner
) -> None:
    partitioned(example)
    make = (
        f"CREATE TABLE {{0}} (user_hash bytea NOT NULL, uuid uuid NOT NULL, n int NOT NULL,"
        f" {SEALED})"
    )
    example.run(
        make.format("p2")
        + "; INSERT INTO p2 VALUES ('x', gen_random_uuid(), 2, false, 1, NULL, 'x')"
    )
    admin.refused("RS002", "ALTER TABLE p ATTACH PARTITION p2 FOR VALUES IN (2)")
    example.run(
        "CREATE FUNCTION late() RETURNS trigger LANGUAGE plpgsql AS $$"
        " BEGIN NEW.owner_timestamp := 1; RETURN NEW; END $$"
    )
    example.run(
        make.format("p4")
        + "; CREATE TRIGGER zzzz BEFORE INSERT ON p4 FOR EACH ROW EXECUTE FUNCTION late()"
    )
    if attempt(admin, "ALTER TABLE p ATTACH PARTITION p4 FOR VALUES IN (4)") is None:
        insert(example, "p", ann.sealed(example.form("p"), row(ann, n=4)))
        assert unhealthy(admin) != [], "a partition's late trigger is not seen"


def test_a_partition_made_again_under_its_old_name_is_checked(example: Db, admin: Db) -> None:
    partitioned(example)
    example.run("DROP TABLE p1")
    example.run(
        "CREATE TABLE p1 (user_hash bytea NOT NULL, uuid uuid NOT NULL, n int NOT NULL,"
        f" {SEALED}); INSERT INTO p1 VALUES ('x', gen_random_uuid(), 1, false, 1, NULL, 'x')"
    )
    assert attempt(admin, "ALTER TABLE p ATTACH PARTITION p1 FOR VALUES IN (1)") == "RS002"


def test_a_detached_partition_is_seen_by_digest_and_checked_when_it_comes_back(
    example: Db, admin: Db, ann: Owner
) -> None:
    partitioned(example)
    insert(example, "p", ann.sealed(example.form("p"), row(ann, n=1)))
    digest = example.digest("p")
    example.run("ALTER TABLE p DETACH PARTITION p1")
    assert example.digest("p") != digest
    # a table of its own by now
    assert attempt(example, "UPDATE p1 SET owner_timestamp = 5") is None
    admin.refused("RS001", "ALTER TABLE p ATTACH PARTITION p1 FOR VALUES IN (1)")
    assert attempt(example, "DELETE FROM p1") is None
    assert attempt(example, "TRUNCATE p1") is None


# ----------------------------------------------------- names that try to break out of their quotes
WORDS = [
    "format", "rows", "outcome", "outcomes", "r", "verdict", "tip", "whole", "known",
    "settled", "public_key",
    "new", "old", "tg_op", "t", "e", "k", "row", "id", "key", "sign", "signature", "hash",
    "problem", "waits_for", "relation", "null",
]  # fmt: skip
SIGNS = [
    'a"b', "a'b", "a%s", "a%1$s", "a%%b", "a\\b", "\\'; --", "$rowseal$", "$rowseal_$", "$rowseal",
    "a\nb", "ü" * 31, "𝒳" * 15, "{}", "{0}", "{a,b}", " ", "*/", "--",
]  # fmt: skip


def quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


@pytest.mark.parametrize("names", [WORDS, SIGNS], ids=["words", "signs"])
@pytest.mark.parametrize("layout", ["unversioned", "two tables", "one table"])
def test_names_of_every_kind_stay_names(
    layout: str, names: list[str], example: Db, ann: Owner
) -> None:
    name = "tip" if names is WORDS else "a\"b'c%s%1$s\\d$rowseal$\n日"
    target, options = quoted(name), {"two tables": ", versions => %s"}.get(layout, "")
    keys = [quoted(n) for n in names]
    example.run(
        f"CREATE TABLE {target} (user_hash bytea, {', '.join(f'{k} text' for k in keys)},"
        f" {SEALED}, PRIMARY KEY (user_hash,"
        f" {', '.join(keys)}{', sign_b64' if layout == 'one table' else ''}))"
    )
    example.run(
        "SELECT rowseal.declare(%s::regclass, owner => 'user_hash',"
        f" identity => 'user_cards', tag => %s{options})",
        target,
        name,
        *([quoted(f"v{name}")] if options else []),
    )
    form = example.form(name)
    values = {
        "user_hash": ann.hash,
        **dict.fromkeys(names, "x"),
        "deleted_flag": False,
        "parent_sign_b64": None,
    }
    for at, expected in ((1, "inserted"), (2, "superseded")):
        assert apply(example, target, [ann.envelope(form, {**values, "owner_timestamp": at})])[
            0
        ] == (expected, None)
    for n in names:
        assert (
            insert(example, target, {**ann.sealed(form, {**values, "owner_timestamp": 3}), n: "y"})
            == "RS001"
        ), n
    assert insert(example, target, ann.sealed(form, {**values, "owner_timestamp": 3})) is None
    assert intact(example, target) and len(example.digest(target)) == 32
    key = {"user_hash": "\\x" + ann.hash.hex(), **dict.fromkeys(names, "x")}
    assert len(
        example.all("SELECT * FROM rowseal.history(%s::regclass, %s)", target, Jsonb(key))
    ) == (1 if layout == "unversioned" else 3)
    assert unhealthy(example) == []


def test_a_long_multibyte_table_name_has_room_for_its_view(example: Db) -> None:
    example.run(
        f'CREATE TABLE "{"日" * 21}" (user_hash bytea, uuid uuid, {SEALED},'
        " PRIMARY KEY (user_hash, uuid, sign_b64))"
    )
    assert (
        attempt(
            example,
            "SELECT rowseal.declare(%s::regclass, owner => 'user_hash', identity => 'user_cards')",
            "日" * 21,
        )
        is None
    )


# -------------------------------------------- nobody gains the rights of those who check his table
def test_declare_by_a_superuser_runs_nothing_that_is_written_in_names(
    mallory: Db, example: Db, admin: Db
) -> None:
    name = ") t.* FROM public.x t;ALTER ROLE mallory SUPERUSER;--"
    mallory.run('CREATE TABLE x ("apublic." int)')
    mallory.run(
        f'CREATE TABLE "{name}" (user_hash bytea, "a%1$s" uuid, {SEALED},'
        ' PRIMARY KEY ("a%1$s", user_hash, sign_b64))'
    )
    try:
        attempt(
            admin,
            "SELECT rowseal.declare(%s::regclass, owner => 'user_hash', identity => 'user_cards')",
            f'public."{name}"',
        )
        assert admin.one("SELECT rolsuper FROM pg_roles WHERE rolname = 'mallory'") is False
    finally:
        admin.run("ALTER ROLE mallory NOSUPERUSER")


def trapped_key(mallory: Db) -> None:
    """A key column whose type Mallory can turn into json by a function of her own."""
    set_trap(mallory)
    mallory.run("""CREATE TYPE mood AS ENUM ('a', 'b');
        CREATE FUNCTION to_json_(mood) RETURNS json LANGUAGE sql AS $$
            SELECT CASE WHEN public.trap() THEN '1'::json END $$;
        CREATE FUNCTION to_text_(mood) RETURNS text LANGUAGE sql AS $$
            SELECT CASE WHEN public.trap() THEN 'a' END $$;
        CREATE CAST (mood AS json) WITH FUNCTION to_json_(mood);
        CREATE CAST (mood AS text) WITH FUNCTION to_text_(mood) AS IMPLICIT""")


def test_reading_by_a_superuser_runs_no_cast_of_the_tables_owner(
    mallory: Db, example: Db, admin: Db
) -> None:
    trapped_key(mallory)
    table(mallory, "q", "m mood", "user_hash, m")
    behind_the_guards(mallory, "q", "INSERT INTO q VALUES ('x', 'a', false, 1, NULL, 'x')")
    fell_for_it = []
    for call in ("verify('q')", "digest('q')", "digests('q')", "health()", "export('q')"):
        mallory.run("SELECT setval('sprung', 1)")
        attempt(admin, f"SELECT * FROM rowseal.{call} x")
        if sprung(mallory):
            fell_for_it.append(call)
    assert fell_for_it == []


def test_altering_an_own_partition_runs_nothing_with_the_rights_of_a_superuser(
    mallory: Db, example: Db
) -> None:
    trapped_key(mallory)
    table(mallory, "p", "m mood", "user_hash, m", "PARTITION BY LIST (m)", None)
    mallory.run(
        "CREATE TABLE pa PARTITION OF p FOR VALUES IN ('a');"
        " SELECT rowseal.declare('p', owner => 'user_hash', identity => 'user_cards')"
    )
    behind_the_guards(mallory, "pa", "INSERT INTO pa VALUES ('x', 'a', false, 1, NULL, 'x')")
    attempt(mallory, "ALTER TABLE pa RENAME TO pb")
    assert not sprung(mallory)


def test_a_view_in_the_place_of_a_declared_table_is_not_read_by_verify(
    mallory: Db, example: Db, admin: Db
) -> None:
    set_trap(mallory)
    table(mallory, "q", "uuid uuid")
    # without a guard nothing follows the table
    mallory.run(
        "DROP TRIGGER zzz_rowseal_guard ON q; ALTER TABLE q DROP CONSTRAINT q_pkey;"
        " ALTER TABLE q RENAME TO q2"
    )
    mallory.run(
        "CREATE VIEW q AS SELECT tableoid, * FROM q2 WHERE trap() UNION ALL"
        " SELECT 1::oid, '', gen_random_uuid(), trap(), 1, '', ''"
    )
    for call in ("verify", "digest", "export"):
        attempt(admin, f"SELECT count(*) FROM rowseal.{call}('q2') x")
    assert not sprung(mallory)


def test_an_operator_for_an_own_domain_does_not_stand_in_for_the_keys_equality(
    mallory: Db, example: Db, admin: Db
) -> None:
    if not admin.one("SELECT count(*) FROM pg_available_extensions WHERE name = 'citext'"):
        pytest.skip("the extension citext is not available")
    admin.run("CREATE EXTENSION citext")
    set_trap(mallory)
    mallory.run("""CREATE DOMAIN word AS citext;
        CREATE FUNCTION same(word, word) RETURNS boolean LANGUAGE sql AS 'SELECT public.trap()';
        CREATE OPERATOR public.= (LEFTARG = word, RIGHTARG = word, FUNCTION = same)""")
    table(mallory, "q", "w word", "user_hash, w", declare=", versions => 'qv'")
    for name in ("q", "qv"):
        behind_the_guards(
            mallory, name, f"INSERT INTO {name} VALUES ('x', 'a', false, 1, NULL, 'x')"
        )
    attempt(admin, "SELECT * FROM rowseal.verify('q')")
    assert not sprung(mallory)


def test_a_check_of_an_own_domain_does_not_run_with_the_rights_of_who_asks(
    mallory: Db, example: Db, admin: Db
) -> None:
    set_trap(mallory)
    mallory.run(
        "CREATE FUNCTION check_(text) RETURNS boolean LANGUAGE sql AS 'SELECT public.trap()';"
        " CREATE DOMAIN word AS text CHECK (public.check_(VALUE))"
    )
    table(mallory, "q", "w word", "user_hash, w")
    fell_for_it = []
    for call in ("payload", "history", "heads"):
        mallory.run("SELECT setval('sprung', 1)")
        attempt(admin, f'SELECT rowseal.{call}(\'q\', \'{{"user_hash": "QQ==", "w": "x"}}\')')
        if sprung(mallory):
            fell_for_it.append(call)
    assert fell_for_it == []


def test_what_names_a_strangers_table_runs_nothing_of_his_with_the_rights_of_who_carries_it(
    mallory: Db, example: Db, admin: Db, ann: Owner
) -> None:
    set_trap(mallory)
    table(mallory, "q", "uuid uuid")
    mallory.run(
        "CREATE FUNCTION run() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN PERFORM public.trap();"
        " RETURN NEW; END'"
    )
    mallory.run(
        "CREATE TRIGGER run BEFORE INSERT ON q FOR EACH ROW EXECUTE FUNCTION run();"
        " ALTER TABLE q ENABLE ALWAYS TRIGGER run"
    )
    sent = ann.envelope(example.form("q"), row(ann, uuid=KEY))
    receive = "SELECT outcome, reason FROM rowseal.receive(%s)"
    for carrier in (admin, example):
        assert carrier.all(receive, Json([sent])) == [("deferred", UNTRUSTED)]
    admin.run("SET session_replication_role = replica")
    admin.run("INSERT INTO rowseal.feed (tag, owner, envelope) VALUES ('q', '', %s)", Json(sent))
    admin.run("RESET session_replication_role")
    assert admin.all("SELECT * FROM rowseal.retry()") == []
    assert admin.all("SELECT sqlstate, sum(attempts) FROM rowseal.quarantine GROUP BY 1") == [
        ("RS017", 3)
    ]
    assert not sprung(mallory) and mallory.all("SELECT * FROM q") == []
    # an entry of each who carried it
    assert mallory.all("SELECT outcome FROM rowseal.retry()") == [
        "inserted",
        "duplicate",
    ] and not sprung(mallory)
    # who is trusted does get the rights: the trap was a real one
    with trusted(admin):
        assert admin.all(receive, Json([ann.envelope(example.form("q"), row(ann))])) == [
            ("inserted", None)
        ] and sprung(mallory)
