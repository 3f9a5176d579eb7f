"""What one role does to its own tables and types neither harms nor stops the others,
and no table is known by its name alone.
"""

from __future__ import annotations

import pytest

from kit.attacks import attempt, insert, row, table, unhealthy
from kit.db import Db
from kit.example import Owner
from kit.scratch import CARD, unwell

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
    diag = example.refused("RS007", "DROP DOMAIN key_ CASCADE")
    assert "theirs" in str(diag.message_primary)
    assert unhealthy(example) == []
    example.run("DROP DOMAIN note CASCADE")  # as ALTER TABLE … DROP COLUMN
    assert unhealthy(example) == []
    assert (
        example.one("SELECT fields ? 'n' FROM rowseal.declarations WHERE tag = 'theirs'") is False
    )


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
