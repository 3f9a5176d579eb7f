"""A user of SQL who does not own the tables cannot forge, alter,
roll back or block by any statement, nor gain anybody's rights.
"""

from __future__ import annotations

import base64
import json
import re
import uuid
from collections.abc import Iterator
from typing import Any

import pytest

from kit.attacks import (
    KEY,
    SEALED,
    STORAGE,
    VERSIONS,
    apply,
    attempt,
    forgeries,
    insert,
    intact,
    row,
    set_trap,
    sprung,
    state,
    table,
    unhealthy,
    waiting,
)
from kit.db import Db
from kit.example import Owner
from kit.writers import tables

VALUES = (
    "SELECT %s::bytea AS user_hash, %s::uuid AS uuid, %s::bytea AS value_b64,"
    " %s::boolean AS deleted_flag, %s::bigint AS owner_timestamp, %s::bytea AS parent_sign_b64,"
    " %s::bytea AS sign_b64"
)
SET = ", ".join(f"{c} = s.{c}" for c in STORAGE)
DOORS = {
    "insert": f"INSERT INTO user_storage {VALUES}",
    "do nothing": f"INSERT INTO user_storage {VALUES} ON CONFLICT DO NOTHING",
    "do update": f"INSERT INTO user_storage {VALUES} ON CONFLICT (user_hash, uuid) DO UPDATE SET "
    + ", ".join(f"{c} = EXCLUDED.{c}" for c in STORAGE),
    "do update the old": (
        f"INSERT INTO user_storage AS t {VALUES} ON CONFLICT (user_hash, uuid) DO UPDATE"
        " SET value_b64 = EXCLUDED.value_b64, sign_b64 = t.sign_b64"
    ),
    "update": f"UPDATE user_storage t SET {SET} FROM ({VALUES}) s WHERE t.uuid = '{KEY}'",
    "cte": (
        f"WITH s AS ({VALUES}), x AS (INSERT INTO user_storage SELECT * FROM s RETURNING *)"
        " SELECT * FROM x"
    ),
    "cte on both": (
        f"WITH s AS ({VALUES}), x AS (INSERT INTO user_storage_versions SELECT * FROM s"
        " RETURNING 1) INSERT INTO user_storage SELECT * FROM s"
    ),
    "merge": (
        f"MERGE INTO user_storage t USING ({VALUES}) s ON t.uuid = s.uuid WHEN MATCHED"
        f" THEN UPDATE SET {SET} WHEN NOT MATCHED THEN INSERT VALUES (s.user_hash, s.uuid,"
        " s.value_b64, s.deleted_flag, s.owner_timestamp, s.parent_sign_b64, s.sign_b64)"
    ),
    "view": f"INSERT INTO through {VALUES}",
    "versions": f"INSERT INTO user_storage_versions {VALUES}",
    "versions, do update": (
        f"INSERT INTO user_storage_versions {VALUES} ON CONFLICT (sign_b64) DO UPDATE"
        " SET value_b64 = EXCLUDED.value_b64"
    ),
    "versions updated": "UPDATE user_storage_versions t SET "
    + ", ".join(f"{v} = s.{c}" for v, c in zip(VERSIONS, STORAGE))
    + f" FROM ({VALUES}) s",
}


def test_no_door_lets_a_forgery_in(mallory: Db, example: Db, ann: Owner, bob: Owner) -> None:
    form = example.form("user_storage")
    old, tip = (ann.sealed(form, ann.value(v, KEY)) for v in (b"old", b"tip"))
    insert(example, "user_storage", old)
    insert(example, "user_storage", tip)
    mallory.run("CREATE VIEW through AS SELECT * FROM user_storage")
    before = state(example)
    for name, forged in forgeries(ann, bob, form, tip).items():
        for door, sql in DOORS.items():
            answer = attempt(mallory, sql, *forged.values())
            # on a conflict the client's own SET may leave things as they are; nothing else passes
            assert answer in ("RS001", "RS002", "RS003", "RS009") or (
                answer is None and door.startswith("do ")
            ), (name, door, answer)
        for target in ("user_storage", "user_storage_versions"):
            with (
                pytest.raises(Exception) as error,
                mallory.connection.cursor().copy(f"COPY {target} FROM STDIN") as copy,
            ):
                copy.write_row(tuple(forged.values()))
            assert getattr(error.value, "sqlstate", None) in ("RS001", "RS002", "RS003", "RS009"), (
                name,
                target,
            )
        assert state(example) == before, name
    assert intact(example)


@pytest.mark.parametrize("layout", ["unversioned", "two tables", "one table", "partitioned"])
def test_in_every_layout_nothing_is_altered_or_removed(
    layout: str, mallory: Db, example: Db, ann: Owner, bob: Owner
) -> None:
    tables = declared_in(layout, example)
    example.run(f"GRANT ALL ON {', '.join(tables)} TO mallory")
    form = example.form("q")
    for value in (b"1", b"2"):
        assert insert(example, "q", ann.sealed(form, ann.value(value, KEY))) is None
    before = [example.all(f"SELECT * FROM {t} ORDER BY sign_b64") for t in tables]
    digest = example.digest("q")
    tip = dict(
        zip(
            STORAGE,
            example.one(
                "SELECT user_hash, uuid, value_b64, deleted_flag, owner_timestamp,"
                " parent_sign_b64, sign_b64 FROM q ORDER BY owner_timestamp DESC LIMIT 1"
            ),
        )
    )
    for name, forged in forgeries(ann, bob, form, tip).items():
        for t in tables:
            # without versions an older row is dropped as stale, whoever signed it
            assert insert(mallory, t, forged) is not None or layout == "unversioned", (name, t)
    for t in tables:
        nothing_is_altered_in(t, example, mallory, bob)
        nothing_is_removed_from(t, example, mallory)
    assert [example.all(f"SELECT * FROM {t} ORDER BY sign_b64") for t in tables] == before
    assert example.digest("q") == digest and intact(example, "q") and unhealthy(example) == []


def declared_in(layout: str, example: Db) -> list[str]:
    """A declared table ``q``; its name, and those of its partitions and versions table."""
    partitioned = layout == "partitioned"
    key = "user_hash, uuid" + (", sign_b64" if layout == "one table" else "")
    by = "PARTITION BY HASH (uuid)" if partitioned else ""
    table(example, "q", "uuid uuid, value_b64 bytea", key, by, None)
    parts = ["q0", "q1"] if partitioned else []
    for n, part in enumerate(parts):
        example.run(
            f"CREATE TABLE {part} PARTITION OF q FOR VALUES WITH (MODULUS 2, REMAINDER {n})"
        )
    versions = ", versions => 'qv'" if layout in ("two tables", "partitioned") else ""
    assert example.one(
        "SELECT layout FROM rowseal.declare('q', owner => 'user_hash',"
        f" identity => 'user_cards'{versions})"
    ) in (layout, "two tables")
    return ["q", *parts, *(["qv"] if versions else [])]


def nothing_is_altered_in(t: str, example: Db, mallory: Db, bob: Owner) -> None:
    for column, value in (
        ("value_b64", b"x"),
        ("owner_timestamp", 9),
        ("deleted_flag", True),
        ("user_hash", bob.hash),
        ("uuid", uuid.UUID(int=1)),
        ("parent_sign_b64", b"x"),
        ("sign_b64", b"\xff" * 64),
        ("value_b64", None),
        ("sign_b64", None),
    ):
        if example.one(f"SELECT count(*) FROM {t}"):
            refusal = attempt(mallory, f"UPDATE {t} SET {column} = %s", value)
            assert refusal in ("RS001", "RS003", "RS009"), (t, column)


def nothing_is_removed_from(t: str, example: Db, mallory: Db) -> None:
    for sql in (
        f"DELETE FROM {t}",
        f"WITH x AS (DELETE FROM {t} RETURNING 1) SELECT * FROM x",
        f"MERGE INTO {t} USING (SELECT 1) s ON true WHEN MATCHED THEN DELETE",
    ):
        if example.one(f"SELECT count(*) FROM {t}"):
            assert attempt(mallory, sql) == "RS004", sql
    for sql in (f"TRUNCATE {t}", f"TRUNCATE {t} CASCADE", f"TRUNCATE {t} RESTART IDENTITY"):
        assert attempt(mallory, sql) == "RS004", sql


