"""Which licences follow from one owner's grants and revocations.

Pure: rules R2, R3 and R5 of docs/writers.md.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Mapping
from operator import itemgetter
from typing import Any, NamedTuple

LONGEST_CHAIN = 4
MOST_CHAINS = 64  # of one writer: the shortest, among equals in the order of their signatures


class Licence(NamedTuple):
    """One chain of grants, folded: what it covers is the conjunction of its scopes."""

    until: int
    tables: frozenset[str] | None  # None: all
    keys: tuple[str, ...]  # JSON texts, all must match
    tombstones: bool
    may_grant: int  # how many further links may follow; -1: no rows of the grants table
    frontiers: frozenset[int]  # revocations that bind the writer in this chain


def _extended(by: Licence | None, grant: Mapping[str, Any], frontiers: frozenset[int]) -> Licence:
    tables = None if grant["tables"] is None else frozenset(grant["tables"])
    keys = () if grant["keys"] is None else (json.dumps(grant["keys"], sort_keys=True),)
    own = Licence(
        grant["until"], tables, keys, grant["tombstones"], grant["may_grant"] - 1, frontiers
    )
    if by is None:
        return own
    return Licence(
        min(by.until, own.until),
        by.tables
        if own.tables is None
        else own.tables
        if by.tables is None
        else own.tables & by.tables,
        tuple(sorted({*by.keys, *own.keys})),
        by.tombstones and own.tombstones,
        min(by.may_grant - 1, own.may_grant),
        frontiers,
    )


Revoked = dict[str, frozenset[int]]
"""Revocations by the key of which they speak."""


class Chain(NamedTuple):
    """Grants from the owner down to a writer, all of which stand."""

    order: tuple[str, ...]  # their signatures, in hex
    path: tuple[str, ...]  # their grantees
    licence: Licence | None  # None: the owner, before the first grant
    revoked: tuple[Revoked, ...]  # by the owner and by each grantee but the last


def licences(rows: list[dict[str, Any]], stands: set[tuple[int, int]]) -> dict[str, set[Licence]]:
    """The licences of each writer, from the stored grants and revocations of one owner.

    ``rows`` have the columns of ``rowseal._grants``.  ``stands`` has (revocation, row) for rows of
    the grants table that lie in a revocation's past.  Top down: what stands at a level decides the
    level below, so who is lower in a chain never has a say about who is higher.  It looks at each
    row once for each of its signer's chains, of which MOST_CHAINS count.
    """
    signed: dict[str | None, list[dict[str, Any]]] = defaultdict(list)
    for row in rows:
        signed[row["writer"]].append(row)
    counted: dict[str, int] = defaultdict(int)
    out: dict[str, set[Licence]] = defaultdict(set)
    ends = [Chain((), (), None, ())]
    for _ in range(LONGEST_CHAIN):
        longer: dict[str, list[tuple[tuple[str, ...], Chain, dict[str, Any]]]] = defaultdict(list)
        for end in ends:
            chain, grants = _standing(end, signed, stands)
            for grant in grants:
                order = (*chain.order, grant["sign"])
                longer[grant["grantee"]].append((order, chain, grant))
        ends = []
        for to, offers in longer.items():
            offers.sort(key=itemgetter(0))
            for order, chain, grant in offers[: MOST_CHAINS - counted[to]]:
                counted[to] += 1
                frontiers = frozenset().union(*(by.get(to, ()) for by in chain.revoked))
                licence = _extended(chain.licence, grant, frontiers)
                out[to].add(licence)
                ends.append(Chain(order, (*chain.path, to), licence, chain.revoked))
    return out


def _standing(
    chain: Chain, signed: Mapping[str | None, list[dict[str, Any]]], stands: set[tuple[int, int]]
) -> tuple[Chain, list[dict[str, Any]]]:
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
            if row["at"] <= licence.until
            and licence.may_grant >= 0
            and all((f, row["id"]) in stands for f in licence.frontiers)
        ]
    revoked: dict[str, set[int]] = defaultdict(set)
    for row in rows:
        if row["upto"] is not None:
            revoked[row["grantee"]].add(row["id"])
    level = {key: frozenset(ids) for key, ids in revoked.items()}
    grants = [r for r in rows if r["upto"] is None and r["grantee"] not in chain.path]
    return chain._replace(revoked=(*chain.revoked, level)), grants
