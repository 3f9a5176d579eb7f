"""What one server must hold and answer, whatever the combination of features: the models of order
(kit/model.py) and of writers (kit/writers_model.py) put together.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

from kit import model, writers_model

SETTLED = {"inserted", "superseded", "archived", "stale", "duplicate"}


class Item(NamedTuple):
    """A signed row on its way.  ``row`` and ``version`` are what the models know of it; ``bare``:
    without the content that is signed by digest.
    """

    table: str
    columns: dict[str, Any]
    envelope: dict[str, Any]
    row: writers_model.Row
    version: model.Version
    bare: bool = False

    def __hash__(self) -> int:
        return id(self.columns)

    def __repr__(self) -> str:
        row, how = self.row, "bare " * self.bare + "forged " * (not self.row.authentic)
        by = f" by {row.writer[:4]}#{row.number}" if row.writer else ""
        said = f"{row.key}@{row.at}{' deleted' * row.deleted} [{row.sign.hex()[:4]}]"
        return f"<{how}{row.kind} of {row.owner[:4]}{by} {said}>"


def turn(item: Item) -> tuple[int, bool, Any]:
    """``apply`` takes the greatest first, signatures as their column has them."""
    return (*item.version.order[:2], item.columns["sign_b64"])


def newest_first(items: Iterable[Item]) -> list[Item]:
    return sorted(items, key=turn, reverse=True)


class Expected:
    """What a server has been given, and what follows from it.  ``healed``: whether an erased
    content comes back with an intact row.
    """

    def __init__(self, layout: str, healed: bool):
        self.layout, self.healed = layout, healed
        self.owners: set[str] = set()
        self.known: dict[bytes, Item] = {}  # authentic, of known owners
        self.waiting: list[Item] = []
        self.refused: set[bytes] = set()  # signatures of what is in quarantine for good

    def counting(self, also: Iterable[Item] = ()) -> dict[bytes, Item]:
        """What counts: all, but for what writers were not allowed to write."""
        known = {**self.known, **{i.row.sign: i for i in also}}
        valid = writers_model.state(i.row for i in known.values()).valid
        return {sign: known[sign] for sign in (row.sign for row in valid)}

    def versions(self, table: str = "t") -> list[model.Version]:
        return [i.version for i in self.counting().values() if i.table == table]

    def outcome(self, item: Item) -> str:
        """What ``apply`` would answer."""
        if item.table == "cards":
            return "duplicate" if item.row.owner in self.owners else "inserted"
        if item.row.owner not in self.owners:
            # a writer's key is in his row: no card is needed to see that it did not sign
            return "rejected" if item.row.writer and not item.row.authentic else "deferred"
        if not item.row.authentic:
            tip = model.tips(self.versions()).get(item.version.key)
            older = tip is not None and item.version.order < tip.order
            # without versions, nobody looks at what is old
            return "stale" if self.layout == model.UNVERSIONED and older else "rejected"
        if item.row.sign not in self.counting([item]):
            return "deferred"
        layout = self.layout if item.table == "t" else model.ONE_TABLE
        return model.outcome(layout, self.versions(item.table), item.version)

    def take(self, item: Item) -> str:
        """The outcome, and what follows from it."""
        outcome = self.outcome(item)
        if item.table == "cards":
            self.owners.add(item.row.owner)
            cured = [w for w in self.waiting if w.row.owner == item.row.owner]
            self.waiting = [w for w in self.waiting if w.row.owner != item.row.owner]
            for waited in newest_first(cured):
                self.take(waited)
        elif outcome == "rejected":
            self.refused.add(item.row.sign)
        elif item.row.owner not in self.owners:
            self.waiting.append(item)
        elif item.row.authentic:
            before = self.known.get(item.row.sign)
            if before is None or (before.bare and self.healed):
                self.known[item.row.sign] = item
        return outcome

    def held(self) -> set[bytes]:
        return (self.known.keys() - self.counting().keys()) | {w.row.sign for w in self.waiting}

    def dead(self) -> set[bytes]:
        """Rows of a writer whom a revocation ended: of those that it does not name, a server need
        keep no more than the link.
        """
        revoked = {i.row.grantee for i in self.known.values() if i.row.kind == "revocation"}
        return {sign for sign, i in self.known.items() if i.row.writer in revoked}
