"""What commands print: the answer on standard output, all else on standard error."""

from __future__ import annotations

from typing import Any, NoReturn

import typer
from rich.console import Console
from rich.progress import Progress, ProgressColumn, SpinnerColumn, TextColumn
from rich.table import Column, Table
from rich.text import Text

from ..client.text import printable

REFUSED, FAILED = 1, 3  # exit codes: the answer is no; it could not be done

stdout = Console(highlight=False)
stderr = Console(stderr=True, highlight=False, soft_wrap=True)


def fail(message: str, hint: str | None = None) -> NoReturn:
    """End the command: it could not be done."""
    stderr.print(Text.assemble(("error: ", "red"), printable(message, 1000)))
    if hint:
        stderr.print(Text.assemble(("hint: ", "cyan"), printable(hint, 1000)))
    raise typer.Exit(FAILED)


def warn(message: str) -> None:
    stderr.print(Text.assemble(("warning: ", "yellow"), message))


def progress(*columns: ProgressColumn) -> Progress:
    """A bar on standard error, gone at the end; nothing where that is no terminal."""
    shown = (SpinnerColumn(), TextColumn("{task.description}", markup=False), *columns)
    return Progress(*shown, console=stderr, transient=True, disable=not stderr.is_terminal)


def new_table(*names: str) -> Table:
    """A table without lines, whose columns have these names."""
    columns = (Column(name, overflow="fold") for name in names)
    return Table(*columns, box=None, header_style="bold", pad_edge=False)


def add_row(table: Table, *cells: Any, style: str = "") -> None:
    """Add a row of anything; None is an empty cell."""
    table.add_row(*map(_cell, cells), style=style)


def _cell(value: Any) -> Text:
    if value is None:
        return Text("")
    return Text(printable(value if isinstance(value, str) else str(value), 200))


def show(table: Table) -> None:
    stdout.print(table, width=None if stdout.is_terminal else 10_000)  # a pipe has no margin
