"""Signing and checking rows outside the database.

    form = Form("user_storage", {"user_hash": "bytea", "uuid": "uuid", …})     # rowseal.declarations.spec has it
    key = SigningKey.generate()
    sealed = envelope(form, {"user_hash": …, "owner_timestamp": next_timestamp(), …}, key)
"""

from __future__ import annotations

import json
import time
from base64 import b64encode
from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from typing import TYPE_CHECKING, Any, Union

from nacl.signing import SigningKey

from . import batch
from .canonical import JSON_DEPTH, Form, digest, jcs
from .signature import NoProvider, pynacl, verifier
from .verdict import unbase64

__all__ = ["Form", "NoProvider", "SigningKey", "envelope", "envelopes", "next_timestamp", "public_key", "sign", "sign_many", "verify"]

_verify = batch.accepting(verifier(pynacl()))


if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.mldsa import MLDSA65PrivateKey, MLDSA87PrivateKey

    Key = Union[SigningKey, MLDSA65PrivateKey, MLDSA87PrivateKey]


def public_key(key: Key) -> bytes:
    """The bytes of the public key, as an identity table holds them."""
    return bytes(key.verify_key) if isinstance(key, SigningKey) else key.public_key().public_bytes_raw()


def _sign(key: Key, message: bytes) -> bytes:
    return key.sign(message).signature if isinstance(key, SigningKey) else key.sign(message)


def next_timestamp(last_known: int = 0) -> int:
    """Microseconds since 1970, and always above ``last_known``: max(now, last known + 1).

    Give it the highest owner_timestamp seen for the key, so that a device with a slow clock still writes the newest version.
    """
    return max(time.time_ns() // 1000, last_known + 1)


def _envelope(form: Form, row: Mapping[str, Any], payload: bytes, signature: bytes) -> dict[str, Any]:
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


def verify(sealed: Mapping[str, Any], public_key: bytes) -> bool:
    """Whether an envelope was signed with that key, alone or in a batch.  Its owner must be known to have that key."""
    try:
        # a column's JSON value may be nested JSON_DEPTH deep; the envelope puts two objects around it
        payload = jcs({k: v for k, v in sealed.items() if k not in ("sign_b64", "content")}, JSON_DEPTH + 2)
        signature = unbase64(sealed["sign_b64"])
        for field, content in sealed.get("content", {}).items():
            raw = unbase64(content)
            if raw is None or unbase64(sealed["row"][field]["sha256"]) != digest(raw):
                return False
        return sealed.get("rowseal") == 1 and signature is not None and _verify(signature, payload, public_key)
    except (ValueError, TypeError, KeyError, AttributeError, OverflowError):
        return False
