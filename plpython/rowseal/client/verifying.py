"""Checking envelopes against a public key."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..form import batch
from ..form.canonical import JSON_DEPTH, Form, digest, jcs
from ..form.signature import pynacl, verifier
from ..form.verdict import unbase64
from .decoding import decode

_genuine = batch.accepting(verifier(pynacl()))


def verify(envelope: Mapping[str, Any], public_key: bytes, form: Form | None = None) -> bool:
    """Whether an envelope was signed with that key, alone or in a batch.

    ``public_key``: its bytes (Ed25519: 32), which the owner must be known to have.  ``form`` is
    needed for rows that are signed in another form than ``rowseal/1``.  What is no envelope at all
    is answered by False; NoProvider for ML-DSA without its package.
    """
    try:
        signature = unbase64(envelope["sign_b64"])
        payload = _payload(envelope, form)
        if signature is None or type(envelope["rowseal"]) is not int or envelope["rowseal"] != 1:
            return False  # also 1.0, and True, which are equal to 1
        if not _contents_fit(envelope):
            return False
        return _genuine(signature, payload, public_key)
    except (ValueError, TypeError, KeyError, AttributeError, OverflowError):
        return False


def _payload(envelope: Mapping[str, Any], form: Form | None) -> bytes:
    """The bytes that must have been signed."""
    signed = {name: envelope[name] for name in ("row", "rowseal", "table")}
    # a column's JSON value may be nested JSON_DEPTH deep; the envelope puts two objects around it
    payload = jcs(signed, JSON_DEPTH + 2)
    return payload if form is None else form.payload_of(decode(form, envelope["row"]))


def _contents_fit(envelope: Mapping[str, Any]) -> bool:
    """Whether each content in an envelope has the digest that was signed for it."""
    for field, content in envelope.get("content", {}).items():
        raw = unbase64(content)
        if raw is None or unbase64(envelope["row"][field]["sha256"]) != digest(raw):
            return False
    return True
