"""What a declaration is made of: catalog facts, the wish, what was decided.

This is the one place where JSON becomes these types and they become JSON.  All of them are values:
nothing changes them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from ..form.canonical import Kind
from ..form.signature import ED25519

Json = dict[str, object]  # an object of JSON: what goes back into the database


# ------------------------------------------------------------------------------------------- facts
class Column(NamedTuple):
    """A column, as the catalogs show it (``rowseal._facts``)."""

    name: str
    type: str  # as format_type shows it
    base: str  # the type below all domains
    base_qualified: str
    kind: Kind
    bare_type: str  # without its modifier
    generated: bool
    hash_of: str | None  # of a generated column: whose sha256 it is
    identity: str
    filled: bool  # a row that names no value here, or was here before the column, has one
    notnull: bool
    toastable: bool
    domain: bool  # whether that is another type
    changeable: str | None  # a type within that type which others could put code into
    stranger: str | None  # a type within this one, and who, being a stranger, names it
    modified: bool  # by a length, a scale …
    required: bool  # NOT NULL without a default
    collation: str | None = None  # where it is not the one of its type


class KeyColumn(NamedTuple):
    """A column of the primary key; ``equal`` is its index's equality, OPERATOR(schema.name)."""

    name: str
    equal: str


LISTS = ("computed", "deferrable", "rules", "late_triggers", "partitions")


class Table(NamedTuple):
    """A table, as the catalogs show it (``rowseal._facts``)."""

    qualified: str  # quoted, with its schema
    label: str  # for messages
    stranger: str | None  # what else it rests on by name, and who, being a stranger, names it
    relkind: str
    persistence: str  # of the table and its partitions: "p" if all are permanent
    computed: tuple[str, ...]  # columns of partitions that are generated there alone
    partition: bool
    inherits: bool
    columns: tuple[Column, ...]
    key: tuple[KeyColumn, ...]
    key_deferrable: bool
    key_compares: bool  # by an equality: a btree, no exclusion constraint
    deferrable: tuple[str, ...]  # constraints and constraint triggers that are
    unique: tuple[tuple[str, ...], ...]
    rules: tuple[str, ...]
    late_triggers: tuple[str, ...]
    partitions: tuple[str, ...]
    oids: Mapping[str, Any]  # {"relation": …, "types": {name: …}} in this database

    @classmethod
    def of(cls, facts: Mapping[str, Any]) -> Table:
        def column(given: Mapping[str, Any]) -> Column:
            name = given["kind"]  # of the type: what is known of it stands once for all columns
            whose = {"changeable": None, "stranger": None, **facts["whose"]["types"].get(name, {})}
            return Column(**{**given, "kind": facts["kinds"][name], "bare_type": name, **whose})

        return cls(
            **{
                **{name: value for name, value in facts.items() if name not in ("kinds", "whose")},
                "stranger": facts["whose"]["table"] or facts["whose"]["versions"],
                "columns": tuple(map(column, facts["columns"] or ())),
                "key": tuple(KeyColumn(**k) for k in facts["key"] or ()),
                "unique": tuple(tuple(u) for u in facts["unique"]),
                **{name: tuple(facts[name]) for name in LISTS},
            }
        )

    def find(self, name: str | None) -> Column | None:
        return next((c for c in self.columns if c.name == name), None)

    def column(self, name: str) -> Column:
        """A column that is known to be there."""
        return next(c for c in self.columns if c.name == name)


class Identity(NamedTuple):
    """The identity table of a table's owners, as declared; of an identity table, itself."""

    table: Table
    owner: tuple[str, ...]
    public_key: str | None
    algorithms: tuple[str, ...]
    id: int | None = None  # of its declaration, where that is another one

    @classmethod
    def of(cls, card: Mapping[str, Any]) -> Identity:
        names = card["algorithms"] or (ED25519.name,)
        table, owner = Table.of(card["facts"]), tuple(card["owner"])
        return cls(table, owner, card["public_key"], tuple(names), card["id"])

    @property
    def large(self) -> bool:
        """Whether signatures may be longer than what fits into an index (2704 bytes, btree)."""
        return self.algorithms != (ED25519.name,)


