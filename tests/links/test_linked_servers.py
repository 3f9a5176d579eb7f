"""Links: servers that follow each other's feed end in the same state,
whoever writes where, whatever a peer sends.
"""

from __future__ import annotations

import contextlib
import random
import re
import threading
import time
import uuid
from base64 import b64encode
from collections.abc import Iterator
from typing import Any

import psycopg
import pytest
from psycopg.types.json import Json, Jsonb

from kit import ROOT
from kit.db import Db
from kit.example import EXAMPLE, Owner
from kit.network import Net, SecondServer, Site, link, network, second_server, sign_of, until
from kit.process import most_memory
from kit.scratch import CARD, card, write

net = pytest.fixture(network)


@pytest.fixture(scope="module")
def second() -> Iterator[tuple[SecondServer, Net]]:
    with second_server() as both:
        yield both


def state(site: Site, name: str) -> Any:
    return site.one("SELECT state FROM rowseal.links WHERE name = %s", name)


def same(*sites: Site) -> None:
    """All sites hold the same rows, in the end."""
    until(lambda: len({site.digests() for site in sites}) == 1, "equal digests")


def awaited(session: Db) -> bool:
    """Whether somebody waits for this session's transaction: one who makes a slot, say."""
    xid = session.one("SELECT pg_current_xact_id()::xid::text")
    waiting = "SELECT 1 FROM pg_locks WHERE locktype = 'transactionid' AND NOT granted"
    return bool(session.all(f"{waiting} AND transactionid::text = %s", xid))


# ------------------------------------------------------------------------------------- up and down
def test_a_new_server_takes_the_present_state_then_follows(net: Net) -> None:
    a, b = net.site(), net.site()
    ann, key = Owner(), uuid.uuid4()
    a.join(ann)
    for value in (b"1", b"2", b"3"):
        a.put(ann, value, key)
    a.run("SELECT rowseal.prune_feed('0')")  # the state comes from the tables, not from the feed
    a.run("SELECT rowseal.publish()")
    outcomes = b.subscribe(a)
    assert {tag: sum(rows.values()) for tag, rows in outcomes.items()} == {
        "user_cards": 1,
        "user_storage": 3,
    }
    assert set().union(*outcomes.values()) <= {"inserted", "superseded", "archived"}
    assert b.digests() == a.digests()
    a.put(ann, b"4", key)
    same(a, b)
    assert b.one(
        "SELECT subscription, role FROM rowseal.feed WHERE envelope -> 'row' ->> 'value_b64' = %s",
        b64encode(b"4").decode(),
    ) == (link(b, a), "postgres")
    (there,) = a.all("SELECT direction, name, active, state, quarantined FROM rowseal.links")
    assert there == ("from here", link(b, a), True, "following", None)
    (here,) = b.all("SELECT direction, name, active, state, errors, quarantined FROM rowseal.links")
    assert here == ("to here", link(b, a), True, "following", 0, 0)
    b.run("CALL rowseal.unsubscribe(%s)", link(b, a))
    assert a.all("SELECT * FROM rowseal.links") == b.all("SELECT * FROM rowseal.links") == []
    assert a.all("SELECT 1 FROM pg_replication_slots WHERE slot_name = %s", link(b, a)) == []
    a.put(ann, b"5", key)
    b.subscribe(a)  # again, with what happened meanwhile
    same(a, b)


def test_no_gap_while_writers_keep_writing_during_subscribe(net: Net) -> None:
    a, b = net.site(), net.site()
    ann = Owner()
    a.join(ann)
    a.run("SELECT rowseal.publish()")
    stop = threading.Event()

    def keep_writing() -> None:
        with a.session("app").connection as connection:
            session, form = Db(connection), a_form
            keys = [uuid.uuid4() for _ in range(3)]
            n = 0
            while not stop.is_set():
                session.run("BEGIN")
                for _ in range(2):
                    session.insert(
                        "user_storage", ann.sealed(form, ann.value(b"%d" % n, keys[n % 3]))
                    )
                    n += 1
                session.run("COMMIT")

    a_form = a.form("user_storage")
    writers = [threading.Thread(target=keep_writing) for _ in range(3)]
    for writer in writers:
        writer.start()
    try:
        time.sleep(0.3)
        b.subscribe(a)
        time.sleep(0.3)
    finally:
        stop.set()
        for writer in writers:
            writer.join()
    same(a, b)
    assert b.one("SELECT count(*) FROM user_storage_versions") > 20


def test_no_gap_when_commits_wait_for_a_standby_during_subscribe(
    second: tuple[SecondServer, Net], net: Net
) -> None:
    """A commit that waits for a standby is in the WAL, but no snapshot shows it yet."""
    server, there = second
    a, b = there.site(), net.site()
    ann, form = Owner(), a.form("user_storage")
    a.join(ann)
    a.run("SELECT rowseal.publish()")
    server.set(synchronous_commit="local", synchronous_standby_names="nobody")
    first, between, waiting = a.session(), a.session(), a.session()
    waiting.run("SET synchronous_commit = on")

    try:
        for session in (first, between):
            session.run("BEGIN")
        first.run("SELECT pg_current_xact_id()")
        subscriber = threading.Thread(target=b.subscribe, args=(a,))
        subscriber.start()
        until(lambda: awaited(first))
        between.run("SELECT pg_current_xact_id()")
        first.run("COMMIT")
        until(lambda: awaited(between))
        commit = threading.Thread(
            target=waiting.insert, args=("user_storage", ann.sealed(form, ann.value(b"late")))
        )
        commit.start()
        until(lambda: a.all("SELECT 1 FROM pg_stat_activity WHERE wait_event = 'SyncRep'"))
        between.run("COMMIT")
        # until the slot is there; whoever takes the state must wait for the commit
        subscriber.join(2)
        server.set(synchronous_standby_names="")
        commit.join()
        subscriber.join()
    finally:
        server.set(synchronous_standby_names="", synchronous_commit="on")
        for session in (first, between, waiting):
            session.connection.close()
    a.put(ann, b"later")
    until(lambda: b"later" in b.values())
    assert b.values() == a.values() == [b"late", b"later"]


def test_publish_filters_by_tag_and_owner_and_sends_three_columns(net: Net) -> None:
    a, cards, anns = net.site(), net.site(), net.site()
    ann, bob = Owner("Ann"), Owner("Bob")
    a.join(ann, bob)
    a.put(ann, b"a1")
    a.put(bob, b"b1")
    a.run("SELECT rowseal.publish('cards', tags => '{user_cards}')")
    a.run(
        "SELECT rowseal.publish('edge', tags => '{user_cards,user_storage}', owners => %s)",
        [b64encode(ann.hash).decode()],
    )
    cards.subscribe(a, publication="cards")
    anns.subscribe(a, publication="edge")
    assert anns.values() == [b"a1"]  # the first state is filtered, too
    carol = Owner("Carol")
    a.join(carol)
    a.put(bob, b"b2")
    a.put(ann, b"a2")
    until(lambda: len(cards.all("SELECT 1 FROM user_cards")) == 3 and len(anns.values()) == 2)
    assert (cards.values(), anns.values()) == ([], [b"a1", b"a2"])
    assert anns.all("SELECT name FROM user_cards") == ["Ann"]
    digests = {
        site.one(
            "SELECT rowseal.digest('user_storage', %s)",
            Jsonb({"user_hash": b64encode(ann.hash).decode()}),
        )
        for site in (a, anns)
    }
    assert len(digests) == 1
    assert (
        a.all("SELECT attnames::text[] FROM pg_publication_tables")
        == [["tag", "owner", "envelope"]] * 2
    )
    assert a.all(
        "SELECT DISTINCT (pubinsert, pubupdate, pubdelete, pubtruncate)::text FROM pg_publication"
    ) == ["(t,f,f,f)"]


