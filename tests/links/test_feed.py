"""The feed: every accepted version once, in an order that a cursor can follow,
written by nobody else.
"""

from __future__ import annotations

import random
import threading
import time
import uuid
from base64 import b64encode
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import psycopg
import pytest
from psycopg.types.json import Json

from kit.db import Db, Server
from kit.example import Owner
from kit.network import Net, Site, network, sign_of, until
from kit.scratch import CARD, card, seal, write

net = pytest.fixture(network)


@pytest.fixture(scope="module")
def site(server: Server) -> Iterator[Site]:
    """One site for the tests that look at the rows of an owner of their own."""
    net = Net(server)
    yield net.site()
    net.close()


@pytest.fixture
def app(site: Site) -> Iterator[Db]:
    """An ordinary role, owner of the tables."""
    with site.server.connect(site.name, "app") as c:
        yield Db(c)


@pytest.fixture
def keeper(site: Site) -> Iterator[Db]:
    """A member of rowseal_admin."""
    with site.server.connect(site.name, "keeper") as c:
        yield Db(c)


@pytest.fixture
def owner(site: Site) -> Owner:
    owner = Owner()
    site.join(owner)
    return owner


def fed(db: Db, owner: Owner, tag: str = "user_storage") -> list[Any]:
    """Signatures of the owner's versions in the feed, in local order."""
    return db.all(
        "SELECT envelope ->> 'sign_b64' FROM rowseal.feed WHERE tag = %s AND owner = %s"
        " ORDER BY position",
        tag,
        b64encode(owner.hash).decode(),
    )


# ------------------------------------------------------------------------------------- what enters
VALUES = "%s::bytea, %s::uuid, %s::bytea, %s::boolean, %s::bigint, %s::bytea, %s::bytea"
DOORS = {
    "insert": f"INSERT INTO user_storage VALUES ({VALUES})",
    "on conflict do update": (
        f"INSERT INTO user_storage VALUES ({VALUES}) ON CONFLICT (user_hash, uuid) DO UPDATE"
        " SET value_b64 = EXCLUDED.value_b64, "
        "owner_timestamp = EXCLUDED.owner_timestamp, parent_sign_b64 = EXCLUDED.parent_sign_b64,"
        " sign_b64 = EXCLUDED.sign_b64"
    ),
    "on conflict do nothing": f"INSERT INTO user_storage VALUES ({VALUES}) ON CONFLICT DO NOTHING",
    "versions table": f"INSERT INTO user_storage_versions VALUES ({VALUES})",
}


@pytest.mark.parametrize("door", [*DOORS, "update", "copy", "apply", "apply pgtext"])
def test_every_accepted_version_enters_once_through_every_door(
    door: str, app: Db, site: Site, owner: Owner
) -> None:
    form, key = site.form("user_storage"), uuid.uuid4()

    def enter(row: dict[str, Any]) -> None:
        if door == "copy":
            with app.connection.cursor().copy("COPY user_storage FROM STDIN") as copy:
                copy.write_row(tuple(row.values()))
        elif door == "apply":
            envelope = owner.envelope(form, {k: v for k, v in row.items() if k != "sign_b64"})
            app.apply("user_storage", [{**envelope, "sign_b64": sign_of(row)}])
        elif door == "apply pgtext":
            app.apply(
                "user_storage",
                [
                    {
                        k: f"\\x{v.hex()}" if isinstance(v, bytes) else v if v is None else str(v)
                        for k, v in row.items()
                    }
                ],
                "pgtext",
            )
        elif door == "update" and app.all("SELECT 1 FROM user_storage WHERE uuid = %s", key):
            app.update("user_storage", row, "uuid = %s", key)
        else:
            app.run(DOORS.get(door, DOORS["insert"]), *row.values())

    one, two, three = (owner.sealed(form, owner.value(v, key)) for v in (b"1", b"2", b"3"))
    # two; one comes late; three archives two; the rest is known
    for row in (two, one, three, two, three, one):
        enter(row)
    try:
        enter({**owner.sealed(form, owner.value(b"4", key)), "value_b64": b"forged"})
    except psycopg.Error as error:
        assert error.sqlstate == "RS001" and not door.startswith("apply")
    assert fed(site, owner) == [sign_of(row) for row in (two, one, three)]


