"""Versions of a key in the order in which one names another."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from graphlib import CycleError, TopologicalSorter
from typing import NamedTuple


class Place(NamedTuple):
    """Where a version stands: the first known is 0 steps deep."""

    version: int
    depth: int  # steps, on the longest way
    at: int  # the highest timestamp on the way to it


def places(at: Sequence[int], children: Sequence[int], parents: Sequence[int]) -> list[Place]:
    """Where each version stands, parents first, but for those that rest on a circle.

    Versions are numbered from 1.  ``at``: their timestamps; ``children[i]`` names ``parents[i]``.
    """
    named: dict[int, list[int]] = {version: [] for version in range(1, len(at) + 1)}
    for child, parent in zip(children, parents, strict=True):
        named[child].append(parent)
    order = TopologicalSorter(named)
    with suppress(CycleError):  # nobody can sign one, but a text column may hold anything
        order.prepare()
    found: dict[int, Place] = {}
    while ready := order.get_ready():
        for version in ready:
            below = [found[parent] for parent in named[version]]
            depth = 1 + max((p.depth for p in below), default=-1)
            found[version] = Place(version, depth, max([at[version - 1], *(p.at for p in below)]))
        order.done(*ready)
    return list(found.values())
