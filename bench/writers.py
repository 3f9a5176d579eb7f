"""Benchmark of writers other than the owner: what a row of theirs costs,
and what taking their rows back costs.

    python bench/writers.py [--rows 2000] [--rounds 5] [--retract 10000] [--output bench/results]

CPU times of the backend, one session that has seen the grant, alternating; medians.
Unit of the first lines: an owner's row in a table without writers.  Memory is the backend's own
(RssAnon), without what it shares with the others.
"""

from __future__ import annotations

import argparse
import os
import re
import statistics
import sys
import threading
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
import psycopg

from kit import ROOT
from kit.db import Db
from kit.example import Owner
from kit.writers import SIGNED, WRITER, Writer, card, grant, revocation, tables
from lab import cpu, server
from rowseal.client import SigningKey

PREPARE = f"""
    CREATE TABLE plain (user_hash bytea, key text, value integer, parent_sign_b64 bytea, {WRITER},
        {SIGNED}, PRIMARY KEY (user_hash, key));
    SELECT rowseal.declare('plain', owner => 'user_hash', identity => 'cards',
        versions => 'plain_versions');
"""


class Memory(threading.Thread):
    """Peak of a process's own memory in MB while the thread runs, looked at 20 times a second."""

    def __init__(self, pid: int):
        super().__init__()
        self.path, self.over = Path(f"/proc/{pid}/status"), threading.Event()
        self.first = self.peak = self.now()

    def now(self) -> float:
        found = re.search(r"RssAnon:\s+(\d+) kB", self.path.read_text())
        return int(found[1]) / 1024 if found else float("nan")

    def run(self) -> None:
        while not self.over.wait(0.05):
            self.peak = max(self.peak, self.now())


class Bench:
    def __init__(self, dsn: str):
        self.db = Db(psycopg.connect(dsn, autocommit=True))
        self.db.run("CREATE EXTENSION rowseal CASCADE")
        self.db.run(tables() + ";" + PREPARE)
        self.owner = Owner()
        card(self.db, self.owner)
        self.device = Writer(self.owner, SigningKey.generate())
        self.first = Writer(self.owner)
        self.admit(self.device)
        self.made = 0

    def admit(self, device: Writer) -> None:
        self.db.insert(
            "grants", self.first.sealed(self.db.form("grants"), grant(device, until=2**60))
        )

    def load(self, table: str, writer: Writer, rows: int, into: str) -> None:
        """Signed rows of a writer for a table, in a table without checks."""
        form = self.db.form(table)
        self.db.run(f"CREATE TABLE {into} (LIKE {table})")
        columns = [d.name for d in self.db.connection.execute(f"TABLE {into}").description or ()]
        with self.db.connection.cursor().copy(f"COPY {into} FROM STDIN") as copy:
            for _ in range(rows):
                self.made += 1
                row = writer.sealed(
                    form,
                    {
                        "key": f"key {self.made}",
                        "value": self.made,
                        "parent_sign_b64": None,
                        "owner_timestamp": self.made,
                    },
                )
                copy.write_row([row[c] for c in columns])

    def time(self, sql: str, rows: int = 1) -> float:
        """Microseconds of CPU per row."""
        before = self.used()
        self.db.run(sql)
        return (self.used() - before) / rows * 1e6

    def used(self) -> float:
        """Seconds of CPU of the backend."""
        return cpu(self.db.connection.info.backend_pid)

    def rows(self, n: int, rounds: int) -> list[str]:
        works: dict[str, list[float]] = {
            "an owner's row, table without writers": [],
            "an owner's row, table with writers": [],
            "a writer's row, chain of one": [],
        }
        for _ in range(rounds + 1):  # the first round loads code and plans
            for work, (table, writer) in zip(
                works, (("plain", self.first), ("t", self.first), ("t", self.device))
            ):
                self.load(table, writer, n, "given")
                works[work].append(self.time(f"INSERT INTO {table} SELECT * FROM given", n))
                self.db.run("DROP TABLE given")
        units = next(iter(works.values()))[1:]
        out, goals = [], (("", ""), ("", "≤ 1.00"), ("1.6-1.8", "≤ 1.25"))
        for (work, times), (then, goal) in zip(works.items(), goals):
            ratios = [t / u for t, u in zip(times[1:], units)]
            out.append(
                f"| {work} | {statistics.median(times[1:]):.0f} |"
                f" {statistics.median(ratios):.2f} | {min(ratios):.2f}-{max(ratios):.2f} |"
                f" {then} | {goal} |"
            )
        return out

    def retract(self, n: int) -> str:
        lost = Writer(self.owner, SigningKey.generate())
        self.admit(lost)
        self.load("t", lost, n, "given")
        self.db.run("INSERT INTO t SELECT * FROM given")
        self.db.run("DROP TABLE given")
        columns = self.first.sealed(self.db.form("grants"), revocation(lost, []))
        names = ", ".join(columns)
        before, memory = self.used(), Memory(self.db.connection.info.backend_pid)
        memory.start()
        self.db.run(
            f"INSERT INTO grants ({names}) VALUES ({', '.join(['%s'] * len(columns))})",
            *columns.values(),
        )
        memory.over.set()
        memory.join()
        spent = self.used() - before
        assert self.db.one("SELECT count(*) FROM t WHERE writer_pkey = %s", lost.public_key) == 0
        return (
            f"Taking back the {n:,} rows of a revoked writer: one statement, {spent:.1f} s of CPU"
            f" ({spent / n * 1e6:.0f} µs per row), the backend's memory at most {memory.peak:.0f}"
            f" MB, {memory.first:.0f} MB before."
        )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rows", type=int, default=2000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--retract", type=int, nargs="*", default=[10_000])
    parser.add_argument("--output", type=Path, default=ROOT / "bench/results")
    args = parser.parse_args()
    with server() as dsn:
        bench = Bench(dsn)
        lines: list[Any] = [
            "| work | µs per row | × | range | c015b84 | goal |",
            "| --- | ---: | ---: | --- | --- | --- |",
            *bench.rows(args.rows, args.rounds),
            "",
        ]
        lines += [bench.retract(n) for n in args.retract]
        bench.db.connection.close()
    lines += [
        "",
        (
            f"{args.rows} rows, {args.rounds} rounds. Load of the machine at the end:"
            f" {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores."
        ),
    ]
    text = "\n".join(lines) + "\n"
    print(text)
    args.output.mkdir(parents=True, exist_ok=True)
    (args.output / "writers.md").write_text(text)


if __name__ == "__main__":
    main()
