"""``rowseal status``: tables, health, links, quarantine."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import psycopg
import typer
from rich.text import Text

from .database import connect
from .options import AsJson, Dsn
from .terminal import REFUSED, add_row, new_table, show, stdout

QUERIES = {
    "tables": """
        SELECT relation::text AS table, tag, layout, feed
          FROM rowseal.declarations ORDER BY id""",
    "health": 'SELECT "check", relation::text AS table, ok, detail FROM rowseal.health()',
    "links": """
        SELECT direction, name, active, state, lag_bytes::bigint,
               extract(epoch FROM lag_time)::float8 AS lag_seconds, errors, quarantined
          FROM rowseal.links ORDER BY direction, name""",
    "quarantine": """
        SELECT tag, sqlstate, curable, count(*) AS rows, sum(bytes)::bigint AS bytes,
               max(last_seen)::text AS latest
          FROM rowseal.quarantine
         GROUP BY tag, sqlstate, curable ORDER BY rows DESC, tag, sqlstate""",
    "dropped": """
        SELECT role, subscription, rows, bytes::bigint, last::text
          FROM rowseal.quarantine_dropped ORDER BY last DESC""",
}

Record = dict[str, Any]
"""A row of one of these queries."""


def status(as_json: AsJson = False, dsn: Dsn = "") -> None:
    """Show declared tables, health, links to other servers, and the quarantine.

    Exit code 1 when the enforcement has a hole or a link does not follow.
    """
    with connect(dsn) as connection:
        answer = {name: _records(connection, query) for name, query in QUERIES.items()}
    unwell = [check for check in answer["health"] or [] if not check["ok"]]
    stuck = [link for link in answer["links"] or [] if link["state"] != "following"]
    if as_json:
        print(json.dumps({"ok": not unwell and not stuck, **answer}, ensure_ascii=False))
    else:
        _report(answer, unwell, stuck)
    if unwell or stuck:
        raise typer.Exit(REFUSED)


def _records(connection: psycopg.Connection[Any], query: str) -> list[Record] | None:
    """None: the role may not see that."""
    try:
        cursor = connection.execute(query)
    except psycopg.errors.InsufficientPrivilege:
        return None
    names = [column.name for column in cursor.description or []]
    return [dict(zip(names, row)) for row in cursor]


def _report(
    answer: dict[str, list[Record] | None], unwell: Sequence[Record], stuck: Sequence[Record]
) -> None:
    checks = len(answer["health"] or [])
    well = f"{checks - len(unwell)} of {checks} checks are well"
    stdout.print(Text.assemble("health: ", (well, "red" if unwell else "green")))
    sections: list[tuple[str, Sequence[Record] | None]] = [("not well", unwell)]
    sections += [(name, answer[name]) for name in ("tables", "links", "quarantine", "dropped")]
    for title, records in sections:
        if records is None:
            stdout.print(Text(f"{title}: not for this role"))
        elif records:
            stdout.print(Text(f"\n{title}", style="bold"))
            table = new_table(*records[0])
            for record in records:
                style = "red" if record in unwell or record in stuck else ""
                add_row(table, *record.values(), style=style)
            show(table)
