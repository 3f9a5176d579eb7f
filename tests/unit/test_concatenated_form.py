"""The concatenated form: it is as described, and every ambiguity of it is reported."""

from __future__ import annotations

import base64
import uuid
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kit.concatenated import older
from kit.specification import PAGE
from rowseal.form.canonical import CanonicalError
from rowseal.form.concatenated import Concatenated, ambiguities, supported

SECTION = PAGE.split("\n## The form `concatenated`\n")[1].split("\n## ")[0]


def test_the_example_of_the_specification() -> None:
    row = {
        "deleted_flag": False, "owner_timestamp": 1700000003, "parent_sign_hash": None,
        "user_hash": "u_56475aa7", "uuid": "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11",
        "value_b64": bytes.fromhex("00ff68656c6c6f"),
    }  # fmt: skip
    payload = SECTION.split("```text\n")[1].split("\n```")[0]
    kinds = {
        "deleted_flag": "boolean",
        "owner_timestamp": "integer",
        "parent_sign_hash": "text",
        "user_hash": "text",
        "uuid": "uuid",
        "value_b64": "bytea",
    }
    assert older(row).decode() == payload == Concatenated("t", kinds).payload_of(row).decode()
    assert all(f"| `{c}` | `" in SECTION for c in row)


KINDS: dict[str, tuple[Any, st.SearchStrategy[Any]]] = {
    "boolean": ("boolean", st.booleans()),
    "integer": ("integer", st.integers(-120, 120)),
    "uuid": ("uuid", st.sampled_from([str(uuid.UUID(int=n)) for n in (0, 1, 0xABCDEF)])),
    "text": (
        "text",
        st.text("a1n-tf", max_size=3) | st.sampled_from(["null", "true", "nulltrue", "1", "QQ=="]),
    ),
    "bytea": (
        "bytea",
        st.sampled_from(
            [b"", b"A", b"AAA", base64.b64decode("null"), base64.b64decode("true1111")]
        ),
    ),
    "bytea[]": (
        {"array": "bytea"},
        st.lists(st.sampled_from([b"A", b"AAA", b"AAAAAA"]), max_size=2),
    ),
}


column = st.tuples(st.sampled_from(sorted(KINDS)), st.booleans())


@given(st.lists(column, min_size=1, max_size=5), st.data())
def test_it_is_as_described_and_injective_where_nothing_is_reported(
    columns: list[tuple[str, bool]], data: st.DataObject
) -> None:
    names = [f"c{i}" for i in range(len(columns))]
    form = Concatenated("t", {n: KINDS[k][0] for n, (k, _) in zip(names, columns)})
    one, two = (
        {
            n: data.draw(KINDS[k][1] | st.none() if null else KINDS[k][1])
            for n, (k, null) in zip(names, columns)
        }
        for _ in range(2)
    )
    assert form.payload_of(one) == older(one)
    if form.payload_of(one) == form.payload_of(two) and one != two:
        assert ambiguities([(n, KINDS[k][0], null) for n, (k, null) in zip(names, columns)])


@pytest.mark.parametrize(
    ("columns", "reported"),
    [
        ("boolean integer boolean? text? uuid?", ["NULL and the content 'null' of c3"]),
        ("boolean integer? boolean bytea boolean? uuid", []),
        ("integer boolean text uuid boolean?", []),
        ("text", []),
        ("integer integer", ["c0 and c1"]),
        ("integer uuid", []),
        ("integer uuid text", ["c0 and c1", "c1 and c2"]),
        ("text text", ["c0 and c1"]),
        # each pair alone could be told apart, the three cannot
        ("text boolean text", ["c0 and c1", "c1 and c2"]),
        ("uuid text", []),
        ("bytea? uuid", ["NULL and the content 'null' of c0"]),
        ("bytea[]", ["the elements of c0"]),
    ],
)
def test_what_is_reported(columns: str, reported: list[str]) -> None:
    assert (
        ambiguities(
            [
                (f"c{i}", KINDS[k.rstrip("?")][0], k.endswith("?"))
                for i, k in enumerate(columns.split())
            ]
        )
        == reported
    )


def test_every_kind_of_report_has_a_collision() -> None:
    def same(kinds: list[str], one: list[Any], two: list[Any]) -> bool:
        form = Concatenated("t", {f"c{i}": KINDS[k][0] for i, k in enumerate(kinds)})
        return one != two and form.payload(one) == form.payload(two)

    assert same(["integer", "integer"], [1, 23], [12, 3])
    assert same(["text", "boolean", "text"], ["", True, "true"], ["true", True, ""])
    assert same(["text"], [None], ["null"]) and same(["bytea"], [None], [base64.b64decode("null")])
    assert same(["bytea[]"], [[b"AAA", b"AAA"]], [[b"AAAAAA"]])


def test_values_without_this_form() -> None:
    for kind, values in (
        ({"array": "bytea"}, ([None], [b"", None], "x")),
        ("text", (1, b"", "a\0", "\ud800")),
        ("integer", ("x", 1.5)),
        ("bytea", ("x",)),
        ("uuid", ("x",)),
    ):
        for value in values:
            with pytest.raises(CanonicalError):
                Concatenated("t", {"c": kind}).payload([value])
    assert not any(
        supported(k)
        for k in (
            "numeric",
            "json",
            "timestamptz",
            "float",
            "other",
            {"array": "integer"},
            {"composite": []},
        )
    )
