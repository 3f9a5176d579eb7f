"""Roles belong to the cluster: who may create some can have made rowseal's before it came.

The tests have a server of their own.
"""

from __future__ import annotations

from collections.abc import Iterator

import psycopg
import pytest

from kit.db import Db
from kit.scratch import Scratch, unwell
from kit.server import Postgres, temporary_folder


@pytest.fixture(scope="module")
def cluster() -> Iterator[Postgres]:
    with temporary_folder("roles") as folder, Postgres(folder) as cluster:
        with cluster.connect("postgres") as c:
            c.execute("CREATE ROLE mallory LOGIN CREATEROLE")
            c.execute("CREATE DATABASE other")
        yield cluster


@pytest.mark.parametrize(
    ("made", "taken"),
    [
        ("CREATE ROLE rowseal_internal ROLE mallory", "members mallory"),
        ("CREATE ROLE rowseal_internal LOGIN", "LOGIN"),
        ("CREATE ROLE rowseal_internal SUPERUSER BYPASSRLS", "SUPERUSER, BYPASSRLS"),
        ("CREATE ROLE rowseal_internal LOGIN ROLE mallory", "LOGIN, members mallory"),
    ],
)
def test_a_role_of_somebody_elses_does_not_own_the_tables(
    cluster: Postgres, made: str, taken: str
) -> None:
    superusers = "SUPERUSER" in made
    with cluster.connect("postgres", *([] if superusers else ["mallory"])) as c:
        c.execute(made)
    with cluster.connect("postgres") as c:
        with pytest.raises(psycopg.Error, match=f"not of rowseal alone: it has {taken}") as error:
            c.execute("CREATE EXTENSION rowseal CASCADE")
        assert error.value.sqlstate == "RS008"
        assert "REVOKE rowseal_internal FROM" in (error.value.diag.message_hint or "")
        c.execute("DROP ROLE rowseal_internal")


def test_another_database_has_made_them_and_health_tells_who_is_in(cluster: Postgres) -> None:
    with cluster.connect("postgres") as c, cluster.connect("other") as o:
        here, there = Db(c), Db(o)
        here.run("CREATE EXTENSION rowseal CASCADE; GRANT rowseal_admin TO mallory")
        there.run("CREATE EXTENSION rowseal CASCADE")
        told = "SELECT detail FROM rowseal.health() WHERE \"check\" = 'roles'"
        assert there.one(told) == (
            "rowseal_admin has members mallory, rowseal_internal has no members,"
            " rowseal_trusted has no members"
        )
        here.run("GRANT rowseal_internal TO mallory")
        assert unwell(there) == [("roles", None, "rowseal_internal has members mallory")]


@pytest.mark.parametrize(
    "command",
    [
        "CREATE TRIGGER t BEFORE INSERT ON rowseal.feed EXECUTE FUNCTION suppress()",
        "CREATE RULE r AS ON INSERT TO rowseal.quarantine DO ALSO NOTHING",
        "CREATE POLICY p ON rowseal.feed USING (true)",
        "ALTER TABLE rowseal.feed DISABLE TRIGGER ALL",
        "ALTER TABLE rowseal.feed ALTER role SET DEFAULT evil()",
        "ALTER TABLE rowseal._grants OWNER TO CURRENT_USER",
        "ALTER FUNCTION rowseal._gaps(regclass) SECURITY INVOKER",
        "ALTER FUNCTION rowseal._feed_1() SET search_path = evil",
        "DROP FUNCTION rowseal._feed_1()",
        "DROP OWNED BY rowseal_internal",
        "CREATE INDEX ON rowseal.feed (evil(tag))",
        "CREATE TEMP TABLE t ()",
        "GRANT ALL ON rowseal._licences TO PUBLIC",
        "COMMENT ON TABLE rowseal.feed IS 'evil'",
    ],
)
def test_code_that_runs_as_rowseal_internal_puts_nothing_on_its_tables(
    command: str, admin: Scratch
) -> None:
    """Whatever gets there by a cast or an operator is not in the next superuser's way."""
    admin.run("SET ROLE rowseal_internal")
    diag = admin.refused("42501", command)
    assert str(diag.message_primary).endswith("is not for rowseal_internal")
