"""Owners and keys: fingerprints, certificates, keys of many types and of several columns."""

from __future__ import annotations

import hashlib
import json
import uuid
from base64 import b64encode
from decimal import Decimal
from typing import Any

import psycopg
import pytest

from kit.declaring import KEY, STORAGE, as_json, storage
from kit.example import Owner
from kit.scratch import CARD, Scratch, card, problems, seal, unwell, write


# ------------------------------------------------------------------------ identity and its options
@pytest.mark.parametrize("name", ["sha256", "sha512", "sha3-512", "blake2b-256"])
@pytest.mark.parametrize("prefix", [None, "", "user:"])
def test_a_fingerprint_binds_the_owner_to_the_key(
    name: str, prefix: str | None, db: Scratch
) -> None:
    ann, bob = Owner("Ann"), Owner("Bob")

    def owner_id(owner: Owner) -> Any:
        key = owner.public_key
        digest = (
            hashlib.blake2b(key, digest_size=32).digest()
            if name == "blake2b-256"
            else hashlib.new(name, key).digest()
        )
        return digest if prefix is None else prefix + digest.hex()

    db.run(f"CREATE TABLE c (id {'bytea' if prefix is None else 'text'} PRIMARY KEY, {CARD})")
    db.run(
        "SELECT rowseal.declare('c', owner => 'id', public_key => 'k',"
        " fingerprint => %s, legacy => %s)",
        name,
        None if prefix is None else json.dumps({"fingerprint_prefix": prefix}),
    )
    write(db, ann, "c", card(ann, id=owner_id(ann)))
    squatted = seal(db, bob, "c", card(bob, id=owner_id(Owner())))
    columns = ", ".join(squatted)
    diag = db.refused(
        "RS005", f"INSERT INTO c ({columns}) VALUES (%s, %s, %s, %s, %s)", *squatted.values()
    )
    assert name in str(diag.message_primary)
    assert problems(db, "c") == []


def test_certificates_are_signatures_over_the_named_columns(db: Scratch) -> None:
    db.run(
        f"CREATE TABLE c (id bytea PRIMARY KEY, a bytea, a_cert bytea, b text, b_cert text, {CARD})"
    )
    db.run(
        "SELECT rowseal.declare('c', owner => 'id', public_key => 'k',"
        ' certificates => \'{"a_cert": "a", "b_cert": "b"}\')'
    )
    ann = Owner()

    def of(value: bytes) -> bytes:
        return ann.key.sign(value).signature

    good = {
        "a": b"A",
        "a_cert": of(b"A"),
        "b": b64encode(b"B").decode(),
        "b_cert": b64encode(of(b"B")).decode(),
    }
    write(db, ann, "c", card(ann, **good))
    write(db, ann, "c", card(ann))  # none at all
    for wrong in (
        {"a": b"other"},
        {"a_cert": None},
        {"a": None},
        {"b": b64encode(b"A").decode()},
        {"b": "not base64"},
        {"b_cert": "?"},
    ):
        row = seal(db, ann, "c", card(ann, **{**good, **wrong}))
        diag = db.refused(
            "RS005",
            f"INSERT INTO c ({', '.join(row)}) VALUES ({', '.join(['%s'] * len(row))})",
            *row.values(),
        )
        assert "_cert" in str(diag.message_primary)


@pytest.mark.parametrize("storage_type", ["bytea", "text"])
def test_keys_signatures_and_parents_may_be_bytes_or_base64(storage_type: str, db: Scratch) -> None:
    ann, text = Owner(), storage_type == "text"

    def stored(raw: bytes) -> Any:
        return b64encode(raw).decode() if text else raw

    db.run(
        f"""CREATE TABLE cards (id bytea PRIMARY KEY, k {storage_type}, deleted_flag boolean,
            owner_timestamp bigint, sign_b64 {storage_type})"""
    )
    db.run("SELECT rowseal.declare('cards', owner => 'id', public_key => 'k')")
    db.run(f"""CREATE TABLE notes (id bytea, n int, value text, deleted_flag boolean,
        owner_timestamp bigint, parent_sign_b64 {storage_type}, sign_b64 {storage_type},
        PRIMARY KEY (id, n))""")
    db.run(
        "SELECT rowseal.declare('notes', owner => 'id', identity => 'cards',"
        " versions => 'notes_versions')"
    )
    write(db, ann, "cards", card(ann, k=stored(ann.public_key)), text=text)
    one = write(db, ann, "notes", storage(ann, "1"), text=text)
    two = write(db, ann, "notes", storage(ann, "2", parent_sign_b64=one["sign_b64"]), text=text)
    assert db.one("SELECT value, sign_b64 FROM notes") == ("2", two["sign_b64"])
    assert db.one("SELECT value, sign_b64 FROM notes_versions") == ("1", one["sign_b64"])
    assert db.all(
        "SELECT depth FROM rowseal.history('notes', %s)", as_json({"id": ann.hash, "n": 1})
    ) == [0, 1]
    if text:
        row = {**seal(db, ann, "notes", storage(ann)), "sign_b64": "no base64!"}
        db.refused(
            "RS001",
            f"INSERT INTO notes ({', '.join(row)}) VALUES ({', '.join(['%s'] * len(row))})",
            *row.values(),
        )
    assert problems(db, "notes") == []


