"""The form ``concatenated``: how the system that rowseal comes from signed its rows.

The values alone, sorted by field name, one after the other.  It exists to take such rows over as
they are; docs/specification.md says what is wrong with it, :func:`ambiguities` which columns that
concerns.
"""

from __future__ import annotations

from binascii import b2a_base64
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Optional

from .canonical import CanonicalError, Form, Kind, encoder


def _quoted(kind: str) -> Callable[[Any], bytes]:
    encode = encoder(kind)
    return lambda value: encode(value)[1:-1]  # without the quotes of its JSON string


def _text(value: Any) -> bytes:
    if not isinstance(value, str) or "\0" in value:
        raise CanonicalError("not text")
    return value.encode()


_LEAVES: dict[str, Callable[[Any], bytes]] = {
    "boolean": encoder("boolean"),
    "integer": _quoted("integer"),
    "uuid": _quoted("uuid"),
    "text": _text,
    "bytea": lambda value: b2a_base64(value, newline=False),
}


def supported(kind: Kind) -> bool:
    """Whether a column of that kind has this form."""
    return kind in _LEAVES if isinstance(kind, str) else kind.get("array") in ("bytea", "text")


def _encoder(kind: Kind) -> Callable[[Any], bytes]:
    if isinstance(kind, str):
        return _LEAVES[kind]
    one = _LEAVES[kind["array"]]

    def array(value: Any) -> bytes:
        if not isinstance(value, list) or None in value:
            raise CanonicalError("an array with NULL")
        return b"".join(array(part) if isinstance(part, list) else one(part) for part in value)

    return array


class Concatenated(Form):
    """As :class:`rowseal.form.canonical.Form`, for the other form; the tag is not signed."""

    def __init__(self, tag: str, fields: Mapping[str, Kind]):
        super().__init__(tag, fields)
        self._values = [(name, _encoder(fields[name])) for name in self.names]

    def payload(self, values: Iterable[Any]) -> bytes:
        parts = []
        for (name, encode), value in zip(self._values, values):
            try:
                parts.append(b"null" if value is None else encode(value))
            except (ValueError, TypeError, AttributeError) as e:
                raise CanonicalError(f"field {name!r}: {e}") from None
        return b"".join(parts)


_DIGITS, _HEX = frozenset("0123456789"), frozenset("0123456789abcdef")
_BASE64 = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/=")
_ANY = None  # any character
_Characters = Optional[frozenset[str]]


class _Words:
    """What may stand in a column, as far as it tells where the column begins and ends."""

    def __init__(self, kind: Kind, nullable: bool):
        fixed = kind in ("boolean", "integer", "uuid")
        self.null_is_a_word = nullable and not fixed  # NULL reads as the content "null"
        self.empty = not fixed  # a word may be empty
        self.first: _Characters = _ANY  # what a word may begin with
        self.longer: _Characters = _ANY  # what may prolong a word to another one
        self.ends_another = True  # a word may be the end of another one
        if kind == "boolean":
            self.first, self.longer, self.ends_another = frozenset("tf"), frozenset(), False
        elif kind == "uuid":
            self.first, self.longer, self.ends_another = _HEX, frozenset(), False
        elif kind == "integer":
            self.first, self.longer = _DIGITS | {"-"}, _DIGITS
        elif kind in ("bytea", {"array": "bytea"}):
            self.first = self.longer = _BASE64
        if nullable and self.first is not _ANY:
            self.first |= {"n"}


def ambiguities(columns: list[tuple[str, Kind, bool]]) -> list[str]:
    """Why different rows may share their bytes; empty when they cannot.

    ``columns``: (name, kind, nullable) in the order of the payload.

    Read from the left, a column ends where it cannot be prolonged by what begins the rest; from the
    right, it begins where no word ends another.  Every boundary that neither way reaches is one
    across which content can be shifted.
    """
    names = [name for name, _, _ in columns]
    words = [_Words(kind, nullable) for _, kind, nullable in columns]
    rests = _rests(words)
    last = len(words) - 1
    left = next((i for i in range(last) if not _ends(words[i], rests[i])), last)
    right = next((i for i in range(last, 0, -1) if words[i].ends_another), 0)
    found = [f"{names[i]} and {names[i + 1]}" for i in range(left, right)]
    found += [f"the elements of {name}" for name, kind, _ in columns if not isinstance(kind, str)]
    for name, word in zip(names, words):
        if word.null_is_a_word:
            found.append(f"NULL and the content 'null' of {name}")
    return found


def _rests(words: list[_Words]) -> list[_Characters]:
    """What the rest after each column may begin with."""
    rests: list[_Characters] = [frozenset()]  # from the last column to the first
    for word in reversed(words[1:]):
        after = rests[-1]
        if not word.empty:
            rests.append(word.first)
        elif word.first is _ANY or after is _ANY:
            rests.append(_ANY)
        else:
            rests.append(word.first | after)
    rests.reverse()
    return rests


def _ends(word: _Words, rest: _Characters) -> bool:
    """Whether a column's end shows, by what begins the rest after it."""
    if word.longer is _ANY:
        return False
    return not word.longer or (rest is not _ANY and not (word.longer & rest))
