"""What one role does to its own tables and types neither harms nor stops the others,
and no table is known by its name alone.
"""

from __future__ import annotations

import pytest
from psycopg.types.json import Json, Jsonb

from kit.attacks import (
    KEY,
    SEALED,
    STACKED,
    attempt,
    deepest,
    insert,
    row,
    set_trap,
    sprung,
    table,
    trusted,
    unhealthy,
)
from kit.db import Db, Server
from kit.example import Owner
from kit.process import cpu, spent
from kit.scratch import CARD, unwell
from kit.writers import tables
from rowseal.client import Form

IDENTITY = "SELECT rowseal.declare('theirs', owner => 'id', public_key => 'k')"


@pytest.fixture
def warnings(example: Db) -> list[str]:
    said: list[str] = []
    example.connection.add_notice_handler(lambda d: said.append(str(d.message_primary)))
    return said


def naming_her_identities(mallory: Db) -> None:
    """A table of mallory's whose owners are those of user_cards, which is app's."""
    table(mallory, "theirs", "uuid uuid")


# -------------------------------------------------------------------------------------- by identity
def test_a_table_with_the_name_of_a_former_partition_keeps_its_triggers(
    mallory: Db, example: Db, ann: Owner
) -> None:
    table(mallory, "p", "uuid uuid, n int", "user_hash, uuid, n", "PARTITION BY LIST (n)", None)
    mallory.run(
        "CREATE TABLE notes PARTITION OF p FOR VALUES IN (1);"
        " SELECT rowseal.declare('p', owner => 'user_hash', identity => 'user_cards')"
    )
    keep = mallory.one(
        "SELECT pg_get_triggerdef(oid) FROM pg_trigger"
        " WHERE tgname = 'zzz_rowseal_keep' AND tgrelid = 'p'::regclass"
    )
    # without it her table is taken for one that is being restored, and nothing follows
    mallory.run("DROP TRIGGER zzz_rowseal_keep ON p; ALTER TABLE notes RENAME TO other")
    table(example, "notes", "uuid uuid")
    mallory.run(f"{keep}; ALTER TABLE p ENABLE ALWAYS TRIGGER zzz_rowseal_keep")
    mallory.run("CREATE INDEX ON p (uuid); ALTER TABLE p DETACH PARTITION other")
    assert attempt(example, "TRUNCATE notes") == "RS004"
    assert unhealthy(example) == []
    assert attempt(mallory, "TRUNCATE other") is None  # her own, which has left


def test_a_trigger_with_the_number_of_another_table_is_left_alone(mallory: Db, example: Db) -> None:
    """Everybody can create one on a table of his own: nobody waits for his locks."""
    table(example, "p", "uuid uuid, n int", "user_hash, uuid, n", "PARTITION BY LIST (n)", None)
    example.run(
        "CREATE TABLE p1 PARTITION OF p FOR VALUES IN (1);"
        " SELECT rowseal.declare('p', owner => 'user_hash', identity => 'user_cards')"
    )
    number = example.one("SELECT id FROM rowseal.declarations WHERE tag = 'p'")
    mallory.run(
        "CREATE TABLE theirs (a int); CREATE TRIGGER t BEFORE TRUNCATE ON theirs"
        f" EXECUTE FUNCTION rowseal._keep('{number}')"
    )
    with mallory.connection.transaction():
        mallory.run("LOCK TABLE theirs IN SHARE MODE")
        example.run("SET lock_timeout = '2s'; ALTER TABLE p DETACH PARTITION p1")
    assert mallory.one("SELECT count(*) FROM pg_trigger WHERE tgrelid = 'theirs'::regclass") == 1
    assert attempt(example, "TRUNCATE p1") is None


# -------------------------------------------------------------------------------- types and schemas
COMMANDS = [
    "CREATE TYPE mine AS (a int); ALTER TYPE mine ADD ATTRIBUTE b text",
    "CREATE TYPE mood AS ENUM ('a'); ALTER TYPE mood ADD VALUE 'b'",
    "CREATE DOMAIN own AS int; ALTER DOMAIN own SET NOT NULL",
    "CREATE SCHEMA s; ALTER SCHEMA s RENAME TO t",
    "ALTER TABLE user_storage ALTER value_b64 SET NOT NULL",
    "ALTER TYPE pair ADD ATTRIBUTE c text",
]


@pytest.mark.parametrize("kind", ["DOMAIN key_ AS bytea", "TYPE pair AS (a int, b text)"])
def test_the_broken_table_of_one_role_stops_nobody_else(
    kind: str, mallory: Db, admin: Db, example: Db, ann: Owner, warnings: list[str]
) -> None:
    admin.run(f"GRANT CREATE ON DATABASE {admin.connection.info.dbname} TO app")
    example.run("CREATE DOMAIN key_ AS bytea; CREATE TYPE pair AS (a int, b text)")
    mallory.run(f"CREATE TABLE theirs (id key_ PRIMARY KEY, p pair, {CARD}); {IDENTITY}")
    breaking = {
        "DOMAIN key_ AS bytea": "DROP DOMAIN key_ CASCADE",
        "TYPE pair AS (a int, b text)": "ALTER TYPE pair ADD ATTRIBUTE d money",
    }[kind]
    example.run(breaking)
    assert any("theirs" in w for w in warnings)
    assert [c for c, r, _ in unwell(example) if r == "theirs"] == ["structure"]
    for command in COMMANDS:
        assert attempt(example, command) is None, command
    assert attempt(example, "DROP TABLE user_storage; DROP TYPE pair CASCADE") is None


def test_who_drops_a_column_of_his_own_key_with_its_type_is_refused(
    example: Db, ann: Owner
) -> None:
    example.run("CREATE DOMAIN key_ AS bytea; CREATE DOMAIN note AS text")
    example.run(f"CREATE TABLE theirs (id key_ PRIMARY KEY, n note, {CARD}); {IDENTITY}")
    example.refused("42501", "SET backtrace_functions = rowseal")  # it would not be followed
    diag = example.refused("RS007", "DROP DOMAIN key_ CASCADE")
    assert "theirs" in str(diag.message_primary)
    assert unhealthy(example) == []
    example.run("DROP DOMAIN note CASCADE")  # as ALTER TABLE … DROP COLUMN
    assert unhealthy(example) == []
    assert (
        example.one("SELECT fields ? 'n' FROM rowseal.declarations WHERE tag = 'theirs'") is False
    )


@pytest.mark.parametrize("member", ["postgres", "app"])
def test_a_strangers_key_keeps_nobody_from_dropping_its_type(
    member: str, mallory: Db, admin: Db, example: Db, warnings: list[str]
) -> None:
    """Not a superuser, nor whom somebody has made a member of the table's owner."""
    example.run("CREATE DOMAIN key_ AS bytea")
    mallory.run(f"CREATE TABLE theirs (id key_ PRIMARY KEY, {CARD}); {IDENTITY}")
    admin.run("GRANT mallory TO app")
    try:
        who = admin if member == "postgres" else example
        assert attempt(who, "DROP DOMAIN key_ CASCADE") is None
        assert [c for c, r, _ in unwell(example) if r == "theirs"] == ["structure"]
    finally:
        admin.run("REVOKE mallory FROM app")


# ------------------------------------------------------------------------ how identifiers are shown
def test_no_definition_depends_on_how_identifiers_are_shown(
    example: Db, ann: Owner, admin: Db
) -> None:
    example.run("SET quote_all_identifiers = on")
    table(example, "p", "uuid uuid, n int", "user_hash, uuid, n", "PARTITION BY LIST (n)", None)
    example.run(
        "CREATE TABLE p1 PARTITION OF p FOR VALUES IN (1);"
        "CREATE TABLE p2 PARTITION OF p FOR VALUES IN (2);"
        " SELECT rowseal.declare('p', owner => 'user_hash', identity => 'user_cards');"
        " ALTER TABLE user_storage RENAME value_b64 TO v;"
        " CREATE TABLE p3 PARTITION OF p FOR VALUES IN (3); ALTER TABLE p DETACH PARTITION p2;"
        " DROP TABLE p1"
    )
    assert unhealthy(example) == [] == unhealthy(admin)
    partitions = "SELECT facts #> '{main,partitions}' FROM rowseal.declarations WHERE tag = 'p'"
    assert list(example.one(partitions)) == ["public.p3"]
    example.run("RESET quote_all_identifiers")
    example.run(
        "CREATE FUNCTION nothing() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END';"
        " CREATE TRIGGER after AFTER INSERT ON user_storage FOR EACH ROW"
        " EXECUTE FUNCTION nothing();"
        " CREATE TRIGGER after AFTER INSERT ON p FOR EACH ROW EXECUTE FUNCTION nothing()"
    )
    example.run("ALTER TABLE p DETACH PARTITION p3")
    assert unhealthy(example) == []


# --------------------------------------------------------------------------------- names and rights
def test_to_name_an_identity_table_select_on_it_is_needed(mallory: Db, example: Db) -> None:
    example.run("REVOKE SELECT ON user_cards FROM mallory")
    table(mallory, "theirs", "uuid uuid", declare=None)
    diag = mallory.refused(
        "RS008",
        "SELECT rowseal.declare('theirs', owner => 'user_hash', identity => 'user_cards')",
    )
    assert "user_cards" in str(diag.message_primary) and "SELECT" in str(diag.message_hint)
    mallory.refused(
        "42501",
        "INSERT INTO rowseal.declarations (relation, tag, owner, identity)"
        " VALUES ('theirs', 'theirs', '{user_hash}', 'user_cards')",
    )


