"""The digest is a function of the set of rows."""

from __future__ import annotations

import hashlib
import itertools
import json
import random

from kit.db import Db, Server
from kit.example import Owner
from kit.reading import KEY, STORAGE, version
from kit.scratch import Scratch, seal, write


def sha256(value: bytes) -> bytes:
    return hashlib.sha256(value).digest()


def test_the_digest_of_an_empty_table_is_that_of_nothing(example: Scratch) -> None:
    assert example.digest("user_storage") == example.digest("user_cards") == sha256(b"")


def test_the_digest_is_that_of_its_definition(example: Scratch, ann: Owner) -> None:
    """Sorted hashes in 256 parts by their first byte, then the parts."""
    for n in range(300):
        example.insert("user_storage", seal(example, ann, "user_storage", ann.value(b"%d" % n)))
    rows = example.all(
        "SELECT rowseal.payload('user_storage', to_jsonb(s)), sign_b64 FROM user_storage s"
    )
    hashes = sorted(sha256(payload.encode() + sign) for payload, sign in rows)
    parts = (b"".join(part) for _, part in itertools.groupby(hashes, key=lambda h: h[0]))
    assert example.digest("user_storage") == sha256(b"".join(map(sha256, parts)))


def test_any_difference_changes_the_digest(example: Scratch, ann: Owner) -> None:
    seen = {example.digest("user_storage")}
    first = version(example, ann, b"1", None)
    rows = [
        first,
        version(example, ann, b"2", first),
        version(example, ann, b"", None, deleted_flag=True),
        seal(example, ann, "user_storage", ann.value(b"1")),
    ]
    for row in rows:
        example.insert("user_storage", row)
        seen.add(example.digest("user_storage"))
    assert len(seen) == 5
    example.run(
        "ALTER TABLE user_storage DISABLE TRIGGER ALL;"
        " ALTER TABLE user_storage_versions DISABLE TRIGGER ALL"
    )
    for statement in (
        "UPDATE user_storage SET value_b64 = value_b64 || 'x'",
        "DELETE FROM user_storage_versions WHERE value_b64 = '1'",
        "UPDATE user_storage SET sign_b64 = sign_b64 || '\\x00'",
    ):
        example.run(statement)
        seen.add(example.digest("user_storage"))
    assert len(seen) == 8


def test_the_digest_is_a_function_of_the_set_of_rows(
    example: Scratch, ann: Owner, bob: Owner
) -> None:
    first = version(example, ann, b"1", None)
    rows = [
        first,
        version(example, ann, b"2", first),
        version(example, ann, b"3", first),
        version(example, bob, b"b", None),
    ]
    seen = set()
    for order in itertools.islice(itertools.permutations(rows), 0, None, 3):
        with example.connection.transaction(force_rollback=True):
            for row in [*order, *order]:
                example.insert("user_storage", row)
            seen.add(
                (
                    example.digest("user_storage"),
                    tuple(map(str, example.all("SELECT * FROM user_storage ORDER BY user_hash"))),
                )
            )
    assert len(seen) == 1


def other_layout(there: Db) -> None:
    """The example's tables as one partitioned table with base64 text and other column names."""
    there.run(
        """CREATE TABLE cards (user_hash bytea PRIMARY KEY, sign_pkey bytea,
            contact_pkey bytea, contact_cert bytea, crypt_pkey bytea, crypt_cert bytea,
            name text, deleted_flag boolean, owner_timestamp bigint, sign_b64 text)"""
    )
    there.run(
        "SELECT rowseal.declare('cards', owner => 'user_hash',"
        " public_key => 'sign_pkey', tag => 'user_cards')"
    )
    there.run(
        f"CREATE TABLE storage ({STORAGE.format('text')},"
        " PRIMARY KEY (user_hash, uuid, sign_b64)) PARTITION BY HASH (user_hash)"
    )
    there.run("CREATE TABLE p PARTITION OF storage FOR VALUES WITH (MODULUS 1, REMAINDER 0)")
    there.run(
        "SELECT rowseal.declare('storage', owner => 'user_hash',"
        " identity => 'cards', tag => 'user_storage')"
    )
    there.run("ALTER TABLE storage RENAME value_b64 TO content")


def test_two_databases_agree_whatever_their_layout_and_storage(
    server: Server, example: Scratch, ann: Owner
) -> None:
    """Two tables with bytea here, another layout there."""
    first = version(example, ann, b"1", None)
    rows = [
        first,
        version(example, ann, b"2", first),
        version(example, ann, b"3", first, deleted_flag=True),
    ]
    form = example.form("user_storage")
    name = server.database()
    try:
        with server.connect(name, "app") as c:
            there = Db(c)
            other_layout(there)
            card = dict(zip(ann.card(), example.one("SELECT * FROM user_cards")))
            write(there, ann, "cards", card, tag="user_cards", text=True)
            random.Random(1).shuffle(rows)
            for row in rows:
                example.insert("user_storage", row)
            for row in reversed(rows):
                envelope = ann.envelope(form, {k: v for k, v in row.items() if k != "sign_b64"})
                there.run("SELECT rowseal.apply('storage', %s::json)", json.dumps(envelope))
            assert there.one("SELECT count(*) FROM storage") == 3
            assert there.digest("storage") == example.digest("user_storage")
            assert there.digest("cards") == example.digest("user_cards")
            another = {k: v for k, v in ann.value(None, KEY).items() if k != "value_b64"}
            another["content"] = b"4"
            write(there, ann, "storage", another, tag="user_storage", text=True)
            assert there.digest("storage") != example.digest("user_storage")
    finally:
        server.drop(name)
