"""Dump and restore, leaving and coming back, and who may do what."""

from __future__ import annotations

import json
import os
import re
import subprocess
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest

from kit import ROOT
from kit.db import Db, Server
from kit.example import EXAMPLE, Owner
from kit.scratch import Scratch, problems, scratch_role, seal, shared_database, unwell, write

KEY = uuid.UUID(int=7)
TABLES = ("user_cards", "user_storage", "Logs", "parts")
MORE = """
    CREATE TABLE "Logs" (user_hash bytea, "No" int, at timestamptz, deleted_flag boolean, owner_timestamp bigint,
        parent_sign_b64 bytea, sign_b64 bytea, PRIMARY KEY (user_hash, "No", sign_b64));
    SELECT rowseal.declare('"Logs"', owner => 'user_hash', identity => 'user_cards');
    CREATE TABLE parts (user_hash bytea, n int, deleted_flag boolean, owner_timestamp bigint, parent_sign_b64 text, sign_b64 text,
        seen boolean, PRIMARY KEY (user_hash, n)) PARTITION BY LIST (n);
    CREATE TABLE parts_1 PARTITION OF parts FOR VALUES IN (1);
    CREATE TABLE parts_rest PARTITION OF parts DEFAULT;
    SELECT rowseal.declare('parts', owner => 'user_hash', identity => 'user_cards', versions => 'parts_versions', unsigned => '{seen}');
    ALTER TABLE user_storage RENAME value_b64 TO content;
"""


def fill(db: Db, ann: Owner) -> None:
    write(db, ann, "user_cards", ann.card())
    for value in (b"1", b"2"):
        write(db, ann, "user_storage", {("content" if k == "value_b64" else k): v for k, v in ann.value(value, KEY).items()})
        common = {"user_hash": ann.hash, "deleted_flag": False, "owner_timestamp": next(ann.clock), "parent_sign_b64": None}
        write(db, ann, '"Logs"', {"No": 1, "at": "2026-11-21 09:00:00+00", **common}, tag="Logs")
        for n in (1, 2):
            write(db, ann, "parts", {"n": n, **common}, text=True)
    eve = Owner("Eve")
    db.run("SELECT rowseal.apply('user_storage', %s::jsonb)", json.dumps(eve.envelope(db.form("user_storage"), eve.value())))


def state(db: Db) -> list[Any]:
    digests = [db.digest('"Logs"' if t == "Logs" else t) for t in TABLES]
    return [
        *digests,
        db.all(
            "SELECT relation::text, id, tag, layout, versions::text, identity::text, fields, spec FROM rowseal.declarations ORDER BY tag"
        ),
    ]


@pytest.fixture(scope="module")
def source(server: Server) -> Iterator[tuple[str, list[Any], Owner]]:
    """A database with every layout, its state, and the owner of its rows."""
    name = server.database()
    ann = Owner()
    with server.connect(name) as c:
        c.execute("GRANT CREATE ON SCHEMA public TO app")  # the template's right is part of the dump
    with server.connect(name, "app") as c:
        db = Db(c)
        db.run(EXAMPLE + MORE)
        fill(db, ann)
        assert unwell(db) == []
        before = state(db)
    yield name, before, ann
    server.drop(name)


@pytest.fixture
def empty(server: Server) -> Iterator[str]:
    name = server.database("template0")
    yield name
    server.drop(name)


def tool(server: Server, program: str, *args: str) -> str:
    """Run a client program of PostgreSQL; what it said on stderr, which must hold no error."""
    bindir = subprocess.run(
        [os.environ.get("PG_CONFIG", "pg_config"), "--bindir"], capture_output=True, text=True, check=True
    ).stdout.strip()
    command = [f"{bindir}/{program}", "-h", server.host, "-p", str(server.port), "-U", "postgres", *args]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0 and "ERROR" not in done.stderr, done.stderr
    return done.stderr


