"""Values worth a test, for each kind of field, and spellings of them that are wrong."""

from __future__ import annotations

import json
from base64 import b64decode, b64encode
from collections.abc import Iterator, Sequence
from typing import Any

from ...form.canonical import Kind

# The first value of each kind is the plain one.  The table's types decide which of the others fit.
EDGES: dict[str, list[Any]] = {
    "boolean": [False, True],
    "integer": ["7", "0", "-1", "32767", "-32768", "2147483648", "9007199254740993",
                "9223372036854775807", "-9223372036854775808"],
    "numeric": ["1.50", "0", "-0.50", "0.000001", "12345678901234567890.123456789",
                "NaN", "Infinity", "-Infinity"],
    "float": [1.5, 0, "-0", 0.1, -2.5, 1e20, 1e21, 1e-6, 1e-7, 5e-324, 1.7976931348623157e308,
              9007199254740992, "NaN", "Infinity", "-Infinity"],
    "text": ["text", "", " ", "Zoë", "e\u0301", "\"\\/\b\f\n\r\t\u0001\u001f\u007f", "\u2028€",
             "😀 \ufb33", "NULL", "{}", "\\u0041"],
    "bytea": ["dGV4dA==", "", "AA==", "+/+/", b64encode(bytes(range(256))).decode()],
    "uuid": ["a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11", "00000000-0000-0000-0000-000000000000",
             "ffffffff-ffff-ffff-ffff-ffffffffffff"],
    "timestamptz": ["2026-11-21T09:00:00.000000Z", "2026-11-21T09:00:00.000001Z",
                    "1969-12-31T23:59:59.500000Z", "0001-01-01T00:00:00.000000Z",
                    "9999-12-31T23:59:59.999999Z", "infinity", "-infinity"],
    "timestamp": ["2026-11-21T09:00:00.000000", "1969-12-31T23:59:59.500000",
                  "0001-01-01T00:00:00.000000", "9999-12-31T23:59:59.999999",
                  "infinity", "-infinity"],
    "date": ["2026-11-21", "0001-01-01", "9999-12-31", "2024-02-29", "infinity", "-infinity"],
    "time": ["09:00:00.000000", "00:00:00.000000", "23:59:59.999999", "24:00:00.000000"],
    "json": [{"b": [1, 1.5, "x", True, None], "a": {}}, None, [], "text", 0, 1e21, -1e-7,
             9007199254740992, {"": "", "😀": 1, "\ufb33": 2, "é": 3},
             {"nested": [[{"deep": [None]}]]}],
    "other": ["P1Y2M-3DT4H5M6.5S", "PT0S", "10.0.0.1/8", "2001:db8::1", "10.0.0.0/8",
              "08:00:2b:01:02:03", "08:00:2b:01:02:03:04:05", "0101", "01011", "10000",
              "(1.5,-2)", "(-0,1e+300)", "[1,5)", "empty", "[\"2026-01-01 00:00:00+00\",)",
              "[2026-01-01,2026-02-01)", "{[1,3),[5,7)}", "09:00:00+00", "'a' 'b'",
              "\"a\"=>\"1\"", "\"a\"=>NULL, \"b\"=>\"\"", "{1,2,3}", "[(0,0),(1,1)]",
              "((0,0),(1,1))", "<(0,0),1>", "text"],
}  # fmt: skip


def edges(kind: Kind, labels: Sequence[str] = ()) -> Iterator[Any]:
    """Values of a kind as canonical JSON, or nearly so, the plain one first.

    ``labels`` are those of an enum.
    """
    if isinstance(kind, str):
        yield from labels or EDGES[kind]
    elif "array" in kind:
        yield from _arrays(kind["array"], labels)
    else:
        yield from _composites(kind["composite"])


def _arrays(element: Kind, labels: Sequence[str]) -> Iterator[Any]:
    first, *others = values = [v for v in edges(element, labels) if v is not None]
    yield from ([first], [], [None], [first, None])
    yield from ([v] for v in others)
    if element != "json":  # arrays of JSON have one dimension
        yield [[first, None], [values[-1], first]]


def _composites(attributes: Sequence[tuple[str, Kind]]) -> Iterator[Any]:
    for name, kind in attributes:
        yield from ({name: v} for v in edges(kind) if v is not None)
    yield {}
    # every attribute at once, where the first value fits its type
    yield {name: next(v for v in edges(kind) if v is not None) for name, kind in attributes}


def misspelled(kind: Kind, value: Any) -> Iterator[tuple[str, Any]]:
    """Canonical JSON that somebody could write instead of this value, each with words for it."""
    if kind == "bytea":
        yield "as hex", "\\x" + b64decode(value).hex()
        yield "in base64 without padding", value.rstrip("=")
        yield "in the URL's base64", value.replace("+", "-").replace("/", "_")
    elif kind == "uuid":
        yield "in upper case", value.upper()
        yield "without hyphens", value.replace("-", "")
    elif kind == "integer":
        yield "as a number", float(value)
    elif kind == "numeric":
        yield "as a number", float(value)
        yield "with another scale", value + ("0" if "." in value else ".0")
    elif kind == "float" and isinstance(value, (int, float)):
        yield "as a string", str(value)
    elif kind in ("timestamptz", "timestamp", "time"):
        seconds = value.replace(".000000", "")
        yield "without its six digits", seconds
        yield "as PostgreSQL shows it", seconds.replace("T", " ").replace("Z", "+00")
    elif kind == "boolean":
        yield "as PostgreSQL shows it", "t" if value else "f"
    elif kind == "json" or isinstance(kind, dict):
        yield "as a string", json.dumps(value)
