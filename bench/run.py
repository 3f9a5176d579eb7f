"""Benchmark: what a check costs, as a multiple of what cannot be avoided,
beside what one would use instead.

    make bench                  # the short form, less than a minute
    make bench-full             # all works, less than twenty minutes
    make bench ARGS="--rows 1000 --rounds 9 --size 2000"

A *work* (fresh rows by COPY, say) is done by several *contenders* for the same rows, alternating,
several rounds in one run of one server.  Figures are CPU time, so that other load on the machine
disturbs less: of the backend, or of the worker that takes over what a link brings, and beside it
the client's; where the wall clock is meant the line says so.  Each ratio is taken within a round;
given are the median of the rounds and their quartiles.  Before a contender is measured it writes
a few rows, so that plans and code are loaded.

The *limit* of a work is one bare Ed25519 verification per row (libsodium,
in a loop) plus the same work on a plain table.  Beside it stands what rowseal took when the goals
were set, at commit c015b84, in a benchmark like this one.
"""

from __future__ import annotations

import argparse
import os
import platform
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
import figures
import links
import report
from kit import ROOT
from lab import Bench, server
from works import measure, works


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


def arguments() -> argparse.ArgumentParser:
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
    parser.add_argument("--linked", type=int, help="rows over logical replication")
    parser.add_argument(
        "--only",
        nargs="*",
        default=[],
        help="steps: works links transactions growth empty depth tables owners audit connect",
    )
    parser.add_argument("--output", type=Path, default=ROOT / "bench/results")
    parser.add_argument(
        "--pages",
        action="store_true",
        help="measure nothing; write README and docs/performance.md from the last results",
    )
    return parser


# of the options that are not given
SHORT = {
    "rows": 200, "rounds": 3, "growth": [1000, 20_000], "depth": [1, 100], "tables": 10,
    "owners": 600, "audit": 2000, "linked": 500,
}  # fmt: skip
FULL = {
    "rows": 10_000, "rounds": 3, "growth": [10_000, 1_000_000, 10_000_000],
    "depth": [1, 100, 10_000], "tables": 1000, "owners": 100_000, "audit": 1_000_000,
    "linked": 4000,
}  # fmt: skip


def steps(bench: Bench, args: argparse.Namespace) -> dict[str, Callable[[], None]]:
    count, rounds = min(200, args.rows), args.rounds
    return {
        "works": lambda: measure(bench, list(works(bench)), rounds),
        "links": lambda: links.measure(bench, args.linked, rounds),
        "transactions": lambda: figures.transactions(bench),
        "growth": lambda: figures.growth(bench, args.growth, count, rounds),
        "empty": lambda: figures.from_nothing(bench, rounds),
        "depth": lambda: figures.depth(bench, args.depth, count, rounds),
        "tables": lambda: figures.tables(bench, args.tables, count, rounds),
        "owners": lambda: figures.owners(bench, args.owners, rounds),
        "audit": lambda: figures.audit(bench, args.audit),
        "connect": lambda: figures.connect(bench, bench.server, 3 * rounds),
    }


def main(argv: list[str] | None = None) -> None:
    args = arguments().parse_args(argv)
    if args.pages:
        report.pages(ROOT / "README.md", ROOT / "docs/performance.md", args.output)
        return
    for name, value in (FULL if args.full else SHORT).items():
        if getattr(args, name) is None:
            setattr(args, name, value)
    with server() as dsn:
        bench = Bench(dsn, args.rows, args.size, args.largest, args.provider)
        for name, step in steps(bench, args).items():
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
