"""Dump and restore, leaving and coming back."""

from __future__ import annotations

import json
import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest

from kit.attacks import trusted
from kit.db import Db, Server
from kit.example import EXAMPLE, Owner
from kit.filled import KEY, MORE, fill
from kit.scratch import CARD, problems, seal, unwell, write
from kit.server import bindir

TABLES = ("user_cards", "user_storage", "Logs", "parts")


def state(db: Db) -> list[Any]:
    digests = [db.digest('"Logs"' if t == "Logs" else t) for t in TABLES]
    return [
        *digests,
        db.all(
            "SELECT relation::text, id, tag, layout, versions::text, identity::text, fields,"
            " spec FROM rowseal.declarations ORDER BY tag"
        ),
    ]


@pytest.fixture(scope="module")
def source(server: Server) -> Iterator[tuple[str, list[Any], Owner]]:
    """A database with every layout, its state, and the owner of its rows."""
    name = server.database()
    ann = Owner()
    with server.connect(name) as c:
        # the template's right is part of the dump
        c.execute("GRANT CREATE ON SCHEMA public TO app")
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


def tried(server: Server, program: str, *args: str) -> subprocess.CompletedProcess[str]:
    """Run a client program of PostgreSQL, as a superuser."""
    command = [
        f"{bindir()}/{program}",
        "-h",
        server.host,
        "-p",
        str(server.port),
        "-U",
        "postgres",
        *args,
    ]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def tool(server: Server, program: str, *args: str) -> str:
    """The same; what it said on stderr, which must hold no error."""
    done = tried(server, program, *args)
    assert done.returncode == 0 and "ERROR" not in done.stderr, done.stderr
    return done.stderr


def test_a_dump_needs_a_role_that_reads_all_and_bypasses_row_security(
    server: Server, source: tuple[str, list[Any], Owner], empty: str, tmp_path: Path
) -> None:
    """The quarantine hides from the database's owner what others sent; a dump without it would be
    a lie, so pg_dump says so.
    """
    name, before, _ = source
    file = str(tmp_path / "dump")
    with server.connect(name) as c:
        c.execute("CREATE ROLE dumper LOGIN BYPASSRLS IN ROLE pg_read_all_data")
        c.execute("CREATE ROLE holder LOGIN")
        c.execute(f"ALTER DATABASE {name} OWNER TO holder")
    try:
        tool(server, "pg_dump", "-U", "dumper", "-f", file, name)
        with pytest.raises(AssertionError, match=r"permission denied|row-level security"):
            tool(server, "pg_dump", "-U", "holder", "-f", str(tmp_path / "not"), name)
    finally:
        with server.connect(name) as c:
            c.execute(
                f"ALTER DATABASE {name} OWNER TO postgres; DROP ROLE dumper; DROP ROLE holder"
            )
    tool(server, "psql", "-X", "-q", "-v", "ON_ERROR_STOP=1", "-f", file, empty)
    with server.connect(empty) as c:
        assert state(Db(c)) == before and unwell(Db(c)) == []


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
        "schema, then data without triggers": [
            ["--schema-only"],
            ["--data-only", "--disable-triggers"],
        ],
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
        {
            "user_hash": ann.hash,
            "n": 2,
            "deleted_flag": False,
            "owner_timestamp": next(ann.clock),
            "parent_sign_b64": None,
        },
        text=True,
    )
    assert (
        db.one("SELECT count(*) FROM user_storage_versions"),
        db.one("SELECT count(*) FROM parts_versions"),
    ) == (2, 3)
    for statement in (
        "DELETE FROM user_storage",
        "TRUNCATE parts_1",
        "TRUNCATE user_storage_versions",
    ):
        db.refused("RS004", statement)
    # the next declaration gets a number of its own
    db.run(
        "CREATE TABLE more (LIKE user_cards INCLUDING ALL);"
        " SELECT rowseal.declare('more', owner => 'user_hash', public_key => 'sign_pkey')"
    )
    assert db.one(
        "SELECT max(id) = (SELECT id FROM rowseal.declarations WHERE tag = 'more')"
        " FROM rowseal.declarations"
    )
    db.run("ALTER TABLE user_storage RENAME content TO body")
    db.run("SELECT rowseal.undeclare('parts')")
    assert unwell(db) == []


