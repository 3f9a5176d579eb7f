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
from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from typing import TYPE_CHECKING, Any, Union

from nacl.signing import SigningKey

from ..form import batch
from ..form.canonical import JSON_DEPTH, CanonicalError, Form, Kind, digest, jcs
from ..form.signature import NoProvider, pynacl, verifier
from ..form.verdict import unbase64

__all__ = [
    "CanonicalError", "Form", "NoProvider", "SigningKey", "decode", "envelope", "envelopes", "next_timestamp", "public_key", "sign",
    "sign_many", "verify",
]  # fmt: skip

_verify = batch.accepting(verifier(pynacl()))
_clock_lock = threading.Lock()
_last_clock = 0


if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.mldsa import MLDSA65PrivateKey, MLDSA87PrivateKey

    Key = Union[SigningKey, MLDSA65PrivateKey, MLDSA87PrivateKey]


def public_key(key: Key) -> bytes:
    """The bytes of the public key, as an identity table holds them."""
    return bytes(key.verify_key) if isinstance(key, SigningKey) else key.public_key().public_bytes_raw()


def _sign(key: Key, message: bytes) -> bytes:
    return key.sign(message).signature if isinstance(key, SigningKey) else key.sign(message)


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


def _envelope(form: Form, row: Mapping[str, Any], payload: bytes, signature: bytes) -> dict[str, Any]:
    if type(form) is not Form:  # signed in another form; an envelope is always JSON
        payload = Form(form.tag, form.fields).payload_of(row)
    sealed = {**json.loads(payload), "sign_b64": b64encode(signature).decode()}
    contents = {f: row[f] for f in form.digests if row.get(f) is not None and not isinstance(row[f], Mapping)}
    if contents:
        sealed["content"] = {f: b64encode(c.encode() if isinstance(c, str) else c).decode() for f, c in contents.items()}
    return sealed


def sign(form: Form, row: Mapping[str, Any], key: Key) -> bytes:
    """The owner's signature (Ed25519: 64 bytes) over a row, a mapping of field names to values; CanonicalError."""
    return _sign(key, form.payload_of(row))


def envelope(form: Form, row: Mapping[str, Any], key: Key) -> dict[str, Any]:
    """The signed row as portable JSON: {"row": …, "rowseal": 1, "table": TAG, "sign_b64": …}, "content" of what is signed by digest."""
    payload = form.payload_of(row)
    return _envelope(form, row, payload, _sign(key, payload))


def sign_many(rows: Iterable[tuple[Form, Mapping[str, Any]]], key: Key) -> Iterator[bytes]:
    """The signature columns of many rows, of any tables of one owner, in their order, for one signature; CanonicalError.

    All rows are read before the first signature comes; 64 bytes of each are kept.
    """
    return batch.sign_many((form.payload_of(row) for form, row in rows), lambda message: _sign(key, message))


def envelopes(rows: Iterable[tuple[Form, Mapping[str, Any]]], key: Key, size: int = 10_000) -> Iterator[dict[str, Any]]:
    """The rows as envelopes, signed in batches of ``size``; memory holds one batch."""
    stream = iter(rows)
    while part := [(form, row, form.payload_of(row)) for form, row in islice(stream, size)]:
        for (form, row, payload), signature in zip(part, batch.sign_many((p for _, _, p in part), lambda message: _sign(key, message))):
            yield _envelope(form, row, payload, signature)


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


def verify(sealed: Mapping[str, Any], public_key: bytes, form: Form | None = None) -> bool:
    """Whether an envelope was signed with that key, alone or in a batch.  Its owner must be known to have that key.

    ``form`` is needed for rows that are signed in another form than ``rowseal/1``.  NoProvider for ML-DSA without its package.
    """
    try:
        # a column's JSON value may be nested JSON_DEPTH deep; the envelope puts two objects around it
        payload = jcs({k: v for k, v in sealed.items() if k not in ("sign_b64", "content")}, JSON_DEPTH + 2)
        if form is not None:
            payload = form.payload_of(decode(form, sealed["row"]))
        signature = unbase64(sealed["sign_b64"])
        for field, content in sealed.get("content", {}).items():
            raw = unbase64(content)
            if raw is None or unbase64(sealed["row"][field]["sha256"]) != digest(raw):
                return False
        return sealed.get("rowseal") == 1 and signature is not None and _verify(signature, payload, public_key)
    except (ValueError, TypeError, KeyError, AttributeError, OverflowError):
        return False
