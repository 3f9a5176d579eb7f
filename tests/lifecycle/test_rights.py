"""Who may do what: search paths, comments, functions for everybody, rights on tables."""

from __future__ import annotations

import json
import re
from typing import Any

import psycopg

from kit import ROOT
from kit.db import Db, Server
from kit.example import EXAMPLE, Owner
from kit.filled import KEY, MORE, fill
from kit.scratch import Scratch, problems, scratch_role, shared_database, unwell

shared = shared_database(EXAMPLE + MORE)


admin = scratch_role("postgres")


MEMBER = "EXISTS (SELECT FROM pg_depend d WHERE d.objid = {0}.oid AND d.deptype = 'e')"


DEFINER = {
    "_remove",
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
    "_waiting",
    "_heads_of",
    "_below",
    "_gaps",
    "_kept_grants",
    "_kept_ledger",
    "_inconsistent",
    "_held_envelopes",
    "_at_commit",
    "_feed_held",
    "_forget_held",
    "_advance",
    "_install",
    "_on_drop_forget",
    "_forget",
    "_on_ddl",
    "_on_drop",
    "_bind",
    "_quarantine",
    "_enter_refused",
    "_entries_of",
    "_pass_on",
    "_has_moved",
    "_flooded",
    "_unlocked",
    "_lock_arrival",
    "prune_feed",
}


def test_every_function_has_a_fixed_search_path(admin: Scratch) -> None:
    """Generated ones may do without where their code says why: each name in them is qualified."""
    without = admin.all("""SELECT DISTINCT regexp_replace(proname, '[0-9]+$', '*') FROM pg_proc
        WHERE pronamespace = 'rowseal'::regnamespace
        AND NOT coalesce(array_to_string(proconfig, ' ') ~ 'search_path=pg_catalog, pg_temp',
        false)""")
    assert set(without) <= {
        "_before",
        "_outside",
        "unsubscribe",
        "_judge_*",
        "_few",
        "_sparse",
        "_one_based",
        "_written",
        "_names_of",
        "_elements",
        "_may_write",
        "_bounded",
        "_payload_*",
        "_signed_*",
        "_guard_*",
        "_moved_*",
        "_guard_versions_*",
        "_feed_*",
        "_feed_versions_*",
        "_ledger_*",
        "_settle_*",
        "_settle_versions_*",
        "_ledger_versions_*",
        "_arrive",
        "_settled",
        "_room",
        "_results",
        "_trusted_owner",
        "_verified",
        "_pynacl",
        "_encoded",
        "_string",
        "_text",
        "_flag",
        "_envelope",
        # procedures that commit cannot have one
        "_end_transaction",
        "subscribe",
        "_subscribe",
    }
    assert (
        "A SET of the search path costs a call"
        in (ROOT / "plpython/rowseal/generate/plan.py").read_text()
    )


def test_everything_has_a_comment(admin: Scratch) -> None:
    assert (
        admin.all(f"""SELECT p.oid::regprocedure::text FROM pg_proc p WHERE {MEMBER.format("p")}
            AND pronamespace = 'rowseal'::regnamespace
        AND obj_description(p.oid, 'pg_proc') IS NULL AND prorettype <> 'trigger'::regtype""")
        == []
    )
    assert (
        admin.all(
            """SELECT oid::regclass::text FROM pg_class WHERE relnamespace = 'rowseal'::regnamespace
                AND relkind IN ('r', 'v') AND obj_description(oid, 'pg_class') IS NULL"""
        )
        == []
    )
    assert (
        admin.all(
            "SELECT evtname FROM pg_event_trigger WHERE evtname LIKE 'rowseal%%'"
            " AND obj_description(oid, 'pg_event_trigger') IS NULL"
        )
        == []
    )
    assert admin.one("SELECT obj_description('rowseal'::regnamespace, 'pg_namespace')")


