"""The canonical form ``rowseal/1``: the bytes that an owner signs.

A row becomes the RFC 8785 (JCS) serialisation of

    {"row": {FIELD: VALUE}, "rowseal": 1, "table": TAG}

How a VALUE looks depends on its *kind*, a small JSON tree derived from the column's type:

=====================================  =====================================================
kind                                   Python values accepted
=====================================  =====================================================
``"boolean"``                          bool
``"integer"``                          int, or its decimal text
``"numeric"``                          Decimal, int, or the text PostgreSQL shows
``"float"``                            float (a ``real`` widened to double)
``"text"``, ``"other"``                str (``other``: the text PostgreSQL shows, settings pinned)
``"bytea"``                            bytes
``"uuid"``                             str or uuid.UUID
``"timestamptz"``, ``"timestamp"``,    str as PostgreSQL shows it (``ISO`` style, ``UTC``), or
``"date"``, ``"time"``                 datetime objects
``"json"``                             str: the JSON text
``{"array": KIND}``                    nested lists
``{"composite": [[NAME, KIND], …]}``   dict
``{"digest": "bytea" | "text"}``       the content: bytes or str; erased: {"sha256": base64}
``"sha256"``                           bytes: the digest of a content
=====================================  =====================================================

None is SQL NULL: left out of an object, ``null`` in an array.  Whatever has no canonical form
raises :class:`CanonicalError`.  docs/specification.md is the same in prose, with worked examples.
"""

from __future__ import annotations

import datetime
import json
import re
from binascii import a2b_base64, b2a_base64
from collections.abc import Callable, Iterable, Mapping
from decimal import Decimal, InvalidOperation
from hashlib import sha256
from itertools import accumulate
from json.encoder import encode_basestring  # C, escapes just as RFC 8785 asks
from math import isfinite, isnan
from typing import Any

Kind = Any  # str | {"array": Kind} | {"composite": [[str, Kind], ...]}
Encoder = Callable[[Any], bytes]

# Bytes of the canonical text.  With signature and content an envelope has at most 64 MiB: whatever
# is accepted can be sent, kept and printed, on every server.
MOST = 62 * 2**20
CONTENT = 36 * 2**20  # of what is signed by digest; in base64 48 MiB, and so much less of the text
# An element of two bytes takes hundreds in memory, on its way to Python most of all, and that
# before anybody has proved anything.
ELEMENTS = 2**18  # of an array in all its dimensions; members and elements of a JSON value
COMPOSITES = 2**14  # elements that are composite
MEMBERS = 2 * ELEMENTS  # commas of the whole text outside of strings
JSON_DEPTH = 128  # fixed, so that every server gives the same verdict on deep nesting


class CanonicalError(ValueError):
    """A value that has no canonical form (SQLSTATE RS006 on the server)."""


def too_large(most: int = MOST) -> CanonicalError:
    return CanonicalError(f"more than {most} bytes of canonical text")


def most_elements(element: Kind) -> int:
    """How many an array of such elements may have."""
    return COMPOSITES if isinstance(element, dict) and "composite" in element else ELEMENTS


def too_many() -> CanonicalError:
    most = f"{ELEMENTS} elements in an array or a JSON value, or {COMPOSITES} composite ones"
    return CanonicalError(f"more than {most}")


def too_many_members() -> CanonicalError:
    return CanonicalError(f"more than {MEMBERS} elements and members in a row")


def _string(value: str) -> bytes:
    if len(value) > MOST:
        raise too_large()
    if "\0" in value:
        raise CanonicalError("U+0000 cannot be stored in a PostgreSQL text or jsonb value")
    try:
        return encode_basestring(value).encode()
    except UnicodeEncodeError:
        raise CanonicalError("a lone surrogate is not Unicode text (RFC 7493)") from None


def json_string(value: str) -> str:
    """A JSON string as RFC 8785 writes it."""
    return _string(value).decode()


def _number(value: float) -> bytes:
    """A finite double as ECMAScript writes it (RFC 8785, 3.2.2.3)."""
    return _ecmascript(value, repr(value))


def _ecmascript(value: float, text: str) -> bytes:
    """``text``: its repr, the shortest digits that round-trip, as ECMAScript chooses them."""
    if value == 0:
        return b"0"
    if "e" not in text and abs(value) >= 1e-4:
        return text.removesuffix(".0").encode()
    sign, text = ("-", text[1:]) if text[0] == "-" else ("", text)
    mantissa, _, exp = text.partition("e")
    whole, _, fraction = mantissa.partition(".")
    if fraction == "0":
        fraction = ""
    digits = (whole + fraction).lstrip("0")
    # value = 0.DIGITS * 10**point
    point = len(whole) + int(exp or 0) - (len(whole + fraction) - len(digits))
    digits = digits.rstrip("0")
    count = len(digits)
    if count <= point <= 21:
        out = digits + "0" * (point - count)
    elif 0 < point <= 21:
        out = digits[:point] + "." + digits[point:]
    elif -6 < point <= 0:
        out = "0." + "0" * -point + digits
    else:
        mantissa = digits[0] + ("." + digits[1:] if count > 1 else "")
        out = f"{mantissa}e{point - 1:+d}"
    return (sign + out).encode()


