"""Rows that a table must accept."""

from __future__ import annotations

import json
from collections.abc import Iterator

from .key import Vector, signature, vector
from .table import ABSENT, START, Fields, Table


def accepted(table: Table) -> list[Vector]:
    """Good vectors, oldest first, so that each one becomes the current version of its key."""
    made: dict[str, tuple[int, bool, str, str]] = {}  # each payload once, with its order
    for n, (what, changes) in enumerate(_changes(table)):
        payload = table.payload({**table.plain, table.timestamp: str(START + n), **changes})
        if payload is not None:
            row = json.loads(payload)["row"]
            order = int(row[table.timestamp]), row[table.deleted]
            made.setdefault(payload, (*order, what, payload))
    return [
        {**vector(what, payload, signature(payload.encode())), "payload": payload}
        for _, _, what, payload in sorted(made.values())
    ]


def _changes(table: Table) -> Iterator[tuple[str, Fields]]:
    """What is changed in the plain row, with words for it."""
    yield "every field has a value", {}
    optional = {field: ABSENT for field in table.fields if field not in table.required}
    if optional:
        yield "NULL in every column that may be NULL", optional
        deletion = {**optional, table.deleted: True}
        yield "a deletion with nothing but what must be there", deletion
    for field in table.fields:
        if field not in table.ruled():
            for value in table.edges(field):
                yield f"{field}: {json.dumps(value, ensure_ascii=False)[:60]}", {field: value}
