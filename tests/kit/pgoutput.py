"""Messages of logical decoding by pgoutput, protocol 1."""

from __future__ import annotations

import struct
from typing import Any


def parse_relation(data: bytes) -> tuple[int, list[str]]:
    (oid,) = struct.unpack_from(">I", data, 1)
    at = data.index(0, data.index(0, 5) + 1) + 2  # behind schema, name and replica identity
    (count,) = struct.unpack_from(">H", data, at)
    at, columns = at + 2, []
    for _ in range(count):
        end = data.index(0, at + 1)
        columns.append(data[at + 1 : end].decode())
        at = end + 9
    return oid, columns


def parse_change(
    data: bytes, relations: dict[int, list[str]]
) -> tuple[int, dict[str, Any] | None, dict[str, Any] | None]:
    """Table, old row, new row of an INSERT, UPDATE or DELETE under REPLICA IDENTITY FULL."""
    (oid,) = struct.unpack_from(">I", data, 1)
    rows: dict[str, dict[str, Any]] = {}
    at = 5
    while at < len(data):
        which, (count,) = data[at : at + 1].decode(), struct.unpack_from(">H", data, at + 1)
        at += 3
        values: list[Any] = []
        for n in range(count):
            kind, at = data[at : at + 1], at + 1
            if kind == b"t":
                (length,) = struct.unpack_from(">I", data, at)
                values.append(data[at + 4 : at + 4 + length].decode())
                at += 4 + length
            else:  # null, or as before
                values.append(None if kind == b"n" else rows["O"][relations[oid][n]])
        rows[which] = dict(zip(relations[oid], values))
    return oid, rows.get("O") or rows.get("K"), rows.get("N")
