"""Two servers find where they differ and mend it; old versions can be pruned, here alone."""

from __future__ import annotations

import uuid
from base64 import b64encode

import psycopg
import pytest

from kit.db import Db
from kit.example import Owner
from kit.network import Net, Site, network
from kit.process import most_memory

net = pytest.fixture(network)


def filled(net: Net, keys: int = 40) -> tuple[Site, Site, Owner, Owner]:
    """Two sites with the same rows of two owners, each key with a superseded version."""
    a, b = net.site(), net.site()
    ann, bob = Owner("Ann"), Owner("Bob")
    for owner in (ann, bob):
        a.join(owner)
    for n in range(keys):
        for value in (b"old", b"new"):
            a.put(ann if n % 2 else bob, value, uuid.UUID(int=n))
    for table in ("user_cards", "user_storage"):
        b.apply(table, a.all("SELECT rowseal.export(%s)", table))
    assert a.digest("user_storage") == b.digest("user_storage")
    return a, b, ann, bob


def difference(a: Site, b: Site, *owner: str) -> set[tuple[bytes, bool, bool]]:
    return set(
        a.all(
            "SELECT sign, here, there FROM rowseal.compare('user_storage', %s, %s::jsonb)",
            b.conninfo,
            owner[0] if owner else None,
        )
    )


def test_equal_servers_have_no_difference_and_nothing_to_repair(net: Net) -> None:
    a, b, _, _ = filled(net)
    assert difference(a, b) == set()
    assert a.all("SELECT * FROM rowseal.repair('user_storage', %s)", b.conninfo) == []
    assert a.all("SELECT * FROM rowseal.digests('user_storage', 16)") == b.all(
        "SELECT * FROM rowseal.digests('user_storage', 16)"
    )
    assert sum(r[1] for r in a.all("SELECT * FROM rowseal.digests('user_storage', 16)")) == 80


def test_the_versions_that_one_side_lacks_are_named_and_fetched(net: Net) -> None:
    a, b, ann, bob = filled(net)
    form = a.form("user_storage")
    # a newer version of a key that both have
    mine = ann.sealed(form, ann.value(b"mine", uuid.UUID(int=3)))
    theirs = [
        bob.sealed(form, bob.value(b"theirs", key)) for key in (uuid.UUID(int=4), uuid.uuid4())
    ]
    a.insert("user_storage", mine)
    for row in theirs:
        b.insert("user_storage", row)
    assert difference(a, b) == {
        (mine["sign_b64"], True, False),
        *((r["sign_b64"], False, True) for r in theirs),
    }
    bobs = f'{{"user_hash": "{b64encode(bob.hash).decode()}"}}'
    assert difference(a, b, bobs) == {(r["sign_b64"], False, True) for r in theirs}
    assert (
        dict(a.all("SELECT * FROM rowseal.repair('user_storage', %s)", b.conninfo))["inserted"] == 1
    )
    assert difference(a, b) == {(mine["sign_b64"], True, False)}
    b.run("SELECT * FROM rowseal.repair('user_storage', %s)", a.conninfo)
    assert difference(b, a) == set() and a.digest("user_storage") == b.digest("user_storage")
    assert a.all("SELECT * FROM rowseal.verify('user_storage')") == []


def test_a_comparison_is_a_few_kilobytes_and_leaves_no_connection(net: Net) -> None:
    a, b, ann, _ = filled(net)
    lost = a.put(ann, b"only here")
    asked = "SELECT octet_length(rowseal._sums('user_storage', 7, NULL)::text)"
    assert a.one(asked) < 50_000
    assert difference(a, b) == {(lost["sign_b64"], True, False)}
    with pytest.raises(psycopg.Error):
        a.all("SELECT rowseal.compare('user_storage', %s)", b.conninfo + " dbname=nowhere")
    assert a.one("SELECT dblink_get_connections()") is None


def test_sums_depend_on_the_seed_and_on_every_version(net: Net) -> None:
    a, _, ann, _ = filled(net)
    sums = "SELECT rowseal._sums('user_storage', %s, NULL)"
    before, other = a.one(sums, 7), a.one(sums, 8)
    assert before != other and before == a.one(sums, 7)
    assert sum(x != 0 for x in before) == pytest.approx(80, abs=8)  # some share a bucket
    a.put(ann, b"one more")
    assert sum(x != y for x, y in zip(before, a.one(sums, 7))) == 1


def test_repair_takes_memory_for_a_batch_not_for_all(net: Net) -> None:
    """More than a gigabyte could not be repaired at all."""
    a, b, ann = net.site(), net.site(), Owner()
    for site in (a, b):
        site.join(ann)
    for n in range(40):
        a.put(ann, b"x" * 1_000_000, uuid.UUID(int=n % 30))
    for n in range(1200):
        a.put(ann, b"small", uuid.UUID(int=1000 + n))
    b.all("SELECT rowseal.compare('user_storage', %s)", a.conninfo)
    pid = b.one("SELECT pg_backend_pid()")
    before = most_memory(pid)
    outcomes = dict(b.all("SELECT * FROM rowseal.repair('user_storage', %s)", a.conninfo))
    assert most_memory(pid) - before < 200 * 2**20
    assert sum(outcomes.values()) == 40 + 1200
    assert a.digest("user_storage") == b.digest("user_storage")


def test_an_altered_row_shows_in_digest_and_digests_of_its_owner(net: Net) -> None:
    a, b, ann, bob = filled(net, keys=4)
    a.run(
        "ALTER TABLE user_storage DISABLE TRIGGER zzz_rowseal_guard;"
        f" UPDATE user_storage SET value_b64 = 'x' WHERE user_hash = '\\x{ann.hash.hex()}'"
    )
    for owner, equal in ((ann, False), (bob, True)):
        key = f'{{"user_hash": "{b64encode(owner.hash).decode()}"}}'
        digests = [s.one("SELECT rowseal.digest('user_storage', %s::jsonb)", key) for s in (a, b)]
        assert (digests[0] == digests[1]) is equal


def test_prune_drops_old_versions_here_alone_and_leaves_the_guards(
    example: Db, mallory: Db, ann: Owner
) -> None:
    form, key = example.form("user_storage"), uuid.uuid4()
    rows = [ann.sealed(form, ann.value(b"%d" % n, key)) for n in range(6)]
    for row in rows:
        example.insert("user_storage", row)
    mallory.refused("RS008", "SELECT rowseal.prune('user_storage')")
    assert example.one("SELECT rowseal.prune('user_storage', keep => 4)") == 1
    assert (
        example.one(
            "SELECT rowseal.prune('user_storage', before => %s)", rows[3]["owner_timestamp"]
        )
        == 2
    )
    assert example.all("SELECT value_b64 FROM user_storage_versions ORDER BY 1") == [b"3", b"4"]
    assert example.one("SELECT rowseal.prune('user_cards')") == 0  # unversioned: there is nothing
    example.refused("RS004", "DELETE FROM user_storage_versions")
    example.insert("user_storage", rows[0])  # what arrives again is archived again
    assert example.all("SELECT value_b64 FROM user_storage_versions ORDER BY 1") == [
        b"0",
        b"3",
        b"4",
    ]
    assert [h for h in example.all("SELECT ok FROM rowseal.health()") if not h] == []
