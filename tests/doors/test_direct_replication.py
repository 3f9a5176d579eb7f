"""Publishing the declared tables themselves: what PostgreSQL then does,
and where only the feed is sound (docs/replication.md).
"""

from __future__ import annotations

import contextlib
import os
import time
import uuid
from typing import Any

import psycopg
import pytest

from kit.example import Owner
from kit.network import Net, Site, link, network, sign_of, until

net = pytest.fixture(network)
MAIN = "user_cards, user_storage"
ALL = f"{MAIN}, user_storage_versions"


def follow(
    here: Site,
    there: Site,
    tables: str,
    publish: str = "insert, update, delete",
    copy_data: bool = False,
) -> str:
    """Plain logical replication of tables; the name of the subscription."""
    name = link(here, there)
    there.run(f"CREATE PUBLICATION direct FOR TABLE {tables} WITH (publish = '{publish}')")
    there.run("SELECT pg_create_logical_replication_slot(%s, 'pgoutput')", name)
    here.run(
        f"CREATE SUBSCRIPTION {name} CONNECTION '{there.conninfo}' PUBLICATION direct"
        f" WITH (create_slot = false, slot_name = {name}, copy_data = {copy_data})"
    )
    return name


@contextlib.contextmanager
def unguarded(site: Site, table: str = "user_storage") -> Any:
    """Its administrator takes the checks off for a while."""
    site.run(f"ALTER TABLE {table} DISABLE TRIGGER USER")
    yield
    for name in site.all(
        "SELECT tgname FROM pg_trigger WHERE tgrelid = %s::regclass AND NOT tgisinternal", table
    ):
        site.run(f"ALTER TABLE {table} ENABLE ALWAYS TRIGGER {name}")


def marked(a: Site, b: Site, owner: Owner) -> None:
    """Wait until everything before now has been applied."""
    row = a.put(owner, b"marker")
    until(
        lambda: b.all("SELECT 1 FROM user_storage WHERE sign_b64 = %s", row["sign_b64"]), "marker"
    )


def kept(site: Site) -> list[Any]:
    return site.all(
        "SELECT value_b64 FROM user_storage WHERE value_b64 IS DISTINCT FROM 'marker'"
        " ORDER BY owner_timestamp"
    )


def archived(site: Site) -> list[Any]:
    return site.all("SELECT value_b64 FROM user_storage_versions ORDER BY owner_timestamp")


# -------------------------------------------------------------------------------------- what works
def test_inserts_and_updates_are_verified_and_merged_and_two_way_links_come_to_rest(
    net: Net,
) -> None:
    a, b = net.site(), net.site()
    follow(b, a, ALL)
    follow(a, b, ALL)
    ann, key = Owner(), uuid.uuid4()
    a.join(ann)
    until(lambda: b.all("SELECT 1 FROM user_cards"))
    a.put(ann, b"1", key)
    marked(a, b, ann)
    b.put(ann, b"2", key)
    marked(b, a, ann)
    a.put(ann, b"3", key)
    marked(a, b, ann)
    until(lambda: a.digests() == b.digests())
    assert (kept(b), archived(b)) == ([b"3"], [b"1", b"2"])
    assert a.quarantined() == b.quarantined() == []


def test_columns_that_are_not_signed_do_not_circle(net: Net) -> None:
    """Noted on both sides at once they changed places for ever; generated ones never were equal."""
    a, b = net.site(), net.site()
    for site in (a, b):
        site.run("SELECT rowseal.undeclare('user_storage')")
        site.run(
            "ALTER TABLE user_storage ADD seen integer, ADD twice integer GENERATED ALWAYS AS"
            " (length(value_b64) * 2) STORED"
        )
        site.run(
            "SELECT rowseal.declare('user_storage', owner => 'user_hash', identity => 'user_cards',"
            " versions => 'user_storage_versions', unsigned => '{seen,twice}', feed => true)"
        )
    ann = Owner()
    for site in (a, b):
        site.join(ann)
    follow(b, a, ALL)
    follow(a, b, ALL)
    key = uuid.uuid4()
    a.put(ann, b"1", key)
    marked(a, b, ann)
    a.put(ann, b"2", key)
    marked(a, b, ann)
    for n, site in enumerate((a, b)):
        site.run("UPDATE user_storage SET seen = %s", n)
    marked(a, b, ann)
    marked(b, a, ann)
    written = "SELECT xmin FROM user_storage WHERE uuid = %s"
    time.sleep(1)
    before = [site.one(written, key) for site in (a, b)]
    time.sleep(1.5)
    assert [site.one(written, key) for site in (a, b)] == before
    noted = "SELECT seen FROM user_storage WHERE uuid = %s"
    assert [site.one(noted, key) for site in (a, b)] == [0, 1]


