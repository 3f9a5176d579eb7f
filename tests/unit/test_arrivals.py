"""What a worker has collected is merged once, by the transaction that brought it."""

from __future__ import annotations

import json

import pytest

from rowseal.server import Arrivals


def test_a_transaction_collects_until_it_is_full() -> None:
    arrivals = Arrivals(worker=True)
    answers = [arrivals.add("7", f'{{"n":{n}}}') for n in range(Arrivals.ROWS)]
    assert answers == ["first", *["more"] * (Arrivals.ROWS - 2), "full"]
    assert [e["n"] for e in json.loads(arrivals.take())] == list(range(Arrivals.ROWS))
    # what comes after has to be merged at the commit, too
    assert arrivals.add("7", "{}") == "first" and json.loads(arrivals.take()) == [{}]
    assert json.loads(arrivals.take()) == []


def test_large_envelopes_fill_it_sooner() -> None:
    arrivals = Arrivals(worker=True)
    large = json.dumps("x" * (Arrivals.CHARACTERS // 2))
    assert [arrivals.add("7", large) for _ in range(2)] == ["first", "full"]


def test_what_was_rolled_back_is_not_merged() -> None:
    arrivals = Arrivals(worker=True)
    arrivals.add("7", '"gone"')
    assert arrivals.add("8", '"here"') == "first" and json.loads(arrivals.take()) == ["here"]


@pytest.mark.parametrize("transaction", ["7", "8"])
def test_who_knows_savepoints_collects_nothing(transaction: str) -> None:
    arrivals = Arrivals(worker=False)
    assert arrivals.add(transaction, "{}") is None and arrivals.take() == "[]"
