"""What becomes of a declared table: rules 1 and 9 of docs/rules.md as data and a few functions.

No SQL, no event triggers, no order of catalogs.  A table is what its owner made of it; whether it
may be open follows from that alone (``fits``), and what a command may do follows from the state
before it and the one that it would lead to (``follow``).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any, NamedTuple

from kit import model
from kit.model import Version

BASE = {
    "user_hash": "bytea", "n": "integer", "value": "text", "deleted_flag": "boolean",
    "owner_timestamp": "bigint", "parent_sign_b64": "bytea",
}  # fmt: skip
SIGNATURE = "sign_b64"
ESSENTIAL = {"user_hash", "n", "deleted_flag", "owner_timestamp"}
MAIN, VERSIONS, ELSEWHERE = "main", "versions", "elsewhere"
ACCEPTED, REFUSED = "accepted", "refused"


class Row(NamedTuple):
    """A signed row: ``said`` are its fields that are not NULL."""

    version: Version
    said: Mapping[str, Any]

    @property
    def n(self) -> int:
        return int(self.said["n"])


@dataclass
class Part:
    """A partition, for rows with this ``n``."""

    name: str
    n: int
    schema: str = "public"
    nested: bool = False
    attached: bool = True
    used: bool = False  # it holds rows, or held some
    forged: bool = False
    known: bool = False  # the table was in order with it, so its rows have been verified
    shape: tuple[Any, ...] = ()  # of the table when it left
    rows: list[Row] = field(default_factory=list)  # those that left with it


@dataclass
class Table:
    """A table, its versions table and partitions, and what was sent to it."""

    layout: str
    feed: bool
    schema: str = "public"
    name: str = "t"
    archive_name: str = "tv"
    archive_schema: str = "public"
    domain: str = "dom"  # the name that a domain has now, which columns may have
    columns: dict[str, str] = field(default_factory=lambda: {**BASE, SIGNATURE: "bytea"})
    fields: dict[str, str] = field(default_factory=lambda: {c: c for c in BASE})
    archive: dict[str, str] = field(default_factory=dict)  # columns of the versions table
    places: dict[str, str] = field(default_factory=dict)  # column to column of the versions table
    fresh: frozenset[str] = frozenset()  # columns that came since it was open, here or there
    key: bool = True
    turned: bool = False  # the key has its columns the other way round
    archive_key: bool = True
    declared: bool = True
    open: bool = True
    guarded: bool = True  # its triggers are all there
    behind: bool = False  # in order again, but nobody has verified its partitions yet
    late: bool = False  # a trigger comes after the check
    identity: bool = True  # its identity table is declared …
    cards: str = "cards"  # … under this name, with this column
    pkey: str = "pkey"
    strangers: frozenset[str] = frozenset()  # what is not its owner's: schema, domain, versions
    parts: dict[int, Part] | None = None  # None: it is not partitioned
    received: list[Row] = field(default_factory=list)
    waiting: list[Row] = field(default_factory=list)
    fed: list[Row] = field(default_factory=list)  # what the feed must have
    forged: bool = False  # somebody wrote into it while it was not declared

    def copy(self) -> Table:
        """Of everything that changes."""
        out = replace(self)
        for f in fields(self):
            value = getattr(self, f.name)
            if isinstance(value, (dict, list)):
                setattr(out, f.name, value.copy())
        if self.parts is not None:
            out.parts = {n: replace(p, rows=[*p.rows]) for n, p in self.parts.items()}
        return out

    @property
    def two(self) -> bool:
        return self.layout == model.TWO_TABLES

    @property
    def shape(self) -> tuple[Any, ...]:
        """What a partition must have as well."""
        return (*self.columns.items(), self.key, self.turned)

    @property
    def fits(self) -> bool:
        """Whether it can be declared as it is, but for its rows."""
        signed = set(self.fields.values())
        return (
            self.key
            and self.identity
            and not self.late
            and not self.strange
            and len(signed) == len(self.fields)
            and signed >= ESSENTIAL
            and (self.layout == model.UNVERSIONED or "parent_sign_b64" in signed)
            and (not self.two or (self.archive_key and self.matched() is not None))
        )

    @property
    def strange(self) -> bool:
        """Whether it rests on something that is not its owner's."""
        attached = [p.schema for p in (self.parts or {}).values() if p.attached]
        schemas = {self.schema, *attached, *([self.archive_schema] * self.two)}
        kinds = {*self.columns.values(), *self.archive.values()}
        return (
            ("schema" in self.strangers and "s" in schemas)
            or ("domain" in self.strangers and self.domain in kinds)
            or ("versions" in self.strangers and self.two)
        )

    def matched(self) -> dict[str, str] | None:
        """Where the versions table keeps each column: the place that is known, the one of the same
        name, or, when it is declared, the only one of its type that is left.
        """
        found: dict[str, str] = {}
        for c in self.columns:
            place = self.places.get(c, c)
            if place in self.archive and place not in found.values():
                found[c] = place
        for c in self.columns:
            if c not in found:
                kind = self.columns[c]
                free = [p for p, k in self.archive.items() if k == kind and p not in found.values()]
                if len(free) != 1 or self.declared:
                    return None
                found[c] = free[0]
        return found if all(self.archive[p] == self.columns[c] for c, p in found.items()) else None

    # -- rows
    def here(self, n: int) -> bool:
        return self.parts is None or (n in self.parts and self.parts[n].attached)

    def admissible(self, row: Row) -> bool:
        return set(row.said) <= set(self.fields.values()) and self.here(row.n)

    @property
    def takes(self) -> bool:
        return self.declared and self.open and self.guarded

    def state(self) -> model.State:
        """What the tables hold."""
        counted = model.state(self.layout, [r.version for r in self.received])
        gone = {r.version for p in (self.parts or {}).values() if not p.attached for r in p.rows}
        return model.State(counted.main - gone, counted.versions)

    def take(self, row: Row) -> str:
        """A genuine row comes; what it is answered."""
        if not self.takes or not self.admissible(row):
            if row not in self.waiting and row not in self.received:
                self.waiting.append(row)
            return "deferred"
        outcome = model.outcome(self.layout, [r.version for r in self.received], row.version)
        if row not in self.received:
            self.received.append(row)
            if self.feed and outcome not in ("stale", "duplicate"):
                self.fed.append(row)
        if self.parts is not None:
            self.parts[row.n].used = True
        return outcome

    def settle(self) -> None:
        """What waited is let in, as far as there is room for it."""
        if self.takes:
            waited, self.waiting = self.waiting, []
            for row in waited:
                self.take(row)

    def filled(self, column: str) -> bool:
        """Whether a row that counts says something in a column."""
        return any(self.fields.get(column) in r.said for r in self.received)

    # -- declarations
    def undeclared(self) -> Table:
        return replace(self.copy(), declared=False, open=False, guarded=True, behind=False)

    def declared_anew(self) -> Table:
        """Fields are the names that columns have now."""
        places = (self.matched() or {}) if self.two else {}
        named = {c: c for c in self.fields}
        out = replace(self.copy(), declared=True, fields=named, places=places)
        out.step(True, MAIN)
        return out

    def step(self, was_open: bool, about: str, looks: bool = False) -> None:
        """It is open where it fits; whoever changes something else brings neither partitions nor
        columns; ``looks``: but what it is about is the same owner's, so columns are looked at.
        """
        attached = [p for p in (self.parts or {}).values() if p.attached]
        self.open = self.fits
        self.behind = (
            self.fits
            and not was_open
            and about == ELSEWHERE
            and ((bool(self.fresh) and not looks) or not all(p.known for p in attached))
        )
        if self.behind:
            self.open = False
        elif self.open:
            self.fresh = frozenset()
            for p in attached:
                p.known = True
            if self.two:
                self.places = self.matched() or {}

    def verifies(self) -> bool:
        """Whether every row that is there can stay when the table is declared by its names."""
        renamed = [f for c, f in self.fields.items() if c != f]
        kept = self.state()
        away = {p.n for p in (self.parts or {}).values() if not p.attached}
        orphans = any(v.key in away for v in kept.versions)  # without their current version
        there = [r for r in self.received if r.version in kept.main | kept.versions]
        return (
            not self.forged and not orphans and not any(f in r.said for f in renamed for r in there)
        )


def follow(before: Table, after: Table, about: str, brings: Iterable[Part] = ()) -> str:
    """What the owner's command meets, and (in ``after``) whether the table is open then.

    ``about``: which table it names; ``brings``: partitions that come with it.
    """
    if not before.declared:
        return ACCEPTED
    brings = list(brings)
    if any(p.forged for p in brings):
        return REFUSED
    if not (before.open and before.guarded) and any(p.used for p in brings):
        return REFUSED  # nobody could verify them
    if not before.guarded:
        changed = before.columns != after.columns or before.archive != after.archive
        after.open = before.open and not changed
        return ACCEPTED
    if before.open and not after.fits and (about in (MAIN, "cascade") or not after.archive_key):
        return REFUSED
    after.step(before.open, about)
    return ACCEPTED
