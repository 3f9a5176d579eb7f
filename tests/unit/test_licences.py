"""Licences follow from grants as the model says, with few chains of each writer that count."""

from __future__ import annotations

import random
import time
from itertools import count
from typing import Any

import pytest

from kit import writers_model
from kit.writers_model import Row, Rules
from rowseal import licences


def derived(rows: list[Row]) -> dict[str, list[tuple[licences.Licence, list[Row], list[Row]]]]:
    """Licences by writer, each with the grants of its chain and the revocations that bind it."""
    spoken = [r for r in rows if r.kind != "data"]
    rules = Rules(rows)
    past = {n: rules.past(r) for n, r in enumerate(spoken) if r.kind == "revocation"}
    found = licences.licences(
        licences.Spoken(
            n, r.sign, r.at, r.writer and r.writer.encode(), r.grantee.encode(), r.until,
            r.tombstones, r.may_grant,
            repr(sorted(r.upto)).encode() if r.kind == "revocation" else None,
            frozenset(v for v, reached in past.items() if r in reached),
        )
        for n, r in enumerate(spoken)
    )  # fmt: skip
    return {
        writer.decode(): [
            (x, [spoken[n] for n in x.chain], [spoken[n] for n in x.frontiers]) for x in of
        ]
        for writer, of in found.items()
    }


def covered(row: Row, found: Any, rows: list[Row]) -> bool:
    rules = Rules(rows)
    return any(
        row.at <= x.until
        and all(g.tables is None or row.table in g.tables for g in chain)
        and all(row.key.startswith(g.prefix) for g in chain)
        and (x.tombstones or not row.deleted)
        and all(row in rules.past(f) for f in frontiers)
        for x, chain, frontiers in found.get(str(row.writer), ())
    )


def made_up(rng: random.Random) -> list[Row]:
    """Grants among four keys, revocations, rows of all: some in chains that do not count."""
    serial, last = count(), {}  # type: Any, dict[str | None, Row]
    out = []

    def place(by: str | None) -> dict[str, Any]:
        before = last.get(by)
        at = {} if by is None else {"number": 1, "previous": None}
        if by is not None and before is not None:
            at = {"number": (before.number or 0) + 1, "previous": before.link}
        return at

    for _ in range(rng.randint(5, 25)):
        by = rng.choice([None, None, *"ABCD"])
        kind = rng.choice(["grant"] * 5 + ["data"] * 3 + ["revocation"])
        links = [r.link for r in out if r.writer]
        row = Row(
            kind, "O", rng.randbytes(4) + next(serial).to_bytes(2, "big"), by, **place(by),
            at=rng.randint(1, 5), table=rng.choice("tu"), key=rng.choice(["a", "ab", "b"]),
            grantee=rng.choice("ABCD"), prefix=rng.choice(["", "", "a"]),
            tables=rng.choice([None, None, frozenset("t")]), until=rng.choice([3, 9]),
            may_grant=rng.randint(0, 3), tombstones=True,
            upto=frozenset(rng.sample(links, min(len(links), rng.randint(0, 2)))),
        )  # fmt: skip
        last[by] = row
        out.append(row)
    return rng.sample(out, len(out))


@pytest.mark.parametrize("most", [1, 2, 3, 64])
@pytest.mark.parametrize("seed", range(4))
def test_as_the_model_says(monkeypatch: pytest.MonkeyPatch, most: int, seed: int) -> None:
    monkeypatch.setattr(writers_model, "MOST_CHAINS", most)
    monkeypatch.setattr(licences, "MOST_CHAINS", most)
    rng = random.Random(seed)
    for _ in range(100):
        rows = made_up(rng)
        rules, found = Rules(rows), derived(rows)
        for row in rows:
            if row.kind == "data" and row.writer is not None:
                assert covered(row, found, rows) == rules.valid(row), (row, rows)


def test_a_later_grant_of_the_owner_counts_whatever_managers_have_granted() -> None:
    """Shorter chains come first: nobody below can take the owner's place."""
    rows = [Row("grant", "O", b"m%d" % n, grantee=f"M{n}", until=9, may_grant=3) for n in range(9)]
    crowd = [
        Row("grant", "O", b"%04d" % (n * 100 + k), f"M{n}", 1, None, grantee="W", until=1 + k % 7)
        for n in range(9)
        for k in range(20)
    ]
    direct = Row("grant", "O", b"zzz", grantee="W", until=100)
    found = derived([*rows, *crowd, direct])
    assert max(x.until for x, *_ in found["W"]) == 100
    assert max(x.until for x, *_ in derived([*rows, *crowd])["W"]) == 7


def test_the_cost_is_bounded() -> None:
    """Twenty keys that all grant each other: it took 70 s, and gave 7,241 licences."""
    keys = [f"K{n}" for n in range(20)]
    rng = random.Random(1)
    top = [Row("grant", "O", rng.randbytes(64), grantee=k, until=9, may_grant=3) for k in keys]
    among = [
        Row("grant", "O", rng.randbytes(64), a, n, bytes(32), grantee=b, until=9 + n, may_grant=3)
        for a in keys
        for n, b in enumerate(keys, 2)
        if a != b
    ]
    begun = time.process_time()
    found = derived([*top, *among])
    assert time.process_time() - begun < 2
    assert all(len(found[k]) <= licences.MOST_CHAINS for k in keys)


def test_to_revoke_again_up_to_the_same_rows_adds_nothing() -> None:
    """Each chain has its own copy: 900 revocations of a key with 64 chains took 168 s."""
    grants = [Row("grant", "O", b"g%02d" % n, grantee="W", until=9) for n in range(64)]
    upto = frozenset([bytes(32)])
    again = [Row("revocation", "O", b"r%03d" % n, grantee="W", upto=upto) for n in range(900)]
    other = Row("revocation", "O", b"s", grantee="W", upto=frozenset([bytes(31) + b"1"]))
    assert {
        tuple(sorted(f.sign for f in frontiers))
        for *_, frontiers in derived([*grants, *again, other])["W"]
    } == {(b"r000", b"s")}
