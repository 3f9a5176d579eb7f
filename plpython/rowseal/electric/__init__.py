"""Follows shapes of Electric (https://electric.ax), the HTTP sync service for PostgreSQL, into declared tables.

    cards = shape("http://oslo:3000", "user_cards", **await declared(connection, "user_cards"))
    async with Follower(dsn, [cards]) as follower:
        await follower.run()

With ``replica=full`` every insert and update carries a whole row, and every row carries its owner's signature; so this is
no replica that obeys the server, but one more carrier of rows to ``rowseal.apply``.  The server is not trusted: whatever
it sends, memory stays bounded, a bad row ends in the quarantine, nonsense is answered by asking again, ever more slowly.
It can withhold rows, and no more.  A shape's offset is stored in the transaction of the rows before it, so that nothing is
lost however this ends; what comes twice is known already, and costs no signature check.
"""

from __future__ import annotations

import asyncio
import codecs
import json
import random
import re
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.parse import urlencode

import httpx
import psycopg
from psycopg.types.json import Jsonb

from ..cli.history import printable

MESSAGE_LIMIT = 16 * 1024 * 1024  # characters of one message, that is: of one row and what stands around it
BATCH_ROWS, BATCH_SIZE = 1000, 4 * 1024 * 1024  # rows, characters
IDLE = 60.0  # s without a byte, when a connection counts as dead; Electric is never silent for more than 21 s
PROMPT = 1.0  # s: an answer without news that came sooner was not waited for
LONGEST_RETRY_AFTER = 600.0  # s
SECRETS = {"secret", "api_secret", "token", "source_secret"}  # parameters that are not stored
_OFFSET = re.compile(r"-1|[0-9]{1,20}_(?:[0-9]{1,20}|inf)", re.ASCII)
_VISIBLE = re.compile(r"[!-~]{1,200}", re.ASCII)
_BLANK = re.compile(r"[ \t\r\n]*")
_NO_TEXT = re.compile("[\0\ud800-\udfff]")


class Trouble(Exception):
    """What may pass: ask again, later.  ``retry_after``: seconds that the server asked for."""

    def __init__(self, reason: str, retry_after: float = 0.0):
        super().__init__(reason)
        self.retry_after = retry_after


class Refusal(Trouble):
    """What probably will not pass: at the start an error, in a running stream an outage."""


class Refetch(Exception):
    """The log that was followed is no more; the shape must be read from its beginning."""


# ------------------------------------------------------------------------------------------------------------ reading
async def elements(chunks: AsyncIterator[bytes], limit: int = MESSAGE_LIMIT) -> AsyncIterator[tuple[dict[str, Any], int]]:
    """The objects of a JSON array that comes in pieces, each with its size in characters.

    Not more than some ``limit`` characters are kept.  Trouble: no JSON, no array of objects, an object too large, an end
    in the middle.
    """
    decode = codecs.getincrementaldecoder("utf-8")().decode
    text, tried = "", 0  # what is not read yet; how much of it was too little for an object
    expected = "["
    try:
        async for chunk in _and_last(chunks):
            text += decode(chunk or b"", final=chunk is None)
            at = 0
            while True:
                at = _BLANK.match(text, at).end()  # type: ignore[union-attr]
                if at == len(text):
                    break
                if text[at] not in expected:
                    raise Trouble(f"not an answer of Electric: {text[at : at + 40]!r} instead of a JSON array of objects")
                if text[at] != "{":
                    expected = {"[": "{]", ",": "{", "]": ""}[text[at]]
                    at += 1
                    continue
                # An object that is not there in whole looks like one that is damaged.  It is tried again when twice as much
                # has come, so that the whole costs no more than its length.
                if chunk is not None and len(text) - at < 2 * tried and len(text) - at <= limit:
                    break
                try:
                    element, end = _decoder.raw_decode(text, at)
                except json.JSONDecodeError as e:
                    tried = len(text) - at
                    if chunk is None or tried > limit:
                        raise Trouble(f"damaged JSON, or a message of more than {limit} characters: {e}") from None
                    break
                if end - at > limit:
                    raise Trouble(f"a message of more than {limit} characters")
                yield element, end - at
                at, tried, expected = end, 0, ",]"
            text = text[at:]
    except (RecursionError, UnicodeDecodeError, ValueError) as e:
        raise Trouble(f"damaged JSON: {e}") from None
    if expected:
        raise Trouble("the answer ends in the middle")


def _no_number(name: str) -> Any:
    raise ValueError(f"{name} is no JSON")


