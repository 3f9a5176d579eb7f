"""history walks the tree of versions, heads shows its open ends."""

from __future__ import annotations

import json
from base64 import b64decode, b64encode
from typing import Any

import pytest

from kit.example import Owner
from kit.process import cpu, spent
from kit.reading import KEY, key_of, version
from kit.scratch import Scratch, write


@pytest.mark.parametrize("table", ["user_storage", "one_table"])
def test_history_walks_the_tree_and_heads_shows_its_open_ends(
    table: str, example: Scratch, ann: Owner, bob: Owner
) -> None:
    def put(value: bytes, parent: dict[str, Any] | None, **changes: Any) -> dict[str, Any]:
        return write(
            example,
            ann,
            table,
            ann.value(value, KEY, parent_sign_b64=parent and parent["sign_b64"], **changes),
        )

    call = f"FROM rowseal.{{}}('{table}', %s)"
    assert example.all("SELECT * " + call.format("history"), key_of(ann)) == []
    root = put(b"root", None)
    left, right = put(b"left", root), put(b"right", root)  # two devices that did not see each other
    write(example, bob, table, bob.value(b"bob's", KEY))
    rows = example.all(
        "SELECT depth, sign, parent, owner_timestamp, deleted, tip, gap, row ->> 'value_b64' "
        + call.format("history"),
        key_of(ann),
    )

    def shown(depth: int, row: dict[str, Any], parent: bytes | None, tip: bool) -> tuple[Any, ...]:
        value = b64encode(row["value_b64"]).decode()
        at = row["owner_timestamp"]
        return (depth, row["sign_b64"], parent, at, False, tip, False, value)

    assert rows == [
        shown(0, root, None, False),
        shown(1, left, root["sign_b64"], False),
        shown(1, right, root["sign_b64"], True),
    ]
    heads = "SELECT sign, tip " + call.format("heads")
    assert example.all(heads, key_of(ann)) == [(right["sign_b64"], True), (left["sign_b64"], False)]
    merged = put(b"merged", left)  # a child of one head: the other stays open
    assert example.all(heads, key_of(ann)) == [
        (merged["sign_b64"], True),
        (right["sign_b64"], False),
    ]
    put(b"", right, deleted_flag=True)
    assert example.all("SELECT deleted, tip " + call.format("heads"), key_of(ann)) == [
        (True, True),
        (False, False),
    ]
    assert example.all("SELECT depth " + call.format("history"), key_of(ann)) == [0, 1, 1, 2, 2]
    assert example.all("SELECT depth " + call.format("history"), key_of(bob)) == [0]


def test_a_missing_parent_is_a_gap_until_it_comes(example: Scratch, ann: Owner) -> None:
    one = version(example, ann, b"1", None)
    two = version(example, ann, b"2", one)
    three = version(example, ann, b"3", two)
    call = "SELECT depth, gap, tip FROM rowseal.history('user_storage', %s)"
    example.insert("user_storage", three)  # it does not block a row
    assert example.all(call, key_of(ann)) == [(0, True, True)]
    example.insert("user_storage", one)
    assert example.all(call, key_of(ann)) == [(0, False, False), (0, True, True)]
    assert len(example.all("SELECT * FROM rowseal.heads('user_storage', %s)", key_of(ann))) == 2
    example.insert("user_storage", two)
    assert example.all(call, key_of(ann)) == [
        (0, False, False),
        (1, False, False),
        (2, False, True),
    ]
    assert example.all("SELECT sign FROM rowseal.heads('user_storage', %s)", key_of(ann)) == [
        three["sign_b64"]
    ]


def test_a_child_may_be_older_than_its_parent(example: Scratch, ann: Owner) -> None:
    """A slow clock: the tip is by timestamp, the tree and its order by parents."""
    parent = version(example, ann, b"parent", None, owner_timestamp=100)
    child = version(example, ann, b"child", parent, owner_timestamp=50)
    for row in (parent, child):
        example.insert("user_storage", row)
    assert example.all(
        "SELECT depth, tip FROM rowseal.history('user_storage', %s)", key_of(ann)
    ) == [(0, True), (1, False)]
    assert example.all("SELECT tip FROM rowseal.heads('user_storage', %s)", key_of(ann)) == [False]


def test_history_of_an_unversioned_table_is_its_tip(example: Scratch, ann: Owner) -> None:
    write(example, ann, "user_cards", ann.card(name="new"))
    key = json.dumps({"user_hash": "\\x" + ann.hash.hex()})
    assert example.all(
        "SELECT depth, parent, tip, gap, row ->> 'name' FROM rowseal.history('user_cards', %s)", key
    ) == [(0, None, True, False, "new")]
    assert example.all("SELECT tip FROM rowseal.heads('user_cards', %s)", key) == [True]
    assert example.all("SELECT * FROM rowseal.history('user_cards', '{}')") == []


def test_the_history_of_versions_that_name_all_before_them(example: Scratch, ann: Owner) -> None:
    """200 of them took 37 seconds, as each way to a version was followed."""
    example.run(
        "CREATE TABLE n (user_hash bytea, k int, merged_sign_b64 bytea[],"
        " parent_sign_b64 bytea, deleted_flag boolean, owner_timestamp bigint,"
        " sign_b64 bytea, PRIMARY KEY (user_hash, k));"
        "SELECT rowseal.declare('n', owner => 'user_hash', identity => 'user_cards',"
        " versions => 'nv')"
    )
    form = example.form("n")
    signs: list[bytes] = []

    def put(k: int, at: int, parent: bytes | None, merged: list[bytes]) -> None:
        row = {
            "user_hash": ann.hash,
            "k": k,
            "deleted_flag": False,
            "owner_timestamp": at,
        }
        row |= {"parent_sign_b64": parent, "merged_sign_b64": merged}
        envelope = ann.envelope(form, row)
        assert example.apply("n", [envelope]) == [("archived" if at < 300 else "inserted", None)]
        signs.append(b64decode(envelope["sign_b64"]))

    for n in range(300):
        put(1, 300 - n, signs[-1] if signs else None, signs[:-1])
    last = signs[-1]
    pid = example.one("SELECT pg_backend_pid()")
    before = cpu(pid)
    call = "SELECT {} FROM rowseal.{}('n', %s)"
    key = json.dumps({"user_hash": b64encode(ann.hash).decode(), "k": 1})
    assert example.all(call.format("depth", "history"), key) == list(range(300))
    assert example.all(call.format("sign", "heads"), key) == [last]
    assert spent(pid, before) < 3
