"""A wish beside the facts that it meets, and what follows from both before anything is decided."""

from __future__ import annotations

from typing import NamedTuple

from .model import Column, Identity, Table, Wish

GUARD = "zzz_rowseal_guard"  # BEFORE triggers fire in the order of their names
WRITER_COLUMNS = {"writer_pkey": "bytea", "writer_seq": "bigint", "writer_prev": "bytea"}
GRANT_COLUMNS = {
    "grantee_pkey": "bytea",
    "tables": "text[]",
    "keys": "jsonb",
    "tombstones": "boolean",
    "until": "bigint",
    "may_grant": "smallint",
    "upto": "bytea[]",
}
LONGEST_TAG = 1000  # bytes: fits into an index, however it is compressed
MAX_FIELDS = 95  # a PostgreSQL function takes 100 arguments


class Refused(Exception):
    """A wrong declaration: SQLSTATE, message, hint."""

    def __init__(self, message: str, hint: str = "", sqlstate: str = "RS007"):
        super().__init__(message)
        self.sqlstate, self.message, self.hint = sqlstate, message, hint

    def json(self) -> dict[str, str]:
        return {"sqlstate": self.sqlstate, "message": self.message, "hint": self.hint}


class Case(NamedTuple):
    """What a declaration is decided from.

    ``versions`` and ``identity`` are there as far as the wish names them.
    """

    wish: Wish
    table: Table
    versions: Table | None
    identity: Identity | None

    @property
    def label(self) -> str:
        return self.table.label

    @property
    def primary_key(self) -> tuple[str, ...]:
        return tuple(k.name for k in self.table.key)

    @property
    def hashes(self) -> tuple[str, ...]:
        """Generated columns that are the hash of the signature."""
        return tuple(c.name for c in self.table.columns if c.hash_of == self.wish.signature_column)

    @property
    def key(self) -> tuple[str, ...]:
        """The primary key without what tells versions apart."""
        apart = (self.wish.signature_column, *self.hashes, self.wish.name_column)
        return tuple(k for k in self.primary_key if k not in apart)

    @property
    def essential(self) -> set[str]:
        """Columns that carry a rule."""
        wish = self.wish
        names = {*self.key, *wish.owner, wish.timestamp_column, wish.deleted_column}
        optional = {wish.parent_column, wish.public_key, wish.signature_column}
        names |= optional - {None}  # type: ignore[arg-type]
        return names | {*wish.certificates, *wish.certificates.values()}

    @property
    def unsigned(self) -> set[str]:
        """Columns that are not signed, besides the signature and generated ones."""
        wish = self.wish
        return {*wish.unsigned, *wish.digests.values()} | (
            {wish.name_column} if wish.name_column else set()
        )

    @property
    def signed(self) -> tuple[Column, ...]:
        apart = self.unsigned | {self.wish.signature_column}
        return tuple(c for c in self.table.columns if c.name not in apart and not c.generated)

    @property
    def fields(self) -> dict[str, str]:
        """Signed column to field: a field's name outlives renames of its column."""
        known = self.wish.fields
        return {c.name: known.get(c.name, c.name) for c in self.signed}

    @property
    def column_of(self) -> dict[str, str]:
        """Field to column."""
        return {field: column for column, field in self.fields.items()}

    @property
    def large(self) -> bool:
        """Whether signatures may be longer than what fits into an index."""
        if self.wish.public_key is not None:
            return Identity(self.table, (), None, self.wish.algorithms or ("ed25519",)).large
        return self.identity is not None and self.identity.large

    @property
    def version_key(self) -> str | None:
        """The column of the primary key that tells versions apart, where they lie in this table."""
        wish = self.wish
        return version_key(
            self.table, self.primary_key, wish.signature_column, wish.name_column, self.large
        )

    @property
    def layout(self) -> str:
        if self.version_key is not None:
            return "one table"
        return "unversioned" if self.versions is None else "two tables"


def version_key(
    table: Table, names: tuple[str, ...], signature: str, name: str | None, large: bool
) -> str | None:
    """Which column here tells versions apart: the name, the signature's hash, or that itself."""
    if name in names:
        return name
    hashes = [c.name for c in table.columns if c.hash_of == signature and c.name in names]
    return hashes[0] if hashes else signature if signature in names and not large else None


def column(table: Table, name: str, what: str) -> Column:
    """A column that must be there."""
    found = table.find(name)
    if found is None:
        raise Refused(
            f"table {table.label} has no {what} column {name!r}",
            "Add it, or name another one: "
            f"its columns are {', '.join(c.name for c in table.columns)}.",
        )
    return found


def typed(table: Table, name: str, what: str, types: tuple[str, ...]) -> None:
    """Refuses a column of another type."""
    type_ = column(table, name, what).base
    if type_ not in types:
        raise Refused(
            f"the {what} column {name!r} of {table.label} has type {type_}",
            f"It must be {' or '.join(types)}.",
        )


def hashed(signature: str) -> str:
    """The hint for a signature that does not fit into an index."""
    return (
        "Of ML-DSA it does not fit into an index. "
        f"Put a column like sign_sha256 bytea GENERATED ALWAYS AS (sha256({signature})) STORED "
        f"into the primary key in its place (of text: sha256(decode({signature}, 'base64')))."
    )
