"""Which licences follow from one owner's grants and revocations.

Pure: rules R2, R3 and R5 of docs/writers.md.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from operator import itemgetter
from typing import NamedTuple

LONGEST_CHAIN = 4
MOST_CHAINS = 64  # of one writer: the shortest, among equals in the order of their signatures


class Spoken(NamedTuple):
    """A grant or revocation, as far as chains depend on it: a row of rowseal._spoken."""

    id: int
    sign: bytes
    at: int
    writer: bytes | None  # None: the owner
    grantee: bytes
    until: int  # means nothing in a revocation
    tombstones: bool
    may_grant: int
    upto: bytes | None  # of a revocation: its frontier, as a hash of the set
    under: frozenset[int]  # revocations in whose past it lies


class Licence(NamedTuple):
    """One chain of grants, folded: what it covers is the conjunction of its scopes.

    But for tables and keys, which are those of the grants in it.
    """

    chain: tuple[int, ...]  # from the owner's down
    until: int
    tombstones: bool
    may_grant: int  # how many further links may follow; -1: no rows of the grants table
    frontiers: frozenset[int]  # revocations that bind the writer in this chain


def _extended(by: Licence | None, grant: Spoken, frontiers: frozenset[int]) -> Licence:
    may_grant = grant.may_grant - 1
    if by is None:
        return Licence((grant.id,), grant.until, grant.tombstones, may_grant, frontiers)
    return Licence(
        (*by.chain, grant.id),
        min(by.until, grant.until),
        by.tombstones and grant.tombstones,
        min(by.may_grant - 1, may_grant),
        frontiers,
    )


Revoked = dict[bytes, frozenset[int]]
"""Revocations by the key of which they speak."""


class Chain(NamedTuple):
    """Grants from the owner down to a writer, all of which stand."""

    order: tuple[bytes, ...]  # their signatures
    path: tuple[bytes, ...]  # their grantees
    licence: Licence | None  # None: the owner, before the first grant
    revoked: tuple[Revoked, ...]  # by the owner and by each grantee but the last


def licences(rows: Iterable[Spoken]) -> dict[bytes, list[Licence]]:
    """The licences of each writer, from the stored grants and revocations of one owner.

    Top down: what stands at a level decides the level below, so who is lower in a chain never has
    a say about who is higher.  It looks at each row once for each of its signer's chains, of which
    MOST_CHAINS count.
    """
    signed: dict[bytes | None, list[Spoken]] = defaultdict(list)
    for row in rows:
        signed[row.writer].append(row)
    out: dict[bytes, list[Licence]] = defaultdict(list)
    ends = [Chain((), (), None, ())]
    for _ in range(LONGEST_CHAIN):
        longer: dict[bytes, list[tuple[tuple[bytes, ...], Chain, Spoken]]] = defaultdict(list)
        for end in ends:
            chain, grants = _standing(end, signed)
            for grant in grants:
                longer[grant.grantee].append(((*chain.order, grant.sign), chain, grant))
        ends = []
        for to, offers in longer.items():
            offers.sort(key=itemgetter(0))
            for order, chain, grant in offers[: MOST_CHAINS - len(out[to])]:
                frontiers = frozenset().union(*(by.get(to, ()) for by in chain.revoked))
                licence = _extended(chain.licence, grant, frontiers)
                out[to].append(licence)
                ends.append(Chain(order, (*chain.path, to), licence, chain.revoked))
    return out


def _standing(
    chain: Chain, signed: Mapping[bytes | None, list[Spoken]]
) -> tuple[Chain, list[Spoken]]:
    """What the last key of a chain has signed and stands under it.

    That are revocations, with which the chain is returned, and grants to keys that are not in it:
    a loop never adds a right.
    """
    licence = chain.licence
    rows = signed[chain.path[-1] if chain.path else None]
    if licence is not None:
        rows = [
            row
            for row in rows
            if row.at <= licence.until and licence.may_grant >= 0 and licence.frontiers <= row.under
        ]
    revoked: dict[bytes, dict[bytes, list[tuple[bytes, int]]]]
    revoked = defaultdict(lambda: defaultdict(list))
    for row in rows:
        if row.upto is not None:
            revoked[row.grantee][row.upto].append((row.sign, row.id))
    # to revoke again up to the same rows adds nothing
    level = {
        key: frozenset(min(same)[1] for same in by_frontier.values())
        for key, by_frontier in revoked.items()
    }
    grants = [row for row in rows if row.upto is None and row.grantee not in chain.path]
    return chain._replace(revoked=(*chain.revoked, level)), grants
