"""m of n hubs: what a write that returns has reached; a reader never goes back.

docs/replication.md
"""

from __future__ import annotations

import threading
import time
import uuid
from collections.abc import Iterator
from typing import Any

import psycopg
import pytest

from kit.db import Db
from kit.example import Owner
from kit.network import Net, SecondServer, Site, network, second_server, until
from rowseal.client import next_timestamp

net = pytest.fixture(network)


@pytest.fixture(scope="module")
def second() -> Iterator[tuple[SecondServer, Net]]:
    with second_server() as both:
        yield both


@pytest.fixture
def hubs(second: tuple[SecondServer, Net], net: Net) -> Iterator[tuple[Site, list[Site]]]:
    """A server whose commits wait for two of three hubs, and the hubs."""
    server, there = second
    origin, hubs = there.site(), [net.site() for _ in range(3)]
    origin.run("SELECT rowseal.publish()")
    for n, hub in enumerate(hubs, 1):
        hub.subscribe(origin, f"hub{n}")
    server.set(synchronous_standby_names="ANY 2 (hub1, hub2, hub3)")
    yield origin, hubs
    server.set(synchronous_standby_names="")
    for n, hub in enumerate(hubs, 1):
        hub.run(f"CALL rowseal.unsubscribe('hub{n}')")


def holders(hubs: list[Site], row: dict[str, Any]) -> int:
    return sum(
        hub.one("SELECT count(*) FROM user_storage WHERE sign_b64 = %s", row["sign_b64"])
        for hub in hubs
    )


def test_a_write_that_returned_is_on_two_of_three_hubs(hubs: tuple[Site, list[Site]]) -> None:
    origin, all_hubs = hubs
    ann = Owner()
    origin.join(ann)
    assert sorted(origin.all("SELECT application_name, sync_state FROM pg_stat_replication")) == [
        (f"hub{n}", "quorum") for n in (1, 2, 3)
    ]
    for _ in range(20):
        assert holders(all_hubs, origin.put(ann)) >= 2
    # one hub is away: nobody notices
    all_hubs[2].run("ALTER SUBSCRIPTION hub3 DISABLE")
    assert holders(all_hubs[:2], origin.put(ann)) == 2
    # two are away: the write waits, and returns when one of them is back
    all_hubs[1].run("ALTER SUBSCRIPTION hub2 DISABLE")
    until(lambda: origin.one("SELECT count(*) FROM pg_stat_replication") == 1)
    session, row = (
        origin.session("app"),
        ann.sealed(origin.form("user_storage"), ann.value(b"waits")),
    )
    write = threading.Thread(target=session.insert, args=("user_storage", row))
    write.start()
    until(lambda: origin.all("SELECT 1 FROM pg_stat_activity WHERE wait_event = 'SyncRep'"))
    write.join(0.3)
    assert write.is_alive()
    all_hubs[1].run("ALTER SUBSCRIPTION hub2 ENABLE")
    write.join(20)
    assert not write.is_alive()
    assert holders(all_hubs[:2], row) == 2
    all_hubs[2].run("ALTER SUBSCRIPTION hub3 ENABLE")
    until(lambda: holders(all_hubs, row) == 3)
    session.connection.close()


def test_a_session_may_choose_not_to_wait(hubs: tuple[Site, list[Site]]) -> None:
    origin, all_hubs = hubs
    ann = Owner()
    origin.join(ann)
    for n, hub in enumerate(all_hubs, 1):
        hub.run(f"ALTER SUBSCRIPTION hub{n} DISABLE")
    session = origin.session("app")
    session.run("SET synchronous_commit = local")
    row = ann.sealed(origin.form("user_storage"), ann.value(b"soon"))
    session.insert("user_storage", row)
    assert holders(all_hubs, row) == 0
    session.connection.close()
    for n, hub in enumerate(all_hubs, 1):
        hub.run(f"ALTER SUBSCRIPTION hub{n} ENABLE")
    until(lambda: holders(all_hubs, row) == 3)


class Reader:
    """Remembers the highest timestamp of each key, and takes no older row from anybody."""

    def __init__(self) -> None:
        self.known: dict[uuid.UUID, int] = {}

    def read(self, hubs: list[Site], key: uuid.UUID) -> bytes | None:
        for hub in hubs:
            found = hub.all(
                "SELECT value_b64, owner_timestamp FROM user_storage WHERE uuid = %s"
                " AND owner_timestamp >= %s",
                key,
                self.known.get(key, 0),
            )
            if found:
                ((value, self.known[key]),) = found
                return value  # type: ignore[no-any-return]
        return None


def test_a_reader_never_sees_older_data_than_it_has_seen(net: Net) -> None:
    """Two of three hubs are written, two of three asked: one of those has the newest row."""
    hubs = [net.site() for _ in range(3)]
    ann, key, form = Owner(), uuid.uuid4(), hubs[0].form("user_storage")
    card = ann.sealed(hubs[0].form("user_cards"), ann.card())
    for hub in hubs:
        hub.insert("user_cards", card)
    old, new = (
        ann.sealed(form, ann.value(v, key, owner_timestamp=t))
        for v, t in ((b"old", 5), (b"new", 9))
    )
    for hub in hubs:
        hub.insert("user_storage", old)
    for hub in hubs[:2]:
        hub.insert("user_storage", new)
    reader, careless = Reader(), hubs[2].one("SELECT value_b64 FROM user_storage")
    assert careless == b"old"
    assert reader.read([hubs[0]], key) == b"new"
    assert reader.read([hubs[2]], key) is None  # it is behind: ask another one
    assert reader.read([hubs[2], hubs[1]], key) == b"new"
    newest = max(hub.one("SELECT owner_timestamp FROM user_storage") for hub in (hubs[1], hubs[2]))
    assert newest == 9


def test_a_device_with_a_slow_clock_still_writes_the_newest_version(
    net: Net, monkeypatch: pytest.MonkeyPatch
) -> None:
    site = net.site()
    ann, key = Owner(), uuid.uuid4()
    site.join(ann)
    site.put(ann, b"by the fast clock", key, owner_timestamp=next_timestamp(0) + 3_600_000_000)
    monkeypatch.setattr(time, "time_ns", lambda: 1_000)  # 1970
    known = site.one("SELECT owner_timestamp FROM user_storage")
    site.put(ann, b"by the slow clock", key, owner_timestamp=next_timestamp(known))
    assert site.values() == [b"by the slow clock"]
    assert next_timestamp(known) == known + 1
    assert next_timestamp(0) < known


def test_a_hub_confirms_what_it_has_received_not_what_it_accepts(
    hubs: tuple[Site, list[Site]],
) -> None:
    """The wait is about transport: a row of an unknown owner counts, in the quarantine."""
    origin, all_hubs = hubs
    stranger = Owner()
    origin.run("ALTER TABLE rowseal.feed DISABLE TRIGGER arrive")
    envelope = stranger.envelope(origin.form("user_storage"), stranger.value())
    Db.run(
        origin,
        "INSERT INTO rowseal.feed (tag, owner, envelope) VALUES ('user_storage', '', %s)",
        psycopg.types.json.Json(envelope),
    )
    assert sum(hub.quarantined() == ["RS002"] for hub in all_hubs) >= 2
