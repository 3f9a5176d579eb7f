"""The canonical form rowseal/1 as clients write and check it; no two rows share their bytes."""

from __future__ import annotations

import datetime as dt
from decimal import Decimal
from typing import Any

import pytest
import rfc8785
from hypothesis import given, settings
from hypothesis import strategies as st

from kit.example import Owner
from kit.values import ABSENT, COLUMNS, EXAMPLES, JSON_NUMBERS, KINDS, UTC, oracle, quick, texts
from rowseal import client
from rowseal.form.canonical import JSON_DEPTH, CanonicalError, Form, encoder

OWNER = Owner(key=client.SigningKey(bytes(range(32))))


@settings(quick, max_examples=EXAMPLES or 200)
@given(data=st.data(), tag=texts(), names=st.lists(texts(), min_size=1, max_size=4, unique=True))
def test_the_bytes_are_the_jcs_of_the_specified_mapping(
    data: st.DataObject, tag: str, names: list[str]
) -> None:
    columns = [data.draw(st.sampled_from(list(KINDS))) for _ in names]
    values = [data.draw(st.none() | COLUMNS[c][1]) for c in columns]
    form = Form(tag, dict(zip(names, (KINDS[c] for c in columns))))
    expected = oracle(tag, {n: v.json if v else ABSENT for n, v in zip(names, values)})
    assert form.payload_of({n: v and v.client for n, v in zip(names, values)}) == expected


@settings(quick, max_examples=EXAMPLES or 400)
@given(JSON_NUMBERS)
def test_numbers_are_those_of_ecmascript(number: float) -> None:
    assert encoder("float")(number) == (
        rfc8785.dumps(number) if repr(number) != "-0.0" else b'"-0"'
    )
    assert encoder("json")(repr(number)) == rfc8785.dumps(number)


# ------------------------------------------------------------------------------------- injectivity
NEAR: dict[str, list[Any]] = {
    "text": [None, "", "null", "a", "b", "ab", '"', '","b":"', "\\", "{}"],
    "integer": [None, 0, 1, -1, 10],
    "numeric": [
        None,
        Decimal("1.0"),
        Decimal("1.00"),
        Decimal(1),
        Decimal(10),
        Decimal("NaN"),
        Decimal(0),
        Decimal("0.0"),
    ],
    "float": [None, 0.0, -0.0, 1.0, float("nan"), float("inf"), -1.0],
    "bytea": [None, b"", b"\0", b"null", b"\0\0"],
    "json": [None, "null", "0", '"null"', "[]", "[null]", "{}", '{"a":null}', "[[]]", "1", '"1"'],
    "boolean": [None, True, False],
    "array": [
        None,
        [],
        [None],
        ["null"],
        [""],
        ["a", "b"],
        [["a"], ["b"]],
        [["a", "b"]],
        ["a,b"],
        [[None]],
        ['a","b'],
    ],
    "composite": [
        None,
        {},
        {"x": ""},
        {"y": ""},
        {"x": "", "y": ""},
        {"x": '","y":"'},
        {"x": "null"},
    ],
    "nested": [None, [], [None], [{}], [{"x": []}], [{"x": [None]}], [[{}]], [[{"x": [["a"]]}]]],
}


NEAR_KINDS: dict[str, Any] = {
    **{k: k for k in NEAR},
    "array": {"array": "text"},
    "composite": {"composite": [["x", "text"], ["y", "text"]]},
    "nested": {"array": {"composite": [["x", {"array": "text"}]]}},
}


@settings(quick, max_examples=EXAMPLES or 300)
@given(data=st.data(), kinds=st.lists(st.sampled_from(list(NEAR)), min_size=1, max_size=3))
def test_different_rows_never_share_bytes(data: st.DataObject, kinds: list[str]) -> None:
    form = Form("t", {f"c{i}": NEAR_KINDS[k] for i, k in enumerate(kinds)})
    rows = data.draw(
        st.lists(st.tuples(*(st.sampled_from(NEAR[k]) for k in kinds)), min_size=2, max_size=30)
    )
    assert len({form.payload(r) for r in rows}) == len({repr(r) for r in rows})


