"""The command ``rowseal``: carries signed rows between servers as files."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated, Optional

import psycopg
import typer
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, SpinnerColumn, TextColumn
from rich.table import Table

from .files import DamagedFile, export_rows, import_rows
from .pull import pull

app = typer.Typer(help=__doc__, no_args_is_help=True, add_completion=False)
app.command("pull")(pull)
stderr = Console(stderr=True)

Dsn = Annotated[str, typer.Option("--dsn", "-d", envvar="ROWSEAL_DSN", help="Connection string; empty: libpq's environment variables.")]


def _fail(message: str) -> None:
    stderr.print(f"[red]error:[/red] {message}", highlight=False)
    raise typer.Exit(1)


@app.command("export")
def export_command(
    table: Annotated[str, typer.Argument(help="A declared table.")],
    owner: Annotated[Optional[str], typer.Option(help='Rows of one owner only: \'{"user_hash": "BASE64"}\'.')] = None,
    output: Annotated[Path, typer.Option("--output", "-o", help="File to write; - is standard output.")] = Path("-"),
    dsn: Dsn = "",
) -> None:
    """Write all versions of a table as envelopes, one JSON object per line."""
    rows = 0
    try:
        with psycopg.connect(dsn) as connection:
            out = sys.stdout if output == Path("-") else output.open("w", encoding="utf-8")
            with out:
                for line in export_rows(connection, table, json.loads(owner) if owner else None):
                    out.write(line + "\n")
                    rows += 1
    except (psycopg.Error, OSError, ValueError) as e:
        _fail(str(e))
    stderr.print(f"{rows} rows")


@app.command("import")
def import_command(
    file: Annotated[Path, typer.Argument(help="File of envelopes, one JSON object per line; - is standard input.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print the summary as JSON.")] = False,
    dsn: Dsn = "",
) -> None:
    """Merge envelopes into the declared tables.  Doing it twice changes nothing; invalid rows go to the quarantine.

    Exit code 1 when a line is no envelope (what was before it is stored), 2 when rows were rejected.
    """
    damage: Optional[DamagedFile] = None
    outcomes: dict[str, int] = {}
    try:
        stream = sys.stdin.buffer if file == Path("-") else file.open("rb")
        size = None if file == Path("-") else file.stat().st_size
        columns = (SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), DownloadColumn())
        with stream, psycopg.connect(dsn, autocommit=True) as connection, Progress(*columns, console=stderr, transient=True) as bar:
            task = bar.add_task("0 rows", total=size)

            def progress(rows: int) -> None:
                bar.update(task, description=f"{rows} rows", completed=stream.tell() if size else None)

            # readline, not iteration: iterating forbids tell()
            outcomes = dict(import_rows(connection, iter(stream.readline, b""), progress))
    except DamagedFile as e:
        damage, outcomes = e, dict(e.outcomes)
    except (psycopg.Error, OSError) as e:
        _fail(str(e))
    if as_json:
        print(json.dumps({"outcomes": outcomes, "damaged_line": damage.line if damage else None}))
    elif outcomes:
        table = Table("outcome", "rows")
        for outcome, rows in sorted(outcomes.items()):
            table.add_row(outcome, str(rows))
        Console().print(table)
    if damage:
        _fail(str(damage))
    if outcomes.get("rejected"):
        raise typer.Exit(2)


if __name__ == "__main__":
    app()