_decoder = json.JSONDecoder(parse_constant=_no_number)


async def _and_last(chunks: AsyncIterator[bytes]) -> AsyncIterator[bytes | None]:
    async for chunk in chunks:
        yield chunk
    yield None


async def events(chunks: AsyncIterator[bytes], limit: int = MESSAGE_LIMIT) -> AsyncIterator[tuple[dict[str, Any], int]]:
    """The same for a stream of server-sent events, each with one object as its data.  Its end is no error."""
    decode = codecs.getincrementaldecoder("utf-8")(errors="replace").decode
    line = data = ""  # the line and the event that are not over yet; httpx-sse would let them grow without end
    async for chunk in chunks:
        begun, *rest = decode(chunk).split("\n")
        line += begun
        for begun in rest:
            whole, line = line.rstrip("\r"), begun
            if whole.startswith("data:"):
                data += whole[5:] + "\n"
            elif not whole and data:
                try:
                    message, size, data = _decoder.decode(data), len(data), ""
                except (RecursionError, ValueError) as e:
                    raise Trouble(f"damaged JSON: {e}") from None
                if not isinstance(message, dict):
                    raise Trouble("an event that is no JSON object")
                yield message, size
            if len(data) > limit:
                break
        if len(line) + len(data) > limit:
            raise Trouble(f"a message of more than {limit} characters")


def clean(value: Any) -> Any:
    """A message's row as ``apply`` takes it: an object of texts and nulls.

    What PostgreSQL cannot hold as text (NUL, halves of surrogate pairs) becomes U+FFFD: no owner signed that, and one such
    row must not be an error for its whole batch.  A value that is neither text nor null becomes its JSON text.
    """
    if isinstance(value, str):
        return _NO_TEXT.sub("\ufffd", value)
    if isinstance(value, dict):
        return {clean(k): v if v is None else clean(v if isinstance(v, str) else json.dumps(v)) for k, v in value.items()}
    return None if value is None else clean(json.dumps(value))


# ------------------------------------------------------------------------------------------------------------- shapes
@dataclass
class Shape:
    """A shape, the declared table that it feeds, how far it has been read."""

    url: httpx.URL  # with all parameters that make the shape
    relation: str
    identity: bool = False  # its rows are owners: others wait for it
    columns: Mapping[str, str] = field(default_factory=dict)  # of a versions table: {its column: the declared table's}
    handle: str | None = None
    offset: str = "-1"
    cursor: str | None = None
    expired: str | None = None  # the handle before the last refetch
    live: bool = False  # the server said that this is all; now it is asked for what comes
    sse: bool = False
    reached: bool = False  # it has answered well since the start
    error: str | None = None
    outcomes: Counter[str] = field(default_factory=Counter)  # since the start
    size: int = 0  # characters since the start
    since: float | None = field(default_factory=time.monotonic)  # since when it lags, None when it does not

    @property
    def table(self) -> str:
        return self.url.params["table"]

    @property
    def source(self) -> str:
        """Under what it is stored: its URL without what is secret."""
        parameters = sorted((k, v) for k, v in self.url.params.multi_items() if k not in SECRETS)
        return str(self.url.copy_with(userinfo=b"", query=urlencode(parameters).encode(), fragment=None))

    @property
    def rows(self) -> int:
        return sum(self.outcomes.values())

    @property
    def lag(self) -> float:
        """Seconds since all was known to be here; 0 while a live request is open."""
        return 0.0 if self.since is None else time.monotonic() - self.since

    def metrics(self) -> dict[str, Any]:
        state = "waiting" if self.error else "live" if self.live else "snapshot"
        return {"table": self.table, "relation": self.relation, "state": state, "lag": round(self.lag, 3), "rows": dict(self.outcomes),
                "handle": self.handle, "offset": self.offset, "error": self.error}  # fmt: skip


def shape(url: str, table: str, relation: str, parameters: Iterable[tuple[str, str]] = (), **more: Any) -> Shape:
    """The shape of a server's table; of a URL without a path, the path is Electric's own, /v1/shape."""
    base = httpx.URL(url)
    if base.scheme not in ("http", "https") or not base.host:
        raise ValueError(f"{url} is no URL: http://HOST:PORT is expected")
    query = [*base.params.multi_items(), *parameters, ("table", table)]
    path = base.path if base.path.strip("/") else "/v1/shape"
    return Shape(base.copy_with(path=path, query=urlencode(query).encode()), relation, **more)