def test_foreign_keys_delete_and_alter_nothing(mallory: Db, example: Db, ann: Owner) -> None:
    mallory.run("CREATE TABLE ids (uuid uuid PRIMARY KEY); GRANT ALL ON ids TO app")
    form = example.form("user_storage")
    mallory.run("INSERT INTO ids VALUES (%s)", KEY)
    insert(example, "user_storage", ann.sealed(form, ann.value(b"1", KEY)))
    for action in ("CASCADE", "SET NULL", "SET DEFAULT"):
        example.run(
            "ALTER TABLE user_storage ADD CONSTRAINT f FOREIGN KEY (uuid)"
            f" REFERENCES ids ON DELETE {action} ON UPDATE CASCADE"
        )
        assert attempt(mallory, "DELETE FROM ids") in ("RS004", "RS003", "RS001")
        assert attempt(mallory, "UPDATE ids SET uuid = gen_random_uuid()") == "RS003"
        assert attempt(mallory, "TRUNCATE ids CASCADE") == "RS004"
        assert "foreign keys" in unhealthy(example)
        example.run("ALTER TABLE user_storage DROP CONSTRAINT f")
    assert example.one("SELECT value_b64 FROM user_storage") == b"1"


SHADOWS = [
    f"CREATE DOMAIN mallory.{t} AS pg_catalog.{t}"
    for t in ("text", "bytea", "bool", "regclass", "uuid", "int8")
] + [
    "CREATE TYPE mallory.record AS (a pg_catalog.int4)",
    *(
        f"CREATE FUNCTION mallory.{f} RETURNS pg_catalog.{r} LANGUAGE plpgsql AS $$"
        f" BEGIN RETURN {v}; END $$"
        for f, r, v in (
            ("current_setting(pg_catalog.text)", "text", "'replica'::pg_catalog.text"),
            (
                "current_setting(pg_catalog.text, pg_catalog.bool)",
                "text",
                "'apply'::pg_catalog.text",
            ),
            ("pg_trigger_depth()", "int4", "2"),
            ("record_image_eq(pg_catalog.record, pg_catalog.record)", "bool", "true"),
        )
    ),
]


@pytest.mark.parametrize("answer", ["true", "false", "NULL"])
def test_no_operator_function_or_type_of_a_users_schema_stands_in_for_another(
    answer: str, mallory: Db, example: Db, admin: Db, ann: Owner, bob: Owner
) -> None:
    """The guards have no search path of their own."""
    table(example, "notes", "uuid uuid, value_b64 bytea", "user_hash, uuid, sign_b64")
    example.run("GRANT ALL ON notes TO mallory")
    form = example.form("user_storage")
    old, tip = (ann.sealed(form, ann.value(v, KEY)) for v in (b"old", b"tip"))
    card = example.all("SELECT * FROM user_cards WHERE user_hash = %s", ann.hash)
    insert(example, "user_storage", old)
    insert(example, "user_storage", tip)
    before = state(example)
    admin.run("CREATE SCHEMA IF NOT EXISTS mallory AUTHORIZATION mallory")
    for sql in SHADOWS:
        mallory.run(sql)
    shadow_operators(mallory, answer)
    mallory.run("SET search_path = mallory, pg_catalog, public")
    assert (
        mallory.one("SELECT 1::pg_catalog.int8 = 2::pg_catalog.int8")
        is {"true": True, "false": False, "NULL": None}[answer]
    )
    refusals = ("RS001", "RS002", "RS003", "RS009")
    for name, forged in forgeries(ann, bob, form, tip).items():
        version = dict(zip(VERSIONS, forged.values()))
        assert insert(mallory, "public.user_storage", forged) in refusals, name
        assert insert(mallory, "public.user_storage_versions", version) in refusals, name
        assert insert(mallory, "public.notes", forged) in refusals, name
    usurped = {**card_of(example, bob), "sign_pkey": ann.public_key}
    assert insert(mallory, "public.user_cards", usurped) in ("RS001", "RS003", "RS005")
    for column in ("value_b64", "parent_sign_b64", "sign_b64"):
        refusal = attempt(mallory, f"UPDATE public.user_storage SET {column} = '\\x00'")
        assert refusal in ("RS001", "RS003", "RS009")
    # and what is right is taken, as ever
    newer = ann.sealed(form, ann.value(b"newer", KEY))
    for known in (old, tip):
        assert insert(mallory, "public.user_storage", known) is None
    assert state(example) == before
    assert insert(mallory, "public.user_storage", newer) is None
    assert example.all("SELECT value_b64 FROM user_storage WHERE uuid = %s", KEY) == [b"newer"]
    assert example.all("SELECT * FROM user_cards WHERE user_hash = %s", ann.hash) == card
    assert intact(example, "user_cards", "user_storage", "notes")


def shadow_operators(mallory: Db, answer: str) -> None:
    """Operators of Mallory's schema for the types of the guards; comparisons answer the same."""
    kinds = ("bytea", "text", "bool", "int8", "int4", "uuid", "record", "name", "regclass")
    sides = [*((kind, kind) for kind in kinds), ("int4", "int8"), ("text", "name")]
    for n, operator in enumerate(("=", "<>", "<", "<=", ">", ">=", "+", "||")):
        for left, right in sides:
            returns, value = (left, "$1") if operator in ("+", "||") else ("bool", answer)
            function = f"mallory.f{n}(pg_catalog.{left}, pg_catalog.{right})"
            refusal = attempt(
                mallory,
                f"CREATE FUNCTION {function} RETURNS pg_catalog.{returns}"
                f" LANGUAGE plpgsql AS $$ BEGIN RETURN {value}; END $$",
            )
            if refusal is None:
                mallory.run(
                    f"CREATE OPERATOR mallory.{operator} (LEFTARG = pg_catalog.{left},"
                    f" RIGHTARG = pg_catalog.{right}, FUNCTION = mallory.f{n})"
                )


def card_of(db: Db, owner: Owner) -> dict[str, Any]:
    columns = ("user_hash", "sign_pkey", "name", "deleted_flag", "owner_timestamp", "sign_b64")
    (values,) = db.all(
        f"SELECT {', '.join(columns)} FROM user_cards WHERE user_hash = %s", owner.hash
    )
    return dict(zip(columns, values))


def tables_of_all_kinds(example: Db) -> None:
    """Declared tables whose functions together hold all that is generated."""
    table(example, "notes", "uuid uuid, a int[], t text", "user_hash, uuid, sign_b64")
    named, healed = '"name_column": "name"', '"healed": ["content", "note"]'
    kinds = (  # columns, primary key, of the argument columns, of legacy, the rest
        ("", "user_hash, uuid", "", "", ", versions => 'v0'"),
        (
            ", up text, name text",
            "user_hash, uuid",
            f', {healed}, "parent": "up"',
            f'{named}, "name_prefix": "v_"',
            ", versions => 'v1'",
        ),
        (", name bytea", "user_hash, uuid, name", f", {healed}", named, ""),
        (
            ", h bytea GENERATED ALWAYS AS (sha256(sign_b64)) STORED",
            "user_hash, uuid, h",
            "",
            "",
            "",
        ),
    )
    content = "uuid uuid, content bytea, content_sha256 bytea, note text, note_sha256 bytea"
    for n, (extra, key, columns, legacy, rest) in enumerate(kinds):
        digests = f""", columns => '{{"digests": ["content", "note"]{columns}}}'"""
        declare = f"{digests}, legacy => '{{{legacy}}}'{rest}"
        table(example, f"c{n}", content + extra, key, declare=declare)
    older = """, legacy => '{"form": "concatenated", "accept_ambiguity": true}', versions => 'v4'"""
    table(example, "c4", "a_uuid uuid", "user_hash, a_uuid", declare=older)
    example.run(tables(feed=True))


