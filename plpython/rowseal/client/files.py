"""Envelopes in files: one JSON object per line (NDJSON), from one server to another by any means.

Both directions stream: memory does not grow with the table or the file.  ``psycopg`` connects.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import psycopg
from psycopg.types.json import Json, Jsonb

from .text import compact_json

Progress = Callable[[int], None]
"""Called with the number of rows done so far."""

Refused = Callable[[int, str, str], None]
"""Called with line (from 1), outcome (rejected or deferred) and reason."""

NumberedRow = tuple[int, dict[str, Any]]
"""A line's number, from 1, and its JSON object."""


_EXPORT = "SELECT envelope::text FROM rowseal.export(%s::regclass, %s::jsonb) envelope"


_MOST = 16 * 1024 * 1024  # of characters in one statement: the server takes several times that


class DamagedFile(ValueError):
    """A line that is not what is expected: ``line`` counts from 1.

    In an import, ``outcomes`` are those of the lines before it.
    """

    outcomes: Counter[str]

    def __init__(self, line: int, reason: str):
        super().__init__(f"line {line}: {reason}")
        self.line = line


def export_rows(
    connection: psycopg.Connection[Any],
    relation: str,
    owner: Mapping[str, str] | None = None,
    batch: int = 1000,
) -> Iterator[str]:
    """The envelopes of a table, or of one owner, as lines without their newline.

    ``owner``: the fields that name him, as in envelopes, ``{"user_hash": BASE64}``.  Versions are
    included.  The state is that of one snapshot, read ``batch`` rows at a time.  psycopg.Error.
    """
    with connection.transaction(), connection.cursor(name="rowseal_export") as cursor:
        cursor.itersize = batch
        for (line,) in cursor.execute(_EXPORT, (relation, Jsonb(owner) if owner else None)):
            yield line


def read_objects(lines: Iterable[str | bytes], envelopes: bool = True) -> Iterator[NumberedRow]:
    """The JSON objects of a file, one on each line, with the numbers of their lines, from 1.

    DamagedFile.  ``envelopes``: each must look like one.  Blank lines are skipped.
    """
    for number, line in enumerate(lines, 1):
        try:
            text = line.decode() if isinstance(line, bytes) else line
        except UnicodeDecodeError:
            raise DamagedFile(number, "not UTF-8") from None
        if text.strip():
            yield number, _object(number, text, envelopes)


def _object(number: int, text: str, is_envelope: bool) -> dict[str, Any]:
    """The JSON object of one line."""
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as e:
        cut = "" if text.endswith("\n") else " (the file ends here: truncated?)"
        raise DamagedFile(number, f"not JSON, {e}{cut}") from None
    if not isinstance(value, dict):
        raise DamagedFile(number, "not a JSON object")
    if is_envelope and (not isinstance(value.get("row"), dict) or "sign_b64" not in value):
        expected = "an object with row, table and sign_b64 is expected"
        raise DamagedFile(number, f"not an envelope: {expected}")
    return value


class _Import:
    """Stores rows, one transaction for each batch, and counts what became of them."""

    RECEIVE = "SELECT ordinal, outcome, reason FROM rowseal.receive(%(rows)s) ORDER BY ordinal"
    APPLY = """SELECT ordinal, outcome, reason
                 FROM rowseal.apply(%(relation)s::regclass, %(rows)s, %(format)s)
                ORDER BY ordinal"""

    def __init__(
        self,
        connection: psycopg.Connection[Any],
        relation: str | None,
        format: str,
        progress: Progress,
        refused: Refused,
    ) -> None:
        self.connection, self.progress, self.refused = connection, progress, refused
        self.query = self.RECEIVE if relation is None else self.APPLY
        self.arguments = {"relation": relation, "format": format}
        self.outcomes: Counter[str] = Counter()

    def store(self, rows: list[NumberedRow]) -> None:
        arguments = {**self.arguments, "rows": Json([row for _, row in rows], compact_json)}
        try:
            with self.connection.transaction():
                answers = self.connection.execute(self.query, arguments).fetchall()
        except (psycopg.DataError, RecursionError) as e:
            # JSON that PostgreSQL cannot hold: U+0000, a lone surrogate, NaN; or nested too deep
            if len(rows) > 1:
                for row in rows:
                    self.store([row])
                return
            answers = [(1, "rejected", _reason(e))]
        for ordinal, outcome, reason in answers:
            self.outcomes[outcome] += 1
            if reason is not None:
                self.refused(rows[ordinal - 1][0], outcome, reason)
        self.progress(sum(self.outcomes.values()))


def _reason(e: psycopg.DataError | RecursionError) -> str:
    if isinstance(e, psycopg.DataError):
        return f"{e.sqlstate}: {e.diag.message_primary}"
    return "RS006: nested too deep"


def import_rows(
    connection: psycopg.Connection[Any],
    lines: Iterable[str | bytes],
    progress: Progress = lambda rows: None,
    batch: int = 1000,
    relation: str | None = None,
    format: str = "canonical",
    refused: Refused = lambda line, outcome, reason: None,
) -> Counter[str]:
    """Store the rows of a file; returns how many had which outcome.

    Each ``batch`` of rows, or some 16 MB of them, is a transaction, merged by ``rowseal.receive``,
    or into one table, ``relation``, by ``rowseal.apply``, whose ``format`` is canonical or pgtext.
    Importing a file twice changes nothing; an invalid row goes to the quarantine and is told to
    ``refused``.  DamagedFile, psycopg.Error.
    """
    into = _Import(connection, relation, format, progress, refused)
    pending: list[NumberedRow] = []
    size = 0

    def sized(lines: Iterable[str | bytes]) -> Iterator[str | bytes]:
        nonlocal size
        for line in lines:
            size += len(line)
            yield line

    def store() -> None:
        nonlocal size
        if pending:
            into.store(pending)
            pending.clear()
        size = 0

    try:
        for numbered in read_objects(sized(lines), envelopes=format == "canonical"):
            pending.append(numbered)
            if len(pending) >= batch or size >= _MOST:
                store()
    except DamagedFile as e:
        store()
        e.outcomes = into.outcomes
        raise
    store()
    return into.outcomes
