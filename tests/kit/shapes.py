"""Shapes as Electric has them: the snapshot of a table, and what a change becomes in its log."""

from __future__ import annotations

import contextlib
import itertools
import json
import re
import time
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import psycopg
from psycopg import sql

Connection = psycopg.Connection[Any]
Row = dict[str, Any]
Offset = tuple[int, float]
INFINITE = float("inf")
FORM = """SET bytea_output = hex; SET DateStyle = 'ISO, DMY'; SET TimeZone = 'UTC';
    SET extra_float_digits = 1; SET IntervalStyle = iso_8601"""
COLUMNS = """
    SELECT a.attname, coalesce(e.typname, t.typname), a.attndims, a.attnotnull, a.atttypmod,
        array_position(i.indkey::int2[], a.attnum)
      FROM pg_attribute a JOIN pg_type t ON t.oid = a.atttypid
      LEFT JOIN pg_type e ON t.typcategory = 'A' AND e.oid = t.typelem
      LEFT JOIN pg_index i ON i.indrelid = a.attrelid AND i.indisprimary
     WHERE a.attrelid = %s AND a.attnum > 0 AND NOT a.attisdropped AND a.attgenerated = ''
     ORDER BY a.attnum"""
NOT_STORED = {"cache-control": "no-store", "surrogate-control": "no-store"}
serial = itertools.count()


def shown(offset: Offset) -> str:
    return f"{offset[0]}_{'inf' if offset[1] == INFINITE else int(offset[1])}"


def encode(message: Any) -> bytes:
    return json.dumps(message, ensure_ascii=False, separators=(",", ":")).encode()


@dataclass
class Shape:
    handle: str
    schema: str
    table: str
    oid: int
    columns: dict[str, Any]  # as in the header electric-schema
    key: list[str]
    where: sql.Composable
    full: bool
    chunks: list[list[bytes]]
    visible: Callable[[int], bool]  # whether the snapshot has what a transaction did
    log: list[tuple[Offset, bytes]] = field(default_factory=list)
    gone: bool = False

    @property
    def end(self) -> Offset:
        return self.log[-1][0] if self.log else (0, INFINITE)


class Refused(Exception):
    """An answer that is an error."""

    def __init__(self, status: int, body: Any, **headers: str):
        self.status, self.body, self.headers = status, body, headers


def invalid(parameter: str, reason: str) -> Refused:
    body = {"message": "Invalid request", "errors": {parameter: [reason]}}
    return Refused(400, body, **NOT_STORED)


def key_of(s: Shape, row: dict[str, Any]) -> str:
    return f'"{s.schema}"."{s.table}"/' + "/".join(
        f'"{(row[k] or "").replace("/", "//")}"' for k in s.key
    )


# ------------------------------------------------------------------------------------ the snapshot
def relation_of(c: Connection, name: str) -> tuple[int, str, str]:
    """The table that a request names: oid, schema, name."""
    row = c.execute(
        """SELECT r.oid, n.nspname, r.relname, n.oid < 16384 AND n.nspname <> 'public'
            FROM pg_class r JOIN pg_namespace n ON n.oid = r.relnamespace
            WHERE r.oid = to_regclass(%s)""",
        (name,),
    ).fetchone()
    if row is None:
        schema, _, table = name.rpartition(".")
        what = (
            f'Table "{schema or "public"}"."{table}" does not exist. If the table name'
            " contains capitals or special characters you must quote it."
        )
        raise invalid("table", what)
    oid, schema, table, system = row
    if system:
        what = (
            f'Unexpected error while creating snapshot: cannot add relation "{table}" to'
            " publication"
        )
        raise Refused(500, {"message": what}, **NOT_STORED)
    return oid, schema, table


def columns_of(
    c: Connection, oid: int, chosen: list[str] | None
) -> tuple[dict[str, Any], list[str]]:
    """What the header electric-schema says of the columns; the key."""
    columns, keyed = {}, {}
    for column, type_, dims, not_null, typmod, place in c.execute(COLUMNS, (oid,)):
        about: dict[str, Any] = {"type": type_}
        if dims:
            about["dims"] = dims
        if typmod >= 0 and type_ in ("varchar", "bpchar"):
            about["max_length" if type_ == "varchar" else "length"] = typmod - 4
        if typmod >= 0 and type_ == "numeric":
            about |= {"precision": (typmod - 4) >> 16, "scale": (typmod - 4) & 0x7FF}
        if not_null:
            about["not_null"] = True
        if place is not None:
            about["pk_index"] = place
            keyed[place] = column
        columns[column] = about
    key = [keyed[n] for n in sorted(keyed)]
    if chosen is not None:
        if missing := [k for k in key if k not in chosen]:
            what = "The list of columns must include all primary key columns, missing:"
            raise invalid("columns", f"{what} {', '.join(missing)}")
        columns = {k: v for k, v in columns.items() if k in chosen}
    return {name: columns[name] for name in sorted(columns)}, key


def condition_of(c: Connection, p: dict[str, str], relation: sql.Identifier) -> sql.Composable:
    """The request's where, with its parameters."""

    def parameter(found: re.Match[str]) -> str:
        return sql.Literal(p[f"params[{found[1]}]"]).as_string(c)

    where = re.sub(r"\$([0-9]+)", parameter, p.get("where", "true"))
    condition = sql.SQL(where)
    try:
        c.execute(sql.SQL("SELECT FROM {} WHERE ({}) LIMIT 0").format(relation, condition))
    except psycopg.Error as e:
        column = re.search(r'column "(.*)" does not exist', e.diag.message_primary or "")
        reason = f"unknown reference {column[1]}" if column else e.diag.message_primary
        raise invalid("where", f"At location 0: {reason}") from None
    return condition