def restore(server: Server, source: str, target: str, way: str, folder: Path) -> str:
    file = str(folder / "dump")
    if way == "plain":
        tool(server, "pg_dump", "-f", file, source)
        return tool(server, "psql", "-X", "-q", "-v", "ON_ERROR_STOP=1", "-f", file, target)
    tool(server, "pg_dump", "-Fc", "-f", file, source)
    said = ""
    steps: dict[str, list[list[str]]] = {
        "custom": [[]],
        "in one transaction": [["--single-transaction"]],
        "in parallel": [["-j", "2"]],
        "in sections": [["--section=pre-data"], ["--section=data"], ["--section=post-data"]],
        "schema, then data": [["--schema-only"], ["--data-only"]],
        "schema, then data without triggers": [["--schema-only"], ["--data-only", "--disable-triggers"]],
    }
    for step in steps[way]:
        said += tool(server, "pg_restore", "--exit-on-error", *step, "-d", target, file)
    return said


def goes_on(db: Db, before: list[Any], ann: Owner) -> None:
    """A restored database holds the same, is sound, and checks what comes next."""
    for table in TABLES:
        assert problems(db, '"Logs"' if table == "Logs" else table) == []
    assert state(db) == before
    old = db.one("SELECT content FROM user_storage")
    row = {("content" if k == "value_b64" else k): v for k, v in ann.value(b"3", KEY).items()}
    with pytest.raises(psycopg.Error, match="invalid signature"):
        db.insert("user_storage", {**seal(db, ann, "user_storage", row), "content": b"forged"})
    write(db, ann, "user_storage", row)
    assert (db.one("SELECT content FROM user_storage"), old) == (b"3", b"2")
    write(
        db,
        ann,
        "parts",
        {"user_hash": ann.hash, "n": 2, "deleted_flag": False, "owner_timestamp": next(ann.clock), "parent_sign_b64": None},
        text=True,
    )
    assert (db.one("SELECT count(*) FROM user_storage_versions"), db.one("SELECT count(*) FROM parts_versions")) == (2, 3)
    for statement in ("DELETE FROM user_storage", "TRUNCATE parts_1", "TRUNCATE user_storage_versions"):
        db.refused("RS004", statement)
    # the next declaration gets a number of its own
    db.run(
        "CREATE TABLE more (LIKE user_cards INCLUDING ALL); SELECT rowseal.declare('more', owner => 'user_hash', public_key => 'sign_pkey')"
    )
    assert db.one("SELECT max(id) = (SELECT id FROM rowseal.declarations WHERE tag = 'more') FROM rowseal.declarations")
    db.run("ALTER TABLE user_storage RENAME content TO body")
    db.run("SELECT rowseal.undeclare('parts')")
    assert unwell(db) == []


# ------------------------------------------------------------------------------------ dump and restore
@pytest.mark.parametrize("way", ["plain", "custom", "in one transaction", "in parallel", "in sections"])
def test_a_restored_database_goes_on_enforcing(
    way: str, server: Server, source: tuple[str, list[Any], Owner], empty: str, tmp_path: Path
) -> None:
    said = restore(server, source[0], empty, way, tmp_path)
    assert "rowseal" not in said  # no alarm for what is only half restored
    with server.connect(empty, "app") as c:
        assert unwell(Db(c)) == []
        goes_on(Db(c), *source[1:])


def test_the_quarantine_is_restored_and_goes_on(server: Server, source: tuple[str, list[Any], Owner], empty: str, tmp_path: Path) -> None:
    restore(server, source[0], empty, "custom", tmp_path)
    with server.connect(empty) as c:
        db, eve = Db(c), Owner("Eve")
        kept = db.all("SELECT row FROM rowseal.quarantine")
        assert len(kept) == 1
        new = eve.envelope(db.form("user_storage"), eve.value())
        db.run("SELECT rowseal.apply('user_storage', %s::jsonb)", json.dumps(new))
        assert db.all("SELECT row FROM rowseal.quarantine ORDER BY first_seen") == [*kept, new]


def test_data_restored_into_a_ready_schema_is_verified_again(
    server: Server, source: tuple[str, list[Any], Owner], empty: str, tmp_path: Path
) -> None:
    """Data after triggers: owners must come before their rows."""
    file = str(tmp_path / "dump")
    tool(server, "pg_dump", "-Fc", "-f", file, source[0])
    tool(server, "pg_restore", "--exit-on-error", "--schema-only", "-d", empty, file)
    tool(server, "pg_restore", "--exit-on-error", "--data-only", "-t", "user_cards", "-d", empty, file)
    listed = subprocess.run([f"{_bindir()}/pg_restore", "-l", "--data-only", file], capture_output=True, text=True, check=True).stdout
    (tmp_path / "list").write_text("\n".join(line for line in listed.splitlines() if " user_cards " not in line))
    tool(server, "pg_restore", "--exit-on-error", "--data-only", "-L", str(tmp_path / "list"), "-d", empty, file)
    with server.connect(empty, "app") as c:
        assert unwell(Db(c)) == []
        goes_on(Db(c), *source[1:])