def _utf16(name: str) -> bytes:
    # RFC 8785, 3.2.3: keys sort by UTF-16 code units
    return name.encode("utf-16-be", "surrogatepass")


def _object(members: Iterable[tuple[str, bytes]]) -> bytes:
    ordered = sorted(members, key=lambda member: _utf16(member[0]))
    return b"{" + b",".join(_string(name) + b":" + value for name, value in ordered) + b"}"


# ------------------------------------------------------------------------------------------- leaves
def _boolean(value: Any) -> bytes:
    if value is True:
        return b"true"
    if value is False:
        return b"false"
    raise CanonicalError(f"{value!r} is not a boolean")


def _integer(value: Any) -> bytes:
    if type(value) is not int:
        if not isinstance(value, str) or not re.fullmatch(r"-?[0-9]+", value):
            raise CanonicalError("not an integer")
        try:
            value = int(value)
        except ValueError:  # more digits than Python takes
            raise CanonicalError("not an integer") from None
    return b'"%d"' % value


_is_numeric = re.compile(r"-?[0-9]+(\.[0-9]+)?|NaN|-?Infinity").fullmatch


def _numeric(value: Any) -> bytes:
    if (isinstance(value, str) and not _is_numeric(value)) or isinstance(value, float):
        raise CanonicalError("not a numeric")
    number = Decimal(value)
    if number.is_snan():
        raise CanonicalError("not a numeric")
    text = format(number, "f")
    if text.startswith("-") and not text.strip("-0."):
        text = text[1:]  # PostgreSQL has no negative zero
    return _string(text)


def _float(value: Any) -> bytes:
    if not isinstance(value, (float, int)) or isinstance(value, bool):
        raise CanonicalError(f"{type(value).__name__} is not a float")
    value = float(value)
    if isfinite(value):
        return _number(value) if value or str(value) == "0.0" else b'"-0"'
    return b'"NaN"' if isnan(value) else b'"Infinity"' if value > 0 else b'"-Infinity"'


def _text(value: Any) -> bytes:
    if not isinstance(value, str):
        raise CanonicalError(f"{type(value).__name__} is not text")
    return _string(value)


def _bytea(value: Any) -> bytes:
    if len(value) > MOST:
        raise too_large()
    return b'"%b"' % b2a_base64(value, newline=False)


_is_uuid = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}").fullmatch


def _sha256(value: Any) -> bytes:
    if len(value) != 32:
        raise CanonicalError("a SHA-256 digest has 32 bytes")
    return b'{"sha256":"%b"}' % b2a_base64(value, newline=False)


def digest(content: Any) -> bytes:
    """The digest that is signed for a content, 32 bytes.

    ``content``: bytes or str, or {"sha256": base64} when it was erased.
    """
    if isinstance(content, Mapping):
        return a2b_base64(content["sha256"])
    return sha256(content.encode() if isinstance(content, str) else content).digest()


def _uuid(value: Any) -> bytes:
    text = value if isinstance(value, str) else str(value)
    if not _is_uuid(text):
        text = text.lower()
        if not _is_uuid(text):
            raise CanonicalError("not a uuid")
    return b'"%b"' % text.encode()


_DATE = r"(?P<date>[0-9]{4}-[0-9]{2}-[0-9]{2})"
_TIME = r"(?P<time>[0-9]{2}:[0-9]{2}:[0-9]{2})(?:\.(?P<fraction>[0-9]{1,6}))?"
_MOMENTS = {
    "timestamptz": (re.compile(_DATE + "[ T]" + _TIME + r"(?:\+00(?::00)?|Z)"), datetime.datetime),
    "timestamp": (re.compile(_DATE + "[ T]" + _TIME), datetime.datetime),
    "date": (re.compile(_DATE), datetime.date),
    "time": (re.compile(_TIME), datetime.time),
}


def _in_utc(value: datetime.datetime, kind: str) -> datetime.datetime:
    if (value.tzinfo is not None) != (kind == "timestamptz"):
        without = "" if value.tzinfo else "out"
        raise CanonicalError(f"a {kind} with{without} a time zone")
    if value.tzinfo is None:
        return value
    try:
        return value.astimezone(datetime.timezone.utc)
    except OverflowError:
        raise CanonicalError("a year outside 1-9999") from None