class GrantsTable(NamedTuple):
    """The grants table that a table with writers names."""

    id: int | None  # None, and so is its identity table: it is not declared
    grants: bool  # whether it is declared as one
    identity: str | None
    label: str


# -------------------------------------------------------------------------------------------- wish
class Wish(NamedTuple):
    """The arguments of ``rowseal.declare``, or a stored declaration that is planned again."""

    id: int
    generation: int  # how often functions were made for it
    tag: str
    owner: tuple[str, ...]
    public_key: str | None
    identity: str | None
    identity_label: str | None
    fingerprint: str | None
    fingerprint_prefix: str
    algorithms: tuple[str, ...] | None
    certificates: Mapping[str, str]
    unsigned: tuple[str, ...]
    form: str
    accept_ambiguity: bool
    name_column: str | None
    name_hash: str
    name_prefix: str
    digests: Mapping[str, str]  # content column -> where its digest stays when it is erased
    healed: tuple[str, ...]  # of these: what an intact row that arrives restores
    feed: bool
    grants: bool
    grants_table: GrantsTable | None
    timestamp_column: str
    deleted_column: str
    signature_column: str
    parent_column: str | None
    version_columns: Mapping[str, str]  # main column -> versions column, where names differ
    fields: Mapping[str, str]  # column -> field, of a table that was declared before

    @classmethod
    def of(cls, row: Mapping[str, Any]) -> Wish:
        """From a row of rowseal.declarations, with identity_label and grants_table beside it."""
        given = {name: row[name] for name in cls._fields}
        lists = {name: tuple(given[name] or ()) for name in ("owner", "unsigned", "healed")}
        objects = {
            name: {} if given[name] is None else given[name]
            for name in ("certificates", "version_columns", "fields", "digests")
        }
        algorithms = None if given["algorithms"] is None else tuple(given["algorithms"])
        grants_table = GrantsTable(**given["grants_table"]) if given["grants_table"] else None
        return cls(
            **{**given, **lists, **objects, "algorithms": algorithms, "grants_table": grants_table}
        )

    @property
    def has_writers(self) -> bool:
        """Whether others than the owner may write its rows; so they may those of a grants table."""
        return self.grants or self.grants_table is not None


# ----------------------------------------------------------------------------------------- decided
class Spec(NamedTuple):
    """What a verdict needs, and a client in order to sign; by field, not by column."""

    tag: str
    fields: Mapping[str, Kind]
    owner: tuple[str, ...]
    required: tuple[str, ...]
    algorithms: tuple[str, ...] | None
    form: str | None
    name: Mapping[str, str | None] | None
    fingerprint: str | None
    fingerprint_prefix: str
    certificates: Mapping[str, str]

    def json(self) -> Json:
        """For rowseal.declarations.spec: what an ordinary table has no use for is left out."""
        optional = ("algorithms", "form", "name")
        return {k: v for k, v in self._asdict().items() if v is not None or k not in optional}


class Declaration(NamedTuple):
    """What was decided: the wish, with what is not there set to None, and what follows from it."""

    wish: Wish
    layout: str  # "unversioned", "two tables" or "one table"
    key: tuple[str, ...]  # primary key columns without the version_key
    fields: Mapping[str, str]  # signed column -> field
    version_key: str | None
    version_columns: Mapping[str, str] | None  # all stored columns; None without a versions table
    spec: Spec

    def json(self) -> Json:
        """For rowseal.declarations."""
        wish = self.wish
        return {
            **{k: getattr(wish, k) for k in ("algorithms", "certificates", "parent_column")},
            **{
                k: getattr(self, k)
                for k in ("layout", "key", "fields", "version_key", "version_columns")
            },
            "spec": self.spec.json(),
        }