def test_an_empty_list_does_not_publish_everything(net: Net) -> None:
    a = net.site()
    for lists in ("owners => '{}'", "tags => '{}'", "owners => '{NULL}'", "tags => '{x,NULL}'"):
        assert a.refused("22023", f"SELECT rowseal.publish('edge', {lists})").message_hint
    assert a.all("SELECT pubname FROM pg_publication") == []


def test_a_chain_carries_rows_to_its_end_and_back(net: Net) -> None:
    a, b, c = (net.site() for _ in "abc")
    for site in (a, b, c):
        site.run("SELECT rowseal.publish()")
    for here, there in ((b, a), (c, b), (b, c), (a, b)):
        here.subscribe(there)
    ann, key = Owner(), uuid.uuid4()
    a.join(ann)
    until(lambda: c.all("SELECT 1 FROM user_cards"))
    for n, site in enumerate((a, b, c, c, b, a)):
        site.put(ann, b"%d" % n * 5000, key if n % 2 else None)
    c.put(ann, None, key, deleted_flag=True)
    until(lambda: len({s.digests() for s in (a, b, c)}) == 1 and len(a.values()) == 4)
    assert all(s.all("SELECT * FROM rowseal.verify('user_storage')") == [] for s in (a, b, c))
    assert (
        len(
            {
                tuple(s.all("SELECT envelope ->> 'sign_b64' FROM rowseal.feed ORDER BY 1"))
                for s in (a, b, c)
            }
        )
        == 1
    )
    still(a)


def still(site: Site) -> None:
    """No WAL is written any more (but for what the server itself writes every 15 s)."""

    def quiet() -> bool:
        before = site.wal()
        time.sleep(0.5)
        return site.wal() - before <= 200

    until(quiet, "WAL still")


def test_two_servers_that_follow_each_other_come_to_rest(net: Net) -> None:
    a, b = net.pair()
    b.run("SELECT rowseal.publish()")
    a.subscribe(b)
    ann, key = Owner(), uuid.uuid4()
    a.join(ann)
    a.put(ann, b"0", key)
    until(lambda: b.values() == [b"0"])
    for n in range(10):  # both write the same key at once
        a.put(ann, b"a%d" % n, key)
        b.put(ann, b"b%d" % n, key)
    until(lambda: a.one("SELECT count(*) FROM user_storage_versions") == 20)
    same(a, b)
    still(a)
    assert [s.one("SELECT count(*) FROM rowseal.feed") for s in (a, b)] == [22, 22]
    assert [s.quarantined() for s in (a, b)] == [[], []]


# --------------------------------------------------------------------------------- malicious peers
def unguarded(site: Site) -> None:
    """The peer's administrator takes rowseal's checks off."""
    site.run("ALTER TABLE rowseal.feed DISABLE TRIGGER arrive")


def send(site: Site, *envelopes: Any, tag: str = "user_storage") -> None:
    with site.connection.transaction():
        for envelope in envelopes:
            site.run(
                "INSERT INTO rowseal.feed (tag, owner, envelope) VALUES (%s, '', %s)",
                tag,
                Json(envelope),
            )


def test_forged_rows_of_a_peer_go_to_the_quarantine_and_the_stream_goes_on(net: Net) -> None:
    a, b = net.pair()
    ann, mallory, form = Owner("Ann"), Owner("Mallory"), a.form("user_storage")
    a.join(ann)
    unguarded(a)
    good = [ann.envelope(form, ann.value(v)) for v in (b"1", b"2", b"3")]
    altered = {**good[1], "row": {**good[1]["row"], "value_b64": "eA=="}}
    redated = {**good[1], "row": {**good[1]["row"], "owner_timestamp": "9999999999"}}
    foreign = mallory.envelope(form, {**mallory.value(), "user_hash": ann.hash})
    replayed = {**good[1], "table": "user_cards"}
    nonsense: list[Any] = [
        "text", 7, None, [], {}, {"row": 1}, {"row": {}},
        {**good[1], "row": {**good[1]["row"], "uuid": "no uuid"}}, {**good[1], "sign_b64": 5},
        {**good[1], "sign_b64": "*"}, {**good[1], "rowseal": 2}, [[[]]],
    ]  # fmt: skip
    # one transaction: nothing of it may be skipped
    send(a, good[0], altered, redated, foreign, replayed, *nonsense, good[1])
    send(a, good[2], tag="user_storage")
    send(a, replayed, tag="user_cards")
    send(a, homeless := {**good[0], "table": "no such table"}, tag="no such table")
    until(lambda: b.values() == [b"1", b"2", b"3"])
    until(
        lambda: b.all(
            "SELECT 1 FROM rowseal.quarantine"
            " WHERE sqlstate = 'RS007' AND row::jsonb = %s::json::jsonb",
            Json(homeless),
        )
    )
    forged = b.all(
        "SELECT sqlstate FROM rowseal.quarantine WHERE row::jsonb IN (%s, %s, %s, %s)",
        *map(Jsonb, (altered, redated, foreign, replayed)),
    )
    assert len(forged) >= 4 and set(forged) == {"RS001", "RS003"}
    assert (
        b.one("SELECT count(*) FROM rowseal.quarantine WHERE subscription = %s", link(b, a))
        == len(b.quarantined())
        >= 14
    )
    assert b.one("SELECT quarantined FROM rowseal.links") == len(b.quarantined())
    assert b.one("SELECT errors FROM rowseal.links") == 0
    assert b.one("SELECT count(*) FROM rowseal.feed WHERE tag = 'user_storage'") == 3
    assert b.all("SELECT * FROM rowseal.verify('user_storage')") == []


def test_rows_that_raise_stop_no_link_and_none_takes_a_transaction_id(
    net: Net,
) -> None:
    a, b = net.pair()
    ann, form = Owner("Ann"), a.form("user_storage")
    a.join(ann)
    unguarded(a)
    until(lambda: b.one("SELECT count(*) FROM user_cards") == 1)
    good = [ann.envelope(form, ann.value(b"%d" % n)) for n in range(303)]
    next_xid = "SELECT pg_snapshot_xmax(pg_current_snapshot())::text::bigint"
    before = b.one(next_xid)
    send(a, *good[:300])
    until(lambda: len(b.values()) == 300)
    assert b.one(next_xid) - before < 30  # both sites are databases of one server
    b.session("app").run(
        "CREATE FUNCTION short() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN"
        " ASSERT octet_length(NEW.value_b64) < 9, 'too long'; RETURN NEW; END $$;"
        " CREATE TRIGGER a BEFORE INSERT ON user_storage FOR EACH ROW EXECUTE FUNCTION short();"
        " ALTER TABLE user_storage ENABLE ALWAYS TRIGGER a"
    )
    raising = [
        {**g, "row": {**g["row"], "owner_timestamp": t}}
        for g in good[:3]
        for t in ("9" * 40, "soon", {"at": 1})
    ]
    for n in range(3):  # a transaction each
        long = ann.envelope(form, ann.value(b"%d" % n * 9))
        send(a, *raising[3 * n : 3 * n + 3], long, good[300 + n])
    until(lambda: len(b.values()) == 303)
    assert b.one("SELECT errors FROM rowseal.links") == 0
    assert b.quarantined().count("P0004") == 3
    assert len(b.quarantined()) == 12 and not any(s.startswith("RS") for s in b.quarantined())