def _moment(kind: str) -> Encoder:
    pattern, native = _MOMENTS[kind]

    def encode(value: Any) -> bytes:
        if isinstance(value, native):
            if isinstance(value, datetime.datetime):
                value = _in_utc(value, kind)
            value = value.isoformat()
        if value in ("infinity", "-infinity") and kind != "time":
            return _string(value)
        match = pattern.fullmatch(value)
        if not match:  # 'BC' and five-digit years do not match
            raise CanonicalError(f"{value!r} is not a {kind} within the years 1-9999")
        part = match.groupdict()
        text = part.get("date") or ""
        if "time" in part:
            microseconds = (part["fraction"] or "").ljust(6, "0")
            text += f"{'T' if text else ''}{part['time']}.{microseconds}"
        return b'"' + text.encode() + (b'Z"' if kind == "timestamptz" else b'"')

    return encode


# --------------------------------------------------------------------------------------------- JSON
def _json_number(text: str) -> bytes:
    """A number of JSON, written canonically."""
    value = float(text)
    shortest = repr(value)
    if shortest == text:
        return _ecmascript(value, shortest)
    try:
        if isfinite(value) and Decimal(text) == Decimal(shortest):
            return _ecmascript(value, shortest)
    except InvalidOperation:
        pass
    problem = f"the JSON number {text[:40]} is not a double (RFC 7493)"
    raise CanonicalError(f"{problem}; write it as a string")


def _json_object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise CanonicalError("a JSON object repeats a key (RFC 7493)")
    return members


def _json_constant(text: str) -> Any:
    raise CanonicalError(f"{text} is not JSON")


_parse = json.JSONDecoder(
    parse_int=_json_number,
    parse_float=_json_number,
    parse_constant=_json_constant,
    object_pairs_hook=_json_object,
).decode


def jcs(value: Any, depth: int = JSON_DEPTH) -> bytes:
    """RFC 8785 serialisation of a parsed JSON value; CanonicalError.

    ``bytes`` are a number that is written already.
    """
    if isinstance(value, bytes):
        return value
    if value is None:
        return b"null"
    if isinstance(value, bool):
        return _boolean(value)
    if isinstance(value, str):
        return _string(value)
    if isinstance(value, float):
        return _number(value)
    if isinstance(value, int):
        return _json_number(str(value))
    if not depth:
        raise CanonicalError(f"JSON nested more than {JSON_DEPTH} deep")
    if isinstance(value, dict):
        return _object((name, jcs(member, depth - 1)) for name, member in value.items())
    return b"[" + b",".join(jcs(element, depth - 1) for element in value) + b"]"


# What Python's own encoder would write otherwise than RFC 8785, or what has to be looked at: keys
# that sort otherwise by UTF-16 code units, surrogates, U+0000; numbers that are no integers of at
# most 15 digits.
_UNUSUAL = re.compile(r"[\ud800-\U0010ffff]|\\u(?:[d-fD-F]|0000)").search
# In two steps: one expression for strings with escapes takes 120 bytes of memory for each byte.
_ESCAPES = re.compile(r"\\.")
_STRINGS = re.compile(r'"[^"]*"')
_NO_BRACKETS = re.compile(r"[^][{}]+")
_NUMBERS = re.compile(r"[0-9][.eE]|[0-9]{16}").search
_parse_plain = json.JSONDecoder(
    parse_constant=_json_constant, object_pairs_hook=_json_object
).decode
_encode_plain = json.JSONEncoder(
    ensure_ascii=False, check_circular=False, sort_keys=True, separators=(",", ":")
).encode


def without_strings(text: str) -> str:
    """JSON without the strings in it."""
    return _STRINGS.sub("", _ESCAPES.sub("", text))


def _is_plain(text: str, bare: str) -> bool:
    """Whether Python's own decoder and encoder do, which take a tenth of the time."""
    return not _NUMBERS(bare) and not _UNUSUAL(text) and _depth(bare) <= JSON_DEPTH


def _depth(bare: str) -> int:
    """How deep JSON without its strings is nested."""
    if bare.count("[") + bare.count("{") <= JSON_DEPTH:
        return 0
    steps = (1 if c in "[{" else -1 for c in _NO_BRACKETS.sub("", bare))
    return max(accumulate(steps))


def _json(value: Any) -> bytes:
    if len(value) > MOST:
        raise too_large()
    bare = without_strings(value)
    if bare.count(",") >= ELEMENTS:
        raise too_many()
    try:
        if _is_plain(value, bare):
            return _encode_plain(_parse_plain(value)).encode()
        return jcs(_parse(value))
    except json.JSONDecodeError as e:
        raise CanonicalError(f"not JSON: {e.msg}") from None
    except RecursionError:
        raise CanonicalError(f"JSON nested more than {JSON_DEPTH} deep") from None


