"""What is generated for: one declared table, its places, its signed columns and its features."""

from __future__ import annotations

from collections.abc import Sequence

from ..declare.model import Column, Declaration, Identity, Table
from ..form.canonical import Form
from .row import Place, Row
from .values import Signed


class Subject:
    """A declaration beside the facts of its tables.  Features are added by ``features.added``."""

    def __init__(
        self,
        declaration: Declaration,
        table: Table,
        versions: Table | None,
        identity: Identity,
    ):
        wish = declaration.wish
        self.declaration, self.wish, self.table, self.identity = declaration, wish, table, identity
        self.spec, self.tag, self.id = declaration.spec, wish.tag, wish.id
        self.key, self.owner, self.field = declaration.key, wish.owner, declaration.fields
        self.column_of = {f: c for c, f in self.field.items()}
        self.timestamp, self.deleted = wish.timestamp_column, wish.deleted_column
        self.sign, self.parent = wish.signature_column, wish.parent_column
        self.public_key, self.name_column = wish.public_key, wish.name_column
        self.operators = {k.name: k.equal for k in table.key}
        names = (self.column_of[f] for f in Form(self.tag, dict(self.spec.fields)).names)
        self.signed: tuple[Signed, ...] = tuple(  # in the order of the payload
            Signed(table.column(c), self.field[c]) for c in names
        )
        self.features: Sequence[object] = ()  # each a Feature, which knows a Subject
        name = (self.name_column,) if self.name_column else ()
        signed = (s.name for s in self.signed)
        self.stored = (*signed, *wish.digests.values(), *name, self.sign)
        one_table = declaration.layout == "one table"
        self.main = Place(
            table.qualified,
            {c: c for c in self.stored},
            "",
            declaration.version_key if one_table else None,
        )
        self.versions: Place | None = None
        if versions is not None:
            columns = declaration.version_columns or {}
            self.versions = Place(versions.qualified, columns, "_versions", declaration.version_key)

    # -- columns
    def column(self, name: str) -> Column:
        return self.table.column(name)

    @property
    def by_name(self) -> dict[str, Signed]:
        return {s.name: s for s in self.signed}

    @property
    def required(self) -> list[str]:
        """Columns without which a row is not complete."""
        return [self.column_of[f] for f in self.spec.required]

    @property
    def signature_says_all(self) -> bool:
        """Whether a verdict is no more than one Ed25519 signature over the canonical text."""
        spec = self.spec
        plain = not (spec.name or spec.form or spec.fingerprint or spec.certificates)
        return plain and "ed25519" in (spec.algorithms or ("ed25519",))

    # -- rows
    @property
    def places(self) -> list[Place]:
        """Where versions lie: the main table, and the versions table where there is one."""
        return [self.main, self.versions] if self.versions else [self.main]

    def row(self, alias: str, place: Place | None = None) -> Row:
        """A row of the main table, or of another place."""
        return Row(self, place or self.main, alias)

    # -- features
    def slot(self, name: str, *arguments: object) -> str:
        """What the features put into a slot, one after the other."""
        texts = (getattr(f, name)(*arguments) for f in self.features)
        return "\n".join(text for text in texts if text)

    def wrapped(self, name: str, row: Row, text: str) -> str:
        """A text that each feature may wrap into its own."""
        for feature in self.features:
            text = getattr(feature, name)(row, text)
        return text
