"""``rowseal vectors``: test vectors of a table, for signers in any language."""

from __future__ import annotations

import json

from ..client import vectors as of_table
from .database import connect
from .options import STANDARD, Dsn, Output, TableName, writing
from .terminal import progress


def vectors(table: TableName, output: Output = STANDARD, dsn: Dsn = "") -> None:
    """Write test vectors of a declared table, for signers in any language.

    One JSON document: rows that must be accepted, mistakes and forgeries that must be refused. They
    are signed with a published test key: never store them in a table that is in use. Nothing is
    written to the database.
    """
    with connect(dsn) as connection, progress() as bar:
        bar.add_task("asking the server for canonical forms", total=None)
        document = of_table.vectors(connection, table)
    with writing(output) as out:
        out.write(json.dumps(document, ensure_ascii=False, indent=1) + "\n")
