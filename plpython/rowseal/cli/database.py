"""The server: connections, its errors in words, what it knows of a table."""

from __future__ import annotations

from typing import Any, NamedTuple

import psycopg

from ..form.spec import Spec


def connect(dsn: str) -> psycopg.Connection[Any]:
    return psycopg.connect(dsn, autocommit=True, fallback_application_name="rowseal")


def explained(error: psycopg.Error) -> tuple[str, str | None]:
    """An error as one line, and a hint where there is one."""
    if error.sqlstate is None:  # no connection, say: libpq's own words, in several lines
        first, _, rest = str(error).strip().partition("\n")
        return first, " ".join(rest.split()) or None
    hint = error.diag.message_hint
    if error.sqlstate in ("3F000", "42P01", "42883") and "rowseal" in str(error):
        hint = "the extension is not in this database: CREATE EXTENSION rowseal CASCADE"
    return f"{error.sqlstate} {error.diag.message_primary}", hint


class Declared(NamedTuple):
    """A declared table."""

    tag: str
    spec: Spec
    key: list[str]  # fields


def declared(connection: psycopg.Connection[Any], table: str) -> Declared:
    """What is declared of a table; ValueError when nothing is."""
    query = """SELECT tag, spec, ARRAY(SELECT fields ->> k FROM unnest(key) k)
                 FROM rowseal.declarations WHERE relation = %s::regclass"""
    found = connection.execute(query, (table,)).fetchone()
    if found is None:
        known = "rowseal.declarations lists those that are"
        raise ValueError(f"table {table} is not declared; {known}")
    return Declared(*found)
