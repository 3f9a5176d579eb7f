"""Options that several commands have, and what they hold."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Annotated, Any

import typer

Dsn = Annotated[
    str,
    typer.Option(
        "--dsn",
        "-d",
        envvar="ROWSEAL_DSN",
        help="Connection string; empty: libpq's environment variables.",
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print the answer as JSON.")]
Output = Annotated[
    Path, typer.Option("--output", "-o", help="File to write; - is standard output.")
]
TableName = Annotated[str, typer.Argument(help="A declared table.")]

STANDARD = Path("-")  # standard input or output


@contextmanager
def reading(file: Path) -> Iterator[IO[bytes]]:
    """A file, or standard input."""
    if file == STANDARD:
        yield sys.stdin.buffer
    else:
        with file.open("rb") as stream:
            yield stream


@contextmanager
def writing(file: Path) -> Iterator[IO[str]]:
    """Standard output, or a file that is replaced when all has been written.

    So a failure costs nobody his old file.
    """
    if file == STANDARD:
        yield sys.stdout
        sys.stdout.flush()
        return
    special = file.exists() and not file.is_file()  # a pipe, a device
    unfinished = file if special else file.with_name(file.name + ".unfinished")
    try:
        with unfinished.open("w", encoding="utf-8") as stream:
            yield stream
        if not special:
            unfinished.replace(file)
    except BaseException:
        if not special:
            unfinished.unlink(missing_ok=True)
        raise


def json_object(text: str, option: str) -> dict[str, Any]:
    """The object that an option holds; wrong usage when it is none."""
    try:
        value = json.loads(text)
    except ValueError:
        value = None
    if not isinstance(value, dict):
        example = '{"user_hash": "BASE64"}'
        raise typer.BadParameter(f"{option} must be a JSON object: '{example}'")
    return value
