"""Which rows of writers count: the rules of docs/writers.md as a function of the set of rows
received.

The server keeps a ledger, licences and walks, and moves rows in and out of its tables.  This model
has none of that: it takes the set and says what stands.  writers/test_tables_follow_the_rules.py
holds the two against each other.
"""

from __future__ import annotations

import hashlib
import json
import struct
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

LONGEST_CHAIN = 4
MOST_CHAINS = 64  # of one writer
LARGEST_SCOPE = 4096  # bytes of tables, and of keys, as text


@dataclass(frozen=True, eq=False)
class Row:
    """One signed row.  ``sign`` is its identity; ``authentic``: signed by the key that it names."""

    kind: str  # data, grant or revocation
    owner: str
    sign: bytes
    writer: str | None = None  # None: the owner
    number: int | None = None
    previous: bytes | None = None
    at: int = 1
    authentic: bool = True
    # data
    table: str = ""
    key: str = ""
    deleted: bool = False
    # grants and revocations
    grantee: str = ""
    tables: frozenset[str] | None = None
    prefix: str = ""
    tombstones: bool = False
    until: int = 0
    may_grant: int = 0
    upto: frozenset[bytes] = frozenset()

    def __hash__(self) -> int:
        return hash(self.sign)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Row) and self.sign == other.sign

    @property
    def link(self) -> bytes:
        return hashlib.sha256(
            struct.pack(">q", self.number or 0) + (self.previous or b"") + self.sign
        ).digest()

    @property
    def keys(self) -> str:
        """As PostgreSQL writes the column."""
        return json.dumps({"key": {"prefix": self.prefix}}, ensure_ascii=False)

    @property
    def well_formed(self) -> bool:
        scope = self.prefix and self.keys, f"{{{','.join(self.tables or ())}}}"
        if any(len(text.encode()) > LARGEST_SCOPE for text in scope):
            return False
        if self.writer is None:
            return self.number is None and self.previous is None
        return (
            self.number is not None
            and self.number >= 1
            and (self.previous is None) == (self.number == 1)
        )

    @property
    def order(self) -> tuple[int, bool, bytes]:
        return self.at, self.deleted, self.sign

    def __repr__(self) -> str:
        who = f"{self.writer}#{self.number}" if self.writer else self.owner
        what = {
            "data": f"{self.table}.{self.key}@{self.at}{' deleted' if self.deleted else ''}",
            "grant": (
                f"lets {self.grantee} until {self.until}, +{self.may_grant}, {self.prefix!r}"
                f" {self.tables and sorted(self.tables)}"
            ),
            "revocation": f"revokes {self.grantee} upto {[u.hex()[:4] for u in self.upto]}",
        }[self.kind]
        return f"<{who} {what} [{self.link.hex()[:4] if self.writer else self.sign.hex()[:4]}]>"


Chain = tuple[Row, ...]


class Rules:
    """The rules over one set of rows."""

    def __init__(self, rows: Iterable[Row]):
        self.rows = {r for r in rows if r.authentic and r.well_formed}
        self._stands: dict[tuple[Row, Chain], bool] = {}
        self._past: dict[Row, set[Row]] = {}
        self._chains: dict[str, dict[str, list[Chain]]] = {}

    def past(self, revocation: Row) -> set[Row]:
        """The rows that it names, and what is reached from them through the previous link,
        one number at a time.
        """
        if revocation not in self._past:
            of = [
                r
                for r in self.rows
                if r.owner == revocation.owner and r.writer == revocation.grantee
            ]
            found = {r for r in of if r.link in revocation.upto}
            todo = list(found)
            while todo:
                r = todo.pop()
                for p in of:
                    if p.link == r.previous and p.number == (r.number or 0) - 1 and p not in found:
                        found.add(p)
                        todo.append(p)
            self._past[revocation] = found
        return self._past[revocation]

    @staticmethod
    def covers(grant: Row, row: Row, below: int) -> bool:
        """Whether one grant covers a row, judged on the row alone; ``below``:
        links from the grant down to the row.
        """
        if row.at > grant.until:
            return False
        if row.kind != "data":
            return grant.may_grant >= below
        return (
            (grant.tables is None or row.table in grant.tables)
            and row.key.startswith(grant.prefix)
            and (grant.tombstones or not row.deleted)
        )

    def stands(self, row: Row, chain: Chain) -> bool:
        if (row, chain) not in self._stands:
            self._stands[row, chain] = self._judge(row, chain)
        return self._stands[row, chain]

    def _judge(self, row: Row, chain: Chain) -> bool:
        if not chain:
            return row.writer is None
        if (row.owner, row.writer) != (chain[-1].owner, chain[-1].grantee) or not self.stands(
            chain[-1], chain[:-1]
        ):
            return False
        if not all(self.covers(g, row, len(chain) - j) for j, g in enumerate(chain)):
            return False
        for j in range(len(chain)):  # revocations by whoever stands above
            by = chain[j - 1].grantee if j else None
            for r in self.rows:
                speaks = r.kind == "revocation" and (r.owner, r.grantee, r.writer) == (
                    row.owner,
                    row.writer,
                    by,
                )
                if speaks and self.stands(r, chain[:j]) and row not in self.past(r):
                    return False
        return True

    def chains(self, owner: str) -> dict[str, list[Chain]]:
        """The chains that count, by writer: of each at most MOST_CHAINS, the shortest first, among
        equals in the order of their grants' signatures; only those are extended.
        """
        if owner not in self._chains:
            counted: dict[str, list[Chain]] = defaultdict(list)
            ends: list[Chain] = [()]
            for _ in range(LONGEST_CHAIN):
                longer: dict[str, list[Chain]] = defaultdict(list)
                for chain in ends:
                    for grant in self._granted(owner, chain):
                        longer[grant.grantee].append((*chain, grant))
                ends = []
                for writer, chains in longer.items():
                    chains.sort(key=lambda chain: [grant.sign for grant in chain])
                    kept = chains[: MOST_CHAINS - len(counted[writer])]
                    counted[writer] += kept
                    ends += kept
            self._chains[owner] = counted
        return self._chains[owner]

    def _granted(self, owner: str, chain: Chain) -> Iterator[Row]:
        """The grants by which a chain goes on; it never comes back to a key."""
        who = chain[-1].grantee if chain else None
        path = {g.grantee for g in chain}
        for g in self.rows:
            by_him = (g.kind, g.owner, g.writer) == ("grant", owner, who)
            if by_him and g.grantee not in path and self.stands(g, chain):
                yield g

    def valid(self, row: Row) -> bool:
        if row.writer is None or row not in self.rows:
            return row in self.rows
        return any(self.stands(row, chain) for chain in self.chains(row.owner)[row.writer])


@dataclass
class State:
    tips: dict[tuple[str, str, str], Row]
    valid: set[Row]
    held: set[Row]


def state(rows: Iterable[Row]) -> State:
    """What counts, what is held, and the current row of each (table, owner, key)."""
    rules = Rules(rows)
    valid = {r for r in rules.rows if rules.valid(r)}
    tips: dict[tuple[str, str, str], Row] = {}
    for r in valid:
        if r.kind == "data":
            place = r.table, r.owner, r.key
            if place not in tips or r.order > tips[place].order:
                tips[place] = r
    return State(tips, valid, rules.rows - valid)
