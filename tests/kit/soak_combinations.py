"""Combinations of features, fuzz, and what becomes of declared tables, with other draws, for as
long as you like: the long form of tests/combinations and of tests/lifecycle/test_states.py.

usage: soak_combinations.py [MINUTES] [--seed N]

Round r of a run with seed S has the seed S + r, so `--seed` with the number printed at a round
begins there again.
"""

from __future__ import annotations

import argparse
import os
import secrets
import subprocess
import sys
import time

EXAMPLES, ROUNDS = "8", "1000"  # of each table, of each door
TESTS = ["tests/combinations", "tests/lifecycle/test_states.py"]
COMMAND = [sys.executable, "-m", "pytest", "--rootdir", ".", "-q", "-n", "2", *TESTS]


def main() -> int:
    parser = argparse.ArgumentParser(description=f"{' and '.join(TESTS)}, again and again.")
    parser.add_argument("minutes", type=float, nargs="?", default=10)
    parser.add_argument("--seed", type=int, default=secrets.randbelow(10**6))
    args = parser.parse_args()
    end, seed = time.monotonic() + 60 * args.minutes, args.seed
    while True:
        print(f"seed {seed}", flush=True)
        draws = {"ROWSEAL_SEED": str(seed), "ROWSEAL_EXAMPLES": EXAMPLES, "ROWSEAL_ROUNDS": ROUNDS}
        if failed := subprocess.run(COMMAND, env={**os.environ, **draws}).returncode:
            return failed
        seed += 1
        if time.monotonic() > end:
            return 0


if __name__ == "__main__":
    sys.exit(main())
