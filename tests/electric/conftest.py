"""What the tests of Electric are given: a source that Electric follows, and our database."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from kit.db import Db, Server
from kit.electric import CLIENT, PLAIN, Writer, serving
from kit.example import EXAMPLE
from kit.node import packages
from kit.shape_server import ShapeServer


@pytest.fixture(scope="module")
def elsewhere(server: Server) -> Iterator[Db]:
    name = server.database("template1")
    with server.connect(name) as c:
        yield Db(c)
    server.drop(name)


@pytest.fixture
def source(elsewhere: Db) -> Db:
    """Another server's database, seen by its superuser; its tables are not declared:
    whoever owns it may do as he likes.
    """
    elsewhere.run("DROP SCHEMA public CASCADE; CREATE SCHEMA public")
    elsewhere.run(PLAIN)
    return elsewhere


@pytest.fixture
def electric(server: Server, source: Db) -> Iterator[ShapeServer]:
    with serving(server, source.connection.info.dbname) as electric:
        yield electric


@pytest.fixture(scope="module")
def template(server: Server) -> Iterator[str]:
    """A database with the example's tables, to be copied: declaring takes longer."""
    name = server.database()
    with server.connect(name, "app") as c:
        c.execute(EXAMPLE)
    yield name
    server.drop(name)


@pytest.fixture
def here(server: Server, template: str) -> Iterator[Db]:
    """Our database, seen by the owner of its tables."""
    name = server.database(template)
    with server.connect(name, "app") as c:
        yield Db(c)
    server.drop(name)


@pytest.fixture
def ann(source: Db, here: Db) -> Writer:
    return Writer(source, here).join()


@pytest.fixture(scope="session")
def client() -> None:
    """Electric's client is installed, at the version of the lock file."""
    packages(CLIENT)
