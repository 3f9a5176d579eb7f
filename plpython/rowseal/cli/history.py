"""``rowseal history``: the versions of a key."""

from __future__ import annotations

import json
from collections.abc import Sequence
from enum import Enum
from typing import IO, Annotated, Any, Optional

import typer
from rich.console import Console

from . import drawing, versions
from .database import Declared, connect, declared
from .options import STANDARD, Dsn, Output, TableName, json_object, writing
from .terminal import REFUSED, stderr


class Format(str, Enum):
    tree = "tree"
    dot = "dot"
    svg = "svg"
    json = "json"


Key = Annotated[
    str,
    typer.Argument(
        help='The key, fields as in envelopes: \'{"user_hash": "BASE64", "uuid": "…"}\'.'
    ),
]
FormatOption = Annotated[
    Format,
    typer.Option("--format", "-f", help="tree, for a terminal; dot or svg, by Graphviz; json."),
]
Show = Annotated[
    Optional[list[str]],
    typer.Option("--show", "-s", help="A field to show beside each version; repeatable."),
]
AsJson = Annotated[bool, typer.Option("--json", help="The same as --format json.")]


def history(
    table: TableName,
    key: Key,
    format: FormatOption = Format.tree,
    show: Show = None,
    as_json: AsJson = False,
    output: Output = STANDARD,
    dsn: Dsn = "",
) -> None:
    """Draw the versions of a key: what was written on top of what, and what is current.

    Where two versions were written on top of the same one, devices went separate ways: a branch
    each.
    """
    given, fields = json_object(key, "KEY"), show or []
    with connect(dsn) as connection:
        known = declared(connection, table)
        _check(table, known, given, fields)
        found = versions.read(connection, table, given)
    title = f"{known.tag} {json.dumps(given, ensure_ascii=False)}"
    with writing(output) as out:
        _draw(out, found, Format.json if as_json else format, title, fields)
    if not found:
        stderr.print("no version of that key is here")
        raise typer.Exit(REFUSED)


def _check(table: str, known: Declared, key: dict[str, Any], fields: Sequence[str]) -> None:
    """Wrong usage when the table has another key, or not these fields."""
    if set(key) != set(known.key):
        expected = ", ".join(known.key)
        raise typer.BadParameter(f"the key of {table} has the fields {expected}", param_hint="KEY")
    unknown = set(fields) - set(known.spec["fields"])
    if unknown:
        raise typer.BadParameter(f"{table} has no field {min(unknown)}", param_hint="--show")


def _draw(
    out: IO[str],
    found: Sequence[versions.Version],
    format: Format,
    title: str,
    fields: Sequence[str],
) -> None:
    if format is Format.json:
        out.write(json.dumps(versions.as_json(found), ensure_ascii=False) + "\n")
    elif found and format is Format.tree:
        console = Console(file=out, highlight=False, soft_wrap=True)
        console.print(drawing.tree(found, title, fields))
    elif found:
        graph = drawing.dot(found, title, fields) + "\n"
        out.write(drawing.svg(graph) if format is Format.svg else graph)
