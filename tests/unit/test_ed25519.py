"""Ed25519: the vectors are what they say, and PyNaCl gives libsodium's verdict on each."""

from __future__ import annotations

from kit.ed25519 import BASE, VECTORS, L, encoded, on_curve, secret_scalar, small_order, times
from rowseal.client import SigningKey
from rowseal.form.signature import pynacl, verifier


def test_the_vectors_are_what_they_say() -> None:
    assert len(small_order()) >= 12 and on_curve(BASE) and times(L, BASE) == (0, 1)
    assert sum(v.what.startswith("sign.input") for v in VECTORS) == 2 * 1024
    public_key = bytes(SigningKey(bytes(32)).verify_key)
    assert encoded(times(secret_scalar(bytes(32)), BASE)) == public_key


def test_pynacl_gives_the_right_verdict_on_every_vector() -> None:
    verify = verifier(pynacl())
    wrong = [v.what for v in VECTORS if verify(v.signature, v.message, v.key) is not v.valid]
    assert wrong == []
