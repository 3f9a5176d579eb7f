"""The table of works: what is done, by which contenders; and how they are measured."""

from __future__ import annotations

import multiprocessing
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
from lab import COLUMNS, SIZES, Bench, Cost, Times, cpu, per_row
from rows import Application, Batch, Row, Shape
from rowseal.client.files import import_rows


@dataclass
class Work:
    """What is done; ``contenders`` take a Batch and may say themselves what it has cost.

    The limit is the sum of the contenders named in ``limit``; ``goal`` is a multiple of it, as is
    ``before``, which rowseal took when the goals were set (commit c015b84).
    """

    name: str
    shape: Shape
    contenders: dict[str, Callable[[Batch], Any]]
    before: float | None = None
    goal: float | None = None
    limit: tuple[str, ...] = ("verify", "plain")
    state: str = "empty"


class Contenders:
    """The ways to do a work; each takes a batch."""

    def __init__(self, bench: Bench):
        self.bench = bench

    def insert(self, target: str, kind: str) -> Callable[[Batch], Any]:
        """INSERT … SELECT from a staging table."""
        return lambda b: self.bench.run(
            f"INSERT INTO {b.shape.name}{target} SELECT * FROM {b.shape.name}_{kind}{b.name}"
        )

    def verify(self, batch: Batch) -> Cost:
        return Cost(self.bench.bare(batch.shape.name) * len(batch))

    def copy(self, target: str, hand: bool = False) -> Callable[[Batch], None]:
        def work(b: Batch) -> None:
            with self.bench.c.cursor().copy(f"COPY {b.shape.name}{target} FROM STDIN") as copy:
                copy.write(b.copy(hand))

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
            b, size, False, f"SELECT count(*) FROM rowseal.apply('{b.shape.name}', %s::json)"
        )

    def batches_of(self, b: Batch, size: int, hand: bool, sql: str) -> None:
        for text in b.json(size, hand):
            self.bench.run(sql, text)

    def by_update(self, target: str, kind: str) -> Callable[[Batch], None]:
        """Newer versions by UPDATE."""

        def work(b: Batch) -> None:
            t = b.shape.name
            self.bench.run(
                f"UPDATE {t}{target} t SET {b.shape.set} FROM {t}_{kind}{b.name} n"
                " WHERE t.user_hash = n.user_hash AND t.uuid = n.uuid"
            )

        return work

    def upsert(self, target: str, kind: str) -> Callable[[Batch], None]:
        """INSERT … SELECT … ON CONFLICT, the newer version wins."""

        def work(b: Batch) -> None:
            t = b.shape.name
            self.bench.run(
                f"INSERT INTO {t}{target} AS t SELECT * FROM {t}_{kind}{b.name}"
                " ON CONFLICT (user_hash, uuid) DO UPDATE"
                f" SET {b.shape.set.replace('n.', 'EXCLUDED.')}"
                " WHERE t.owner_timestamp < EXCLUDED.owner_timestamp"
            )

        return work

    def application(self, method: str, kind: str = "fresh") -> Callable[[Batch], None]:
        return lambda b: getattr(Application(self.bench.c, b.shape), method)(getattr(b, kind))

    def application_json(self, size: int) -> Callable[[Batch], None]:
        def work(b: Batch) -> None:
            app = Application(self.bench.c, b.shape)
            for text in b.json(size):
                app.write_json(text)

        return work

    def clients(self, count: int, target: str, hand: bool = False) -> Callable[[Batch], Cost]:
        """Single-row transactions over the socket by as many clients,
        each a process with a connection of its own.
        """
        context = multiprocessing.get_context("fork")

        def client(
            shape: Shape, rows: list[Row], warm: list[Row], barrier: Any, queue: Any
        ) -> None:
            try:
                with psycopg.connect(f"{self.bench.server} dbname=bench", autocommit=True) as c:
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
                    backend, own = cpu(c.info.backend_pid), time.process_time()
                    for row in rows:
                        write(row)
                    queue.put(Cost(cpu(c.info.backend_pid) - backend, time.process_time() - own))
            except Exception as e:
                barrier.abort()
                queue.put(e)

        def work(b: Batch) -> Cost:
            if b.name:  # each client warms up by itself
                return Cost(0.0)
            rows, warm = ((x.hand if hand else x.fresh) for x in self.bench.batches[b.shape.name])
            barrier, queue = context.Barrier(count), context.SimpleQueue()
            processes = [
                context.Process(
                    target=client, args=(b.shape, rows[i::count], warm[i::count], barrier, queue)
                )
                for i in range(count)
            ]
            for p in processes:
                p.start()
            answers: list[Cost | Exception] = [queue.get() for _ in processes]
            for p in processes:
                p.join()
            costs = []
            for answer in answers:
                if isinstance(answer, Exception):
                    raise answer
                costs.append(answer)
            return Cost(*(sum(part) for part in zip(*costs)))

        return work


# ------------------------------------------------------------------------------ the table of works
def works(bench: Bench) -> Iterator[Work]:
    """All works; their tables and rows are made on the way."""
    ways = Contenders(bench)
    yield from fresh_rows(bench, ways)
    yield from single_rows(bench, ways)
    yield from applied(bench, ways)
    yield from fed_rows(bench, ways)
    yield from superseding(bench, ways)
    yield from known_rows(bench, ways)
    yield from sizes(bench, ways)


def inserts(ways: Contenders) -> dict[str, Callable[[Batch], Any]]:
    return {
        "plain": ways.insert("_plain", "fresh"),
        "rowseal": ways.insert("", "fresh"),
        "hand": ways.insert("_hand", "by_hand"),
    }