_DECLARED = """
    SELECT d.relation::text, d.identity IS NULL, CASE WHEN t.oid = d.versions THEN
             (SELECT jsonb_object_agg(v.value, v.key) FROM jsonb_each_text(d.version_columns) v) ELSE '{}' END
      FROM rowseal.declarations d, CAST(%s AS regclass) t(oid) WHERE t.oid IN (d.relation, d.versions)"""


async def declared(connection: psycopg.AsyncConnection[Any], table: str) -> dict[str, Any]:
    """What ``shape`` needs to know of a local table, a declared one or its versions table; ValueError when it is neither."""
    try:
        row = await (await connection.execute(_DECLARED, (table,))).fetchone()
    except (psycopg.errors.UndefinedTable, psycopg.errors.InvalidSchemaName, psycopg.errors.InvalidName, psycopg.errors.SyntaxError) as e:
        raise ValueError(e.diag.message_primary) from None
    if row is None:
        raise ValueError(f"table {table} is not declared to rowseal")
    return dict(zip(("relation", "identity", "columns"), row))


# ---------------------------------------------------------------------------------------------------------- following
class Backoff:
    """Seconds to wait before the next try: twice as long each time, up to ``most``, less up to half of it at random."""

    def __init__(self, first: float, most: float):
        self.first, self.most, self.tries = first, most, 0

    def next(self, at_least: float = 0.0) -> float:
        delay = min(self.most, self.first * float(2 ** min(self.tries, 30)))
        self.tries += 1
        return max(at_least, delay * random.uniform(0.5, 1))

    def reset(self) -> None:
        self.tries = 0


class Batch:
    """Rows and deletions on their way into the database."""

    def __init__(self) -> None:
        self.offset: str | None = None  # of the last operation of the log
        self.empty()

    def empty(self) -> None:
        self.rows: list[Any] = []
        self.deletions: list[Any] = []
        self.size = 0

    @property
    def full(self) -> bool:
        return len(self.rows) + len(self.deletions) >= BATCH_ROWS or self.size >= BATCH_SIZE


Report = Callable[[Shape, str], None]