def test_a_flood_of_unknown_owners_costs_little_and_pushes_nobody_out(net: Net) -> None:
    """In one transaction, more than the quarantine keeps;
    rows of honest owners that wait there since before stay, though theirs are larger.
    """
    a, b = net.pair()
    b.run("UPDATE rowseal.quarantine_limits SET rows = 200")
    honest, ann, form = [Owner(str(n)) for n in range(20)], Owner(), a.form("user_storage")
    a.join(ann)
    until(lambda: b.all("SELECT 1 FROM user_cards"))
    unguarded(a)
    send(a, *(owner.envelope(form, owner.value(b"x" * 2000)) for owner in honest))
    until(lambda: len(b.quarantined()) == 20)
    entered = b.one("SELECT last_value FROM rowseal.quarantine_id_seq")
    template = Json(honest[0].envelope(form, honest[0].value(b"x")))
    a.run(
        "INSERT INTO rowseal.feed (tag, owner, envelope) SELECT 'user_storage', '',"
        " replace(%s::text, %s, encode(sha256(n::text::bytea), 'base64'))::json"
        " FROM generate_series(1, 3000) n",
        template,
        b64encode(honest[0].hash).decode(),
    )
    send(a, ann.envelope(form, ann.value(b"good")))
    until(lambda: b.values() == [b"good"])
    assert b.one("SELECT last_value FROM rowseal.quarantine_id_seq") - entered <= 700
    (dropped,) = b.all("SELECT rows FROM rowseal.quarantine_dropped WHERE subscription <> ''")
    assert 2000 <= dropped <= 3000  # whole batches
    cards = a.form("user_cards")
    send(a, *(owner.envelope(cards, owner.card()) for owner in honest), tag="user_cards")
    until(lambda: len(b.values()) == 21)


def test_large_rows_come_with_the_owner_before_them(net: Net) -> None:
    """They are merged at once, and what came before them with them: they wait for nobody."""
    a, b = net.pair()
    b.run("UPDATE rowseal.quarantine_limits SET bytes = 1024 * 1024")
    cards, form, app = a.form("user_cards"), a.form("user_storage"), a.session("app")
    for sizes in ([1_500_000] * 3, [10, 1_500_000, 10, 3_000_000]):
        ann = Owner()
        with app.connection.transaction():
            app.insert("user_cards", ann.sealed(cards, ann.card()))
            for size in sizes:
                app.insert("user_storage", ann.sealed(form, ann.value(b"x" * size)))
    until(lambda: len(b.values()) == 7)
    assert b.quarantined() == [] and b.one("SELECT count(*) FROM rowseal.quarantine_dropped") == 0
    same(a, b)


def test_what_a_peer_sends_in_place_of_an_envelope_stops_nothing(net: Net) -> None:
    """NULL, which the feed cannot have; and what is too long, in its columns or as an envelope."""
    a, b = net.pair()
    ann, form = Owner("Ann"), a.form("user_storage")
    a.join(ann)
    unguarded(a)
    for column in ("tag", "owner", "envelope"):
        a.run(f"ALTER TABLE rowseal.feed ALTER {column} DROP NOT NULL")
    a.run(
        "INSERT INTO rowseal.feed (tag, owner, envelope) VALUES (NULL, NULL, NULL), ('x','x',NULL)"
    )
    send(a, ann.envelope(form, ann.value(b"1")))
    until(lambda: b.values() == [b"1"])
    (pid,) = b.all("SELECT pid FROM pg_stat_subscription WHERE subname = %s", link(b, a))
    before = most_memory(pid)
    a.run(
        "INSERT INTO rowseal.feed (tag, owner, envelope)"
        " SELECT 'x', repeat('a', 10000000), '{}' FROM generate_series(1, 20)"
    )
    send(a, ann.envelope(form, ann.value(b"2")))
    until(lambda: len(b.values()) == 2)
    assert most_memory(pid) - before < 150e6
    for member in ('{"row": {"value_b64": ', '{"table": '):
        a.run(
            "INSERT INTO rowseal.feed (tag, owner, envelope)"
            f" SELECT 'x', 'somebody', ('{member}\"' || repeat('a', 68000000) || '\"'"
            " || repeat('}', %s))::json",
            member.count("{"),
        )
    send(a, ann.envelope(form, ann.value(b"3")))
    until(lambda: len(b.values()) == 3)
    assert most_memory(pid) - before < 9 * 68e6
    assert b.all(
        "SELECT sqlstate, reason, format, owner, row ->> 'bytes', octet_length(row ->> 'head'),"
        " bytes < 3000 FROM rowseal.quarantine WHERE sqlstate <> 'RS001' ORDER BY id"
    ) == [
        ("RS006", "a row of more than 64 MiB", "raw", "somebody", str(68000000 + n), 1000, True)
        for n in (26, 13)
    ]
    assert b.one("SELECT errors FROM rowseal.links") == 0
    (again,) = b.all("SELECT pid FROM pg_stat_subscription WHERE subname = %s", link(b, a))
    assert pid == again


def test_a_peer_cannot_change_or_empty_our_feed(net: Net) -> None:
    a, b = net.pair()
    ann = Owner()
    a.join(ann)
    a.put(ann)
    until(lambda: len(b.all("SELECT 1 FROM rowseal.feed")) == 2)
    feed = b.all("SELECT position, tag, owner, envelope FROM rowseal.feed ORDER BY position")
    keys = b.all("SELECT xid::text, position FROM rowseal.feed ORDER BY position")
    unguarded(a)  # and publishes more than it should
    a.run("ALTER PUBLICATION rowseal SET TABLE rowseal.feed")
    a.run("ALTER PUBLICATION rowseal SET (publish = 'insert, update, delete, truncate')")
    a.run("ALTER TABLE rowseal.feed DISABLE TRIGGER USER")
    a.run("DELETE FROM rowseal.feed")
    for xid, position in keys:
        a.run(
            "INSERT INTO rowseal.feed (xid, position, tag, owner,"
            " envelope) OVERRIDING SYSTEM VALUE VALUES (%s::text::xid8, %s, 'user_storage', '',"
            " '{}')",
            xid,
            position,
        )
    a.run("UPDATE rowseal.feed SET envelope = '\"forged\"' WHERE position = %s", keys[0][1])
    a.run("DELETE FROM rowseal.feed WHERE position = %s", keys[1][1])
    marker = ann.envelope(a.form("user_storage"), ann.value(b"marker"))
    send(a, marker)
    with contextlib.suppress(AssertionError):
        until(lambda: b"marker" in b.values(), patience=3)
    assert (
        b.all(
            "SELECT position, tag, owner, envelope FROM rowseal.feed"
            " WHERE envelope ->> 'sign_b64' <> %s ORDER BY position",
            sign_of(marker),
        )
        == feed
    )
    a.run("TRUNCATE rowseal.feed")
    time.sleep(1)
    assert b.one("SELECT count(*) FROM rowseal.feed") >= 2


