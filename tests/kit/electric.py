"""What the tests of Electric share: servers, Electric's own client,
followers in a thread of their own.
"""

from __future__ import annotations

import asyncio
import json
import queue
import subprocess
import threading
import time
import uuid
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import psycopg

from kit.db import Db, Server
from kit.example import EXAMPLE, Owner
from kit.network import until
from kit.shape_server import ShapeServer
from rowseal.electric import Follower, Shape, declared, shape

PLAIN = EXAMPLE[: EXAMPLE.index("SELECT rowseal.declare")]
TABLES = ("user_cards", "user_storage")
CONTENT = (
    "SELECT uuid, value_b64, deleted_flag, owner_timestamp, sign_b64 FROM user_storage"
    " ORDER BY uuid"
)
CLIENT = Path(__file__).parent / "electric_client"
HERE = {"first": 0.02, "most": 0.2}  # pauses of a follower, for tests


@contextmanager
def serving(server: Server, database: str, **options: Any) -> Iterator[ShapeServer]:
    electric = ShapeServer(
        lambda: server.connect(database),
        **{"poll": 2.0, "patience": 0.3, "keep_alive": 0.5, **options},
    )
    with electric:
        yield electric


class Reader:
    """Electric's own client, as a process; ``state``: what it last said when up to date."""

    def __init__(
        self,
        url: str,
        table: str,
        resume: dict[str, str] | None = None,
        live_sse: bool = False,
        **params: Any,
    ):
        options = {
            "url": f"{url}/v1/shape",
            "params": {"table": table, **params},
            "liveSse": live_sse,
            "resume": resume or {},
        }
        self.process = subprocess.Popen(
            ["node", "reader.mjs", json.dumps(options)],
            cwd=CLIENT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.lines: queue.Queue[dict[str, Any]] = queue.Queue()
        self.state: dict[str, Any] = {}
        self.changes: list[Any] = []
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        assert self.process.stdout
        for line in self.process.stdout:
            self.lines.put(json.loads(line))

    def until(self, condition: Callable[[Reader], Any]) -> Reader:
        end = time.monotonic() + 20
        while not (self.state and condition(self)):
            self.state = self.lines.get(timeout=max(0.01, end - time.monotonic()))
            assert "error" not in self.state, self.state
            self.changes += self.state["changes"]
        return self

    @property
    def rows(self) -> list[dict[str, Any]]:
        return sorted(self.state["rows"], key=json.dumps)

    def __enter__(self) -> Reader:
        return self

    def __exit__(self, *error: object) -> None:
        assert self.process.stdin
        self.process.stdin.close()
        self.process.wait(10)


def dsn(db: Db) -> str:
    info = db.connection.info
    return f"host={info.host} port={info.port} user={info.user} dbname={info.dbname}"


class Pull:
    """A follower in a thread; ``said`` is what it reported."""

    def __init__(self, db: Db, url: str, *tables: str, parameters: Any = (), **options: Any):
        self.dsn, self.url, self.tables, self.parameters = dsn(db), url, tables, parameters
        self.options = {**HERE, **options}
        self.said: list[str] = []
        self.shapes: list[Shape] = []
        self.error: BaseException | None = None
        self.ready = threading.Event()

    async def _run(self) -> None:
        async with await psycopg.AsyncConnection.connect(self.dsn, autocommit=True) as c:
            for table in self.tables:
                there, _, here = table.partition("=")
                self.shapes.append(
                    shape(
                        self.url,
                        there,
                        parameters=self.parameters,
                        **await declared(c, here or there),
                    )
                )
        async with Follower(
            self.dsn,
            self.shapes,
            report=lambda s, what: self.said.append(f"{s.table}: {what}"),
            **self.options,
        ) as follower:
            self.loop, self.task = asyncio.get_running_loop(), asyncio.ensure_future(follower.run())
            self.ready.set()
            await self.task

    def _thread(self) -> None:
        try:
            asyncio.run(self._run())
        except BaseException as e:  # looked at by whoever started it
            self.error = e
        self.ready.set()

    def once(self) -> Pull:
        """Run until all is read."""
        self.options["once"] = True
        self._thread()
        if self.error:
            raise self.error
        return self

    def __enter__(self) -> Pull:
        self.thread = threading.Thread(target=self._thread, daemon=True)
        self.thread.start()
        self.ready.wait(10)
        return self

    def live(self) -> Pull:
        """Wait until all shapes are live."""
        until(
            lambda: (
                self.error or (self.shapes and all(s.live and not s.error for s in self.shapes))
            ),
            f"live; it said {self.said}",
        )
        assert self.error is None, self.error
        return self

    def __exit__(self, *error: object) -> None:
        if self.thread.is_alive():
            self.loop.call_soon_threadsafe(self.task.cancel)
        self.thread.join(10)
        assert not self.thread.is_alive(), "it does not stop"
        assert self.error is None or isinstance(self.error, asyncio.CancelledError), self.error

    @property
    def outcomes(self) -> dict[str, int]:
        return (
            {k: v for s in self.shapes for k, v in s.outcomes.items()}
            if len(self.shapes) == 1
            else {f"{s.table} {k}": v for s in self.shapes for k, v in s.outcomes.items()}
        )


Answer = tuple[int, dict[str, str], Iterable[bytes]]


class Liar:
    """An HTTP server that answers what ``script`` says: of the parameters,
    and of how many requests came before.
    """

    def __init__(self, script: Callable[[dict[str, str], int], Answer]):
        liar = self
        self.requests: list[dict[str, str]] = []
        self.times: list[float] = []

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *args: Any) -> None:
                pass

            def do_GET(self) -> None:
                p = {k: v[-1] for k, v in parse_qs(urlsplit(self.path).query).items()}
                liar.requests.append(p)
                liar.times.append(time.monotonic())
                status, headers, body = script(p, len(liar.requests) - 1)
                try:
                    self.send_response(status)
                    for name, value in headers.items():
                        self.send_header(name, value)
                    if "content-length" not in headers:
                        self.send_header("connection", "close")
                        self.close_connection = True
                    self.end_headers()
                    for piece in body:
                        self.wfile.write(piece)
                except OSError:
                    self.close_connection = True

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.http.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.http.server_port}"

    def __enter__(self) -> Liar:
        threading.Thread(target=self.http.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def __exit__(self, *error: object) -> None:
        self.http.shutdown()
        self.http.server_close()


def operation(row: Any, kind: str = "insert", lsn: int = 0, position: int = 0) -> dict[str, Any]:
    return {
        "key": "k",
        "value": row,
        "headers": {"operation": kind, "lsn": str(lsn), "op_position": position},
    }


DONE = {"headers": {"control": "up-to-date", "global_last_seen_lsn": "1"}}


def log(
    messages: list[Any], offset: str, handle: str = "1-1", status: int = 200, **headers: str
) -> Answer:
    """An answer in Electric's form."""
    body = json.dumps(messages).encode()
    return (
        status,
        {
            "electric-handle": handle,
            "electric-offset": offset,
            "content-length": str(len(body)),
            **headers,
        },
        [body],
    )


class Writer:
    """An owner who writes at the source."""

    def __init__(self, source: Db, here: Db, name: str = "Ann"):
        self.source, self.owner = source, Owner(name)
        self.forms = {t: here.form(t) for t in TABLES}

    def join(self) -> Writer:
        self.source.insert(
            "user_cards", self.owner.sealed(self.forms["user_cards"], self.owner.card())
        )
        return self

    def sealed(
        self, value: bytes | None = b"value", key: uuid.UUID | None = None, **changes: Any
    ) -> dict[str, Any]:
        return self.owner.sealed(
            self.forms["user_storage"], self.owner.value(value, key, **changes)
        )

    def put(
        self, value: bytes | None = b"value", key: uuid.UUID | None = None, **changes: Any
    ) -> uuid.UUID:
        row = self.sealed(value, key, **changes)
        if key:
            assert self.source.update("user_storage", row, "uuid = %s", key) == 1
        else:
            self.source.insert("user_storage", row)
        return row["uuid"]  # type: ignore[no-any-return]


def same(source: Db, here: Db) -> bool:
    return bool(source.all(CONTENT) == here.all(CONTENT))


@contextmanager
def administrator(db: Db) -> Iterator[Db]:
    info = db.connection.info
    with psycopg.connect(
        host=info.host, port=info.port, user="postgres", dbname=info.dbname, autocommit=True
    ) as c:
        yield Db(c)


def quarantined(db: Db) -> list[Any]:
    with administrator(db) as admin:
        return admin.all("SELECT sqlstate, reason FROM rowseal.quarantine ORDER BY id")


def kept(db: Db) -> dict[str, str]:
    """The offset of each table's shape."""
    return dict(
        db.all("SELECT substring(source FROM 'table=([a-z_]+)'), log_offset FROM rowseal.shapes")
    )
