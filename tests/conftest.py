"""A real PostgreSQL server for the tests, and the people of the running example.

The server is started by pytest-postgresql in a temporary folder.  Every test gets a database of
its own, made from a template that has the extension.  ``db`` connects as an ordinary role that owns
its tables; ``admin`` is the superuser.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import psycopg
import pytest
from pytest_postgresql import factories

pytest.register_assert_rewrite("kit")

from kit.db import Db, Server  # noqa: E402
from kit.example import EXAMPLE, Owner  # noqa: E402
from kit.server import LOGICAL, PG_CTL, SETTINGS, options, own_environment  # noqa: E402

own_environment()
# It listens on loopback, as pytest-postgresql expects.
settings = {k: v for k, v in {**SETTINGS, **LOGICAL}.items() if k != "listen_addresses"}
postgresql_proc = factories.postgresql_proc(
    executable=str(PG_CTL), postgres_options=options(settings), unixsocketdir="/tmp"
)


@pytest.fixture(scope="session")
def server(postgresql_proc: Any) -> Server:
    return Server(postgresql_proc.host, postgresql_proc.port)


def with_example(server: Server) -> str:
    """A fresh database with the tables of the running example."""
    return server.database(server.prepared("rowseal_example", EXAMPLE))


@pytest.fixture
def database(server: Server, request: pytest.FixtureRequest) -> Iterator[str]:
    """The name of a fresh database with the extension, and with what ``example`` says."""
    name = with_example(server) if "example" in request.fixturenames else server.database()
    yield name
    server.drop(name)


@pytest.fixture
def db(server: Server, database: str) -> Iterator[Db]:
    """Connection of the ordinary role ``app``, in the fresh database."""
    with server.connect(database, "app") as c:
        yield Db(c)


@pytest.fixture
def admin(server: Server, database: str) -> Iterator[Db]:
    """Connection of the superuser, in the same database."""
    with server.connect(database) as c:
        yield Db(c)


@pytest.fixture
def example(db: Db) -> Db:
    """``db`` with the tables of the running example, owned by ``app``, declared and empty."""
    return db


@pytest.fixture
def transaction(shared: psycopg.Connection[Any]) -> Iterator[psycopg.Connection[Any]]:
    """The connection of a module that shares one database (kit/scratch.py),
    in a transaction that is rolled back.
    """
    with shared.transaction(force_rollback=True):
        yield shared


@pytest.fixture
def other(server: Server) -> Iterator[Db]:
    """The example's empty tables in another database."""
    name = with_example(server)
    with server.connect(name, "app") as c:
        yield Db(c)
    server.drop(name)


@pytest.fixture
def mallory(server: Server, database: str, example: Db) -> Iterator[Db]:
    """Connection of a role that may read and write the example's tables and create objects,
    but owns none of them.
    """
    example.run(
        "GRANT SELECT, INSERT, UPDATE, DELETE, TRUNCATE, TRIGGER ON user_cards, user_storage,"
        " user_storage_versions TO mallory"
    )
    with server.connect(database, "mallory") as c:
        yield Db(c)


@pytest.fixture
def ann(example: Db) -> Owner:
    """An owner whose card is stored."""
    owner = Owner("Ann")
    example.insert("user_cards", owner.sealed(example.form("user_cards"), owner.card()))
    return owner


@pytest.fixture
def bob(example: Db) -> Owner:
    owner = Owner("Bob")
    example.insert("user_cards", owner.sealed(example.form("user_cards"), owner.card()))
    return owner