def test_security_definer_functions_are_few_and_say_why(admin: Scratch) -> None:
    definer = admin.all(
        "SELECT proname FROM pg_proc WHERE pronamespace = 'rowseal'::regnamespace AND prosecdef"
    )
    assert {re.sub(r"_[0-9]+$", "_*", name) for name in definer} <= DEFINER | {
        "_feed_*",
        "_append_*",
        "_ledger_*",
    }
    source = "\n".join(p.read_text() for p in sorted((ROOT / "sql").rglob("*.sql")))
    for name in DEFINER:
        match = re.search(
            rf"((?:^--.*\n)+)CREATE OR REPLACE FUNCTION rowseal\.{name}\(", source, re.M
        )
        assert match and "SECURITY DEFINER" in match[1], name
    # superuser's rights only where nothing of a table's owner runs;
    # the rest belongs to a role that cannot log in
    assert (
        admin.one(
            "SELECT rolcanlogin OR rolsuper OR rolcreaterole FROM pg_roles"
            " WHERE rolname = 'rowseal_internal'"
        )
        is False
    )
    assert not admin.one(
        "SELECT rolcanlogin OR rolsuper OR rolcreaterole FROM pg_roles"
        " WHERE rolname = 'rowseal_admin'"
    )


def test_everybodys_rights_on_tables_are_few(admin: Scratch) -> None:
    assert set(
        admin.all("""SELECT c.relname || ' ' || a.privilege_type FROM pg_class c,
            aclexplode(c.relacl) a
        WHERE c.relnamespace = 'rowseal'::regnamespace AND a.grantee = 0""")
    ) <= {
        "declarations SELECT",
        "_refused INSERT",
        "_opened SELECT",
        "declarations INSERT",
        "declarations_id_seq USAGE",
        "installation SELECT",
        "tags SELECT",
        "quarantine SELECT",
        "_removals INSERT",
        "erasures SELECT",
        "shapes SELECT",
        "writers SELECT",
        "equivocations SELECT",
    }
    assert admin.one("SELECT has_schema_privilege('app', 'rowseal', 'CREATE')") is False


RIGHTS = """SELECT o.name, a.grantee::regrole::text, a.privilege_type, a.is_grantable FROM (
      SELECT 'the schema', nspacl FROM pg_namespace WHERE nspname = 'rowseal'
      UNION ALL
      SELECT c.relname || '.' || t.attname, t.attacl
        FROM pg_class c JOIN pg_attribute t ON t.attrelid = c.oid
       WHERE c.relnamespace = 'rowseal'::regnamespace
      UNION ALL
      SELECT c.relname, c.relacl FROM pg_class c WHERE c.relnamespace = 'rowseal'::regnamespace
      UNION ALL
      SELECT p.oid::regprocedure::text, coalesce(p.proacl, acldefault('f', p.proowner))
        FROM pg_proc p WHERE p.pronamespace = 'rowseal'::regnamespace) o(name, acl),
    LATERAL aclexplode(o.acl) a WHERE a.grantee <> 'rowseal_internal'::regrole
      AND a.grantee <> 'postgres'::regrole ORDER BY 1, 2, 3"""


def test_default_privileges_give_nobody_a_right(server: Server, database: str) -> None:
    """They go to whatever CREATE EXTENSION creates."""
    name = server.database("template0")
    try:
        with server.connect(database) as usual, server.connect(name) as c:
            for kind in ("TABLES", "SEQUENCES", "FUNCTIONS", "SCHEMAS"):
                c.execute(
                    f"ALTER DEFAULT PRIVILEGES GRANT ALL ON {kind} TO mallory WITH GRANT OPTION"
                )
            c.execute("ALTER DEFAULT PRIVILEGES REVOKE ALL ON FUNCTIONS FROM PUBLIC")
            c.execute("CREATE EXTENSION rowseal CASCADE")
            rights = Db(usual).all(RIGHTS)
            assert len(rights) > 100
            assert Db(c).all(RIGHTS) == rights
    finally:
        server.drop(name)