def test_an_entry_tells_owner_bringer_and_time_and_is_the_envelope(
    app: Db, site: Site, owner: Owner
) -> None:
    row = owner.sealed(site.form("user_storage"), owner.value())
    app.insert("user_storage", row)
    entry = site.one(
        "SELECT owner, envelope, role, subscription, now() - accepted < interval '1 min'"
        " FROM rowseal.feed WHERE envelope ->> 'sign_b64' = %s",
        sign_of(row),
    )
    envelope = owner.envelope(
        site.form("user_storage"), {k: v for k, v in row.items() if k != "sign_b64"}
    )
    assert entry == (b64encode(owner.hash).decode(), envelope, "app", None, True)


def test_identity_rows_enter_too(app: Db, site: Site) -> None:
    ann, form = Owner(), site.form("user_cards")
    first, second, stale = ann.card(), ann.card(name="Anna"), ann.card(owner_timestamp=1)
    for row in (first, second, stale, second):
        app.insert("user_cards", ann.sealed(form, row))
    # an old version of an unversioned table is not kept, so not passed on
    assert len(fed(site, ann, "user_cards")) == 2


def test_what_is_rolled_back_does_not_enter(app: Db, site: Site, owner: Owner) -> None:
    kept, undone = (owner.sealed(site.form("user_storage"), owner.value()) for _ in "12")
    with app.connection.transaction():
        app.insert("user_storage", kept)
        with app.connection.transaction() as savepoint:
            app.insert("user_storage", undone)
            raise psycopg.Rollback(savepoint)
    assert fed(site, owner) == [sign_of(kept)]


def test_updates_of_unsigned_columns_do_not_enter(app: Db, site: Site) -> None:
    app.run(f"CREATE TABLE seen_cards (id bytea PRIMARY KEY, seen boolean, {CARD})")
    app.run(
        "SELECT rowseal.declare('seen_cards', owner => 'id', public_key => 'k',"
        " unsigned => '{seen}', feed => true)"
    )
    ann = Owner()
    first = write(app, ann, "seen_cards", card(ann))
    app.run("UPDATE seen_cards SET seen = true")
    app.run("UPDATE seen_cards SET seen = seen")
    second = write(app, ann, "seen_cards", card(ann))
    assert fed(site, ann, "seen_cards") == [sign_of(first), sign_of(second)]


def test_one_table_layout_partitions_and_several_owner_columns(app: Db, site: Site) -> None:
    app.run(
        f"CREATE TABLE part_cards (id bytea, realm text, {CARD},"
        " PRIMARY KEY (id, realm)) PARTITION BY LIST (realm)"
    )
    app.run("CREATE TABLE part_cards_a PARTITION OF part_cards FOR VALUES IN ('a')")
    app.run(
        "SELECT rowseal.declare('part_cards', owner => '{id,realm}', public_key => 'k',"
        " feed => true)"
    )
    # after the declaration
    app.run("CREATE TABLE part_cards_b PARTITION OF part_cards FOR VALUES IN ('b')")
    app.run("""CREATE TABLE logbook (id bytea, realm text, n integer, v text, deleted_flag boolean,
        owner_timestamp bigint, parent_sign_b64 bytea, sign_b64 bytea,
        PRIMARY KEY (id, realm, n, sign_b64))""")
    app.run(
        "SELECT rowseal.declare('logbook', owner => '{id,realm}', identity => 'part_cards',"
        " feed => true)"
    )
    ann = Owner()
    for realm in "ab":
        write(app, ann, "part_cards", {**card(ann), "realm": realm})
    new, old = (
        {
            "id": ann.hash,
            "realm": "b",
            "n": 1,
            "v": v,
            "deleted_flag": False,
            "owner_timestamp": t,
            "parent_sign_b64": None,
        }
        for v, t in (("new", 2), ("old", 1))
    )
    rows = [write(app, ann, "logbook", row) for row in (new, old, new, old)]
    assert site.all(
        "SELECT owner FROM rowseal.feed WHERE tag = 'part_cards' ORDER BY position"
    ) == [f'["{b64encode(ann.hash).decode()}", "{realm}"]' for realm in "ab"]
    assert site.all(
        "SELECT envelope ->> 'sign_b64' FROM rowseal.feed WHERE tag = 'logbook' ORDER BY position"
    ) == [sign_of(r) for r in rows[:2]]
    assert not site.all("SELECT detail FROM rowseal.health() WHERE NOT ok")