# -------------------------------------------------------------------------------- dump and restore
@pytest.mark.parametrize(
    "way", ["plain", "custom", "in one transaction", "in parallel", "in sections"]
)
def test_a_restored_database_goes_on_enforcing(
    way: str, server: Server, source: tuple[str, list[Any], Owner], empty: str, tmp_path: Path
) -> None:
    said = restore(server, source[0], empty, way, tmp_path)
    assert "rowseal" not in said  # no alarm for what is only half restored
    with server.connect(empty, "app") as c:
        assert unwell(Db(c)) == []
        goes_on(Db(c), *source[1:])


@pytest.mark.parametrize("way", [["--no-owner"], ["--no-owner", "-1"], ["--no-owner", "-j", "2"]])
def test_a_dump_is_restored_for_another_owner(
    way: list[str],
    server: Server,
    database: str,
    empty: str,
    tmp_path: Path,
    example: Db,
    ann: Owner,
) -> None:
    """Whose its types are is another fact then, but its tables are as they were."""
    example.run("CREATE TYPE mood AS ENUM ('good')")
    example.run(
        "CREATE TABLE p (LIKE user_storage, m mood, PRIMARY KEY (user_hash, uuid))"
        " PARTITION BY HASH (uuid);"
        " CREATE TABLE p0 PARTITION OF p FOR VALUES WITH (MODULUS 1, REMAINDER 0);"
        " SELECT rowseal.declare('p', owner => 'user_hash', identity => 'user_cards',"
        " versions => 'pv', feed => true)"
    )
    form = example.form("p")
    for value in (b"1", b"2"):
        example.insert("p", ann.sealed(form, {**ann.value(value, KEY), "m": "good"}))
    file = str(tmp_path / "dump")
    tool(server, "pg_dump", "-Fc", "-f", file, database)
    said = tool(server, "pg_restore", "--exit-on-error", *way, "-d", empty, file)
    assert "rowseal" not in said
    with server.connect(empty) as c:
        db = Db(c)
        assert {check for check, *_ in unwell(db)} <= {"functions"}  # who may execute them
        later = ann.sealed(form, {**ann.value(b"3", KEY), "m": "good"})
        db.insert("p", later)
        assert db.one("SELECT count(*) FROM pv") == 2
        assert db.one("SELECT count(*) FROM rowseal.feed WHERE tag = 'p'") == 1  # it is not dumped


def test_what_is_left_of_a_table_that_was_undeclared_is_restored(
    server: Server, database: str, empty: str, tmp_path: Path, example: Db, ann: Owner
) -> None:
    number = example.one("SELECT id FROM rowseal.declarations WHERE tag = 'user_storage'")
    with (
        server.connect(database) as admin,
        trusted(Db(admin)),
        server.connect(database, "mallory") as c,
    ):
        admin.execute(
            "GRANT CREATE ON SCHEMA public TO mallory;"
            " ALTER TABLE user_storage_versions OWNER TO mallory"
        )
        c.execute(
            f"CREATE VIEW v AS SELECT rowseal._take_{number}(NULL) AS x;"
            f" CREATE TABLE x (a text DEFAULT rowseal._take_{number}(NULL));"
            f" CREATE TRIGGER g BEFORE INSERT ON x FOR EACH ROW"
            f" EXECUTE FUNCTION rowseal._guard_{number}()"
        )
    example.run("SELECT rowseal.undeclare('user_storage')")
    file = str(tmp_path / "dump")
    tool(server, "pg_dump", "-f", file, database)
    tool(server, "psql", "-X", "-q", "-v", "ON_ERROR_STOP=1", "-f", file, empty)
    with server.connect(empty) as c:
        db = Db(c)
        assert unwell(db) == []
        for use in ("SELECT * FROM v", "INSERT INTO x VALUES ('')"):
            assert "is retired" in str(db.refused("RS007", use).message_primary)
        db.run("ALTER TABLE user_storage_versions OWNER TO app")
    with server.connect(empty, "app") as c:
        db = Db(c)
        db.run(EXAMPLE[EXAMPLE.rindex("SELECT rowseal.declare") :])
        write(db, ann, "user_cards", ann.card())
        write(db, ann, "user_storage", ann.value(b"1", KEY))
        assert unwell(db) == []


def test_the_quarantine_is_restored_and_goes_on(
    server: Server, source: tuple[str, list[Any], Owner], empty: str, tmp_path: Path
) -> None:
    restore(server, source[0], empty, "custom", tmp_path)
    with server.connect(empty) as c:
        db, eve = Db(c), Owner("Eve")
        kept = db.all("SELECT row FROM rowseal.quarantine")
        assert len(kept) == 1
        new = eve.envelope(db.form("user_storage"), eve.value())
        db.run("SELECT rowseal.apply('user_storage', %s::json)", json.dumps(new))
        assert db.all("SELECT row FROM rowseal.quarantine ORDER BY first_seen") == [*kept, new]


