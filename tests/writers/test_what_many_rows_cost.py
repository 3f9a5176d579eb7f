"""Four times the rows cost some four times as much, however a writer has numbered them."""

from __future__ import annotations

from base64 import b64decode
from collections.abc import Callable
from typing import Any

import psycopg
import pytest
from psycopg.types.json import Json, Jsonb

from kit.example import Owner
from kit.process import cpu
from kit.writers import Replica, Writer, card, grant, link_of, revocation
from rowseal.client import SigningKey

FEW, MANY = 100, 400


class Device:
    """A writer of Ann's, whom she has let in."""

    def __init__(self, replica: Replica, **granted: Any):
        replica.reset()
        self.replica, self.db = replica, replica.db
        self.ann = Writer(Owner("Ann"))
        self.grants, self.t = (self.db.form(table) for table in ("grants", "t"))
        card(self.db, self.ann.owner)
        self.device = self.stranger()
        self.by_ann(grant(self.device, **granted))

    def stranger(self) -> Writer:
        return Writer(self.ann.owner, SigningKey.generate())

    def by_ann(self, row: dict[str, Any]) -> None:
        (outcome,) = self.receive([self.ann.envelope(self.grants, row)])
        assert outcome in ("inserted", "superseded")

    def chain(self, rows: int, key: str = "k") -> list[dict[str, Any]]:
        return [
            self.device.envelope(self.t, {"key": f"{key}{n}", "owner_timestamp": 1})
            for n in range(rows)
        ]

    def forks(self, rows: int) -> tuple[list[dict[str, Any]], list[bytes]]:
        """Rows that all follow the last one, and their links."""
        place = {"number": self.device.number + 1, "previous": self.device.last}
        envelopes = [
            self.device.envelope(self.t, {"key": "k0", "owner_timestamp": 2, "value": n}, **place)
            for n in range(rows)
        ]
        links = [
            link_of(
                {
                    "writer_seq": place["number"],
                    "writer_prev": place["previous"],
                    "sign_b64": b64decode(e["sign_b64"]),
                }
            )
            for e in envelopes
        ]
        return envelopes, links

    def receive(self, envelopes: list[dict[str, Any]]) -> list[str]:
        return self.db.all("SELECT outcome FROM rowseal.receive(%s)", Json(envelopes))

    def cost(self, do: Callable[[], object]) -> float:
        pid = self.replica.connection.info.backend_pid
        before = cpu(pid)
        do()
        return cpu(pid) - before


def held_again(replica: Replica, rows: int) -> float:
    """Rows outside of a grant, below a frontier, come once more."""
    d = Device(replica, keys='{"key": "x"}')
    envelopes = d.chain(rows)
    assert set(d.receive(envelopes)) == {"deferred"}
    assert d.device.last is not None
    d.by_ann(revocation(d.device, [d.device.last], at=2))
    return d.cost(lambda: d.receive(envelopes))


def forks_one_by_one(replica: Replica, rows: int) -> float:
    """A revocation names many ends of a chain that lies outside of a grant; then they arrive."""
    d = Device(replica, keys='{"key": "x"}')
    d.receive(d.chain(rows))
    forks, links = d.forks(rows)
    d.by_ann(revocation(d.device, links, at=2))
    return d.cost(lambda: d.receive(forks))


def revoke_forks(replica: Replica, rows: int) -> float:
    d = Device(replica)
    d.receive(d.chain(rows))
    d.receive(d.forks(rows)[0])
    owner = Jsonb({"user_hash": "\\x" + d.ann.owner.hash.hex()})
    ends: list[Any] = []

    def revoke() -> None:
        ends[:] = d.db.one(
            "SELECT upto FROM rowseal.revoke('grants', %s, %s, 9)", owner, d.device.public_key
        )

    cost = d.cost(revoke)
    assert len(ends) == rows
    return cost


def revoked_forks(replica: Replica, rows: int) -> float:
    """A revocation that names many ends of a chain is carried out."""
    d = Device(replica)
    d.receive(d.chain(rows))
    forks, links = d.forks(rows)
    d.receive(forks)
    return d.cost(lambda: d.by_ann(revocation(d.device, links, at=2)))


