"""Rules 4 and 5: every door merges alike and refuses alike; nothing is deleted,
moved or rewritten (docs/rules.md).
"""

from __future__ import annotations

import uuid
from typing import Any

import pytest

from kit.db import Db
from kit.example import Owner, tips, versions

KEY = uuid.UUID(int=7)


DOORS = {
    "insert": "INSERT INTO user_storage {row}",
    "on conflict do update": (
        "INSERT INTO user_storage {row} ON CONFLICT (user_hash, uuid) DO UPDATE"
        " SET value_b64 = EXCLUDED.value_b64, "
        "deleted_flag = EXCLUDED.deleted_flag, owner_timestamp = EXCLUDED.owner_timestamp,"
        " parent_sign_b64 = EXCLUDED.parent_sign_b64, sign_b64 = EXCLUDED.sign_b64"
    ),
    "on conflict do nothing": "INSERT INTO user_storage {row} ON CONFLICT DO NOTHING",
    "cte": "WITH x AS (INSERT INTO user_storage {row} RETURNING 1) SELECT 1",
    "versions table": "INSERT INTO user_storage_versions {row}",
    "merge": (
        "MERGE INTO user_storage t USING ({row}) s ON t.user_hash = s.user_hash AND t.uuid ="
        " s.uuid "
        "WHEN MATCHED THEN UPDATE SET value_b64 = s.value_b64, deleted_flag = s.deleted_flag,"
        " owner_timestamp = s.owner_timestamp, "
        "parent_sign_b64 = s.parent_sign_b64, sign_b64 = s.sign_b64 "
        "WHEN NOT MATCHED THEN INSERT VALUES (s.user_hash, s.uuid, s.value_b64, s.deleted_flag,"
        " s.owner_timestamp, s.parent_sign_b64, s.sign_b64)"
    ),
}


ROW = (
    "SELECT %s::bytea AS user_hash, %s::uuid AS uuid, %s::bytea AS value_b64,"
    " %s::boolean AS deleted_flag, %s::bigint AS owner_timestamp, %s::bytea AS parent_sign_b64,"
    " %s::bytea AS sign_b64"
)


@pytest.mark.parametrize("door", [*DOORS, "copy", "update"])
def test_every_door_merges_alike_and_refuses_alike(door: str, example: Db, ann: Owner) -> None:
    if door == "merge" and example.connection.info.server_version < 150000:
        pytest.skip("MERGE came with PostgreSQL 15")
    form = example.form("user_storage")

    def enter(row: dict[str, Any]) -> None:
        if door == "copy":
            with example.connection.cursor().copy("COPY user_storage FROM STDIN") as copy:
                copy.write_row(tuple(row.values()))
        elif door == "update" and tips(example):
            example.update("user_storage", row, "uuid = %s", row["uuid"])
        else:
            example.run(DOORS.get(door, DOORS["insert"]).format(row=ROW), *row.values())

    one, two, three = (ann.sealed(form, ann.value(v, KEY)) for v in (b"1", b"2", b"3"))
    for row in (two, one, three, two, three, one):
        enter(row)
    assert (tips(example), versions(example)) == ([b"3"], [b"1", b"2"])
    forged = {**ann.sealed(form, ann.value(b"4", KEY)), "value_b64": b"forged"}
    with pytest.raises(Exception) as error:
        enter(forged)
    assert error.value.sqlstate == "RS001"  # type: ignore[attr-defined]
    assert (tips(example), versions(example)) == ([b"3"], [b"1", b"2"])
    assert example.all("SELECT * FROM rowseal.verify('user_storage')") == []


def test_an_update_of_unsigned_columns_passes_and_survives_a_newer_version(db: Db) -> None:
    db.run(
        """CREATE TABLE cards (id bytea PRIMARY KEY, k bytea, seen boolean DEFAULT false,
            deleted_flag boolean, owner_timestamp bigint, sign_b64 bytea)"""
    )
    db.run(
        "SELECT rowseal.declare('cards', owner => 'id', public_key => 'k', unsigned => '{seen}')"
    )
    ann, form = Owner(), db.form("cards")
    card = {"id": ann.hash, "k": ann.public_key, "deleted_flag": False, "owner_timestamp": 1}
    db.insert("cards", ann.sealed(form, card))
    assert db.run("UPDATE cards SET seen = true") == 1
    db.insert("cards", ann.sealed(form, {**card, "owner_timestamp": 2}))
    assert db.one("SELECT seen, owner_timestamp FROM cards") == (True, 2)


def test_key_and_owner_never_change_in_an_update(example: Db, ann: Owner, bob: Owner) -> None:
    form = example.form("user_storage")
    example.insert("user_storage", ann.sealed(form, ann.value(b"1", KEY)))
    example.refused("RS003", "UPDATE user_storage SET uuid = %s", uuid.UUID(int=8))
    example.refused("RS003", "UPDATE user_storage SET user_hash = %s", bob.hash)


