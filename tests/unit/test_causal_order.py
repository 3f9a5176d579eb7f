"""Places of versions are those that the definition gives, at the price of their edges."""

from __future__ import annotations

import time

from hypothesis import given
from hypothesis import strategies as st

from rowseal.causal import Place, places

graphs = st.integers(1, 8).flatmap(
    lambda n: st.tuples(
        st.lists(st.integers(-3, 3), min_size=n, max_size=n),
        st.lists(st.tuples(st.integers(1, n), st.integers(1, n)), max_size=20),
    )
)


def ways(version: int, edges: list[tuple[int, int]], most: int) -> list[list[int]] | None:
    """All ways from a first version to this one; None where it rests on a circle."""
    if most < 0:
        return None
    below = [ways(parent, edges, most - 1) for child, parent in set(edges) if child == version]
    if not below:
        return [[version]]
    if None in below:
        return None
    return [[*way, version] for found in below if found for way in found]


@given(graphs)
def test_places_are_those_of_the_definition(
    graph: tuple[list[int], list[tuple[int, int]]],
) -> None:
    at, edges = graph
    expected = set()
    for version in range(1, len(at) + 1):
        if found := ways(version, edges, len(at)):
            latest = max(at[v - 1] for way in found for v in way)
            expected.add(Place(version, max(map(len, found)) - 1, latest))
    answer = places(at, [child for child, _ in edges], [parent for _, parent in edges])
    assert set(answer) == expected and len(answer) == len(expected)
    seen: set[int] = set()
    for place in answer:
        assert {parent for child, parent in edges if child == place.version} <= seen
        seen.add(place.version)


def test_it_costs_the_number_of_edges() -> None:
    n = 1000
    edges = [(child, parent) for child in range(1, n + 1) for parent in range(1, child)]
    start = time.process_time()
    assert places([0] * n, *map(list, zip(*edges, strict=True)))[-1] == Place(n, n - 1, 0)
    assert time.process_time() - start < 5