def test_a_right_on_all_tables_of_a_database_is_none_on_those_of_rowseal(
    admin: Scratch, transaction: psycopg.Connection[Any]
) -> None:
    admin.run("GRANT pg_read_all_data, pg_write_all_data TO mallory")
    admin.run("INSERT INTO rowseal._licences VALUES (1, '', '{}', 0, true, 0, '{}')")
    admin.run("INSERT INTO rowseal._dead_rows VALUES ('t', '', '', 1, NULL, '')")
    mallory, read, entered = Scratch(transaction, "mallory"), set(), set()
    for table, column in admin.all(
        "SELECT c.relname, (SELECT quote_ident(min(t.attname)) FROM pg_attribute t"
        "   WHERE t.attrelid = c.oid AND t.attnum > 0"
        "     AND t.attidentity = '' AND t.attgenerated = '')"
        " FROM pg_class c"
        " WHERE c.relnamespace = 'rowseal'::regnamespace AND c.relkind IN ('r', 'p', 'm', 'f')"
    ):
        assert mallory.run(f"DELETE FROM rowseal.{table}") == 0, table
        if column:
            assert mallory.run(f"UPDATE rowseal.{table} SET {column} = {column}") == 0, table
        if mallory.one(f"SELECT count(*) FROM rowseal.{table}"):
            read.add(table)
        try:
            mallory.run(f"INSERT INTO rowseal.{table} DEFAULT VALUES")
        except psycopg.Error as e:
            assert e.sqlstate == "42501" or table == "declarations", (table, e)
        else:
            entered.add(table)
    assert read <= {"declarations", "tags", "installation", "_opened"}
    assert entered <= {"_removals", "_refused", "feed"}  # whose triggers leave no row there
    for table in entered:
        assert admin.one(f"SELECT count(*) FROM rowseal.{table}") == 0


def test_no_right_on_a_table_of_rowseal_locks_it(admin: Scratch) -> None:
    """LOCK TABLE asks for one of these rights, on a column or on all, of nothing else."""
    admin.run("CREATE ROLE nobody")
    may = (
        "has_table_privilege(r, c.oid, 'UPDATE, DELETE, TRUNCATE, REFERENCES, TRIGGER')"
        " OR has_any_column_privilege(r, c.oid, 'UPDATE, REFERENCES')"
    )
    assert (
        admin.all(
            "SELECT r, c.relname FROM pg_class c, unnest('{nobody,mallory,app}'::text[]) r"
            " WHERE c.relnamespace = 'rowseal'::regnamespace"
            f" AND c.relkind IN ('r', 'p', 'v', 'm', 'f') AND ({may})"
        )
        == []
    )
    assert set(
        admin.all(
            "SELECT c.relname || ' ' || a.privilege_type FROM pg_class c, pg_attribute t,"
            " aclexplode(t.attacl) a"
            " WHERE c.relnamespace = 'rowseal'::regnamespace AND t.attrelid = c.oid"
        )
    ) == {"erasures INSERT"}


def test_who_may_write_the_tables_needs_nothing_else(
    admin: Scratch, transaction: psycopg.Connection[Any]
) -> None:
    Scratch(transaction, "app").run(
        "GRANT SELECT, INSERT, UPDATE ON user_cards, user_storage, user_storage_versions,"
        ' "Logs", parts, parts_versions TO mallory'
    )
    db, ann = Scratch(transaction, "mallory"), Owner()
    fill(db, ann)
    envelope = ann.envelope(db.form("user_storage"), ann.value(b"9", KEY))
    assert db.apply("user_storage", [envelope, envelope]) == [
        ("superseded", None),
        ("duplicate", None),
    ]
    db.run("SELECT rowseal.payload('user_storage', '{}')")
    for table in ("user_cards", "user_storage", '"Logs"', "parts"):
        assert problems(db, table) == []
        db.digest(table)
    key = json.dumps({"user_hash": "\\x" + ann.hash.hex(), "uuid": str(KEY)})
    assert db.one("SELECT count(*) FROM rowseal.history('user_storage', %s)", key) == 3
    assert len(db.all("SELECT * FROM rowseal.heads('user_storage', %s)", key)) == 3
    assert unwell(db) == []


def test_who_may_not_read_a_table_cannot_read_it_through_rowseal(
    transaction: psycopg.Connection[Any],
) -> None:
    db = Scratch(transaction, "mallory")
    for call in (
        "verify('user_storage')",
        "digest('user_storage')",
        "history('user_storage', '{}')",
        "apply('user_storage', '[{}]')",
    ):
        db.refused("42501", f"SELECT * FROM rowseal.{call}")
