"""The server that is measured, its databases, and how costs are taken."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import psycopg
from psycopg.types.json import Json

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
from kit.server import Postgres, ended_by_signals, own_environment, temporary_folder
from rows import Batch, Owner, Row, Shape, load, payload, unsigned
from rowseal.client import Form, sign

SETTINGS = {
    "max_wal_size": "16GB", "checkpoint_timeout": "1h", "autovacuum": "off",
    "shared_buffers": "2GB", "wal_level": "logical", "max_connections": "50",
    "max_wal_senders": "10", "max_replication_slots": "10",
}  # fmt: skip
WARM = 40  # rows before each measurement
SIZES = {"value_100_b": 100, "value_1_kb": 1000, "value_10_kb": 10_000, "value_1_mb": 1_000_000}
COLUMNS = 5, 10, 50

PREPARE = """
CREATE EXTENSION rowseal CASCADE;
CREATE TABLE user_cards (user_hash bytea PRIMARY KEY, sign_pkey bytea, deleted_flag boolean,
    owner_timestamp bigint, sign_b64 bytea);
SELECT rowseal.declare('user_cards', owner => 'user_hash', public_key => 'sign_pkey',
    fingerprint => 'sha256');
CREATE FUNCTION bare_verify(relation text, rows integer) RETURNS void LANGUAGE plpython3u AS $$
from nacl.bindings import crypto_sign_open
if relation not in SD:
    found = plpy.execute(f"SELECT * FROM {relation} LIMIT {rows}")
    SD[relation] = [(r["sign"], r["message"], r["key"]) for r in found]
for sign, message, key in SD[relation]:
    crypto_sign_open(sign + message, key)
