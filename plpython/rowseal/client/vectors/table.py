"""A declared table, its rows that belong to the test key, and what the server makes of them."""

from __future__ import annotations

import json
from base64 import b64decode, b64encode
from collections.abc import Mapping
from typing import Any, NamedTuple

import psycopg
from psycopg.types.json import Jsonb

from ...form.canonical import Kind
from ...form.signature import HASHES
from ...form.spec import Spec
from . import values
from .key import PUBLIC_KEY, signature

START = 1_700_000_000_000_000  # µs since 1970: the first row
ABSENT = object()  # a field that is left out: NULL.  None is a JSON null
TIMESTAMPS = [
    str(START),
    "0",
    "-9223372036854775808",
    "9223372036854775807",
    "9007199254740993",
]

# Refused for another reason than the row: no connection, right, declaration or provider.
NOT_THE_ROW = ("08", "25", "40", "53", "55", "57", "58", "42501", "RS007", "RS014")

Fields = dict[str, Any]
"""Field names to values as envelopes have them, or ABSENT."""


class _Facts(NamedTuple):
    """A declaration, and what the catalog says of the columns behind its fields."""

    relation: str
    spec: Spec
    public_key: str | None  # the field, of an identity table
    parent: str | None  # the field
    identity: str | None  # the identity table
    required: frozenset[str]  # fields that are never NULL
    labels: Mapping[str, list[str]]  # of fields that are enums


_DECLARATION = """
    SELECT relation::text, spec, fields ->> public_key, fields ->> parent_column,
           identity::text, fields
      FROM rowseal.declarations WHERE relation = %s::regclass"""
_COLUMNS = """
    SELECT a.attname, a.attnotnull,
           ARRAY(SELECT l.enumlabel::text FROM pg_enum l WHERE l.enumtypid IN (t.oid, t.typelem)
                  ORDER BY l.enumsortorder)
      FROM pg_attribute a JOIN pg_type t ON t.oid = rowseal._base_type(a.atttypid)
     WHERE a.attrelid = %s::regclass AND a.attnum > 0 AND NOT a.attisdropped"""


def _facts(connection: psycopg.Connection[Any], relation: str) -> _Facts:
    found = connection.execute(_DECLARATION, (relation,)).fetchone()
    if found is None:
        known = "rowseal.declarations lists those that are"
        raise ValueError(f"table {relation} is not declared; {known}")
    name, spec, public_key, parent, identity, fields = found
    required = {*spec["required"], *([public_key] if public_key else [])}
    labels = {}
    for column, not_null, enum_labels in connection.execute(_COLUMNS, (name,)):
        field = fields.get(column)
        if field in spec["fields"]:
            labels[field] = enum_labels
            if not_null:
                required.add(field)
    return _Facts(name, spec, public_key, parent, identity, frozenset(required), labels)


class Table:
    """A declared table.  ValueError when it is not, or when no plain row of it can be made up.

    plain      a row with every field, as the server has it
    canonical  its payload
    missing    fields for whose type no value is known
    identity   the table of its owners, None for an identity table
    """

    def __init__(self, connection: psycopg.Connection[Any], relation: str):
        self._connection = connection
        facts = _facts(connection, relation)
        self.relation, self.spec, self.required = facts.relation, facts.spec, facts.required
        self.fields: Mapping[str, Kind] = self.spec["fields"]
        self.timestamp, self.deleted = self.spec["required"][-2:]
        self._public_key, self._parent = facts.public_key, facts.parent
        self._labels = facts.labels
        self.identity = None if facts.identity is None else Table(connection, facts.identity)
        self.missing: list[str] = []
        row = self._ruled()
        for field in self.fields:
            if field not in row:
                self._fill(row, field)
        payload = self.payload(row)
        if payload is None:
            shown = json.dumps(row)
            raise ValueError(f"a plain row of {self.relation} has no canonical form: {shown}")
        self.canonical = payload
        self.plain: Fields = json.loads(payload)["row"]

    def payload(self, row: Fields) -> str | None:
        """The canonical form of a row, as the server makes it; None when the row has none."""
        given = Jsonb({field: v for field, v in row.items() if v is not ABSENT})
        query = "SELECT rowseal.payload(%s::regclass, %s)"
        try:
            with self._connection.transaction():
                found = self._connection.execute(query, (self.relation, given)).fetchall()
        except psycopg.DatabaseError as e:
            if e.sqlstate is None or e.sqlstate.startswith(NOT_THE_ROW):
                raise
            return None
        return str(found[0][0])

    def edges(self, field: str) -> list[Any]:
        """Values of a field, canonical or nearly so: the server settles them."""
        if field == self.timestamp:
            return TIMESTAMPS
        if field == self._parent:
            parents = (b"a first version", b"another one")
            return [b64encode(signature(version)).decode() for version in parents]
        return list(values.edges(self.fields[field], self._labels[field]))

    def ruled(self) -> set[str | None]:
        """Fields that carry a rule between them: not to be varied one by one."""
        certificates = self.spec["certificates"]
        return {*self.spec["owner"], self._public_key, *certificates, *certificates.values()}

    def _ruled(self) -> Fields:
        """Timestamp, deletion flag and the fields that carry a rule, as declared."""
        spec = self.spec
        row: Fields = {self.timestamp: str(START), self.deleted: False}
        if self.identity is not None:
            for ours, theirs in zip(spec["owner"], self.identity.spec["owner"]):
                row[ours] = self.identity.plain[theirs]
        if self._public_key:
            row[self._public_key] = b64encode(PUBLIC_KEY).decode()
        if spec["fingerprint"]:
            owner, digest = spec["owner"][0], HASHES[spec["fingerprint"]](PUBLIC_KEY)
            if self.fields[owner] == "bytea":
                row[owner] = b64encode(digest).decode()
            else:
                row[owner] = (spec["fingerprint_prefix"] or "") + digest.hex()
        for certificate, certified in spec["certificates"].items():
            content = row.setdefault(certified, b64encode(b"a certified key").decode())
            row[certificate] = b64encode(signature(b64decode(content))).decode()
        return row

    def _fill(self, row: Fields, field: str) -> None:
        """Give a field the first value that its type takes."""
        fitting = (v for v in self.edges(field) if self.payload({field: v}) is not None)
        value = next(fitting, None)
        if value is not None:
            row[field] = value
        elif field in self.required:
            what = f"field {field} of {self.relation} is NOT NULL"
            raise ValueError(f"{what}, and none of the values at hand fits its type")
        else:
            self.missing.append(field)
