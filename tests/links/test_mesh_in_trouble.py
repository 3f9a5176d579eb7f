"""Servers linked by the feed end in the same state, whatever happens between them;
the short form of kit/soak.py.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from kit.link_speed import measure
from kit.mesh import TOPOLOGIES, Mesh
from kit.nodes import Node, nodes
from kit.traffic import Problem

SECONDS = 8


@pytest.fixture(scope="module")
def servers() -> Iterator[list[Node]]:
    with nodes(3) as made:
        yield made


@pytest.mark.parametrize(
    ("topology", "seed"),
    list(zip(TOPOLOGIES, (11, 12, 13))),
    ids=[t.replace(" ", "-") for t in TOPOLOGIES],
)
def test_after_every_trouble_the_servers_hold_the_same(
    topology: str, seed: int, servers: list[Node]
) -> None:
    mesh = Mesh(servers, f"mesh_{topology.split()[0]}", topology, seed, print)
    late, victim, forger = {"chain": (2, 1, 0), "ring": (1, 2, 0), "full mesh": (2, 0, 1)}[topology]
    try:
        mesh.trouble(SECONDS, late, victim, forger)
        healed = mesh.heal()
        print(f"{topology}: healed in {healed:.1f} s; {mesh.summary()}")
        mesh.check()
        print(mesh.stand_still())
    finally:
        mesh.drop()


def test_the_watch_sees_rows_that_circulate_and_workers_that_fail(servers: list[Node]) -> None:
    mesh = Mesh(servers, "mesh_circle", "ring", 14)
    try:
        for x in mesh.links:
            mesh.link(*x)
        mesh.heal()
        mesh.stand_still(0.5)
        for n in servers:  # what arrives is appended, known or not
            n.run(mesh.db, "ALTER TABLE rowseal.feed DISABLE TRIGGER arrive")
        servers[0].run(
            mesh.db, "INSERT INTO rowseal.feed (tag, owner, envelope) VALUES ('x', 'x', '{}')"
        )
        with pytest.raises(Problem, match=r"b: [0-9]+ x Heap/INSERT in rowseal\.feed"):
            mesh.stand_still(0.5)
        servers[0].run(mesh.db, "ALTER TABLE rowseal.feed ADD CHECK (false) NOT VALID")
        with pytest.raises(Problem, match=r"a: workers failed [0-9]+ times"):
            mesh.stand_still(1)
    finally:
        mesh.drop()


def test_the_speed_of_a_link(servers: list[Node]) -> None:
    print(measure(servers))
