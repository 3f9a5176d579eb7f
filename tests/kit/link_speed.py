"""How fast a link is, and what it writes."""

from __future__ import annotations

import random
import time
import uuid
from contextlib import suppress
from typing import Any

import psycopg
from psycopg.types.json import Json

from kit.nodes import Node
from kit.traffic import TABLES, Person
from rowseal.client import Form, envelope

LSN = "SELECT pg_wal_lsn_diff(pg_current_wal_insert_lsn(), '0/0')::bigint"
DB = "measured"


def measure(servers: list[Node], rows: int = 2000, size: int = 200) -> str:
    """Rows per second through one link, and bytes of WAL per row on both sides."""
    a, b = servers[:2]
    for node in (a, b):
        prepare(node)
    try:
        source = Source(a, rows, size)
        b.all(DB, "CALL rowseal.subscribe('measured', %s)", a.conninfo(DB))
        b.run(DB, "ALTER SUBSCRIPTION measured DISABLE")
        for n in (a, b):
            # images of whole pages are the first change's, not the row's
            n.run("postgres", "CHECKPOINT")
        without, with_feed = source.write("plain"), source.write("user_settings")
        before, begun = b.one(DB, LSN), time.monotonic()
        b.run(DB, "ALTER SUBSCRIPTION measured ENABLE")
        arrived = "SELECT count(*) FROM user_settings"
        while b.one(DB, arrived) < rows and time.monotonic() - begun < 60:
            time.sleep(0.02)
        took = time.monotonic() - begun
        there = (b.one(DB, LSN) - before) / rows
        return (
            f"one link: {rows / took:.0f} rows/s ({size} bytes of value, batches of 500,"
            " from ALTER SUBSCRIPTION ENABLE);"
            f" WAL per row: {without:.0f} bytes without feed, {with_feed:.0f} with,"
            f" {there:.0f} at the subscriber"
        )
    finally:
        with suppress(psycopg.Error):
            b.run(DB, "CALL rowseal.unsubscribe('measured')")
        for n in (a, b):
            with suppress(psycopg.Error):
                n.run("postgres", f"DROP DATABASE {DB} WITH (FORCE)")


def prepare(node: Node) -> None:
    """A database with the mesh's tables, and one more that is not in the feed."""
    node.run("postgres", f"CREATE DATABASE {DB}")
    node.run(
        DB,
        "CREATE EXTENSION dblink",
        "CREATE EXTENSION rowseal CASCADE",
        TABLES,
        "SELECT rowseal.publish()",
        "CREATE TABLE plain (user_hash bytea, uuid uuid, value_b64 bytea, deleted_flag boolean,"
        " owner_timestamp bigint, parent_sign_b64 bytea, sign_b64 bytea,"
        " PRIMARY KEY (user_hash, uuid))",
        "SELECT rowseal.declare('plain', owner => 'user_hash', identity => 'user_cards')",
    )


class Source:
    """Who writes what is measured."""

    def __init__(self, node: Node, rows: int, size: int):
        self.node, self.rows, self.size = node, rows, size
        self.rng = random.Random(1)
        self.person = Person(self.rng)
        fields = node.all(DB, "SELECT tag, spec -> 'fields' FROM rowseal.declarations")
        self.forms = {tag: Form(tag, f) for tag, f in fields}
        card = envelope(self.forms["user_cards"], self.person.card(), self.person.key)
        node.all(DB, "SELECT * FROM rowseal.apply('user_cards', %s)", Json([card]))

    def sealed(self, tag: str, at: int) -> dict[str, Any]:
        row = {
            "user_hash": self.person.hash,
            "uuid": uuid.UUID(int=self.rng.getrandbits(128)),
            "value_b64": self.rng.randbytes(self.size),
            "deleted_flag": False,
            "owner_timestamp": at,
        }
        return envelope(self.forms[tag], row, self.person.key)

    def write(self, tag: str) -> float:
        """Bytes of WAL per row."""
        batch = [self.sealed(tag, i) for i in range(self.rows)]
        before = self.node.one(DB, LSN)
        apply = "SELECT count(*) FROM rowseal.apply(%s, %s)"
        for i in range(0, self.rows, 500):
            self.node.all(DB, apply, tag, Json(batch[i : i + 500]))
        return (self.node.one(DB, LSN) - before) / self.rows  # type: ignore[no-any-return]