def unqualified(body: str) -> Iterator[Any]:
    """What a function's body names without its schema."""
    body = re.sub(
        r"--.*|#variable_conflict.*|'(?:[^']|'')*'|RAISE EXCEPTION USING [^;]*;"
        r"|WITH ORDINALITY \w+\([^)]*\)",
        " ",
        body,
    )
    yield from re.findall(r"\bONLY (?![\w\"]+\.)\S+", body)
    grammar = r"<<\w+>>|FOREACH \w+ IN ARRAY|FOR \w+ IN 1 \.\.|IN ACCESS SHARE MODE;"
    body = re.sub(grammar, " ", body)  # no operators
    # these look for an operator by its bare name, too
    yield from re.findall(
        r"\bIN\b(?!TO)|DISTINCT FROM|NULLIF|BETWEEN|\bLIKE\b|\bCASE (?!WHEN)", body, re.I
    )
    body = re.sub(r"OPERATOR\((?:pg_catalog|\"?\w+\"?)\.[^)]+\)", " ", body)
    # there, = assigns
    body = re.sub(r"(UPDATE \S+ t SET|DO UPDATE SET) [^;]*?(?= WHERE|;)", " ", body)
    # := assigns, => names an argument: neither can be the name of an operator
    plain = re.sub(r":=|=>|\(\*\)|\.\*", " ", body)
    yield from re.findall(r"(?<![:])[-+*/<>=~!@#%^&|`?]+(?!\s+(?:INTO|FROM))", plain)
    casts = re.findall(r"::\s*(\S+)", body)
    yield from (t for t in casts if not t.startswith(("pg_catalog.", "rowseal.")))
    yield from set(re.findall(r"(?<![\w.\"])([a-z_]\w*)\s*\(", body)) - {"coalesce"}
    yield from (t for t in declared_types(body) if "." not in t)


def declared_types(body: str) -> list[str]:
    return re.findall(r"^  \w+ (\S+);$", body.split("BEGIN")[0], re.M)


def test_functions_without_a_search_path_name_every_schema(example: Db) -> None:
    tables_of_all_kinds(example)
    bodies = dict(
        example.all("""SELECT proname, prosrc FROM pg_proc p JOIN pg_language l ON l.oid = prolang
            AND lanname IN ('plpgsql', 'sql') WHERE pronamespace = 'rowseal'::regnamespace
            AND proconfig::text !~ 'search_path' IS NOT FALSE""")
    )
    hot = {"_guard", "_feed", "_ledger", "_settle"}
    others = {"_arrive", "_moved", "_room", "_settled", "_results", "_trusted_owner", "_verified"}
    others |= {
        "_encoded",
        "_string",
        "_text",
        "_flag",
        "_envelope",
        "_few",
        "_sparse",
        "_one_based",
        "_bounded",
        "_before",
        "_outside",
        "_written",
        "_names_of",
        "_elements",
        "_may_write",
        "subscribe",
        "_subscribe",
        "unsubscribe",
    }
    expected = hot | {h + "_versions" for h in hot} | others
    # _verified may be in C
    assert {re.sub(r"_\d+$", "", name) for name in bodies} | {"_verified"} == expected
    for name, body in bodies.items():
        assert list(unqualified(body)) == [], name
        assert declared_types(body) or not name.startswith("_guard")


def test_nobody_teaches_his_session_another_key_for_an_owner(
    mallory: Db, example: Db, ann: Owner
) -> None:
    other = Owner("Mallory")
    other.hash = ann.hash  # her own key, Ann's name
    argument = {
        "user_hash": ann.hash, "public_key": other.public_key, "signature": bytes(64),
        "settled": True, "deleted_flag": False, "owner_timestamp": 1, "uuid": KEY,
    }  # fmt: skip
    for name, types in example.all(
        "SELECT proname, proargtypes::regtype[]::text[] FROM pg_proc"
        " WHERE pronamespace = 'rowseal'::regnamespace AND proname LIKE E'\\\\_seal\\\\_%%'"
    ):
        names = example.one("SELECT proargnames FROM pg_proc WHERE proname = %s", name)
        fields = sorted(
            example.one(
                "SELECT spec -> 'fields' FROM rowseal.declarations WHERE id = %s",
                int(name.rsplit("_", 1)[1]),
            )
        )
        values = [
            argument.get(fields[int(n[1:])] if n[0] == "v" and n[1:].isdigit() else n)
            for n in names
        ]
        attempt(mallory, f"SELECT rowseal.{name}({', '.join(f'%s::{t}' for t in types)})", *values)
    forged = other.sealed(example.form("user_storage"), other.value(b"forged"))
    assert insert(mallory, "user_storage", forged) == "RS001"
    assert example.all("SELECT * FROM user_storage") == []


def test_a_key_of_a_transaction_that_failed_is_forgotten(db: Db) -> None:
    db.run(
        "CREATE TABLE cards (id text PRIMARY KEY, k bytea, deleted_flag boolean,"
        " owner_timestamp bigint, sign_b64 bytea)"
    )
    db.run(f"CREATE TABLE q (user_hash text, uuid uuid, {SEALED}, PRIMARY KEY (user_hash, uuid))")
    db.run(
        "SELECT rowseal.declare('cards', owner => 'id', public_key => 'k');"
        " SELECT rowseal.declare('q', owner => 'user_hash', identity => 'cards')"
    )
    ann, other = Owner(), Owner()
    connection = db.connection

    def card(o: Owner) -> dict[str, Any]:
        return o.sealed(
            db.form("cards"),
            {"id": "ann", "k": o.public_key, "deleted_flag": False, "owner_timestamp": 1},
        )

    def mine(o: Owner) -> dict[str, Any]:
        return o.sealed(db.form("q"), row(o, user_hash="ann"))

    for outer in (False, True):
        with connection.transaction(force_rollback=True):
            db.run("SELECT pg_current_xact_id()")
            with connection.transaction(force_rollback=not outer):
                db.insert("cards", card(other))
                for _ in range(3):
                    db.insert("q", mine(other))
            if not outer:
                with connection.transaction(force_rollback=True):
                    assert insert(db, "q", mine(other)) == "RS002"
    assert insert(db, "q", mine(other)) == "RS002"
    db.insert("cards", card(ann))
    assert (insert(db, "q", mine(other)), insert(db, "q", mine(ann))) == ("RS001", None)


def test_savepoints_carry_no_verdict_over(mallory: Db, example: Db, ann: Owner) -> None:
    form = example.form("user_storage")
    sealed = ann.sealed(form, ann.value(b"1", KEY))
    with mallory.connection.transaction():
        with mallory.connection.transaction(force_rollback=True):
            assert insert(mallory, "user_storage", sealed) is None
        with mallory.connection.transaction(force_rollback=True):
            assert insert(mallory, "user_storage", {**sealed, "value_b64": b"2"}) == "RS001"
        with mallory.connection.transaction(force_rollback=True):
            assert (
                insert(
                    mallory,
                    "user_storage_versions",
                    dict(zip(VERSIONS, {**sealed, "value_b64": b"2"}.values())),
                )
                == "RS001"
            )
    assert example.all("SELECT * FROM user_storage") == []


SETTINGS = {
    "rowseal.mode": ["apply", "off"], "rowseal.outcome": ["inserted", "superseded"],
    "search_path": ["mallory, pg_temp, public", ""],
    "plan_cache_mode": ["force_custom_plan", "force_generic_plan"],
    "standard_conforming_strings": ["off"], "backslash_quote": ["on"],
    "transform_null_equals": ["on"], "array_nulls": ["off"], "row_security": ["off"],
    "quote_all_identifiers": ["on"], "DateStyle": ["German", "SQL, DMY"],
    "TimeZone": ["Asia/Kathmandu"], "IntervalStyle": ["sql_standard"],
    "extra_float_digits": ["-15"], "bytea_output": ["escape"], "xmloption": ["document"],
    "check_function_bodies": ["off"], "jit": ["on"], "client_encoding": ["LATIN1", "SQL_ASCII"],
    "default_transaction_isolation": ["serializable"], "default_transaction_deferrable": ["on"],
    "enable_indexscan": ["off"], "constraint_exclusion": ["on"],
    "plpgsql.variable_conflict": ["use_variable", "use_column"], "plpgsql.extra_errors": ["all"],
    "lc_numeric": ["C"], "default_text_search_config": ["simple"],
    "application_name": ["rowseal_internal"],
}  # fmt: skip


