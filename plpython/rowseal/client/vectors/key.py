"""The published key that test vectors are signed with."""

from __future__ import annotations

import hashlib
import json
from base64 import b64encode
from typing import TypedDict

from nacl.signing import SigningKey

from ..signing import Envelope

SEED = bytes(range(32))  # that of docs/specification.md: published, so worth nothing
KEY = SigningKey(SEED)
PUBLIC_KEY = bytes(KEY.verify_key)
GROUP_ORDER = 2**252 + 27742317777372353535851937790883648493  # of Ed25519 (RFC 8032, 5.1)


class Vector(TypedDict, total=False):
    """One row: what it is about, and its envelope.

    ``payload`` is the text that was signed, in vectors that must be accepted; ``signed_base64`` the
    bytes that were signed by mistake, where that is what is wrong.
    """

    what: str
    envelope: Envelope
    payload: str
    signed_base64: str


def signature(message: bytes) -> bytes:
    """The test key's signature, 64 bytes."""
    return KEY.sign(message).signature


def vector(what: str, payload: str, signature: bytes) -> Vector:
    """A row in canonical form with a signature, right or wrong."""
    signed = {**json.loads(payload), "sign_b64": b64encode(signature).decode()}
    return {"what": what, "envelope": signed}


def small_order_signature(message: bytes) -> bytes:
    """A signature whose R is the neutral element and whose S fits: some libraries take it."""
    secret = int.from_bytes(hashlib.sha512(SEED).digest()[:32], "little")
    secret = secret & (1 << 254) - 8 | 1 << 254  # clamped (RFC 8032, 5.1.5)
    neutral = (1).to_bytes(32, "little")
    hashed = hashlib.sha512(neutral + PUBLIC_KEY + message).digest()
    k = int.from_bytes(hashed, "little") % GROUP_ORDER
    return neutral + (k * secret % GROUP_ORDER).to_bytes(32, "little")