def test_the_rows_of_a_partition_that_is_attached_enter(app: Db, site: Site) -> None:
    """Links are there already: nothing else would carry them."""
    columns = f"id bytea NOT NULL, realm text NOT NULL, {CARD}"
    app.run(
        f"CREATE TABLE late_cards ({columns}, PRIMARY KEY (id, realm)) PARTITION BY LIST (realm)"
    )
    app.run(
        "SELECT rowseal.declare('late_cards', owner => '{id,realm}', public_key => 'k',"
        " feed => true)"
    )
    ann, bob = Owner("Ann"), Owner("Bob")
    app.run(f"CREATE TABLE late_cards_b ({columns})")
    rows = [seal(app, owner, "late_cards", {**card(owner), "realm": "b"}) for owner in (ann, bob)]
    for row in rows:
        app.insert("late_cards_b", row)
    app.run("ALTER TABLE late_cards ATTACH PARTITION late_cards_b FOR VALUES IN ('b')")
    fed_now = "SELECT envelope ->> 'sign_b64' FROM rowseal.feed WHERE tag = 'late_cards'"
    assert sorted(site.all(fed_now)) == sorted(map(sign_of, rows))
    app.run("CREATE TABLE late_cards_c PARTITION OF late_cards FOR VALUES IN ('c')")
    app.run("UPDATE late_cards SET k = k")
    assert len(site.all(fed_now)) == 2
    assert not site.all("SELECT detail FROM rowseal.health() WHERE NOT ok")


def test_rows_from_before_the_declaration_are_exported_not_fed(app: Db, site: Site) -> None:
    app.run(f"CREATE TABLE old_cards (id bytea PRIMARY KEY, {CARD})")
    app.run("SELECT rowseal.declare('old_cards', owner => 'id', public_key => 'k')")
    ann = Owner()
    first = write(app, ann, "old_cards", card(ann))
    app.run("SELECT rowseal.undeclare('old_cards')")
    app.run("SELECT rowseal.declare('old_cards', owner => 'id', public_key => 'k', feed => true)")
    assert fed(site, ann, "old_cards") == []
    assert app.all("SELECT e ->> 'sign_b64' FROM rowseal.export('old_cards') e") == [sign_of(first)]
    second = write(app, ann, "old_cards", card(ann))
    assert fed(site, ann, "old_cards") == [sign_of(second)]


# ----------------------------------------------------------------------------------- who writes it
def test_a_hand_made_entry_is_a_claim_that_goes_through_apply(site: Site, owner: Owner) -> None:
    envelope = owner.envelope(site.form("user_storage"), owner.value(b"claimed"))
    forged = owner.envelope(site.form("user_storage"), owner.value(b"x"))
    forged["row"]["value_b64"] = b64encode(b"forged").decode()
    for claim in (envelope, forged, envelope):
        site.run(
            "INSERT INTO rowseal.feed (tag, owner, envelope, role)"
            " VALUES ('user_storage', 'somebody else', %s, 'an honest role')",
            Json(claim),
        )
    assert fed(site, owner) == [sign_of(envelope)]
    assert site.all("SELECT value_b64 FROM user_storage WHERE user_hash = %s", owner.hash) == [
        b"claimed"
    ]
    assert (
        site.one(
            "SELECT role FROM rowseal.feed WHERE envelope ->> 'sign_b64' = %s", sign_of(envelope)
        )
        == "postgres"
    )
    assert (
        site.one(
            "SELECT sqlstate FROM rowseal.quarantine WHERE row ->> 'sign_b64' = %s", sign_of(forged)
        )
        == "RS001"
    )


@pytest.mark.parametrize(
    "nonsense",
    [
        None,
        7,
        "text",
        [],
        {},
        {"row": 7},
        {"row": {"uuid": "no uuid"}},
        [[1]],
        {"row": {"owner_timestamp": "x"}, "sign_b64": 5},
    ],
)
def test_nonsense_in_the_feed_is_quarantined(nonsense: Any, site: Site) -> None:
    before = site.one("SELECT count(*) FROM rowseal.feed")
    for tag in ("user_storage", "no such table"):
        site.run(
            "INSERT INTO rowseal.feed (tag, owner, envelope) VALUES (%s, '', %s)",
            tag,
            Json(nonsense),
        )
    assert site.one("SELECT count(*) FROM rowseal.feed") == before


