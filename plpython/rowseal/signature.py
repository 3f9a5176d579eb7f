"""Signatures: Ed25519 (RFC 8032) with libsodium's acceptance rule.

A *provider* is a function ``verify(signature, message, public_key) -> bool`` that never raises.
The server has two, over the same libsodium: the extension pgsodium and PyNaCl (rowseal.server); a
client has PyNaCl.  Other algorithms are added to ``ALGORITHMS``; the length of the public key tells them apart.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import NamedTuple

Verify = Callable[[bytes, bytes, bytes], bool]


class Algorithm(NamedTuple):
    """Sizes in bytes."""

    name: str
    public_key: int
    signature: int


ED25519 = Algorithm("ed25519", 32, 64)
ALGORITHMS = {ED25519.public_key: ED25519}

FINGERPRINTS: dict[str, Callable[[bytes], bytes]] = {
    "sha256": lambda key: hashlib.sha256(key).digest(),
    "sha512": lambda key: hashlib.sha512(key).digest(),
    "sha3-512": lambda key: hashlib.sha3_512(key).digest(),
    "blake2b-256": lambda key: hashlib.blake2b(key, digest_size=32).digest(),
}


def well_formed(signature: bytes, public_key: bytes) -> bool:
    """Whether both have the sizes of one algorithm; providers may rely on it."""
    algorithm = ALGORITHMS.get(len(public_key))
    return algorithm is not None and len(signature) == algorithm.signature


def pynacl() -> Verify:
    """The provider over PyNaCl; ImportError when it is not installed."""
    from nacl.bindings import crypto_sign_open
    from nacl.exceptions import BadSignatureError

    def verify(signature: bytes, message: bytes, public_key: bytes) -> bool:
        if not well_formed(signature, public_key):
            return False
        try:
            crypto_sign_open(signature + message, public_key)
        except BadSignatureError:
            return False
        return True

    return verify
