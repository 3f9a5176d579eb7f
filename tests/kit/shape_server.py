"""A small shape server: answers as Electric 1.7.12 was recorded to, over real HTTP,
from a real PostgreSQL.

What changes arrives by logical decoding (pgoutput) under REPLICA IDENTITY FULL, as at Electric.  A
shape keeps its snapshot and its log in memory; ``stop`` and ``start`` are a restart with the
storage kept.  electric/test_shape_server.py proves it faithful.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import random
import re
import struct
import threading
import time
import zlib
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

import psycopg
from psycopg import sql

Offset = tuple[int, float]
INFINITE = float("inf")
UP_TO_DATE = "up-to-date"
FORM = """SET bytea_output = hex; SET DateStyle = 'ISO, DMY'; SET TimeZone = 'UTC';
    SET extra_float_digits = 1; SET IntervalStyle = iso_8601"""
EXPOSED = (
    "electric-cursor,electric-handle,electric-has-data,electric-offset,electric-schema,"
    "electric-up-to-date,electric-internal-known-error,retry-after"
)
JSON = {"content-type": "application/json; charset=utf-8"}
ELSEWHERE = {
    "cache-control": "max-age=0, private, must-revalidate",
    "access-control-allow-methods": "GET, HEAD",
}
COLUMNS = """
    SELECT a.attname, coalesce(e.typname, t.typname), a.attndims, a.attnotnull, a.atttypmod,
        array_position(i.indkey::int2[], a.attnum)
      FROM pg_attribute a JOIN pg_type t ON t.oid = a.atttypid
      LEFT JOIN pg_type e ON t.typcategory = 'A' AND e.oid = t.typelem
      LEFT JOIN pg_index i ON i.indrelid = a.attrelid AND i.indisprimary
     WHERE a.attrelid = %s AND a.attnum > 0 AND NOT a.attisdropped AND a.attgenerated = ''
     ORDER BY a.attnum"""


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
    return Refused(
        400,
        {"message": "Invalid request", "errors": {parameter: [reason]}},
        **{"cache-control": "no-store", "surrogate-control": "no-store"},
    )


class ShapeServer:
    """``connect`` opens connections of a superuser.  Times in seconds,
    as Electric has them; ``chunk`` in bytes.

    ``faults`` holds answers that are given before any other, one each;
    ``requests`` the parameters of what was asked.
    """

    def __init__(
        self,
        connect: Callable[[], psycopg.Connection[Any]],
        chunk: int = 10 * 1024 * 1024,
        poll: float = 20.0,
        patience: float = 10.0,
        keep_alive: float = 21.0,
    ):
        self.connect, self.chunk, self.poll, self.patience, self.keep_alive = (
            connect,
            chunk,
            poll,
            patience,
            keep_alive,
        )
        self.name = f"electric_{random.randrange(10**9)}"
        self.faults: deque[Refused] = deque()
        self.requests: list[dict[str, str]] = []
        self.shapes: dict[str, Shape] = {}
        self.news = threading.Condition()
        self.lsn = 0
        self.port = 0
        self.serial = itertools.count()
        self.running = False
        self.turns = 0  # how often the log has been read
        with self.connect() as c:
            c.execute(f"CREATE PUBLICATION {self.name}")
            c.execute("SELECT pg_create_logical_replication_slot(%s, 'pgoutput')", (self.name,))

    # -- life
    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self, delay: float = 0.0) -> ShapeServer:
        """Serve; what happened meanwhile is read only after ``delay`` seconds."""
        self.running = True
        self.http = ThreadingHTTPServer(
            ("127.0.0.1", self.port), type("Handler", (Handler,), {"server_": self})
        )
        self.http.daemon_threads = True
        self.port = self.http.server_port
        threading.Thread(target=self.http.serve_forever, args=(0.02,), daemon=True).start()
        self.reader = threading.Thread(target=self._read, args=(delay,), daemon=True)
        self.reader.start()
        return self

    def stop(self) -> None:
        """Break off all that is open."""
        if self.running:
            with self.news:
                self.running = False
                self.news.notify_all()
            self.http.shutdown()
            self.http.server_close()
            self.reader.join()

    def close(self) -> None:
        self.stop()
        with self.connect() as c:
            c.execute("SELECT pg_drop_replication_slot(%s)", (self.name,))
            c.execute(f"DROP PUBLICATION {self.name}")

    def __enter__(self) -> ShapeServer:
        return self.start()

    def __exit__(self, *error: object) -> None:
        self.close()

    # -- from the database
    def _read(self, delay: float) -> None:
        relations: dict[int, list[str]] = {}
        time.sleep(delay)
        with self.connect() as c:
            c.execute(FORM)
            while True:
                changes = c.execute(
                    "SELECT data FROM pg_logical_slot_get_binary_changes(%s, NULL, NULL,"
                    " 'proto_version', '1', 'publication_names', %s)",
                    (self.name, self.name),
                    binary=True,
                ).fetchall()
                with self.news:
                    if not self.running:
                        return
                    if changes:
                        self._take(c, [bytes(data) for (data,) in changes], relations)
                        self.news.notify_all()
                    self.turns += 1
                    if self.turns % 50 == 0:  # a table made anew under an old name
                        for s in list(self.shapes.values()):
                            if c.execute(
                                "SELECT to_regclass(format('%%I.%%I', %s::text, %s::text))::oid",
                                (s.schema, s.table),
                            ).fetchone()[0] not in (s.oid, None):  # type: ignore[index]
                                self._forget(s.oid)
                time.sleep(0.02)

    def _forget(self, oid: int) -> None:
        for name, s in list(self.shapes.items()):
            if s.oid == oid:
                s.gone = True
                del self.shapes[name]
        self.news.notify_all()

    def _take(
        self, c: psycopg.Connection[Any], changes: list[bytes], relations: dict[int, list[str]]
    ) -> None:
        """Append the changes of whole transactions to the logs."""
        lsn = xid = position = 0
        entries: dict[int, list[tuple[Shape, Offset, dict[str, Any]]]] = {}
        for data in changes:
            kind = data[:1]
            if kind == b"B":
                lsn, _, xid = struct.unpack_from(">QQI", data, 1)
                position, entries = 0, {}
            elif kind == b"R":
                oid, columns = parse_relation(data)
                relations[oid] = columns
                if any(
                    s.oid == oid and set(s.columns) != set(columns) for s in self.shapes.values()
                ):
                    self._forget(oid)
            elif kind == b"T":
                for oid in struct.unpack_from(f">{struct.unpack_from('>I', data, 1)[0]}I", data, 6):
                    self._forget(oid)
            elif kind in b"IUD":
                oid, old, new = parse_change(data, relations)
                for s in self.shapes.values():
                    if s.oid == oid and not s.visible(xid):
                        for extra, message in enumerate(self._messages(c, s, old, new)):
                            at = (lsn, position + extra)
                            message["headers"] = {
                                "relation": [s.schema, s.table],
                                "lsn": str(lsn),
                                "txids": [xid],
                                **message["headers"],
                                "op_position": position + extra,
                            }
                            entries.setdefault(id(s), []).append((s, at, message))
                position += 2
            elif kind == b"C":
                for log in entries.values():
                    log[-1][2]["headers"] = {"last": True, **log[-1][2]["headers"]}
                    for s, at, message in log:
                        s.log.append((at, encode(message)))
                self.lsn = max(self.lsn, lsn)

    def _messages(
        self,
        c: psycopg.Connection[Any],
        s: Shape,
        old: dict[str, Any] | None,
        new: dict[str, Any] | None,
    ) -> Iterator[dict[str, Any]]:
        def inside(row: dict[str, Any] | None) -> bool:
            table = sql.Identifier(s.schema, s.table)
            query = sql.SQL(
                "SELECT ({}) IS TRUE FROM jsonb_populate_record(NULL::{}, {}) AS {}"
            ).format(s.where, table, sql.Literal(json.dumps(row)), sql.Identifier(s.table))
            return row is not None and bool(c.execute(query).fetchone()[0])  # type: ignore[index]

        before, after = inside(old), inside(new)
        chosen = lambda row: {k: row[k] for k in sorted(s.columns)}  # noqa: E731
        if old is not None and new is not None and before and after:
            old, new = chosen(old), chosen(new)
            changed = [k for k in new if old[k] != new[k]]
            if any(k in changed for k in s.key):
                value = old if s.full else {k: old[k] for k in s.key}
                yield {
                    "value": value,
                    "key": key_of(s, old),
                    "headers": {"operation": "delete", "key_change_to": key_of(s, new)},
                }
                yield {
                    "value": new,
                    "key": key_of(s, new),
                    "headers": {"operation": "insert", "key_change_from": key_of(s, old)},
                }
            elif changed:
                value = (
                    new if s.full else {k: v for k, v in new.items() if k in changed or k in s.key}
                )
                yield {
                    "value": value,
                    "key": key_of(s, new),
                    "headers": {"operation": "update"},
                    **({"old_value": {k: old[k] for k in changed}} if s.full else {}),
                }
        elif after and new is not None:
            yield {"value": chosen(new), "key": key_of(s, new), "headers": {"operation": "insert"}}
        elif before and old is not None:
            yield {
                "value": chosen(old) if s.full else {k: old[k] for k in sorted(s.key)},
                "key": key_of(s, old),
                "headers": {"operation": "delete"},
            }

    # -- shapes
    def shape(self, p: dict[str, str]) -> Shape:
        """The shape that a request is about; its snapshot is made when it is new."""
        wanted = {
            k: v
            for k, v in p.items()
            if k in ("table", "where", "columns", "replica") or k.startswith("params[")
        }
        name = json.dumps(wanted, sort_keys=True)
        if name not in self.shapes:
            with self.connect() as c:
                self.shapes[name] = self._snapshot(c, wanted, name)
        return self.shapes[name]

    def _snapshot(self, c: psycopg.Connection[Any], p: dict[str, str], name: str) -> Shape:
        row = c.execute(
            """SELECT r.oid, n.nspname, r.relname, n.oid < 16384 AND n.nspname <> 'public'
                FROM pg_class r JOIN pg_namespace n ON n.oid = r.relnamespace
                            WHERE r.oid = to_regclass(%s)""",
            (p["table"],),
        ).fetchone()
        if row is None:
            schema, _, table = p["table"].rpartition(".")
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
            raise Refused(
                500,
                {"message": what},
                **{"cache-control": "no-store", "surrogate-control": "no-store"},
            )
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
        if "columns" in p:
            chosen = p["columns"].split(",")
            if missing := [k for k in key if k not in chosen]:
                raise invalid(
                    "columns",
                    "The list of columns must include all primary key columns, missing:"
                    f" {', '.join(missing)}",
                )
            columns = {k: v for k, v in columns.items() if k in chosen}
        where = p.get("where", "true")
        literal = re.sub(
            r"\$([0-9]+)", lambda m: sql.Literal(p[f"params[{m[1]}]"]).as_string(c), where
        )
        condition = sql.SQL(literal)  # type: ignore[arg-type]
        relation = sql.Identifier(schema, table)
        try:
            c.execute(sql.SQL("SELECT FROM {} WHERE ({}) LIMIT 0").format(relation, condition))
        except psycopg.Error as e:
            column = re.search(r'column "(.*)" does not exist', e.diag.message_primary or "")
            raise invalid(
                "where",
                "At location 0:"
                f" {f'unknown reference {column[1]}' if column else e.diag.message_primary}",
            ) from None
        c.execute(sql.SQL("ALTER TABLE {} REPLICA IDENTITY FULL").format(relation))
        with contextlib.suppress(psycopg.errors.DuplicateObject):
            c.execute(
                sql.SQL("ALTER PUBLICATION {} ADD TABLE {}").format(
                    sql.Identifier(self.name), relation
                )
            )
        c.execute(FORM)
        names = sorted(columns)

        def text(name: str) -> sql.Composable:
            # char(n) loses its blanks as text, and keeps them at Electric; boolean is true, not t
            form = (
                "CASE WHEN {0} IS NOT NULL THEN format('%s', {0}) END"
                if columns[name]["type"] == "bpchar"
                else "{0}::text"
            )
            return sql.SQL(form).format(sql.Identifier(name))

        with c.transaction():
            c.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
            snapshot, lsn = c.execute(
                "SELECT pg_current_snapshot()::text, pg_current_wal_lsn() - '0/0'"
            ).fetchone()  # type: ignore[misc]
            query = sql.SQL("SELECT {} FROM {} WHERE ({})").format(
                sql.SQL(", ").join(map(text, names)), relation, condition
            )
            rows = [dict(zip(names, values)) for values in c.execute(query)]
        xmin, xmax, *xip = (int(x) for x in re.findall(r"[0-9]+", snapshot))
        self.lsn = max(self.lsn, int(lsn))
        s = Shape(
            f"{zlib.crc32(name.encode())}-{time.time_ns() // 1000 + next(self.serial)}",
            schema,
            table,
            oid,
            {n: columns[n] for n in names},
            key or names,
            condition,
            p.get("replica") == "full",
            [[]],
            lambda x: x < xmin or (x < xmax and x not in xip),
        )
        size = 0
        for value in rows:
            if size >= self.chunk:
                s.chunks.append([])
                size = 0
            s.chunks[-1].append(
                encode(
                    {
                        "key": key_of(s, value),
                        "value": value,
                        "headers": {"relation": [schema, table], "operation": "insert"},
                    }
                )
            )
            size += len(s.chunks[-1][-1])
        end = {
            "control": "snapshot-end",
            "xip_list": [str(x) for x in xip],
            "xmax": str(xmax),
            "xmin": str(xmin),
        }
        s.chunks[-1].append(encode({"headers": end}))
        return s

    def up_to_date(self, s: Shape) -> bytes:
        return encode(
            {
                "headers": {
                    "control": UP_TO_DATE,
                    "global_last_seen_lsn": str(max(self.lsn, s.log[-1][0][0] if s.log else 0)),
                }
            }
        )


def key_of(s: Shape, row: dict[str, Any]) -> str:
    return f'"{s.schema}"."{s.table}"/' + "/".join(
        f'"{(row[k] or "").replace("/", "//")}"' for k in s.key
    )


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


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server_: ShapeServer
    disable_nagle_algorithm = True

    def log_message(self, *args: Any) -> None:
        pass

    def answer(
        self, status: int, body: bytes | None, chunked: bool = False, **headers: str | None
    ) -> None:
        """Headers (None: not this one) and body; chunked without a body: the pieces follow."""
        self.send_response(status)
        common = {
            "vary": "accept-encoding",
            "electric-server": "ElectricSQL/1.7.12",
            "access-control-allow-origin": "*",
            "access-control-expose-headers": EXPOSED,
            "access-control-allow-methods": "GET, POST, HEAD, DELETE, OPTIONS",
        }
        if chunked:
            common["transfer-encoding"] = "chunked"
        elif body is not None:
            common["content-length"] = str(len(body))
        for name, value in {**common, **headers}.items():
            if value is not None:
                self.send_header(name, value)
        self.end_headers()
        if chunked and body is not None:
            self.piece(body)
            self.piece(b"")
        elif body is not None:
            self.wfile.write(body)

    def piece(self, data: bytes) -> None:
        self.wfile.write(b"%x\r\n%s\r\n" % (len(data), data))
        self.wfile.flush()

    def do_OPTIONS(self) -> None:
        allowed = {
            "access-control-allow-origin": self.headers.get("origin", "*"),
            "access-control-max-age": "86400",
        }
        self.answer(204, None, vary=None, connection="keep-alive", **allowed)

    def do_DELETE(self) -> None:
        self.answer(
            405, b'{"message":"DELETE not allowed"}', **JSON, **{"cache-control": "no-cache"}
        )

    def do_PUT(self) -> None:
        self.answer(404, b"Not found", **ELSEWHERE)

    def do_GET(self) -> None:
        address = urlsplit(self.path)
        if address.path == "/v1/health":
            return self.answer(
                200,
                b'{"status":"active"}',
                **{**ELSEWHERE, **JSON, "cache-control": "no-cache, no-store, must-revalidate"},
            )
        if address.path == "/":
            return self.answer(200, b"", **ELSEWHERE)
        if address.path != "/v1/shape":
            return self.do_PUT()
        server = self.server_
        p = {k: v[-1] for k, v in parse_qs(address.query, keep_blank_values=True).items()}
        try:
            with server.news:
                server.requests.append(p)
                if server.faults:
                    raise server.faults.popleft()
                self.shape(p)
        except Refused as e:
            body = e.body if isinstance(e.body, bytes) else encode(e.body)
            with contextlib.suppress(OSError):
                self.answer(e.status, body, **{**JSON, **e.headers})
        except OSError:
            pass
        if not server.running:
            self.close_connection = True
        return None

    def shape(self, p: dict[str, str]) -> None:
        """Answer a request about a shape, with the lock held."""
        server, live = self.server_, p.get("live") == "true"
        if "offset" not in p:
            raise invalid("offset", "can't be blank")
        if not re.fullmatch(r"-1|now|[0-9]+_([0-9]+|inf)", p["offset"]):
            raise invalid("offset", "has invalid format")
        if "table" not in p:
            raise invalid("table", "can't be blank")
        if p.get("replica", "default") not in ("default", "full"):
            raise invalid("replica", "is invalid")
        if p["offset"] == "-1" and live:
            raise invalid("live", "can't be true when offset == -1")
        if p.get("live_sse") == "true" and not live:
            raise invalid("live_sse", "can't be true unless live is also true")
        if p["offset"] not in ("-1", "now") and not p.get("handle"):
            raise invalid("handle", "can't be blank when offset != -1")
        s = server.shape(p)
        if p["offset"] not in ("-1", "now") and p["handle"] != s.handle:
            self.refetch(s)
        if p["offset"] == "-1":
            return self.log(
                s,
                p,
                "-1",
                (0, 0),
                s.chunks[0],
                False,
                cache="public, max-age=604800, s-maxage=3600, stale-while-revalidate=2629746",
            )
        tx, op = p["offset"].split("_") if p["offset"] != "now" else shown(s.end).split("_")
        offset = (int(tx), float(op))
        self.beyond(s, offset)
        if live and p.get("live_sse") == "true":
            return self.stream(s, offset)
        if offset[0] == 0 and offset[1] < len(s.chunks) - 1:
            return self.log(
                s, p, p["offset"], (0, offset[1] + 1), s.chunks[int(offset[1]) + 1], False
            )
        if live:
            server.news.wait_for(
                lambda: s.gone or s.end > max(offset, (0, INFINITE)) or not server.running,
                server.poll,
            )
            if not server.running:
                raise ConnectionAbortedError
            if s.gone:
                self.refetch(None)
        entries, size, end = [], 0, max(offset, (0, INFINITE))
        for at, message in s.log:
            if at > offset and size < server.chunk:
                entries.append(message)
                end, size = at, size + len(message)
        return self.log(
            s,
            p,
            p["offset"],
            end,
            entries,
            end == s.end,
            cache="public, max-age=5, stale-while-revalidate=5" if live else None,
        )

    def beyond(self, s: Shape, offset: Offset) -> None:
        server = self.server_
        if offset > s.end:
            server.news.wait_for(
                lambda: s.gone or s.end >= offset or not server.running, server.patience
            )
            if offset > s.end:
                raise invalid("offset", "out of bounds for this shape")

    def refetch(self, new: Shape | None) -> None:
        headers = (
            {
                "cache-control": "public, max-age=60, must-revalidate",
                "electric-handle": new.handle,
                "etag": f'"{new.handle}::"',
            }
            if new
            else {"cache-control": "public, max-age=1, must-revalidate"}
        )
        raise Refused(409, [{"headers": {"control": "must-refetch"}}], **headers)

    def cursor(self) -> str:
        return str(int(time.time()) - 1728432000 + random.randrange(1, 3600))

    def log(
        self,
        s: Shape,
        p: dict[str, str],
        asked: str,
        end: Offset,
        messages: list[bytes],
        up_to_date: bool,
        cache: str | None = None,
    ) -> None:
        live = p.get("live") == "true"
        has_data = bool(messages) or not live
        headers = {
            **JSON,
            "cache-control": cache or "public, max-age=60, stale-while-revalidate=300",
            "etag": f'"{s.handle}:{asked}:{shown(end)}"',
            "electric-handle": s.handle,
            "electric-has-data": "true" if has_data else "false",
            "electric-offset": shown(end),
        }
        if asked == "now":
            headers["electric-has-data"], messages = "false", []
        if up_to_date:
            headers["electric-up-to-date"] = ""
            messages = [*messages, self.server_.up_to_date(s)]
        if live:
            headers["electric-cursor"] = self.cursor()
        if headers["electric-has-data"] == "false":
            headers["etag"] = f'"{s.handle}:{asked}:{shown(end)}:{-time.monotonic_ns()}"'
        if self.headers.get("if-none-match") == headers["etag"]:
            return self.answer(304, b"", **headers)
        if not live:
            headers["electric-schema"] = json.dumps(s.columns, separators=(",", ":"))
        return self.answer(
            200,
            b"[" + b",".join(messages) + b"]",
            chunked=headers["electric-has-data"] == "true",
            **headers,
        )

    def stream(self, s: Shape, offset: Offset) -> None:
        server = self.server_
        here = shown(offset)
        headers = {
            "cache-control": "public, max-age=59", "content-type": "text/event-stream",
            "electric-cursor": self.cursor(), "etag": f'"{s.handle}:{here}:{here}"',
            "electric-handle": s.handle, "electric-up-to-date": "", "electric-has-data": "true",
            "electric-offset": here, "connection": "keep-alive",
        }  # fmt: skip
        self.answer(200, None, chunked=True, **headers)
        at = offset
        while True:
            news = server.news.wait_for(
                lambda at=at: s.gone or s.end > max(at, (0, INFINITE)) or not server.running,
                server.keep_alive,
            )
            if not server.running:
                raise ConnectionAbortedError
            if s.gone:
                return self.piece(b"")
            if not news:
                self.piece(b": keep-alive\n\n")
            waiting = [entry for entry in s.log if entry[0] > at]
            for n, (position, message) in enumerate(waiting):
                self.piece(b"data: " + message + b"\n\n")
                if n + 1 == len(waiting) or waiting[n + 1][0][0] != position[0]:
                    done = {
                        "headers": {"control": UP_TO_DATE, "global_last_seen_lsn": str(position[0])}
                    }
                    self.piece(b"data: " + encode(done) + b"\n\n")
                at = position