def test_no_setting_opens_a_door(mallory: Db, example: Db, ann: Owner, bob: Owner) -> None:
    form = example.form("user_storage")
    tip = ann.sealed(form, ann.value(b"tip", KEY))
    insert(example, "user_storage", tip)
    mallory.run("CREATE TABLE pg_temp.user_cards AS SELECT * FROM public.user_cards")
    mallory.run("UPDATE pg_temp.user_cards SET sign_pkey = %s", bob.public_key)
    mallory.run(
        "CREATE FUNCTION pg_temp.starts_with(text, text) RETURNS boolean"
        " LANGUAGE sql AS 'SELECT true'"
    )
    table(example, "q", "uuid uuid, a int[]")
    example.run("GRANT ALL ON q TO mallory")
    bounds = row(ann, a=[1, 2])
    signature = ann.sealed(example.form("q"), bounds)["sign_b64"]
    before, got_in = state(example), []
    forged_rows = forgeries(ann, bob, form, tip)
    update = f"UPDATE public.user_storage t SET {SET} FROM ({VALUES}) s"
    version = {v: tip[c] for v, c in zip(VERSIONS, STORAGE)} | {"value_b64": b"x"}
    for setting, values in SETTINGS.items():
        for value in values:
            if attempt(mallory, f"SELECT set_config('{setting}', %s, false)", value):
                continue
            for name in ("value", "re-dated", "signed by another owner", "no signature"):
                forged = forged_rows[name]
                insert(mallory, "public.user_storage", forged)
                attempt(mallory, update, *forged.values())
            insert(mallory, "public.user_storage_versions", version)
            attempt(mallory, "DELETE FROM public.user_storage")
            attempt(mallory, "TRUNCATE public.user_storage")
            attempt(
                mallory,
                "INSERT INTO public.q (user_hash, uuid, a, deleted_flag, owner_timestamp,"
                " sign_b64) VALUES (%s, %s, '[0:1]={1,2}', false, %s, %s)",
                *(ann.hash, bounds["uuid"], bounds["owner_timestamp"], signature),
            )
            mallory.run("RESET ALL")
            if state(example) != before or example.one("SELECT count(*) FROM q"):
                got_in.append(f"{setting} = {value}")
                with mallory.connection.transaction():
                    example.run(
                        "ALTER TABLE q DISABLE TRIGGER ALL; DELETE FROM q;"
                        " ALTER TABLE q ENABLE ALWAYS TRIGGER zzz_rowseal_guard;"
                        " ALTER TABLE q ENABLE ALWAYS TRIGGER zzz_rowseal_keep;"
                        " ALTER TABLE q ENABLE ALWAYS TRIGGER zzz_rowseal_keep_all"
                    )
    assert got_in == []
    for sql in (
        "SET session_replication_role = replica",
        "SET SESSION AUTHORIZATION app",
        "SET ROLE rowseal_internal",
        "SET ROLE rowseal_admin",
    ):
        assert attempt(mallory, sql) == "42501", sql


def test_an_own_trigger_neither_changes_rows_afterwards_nor_replaces_the_guard(
    mallory: Db, example: Db, ann: Owner
) -> None:
    form = example.form("user_storage")
    insert(example, "user_storage", ann.sealed(form, ann.value(b"1", KEY)))
    mallory.run(
        "CREATE FUNCTION pass() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN IF TG_OP = 'DELETE'"
        " THEN RETURN OLD; END IF; NEW.value_b64 := 'x'; RETURN NEW; END $$"
    )
    for t in ("user_storage", "user_storage_versions"):
        for name in ("zzz_rowseal_guard_", "zzzz", "é", "~"):
            mallory.refused(
                "RS007",
                f'CREATE TRIGGER "{name}" BEFORE INSERT OR UPDATE ON {t} FOR EACH ROW'
                " EXECUTE FUNCTION pass()",
            )
    for name, events in (
        ("early", "INSERT OR UPDATE"),
        ("zzz_rowseal", "INSERT OR UPDATE OR DELETE"),
    ):
        mallory.run(
            f"CREATE TRIGGER {name} BEFORE {events} ON user_storage FOR EACH ROW"
            " EXECUTE FUNCTION pass()"
        )
    assert insert(mallory, "user_storage", ann.sealed(form, ann.value(b"2", KEY))) == "RS001"
    for sql in (
        "DROP TRIGGER zzz_rowseal_guard ON user_storage",
        "ALTER TRIGGER zzz_rowseal_guard ON user_storage RENAME TO a",
        "ALTER TABLE user_storage DISABLE TRIGGER ALL",
        "CREATE RULE r AS ON INSERT TO user_storage DO INSTEAD NOTHING",
        "DROP TABLE user_storage",
        "ALTER TABLE user_storage RENAME TO x",
        "SELECT rowseal.undeclare('user_storage')",
        "SELECT rowseal.declare('user_storage_versions', owner => 'user_hash',"
        " identity => 'user_cards')",
        "SELECT rowseal.prune('user_storage')",
    ):
        assert attempt(mallory, sql) in ("42501", "RS008"), sql
    assert unhealthy(example) == [] and example.one("SELECT value_b64 FROM user_storage") == b"1"


def test_the_guards_cannot_be_replaced_with_the_right_to_create_triggers(
    mallory: Db, example: Db, ann: Owner
) -> None:
    insert(example, "user_storage", ann.sealed(example.form("user_storage"), ann.value(b"1", KEY)))
    mallory.run(
        "CREATE FUNCTION pass() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN IF TG_OP = 'DELETE'"
        " THEN RETURN OLD; END IF; RETURN NEW; END $$"
    )
    got_through = []
    for name, events in (("guard", "INSERT OR UPDATE"), ("keep", "DELETE")):
        for t in ("user_storage", "user_storage_versions", "user_cards"):
            if (
                attempt(
                    mallory,
                    f"CREATE OR REPLACE TRIGGER zzz_rowseal_{name} BEFORE {events} ON {t}"
                    " FOR EACH ROW EXECUTE FUNCTION pass()",
                )
                is None
            ):
                got_through.append((name, t))
    forged = insert(mallory, "user_storage", {**ann.value(b"forged"), "sign_b64": b"x"})
    assert (got_through, forged, attempt(mallory, "DELETE FROM user_storage")) == (
        [],
        "RS001",
        "RS004",
    )


def test_a_version_is_not_archived_while_it_is_current(
    mallory: Db, example: Db, ann: Owner
) -> None:
    insert(example, "user_storage", ann.sealed(example.form("user_storage"), ann.value(b"1", KEY)))
    assert attempt(mallory, "INSERT INTO user_storage_versions SELECT * FROM user_storage") is None
    mallory.run("""CREATE TEMP TABLE deeper (x int);
        CREATE FUNCTION pg_temp.f() RETURNS trigger LANGUAGE plpgsql AS $$
            BEGIN INSERT INTO public.user_storage_versions SELECT * FROM public.user_storage;
            RETURN NEW; END $$;
        CREATE TRIGGER a BEFORE INSERT ON deeper FOR EACH ROW EXECUTE FUNCTION pg_temp.f();
        INSERT INTO deeper VALUES (1)""")
    # The guard cannot tell this from its own archiving.  Nothing is gained: verify shows it,
    # and the next version ends it.
    assert (
        example.one("SELECT problem FROM rowseal.verify('user_storage')")
        == "the current version is archived, too"
    )
    insert(example, "user_storage", ann.sealed(example.form("user_storage"), ann.value(b"2", KEY)))
    assert example.all("SELECT value_b64 FROM user_storage_versions") == [b"1"] and intact(example)


def test_a_dropped_identity_table_is_nobodys_to_replace(
    mallory: Db, example: Db, ann: Owner
) -> None:
    other = Owner("Mallory")
    other.hash = ann.hash
    form = example.form("user_storage")
    if attempt(example, "DROP TABLE user_cards"):
        return  # refused while tables depend on it: as good
    mallory.run(
        "CREATE TABLE user_cards (user_hash bytea PRIMARY KEY, sign_pkey bytea);"
        " GRANT ALL ON user_cards TO PUBLIC"
    )
    mallory.run("INSERT INTO user_cards VALUES (%s, %s)", ann.hash, other.public_key)
    assert insert(mallory, "user_storage", other.sealed(form, other.value(b"forged"))) is not None


