"""A replica for the writers' tests, once per module and layout."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from kit.db import Server
from kit.writers import Replica, replica_on


@pytest.fixture(scope="module", params=["two tables", "one table"], ids=["two-tables", "one-table"])
def replica(server: Server, request: pytest.FixtureRequest) -> Iterator[Replica]:
    with replica_on(server, request.param) as made:
        yield made
