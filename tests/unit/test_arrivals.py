"""What a worker has collected is merged once, by the transaction that brought it."""

from __future__ import annotations

import json

import pytest

from rowseal.server import Arrivals


def test_a_transaction_collects_until_it_is_full() -> None:
    arrivals = Arrivals(worker=True)
    sent = [str(n) for n in range(Arrivals.ROWS)]
    answers = [arrivals.add("7", n, f"owner {n}") for n in sent]
    assert answers == ["first", *["more"] * (Arrivals.ROWS - 2), "full"]
    assert arrivals.take("7") == (sent, [f"owner {n}" for n in sent])
    # what comes after has to be merged at the commit, too
    assert arrivals.add("7", "{}", "x") == "first" and arrivals.take("7") == (["{}"], ["x"])
    assert arrivals.take("7") == ([], [])


def test_large_envelopes_fill_it_sooner() -> None:
    arrivals = Arrivals(worker=True)
    large = json.dumps("x" * (Arrivals.CHARACTERS // 2))
    assert [arrivals.add("7", large, "x") for _ in range(2)] == ["first", "full"]


def test_what_was_rolled_back_is_not_merged() -> None:
    arrivals = Arrivals(worker=True)
    arrivals.add("7", '"gone"', "x")
    assert arrivals.add("8", '"here"', "x") == "first"
    assert arrivals.take("8") == (['"here"'], ["x"])
    arrivals.add("8", '"gone"', "x")
    assert arrivals.take("9") == ([], [])


@pytest.mark.parametrize("transaction", ["7", "8"])
def test_who_knows_savepoints_collects_nothing(transaction: str) -> None:
    arrivals = Arrivals(worker=False)
    assert arrivals.add(transaction, "{}", "x") is None
    assert arrivals.take(transaction) == ([], [])
