"""Envelopes in files: one JSON object per line (NDJSON), from one server to another by any means.

Both directions stream: memory does not grow with the table or the file.  ``psycopg`` connects.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import psycopg
from psycopg import sql
from psycopg.types.json import Jsonb

Progress = Callable[[int], None]  # called with the number of rows done so far
Refused = Callable[[int, str, str], None]  # called with line, outcome (rejected or deferred) and reason


class DamagedFile(ValueError):
    """A line that is not what is expected: ``line`` counts from 1.  In an import, ``outcomes`` are those of the lines before it."""

    outcomes: Counter[str]

    def __init__(self, line: int, reason: str):
        super().__init__(f"line {line}: {reason}")
        self.line = line


def export_rows(
    connection: psycopg.Connection[Any], relation: str, owner: Mapping[str, str] | None = None, batch: int = 1000
) -> Iterator[str]:
    """The envelopes of a table, or of one owner (``{"user_hash": BASE64}``), as lines without their newline.

    Versions are included.  The state is that of one snapshot.
    """
    with connection.transaction(), connection.cursor(name="rowseal_export") as cursor:
        cursor.itersize = batch
        query = sql.SQL("SELECT envelope::text FROM rowseal.export(%s::regclass, %s::jsonb) envelope")
        for (line,) in cursor.execute(query, (relation, Jsonb(owner) if owner else None)):
            yield line


def read_objects(lines: Iterable[str | bytes], envelopes: bool = True) -> Iterator[tuple[int, dict[str, Any]]]:
    """The JSON objects of a file, one on each line, with the numbers of their lines; DamagedFile.

    ``envelopes``: each must look like one.  Blank lines are skipped.
    """
    for number, line in enumerate(lines, 1):
        if isinstance(line, bytes):
            try:
                line = line.decode()
            except UnicodeDecodeError:
                raise DamagedFile(number, "not UTF-8") from None
        if not line.strip():
            continue
        try:
            value = json.loads(line)
        except (ValueError, RecursionError) as e:
            cut = "" if line.endswith("\n") else " (the file ends here: truncated?)"
            raise DamagedFile(number, f"not JSON, {e}{cut}") from None
        if not isinstance(value, dict):
            raise DamagedFile(number, "not a JSON object")
        if envelopes and (not isinstance(value.get("row"), dict) or "sign_b64" not in value):
            raise DamagedFile(number, "not an envelope: an object with row, table and sign_b64 is expected")
        yield number, value


def import_rows(
    connection: psycopg.Connection[Any],
    lines: Iterable[str | bytes],
    progress: Progress = lambda n: None,
    batch: int = 1000,
    relation: str | None = None,
    format: str = "canonical",
    refused: Refused = lambda line, outcome, reason: None,
) -> Counter[str]:
    """Store the rows of a file; returns how many had which outcome.

    Each batch is a transaction, merged by ``rowseal.receive``, or into one table, ``relation``, by ``rowseal.apply``: importing
    a file twice changes nothing, an invalid row goes to the quarantine and is told to ``refused``.  DamagedFile, psycopg.Error.
    """
    outcomes: Counter[str] = Counter()
    pending: list[tuple[int, dict[str, Any]]] = []
    if relation is None:
        query = "SELECT ordinal, outcome, reason FROM rowseal.receive(%(rows)s) ORDER BY ordinal"
    else:
        query = "SELECT ordinal, outcome, reason FROM rowseal.apply(%(relation)s::regclass, %(rows)s, %(format)s) ORDER BY ordinal"

    def store(rows: list[tuple[int, dict[str, Any]]]) -> None:
        given = {"rows": Jsonb([row for _, row in rows]), "relation": relation, "format": format}
        try:
            with connection.transaction():
                answers = connection.execute(query, given).fetchall()
        except psycopg.DataError as e:  # JSON that PostgreSQL cannot hold: U+0000, a lone surrogate, NaN
            if len(rows) > 1:
                for row in rows:
                    store([row])
                return
            answers = [(1, "rejected", f"{e.sqlstate}: {e.diag.message_primary}")]
        for ordinal, outcome, reason in answers:
            outcomes[outcome] += 1
            if reason is not None:
                refused(rows[ordinal - 1][0], outcome, reason)
        progress(outcomes.total())

    try:
        for numbered in read_objects(lines, envelopes=format == "canonical"):
            pending.append(numbered)
            if len(pending) >= batch:
                store(pending)
                pending = []
    except DamagedFile as e:
        if pending:
            store(pending)
        e.outcomes = outcomes
        raise
    if pending:
        store(pending)
    return outcomes
