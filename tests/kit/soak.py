"""Three servers in trouble for as long as you like: the long form of links/test_mesh_in_trouble.py.

usage: soak.py [MINUTES] [--seed N]

Each round takes another topology, another order of trouble, another number of writers.  Round r of
a run with seed S has the seed S + r, so `--seed` with the number printed at a round begins there
again.  What threads and servers do between the draws is theirs: a seed repeats the plan, not the
timing.
"""

from __future__ import annotations

import argparse
import random
import secrets
import sys
import time
from pathlib import Path

sys.path[:1] = [str(Path(__file__).parents[1])]  # the folder of kit, not kit itself

from kit.link_speed import measure  # noqa: E402
from kit.mesh import TOPOLOGIES, Mesh  # noqa: E402
from kit.nodes import nodes  # noqa: E402
from kit.server import own_environment  # noqa: E402
from kit.traffic import Problem  # noqa: E402


def main() -> int:
    parser = argparse.ArgumentParser(
        description="Three linked servers in trouble, again and again."
    )
    parser.add_argument("minutes", type=float, nargs="?", default=10)
    parser.add_argument("--seed", type=int, default=secrets.randbelow(10**6))
    args = parser.parse_args()
    own_environment()
    end = time.monotonic() + 60 * args.minutes
    print(f"seed {args.seed}, for {args.minutes:g} minutes", flush=True)
    rounds = versions = 0
    with nodes(3) as servers:
        print(measure(servers), flush=True)
        while rounds == 0 or time.monotonic() < end:
            seed = args.seed + rounds
            rng = random.Random(seed)
            topology = rng.choice(list(TOPOLOGIES))
            late, victim, forger = rng.randrange(3), rng.randrange(3), rng.randrange(3)
            seconds = min(rng.uniform(8, 60), max(8.0, end - time.monotonic()))
            writers = rng.randint(1, 3)
            names = [s.name for s in servers]
            print(
                f"round {rounds}, seed {seed}: {topology}, {seconds:.0f} s, {writers} writers at"
                " each server,"
                f" {names[late]} joins late, {names[victim]} is killed, {names[forger]} forges",
                flush=True,
            )
            mesh = Mesh(servers, f"round{rounds}", topology, seed)
            try:
                mesh.trouble(seconds, late, victim, forger, writers)
                healed = mesh.heal(120)
                mesh.check()
                still = mesh.stand_still()
            except Problem as e:
                print(
                    f"FAILED in the round with seed {seed} (soak.py {args.minutes:g} --seed"
                    f" {seed}):\n{e}",
                    flush=True,
                )
                return 1
            print(f"  healed in {healed:.1f} s, while still {still}; {mesh.summary()}", flush=True)
            versions += sum(map(len, mesh.traffic.accepted.values()))
            mesh.drop()
            rounds += 1
    print(
        f"{rounds} rounds, {versions} versions, seeds {args.seed} to {args.seed + rounds - 1}:"
        " all servers the same"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
