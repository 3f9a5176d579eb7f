"""Signing and checking rows outside the database.

    form = Form("user_storage", {"user_hash": "bytea", "uuid": "uuid", …})     # rowseal.declarations.spec has it
    key = keys.load("ann.pem")
    sealed = envelope(form, {"user_hash": …, "owner_timestamp": next_timestamp(), …}, key)
    verify(sealed, bytes(key.verify_key))                                      # True
    decode(form, sealed["row"])                                                # the row again
"""

from __future__ import annotations

import json
import threading
import time
from base64 import b64encode
from collections.abc import Mapping
from typing import Any

from nacl.signing import SigningKey

from .canonical import JSON_DEPTH, CanonicalError, Form, Kind, jcs
from .signature import pynacl
from .verdict import unbase64

__all__ = ["CanonicalError", "Form", "SigningKey", "decode", "envelope", "next_timestamp", "sign", "verify"]

_verify = pynacl()
_clock_lock = threading.Lock()
_last_clock = 0


def next_timestamp(last_known: int = 0) -> int:
    """The clock in microseconds since 1970, never the same twice in a process; ``last_known + 1`` where that is higher.

    Give it the highest owner_timestamp seen for the key, so that a device with a slow clock still writes the newest version.
    OverflowError when nothing is above it (2**63 - 1): that key can get no newer version.
    """
    global _last_clock
    with _clock_lock:
        # last_known stays out of this: one key dated in the far future must not take all others along
        _last_clock = max(time.time_ns() // 1000, _last_clock + 1)
        timestamp = max(_last_clock, last_known + 1)
    if timestamp >= 2**63:
        raise OverflowError(f"no timestamp is above {last_known}")
    return timestamp


def sign(form: Form, row: Mapping[str, Any], key: SigningKey) -> bytes:
    """The owner's signature (64 bytes) over a row, a mapping of field names to values; CanonicalError."""
    return key.sign(form.payload_of(row)).signature


def envelope(form: Form, row: Mapping[str, Any], key: SigningKey) -> dict[str, Any]:
    """The signed row as portable JSON: {"row": …, "rowseal": 1, "table": TAG, "sign_b64": …}."""
    payload = form.payload_of(row)
    return {**json.loads(payload), "sign_b64": b64encode(key.sign(payload).signature).decode()}


def decode(form: Form, row: Mapping[str, Any]) -> dict[str, Any]:
    """A row's fields from their canonical JSON to the values that ``sign`` takes; CanonicalError for an unknown field.

    bytea becomes bytes, a float a float, JSON its text.  All else is what PostgreSQL reads as text: it stays as it is.
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
        raw = unbase64(value)
        if raw is None:
            raise CanonicalError(f"{value[:40]!r} is not standard base64")
        return raw
    if kind == "float" and value in ("-0", "NaN", "Infinity", "-Infinity"):
        return float(value)
    if isinstance(value, list) and isinstance(kind, dict) and "array" in kind:
        # an array's dimensions are not in its kind; of JSON values it has one
        return [None if v is None else _value(kind if isinstance(v, list) and kind["array"] != "json" else kind["array"], v) for v in value]
    if isinstance(value, dict) and isinstance(kind, dict) and "composite" in kind:
        kinds = dict(kind["composite"])
        return {name: _value(kinds.get(name), v) for name, v in value.items()}
    return value


def verify(sealed: Mapping[str, Any], public_key: bytes) -> bool:
    """Whether an envelope was signed with that key (32 bytes).  Its owner must be known to have that key."""
    try:
        # a column's JSON value may be nested JSON_DEPTH deep; the envelope puts two objects around it
        payload = jcs({k: v for k, v in sealed.items() if k != "sign_b64"}, JSON_DEPTH + 2)
        signature = unbase64(sealed["sign_b64"])
        return sealed.get("rowseal") == 1 and signature is not None and _verify(signature, payload, public_key)
    except (ValueError, TypeError, KeyError, AttributeError, OverflowError):
        return False
