"""A small shape server: answers as Electric 1.7.12 was recorded to, over real HTTP,
from a real PostgreSQL.

What changes arrives by logical decoding (pgoutput) under REPLICA IDENTITY FULL, as at Electric.  A
shape keeps its snapshot and its log in memory; ``stop`` and ``start`` are a restart with the
storage kept.  electric/test_shape_server.py proves it faithful.
"""

from __future__ import annotations

import json
import random
import struct
import threading
import time
from collections import deque
from collections.abc import Callable
from http.server import ThreadingHTTPServer
from typing import Any

import psycopg

from kit.pgoutput import parse_change, parse_relation
from kit.shape_http import Handler
from kit.shapes import FORM, Connection, Offset, Refused, Row, Shape, encode, messages, snapshot


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
        self.connect, self.chunk, self.poll = connect, chunk, poll
        self.patience, self.keep_alive = patience, keep_alive
        self.name = f"electric_{random.randrange(10**9)}"
        self.faults: deque[Refused] = deque()
        self.requests: list[dict[str, str]] = []
        self.shapes: dict[str, Shape] = {}
        self.news = threading.Condition()
        self.lsn = 0
        self.port = 0
        self.running = False
        self.turns = 0  # how often the log has been read
        with self.connect() as c:
            c.execute(f"CREATE PUBLICATION {self.name}")
            c.execute("SELECT pg_create_logical_replication_slot(%s, 'pgoutput')", (self.name,))

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
                    if self.turns % 50 == 0:
                        self._forget_replaced(c)
                time.sleep(0.02)

    def _forget_replaced(self, c: Connection) -> None:
        """Of tables made anew under an old name."""
        named = "SELECT to_regclass(format('%%I.%%I', %s::text, %s::text))::oid"
        for s in list(self.shapes.values()):
            (oid,) = c.execute(named, (s.schema, s.table)).fetchone() or (None,)
            if oid not in (s.oid, None):
                self._forget(s.oid)

    def _forget(self, oid: int) -> None:
        for name, s in list(self.shapes.items()):
            if s.oid == oid:
                s.gone = True
                del self.shapes[name]
        self.news.notify_all()

    def _take(self, c: Connection, changes: list[bytes], relations: dict[int, list[str]]) -> None:
        """Append the changes of whole transactions to the logs."""
        lsn = xid = position = 0
        entries: dict[int, list[tuple[Shape, Offset, Row]]] = {}
        for data in changes:
            kind = data[:1]
            if kind == b"B":
                lsn, _, xid = struct.unpack_from(">QQI", data, 1)
                position, entries = 0, {}
            elif kind == b"R":
                oid, columns = parse_relation(data)
                relations[oid] = columns
                shapes = [s for s in self.shapes.values() if s.oid == oid]
                if any(set(s.columns) != set(columns) for s in shapes):
                    self._forget(oid)
            elif kind == b"T":
                for oid in struct.unpack_from(f">{struct.unpack_from('>I', data, 1)[0]}I", data, 6):
                    self._forget(oid)
            elif kind in b"IUD":
                oid, old, new = parse_change(data, relations)
                for s in self.shapes.values():
                    if s.oid == oid and not s.visible(xid):
                        for extra, message in enumerate(messages(c, s, old, new)):
                            at: Offset = (lsn, position + extra)
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
                new, lsn = snapshot(c, wanted, name, self.name, self.chunk)
                self.shapes[name], self.lsn = new, max(self.lsn, lsn)
        return self.shapes[name]