$$;
"""
PGSODIUM = """
CREATE FUNCTION hand_verify(sign bytea, message bytea, key bytea) RETURNS boolean LANGUAGE c
AS '$libdir/pgsodium', 'pgsodium_crypto_sign_verify_detached'
"""
ONE_LINE = """
CREATE FUNCTION hand_verify(sign bytea, message bytea, key bytea) RETURNS boolean
LANGUAGE plpython3u AS $$
from nacl.bindings import crypto_sign_open
crypto_sign_open(sign + message, key)
return True
$$
"""


@contextmanager
def server() -> Iterator[str]:
    """A throw-away server; yields a connection string without dbname."""
    own_environment()
    with (
        ended_by_signals(),
        temporary_folder("bench") as folder,
        Postgres(folder, settings=SETTINGS) as postgres,
    ):
        yield f"host={postgres.host} user=postgres"


Times = dict[str, list["Cost"]]  # of each contender its rounds, in microseconds a row


class Cost(NamedTuple):
    """Seconds of CPU: of what does the work on the server, and of clients."""

    server: float
    client: float = 0.0


def per_row(cost: Cost, rows: int) -> Cost:
    """In microseconds."""
    return Cost(*(part / rows * 1e6 for part in cost))


def cpu(pid: int) -> float:
    """Seconds of CPU that a process has used, as the scheduler counts them.

    They are those of /proc/PID/schedstat, by clock_getcpuclockid of Linux: no ticks.
    """
    return time.clock_gettime((~pid << 3) | 2)


def anonymous_memory(pid: int) -> float:
    """MB of a process that are its own."""
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.split("RssAnon:")[1].split()[0]) / 1024


def all_shapes(size: int, largest: int) -> dict[str, Shape]:
    """The shapes of the rows that are written; ``size``: bytes of a value."""
    value = {"value_b64": size}
    shapes = {
        "storage": Shape("storage", value, versioned=True),
        "single": Shape("single", value, versioned=True),
        "fed": Shape("fed", value, versioned=True, feed=True),
        "notes": Shape("notes", value),
    }
    for name, bytes_ in SIZES.items():
        if bytes_ <= largest:
            shapes[name] = Shape(name, {"value_b64": bytes_})
    for k in COLUMNS:
        columns = {f"c{i}": size // (k - 5) for i in range(5, k)}
        shapes[f"columns_{k}"] = Shape(f"columns_{k}", columns, "text")
    return shapes


class Bench:
    """A database to measure in, and what was measured."""

    def __init__(
        self,
        server: str,
        rows: int,
        size: int,
        largest: int = 1_000_000,
        provider: str = "pgsodium",
    ):
        self.server, self.n, self.provider = server, rows, provider
        self.connections: dict[str, psycopg.Connection[Any]] = {}
        self.c = self.database("bench")
        self.backend = self.c.info.backend_pid
        self.owner = Owner(0)
        self.batches: dict[str, tuple[Batch, Batch]] = {}
        self.loaded: set[str] = set()
        self.works_done: list[dict[str, Any]] = []
        self.figures: list[dict[str, Any]] = []
        self.shapes = all_shapes(size, largest)

    def database(self, name: str) -> psycopg.Connection[Any]:
        """A connection to a fresh database with identity table and owner."""
        with psycopg.connect(f"{self.server} dbname=postgres", autocommit=True) as c:
            c.execute(f"CREATE DATABASE {name}")
        c = self.connections[name] = psycopg.connect(
            f"{self.server} dbname={name}", autocommit=True
        )
        if (
            self.provider == "pgsodium"
            and c.execute(
                "SELECT 1 FROM pg_available_extensions WHERE name = 'pgsodium'"
            ).fetchone()
        ):
            c.execute("SET pgsodium.enable_event_trigger = 'on'; CREATE EXTENSION pgsodium")
        c.execute(PREPARE)
        # they look at every ALTER TABLE, and Shape.state has many; writing rows does not meet them
        for (trigger,) in c.execute("SELECT evtname FROM pg_event_trigger").fetchall():
            c.execute(f"ALTER EVENT TRIGGER {trigger} DISABLE")
        try:
            c.execute(PGSODIUM)
            self.hand = "pgsodium"
        except psycopg.Error:
            c.execute(ONE_LINE)
            self.hand = "PyNaCl in PL/Python"
        self.add_owners(c, [Owner(0)])
        return c

    def load_bare(self, shape: Shape, rows: Iterable[Row]) -> None:
        """What is verified without a table: signatures, signed bytes, key."""
        load(
            self.c,
            f"{shape.name}_bare",
            (
                {
                    "sign": r["sign_b64"],
                    "message": payload(shape.name, unsigned(r)),
                    "key": self.owner.public_key,
                }
                for r in rows
            ),
        )

    def add_owners(self, c: psycopg.Connection[Any], owners: list[Owner]) -> None:
        form = Form(
            "user_cards",
            {
                "user_hash": "bytea",
                "sign_pkey": "bytea",
                "deleted_flag": "boolean",
                "owner_timestamp": "integer",
            },
        )
        cards = (
            {
                "user_hash": o.hash,
                "sign_pkey": o.public_key,
                "deleted_flag": False,
                "owner_timestamp": 1,
            }
            for o in owners
        )
        load(
            c,
            "user_cards",
            ({**card, "sign_b64": sign(form, card, o.key)} for card, o in zip(cards, owners)),
        )

    def run(self, sql: str, *args: Any) -> Any:
        return self.c.execute(sql, args or None)

    def one(self, sql: str, *args: Any) -> Any:
        return self.run(sql, *args).fetchone()[0]

    def spent(self, work: Callable[..., Any], *args: Any) -> Cost:
        """Of the session's backend and of this process, unless the work says what it has cost."""
        backend, client = cpu(self.backend), time.process_time()
        own = work(*args)
        if isinstance(own, Cost):
            return own
        return Cost(cpu(self.backend) - backend, time.process_time() - client)

    def bare(self, name: str) -> float:
        """Seconds of CPU of one bare verification, of at most 2000 rows of NAME_bare."""
        count: int = min(2000, self.one(f"SELECT count(*) FROM {name}_bare"))
        if name not in self.loaded:
            self.run("SELECT bare_verify(%s, %s)", f"{name}_bare", count)
            self.loaded.add(name)
        spent = self.spent(self.run, "SELECT bare_verify(%s, %s)", f"{name}_bare", count)
        return spent.server / count

    def shape(self, name: str, rows: int) -> Shape:
        """A shape whose tables and rows are made."""
        shape = self.shapes[name]
        if name not in self.batches:
            self.c.execute(shape.create())
            warm = max(6, min(WARM, 1_000_000 // max([1, *shape.values.values()])))
            self.batches[name] = (
                shape.batch(self.c, [self.owner], rows, 1),
                shape.batch(self.c, [self.owner], warm, 2, "_warm"),
            )
            self.load_bare(shape, self.batches[name][0].fresh[:2000])
            if shape.feed:
                self.run("CREATE TABLE plain_feed (LIKE rowseal.feed INCLUDING ALL)")
                for b in self.batches[name]:
                    self.run(f"CREATE TABLE ready{b.name} (envelope json)")
                    self.run(
                        f"INSERT INTO ready{b.name} SELECT json_array_elements(%s)",
                        Json([json.loads(x) for x in b.lines()]),
                    )
        return shape

    def figure(self, name: str, values: list[float], unit: str, **more: Any) -> None:
        """A measured figure.

        ``goal``: the most that it should be, or the least (``least``); ``before``: as it was when
        the goals were set; ``note``.
        """
        known = {"goal": None, "least": False, "before": None, "note": ""}
        assert more.keys() <= known.keys()
        self.figures.append({"name": name, "values": values, "unit": unit, **known, **more})

    def work(self, name: str, rows: int, times: Times, limit: Iterable[str], **more: Any) -> None:
        """A measured work; ``more``: goal and before, as multiples of the limit."""
        of = list(limit)
        parts = zip(*(times[part] for part in of))
        self.works_done.append(
            {
                "work": name,
                "rows": rows,
                "of": " + ".join(of),
                "limit": [sum(cost.server for cost in part) for part in parts],
                "times": times,
                **more,
            }
        )
