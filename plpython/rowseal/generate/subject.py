"""What is generated for: one declared table, its places, its signed columns, and rows of it.

Expressions are plain SQL; the renderer gives names their schemas where that is needed.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from ..declare.model import Column, Declaration, Identity, Table
from ..form.canonical import Form, json_string
from .values import BUILT_IN, Signed, exact
from .words import field, ident, literal


class Place(NamedTuple):
    """A table in which versions lie: the main table, or the versions table."""

    table: str  # qualified
    columns: Mapping[str, str]  # column of the main table -> column here
    suffix: str  # of the names of its functions
    version_key: str | None  # the column here that tells versions apart

    @property
    def oid(self) -> str:
        """The table as a value."""
        return f"{literal(self.table)}::regclass"

    def names(self, columns: Iterable[str]) -> str:
        """A list of columns, as INSERT takes it."""
        return ", ".join(ident(self.columns[c]) for c in columns)


class Row:
    """A row of a place under an alias: NEW, OLD, tip, stored, t, v ….

    Columns go by their names in the main table.
    """

    def __init__(self, subject: Subject, place: Place, alias: str):
        self.subject, self.place, self.alias = subject, place, alias

    def called(self, alias: str) -> Row:
        """Another row of the same place."""
        return Row(self.subject, self.place, alias)

    # -- columns
    def ref(self, column: str) -> str:
        return f"{self.alias}.{field(self.place.columns[column])}"

    def refs(self, columns: Iterable[str]) -> str:
        return ", ".join(map(self.ref, columns))

    def exact(self, column: str) -> str:
        return exact(self.subject.column(column), self.ref(column))

    def bytes(self, column: str) -> str:
        """The bytes of a column that holds them, or their base64."""
        bytea = self.subject.column(column).base == "bytea"
        return self.ref(column) if bytea else f"rowseal._unbase64({self.exact(column)})"

    @property
    def signature(self) -> str:
        return self.bytes(self.subject.sign)

    @property
    def signed(self) -> list[str]:
        """What is signed of each column, in the order of the payload."""
        return [s.value(self) for s in self.subject.signed]

    # -- comparisons
    @property
    def order(self) -> str:
        """What versions of a key are ordered by, and nothing else (docs/rules.md, 2)."""
        subject = self.subject
        return f"ROW({self.ref(subject.timestamp)}, {self.ref(subject.deleted)}, {self.signature})"

    @property
    def newest(self) -> str:
        """The same for ORDER BY, the newest first."""
        subject = self.subject
        parts = (self.ref(subject.timestamp), self.ref(subject.deleted), self.signature)
        return ", ".join(f"{part} DESC" for part in parts)

    @property
    def incomplete(self) -> str:
        """Whether it has no place in that order.

        (A NULL key finds no tip; the verdict sees to it.)
        """
        subject = self.subject
        parts = (self.ref(subject.timestamp), self.ref(subject.deleted), self.signature)
        return " OR ".join(f"{part} IS NULL" for part in parts)

    def same_as(self, other: Row) -> str:
        """Same signature and signed columns, byte for byte: = would let 1.0 pass for 1.00.

        Most often the signature settles it.
        """
        subject = self.subject
        besides = [*([subject.name_column] if subject.name_column else []), subject.sign]
        mine, theirs = ([*row.signed, row.refs(besides)] for row in (self, other))
        signatures = f"{self.ref(subject.sign)} = {other.ref(subject.sign)}"
        rows = f"ROW({', '.join(mine)}), ROW({', '.join(theirs)})"
        return f"({signatures} AND record_image_eq({rows}))"

    def same_key(self, other: Row, columns: Iterable[str] | None = None) -> str:
        """The primary key's own equality, of these columns or of all but the version key."""
        subject = self.subject
        equal = subject.operators
        return " AND ".join(
            f"{subject.by_name[k].base(self)} {equal[k]} {subject.by_name[k].base(other)}"
            for k in columns or subject.key
        )

    def same_version(self, other: Row) -> str:
        """Whether this row, of a place that keeps versions, is the version ``other`` of it.

        The index can answer that.
        """
        key, sign = self.place.version_key, self.place.columns[self.subject.sign]
        assert key is not None
        mine = f"{self.alias}.{field(key)}"
        name = self.subject.name_column
        if key == sign:
            return f"{mine} = {other.ref(self.subject.sign)}"
        if name and key == self.place.columns[name]:
            return f"{mine} = {other.ref(name)}"
        return f"{mine} = sha256({other.signature})"

    # -- the canonical text, and what is made of it
    @property
    def arguments(self) -> list[str]:
        """What the functions in Python take of a row."""
        bounds = [b for s in self.subject.signed for b in s.bounds(self)]
        few = [b for s in self.subject.signed for b in s.few(self)]
        brief = [b for s in self.subject.signed for b in s.brief(self)]
        values = [s.passed(self) for s in self.subject.signed]
        return [" AND ".join(x) for x in (bounds, few, brief) if x] + values

    @property
    def judged_payload(self) -> str:
        """The canonical text by Python; of a row without one, the text form of the verdict."""
        return f"rowseal._payload_{self.subject.id}({', '.join(self.arguments)})"

    @property
    def plain_payload(self) -> str | None:
        """The canonical text by SQL, which saves three quarters of a Python call.

        None where that cannot be exact.
        """
        members = [s.member(self) for s in self.subject.signed]
        if None in members or len(members) > 90:  # a function takes 100 arguments
            return None
        tag = json_string(self.subject.tag)
        head, tail = literal('{"row":{'), literal(f'}},"rowseal":1,"table":{tag}}}')
        lines = ",\n       ".join(map(str, members))
        return f"concat({head}, concat_ws(',',\n       {lines}), {tail})"

    @property
    def payload(self) -> str:
        return self.plain_payload or self.judged_payload

    @property
    def key_json(self) -> str:
        def shown(key: str) -> str:
            # of other people's types the text:
            # to_jsonb would call a cast that their owner can define
            built_in = self.subject.column(key).base in BUILT_IN
            return self.ref(key) if built_in else f"format('%s', {self.ref(key)})"

        members = (f"{literal(self.subject.field[k])}, {shown(k)}" for k in self.subject.key)
        return f"jsonb_build_object({', '.join(members)})"

    @property
    def content(self) -> str:
        """What an envelope has beside the signed row; empty where no column is signed by digest."""
        return self.subject.slot("content", self)

    @property
    def envelope(self) -> str:
        """The row as portable JSON."""
        return self._enveloped(self.payload)

    @property
    def envelope_if_any(self) -> str:
        """The same of a row that no guard may have seen; NULL when it has no canonical form."""
        return self._enveloped(self.plain_payload or f"rowseal._canonical({self.judged_payload})")

    def _enveloped(self, payload: str) -> str:
        content = f", {self.content}" if self.content else ""
        return f"rowseal._envelope({payload}, {self.signature}{content})"

    def owner_text(self, envelope: str) -> str:
        """rowseal._owner_text(spec, envelope), in line; from the row, where SQL can say it."""
        first, *more = fields = [literal(self.subject.field[o]) for o in self.subject.owner]
        text = None if more else self.subject.by_name[self.subject.owner[0]].text(self)
        if text is not None:
            return text
        if more:
            row = f"(({envelope}) -> 'row')"
            values = ", ".join(f"({row} -> {f})::jsonb" for f in fields)
            return f"jsonb_build_array({values})::text"
        return f"((({envelope}) -> 'row') ->> {first})"

    # -- the verdict
    def judged_by(self, public_key: str) -> str:
        """The verdict on what the row itself says: NULL, or why it is not of that key's owner."""
        subject = self.subject
        name = [self.ref(subject.name_column)] if subject.name_column else []
        arguments = ", ".join([public_key, self.signature, *self.arguments, *name])
        verdict = f"rowseal._judge_{subject.id}({arguments})"
        if authentic := self._authentic(public_key):
            verdict = f"CASE\n  WHEN {authentic}\n  THEN NULL ELSE {verdict}\nEND"
        return subject.wrapped("judged", self, verdict)

    def _authentic(self, public_key: str) -> str:
        """A condition for what most rows are: complete, and signed by Ed25519.

        What does not meet it is judged.  Empty where a verdict asks for more.
        """
        subject, payload = self.subject, self.plain_payload
        if payload is None or not subject.signature_says_all:
            return ""
        complete = " AND ".join(f"{self.ref(c)} IS NOT NULL" for c in subject.required)
        sizes = f"octet_length({self.signature}) = 64 AND octet_length({public_key}) = 32"
        others = (s for s in subject.signed if s.name not in subject.required)
        small = [x for s in others for x in s.small(self)]
        message = f"convert_to({payload}, 'UTF8')"
        verified = f"rowseal._verified({self.signature},\n     {message},\n     {public_key})"
        return "\n   AND ".join([complete, sizes, *small, verified])


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
        self.tables = [t for t in (table, versions, identity.table) if t]
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
        self.ahead: list[str] = []  # columns of the versions table that the main one may get
        if versions is not None:
            columns = declaration.version_columns or {}
            self.versions = Place(versions.qualified, columns, "_versions", declaration.version_key)
            self.ahead = [
                c.name
                for c in versions.columns
                # those with a default, and those that the main table does not sign, are not to come
                if c.name not in columns.values() and not (c.generated or c.filled)
                if table.find(c.name) is None
            ]

    @property
    def names(self) -> dict[str, dict[str, int]]:
        """The names that functions and queries say, of tables, types, operators of keys.

        With their numbers.
        """
        columns = [self.column(c) for c in self.stored]
        said = [name for c in columns for name in (c.bare_type, c.base_qualified)]
        numbers = self.table.oids["types"]
        operators = (t.oids["operators"] for t in (self.identity.table, self.table))
        return {
            "regclass": {t.qualified: t.oids["relation"] for t in self.tables},
            "regtype": {name: numbers[name] for name in said if name in numbers},
            "regoperator": {name: number for o in operators for name, number in o.items()},
        }

    @property
    def moved(self) -> str:
        """NULL, or the verdict where what is generated cannot go on: see sql/guards/moved.sql."""
        return f"rowseal._moved_{self.id}({self.wish.generation})"

    @property
    def ask_moved(self) -> str:
        """Statements of a guard after one that may have waited: names are not those of before."""
        return self.heard(f"verdict := {self.moved};\nEXIT judged WHEN verdict IS NOT NULL;")

    def heard(self, statements: str) -> str:
        """Statements after a wait that may have been."""
        return f"{self.hear}\n{statements}" if self.hear else statements

    @property
    def hear(self) -> str:
        """A statement after a wait, where types or operators are named, which no lock keeps."""
        names = self.names
        return "PERFORM rowseal._hear();" if names["regtype"] or names["regoperator"] else ""

    @property
    def elsewhere(self) -> str:
        """Whether a name leads elsewhere than it did when this was generated."""
        looks = [_elsewhere(t, names) for t, names in self.names.items() if names]
        if self.identity.id is not None:  # undeclared, its keys would be anybody's
            looks.insert(0, f"NOT rowseal._is_guarded({self.identity.id})")
        return "\n    OR ".join(looks)

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


def _elsewhere(type_: str, numbers: Mapping[str, int]) -> str:
    """Whether names of tables, types or operators do not lead to these.

    The comparison of tables is a constant of the plan (rowseal._leads_to).  That it is made anew
    when one of them moves takes its number in what is left of the expression: pg_typeof, which is
    never NULL, keeps it.
    """
    oids = ",".join(map(str, numbers.values()))
    if type_ == "regclass":
        there = (f"rowseal._leads_to({literal(name)}) <> '{n}'" for name, n in numbers.items())
        kept = (f"pg_typeof('{n}'::regclass) IS NULL" for n in numbers.values())
        return "\n    OR ".join([*there, *kept])
    names = ", ".join(f"to_{type_}({literal(name)})" for name in numbers)
    return f"ARRAY[{names}]::oid[] <> '{{{oids}}}'"