def test_ordinary_users_and_administrators_cannot_write_the_feed(app: Db, keeper: Db) -> None:
    for who in (app, keeper):
        who.refused(
            "42501",
            "INSERT INTO rowseal.feed (tag, owner, envelope) VALUES ('user_storage', '', '{}')",
        )
        who.refused("42501", "UPDATE rowseal.feed SET role = 'somebody else'")
        who.refused("42501", "DELETE FROM rowseal.feed")
        who.refused("42501", "TRUNCATE rowseal.feed")
        who.refused("42501", "UPDATE rowseal.feed_state SET pruned_xid = '0'")


def test_only_administrators_read_and_prune_the_feed(app: Db, keeper: Db) -> None:
    for sql in (
        "SELECT * FROM rowseal.feed",
        "SELECT * FROM rowseal.changes()",
        "SELECT rowseal.changes_end()",
        "SELECT rowseal.prune_feed('1 day')",
        "SELECT * FROM rowseal.links",
    ):
        app.refused("42501", sql)
        keeper.run(sql)


# ------------------------------------------------------------------------------------------ cursor
def follow(db: Db, cursor: str | None, at_most: int = 1000) -> tuple[list[str], str | None]:
    """Signatures after a cursor, and the next cursor."""
    rows = db.all(
        "SELECT cursor, envelope ->> 'sign_b64' FROM rowseal.changes(%s, %s)", cursor, at_most
    )
    return [sign for _, sign in rows], rows[-1][0] if rows else cursor


def test_a_cursor_waits_for_transactions_that_commit_late(net: Net) -> None:
    site = net.site()
    ann, form = Owner(), site.form("user_storage")
    site.join(ann)
    read = site.session("keeper")
    _, cursor = follow(read, None)
    one, two, three, four = (ann.sealed(form, ann.value()) for _ in "1234")
    first, second = site.session("app"), site.session("app")
    first.run("BEGIN")
    first.run("SELECT pg_current_xact_id()")  # the oldest transaction, though it writes last
    second.run("BEGIN")
    second.insert("user_storage", two)
    site.insert("user_storage", three)
    second.run("COMMIT")
    assert follow(read, cursor) == ([], cursor)  # what is committed must wait for what is not
    with first.connection.transaction():  # a subtransaction has a higher id of its own
        first.insert("user_storage", one)
    site.insert("user_storage", four)
    assert follow(read, cursor) == ([], cursor)
    first.run("COMMIT")
    seen = []
    for _ in range(6):
        new, cursor = follow(read, cursor, 1)
        seen += new
    assert seen == [sign_of(r) for r in (one, two, three, four)]
    for session in (first, second, read):
        session.connection.close()


def test_a_transaction_that_is_rolled_back_holds_nothing_back(net: Net) -> None:
    site = net.site()
    ann, form = Owner(), site.form("user_storage")
    site.join(ann)
    _, cursor = follow(site, None)
    one, two = (ann.sealed(form, ann.value()) for _ in "12")
    session = site.session("app")
    session.run("BEGIN")
    session.insert("user_storage", one)
    site.insert("user_storage", two)
    assert follow(site, cursor)[0] == []
    session.connection.close()  # the client is gone
    until(lambda: follow(site, cursor)[0] == [sign_of(two)])


def write_at_random(site: Site, owner: Owner, keys: list[uuid.UUID], dice: random.Random) -> None:
    """Transactions of some rows, of which some are rolled back."""
    form = site.form("user_storage")
    with site.session("app").connection as connection:
        session = Db(connection)
        for _ in range(25):
            session.run("BEGIN")
            for _ in range(dice.choice((1, 1, 2, 5))):
                value = owner.value(bytes([dice.randrange(9)]), dice.choice(keys))
                session.insert("user_storage", owner.sealed(form, value))
                time.sleep(dice.random() * 0.003)
            session.run(dice.choice(("COMMIT", "COMMIT", "COMMIT", "ROLLBACK")))