def fresh_rows(bench: Bench, ways: Contenders) -> Iterator[Work]:
    storage = bench.shape("storage", bench.n)
    application = {"application": ways.application("write")}
    yield Work("fresh rows, INSERT … SELECT", storage, {**inserts(ways), **application}, 1.19, 1.10)
    copies = {
        "plain": ways.copy("_plain"),
        "rowseal": ways.copy(""),
        "hand": ways.copy("_hand", True),
        "application": ways.application("copy"),
    }
    yield Work("fresh rows, COPY", storage, copies, goal=1.10)


def single_rows(bench: Bench, ways: Contenders) -> Iterator[Work]:
    single = bench.shape("single", max(200, bench.n // 5))
    for k in 1, 2, 4:
        clients = {
            "plain": ways.clients(k, "_plain"),
            "rowseal": ways.clients(k, ""),
            "hand": ways.clients(k, "_hand", True),
            "application": ways.clients(k, "_app"),
        }
        name = f"fresh rows, single-row transactions, {k} client{'s'[: k > 1]}"
        yield Work(name, single, clients, goal=1.10)


def applied(bench: Bench, ways: Contenders) -> Iterator[Work]:
    single, storage = bench.shape("single", max(200, bench.n // 5)), bench.shape("storage", bench.n)
    for k in sorted({1, min(100, bench.n), min(10_000, bench.n)}):
        batches = {
            "plain": ways.from_json("_plain", k),
            "rowseal": ways.apply(k),
            "hand": ways.from_json("_hand", k, True),
            "application": ways.application_json(k),
        }
        shape = single if k == 1 else storage
        before, goal = (1.48, 1.15) if k > 100 else (None, None)
        yield Work(f"fresh rows, apply in batches of {k:,}", shape, batches, before, goal)
    imports = {
        "plain": ways.from_json("_plain", 1000),
        "rowseal": lambda b: import_rows(bench.c, b.lines()),
        "application": ways.application_json(1000),
    }
    yield Work("fresh rows, import of a file", storage, imports, 2.1, 1.30)


def fed_rows(bench: Bench, ways: Contenders) -> Iterator[Work]:
    contenders = {"plain": ways.insert("_plain", "fresh"), "rowseal": ways.insert("", "fresh")}
    fed = bench.shape("fed", bench.n // 2)
    yield Work("fresh rows, into the feed, too", fed, contenders, 1.59, 1.25)


def superseding(bench: Bench, ways: Contenders) -> Iterator[Work]:
    least = {
        "plain": ways.by_update("_plain", "newer"),
        "plain archive": ways.insert("_plain_versions", "fresh"),
    }
    application = {"application": ways.application("write", "newer")}
    limit = ("verify", "plain", "plain archive")
    for how, ours, hand, before, goal in (
        (
            "UPDATE",
            ways.by_update("", "newer"),
            ways.by_update("_hand", "newer_by_hand"),
            1.46,
            1.2,
        ),
        ("INSERT", ways.insert("", "newer"), ways.upsert("_hand", "newer_by_hand"), 1.62, 1.3),
    ):
        name, storage = f"superseding a versioned row, by {how}", bench.shape("storage", bench.n)
        contenders = {**least, "rowseal": ours, "hand": hand, **application}
        yield Work(name, storage, contenders, before, goal, limit, "fresh")


def known_rows(bench: Bench, ways: Contenders) -> Iterator[Work]:
    storage, notes = bench.shape("storage", bench.n), bench.shape("notes", bench.n)
    known = {
        "rowseal": ways.insert("", "fresh"),
        "hand": ways.upsert("_hand", "by_hand"),
        "application": ways.application("write"),
    }
    limit = ("fresh",)
    yield Work("duplicate of the current version", storage, known, 0.08, 0.08, limit, "fresh")
    yield Work("duplicate of an archived version", storage, known, 0.26, 0.12, limit, "newer")
    yield Work("stale unversioned row", notes, known, None, 0.10, limit, "newer")
    batch = {"rowseal": ways.apply(bench.n), "application": ways.application_json(bench.n)}
    yield Work("duplicates, apply in one batch", storage, batch, None, None, limit, "fresh")


def sizes(bench: Bench, ways: Contenders) -> Iterator[Work]:
    for name, size in ((k, v) for k, v in SIZES.items() if k in bench.shapes):
        rows = max(5, min(bench.n // 2, 10_000_000 // size))
        yield Work(f"fresh rows, values of {size:,} B", bench.shape(name, rows), inserts(ways))
    for k in COLUMNS:
        shape = bench.shape(f"columns_{k}", bench.n // 2)
        yield Work(f"fresh rows, {k} columns", shape, inserts(ways))


def measure(bench: Bench, works: list[Work], rounds: int) -> None:
    """All works with all contenders, in turns."""
    times: dict[str, Times] = {w.name: {} for w in works}
    for i in range(rounds):
        for work in works:
            batch, warm = bench.batches[work.shape.name]
            bench.run(work.shape.state(work.state))
            contenders = {
                **({"verify": Contenders(bench).verify} if "verify" in work.limit else {}),
                **work.contenders,
            }
            for name in list(contenders)[:: -1 if i % 2 else 1]:
                if name != "verify":
                    contenders[name](warm)
                spent = bench.spent(contenders[name], batch)
                times[work.name].setdefault(name, []).append(per_row(spent, len(batch)))
    fresh = times["fresh rows, INSERT … SELECT"]["rowseal"]
    for work in works:
        of = {**times[work.name], **({"fresh": fresh} if "fresh" in work.limit else {})}
        rows = len(bench.batches[work.shape.name][0])
        bench.work(work.name, rows, of, work.limit, before=work.before, goal=work.goal)
