"""``rowseal apply``, ``export`` and ``import``: rows between files and servers."""

from __future__ import annotations

import json
from collections import Counter
from enum import Enum
from pathlib import Path
from typing import Annotated, NamedTuple, Optional, TypedDict

import typer
from rich.progress import BarColumn, DownloadColumn
from rich.text import Text

from ..client.files import DamagedFile, export_rows, import_rows
from ..client.text import printable
from .database import connect
from .options import STANDARD, AsJson, Dsn, Output, TableName, json_object, reading, writing
from .terminal import REFUSED, add_row, fail, new_table, progress, show, stderr


class Format(str, Enum):
    canonical = "canonical"
    pgtext = "pgtext"


RowsFile = Annotated[
    Path, typer.Argument(help="Rows, one JSON object per line; - is standard input.")
]
FormatOption = Annotated[
    Format,
    typer.Option(help="canonical: envelopes; pgtext: columns in PostgreSQL's text form."),
]
EnvelopesFile = Annotated[
    Path, typer.Argument(help="Envelopes, one JSON object per line; - is standard input.")
]
OnlyOwner = Annotated[
    Optional[str],
    typer.Option(help='Rows of one owner only: \'{"user_hash": "BASE64"}\'.'),
]
CountAsJson = Annotated[
    bool, typer.Option("--json", help="Print the number of rows as JSON, with --output.")
]


def apply(
    table: TableName,
    file: RowsFile,
    format: FormatOption = Format.canonical,
    as_json: AsJson = False,
    dsn: Dsn = "",
) -> None:
    """Merge rows that others signed into one table.

    Doing it twice changes nothing. Invalid rows go to the quarantine: exit code 1.

    A line that is no JSON object ends it, what was before it is stored: exit code 3.
    """
    _report(_merge(file, dsn, as_json, table, format), as_json)


def import_(file: EnvelopesFile, as_json: AsJson = False, dsn: Dsn = "") -> None:
    """Merge envelopes into the tables that they name.

    Doing it twice changes nothing. Invalid rows go to the quarantine: exit code 1.

    A line that is no envelope ends it, what was before it is stored: exit code 3.
    """
    _report(_merge(file, dsn, as_json), as_json)


def export(
    table: TableName,
    owner: OnlyOwner = None,
    output: Output = STANDARD,
    as_json: CountAsJson = False,
    dsn: Dsn = "",
) -> None:
    """Write all versions of a table as envelopes, one JSON object per line."""
    if as_json and output == STANDARD:
        raise typer.BadParameter("--json needs --output: the rows themselves are JSON already")
    only = json_object(owner, "--owner") if owner is not None else None
    rows = 0
    with connect(dsn) as connection, writing(output) as out, progress() as bar:
        task = bar.add_task("0 rows", total=None)
        for line in export_rows(connection, table, only):
            out.write(line + "\n")
            rows += 1
            if rows % 1000 == 0:
                bar.update(task, description=f"{rows} rows")
    if as_json:
        print(json.dumps({"rows": rows}))
    else:
        stderr.print(f"{rows} rows")


# ------------------------------------------------------------------------------------------ merging
class RefusedRow(TypedDict):
    line: int
    outcome: str
    reason: str


class Merged(NamedTuple):
    """What became of a file."""

    outcomes: Counter[str]
    refused: list[RefusedRow]  # gathered for JSON only: else they are shown at once
    damage: DamagedFile | None


def _merge(
    file: Path,
    dsn: str,
    as_json: bool,
    relation: str | None = None,
    format: Format = Format.canonical,
) -> Merged:
    """Store the rows of a file, up to its end or its first damaged line."""
    gathered: list[RefusedRow] = []

    def refused(line: int, outcome: str, reason: str) -> None:
        if as_json:
            gathered.append({"line": line, "outcome": outcome, "reason": reason})
        else:
            stderr.print(Text(f"line {line}: {outcome}, {printable(reason, 500)}"))

    columns = BarColumn(), DownloadColumn()
    with reading(file) as stream, connect(dsn) as connection, progress(*columns) as bar:
        size = None if file == STANDARD else file.stat().st_size
        task = bar.add_task("0 rows", total=size)

        def moved(rows: int) -> None:
            at = stream.tell() if size else None
            bar.update(task, description=f"{rows} rows", completed=at)

        lines = iter(stream.readline, b"")  # iterating over the file itself forbids tell()
        try:
            outcomes = import_rows(
                connection, lines, moved, relation=relation, format=format.value, refused=refused
            )
        except DamagedFile as e:
            return Merged(e.outcomes, gathered, e)
    return Merged(outcomes, gathered, None)


def _report(merged: Merged, as_json: bool) -> None:
    """Show what became of a file, and end with the exit code for it."""
    outcomes, refused, damage = merged
    counted = dict(sorted(outcomes.items()))
    if as_json:
        line = damage and damage.line
        print(json.dumps({"outcomes": counted, "refused": refused, "damaged_line": line}))
    elif counted:
        table = new_table("outcome", "rows")
        for outcome, rows in counted.items():
            add_row(table, outcome, rows)
        show(table)
    if damage:
        fail(f"{damage}; the lines before it are stored")
    if outcomes["rejected"]:
        raise typer.Exit(REFUSED)