@pytest.mark.parametrize(
    "listed", ["ADD TABLE accounts", "ADD TABLE rowseal.quarantine_limits", "ADD TABLE user_cards"]
)
def test_a_publication_that_lists_more_than_the_feed_is_refused_as_rs018(
    listed: str, net: Net
) -> None:
    """A subscription takes what the publication lists: ours must take the feed alone."""
    a, b = net.site(), net.site()
    for site in (a, b):
        site.run("CREATE TABLE accounts (id integer PRIMARY KEY, balance integer)")
    a.run("SELECT rowseal.publish()")
    a.run(f"ALTER PUBLICATION rowseal {listed}")
    a.run("INSERT INTO accounts VALUES (1, 1000000)")
    ann = Owner()
    a.join(ann)
    diag = b.refused("RS018", "CALL rowseal.subscribe(%s, %s)", link(b, a), a.conninfo)
    assert (
        re.fullmatch(
            "publication rowseal lists [a-z_.]+ besides the feed", diag.message_primary or ""
        )
        and diag.message_hint
    )
    assert b.all("SELECT 1 FROM pg_subscription WHERE subname = %s", link(b, a)) == slots(a) == []
    assert b.all("SELECT * FROM accounts") == b.all("SELECT * FROM user_cards") == []
    a.run(f"ALTER PUBLICATION rowseal {listed.replace('ADD', 'DROP')}")  # as the hint says
    b.subscribe(a)
    same(a, b)
    assert b.all("SELECT * FROM accounts") == []


# -------------------------------------------------------------------------- deferred, broken, lost
def test_what_a_receiver_cannot_store_yet_waits_for_the_event_that_cures_it(net: Net) -> None:
    a, b = net.pair()
    ann, bob = Owner("Ann"), Owner("Bob")
    app = a.session("app")
    app.run(f"CREATE TABLE news (id bytea PRIMARY KEY, {CARD})")
    app.run("SELECT rowseal.declare('news', owner => 'id', public_key => 'k', feed => true)")
    a.join(ann)
    late = write(app, ann, "news", card(ann))
    for column in (
        "ALTER TABLE user_storage_versions ADD COLUMN note text",
        "ALTER TABLE user_storage ADD COLUMN note text",
    ):
        app.run(column)
    noted = a.put(ann, b"noted", note="a word")
    unguarded(a)
    orphan = bob.envelope(b.form("user_storage"), bob.value(b"orphan"))
    send(a, orphan)
    until(lambda: sorted(b.quarantined()) == ["RS002", "RS007", "RS015"])
    assert b.one("SELECT bool_and(curable) FROM rowseal.quarantine")
    # the table is declared, the column added, the owner arrives: by their own ordinary means
    here = b.session("app")
    here.run(f"CREATE TABLE news (id bytea PRIMARY KEY, {CARD})")
    here.run("SELECT rowseal.declare('news', owner => 'id', public_key => 'k', feed => true)")
    assert here.all("SELECT sign_b64 FROM news") == [late["sign_b64"]]
    here.run("ALTER TABLE user_storage_versions ADD COLUMN note text")
    here.run("ALTER TABLE user_storage ADD COLUMN note text")
    assert here.all("SELECT note, sign_b64 FROM user_storage") == [("a word", noted["sign_b64"])]
    a.run("ALTER TABLE rowseal.feed ENABLE ALWAYS TRIGGER arrive")
    a.join(bob)
    until(lambda: b.values() == [b"noted", b"orphan"] or b.values() == [b"orphan", b"noted"])
    until(lambda: b.quarantined() == [])
    for session in (app, here):
        session.connection.close()


@pytest.mark.parametrize("cure", ["trust", "the owner's retry"])
def test_a_table_whose_owner_is_not_trusted_waits_as_rs017(cure: str, net: Net) -> None:
    """Its triggers would run as the superuser who owns the subscription."""
    a, b = net.pair()
    news = (
        f"CREATE TABLE news (id bytea PRIMARY KEY, {CARD});"
        " SELECT rowseal.declare('news', owner => 'id', public_key => 'k', feed => true)"
    )
    there, here, ann = a.session("app"), b.session("mallory"), Owner()
    there.run(news)
    here.run(news)
    here.run("""CREATE FUNCTION who() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN INSERT INTO public.ran VALUES (current_user); RETURN NEW; END $$;
        CREATE TABLE ran (by text);
        CREATE TRIGGER who BEFORE INSERT ON news FOR EACH ROW EXECUTE FUNCTION who();
        ALTER TABLE news ENABLE ALWAYS TRIGGER who""")
    row = write(there, ann, "news", card(ann))
    a.join(ann)  # what comes behind goes on
    until(lambda: b.all("SELECT user_hash FROM user_cards") == [ann.hash])
    assert b.all("SELECT sqlstate, reason, curable, subscription FROM rowseal.quarantine") == [
        (
            "RS017",
            "a write to the table runs code of mallory, whom the current user does not trust",
            True,
            link(b, a),
        )
    ]
    assert b.all("SELECT * FROM rowseal.retry()") == b.all("SELECT * FROM ran") == []
    if cure == "trust":
        b.run("GRANT rowseal_trusted TO mallory")
        try:
            assert b.all("SELECT outcome FROM rowseal.retry()") == ["inserted"]
        finally:
            b.run("REVOKE rowseal_trusted FROM mallory")
    else:
        assert here.all("SELECT outcome FROM rowseal.retry()") == ["inserted"]
    assert b.all("SELECT * FROM ran") == ["postgres" if cure == "trust" else "mallory"]
    assert (b.all("SELECT sign_b64 FROM news"), b.quarantined()) == ([row["sign_b64"]], [])
    for session in (there, here):
        session.connection.close()


def test_a_broken_table_at_the_receiver_does_not_stop_the_others(net: Net) -> None:
    a, b = net.pair()
    ann, bob, key = Owner("Ann"), Owner("Bob"), uuid.uuid4()
    a.join(ann)
    a.put(ann, b"1", key)
    until(lambda: b.values() == [b"1"])
    b.run("ALTER TABLE user_storage DISABLE TRIGGER zzz_rowseal_guard")
    for trigger in ("rowseal_drop", "rowseal_drop_refuse"):
        b.run(f"ALTER EVENT TRIGGER {trigger} DISABLE")
    b.run("DROP TABLE user_storage_versions")
    for trigger in ("rowseal_drop", "rowseal_drop_refuse"):
        b.run(f"ALTER EVENT TRIGGER {trigger} ENABLE ALWAYS")
    b.run("ALTER TABLE user_storage ENABLE ALWAYS TRIGGER zzz_rowseal_guard")
    lost = a.put(ann, b"2", key)
    a.join(bob)
    until(lambda: len(b.all("SELECT 1 FROM user_cards")) == 2)
    assert b.values() == [b"1"]
    (entry,) = b.all("SELECT id, row ->> 'sign_b64' FROM rowseal.quarantine")
    assert entry[1] == sign_of(lost)
    assert [
        ok
        for ok in b.all("SELECT ok FROM rowseal.health() WHERE relation = 'user_storage'::regclass")
        if not ok
    ]
    # mended, and tried again
    b.run("SELECT rowseal.undeclare('user_storage')")
    b.run("ALTER TABLE user_storage OWNER TO postgres")
    b.run(
        "SELECT rowseal.declare('user_storage', owner => 'user_hash', identity => 'user_cards',"
        " versions => 'user_storage_versions', feed => true)"
    )
    b.run("SELECT * FROM rowseal.retry(%s)", [entry[0]])
    assert (b.values(), b.quarantined()) == ([b"2"], [])
    same(a, b)