def test_the_initial_copy_verifies_skips_merges_and_archives(net: Net) -> None:
    a, b = net.site(), net.site()
    ann, form = Owner(), a.form("user_storage")
    newer_here, newer_there, both, bad = (uuid.uuid4() for _ in range(4))
    for site in (a, b):
        site.join(ann)
    rows = {
        name: ann.sealed(form, ann.value(name.encode(), key))
        for name, key in (
            ("there-1", newer_there),
            ("here-1", newer_here),
            ("both", both),
            ("there-2", newer_there),
            ("here-2", newer_here),
            ("bad", bad),
        )
    }
    for name in ("there-2", "here-1", "both"):
        a.insert("user_storage", rows[name])
    only_there = a.put(ann, b"only there")
    with unguarded(a):
        a.insert("user_storage", {**rows["bad"], "value_b64": b"forged"})
    for name in ("there-1", "here-2", "both"):
        b.insert("user_storage", rows[name])
    b.put(ann, b"only here")
    name = follow(b, a, ALL, copy_data=True)
    until(
        lambda: b.one(
            "SELECT bool_and(srsubstate = 'r') FROM pg_subscription_rel r"
            " JOIN pg_subscription s ON s.oid = r.srsubid WHERE subname = %s",
            name,
        )
    )
    assert set(b.values()) == {
        b"there-2",
        b"here-2",
        b"both",
        b"only here",
        only_there["value_b64"],
    }
    assert set(archived(b)) == {b"there-1", b"here-1"}
    assert b.all("SELECT sqlstate, subscription FROM rowseal.quarantine") == [("RS001", name)]
    assert b.all("SELECT * FROM rowseal.verify('user_storage')") == []


def test_the_initial_copy_is_no_flood(net: Net) -> None:
    """What is copied before its owners waits as far as there is room, each owner with his share."""
    a, b = net.site(), net.site()
    b.run("UPDATE rowseal.quarantine_limits SET rows = 100")
    owners = [Owner(str(n)) for n in range(20)]
    a.join(*owners)
    for n in range(400):
        a.put(owners[0] if n < 350 else owners[n % 20])
    follow(b, a, "user_storage", copy_data=True)
    until(lambda: b.one("SELECT bool_and(srsubstate = 'r') FROM pg_subscription_rel"))
    waiting = "SELECT count(DISTINCT waits_for) FROM rowseal.quarantine"
    assert (b.one(waiting), b.one("SELECT count(*) <= 102 FROM rowseal.quarantine")) == (20, True)
    b.join(*owners)
    assert len(b.values()) > 90


def test_a_forged_row_never_stops_the_worker(net: Net) -> None:
    a, b = net.site(), net.site()
    follow(b, a, ALL, "insert, update, delete")
    ann, bob, form = Owner("Ann"), Owner("Bob"), a.form("user_storage")
    a.join(ann)
    first = a.put(ann, b"1")
    good = ann.sealed(form, ann.value(b"2"))
    with (
        unguarded(a),
        unguarded(a, "user_storage_versions"),
        unguarded(a, "user_cards"),
        a.connection.transaction(),
    ):
        for forged in (
            {**good, "value_b64": b"forged"},
            {**good, "uuid": uuid.uuid4()},
            {**good, "uuid": uuid.uuid4(), "sign_b64": None},
            {**good, "uuid": uuid.uuid4(), "deleted_flag": None},
            {**good, "uuid": uuid.uuid4(), "sign_b64": b"short"},
            {**good, "user_hash": bob.hash},
        ):
            a.insert("user_storage", forged)
            with contextlib.suppress(psycopg.IntegrityError), a.connection.transaction():
                a.insert(
                    "user_storage_versions",
                    {"storage_uuid" if k == "uuid" else k: v for k, v in forged.items()},
                )
        a.run(
            "UPDATE user_storage SET value_b64 = 'altered',"
            " owner_timestamp = owner_timestamp + 1 WHERE sign_b64 = %s",
            first["sign_b64"],
        )
        a.run(
            "UPDATE user_storage SET uuid = gen_random_uuid() WHERE sign_b64 = %s",
            first["sign_b64"],
        )
        a.run("UPDATE user_cards SET sign_pkey = %s", bob.public_key)
        a.run("UPDATE user_storage SET sign_b64 = NULL WHERE user_hash = %s", ann.hash)
        a.run("DELETE FROM user_storage")
        a.run("UPDATE user_cards SET sign_pkey = %s", ann.public_key)
        a.insert("user_storage", good)  # in the same transaction
    marked(a, b, ann)
    assert kept(b) == [b"1", b"2"]
    assert {"RS001", "RS002", "RS003"} == set(b.quarantined())
    assert (
        b.one(
            "SELECT apply_error_count FROM pg_stat_subscription_stats WHERE subname = %s",
            link(b, a),
        )
        == 0
    )
    assert (
        b.all("SELECT * FROM rowseal.verify('user_storage')")
        == b.all("SELECT * FROM rowseal.verify('user_cards')")
        == []
    )


