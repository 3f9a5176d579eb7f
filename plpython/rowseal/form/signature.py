"""Signatures: Ed25519 (RFC 8032) with libsodium's acceptance rule, ML-DSA (FIPS 204).

The length of the public key tells the algorithm; nothing else does.  For Ed25519 the server has two
providers, over the same libsodium: the extension pgsodium (rowseal.server) and PyNaCl; a client has
PyNaCl.  ML-DSA comes with the package cryptography and is loaded when the first such key is met.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from functools import cache
from typing import Any, NamedTuple

Verify = Callable[[bytes, bytes, bytes], bool]
"""``verify(signature, message, public_key)``; NoProvider when it cannot tell."""


class NoProvider(Exception):
    """There is no library for the algorithm of a key (SQLSTATE RS014 on the server)."""


class Algorithm(NamedTuple):
    """Sizes in bytes."""

    name: str
    public_key: int
    signature: int


ED25519 = Algorithm("ed25519", 32, 64)
ML_DSA_65 = Algorithm("ml-dsa-65", 1952, 3309)
ML_DSA_87 = Algorithm("ml-dsa-87", 2592, 4627)
ALGORITHMS = {algorithm.name: algorithm for algorithm in (ED25519, ML_DSA_65, ML_DSA_87)}
BY_KEY = {algorithm.public_key: algorithm for algorithm in ALGORITHMS.values()}  # by its length

# of public keys (fingerprints) and of signatures (names of versions)
HASHES: dict[str, Callable[[bytes], bytes]] = {
    "sha256": lambda value: hashlib.sha256(value).digest(),
    "sha512": lambda value: hashlib.sha512(value).digest(),
    "sha3-512": lambda value: hashlib.sha3_512(value).digest(),
    "blake2b-256": lambda value: hashlib.blake2b(value, digest_size=32).digest(),
}


def pynacl() -> Verify:
    """Ed25519 over PyNaCl, for signatures and keys of the right lengths; ImportError without it."""
    from .pynacl import verify

    return verify


@cache
def ml_dsa_keys(algorithm: Algorithm) -> tuple[Any, Any]:
    """The classes of private and public keys in cryptography; NoProvider."""
    try:
        from cryptography.exceptions import UnsupportedAlgorithm
        from cryptography.hazmat.primitives.asymmetric import mldsa

        if algorithm is ML_DSA_65:
            classes: tuple[Any, Any] = mldsa.MLDSA65PrivateKey, mldsa.MLDSA65PublicKey
        else:
            classes = mldsa.MLDSA87PrivateKey, mldsa.MLDSA87PublicKey
        classes[1].from_public_bytes(bytes(algorithm.public_key))
    except ImportError:
        reason = "the Python package cryptography, 47 or later, is not there"
        raise NoProvider(f"no provider of {algorithm.name}: {reason}") from None
    except UnsupportedAlgorithm:
        reason = "the package cryptography was built without it"
        raise NoProvider(f"no provider of {algorithm.name}: {reason}") from None
    return classes


@cache
def ml_dsa(algorithm: Algorithm) -> Verify:
    """ML-DSA over cryptography, for signatures and keys of the right lengths; NoProvider."""
    load = ml_dsa_keys(algorithm)[1].from_public_bytes
    from cryptography.exceptions import InvalidSignature

    def verify(signature: bytes, message: bytes, public_key: bytes) -> bool:
        try:
            load(public_key).verify(signature, message)
        except InvalidSignature:
            return False
        return True

    return verify


def verifier(ed25519: Verify) -> Verify:
    """Signatures of all algorithms, given a provider of Ed25519.

    What has the wrong length is no signature.
    """

    def verify(signature: bytes, message: bytes, public_key: bytes) -> bool:
        algorithm = BY_KEY.get(len(public_key))
        if algorithm is None or len(signature) != algorithm.signature:
            return False
        provider = ed25519 if algorithm is ED25519 else ml_dsa(algorithm)
        return provider(signature, message, public_key)

    return verify