@pytest.mark.parametrize(
    "command",
    ["SELECT rowseal.undeclare('user_cards')", "DROP TABLE user_cards", "DROP SCHEMA s CASCADE"],
)
def test_naming_an_identity_table_does_not_keep_its_owner_from_it(
    command: str, mallory: Db, admin: Db, example: Db, ann: Owner, warnings: list[str]
) -> None:
    naming_her_identities(mallory)
    form = mallory.form("theirs")
    assert insert(mallory, "theirs", ann.sealed(form, row(ann))) is None
    diag = example.refused("RS007", "DROP TABLE user_cards")  # user_storage is his own
    assert "user_storage" in str(diag.message_primary)
    example.refused("RS007", "SELECT rowseal.undeclare('user_cards')")
    example.run("DROP TABLE user_storage")
    if "SCHEMA" in command:
        admin.run("CREATE SCHEMA s AUTHORIZATION app")
        example.run("ALTER TABLE user_cards SET SCHEMA s")
    example.run(command)
    assert any("theirs takes no more rows" in w for w in warnings)
    # another table of the same name is not taken for the one that is gone
    attempt(mallory, "CREATE TABLE user_cards (user_hash bytea, sign_pkey bytea)")
    assert insert(mallory, "theirs", ann.sealed(form, row(ann))) == "RS007"
    (answer,) = mallory.apply("theirs", [ann.envelope(form, row(ann))])
    assert answer[0] == "deferred" and "identity table" in str(answer[1])
    assert "structure" in [c for c, r, _ in unwell(mallory) if r == "theirs"]
    assert mallory.one("SELECT rowseal.undeclare('theirs')")


@pytest.mark.parametrize("command", ["SELECT rowseal.undeclare('hers')", "DROP TABLE hers"])
def test_an_identity_table_that_has_got_another_owner_is_his_to_drop(
    command: str, mallory: Db, admin: Db, example: Db
) -> None:
    """What rests on it is not his, though he may act as who owns that."""
    table(example, "hers", "k bytea", "user_hash", declare=None)
    example.run(
        "SELECT rowseal.declare('hers', owner => 'user_hash', public_key => 'k');"
        " GRANT SELECT ON hers TO mallory"
    )
    table(mallory, "theirs", "uuid uuid", declare=None)
    mallory.run("SELECT rowseal.declare('theirs', owner => 'user_hash', identity => 'hers')")
    admin.run("ALTER TABLE hers OWNER TO postgres")
    admin.run(command)
    assert mallory.one("SELECT queries = '{}' FROM rowseal.declarations WHERE tag = 'theirs'")


def test_a_table_that_was_closed_opens_when_it_is_declared_anew(
    mallory: Db, example: Db, ann: Owner
) -> None:
    naming_her_identities(mallory)
    form, one = mallory.form("theirs"), row(ann)
    example.run("DROP TABLE user_storage; SELECT rowseal.undeclare('user_cards')")
    mallory.apply("theirs", [ann.envelope(form, one)])
    example.run(
        "SELECT rowseal.declare('user_cards', owner => 'user_hash', public_key => 'sign_pkey')"
    )
    mallory.run(
        "SELECT rowseal.undeclare('theirs');"
        " SELECT rowseal.declare('theirs', owner => 'user_hash', identity => 'user_cards')"
    )
    assert mallory.one("SELECT count(*) FROM theirs") == 1
    assert unhealthy(mallory) == []


# ------------------------------------------------------------------------------------- nested types
DEEP = "CREATE TYPE c{} AS (x c{})"
DOUBLED = "CREATE TYPE c{} AS (x c{}, y c{})"  # few types, many attributes


@pytest.mark.parametrize(("nested", "levels"), [(DEEP, 40), (DOUBLED, 15)])
def test_the_deep_type_of_a_stranger_costs_nobody_else_anything(
    nested: str, levels: int, mallory: Db, admin: Db, example: Db, ann: Owner
) -> None:
    admin.run(f"GRANT CREATE ON DATABASE {admin.connection.info.dbname} TO app")
    mallory.run("CREATE TABLE mt (a text); CREATE TYPE c0 AS (a text)")
    mallory.run(f"CREATE TABLE theirs (id bytea PRIMARY KEY, c mt, {CARD}); {IDENTITY}")
    table(mallory, "notes", "uuid uuid, c mt")  # of app's identity table
    for n in range(1, levels + 1):
        mallory.run(nested.format(n, n - 1, n - 1))
    for db in (mallory, example, admin):
        db.run("SET statement_timeout = '20s'")
    attempt(mallory, f"ALTER TABLE mt ADD COLUMN x c{levels}")  # her own affair
    for command in COMMANDS[:-1]:
        assert attempt(example, command) is None, command
    assert attempt(example, "ALTER TABLE user_cards ADD COLUMN note text") is None
    assert unhealthy(admin) == []


@pytest.mark.parametrize(
    ("nested", "few", "many"),
    [(DEEP, 30, 32), (DOUBLED, 6, 7), ("CREATE TYPE c{} AS (x c{}[])", 15, 16)],
)
def test_a_type_of_too_many_types_or_levels_is_refused(
    nested: str, few: int, many: int, example: Db
) -> None:
    example.run("CREATE TYPE c0 AS (a text)")
    for n in range(1, many + 1):
        example.run(nested.format(n, n - 1, n - 1))
    table(example, "few", f"uuid uuid, c c{few}")
    table(example, "many", f"uuid uuid, c c{many}", declare=None)
    diag = example.refused(
        "RS007", "SELECT rowseal.declare('many', owner => 'user_hash', identity => 'user_cards')"
    )
    assert f"c{many} of more than 256 types or 32 levels" in str(diag.message_primary)


# ---------------------------------------------------------------- what hangs on generated functions
HUNG = {
    "a view": "CREATE VIEW v AS SELECT {}",
    "a default": "CREATE TABLE x (a text DEFAULT {})",
    "a check": "CREATE TABLE x (a int CHECK ({} <> ''))",
    "a policy": "CREATE TABLE x (a int); CREATE POLICY p ON x USING ({} <> '')",
    "a rule": "CREATE TABLE x (a int); CREATE RULE r AS ON INSERT TO x DO INSTEAD SELECT {}",
    "a function": "CREATE FUNCTION f() RETURNS text LANGUAGE sql BEGIN ATOMIC SELECT {}; END",
    "a column of a declared table": "CREATE DOMAIN word AS text DEFAULT {};"
    " CREATE TABLE x (user_hash bytea, a int, w word, deleted_flag boolean,"
    " owner_timestamp bigint, sign_b64 bytea, PRIMARY KEY (user_hash, a));"
    " SELECT rowseal.declare('x', owner => 'user_hash', identity => 'user_cards')",
}


# by kind, what uses it: it stays, and raises an error
USED = {
    "a view": "SELECT * FROM v",
    "a default": "INSERT INTO x DEFAULT VALUES",
    "a check": "INSERT INTO x VALUES (1)",
    "a function": "SELECT f()",
}


def called(db: Db, function: str) -> str:
    """A call of a generated function of user_storage."""
    number, arguments = db.one(
        "SELECT d.id, p.pronargs FROM rowseal.declarations d JOIN pg_proc p"
        " ON p.proname = %s || d.id WHERE d.tag = 'user_storage'",
        function,
    )
    return f"rowseal.{function}{number}({', '.join(['NULL'] * arguments)})"


@pytest.mark.parametrize("kind", HUNG)
@pytest.mark.parametrize(
    "leaving",
    [
        "SELECT rowseal.undeclare('user_storage')",
        "DROP TABLE user_storage",
        "ALTER TABLE user_storage_versions ADD colour text;"
        " ALTER TABLE user_storage ADD colour text",
    ],
)
def test_what_strangers_hang_on_generated_functions_stops_nobody(
    leaving: str, kind: str, mallory: Db, example: Db, ann: Owner
) -> None:
    mallory.run(HUNG[kind].format(called(example, "_payload_")))
    example.run("SET lock_timeout = '2s'")
    with mallory.connection.transaction():
        for held in mallory.all(
            "SELECT oid::regclass::text FROM pg_class"
            " WHERE relowner = 'mallory'::regrole AND relkind IN ('r', 'v')"
        ):
            mallory.run(f"LOCK TABLE {held} IN ACCESS SHARE MODE")
        assert attempt(example, leaving) is None
    assert unhealthy(example) == []
    if kind in USED:
        diag = mallory.refused("RS007", USED[kind])
        assert "is retired" in str(diag.message_primary)
    if "ALTER" in leaving:
        sealed = ann.sealed(example.form("user_cards"), ann.card())
        example.insert("user_cards", sealed)
        sealed = ann.sealed(example.form("user_storage"), {**ann.value(), "colour": "red"})
        assert insert(example, "user_storage", sealed) is None