def read_to_the_end(site: Site, dice: random.Random, done: threading.Event) -> list[str]:
    """What a reader sees that polls until there is nothing more after the writers are done."""
    seen: list[str] = []
    with site.session("keeper").connection as connection:
        session, cursor, last = Db(connection), None, False
        while True:
            new, cursor = follow(session, cursor, dice.choice((1, 3, 1000)))
            seen.extend(new)
            if not new and last:
                return seen
            last = done.is_set()


def test_a_polling_reader_reads_all_of_the_feed_in_order_without_repeats(net: Net) -> None:
    """Writers commit and roll back at random; what one reader saw is what the feed holds."""
    site, seed = net.site(), random.randrange(1 << 32)
    owners = [Owner(name) for name in "abcd"]
    site.join(*owners)
    keys = [uuid.uuid4() for _ in range(5)]
    done = threading.Event()
    with ThreadPoolExecutor() as pool:
        reader = pool.submit(read_to_the_end, site, random.Random(seed), done)
        writers = [
            pool.submit(write_at_random, site, o, keys, random.Random(f"{seed} {o.name}"))
            for o in owners
        ]
        try:
            for writer in writers:
                assert writer.exception() is None, (seed, writer.exception())
            settled = (
                "SELECT pg_snapshot_xmin(pg_current_snapshot())"
                " > (SELECT max(xid) FROM rowseal.feed)"
            )
            until(lambda: site.one(settled))
        finally:
            done.set()
        seen = reader.result()
    fed = "SELECT envelope ->> 'sign_b64' FROM rowseal.feed ORDER BY xid, position"
    assert seen == site.all(fed), f"seed {seed}"
    assert len(seen) == len(set(seen)) > 50, f"seed {seed}"


# --------------------------------------------------------------------------------------- retention
def test_retention_and_the_way_back_from_an_old_cursor(net: Net) -> None:
    site = net.site()
    ann, form = Owner(), site.form("user_storage")
    site.join(ann)
    admin = site.session("keeper")
    _, start = follow(admin, None)
    rows = [site.put(ann) for _ in range(3)]
    _, present = follow(admin, start)
    assert admin.one("SELECT rowseal.prune_feed('1 hour')") == 0
    assert admin.one("SELECT rowseal.prune_feed('0')") == 4
    assert follow(admin, present) == ([], present)  # who had read all of it misses nothing
    assert follow(admin, None) == ([], None)
    for cursor in (start, present.replace(present[:36], str(uuid.uuid4()))):
        diag = admin.refused("RS016", "SELECT * FROM rowseal.changes(%s)", cursor)
        assert "changes_end" in (diag.message_hint or "")
    for cursor in ("", "x", f"{present}0:1", "'"):
        admin.refused("22023", "SELECT * FROM rowseal.changes(%s)", cursor)
    # the way back: the end first, then the state; what commits in between comes twice,
    # nothing never
    late = site.session("app")
    late.run("BEGIN")
    during, after = (ann.sealed(form, ann.value()) for _ in "12")
    late.insert("user_storage", during)
    end = admin.one("SELECT rowseal.changes_end()")
    state = site.all("SELECT e ->> 'sign_b64' FROM rowseal.export('user_storage') e")
    late.run("COMMIT")
    site.insert("user_storage", after)
    assert set(state) == {sign_of(r) for r in rows}
    assert follow(admin, end)[0] == [sign_of(during), sign_of(after)]
    for session in (admin, late):
        session.connection.close()


def test_pruning_stops_before_open_transactions_and_young_rows(net: Net) -> None:
    site = net.site()
    ann, form = Owner(), site.form("user_storage")
    site.join(ann)
    site.put(ann)
    session = site.session("app")
    session.run("BEGIN")
    session.insert("user_storage", ann.sealed(form, ann.value()))
    site.put(ann)
    # the card and the first row; the third is newer than an open one
    assert site.one("SELECT rowseal.prune_feed('0')") == 2
    session.run("COMMIT")
    assert len(follow(site, None)[0]) == 2
    time.sleep(0.3)
    site.put(ann)
    assert site.one("SELECT rowseal.prune_feed('0.2 seconds')") == 2
    assert len(follow(site, None)[0]) == 1
    session.connection.close()