def test_a_link_whose_wal_was_lost_says_so_and_can_start_again(
    second: tuple[SecondServer, Net], net: Net
) -> None:
    server, there = second
    a, b = there.site(), net.site()
    ann, name = Owner(), link(b, a)
    a.join(ann)
    a.run("SELECT rowseal.publish()")
    b.subscribe(a)
    b.run(f"ALTER SUBSCRIPTION {name} DISABLE")
    until(lambda: state(a, name) == "nobody is connected")
    assert state(b, name) == "disabled"
    a.put(ann, b"missed")
    server.set(max_slot_wal_keep_size="1MB")
    try:
        for _ in range(3):
            a.run(
                "SELECT pg_logical_emit_message(false, 'x', repeat('x', 1000000))"
                " FROM generate_series(1, 20)"
            )
            a.run("SELECT pg_switch_wal()")
            a.run("CHECKPOINT")
        until(lambda: state(a, name).startswith("lost"))
        assert "rowseal.subscribe" in state(a, name)
        b.run(f"ALTER SUBSCRIPTION {name} ENABLE")
        until(lambda: "not connected" in state(b, name))
    finally:
        server.set(max_slot_wal_keep_size="-1")
    b.run("CALL rowseal.unsubscribe(%s)", name)
    assert slots(a) == []
    b.subscribe(a)
    a.put(ann, b"next")
    until(lambda: b.values() == [b"missed", b"next"])


def test_a_link_whose_slot_was_dropped_is_not_connected_and_can_start_again(net: Net) -> None:
    a, b = net.pair()
    ann, name = Owner(), link(b, a)
    a.join(ann)
    b.run(f"ALTER SUBSCRIPTION {name} DISABLE")
    until(lambda: not a.one("SELECT active FROM rowseal.links"))
    a.run("SELECT pg_drop_replication_slot(%s)", name)
    a.put(ann, b"missed")
    b.run(f"ALTER SUBSCRIPTION {name} ENABLE")
    until(lambda: "not connected" in state(b, name))
    b.run("CALL rowseal.unsubscribe(%s)", name)
    b.subscribe(a)
    assert b.values() == [b"missed"]


# ---------------------------------------------------------------------------------------- failures
def slots(site: Site) -> list[Any]:
    return site.all(
        "SELECT slot_name FROM pg_replication_slots WHERE database = current_database()"
    )


def test_a_subscribe_that_fails_leaves_nothing_behind(net: Net) -> None:
    a, b = net.site(), net.site()
    ann = Owner()
    a.join(ann)
    with pytest.raises(psycopg.Error) as error:  # nothing is published there
        b.subscribe(a)
    assert error.value.diag.sqlstate == "42704" and "rowseal.publish" in (
        error.value.diag.message_hint or ""
    )
    a.run("SELECT rowseal.publish()")
    b.run("CREATE SUBSCRIPTION taken CONNECTION 'dbname=x' PUBLICATION x WITH (connect = false)")
    with pytest.raises(psycopg.errors.DuplicateObject):
        b.subscribe(a, "taken")
    b.run("ALTER SUBSCRIPTION taken SET (slot_name = NONE)")
    with pytest.raises(psycopg.Error):  # no valid name of a slot
        b.subscribe(a, "Not A Slot")
    # what fails in the midst of it
    b.run("ALTER TABLE rowseal.quarantine_limits RENAME TO limits")
    b.run("UPDATE rowseal.declarations SET tag = 'another' WHERE tag = 'user_storage'")
    a.put(ann)
    with pytest.raises(psycopg.errors.UndefinedTable):
        b.subscribe(a)
    b.run("ALTER TABLE rowseal.limits RENAME TO quarantine_limits")
    b.run("UPDATE rowseal.declarations SET tag = 'user_storage' WHERE tag = 'another'")
    until(lambda: slots(a) == [])
    assert b.all(
        "SELECT subname FROM pg_subscription WHERE subdbid = (SELECT oid FROM pg_database"
        " WHERE datname = current_database())"
    ) == ["taken"]
    assert b.all("SELECT unnest(dblink_get_connections())") == []
    b.subscribe(a)
    same(a, b)


def test_subscribe_is_refused_where_it_cannot_commit(net: Net) -> None:
    a, b = net.site(), net.site()
    a.run("SELECT rowseal.publish()")
    call = "CALL rowseal.subscribe('x', %s)"
    b.run(
        "CREATE FUNCTION f(c text) RETURNS void LANGUAGE plpgsql"
        " AS $$ DECLARE o jsonb; BEGIN CALL rowseal.subscribe('x', c, outcomes => o); END $$"
    )
    with b.connection.transaction(force_rollback=True):
        diag = b.refused("25001", call, a.conninfo)
    assert "by itself" in (diag.message_hint or "")
    b.refused("25001", "SELECT f(%s)", a.conninfo)
    until(lambda: slots(a) == b.all("SELECT 1 FROM rowseal.links") == [])
    # two parameters, many: what a client sends does not look like a block
    b.run("SET default_transaction_isolation = 'serializable'")
    b.subscribe(a)
    assert slots(a) == [link(b, a)]


def test_unsubscribe_is_refused_where_it_cannot_commit(net: Net) -> None:
    """Else the slot would be gone, and the link be there after all."""
    a, b = net.pair()
    name = link(b, a)
    with b.connection.transaction(force_rollback=True):
        assert b.refused("25001", "CALL rowseal.unsubscribe(%s)", name).message_hint
    assert slots(a) == [name]
    ann = Owner()
    a.join(ann)
    same(a, b)
    b.run("CALL rowseal.unsubscribe(%s)", name)
    assert slots(a) == b.all("SELECT 1 FROM rowseal.links") == []


@pytest.mark.parametrize("batch", [0, -1, None])
def test_a_batch_has_at_least_one_row(batch: int | None, net: Net) -> None:
    a, b = net.site(), net.site()
    a.run("SELECT rowseal.publish()")
    b.refused("22023", "CALL rowseal.subscribe('x', %s, batch => %s)", a.conninfo, batch)
    assert slots(a) == b.all("SELECT 1 FROM rowseal.links") == []


@pytest.mark.parametrize("parallel", [0, None])
def test_a_link_has_at_least_one_part(parallel: int | None, net: Net) -> None:
    a, b = net.site(), net.site()
    a.refused("22023", "SELECT rowseal.publish(parts => %s)", parallel)
    a.refused("22023", "SELECT rowseal.publish(parts => 65)")
    a.run("SELECT rowseal.publish()")
    b.refused("22023", "CALL rowseal.subscribe('x', %s, parallel => %s)", a.conninfo, parallel)