def test_declarations_are_written_by_the_owners_of_tables_alone(
    mallory: Db, example: Db, admin: Db
) -> None:
    before = admin.all("SELECT * FROM rowseal.declarations ORDER BY id")
    mallory.run(
        f"CREATE TABLE own (user_hash bytea, uuid uuid, {SEALED}, PRIMARY KEY (user_hash, uuid))"
    )
    table(example, "apps", "uuid uuid", declare=None)
    new = (
        "INSERT INTO rowseal.declarations (relation, tag, owner, identity)"
        " VALUES ({}, '{}', '{{user_hash}}', 'user_cards')"
    )
    assert attempt(mallory, new.format("'apps'", "apps")) == "42501"
    assert attempt(
        mallory,
        "INSERT INTO rowseal.declarations (relation, tag, owner, identity, versions)"
        " VALUES ('own', 'own', '{user_hash}', 'user_cards', 'user_storage_versions')",
    ) in ("42501", "23505", "RS007")
    assert attempt(
        mallory,
        "INSERT INTO rowseal.declarations (relation, tag, owner, identity, versions)"
        " VALUES ('own', 'own', '{user_hash}', 'user_cards', 'apps')",
    ) in ("42501", "RS007")
    assert attempt(mallory, new.format("'own'", "user_storage")) == "RS008"
    for sql in (
        "UPDATE rowseal.declarations SET tag = 'x'",
        new.format("'own'", "own") + " ON CONFLICT (relation) DO UPDATE SET tag = 'x'",
        "TRUNCATE rowseal.declarations",
        "ALTER TABLE rowseal.declarations DISABLE ROW LEVEL SECURITY",
        "CREATE TRIGGER a BEFORE INSERT ON rowseal.declarations"
        " EXECUTE FUNCTION suppress_redundant_updates_trigger()",
        "CREATE TABLE rowseal.x ()",
        "CREATE FUNCTION rowseal.x() RETURNS int LANGUAGE sql AS 'SELECT 1'",
        "COPY rowseal.declarations (relation) FROM STDIN",
        "DROP EVENT TRIGGER rowseal_ddl",
        "ALTER EXTENSION rowseal DROP TABLE rowseal.declarations",
        "INSERT INTO rowseal.feed (tag, owner, envelope) VALUES ('user_storage', 'x', '{}')",
        "SELECT * FROM rowseal.feed",
        "UPDATE rowseal.quarantine SET curable = false",
        "UPDATE rowseal.quarantine_limits SET rows = 1",
        "SELECT rowseal.prune_feed('0')",
    ):
        assert attempt(mallory, sql) in ("42501", "0A000", "22P04"), sql
    assert attempt(mallory, "DELETE FROM rowseal.declarations") == "42501"
    assert admin.all("SELECT * FROM rowseal.declarations ORDER BY id") == before


def test_a_declaration_written_by_hand_is_completed_not_believed(mallory: Db, example: Db) -> None:
    mallory.run(
        f"CREATE TABLE own (user_hash bytea, uuid uuid, {SEALED}, PRIMARY KEY (user_hash, uuid))"
    )
    lies = {
        "layout": "'one table'",
        "key": "'{uuid}'",
        "spec": "'{}'",
        "queries": '\'{"verify": "SELECT 1"}\'',
        "facts": "'{}'",
        "numbers": "'{}'",
        "fields": '\'{"uuid": "x"}\'',
    }
    mallory.run(
        f"INSERT INTO rowseal.declarations (relation, tag, owner, identity, {', '.join(lies)})"
        f" VALUES ('own', 'own', '{{user_hash}}', 'user_cards', {', '.join(lies.values())})"
    )
    layout, key, spec, queries = mallory.one(
        "SELECT layout, key, spec, queries FROM rowseal.declarations WHERE tag = 'own'"
    )
    assert (layout, key, sorted(spec["owner"])) == (
        "unversioned",
        ["user_hash", "uuid"],
        ["user_hash"],
    ) and "public.own" in queries["verify"]


MALFORMED = (
    "certificates => '[]'",
    "certificates => '1'",
    "certificates => 'null'",
    "certificates => '{\"uuid\": 1}'",
    "certificates => '{\"uuid\": {}}'",
    "unsigned => '{NULL}'",
    "unsigned => '{{a,b}}'",
    "versions => ''",
    "versions => '.'",
    "versions => 'a.b.c'",
    "columns => '[]'",
    "columns => '\"x\"'",
    "columns => 'null'",
    *(
        f"versions => 'v', columns => '{{\"{name}\": {value}}}'"
        for name in ("versions", "digests", "healed", "timestamp", "parent", "other", "")
        for value in ("null", '""', "1", "[]", "{}", "[null]", '[["a"]]', '{"uuid": 1}', '{"": ""}')
    ),
    "legacy => '1'",
    *(
        f"legacy => '{{\"{name}\": {value}}}'"
        for name in ("form", "accept_ambiguity", "name_column", "name_hash", "fingerprint_prefix")
        for value in ("null", '""', "1", "[]", "{}", "true")
    ),
    "tag => ''",
    "fingerprint => ''",
)
MALFORMED_FIELDS = (
    "[]", '{"uuid": {}}', '{"uuid": 1}', "3", '"x"', '{"uuid": null}', '{"uuid": "user_hash"}',
)  # fmt: skip


def test_malformed_declarations_are_refused_not_tracebacks(mallory: Db, example: Db) -> None:
    mallory.run(
        f"CREATE TABLE own (user_hash bytea, uuid uuid, {SEALED},"
        " PRIMARY KEY (user_hash, uuid)); CREATE TABLE nothing ()"
    )
    tracebacks = []

    def refused(what: str, sql: str, *args: Any) -> None:
        try:
            assert attempt(mallory, sql, *args) != "38000", what
        except AssertionError:
            tracebacks.append(what)

    declare = "SELECT rowseal.declare('own', owner => {}, identity => 'user_cards'{})"
    for options in MALFORMED:
        refused(options, declare.format("'user_hash'", f", {options}") + "; ROLLBACK")
        attempt(mallory, "SELECT rowseal.undeclare('own')")
    for fields in MALFORMED_FIELDS:
        refused(
            f"fields {fields}",
            "INSERT INTO rowseal.declarations (relation, tag, owner, identity, fields)"
            " VALUES ('own', 'own', '{user_hash}', 'user_cards', %s)",
            fields,
        )
        attempt(mallory, "SELECT rowseal.undeclare('own')")
    for owner in ("{", "{}", "{NULL}", "", '{"}', "{user_hash,user_hash}"):
        refused(f"owner {owner}", declare.format("%s", ""), owner)
        attempt(mallory, "SELECT rowseal.undeclare('own')")
    assert tracebacks == []


# --------------------------------------------------------------------------------- blocking others
def test_a_role_without_rights_locks_no_table_of_rowseal(
    example: Db, mallory: Db, admin: Db, ann: Owner
) -> None:
    """A right to DELETE is one to LOCK TABLE, whatever row security says: so nobody has one."""
    tables_ = admin.all(
        "SELECT oid::regclass::text FROM pg_class"
        " WHERE relnamespace = 'rowseal'::regnamespace AND relkind IN ('r', 'v')"
    )
    for t in tables_:
        for mode in ("SHARE UPDATE EXCLUSIVE", "SHARE", "EXCLUSIVE", "ACCESS EXCLUSIVE"):
            with mallory.connection.transaction(force_rollback=True):
                assert attempt(mallory, f"LOCK TABLE {t} IN {mode} MODE") == "42501", (t, mode)
        with mallory.connection.transaction(force_rollback=True):  # nor its rows
            assert attempt(mallory, f"SELECT FROM {t} FOR KEY SHARE") == "42501", t
    # what he can take keeps nobody from anything
    mallory.run("BEGIN")
    for sql in (
        *(
            f"LOCK TABLE {t} IN {m} MODE"
            for t in tables_
            for m in ("ACCESS SHARE", "ROW EXCLUSIVE")
        ),
        *(
            f"SELECT rowseal._advance('{t}', 'x', 'h', '0', '{{}}', false)"
            for t in ("user_storage", "user_cards")
        ),
    ):
        mallory.run("SAVEPOINT s")
        if attempt(mallory, sql):
            mallory.run("ROLLBACK TO SAVEPOINT s")
    example.run("SET lock_timeout = '2s'")
    sealed = ann.sealed(example.form("user_storage"), ann.value())
    assert insert(example, "user_storage", sealed) is None
    example.run("SELECT rowseal.undeclare('user_storage')")
    example.run("DROP TABLE user_storage CASCADE")
    table(example, "q", "uuid uuid")
    mallory.run("ROLLBACK")