def test_a_function_with_the_same_arguments_is_made_anew_in_its_place(
    mallory: Db, example: Db
) -> None:
    functions = (
        "SELECT oid FROM pg_proc WHERE pronamespace = 'rowseal'::regnamespace"
        " AND proname ~ '_[0-9]+$' ORDER BY oid"
    )
    example.run(
        "CREATE DOMAIN word AS text; CREATE TYPE pair AS (a int, b text);"
        " CREATE TABLE t (user_hash bytea, a char(3)[], b bit(3), c varchar(3), d numeric(9, 2),"
        ' e word, f pair, g timestamptz(3), h interval day, i "char", j name, k int[][],'
        " deleted_flag boolean, owner_timestamp bigint, sign_b64 bytea, "
        " PRIMARY KEY (user_hash, c));"
        " SELECT rowseal.declare('t', owner => 'user_hash', identity => 'user_cards')"
    )
    before = example.all(functions)
    mallory.run(f"CREATE VIEW v AS SELECT {called(example, '_take_')}")
    example.run("ALTER TABLE t RENAME c TO cc; ALTER TABLE user_storage RENAME value_b64 TO v")
    example.run("SET quote_all_identifiers = on; ALTER TABLE t RENAME cc TO c")
    assert example.all(functions) == before
    assert unhealthy(example) == []


def test_triggers_of_whoever_owns_a_partition_stop_nobody(
    mallory: Db, admin: Db, example: Db
) -> None:
    table(example, "p", "uuid uuid, n int", "user_hash, uuid, n", "PARTITION BY LIST (n)", None)
    example.run(
        "CREATE TABLE p1 PARTITION OF p FOR VALUES IN (1);"
        " SELECT rowseal.declare('p', owner => 'user_hash', identity => 'user_cards', feed => true)"
    )
    number = example.one("SELECT id FROM rowseal.declarations WHERE tag = 'p'")
    with trusted(admin):
        admin.run("ALTER TABLE p1 OWNER TO mallory")
    mallory.run(
        "CREATE TABLE x (a int); CREATE TRIGGER g BEFORE INSERT ON x"
        f" FOR EACH ROW EXECUTE FUNCTION rowseal._guard_{number}()"
    )
    example.run("SET lock_timeout = '2s'; ALTER TRIGGER zzz_rowseal_guard ON p RENAME TO a")
    with mallory.connection.transaction():
        mallory.run("LOCK TABLE x IN ACCESS SHARE MODE")
        example.run("SELECT rowseal.undeclare('p')")
    mallory.refused("RS007", "INSERT INTO x VALUES (1)")
    assert example.all("SELECT tgname FROM pg_trigger WHERE tgrelid = 'p'::regclass") == []
    named = example.all(
        "SELECT objid::regprocedure FROM pg_shdepend WHERE refobjid = 'mallory'::regrole"
        " AND classid = 'pg_proc'::regclass"
    )
    assert named == []  # by no right of hers


def test_a_table_is_undeclared_within_a_refresh_of_a_materialized_view(
    mallory: Db, example: Db
) -> None:
    mallory.run(f"CREATE VIEW v AS SELECT {called(example, '_take_')}")
    example.run(
        "CREATE FUNCTION ddl() RETURNS int LANGUAGE plpgsql"
        " AS $$ BEGIN PERFORM rowseal.undeclare('public.user_storage'); RETURN 1; END $$;"
        "CREATE MATERIALIZED VIEW m AS SELECT public.ddl() WITH NO DATA"
    )
    assert attempt(example, "REFRESH MATERIALIZED VIEW m") is None
    assert unhealthy(example) == []


def test_a_strangers_trigger_has_no_function_of_ours(mallory: Db, db: Db) -> None:
    db.run("DROP TABLE user_storage, user_cards CASCADE")
    db.run(tables(feed=True))
    mallory.run("CREATE TABLE x (a int)")
    functions = db.all(
        "SELECT proname FROM pg_proc WHERE pronamespace = 'rowseal'::regnamespace"
        " AND prorettype = 'trigger'::regtype AND proname ~ '_[0-9]+$'"
    )
    assert len(functions) > 10
    for function in functions:
        for when in ("BEFORE", "AFTER"):
            mallory.refused(
                "42501",
                f"CREATE TRIGGER g {when} INSERT ON x FOR EACH ROW"
                f" EXECUTE FUNCTION rowseal.{function}()",
            )


# -------------------------------------------------------------------------- names that change hands
CITEXT = (
    "CREATE TABLE cards (id citext PRIMARY KEY, k bytea, deleted_flag boolean,"
    " owner_timestamp bigint, sign_b64 bytea);"
    " CREATE TABLE t (id citext, n int, v text, deleted_flag boolean, owner_timestamp bigint,"
    " parent_sign_b64 bytea, sign_b64 bytea, PRIMARY KEY (id, n));"
    " SELECT rowseal.declare('cards', owner => 'id', public_key => 'k');"
    " SELECT rowseal.declare('t', owner => 'id', identity => 'cards', versions => 't_versions')"
)
OWN_TYPE = (
    "CREATE TYPE pair AS (a text, b text);"
    " CREATE FUNCTION pair_eq(pair, pair) RETURNS boolean IMMUTABLE LANGUAGE sql"
    " AS 'SELECT $1::text = $2::text';"
    " CREATE FUNCTION pair_lt(pair, pair) RETURNS boolean IMMUTABLE LANGUAGE sql"
    " AS 'SELECT $1::text < $2::text';"
    " CREATE FUNCTION pair_gt(pair, pair) RETURNS boolean IMMUTABLE LANGUAGE sql"
    " AS 'SELECT $1::text > $2::text';"
    " CREATE FUNCTION pair_le(pair, pair) RETURNS boolean IMMUTABLE LANGUAGE sql"
    " AS 'SELECT $1::text <= $2::text';"
    " CREATE FUNCTION pair_ge(pair, pair) RETURNS boolean IMMUTABLE LANGUAGE sql"
    " AS 'SELECT $1::text >= $2::text';"
    " CREATE FUNCTION pair_cmp(pair, pair) RETURNS int IMMUTABLE LANGUAGE sql"
    " AS 'SELECT bttextcmp($1::text, $2::text)';"
    " CREATE OPERATOR === (LEFTARG = pair, RIGHTARG = pair, FUNCTION = pair_eq);"
    " CREATE OPERATOR <<< (LEFTARG = pair, RIGHTARG = pair, FUNCTION = pair_lt);"
    " CREATE OPERATOR >>> (LEFTARG = pair, RIGHTARG = pair, FUNCTION = pair_gt);"
    " CREATE OPERATOR <<= (LEFTARG = pair, RIGHTARG = pair, FUNCTION = pair_le);"
    " CREATE OPERATOR >>= (LEFTARG = pair, RIGHTARG = pair, FUNCTION = pair_ge);"
    " CREATE OPERATOR CLASS pair_ops DEFAULT FOR TYPE pair USING btree AS OPERATOR 1 <<<,"
    " OPERATOR 2 <<=, OPERATOR 3 ===, OPERATOR 4 >>=, OPERATOR 5 >>>, FUNCTION 1 pair_cmp"
)


def test_the_old_name_of_an_operator_runs_nobodys_code(
    mallory: Db, admin: Db, example: Db, ann: Owner
) -> None:
    admin.run("CREATE EXTENSION citext; CREATE SCHEMA ext; GRANT USAGE ON SCHEMA ext TO PUBLIC")
    example.run(CITEXT)
    cards, form = example.form("cards"), example.form("t")
    card = {"id": "Ann", "k": ann.public_key, "deleted_flag": False, "owner_timestamp": 1}
    example.insert("cards", ann.sealed(cards, card))
    admin.run("ALTER EXTENSION citext SET SCHEMA ext")
    set_trap(mallory)
    mallory.run(
        "CREATE DOMAIN public.citext AS ext.citext;"
        " CREATE FUNCTION eq(ext.citext, ext.citext) RETURNS boolean LANGUAGE sql"
        " AS 'SELECT trap() AND $1::text = $2::text';"
        " CREATE OPERATOR public.= (LEFTARG = ext.citext, RIGHTARG = ext.citext, FUNCTION = eq)"
    )
    value = {"n": 1, "v": "x", "deleted_flag": False, "parent_sign_b64": None}
    sent = ann.envelope(form, {"id": "Ann", "owner_timestamp": 2, **value})
    answer = admin.all("SELECT outcome FROM rowseal.receive(%s)", Json([sent]))
    assert (answer, sprung(mallory)) == (["inserted"], False)
    example.insert("t", ann.sealed(form, {"id": "Ann", "owner_timestamp": 3, **value}))
    history = 'SELECT count(*) FROM rowseal.history(\'t\', \'{"id": "ANN", "n": "1"}\')'
    assert admin.one(history) == 2 and not sprung(mallory)
    assert unhealthy(admin) == []


@pytest.mark.parametrize(
    "renaming",
    [
        "ALTER OPERATOR === (pair, pair) SET SCHEMA s",
        "ALTER TYPE pair SET SCHEMA s",
        "ALTER TYPE pair RENAME TO couple",
    ],
)
def test_an_object_of_ones_own_is_followed_to_its_new_name(
    renaming: str, example: Db, admin: Db
) -> None:
    admin.run("CREATE SCHEMA s; GRANT ALL ON SCHEMA s TO app")
    admin.run(f"GRANT CREATE ON DATABASE {admin.connection.info.dbname} TO app")
    admin.run(f"ALTER ROLE app SUPERUSER; SET ROLE app; {OWN_TYPE}; RESET ROLE")
    admin.run("ALTER ROLE app NOSUPERUSER")
    example.run(f"CREATE TABLE theirs (id pair PRIMARY KEY, {CARD}); {IDENTITY}")
    example.run(renaming)
    assert unhealthy(admin) == []