def test_a_link_in_parts_brings_every_row_once(net: Net) -> None:
    a, b = net.site(), net.site()
    owners = [Owner() for _ in range(12)]
    a.join(*owners[:6])
    for owner in owners[:6]:
        a.put(owner, b"before")
    a.run("SELECT rowseal.publish('some', parts => 3)")
    name = link(b, a)
    outcomes = b.subscribe(a, name, "some", parallel=3)
    assert outcomes["user_storage"] == {"inserted": 6} == outcomes["user_cards"]
    for owner in owners[6:]:  # before their cards
        a.apply("user_storage", [owner.envelope(a.form("user_storage"), owner.value(b"after"))])
    a.join(*owners[6:])
    same(a, b)
    parts = [f"{name}_{part}of3" for part in (1, 2, 3)]
    links = "SELECT name FROM rowseal.links WHERE direction = 'to here' ORDER BY 1"
    assert b.all(links) == parts
    came = b.all("SELECT subscription, count(*) FROM rowseal.feed GROUP BY 1")
    assert sum(count for _, count in came) == 24  # none by two
    assert {subscription for subscription, _ in came if subscription} <= set(parts)
    b.refused("42710", "CALL rowseal.subscribe(%s, %s, 'some', parallel => 3)", name, a.conninfo)
    b.run("CALL rowseal.unsubscribe(%s)", name)
    assert slots(a) == b.all(links) == []


def test_the_name_of_a_part_is_not_cut(net: Net) -> None:
    """Parts of two names could be one, and unsubscribe would not find them."""
    a, b = net.site(), net.site()
    a.refused("42622", "SELECT rowseal.publish(%s, parts => 2)", "p" * 59)
    a.run("SELECT rowseal.publish('some', parts => 2)")
    subscribe = "CALL rowseal.subscribe(%s, %s, 'some', parallel => 2)"
    b.refused("42622", subscribe, "s" * 59, a.conninfo)
    assert slots(a) == b.all("SELECT 1 FROM rowseal.links") == []


def test_a_link_of_the_same_name_in_another_database_is_let_be(net: Net) -> None:
    a, b, c, d = (net.site() for _ in range(4))
    a.run("SELECT rowseal.publish()")
    d.run("SELECT rowseal.publish()")
    b.subscribe(a, "same")
    # a slot of another name: that of the server is taken
    d.run("SELECT pg_create_logical_replication_slot('another', 'pgoutput')")
    c.run(
        f"CREATE SUBSCRIPTION same CONNECTION '{d.conninfo}' PUBLICATION rowseal"
        " WITH (create_slot = false, slot_name = 'another', copy_data = false)"
    )
    b.run("CALL rowseal.unsubscribe('same')")
    assert b.all("SELECT 1 FROM rowseal.links") == []
    assert c.all("SELECT name FROM rowseal.links WHERE direction = 'to here'") == ["same"]


def test_a_link_in_parts_that_was_interrupted_is_completed_by_the_same_call(net: Net) -> None:
    a, b = net.site(), net.site()
    ann = Owner()
    a.join(ann)
    a.put(ann, b"1")
    a.run("SELECT rowseal.publish('some', parts => 2)")
    name = link(b, a)
    b.subscribe(a, f"{name}_1of2", "some_1of2")
    b.subscribe(a, name, "some", parallel=2)
    same(a, b)
    assert len(slots(a)) == 2


def test_a_link_in_another_number_of_parts_is_refused(net: Net) -> None:
    """It would leave owners out, and nobody would know."""
    a, b = net.site(), net.site()
    a.run("SELECT rowseal.publish('some', parts => 3)")
    for parallel in (1, 2, 4):
        subscribe = "CALL rowseal.subscribe('x', %s, 'some', parallel => %s)"
        b.refused("42704", subscribe, a.conninfo, parallel)
    assert slots(a) == b.all("SELECT 1 FROM rowseal.links") == []


def test_a_slot_that_is_left_over_is_told_and_replaced_when_asked(net: Net) -> None:
    """After this server was restored to before the link was made, say."""
    a, b = net.pair()
    ann, name = Owner(), link(b, a)
    a.join(ann)
    same(a, b)
    # an older state of b: it knows nothing of the link
    b.run(f"ALTER SUBSCRIPTION {name} DISABLE")
    b.run(f"ALTER SUBSCRIPTION {name} SET (slot_name = NONE)")
    b.run(f"DROP SUBSCRIPTION {name}")
    a.put(ann, b"missed")
    until(lambda: not a.one("SELECT active FROM rowseal.links"))
    diag = b.refused("42710", "CALL rowseal.subscribe(%s, %s)", name, a.conninfo)
    assert "restored" in (diag.message_detail or "")
    assert f"'{name}', …, replace_slot => true" in (diag.message_hint or "")
    assert slots(a) == [name] and b.values() == []
    b.subscribe(a, replace_slot=True)
    assert b.values() == [b"missed"]
    a.put(ann, b"next")
    until(lambda: b.values() == [b"missed", b"next"])


def test_a_slot_in_use_is_left_to_whoever_uses_it(net: Net) -> None:
    a, b, other = net.site(), net.site(), net.site()
    a.run("SELECT rowseal.publish()")
    other.subscribe(a, "used")
    until(lambda: a.one("SELECT active FROM rowseal.links"))
    diag = b.refused(
        "55006", "CALL rowseal.subscribe('used', %s, replace_slot => true)", a.conninfo
    )
    assert diag.message_detail and diag.message_hint
    # a restored copy of the other one takes its link down: the slot is not its own any more
    b.run(
        f"CREATE SUBSCRIPTION used CONNECTION '{a.conninfo}' PUBLICATION rowseal"
        " WITH (connect = false, slot_name = 'used')"
    )
    b.run("CALL rowseal.unsubscribe('used')")
    assert slots(a) == ["used"]
    ann = Owner()
    a.join(ann)
    same(a, other)
    assert other.one("SELECT errors FROM rowseal.links") == 0


def test_too_few_slots_are_told_before_the_work(second: tuple[SecondServer, Net], net: Net) -> None:
    _, there = second
    a, b = there.site(), net.site()
    a.run("SELECT rowseal.publish()")
    free = a.one(
        "SELECT current_setting('max_replication_slots')::int - count(*) FROM pg_replication_slots"
    )
    for n in range(free - 1):
        a.run(f"SELECT pg_create_physical_replication_slot('filled_{n}')")
    try:
        diag = b.refused("53400", "CALL rowseal.subscribe('x', %s)", a.conninfo)
        assert "max_replication_slots" in (diag.message_hint or "")
        a.run("SELECT pg_drop_replication_slot('filled_0')")
        b.subscribe(a)
    finally:
        a.run(
            "SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots"
            " WHERE slot_type = 'physical'"
        )


def interrupt(a: Site, b: Site, stored: int, end: str) -> None:
    """``b`` subscribes to ``a`` in batches of one row, until so many are stored."""
    session, blocker = b.session(), b.session()
    pid = session.one("SELECT pg_backend_pid()")
    blocker.run("SELECT pg_advisory_lock(1)")
    b.run(f"""CREATE OR REPLACE FUNCTION wait() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
        IF (SELECT count(*) = {stored} FROM public.user_storage) THEN
          PERFORM pg_advisory_xact_lock(1);
        END IF;
        RETURN NEW;
        END $$;
        CREATE OR REPLACE TRIGGER aaa BEFORE INSERT ON user_storage
        FOR EACH ROW EXECUTE FUNCTION wait()""")
    failures: list[Any] = []

    def call() -> None:
        try:
            session.run("CALL rowseal.subscribe(%s, %s, batch => 1)", link(b, a), a.conninfo)
        except psycopg.Error as e:
            failures.append(e)

    thread = threading.Thread(target=call)
    thread.start()
    waits = "SELECT 1 FROM pg_locks WHERE pid = %s AND NOT granted"
    until(lambda: failures or blocker.all(waits, pid))
    assert (failures, b.one("SELECT count(*) FROM user_storage")) == ([], stored)
    blocker.run(f"SELECT pg_{end}_backend(%s)", pid)
    thread.join()
    assert failures
    blocker.run("SELECT pg_advisory_unlock(1)")
    for s in (session, blocker):
        s.connection.close()