def test_what_takes_out_asks_the_current_user_not_the_session(
    example: Db, mallory: Db, admin: Db
) -> None:
    """Code of others may run in a session of the table's owner, with their rights alone."""
    assert apply(example, "user_storage", [waiting(example.form("user_storage"), Owner("Bob"))])
    mallory.run(
        "CREATE FUNCTION undeclare() RETURNS boolean SECURITY DEFINER LANGUAGE sql"
        " RETURN rowseal.undeclare('user_storage');"
        "CREATE FUNCTION discard() RETURNS bigint SECURITY DEFINER LANGUAGE sql"
        " RETURN rowseal.discard(ARRAY(SELECT generate_series(1, 99)));"
        "CREATE FUNCTION name_it() RETURNS void SECURITY DEFINER LANGUAGE sql BEGIN ATOMIC"
        "  INSERT INTO rowseal._removals VALUES ('user_storage'); END;"
        "CREATE FUNCTION name_entry() RETURNS void SECURITY DEFINER LANGUAGE sql BEGIN ATOMIC"
        "  INSERT INTO rowseal._removals SELECT NULL, generate_series(1, 99); END;"
        "CREATE FUNCTION name_opened() RETURNS void SECURITY DEFINER LANGUAGE sql BEGIN ATOMIC"
        "  INSERT INTO rowseal._removals (opened) VALUES ('user_storage'); END"
    )
    for who in (example, admin):
        assert attempt(who, "SELECT undeclare()") == "RS008"
        assert who.one("SELECT discard()") == 0
        for named in ("name_it", "name_entry", "name_opened"):
            assert attempt(who, f"SELECT {named}()") == "42501"
    assert admin.one("SELECT count(*) FROM rowseal.quarantine") == 1
    assert admin.one("SELECT count(*) FROM rowseal.declarations WHERE tag = 'user_storage'") == 1
    # and whoever is let act as the owner does
    admin.run("GRANT app TO mallory; ALTER ROLE mallory NOINHERIT")
    try:
        assert mallory.one("SELECT rowseal.discard(ARRAY(SELECT generate_series(1, 99)))") == 0
        mallory.run("SET ROLE app")
        assert mallory.one("SELECT rowseal.discard(ARRAY(SELECT generate_series(1, 99)))") == 1
        assert mallory.one("SELECT rowseal.undeclare('user_storage')")
        assert admin.one("SELECT count(*) FROM rowseal._removals") == 0
    finally:
        mallory.run("RESET ROLE")
        admin.run("REVOKE app FROM mallory; ALTER ROLE mallory INHERIT")


def test_no_setting_makes_a_row_enter_the_feed_again(
    mallory: Db, example: Db, admin: Db, ann: Owner
) -> None:
    """Each time followers have to look at it: one row, signed once, was as many as he liked."""
    table(example, "q", "uuid uuid", extra="PARTITION BY HASH (uuid)", declare=", feed => true")
    example.run("CREATE TABLE q0 PARTITION OF q FOR VALUES WITH (MODULUS 1, REMAINDER 0)")
    example.run("GRANT ALL ON q, q0 TO mallory")
    assert insert(example, "q", ann.sealed(example.form("q"), row(ann))) is None
    i = example.one("SELECT relation::oid::text FROM rowseal.declarations WHERE tag = 'q'")
    mallory.run("SET rowseal.feeding = 'on'; SET rowseal.mode = 'feeding'")
    parts = example.one("SELECT ARRAY['q0'::regclass::oid]::text")
    mallory.run(f"SET rowseal.new_partitions = '{i} {parts}'")
    for sql in ("UPDATE q SET sign_b64 = sign_b64", "CREATE TABLE other ()"):
        attempt(mallory, sql)
    assert admin.one("SELECT count(*) FROM rowseal.feed") == 1


def test_nobody_blinds_health_with_a_table_of_his_own(mallory: Db, example: Db, admin: Db) -> None:
    mallory.run(
        f"CREATE TABLE i (user_hash bytea PRIMARY KEY, pk bytea, {SEALED});"
        f" CREATE TABLE q (user_hash bytea, uuid uuid, {SEALED}, PRIMARY KEY (user_hash, uuid))"
    )
    mallory.run(
        "SELECT rowseal.declare('i', owner => 'user_hash', public_key => 'pk');"
        " SELECT rowseal.declare('q', owner => 'user_hash', identity => 'i')"
    )
    mallory.run("DROP TRIGGER zzz_rowseal_guard ON i; ALTER TABLE i DROP CONSTRAINT i_pkey")
    assert "structure" in unhealthy(admin)


def test_nobody_uses_up_the_numbers_of_declarations(
    mallory: Db, example: Db, admin: Db, ann: Owner
) -> None:
    """They go round, and what is taken is left out."""
    # as many calls of nextval, which everybody may make, would take ten minutes
    admin.run("SELECT setval('rowseal.declarations_id_seq', 2147483646)")
    mallory.run("SELECT nextval('rowseal.declarations_id_seq')")
    for name in ("q", "r"):
        table(example, name, "uuid uuid")
        sealed = ann.sealed(example.form(name), row(ann, uuid=KEY))
        assert insert(example, name, sealed) is None
    assert example.all("SELECT id FROM rowseal.declarations ORDER BY tag") == [3, 4, 1, 2]
    assert unhealthy(example) == []


def test_nobody_stops_other_peoples_ddl_with_a_table_of_his_own(mallory: Db, example: Db) -> None:
    mallory.run("CREATE TYPE composite AS (a int)")
    table(mallory, "q", "uuid uuid, c composite")
    attempt(mallory, "ALTER TYPE composite ADD ATTRIBUTE b money")
    example.run("CREATE TYPE mood AS ENUM ('a')")
    assert [
        attempt(example, sql)
        for sql in ("ALTER TYPE mood ADD VALUE 'b'", "ALTER TYPE mood RENAME TO moods")
    ] == [None, None]


def test_nobody_holds_a_declared_table_fast_with_a_view_on_its_functions(
    mallory: Db, example: Db
) -> None:
    n, types = example.one(
        "SELECT proname, proargtypes::regtype[]::text[] FROM pg_proc"
        " WHERE pronamespace = 'rowseal'::regnamespace AND proname LIKE E'\\\\_payload\\\\_%%'"
        " ORDER BY proname DESC LIMIT 1"
    )
    attempt(
        mallory,
        f"CREATE VIEW anchor AS SELECT rowseal.{n}({', '.join(f'NULL::{t}' for t in types)})",
    )
    assert attempt(example, "ALTER TABLE user_storage_versions ADD COLUMN x int") is None
    assert [
        attempt(example, sql)
        for sql in (
            "ALTER TABLE user_storage ADD COLUMN x int",
            "SELECT rowseal.undeclare('user_storage')",
            "DROP TABLE user_storage",
        )
    ] == [None] * 3


def test_nobody_takes_the_ids_of_declarations_to_come(mallory: Db, example: Db) -> None:
    mallory.run(
        f"CREATE TABLE own (user_hash bytea, uuid uuid, {SEALED}, PRIMARY KEY (user_hash, uuid))"
    )
    attempt(
        mallory,
        "INSERT INTO rowseal.declarations (relation, id, tag, owner, identity)"
        " SELECT 'own', max(id) + 1, 'own', '{user_hash}', 'user_cards'"
        " FROM rowseal.declarations",
    )
    table(example, "q", "uuid uuid")


def test_the_quarantine_is_not_anybodys_to_read_or_write(
    mallory: Db, example: Db, admin: Db
) -> None:
    owner = Owner("Not yet known")
    envelope = owner.envelope(example.form("user_storage"), owner.value(b"secret"))
    example.run("REVOKE ALL ON user_storage FROM mallory")
    assert apply(example, "user_storage", [envelope])[0][0] == "deferred"
    secret = "SELECT count(*) FROM rowseal.quarantine"
    assert attempt(mallory, secret) == "42501" or mallory.one(secret) == 0
    assert attempt(mallory, "DELETE FROM rowseal.quarantine") == "42501" or admin.one(secret) == 1
    # what is known about a row that waits: nobody else can make it incurable,
    # hide it behind another format, or invent entries
    for verdict, format in (('(RS001,"a lie")', "canonical"), ('(RS001,"a lie")', "raw")):
        attempt(
            mallory,
            "SELECT rowseal._quarantine('user_storage', %s, %s, (SELECT %s::json))",
            verdict,
            format,
            json.dumps(envelope),
        )
    assert admin.all("SELECT sqlstate, curable FROM rowseal.quarantine WHERE role = 'app'") == [
        ("RS002", True)
    ]
    # everybody can fill his own part of it,
    # under his own name (rows are refused with the rights of who brings them)
    assert set(admin.all("SELECT role FROM rowseal.quarantine WHERE sqlstate = 'RS001'")) <= {
        "mallory"
    }
    assert (
        insert(example, "user_cards", owner.sealed(example.form("user_cards"), owner.card()))
        is None
    )
    assert example.one("SELECT value_b64 FROM user_storage") == b"secret"
    assert admin.one("SELECT count(*) FROM rowseal.quarantine WHERE curable") == 0


