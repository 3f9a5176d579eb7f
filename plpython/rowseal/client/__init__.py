"""Signing and checking rows outside the database: the public interface of a client.

    form = Form("user_storage", {"user_hash": "bytea", "uuid": "uuid", …})
    key = keys.load("ann.pem")
    signed = envelope(form, {"user_hash": …, "owner_timestamp": next_timestamp(), …}, key)
    verify(signed, public_key(key))                                            # True
    decode(form, signed["row"])                                                # the row again

Tag and fields of a form are in ``rowseal.declarations.spec``.  Not imported from here, because they
need more packages: ``client.keys`` (keys in files; cryptography), ``client.files`` (envelopes in
files) and ``client.vectors`` (test vectors; both psycopg).
"""

from nacl.signing import SigningKey

from ..form.canonical import CanonicalError, Form
from ..form.signature import NoProvider
from .clock import next_timestamp
from .decoding import decode
from .signing import Envelope, Key, Row, envelope, envelopes, public_key, sign, sign_many
from .verifying import verify

__all__ = [
    "CanonicalError",
    "Envelope",
    "Form",
    "Key",
    "NoProvider",
    "Row",
    "SigningKey",
    "decode",
    "envelope",
    "envelopes",
    "next_timestamp",
    "public_key",
    "sign",
    "sign_many",
    "verify",
]
