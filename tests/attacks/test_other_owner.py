"""Another owner writes, shadows and squats on nobody else's keys."""

from __future__ import annotations

from typing import Any

import pytest

from kit.attacks import (
    KEY,
    SEALED,
    STORAGE,
    VERSIONS,
    apply,
    attempt,
    insert,
    intact,
    row,
    state,
    table,
    unhealthy,
)
from kit.db import Db
from kit.example import Owner


def test_another_owner_writes_nothing_under_my_keys(example: Db, ann: Owner, bob: Owner) -> None:
    form, cards = example.form("user_storage"), example.form("user_cards")
    mine = ann.sealed(form, ann.value(b"Ann's", KEY))
    insert(example, "user_storage", mine)
    before = state(example)
    as_ann = Owner("Bob", bob.key)
    as_ann.hash = ann.hash
    for values in (
        as_ann.value(b"x", KEY),
        as_ann.value(b"x"),
        as_ann.value(None, KEY, deleted_flag=True),
    ):
        sealed = as_ann.sealed(form, values)
        assert insert(example, "user_storage", sealed) == "RS001"
        assert (
            insert(example, "user_storage_versions", dict(zip(VERSIONS, sealed.values())))
            == "RS001"
        )
        assert apply(example, "user_storage", [as_ann.envelope(form, values)])[0][0] == "rejected"
    for card in (
        as_ann.card(),
        as_ann.card(sign_pkey=ann.public_key),
        bob.card(user_hash=ann.hash, sign_pkey=ann.public_key),
        as_ann.card(deleted_flag=True),
    ):
        assert insert(example, "user_cards", bob.sealed(cards, card)) in ("RS001", "RS003", "RS005")
    for column, value in (
        ("user_hash", bob.hash),
        ("sign_b64", bob.sealed(form, ann.value(b"Ann's", KEY))["sign_b64"]),
    ):
        assert attempt(example, f"UPDATE user_storage SET {column} = %s", value) in (
            "RS001",
            "RS003",
        )
    theirs = bob.sealed(form, bob.value(b"Bob's", KEY))
    assert (
        attempt(
            example,
            "UPDATE user_storage SET " + ", ".join(f"{c} = %s" for c in STORAGE),
            *theirs.values(),
        )
        == "RS003"
    )
    assert state(example) == before
    # the same uuid under his own name is another key
    assert insert(example, "user_storage", theirs) is None
    assert example.all("SELECT value_b64 FROM user_storage ORDER BY value_b64") == [
        b"Ann's",
        b"Bob's",
    ] and intact(example)


def test_a_public_key_is_never_replaced_even_by_its_owner(
    example: Db, ann: Owner, bob: Owner
) -> None:
    form = example.form("user_cards")
    for by in (ann, bob):
        for changes in ({"sign_pkey": bob.public_key}, {"sign_pkey": None}):
            for deleted in (False, True):
                assert insert(
                    example,
                    "user_cards",
                    by.sealed(form, {**ann.card(**changes), "deleted_flag": deleted}),
                ) in ("RS003", "RS001", "RS002")
    assert (
        attempt(
            example,
            "UPDATE user_cards SET sign_pkey = %s WHERE user_hash = %s",
            bob.public_key,
            ann.hash,
        )
        == "RS003"
    )
    assert (
        attempt(
            example, "UPDATE user_cards SET user_hash = %s WHERE user_hash = %s", b"x", ann.hash
        )
        == "RS003"
    )


@pytest.mark.parametrize("layout", ["unversioned", "two tables", "one table"])
def test_in_every_layout_an_owner_keeps_one_public_key(layout: str, db: Db) -> None:
    key = "id, sign_b64" if layout == "one table" else "id"
    db.run(f"CREATE TABLE cards (id bytea, k bytea, {SEALED}, PRIMARY KEY ({key}))")
    options = ", versions => 'cards_versions'" if layout == "two tables" else ""
    db.run(
        "SELECT rowseal.declare('cards', owner => 'id', public_key => 'k',"
        f" fingerprint => 'sha256'{options})"
    )
    ann, other, form = Owner(), Owner(), db.form("cards")

    def card(by: Owner, **changes: Any) -> dict[str, Any]:
        values = {
            "id": ann.hash,
            "k": by.public_key,
            "deleted_flag": False,
            "owner_timestamp": 5,
            "parent_sign_b64": None,
        }
        return by.sealed(form, {**values, **changes})

    assert insert(db, "cards", card(other)) == "RS005"
    assert insert(db, "cards", card(ann)) is None
    odd = [card(other, owner_timestamp=t) for t in (1, 9)] + [
        card(ann, k=other.public_key, owner_timestamp=t) for t in (1, 9)
    ]
    for target in ("cards", *(["cards_versions"] if layout == "two tables" else [])):
        for values in odd:
            assert insert(db, target, values) in ("RS003", "RS001", "RS005"), (
                target,
                values["owner_timestamp"],
            )
    assert db.one("SELECT count(*) FROM cards") == 1 and intact(db, "cards")


def test_a_certificate_of_another_owner_does_not_fit(example: Db, ann: Owner, bob: Owner) -> None:
    form = example.form("user_cards")
    theirs = {
        "contact_pkey": b"contact of Bob",
        "contact_cert": bob.key.sign(b"contact of Bob").signature,
    }
    assert insert(example, "user_cards", ann.sealed(form, ann.card(**theirs))) == "RS005"
    assert insert(example, "user_cards", bob.sealed(form, bob.card(**theirs))) is None


def test_a_unique_value_is_nobodys_to_take_first(example: Db, ann: Owner, bob: Owner) -> None:
    table(example, "q", "uuid uuid, email text UNIQUE", declare=None)
    if attempt(
        example, "SELECT rowseal.declare('q', owner => 'user_hash', identity => 'user_cards')"
    ):
        return  # refused: a second unique key without the owner decides by order of arrival
    form = example.form("q")
    insert(example, "q", bob.sealed(form, row(bob, email="ann@example.org")))
    assert (
        insert(example, "q", ann.sealed(form, row(ann, email="ann@example.org"))) is None
        or unhealthy(example) != []
    )


def test_a_unique_index_made_later_is_seen(example: Db) -> None:
    if attempt(example, "CREATE UNIQUE INDEX ON user_storage (uuid)") is None:
        assert unhealthy(example) != []


def test_an_owner_of_an_array_type_can_write(db: Db) -> None:
    db.run(
        f"CREATE TABLE cards (id int[] PRIMARY KEY, k bytea, {SEALED});"
        f" CREATE TABLE q (id int[], n int, {SEALED}, PRIMARY KEY (id, n))"
    )
    if attempt(db, "SELECT rowseal.declare('cards', owner => 'id', public_key => 'k')"):
        return
    db.run("SELECT rowseal.declare('q', owner => 'id', identity => 'cards')")
    ann = Owner()
    common = {"id": [1, 2], "deleted_flag": False, "owner_timestamp": 1, "parent_sign_b64": None}
    assert (
        insert(db, "cards", ann.sealed(db.form("cards"), {**common, "k": ann.public_key})) is None
    )
    assert insert(db, "q", ann.sealed(db.form("q"), {**common, "n": 1})) is None
