"""The arguments ``columns`` and ``legacy`` of ``rowseal.declare``: objects, checked by name.

What they say goes into columns of ``rowseal.declarations``.
"""

from __future__ import annotations

from collections.abc import Mapping
from difflib import get_close_matches
from typing import NamedTuple

from .case import Refused
from .model import Json


class Shape(NamedTuple):
    """What a value must be: in words, as an example, and the types that JSON makes of it."""

    words: str
    example: str
    types: tuple[type, ...]
    of: type | None = None  # of what a list or an object consists


TEXT = Shape("a text", '"…"', (str,))
TEXT_OR_NONE = Shape("a text or null", '"…"', (str, type(None)))
FLAG = Shape("true or false", "true", (bool,))
LIST = Shape("a list of columns", '["column"]', (list,), str)
OBJECT = Shape("an object of columns", '{"column": "column"}', (dict,), str)


class Option(NamedTuple):
    """A column of rowseal.declarations, what it may hold, and what it holds when not named."""

    column: str
    shape: Shape
    default: object


COLUMNS = {
    "timestamp": Option("timestamp_column", TEXT, "owner_timestamp"),
    "deleted": Option("deleted_column", TEXT, "deleted_flag"),
    "signature": Option("signature_column", TEXT, "sign_b64"),
    "parent": Option("parent_column", TEXT_OR_NONE, "parent_sign_b64"),
    "versions": Option("version_columns", OBJECT, None),
    "digests": Option("digests", LIST, []),
    "healed": Option("healed", LIST, []),
}
LEGACY = {
    "form": Option("form", TEXT, "rowseal/1"),
    "accept_ambiguity": Option("accept_ambiguity", FLAG, False),
    "fingerprint_prefix": Option("fingerprint_prefix", TEXT, ""),
    "name_column": Option("name_column", TEXT_OR_NONE, None),
    "name_hash": Option("name_hash", TEXT, "sha3-512"),
    "name_prefix": Option("name_prefix", TEXT, ""),
}


def options(columns: object, legacy: object) -> Json:
    """Columns of rowseal.declarations from both arguments; Refused names what is wrong."""
    chosen = {**_chosen("columns", columns, COLUMNS), **_chosen("legacy", legacy, LEGACY)}
    digests = chosen["digests"]
    assert isinstance(digests, list)
    return {**chosen, "digests": {name: f"{name}_sha256" for name in digests}}


def _chosen(argument: str, given: object, known: Mapping[str, Option]) -> Json:
    if given is None:
        given = {}
    if not isinstance(given, dict):
        raise Refused(
            f"{argument} is no JSON object",
            f"{argument} => '{{\"{next(iter(known))}\": …}}' is expected.",
        )
    for name, value in given.items():
        if name not in known:
            close = get_close_matches(name, known, 1)
            meant = f"Did you mean {close[0]!r}? " if close else ""
            raise Refused(f"{argument} has no {name!r}", f"{meant}It may have {', '.join(known)}.")
        _shaped(argument, name, value, known[name].shape)
    return {o.column: given.get(name, o.default) for name, o in known.items()}


def _shaped(argument: str, name: str, value: object, shape: Shape) -> None:
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    wrong = not isinstance(value, shape.types)
    if wrong or not all(shape.of and isinstance(v, shape.of) for v in inner):
        raise Refused(
            f"{name!r} in {argument} is not {shape.words}",
            f"{argument} => '{{\"{name}\": {shape.example}}}' is expected.",
        )