def _bindir() -> str:
    return subprocess.run([os.environ.get("PG_CONFIG", "pg_config"), "--bindir"], capture_output=True, text=True, check=True).stdout.strip()


@pytest.mark.skipif("ROWSEAL_PGSODIUM" in os.environ, reason="pgsodium's own tables cannot be restored in this way")
def test_data_restored_without_triggers_leaves_them_ordinary_and_health_tells(
    server: Server, source: tuple[str, list[Any], Owner], empty: str, tmp_path: Path
) -> None:
    """pg_restore --data-only --disable-triggers ends with ENABLE TRIGGER ALL, which is not ENABLE ALWAYS."""
    restore(server, source[0], empty, "schema, then data without triggers", tmp_path)
    with server.connect(empty, "app") as c:
        db = Db(c)
        assert {(check, table) for check, table, _ in unwell(db)} == {
            *(("triggers", t) for t in ("user_cards", "user_storage", '"Logs"', "parts")),
            ("installation", None),  # those of the quarantine
        }
        with server.connect(empty, "postgres") as a:
            for table, trigger in db.all("SELECT tgrelid::regclass::text, tgname FROM pg_trigger WHERE tgname LIKE 'zzz%%' OR tgname LIKE '%%_held'"):
                a.execute(f"ALTER TABLE {table} ENABLE ALWAYS TRIGGER {trigger}")  # type: ignore[arg-type]
        assert unwell(db) == []
        goes_on(db, *source[1:])


# -------------------------------------------------------------------------------- leaving, coming back
def test_the_extension_leaves_only_with_cascade_and_never_takes_data(server: Server, database: str) -> None:
    ann = Owner()
    with server.connect(database, "app") as c:
        db = Db(c)
        db.run(EXAMPLE + MORE)
        fill(db, ann)
        before, rows = (
            state(db)[:4],
            [
                db.all(f"SELECT * FROM {t} ORDER BY 1, 2")
                for t in ("user_cards", "user_storage", "user_storage_versions", '"Logs"', "parts")
            ],
        )
    with server.connect(database) as c:
        admin = Db(c)
        admin.refused("2BP01", "DROP EXTENSION rowseal")
        assert unwell(admin) == []
        admin.run("DROP EXTENSION rowseal CASCADE")
        assert admin.one("SELECT to_regnamespace('rowseal')") is None
        assert admin.all("SELECT tgname FROM pg_trigger WHERE tgname LIKE 'zzz%%'") == []
        assert [
            admin.all(f"SELECT * FROM {t} ORDER BY 1, 2")
            for t in ("user_cards", "user_storage", "user_storage_versions", '"Logs"', "parts")
        ] == rows
        admin.run('CREATE EXTENSION rowseal; DROP VIEW "Logs_tips"')
        assert unwell(admin) == []
    with server.connect(database, "app") as c:
        db = Db(c)
        db.run("ALTER TABLE user_storage RENAME content TO value_b64")
        db.run("".join(re.findall(r"SELECT rowseal.declare\(.*?\);", EXAMPLE + MORE, re.S)))
        db.run("ALTER TABLE user_storage RENAME value_b64 TO content")
        assert state(db)[:4] == before
        assert unwell(db) == []


