"""docs/specification.md: every example holds, byte for byte, by others' code and by ours."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import struct
from collections.abc import Iterator
from datetime import datetime
from typing import Any

import pytest
import rfc8785
from nacl.signing import SigningKey, VerifyKey
from psycopg.types.json import Json, Jsonb

from kit.db import Db, Server
from kit.specification import EXAMPLES, PAGE, PUBLIC_KEY, SEED, Example, every
from rowseal import client
from rowseal.form.canonical import JSON_DEPTH, jcs
from rowseal.form.signature import HASHES
from rowseal.generate.plan import PINNED


def test_there_are_examples_with_one_key() -> None:
    assert len(EXAMPLES) >= 4 and len(re.findall(r"^### ", PAGE, re.MULTILINE)) == len(EXAMPLES)
    assert bytes(SigningKey(SEED).verify_key) == PUBLIC_KEY


# ------------------------------------------------------------------------- by other projects' code
@every
def test_payload_bytes_signature_and_envelope_belong_together(example: Example) -> None:
    assert example.payload.encode() == example.octets
    document = json.loads(example.payload)
    assert set(document) == {"row", "rowseal", "table"} and document["table"] == example.tag
    assert rfc8785.dumps(json.loads(example.payload, parse_int=float)) == example.octets
    assert (
        base64.b64encode(SigningKey(SEED).sign(example.octets).signature).decode()
        == example.signature
    )
    VerifyKey(PUBLIC_KEY).verify(example.octets, base64.b64decode(example.signature, validate=True))
    assert example.envelope == {**document, "sign_b64": example.signature}


def value(type_: str, text: str) -> Any:
    """The page's type table, as far as it can be read off PostgreSQL's text with little code."""
    if type_ == "boolean":
        return {"t": True, "f": False}[text]
    if type_ == "bytea":
        return base64.b64encode(bytes.fromhex(text.removeprefix("\\x"))).decode()
    if type_ in ("real", "double precision") and text not in ("-0", "NaN"):
        number = float(text)
        if number in (float("inf"), float("-inf")):
            return "Infinity" if number > 0 else "-Infinity"
        return struct.unpack("f", struct.pack("f", number))[0] if type_ == "real" else number
    if type_ in ("timestamp", "timestamptz"):
        moment = (
            datetime.fromisoformat(text).replace(tzinfo=None).isoformat(timespec="microseconds")
        )
        return moment + ("Z" if type_ == "timestamptz" else "")
    if type_ == "time":
        return text + ".000000"
    if type_ in ("json", "jsonb"):
        return json.loads(text, parse_int=float)
    return text


BY_HAND = {
    "integer[]": [["1", None], ["3", "4"]],
    "bytea[]": ["AA==", None],
    "spot": {"x": "1.50", "tags": ["a"]},
}


@every
def test_the_payload_follows_from_the_row_by_the_type_table(example: Example) -> None:
    row: dict[str, Any] = {
        c: BY_HAND[t] if t in BY_HAND else value(t, text)
        for c, (t, text) in example.row.items()
        if text is not None
    }
    assert rfc8785.dumps({"row": row, "rowseal": 1, "table": example.tag}) == example.octets


def test_the_card_shows_fingerprint_and_certificate() -> None:
    row = {
        c: base64.b64decode(v)
        for c, v in EXAMPLES[0].envelope["row"].items()
        if c not in ("name", "deleted_flag", "owner_timestamp")
    }
    assert (
        row["user_hash"] == hashlib.sha256(row["sign_pkey"]).digest()
        and row["sign_pkey"] == PUBLIC_KEY
    )
    VerifyKey(PUBLIC_KEY).verify(row["contact_pkey"], row["contact_cert"])
    assert EXAMPLES[2].envelope["row"]["parent_sign_b64"] == EXAMPLES[1].signature


# ------------------------------------------------------------------------------------- by our code
@every
def test_our_client_writes_the_same(example: Example) -> None:
    # json.loads gives ints, which jcs takes where a double holds them
    assert jcs(json.loads(example.payload)) == example.octets
    assert client.verify(example.envelope, PUBLIC_KEY)
    assert not client.verify({**example.envelope, "table": "other"}, PUBLIC_KEY)


KEYS = {"user_cards": "user_hash", "user_storage": "user_hash, uuid"}
DECLARE = {
    "user_cards": (
        "owner => 'user_hash', public_key => 'sign_pkey', fingerprint => 'sha256',"
        ' certificates => \'{"contact_cert": "contact_pkey"}\''
    ),
    "user_storage": (
        "owner => 'user_hash', identity => 'user_cards', versions => 'user_storage_versions'"
    ),
}


@pytest.fixture(scope="module")
def specified(server: Server) -> Iterator[tuple[Db, dict[str, str]]]:
    """A database with a declared table for each tag; the tables' names."""
    database = server.database()
    tables: dict[str, str] = {}
    with server.connect(database, "app") as c:
        db = Db(c)
        for example in EXAMPLES:
            if example.tag not in tables:
                table = tables[example.tag] = (
                    example.tag if example.tag.isidentifier() else f"table_{len(tables)}"
                )
                columns = ", ".join(
                    '"' + n.replace('"', '""') + f'" {t}' for n, (t, _) in example.row.items()
                )
                if example.types:
                    db.run(example.types)
                db.run(
                    f"CREATE TABLE {table} ({columns}, sign_b64 bytea,"
                    f" PRIMARY KEY ({KEYS.get(example.tag, 'id')}))"
                )
                options = DECLARE.get(example.tag, "owner => 'id', public_key => 'key'")
                db.run(f"SELECT rowseal.declare('{table}', {options}, tag => %s)", example.tag)
        for example in EXAMPLES:
            names = ", ".join('"' + n.replace('"', '""') + '"' for n in example.row)
            texts = [text for _, text in example.row.values()]
            marks = ", ".join(["%s"] * len(texts))
            db.run(
                f"INSERT INTO {tables[example.tag]} ({names}, sign_b64) VALUES ({marks}, %s)",
                *texts,
                base64.b64decode(example.signature),
            )
        yield db, tables
    server.drop(database)