def test_a_table_that_cannot_follow_a_new_name_takes_no_more_rows(
    mallory: Db, admin: Db, example: Db, ann: Owner, warnings: list[str]
) -> None:
    example.run("CREATE TYPE pair AS (a int, b text)")
    table(mallory, "theirs", "uuid uuid, p pair")
    form = mallory.form("theirs")
    example.run("ALTER TYPE pair ADD ATTRIBUTE d money")  # not in order any more
    example.run("ALTER TYPE pair RENAME TO couple")  # and its guard names what is gone
    assert insert(mallory, "theirs", ann.sealed(form, row(ann, p=None))) == "RS007"
    (answer,) = mallory.apply("theirs", [ann.envelope(form, row(ann, p=None))])
    assert answer[0] == "deferred" and "money" in str(answer[1])
    example.run("ALTER TYPE couple DROP ATTRIBUTE d")
    assert insert(mallory, "theirs", ann.sealed(mallory.form("theirs"), row(ann, p=None))) is None
    assert unhealthy(admin) == ["waiting"]
    assert mallory.all("SELECT outcome FROM rowseal.retry()") == ["inserted"]
    assert unhealthy(admin) == []


# ------------------------------------------------------------------------------------------- locks
def test_a_lock_on_a_table_that_names_the_identity_table_keeps_nobody_waiting(
    mallory: Db, example: Db
) -> None:
    naming_her_identities(mallory)
    mallory.run("ALTER TABLE theirs DISABLE TRIGGER zzz_rowseal_guard")  # it has to be made anew
    mallory.run("BEGIN; LOCK TABLE theirs")
    example.run("SET statement_timeout = '5s'")
    example.run("ALTER TABLE user_cards RENAME sign_pkey TO pk")
    mallory.run("ROLLBACK")


def test_an_undeclare_of_others_that_is_open_keeps_nobody_waiting(
    mallory: Db, example: Db, warnings: list[str]
) -> None:
    naming_her_identities(mallory)
    mallory.run("BEGIN; SELECT rowseal.undeclare('theirs')")
    example.run("SET statement_timeout = '5s'")
    example.run("ALTER TABLE user_cards RENAME sign_pkey TO pk")
    assert any("theirs" in w and "locked" in w for w in warnings)
    mallory.run("COMMIT")
    assert unhealthy(example) == []


def test_a_change_of_the_identity_table_locks_no_other(example: Db, admin: Db, ann: Owner) -> None:
    """A migration with lock_timeout, beside a VACUUM of what rests on it."""
    admin.run("BEGIN; LOCK TABLE user_storage IN SHARE UPDATE EXCLUSIVE MODE")
    example.run("SET lock_timeout = '100ms'")
    example.run("ALTER TABLE user_cards RENAME sign_pkey TO pk")
    admin.run("COMMIT")
    assert unhealthy(example) == []
    assert (
        insert(example, "user_storage", ann.sealed(example.form("user_storage"), ann.value()))
        is None
    )


def test_a_new_column_of_the_identity_table_is_no_concern_of_others(example: Db) -> None:
    """However many tables rest on it."""
    made = (
        "SELECT xmin::text FROM pg_proc WHERE proname = '_guard_' ||"
        " (SELECT id FROM rowseal.declarations WHERE tag = 'user_storage')"
    )
    before = example.one(made)
    example.run("ALTER TABLE user_cards ADD COLUMN extra text")
    assert example.one(made) == before
    example.run("ALTER TABLE user_cards RENAME sign_pkey TO pk")
    assert example.one(made) != before
    assert unhealthy(example) == []


HIS = f"""CREATE TABLE his (id bytea PRIMARY KEY, {CARD});
    SELECT rowseal.declare('his', owner => 'id', public_key => 'k')"""


@pytest.mark.parametrize(
    "change", ["SELECT rowseal.undeclare('his')", "DROP TABLE his", "DROP TABLE his CASCADE"]
)
def test_an_open_change_of_a_table_that_names_it_keeps_no_identity_table(
    change: str, mallory: Db, example: Db, admin: Db, ann: Owner, warnings: list[str]
) -> None:
    example.run(f"{HIS}; GRANT SELECT ON his TO mallory")
    table(mallory, "theirs", "uuid uuid", declare=None)
    mallory.run("SELECT rowseal.declare('theirs', owner => 'user_hash', identity => 'his')")
    form = mallory.form("theirs")
    mallory.run("BEGIN; ALTER TABLE theirs RENAME uuid TO u")
    example.run("SET statement_timeout = '5s'")
    assert attempt(example, change) is None
    assert any("theirs" in w for w in warnings)
    mallory.run("COMMIT")
    # whatever its guard names by now: nobody is made to run it
    with trusted(admin):
        sent = ann.envelope(form, row(ann, uuid=KEY))
        ((outcome, reason),) = admin.all(
            "SELECT outcome, reason FROM rowseal.receive(%s)", Json([sent])
        )
    assert outcome == "deferred" and "is gone" in reason
    assert "structure" in unhealthy(mallory)


def test_what_is_dropped_is_told_by_the_command_alone(mallory: Db, example: Db) -> None:
    """Who could say that tables are gone, made others' declarations forget what they rest on."""
    for function in ("_on_drop_forget()", "_on_drop()", "_close(NULL, NULL)"):
        assert attempt(mallory, f"SELECT rowseal.{function}") in ("42501", "0A000"), function


def test_a_declaration_that_is_not_committed_keeps_what_it_names(
    mallory: Db, example: Db, admin: Db
) -> None:
    table(mallory, "theirs", "uuid uuid", declare=None)
    example.run(f"{HIS}; GRANT SELECT ON his TO mallory; SET lock_timeout = '100ms'")
    mallory.run("BEGIN")
    mallory.run("SELECT rowseal.declare('theirs', owner => 'user_hash', identity => 'his')")
    assert attempt(example, "DROP TABLE his") == "55P03"
    mallory.run("COMMIT")
    assert attempt(example, "DROP TABLE his") is None
    assert admin.one("SELECT identity FROM rowseal.declarations WHERE tag = 'theirs'") == "-"


def test_many_columns_of_large_types_cost_nobody_else_anything(mallory: Db, example: Db) -> None:
    """Nor their owner more than he asks for; what is too much is refused where it is signed."""
    naming_her_identities(mallory)
    attributes = ", ".join(f"a{n} int" for n in range(250))
    mallory.run(f"CREATE TYPE wide AS ({attributes})")
    mallory.run("CREATE TYPE wider AS (a wide)")
    for n in range(20):
        mallory.run(f"CREATE DOMAIN d{n} AS wide")
    columns = [f"ADD u{n} wide" for n in range(500)] + [f"ADD v{n} d{n}" for n in range(20)]
    mallory.run("SELECT rowseal.undeclare('theirs')")
    mallory.run(f"ALTER TABLE theirs {', '.join(columns)}")
    declare = "SELECT rowseal.declare('theirs', owner => 'user_hash', identity => 'user_cards', {})"
    diag = mallory.refused("RS007", declare.format("unsigned => '{}'"))
    assert "1024 types" in str(diag.message_primary)
    unsigned = [c.split()[1] for c in columns]
    mallory.refused("RS007", declare.format("unsigned => %s"), unsigned)
    mallory.run(f"ALTER TABLE theirs {', '.join(f'DROP {name}' for name in unsigned[504:])}")
    mallory.run(declare.format("unsigned => %s"), unsigned[:504])
    mallory.refused("RS007", "ALTER TABLE theirs ADD one_more wider")
    pid = example.connection.info.backend_pid
    before = cpu(pid)
    example.run("ALTER TABLE user_cards RENAME sign_pkey TO pk")
    assert spent(pid, before) < 3
    assert unhealthy(example) == []


def test_how_many_tables_others_declare_costs_no_row_anything(example: Db, admin: Db) -> None:
    """Each row that is received asks which tables it may change."""
    received = (
        "DO $$ BEGIN FOR i IN 1 .. 200 LOOP"
        " PERFORM rowseal._secured('user_storage'); END LOOP; END $$"
    )

    def cost() -> float:
        example.run(received)
        before = cpu(example.connection.info.backend_pid)
        example.run(received)
        return cpu(example.connection.info.backend_pid) - before

    admin.run("ALTER TABLE rowseal.declarations DISABLE TRIGGER install")
    few = cost()
    others = ", ".join(
        admin.all(
            "SELECT attname::text FROM pg_attribute WHERE attnum > 0 AND NOT attisdropped"
            " AND attrelid = 'rowseal.declarations'::regclass"
            " AND attname NOT IN ('relation', 'id', 'tag', 'versions')"
        )
    )
    admin.run(
        f"INSERT INTO rowseal.declarations (relation, id, tag, {others})"
        f" SELECT i::regclass, i, 'other ' || i, {others}"
        "    FROM rowseal.declarations, generate_series(1000000, 1001000) i"
        "   WHERE tag = 'user_storage'"
    )
    assert cost() < 2 * few  # 5 times while all were read, 60 times while that was compiled


