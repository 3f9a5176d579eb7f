"""Connections and databases."""

from __future__ import annotations

import itertools
import os
from collections.abc import Mapping
from typing import Any

import psycopg
import pytest
from psycopg.types.json import Json

from rowseal.client import Form


class Db:
    """A connection in autocommit mode with the few words that tests say most often."""

    def __init__(self, connection: psycopg.Connection[Any]):
        self.connection = connection

    def run(self, sql: str, *args: Any) -> int:
        """Execute; the number of rows."""
        return self.connection.execute(sql, args or None).rowcount

    def all(self, sql: str, *args: Any) -> list[Any]:
        """All rows; of a single column, its values."""
        rows = self.connection.execute(sql, args or None).fetchall()
        return [r[0] if len(r) == 1 else r for r in rows]

    def one(self, sql: str, *args: Any) -> Any:
        rows = self.all(sql, *args)
        assert len(rows) == 1, rows
        return rows[0]

    def refused(self, sqlstate: str, sql: str, *args: Any) -> psycopg.errors.Diagnostic:
        """Execute what must fail with that SQLSTATE;
        a refusal names the table and never shows a traceback.
        """
        with pytest.raises(psycopg.Error) as error:
            self.run(sql, *args)
        diag = error.value.diag
        assert diag.sqlstate == sqlstate, f"{diag.sqlstate}: {diag.message_primary}"
        assert "Traceback" not in f"{diag.message_primary}{diag.message_detail}{diag.context}"
        return diag

    def form(self, tag: str) -> Form:
        return Form(
            tag, self.one("SELECT spec -> 'fields' FROM rowseal.declarations WHERE tag = %s", tag)
        )

    def insert(self, table: str, row: Mapping[str, Any], suffix: str = "") -> int:
        columns = ", ".join(f'"{c}"' for c in row)
        return self.run(
            f"INSERT INTO {table} ({columns}) VALUES ({', '.join(['%s'] * len(row))}) {suffix}",
            *row.values(),
        )

    def update(self, table: str, row: Mapping[str, Any], where: str, *args: Any) -> int:
        columns = ", ".join(f'"{c}" = %s' for c in row)
        return self.run(f"UPDATE {table} SET {columns} WHERE {where}", *row.values(), *args)

    def apply(
        self, table: str, rows: Any, format: str = "canonical"
    ) -> list[tuple[str, str | None]]:
        """Outcome and reason of each row."""
        answer = self.all("SELECT * FROM rowseal.apply(%s, %s, %s)", table, Json(rows), format)
        assert [a[0] for a in answer] == list(range(1, len(answer) + 1))
        return [(outcome, reason) for _, outcome, reason in answer]

    def digest(self, table: str) -> bytes:
        return self.one("SELECT rowseal.digest(%s)", table)  # type: ignore[no-any-return]


class Server:
    """Where databases come from."""

    def __init__(self, host: str, port: int):
        self.host, self.port = host, port
        self.serial = itertools.count()
        with self.connect("postgres") as c:
            c.execute("CREATE ROLE app LOGIN")
            c.execute("CREATE ROLE mallory LOGIN")
            c.execute("CREATE DATABASE rowseal_template")
        with self.connect("rowseal_template") as c:
            # the whole suite with its C function under the guards
            if os.environ.get("ROWSEAL_PGSODIUM"):
                for role in ("postgres", "app", "mallory"):
                    c.execute(f"ALTER ROLE {role} SET pgsodium.enable_event_trigger = 'on'")
                c.execute("SET pgsodium.enable_event_trigger = 'on'; CREATE EXTENSION pgsodium")
            c.execute("CREATE EXTENSION rowseal CASCADE")
            c.execute("GRANT CREATE, USAGE ON SCHEMA public TO app, mallory")
            c.execute("GRANT rowseal_trusted TO app")

    def connect(self, dbname: str, user: str = "postgres") -> psycopg.Connection[Any]:
        return psycopg.connect(
            host=self.host, port=self.port, user=user, dbname=dbname, autocommit=True
        )

    def database(self, template: str = "rowseal_template") -> str:
        name = f"test{next(self.serial)}"
        with self.connect("postgres") as c:
            c.execute(f"CREATE DATABASE {name} TEMPLATE {template}")
        return name

    def prepared(self, name: str, setup: str) -> str:
        """The name of a template in which ``app`` has run these statements; made once."""
        with self.connect("postgres") as c:
            if c.execute("SELECT 1 FROM pg_database WHERE datname = %s", (name,)).fetchone():
                return name
            c.execute(f"CREATE DATABASE {name} TEMPLATE rowseal_template")
        with self.connect(name, "app") as c:
            c.execute(setup)
        return name

    def drop(self, name: str) -> None:
        with self.connect("postgres") as c:
            c.execute(f"DROP DATABASE {name} WITH (FORCE)")