def test_the_server_accepts_the_rows_as_shown(specified: tuple[Db, dict[str, str]]) -> None:
    db, tables = specified
    for tag, table in tables.items():
        signatures = {base64.b64decode(e.signature) for e in EXAMPLES if e.tag == tag}
        stored = db.all(f"SELECT sign_b64 FROM {table}") + (
            db.all(f"SELECT sign_b64 FROM {table}_versions") if tag == "user_storage" else []
        )
        assert set(stored) == signatures and len(stored) == len(signatures)
        assert db.all("SELECT * FROM rowseal.verify(%s)", table) == []
    # the deletion came last and is the highest
    assert db.one("SELECT deleted_flag FROM user_storage")


@every
def test_the_server_writes_the_same_from_the_envelope(
    specified: tuple[Db, dict[str, str]], example: Example
) -> None:
    # example 4 fails while JSON null in a json column is read as SQL NULL
    # (accept/test_canonical_form.py)
    db, tables = specified
    assert (
        db.one(
            "SELECT rowseal.payload(%s, %s)", tables[example.tag], Jsonb(example.envelope["row"])
        )
        == example.payload
    )
    assert (
        db.one(
            "SELECT outcome FROM rowseal.apply(%s, %s)",
            tables[example.tag],
            Json(example.envelope),
        )
        == "duplicate"
    )


def test_what_the_page_says_of_constants_is_so() -> None:
    assert f"more than {JSON_DEPTH} arrays and objects" in PAGE
    for setting, text in PINNED.items():
        assert re.search(
            rf"^    .*{setting} = '?{re.escape(text)}'?", PAGE, re.MULTILINE | re.IGNORECASE
        ), setting
    for fingerprint in HASHES:
        assert f"`{fingerprint}`" in PAGE