def grants_of_a_manager(replica: Replica, rows: int) -> float:
    d = Device(replica, may_grant=1)
    grants = [d.device.envelope(d.grants, grant(d.stranger())) for _ in range(rows)]
    return d.cost(lambda: d.receive(grants))


def revocations_of_one(replica: Replica, rows: int) -> float:
    """So many revocations of one device that has written thirty rows; all of these stand."""
    d = Device(replica)
    d.receive(d.chain(30))
    assert d.device.last is not None
    head = d.device.last
    envelopes = [d.ann.envelope(d.grants, revocation(d.device, [head], at=n)) for n in range(rows)]
    return d.cost(lambda: d.receive(envelopes))


def beyond_those_that_count(replica: Replica, keys: int) -> float:
    """One more grant to a manager who has 64 chains already, and has let in so many others."""
    d = Device(replica, may_grant=1)
    crowd = sorted(
        (d.ann.envelope(d.grants, grant(d.device, at=n, may_grant=1)) for n in range(2, 67)),
        key=lambda envelope: b64decode(envelope["sign_b64"]),
    )
    d.receive(crowd[:-1])
    d.receive([d.device.envelope(d.grants, grant(d.stranger())) for _ in range(keys)])
    return d.cost(lambda: d.receive(crowd[-1:]))


@pytest.mark.parametrize(
    "what",
    [
        held_again,
        forks_one_by_one,
        revoke_forks,
        revoked_forks,
        grants_of_a_manager,
        revocations_of_one,
    ],
)
def test_four_times_the_rows_cost_some_four_times_as_much(
    replica: Replica, what: Callable[[Replica, int], float]
) -> None:
    what(replica, 2)  # what every session loads
    few, many = (min(what(replica, n) for _ in range(2)) for n in (FEW, MANY))
    assert many < 8 * few + 0.05, f"{FEW}: {few:.2f} s, {MANY}: {many:.2f} s"


@pytest.mark.parametrize("what", [forks_one_by_one, revoked_forks])
def test_also_where_statistics_say_that_tables_are_empty(
    replica: Replica, what: Callable[[Replica, int], float]
) -> None:
    """As they do when much has left, and more comes at once: then each join is as good as any."""
    info = replica.connection.info
    few = min(what(replica, FEW) for _ in range(2))
    what(replica, MANY)
    replica.reset()
    with psycopg.connect(
        host=info.host, port=info.port, user=info.user, dbname=info.dbname, autocommit=True
    ) as connection:
        connection.execute("VACUUM (TRUNCATE false, ANALYZE)")
        what(replica, 2)
        connection.execute("ANALYZE")
    many = min(what(replica, MANY) for _ in range(2))
    assert many < 8 * few + 0.05, f"{FEW}: {few:.2f} s, {MANY}: {many:.2f} s"


def test_what_is_held_is_not_verified_again_by_every_grant(replica: Replica) -> None:
    d = Device(replica, until=1)
    late = [d.device.envelope(d.t, {"key": f"k{n}", "owner_timestamp": 2}) for n in range(MANY)]
    once = d.cost(lambda: d.receive(late))
    grants = [
        d.ann.envelope(d.grants, grant(d.device, at=n, until=1, keys='{"key": "x"}'))
        for n in range(2, 12)
    ]
    ten = d.cost(lambda: d.receive(grants))
    assert ten < 2 * once, f"held: {once:.2f} s, ten grants beside them: {ten:.2f} s"
    d.by_ann(grant(d.device, at=20, until=2))
    assert d.db.one("SELECT count(*) FROM t") == MANY


def test_below_a_key_whose_licences_stay_nothing_is_derived(replica: Replica) -> None:
    beyond_those_that_count(replica, 2)
    few, many = (min(beyond_those_that_count(replica, n) for _ in range(2)) for n in (5, 100))
    assert many < 2 * few + 0.03, f"5 keys: {few:.3f} s, 100: {many:.3f} s"
