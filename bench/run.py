"""Benchmark: what a check costs, as a multiple of what cannot be avoided,
beside what one would use instead.

    make bench                  # the short form, less than a minute
    make bench-full             # all works, less than twenty minutes
    make bench ARGS="--rows 1000 --rounds 9 --size 2000"

A *work* (fresh rows by COPY, say) is done by several *contenders* for the same rows, alternating,
several rounds in one run of one server.  Figures are CPU time of all processes that take part,
client and server, so that other load on the machine disturbs less; where the wall clock is meant
the line says so.  Each ratio is taken within a round; given are the median of the rounds and their
quartiles.  Before a contender is measured it writes a few rows, so that plans and code are loaded.

The *limit* of a work is one bare Ed25519 verification per row (libsodium,
in a loop) plus the same work on a plain table.
"""

from __future__ import annotations

import argparse
import itertools
import json
import multiprocessing
import os
import platform
import statistics
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
from psycopg.types.json import Jsonb

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
import report
from kit import ROOT
from kit.server import Postgres, ended_by_signals, own_environment, temporary_folder
from rows import Application, Batch, Owner, Row, Shape, copy_text, load, payload, unsigned
from rowseal.client import Form, sign
from rowseal.client.files import import_rows

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


def cpu(pid: int) -> float:
    """Seconds of CPU that a process has used (clock_getcpuclockid of Linux)."""
    return time.clock_gettime((~pid << 3) | 2)


def anonymous_memory(pid: int) -> float:
    """MB of a process that are its own."""
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.split("RssAnon:")[1].split()[0]) / 1024


@dataclass
class Work:
    """What is done; ``contenders`` take a Batch and may return the seconds of CPU themselves.

    The limit is the sum of the contenders named in ``limit``; ``goal`` is a multiple of it,
    ``beat`` how much slower the application must be.
    """

    name: str
    shape: Shape
    contenders: dict[str, Callable[[Batch], Any]]
    goal: float | None = None
    limit: tuple[str, ...] = ("verify", "plain")
    state: str = "empty"
    beat: float = 1.0