@pytest.mark.parametrize("key", ["hash", "hash, j"])
def test_a_row_that_is_too_long_to_be_shown_never_stops_the_worker(key: str, net: Net) -> None:
    """A number of six bytes in json has 131,072 digits in jsonb; of 74 kB comes a gigabyte."""
    a, b = net.site(), net.site()
    columns = "hash bytea, j %s, deleted_flag boolean, owner_timestamp bigint, sign_b64 bytea"
    a.run(f"CREATE TABLE c ({columns % 'json'})")
    b.run(f"CREATE TABLE c ({columns % 'jsonb'}, PRIMARY KEY ({key}))")
    b.run("SELECT rowseal.declare('c', owner => 'hash', identity => 'user_cards')")
    follow(b, a, "c", "insert")
    row = "INSERT INTO c (hash, j, owner_timestamp) VALUES (%s, ('[' || %s || '1]')::json, 1)"
    a.run(row, b"\x01", "1e131071," * 8200)
    a.run(row, b"\x02", '"' + "\\u0001" * 200_000 + '",')
    ann = Owner()
    b.join(ann)
    good = {"hash": ann.hash, "j": "[]", "deleted_flag": False, "owner_timestamp": 1}
    a.insert("c", ann.sealed(b.form("c"), good))
    until(lambda: b.one("SELECT count(*) FROM c") == 1)
    known = b.all(
        "SELECT sqlstate, format, bytes < 1200000, row, row -> 'bytes' ->> 'j' ~ '^[0-9]+$'"
        " FROM rowseal.quarantine ORDER BY id"
    )
    # of the first its numbers alone are too long, and j has a size for them; of the second the row
    (first, second), shown = known, {"hash": "\\x02"} if key == "hash" else None
    assert first[:3] == ("RS006", "raw", True)
    assert {**first[3], "j": type(first[3]["j"])} == {
        "hash": "\\x01", "j": int, "deleted_flag": None, "owner_timestamp": 1, "sign_b64": None
    }  # fmt: skip
    assert (*second[:3], second[3]["bytes"]["owner_timestamp"], second[4]) == (
        *("RS001", "raw", True, 8), True,
    )  # fmt: skip
    assert second[3]["key"] == shown


def test_a_delete_of_a_row_that_is_too_long_to_be_shown_is_noted_and_skipped(net: Net) -> None:
    site = net.site()
    site.run("ALTER TABLE user_storage_versions ADD COLUMN j jsonb")
    site.run("ALTER TABLE user_storage ADD COLUMN j jsonb")
    ann = Owner()
    site.join(ann)
    site.put(ann, b"1")
    with unguarded(site):  # as a column that is unsigned could be
        site.run("UPDATE user_storage SET j = ('[' || repeat('1e131071,', 8200) || '1]')::jsonb")
    site.run("SET session_replication_role = replica")
    assert site.run("DELETE FROM user_storage") == 0
    site.run("RESET session_replication_role")
    (entry,) = site.all("SELECT sqlstate, row ->> 'user_hash', row -> 'j' FROM rowseal.quarantine")
    assert entry[:2] == ("RS004", f"\\x{ann.hash.hex()}") and entry[2] > 1000  # its bytes
    site.refused("RS004", "DELETE FROM user_storage")


def test_a_superuser_who_plays_replication_worker_gets_nothing_past_the_checks(net: Net) -> None:
    site = net.site()
    ann, form = Owner(), site.form("user_storage")
    site.join(ann)
    genuine = site.put(ann, b"1")
    site.run("SET session_replication_role = replica")
    assert (
        site.insert("user_storage", {**ann.sealed(form, ann.value()), "value_b64": b"forged"}) == 0
    )
    assert site.run("UPDATE user_storage SET value_b64 = 'forged'") == 0
    assert site.run("UPDATE user_storage SET uuid = gen_random_uuid()") == 0
    assert site.run("DELETE FROM user_storage") == 0
    site.refused("RS004", "TRUNCATE user_storage")
    newer = ann.sealed(form, ann.value(b"2", genuine["uuid"]))
    site.insert("user_storage", newer)
    assert (site.values(), archived(site)) == ([b"2"], [b"1"])
    assert site.one("SELECT count(*) FROM rowseal.quarantine") == 4