def test_a_table_of_partitions_that_was_closed_is_opened_by_its_owner(
    example: Db, admin: Db
) -> None:
    """Which partitions have been verified is not known any more; who changes something else cannot
    be asked to do that.
    """
    admin.run("CREATE TYPE ty AS (a int)")
    table(example, "p", "n int, c ty", "user_hash, n", "PARTITION BY RANGE (n)", None)
    example.run(
        "CREATE TABLE p1 PARTITION OF p FOR VALUES FROM (0) TO (10);"
        "SELECT rowseal.declare('p', owner => 'user_hash', identity => 'user_cards', feed => true)"
    )
    example.run(
        "CREATE TABLE p2 (LIKE p1 INCLUDING ALL);"
        "INSERT INTO p2 (user_hash, n, deleted_flag, owner_timestamp, sign_b64)"
        " VALUES ('x', 11, false, 1, 'x')"
    )
    closed = "SELECT queries = '{}' FROM rowseal.declarations WHERE tag = 'p'"
    admin.run("ALTER TYPE ty ADD ATTRIBUTE b money")
    assert example.one(closed)
    attach = "ALTER TABLE p ATTACH PARTITION p2 FOR VALUES FROM (10) TO (20)"
    assert attempt(example, attach) == "RS007"
    example.run(f"TRUNCATE p2; {attach}")
    admin.run("ALTER TYPE ty DROP ATTRIBUTE b")
    assert example.one(closed)
    example.run("ALTER TABLE p ADD x int")
    assert not example.one(closed) and unhealthy(admin) == []
    assert admin.one("SELECT count(*) FROM rowseal._new_partitions") == 0


def test_no_partition_with_rows_comes_while_a_trigger_is_missing(example: Db) -> None:
    """Nobody would verify them: its table does not follow until it is back."""
    table(example, "p", "uuid uuid, n int", "user_hash, uuid, n", "PARTITION BY LIST (n)")
    example.run("CREATE TABLE p1 (LIKE p INCLUDING ALL); CREATE TABLE p2 (LIKE p INCLUDING ALL)")
    example.run("INSERT INTO p1 VALUES ('x', gen_random_uuid(), 1, false, 1, NULL, 'z')")
    example.run("DROP TRIGGER zzz_rowseal_keep_all ON p")
    diag = example.refused("RS007", "ALTER TABLE p ATTACH PARTITION p1 FOR VALUES IN (1)")
    assert "lacks triggers" in str(diag.message_primary)
    example.run("ALTER TABLE p ATTACH PARTITION p2 FOR VALUES IN (2)")


@pytest.mark.parametrize(
    ("command", "sqlstate"),
    [
        ("CREATE OR REPLACE TRIGGER zzz_rowseal_guard BEFORE INSERT OR UPDATE ON ids"
         " FOR EACH ROW EXECUTE FUNCTION pass()", "RS007"),
        ("ALTER TABLE child INHERIT ids", "RS007"),
    ],
)  # fmt: skip
def test_a_closed_identity_table_keeps_its_guard_and_gets_no_children(
    command: str, sqlstate: str, mallory: Db, example: Db, admin: Db
) -> None:
    """Tables that rest on it are open, and read what it has."""
    example.run(
        f"CREATE TYPE ty AS (a int); CREATE TABLE ids (id bytea PRIMARY KEY, c ty, {CARD});"
        "SELECT rowseal.declare('ids', owner => 'id', public_key => 'k', unsigned => '{c}');"
        "CREATE TABLE child (LIKE ids); GRANT ALL ON ids TO mallory"
    )
    admin.run("ALTER TYPE ty OWNER TO mallory")
    mallory.run(
        "CREATE FUNCTION pass() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END'"
    )
    (mallory if "TRIGGER" in command else example).refused(sqlstate, command)
    assert attempt(mallory, "INSERT INTO ids (id, k, sign_b64) VALUES ('v', 'h', 'z')") == "RS007"


@pytest.mark.parametrize("within", [None, "a refresh"])
def test_a_closed_identity_table_gets_no_keys_by_a_partition(
    within: str | None, mallory: Db, example: Db, admin: Db, ann: Owner
) -> None:
    """Tables that rest on it are open, and read it by its name."""
    example.run(
        "CREATE TYPE ty AS (a int);"
        f"CREATE TABLE ids (id bytea PRIMARY KEY, c ty, {CARD}) PARTITION BY RANGE (id);"
        "CREATE TABLE i1 (LIKE ids INCLUDING ALL);"
        "SELECT rowseal.declare('ids', owner => 'id', public_key => 'k', unsigned => '{c}');"
        "CREATE FUNCTION attach() RETURNS int LANGUAGE plpgsql SECURITY DEFINER AS $$ BEGIN"
        " ALTER TABLE public.ids ATTACH PARTITION public.i1 DEFAULT; RETURN 1; END $$"
    )
    example.run("INSERT INTO i1 (id, k, sign_b64) VALUES (%s, 'hers', 'z')", ann.hash)
    admin.run("ALTER TYPE ty OWNER TO mallory")
    assert example.one("SELECT queries = '{}' FROM rowseal.declarations WHERE tag = 'ids'")
    if within:
        mallory.run("CREATE MATERIALIZED VIEW v AS SELECT public.attach() WITH NO DATA")
        mallory.refused("42501", "REFRESH MATERIALIZED VIEW v")
    else:
        mallory.refused("RS007", "SELECT attach()")
    assert example.one("SELECT count(*) FROM ids") == 0


@pytest.mark.parametrize(
    "command",
    [
        "CREATE TRIGGER zzzz BEFORE INSERT ON public.user_storage FOR EACH ROW"
        " EXECUTE FUNCTION public.hers()",
        "CREATE OR REPLACE TRIGGER zzz_rowseal_guard BEFORE INSERT OR UPDATE ON public.user_storage"
        " FOR EACH ROW EXECUTE FUNCTION public.hers()",
        "CREATE TABLE public.other ()",
    ],
)
def test_no_command_hides_within_a_refresh_of_a_materialized_view(
    command: str, mallory: Db, example: Db
) -> None:
    """PostgreSQL tells event triggers nothing of it: what is not seen is not done."""
    table(mallory, "theirs", "uuid uuid, n int")
    example.run("GRANT ALL ON user_storage TO mallory")
    mallory.run(
        "CREATE FUNCTION hers() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END';"
        "CREATE FUNCTION ddl() RETURNS int LANGUAGE plpgsql AS $$"
        f" BEGIN {command}; RETURN 1; END $$;"
        "CREATE MATERIALIZED VIEW v AS SELECT public.ddl() WITH NO DATA"
    )
    diag = mallory.refused("42501", "REFRESH MATERIALIZED VIEW v")
    assert "within REFRESH MATERIALIZED VIEW" in str(diag.message_primary)
    mallory.run("CREATE MATERIALIZED VIEW w AS SELECT 1 AS n; CREATE UNIQUE INDEX ON w (n)")
    mallory.run("REFRESH MATERIALIZED VIEW w; REFRESH MATERIALIZED VIEW CONCURRENTLY w")
    assert unhealthy(example) == []


def test_no_declared_table_is_altered_within_a_refresh_of_a_materialized_view(
    mallory: Db, example: Db
) -> None:
    """REFRESH … CONCURRENTLY alters a table of its own, which is let through."""
    table(mallory, "theirs", "uuid uuid, n int", declare=", feed => true")
    mallory.run(
        "CREATE FUNCTION ddl() RETURNS int LANGUAGE plpgsql AS $$ BEGIN"
        " DROP TRIGGER zzz_rowseal_guard ON public.theirs;"
        " ALTER TABLE public.theirs ALTER n TYPE money; RETURN 1; END $$;"
        "CREATE MATERIALIZED VIEW v AS SELECT public.ddl() WITH NO DATA"
    )
    mallory.refused("42501", "REFRESH MATERIALIZED VIEW v")
    assert unhealthy(mallory) == []


@pytest.mark.parametrize(
    "command", ["ATTACH PARTITION p2 FOR VALUES IN (2)", "DETACH PARTITION p1"]
)
def test_no_partition_comes_or_goes_within_a_refresh_of_a_materialized_view(
    command: str, mallory: Db, example: Db
) -> None:
    """Its owner lets others call a function for that: by itself it would be followed."""
    table(example, "p", "uuid uuid, n int", "user_hash, uuid, n", "PARTITION BY LIST (n)")
    example.run(
        "CREATE TABLE p1 PARTITION OF p FOR VALUES IN (1); CREATE TABLE p2 (LIKE p INCLUDING ALL);"
        "CREATE FUNCTION ddl() RETURNS int LANGUAGE plpgsql SECURITY DEFINER AS $$ BEGIN"
        f" ALTER TABLE public.p {command.replace('p1', 'public.p1').replace('p2', 'public.p2')};"
        " RETURN 1; END $$"
    )
    mallory.run("CREATE MATERIALIZED VIEW v AS SELECT public.ddl() WITH NO DATA")
    mallory.refused("42501", "REFRESH MATERIALIZED VIEW v")
    example.run("BEGIN; SELECT ddl()")  # in a transaction that has been followed, a refresh is one
    mallory.run("CREATE MATERIALIZED VIEW w AS SELECT 1 AS n; CREATE UNIQUE INDEX ON w (n)")
    example.run("CREATE MATERIALIZED VIEW x AS SELECT 1 AS n; CREATE UNIQUE INDEX ON x (n)")
    example.run("REFRESH MATERIALIZED VIEW CONCURRENTLY x; COMMIT")
    assert unhealthy(example) == []