class Follower:
    """Follows shapes into a database, over one connection to it, until it is cancelled.

    ``once``: until all has been read that is there.  ``report`` is told what happens to a shape.  ``first``, ``most``: the
    shortest and the longest pause after trouble, in seconds.
    """

    def __init__(self, dsn: str, shapes: list[Shape], *, headers: Mapping[str, str] | None = None, sse: bool = False, once: bool = False,
                 restart: bool = False, report: Report = lambda shape, what: None, limit: int = MESSAGE_LIMIT,
                 first: float = 1.0, most: float = 60.0) -> None:  # fmt: skip
        self.dsn, self.shapes, self.once, self.restart, self.report, self.limit = dsn, shapes, once, restart, report, limit
        self.pauses = first, most
        for s in shapes:
            s.sse = sse
        self.http = httpx.AsyncClient(
            # gzip alone: the others may unpack a piece to any size.  No redirect: our headers are for this server.
            headers={"Accept-Encoding": "gzip", "User-Agent": "rowseal", **(headers or {})},
            timeout=httpx.Timeout(IDLE, connect=10.0, pool=None),
            limits=httpx.Limits(max_connections=None),
            follow_redirects=False,
        )
        self.database: psycopg.AsyncConnection[Any] | None = None
        self.turn = asyncio.Lock()  # for the one connection

    async def __aenter__(self) -> Follower:
        return self

    async def __aexit__(self, *error: object) -> None:
        await self.http.aclose()
        if self.database:
            await self.database.close()

    async def run(self) -> None:
        """Follow all shapes.  Returns only with ``once``; Refusal when a shape cannot be read at all."""
        tasks: list[asyncio.Task[None]] = []
        settled = {id(s): asyncio.Event() for s in self.shapes}
        owners = [settled[id(s)] for s in self.shapes if s.identity]

        async def follow(s: Shape) -> None:
            if not s.identity:  # owners first: what comes before them has to wait in the quarantine, and that is bounded
                for event in owners:
                    await event.wait()
            await self._follow(s, settled[id(s)])

        try:
            tasks += [asyncio.ensure_future(follow(s)) for s in self.shapes]
            await asyncio.gather(*tasks)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _follow(self, s: Shape, settled: asyncio.Event) -> None:
        trouble, lull, refetch = (Backoff(*self.pauses) for _ in range(3))
        lulls, refetched, known = 0, 0.0, False
        while True:
            try:
                if not known:
                    await self._resume(s)
                    known = True
                begun, before = time.monotonic(), (s.handle, s.offset)
                news = await self._ask(s)
                s.reached, s.error = True, None
                trouble.reset()
            except Refetch as e:
                s.expired, s.handle, s.offset, s.cursor, s.live = s.handle or s.expired, None, "-1", None, False
                s.since = s.since or time.monotonic()
                self._tell(s, f"reads from the beginning: {e}")
                if time.monotonic() - refetched > self.pauses[1]:
                    refetch.reset()
                else:  # once is usual, again and again is not
                    settled.set()
                    await asyncio.sleep(refetch.next())
                refetched = time.monotonic()
            except (Trouble, httpx.HTTPError, psycopg.Error) as e:
                if isinstance(e, psycopg.Error):
                    known = False  # the transaction may have been committed or not: its row says so
                lasting = isinstance(e, Refusal) or (isinstance(e, psycopg.Error) and not isinstance(e, psycopg.OperationalError))
                if (lasting and not s.reached) or (self.once and trouble.tries >= 5):
                    raise Refusal(f"{s.table}: {_said(e)}") from e
                s.since, s.live = s.since or time.monotonic(), False
                s.error = _said(e)
                settled.set()
                pause = trouble.next(getattr(e, "retry_after", 0.0))
                self._tell(s, f"{s.error}; next try in {pause:.1f} s")
                await asyncio.sleep(pause)
            else:
                if s.live:
                    if s.since is not None:
                        s.since = None
                        self._tell(s, f"up to date, {s.rows} rows")
                    settled.set()
                    if self.once:
                        return
                # answers without news that come at once would make this a busy loop
                if (news and before != (s.handle, s.offset)) or time.monotonic() - begun >= PROMPT:
                    lulls = 0
                    lull.reset()
                elif (lulls := lulls + 1) > 3:
                    await asyncio.sleep(lull.next())

    def _tell(self, s: Shape, what: str) -> None:
        self.report(s, printable(what, 500))

    # -- one request
    async def _ask(self, s: Shape) -> int:
        """Ask once and store the answer: how many rows and deletions came."""
        parameters = {"offset": s.offset, "replica": "full"}
        if s.handle:
            parameters["handle"] = s.handle
        if s.expired and not s.handle:
            parameters["expired_handle"] = s.expired  # so that no cache on the way answers with that log again
        if s.live:
            parameters["live"] = "true"
            if s.cursor:
                parameters["cursor"] = s.cursor
            if s.sse:
                parameters["live_sse"] = "true"
        async with self.http.stream("GET", s.url.copy_merge_params(parameters)) as answer:
            await self._check(s, answer)
            handle, offset = _header(answer, "electric-handle", _VISIBLE), _header(answer, "electric-offset", _OFFSET)
            if s.handle and handle != s.handle:
                raise Refetch("an answer from another log")
            if _position(offset) < _position(s.offset):
                raise Trouble(f"the offset goes back, from {s.offset} to {offset}")
            cursor = answer.headers.get("electric-cursor", "")
            s.cursor = cursor if _VISIBLE.fullmatch(cursor) else s.cursor
            if answer.headers.get("content-type", "").startswith("text/event-stream"):
                return await self._events(s, answer)
            batch, count, up_to_date = Batch(), 0, False
            async for message, size in elements(answer.aiter_bytes(), self.limit):
                up_to_date |= self._take(s, batch, message, size)
                if batch.full:
                    # the offset of an answer is that of its end: what is stored before is stored again after a break
                    count += await self._store(s, batch, s.handle, s.offset, False)
                    batch.empty()
            count += await self._store(s, batch, handle, offset, up_to_date)
            s.handle, s.offset, s.live = handle, offset, up_to_date
            return count

    async def _events(self, s: Shape, answer: httpx.Response) -> int:
        batch, count, begun = Batch(), 0, time.monotonic()
        async for message, size in events(answer.aiter_bytes(), self.limit):
            if self._take(s, batch, message, size):
                offset = batch.offset if batch.offset and _position(batch.offset) > _position(s.offset) else s.offset
                count += await self._store(s, batch, s.handle, offset, True)
                s.offset = offset
                batch.empty()
            elif batch.full:
                count += await self._store(s, batch, s.handle, s.offset, False)
                batch.empty()
        # The end of a stream says nothing; after a TRUNCATE the next request is answered by 409.  One that a proxy ends at
        # once is no stream.
        if not count and time.monotonic() - begun < PROMPT:
            s.sse = False
        return count

    async def _check(self, s: Shape, answer: httpx.Response) -> None:
        status = answer.status_code
        if status == 200:
            return
        if status == 409:
            raise Refetch("the server has a new log of this shape (409)")
        reason = f"{status} {answer.reason_phrase}"
        async for chunk in answer.aiter_bytes():  # the first piece, Electric's messages are short
            reason += ": " + chunk[:300].decode(errors="replace")
            break
        if status == 400 and s.offset != "-1":
            raise Refetch(reason)  # an offset that this server does not have
        if status == 429 or status >= 500:
            raise Trouble(reason, _retry_after(answer.headers.get("retry-after", "")))
        raise Refusal(reason)

    def _take(self, s: Shape, batch: Batch, message: dict[str, Any], size: int) -> bool:
        """Put a message into the batch; whether it says that this is all."""
        headers = message.get("headers")
        if not isinstance(headers, dict):
            headers = {}
        control, operation = headers.get("control"), headers.get("operation")
        if control == "must-refetch":
            raise Refetch("must-refetch")
        s.size += size
        batch.size += size
        if operation in ("insert", "update", "delete"):
            row = clean(message.get("value"))
            if s.columns and isinstance(row, dict):
                row = {s.columns.get(c, c): v for c, v in row.items()}
            (batch.deletions if operation == "delete" else batch.rows).append(row)
            offset = f"{headers.get('lsn')}_{headers.get('op_position')}"
            if _OFFSET.fullmatch(offset):
                batch.offset = offset
        # All else asks for nothing here: snapshot-end and subset-end, the events move-in and move-out of shapes with
        # subqueries (a row that leaves a shape stays), and whatever a later version may say.
        return control == "up-to-date"

    # -- the database
    async def _connected(self) -> psycopg.AsyncConnection[Any]:
        if self.database is None or self.database.closed:
            self.database = await psycopg.AsyncConnection.connect(self.dsn, autocommit=True, fallback_application_name="rowseal pull")
        return self.database

    async def _resume(self, s: Shape) -> None:
        async with self.turn:
            query = """SELECT handle, log_offset FROM rowseal.shapes
                        WHERE role = session_user AND relation = CAST(%s AS regclass) AND source = %s AND handle IS NOT NULL"""
            row = await (await (await self._connected()).execute(query, (s.relation, s.source))).fetchone()
        s.handle, s.offset = row if row and not (self.restart and not s.reached) else (None, "-1")
        s.cursor, s.live = None, False

    async def _store(self, s: Shape, batch: Batch, handle: str | None, offset: str, up_to_date: bool) -> int:
        if not (batch.rows or batch.deletions or up_to_date or offset != s.offset):
            return 0
        async with self.turn:
            connection = await self._connected()
            async with connection.transaction():
                query = "SELECT * FROM rowseal._pull(CAST(%s AS regclass), %s, %s, %s, %s, %s, %s)"
                arguments = (s.relation, s.source, Jsonb(batch.rows), Jsonb(batch.deletions), handle, offset, up_to_date)
                outcomes = await (await connection.execute(query, arguments)).fetchall()
        for outcome, reason, rows in outcomes:
            s.outcomes[outcome] += rows
            if outcome == "rejected":
                self._tell(s, f"rejected {rows} rows, {reason}")
        return len(batch.rows) + len(batch.deletions)


def _header(answer: httpx.Response, name: str, form: re.Pattern[str]) -> str:
    value: str = answer.headers.get(name, "")
    if not form.fullmatch(value):
        raise Refusal(f"not an answer of Electric: its header {name} is {value[:100]!r}")
    return value


def _position(offset: str) -> tuple[int, float]:
    if offset == "-1":
        return -1, 0
    log, operation = offset.split("_")
    return int(log), float(operation)


def _retry_after(value: str) -> float:
    """Seconds; 0 for what is no Retry-After."""
    try:
        seconds = float(value) if value.strip().isdigit() else parsedate_to_datetime(value).timestamp() - time.time()
    except (ValueError, TypeError, IndexError, OverflowError):
        return 0.0
    return min(max(seconds, 0.0), LONGEST_RETRY_AFTER)


def _said(e: Exception) -> str:
    """An error as one line that no terminal obeys: others wrote some of it."""
    if isinstance(e, psycopg.Error):
        text = f"database: {e.diag.message_primary or str(e).partition(chr(10))[0]}"
    else:
        text = f"{type(e).__name__}: {e}" if isinstance(e, httpx.HTTPError) else str(e)
    return printable(text, 500)
