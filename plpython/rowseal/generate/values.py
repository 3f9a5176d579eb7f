"""What is signed of a column, in SQL.

That is its value, its canonical text, its argument of a Python function.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Protocol

from ..declare.model import Column
from ..form.canonical import MOST, Kind, json_string, most_elements
from .words import field, literal

# Other types are somebody's: a cast that their owner defines could stand in for the text.
BUILT_IN = frozenset(
    [
        "bigint",
        "boolean",
        "bytea",
        "character varying",
        "date",
        "integer",
        "numeric",
        "smallint",
        "text",
        "uuid",
    ]
)
# These reach Python without passing through text that depends on settings.
SELF_CONTAINED = frozenset("boolean bytea float integer json numeric text uuid".split())
SMALL = 4000  # bytes; of larger values Python writes base64 and JSON five times as fast


NUMERIC_RANGES = frozenset("numrange numrange[] nummultirange nummultirange[]".split())
# A number is a few bytes in the table and 147,455 digits as text.  With so many bytes a value
# cannot be longer than canonical.MOST.
BRIEF = 4000


# An index has room for 2704 bytes, of which a compressed value takes less, as the session chose to
# compress it.  A grants table's has a key of ML-DSA-87 in it; of other types than text, bytea and
# numeric a value may be six times as long as its text.
KEY_BYTES, KEY_BYTES_OF_GRANTS, KEY_BYTES_OF_OTHERS = 2000, 2624, 400


def without_domain(column: Column, value: str) -> str:
    """An operator that somebody made for the domain would win over the index's."""
    return f"{value}::{column.base_qualified}" if column.domain else value


class Refers(Protocol):
    """Whatever knows how a column is written: a row under its alias."""

    def ref(self, column: str) -> str: ...


def exact(column: Column, value: str) -> str:
    """A value that leaves its column.

    A collation of its own would go with it, into functions of ours as well: there texts that are
    signed differently could be equal, and regular expressions errors.
    """
    return f'({value} COLLATE pg_catalog."default")' if column.collation else value


def base64(value: str) -> str:
    return f"rowseal._encoded({value})"


def unbase64(text: str) -> str:
    """Bytes of base64, or of PostgreSQL's hex, which begins with a backslash.

    In line: a function costs 5 µs.
    """
    from_hex = rf"starts_with({text}, E'\\x')"
    return f"CASE WHEN {from_hex} THEN ({text})::bytea ELSE decode({text}, 'base64') END"


def key_bytes(column: Column, value: str) -> str | None:
    """How long a value is, as bytes or in JSON; None where all of its type are about as short."""
    if not column.toastable:
        return None
    if column.base == "bytea":
        return f"octet_length({value})"
    # of a domain, or another one's type, the text: no cast says its name
    text = f"format('%s', {value})" if column.domain or column.base not in BUILT_IN else value
    if column.base == "numeric":
        return f"octet_length({text}::text)"
    return f"octet_length(to_json({text})::text)"


def spelled_once(column: Column) -> bool:
    """Whether equal values are the same byte for byte."""
    text = column.base in ("text", "character varying") and column.collation is None
    return not column.toastable or column.base == "bytea" or text


def most_key_bytes(columns: Iterable[Column], grants: bool) -> int:
    """How long a primary key of these columns may be."""
    usual = ("text", "bytea", "numeric")
    if any(c.toastable and c.kind not in usual for c in columns):
        return KEY_BYTES_OF_OTHERS
    return KEY_BYTES_OF_GRANTS if grants else KEY_BYTES


def contains(kind: Kind, leaf: str) -> bool:
    """Whether a nested kind contains that leaf, or an array where leaf is 'array'."""
    if isinstance(kind, str):
        return kind == leaf
    if "array" in kind:
        return leaf == "array" or contains(kind["array"], leaf)
    return any(contains(k, leaf) for _, k in kind["composite"])


def long_digits(column: Column, value: str) -> str | None:
    """How many digits the long numbers in a value have; None where it has none.

    What is text in the table, as of the types json and json[], is as long as it is written.
    """
    if column.base in NUMERIC_RANGES or column.base in ("jsonb", "numeric[]"):
        return f"rowseal._digits({value})"
    if column.base in ("json", "json[]"):
        return None
    leaves = [*_digits(value, column.kind)]
    return f"({' + '.join(leaves)})" if leaves else None


def _digits(value: str, kind: Kind, arrays: tuple[str, ...] = ()) -> Iterator[str]:
    """The same by the kind, of each leaf with numbers: of all elements of the arrays together.

    Element by element: a cast of their array could be somebody's.
    """
    if kind in ("numeric", "json") and not arrays:
        one = value if kind == "numeric" else f"to_jsonb({value})"
        yield f"coalesce(rowseal._digits({one}), 0)"
    elif kind in ("numeric", "json"):
        every = "".join(f", LATERAL pg_catalog.unnest({a}) d{n}" for n, a in enumerate(arrays))
        there = f" FROM (SELECT) one{every} WHERE {value} IS NOT NULL"
        if kind == "json":
            yield f"(SELECT coalesce(sum(rowseal._digits(to_jsonb({value}))), 0){there})"
        else:
            yield f"rowseal._digits(ARRAY(SELECT {value}{there}))"
    elif isinstance(kind, str):
        return
    elif "array" in kind:
        yield from _digits(f"d{len(arrays)}", kind["array"], (*arrays, value))
    else:
        for name, k in kind["composite"]:
            yield from _digits(f"({value}).{field(name)}", k, arrays)


