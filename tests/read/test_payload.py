"""payload is the text that a client signs (rule 6)."""

from __future__ import annotations

import json
import uuid

import pytest

from kit.example import Owner
from kit.reading import KEY
from kit.scratch import Scratch, write


def test_payload_is_the_text_that_the_client_signs(example: Scratch) -> None:
    ann = Owner()
    row = ann.value(b"\x00\xff", KEY)
    expected = example.form("user_storage").payload_of(row).decode()
    canonical = json.loads(expected)["row"]
    assert (
        example.one("SELECT rowseal.payload('user_storage', %s)", json.dumps(canonical)) == expected
    )
    stored = {
        k: "\\x" + v.hex() if isinstance(v, bytes) else str(v) if isinstance(v, uuid.UUID) else v
        for k, v in row.items()
    }
    # as to_jsonb shows it
    assert example.one("SELECT rowseal.payload('user_storage', %s)", json.dumps(stored)) == expected
    assert expected.startswith(
        '{"row":{"deleted_flag":false,"owner_timestamp":"'
    ) and expected.endswith('"},"rowseal":1,"table":"user_storage"}')
    assert "parent_sign_b64" not in expected  # NULL is left out


def test_payload_takes_a_stored_row_and_ignores_its_signature(example: Scratch, ann: Owner) -> None:
    row = write(example, ann, "user_storage", ann.value(b"v", KEY))
    text = (
        example.form("user_storage")
        .payload_of({k: v for k, v in row.items() if k != "sign_b64"})
        .decode()
    )
    assert (
        example.one("SELECT rowseal.payload('user_storage', to_jsonb(s)) FROM user_storage s")
        == text
    )


def test_payload_of_an_unknown_field_is_refused(example: Scratch) -> None:
    diag = example.refused("RS015", "SELECT rowseal.payload('user_storage', '{\"valu\": 1}')")
    assert (
        "'valu'" in str(diag.message_primary)
        and "user_storage" in str(diag.message_primary)
        and "value_b64" in str(diag.message_hint)
    )


def test_payload_does_not_depend_on_settings(example: Scratch) -> None:
    example.run(
        """CREATE TABLE c (id text PRIMARY KEY, k bytea, at timestamptz, d interval, f float8,
            b bytea[], deleted_flag bool, owner_timestamp bigint, sign_b64 bytea)"""
    )
    example.run("SELECT rowseal.declare('c', owner => 'id', public_key => 'k')")
    row = '{"at": "2026-11-21T09:00:00.000000Z", "d": "P1DT2H", "f": 0.1, "b": ["\\\\xff", "/w=="]}'
    expected = (
        '{"row":{"at":"2026-11-21T09:00:00.000000Z","b":["/w==","/w=="],"d":"P1DT2H","f":0.1},'
        '"rowseal":1,"table":"c"}'
    )
    assert example.one("SELECT rowseal.payload('c', %s)", row) == expected
    example.run(
        "SET LOCAL datestyle = 'German, DMY'; SET LOCAL timezone = 'Asia/Tokyo';"
        " SET LOCAL intervalstyle = sql_standard; "
        "SET LOCAL extra_float_digits = -10; SET LOCAL bytea_output = escape;"
        " SET LOCAL search_path = ''"
    )
    assert example.one("SELECT rowseal.payload('public.c', %s)", row) == expected


@pytest.mark.parametrize(
    "call",
    [
        "payload({}, '{{}}')",
        "verify({})",
        "digest({})",
        "history({}, '{{}}')",
        "heads({}, '{{}}')",
        "apply({}, '[]')",
    ],
)
def test_undeclared_tables_have_nothing_to_read(call: str, example: Scratch) -> None:
    example.run("CREATE TABLE other (id int)")
    for table in ("'other'", "NULL"):
        diag = example.refused("RS007", f"SELECT rowseal.{call.format(table)}")
        assert "is not declared" in str(diag.message_primary) and "rowseal.declare" in str(
            diag.message_hint
        )
