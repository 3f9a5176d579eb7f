"""``rowseal audit``: is all that is stored still what was signed?"""

from __future__ import annotations

import json
from base64 import b64encode
from collections import Counter
from collections.abc import Iterator
from typing import Annotated, Any, Optional, TypedDict

import psycopg
import typer
from rich.progress import BarColumn, MofNCompleteColumn, TimeElapsedColumn

from .database import connect
from .options import AsJson, Dsn
from .terminal import REFUSED, add_row, new_table, progress, show

Tables = Annotated[Optional[list[str]], typer.Argument(help="Declared tables; none: all of them.")]


class Problem(TypedDict, total=False):
    """Something that is wrong: a row that rowseal.verify names, or a check of rowseal.health.

    ``check`` is verify, or the name of the check; all after ``problem`` is said of rows only.
    """

    table: str | None
    check: str
    problem: str
    sqlstate: str
    key: dict[str, Any]
    sign_b64: str | None


def audit(tables: Tables = None, as_json: AsJson = False, dsn: Dsn = "") -> None:
    """Check every stored row and version, and the enforcement itself, again.

    rowseal.verify and rowseal.health; exit code 1 when something is wrong.
    """
    columns = BarColumn(), MofNCompleteColumn(), TimeElapsedColumn()
    with connect(dsn) as connection, progress(*columns) as bar:
        names = _named(connection, tables) if tables else _all(connection)
        problems = list(_of_health(connection, names if tables else None))
        task = bar.add_task("", total=len(names))
        for name in names:
            bar.update(task, description=name)
            problems += _of_rows(connection, name)
            bar.advance(task)
    if as_json:
        print(json.dumps({"tables": names, "problems": problems}, ensure_ascii=False))
    else:
        _report(names, problems)
    if problems:
        raise typer.Exit(REFUSED)


def _named(connection: psycopg.Connection[Any], tables: list[str]) -> list[str]:
    """The tables as PostgreSQL writes them."""
    query = "SELECT %s::regclass::text"
    return [connection.execute(query, (table,)).fetchall()[0][0] for table in tables]


def _all(connection: psycopg.Connection[Any]) -> list[str]:
    query = "SELECT relation::text FROM rowseal.declarations ORDER BY identity IS NOT NULL, id"
    return [name for (name,) in connection.execute(query)]


def _of_health(connection: psycopg.Connection[Any], only: list[str] | None) -> Iterator[Problem]:
    query = 'SELECT "check", relation::text, detail FROM rowseal.health() WHERE NOT ok'
    for check, relation, detail in connection.execute(query):
        if only is None or relation is None or relation in only:
            yield {"table": relation, "check": check, "problem": detail}


def _of_rows(connection: psycopg.Connection[Any], table: str) -> Iterator[Problem]:
    query = "SELECT key, sign, sqlstate, problem FROM rowseal.verify(%s::regclass)"
    # a cursor of the server: a ruined table has many problems
    with connection.transaction(), connection.cursor(name="rowseal_audit") as cursor:
        for key, signature, sqlstate, problem in cursor.execute(query, (table,)):
            yield {
                "table": table,
                "check": "verify",
                "sqlstate": sqlstate,
                "problem": problem,
                "key": key,
                "sign_b64": signature and b64encode(signature).decode(),
            }


def _report(names: list[str], problems: list[Problem]) -> None:
    if problems:
        found = new_table("table", "check", "problem", "key")
        for problem in problems:
            said = " ".join(filter(None, (problem.get("sqlstate"), problem["problem"])))
            key = json.dumps(problem["key"], ensure_ascii=False) if "key" in problem else ""
            add_row(found, problem["table"], problem["check"], said, key)
        show(found)
    per_table = Counter(problem["table"] for problem in problems)
    for name in names:
        count = per_table[name]
        print(f"{name}: {count or 'no'} problem{'' if count == 1 else 's'}")
