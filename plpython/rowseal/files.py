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


class DamagedFile(ValueError):
    """A line that is no envelope: ``line`` counts from 1; the lines before it are stored, with ``outcomes``."""

    outcomes: Counter[str]

    def __init__(self, line: int, reason: str):
        super().__init__(f"line {line}: {reason}; the lines before it are stored")
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


def _envelopes(lines: Iterable[str | bytes]) -> Iterator[dict[str, Any]]:
    for number, line in enumerate(lines, 1):
        if isinstance(line, bytes):
            try:
                line = line.decode()
            except UnicodeDecodeError:
                raise DamagedFile(number, "not UTF-8") from None
        if not line.strip():
            continue
        try:
            envelope = json.loads(line)
        except ValueError as e:
            cut = "" if line.endswith("\n") else " (the file ends here: truncated?)"
            raise DamagedFile(number, f"not JSON, {e}{cut}") from None
        if not isinstance(envelope, dict) or not isinstance(envelope.get("row"), dict) or "sign_b64" not in envelope:
            raise DamagedFile(number, "not an envelope: an object with row, table and sign_b64 is expected")
        yield envelope


def import_rows(
    connection: psycopg.Connection[Any], lines: Iterable[str | bytes], progress: Progress = lambda n: None, batch: int = 1000
) -> Counter[str]:
    """Store the envelopes of a file; returns how many had which outcome.

    Each batch is a transaction, merged by ``rowseal.receive``: importing a file twice changes nothing, an invalid
    row goes to the quarantine.  DamagedFile when a line is no envelope.
    """
    outcomes: Counter[str] = Counter()
    pending: list[dict[str, Any]] = []

    def store() -> None:
        if pending:
            with connection.transaction():
                rows = connection.execute("SELECT outcome, count(*) FROM rowseal.receive(%s) GROUP BY 1", (Jsonb(pending),)).fetchall()
            outcomes.update(dict(rows))
            pending.clear()
            progress(outcomes.total())

    try:
        for envelope in _envelopes(lines):
            pending.append(envelope)
            if len(pending) >= batch:
                store()
    except DamagedFile as e:
        store()
        e.outcomes = outcomes
        raise
    store()
    return outcomes