# ---------------------------------------------------------------------------------- arrays, objects
def _array(element: Kind) -> Encoder:
    encode = encoder(element)

    def one(value: Any) -> bytes:
        if value is None:
            return b"null"
        if isinstance(value, list):
            if element == "json":  # [[1]] would be a matrix and a list of lists
                raise CanonicalError("an array of JSON values has one dimension")
            return b"[" + b",".join([one(v) for v in value]) + b"]"
        text = encode(value)
        if text == b"null":
            raise CanonicalError("a JSON null inside an array cannot be told from a NULL element")
        return text

    most = most_elements(element)

    def array(value: Any) -> bytes:
        if not isinstance(value, list):
            raise CanonicalError("not an array")
        if _leaves(value) > most:
            raise too_many()
        return b"[" + b",".join([one(v) for v in value]) + b"]"

    return array


def _leaves(value: list[Any]) -> int:
    """Elements in all dimensions."""
    if not value or not isinstance(value[0], list):
        return len(value)
    return sum(_leaves(v) if isinstance(v, list) else 1 for v in value)


def _composite(attributes: list[list[Any]]) -> Encoder:
    names = {name for name, _ in attributes}
    encoders = [(name, encoder(kind)) for name, kind in attributes]

    def encode(value: Any) -> bytes:
        if not isinstance(value, Mapping) or set(value) - names:
            problem = "the composite value has other attributes than its type at declaration"
            raise CanonicalError(problem)
        members = [
            (name, encode_one(value[name]))
            for name, encode_one in encoders
            if value.get(name) is not None
        ]
        if any(text == b"null" for _, text in members):
            problem = "a JSON null as attribute of a composite value cannot be carried in JSON"
            raise CanonicalError(problem)
        return _object(members)

    return encode


_LEAVES: dict[str, Encoder] = {
    "boolean": _boolean,
    "integer": _integer,
    "numeric": _numeric,
    "float": _float,
    "text": _text,
    "other": _text,
    "bytea": _bytea,
    "uuid": _uuid,
    "sha256": _sha256,
    "json": _json,
    **{kind: _moment(kind) for kind in _MOMENTS},
}


def encoder(kind: Kind) -> Encoder:
    """The function from a Python value of that kind (not None) to the bytes of its JSON value."""
    if isinstance(kind, str):
        return _LEAVES[kind]
    if "array" in kind:
        return _array(kind["array"])
    if "digest" in kind:
        return lambda value: _sha256(digest(value))
    return _composite(kind["composite"])


def is_digest(kind: Kind) -> bool:
    """Whether a field of that kind is signed by the digest of its content."""
    return isinstance(kind, dict) and "digest" in kind


class Form:
    """The canonical form of one table: its tag and its fields.

    ``fields``: names to kinds.  :meth:`payload` takes the values in the order of ``names``.
    """

    def __init__(self, tag: str, fields: Mapping[str, Kind]):
        self.tag, self.fields = tag, dict(fields)
        self.names = sorted(fields, key=_utf16)
        self._fields = [(name, _string(name) + b":", encoder(fields[name])) for name in self.names]
        self.digests = [name for name in self.names if is_digest(fields[name])]
        digests = any(is_digest(kind) or kind == "sha256" for kind in fields.values())
        self.most = MOST - CONTENT * 4 // 3 if digests else MOST
        self._tail = b'},"rowseal":1,"table":' + _string(tag) + b"}"

    def payload(self, values: Iterable[Any]) -> bytes:
        """The bytes to be signed; CanonicalError names the field."""
        members = []
        for (name, prefix, encode), value in zip(self._fields, values):
            if value is not None:
                try:
                    members.append(prefix + encode(value))
                # CanonicalError is a ValueError
                except (ValueError, TypeError, AttributeError, OverflowError) as e:
                    raise CanonicalError(f"field {name!r}: {e}") from None
        text = b'{"row":{' + b",".join(members) + self._tail
        if len(text) > self.most:
            raise too_large(self.most)
        if text.count(b",") > MEMBERS and without_strings(text.decode()).count(",") > MEMBERS:
            raise too_many_members()
        return text

    def payload_of(self, row: Mapping[str, Any]) -> bytes:
        """The same for a mapping of field names to values; an unknown field is an error."""
        unknown = set(row) - set(self.names)
        if unknown:
            raise CanonicalError(f"unknown field {min(unknown)!r} in table {self.tag!r}")
        return self.payload([row.get(name) for name in self.names])
