"""Figures of their own: how costs grow, audits, replication, transactions, connections."""

from __future__ import annotations

import itertools
import os
import statistics
import sys
import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import psycopg

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
from lab import WARM, Bench, anonymous_memory, cpu, per_row
from rows import Batch, Owner, Row, Shape, copy_text, load

Connection = psycopg.Connection[Any]


def writes(c: psycopg.Connection[Any], table: str, rows: list[Row]) -> float:
    """Microseconds of the backend's CPU per row, one statement each,
    in a transaction that is rolled back.
    """
    with c.transaction(force_rollback=True):
        for i, row in enumerate(rows):
            if i == len(rows) // 5:  # plans and code are loaded
                start = cpu(c.info.backend_pid)
            c.execute(
                f"INSERT INTO {table} ({', '.join(row)}) VALUES ({', '.join(['%s'] * len(row))})",
                list(row.values()),
            )
        return (cpu(c.info.backend_pid) - start) / (len(rows) - len(rows) // 5) * 1e6


def compared(
    bench: Bench,
    what: Callable[[str], str],
    contenders: Mapping[str, Callable[[], float]],
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
        bench.figure(what(k), [v / b for v, b in zip(values, base)], "×", goal=goal, note=note)


def growth(bench: Bench, sizes: list[int], count: int, rounds: int) -> None:
    """A single write into tables of these sizes."""
    work = {}
    for size in sizes:
        shape = Shape(f"grown_{size}", {"value_b64": 100})
        bench.run(shape.create())
        bench.run(
            shape.past_triggers(f"""INSERT INTO {shape.name}
            SELECT '\\x{bench.owner.hash.hex()}',
                (lpad(to_hex(i * {2**63 // size - 1}), 16, '0') || repeat('0', 16))::uuid,
                '\\x{bytes(100).hex()}', false, 1, decode(lpad(to_hex(i), 128, '0'), 'hex')
            FROM generate_series(1, {size}::bigint) i""")
        )
        bench.run(f"VACUUM ANALYZE {shape.name}")
        rows = list(shape.rows([bench.owner], count, 3))
        work[f"{size:,}"] = partial(writes, bench.c, shape.name, rows)
    compared(bench, lambda k: f"single write, {k} rows in the table", work, rounds, 1.10)


def from_nothing(bench: Bench, rounds: int) -> None:
    """A long INSERT into a table that was analysed while it was empty:
    a plan made for no rows must not stay.
    """
    batch, _ = bench.batches[bench.shape("notes", bench.n).name]

    def write(analyse: bool) -> float:
        bench.run(batch.shape.state("empty"))
        if analyse:
            bench.run("ANALYZE notes")
        bench.run("INSERT INTO notes SELECT * FROM notes_fresh_warm")
        spent = bench.spent(bench.run, "INSERT INTO notes SELECT * FROM notes_fresh")
        return per_row(spent, len(batch)).server

    compared(
        bench,
        lambda k: f"{len(batch):,} rows into a table {k}",
        {"never analysed": lambda: write(False), "analysed while empty": lambda: write(True)},
        rounds,
        1.10,
    )


def depth(bench: Bench, depths: list[int], count: int, rounds: int) -> None:
    """Superseding a key that has so many versions already."""
    shape, work = Shape("deep", {"value_b64": 300}, versioned=True), {}
    bench.run(shape.create())
    for d, row in zip(depths, shape.rows([bench.owner], len(depths), 4)):
        bench.run(f"INSERT INTO deep {shape.values_sql}", *row.values())
        bench.run(
            shape.past_triggers(f"""INSERT INTO deep_versions
            SELECT '\\x{bench.owner.hash.hex()}', '{row["uuid"]}', '\\x{bytes(300).hex()}',
                false, i, NULL, decode(md5('{d} ' || i) || lpad('', 96, '0'), 'hex')
                FROM generate_series(1, {d}) i""")
        )
        rows = [row]
        for _ in range(count):
            rows.append(shape.newer(rows[-1], bench.owner))
        work[f"{d:,}"] = partial(writes, bench.c, "deep", rows[1:])
    bench.run("VACUUM ANALYZE deep_versions")
    compared(bench, lambda k: f"superseding write, history of {k} versions", work, rounds, 1.05)


def tables(bench: Bench, tables: int, count: int, rounds: int) -> None:
    """A single write in databases with one declared table (and the owners'), and with many."""
    work = {}
    for k in 1, tables:
        c, shape = (
            bench.database(f"declared_{k}"),
            Shape("few", {"value_b64": 300}, versioned=True),
        )
        c.execute(shape.create())
        for i in range(1, k):
            c.execute(
                f"CREATE TABLE t{i} (user_hash bytea, id integer, deleted_flag boolean,"
                " owner_timestamp bigint, sign_b64 bytea, PRIMARY KEY (user_hash, id))"
            )
            c.execute(
                f"SELECT rowseal.declare('t{i}', owner => 'user_hash', identity => 'user_cards')"
            )
        rows = list(shape.rows([bench.owner], count, 5))
        # one that has not declared them
        c = bench.connections[f"{k} again"] = psycopg.connect(
            f"{bench.server} dbname=declared_{k}", autocommit=True
        )
        work[f"{k:,}"] = partial(writes, c, "few", rows)
    compared(bench, lambda k: f"single write, {k} declared tables", work, rounds, None)


def owners(bench: Bench, owners: int, rounds: int) -> None:
    """Rows of few owners and of many, in one session; the memory that it has then."""
    shape, everybody = Shape("owned", {"value_b64": 300}), [Owner(1 + i) for i in range(owners)]
    bench.run(shape.create())
    bench.add_owners(bench.c, everybody)
    bench.run("ANALYZE user_cards")
    few, many = (
        list(shape.rows(some, owners, seed))
        for seed, some in enumerate((everybody[:10], everybody))
    )
    part = owners // rounds
    c = psycopg.connect(f"{bench.server} dbname=bench", autocommit=True)
    pid = c.info.backend_pid

    def write(name: str, rows: list[Row]) -> float:
        load(bench.c, "owned_fresh", rows)
        start = cpu(pid)
        c.execute("INSERT INTO owned SELECT * FROM owned_fresh")
        spent = cpu(pid) - start
        bench.run("TRUNCATE owned_fresh")
        return spent / len(rows) * 1e6

    write("warm", list(shape.rows(everybody[:10], WARM, 9)))
    memory = anonymous_memory(pid)
    parts = range(0, part * rounds, part)
    slices = {
        "10": (few[i : i + part] for i in parts),
        f"{owners:,}": (many[i : i + part] for i in parts),
    }

    def write_next(k: str) -> float:
        return write(k, next(slices[k]))

    contenders = {k: partial(write_next, k) for k in slices}
    compared(bench, lambda k: f"fresh rows of {k} owners in one session", contenders, rounds, None)
    bench.figure(
        f"memory of a backend after rows of {owners:,} owners",
        [anonymous_memory(pid)],
        "MB",
        note=f"{memory:.1f} MB after {WARM} rows",
    )
    c.close()


def audit(bench: Bench, rows: int) -> None:
    """COPY of many rows, its memory; then verify and digest of the table."""
    shape = Shape("audit", {"value_b64": 300})
    bench.run(shape.create())
    copy_many(bench, shape, rows)
    bench.run("VACUUM ANALYZE audit")
    bench.run(
        "CREATE TABLE texts AS SELECT convert_to(envelope::text, 'UTF8') AS bytes"
        " FROM rowseal.export('audit') envelope"
    )
    bench.load_bare(shape, shape.rows([bench.owner], min(rows, 2000), 6))

    def spent(sql: str) -> float:
        return bench.spent(bench.run, sql).server

    bare, one, wall, cores, digest = [], [], [], [], []
    for _ in range(3 if rows <= 100_000 else 1):
        before = bench.bare("audit")
        bench.run("SET max_parallel_workers_per_gather = 0")
        start = time.perf_counter()
        one.append(spent("SELECT * FROM rowseal.verify('audit')") / rows)
        wall.append(time.perf_counter() - start)
        scan = spent("SELECT count(sha256(bytes)) FROM texts")
        digest.append(spent("SELECT rowseal.digest('audit')") / scan)
        bench.run("RESET max_parallel_workers_per_gather")
        start = time.perf_counter()
        bench.run("SELECT * FROM rowseal.verify('audit')")
        cores.append(wall[-1] / (time.perf_counter() - start))
        bare.append((before + bench.bare("audit")) / 2)
    name = f"verify() of {rows:,} rows on one core, rows per second of bare verification"
    note = f"{statistics.median(one) * 1e6:.0f} µs of CPU per row"
    bench.figure(name, [b / v for b, v in zip(bare, one)], "×", goal=0.95, least=True, note=note)
    name = f"verify() of {rows:,} rows, default settings, {os.cpu_count()} cores:"
    bench.figure(f"{name} speed of one core (wall)", cores, "×", goal=1.8, least=True)
    name = f"digest() of {rows:,} rows, of a sequential scan that hashes the same bytes"
    bench.figure(name, digest, "×", goal=2.0)


def copy_many(bench: Bench, shape: Shape, rows: int) -> None:
    """COPY of so many rows by a session of its own, and its memory on the way."""
    c = psycopg.connect(f"{bench.server} dbname=bench", autocommit=True)
    pid = c.info.backend_pid
    signed = shape.rows([bench.owner], rows, 6)
    memory, start = [], cpu(pid)
    with c.cursor().copy(f"COPY {shape.name} FROM STDIN") as copy:
        while part := list(itertools.islice(signed, 2000)):
            copy.write(copy_text(part))
            memory.append(anonymous_memory(pid))
    spent = (cpu(pid) - start) / rows * 1e6
    bench.figure(
        f"memory of a backend in a COPY of {rows:,} rows",
        [max(memory)],
        "MB",
        note=f"{memory[0]:.1f} MB at its begin; {spent:.0f} µs of CPU per row",
    )
    c.close()


def grown(bench: Bench, sql: str, *args: Any) -> tuple[int, int]:
    """Transaction ids and bytes of WAL of a statement; the transaction's own id is not counted."""
    before = bench.run(
        "SELECT pg_current_xact_id()::text::bigint, pg_current_wal_insert_lsn() - '0/0'"
    ).fetchone()
    bench.run(sql, *args)
    after = bench.run(
        "SELECT pg_current_wal_insert_lsn() - '0/0', pg_current_xact_id()::text::bigint"
    ).fetchone()
    return after[1] - before[0] - 1, int(after[0] - before[1])


def transactions(bench: Bench) -> None:
    """Transaction ids and WAL per row of one statement."""
    storage, fed = (
        bench.batches[bench.shape(name, bench.n).name][0] for name in ("storage", "fed")
    )
    bench.run(storage.shape.state("empty"))
    works = {
        "fresh": "INSERT INTO storage SELECT * FROM storage_fresh",
        "superseding": "INSERT INTO storage SELECT * FROM storage_newer",
        "duplicate": "INSERT INTO storage SELECT * FROM storage_newer",
    }
    for name, sql in works.items():
        title = f"transaction ids for {len(storage):,} {name} rows in one statement"
        bench.figure(title, [grown(bench, sql)[0]], "", goal=1)
    bench.run(storage.shape.state("empty"))
    apply, rows = "SELECT count(*) FROM rowseal.apply('storage', %s::json)", len(storage)
    title = f"transaction ids for {rows:,} rows in one rowseal.apply"
    bench.figure(title, [grown(bench, apply, storage.json(rows)[0])[0]], "", goal=2)
    written_ahead(
        bench, storage, "plain row", "INSERT INTO storage_plain SELECT * FROM storage_fresh"
    )
    written_ahead(
        bench,
        fed,
        "plain row and plain feed entry",
        "INSERT INTO fed_plain SELECT * FROM fed_fresh",
        "INSERT INTO plain_feed (tag, owner, envelope) SELECT 'fed', 'somebody', envelope"
        " FROM ready",
    )


def written_ahead(bench: Bench, batch: Batch, what: str, *plain: str) -> None:
    """WAL of fresh rows, beside that of the plain statements."""
    name = batch.shape.name
    bench.run(batch.shape.state("empty"))
    least = sum(grown(bench, sql)[1] for sql in plain)
    wal = grown(bench, f"INSERT INTO {name} SELECT * FROM {name}_fresh")[1]
    note = f"{wal / len(batch):.0f} B; {least / len(batch):.0f} B"
    bench.figure(f"WAL of a fresh row, {what} = 1", [wal / least], "×", goal=1.05, note=note)


def connect(bench: Bench, server: str, times: int) -> None:
    """Milliseconds (wall) of the first row that a new connection stores, loading included."""
    notes = Shape("first", {"value_b64": 300})
    bench.run(notes.create())
    rows = notes.rows([bench.owner], 2 * times, 8)
    in_c = bench.one(
        "SELECT probin IS NOT NULL FROM pg_proc WHERE oid = 'rowseal._verified'::regproc"
    )
    for preload, goal in ("", 25), ("plpgsql,pgsodium" if in_c else "plpgsql,plpython3", 5):
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
        bench.figure(
            f"first statement of a new connection (wall), {how}",
            values,
            "ms",
            before=None if in_c or preload else 57,
            goal=goal,
            note=f"{statistics.median(spent):.1f} ms of CPU",
        )