def text(name: str, about: dict[str, Any]) -> sql.Composable:
    """A column as text; char(n) keeps its blanks at Electric, boolean is true, not t."""
    form = (
        "CASE WHEN {0} IS NOT NULL THEN format('%s', {0}) END"
        if about["type"] == "bpchar"
        else "{0}::text"
    )
    return sql.SQL(form).format(sql.Identifier(name))


def snapshot(
    c: Connection, p: dict[str, str], name: str, publication: str, chunk: int
) -> tuple[Shape, int]:
    """A new shape, and the end of the WAL when its snapshot was made."""
    oid, schema, table = relation_of(c, p["table"])
    columns, key = columns_of(c, oid, p["columns"].split(",") if "columns" in p else None)
    relation = sql.Identifier(schema, table)
    condition = condition_of(c, p, relation)
    c.execute(sql.SQL("ALTER TABLE {} REPLICA IDENTITY FULL").format(relation))
    add = sql.SQL("ALTER PUBLICATION {} ADD TABLE {}")
    with contextlib.suppress(psycopg.errors.DuplicateObject):
        c.execute(add.format(sql.Identifier(publication), relation))
    c.execute(FORM)
    with c.transaction():
        c.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        seen, lsn = c.execute(
            "SELECT pg_current_snapshot()::text, pg_current_wal_lsn() - '0/0'"
        ).fetchone()  # type: ignore[misc]
        texts = sql.SQL(", ").join(text(n, about) for n, about in columns.items())
        query = sql.SQL("SELECT {} FROM {} WHERE ({})").format(texts, relation, condition)
        rows = [dict(zip(columns, values)) for values in c.execute(query)]
    xmin, xmax, *xip = (int(x) for x in re.findall(r"[0-9]+", seen))
    s = Shape(
        f"{zlib.crc32(name.encode())}-{time.time_ns() // 1000 + next(serial)}",
        schema,
        table,
        oid,
        columns,
        key or list(columns),
        condition,
        p.get("replica") == "full",
        [[]],
        lambda x: x < xmin or (x < xmax and x not in xip),
    )
    fill(s, rows, chunk)
    end = {
        "control": "snapshot-end",
        "xip_list": [str(x) for x in xip],
        "xmax": str(xmax),
        "xmin": str(xmin),
    }
    s.chunks[-1].append(encode({"headers": end}))
    return s, int(lsn)


def fill(s: Shape, rows: list[Row], chunk: int) -> None:
    """Write the rows into chunks of so many bytes."""
    size = 0
    headers = {"relation": [s.schema, s.table], "operation": "insert"}
    for value in rows:
        if size >= chunk:
            s.chunks.append([])
            size = 0
        s.chunks[-1].append(encode({"key": key_of(s, value), "value": value, "headers": headers}))
        size += len(s.chunks[-1][-1])


# ------------------------------------------------------------------------------------- the changes
def inside(c: Connection, s: Shape, row: Row | None) -> bool:
    """Whether the row belongs to the shape."""
    if row is None:
        return False
    table = sql.Identifier(s.schema, s.table)
    query = sql.SQL("SELECT ({}) IS TRUE FROM jsonb_populate_record(NULL::{}, {}) AS {}").format(
        s.where, table, sql.Literal(json.dumps(row)), sql.Identifier(s.table)
    )
    return bool(c.execute(query).fetchone()[0])  # type: ignore[index]


def messages(c: Connection, s: Shape, old: Row | None, new: Row | None) -> Iterator[Row]:
    """What a change is in the log of a shape."""

    def chosen(row: Row) -> Row:
        return {k: row[k] for k in sorted(s.columns)}

    before, after = inside(c, s, old), inside(c, s, new)
    if old is not None and new is not None and before and after:
        yield from update(s, chosen(old), chosen(new))
    elif after and new is not None:
        yield {"value": chosen(new), "key": key_of(s, new), "headers": {"operation": "insert"}}
    elif before and old is not None:
        value = chosen(old) if s.full else {k: old[k] for k in sorted(s.key)}
        yield {"value": value, "key": key_of(s, old), "headers": {"operation": "delete"}}


def update(s: Shape, old: Row, new: Row) -> Iterator[Row]:
    """A row that stays in the shape; with another key it is deleted and inserted."""
    changed = [k for k in new if old[k] != new[k]]
    if any(k in changed for k in s.key):
        value = old if s.full else {k: old[k] for k in s.key}
        there = {"operation": "delete", "key_change_to": key_of(s, new)}
        yield {"value": value, "key": key_of(s, old), "headers": there}
        here = {"operation": "insert", "key_change_from": key_of(s, old)}
        yield {"value": new, "key": key_of(s, new), "headers": here}
    elif changed:
        yield {
            "value": new
            if s.full
            else {k: v for k, v in new.items() if k in changed or k in s.key},
            "key": key_of(s, new),
            "headers": {"operation": "update"},
            **({"old_value": {k: old[k] for k in changed}} if s.full else {}),
        }
