"""Where the time of a row goes: samples of the backend's stacks,
each counted for the innermost part that it is in.

    python bench/profile_rows.py [--rows 3000] [--provider pynacl] [--output bench/results]

Needs perf (Debian: linux-perf) and the right to use it.  The stacks come from the unwind tables
that every binary has, so no debug symbols are needed; what a library does not export counts for its
caller.
"""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from contextlib import suppress
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
from kit import ROOT
from lab import Bench, server
from works import Work, works

PARTS = {  # from a function on, if no inner one is named
    "verification": (
        "crypto_sign_open",
        "crypto_sign_ed25519_open",
        "crypto_sign_verify_detached",
        "crypto_sign_ed25519_verify_detached",
        "pgsodium_crypto_sign_verify_detached",
    ),
    "Python": ("plpython3_call_handler", "PLy_exec_function"),
    "storing": (
        "heap_insert",
        "heap_update",
        "heap_multi_insert",
        "ExecInsertIndexTuples",
        "heap_lock_tuple",
    ),
    "look-ups": ("index_getnext_slot", "index_getnext_tid", "index_fetch_heap"),
    "starting statements": (
        "standard_ExecutorStart",
        "standard_ExecutorEnd",
        "GetCachedPlan",
        "SPI_execute_plan_with_paramlist",
        "SPI_cursor_open_with_paramlist",
    ),
    "PL/pgSQL": (
        "plpgsql_call_handler",
        "plpgsql_exec_trigger",
        "plpgsql_exec_function",
        "plpgsql_inline_handler",
    ),
}
PART_OF = {function: part for part, functions in PARTS.items() for function in functions}
WORKS = (
    "fresh rows, INSERT … SELECT",
    "superseding a versioned row, by UPDATE",
    "superseding a versioned row, by INSERT",
    "fresh rows, into the feed, too",
    "duplicate of the current version",
)


def parts(recording: Path) -> Counter[str]:
    """Samples per part."""
    script = ["perf", "script", "--no-inline", "-F", "ip,sym", "-i", str(recording)]
    out: Counter[str] = Counter()
    for stack in subprocess.run(
        script, capture_output=True, text=True, errors="replace", check=True
    ).stdout.split("\n\n"):
        # innermost first
        frames = [
            line.split(None, 1)[1].strip()
            for line in stack.splitlines()
            if len(line.split(None, 1)) == 2
        ]
        if frames:
            out[next((PART_OF[f] for f in frames if f in PART_OF), "the rest")] += 1
    return out


def await_sampling(perf: int) -> None:
    """Wait until perf has opened its events."""
    end = time.monotonic() + 30
    while time.monotonic() < end:
        files = set()
        for file in Path(f"/proc/{perf}/fd").iterdir():
            with suppress(FileNotFoundError):  # perf has closed it meanwhile
                files.add(os.readlink(file))
        if "anon_inode:[perf_event]" in files:
            break
        time.sleep(0.05)
    time.sleep(0.5)


def sampled(bench: Bench, work: Work, rounds: int, recording: Path) -> tuple[float, Counter[str]]:
    """Microseconds of CPU per row of the backend, and samples of its parts."""
    batch, spent, found = bench.batches[work.shape.name][0], 0.0, Counter[str]()
    command = ["perf", "record", "-e", "cpu-clock", "-F", "1999", "--call-graph", "dwarf,16384"]
    command += ["-o", str(recording), "-p", str(bench.backend)]
    for n in range(rounds + 1):  # the first one loads code and plans
        bench.run(work.shape.state(work.state))
        perf = subprocess.Popen(command, stderr=subprocess.DEVNULL)
        await_sampling(perf.pid)
        used = bench.spent(work.contenders["rowseal"], batch).server
        perf.send_signal(signal.SIGINT)
        perf.wait()
        if n:
            spent += used
            found += parts(recording)
    return spent / rounds / len(batch) * 1e6, found


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rows", type=int, default=3000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--provider", choices=["pgsodium", "pynacl"], default="pgsodium")
    parser.add_argument("--output", type=Path, default=ROOT / "bench/results")
    args = parser.parse_args()
    if not shutil.which("perf"):
        sys.exit("perf is not there (Debian: apt install linux-perf)")
    names = [*PARTS, "the rest"]
    lines = [
        f"# Profile, Ed25519 by {args.provider}",
        "",
        "µs of CPU per row of the backend, by the innermost part that a sample was in.",
        "",
        f"| work | µs | {' | '.join(names)} |",
        f"| --- | ---: |{' ---: |' * len(names)}",
    ]
    with server() as dsn, tempfile.TemporaryDirectory() as folder:
        bench = Bench(dsn, args.rows, 300, provider=args.provider)
        for work in works(bench):
            if work.name not in WORKS:
                continue
            row, found = sampled(bench, work, args.rounds, Path(folder) / "perf.data")
            costs = (f"{row * found[p] / found.total():.0f}" for p in names)
            lines.append(f"| {work.name} | {row:.0f} | {' | '.join(costs)} |")
            print(lines[-1], file=sys.stderr)
        for c in bench.connections.values():
            c.close()
    text = "\n".join(lines) + "\n"
    print(text)
    args.output.mkdir(parents=True, exist_ok=True)
    (args.output / f"profile-{args.provider}.md").write_text(text)


if __name__ == "__main__":
    main()
