"""Rows on their way into the database, together with how far their shape has been read."""

from __future__ import annotations

import asyncio
from typing import Any, NamedTuple

import psycopg
from psycopg.types.json import Json

from ..client.text import compact_json
from .shapes import Shape, clean
from .wire import Message, Refetch, message_offset

BATCH_ROWS, BATCH_SIZE = 1000, 4 * 1024 * 1024  # rows, characters


class Batch:
    """Rows and deletions on their way into the database."""

    def __init__(self) -> None:
        self.offset: str | None = None  # of the last operation of the log
        self.empty()

    def empty(self) -> None:
        """Forget what has been stored."""
        self.rows: list[Any] = []
        self.deletions: list[Any] = []
        self.size = 0

    @property
    def full(self) -> bool:
        return len(self.rows) + len(self.deletions) >= BATCH_ROWS or self.size >= BATCH_SIZE

    def take(self, shape: Shape, message: Message, size: int) -> bool:
        """Take a message of a shape; whether it says that this is all.  Refetch if it says so."""
        headers = message.get("headers")
        if not isinstance(headers, dict):
            headers = {}
        control, operation = headers.get("control"), headers.get("operation")
        if control == "must-refetch":
            raise Refetch("must-refetch")
        shape.size += size
        self.size += size
        if operation in ("insert", "update", "delete"):
            row = clean(message.get("value"))
            if shape.columns and isinstance(row, dict):
                row = {shape.columns.get(column, column): v for column, v in row.items()}
            (self.deletions if operation == "delete" else self.rows).append(row)
            self.offset = message_offset(headers) or self.offset
        # All else asks for nothing here: snapshot-end and subset-end, the events move-in and
        # move-out of shapes with subqueries (a row that leaves a shape stays), and whatever a later
        # version may say.
        return control == "up-to-date"


class Outcome(NamedTuple):
    """What became of rows: a row of ``rowseal._pull``."""

    outcome: str
    reason: str | None
    rows: int


class Store:
    """The database: one connection, where shapes take turns.  psycopg.Error."""

    def __init__(self, dsn: str):
        self._dsn = dsn
        self._connection: psycopg.AsyncConnection[Any] | None = None
        self._turn = asyncio.Lock()

    async def close(self) -> None:
        if self._connection:
            await self._connection.close()

    async def _connected(self) -> psycopg.AsyncConnection[Any]:
        if self._connection is None or self._connection.closed:
            self._connection = await psycopg.AsyncConnection.connect(
                self._dsn, autocommit=True, fallback_application_name="rowseal pull"
            )
        return self._connection

    async def position(self, shape: Shape) -> tuple[str, str] | None:
        """Handle and offset up to which a shape has been read; None when it never was."""
        query = """SELECT handle, log_offset FROM rowseal.shapes
                    WHERE role = session_user AND relation = CAST(%s AS regclass) AND source = %s
                      AND handle IS NOT NULL"""
        async with self._turn:
            connection = await self._connected()
            found = await connection.execute(query, (shape.relation, shape.source))
            return await found.fetchone()

    async def store(
        self, shape: Shape, batch: Batch, handle: str | None, offset: str, up_to_date: bool
    ) -> list[Outcome]:
        """Merge a batch, and note handle and offset, in one transaction."""
        query = "SELECT * FROM rowseal._pull(CAST(%s AS regclass), %s, %s, %s, %s, %s, %s)"
        rows, deletions = (Json(x, compact_json) for x in (batch.rows, batch.deletions))
        arguments = (shape.relation, shape.source, rows, deletions, handle, offset, up_to_date)
        async with self._turn:
            connection = await self._connected()
            async with connection.transaction():
                found = await connection.execute(query, arguments)
                return [Outcome(*row) for row in await found.fetchall()]
