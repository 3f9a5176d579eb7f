"""The verdict on one row: is it what its owner signed, and does it keep to its declaration?"""

from __future__ import annotations

from binascii import a2b_base64, b2a_base64
from collections.abc import Callable, Sequence
from operator import itemgetter
from typing import Any, TypedDict

from . import batch
from .canonical import CanonicalError, Form, Kind
from .signature import ALGORITHMS, FINGERPRINTS, NoProvider, Verify

UNKNOWN_OWNER = "RS002 unknown owner"
UNSIGNED = "RS001 the row is not signed: key, timestamp, deletion flag or signature is missing"


class VersionName(TypedDict):
    """The field that holds the name of a version: the hash of its signature, in a text column after a prefix."""

    column: str
    hash: str
    prefix: str


class Spec(TypedDict, total=False):
    """What must be known of a table to sign and to check its rows: ``rowseal.declarations.spec``.

    ``algorithms`` is there in identity tables only, ``form`` when it is not rowseal/1, ``name`` where versions have one.
    """

    tag: str
    fields: dict[str, Kind]
    owner: list[str]
    required: list[str]  # the key, the timestamp, the deletion flag: never NULL
    algorithms: list[str]
    form: str
    name: VersionName
    fingerprint: str | None
    fingerprint_prefix: str | None
    certificates: dict[str, str]  # {certificate: the field that it certifies}


Seal = Callable[[Any, bytes, Sequence[Any]], "str | None"]


def unbase64(text: str) -> bytes | None:
    """The bytes of standard base64 with padding, None for any other spelling of them."""
    try:
        raw = a2b_base64(text)
    except ValueError:
        return None
    return raw if b2a_base64(raw, newline=False).decode() == text else None


def _bytes(value: Any) -> bytes | None:
    return unbase64(value) if isinstance(value, str) else value


def form(spec: Spec) -> Form:
    """The canonical form of a declaration's spec: ``{"tag": …, "fields": {FIELD: KIND}, …}``; digests are computed in SQL."""
    fields = {f: "sha256" if isinstance(kind, dict) and "digest" in kind else kind for f, kind in spec["fields"].items()}
    return Form(spec["tag"], fields)


def signed_form(spec: Spec) -> Form:
    """The form that is signed; envelopes and digests always go by :func:`form`."""
    if spec.get("form") != "concatenated":
        return form(spec)
    from .concatenated import Concatenated  # few sessions need it

    return Concatenated(spec["tag"], spec["fields"])


def seal(spec: Spec, verify: Verify) -> Seal:
    """``judge(public_key, signature, values)`` for one declared table.

    It returns None for an authentic row, else its refusal: a SQLSTATE, a blank and the reason.  Values come in the
    order of the form's names, the version's name (spec: "name") last.  Everybody may call it, so it remembers nothing of a
    row from one call to the next (of a batch: see batch.accepting).
    """
    table = signed_form(spec)
    index = {name: i for i, name in enumerate(table.names)}
    hashed = spec.get("fingerprint")
    fingerprint = FINGERPRINTS[hashed] if hashed else None
    owner = index[spec["owner"][0]]
    required = itemgetter(*(index[name] for name in spec["required"]))  # three at least, so a tuple
    prefix = spec.get("fingerprint_prefix") or ""
    certificates = [(cert, index[cert], of, index[of]) for cert, of in (spec.get("certificates") or {}).items()]
    payload = table.payload
    signed = batch.accepting(verify)
    naming = spec.get("name")
    allowed = spec.get("algorithms")
    lengths = {ALGORITHMS[name].public_key for name in allowed or ALGORITHMS}

    def judge(public_key: Any, signature: bytes, values: Sequence[Any]) -> str | None:
        if signature is None or None in required(values):
            return UNSIGNED
        if public_key is None:
            return UNKNOWN_OWNER
        if allowed and len(public_key) not in lengths:
            return f"RS001 the public key is none of {', '.join(allowed)}"
        try:
            if not signed(signature, payload(values), public_key):
                return "RS001 invalid signature"
        except CanonicalError as e:
            return f"RS006 {e}"
        except NoProvider as e:
            return f"RS014 {e}"
        if naming is not None:
            named = FINGERPRINTS[naming["hash"]](signature)
            if values[-1] != (named if isinstance(values[-1], bytes) else naming["prefix"] + named.hex()):
                return f"RS005 {naming['column']} is not the {naming['hash']} of the signature"
        if fingerprint is not None:
            digest = fingerprint(public_key)
            if values[owner] != (digest if isinstance(values[owner], bytes) else prefix + digest.hex()):
                return f"RS005 the owner is not the {hashed} of the public key"
        for cert, c, of, o in certificates:
            if values[c] is None and values[o] is None:
                continue
            certificate, certified = _bytes(values[c]), _bytes(values[o])
            if certificate is None or certified is None or not verify(certificate, certified, public_key):
                return f"RS005 {cert} is not the owner's signature over {of}"
        return None

    return judge