@pytest.mark.parametrize("end", ["terminate", "cancel"])
def test_a_subscribe_that_is_interrupted_goes_on_when_called_again(end: str, net: Net) -> None:
    """What was taken over stays, no slot is in the way."""
    a, b = net.site(), net.site()
    ann = Owner()
    a.join(ann)
    for n in range(8):
        a.put(ann, b"%d" % n)
    a.run("SELECT rowseal.publish()")
    for stored in (3, 6):
        interrupt(a, b, stored, end)
        until(lambda: slots(a) == [])
        assert b.one("SELECT count(*) FROM user_storage") == stored
        assert b.all("SELECT 1 FROM rowseal.links") == []
        a.put(ann, b"meanwhile")
    assert b.subscribe(a)["user_storage"] == {"duplicate": 6, "inserted": 4}
    same(a, b)
    a.put(ann, b"later")
    same(a, b)


def test_batches_are_bounded_by_rows_and_bytes(net: Net) -> None:
    a, b = net.site(), net.site()
    ann = Owner()
    a.join(ann)
    for _ in range(3):
        a.put(ann, b"x" * 3_500_000)
    for _ in range(20):
        a.put(ann, b"x")
    a.run("SELECT rowseal.publish()")
    c, batches = net.site(), "SELECT count(*) FROM rowseal.feed GROUP BY xid ORDER BY xid"
    b.subscribe(a)
    c.subscribe(a, batch=10)
    assert b.all(batches) == [1, 1, 1, 1, 20]  # one card
    assert c.all(batches) == [1, 1, 1, 1, 10, 10]


def test_no_deadlock_with_owners_who_write_and_a_follower_that_is_busy(net: Net) -> None:
    """Rows of the same keys, in all orders, while the state comes in batches."""
    a, b = net.site(), net.site()
    b.run("SELECT rowseal.publish()")
    a.run("SELECT rowseal.publish()")
    owners = [Owner(str(n)) for n in range(3)]
    a.join(*owners)
    keys = [uuid.uuid4() for _ in range(40)]
    for n in range(400):
        a.put(owners[n % 3], b"%d" % n, keys[n % 40])
    b.join(*owners)
    stop, failures, form = threading.Event(), [], a.form("user_storage")

    def write(seed: int) -> None:
        session, rng = b.session("app"), random.Random(seed)
        while not stop.is_set():
            chosen = rng.sample(range(40), 10)
            with session.connection.transaction():
                for n in chosen:
                    row = owners[n % 3].value(b"%d" % seed, keys[n])
                    try:
                        with session.connection.transaction():
                            session.insert("user_storage", owners[n % 3].sealed(form, row))
                    except (psycopg.errors.DeadlockDetected, psycopg.errors.UniqueViolation):
                        break  # its own fault: it takes keys in any order
        session.connection.close()

    threads = [threading.Thread(target=write, args=(n,)) for n in range(2)]
    for thread in threads:
        thread.start()
    try:
        for n in range(3):
            b.run("SET deadlock_timeout = '10ms'")
            b.subscribe(a, batch=100)
            if n < 2:
                b.run("CALL rowseal.unsubscribe(%s)", link(b, a))
    except psycopg.Error as e:
        failures.append(e)
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    assert failures == []
    a.subscribe(b)
    same(a, b)


def test_others_may_change_their_tables_while_a_link_is_made(net: Net) -> None:
    """Their commits are decoded with the new slot; PostgreSQL mixes up its resource owners then."""
    a, b = net.site(), net.site()
    a.join(Owner())
    a.run("SELECT rowseal.publish()")
    first, between = a.session(), a.session()
    for session in (first, between):
        session.run("BEGIN")
    first.run("SELECT pg_current_xact_id()")
    failures: list[Any] = []

    def subscribe() -> None:
        try:
            b.subscribe(a)
        except psycopg.Error as e:
            failures.append(e)

    thread = threading.Thread(target=subscribe)
    thread.start()
    until(lambda: awaited(first))
    between.run("SELECT pg_current_xact_id()")
    first.run("COMMIT")
    until(lambda: awaited(between))
    a.run("CREATE TABLE theirs (i integer)")
    between.run("COMMIT")
    thread.join()
    assert failures == []
    same(a, b)


def test_a_subscribe_that_is_cancelled_leaves_no_slot_behind(net: Net) -> None:
    a, b = net.site(), net.site()
    a.join(Owner())
    a.run("SELECT rowseal.publish()")
    blocker, pid = b.session(), b.one("SELECT pg_backend_pid()")
    blocker.run("BEGIN")
    # without transaction id: the slot does not wait for it
    blocker.run("LOCK TABLE user_cards IN EXCLUSIVE MODE")
    failures: list[Any] = []

    def subscribe() -> None:
        try:
            b.subscribe(a)
        except psycopg.Error as e:
            failures.append(e.sqlstate)

    thread = threading.Thread(target=subscribe)
    thread.start()
    until(lambda: blocker.all("SELECT 1 FROM pg_locks WHERE pid = %s AND NOT granted", pid))
    blocker.run("SELECT pg_cancel_backend(%s)", pid)
    thread.join()
    blocker.connection.close()
    assert failures == ["57014"]
    assert b.all("SELECT unnest(dblink_get_connections())") == []
    until(lambda: slots(a) == [])  # the connection's end is seen there a little later


def test_a_subscribe_that_fails_at_its_last_step_leaves_no_slot_behind(net: Net) -> None:
    """The slot that lasts was made, the answer never came."""
    a, b = net.site(), net.site()
    a.run("SELECT rowseal.publish()")
    a.run("ALTER FUNCTION rowseal._keep_slot(name) RENAME TO kept_slot")
    a.run("""CREATE FUNCTION rowseal._keep_slot(s name) RETURNS text LANGUAGE plpgsql AS $$
        BEGIN PERFORM rowseal.kept_slot(s); RAISE EXCEPTION 'interrupted'; END $$""")
    with pytest.raises(psycopg.Error, match="interrupted"):
        b.subscribe(a)
    until(lambda: slots(a) == [])
    a.run("DROP FUNCTION rowseal._keep_slot(name)")
    a.run("ALTER FUNCTION rowseal.kept_slot(name) RENAME TO _keep_slot")
    b.subscribe(a)
    same(a, b)


def test_errors_have_a_sqlstate_and_say_what_to_do(net: Net) -> None:
    a = net.site("rowseal_template")
    diag = a.refused("0A000", "CALL rowseal.subscribe('x', 'dbname=y')")
    assert "CREATE EXTENSION dblink" in (diag.message_hint or "")
    a.run("CREATE EXTENSION dblink")
    a.refused("08001", "CALL rowseal.subscribe('x', 'host=/nowhere dbname=y')")
    assert a.refused("42704", "CALL rowseal.unsubscribe('x')").message_hint
    plain = a.session("app")
    plain.refused("42501", "SELECT rowseal.publish()")
    with pytest.raises(psycopg.Error):
        plain.run("CALL rowseal.subscribe('x', %s)", a.conninfo)
    a.run("SELECT rowseal.publish()")
    a.refused("42710", "SELECT rowseal.publish()")
    plain.connection.close()


