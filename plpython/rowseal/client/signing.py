"""Signing rows where the owner's key is: signatures, envelopes, and batches of either."""

from __future__ import annotations

import json
from base64 import b64encode
from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from typing import TYPE_CHECKING, Any, Union

from nacl.signing import SigningKey

from ..form import batch
from ..form.canonical import Form

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.mldsa import MLDSA65PrivateKey, MLDSA87PrivateKey

Key = Union[SigningKey, "MLDSA65PrivateKey", "MLDSA87PrivateKey"]
"""A private key: Ed25519, or ML-DSA with cryptography 47 or later."""

Row = Mapping[str, Any]
"""Field names to values, as the kinds in rowseal.form.canonical ask for; None or left out: NULL."""

Envelope = dict[str, Any]
"""A signed row as portable JSON.

    {"row": {FIELD: VALUE}, "rowseal": 1, "table": TAG, "sign_b64": BASE64}

A row with fields that are signed by digest also has "content": {FIELD: BASE64}.
"""


def public_key(key: Key) -> bytes:
    """The bytes of the public key, as an identity table holds them (Ed25519: 32)."""
    if isinstance(key, SigningKey):
        return bytes(key.verify_key)
    return key.public_key().public_bytes_raw()


def _signature(key: Key, message: bytes) -> bytes:
    return key.sign(message).signature if isinstance(key, SigningKey) else key.sign(message)


def sign(form: Form, row: Row, key: Key) -> bytes:
    """The owner's signature over a row, for its signature column (Ed25519: 64 bytes).

    CanonicalError for an unknown field, or a value that has no canonical form.
    """
    return _signature(key, form.payload_of(row))


def sign_many(rows: Iterable[tuple[Form, Row]], key: Key) -> Iterator[bytes]:
    """The signature columns of many rows of one owner, in their order, for one signature.

    The rows may be of any tables.  All are read before the first column comes; 64 bytes of each are
    kept.  CanonicalError as for ``sign``; ValueError for more than 2**32 - 1 rows.
    """
    payloads = (form.payload_of(row) for form, row in rows)
    return batch.sign_many(payloads, lambda message: _signature(key, message))


def envelope(form: Form, row: Row, key: Key) -> Envelope:
    """The signed row as portable JSON, for APIs, queues, files and ``rowseal.apply``.

    CanonicalError as for ``sign``.
    """
    payload = form.payload_of(row)
    return with_signature(form, row, payload, _signature(key, payload))


def envelopes(rows: Iterable[tuple[Form, Row]], key: Key, size: int = 10_000) -> Iterator[Envelope]:
    """The rows as envelopes, in their order, signed in batches of ``size`` rows.

    Memory holds one batch.  CanonicalError as for ``sign``.
    """
    stream = iter(rows)
    while part := [(form, row, form.payload_of(row)) for form, row in islice(stream, size)]:
        payloads = (payload for _, _, payload in part)
        signatures = batch.sign_many(payloads, lambda message: _signature(key, message))
        for (form, row, payload), signature in zip(part, signatures):
            yield with_signature(form, row, payload, signature)


def with_signature(form: Form, row: Row, payload: bytes, signature: bytes) -> Envelope:
    """The envelope of a row whose payload and signature column are known already."""
    if type(form) is not Form:  # signed in another form; an envelope is always JSON
        payload = Form(form.tag, form.fields).payload_of(row)
    signed: Envelope = {**json.loads(payload), "sign_b64": b64encode(signature).decode()}
    content = {}
    for field in form.digests:
        value = row.get(field)
        # a mapping: the content was erased, only its digest is left
        if value is not None and not isinstance(value, Mapping):
            raw = value.encode() if isinstance(value, str) else value
            content[field] = b64encode(raw).decode()
    if content:
        signed["content"] = content
    return signed
