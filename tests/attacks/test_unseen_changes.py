"""What event triggers do not see, or see under the same name, lets in nobody's code and no row."""

from __future__ import annotations

import pytest

from kit.attacks import attempt, set_trap, sprung, table, unhealthy
from kit.db import Db, Server
from kit.example import EXAMPLE
from kit.writers import tables

EVIL = (
    "CREATE FUNCTION evil({0}) RETURNS {1} LANGUAGE plpgsql AS"
    " $$ BEGIN PERFORM public.trap(); RETURN NULL; END $$;"
    " CREATE CAST ({0} AS {1}) WITH FUNCTION evil({0}) AS IMPLICIT"
)
STORED = (
    "INSERT INTO theirs (user_hash, uuid, c, deleted_flag, owner_timestamp, sign_b64)"
    " VALUES ('x', gen_random_uuid(), {}, false, 1, 'z')"
)


# ----------------------------------------------------------------------------------- casts of types
@pytest.mark.parametrize("type_", ["word[]", "word[][]", "words"])
def test_no_cast_from_an_array_of_a_domain_runs_as_rowseal_internal(
    type_: str, mallory: Db, example: Db
) -> None:
    """Casts from domains are ignored, those from arrays of domains are not."""
    set_trap(mallory)
    mallory.run("CREATE DOMAIN word AS int; CREATE DOMAIN words AS word[]")
    table(mallory, "theirs", f"uuid uuid, c {type_}", declare=", feed => true")
    mallory.run(EVIL.format("word[]", "int[]"))
    mallory.run("ALTER TABLE theirs DISABLE TRIGGER zzz_rowseal_guard")
    assert attempt(mallory, STORED.format("'{1}'")) is None
    assert not sprung(mallory)


@pytest.mark.parametrize("type_", ["word[]", "words"])
def test_tables_with_writers_have_no_arrays_of_a_domain(type_: str, db: Db) -> None:
    db.run("CREATE DOMAIN word AS int; CREATE DOMAIN words AS word[]")
    diag = db.refused("RS007", tables().replace("value integer", f"value {type_}"))
    assert "has the type" in str(diag.message_primary)


def test_no_cast_runs_for_a_type_that_has_taken_the_name_of_another(
    mallory: Db, example: Db
) -> None:
    """While the table is rewritten its types are renamed: the table has to follow, and cannot."""
    set_trap(mallory)
    mallory.run("CREATE TYPE e AS ENUM ('a'); CREATE TYPE x AS ENUM ('a')")
    table(mallory, "theirs", "uuid uuid, c e", declare=", feed => true")
    mallory.run(
        "CREATE FUNCTION swap(e) RETURNS x LANGUAGE plpgsql AS $$ BEGIN"
        " ALTER TYPE e RENAME TO e_old; ALTER TYPE x RENAME TO e; RETURN NULL; END $$;"
        " ALTER TABLE theirs DISABLE TRIGGER zzz_rowseal_guard;"
        " INSERT INTO theirs (user_hash, uuid, deleted_flag, owner_timestamp, sign_b64)"
        " VALUES ('y', gen_random_uuid(), false, 1, 'y')"
    )
    swap = "ALTER TABLE theirs ALTER COLUMN c TYPE x USING swap(c)"
    assert attempt(mallory, swap) == "55006"  # it is in use
    assert mallory.all("SELECT c FROM theirs") == [None] and not sprung(mallory)


# ------------------------------------------------------------------------------------ old snapshots
BLIND = {
    "a trigger behind the guard": "CREATE TRIGGER zzzz BEFORE INSERT ON user_storage FOR EACH ROW"
    " EXECUTE FUNCTION tsvector_update_trigger(a, b)",
    "a rule": "CREATE RULE r AS ON INSERT TO user_storage DO ALSO NOTHING",
    "an index": "CREATE UNIQUE INDEX ON user_storage (owner_timestamp)",
    "a child": "CREATE TABLE child () INHERITS (user_storage)",
    "another type": "ALTER TABLE user_storage ALTER value_b64 TYPE text USING 'x'",
    "a column less": "ALTER TABLE user_storage DROP value_b64",
    "the table itself": "DROP TABLE user_storage CASCADE",
    "its type's name": "ALTER DOMAIN note RENAME TO other",
}


@pytest.mark.parametrize("level", ["REPEATABLE READ", "SERIALIZABLE"])
@pytest.mark.parametrize("command", BLIND.values(), ids=list(BLIND))
def test_no_command_of_an_old_snapshot_passes_a_declaration_by(
    command: str, level: str, server: Server, database: str
) -> None:
    """It sees no declaration that came after it, and would change what is guarded by now."""
    made, declared = EXAMPLE.split("SELECT rowseal.declare('user_cards'")
    with server.connect(database, "app") as one, server.connect(database, "app") as two:
        app, old = Db(one), Db(two)
        app.run("CREATE DOMAIN note AS text; " + made)
        app.run("ALTER TABLE user_storage ADD n note; ALTER TABLE user_storage_versions ADD n note")
        old.run(f"BEGIN ISOLATION LEVEL {level}; SELECT 1")
        app.run("SELECT rowseal.declare('user_cards'" + declared)
        assert attempt(old, command) == "25001"
        old.run("ROLLBACK")
        assert unhealthy(app) == []


def test_what_is_new_or_temporary_needs_no_new_snapshot(example: Db) -> None:
    example.run("BEGIN ISOLATION LEVEL SERIALIZABLE; CREATE TABLE fresh (a int)")
    example.run("CREATE TABLE copied AS SELECT 1 AS a; CREATE VIEW v AS SELECT 1")
    example.run("CREATE TEMP TABLE t (a int); ALTER TABLE t ADD b int; DROP TABLE t")
    example.run("GRANT SELECT ON fresh TO PUBLIC; COMMIT")


def test_no_declaration_rests_on_an_old_snapshot(server: Server, database: str) -> None:
    """It would not verify what was stored since then, nor would a partition that is attached."""
    made, declared = EXAMPLE.split("SELECT rowseal.declare('user_cards'")
    with server.connect(database, "app") as one:
        app = Db(one)
        app.run(made + "SET default_transaction_isolation = 'repeatable read'")
        assert attempt(app, "SELECT rowseal.declare('user_cards'" + declared) == "25001"
        app.run("RESET default_transaction_isolation")
        app.run("SELECT rowseal.declare('user_cards'" + declared)
        app.run("CREATE TABLE p (k bytea, a int, PRIMARY KEY (k, a)) PARTITION BY LIST (a)")
        app.run("CREATE TABLE p1 (LIKE p)")
        app.run("BEGIN ISOLATION LEVEL REPEATABLE READ")
        assert attempt(app, "ALTER TABLE p ATTACH PARTITION p1 FOR VALUES IN (1)") == "25001"
