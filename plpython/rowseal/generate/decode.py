"""How stored columns are read from JSON: envelopes, PostgreSQL's text form, keys asked for."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple

from ..declare.model import Column
from ..form.canonical import Kind
from .subject import Subject
from .values import NUMERIC_RANGES, Signed, contains, long_digits, too_many, unbase64
from .words import field, ident, literal

# An envelope e.v is parsed once, its row once more.
ENVELOPE = (
    "LATERAL pg_catalog.json_to_record(rowseal._bounded(e.v, 'canonical'))"
    ' w("row" json, "content" json, sign_b64 text, "rowseal" text),\n       '
)
ROW = "(CASE WHEN w.rowseal = '1' THEN w.\"row\" END)"


def stored(column: Column) -> str:
    """Its type."""
    return column.type


def read(column: Column) -> str:
    """Its type without domains.

    Only what is to be stored is converted to them: their constraints are somebody's code.
    """
    return column.base if column.domain else column.type


def bare(column: Column) -> str:
    """Its type without a length or scale, too: any value that somebody can have signed."""
    return column.base_qualified if column.modified else read(column)


def written_out(column: Column, text: str, value: str, type_: str) -> str:
    """A value whose long numbers came with all their digits.

    The canonical form has no exponents, nor PostgreSQL's text, but JSON and letters that look so.
    1e131071 has eight bytes, and 131,072 digits as soon as it is written: of what nobody has
    signed, that is not done, and the number is an error like any that is none.
    """
    digits = long_digits(column, value)
    if digits is None:
        return value
    none = f"concat('an exponent in ', left({text}, 40))::{type_}"
    fits = f"({text} ~ '[0-9.][eE]') IS NOT TRUE"
    if not plain_numbers(column):
        fits += f" OR {too_many(column.kind, value)}{digits} <= octet_length({text})"
    return f"CASE WHEN {fits} THEN {value} ELSE {none} END"


def plain_numbers(column: Column) -> bool:
    """Whether its text is that of numbers alone."""
    numbers = ("numeric", {"array": "numeric"})
    return column.kind in numbers or column.base in NUMERIC_RANGES


TypeOf = Callable[[Column], str]


class Decoding(NamedTuple):
    """The columns of a json_to_record(…) x, and for each column an expression over x."""

    definitions: str
    values: Mapping[str, str]
    record: str = "rowseal._bounded(e.v, 'pgtext')"
    beside: str = ""

    def __str__(self) -> str:
        return ", ".join(self.values.values())

    def named(self) -> str:
        """The expressions under the names of their columns."""
        return ", ".join(f"{value} AS {ident(c)}" for c, value in self.values.items())

    @property
    def source(self) -> str:
        """Where they are read from, beside the element e.v itself."""
        return (
            f"{self.beside}LATERAL pg_catalog.json_to_record({self.record}) x({self.definitions})"
        )


def canonical(
    subject: Subject, columns: Iterable[str], element: str, type_of: TypeOf = read
) -> Decoding:
    """From canonical values by field."""
    definitions, values = [], {}
    for name in columns:
        column = subject.column(name)
        field_ = subject.field[name]
        type_ = type_of(column)
        member = f"({element} -> {literal(field_)})"
        as_, values[name] = _canonical(subject, name, type_, f"x.{field(field_)}", member)
        definitions.append(f"{ident(field_)} {as_}")
    return Decoding(", ".join(definitions), values)


def _canonical(subject: Subject, name: str, type_: str, value: str, member: str) -> tuple[str, str]:
    """Type in the record, and the expression, of one column."""
    column = subject.column(name)
    kind = column.kind
    if name in subject.wish.digests:
        return "jsonb", value  # see contents
    if kind == "json":
        # of a record, a JSON null would be NULL
        return "json", written_out(column, f"{value}::text", f"{member}::{type_}", type_)
    if kind == {"array": "json"}:
        # of a record, elements that are arrays would be taken for dimensions
        elements = f"pg_catalog.jsonb_array_elements({member}::jsonb) WITH ORDINALITY i(v, n)"
        items = f"SELECT nullif(i.v, 'null') FROM {elements} ORDER BY i.n"
        there = f"pg_catalog.jsonb_typeof({member}::jsonb) <> 'null'"
        array = f"CASE WHEN {there} THEN ARRAY({items})::{type_} END"
        return "json", written_out(column, f"{value}::text", array, type_)
    if kind == "numeric":
        return "text", written_out(column, value, f"{value}::{type_}", type_)
    if kind == "bytea":
        return "text", f"{unbase64(value)}::{type_}"
    if isinstance(kind, str):
        return type_, written_out(column, f"{member}::text", value, type_)
    as_ = "json"
    if contains(kind, "bytea"):
        as_, hexed = "jsonb", f"rowseal._hex({literal(json.dumps(kind))}, {value})"
        record = f"pg_catalog.jsonb_to_record(pg_catalog.jsonb_build_object('v', {hexed}))"
    else:
        record = f"pg_catalog.json_to_record(pg_catalog.json_build_object('v', {value}))"
    whole = f"(SELECT {written_out(column, f'{value}::text', 'h.v', type_)}\n"
    whole += f"  FROM {record} h(v {type_}))"
    none = f"concat('no array or object: ', left({value}::text, 40))::{type_}"
    return as_, f"CASE WHEN {structured(kind, value, as_)} THEN {whole} ELSE {none} END"


def structured(kind: Kind, value: str, type_: str) -> str:
    """Whether arrays and composites are not spelled as text.

    PostgreSQL would read them, and nobody has counted what is within (rowseal._excess).
    """
    if isinstance(kind, dict) and isinstance(kind.get("array"), str):
        of = f"pg_catalog.{type_}_typeof({value})"
        return f"({of} = ANY ('{{array,\"null\"}}')) IS NOT FALSE"
    return f"rowseal._structured({literal(json.dumps(kind))}, {value}::json)"


def contents(subject: Subject, beside: str, row: str) -> dict[str, str]:
    """How columns signed by digest are read.

    Of each: the content, where one is given, and the digest that stands for it.
    """
    out = {}
    for name, kept in subject.wish.digests.items():
        column, member = subject.column(name), literal(subject.field[name])
        is_text = f"pg_catalog.jsonb_typeof(({beside} -> {member})::jsonb) = 'string'"
        text = f"CASE WHEN {is_text} THEN {beside} ->> {member} END"
        if column.base == "bytea":
            out[name] = unbase64(f"({text})")
        elif beside == row:  # as a client gives it, before it is signed
            out[name] = text
        else:
            decoded = unbase64(f"({text})")
            out[name] = f"pg_catalog.convert_from({decoded}, 'UTF8')::{column.type}"
        out[kept] = unbase64(f"({row} -> {member} ->> 'sha256')")
    return out


def envelope(subject: Subject, type_of: TypeOf = stored) -> Decoding:
    """The stored columns of an envelope e.v: the signature stands beside the row."""
    given = canonical(subject, _names(subject.signed), ROW, type_of)
    values = {**given.values, **contents(subject, "w.content", ROW)}
    if subject.name_column:
        values[subject.name_column] = f"NULL::{subject.column(subject.name_column).type}"
    sign = "w.sign_b64"
    text = subject.column(subject.sign).base == "text"
    values[subject.sign] = sign if text else unbase64(sign)
    return Decoding(given.definitions, {c: values[c] for c in subject.stored}, ROW, ENVELOPE)


def pgtext(subject: Subject, type_of: TypeOf = stored) -> Decoding:
    """The stored columns of an object e.v in PostgreSQL's text form."""
    definitions, values = [], {}
    for name in subject.stored:
        column = subject.column(name)
        type_, value = type_of(column), f"x.{field(name)}"
        nested = column.kind == "json" or isinstance(column.kind, dict)
        as_text = nested or long_digits(column, value)
        definitions.append(f"{ident(name)} {'text' if as_text else type_}")
        if as_text:
            if nested and column.base not in ("json", "json[]"):  # which stay text
                many = f"concat('too many elements: ', left({value}, 40))::{type_}"
                once = written_out(column, value, "h.v", type_)
                once = f"(SELECT {once} FROM (SELECT {value}::{type_} OFFSET 0) h(v))"
                value = f"CASE WHEN rowseal._sparse({value}) THEN {once} ELSE {many} END"
            else:
                value = written_out(column, value, f"{value}::{type_}", type_)
        values[name] = value
    return Decoding(", ".join(definitions), values)