def test_data_restored_into_a_ready_schema_is_verified_again(
    server: Server, source: tuple[str, list[Any], Owner], empty: str, tmp_path: Path
) -> None:
    """Data after triggers: owners must come before their rows."""
    file = str(tmp_path / "dump")
    tool(server, "pg_dump", "-Fc", "-f", file, source[0])
    tool(server, "pg_restore", "--exit-on-error", "--schema-only", "-d", empty, file)
    tool(
        server,
        "pg_restore",
        "--exit-on-error",
        "--data-only",
        "-t",
        "user_cards",
        "-d",
        empty,
        file,
    )
    listed = subprocess.run(
        [f"{bindir()}/pg_restore", "-l", "--data-only", file],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    (tmp_path / "list").write_text(
        "\n".join(line for line in listed.splitlines() if " user_cards " not in line)
    )
    tool(
        server,
        "pg_restore",
        "--exit-on-error",
        "--data-only",
        "-L",
        str(tmp_path / "list"),
        "-d",
        empty,
        file,
    )
    with server.connect(empty, "app") as c:
        assert unwell(Db(c)) == []
        goes_on(Db(c), *source[1:])


@pytest.mark.skipif(
    "ROWSEAL_PGSODIUM" in os.environ, reason="pgsodium's own tables cannot be restored in this way"
)
def test_data_restored_without_triggers_leaves_them_ordinary_and_health_tells(
    server: Server, source: tuple[str, list[Any], Owner], empty: str, tmp_path: Path
) -> None:
    """pg_restore --data-only --disable-triggers ends with ENABLE TRIGGER ALL,
    which is not ENABLE ALWAYS.
    """
    restore(server, source[0], empty, "schema, then data without triggers", tmp_path)
    restored = ("user_cards", "user_storage", '"Logs"', "parts")
    with server.connect(empty, "app") as c:
        db = Db(c)
        assert {(check, table) for check, table, _ in unwell(db)} == {
            # their functions know the numbers that the tables had in the other database
            *((c, t) for c in ("triggers", "structure", "functions") for t in restored),
            ("installation", None),  # those of rowseal's own tables
        }
        db.refused("RS007", "INSERT INTO user_cards SELECT * FROM user_cards")
        with server.connect(empty, "postgres") as a:
            for table, trigger in db.all(
                "SELECT tgrelid::regclass::text, tgname FROM pg_trigger"
                " WHERE tgname ~ '^zzz|_held$|^(complete|install|forget)$'"
            ):
                Db(a).run(f"ALTER TABLE {table} ENABLE ALWAYS TRIGGER {trigger}")
        assert unwell(db) == []
        goes_on(db, *source[1:])


# ------------------------------------------------------------------------ what is not in a dump
HERS = (
    "CREATE SCHEMA hers; CREATE EXTENSION hstore; CREATE TYPE hers.mood AS ENUM ('good');"
    f" CREATE TABLE hers.h (id bytea PRIMARY KEY, mood hers.mood, {CARD});"
    " SELECT rowseal.declare('hers.h', owner => 'id', public_key => 'k');"
    f" CREATE TABLE hers.i (id bytea PRIMARY KEY, mood hers.mood, parent_sign_b64 bytea, {CARD});"
    " SELECT rowseal.declare('hers.i', owner => 'id', identity => 'hers.h',"
    " versions => 'hers.i_versions')"
)


@pytest.fixture
def both(server: Server, database: str) -> Iterator[Db]:
    """Declared tables of app and of mallory, who has an extension of her own."""
    with (
        server.connect(database) as admin,
        server.connect(database, "app") as app,
        server.connect(database, "mallory") as mallory,
    ):
        admin.execute(f"GRANT CREATE ON DATABASE {database} TO mallory")
        admin.execute("GRANT CREATE ON SCHEMA public TO app")
        app.execute(EXAMPLE)
        mallory.execute(HERS)
        Db(admin).run("INSERT INTO rowseal._opened VALUES ('hers.h')")
        Db(mallory).run(
            "INSERT INTO rowseal.erasures (relation, tag, key, fields, versions)"
            " VALUES ('hers.h', 'h', '{}', '{}', 1)"
        )
        yield Db(mallory)


def passed_on(server: Server, source: Db, target: str, folder: Path) -> str:
    """Dump and restore, errors or not; the dump."""
    file = str(folder / "dump")
    tool(server, "pg_dump", "-Fc", "-f", file, source.connection.info.dbname)
    tried(server, "pg_restore", "-d", target, file)
    return file


@pytest.mark.parametrize(
    ("member", "tables", "declared", "guarded"),
    [
        ("TABLE hers.h", {"hers.i"}, set(), {"hers.i", "hers.i_versions"}),
        ("TABLE hers.i", {"hers.h"}, {"hers.h"}, {"hers.i_versions"}),
        ("TABLE hers.i_versions", {"hers.h", "hers.i"}, {"hers.h"}, {"hers.i"}),
        ("SCHEMA hers", set(), set(), set()),
    ],
)
def test_a_table_that_a_dump_leaves_out_takes_no_others_declaration_with_it(
    member: str,
    tables: set[str],
    declared: set[str],
    guarded: set[str],
    server: Server,
    both: Db,
    empty: str,
    tmp_path: Path,
) -> None:
    """pg_dump leaves out what is a member of an extension: of the two declared tables of mallory
    one, so that the guards of the other have no declaration.
    """
    both.run(f"ALTER EXTENSION hstore ADD {member}")
    passed_on(server, both, empty, tmp_path)
    with server.connect(empty) as c:

        def named(table: str) -> set[str]:
            return set(Db(c).all(f"SELECT relation::text FROM rowseal.{table}"))

        example = {"user_cards", "user_storage"}
        assert named("declarations") == example | declared
        assert named("tags") == example | tables
        assert named("erasures") == named("_opened") == tables & {"hers.h"}
        told = [d.split(": ")[1] for check, _, d in unwell(Db(c)) if check == "guards"]
        assert {name for d in told for name in d.split(", ")} == guarded


@pytest.mark.parametrize("way", ["in one transaction", "custom", "in parallel"])
def test_a_feed_in_a_schema_of_its_own_is_restored_open(
    way: str, server: Server, database: str, empty: str, tmp_path: Path
) -> None:
    """A restore gives rights last."""
    with server.connect(database) as c:
        Db(c).run(
            "CREATE SCHEMA own; GRANT USAGE ON SCHEMA own TO rowseal_internal;"
            f" CREATE TABLE own.c (id bytea PRIMARY KEY, {CARD});"
            " SELECT rowseal.declare('own.c', owner => 'id', public_key => 'k', feed => true)"
        )
    restore(server, database, empty, way, tmp_path)
    with server.connect(empty) as c:
        db = Db(c)
        assert db.all("SELECT tag FROM rowseal.declarations WHERE queries = '{}'") == []
        assert unwell(db) == []


def test_what_is_renamed_while_a_table_is_closed_survives_a_restore(
    server: Server, database: str, empty: str, tmp_path: Path
) -> None:
    """Numbers are of one database; at the first step in another one names are compared."""
    with server.connect(database) as c:
        Db(c).run(
            f"CREATE TABLE public.k (id bytea PRIMARY KEY, {CARD});"
            " SELECT rowseal.declare('k', owner => 'id', public_key => 'k');"
            f" CREATE TABLE public.q (id bytea, n int, v text, w text, {CARD},"
            " parent_sign_b64 bytea, PRIMARY KEY (id, n));"
            " SELECT rowseal.declare('q', owner => 'id', identity => 'k', versions => 'q_old');"
            " ALTER TABLE q_old ALTER owner_timestamp TYPE numeric;"
            " ALTER TABLE q RENAME v TO x"
        )
    restore(server, database, empty, "custom", tmp_path)
    with server.connect(empty) as c:
        db = Db(c)
        db.run("ALTER TABLE q RENAME w TO v")
        db.run("ALTER TABLE q_old ALTER owner_timestamp TYPE bigint")
        state, fields, places = db.all(
            "SELECT queries = '{}', fields, version_columns FROM rowseal.declarations"
            " WHERE tag = 'q'"
        )[0]
        assert not state
        assert (fields["x"], fields["v"]) == ("v", "w") == (places["x"], places["v"])


CLOSED = f"""
CREATE TYPE hers.pair AS (a integer);
CREATE TABLE hers.p (id bytea, n integer, c hers.pair, {CARD}, parent_sign_b64 bytea,
    PRIMARY KEY (id, n)) PARTITION BY LIST (n);
CREATE TABLE hers.p1 PARTITION OF hers.p FOR VALUES IN (1);
SELECT rowseal.declare('hers.p', owner => 'id', identity => 'hers.h', unsigned => '{{k,c}}',
    versions => 'hers.p_versions');
CREATE FUNCTION hers.late() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END';
CREATE TABLE hers.p2 (LIKE hers.p INCLUDING ALL)"""


@pytest.mark.parametrize("way", ["in one transaction", "custom", "in parallel"])
@pytest.mark.parametrize("kind", ["in order again", "with a late trigger"])
def test_a_table_of_partitions_that_was_closed_stops_no_restore(
    kind: str, way: str, both: Db, server: Server, database: str, empty: str, tmp_path: Path
) -> None:
    """Anybody can have one, and a superuser restores it beside all the others."""
    both.run(CLOSED)
    with server.connect(database) as c:
        c.execute("ALTER TYPE hers.pair OWNER TO pg_monitor")
        if kind == "in order again":
            c.execute("ALTER TYPE hers.pair OWNER TO mallory")
        else:
            both.run(
                "CREATE TRIGGER zzzz BEFORE INSERT ON hers.p2"
                " FOR EACH ROW EXECUTE FUNCTION hers.late();"
                " ALTER TABLE hers.p ATTACH PARTITION hers.p2 FOR VALUES IN (2)"
            )
    restore(server, database, empty, way, tmp_path)
    with server.connect(empty) as c:
        db = Db(c)
        names = "('user_storage', 'p', 'p1', 'p2')"
        assert db.one(f"SELECT count(*) FROM pg_class WHERE relname IN {names}") == 4
        closed = "SELECT tag FROM rowseal.declarations WHERE queries = '{}'"
        assert db.all(closed) == ([] if kind == "in order again" else ["p"])


@pytest.mark.parametrize("way", ["in one transaction", "custom", "in parallel"])
@pytest.mark.parametrize(
    "late",
    [
        "CREATE TRIGGER zzzz BEFORE INSERT ON hers.p FOR EACH ROW EXECUTE FUNCTION hers.late()",
        "ALTER TABLE hers.p ADD FOREIGN KEY (id) REFERENCES hers.h DEFERRABLE",
    ],
    ids=["trigger", "constraint"],
)
def test_what_kept_a_table_closed_stops_no_restore(
    late: str, way: str, both: Db, server: Server, database: str, empty: str, tmp_path: Path
) -> None:
    """It comes after the triggers, and would be refused if they had opened the table."""
    both.run(CLOSED)
    with server.connect(database) as c:
        c.execute("ALTER TYPE hers.pair OWNER TO pg_monitor")
        both.run(late)
        c.execute("ALTER TYPE hers.pair OWNER TO mallory")
    restore(server, database, empty, way, tmp_path)
    with server.connect(empty) as c:
        db = Db(c)
        assert db.all("SELECT tag FROM rowseal.declarations WHERE queries = '{}'") == ["p"]


def test_a_restore_that_lost_the_declarations_is_told_and_brings_them_later(
    server: Server, both: Db, empty: str, tmp_path: Path
) -> None:
    """The type is not in the dump, so her tables cannot be made."""
    both.run("ALTER EXTENSION hstore ADD TYPE hers.mood")
    file = passed_on(server, both, empty, tmp_path)
    with server.connect(empty) as c:
        db = Db(c)
        assert db.all("SELECT relation FROM rowseal.declarations") == []
        assert unwell(db) == [
            (
                "guards",
                None,
                "not declared any more, declare them anew:"
                " public.user_cards, public.user_storage, public.user_storage_versions",
            )
        ]
        tables = ("hers.h", "hers.i", "hers.i_versions")
        for table in tables:
            db.run(f"CREATE TABLE {table} ()")
        wanted = (f"-t{t}" for t in ("declarations", "tags", "erasures", "_opened"))
        tool(server, "pg_restore", "-d", empty, "--data-only", "-nrowseal", *wanted, file)
        db.run(f"DROP TABLE {', '.join(tables)}")
        assert db.all("SELECT relation::text FROM rowseal.declarations ORDER BY 1") == [
            "user_cards",
            "user_storage",
        ]
        assert unwell(db) == []


# ---------------------------------------------------------------------------- leaving, coming back
def test_the_extension_leaves_only_with_cascade_and_never_takes_data(
    server: Server, database: str
) -> None:
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