class Bench:
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
        value = {"value_b64": size}
        self.shapes = {
            "storage": Shape("storage", value, versioned=True),
            "single": Shape("single", value, versioned=True),
            "fed": Shape("fed", value, versioned=True, feed=True),
            "notes": Shape("notes", value),
        }
        self.shapes |= {
            name: Shape(name, {"value_b64": size})
            for name, size in SIZES.items()
            if size <= largest
        }
        self.shapes |= {
            f"columns_{k}": Shape(
                f"columns_{k}", {f"c{i}": size // (k - 5) for i in range(5, k)}, "text"
            )
            for k in COLUMNS
        }

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

    def spent(self, work: Callable[..., Any], *args: Any) -> float:
        """Seconds of CPU, this process and its backend,
        unless the work measures itself and returns a float.
        """
        start = time.process_time() + cpu(self.backend)
        own = work(*args)
        return own if isinstance(own, float) else time.process_time() + cpu(self.backend) - start

    # -- contenders
    def insert(self, target: str, kind: str) -> Callable[[Batch], Any]:
        """INSERT … SELECT from a staging table."""
        return lambda b: self.run(
            f"INSERT INTO {b.shape.name}{target} SELECT * FROM {b.shape.name}_{kind}{b.name}"
        )

    def bare(self, name: str) -> float:
        """Seconds of CPU of one bare verification, of at most 2000 rows of NAME_bare."""
        count = min(2000, self.one(f"SELECT count(*) FROM {name}_bare"))
        if name not in self.loaded:
            self.run("SELECT bare_verify(%s, %s)", f"{name}_bare", count)
            self.loaded.add(name)
        return self.spent(self.run, "SELECT bare_verify(%s, %s)", f"{name}_bare", count) / count

    def verify(self, batch: Batch) -> float:
        return self.bare(batch.shape.name) * len(batch)

    def copy(self, target: str, hand: bool = False) -> Callable[[Batch], None]:
        def work(b: Batch) -> None:
            with self.c.cursor().copy(f"COPY {b.shape.name}{target} FROM STDIN") as copy:
                copy.write(b.copy(hand))

        return work

    def statements(self, sql: str, size: int, hand: bool = False) -> Callable[[Batch], None]:
        """One statement for each JSON array of ``size`` envelopes."""

        def work(b: Batch) -> None:
            for text in b.json(size, hand):
                self.run(sql, text)

        return work

    def from_json(self, target: str, size: int, hand: bool = False) -> Callable[[Batch], None]:
        """A plain INSERT of JSON batches: what rowseal.apply reads, without any check."""

        def work(b: Batch) -> None:
            self.batches_of(
                b,
                size,
                hand,
                f"INSERT INTO {b.shape.name}{target} SELECT {b.shape.from_json}"
                " FROM jsonb_array_elements(%s::jsonb) e (v)",
            )

        return work

    def apply(self, size: int) -> Callable[[Batch], None]:
        return lambda b: self.batches_of(
            b, size, False, f"SELECT count(*) FROM rowseal.apply('{b.shape.name}', %s::jsonb)"
        )

    def batches_of(self, b: Batch, size: int, hand: bool, sql: str) -> None:
        for text in b.json(size, hand):
            self.run(sql, text)

    def by_update(self, target: str, kind: str) -> Callable[[Batch], None]:
        """Newer versions by UPDATE."""

        def work(b: Batch) -> None:
            t = b.shape.name
            self.run(
                f"UPDATE {t}{target} t SET {b.shape.set} FROM {t}_{kind}{b.name} n"
                " WHERE t.user_hash = n.user_hash AND t.uuid = n.uuid"
            )

        return work

    def upsert(self, target: str, kind: str) -> Callable[[Batch], None]:
        """INSERT … SELECT … ON CONFLICT, the newer version wins."""

        def work(b: Batch) -> None:
            t = b.shape.name
            self.run(
                f"INSERT INTO {t}{target} AS t SELECT * FROM {t}_{kind}{b.name}"
                " ON CONFLICT (user_hash, uuid) DO UPDATE"
                f" SET {b.shape.set.replace('n.', 'EXCLUDED.')}"
                " WHERE t.owner_timestamp < EXCLUDED.owner_timestamp"
            )

        return work

    def plain_feed(self, b: Batch) -> None:
        """What the feed adds at least: an INSERT of ready envelopes into a table like it."""
        self.run(
            "INSERT INTO plain_feed (tag, owner, envelope) SELECT 'fed', 'somebody', envelope"
            f" FROM ready{b.name}"
        )

    def application(self, method: str, kind: str = "fresh") -> Callable[[Batch], None]:
        return lambda b: getattr(Application(self.c, b.shape), method)(getattr(b, kind))

    def application_json(self, size: int) -> Callable[[Batch], None]:
        def work(b: Batch) -> None:
            app = Application(self.c, b.shape)
            for text in b.json(size):
                app.write_json(text)

        return work

    def clients(self, count: int, target: str, hand: bool = False) -> Callable[[Batch], float]:
        """Single-row transactions over the socket by as many clients,
        each a process with a connection of its own.
        """
        context = multiprocessing.get_context("fork")

        def client(
            shape: Shape, rows: list[Row], warm: list[Row], barrier: Any, queue: Any
        ) -> None:
            try:
                with psycopg.connect(f"{self.server} dbname=bench", autocommit=True) as c:
                    app, sql = (
                        Application(c, shape),
                        f"INSERT INTO {shape.name}{target} {shape.values_sql}",
                    )
                    write: Callable[[Row], Any] = (
                        app.write_one
                        if target == "_app"
                        else lambda row: c.execute(sql, list(row.values()))
                    )
                    for row in warm:
                        write(row)
                    barrier.wait()
                    start = time.process_time() + cpu(c.info.backend_pid)
                    for row in rows:
                        write(row)
                    queue.put(time.process_time() + cpu(c.info.backend_pid) - start)
            except Exception as e:
                barrier.abort()
                queue.put(e)

        def work(b: Batch) -> float:
            if b.name:  # each client warms up by itself
                return 0.0
            rows, warm = ((x.hand if hand else x.fresh) for x in self.batches[b.shape.name])
            barrier, queue = context.Barrier(count), context.SimpleQueue()
            processes = [
                context.Process(
                    target=client, args=(b.shape, rows[i::count], warm[i::count], barrier, queue)
                )
                for i in range(count)
            ]
            for p in processes:
                p.start()
            spent = [queue.get() for _ in processes]
            for p in processes:
                p.join()
            for e in spent:
                if isinstance(e, Exception):
                    raise e
            return sum(spent)

        return work

    def import_file(self, b: Batch) -> None:
        import_rows(self.c, b.lines())

    # -- the table of works
    def works(self) -> Iterator[Work]:
        n, shape = self.n, self.shape
        storage, single, fed, notes = (
            shape("storage", n),
            shape("single", max(200, n // 5)),
            shape("fed", n // 2),
            shape("notes", n),
        )
        inserts = {
            "plain": self.insert("_plain", "fresh"),
            "rowseal": self.insert("", "fresh"),
            "hand": self.insert("_hand", "by_hand"),
        }
        yield Work(
            "fresh rows, INSERT … SELECT",
            storage,
            {**inserts, "application": self.application("write")},
            1.10,
        )
        yield Work(
            "fresh rows, COPY",
            storage,
            {
                "plain": self.copy("_plain"),
                "rowseal": self.copy(""),
                "hand": self.copy("_hand", True),
                "application": self.application("copy"),
            },
            1.10,
        )
        for k in 1, 2, 4:
            yield Work(
                f"fresh rows, single-row transactions, {k} client{'s'[: k > 1]}",
                single,
                {
                    "plain": self.clients(k, "_plain"),
                    "rowseal": self.clients(k, ""),
                    "hand": self.clients(k, "_hand", True),
                    "application": self.clients(k, "_app"),
                },
                1.10,
                beat=1.5,
            )
        for k in sorted({1, min(100, n), min(10_000, n)}):
            yield Work(
                f"fresh rows, apply in batches of {k:,}",
                single if k == 1 else storage,
                {
                    "plain": self.from_json("_plain", k),
                    "rowseal": self.apply(k),
                    "hand": self.from_json("_hand", k, True),
                    "application": self.application_json(k),
                },
                1.15 if k > 100 else None,
                beat=1.5,
            )
        yield Work(
            "fresh rows, import of a file",
            storage,
            {
                "plain": self.from_json("_plain", 1000),
                "rowseal": lambda b: import_rows(self.c, b.lines()),
                "application": self.application_json(1000),
            },
            1.30,
        )
        yield Work(
            "fresh rows, into the feed, too",
            fed,
            {
                "plain": self.insert("_plain", "fresh"),
                "plain feed": self.plain_feed,
                "rowseal": self.insert("", "fresh"),
            },
            limit=("verify", "plain", "plain feed"),
        )
        least = {
            "plain": self.by_update("_plain", "newer"),
            "plain archive": self.insert("_plain_versions", "fresh"),
        }
        for how, ours, hand in (
            ("UPDATE", self.by_update("", "newer"), self.by_update("_hand", "newer_by_hand")),
            ("INSERT", self.insert("", "newer"), self.upsert("_hand", "newer_by_hand")),
        ):
            yield Work(
                f"superseding a versioned row, by {how}",
                storage,
                {
                    **least,
                    "rowseal": ours,
                    "hand": hand,
                    "application": self.application("write", "newer"),
                },
                1.20,
                ("verify", "plain", "plain archive"),
                "fresh",
            )
        known = {
            "rowseal": self.insert("", "fresh"),
            "hand": self.upsert("_hand", "by_hand"),
            "application": self.application("write"),
        }
        yield Work("duplicate of the current version", storage, known, 0.10, ("fresh",), "fresh")
        yield Work("duplicate of an archived version", storage, known, None, ("fresh",), "newer")
        yield Work("stale unversioned row", notes, known, 0.10, ("fresh",), "newer")
        yield Work(
            "duplicates, apply in one batch",
            storage,
            {"rowseal": self.apply(n), "application": self.application_json(n)},
            None,
            ("fresh",),
            "fresh",
        )
        for name, size in ((k, v) for k, v in SIZES.items() if k in self.shapes):
            yield Work(
                f"fresh rows, values of {size:,} B",
                shape(name, max(5, min(n // 2, 10_000_000 // size))),
                inserts,
            )
        for k in COLUMNS:
            yield Work(f"fresh rows, {k} columns", shape(f"columns_{k}", n // 2), inserts)

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
                    self.run(f"CREATE TABLE ready{b.name} (envelope jsonb)")
                    self.run(
                        f"INSERT INTO ready{b.name} SELECT jsonb_array_elements(%s)",
                        Jsonb([json.loads(x) for x in b.lines()]),
                    )
        return shape

    def measure(self, works: list[Work], rounds: int) -> None:
        """Microseconds of CPU per row, for each work and contender a list of rounds."""
        times: dict[str, dict[str, list[float]]] = {w.name: {} for w in works}
        for i in range(rounds):
            for work in works:
                batch, warm = self.batches[work.shape.name]
                self.run(work.shape.state(work.state))
                contenders = {
                    **({"verify": self.verify} if "verify" in work.limit else {}),
                    **work.contenders,
                }
                for name in list(contenders)[:: -1 if i % 2 else 1]:
                    if name != "verify":
                        contenders[name](warm)
                    spent = self.spent(contenders[name], batch)
                    times[work.name].setdefault(name, []).append(spent / len(batch) * 1e6)
        fresh = times["fresh rows, INSERT … SELECT"]["rowseal"]
        for work in works:
            of = {**times[work.name], "fresh": fresh}
            limit = [sum(parts) for parts in zip(*(of[x] for x in work.limit))]
            self.works_done.append(
                {
                    "work": work.name,
                    "rows": len(self.batches[work.shape.name][0]),
                    "of": " + ".join(work.limit),
                    "limit": limit,
                    "goal": work.goal,
                    "beat": work.beat,
                    "times": times[work.name],
                }
            )

    # -- figures of their own
    def figure(
        self,
        name: str,
        values: list[float],
        unit: str,
        goal: float | None = None,
        least: bool = False,
        note: str = "",
    ) -> None:
        """A measured figure; ``goal`` is the most that it should be, or the least."""
        self.figures.append(
            {
                "name": name,
                "values": values,
                "unit": unit,
                "goal": goal,
                "least": least,
                "note": note,
            }
        )

    def writes(self, c: psycopg.Connection[Any], table: str, rows: list[Row]) -> float:
        """Microseconds of the backend's CPU per row, one statement each,
        in a transaction that is rolled back.
        """
        with c.transaction(force_rollback=True):
            for i, row in enumerate(rows):
                if i == len(rows) // 5:  # plans and code are loaded
                    start = cpu(c.info.backend_pid)
                c.execute(
                    f"INSERT INTO {table} ({', '.join(row)})"
                    f" VALUES ({', '.join(['%s'] * len(row))})",
                    list(row.values()),
                )
            return (cpu(c.info.backend_pid) - start) / (len(rows) - len(rows) // 5) * 1e6

    def compared(
        self,
        what: Callable[[str], str],
        contenders: dict[str, Callable[[], float]],
        rounds: int,
        goal: float | None,
    ) -> None:
        """The same write under conditions: all but the first as ratios to the first."""
        times: dict[str, list[float]] = {k: [] for k in contenders}
        for i in range(rounds):
            for k in list(contenders)[:: -1 if i % 2 else 1]:
                times[k].append(contenders[k]())
        (first, base), *others = times.items()
        for k, values in others:
            note = f"{statistics.median(values):.0f} µs, {first}: {statistics.median(base):.0f} µs"
            self.figure(what(k), [v / b for v, b in zip(values, base)], "×", goal, note=note)

    def growth(self, sizes: list[int], count: int, rounds: int) -> None:
        """A single write into tables of these sizes."""
        work = {}
        for size in sizes:
            shape = Shape(f"grown_{size}", {"value_b64": 100})
            self.run(shape.create())
            self.run(
                shape.past_triggers(f"""INSERT INTO {shape.name}
                SELECT '\\x{self.owner.hash.hex()}',
                    (lpad(to_hex(i * {2**63 // size - 1}), 16, '0') || repeat('0', 16))::uuid,
                    '\\x{bytes(100).hex()}', false, 1, decode(lpad(to_hex(i), 128, '0'), 'hex')
                FROM generate_series(1, {size}::bigint) i""")
            )
            self.run(f"VACUUM ANALYZE {shape.name}")
            rows = list(shape.rows([self.owner], count, 3))
            work[f"{size:,}"] = lambda name=shape.name, rows=rows: self.writes(self.c, name, rows)
        self.compared(lambda k: f"single write, {k} rows in the table", work, rounds, 1.10)

    def from_nothing(self, rounds: int) -> None:
        """A long INSERT into a table that was analysed while it was empty:
        a plan made for no rows must not stay.
        """
        batch, _ = self.batches[self.shape("notes", self.n).name]

        def write(analyse: bool) -> float:
            self.run(batch.shape.state("empty"))
            if analyse:
                self.run("ANALYZE notes")
            self.run("INSERT INTO notes SELECT * FROM notes_fresh_warm")
            return (
                self.spent(self.run, "INSERT INTO notes SELECT * FROM notes_fresh")
                / len(batch)
                * 1e6
            )

        self.compared(
            lambda k: f"{len(batch):,} rows into a table {k}",
            {"never analysed": lambda: write(False), "analysed while empty": lambda: write(True)},
            rounds,
            1.10,
        )

    def depth(self, depths: list[int], count: int, rounds: int) -> None:
        """Superseding a key that has so many versions already."""
        shape, work = Shape("deep", {"value_b64": 300}, versioned=True), {}
        self.run(shape.create())
        for d, row in zip(depths, shape.rows([self.owner], len(depths), 4)):
            self.run(f"INSERT INTO deep {shape.values_sql}", *row.values())
            self.run(
                shape.past_triggers(f"""INSERT INTO deep_versions
                SELECT '\\x{self.owner.hash.hex()}', '{row["uuid"]}', '\\x{bytes(300).hex()}',
                    false, i, NULL, decode(md5('{d} ' || i) || lpad('', 96, '0'), 'hex')
                    FROM generate_series(1, {d}) i""")
            )
            rows = [row]
            for _ in range(count):
                rows.append(shape.newer(rows[-1], self.owner))
            work[f"{d:,}"] = lambda rows=rows: self.writes(self.c, "deep", rows[1:])
        self.run("VACUUM ANALYZE deep_versions")
        self.compared(lambda k: f"superseding write, history of {k} versions", work, rounds, 1.05)

    def tables(self, tables: int, count: int, rounds: int) -> None:
        """A single write in databases with one declared table (and the owners'), and with many."""
        work = {}
        for k in 1, tables:
            c, shape = (
                self.database(f"declared_{k}"),
                Shape("few", {"value_b64": 300}, versioned=True),
            )
            c.execute(shape.create())
            for i in range(1, k):
                c.execute(
                    f"CREATE TABLE t{i} (user_hash bytea, id integer, deleted_flag boolean,"
                    " owner_timestamp bigint, sign_b64 bytea, PRIMARY KEY (user_hash, id))"
                )
                c.execute(
                    f"SELECT rowseal.declare('t{i}', owner => 'user_hash',"
                    " identity => 'user_cards')"
                )
            rows = list(shape.rows([self.owner], count, 5))
            # one that has not declared them
            c = self.connections[f"{k} again"] = psycopg.connect(
                f"{self.server} dbname=declared_{k}", autocommit=True
            )
            work[f"{k:,}"] = lambda c=c, rows=rows: self.writes(c, "few", rows)
        self.compared(lambda k: f"single write, {k} declared tables", work, rounds, None)

    def owners(self, owners: int, rounds: int) -> None:
        """Rows of few owners and of many, in one session; the memory that it has then."""
        shape, everybody = Shape("owned", {"value_b64": 300}), [Owner(1 + i) for i in range(owners)]
        self.run(shape.create())
        self.add_owners(self.c, everybody)
        self.run("ANALYZE user_cards")
        few, many = (
            list(shape.rows(some, owners, seed))
            for seed, some in enumerate((everybody[:10], everybody))
        )
        part = owners // rounds
        c = psycopg.connect(f"{self.server} dbname=bench", autocommit=True)
        pid = c.info.backend_pid

        def write(name: str, rows: list[Row]) -> float:
            load(self.c, "owned_fresh", rows)
            start = cpu(pid)
            c.execute("INSERT INTO owned SELECT * FROM owned_fresh")
            spent = cpu(pid) - start
            self.run("TRUNCATE owned_fresh")
            return spent / len(rows) * 1e6

        write("warm", list(shape.rows(everybody[:10], WARM, 9)))
        memory = anonymous_memory(pid)
        slices = {
            "10": iter(range(0, part * rounds, part)),
            f"{owners:,}": iter(range(0, part * rounds, part)),
        }
        self.compared(
            lambda k: f"fresh rows of {k} owners in one session",
            {
                k: lambda k=k, rows=rows: write(k, rows[(i := next(slices[k])) : i + part])
                for k, rows in zip(slices, (few, many))
            },
            rounds,
            None,
        )
        self.figure(
            f"memory of a backend after rows of {owners:,} owners",
            [anonymous_memory(pid)],
            "MB",
            note=f"{memory:.1f} MB after {WARM} rows",
        )
        c.close()

    def audit(self, rows: int) -> None:
        """COPY of many rows, its memory; then verify and digest of the table."""
        shape = Shape("audit", {"value_b64": 300})
        self.run(shape.create())
        c = psycopg.connect(f"{self.server} dbname=bench", autocommit=True)
        pid = c.info.backend_pid
        signed = shape.rows([self.owner], rows, 6)
        memory, start = [], cpu(pid)
        with c.cursor().copy("COPY audit FROM STDIN") as copy:
            while part := list(itertools.islice(signed, 2000)):
                copy.write(copy_text(part))
                memory.append(anonymous_memory(pid))
        spent = (cpu(pid) - start) / rows * 1e6
        self.figure(
            f"memory of a backend in a COPY of {rows:,} rows",
            [max(memory)],
            "MB",
            note=f"{memory[0]:.1f} MB at its begin; {spent:.0f} µs of CPU per row",
        )
        c.close()
        self.run("VACUUM ANALYZE audit")
        self.run(
            "CREATE TABLE texts AS SELECT convert_to(envelope::text, 'UTF8') AS bytes"
            " FROM rowseal.export('audit') envelope"
        )
        self.load_bare(shape, shape.rows([self.owner], min(rows, 2000), 6))
        bare, one, wall, cores, digest = [], [], [], [], []
        for _ in range(3 if rows <= 100_000 else 1):
            before = self.bare("audit")
            self.run("SET max_parallel_workers_per_gather = 0")
            start = time.perf_counter()
            one.append(self.spent(self.run, "SELECT * FROM rowseal.verify('audit')") / rows)
            wall.append(time.perf_counter() - start)
            scan = self.spent(self.run, "SELECT count(sha256(bytes)) FROM texts")
            digest.append(self.spent(self.run, "SELECT rowseal.digest('audit')") / scan)
            self.run("RESET max_parallel_workers_per_gather")
            start = time.perf_counter()
            self.run("SELECT * FROM rowseal.verify('audit')")
            cores.append(wall[-1] / (time.perf_counter() - start))
            bare.append((before + self.bare("audit")) / 2)
        self.figure(
            f"verify() of {rows:,} rows on one core, rows per second of bare verification",
            [b / v for b, v in zip(bare, one)],
            "×",
            0.9,
            True,
            f"{statistics.median(one) * 1e6:.0f} µs of CPU per row",
        )
        self.figure(
            f"verify() of {rows:,} rows, default settings, {os.cpu_count()} cores:"
            " speed of one core (wall)",
            cores,
            "×",
            1.8,
            True,
        )
        self.figure(
            f"digest() of {rows:,} rows, of a sequential scan that hashes the same bytes",
            digest,
            "×",
            2.0,
        )

    def catch_up(self, rows: int) -> None:
        """Logical replication of rows to another database, of the table itself and over a link:
        CPU of its apply worker.
        """
        up, down, shape = (
            self.database("upstream"),
            self.database("downstream"),
            Shape("link", {"value_b64": 300}, versioned=True, feed=True),
        )
        direct = Shape("direct", {"value_b64": 300}, versioned=True)
        up.execute(f"{shape.create()}; {direct.create()}")
        load(up, "direct_fresh", direct.rows([self.owner], rows, 9))
        shape.feed = False  # a leaf
        down.execute(f"{shape.create()}; {direct.create()}")
        down.execute("ALTER TABLE link_hand ENABLE ALWAYS TRIGGER hand")
        batch = shape.batch(up, [self.owner], rows, 7)
        per_row = {}
        for name, source in (
            ("link_plain", "link_fresh"),
            ("link_hand", "link_by_hand"),
            ("direct", "direct_fresh"),
            ("link", "link_fresh"),
        ):
            up.execute(
                "SELECT rowseal.publish('link')"
                if name == "link"
                else f"CREATE PUBLICATION {name} FOR TABLE {name}"
            )
            up.execute("SELECT pg_create_logical_replication_slot(%s, 'pgoutput')", [name])
            down.execute(
                f"CREATE SUBSCRIPTION {name} CONNECTION '{self.server} dbname=upstream'"
                f" PUBLICATION {name}"
                " WITH (create_slot = false, copy_data = false, enabled = false)"
            )
            # in transactions of some hundred rows:
            # in its first one a worker takes more care than in all others
            pages = up.execute("SELECT pg_relation_size(%s::regclass) / 8192", [source]).fetchone()[
                0
            ]
            for page in range(0, pages, 40):
                up.execute(
                    f"INSERT INTO {name} SELECT * FROM {source} WHERE ctid >= '({page},0)'"
                    f" AND ctid < '({page + 40},0)'"
                )
            end = up.execute("SELECT pg_current_wal_insert_lsn()").fetchone()[0]
            down.execute(f"ALTER SUBSCRIPTION {name} ENABLE")
            while not up.execute(
                "SELECT confirmed_flush_lsn >= %s::pg_lsn FROM pg_replication_slots"
                " WHERE slot_name = %s",
                [end, name],
            ).fetchone()[0]:
                assert not down.execute(
                    "SELECT sum(apply_error_count) FROM pg_stat_subscription_stats"
                ).fetchone()[0], f"{name}: see the server's log"
                time.sleep(0.05)
            pid, there = down.execute(
                "SELECT (SELECT pid FROM pg_stat_subscription WHERE subname = %s),"
                f" (SELECT count(*) FROM {name})",
                [name],
            ).fetchone()
            assert there == rows, f"{there} of {rows} rows arrived in {name}"
            per_row[name] = cpu(pid) / rows * 1e6
            down.execute(f"ALTER SUBSCRIPTION {name} DISABLE")
        self.run("CREATE TABLE link_bare (sign bytea, message bytea, key bytea)")
        self.load_bare(shape, batch.fresh[:2000])
        verify = self.bare("link") * 1e6
        limit = verify + per_row["link_plain"]
        for what, name in ("of the table itself", "direct"), ("over a link", "link"):
            note = (
                f"{per_row[name]:.0f} µs per row; verify {verify:.0f} + plain replication"
                f" {per_row['link_plain']:.0f}; by hand {per_row['link_hand'] / limit:.2f} ×"
            )
            self.figure(
                f"catch-up of {rows:,} rows by logical replication {what} (apply worker)",
                [per_row[name] / limit],
                "× limit",
                1.30,
                note=note,
            )

    def transactions(self) -> None:
        """Transaction ids and WAL per row of one statement;
        the transaction's own id is not counted.
        """

        def grown(sql: str, *args: Any) -> tuple[int, int]:
            before = self.run(
                "SELECT pg_current_xact_id()::text::bigint, pg_current_wal_insert_lsn() - '0/0'"
            ).fetchone()
            self.run(sql, *args)
            after = self.run(
                "SELECT pg_current_wal_insert_lsn() - '0/0', pg_current_xact_id()::text::bigint"
            ).fetchone()
            return after[1] - before[0] - 1, int(after[0] - before[1])

        storage, fed = (
            self.batches[self.shape(name, self.n).name][0] for name in ("storage", "fed")
        )
        self.run(storage.shape.state("empty"))
        works = {
            "fresh": "INSERT INTO storage SELECT * FROM storage_fresh",
            "superseding": "INSERT INTO storage SELECT * FROM storage_newer",
            "duplicate": "INSERT INTO storage SELECT * FROM storage_newer",
        }
        for name, sql in works.items():
            self.figure(
                f"transaction ids for {len(storage):,} {name} rows in one statement",
                [grown(sql)[0]],
                "",
                1,
            )
        self.run(storage.shape.state("empty"))
        self.figure(
            f"transaction ids for {len(storage):,} rows in one rowseal.apply",
            [
                grown(
                    "SELECT count(*) FROM rowseal.apply('storage', %s::jsonb)",
                    storage.json(len(storage))[0],
                )[0]
            ],
            "",
            2,
        )
        for shape, plain in (
            (storage, ["INSERT INTO storage_plain SELECT * FROM storage_fresh"]),
            (
                fed,
                [
                    "INSERT INTO fed_plain SELECT * FROM fed_fresh",
                    (
                        "INSERT INTO plain_feed (tag, owner, envelope)"
                        " SELECT 'fed', 'somebody', envelope FROM ready"
                    ),
                ],
            ),
        ):
            self.run(shape.shape.state("empty"))
            least = sum(grown(sql)[1] for sql in plain)
            wal = grown(f"INSERT INTO {shape.shape.name} SELECT * FROM {shape.shape.name}_fresh")[1]
            self.figure(
                "WAL of a fresh"
                f" row{', plain row and plain feed entry' if len(plain) > 1 else ', plain row'}"
                " = 1",
                [wal / least],
                "×",
                1.05,
                note=f"{wal / len(shape):.0f} B; {least / len(shape):.0f} B",
            )

    def connect(self, server: str, times: int) -> None:
        """Milliseconds (wall) of the first row that a new connection stores, loading included."""
        notes = Shape("first", {"value_b64": 300})
        self.run(notes.create())
        rows = notes.rows([self.owner], 2 * times, 8)
        in_c = self.one(
            "SELECT probin IS NOT NULL FROM pg_proc WHERE oid = 'rowseal._verified'::regproc"
        )
        for preload, goal in ("", 60), ("plpgsql,pgsodium" if in_c else "plpgsql,plpython3", 5):
            values, spent = [], []
            for row in itertools.islice(rows, times):
                with psycopg.connect(
                    f"{server} dbname=bench",
                    autocommit=True,
                    options=f"-c session_preload_libraries={preload}",
                ) as c:
                    start, used = time.perf_counter(), cpu(c.info.backend_pid)
                    c.execute(f"INSERT INTO first {notes.values_sql}", list(row.values()))
                    values.append((time.perf_counter() - start) * 1e3)
                    spent.append((cpu(c.info.backend_pid) - used) * 1e3)
            how = f"session_preload_libraries = {preload}" if preload else "nothing preloaded"
            self.figure(
                f"first statement of a new connection (wall), {how}",
                values,
                "ms",
                goal,
                note=f"{statistics.median(spent):.1f} ms of CPU",
            )


def about(bench: Bench, args: argparse.Namespace) -> dict[str, Any]:
    version, provider = bench.run(
        "SELECT current_setting('server_version'), rowseal._provider()"
    ).fetchone()
    cpu_model = next(
        (
            line.split(":")[1].strip()
            for line in Path("/proc/cpuinfo").read_text().splitlines()
            if line.startswith("model name")
        ),
        platform.machine(),
    )
    return {
        "machine": f"{cpu_model}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f} at the end",
        "server": f"PostgreSQL {version}",
        "provider": provider,
        "python": platform.python_version(),
        "hand": bench.hand,
        "rows": args.rows,
        "rounds": args.rounds,
        "size": args.size,
        "form": ("full" if args.full else "short")
        + ("-pynacl" if args.provider == "pynacl" else ""),
    }


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--full", action="store_true", help="all works, larger sizes")
    parser.add_argument("--rows", type=int, help="rows per work")
    parser.add_argument("--rounds", type=int)
    parser.add_argument("--size", type=int, default=300, help="bytes of value_b64")
    parser.add_argument(
        "--largest", type=int, default=1_000_000, help="bytes of the largest values"
    )
    parser.add_argument(
        "--provider",
        choices=["pgsodium", "pynacl"],
        default="pgsodium",
        help="of Ed25519; pgsodium only where it is there",
    )
    parser.add_argument(
        "--growth", type=int, nargs="*", help="rows in the tables that one row is written into"
    )
    parser.add_argument(
        "--depth", type=int, nargs="*", help="versions of a key that one is added to"
    )
    parser.add_argument("--tables", type=int, help="declared tables")
    parser.add_argument("--owners", type=int, help="owners in one session")
    parser.add_argument("--audit", type=int, help="rows of COPY, verify, digest")
    parser.add_argument("--catch-up", type=int, help="rows over logical replication")
    parser.add_argument(
        "--only",
        nargs="*",
        default=[],
        help="steps: works transactions growth empty depth tables owners audit catch-up connect",
    )
    parser.add_argument("--output", type=Path, default=ROOT / "bench/results")
    parser.add_argument(
        "--readme",
        action="store_true",
        help="measure nothing; write the README's section from the last results",
    )
    args = parser.parse_args(argv)
    if args.readme:
        report.readme(ROOT / "README.md", args.output)
        return
    small = {
        "rows": 200,
        "rounds": 3,
        "growth": [1000, 20_000],
        "depth": [1, 100],
        "tables": 10,
        "owners": 600,
        "audit": 2000,
        "catch_up": 500,
    }
    large = {
        "rows": 10_000, "rounds": 3, "growth": [10_000, 1_000_000, 10_000_000],
        "depth": [1, 100, 10_000], "tables": 1000, "owners": 100_000, "audit": 1_000_000,
        "catch_up": 100_000,
    }  # fmt: skip
    for name, value in (large if args.full else small).items():
        if getattr(args, name) is None:
            setattr(args, name, value)
    with server() as dsn:
        bench = Bench(dsn, args.rows, args.size, args.largest, args.provider)
        count, rounds = min(200, args.rows), args.rounds
        steps: dict[str, Callable[[], None]] = {
            "works": lambda: bench.measure(list(bench.works()), rounds),
            "transactions": bench.transactions,
            "growth": lambda: bench.growth(args.growth, count, rounds),
            "empty": lambda: bench.from_nothing(rounds),
            "depth": lambda: bench.depth(args.depth, count, rounds),
            "tables": lambda: bench.tables(args.tables, count, rounds),
            "owners": lambda: bench.owners(args.owners, rounds),
            "audit": lambda: bench.audit(args.audit),
            "catch-up": lambda: bench.catch_up(args.catch_up),
            "connect": lambda: bench.connect(dsn, 3 * rounds),
        }
        for name, step in steps.items():
            if not args.only or name in args.only:
                start = time.perf_counter()
                step()
                print(f"{name}: {time.perf_counter() - start:.0f} s", file=sys.stderr)
        result = {"about": about(bench, args), "works": bench.works_done, "figures": bench.figures}
        for c in bench.connections.values():
            c.close()
    print(report.write(result, args.output))


if __name__ == "__main__":
    main()