# --------------------------------------------------------------------------------------- the holes
def test_hole_1_an_update_or_delete_of_a_row_that_the_subscriber_lacks_is_lost(net: Net) -> None:
    a, b = net.site(), net.site()
    ann, key = Owner(), uuid.uuid4()
    a.join(ann)
    a.put(ann, b"1", key)
    follow(b, a, MAIN)  # without the initial copy: b lacks both rows
    a.put(ann, b"2", key)  # an UPDATE
    a.join(Owner("Bob"))
    until(lambda: b.all("SELECT 1 FROM user_cards"))
    assert (b.values(), b.quarantined()) == ([], [])  # no row, no error, nothing in the quarantine
    assert (
        b.one(
            "SELECT apply_error_count FROM pg_stat_subscription_stats WHERE subname = %s",
            link(b, a),
        )
        == 0
    )
    # the feed heals it
    a.run("SELECT rowseal.publish()")
    b.subscribe(a, "healer")
    assert b.digests() == a.digests()


def test_hole_2_large_values_that_do_not_change_are_sent_whole_by_our_trigger(net: Net) -> None:
    a, b = net.site(), net.site()
    follow(b, a, ALL)
    ann, key, large, other = Owner(), uuid.uuid4(), os.urandom(50_000), os.urandom(50_000)
    a.join(ann)
    a.put(ann, large, key)
    marked(a, b, ann)
    b.put(ann, other, key)  # what PostgreSQL would mix in, were the column missing
    last = a.put(ann, large, key)
    marked(a, b, ann)
    assert b.one(
        "SELECT value_b64 = %s FROM user_storage WHERE sign_b64 = %s", large, last["sign_b64"]
    )
    assert (b.quarantined(), len(archived(b))) == ([], 2)
    # without our trigger on the publisher the row cannot be verified:
    # it comes to the quarantine, not into the table
    b.put(ann, other, key)
    newest = ann.sealed(a.form("user_storage"), ann.value(large, key))
    with unguarded(a), unguarded(a, "user_storage_versions"):
        a.run(
            "UPDATE user_storage SET owner_timestamp = %s, sign_b64 = %s WHERE uuid = %s",
            newest["owner_timestamp"],
            newest["sign_b64"],
            key,
        )
    marked(a, b, ann)
    assert b.quarantined() == ["RS001"]
    assert b.one("SELECT value_b64 = %s FROM user_storage WHERE uuid = %s", other, key)
    assert b.all("SELECT * FROM rowseal.verify('user_storage')") == []


def test_hole_3_a_delete_is_skipped_and_noted(net: Net) -> None:
    a, b = net.site(), net.site()
    follow(b, a, MAIN)
    ann = Owner()
    a.join(ann)
    row = a.put(ann, b"1")
    marked(a, b, ann)
    with unguarded(a):
        a.run("DELETE FROM user_storage WHERE sign_b64 = %s", row["sign_b64"])
    marked(a, b, ann)
    assert (kept(a), kept(b)) == ([], [b"1"])
    assert b.all("SELECT sqlstate, subscription FROM rowseal.quarantine") == [("RS004", link(b, a))]


@pytest.mark.parametrize("tables", [MAIN, ALL])
def test_hole_4_versions_tables_converge_only_if_they_are_published_too(
    tables: str, net: Net
) -> None:
    a, b = net.site(), net.site()
    follow(b, a, tables)
    ann, key, form = Owner(), uuid.uuid4(), a.form("user_storage")
    a.join(ann)
    late = ann.sealed(form, ann.value(b"late", key))
    a.put(ann, b"1", key)
    a.insert("user_storage", late)  # goes straight into the versions table
    marked(a, b, ann)
    until(lambda: kept(b) == [b"1"])
    assert (archived(a), archived(b)) == ([b"late"], [b"late"] if tables == ALL else [])


def test_a_published_truncate_stops_the_link_but_takes_nothing(net: Net) -> None:
    a, b = net.site(), net.site()
    name = follow(b, a, MAIN, "insert, update, truncate")
    ann = Owner()
    a.join(ann)
    a.put(ann, b"1")
    marked(a, b, ann)
    with unguarded(a):
        a.run("TRUNCATE user_storage")
    until(lambda: b.one("SELECT errors FROM rowseal.links WHERE name = %s", name))
    assert kept(b) == [b"1"]


def test_rows_that_came_directly_enter_the_feed_as_well(net: Net) -> None:
    a, b = net.site(), net.site()
    name = follow(b, a, MAIN)
    ann = Owner()
    a.join(ann)
    row = a.put(ann, b"1")
    until(lambda: b.values())
    assert b.all(
        "SELECT subscription FROM rowseal.feed WHERE envelope ->> 'sign_b64' = %s", sign_of(row)
    ) == [name]
