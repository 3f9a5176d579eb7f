"""Columns signed by their digest: their content can be erased while the row stays verifiable."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from ...form.canonical import CONTENT, json_string
from ...form.verdict import Verdict
from ..decode import given_key
from ..feature import Feature
from ..guard import refusal
from ..subject import Place, Row, Subject
from ..values import Refers, Signed, base64
from ..words import ident, literal


class ByDigest(Signed):
    """A content beside the column that keeps its digest when it is erased."""

    def __init__(self, signed: Signed, kept: str):
        super().__init__(signed.column, signed.field)
        self.kept, self.argument = kept, "bytea"

    def content(self, row: Refers) -> str:
        """Its bytes."""
        ref = row.ref(self.name)
        return f"{ref}::bytea" if self.column.base == "bytea" else f"convert_to({ref}, 'UTF8')"

    def value(self, row: Refers) -> str:
        digest = f"sha256({self.content(row)})"
        return f"CASE WHEN {row.ref(self.name)} IS NULL THEN {row.ref(self.kept)} ELSE {digest} END"

    def member(self, row: Refers) -> str:
        name = literal(json_string(self.field) + ':{"sha256":')
        return f"(rowseal._string({name}, {base64(f'({self.value(row)})')}) || '}}')"

    def bounds(self, row: Refers) -> list[str]:
        return []

    def brief(self, row: Refers) -> Iterator[str]:
        """No content is passed on, and that of the envelope is bounded beside the text."""
        return iter(())

    def small(self, row: Refers) -> Iterator[str]:
        # an erased content is as canonical as its digest is long
        size = f"coalesce(octet_length({row.ref(self.kept)}), 32)"
        yield f"({row.ref(self.name)} IS NOT NULL OR {size} = 32)"


def by_digest(subject: Subject) -> tuple[Signed, ...]:
    """The signed columns, those that the wish lists by their digest."""
    kept = subject.wish.digests
    return tuple(ByDigest(s, kept[s.name]) if s.name in kept else s for s in subject.signed)


# An UPDATE that is no statement of a user's: of apply, or of a guard.
MERGING = "current_setting('rowseal.mode', true) = 'apply' OR pg_trigger_depth() > 1"
TOO_MUCH = refusal(Verdict("RS006", f"more than {CONTENT} bytes of content"))


class Digests(Feature):
    """Content goes by rowseal.erase alone, and comes back where the declaration says so."""

    @property
    def columns(self) -> list[ByDigest]:
        return [s for s in self.subject.signed if isinstance(s, ByDigest)]

    @property
    def healed(self) -> list[ByDigest]:
        return [s for s in self.columns if s.name in self.subject.wish.healed]

    def prepare(self, new: Row) -> str:
        """A content needs no digest beside it."""
        return "\n".join(
            f"IF {new.ref(s.name)} IS NOT NULL THEN\n  {new.ref(s.kept)} := NULL;\nEND IF;"
            for s in self.columns
        )

    def updated_in_place(self, new: Row, old: Row) -> str:
        """A merge finds what is there by an UPDATE, too: what it lacks, it does not take away."""
        stays, refused = [], []
        for s in self.columns:
            now, before = new.ref(s.name), old.ref(s.name)
            changes = f"({now} IS NULL) <> ({before} IS NULL)"
            if s in self.healed:
                changes = f"{now} IS NULL AND {before} IS NOT NULL"
            reason = f"column {s.name} is erased by rowseal.erase alone, and stays so"
            verdict = refusal(Verdict("RS004", reason))
            refused.append(f"IF {changes} THEN\n  verdict := {verdict};\n")
            kept = f"{new.ref(s.kept)} := {old.ref(s.kept)};"
            stays.append(f"  IF {changes} THEN\n    {now} := {before};\n    {kept}\n  END IF;\n")
        # what comes back is no more than what may come
        refused.insert(0, f"IF {self._too_much(new)} THEN\n  verdict := {TOO_MUCH};\n")
        return f"IF {MERGING} THEN\n{''.join(stays)}END IF;\n{'ELS'.join(refused)}END IF;"

    def arrived_again(self, new: Row, stored: Row) -> str:
        """Erased content that is whole in NEW comes back by an UPDATE, whose trigger decides."""
        if not self.healed:
            return ""
        t = stored.called("t")
        lacking = self._heals(new, stored)
        where = [] if t.place is self.subject.versions else [t.same_key(new)]
        again = ""
        if t.place.version_key:
            where.append(t.same_version(new))
        else:  # a newer version may have come meanwhile: then this one is to be archived
            where.append(f"{t.signature} = {new.signature}")
            still = f"EXISTS (SELECT FROM {t.place.table} t WHERE {' AND '.join(where)})"
            again = (
                f"  IF NOT FOUND THEN\n{self.subject.ask_moved}\n"
                f"    IF NOT {still} THEN\n      CONTINUE judged;\n    END IF;\n  END IF;\n"
            )
        return (
            f"IF TG_OP = 'INSERT' AND ({lacking}){self._may_heal(t)} THEN\n"
            f"  UPDATE {t.place.table} t SET {self._healing(new, t)}\n"
            f"   WHERE {' AND '.join(where)};\n{again}END IF;"
        )

    def met_again(self, new: Row, t: Row) -> str:
        """The same where another session stored it while this one was judged."""
        if not self.healed:
            return ""
        return f"UPDATE SET {self._healing(new, t)} WHERE {self._heals(new, t)}"

    def archived_again(self, new: Row, t: Row) -> str:
        """The same in the versions table, for which not everybody has the right to UPDATE."""
        if not self.healed:
            return ""
        version = t.same_version(new)
        lacking = f"{version} AND ({self._heals(new, t)})"
        found = f"EXISTS (SELECT FROM {t.place.table} t WHERE {lacking})"
        return (
            f"\nIF NOT FOUND{self._may_heal(t)} AND {found} THEN\n"
            f"  UPDATE {t.place.table} t SET {self._healing(new, t)}\n   WHERE {version};\nEND IF;"
        )

    def _may_heal(self, t: Row) -> str:
        """Who writes needs no right to UPDATE the versions table."""
        if t.place is self.subject.main:
            return ""
        return f" AND has_table_privilege({literal(t.place.table)}, 'UPDATE')"

    def _heals(self, new: Row, t: Row) -> str:
        pairs = ((t.ref(s.name), new.ref(s.name)) for s in self.healed)
        return " OR ".join(f"{there} IS NULL AND {here} IS NOT NULL" for there, here in pairs)

    def _healing(self, new: Row, t: Row) -> str:
        """The assignments that bring back what t lacks and NEW has."""
        sets = []
        for s in self.healed:
            content, digest = ident(t.place.columns[s.name]), ident(t.place.columns[s.kept])
            sets.append(f"{content} = coalesce({t.ref(s.name)}, {new.ref(s.name)})")
            sets.append(f"{digest} = CASE WHEN {new.ref(s.name)} IS NULL THEN {t.ref(s.kept)} END")
        return ", ".join(sets)

    def completed(self, new: Row, old: Row) -> str:
        back = (f"{old.ref(s.name)} IS NULL AND {new.ref(s.name)} IS NOT NULL" for s in self.healed)
        return " OR ".join(back)

    def content(self, row: Row) -> str:
        fields = ", ".join(literal(s.field) for s in self.columns)
        return (
            f"rowseal._content(ARRAY[{fields}], "
            f"ARRAY[{', '.join(s.content(row) for s in self.columns)}])"
        )

    def judged(self, row: Row, verdict: str) -> str:
        """The envelope carries the contents beside the text."""
        return f"CASE WHEN {self._too_much(row)}\n  THEN {TOO_MUCH} ELSE {verdict}\nEND"

    def _too_much(self, row: Row) -> str:
        size = " + ".join(f"coalesce(octet_length({row.ref(s.name)}), 0)" for s in self.columns)
        return f"({size}) > {CONTENT}"

    # -- rowseal.erase
    def queries(self) -> Mapping[str, str]:
        versions = self.subject.versions
        return {
            "erase": self._erase(self.subject.main),
            "erase_versions": self._erase(versions) if versions else "",
        }

    def _erase(self, place: Place) -> str:
        """Empties the columns $2 in all versions of the key $1; returns their payloads."""
        t = self.subject.row("t", place)
        sets, there = [], []
        for s in self.columns:
            chosen = f"{literal(s.name)} = ANY ($2)"
            content, digest = ident(place.columns[s.name]), ident(place.columns[s.kept])
            sets.append(f"{content} = CASE WHEN NOT {chosen} THEN {t.ref(s.name)} END")
            sets.append(f"{digest} = CASE WHEN {chosen} THEN {s.value(t)} ELSE {t.ref(s.kept)} END")
            there.append(f"{chosen} AND {t.ref(s.name)} IS NOT NULL")
        same = t.same_key(self.subject.row("g"))
        return (
            f"UPDATE {place.table} t SET {', '.join(sets)} FROM {given_key(self.subject)} g\n"
            f" WHERE {same} AND ({' OR '.join(there)}) RETURNING {t.payload}"
        )
