"""Functions of triggers are for the owners of their tables alone, whoever that is by now."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from kit.db import Db
from kit.scratch import unwell

PARTS = """CREATE TABLE parts (user_hash bytea, n int, deleted_flag boolean, owner_timestamp bigint,
        sign_b64 bytea, PRIMARY KEY (user_hash, n)) PARTITION BY LIST (n);
    SELECT rowseal.declare('parts', owner => 'user_hash', identity => 'user_cards', feed => true);
    CREATE TABLE sub PARTITION OF parts FOR VALUES IN (1, 2) PARTITION BY LIST (n)"""
MAY = """SELECT DISTINCT grantee::regrole::text FROM pg_proc p, aclexplode(p.proacl)
    WHERE pronamespace = 'rowseal'::regnamespace AND prorettype = 'trigger'::regtype
    AND proname ~ '_[0-9]+$' AND grantee <> proowner ORDER BY 1"""


def partition(admin: Db, owner: str) -> None:
    """The owner of parts makes partitions of it, one by each way."""
    acting(
        admin,
        owner,
        "CREATE TABLE p3 PARTITION OF parts FOR VALUES IN (3);"
        " CREATE TABLE p4 (LIKE parts INCLUDING ALL);"
        " ALTER TABLE parts ATTACH PARTITION p4 FOR VALUES IN (4)",
    )


@pytest.fixture
def heir(example: Db, admin: Db) -> Iterator[str]:
    admin.run("CREATE ROLE heir LOGIN; GRANT ALL ON SCHEMA public TO heir")
    example.run("GRANT SELECT ON user_cards TO heir")
    yield "heir"
    admin.run("RESET ROLE")
    for role in admin.all("SELECT rolname FROM pg_roles WHERE rolname IN ('heir', 'late')"):
        admin.run(f"DROP OWNED BY {role} CASCADE; DROP ROLE {role}")


def acting(admin: Db, role: str, sql: str) -> None:
    admin.run(f"SET ROLE {role}")
    admin.run(sql)
    admin.run("RESET ROLE")


def test_the_new_owner_of_a_table_makes_partitions_and_the_old_one_keeps_no_right(
    example: Db, admin: Db, heir: str
) -> None:
    example.run(PARTS)
    assert admin.all(MAY) == ["app"]
    admin.run("ALTER TABLE parts OWNER TO heir; ALTER TABLE sub OWNER TO heir")
    partition(admin, heir)
    assert unwell(admin) == []
    number = admin.one("SELECT id FROM rowseal.declarations WHERE tag = 'parts'")
    for function in ("guard", "feed"):
        may = f"SELECT has_function_privilege('app', 'rowseal._{function}_{number}()', 'EXECUTE')"
        assert not admin.one(may)


def test_what_reassign_owned_gives_away_is_seen_and_put_right(
    example: Db, admin: Db, heir: str
) -> None:
    """It fires no event trigger."""
    example.run("DROP TABLE user_storage, user_storage_versions")
    example.run(PARTS)
    admin.run("REASSIGN OWNED BY app TO heir")
    seen = unwell(admin)
    assert [(check, table) for check, table, _ in seen] == [
        ("functions", "user_cards"),
        ("functions", "parts"),
    ]
    assert all("may be executed by others" in detail for _, _, detail in seen)
    admin.run("ALTER TABLE user_cards OWNER TO heir; ALTER TABLE parts OWNER TO heir")
    assert (unwell(admin), admin.all(MAY)) == ([], ["heir"])
    partition(admin, heir)
    admin.run("DROP OWNED BY app")  # as one does before DROP ROLE: it takes nothing away
    assert unwell(admin) == []


def test_the_owner_of_a_partition_makes_partitions_of_it(example: Db, admin: Db, heir: str) -> None:
    example.run(f"{PARTS}; GRANT SELECT ON parts TO heir")
    diag = admin.refused("RS007", "ALTER TABLE sub OWNER TO heir")  # who could switch guards off
    assert "partition public.sub (heir)" in str(diag.message_primary)
    admin.run("GRANT app TO heir; ALTER TABLE sub OWNER TO heir")
    acting(admin, heir, "CREATE TABLE p1 PARTITION OF sub FOR VALUES IN (1)")
    partition(admin, "app")
    assert unwell(admin) == []


def test_a_role_that_is_renamed_keeps_its_right(example: Db, admin: Db, heir: str) -> None:
    example.run(PARTS)
    admin.run("ALTER TABLE parts OWNER TO heir; ALTER ROLE heir RENAME TO late")
    assert unwell(admin) == []
    partition(admin, "late")
    assert (admin.all(MAY), unwell(admin)) == (["app", "late"], [])


def test_health_tells_who_may_execute_too_much_or_too_little(example: Db, admin: Db) -> None:
    guard = "EXECUTE ON FUNCTION rowseal._guard_1()"
    for more, less in (
        (f"GRANT {guard} TO PUBLIC", f"REVOKE {guard} FROM PUBLIC"),
        (f"REVOKE {guard} FROM app", f"GRANT {guard} TO app"),
    ):
        admin.run(more)
        ((check, relation, detail),) = unwell(example)
        assert (check, relation) == ("functions", "user_cards") and "_guard_1 (may be" in detail
        admin.run(less)
        assert unwell(example) == []


@pytest.mark.parametrize("order", [("user_storage", "user_storage_versions")[::n] for n in (1, -1)])
def test_a_table_and_its_versions_have_one_owner_or_take_no_rows(
    order: tuple[str, str], example: Db, admin: Db, heir: str
) -> None:
    """Who has the versions table could put a history there that nobody has signed."""
    admin.run("REVOKE rowseal_trusted FROM app")
    try:
        closed = "SELECT queries = '{}' FROM rowseal.declarations WHERE tag = 'user_storage'"
        admin.run(f"ALTER TABLE {order[0]} OWNER TO heir")
        assert admin.one(closed)
        ((check, _, detail),) = unwell(admin)
        assert check == "structure" and "versions table" in detail
        admin.run(f"ALTER TABLE {order[1]} OWNER TO heir")
        assert not admin.one(closed) and unwell(admin) == []
    finally:
        admin.run("GRANT rowseal_trusted TO app")
