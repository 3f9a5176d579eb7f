"""verify shows every row that is not what was signed."""

from __future__ import annotations

import uuid
from base64 import b64encode

import pytest

from kit.example import Owner
from kit.reading import KEY
from kit.scratch import Scratch, problems, seal, write


def test_verify_shows_every_row_that_is_not_what_was_signed(
    example: Scratch, admin: Scratch, ann: Owner, bob: Owner
) -> None:
    for value in (b"1", b"2"):
        write(example, ann, "user_storage", ann.value(value, KEY))
    write(example, bob, "user_storage", bob.value(b"b", KEY))
    assert problems(example, "user_storage") == problems(example, "user_cards") == []
    example.run(
        """ALTER TABLE user_storage DISABLE TRIGGER ALL;
            ALTER TABLE user_storage_versions DISABLE TRIGGER ALL; ALTER TABLE user_cards
            DISABLE TRIGGER ALL"""
    )
    tampered = {
        "UPDATE user_storage SET value_b64 = 'forged' WHERE user_hash = %s": ["RS001"],
        "UPDATE user_storage_versions SET owner_timestamp = owner_timestamp - 1"
        " WHERE user_hash = %s": ["RS001"],
        "UPDATE user_storage SET uuid = gen_random_uuid() WHERE user_hash = %s": ["RS001", "RS009"],
        "DELETE FROM user_storage WHERE user_hash = %s": ["RS009"],
        "INSERT INTO user_storage_versions SELECT * FROM user_storage WHERE user_hash = %s": [
            "RS009"
        ],
        "DELETE FROM user_cards WHERE user_hash = %s": ["RS002", "RS002"],
        "UPDATE user_storage SET sign_b64 = NULL WHERE user_hash = %s": ["RS001"],
    }
    for statement, expected in tampered.items():
        with example.connection.transaction(force_rollback=True):
            example.run(statement, ann.hash)
            assert sorted(problems(example, "user_storage")) == expected, statement
    example.run("UPDATE user_storage SET value_b64 = 'forged' WHERE user_hash = %s", bob.hash)
    key, sign, sqlstate, problem = example.one("SELECT * FROM rowseal.verify('user_storage')")
    assert (key["uuid"], sqlstate, problem) == (str(KEY), "RS001", "invalid signature")
    assert sign == example.one("SELECT sign_b64 FROM user_storage WHERE user_hash = %s", bob.hash)


@pytest.mark.parametrize("key", ["user_hash, uuid", "user_hash, uuid, sign_b64"])
def test_parallel_workers_see_the_same(
    key: str, example: Scratch, admin: Scratch, ann: Owner
) -> None:
    """Forced into a parallel plan, whose processes have Python of their own and no SQL in it."""
    example.run(f"""CREATE TABLE many (user_hash bytea, uuid uuid, tags text[], at timestamptz,
        span interval, doc jsonb, deleted_flag boolean, owner_timestamp bigint,
        parent_sign_b64 bytea, sign_b64 text, PRIMARY KEY ({key}))""")
    layout = example.one(
        "SELECT layout FROM rowseal.declare('many', owner => 'user_hash', identity => 'user_cards')"
    )
    form = example.form("many")
    for n in range(40):
        row = {
            **ann.value(key=uuid.UUID(int=n % 30)),
            "tags": ["a", None],
            "at": "2026-01-01 00:00:00+00",
            "span": "P1D",
            "doc": "{}",
        }
        del row["value_b64"]
        sealed = ann.sealed(form, row)
        example.insert("many", {**sealed, "sign_b64": b64encode(sealed["sign_b64"]).decode()})
    admin.run("ALTER TABLE many DISABLE TRIGGER zzz_rowseal_guard")
    admin.run("UPDATE many SET tags = '{b}' WHERE uuid = %s", uuid.UUID(int=29))
    admin.run("ALTER TABLE many ENABLE ALWAYS TRIGGER zzz_rowseal_guard")
    questions = (
        "SELECT * FROM rowseal.verify('many')",
        "SELECT rowseal.digest('many')",
        "SELECT bucket, rows, digest FROM rowseal.digests('many', 8)",
        "SELECT e FROM rowseal.export('many') e ORDER BY e ->> 'sign_b64'",
        "SELECT * FROM rowseal.verify('user_cards')",
    )
    serial = [admin.all(q) for q in questions]
    forced = (
        "debug_parallel_query"
        if admin.one("SELECT current_setting('server_version_num')::int") >= 160000
        else "force_parallel_mode"
    )
    admin.run(
        f"SET {forced} = on; SET parallel_setup_cost = 0; SET parallel_tuple_cost = 0;"
        " SET min_parallel_table_scan_size = 0"
    )
    assert [admin.all(q) for q in questions] == serial
    assert len(serial[0]) == 1 and len(serial[3]) == (40 if layout == "one table" else 30)


def test_verify_shows_a_foreign_card(example: Scratch, ann: Owner, bob: Owner) -> None:
    example.run("ALTER TABLE user_cards DISABLE TRIGGER ALL")
    example.run(
        "UPDATE user_cards SET sign_pkey = %s WHERE user_hash = %s", bob.public_key, ann.hash
    )
    assert problems(example, "user_cards") == ["RS001"]
    stolen = seal(example, bob, "user_cards", {**bob.card(), "user_hash": ann.hash})
    example.run("DELETE FROM user_cards WHERE user_hash = %s", ann.hash)
    example.insert("user_cards", stolen)
    assert problems(example, "user_cards") == ["RS005"]