def test_an_identity_table_may_keep_its_own_versions(db: Scratch) -> None:
    ann = Owner()
    db.run(f"CREATE TABLE two (id bytea PRIMARY KEY, parent_sign_b64 bytea, {CARD})")
    db.run(
        "SELECT rowseal.declare('two', owner => 'id', public_key => 'k',"
        " versions => 'two_versions')"
    )
    db.run(
        f"CREATE TABLE one (id bytea, parent_sign_b64 bytea, {CARD}, PRIMARY KEY (id, sign_b64))"
    )
    db.run(
        "SELECT rowseal.declare('one', owner => 'id', public_key => 'k', fingerprint => 'sha256')"
    )
    for table in ("two", "one"):
        write(db, ann, table, card(ann))
        write(db, ann, table, card(ann))
        other = seal(db, Owner(), table, {**card(Owner()), "id": ann.hash})
        with pytest.raises(psycopg.Error, match="public key of an owner never changes"):
            db.insert(table, other)
    assert (db.one("SELECT count(*) FROM two_versions"), db.one("SELECT count(*) FROM one")) == (
        1,
        2,
    )
    assert unwell(db) == []


# --------------------------------------------------------------------------------- keys and owners
def test_owners_of_several_columns(db: Scratch) -> None:
    db.run(f"CREATE TABLE cards (realm text, id bytea, {CARD}, PRIMARY KEY (realm, id))")
    db.run("SELECT rowseal.declare('cards', owner => '{realm,id}', public_key => 'k')")
    db.run(
        f"CREATE TABLE notes (who bytea, whence text, n int, {STORAGE},"
        " PRIMARY KEY (n, who, whence))"
    )
    db.run(
        "SELECT rowseal.declare('notes', owner => '{whence, who}', identity => 'cards',"
        " versions => 'notes_versions')"
    )
    ann = Owner()
    write(db, ann, "cards", {"realm": "here", **card(ann)})
    note = {
        "n": 1,
        "value": "v",
        "deleted_flag": False,
        "owner_timestamp": 1,
        "parent_sign_b64": None,
    }
    write(db, ann, "notes", {**note, "who": ann.hash, "whence": "here"})
    elsewhere = seal(db, ann, "notes", {**note, "who": ann.hash, "whence": "there"})
    diag = db.refused(
        "RS002",
        f"INSERT INTO notes ({', '.join(elsewhere)}) VALUES ({', '.join(['%s'] * len(elsewhere))})",
        *elsewhere.values(),
    )
    assert '"whence": "there"' in str(diag.message_primary)


def test_an_owner_column_that_looks_like_an_array(db: Scratch) -> None:
    db.run(f'CREATE TABLE c ("{{id}}" bytea PRIMARY KEY, {CARD})')
    db.run("SELECT rowseal.declare('c', owner => '{id}', public_key => 'k')")
    assert db.one("SELECT owner FROM rowseal.declarations") == ["{id}"]


@pytest.mark.parametrize(
    ("type_", "one", "same", "other"),
    [
        ("citext", "Ann", "ANN", "Bob"),
        ("numeric", Decimal("1.0"), Decimal("1.00"), Decimal("1.1")),
        ("text", "a", "a", "A"),
        ("varchar(9)", "a", "a", "b"),
        ("char(3)", "a  ", "a  ", "b  "),
        ("uuid", KEY, KEY, uuid.UUID(int=8)),
        (
            "timestamptz",
            "2026-11-21 09:00:00+00",
            "2026-11-21 09:00:00+00",
            "2026-11-21 09:00:00.1+00",
        ),
        ("date", "2026-11-21", "2026-11-21", "2026-11-22"),
        ("int[]", [1, 2], [1, 2], [2, 1]),
        ("int4range", "[1,3)", "[1,3)", "[1,4)"),
        ("inet", "10.0.0.1", "10.0.0.1", "10.0.0.2"),
        ("double precision", 1.5, 1.5, 0.1),
        ("mood", "glad", "glad", "sad"),
        ("named", "a", "a", "b"),
        ("bool", True, True, False),
        ("smallint", 1, 1, 2),
    ],
)
def test_keys_of_many_types(
    type_: str, one: Any, same: Any, other: Any, admin: Scratch, cards: Scratch
) -> None:
    db, ann = cards, Owner()
    admin.run(
        "CREATE SCHEMA types; GRANT USAGE ON SCHEMA types TO app;"
        " CREATE EXTENSION citext SCHEMA types"
    )
    admin.run(
        "CREATE TYPE types.mood AS ENUM ('sad', 'glad');"
        " CREATE DOMAIN types.named AS text CHECK (VALUE <> '')"
    )
    qualified = f"types.{type_}" if type_ in ("citext", "mood", "named") else type_
    db.run(f"CREATE TABLE notes (id bytea, n {qualified}, {STORAGE}, PRIMARY KEY (id, n))")
    db.run(
        "SELECT rowseal.declare('notes', owner => 'id', identity => 'cards',"
        " versions => 'notes_versions')"
    )
    write(db, ann, "cards", card(ann))
    for i, n in enumerate((one, same, other)):
        row = storage(ann, str(i), n=n)
        write(db, ann, "notes", row)
        assert db.apply("notes", [ann.envelope(db.form("notes"), row)]) == [("duplicate", None)]
    assert sorted(db.all("SELECT value FROM notes")) == ["1", "2"]
    assert db.all("SELECT value FROM notes_versions") == ["0"]
    assert problems(db, "notes") == []
    assert db.all(
        "SELECT (SELECT count(*) FROM rowseal.history('notes', to_jsonb(v))) FROM notes_versions v"
    ) == [2]
