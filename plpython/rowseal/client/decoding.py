"""From the JSON of an envelope back to the values that were signed."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from ..form.canonical import CanonicalError, Form, Kind
from ..form.verdict import unbase64


def decode(form: Form, row: Mapping[str, Any]) -> dict[str, Any]:
    """A row's fields from their canonical JSON to the values that ``sign`` takes.

    bytea becomes bytes, a float a float, JSON its text.  All else is what PostgreSQL reads as text:
    it stays as it is. CanonicalError for an unknown field, and for what is no base64 where bytes
    are expected.
    """
    unknown = set(row) - set(form.fields)
    if unknown:
        raise CanonicalError(f"unknown field {min(unknown)!r} in table {form.tag!r}")
    try:
        return {name: _value(form.fields[name], value) for name, value in row.items()}
    except RecursionError:
        raise CanonicalError("a value is nested too deep") from None


def _value(kind: Kind, value: Any) -> Any:
    if kind == "json":
        return json.dumps(value, ensure_ascii=False)
    if kind == "bytea" and isinstance(value, str):
        return _bytes(value)
    if kind == "float" and value in ("-0", "NaN", "Infinity", "-Infinity"):
        return float(value)
    if isinstance(value, list) and isinstance(kind, dict) and "array" in kind:
        return [_element(kind, element) for element in value]
    if isinstance(value, dict) and isinstance(kind, dict) and "composite" in kind:
        kinds = dict(kind["composite"])
        return {name: _value(kinds.get(name), attribute) for name, attribute in value.items()}
    return value


def _element(array: Kind, value: Any) -> Any:
    """An element of an array, or a part of one with more dimensions: their number is in no kind."""
    if value is None:
        return None
    element = array["array"]
    nested = isinstance(value, list) and element != "json"  # of JSON values there is one dimension
    return _value(array if nested else element, value)


def _bytes(text: str) -> bytes:
    raw = unbase64(text)
    if raw is None:
        raise CanonicalError(f"{text[:40]!r} is not standard base64")
    return raw
