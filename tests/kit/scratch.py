"""Many tests in one database: each runs in a transaction that is rolled back at its end.

Making a database takes longer than most tests.  Whatever needs no second session can use
``Scratch``: the same words as ``Db``, every statement in a savepoint of its own and with the rights
of one role.
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import psycopg
import pytest
from psycopg.types.json import Json

from kit.db import Db, Server
from kit.example import Owner
from rowseal.client import Form, sign

CARD = "k bytea, deleted_flag boolean, owner_timestamp bigint, sign_b64 bytea"
"""Columns of a small identity table, but for its primary key."""


class Scratch(Db):
    """A role in a transaction; ``notices`` collects what the server said beside its answers:
    (severity, message, hint).
    """

    def __init__(self, connection: psycopg.Connection[Any], role: str):
        super().__init__(connection)
        self.role = role
        self.notices: list[tuple[str | None, str | None, str | None]] = []
        connection.add_notice_handler(self._notice)

    def _notice(self, diag: psycopg.errors.Diagnostic) -> None:
        self.notices.append((diag.severity_nonlocalized, diag.message_primary, diag.message_hint))

    @contextmanager
    def _role(self) -> Iterator[None]:
        with self.connection.transaction():
            self.connection.execute(f"SET LOCAL SESSION AUTHORIZATION {self.role}")
            yield

    def run(self, sql: str, *args: Any) -> int:
        with self._role():
            return super().run(sql, *args)

    def all(self, sql: str, *args: Any) -> list[Any]:
        with self._role():
            return super().all(sql, *args)

    def apply(
        self, table: str, rows: Any, format: str = "canonical"
    ) -> list[tuple[str, str | None]]:
        return self.all(
            "SELECT outcome, reason FROM rowseal.apply(%s, %s, %s) ORDER BY ordinal",
            table,
            Json(rows),
            format,
        )

    def warned(self, pattern: str) -> bool:
        """Whether a warning contained the words; what was said is forgotten."""
        said, self.notices = [m for s, m, _ in self.notices if s == "WARNING" and m], []
        return any(pattern in m for m in said)


def shared_database(setup: str) -> Any:
    """A module's fixture ``shared``: a superuser's connection to a fresh database in which ``app``
    has run the statements.
    """

    @pytest.fixture(scope="module")
    def shared(server: Server) -> Iterator[psycopg.Connection[Any]]:
        name = server.database()
        with server.connect(name) as c:
            c.prepare_threshold = None  # what is prepared does not survive the DDL of these tests
            Scratch(c, "app").run(setup)
            yield c
        server.drop(name)

    return shared


def scratch_role(role: str) -> Any:
    """A fixture: the role in a transaction of the module's ``shared`` database,
    rolled back at the end of the test.
    """

    @pytest.fixture
    def in_transaction(transaction: psycopg.Connection[Any]) -> Scratch:
        return Scratch(transaction, role)

    return in_transaction


def pgtext(row: Mapping[str, Any]) -> dict[str, str | None]:
    """Columns in PostgreSQL's text form."""

    def text(value: Any) -> str | None:
        if isinstance(value, bytes):
            return f"\\x{value.hex()}"
        return None if value is None else "ft"[value] if isinstance(value, bool) else str(value)

    return {column: text(value) for column, value in row.items()}


def seal(
    db: Db, owner: Owner, tag: str, row: Mapping[str, Any], text: bool = False
) -> dict[str, Any]:
    """The row (by its columns' names) with its signature, in base64 for a column of type text."""
    column, fields, kinds = db.one(
        "SELECT signature_column, fields, spec -> 'fields' FROM rowseal.declarations"
        " WHERE tag = %s",
        tag,
    )
    signature = sign(
        Form(tag, kinds), {fields[c]: v for c, v in row.items() if c in fields}, owner.key
    )
    return {**row, column: b64encode(signature).decode() if text else signature}


def write(
    db: Db,
    owner: Owner,
    table: str,
    row: Mapping[str, Any],
    tag: str | None = None,
    text: bool = False,
) -> dict[str, Any]:
    """Seal a row, insert it, return it."""
    sealed = seal(db, owner, tag or table, row, text)
    db.insert(table, sealed)
    return sealed


def card(owner: Owner, **changes: Any) -> dict[str, Any]:
    """A row of a table with the key ``id`` and the columns of CARD."""
    return {
        "id": owner.hash,
        "k": owner.public_key,
        "deleted_flag": False,
        "owner_timestamp": next(owner.clock),
        **changes,
    }


def unwell(db: Db) -> list[Any]:
    """What health() finds wrong: (check, relation, detail)."""
    return db.all('SELECT "check", relation::text, detail FROM rowseal.health() WHERE NOT ok')


def problems(db: Db, table: str) -> list[Any]:
    """What verify() finds wrong: SQLSTATEs."""
    return db.all("SELECT sqlstate FROM rowseal.verify(%s)", table)