# ------------------------------------------------------------------------------------------ privileges
shared = shared_database(EXAMPLE + MORE)
admin = scratch_role("postgres")
MEMBER = "EXISTS (SELECT FROM pg_depend d WHERE d.objid = {0}.oid AND d.deptype = 'e')"
EVERYBODY = [
    "_admit",
    "_advance",
    "_affected",
    "_authentic",
    "_below",
    "_bucket",
    "_chains",
    "_enter_stored",
    "_enter_rows",
    "_gaps",
    "_grants_table",
    "_heads_of",
    "_hold",
    "_licensed",
    "_lock_writers",
    "_matches",
    "_only",
    "_owner_object",
    "_place",
    "_refuse_delete",
    "_retract_*",
    "_revoked",
    "_settle",
    "_writer_text",
    "allow",
    "conflicts",
    "link",
    "revoke",
    "_apply_*",
    "_base_type",
    "_buckets",
    "_results",
    "_settled",
    "_take_*",
    "_cure_*",
    "_content",
    "_curable",
    "_feed_*",
    "_feed_versions_*",
    "_fingerprint",
    "_guard_*",
    "_guard_versions_*",
    "_keep",
    "_lock_owner",
    "_pull",
    "_qualified",
    "_tree",
    "_trigger_problems",
    "_trusted",
    "_trusted_owner",
    "_receive_one",
    "_declaration",
    "_envelope",
    "_explained",
    "_facts",
    "_hash",
    "_hex",
    "_hint",
    "_kind",
    "_known_facts",
    "_load",
    "_merged",
    "_set_aside",
    "_one_based",
    "_owner_text",
    "_owns",
    "_payload_*",
    "_pgsodium",
    "_verified",
    "_pynacl",
    "_bound",
    "_plan",
    "_planned",
    "_provider",
    "_quarantine",
    "_refuse",
    "_seal_*",
    "_signed_*",
    "_state",
    "_connect",
    "_await_commits",
    "_take_state",
    "_subscription",
    "_unbase64",
    "_waits_for",
    "_dblink",
    "_hashes",
    "_is_tip_*",
    "_retry",
    "_signatures",
    "_versions_of",
    "apply",
    "changes",
    "changes_end",
    "compare",
    "declare",
    "erase",
    "digest",
    "digests",
    "discard",
    "export",
    "export_quarantine",
    "heads",
    "health",
    "history",
    "payload",
    "prune",
    "publish",
    "receive",
    "repair",
    "retry",
    "subscribe",
    "undeclare",
    "unsubscribe",
    "verify",
]
DEFINER = {"_lock_writers", "_licensed", "_admit", "_revoked", "_affected", "_heads_of", "_below", "_gaps", "_feed_held", "_forget_held",
           "_advance", "_install", "_forget", "_on_ddl", "_on_drop", "_bind", "_quarantine", "_refresh", "prune_feed"}


def test_every_function_has_a_fixed_search_path(admin: Scratch) -> None:
    """Generated ones may do without where their code says why: each name in them is qualified."""
    without = admin.all("""SELECT DISTINCT regexp_replace(proname, '[0-9]+$', '*') FROM pg_proc
        WHERE pronamespace = 'rowseal'::regnamespace
        AND NOT coalesce(array_to_string(proconfig, ' ') ~ 'search_path=pg_catalog, pg_temp', false)""")
    assert set(without) <= {"_seal_*", "_payload_*", "_signed_*", "_guard_*", "_guard_versions_*", "_feed_*", "_feed_versions_*",
                            "_ledger_*", "_ledger_versions_*", "_bucket", "_arrive", "_settled", "_results", "_trusted_owner", "_verified", "_pynacl"}
    assert "A SET of the search path costs a call" in (ROOT / "plpython/rowseal/generate/enforcement.py").read_text()


def test_everything_has_a_comment(admin: Scratch) -> None:
    assert (
        admin.all(f"""SELECT p.oid::regprocedure::text FROM pg_proc p WHERE {MEMBER.format("p")} AND pronamespace = 'rowseal'::regnamespace
        AND obj_description(p.oid, 'pg_proc') IS NULL AND prorettype <> 'trigger'::regtype""")
        == []
    )
    assert (
        admin.all(
            """SELECT oid::regclass::text FROM pg_class WHERE relnamespace = 'rowseal'::regnamespace AND relkind IN ('r', 'v') AND
                obj_description(oid, 'pg_class') IS NULL"""
        )
        == []
    )
    assert (
        admin.all(
            "SELECT evtname FROM pg_event_trigger WHERE evtname LIKE 'rowseal%%' AND obj_description(oid, 'pg_event_trigger') IS NULL"
        )
        == []
    )
    assert admin.one("SELECT obj_description('rowseal'::regnamespace, 'pg_namespace')")


