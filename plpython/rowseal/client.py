"""Signing and checking rows outside the database.

    form = Form("user_storage", {"user_hash": "bytea", "uuid": "uuid", …})     # rowseal.declarations.spec has it
    key = SigningKey.generate()
    sealed = envelope(form, {"user_hash": …, "owner_timestamp": next_timestamp(), …}, key)
"""

from __future__ import annotations

import json
import time
from base64 import b64encode
from collections.abc import Mapping
from typing import Any

from nacl.signing import SigningKey

from .canonical import JSON_DEPTH, Form, jcs
from .signature import pynacl
from .verdict import unbase64

__all__ = ["Form", "SigningKey", "envelope", "next_timestamp", "sign", "verify"]

_verify = pynacl()


def next_timestamp(last_known: int = 0) -> int:
    """Microseconds since 1970, and always above ``last_known``: max(now, last known + 1).

    Give it the highest owner_timestamp seen for the key, so that a device with a slow clock still writes the newest version.
    """
    return max(time.time_ns() // 1000, last_known + 1)


def sign(form: Form, row: Mapping[str, Any], key: SigningKey) -> bytes:
    """The owner's signature (64 bytes) over a row, a mapping of field names to values; CanonicalError."""
    return key.sign(form.payload_of(row)).signature


def envelope(form: Form, row: Mapping[str, Any], key: SigningKey) -> dict[str, Any]:
    """The signed row as portable JSON: {"row": …, "rowseal": 1, "table": TAG, "sign_b64": …}."""
    payload = form.payload_of(row)
    return {**json.loads(payload), "sign_b64": b64encode(key.sign(payload).signature).decode()}


def verify(sealed: Mapping[str, Any], public_key: bytes) -> bool:
    """Whether an envelope was signed with that key (32 bytes).  Its owner must be known to have that key."""
    try:
        # a column's JSON value may be nested JSON_DEPTH deep; the envelope puts two objects around it
        payload = jcs({k: v for k, v in sealed.items() if k != "sign_b64"}, JSON_DEPTH + 2)
        signature = unbase64(sealed["sign_b64"])
        return sealed.get("rowseal") == 1 and signature is not None and _verify(signature, payload, public_key)
    except (ValueError, TypeError, KeyError, AttributeError, OverflowError):
        return False
