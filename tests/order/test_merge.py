"""Rules 2 and 3: which of two versions is newer, and what becomes of the older (docs/rules.md)."""

from __future__ import annotations

import uuid

from kit.db import Db
from kit.example import Owner, tips, versions

KEY = uuid.UUID(int=7)


def test_a_newer_row_supersedes_and_the_older_one_is_archived_verbatim(
    example: Db, ann: Owner
) -> None:
    form = example.form("user_storage")
    first = ann.sealed(form, ann.value(b"one", KEY))
    second = ann.sealed(form, ann.value(b"two", KEY, parent_sign_b64=first["sign_b64"]))
    assert example.insert("user_storage", first) == 1
    assert example.insert("user_storage", second) == 0  # merged: the client's own INSERT is skipped
    assert tips(example) == [b"two"]
    archived = example.one(
        "SELECT user_hash, storage_uuid, value_b64, deleted_flag, owner_timestamp,"
        " parent_sign_b64, sign_b64 FROM user_storage_versions"
    )
    assert archived == tuple(first.values())


def test_a_current_version_that_lost_its_timestamp_stops_no_newer_one(
    example: Db, ann: Owner
) -> None:
    """The table's owner can do that, while its guard is off."""
    form = example.form("user_cards")
    first, second = (ann.sealed(form, ann.card(name=name)) for name in ("before", "after"))
    example.insert("user_cards", first)
    example.run(
        "ALTER TABLE user_cards ALTER owner_timestamp DROP NOT NULL,"
        " DISABLE TRIGGER zzz_rowseal_guard; UPDATE user_cards SET owner_timestamp = NULL;"
        " ALTER TABLE user_cards ENABLE ALWAYS TRIGGER zzz_rowseal_guard"
    )
    assert example.insert("user_cards", second) == 0
    assert example.all("SELECT name FROM user_cards") == ["after"]


def test_an_older_row_is_archived_once_and_a_duplicate_writes_nothing(
    example: Db, ann: Owner
) -> None:
    form = example.form("user_storage")
    old, new = (ann.sealed(form, ann.value(v, KEY)) for v in (b"old", b"new"))
    for row in (new, old, old, new, old):
        example.insert("user_storage", row)
    assert (tips(example), versions(example)) == ([b"new"], [b"old"])
    xid = example.one("SELECT pg_current_xact_id()::text::bigint")
    example.insert("user_storage", new)
    example.insert("user_storage", old)
    # the question itself, nothing else
    assert example.one("SELECT pg_current_xact_id()::text::bigint") == xid + 1


def test_equal_timestamps_are_ordered_by_deletion_then_signature_bytes(
    example: Db, ann: Owner
) -> None:
    form = example.form("user_storage")
    rows = [ann.sealed(form, ann.value(bytes([i]), KEY, owner_timestamp=5)) for i in range(4)]
    dead = ann.sealed(form, ann.value(None, KEY, owner_timestamp=5, deleted_flag=True))
    for row in rows:
        example.insert("user_storage", row)
    assert example.one("SELECT sign_b64 FROM user_storage") == max(r["sign_b64"] for r in rows)
    example.insert("user_storage", dead)
    assert example.one("SELECT sign_b64 FROM user_storage") == dead["sign_b64"]
    assert len(versions(example)) == 4


def test_a_tombstone_is_accepted_for_a_key_never_seen_and_can_be_superseded(
    example: Db, ann: Owner
) -> None:
    form = example.form("user_storage")
    example.insert("user_storage", ann.sealed(form, ann.value(None, KEY, deleted_flag=True)))
    example.insert("user_storage", ann.sealed(form, ann.value(b"again", KEY)))
    assert tips(example) == [b"again"]


def test_the_same_key_twice_in_one_statement(example: Db, ann: Owner) -> None:
    form = example.form("user_storage")
    rows = [ann.sealed(form, ann.value(bytes([i]), KEY)) for i in (3, 1, 2)]
    with example.connection.cursor().copy("COPY user_storage FROM STDIN") as copy:
        for row in [*rows, *rows]:
            copy.write_row(tuple(row.values()))
    newest = max(rows, key=lambda r: r["owner_timestamp"])
    assert example.one("SELECT sign_b64 FROM user_storage") == newest["sign_b64"]
    assert len(versions(example)) == 2


def test_a_deleted_identity_goes_on_vouching(example: Db, ann: Owner) -> None:
    example.insert(
        "user_cards", ann.sealed(example.form("user_cards"), ann.card(deleted_flag=True))
    )
    assert (
        example.insert("user_storage", ann.sealed(example.form("user_storage"), ann.value(b"1")))
        == 1
    )


def test_unversioned_tables_keep_the_tip_alone(example: Db, ann: Owner) -> None:
    form = example.form("user_cards")
    old, new = ann.card(name="old"), ann.card(name="new")
    example.insert("user_cards", ann.sealed(form, new))
    example.insert("user_cards", ann.sealed(form, old))
    assert example.all("SELECT name FROM user_cards") == ["new"]