STATE = {
    # tag: what stands there, in the place of the table's name, and why its state stays there
    "closed": (
        "mallory",
        "DROP TRIGGER zzz_rowseal_keep_all ON {0}; ALTER TABLE {0} RENAME TO another",
        "it is no longer as it was declared",
    ),
    "hers": (
        "mallory",
        "ALTER TABLE {0} ENABLE ROW LEVEL SECURITY; CREATE POLICY p ON {0}"
        " USING (nextval('ran') > 0)",
        "row security applies to repl",
    ),
    "strange": ("mallory", "", "it runs code of mallory, whom repl does not trust"),
    "unread": (
        "app",
        "REVOKE SELECT ON {0} FROM repl",
        "42501: permission denied for table unread",
    ),
    "guarded": ("app", "ALTER TABLE {0} ENABLE ROW LEVEL SECURITY", "row security applies to repl"),
}


def warned(site: Site) -> list[str]:
    said: list[str] = []
    site.connection.add_notice_handler(lambda d: said.append(str(d.message_primary)))
    return said


def test_no_table_stops_the_state_of_others(net: Net) -> None:
    """Whatever it is that keeps one from being read, and whoever owns it:
    it is left out, with a warning, and nothing of a stranger's runs.
    """
    a, b = net.site(), net.site()
    a.run("CREATE ROLE repl LOGIN REPLICATION; GRANT rowseal_admin TO repl")
    try:
        mallory, app, ann = a.session("mallory"), a.session("app"), Owner()
        app.run("GRANT SELECT ON user_cards, user_storage, user_storage_versions TO repl")
        mallory.run("CREATE SEQUENCE ran; GRANT ALL ON SEQUENCE ran TO PUBLIC")
        for tag, (role, change, _) in STATE.items():
            session = {"app": app, "mallory": mallory}[role]
            session.run(
                f"CREATE TABLE {tag} (id bytea PRIMARY KEY, {CARD}); GRANT SELECT ON {tag} TO repl;"
                f" SELECT rowseal.declare('{tag}', owner => 'id', public_key => 'k', feed => true)"
            )
            write(session, ann, tag, card(ann))
            session.run(change.format(tag))
        a.join(ann)
        a.put(ann, b"1")
        a.run("SELECT rowseal.publish()")
        said = warned(b)
        outcomes = b.one(
            "CALL rowseal.subscribe(%s, %s)",
            link(b, a),
            a.conninfo.replace("user=postgres", "user=repl"),
        )
        assert outcomes == {
            "user_cards": {"inserted": 1},
            "user_storage": {"inserted": 1},
            **{tag: {"left out": reason} for tag, (_, _, reason) in STATE.items()},
        }
        for tag, (_, _, reason) in STATE.items():
            message = f"rowseal: the present state of '{tag}' was not taken over: {reason}"
            assert message in said
        assert b.values() == [b"1"] and not mallory.one("SELECT is_called FROM ran")
        a.put(ann, b"2")
        same(a, b)
        b.run("CALL rowseal.unsubscribe(%s)", link(b, a))
    finally:
        for session in (mallory, app):
            session.connection.close()
        a.run("DROP OWNED BY repl; DROP ROLE repl")


def test_no_row_stops_the_state_of_others(net: Net) -> None:
    """One that has no canonical form is left out and counted; one that cannot be read ends that
    table.
    """
    a, b = net.site(), net.site()
    owners = [Owner(str(n)) for n in range(3)]
    for site in (a, b):
        for tag, columns in (("years", "at timestamptz,"), ("moods", "mood mood,")):
            site.run("CREATE TYPE mood AS ENUM ('sad', 'glad')" if tag == "moods" else "SELECT 1")
            site.run(
                f"CREATE TABLE {tag} (id bytea PRIMARY KEY, {columns} {CARD});"
                f" SELECT rowseal.declare('{tag}', owner => 'id', public_key => 'k', feed => true)"
            )
    for owner, mood in zip(owners, ("sad", "glad", "sad")):
        write(a, owner, "moods", card(owner, mood=mood))
        write(a, owner, "years", card(owner, at=None))
    a.run("DELETE FROM pg_enum WHERE enumlabel = 'glad'")
    a.run("ALTER TABLE years DISABLE TRIGGER zzz_rowseal_guard")
    a.run("UPDATE years SET at = '20000-01-01' WHERE id = %s", owners[0].hash)
    a.run("ALTER TABLE years ENABLE ALWAYS TRIGGER zzz_rowseal_guard")
    a.run("SELECT rowseal.publish()")
    said = warned(b)
    outcomes = b.subscribe(a, batch=1)
    reason = outcomes["moods"].pop("left out")
    assert str(reason).startswith("22P03: ")
    assert outcomes == {
        "years": {"inserted": 2, "without form": 1},
        "moods": {"inserted": 1},
    }
    assert said == [
        "rowseal: rows of 'years' that were not taken over, for they have no canonical form: 1",
        f"rowseal: the present state of 'moods' was not taken over to its end: {reason}",
    ]
    assert len(a.all("SELECT * FROM rowseal.export('years')")) == 2
    assert a.all("SELECT sqlstate FROM rowseal.verify('years')") == ["RS006"]


def test_no_warning_of_tables_that_a_publication_leaves_out(net: Net) -> None:
    a, b = net.site(), net.site()
    mallory = a.session("mallory")
    mallory.run(
        f"CREATE TABLE theirs (id bytea PRIMARY KEY, {CARD});"
        " SELECT rowseal.declare('theirs', owner => 'id', public_key => 'k', feed => true)"
    )
    mallory.connection.close()
    a.join(ann := Owner())
    a.run(
        "SELECT rowseal.publish('edge', tags => '{user_cards}', owners => %s)",
        [b64encode(ann.hash).decode()],
    )
    said = warned(b)
    assert b.subscribe(a, publication="edge") == {"user_cards": {"inserted": 1}} and said == []


# ------------------------------------------------------------------------------------------- pages
BLOCK = re.compile(r"^```(sql|python)\n(.*?)^```", re.DOTALL | re.MULTILINE)


def blocks(page: str) -> list[Any]:
    return BLOCK.findall((ROOT / "docs" / page).read_text())


def test_the_examples_of_the_page_on_replication_run(net: Net) -> None:
    oslo, bergen = (net.site("rowseal_template") for _ in "12")
    sites = {"oslo": oslo, "bergen": bergen}
    for site in sites.values():
        site.run(EXAMPLE[: EXAMPLE.index("SELECT rowseal.declare")])
    for language, code in blocks("replication.md"):
        if language == "python":
            exec(code, names := {})
            assert names["owner_timestamp"] > names["known"]
            continue
        where, code = code.split("\n", 1)
        for name, site in sites.items():
            code = code.replace(f"'host={name} dbname=app'", f"'{site.conninfo}'")
        for name in re.findall("oslo|bergen", where):
            for statement in filter(str.strip, code.split(";\n")):
                sites[name].run(statement)
    ann = Owner()
    bergen.join(ann)
    bergen.put(ann, b"1")
    same(oslo, bergen)
    until(lambda: oslo.values() == [b"1"])


def test_the_examples_of_the_page_on_the_quarantine_run(net: Net) -> None:
    site = net.site()
    site.apply("user_storage", [{}])
    for _, code in blocks("quarantine.md"):
        for statement in filter(str.strip, code.split(";")):
            site.run(statement)
    assert site.quarantined() == []
