"""Rule R5: of one writer 64 chains count.  Whom further grants crowd out is mute on every server
alike, whatever came first, and the owner's own grant heals that.
"""

from __future__ import annotations

import random
from typing import Any

import pytest

from kit.db import Db
from kit.writers import Book, Replica, Sent, tables
from kit.writers_model import MOST_CHAINS

A_MANAGER, ANOTHER = "A", "M"


class Crowd:
    """The owner lets in two managers; over one of them the chain W, and below him X, is let in.
    The other manager, who stands higher, grants W nothing, as often as it takes.
    """

    def __init__(self, db: Db):
        self.book = book = Book(db)
        self.chain = [
            book.grant(A_MANAGER, may_grant=3),
            book.grant(ANOTHER, may_grant=1),
            book.grant("B", by=A_MANAGER, may_grant=2),
            book.grant("W", by="B", may_grant=1),
            book.grant("X", by="W"),
        ]
        self.rows = [
            *(book.data("W", key=name, at=5) for name in ("a", "b")),
            book.data(key="a", at=1),
            book.data("X", key="c", at=5),
            book.data("X", table="u"),
        ]
        self.crowd = [
            book.grant("W", by=ANOTHER, at=2 + n, prefix="nothing") for n in range(MOST_CHAINS)
        ]

    def heal(self) -> list[Sent]:
        """Also below W, where a chain by the owner's own grant is short enough."""
        return [self.book.grant("W", at=9, may_grant=1)]


def keys(replica: Replica) -> list[Any]:
    return replica.db.all("SELECT DISTINCT key FROM t ORDER BY 1")


ORDERS = {
    "crowd last": ("chain", "rows", "crowd"),
    "crowd first": ("crowd", "chain", "rows"),
    "rows last": ("chain", "crowd", "rows"),
    "rows first": ("rows", "crowd", "chain"),
}


@pytest.mark.parametrize(
    ("door", "order"),
    [
        ("sql", "crowd last"),  # an INSERT refuses what does not count yet
        *((door, order) for door in ("apply", "feed") for order in ORDERS),
    ],
)
def test_who_is_crowded_out_is_mute_in_every_order(replica: Replica, door: str, order: str) -> None:
    replica.reset()
    c = Crowd(replica.db)
    for part in ORDERS[order]:
        replica.deliver(door, getattr(c, part))
    assert keys(replica) == ["a"]
    replica.deliver(door, c.heal())
    assert keys(replica) == ["a", "b", "c"]


@pytest.mark.parametrize("seed", range(3))
def test_one_by_one_it_makes_no_difference(replica: Replica, seed: int) -> None:
    replica.reset()
    c = Crowd(replica.db)
    sent = [*c.chain, *c.rows, *c.crowd, *c.heal()]
    random.Random(seed).shuffle(sent)
    for some in (sent[:40], sent[40:55], *([s] for s in sent[55:])):
        replica.deliver("apply", some)
    assert keys(replica) == ["a", "b", "c"]


def declare(replica: Replica, *tags: str) -> None:
    for statement in tables(replica.layout).split("; "):
        if any(f"declare('{tag}'" in statement for tag in tags):
            replica.db.run(statement)


@pytest.mark.parametrize("undeclared", [("t",), ("t", "u", "grants")])
def test_who_was_crowded_out_in_between_is_no_reason_to_refuse(
    replica: Replica, undeclared: tuple[str, ...]
) -> None:
    """What was crowded out in the meantime is held; it is no reason to refuse the table."""
    replica.reset()
    c = Crowd(replica.db)
    replica.deliver("apply", [*c.chain, *c.rows])
    for tag in undeclared:
        replica.db.run(f"SELECT rowseal.undeclare('{tag}')")
    if "grants" in undeclared:
        declare(replica, *undeclared)
        replica.compare()
        replica.deliver("apply", c.crowd)
    else:
        for s in c.crowd:
            replica.db.insert("grants", s.columns)
            replica.received.add(s.row)
        declare(replica, *undeclared)
        replica.compare()
    assert keys(replica) == ["a"]
    replica.deliver("apply", c.heal())
    assert keys(replica) == ["a", "b", "c"]


def test_without_a_crowd_a_row_that_no_grant_covers_is_a_reason_to_refuse(replica: Replica) -> None:
    replica.reset()
    c = Crowd(replica.db)
    replica.deliver("apply", [*c.chain, *c.crowd[2:]])
    replica.db.run("SELECT rowseal.undeclare('t')")
    replica.db.insert("t", c.book.data("Y").columns)
    with pytest.raises(Exception, match="holds a row that cannot stay: no grant for this writer"):
        declare(replica, "t")