@pytest.mark.parametrize("who", ["owner", "stranger"])
def test_rows_that_are_hidden_from_who_gives_the_command_are_not_verified(
    who: str, mallory: Db, example: Db, admin: Db
) -> None:
    """Row security hid what is forged: it came in."""
    admin.run("CREATE TYPE ty AS (a int)")
    table(example, "p", "n int, c ty", "user_hash, n", "PARTITION BY LIST (n)")
    example.run(
        "CREATE TABLE p1 (LIKE p INCLUDING ALL); ALTER TABLE p1 ADD CHECK (n = 1);"
        "ALTER TABLE p ENABLE ROW LEVEL SECURITY; CREATE POLICY own ON p USING (n > 1);"
        "INSERT INTO p1 (user_hash, n, deleted_flag, owner_timestamp, sign_b64)"
        " VALUES ('x', 1, false, 1, 'z')"
    )
    attach = "ALTER TABLE p ATTACH PARTITION p1 FOR VALUES IN (1)"
    if who == "owner":
        example.run("ALTER TABLE p FORCE ROW LEVEL SECURITY")
        diag = example.refused("42501", attach)
        assert "row security of public.p may hide some from app" in str(diag.message_primary)
        example.run("ALTER TABLE p NO FORCE ROW LEVEL SECURITY")
        assert attempt(example, attach) == "RS002"
        return
    example.run(
        "GRANT SELECT, TRIGGER ON p TO mallory; GRANT SELECT ON user_cards TO mallory;"
        "CREATE FUNCTION attach() RETURNS void LANGUAGE sql SECURITY DEFINER AS"
        " 'ALTER TABLE public.p ATTACH PARTITION public.p1 FOR VALUES IN (1)'"
    )
    assert attempt(mallory, "SELECT attach()") == "RS002"  # with the rights of the function
    example.run("ALTER FUNCTION attach() SECURITY INVOKER")
    assert attempt(mallory, "SELECT attach()") == "42501"


def test_no_table_is_declared_whose_rows_are_hidden(example: Db) -> None:
    example.run(f"CREATE TABLE h (user_hash bytea PRIMARY KEY, {SEALED})")
    example.run("ALTER TABLE h ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY")
    declare = "SELECT rowseal.declare('h', owner => 'user_hash', identity => 'user_cards')"
    with example.connection.transaction(force_rollback=True):
        example.run(declare)  # there are none
    example.run("ALTER TABLE h NO FORCE ROW LEVEL SECURITY")
    example.run(
        "INSERT INTO h (user_hash, deleted_flag, owner_timestamp, sign_b64)"
        " VALUES ('x', false, 1, 'z')"
    )
    example.run("ALTER TABLE h FORCE ROW LEVEL SECURITY")
    example.refused("42501", declare)
    example.run("ALTER TABLE h NO FORCE ROW LEVEL SECURITY")
    example.refused("RS002", declare)


def test_who_partitions_a_table_waits_for_no_table_with_a_trigger_like_ours(
    mallory: Db, example: Db, ann: Owner
) -> None:
    table(example, "p", "uuid uuid, n int", "user_hash, uuid, n", "PARTITION BY LIST (n)")
    number = example.one("SELECT id FROM rowseal.declarations WHERE tag = 'p'")
    example.run("CREATE TABLE x (a int); GRANT ALL ON x TO mallory")
    mallory.run(
        "CREATE TRIGGER t BEFORE DELETE ON x FOR EACH ROW"
        f" EXECUTE FUNCTION rowseal._keep('{number}')"
    )
    example.run("SET lock_timeout = '3s'")
    with mallory.connection.transaction():
        mallory.run("LOCK TABLE x IN ACCESS SHARE MODE")
        example.run("CREATE TABLE p1 PARTITION OF p FOR VALUES IN (1)")
    assert example.one("SELECT count(*) FROM pg_trigger WHERE tgname = 't'") == 1


@pytest.mark.parametrize("begun", ["pg_current_xact_id()", "age('3'::xid)"])
def test_who_began_before_a_partition_came_does_not_fill_the_feed(
    begun: str, mallory: Db, example: Db, admin: Db, ann: Owner
) -> None:
    """Only in the transaction that brings it, an UPDATE that changes nothing feeds its rows."""
    columns = ("uuid uuid, n int", "user_hash, uuid, n", "PARTITION BY LIST (n)", ", feed => true")
    table(example, "p", *columns)
    form = example.form("p")
    example.run("CREATE TABLE p1 (LIKE p INCLUDING ALL); GRANT ALL ON p, user_cards TO mallory")
    example.insert("p1", ann.sealed(form, row(ann, n=1)))
    mallory.run(f"BEGIN; SELECT {begun}")  # age: from now on its own number is a later one
    example.run(
        "BEGIN; SELECT pg_current_xact_id(); SAVEPOINT s;"
        " ALTER TABLE p ATTACH PARTITION p1 FOR VALUES IN (1); RELEASE s; COMMIT"
    )
    fed = "SELECT count(*) FROM rowseal.feed WHERE tag = 'p'"
    assert admin.one(fed) == 1
    mallory.run("UPDATE p SET n = n; COMMIT")
    assert admin.one(fed) == 1


# --------------------------------------------------------------------- what bears a stranger's name
STRANGE = {
    "a type": ("CREATE TYPE mood AS ENUM ('good')", "public.q", "c public.mood"),
    "an array": ("CREATE TYPE mood AS ENUM ('good')", "public.q", "c public.mood[]"),
    "a domain": ("CREATE DOMAIN word AS text", "public.q", "c public.word"),
    "an attribute": ("CREATE TYPE mood AS ENUM ('good')", "public.q", "c public.pair"),
    "a type of his schema": ("GRANT ALL ON SCHEMA names TO app", "public.q", "c names.mood"),
    "a schema": ("GRANT ALL ON SCHEMA names TO app", "names.q", "c text"),
    "a collation": (
        "CREATE COLLATION de (provider = libc, locale = 'C')",
        "public.q",
        "c text COLLATE public.de",
    ),
}


@pytest.mark.parametrize("kind", STRANGE)
def test_nothing_is_declared_that_a_stranger_has_named(
    kind: str, mallory: Db, example: Db, admin: Db
) -> None:
    """He could put something else under the name; a superuser who carries rows would run it."""
    admin.run("CREATE SCHEMA names AUTHORIZATION mallory")
    hers, name, column = STRANGE[kind]
    mallory.run(hers)
    if "names.mood" in column:
        example.run("CREATE TYPE names.mood AS ENUM ('good')")
    if "pair" in column:
        example.run("CREATE TYPE pair AS (m mood)")
    table(example, name, f"uuid uuid, {column}", declare=None)
    declare = f"SELECT rowseal.declare('{name}', owner => 'user_hash', identity => 'user_cards')"
    diag = example.refused("RS007", declare)
    assert "mallory" in str(diag.message_primary)
    with trusted(admin):
        example.run(declare)
        assert unhealthy(example) == []
    assert unhealthy(example) == ["structure"]


def test_a_table_whose_schema_goes_to_a_stranger_takes_no_rows(
    mallory: Db, example: Db, admin: Db, ann: Owner
) -> None:
    admin.run("CREATE SCHEMA names AUTHORIZATION app")
    table(example, "names.q", "uuid uuid", declare=", tag => 'q'")
    form = example.form("q")
    admin.run("ALTER SCHEMA names OWNER TO mallory; GRANT ALL ON SCHEMA names TO app")
    assert insert(example, "names.q", ann.sealed(form, row(ann))) == "RS007"
    ((outcome, reason),) = example.apply("names.q", [ann.envelope(form, row(ann))])
    assert outcome == "deferred" and reason.startswith("RS007") and "mallory" in reason
    admin.run("ALTER SCHEMA names OWNER TO app")
    assert example.one("SELECT count(*) FROM names.q") == 1
    assert unhealthy(example) == []


def test_what_others_bring_while_a_table_is_closed_is_for_its_owner(
    example: Db, mallory: Db, admin: Db, ann: Owner
) -> None:
    """Also where they do not trust him."""
    admin.run(
        "CREATE SCHEMA names AUTHORIZATION pg_monitor; GRANT SELECT ON user_cards TO pg_monitor"
    )
    hers = Db(admin.connection)
    admin.run("SET SESSION AUTHORIZATION pg_monitor")
    table(hers, "names.q", "uuid uuid", declare=", tag => 'q'")
    hers.run("GRANT USAGE ON SCHEMA names TO mallory; GRANT ALL ON names.q TO mallory")
    admin.run("RESET SESSION AUTHORIZATION; ALTER SCHEMA names OWNER TO mallory")
    envelope = ann.envelope(example.form("q"), row(ann))
    assert [outcome for outcome, _ in mallory.apply("names.q", [envelope])] == ["deferred"]
    admin.run("ALTER SCHEMA names OWNER TO pg_monitor; SET SESSION AUTHORIZATION pg_monitor")
    assert hers.all("SELECT sqlstate, role FROM rowseal.quarantine") == [("RS007", "mallory")]
    assert hers.all("SELECT outcome FROM rowseal.retry()") == ["inserted"]
    admin.run("RESET SESSION AUTHORIZATION")


