"""Which licences follow from one owner's grants and revocations.

Pure: rules R2, R3 and R5 of docs/writers.md.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Mapping
from typing import Any, NamedTuple

LONGEST_CHAIN = 4


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


def licences(rows: list[dict[str, Any]], stands: set[tuple[int, int]]) -> dict[str, set[Licence]]:
    """The licences of each writer, from the stored grants and revocations of one owner.

    ``rows`` have the columns of ``rowseal._grants``.  ``stands`` has (revocation, row) for rows of
    the grants table that lie in a revocation's past.  Top down: what stands at a level decides the
    level below, so who is lower in a chain never has a say about who is higher.
    """
    signed: dict[str | None, list[dict[str, Any]]] = defaultdict(list)
    for row in rows:
        signed[row["writer"]].append(row)
    out: dict[str, set[Licence]] = defaultdict(set)
    todo: list[tuple[str | None, Licence | None, frozenset[int], frozenset[str]]] = [
        (None, None, frozenset(), frozenset())
    ]
    seen = set(todo)
    grantee_of = {row["id"]: row["grantee"] for row in rows}
    while todo:
        who, licence, above, path = todo.pop()
        standing = signed[who]
        if who is not None and licence is not None:
            out[who].add(licence)
            standing = [
                row
                for row in standing
                if row["at"] <= licence.until
                and licence.may_grant >= 0
                and all((f, row["id"]) in stands for f in licence.frontiers)
            ]
        if len(path) >= LONGEST_CHAIN:
            continue
        above |= {row["id"] for row in standing if row["upto"] is not None}
        for grant in standing:
            if grant["upto"] is None and grant["grantee"] not in path:  # a loop never adds a right
                to = grant["grantee"]
                frontiers = frozenset(r for r in above if grantee_of[r] == to)
                step = (to, _extended(licence, grant, frontiers), above, path | {to})
                if step not in seen:
                    seen.add(step)
                    todo.append(step)
    return out
