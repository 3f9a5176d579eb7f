"""Servers linked by the feed end in the same state, whatever happens between them; the short form of soak.py."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from mesh import TOPOLOGIES, Mesh, Node, measure, nodes

SECONDS = 8


@pytest.fixture(scope="module")
def servers() -> Iterator[list[Node]]:
    with nodes(3) as made:
        yield made


@pytest.mark.parametrize(("topology", "seed"), zip(TOPOLOGIES, (11, 12, 13)), ids=[t.replace(" ", "-") for t in TOPOLOGIES])
def test_after_every_trouble_the_servers_hold_the_same(topology: str, seed: int, servers: list[Node]) -> None:
    mesh = Mesh(servers, f"mesh_{topology.split()[0]}", topology, seed, print)
    late, victim, forger = {"chain": (2, 1, 0), "ring": (1, 2, 0), "full mesh": (2, 0, 1)}[topology]
    try:
        mesh.trouble(SECONDS, late, victim, forger)
        healed = mesh.heal()
        print(f"{topology}: healed in {healed:.1f} s; {mesh.summary()}")
        mesh.check()
        before = mesh.counts()
        for _ in range(5):  # autovacuum writes a little, now and then; rows that circle would never stop
            moved = mesh.stillness()
            if moved < 20_000:
                break
        assert mesh.counts() == before
        assert moved < 20_000, f"{moved} bytes of WAL in two seconds without a writer"
    finally:
        mesh.drop()


def test_the_speed_of_a_link(servers: list[Node]) -> None:
    print(measure(servers))