@pytest.mark.parametrize("opener", ["superuser", "type's owner"])
def test_a_table_that_opens_by_a_command_on_a_type_lets_in_what_waited(
    opener: str, mallory: Db, example: Db, admin: Db, ann: Owner
) -> None:
    """Or, where that is nobody who may write it, says that rows wait."""
    mallory.run("CREATE TYPE pair AS (a integer)")
    with trusted(admin):
        table(example, "q", "uuid uuid, c pair")
        envelope = ann.envelope(example.form("q"), {**row(ann), "c": {"a": "1"}})
        mallory.run("ALTER TYPE pair ADD ATTRIBUTE m money")
        assert [outcome for outcome, _ in example.apply("q", [envelope])] == ["deferred"]
        (admin if opener == "superuser" else mallory).run("ALTER TYPE pair DROP ATTRIBUTE m")
        if opener != "superuser":
            assert unhealthy(example) == ["waiting"]
            assert example.all("SELECT outcome FROM rowseal.retry()") == ["inserted"]
        assert example.one("SELECT count(*) FROM q") == 1
        assert unhealthy(example) == []


def test_a_closed_table_of_partitions_stops_no_superuser(
    mallory: Db, example: Db, admin: Db, ann: Owner
) -> None:
    """He does not trust its owner, so he verifies no rows for it: a restore went no further."""
    admin.run("CREATE SCHEMA names AUTHORIZATION mallory")
    mallory.run(f"""
        CREATE TABLE names.p (user_hash bytea, n int, {SEALED}, PRIMARY KEY (user_hash, n))
            PARTITION BY LIST (n);
        CREATE TABLE names.p1 PARTITION OF names.p FOR VALUES IN (1);
        SELECT rowseal.declare('names.p', owner => 'user_hash', identity => 'user_cards')""")
    value = {"user_hash": ann.hash, "n": 1, "deleted_flag": False, "owner_timestamp": 1}
    mallory.insert("names.p", ann.sealed(mallory.form("p"), value))
    closed = "SELECT queries = '{}' FROM rowseal.declarations WHERE tag = 'p'"
    admin.run("ALTER SCHEMA names OWNER TO pg_monitor")
    assert admin.one(closed)
    admin.run("GRANT ALL ON SCHEMA names TO mallory")
    mallory.run("CREATE TABLE names.p2 PARTITION OF names.p FOR VALUES IN (2)")
    admin.run("ALTER SCHEMA names OWNER TO mallory")
    assert admin.one(closed)
    admin.run("ALTER TABLE names.p ALTER n SET STATISTICS 10")
    assert admin.one(closed)
    mallory.run("ALTER TABLE names.p ALTER n SET STATISTICS 20")
    assert not admin.one(closed) and unhealthy(mallory) == []


def test_a_partition_that_a_superusers_function_attaches_is_verified(
    mallory: Db, example: Db, admin: Db
) -> None:
    """Whatever is set before it is called."""
    table(example, "p", "uuid uuid, n int", "user_hash, uuid, n", "PARTITION BY LIST (n)")
    example.run("CREATE TABLE stage (LIKE p INCLUDING ALL); GRANT INSERT ON stage TO mallory")
    admin.run(
        "CREATE FUNCTION attach() RETURNS void LANGUAGE sql SECURITY DEFINER AS"
        " 'ALTER TABLE public.p ATTACH PARTITION public.stage FOR VALUES IN (1)'"
    )
    mallory.run("INSERT INTO stage VALUES ('x', gen_random_uuid(), 1, false, 1, NULL, 'z')")
    for setting in ("installing", "working", "mode", "spent"):
        mallory.run(f"SET rowseal.{setting} = 'on'")
    mallory.refused("42501", "SET backtrace_functions = rowseal")
    assert attempt(mallory, "SELECT attach()") == "RS002"
    assert example.one("SELECT count(*) FROM p") == 0


def test_a_partition_is_known_by_its_number(
    example: Db, admin: Db, server: Server, database: str
) -> None:
    """It was dropped while its table could not follow; another one has its name."""
    table(example, "p", "uuid uuid, n int", "user_hash, uuid, n", "PARTITION BY LIST (n)")
    example.run("CREATE TABLE p1 PARTITION OF p FOR VALUES IN (1)")
    with server.connect(database, "app") as c:
        Db(c).run("BEGIN; ALTER TABLE user_cards RENAME sign_pkey TO pk")
        example.run("DROP TABLE p1")
        c.execute("COMMIT")
    example.run("CREATE TABLE p1 (LIKE p INCLUDING ALL)")
    example.run("INSERT INTO p1 VALUES ('x', gen_random_uuid(), 1, false, 1, NULL, 'z')")
    assert attempt(example, "ALTER TABLE p ATTACH PARTITION p1 FOR VALUES IN (1)") == "RS002"


def test_how_many_tables_name_an_identity_table_costs_its_owner_little(
    mallory: Db, example: Db, admin: Db
) -> None:
    """What concerns them is looked at once; what they have to follow has an end."""
    example.run("GRANT SELECT ON user_cards TO mallory")
    wide = ", ".join(f"c{n} text" for n in range(60))
    for number in range(12):
        table(mallory, f"t{number}", f"uuid uuid, {wide}")
    pid = example.connection.info.backend_pid
    before = cpu(pid)
    example.run("COMMENT ON TABLE user_cards IS 'x'; ALTER TABLE user_cards ADD COLUMN note text")
    assert spent(pid, before) < 1.5
    before = cpu(pid)
    example.run("ALTER TABLE user_cards RENAME sign_pkey TO pk")
    assert spent(pid, before) < 3


def test_what_others_leave_beside_a_table_is_not_tried_with_every_command(
    mallory: Db, example: Db, admin: Db, ann: Owner
) -> None:
    """They may write nothing there; or it is much."""
    fields = example.one(
        "SELECT spec -> 'fields' FROM rowseal.declarations WHERE tag = 'user_storage'"
    )
    form = Form("user_storage", {**fields, "later": "text"})
    waiting = [ann.envelope(form, {**ann.value(b"x" * 3000), "later": "1"}) for _ in range(300)]
    example.run(
        "GRANT SELECT, INSERT, UPDATE ON user_storage TO mallory;"
        " GRANT SELECT ON user_cards TO mallory"
    )
    for who in (mallory, example):
        assert {o for o, _ in who.apply("user_storage", waiting)} == {"deferred"}
    example.run("REVOKE ALL ON user_storage FROM mallory")
    tried = admin.all(
        "SELECT role, count(*), sum(bytes) FROM rowseal.quarantine"
        " WHERE id = ANY (rowseal._wait_for_table('user_storage', false))"
        " GROUP BY role ORDER BY role"
    )
    assert [role for role, *_ in tried] == ["app", "mallory"]
    assert 32 * 1024 < tried[0][2] <= 256 * 1024 and 0 < tried[1][2] <= 32 * 1024
    assert {o for _, o, _ in example.all("SELECT * FROM rowseal.retry()")} == {"deferred"}


def test_who_can_become_a_role_that_writes_could_have_stored_it(example: Db, admin: Db) -> None:
    """Behind a login that inherits nothing, as that of a pool."""
    admin.run("CREATE ROLE pool LOGIN NOINHERIT; CREATE ROLE writes; GRANT writes TO pool")
    could = "SELECT rowseal._could_store('pool', 'user_storage')"
    try:
        assert not admin.one(could)
        example.run("GRANT INSERT ON user_storage TO writes")
        assert admin.one(could)
        assert not admin.one("SELECT rowseal._could_store('nobody there', 'user_storage')")
    finally:
        admin.run("DROP OWNED BY writes, pool; DROP ROLE pool, writes")


# ----------------------------------------------------------------------- what nobody could follow
def test_a_declared_table_does_not_become_a_partition(mallory: Db, example: Db) -> None:
    """It would be altered with the table that it is a partition of."""
    table(mallory, "theirs", "uuid uuid")
    mallory.run("CREATE TABLE p (LIKE theirs) PARTITION BY LIST (uuid)")
    diag = mallory.refused("RS007", "ALTER TABLE p ATTACH PARTITION theirs DEFAULT")
    assert "partition" in str(diag.message_primary)
    mallory.refused("RS007", "CREATE TABLE child () INHERITS (theirs)")
    assert unhealthy(example) == []


def test_no_cast_of_a_stranger_runs_as_rowseal_internal(
    mallory: Db, example: Db, admin: Db
) -> None:
    """Whatever changed a column's type, and whoever saw it."""
    set_trap(mallory)
    table(mallory, "theirs", "uuid uuid, c bytea", declare=", feed => true")
    mallory.run(
        "CREATE TYPE ty AS ENUM ('a'); CREATE FUNCTION as_bytea(ty) RETURNS bytea LANGUAGE plpgsql"
        " AS $$ BEGIN PERFORM public.trap(); RETURN 'x'; END $$;"
        " CREATE CAST (ty AS bytea) WITH FUNCTION as_bytea AS IMPLICIT"
    )
    for name in ("rowseal_ddl", "rowseal_drop"):
        admin.run(f"ALTER EVENT TRIGGER {name} DISABLE")
    try:
        mallory.run(
            "ALTER TABLE theirs ALTER c TYPE ty USING 'a'; DROP TRIGGER zzz_rowseal_guard ON theirs"
        )
    finally:
        for name in ("rowseal_ddl", "rowseal_drop"):
            admin.run(f"ALTER EVENT TRIGGER {name} ENABLE ALWAYS")
    stored = (
        "INSERT INTO theirs (user_hash, uuid, c, deleted_flag, owner_timestamp, sign_b64)"
        " VALUES ('x', gen_random_uuid(), 'a', false, 1, 'z')"
    )
    diag = mallory.refused("RS007", stored)
    assert "another type" in str(diag.message_primary)
    assert not sprung(mallory)