# ------------------------------------------------------------------------ the functions of rowseal
# What an ordinary user may call, and why that is harmless.
# A function that is in neither list fails the test: decide.
HARMLESS = {
    # the interface: each runs with the caller's rights
    "declare",
    "undeclare",
    "payload",
    "source",
    "apply",
    "verify",
    "digest",
    "health",
    "history",
    "heads",
    "retry",
    "discard",
    "_take_out",
    "export_quarantine",
    "changes",
    "changes_end",
    "publish",
    "subscribe",
    "unsubscribe",
    "digests",
    "export",
    "prune",
    "erase",
    "compare",
    "repair",
    # pure functions of their arguments
    "_load",
    "_unbase64",
    "_canonical",
    "_hex",
    "_one_based",
    "_few",
    "_commas",
    "_places",
    "_bounded",
    "_excess",
    "_read",
    "_plan",
    "_hint",
    "_hash",
    "_envelope",
    "_content",
    "_elements",
    "_member",
    "_without",
    "_entry_hash",
    "_cut",
    "_cut_waits_for",
    "_decoded",
    "_owner_text",
    "_settled",
    "_payload_*",
    "_signed_*",
    # reads of the catalogs and of rowseal.declarations, which everybody may read
    "_pgsodium",
    "_provider",
    "_kind",
    "_kind_of",
    "_within",
    "_reached",
    "_base_type",
    "_changeable",
    "_who_names",
    "_stands_for",
    "_stranger",
    "_could_store",
    "_identity_facts",
    "_table_owners",
    "_types",
    "_standing",
    "_asker",
    "_misgranted",
    "_table_of",
    "_facts",
    "_owns",
    "_owner_of",
    "_planned",
    "_unless_refused",
    # the steps of declare, with the caller's rights
    "_load_declaring",
    "_options",
    "_may_declare",
    "_free_number",
    "_owner_columns",
    "_declared_same",
    "_check_tag",
    "_versions_table",
    "_create_versions_table",
    "_check_stored",
    "_stored_problems",
    "_repair",
    "_wish",
    "_refuse_declared",
    "_install_wish",
    "check",
    "_create_tips_view",
    "_owner",
    "_known_facts",
    "_column_facts",
    "_key_facts",
    "_late",
    "_sparse",
    "_structured",
    "_type_oids",
    "_key_operators",
    "_operator_oids",
    "_has_default",
    "_renamed",
    "_renames",
    "_closed",
    "_may_look",
    "_came_empty",
    "_numbers",
    "_numbers_of",
    "_kept_up",
    "_may_open",
    "_differing",
    "_shortened",
    "_was_sent",
    "_spoilt",
    "_names",
    "_concerned",
    "_touched",
    "_restored",
    "_unknown_field",
    "_as_pgtext",
    "_lacks_triggers",
    "_brings_rows",
    "_as_superuser",
    "_of_this_transaction",
    "_nothing_hidden",
    "_installing",
    "_sees_all",
    "_new_alone",
    "_lost",
    "_server_health",
    "_internal_taken",
    "_members_of",
    "_table_health",
    "_altered",
    "_obstacles",
    "_lasting",
    "_early_triggers",
    "_remarks",
    "_declaration",
    "_explained",
    "_grants_id",
    "_name",
    "_waits_for",
    "_subscription",
    "_dblink",
    # reads and writes of tables, with the caller's rights
    "_merged",
    "_applied",
    "_unguarded",
    "_writers_health",
    "_digits",
    "_received",
    "_receive",
    "_feed_rows",
    "_fetch",
    "_keep_or_drop_slot",
    "_drop_slot",
    "_unfollow",
    "_said_owner",
    "_retry_batch",
    "_waiting_entries",
    "_hear",
    "_leads_to",
    "_is_guarded",
    "_left_behind",
    "_must_be_his",
    "_carry_out",
    "_wrong_rows",
    "_pin",
    "_pinned",
    "_query",
    "_apply_*",
    "_take_*",
    "_decode_*",
    "_retry",
    "_versions_of",
    "_is_tip_*",
    "_hashed",
    "_sums",
    "_in_buckets",
    "_differing_buckets",
    "_send",
    "_refuse",
    "_may_see",
    "_set_apart",
    "_shown",
    "_shown_column",
    "_lasting_key",
    "_room",
    "_elsewhere",
    "_moved_*",
    "_must_be_archived",
    "_moved",
    "_key_of",
    "receive",
    # what the session itself has collected, merged with its rights; nothing where it is no worker
    "_collect",
    "_collected",
    "_at_commit",
    "_merge_collected",
    "_set_aside",
    # the steps of subscribe, with the caller's rights on dblink
    "_part",
    "_links_of",
    "_subscribe",
    "_connect",
    "_disconnect",
    "_ask",
    "_await_commits",
    "_follow",
    "_take_over",
    "_left_out",
    "_there",
    "_head",
    "_counted",
    "_end_transaction",
    # what it asks for there, with the rights of the role that it connects as
    "_offer_slot",
    "_keep_slot",
    "_feed_tags",
    "_row_filter",
    "_unreadable",
    "_open_state",
    "_next_state",
    "_give_state",
    # answers about arguments and catalogs; _judge_N remembers nothing
    "_judge_*",
    "_curable",
    "_cost_of_stranger",
    "_passing",
    "_trusted",
    "_written",
    "_names_of",
    "_secured",
    "_take_new_partitions",
    "_take_new_columns",
    "_let_in_partitions",
    "_must_be_empty",
    "_follow_opened",
    "_wait_for_table",
    "_retry_waiting",
    "_unfinished",
    "_in_person",
    "_may_write",
    "_may_discard",
    "_distrusted",
    "_distrust",
    "_who_attached",
    "_guards",
    "_unreachable",
    "_may_take_tag",
    "_may_have",
    "_acts_as",
    "_hidden",
    "_trusted_owner",
    "_qualified",
    "_results",
    "_tree",
    "_trigger_problems",
    "_fingerprint",
    "_verified",
    "_pynacl",
    "_bound",
    # adds to the caller's own, bounded part of the quarantine; counts an attempt
    "_quarantine",
    "_enter_held",
    "_entries_of",
    "_flooded",
    # keeps and passes on what grants say is to be
    "_pass_on",
    "_has_moved",
    # locks entries that the session may take out; nobody waits for those
    "_unlocked",
    # a lock until the end of the transaction, which others wait for two seconds in a minute
    "_lock_arrival",
    # keeps the caller's own offsets of Electric shapes, a thousand at most;
    # merges rows with the caller's rights
    "_advance",
    "_pull",
    # writers: what is to be signed, with the caller's rights; pure functions; answers about grants;
    # _settle and _retract make the tables what the rules say, with the caller's rights; a lock
    # until the end of the transaction
    "allow",
    "revoke",
    "conflicts",
    "link",
    "_only",
    "_matches",
    "_offered",
    "_grant_hash",
    "_underived",
    "_kept_grants",
    "_kept_ledger",
    "_inconsistent",
    "_underived_problem",
    "_held_envelopes",
    "_may_retract",
    "_in_the_way",
    "_may_be_held",
    "_claimed",
    "_flat",
    "_are_links",
    "_owner_object",
    "_writer_text",
    "_place",
    "_grants_table",
    "_licensed",
    "_licensed_entry",
    "_admit",
    "_revoked",
    "_affected",
    "_still_held",
    "_walked_below",
    "_counting",
    "_losers",
    "_heads_of",
    "_below",
    "_gaps",
    "_waiting",
    "_settle",
    "_hold",
    "_cannot_let_in",
    "_retract",
    "_settle_row",
    "_enter_stored",
    "_follow_grants",
    "_enter_rows",
    "_lock_writers",
    "_refuse_delete",
    # row triggers
    "_cure",
    "_keep_writers",
    "_wanted_triggers",
    "_altered_functions",
    "_encoded",
    "_string",
    "_text",
    "_flag",
    "_keep",
}
DEFINERS = {
    "_on_drop_forget",
    "_remove",
    "_kept_grants",
    "_kept_ledger",
    "_inconsistent",
    "_held_envelopes",
    "_lock_writers",
    "_licensed",
    "_admit",
    "_revoked",
    "_take_new_columns",
    "_take_new_partitions",
    "_affected",
    "_still_held",
    "_counting",
    "_losers",
    "_heads_of",
    "_below",
    "_gaps",
    "_waiting",
    "_feed_held",
    "_at_commit",
    "_forget_held",
    "_ledger_*",
    "_ledger_versions_*",
    "_quarantine",
    "_enter_refused",
    "_entries_of",
    "_pass_on",
    "_has_moved",
    "_flooded",
    "_unlocked",
    "_lock_arrival",
    "_awaited",
    "_advance",
    "_bind",
    "_install",
    "_on_ddl",
    "_on_drop",
    "prune_feed",
    "_forget",
    "_feed_*",
    "_feed_versions_*",
}


