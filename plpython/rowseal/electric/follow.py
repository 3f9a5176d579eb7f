"""Following shapes: asking, storing what comes, waiting, going on when something goes wrong."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable, Mapping
from typing import NamedTuple

import httpx
import psycopg

from ..client.text import printable
from .shapes import Shape
from .store import Batch, Store
from .wire import (
    MESSAGE_LIMIT,
    START,
    Refetch,
    Refusal,
    Trouble,
    check_status,
    elements,
    events,
    head,
    position,
)

# Electric is never silent for more than 21 s.
IDLE = 60.0  # s without a byte, when a connection counts as dead
PROMPT = 1.0  # s: an answer without news that came sooner was not waited for

Report = Callable[[Shape, str], None]
"""Is told what happens to a shape, in one line that no terminal obeys."""


class Backoff:
    """Seconds to wait before the next try: twice as long each time, up to ``most``.

    Less up to half of it at random, so that many clients do not come back at once.
    """

    def __init__(self, first: float, most: float):
        self.first, self.most, self.tries = first, most, 0

    def next(self, at_least: float = 0.0) -> float:
        delay = min(self.most, self.first * float(2 ** min(self.tries, 30)))
        self.tries += 1
        return max(at_least, delay * random.uniform(0.5, 1))

    def reset(self) -> None:
        self.tries = 0


class Options(NamedTuple):
    """How to follow; ``Follower`` says what each one means."""

    once: bool
    restart: bool
    report: Report
    limit: int  # characters of a message
    first: float  # s
    most: float  # s


class Follower:
    """Follows shapes into a database, over one connection to it, until it is cancelled.

    headers      sent with each request
    sse          follow by server-sent events instead of long polls
    once         stop when all has been read that is there
    restart      read from the beginning, not from where the last run stopped
    report       is told what happens to a shape
    limit        characters of the largest message that is read
    first, most  the shortest and the longest pause after trouble, in seconds
    """

    def __init__(
        self,
        dsn: str,
        shapes: list[Shape],
        *,
        headers: Mapping[str, str] | None = None,
        sse: bool = False,
        once: bool = False,
        restart: bool = False,
        report: Report = lambda shape, what: None,
        limit: int = MESSAGE_LIMIT,
        first: float = 1.0,
        most: float = 60.0,
    ) -> None:
        self.shapes = shapes
        for shape in shapes:
            shape.sse = sse
        self._options = Options(once, restart, report, limit, first, most)
        self._store = Store(dsn)
        self._http = httpx.AsyncClient(
            # gzip alone: the others may unpack a piece to any size.
            headers={"Accept-Encoding": "gzip", "User-Agent": "rowseal", **(headers or {})},
            timeout=httpx.Timeout(IDLE, connect=10.0, pool=None),
            limits=httpx.Limits(max_connections=None),
            follow_redirects=False,  # our headers are for this server
        )

    async def __aenter__(self) -> Follower:
        return self

    async def __aexit__(self, *error: object) -> None:
        await self._http.aclose()
        await self._store.close()

    async def run(self) -> None:
        """Follow all shapes; returns only with ``once``.

        Refusal when a shape cannot be read at all.
        """
        followed = [
            FollowedShape(shape, self._http, self._store, self._options) for shape in self.shapes
        ]
        owners = [one.settled for one in followed if one.shape.identity]

        async def follow(one: FollowedShape) -> None:
            # Owners first: what comes before them has to wait in the quarantine, which is bounded.
            if not one.shape.identity:
                for settled in owners:
                    await settled.wait()
            await one.follow()

        tasks = [asyncio.ensure_future(follow(one)) for one in followed]
        try:
            await asyncio.gather(*tasks)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)


class FollowedShape:
    """How one shape is followed.

    ``settled`` is set once it is up to date, or in trouble: others need not wait for it.
    """

    def __init__(
        self, shape: Shape, http: httpx.AsyncClient, store: Store, options: Options
    ) -> None:
        self.shape, self.settled = shape, asyncio.Event()
        self._http, self._store, self._options = http, store, options
        self._trouble = Backoff(options.first, options.most)
        self._refetch = Backoff(options.first, options.most)
        self._lull = Backoff(options.first, options.most)
        self._lulls = 0  # answers without news in a row, that were not waited for
        self._refetched = 0.0  # when, the last time
        self._resumed = False

    async def follow(self) -> None:
        """Ask again and again; returns only with ``once``.  Refusal as in ``Follower.run``."""
        while True:
            try:
                worthwhile = await self._ask_once()
            except Refetch as e:
                await self._start_again(e)
            except (Trouble, httpx.HTTPError, psycopg.Error) as e:
                await self._wait_after(e)
            else:
                if self.shape.live:
                    self._is_up_to_date()
                    if self._options.once:
                        return
                await self._pace(worthwhile)

    def _tell(self, what: str) -> None:
        self._options.report(self.shape, printable(what, 500))

    # -- what a request leads to
    async def _ask_once(self) -> bool:
        """Ask and store; whether that brought something, or was at least waited for."""
        shape = self.shape
        if not self._resumed:
            await self._resume()
            self._resumed = True
        begun, before = time.monotonic(), (shape.handle, shape.offset)
        count = await self._ask()
        shape.reached, shape.error = True, None
        self._trouble.reset()
        moved = before != (shape.handle, shape.offset)
        return (count > 0 and moved) or time.monotonic() - begun >= PROMPT

    async def _resume(self) -> None:
        """Go on where the last run stopped, or where the last transaction did."""
        shape = self.shape
        known = await self._store.position(shape)
        if self._options.restart and not shape.reached:
            known = None
        shape.handle, shape.offset = known or (None, START)
        shape.cursor, shape.live = None, False

    def _is_up_to_date(self) -> None:
        if self.shape.since is not None:
            self.shape.since = None
            self._tell(f"up to date, {self.shape.rows} rows")
        self.settled.set()

    async def _pace(self, worthwhile: bool) -> None:
        """Answers without news that come at once would make this a busy loop."""
        if worthwhile:
            self._lulls = 0
            self._lull.reset()
            return
        self._lulls += 1
        if self._lulls > 3:
            await asyncio.sleep(self._lull.next())

    async def _start_again(self, reason: Refetch) -> None:
        self.shape.start_again()
        self._tell(f"reads from the beginning: {reason}")
        if time.monotonic() - self._refetched > self._options.most:
            self._refetch.reset()
        else:  # once is usual, again and again is not
            self.settled.set()
            await asyncio.sleep(self._refetch.next())
        self._refetched = time.monotonic()

    async def _wait_after(self, error: Exception) -> None:
        """Wait until it is worth another try; Refusal when it is not."""
        shape = self.shape
        lasting = isinstance(error, Refusal)
        if isinstance(error, psycopg.Error):
            self._resumed = False  # was the transaction committed? The stored offset says so
            lasting = not isinstance(error, psycopg.OperationalError)
        if (lasting and not shape.reached) or (self._options.once and self._trouble.tries >= 5):
            raise Refusal(f"{shape.table}: {_shown(error)}") from error
        shape.falls_behind()
        shape.error = _shown(error)
        self.settled.set()
        asked_for = error.retry_after if isinstance(error, Trouble) else 0.0
        pause = self._trouble.next(asked_for)
        self._tell(f"{shape.error}; next try in {pause:.1f} s")
        await asyncio.sleep(pause)

    # -- one request
    async def _ask(self) -> int:
        """Ask, and store what is answered: how many rows and deletions came."""
        shape = self.shape
        async with self._http.stream("GET", shape.request()) as answer:
            await check_status(answer, from_start=shape.offset == START)
            said = head(answer)
            if shape.handle and said.handle != shape.handle:
                raise Refetch("an answer from another log")
            if position(said.offset) < position(shape.offset):
                back = f"from {shape.offset} to {said.offset}"
                raise Trouble(f"the offset goes back, {back}")
            shape.cursor = said.cursor or shape.cursor
            if said.is_stream:
                return await self._follow_events(answer)
            batch, count, up_to_date = Batch(), 0, False
            async for message, size in elements(answer.aiter_bytes(), self._options.limit):
                up_to_date |= batch.take(shape, message, size)
                if batch.full:
                    # The answer's offset is that of its end: until then, the old one is stored.
                    count += await self._put(batch, shape.handle, shape.offset, False)
            count += await self._put(batch, said.handle, said.offset, up_to_date)
            shape.handle, shape.offset, shape.live = said.handle, said.offset, up_to_date
            return count

    async def _follow_events(self, answer: httpx.Response) -> int:
        """Store what a stream of server-sent events brings, until it ends: how many rows came."""
        shape, batch, count, begun = self.shape, Batch(), 0, time.monotonic()
        async for message, size in events(answer.aiter_bytes(), self._options.limit):
            if batch.take(shape, message, size):
                offset = shape.offset
                if batch.offset and position(batch.offset) > position(offset):
                    offset = batch.offset
                count += await self._put(batch, shape.handle, offset, True)
                shape.offset = offset
            elif batch.full:
                count += await self._put(batch, shape.handle, shape.offset, False)
        # The end of a stream says nothing; after a TRUNCATE the next request is answered by 409.
        # One that a proxy ends at once is no stream.
        if not count and time.monotonic() - begun < PROMPT:
            shape.sse = False
        return count

    async def _put(self, batch: Batch, handle: str | None, offset: str, up_to_date: bool) -> int:
        """Store a batch, and empty it: how many rows and deletions it had."""
        shape, count = self.shape, len(batch.rows) + len(batch.deletions)
        if count or up_to_date or offset != shape.offset:
            for found in await self._store.store(shape, batch, handle, offset, up_to_date):
                shape.outcomes[found.outcome] += found.rows
                if found.outcome == "rejected":
                    self._tell(f"rejected {found.rows} rows, {found.reason}")
        batch.empty()
        return count


def _shown(error: Exception) -> str:
    """An error as one line that no terminal obeys: others wrote some of it."""
    if isinstance(error, psycopg.Error):
        first_line = str(error).partition("\n")[0]
        text = f"database: {error.diag.message_primary or first_line}"
    elif isinstance(error, httpx.HTTPError):
        text = f"{type(error).__name__}: {error}"
    else:
        text = str(error)
    return printable(text, 500)
