"""The scenarios of docs/writers.md, each in several orders and by every door."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import pytest

from kit.writers import Book, Replica, Sent
from kit.writers_model import state

Case = Callable[[Book], tuple[set[Sent], set[Sent]]]
CASES: list[Case] = []


def case(f: Case) -> Case:
    """A scenario: signs rows, returns those that count in the end and those that do not (the
    owner's own and grants may be left out).
    """
    CASES.append(f)
    return f


@case
def back_dated_after_revocation(b: Book) -> Any:
    b.grant()
    a1, a2 = b.data("A", at=5), b.data("A", key="j", at=2)
    b.revoke(upto=[a1], at=9)
    return {a1}, {a2}


@case
def number_reused_after_revocation(b: Book) -> Any:
    b.grant()
    a1, a2, a3 = b.data("A"), b.data("A", at=2), b.data("A", at=3)
    b.revoke(upto=[a3])
    return {a1, a2, a3}, {b.data("A", at=50, place=(2, a1.row.link))}


@case
def withheld_link(b: Book) -> Any:
    b.grant()
    a1, a2, a3 = b.data("A", key="x"), b.data("A", at=2), b.data("A", at=3)
    b.revoke(upto=[a3])
    fake = b.data("A", at=50, place=(1, None))
    b.sent.remove(a2)
    return {a3}, {a1, fake}


@case
def poisoned_link(b: Book) -> Any:
    b.grant(prefix="k")
    a1, a2, a3 = b.data("A"), b.data("A", key="zz"), b.data("A", at=3)
    b.revoke(upto=[a3])
    return {a1, a3}, {a2}


@case
def fork_is_no_weapon(b: Book) -> Any:
    b.grant()
    return {b.data("A", at=5), b.data("A", at=6, key="j", place=(1, None))}, set()


@case
def a_frontier_picks_the_branch(b: Book) -> Any:
    b.grant()
    one, other = b.data("A", at=5), b.data("A", at=6, key="j", place=(1, None))
    b.revoke(upto=[one])
    return {one}, {other}


@case
def honest_fork_both_heads(b: Book) -> Any:
    b.grant()
    a1, a2 = b.data("A"), b.data("A", at=2)
    b2 = b.data("A", at=3, key="j", place=(2, a1.row.link))
    late = b.data("A", at=9, place=(3, b2.row.link))
    b.revoke(upto=[a2, b2])
    return {a1, a2, b2}, {late}


@case
def two_frontiers(b: Book) -> Any:
    b.grant()
    a1, a2 = b.data("A"), b.data("A", at=2)
    b2 = b.data("A", at=7, place=(2, a1.row.link))
    b.revoke(upto=[a2]), b.revoke(upto=[b2], at=2)
    return {a1}, {a2, b2}


@case
def frontier_unknown(b: Book) -> Any:
    b.grant()
    a1, a2 = b.data("A"), b.data("A", at=2)
    b.revoke(upto=[a2])
    b.sent.remove(a2)
    return set(), {a1}


@case
def lying_number(b: Book) -> Any:
    b.grant()
    a1 = b.data("A")
    a9 = b.data("A", at=4, place=(9, a1.row.link))
    b.revoke(upto=[a9])
    return {a9}, {a1}


@case
def suicide_wipe(b: Book) -> Any:
    b.grant()
    a1 = b.data("A")
    return {a1}, {b.revoke("A", by="A")}


@case
def revoked_manager_wipes(b: Book) -> Any:
    b.grant("M", may_grant=1)
    m1, w = b.grant("W", by="M"), b.data("W", at=3)
    b.revoke("M", upto=[m1])
    return {m1, w}, {b.revoke("W", by="M")}


@case
def standing_manager_wipes(b: Book) -> Any:
    b.grant("M", may_grant=1)
    b.grant("W", by="M")
    w = b.data("W", at=3)
    b.revoke("W", by="M")
    return set(), {w}


@case
def owner_heals(b: Book) -> Any:
    _, wiped = standing_manager_wipes(b)
    b.grant("W")
    return wiped, set()


@case
def mutual_revocation(b: Book) -> Any:
    b.grant("A", may_grant=2), b.grant("B", may_grant=2)
    b.grant("B", by="A", may_grant=1), b.revoke("B", by="A")
    b.grant("A", by="B", may_grant=1), b.revoke("A", by="B")
    return {b.data("A", at=2), b.data("B", at=3, key="j")}, set()


@case
def grantees_of_a_revoked_grantor(b: Book) -> Any:
    b.grant("M", may_grant=1)
    m1, _ = b.grant("W", by="M"), b.grant("X", by="M")
    w, x = b.data("W"), b.data("X", at=2)
    b.revoke("M", upto=[m1])
    return {w}, {x}


@case
def sock_puppet(b: Book) -> Any:
    b.grant("M", may_grant=1)
    m1, m2, y = b.data("M"), b.grant("Y", by="M"), b.data("Y", at=9)
    b.revoke("M", upto=[m2])
    return {m1, y}, set()


@case
def sock_puppet_below_a_lower_frontier(b: Book) -> Any:
    b.grant("M", may_grant=1)
    m1, m2, y = b.data("M"), b.grant("Y", by="M"), b.data("Y", at=9)
    b.revoke("M", upto=[m1])
    return {m1}, {m2, y}


@case
def regrant_same_key(b: Book) -> Any:
    b.grant()
    a1, a2 = b.data("A"), b.data("A", at=2)
    b.revoke(upto=[a1], at=5)
    b.grant(at=9, until=999)
    return {a1}, {a2}


@case
def grant_as_tip(b: Book) -> Any:
    b.grant(), b.grant(at=2, prefix="z")
    return {b.data("A")}, set()


@case
def attenuation(b: Book) -> Any:
    b.grant("M", may_grant=1, prefix="ma", until=50)
    b.grant("W", by="M", tombstones=True, may_grant=5, until=10**6)
    ok = b.data("W", key="mad", at=50)
    surplus = {
        b.data("W", key="mad", at=51),
        b.data("W", key="zz"),
        b.data("W", key="mad", deleted=True),
        b.grant("X", by="W"),
    }
    return {ok}, surplus | {b.data("X", key="mad")}


@case
def far_future_burial(b: Book) -> Any:
    b.grant(until=100)
    own, buried, beyond = b.data(at=5), b.data("A", at=100), b.data("A", at=101)
    return {own, buried, b.data(at=101)}, {beyond}


@case
def far_future_burial_revoked(b: Book) -> Any:
    b.grant(until=100)
    own, buried = b.data(at=5), b.data("A", at=100)
    b.revoke()
    return {own}, {buried}


@case
def revocation_before_everything(b: Book) -> Any:
    a1, a2 = b.data("A"), b.data("A", at=2)
    b.revoke(upto=[a1]), b.grant()
    b.sent.reverse()
    return {a1}, {a2}


@case
def walk_brings_back_a_grant(b: Book) -> Any:
    b.grant("M", may_grant=1)
    m1, m2, m3 = b.grant("W", by="M"), b.data("M"), b.data("M", at=2)
    w = b.data("W", at=9)
    b.revoke("M", upto=[m3])
    b.sent.remove(m2), b.sent.append(m2)
    return {m1, m2, m3, w}, set()


@case
def let_in_and_taken_back_in_one_settling(b: Book) -> Any:
    """M's revocations and C's of M become good at once; by the latter the former fall again."""
    b.grant("C", may_grant=2, until=3)
    m = b.grant("M", by="C", may_grant=1)
    fallen = {b.revoke(w, by="M", at=5) for w in "ABWXY"}
    y = b.revoke("M", by="C", at=5)
    b.grant("C", at=2, may_grant=2)
    return {m, y}, fallen


@case
def a_second_frontier_above_the_first(b: Book) -> Any:
    """Beyond the first nothing counts, but the second is walked through it."""
    b.grant()
    a1, a2, a3 = b.data("A"), b.data("A", at=2), b.data("A", at=3)
    b.revoke(upto=[a1]), b.revoke(upto=[a3], at=2)
    return {a1}, {a2, a3}


@case
def other_owner_and_forgery(b: Book) -> Any:
    b.grant(owner="P")
    return set(), {
        b.data("A"),
        b.data("A", forged=True, place=(1, None)),
        b.data(at=9, forged=True),
    }


@pytest.mark.parametrize("scenario", CASES, ids=lambda f: f.__name__)
def test_scenario(replica: Replica, scenario: Case) -> None:
    """In the order told, backwards, and in random orders:
    after every row the tables hold what the rules say.
    """
    replica.reset()
    book = Book(replica.db)
    stand, fall = scenario(book)
    ends = state(s.row for s in book.sent)
    assert {s.row for s in stand} <= ends.valid, "the model says otherwise"
    assert not {s.row for s in fall} & ends.valid, "the model says otherwise"
    rng = random.Random(scenario.__name__)
    for order in (
        book.sent,
        book.sent[::-1],
        *(rng.sample(book.sent, len(book.sent)) for _ in range(3)),
    ):
        replica.reset()
        for s in order:
            replica.deliver(rng.choice(["apply", "apply", "feed"]), [s])
        assert replica.received == {s.row for s in book.sent}
    replica.reset()
    replica.deliver("apply", book.sent)
    replica.deliver("sql", book.sent)