def test_delete_and_truncate_are_refused(example: Db, admin: Db, ann: Owner) -> None:
    form = example.form("user_storage")
    for value in (b"1", b"2"):
        example.insert("user_storage", ann.sealed(form, ann.value(value, KEY)))
    for who in (example, admin):
        for table in ("user_cards", "user_storage", "user_storage_versions"):
            who.refused("RS004", f"DELETE FROM {table}")
            who.refused("RS004", f"TRUNCATE {table}")


def test_history_is_append_only(example: Db, ann: Owner) -> None:
    form = example.form("user_storage")
    rows = [ann.sealed(form, ann.value(v, KEY)) for v in (b"1", b"2")]
    for row in rows:
        example.insert("user_storage", row)
    example.refused("RS009", "UPDATE user_storage_versions SET value_b64 = 'x'")
    genuine = {
        "storage_uuid" if c == "uuid" else c: v
        for c, v in ann.sealed(form, ann.value(b"3", KEY)).items()
    }
    example.refused(
        "RS009",
        "UPDATE user_storage_versions SET value_b64 = %s, owner_timestamp = %s, sign_b64 = %s",
        genuine["value_b64"],
        genuine["owner_timestamp"],
        genuine["sign_b64"],
    )


def test_large_values_are_sent_whole_when_an_update_leaves_them_alone(
    example: Db, admin: Db, ann: Owner
) -> None:
    import os

    form, big = example.form("user_storage"), os.urandom(50_000)
    row = ann.value(big, KEY)
    example.insert("user_storage", ann.sealed(form, row))
    again = ann.sealed(form, {**row, "owner_timestamp": next(ann.clock)})
    admin.run("SELECT pg_create_logical_replication_slot('toast', 'test_decoding')")
    try:
        example.run(
            "UPDATE user_storage SET owner_timestamp = %s, sign_b64 = %s",
            again["owner_timestamp"],
            again["sign_b64"],
        )
        changes = "".join(
            admin.all("SELECT data FROM pg_logical_slot_get_changes('toast', NULL, NULL)")
        )
    finally:
        admin.run("SELECT pg_drop_replication_slot('toast')")
    update = changes[changes.index("table public.user_storage: UPDATE") :]
    assert "unchanged-toast-datum" not in update and big.hex() in update
    assert example.all("SELECT * FROM rowseal.verify('user_storage')") == []


@pytest.mark.parametrize("versioned", [True, False])
def test_a_policy_that_hides_the_tip_from_update_is_no_lie_in_the_outcome(
    versioned: bool, mallory: Db, example: Db, ann: Owner
) -> None:
    """Nothing is said to be stored that is not."""
    if not versioned:
        example.run(
            "SELECT rowseal.undeclare('user_storage'); SELECT rowseal.declare('user_storage',"
            " owner => 'user_hash', identity => 'user_cards')"
        )
    form = example.form("user_storage")
    example.insert("user_storage", ann.sealed(form, ann.value(b"1", KEY)))
    example.run("""ALTER TABLE user_storage ENABLE ROW LEVEL SECURITY;
        CREATE POLICY look ON user_storage FOR SELECT USING (true);
        CREATE POLICY add ON user_storage FOR INSERT WITH CHECK (true);
        CREATE POLICY change ON user_storage FOR UPDATE USING (value_b64 <> '1')""")
    newer, stale = ann.value(b"2", KEY), ann.value(b"0", KEY, owner_timestamp=1)
    fresh, forged = ann.value(b"1"), ann.envelope(form, ann.value(b"3", KEY))
    forged["row"]["value_b64"] = "AAAA"
    mallory.run("SET client_min_messages = error")
    outcomes = mallory.apply("user_storage", [ann.envelope(form, r) for r in (newer, stale, fresh)])
    assert [o for o, _ in outcomes] == [
        "deferred",
        "archived" if versioned else "stale",
        "inserted",
    ]
    assert str(outcomes[0][1]).startswith("42501: row security hides")
    assert mallory.apply("user_storage", [forged])[0][0] != "inserted"
    diag = mallory.refused(
        "42501",
        "INSERT INTO user_storage (user_hash, uuid, value_b64, deleted_flag, owner_timestamp,"
        " parent_sign_b64, sign_b64) VALUES (%s, %s, %s, %s, %s, %s, %s)",
        *ann.sealed(form, newer).values(),
    )
    assert diag.message_hint
    assert sorted(tips(example)) == [b"1", b"1"]
    # where the policy lets him, the outcome is as ever
    example.run("ALTER POLICY change ON user_storage USING (true)")
    assert [o for o, _ in mallory.apply("user_storage", [ann.envelope(form, newer)])] == [
        "superseded"
    ]