def test_only_listed_functions_are_for_everybody(admin: Scratch) -> None:
    public = admin.all("""SELECT DISTINCT regexp_replace(proname, '_[0-9]+$', '_*')
        FROM pg_proc p, aclexplode(coalesce(proacl, acldefault('f', proowner))) a
        WHERE pronamespace = 'rowseal'::regnamespace AND a.grantee = 0 AND a.privilege_type = 'EXECUTE'
        AND prorettype <> ALL ('{trigger,event_trigger}'::regtype[])""")
    assert set(public) <= set(EVERYBODY)


def test_security_definer_functions_are_few_and_say_why(admin: Scratch) -> None:
    definer = admin.all("SELECT proname FROM pg_proc WHERE pronamespace = 'rowseal'::regnamespace AND prosecdef")
    assert {re.sub(r"_[0-9]+$", "_*", name) for name in definer} <= DEFINER | {"_feed_*", "_append_*", "_ledger_*"}
    source = "\n".join(p.read_text() for p in sorted((ROOT / "sql").rglob("*.sql")))
    for name in DEFINER:
        match = re.search(rf"((?:^--.*\n)+)CREATE OR REPLACE FUNCTION rowseal\.{name}\(", source, re.M)
        assert match and "SECURITY DEFINER" in match[1], name
    # superuser's rights only where nothing of a table's owner runs; the rest belongs to a role that cannot log in
    assert admin.one("SELECT rolcanlogin OR rolsuper OR rolcreaterole FROM pg_roles WHERE rolname = 'rowseal_internal'") is False
    assert not admin.one("SELECT rolcanlogin OR rolsuper OR rolcreaterole FROM pg_roles WHERE rolname = 'rowseal_admin'")


def test_everybodys_rights_on_tables_are_few(admin: Scratch) -> None:
    assert set(
        admin.all("""SELECT c.relname || ' ' || a.privilege_type FROM pg_class c, aclexplode(c.relacl) a
        WHERE c.relnamespace = 'rowseal'::regnamespace AND a.grantee = 0""")
    ) <= {"declarations SELECT", "declarations INSERT", "declarations DELETE", "declarations_id_seq USAGE", "fingerprint SELECT",
          "quarantine SELECT", "quarantine DELETE", "erasures SELECT", "erasures INSERT", "shapes SELECT",
          "writers SELECT", "equivocations SELECT"}  # fmt: skip
    assert set(admin.all("SELECT relname FROM pg_class WHERE relnamespace = 'rowseal'::regnamespace AND relrowsecurity")) == {
        "declarations",
        "erasures",
        "quarantine",
        "shapes",
    }
    assert admin.one("SELECT has_schema_privilege('app', 'rowseal', 'CREATE')") is False


def test_who_may_write_the_tables_needs_nothing_else(admin: Scratch, transaction: psycopg.Connection[Any]) -> None:
    Scratch(transaction, "app").run(
        'GRANT SELECT, INSERT, UPDATE ON user_cards, user_storage, user_storage_versions, "Logs", parts, parts_versions TO mallory'
    )
    db, ann = Scratch(transaction, "mallory"), Owner()
    fill(db, ann)
    envelope = ann.envelope(db.form("user_storage"), ann.value(b"9", KEY))
    assert db.apply("user_storage", [envelope, envelope]) == [("superseded", None), ("duplicate", None)]
    db.run("SELECT rowseal.payload('user_storage', '{}')")
    for table in ("user_cards", "user_storage", '"Logs"', "parts"):
        assert problems(db, table) == []
        db.digest(table)
    key = json.dumps({"user_hash": "\\x" + ann.hash.hex(), "uuid": str(KEY)})
    assert db.one("SELECT count(*) FROM rowseal.history('user_storage', %s)", key) == 3
    assert len(db.all("SELECT * FROM rowseal.heads('user_storage', %s)", key)) == 3
    assert unwell(db) == []


def test_who_may_not_read_a_table_cannot_read_it_through_rowseal(transaction: psycopg.Connection[Any]) -> None:
    db = Scratch(transaction, "mallory")
    for call in ("verify('user_storage')", "digest('user_storage')", "history('user_storage', '{}')", "apply('user_storage', '[{}]')"):
        db.refused("42501", f"SELECT * FROM rowseal.{call}")
