"""Rows that a table must refuse: what signers and attackers get wrong."""

from __future__ import annotations

import hashlib
import json
from base64 import b64encode
from collections.abc import Iterator
from typing import Any

from nacl.signing import SigningKey

from ...form.canonical import jcs
from .key import GROUP_ORDER, Vector, signature, small_order_signature, vector
from .table import ABSENT, START, Fields, Table
from .values import misspelled


def refused(table: Table) -> list[Vector]:
    """What was changed on its way, what signers get wrong, what is no signature."""
    return [*_altered(table), *_mistaken(table), *_no_signatures(table)]


# ------------------------------------------------------------------------------- changed on its way
def _altered(table: Table) -> Iterator[Vector]:
    genuine = signature(table.canonical.encode())

    def changed(what: str, changes: Fields) -> Iterator[Vector]:
        payload = table.payload({**table.plain, **changes})
        if payload is not None and payload != table.canonical:
            yield vector(what, payload, genuine)

    for field in table.plain:
        what = f"{field} altered after it was signed"
        candidates = (found for v in table.edges(field) for found in changed(what, {field: v}))
        yield from _first(candidates)
        if field not in table.required:
            yield from changed(f"{field} taken away after it was signed", {field: ABSENT})
    yield from changed("dated later after it was signed", {table.timestamp: str(START + 1)})


def _first(candidates: Iterator[Vector]) -> Iterator[Vector]:
    for candidate in candidates:
        yield candidate
        return


# ------------------------------------------------------------------- other bytes signed by mistake
Mistake = tuple[str, bytes, str]
"""Words for it, the bytes that were signed, the payload that should have been."""


def _mistaken(table: Table) -> Iterator[Vector]:
    for mistakes in (_other_bytes(table), _other_spellings(table), _other_texts(table)):
        for what, signed, payload in mistakes:
            if signed != payload.encode():
                mistaken = vector(f"signed: {what}", payload, signature(signed))
                yield {**mistaken, "signed_base64": b64encode(signed).decode()}


def _other_bytes(table: Table) -> Iterator[Mistake]:
    """Mistakes with the document as a whole."""
    payload = table.canonical
    good, document = payload.encode(), json.loads(payload)
    row, at = document["row"], table.timestamp
    reverse = json.dumps(_reversed(document), ensure_ascii=False, separators=(",", ":"))
    blanks = json.dumps(document, ensure_ascii=False, sort_keys=True)
    for what, signed in (
        ("for another table", jcs({**document, "table": document["table"] + "2"})),
        ("for another version of the form", jcs({**document, "rowseal": 2})),
        ("the row alone, for no table", jcs(row)),
        ("members in another order", reverse.encode()),
        ("with blanks", blanks.encode()),
        ("with a line break at the end", good + b"\n"),
        ("with a byte order mark", b"\xef\xbb\xbf" + good),
        ("its SHA-256 instead of the bytes", hashlib.sha256(good).digest()),
        ("its SHA-512 instead of the bytes", hashlib.sha512(good).digest()),
        ("in UTF-16", payload.encode("utf-16-le")),
        ("the timestamp as a number", _with(document, at, int(row[at]))),
        ("the deletion flag as a string", _with(document, table.deleted, "false")),
    ):
        yield what, signed, payload


def _other_spellings(table: Table) -> Iterator[Mistake]:
    """Each value as somebody could write it instead."""
    document = json.loads(table.canonical)
    for field, kind in table.fields.items():
        value = table.plain.get(field)
        if value is not None:
            for what, wrong in misspelled(kind, value):
                yield f"{field} {what}", _with(document, field, wrong), table.canonical


def _other_texts(table: Table) -> Iterator[Mistake]:
    """NULL written out; text in another encoding."""
    document = json.loads(table.canonical)
    for field, kind in table.fields.items():
        if kind != "json" and field not in table.required:
            payload = table.payload({**table.plain, field: ABSENT})
            if payload:
                yield f"{field} as null", _with(document, field, None), payload
        if kind == "text" and field not in table.ruled():
            payload = table.payload({**table.plain, field: "Zoë"})
            if payload:
                escaped, decomposed = (
                    payload.replace("ë", "\\u00eb"),
                    payload.replace("ë", "e\u0301"),
                )
                yield f"{field} escaped to ASCII", escaped.encode(), payload
                yield f"{field} in Latin-1", payload.encode("latin-1", "replace"), payload
                yield f"{field} in decomposed Unicode", decomposed.encode(), payload


def _with(document: dict[str, Any], field: str, value: Any) -> bytes:
    """The bytes of a document with another value of one field."""
    return jcs({**document, "row": {**document["row"], field: value}})


def _reversed(value: Any) -> Any:
    """The same JSON with the members of every object in descending order."""
    if not isinstance(value, dict):
        return value
    return {name: _reversed(value[name]) for name in sorted(value, reverse=True)}


# ------------------------------------------------------------------------------- no signature of it
def _no_signatures(table: Table) -> Iterator[Vector]:
    payload = table.canonical
    good = payload.encode()
    genuine, stranger = signature(good), SigningKey(bytes(32))
    r, s = genuine[:32], genuine[32:]
    malleable = int.from_bytes(s, "little") + GROUP_ORDER
    for what, wrong in (
        ("by another key", stranger.sign(good).signature),
        ("malleable: S + L", r + malleable.to_bytes(32, "little")),
        ("R and S exchanged", s + r),
        ("one bit turned", genuine[:-1] + bytes([genuine[-1] ^ 1])),
        ("one byte short", genuine[:-1]),
        ("one byte long", genuine + b"\0"),
        ("zeros", bytes(64)),
        ("empty", b""),
        ("R of small order, S that fits: some libraries take it", small_order_signature(good)),
    ):
        yield vector(f"signature: {what}", payload, wrong)
