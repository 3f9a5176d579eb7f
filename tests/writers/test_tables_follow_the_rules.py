"""The tables hold what the rules say (kit/writers_model.py), after every delivery,
whatever its order and its door.

Hypothesis makes up owners and writers: grants before and after the rows they let in, managers that
grant on, revocations by owners and managers, before what they speak of and after, forks, lies about
numbers, forgeries.  Two databases get them by apply, by SQL and through the feed, in any order and
more than once.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    precondition,
    rule,
    run_state_machine_as_test,
)

from kit.db import Server
from kit.writers import KEYS, Book, Replica, replica_on


class Writing(RuleBasedStateMachine):
    """``replicas`` is set by the test."""

    replicas: list[Replica]

    @initialize()
    def clear(self) -> None:
        self.book = Book(self.replicas[0].db)
        self.sent = self.book.sent
        for r in self.replicas:
            r.reset()

    def place(
        self, data: st.DataObject, by: str | None, owner: str
    ) -> tuple[int, bytes | None] | None:
        """Where in its chain a writer puts its row: mostly on top,
        sometimes beside another one, sometimes it lies.
        """
        if by is None:
            return None
        mine = [s.row for s in self.sent if (s.row.writer, s.row.owner) == (by, owner)]
        how = (
            data.draw(st.sampled_from(["top"] * 5 + ["fork", "branch", "lie"]), label="place")
            if mine
            else "top"
        )
        if how == "top":
            last = max(mine, key=lambda r: (r.number or 0, r.sign), default=None)
            return (1, None) if last is None else ((last.number or 0) + 1, last.link)
        base = data.draw(st.sampled_from(mine), label="base")
        if how == "fork":
            return base.number or 0, base.previous
        if how == "branch":
            return (base.number or 0) + 1, base.link
        number = data.draw(st.integers(0, 4), label="number")
        return number, data.draw(
            st.sampled_from([None, bytes(32), *(r.link for r in mine)]), label="previous"
        )

    who = st.sampled_from([None, "A", "A", "B", "B", "C"])
    owner = st.sampled_from(["O"] * 9 + ["P"])
    forged = st.sampled_from([False] * 15 + [True])

    @rule(
        by=who,
        owner=owner,
        forged=forged,
        at=st.integers(1, 5),
        table=st.sampled_from("ttu"),
        name=st.sampled_from(["a", "a", "ab", "b"]),
        deleted=st.sampled_from([False, False, False, True]),
        value=st.integers(0, 1),
        data=st.data(),
    )
    def write(
        self,
        by: str | None,
        owner: str,
        forged: bool,
        at: int,
        table: str,
        name: str,
        deleted: bool,
        value: int,
        data: st.DataObject,
    ) -> None:
        fields: dict[str, Any] = {
            "key": name,
            "owner_timestamp": at,
            "deleted_flag": deleted,
            "value": value,
        }
        self.book.add(
            by,
            owner,
            self.place(data, by, owner),
            forged,
            table,
            fields,
            kind="data",
            table=table,
            key=name,
            deleted=deleted,
        )

    @rule(
        by=st.sampled_from([None, None, None, "A", "B", "C"]),
        owner=owner,
        forged=forged,
        at=st.integers(1, 5),
        grantee=st.sampled_from("AABC"),
        tag=st.sampled_from([None, None, "t"]),
        prefix=st.sampled_from(["", "", "a"]),
        tombstones=st.booleans(),
        until=st.sampled_from([2, 9, 9, 9]),
        may_grant=st.sampled_from([0, 1, 2]),
        data=st.data(),
    )
    def grant(
        self,
        by: str | None,
        owner: str,
        forged: bool,
        at: int,
        grantee: str,
        tag: str | None,
        prefix: str,
        tombstones: bool,
        until: int,
        may_grant: int,
        data: st.DataObject,
    ) -> None:
        fields = {
            "grantee_pkey": bytes(KEYS[grantee].verify_key), "owner_timestamp": at,
            "tables": [tag] if tag else None,
            "keys": f'{{"key": {{"prefix": "{prefix}"}}}}' if prefix else None,
            "tombstones": tombstones, "until": until, "may_grant": may_grant, "upto": None,
        }  # fmt: skip
        self.book.add(
            by,
            owner,
            self.place(data, by, owner),
            forged,
            "grants",
            fields,
            kind="grant",
            grantee=grantee,
            prefix=prefix,
            tables=frozenset([tag]) if tag else None,
            tombstones=tombstones,
            until=until,
            may_grant=may_grant,
        )

    @rule(
        by=st.sampled_from([None, None, "A", "B", "C"]),
        owner=owner,
        forged=forged,
        at=st.integers(1, 5),
        grantee=st.sampled_from("AABC"),
        data=st.data(),
    )
    def revoke(
        self, by: str | None, owner: str, forged: bool, at: int, grantee: str, data: st.DataObject
    ) -> None:
        links = [s.row.link for s in self.sent if (s.row.writer, s.row.owner) == (grantee, owner)]
        upto = data.draw(
            st.lists(st.sampled_from([*links, *links, bytes(32)]), max_size=2, unique=True),
            label="upto",
        )
        fields = {
            "grantee_pkey": bytes(KEYS[grantee].verify_key), "owner_timestamp": at, "tables": None,
            "keys": None, "tombstones": None, "until": None, "may_grant": None, "upto": upto,
        }  # fmt: skip
        self.book.add(
            by,
            owner,
            self.place(data, by, owner),
            forged,
            "grants",
            fields,
            kind="revocation",
            grantee=grantee,
            upto=frozenset(upto),
        )

    @precondition(lambda self: self.sent)
    @rule(
        data=st.data(),
        to=st.integers(0, 1),
        door=st.sampled_from(["apply", "apply", "sql", "feed"]),
    )
    def deliver(self, data: st.DataObject, to: int, door: str) -> None:
        chosen = data.draw(
            st.lists(st.sampled_from(self.sent), min_size=1, max_size=5), label="rows"
        )
        self.replicas[to].deliver(door, chosen)

    def teardown(self) -> None:
        """In the end both get all, one from first to last, the other from last to first."""
        sent = getattr(self, "sent", [])
        if sent:
            for s in sent:
                self.replicas[0].deliver("apply", [s])
            self.replicas[1].deliver("apply", sent[::-1])
            for table in ("grants", "t", "u"):
                assert self.replicas[0].db.digest(table) == self.replicas[1].db.digest(table)
                assert self.replicas[0].db.all("SELECT * FROM rowseal.verify(%s)", table) == []


@pytest.fixture(params=["two tables", "one table"], ids=["two-tables", "one-table"])
def replicas(server: Server, request: pytest.FixtureRequest) -> Iterator[list[Replica]]:
    with replica_on(server, request.param) as one, replica_on(server, request.param) as other:
        yield [one, other]


def test_the_tables_hold_what_the_rules_say(replicas: list[Replica]) -> None:
    machine = type("Machine", (Writing,), {"replicas": replicas})
    run_state_machine_as_test(  # type: ignore[no-untyped-call]
        machine,
        settings=settings(
            max_examples=60,
            stateful_step_count=30,
            deadline=None,
            database=None,
            suppress_health_check=list(HealthCheck),
            report_multiple_bugs=False,
            phases=[Phase.generate],
        ),
    )
