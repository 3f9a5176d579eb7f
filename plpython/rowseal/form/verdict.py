"""The verdict on one row: is it what its owner signed, and does it keep to its declaration?"""

from __future__ import annotations

from binascii import a2b_base64, b2a_base64
from collections.abc import Callable, Sequence
from operator import itemgetter
from typing import TYPE_CHECKING, Any, NamedTuple

from . import batch
from .canonical import CanonicalError, Form, is_digest
from .signature import ALGORITHMS, HASHES, NoProvider, Verify

if TYPE_CHECKING:
    from .spec import Spec


class Verdict(NamedTuple):
    """Why a row is refused: the SQL type rowseal.verdict."""

    sqlstate: str
    reason: str

    def text(self) -> str:
        """PostgreSQL's text form of the composite value."""
        reason = self.reason.replace("\\", "\\\\").replace('"', '""')
        return f'({self.sqlstate},"{reason}")'


UNKNOWN_OWNER = Verdict("RS002", "unknown owner")
UNSIGNED = Verdict(
    "RS001", "the row is not signed: key, timestamp, deletion flag or signature is missing"
)

Judge = Callable[[Any, bytes, Sequence[Any]], "Verdict | None"]
"""``judge(public_key, signature, values)``, as :func:`judging` makes it."""


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
    """The canonical form of a table, on the server: digests have been computed in SQL."""
    kinds = spec["fields"].items()
    fields = {field: "sha256" if is_digest(kind) else kind for field, kind in kinds}
    return Form(spec["tag"], fields)


def signed_form(spec: Spec) -> Form:
    """The form that is signed; envelopes and digests always go by :func:`form`."""
    if spec.get("form") != "concatenated":
        return form(spec)
    from .concatenated import Concatenated  # few sessions need it

    return Concatenated(spec["tag"], spec["fields"])


def judging(spec: Spec, verify: Verify) -> Judge:
    """``judge(public_key, signature, values)`` for one declared table.

    It returns None for an authentic row.  Values come in the order of the form's names, the
    version's name (spec: "name") last.

    Everybody may call it, so it remembers nothing of a row from one call to the next.  What it
    remembers of a batch, and why it may, batch.accepting says.
    """
    table = signed_form(spec)
    index = {name: at for at, name in enumerate(table.names)}
    hashed = spec.get("fingerprint")
    fingerprint = HASHES[hashed] if hashed else None
    owner = index[spec["owner"][0]]
    required = itemgetter(*(index[name] for name in spec["required"]))  # three at least, so a tuple
    prefix = spec.get("fingerprint_prefix") or ""
    certificates = [
        (name, index[name], of, index[of]) for name, of in (spec.get("certificates") or {}).items()
    ]
    payload = table.payload
    signed = batch.accepting(verify)
    naming = spec.get("name")
    allowed = spec.get("algorithms")
    lengths = {ALGORITHMS[name].public_key for name in allowed or ALGORITHMS}

    def judge(public_key: Any, signature: bytes, values: Sequence[Any]) -> Verdict | None:
        if signature is None or None in required(values):
            return UNSIGNED
        if public_key is None:
            return UNKNOWN_OWNER
        if allowed and len(public_key) not in lengths:
            return Verdict("RS001", f"the public key is none of {', '.join(allowed)}")
        try:
            if not signed(signature, payload(values), public_key):
                return Verdict("RS001", "invalid signature")
        except CanonicalError as e:
            return Verdict("RS006", str(e))
        except NoProvider as e:
            return Verdict("RS014", str(e))
        if naming is not None:
            named = HASHES[naming["hash"]](signature)
            if not _is_hash(values[-1], named, naming["prefix"]):
                return Verdict(
                    "RS005", f"{naming['column']} is not the {naming['hash']} of the signature"
                )
        if fingerprint is not None and not _is_hash(values[owner], fingerprint(public_key), prefix):
            return Verdict("RS005", f"the owner is not the {hashed} of the public key")
        for name, at, of, certified_at in certificates:
            if values[at] is None and values[certified_at] is None:
                continue
            certificate, certified = _bytes(values[at]), _bytes(values[certified_at])
            if (
                certificate is None
                or certified is None
                or not verify(certificate, certified, public_key)
            ):
                return Verdict("RS005", f"{name} is not the owner's signature over {of}")
        return None

    return judge


def _is_hash(value: Any, hashed: bytes, prefix: str) -> bool:
    """Whether a column holds a hash: as bytes, or in a text column as hex after a prefix."""
    return bool(value == (hashed if isinstance(value, bytes) else prefix + hashed.hex()))