def arrived(subject: Subject, type_of: TypeOf = read) -> str:
    """A query for the row $1 of the format $2, decoded as for storing, but to those types."""
    canonical_, text = envelope(subject, type_of), pgtext(subject, type_of)
    return "\n  UNION ALL\n  ".join(
        f"SELECT {decoding.named()}\n    FROM (SELECT $1 AS v) e, {decoding.source}\n"
        f"   WHERE $2 = {literal(format_)}"
        for format_, decoding in (("canonical", canonical_), ("pgtext", text))
    )


def read_apart(subject: Subject, type_of: TypeOf) -> str:
    """A table r of that row, which is read apart from what is made of it."""
    query = arrived(subject, type_of)
    columns = (f"{ident(c)} {bare(subject.column(c))}" for c in subject.stored)
    return f"rowseal._read({literal(query)}, $1, $2) r({', '.join(columns)})"


def _names(signed: Iterable[Signed]) -> list[str]:
    return [s.name for s in signed]


def _given(subject: Subject, columns: Iterable[str]) -> str:
    decoding = canonical(subject, columns, "$1")
    record = f"pg_catalog.jsonb_to_record($1) x({decoding.definitions})"
    return f"(SELECT {decoding.named()} FROM {record})"


def given_key(subject: Subject) -> str:
    """A subquery: the key in $1, canonical values by field."""
    return _given(subject, subject.key)


def given_owner(subject: Subject) -> str:
    """A subquery: the owner in $1."""
    return _given(subject, subject.owner)
