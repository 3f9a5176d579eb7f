"""The form ``concatenated``: how the system that rowseal comes from signed its rows.

The values alone, sorted by field name, one after the other.  It exists to take such rows over as they are;
docs/specification.md says what is wrong with it, :func:`ambiguities` which columns that concerns.
"""

from __future__ import annotations

from binascii import b2a_base64
from collections.abc import Callable, Iterable, Mapping
from typing import Any

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
        return b"".join(array(v) if isinstance(v, list) else one(v) for v in value)

    return array


class Concatenated(Form):
    """As :class:`rowseal.canonical.Form`, for the other form; the tag is not signed."""

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


class _Words:
    """What may stand in a column: its first characters, what may prolong a word to another one, and whether a word may be empty
    or the end of another one."""

    def __init__(self, kind: Kind, nullable: bool):
        self.null_is_a_word = nullable and kind not in ("boolean", "integer", "uuid")
        self.empty = kind not in ("boolean", "integer", "uuid")
        self.first: frozenset[str] | None = _ANY
        self.longer: frozenset[str] | None = _ANY
        self.ends_another = True
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
    """Why different rows may share their bytes: (name, kind, nullable) in the order of the payload; empty when they cannot.

    Read from the left, a column ends where it cannot be prolonged by what begins the rest; from the right, it begins where no
    word ends another.  Every boundary that neither way reaches is one across which content can be shifted.
    """
    words = [_Words(kind, nullable) for _, kind, nullable in columns]
    first: list[frozenset[str] | None] = [frozenset()]  # what may begin the rest after each column, from the last
    for w in reversed(words[1:]):
        after = first[-1]
        first.append(w.first if not w.empty else _ANY if w.first is _ANY or after is _ANY else w.first | after)
    first.reverse()

    def ends(i: int) -> bool:
        longer, rest = words[i].longer, first[i]
        return (longer is not _ANY and not longer) or (longer is not _ANY and rest is not _ANY and not (longer & rest))

    left = next((i for i in range(len(words) - 1) if not ends(i)), len(words) - 1)
    right = next((i for i in range(len(words) - 1, 0, -1) if words[i].ends_another), 0)
    shifted = [f"{columns[i][0]} and {columns[i + 1][0]}" for i in range(left, right)]
    shifted += [f"the elements of {name}" for name, kind, _ in columns if not isinstance(kind, str)]
    return shifted + [f"NULL and the content 'null' of {name}" for (name, _, _), w in zip(columns, words) if w.null_is_a_word]