def self_contained(kind: Kind) -> bool:
    if isinstance(kind, str):
        return kind in SELF_CONTAINED
    if "array" in kind:
        return self_contained(kind["array"])
    return all(self_contained(k) for _, k in kind["composite"])


def one_based(value: str, elements: Kind) -> str:
    """Whether an array has lower bounds of 1: they are not signed."""
    return f"rowseal._one_based({value})"


def few(value: str, elements: Kind) -> str:
    """Whether an array has not too many elements."""
    return f"rowseal._few({value}, {most_elements(elements)})"


def of_arrays(
    condition: Callable[[str, Kind], str], value: str, kind: Kind, depth: int = 0
) -> list[str]:
    """The condition, for every array inside the value."""
    if isinstance(kind, str):
        return []
    if "composite" in kind:
        attributes = [(f"({value}).{field(name)}", k) for name, k in kind["composite"]]
        return [c for at, k in attributes for c in of_arrays(condition, at, k, depth)]
    out = [condition(value, kind["array"])]
    inner = of_arrays(condition, f"u{depth}", kind["array"], depth + 1)
    if inner:  # its elements, in all dimensions, are composite
        elements = (
            f"SELECT FROM pg_catalog.unnest({value}) u{depth} WHERE NOT ({' AND '.join(inner)})"
        )
        out.append(f"NOT EXISTS ({elements})")
    return out


def too_many(kind: Kind, value: str) -> str:
    """The condition that there is too much within a value to look at it one by one, and an OR."""
    conditions = [] if kind == {"array": "numeric"} else of_arrays(few, value, kind)
    return f"({' AND '.join(conditions)}) IS NOT TRUE OR " if conditions else ""


class Signed:
    """A signed column.  Its canonical text is written in SQL where that can be exact."""

    def __init__(self, column: Column, field_: str):
        self.column, self.field, self.name, self.kind = column, field_, column.name, column.kind
        self.argument = column.base  # of the functions in Python

    def value(self, row: Refers) -> str:
        """What is signed."""
        return exact(self.column, row.ref(self.name))

    def base(self, row: Refers) -> str:
        return without_domain(self.column, row.ref(self.name))

    def text(self, row: Refers) -> str | None:
        """The canonical value without quotes, where SQL can say it."""
        if self.column.base not in BUILT_IN:
            return None
        if self.kind in ("text", "uuid", "integer", "numeric"):
            return exact(self.column, f"{self.base(row)}::text")
        return base64(self.base(row)) if self.kind == "bytea" else None

    def member(self, row: Refers) -> str | None:
        """Name and value in the canonical text, NULL where it is NULL.

        None where Python has to write it.
        """
        name = literal(json_string(self.field) + ":")
        if self.kind == "boolean":
            return f"rowseal._flag({name}, {self.base(row)})"
        text = self.text(row)
        return text and f"rowseal.{'_text' if self.kind == 'text' else '_string'}({name}, {text})"

    def bounds(self, row: Refers) -> list[str]:
        conditions = of_arrays(one_based, row.ref(self.name), self.kind)
        if len(conditions) < 2:
            return conditions
        # of each element: not where there are too many
        return [f"(({' AND '.join(self.few(row))}) IS NOT TRUE OR {' AND '.join(conditions)})"]

    def few(self, row: Refers) -> list[str]:
        return of_arrays(few, row.ref(self.name), self.kind)

    def brief(self, row: Refers) -> Iterator[str]:
        """Conditions under which its text is not too long to be written at all."""
        value = row.ref(self.name)
        digits = long_digits(self.column, value)
        if digits and self.kind != "numeric" and self.column.base != "numrange":  # 147,455 at most
            size = f"pg_column_size({value}) <= {BRIEF}"
            many = too_many(self.kind, value)
            yield f"({value} IS NULL OR {size} OR {many}{digits} <= {MOST})"

    def passed(self, row: Refers) -> str:
        """What Python gets: PostgreSQL writes the text of all arguments before Python sees any."""
        conditions = " AND ".join([*self.few(row), *self.brief(row)])
        return (
            f"CASE WHEN {conditions} THEN {self.value(row)} END" if conditions else self.value(row)
        )

    def small(self, row: Refers) -> Iterator[str]:
        """Conditions under which SQL writes the text as fast as Python."""
        if self.kind in ("bytea", "text"):
            yield f"coalesce(octet_length({row.ref(self.name)}), 0) <= {SMALL}"