@pytest.mark.parametrize("command", ["DROP TABLE names.cards", "ALTER SCHEMA names RENAME TO old"])
def test_no_stack_that_is_used_up_leaves_a_table_open(
    command: str, mallory: Db, example: Db, admin: Db
) -> None:
    """The schema's owner made another identity table of that name."""
    admin.run("CREATE SCHEMA names AUTHORIZATION mallory")
    if "ALTER" in command:
        admin.run(f"GRANT CREATE ON DATABASE {admin.connection.info.dbname} TO mallory")
    mallory.run("GRANT ALL ON SCHEMA names TO app")
    with trusted(admin):
        example.run(
            f"CREATE TABLE names.cards (user_hash bytea PRIMARY KEY, k bytea, {SEALED});"
            " SELECT rowseal.declare('names.cards', owner => 'user_hash', public_key => 'k')"
        )
        table(example, "q", "uuid uuid", declare=None)
        example.run("SELECT rowseal.declare('q', owner => 'user_hash', identity => 'names.cards')")
    mallory.run(STACKED.format("names.deep", command))
    most = deepest(mallory, "names.deep")
    assert most > 100
    for depth in range(most - 40, most + 1, 4):
        mallory.run("BEGIN")
        mallory.run(f"SELECT names.deep({depth})")
        state = "SELECT queries = '{}' OR identity::text = 'old.cards' FROM rowseal.declarations"
        assert mallory.all(f"{state} WHERE tag = 'q'") == [True]
        mallory.run("ROLLBACK")


# Somebody has altered something else that the table rests on, and has not committed.
BUSY = "BEGIN; SELECT FROM rowseal.declarations WHERE tag = 'q' FOR UPDATE"


def test_what_could_not_follow_a_name_is_closed(
    mallory: Db, example: Db, admin: Db, ann: Owner
) -> None:
    """Nobody waits for it; so whoever takes the old name chose the keys."""
    admin.run(
        "CREATE SCHEMA names AUTHORIZATION mallory;"
        f" GRANT CREATE ON DATABASE {admin.connection.info.dbname} TO mallory"
    )
    mallory.run("GRANT ALL ON SCHEMA names TO app")
    with trusted(admin):
        example.run(
            f"CREATE TABLE names.cards (user_hash bytea PRIMARY KEY, k bytea, {SEALED});"
            " SELECT rowseal.declare('names.cards', owner => 'user_hash', public_key => 'k')"
        )
        table(example, "q", "uuid uuid", declare=None)
        example.run(
            "SELECT rowseal.declare('q', owner => 'user_hash', identity => 'names.cards',"
            " versions => 'qv'); GRANT SELECT, INSERT, UPDATE ON q TO mallory"
        )
    eve, form = Owner("Eve"), example.form("q")
    forged = {**row(ann)}
    assert insert(mallory, "q", eve.sealed(form, forged)) is not None
    admin.run(BUSY)
    mallory.run(
        "ALTER SCHEMA names RENAME TO old; CREATE SCHEMA names;"
        " CREATE TABLE names.cards (user_hash bytea, k bytea);"
        " GRANT USAGE ON SCHEMA names TO PUBLIC; GRANT SELECT ON names.cards TO PUBLIC"
    )
    admin.run("ROLLBACK")
    mallory.run("INSERT INTO names.cards (user_hash, k) VALUES (%s, %s)", ann.hash, eve.public_key)
    assert insert(mallory, "q", eve.sealed(form, forged)) == "RS007"
    for who in (example, admin):
        ((outcome, reason),) = who.apply("q", [eve.envelope(form, forged)])
        assert outcome == "deferred" and reason.startswith("RS007")
    assert insert(example, "qv", eve.sealed(form, forged)) == "RS007"
    for read in ("verify('q')", "digest('q')", "history('q', '{}')", "conflicts('q')"):
        admin.refused("RS007", f"SELECT * FROM rowseal.{read}")
    assert example.one("SELECT count(*) FROM q") == 0
    assert ("structure", "q") in [(c, r) for c, r, _ in unwell(example)]
    with trusted(admin):
        example.run("ALTER TABLE q ALTER uuid SET STATISTICS 10")  # it follows
    assert insert(example, "q", eve.sealed(form, forged)) == "RS002"


def test_no_check_runs_of_a_domain_that_has_taken_the_name_of_a_type(
    mallory: Db, example: Db, admin: Db, ann: Owner
) -> None:
    set_trap(mallory)
    mallory.run("CREATE TYPE mood AS ENUM ('good')")
    with trusted(admin):
        table(example, "q", "uuid uuid, c mood, d mood[]")
    form = example.form("q")
    envelope = ann.envelope(form, {**row(ann), "c": "good", "d": ["good"]})
    assert admin.apply("q", [envelope]) == [("inserted", None)]  # its plans are kept
    admin.run(BUSY)
    mallory.run("ALTER TYPE mood RENAME TO old")
    admin.run("ROLLBACK")
    mallory.run(
        "CREATE FUNCTION yes(old) RETURNS boolean LANGUAGE plpgsql"
        " AS $$ BEGIN PERFORM public.trap(); RETURN true; END $$;"
        " CREATE DOMAIN mood AS old CHECK (yes(VALUE))"
    )
    envelope = ann.envelope(form, {**row(ann), "c": "good", "d": ["good"]})
    admin.refused("RS007", "SELECT rowseal.payload('q', %s)", Jsonb(envelope["row"]))
    for who in (example, admin):
        ((outcome, reason),) = who.apply("q", [envelope])
        assert outcome == "deferred" and reason.startswith("RS007")
        two = [ann.envelope(form, {**row(ann), "c": "good"}) for _ in range(2)]
        assert [o for o, _ in who.apply("q", two)] == ["deferred"] * 2
    assert not sprung(mallory)


def test_a_guard_of_no_table_of_ours_keeps_nobody_waiting(mallory: Db, example: Db) -> None:
    """A restore makes triggers before their declarations, and has to wait for these."""
    example.run("SET statement_timeout = '5s'")
    mallory.run(
        "BEGIN; CREATE TEMP TABLE x (i int); CREATE TRIGGER zzz_rowseal_guard BEFORE DELETE ON x"
        " FOR EACH ROW EXECUTE FUNCTION rowseal._keep()"
    )
    example.run("ALTER TABLE user_cards ADD n int")
    mallory.run("ROLLBACK; BEGIN")
    table(mallory, "theirs", "uuid uuid")
    table(example, "p", "uuid uuid, n int", "user_hash, uuid, n", "PARTITION BY LIST (n)")
    example.run("CREATE TABLE p1 PARTITION OF p FOR VALUES IN (1)")
    mallory.run("ROLLBACK")


def test_what_names_a_former_partition_keeps_nobody_waiting(
    mallory: Db, example: Db, admin: Db
) -> None:
    """It was hers, and her declaration has not followed that it went; its name is anybody's."""
    example.run("GRANT SELECT ON user_cards TO mallory")
    naming_her_identities(mallory)
    admin.run(
        "SET session_replication_role = replica; UPDATE rowseal.declarations SET facts ="
        " jsonb_set(facts, '{main,partitions}', '{\"public.staging\": 1}') WHERE tag = 'theirs';"
        " RESET session_replication_role"
    )
    example.run("CREATE TABLE staging (); SET lock_timeout = '3s'")
    mallory.run("BEGIN; SELECT rowseal.undeclare('theirs')")
    example.run("DROP TABLE staging")
    mallory.run("ROLLBACK")


def test_a_stack_that_is_used_up_closes_no_table_of_others(
    mallory: Db, example: Db, admin: Db
) -> None:
    table(mallory, "hers", "k bytea", "user_hash", declare=None)
    mallory.run(
        "SELECT rowseal.declare('hers', owner => 'user_hash', public_key => 'k');"
        " GRANT SELECT ON hers TO app"
    )
    altered = "ALTER TABLE public.hers ADD COLUMN x int; ALTER TABLE public.hers DROP COLUMN x"
    mallory.run(STACKED.format("deep", altered))
    table(example, "his", "uuid uuid", declare=None)
    example.run(
        "SELECT rowseal.declare('his', owner => 'user_hash', identity => 'hers');"
        " CREATE UNIQUE INDEX ON his (sign_b64)"  # nothing has followed that yet
    )
    enough, too_deep = 0, 4000
    while too_deep - enough > 1:
        depth = (enough + too_deep) // 2
        if attempt(mallory, f"SELECT deep({depth})") is None:
            enough = depth
        else:
            too_deep = depth
        assert example.all("SELECT tag FROM rowseal.declarations WHERE queries = '{}'") == []
