"""What a declared table must hold: rules 2 and 3 of docs/rules.md as a function of a set.

The server merges row by row, in whatever order they come.  This model has no order of arrival, no
merging and no memory: it takes the set of authentic versions that were received and says what the
tables hold.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable
from typing import Any, NamedTuple

UNVERSIONED, TWO_TABLES, ONE_TABLE = "unversioned", "two tables", "one table"
LAYOUTS = (UNVERSIONED, TWO_TABLES, ONE_TABLE)


class Version(NamedTuple):
    """One signed row.  ``content`` is the whole of it, as stored;
    two versions are one when all of it is equal.
    """

    key: Hashable
    timestamp: int
    deleted: bool
    sign: bytes
    content: tuple[Any, ...]

    @property
    def order(self) -> tuple[int, bool, bytes]:
        """Nothing else decides between two versions of a key (rule 2)."""
        return self.timestamp, self.deleted, self.sign


class State(NamedTuple):
    """The rows of the main table and of the versions table."""

    main: frozenset[Version]
    versions: frozenset[Version]


def tips(received: Iterable[Version]) -> dict[Hashable, Version]:
    """The current version of each key."""
    out: dict[Hashable, Version] = {}
    for v in received:
        if v.key not in out or v.order > out[v.key].order:
            out[v.key] = v
    return out


def state(layout: str, received: Iterable[Version]) -> State:
    """What the tables hold after these authentic versions,
    in whatever order and however often they came (rule 7).
    """
    known = frozenset(received)
    current = frozenset(tips(known).values())
    if layout == UNVERSIONED:
        return State(current, frozenset())
    if layout == TWO_TABLES:
        return State(current, known - current)
    return State(known, frozenset())


def outcome(layout: str, received: Iterable[Version], incoming: Version) -> str:
    """What rowseal.apply answers for an authentic version that comes after these."""
    known = frozenset(received)
    current = tips(known).get(incoming.key)
    if current is None:
        return "inserted"
    if incoming == current or (incoming in known and layout != UNVERSIONED):
        return "duplicate"
    if incoming.order > current.order:
        return "superseded"
    return "stale" if layout == UNVERSIONED else "archived"
