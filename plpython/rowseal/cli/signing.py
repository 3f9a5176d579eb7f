"""``rowseal sign`` and ``rowseal verify``: rows to envelopes, envelopes against a key."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Optional

import typer

from .. import client
from ..client import Form, keys
from ..client.files import DamagedFile, read_objects
from .database import connect, declared
from .keys import load_key
from .options import STANDARD, AsJson, Dsn, Output, json_object, reading, writing
from .terminal import REFUSED, stderr

UnsignedRows = Annotated[
    Path,
    typer.Argument(
        help="Rows, one JSON object of fields per line, values as in envelopes;"
        " - is standard input."
    ),
]
Key = Annotated[
    Path, typer.Option("--key", "-k", envvar="ROWSEAL_KEY", help="File of the private key.")
]
OfTable = Annotated[
    Optional[str], typer.Option("--table", "-t", help="A declared table whose rows these are.")
]
FormFile = Annotated[
    Optional[Path],
    typer.Option(help="Instead: a file with its spec from rowseal.declarations; needs no server."),
]


def sign(
    file: UnsignedRows,
    key: Key,
    table: OfTable = None,
    form: FormFile = None,
    output: Output = STANDARD,
    dsn: Dsn = "",
) -> None:
    """Sign rows: write them as envelopes, one JSON object per line.

    A row without timestamp gets the present one, a row without deletion flag is not deleted.
    """
    if (table is None) == (form is None):
        raise typer.BadParameter("either --table or --form is needed")
    if form is not None:
        spec = json_object(form.read_text(encoding="utf-8"), "the file of --form")
    else:
        with connect(dsn) as connection:
            spec = {**declared(connection, table or "").spec}
    signing_key = load_key(key)
    try:
        columns, (timestamp, deleted) = Form(spec["tag"], spec["fields"]), spec["required"][-2:]
    except (KeyError, TypeError, AttributeError, ValueError):
        expected = "the spec of a declaration (SELECT spec FROM rowseal.declarations)"
        raise ValueError(f"{form} is not {expected}") from None
    with reading(file) as stream, writing(output) as out:
        for number, given in read_objects(stream, envelopes=False):
            row = {timestamp: str(client.next_timestamp()), deleted: False, **given}
            try:
                signed = client.envelope(columns, client.decode(columns, row), signing_key)
            except ValueError as e:
                raise DamagedFile(number, str(e)) from None
            out.write(json.dumps(signed, ensure_ascii=False) + "\n")


SignedRows = Annotated[
    Path, typer.Argument(help="Envelopes, one JSON object per line; - is standard input.")
]
PublicKey = Annotated[
    str,
    typer.Option(
        "--public-key", "-p", help="The owner's: a file (PEM, OpenSSH), or base64 or hex."
    ),
]


def verify(file: SignedRows, public_key: PublicKey, as_json: AsJson = False) -> None:
    """Check that envelopes were signed with a key; needs no server.

    Exit code 1 when one was not.
    """
    raw = keys.load_public(public_key)
    rows, wrong = 0, []
    with reading(file) as stream:
        for number, envelope in read_objects(stream):
            rows += 1
            if not client.verify(envelope, raw):
                wrong.append(number)
    if as_json:
        print(json.dumps({"rows": rows, "wrong_lines": wrong}))
    else:
        for number in wrong:
            stderr.print(f"line {number}: not signed with this key")
        print(f"{rows - len(wrong)} of {rows} rows are signed with this key")
    if wrong:
        raise typer.Exit(REFUSED)