def test_every_function_that_an_ordinary_user_may_call_is_known(mallory: Db, example: Db) -> None:
    rows = mallory.all("""SELECT proname, has_function_privilege(oid, 'EXECUTE'), prosecdef,
        coalesce(proconfig::text, '') FROM pg_proc
                          WHERE pronamespace = 'rowseal'::regnamespace""")
    generic = [(re.sub(r"_\d+$", "_*", name), *rest) for name, *rest in rows]
    assert {name for name, callable_, *_ in generic if callable_} - HARMLESS == set()
    assert {name for name, _, definer, _ in generic if definer} <= DEFINERS
    # what everybody may call has the rights of the caller, or of rowseal_internal
    assert not mallory.all("""SELECT proname FROM pg_proc
        WHERE pronamespace = 'rowseal'::regnamespace
        AND prosecdef AND proowner <> 'rowseal_internal'::regrole
        AND has_function_privilege('mallory', oid, 'EXECUTE')""")
    # but for those whose every name is qualified (see above)
    assert {
        name
        for name, _, definer, config in generic
        if definer and "search_path=pg_catalog, pg_temp" not in config.replace('"', "")
    } <= {"_feed_*", "_feed_versions_*", "_ledger_*", "_ledger_versions_*"}


def test_the_functions_of_rowseal_called_with_nonsense_do_no_harm(
    mallory: Db, example: Db, ann: Owner
) -> None:
    insert(example, "user_storage", ann.sealed(example.form("user_storage"), ann.value(b"1", KEY)))
    before, declared = state(example), example.all("SELECT * FROM rowseal.declarations ORDER BY id")
    mallory.run("SET statement_timeout = '5s'")
    for (
        name,
        types,
    ) in mallory.all("""SELECT oid::regproc::text, proargtypes::regtype[]::text[] FROM pg_proc
        WHERE pronamespace = 'rowseal'::regnamespace
                                      AND prorettype NOT IN ('trigger'::regtype,
                                      'event_trigger'::regtype)
                                      AND has_function_privilege(oid, 'EXECUTE')"""):
        for filler in ("null", "odd"):
            odd = {
                "regclass": "'user_storage'::regclass",
                "jsonb": "'[{}]'::jsonb",
                "text": "'x'",
                "integer": "1",
                "bigint": "1",
                "anyarray": "ARRAY[1]",
                "record": "ROW(1)",
            }
            null = {"anyarray": "int[]", "record": "rowseal.declarations"}
            arguments = ", ".join(
                odd.get(t, f"NULL::{t}") if filler == "odd" else f"NULL::{null.get(t, t)}"
                for t in types
            )
            sqlstate = None
            try:
                mallory.run(f"SELECT {name}({arguments})")
            except Exception as e:
                sqlstate = getattr(e, "sqlstate", "?")
            assert sqlstate not in ("57014", "XX000", "54001", "?"), (name, arguments, sqlstate)
    assert (state(example), example.all("SELECT * FROM rowseal.declarations ORDER BY id")) == (
        before,
        declared,
    )
    assert unhealthy(example) == []


# --------------------------------------------------------------------------- other people's rights
def test_a_schema_called_pgsodium_gives_nobody_the_rights_of_a_superuser(
    mallory: Db, admin: Db, database: str
) -> None:
    if admin.one("SELECT version FROM rowseal._pgsodium()"):
        pytest.skip("pgsodium itself is in the database")
    admin.run(f"GRANT CREATE ON DATABASE {database} TO mallory")
    set_trap(mallory)
    mallory.run("""CREATE SCHEMA pgsodium; GRANT USAGE ON SCHEMA pgsodium TO PUBLIC;
        CREATE FUNCTION pgsodium.crypto_sign_verify_detached(bytea, bytea, bytea) RETURNS boolean
            LANGUAGE sql AS 'SELECT public.trap()'""")
    admin.run("CREATE EXTENSION citext")  # which binds the verifying function anew
    attempt(mallory, "SELECT rowseal._verified('', '', '')")
    assert not sprung(mallory)


def lay_a_trap_under_a_table(mallory: Db) -> None:
    set_trap(mallory)
    table(mallory, "q", "uuid uuid", declare=None)
    mallory.run("""CREATE FUNCTION before() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN PERFORM public.trap(); RETURN NULL; END $$;
        CREATE TRIGGER a BEFORE INSERT OR UPDATE ON q FOR EACH ROW EXECUTE FUNCTION before();
        GRANT ALL ON q TO PUBLIC""")


def test_who_stores_a_card_does_not_run_triggers_of_tables_that_wait_for_it(
    mallory: Db, example: Db, admin: Db
) -> None:
    lay_a_trap_under_a_table(mallory)
    mallory.run("SELECT rowseal.declare('q', owner => 'user_hash', identity => 'user_cards')")
    owner = Owner()
    envelope = {
        "row": {"user_hash": base64.b64encode(owner.hash).decode(), "uuid": str(KEY)},
        "rowseal": 1,
        "table": "q",
        "sign_b64": "QQ==",
    }
    apply(mallory, "q", [envelope])
    mallory.run(
        "SELECT rowseal._quarantine('q', '(RS002,unknown owner)', 'canonical', %s::json,"
        " 'user_cards ' || %s)",
        json.dumps(envelope),
        envelope["row"]["user_hash"],
    )
    mallory.run("SELECT setval('sprung', 1)")
    assert (
        insert(admin, "user_cards", owner.sealed(example.form("user_cards"), owner.card())) is None
    )
    assert not sprung(mallory)


def test_who_stores_a_card_is_not_stopped_by_tables_that_wait_for_it(
    mallory: Db, example: Db
) -> None:
    table(mallory, "q", "uuid uuid", declare=None)
    mallory.run(
        "GRANT ALL ON q TO PUBLIC; SELECT rowseal.declare('q', owner => 'user_hash',"
        " identity => 'user_cards')"
    )
    owner = Owner()
    values = row(owner)
    assert apply(mallory, "q", [owner.envelope(mallory.form("q"), values)])[0][0] == "deferred"
    mallory.run("""CREATE FUNCTION stop() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN RAISE EXCEPTION USING ERRCODE = 'AB123'; END $$;
        CREATE TRIGGER a BEFORE INSERT ON q FOR EACH ROW EXECUTE FUNCTION stop()""")
    assert (
        insert(example, "user_cards", owner.sealed(example.form("user_cards"), owner.card()))
        is None
    )


def test_a_superuser_who_declares_or_brings_rows_does_not_run_somebodys_triggers(
    mallory: Db, example: Db, admin: Db
) -> None:
    lay_a_trap_under_a_table(mallory)
    fell_for_it = []

    def fall(what: str, sql: str, *args: Any) -> None:
        mallory.run("SELECT setval('sprung', 1)")
        attempt(admin, sql, *args)
        if sprung(mallory):
            fell_for_it.append(what)

    attempt(mallory, """SELECT rowseal._quarantine('q', '(RS007,x)', 'canonical', '{"row": {}}')""")
    fall("declare", "SELECT rowseal.declare('q', owner => 'user_hash', identity => 'user_cards')")
    waiting = {
        "row": {
            "user_hash": "QQ==",
            "uuid": str(KEY),
            "owner_timestamp": "1",
            "deleted_flag": False,
        },
        "rowseal": 1,
        "table": "q",
        "sign_b64": "QQ==",
    }
    attempt(
        mallory,
        "SELECT rowseal._quarantine('q', '(RS002,unknown owner)', 'canonical', %s::json)",
        json.dumps(waiting),
    )
    fall("retry", "SELECT * FROM rowseal.retry()")
    fall("receive", "SELECT * FROM rowseal.receive(%s::json)", json.dumps(waiting))
    fall(
        "feed",
        "INSERT INTO rowseal.feed (tag, owner, envelope) VALUES ('q', 'QQ==', %s)",
        json.dumps(waiting),
    )
    assert fell_for_it == []