def test_tags_and_field_names_are_part_of_the_bytes() -> None:
    payloads = {
        Form(tag, {field: "text"}).payload(["v"])
        for tag in ("a", "b", 'a"', "")
        for field in ("a", "b", "row", 'a":"v"},"x')
    }
    assert len(payloads) == 16
    assert Form("t", {"a": "text", "b": "text"}).payload(["v", None]) != Form(
        "t", {"a": "text", "b": "text"}
    ).payload([None, "v"])


def test_client_values_without_canonical_form_are_refused() -> None:
    bad: list[tuple[Any, Any]] = [
        ("boolean", 1),
        ("integer", True),
        ("integer", 1.0),
        ("integer", "1e3"),
        ("integer", "٣"),
        ("numeric", "x"),
        ("text", b"a"),
        ("text", "\0"),
        ("text", "\ud800"),
        ("uuid", "0"),
        ("json", "NaN"),
        ("json", "[1,]"),
        ("json", ""),
        ("json", "'a'"),
        ("json", "01"),
        ("json", "\ufeff1"),
        ("timestamptz", dt.datetime(2026, 1, 1)),
        ("timestamp", dt.datetime(2026, 1, 1, tzinfo=UTC)),
        ("date", dt.datetime(2026, 1, 1)),
        ("timestamptz", dt.datetime(1, 1, 1, tzinfo=dt.timezone(dt.timedelta(hours=1)))),
        ("time", "infinity"),
        ("time", dt.time(1, tzinfo=UTC)),
        ("date", "12026-01-01"),
        ({"array": "text"}, "a"),
        ({"array": "json"}, ["null"]),
        ({"array": "json"}, [["1"]]),
        ({"composite": [["a", "text"]]}, {"b": "1"}),
        ({"composite": [["a", "text"]]}, ["1"]),
        ("json", "[" * 100_000),
    ]
    for kind, value in bad:
        with pytest.raises(CanonicalError):
            Form("t", {"f": kind}).payload([value])
    with pytest.raises(CanonicalError, match="'g'"):
        Form("t", {"f": "text"}).payload_of({"g": "x"})


# ----------------------------------------------------------------------------------- client.verify
def test_a_client_verifies_json_as_deep_as_the_server_stores_it() -> None:
    # fails: the depth is counted from the envelope's outermost object, not from the value
    form = Form("t", {"j": "json"})
    assert client.verify(
        client.envelope(form, {"j": "[" * JSON_DEPTH + "]" * JSON_DEPTH}, OWNER.key),
        OWNER.public_key,
    )


def test_a_client_refuses_an_envelope_whose_number_was_altered() -> None:
    # fails: float(9007199254740993) is the signed 9007199254740992
    sealed_ = client.envelope(Form("t", {"j": "json"}), {"j": "9007199254740992"}, OWNER.key)
    sealed_["row"]["j"] = 9007199254740993
    assert not client.verify(sealed_, OWNER.public_key)


def test_a_client_refuses_what_is_no_envelope_without_an_error() -> None:
    # fails: OverflowError, AttributeError
    good = client.envelope(Form("t", {"j": "json"}), {"j": "1"}, OWNER.key)
    for change in (
        {"row": {"j": 10**400}},
        {"rowseal": 10**400},
        {"rowseal": 1.0},
        {"rowseal": True},
        {"row": None},
        {"row": {"j": [1, 2]}},
        {"sign_b64": None},
        {"sign_b64": ""},
    ):
        assert not client.verify({**good, **change}, OWNER.public_key)
    assert not client.verify({}, OWNER.public_key)
    assert client.verify({**good, 1: 2}, OWNER.public_key)  # type: ignore[dict-item]  # ignored


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        ("bytea", "abc"),
        ("float", "abc"),
        ("float", 10**400),
        ("date", 5),
        ("time", 5),
        ("timestamptz", b"x"),
        ("json", 5),
        ("numeric", Decimal("sNaN")),
    ],
    ids=lambda v: str(v)[:12],
)
def test_a_client_value_of_another_type_is_a_canonical_error(kind: str, value: Any) -> None:
    # fails: TypeError, ValueError, OverflowError; sNaN is written as such
    with pytest.raises(CanonicalError):
        Form("t", {"v": kind}).payload([value])
