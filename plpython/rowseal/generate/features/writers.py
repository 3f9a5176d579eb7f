"""Writers other than the owner (docs/writers.md): what a table with writers, or a grants table, has besides."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Optional

from ...declare.case import GRANT_COLUMNS
from ..decode import given_owner
from ..feature import Feature
from ..filled import rendered
from ..guard import refusal
from ..plan import UNSET, Function, Trigger
from ..row import Place, Row
from ..subject import Subject
from ..words import ident, literal
from ...form.verdict import Verdict

LEDGER, RETRACT, SETTLE = "zzz_rowseal_ledger", "zzz_rowseal_retract", "zzz_rowseal_settle"
REVOKED = "current_setting('rowseal.revoked', true) = 'on'"  # as _admit has seen it


class Writers(Feature):
    """Asks for the licences of who signed a row; enters rows into the ledger; takes back what counts no longer."""

    def __init__(self, subject: Subject):
        super().__init__(subject)
        self.is_grants = subject.wish.grants
        table = subject.wish.grants_table
        self.grants = table.id if table else subject.id

    # -- expressions
    def of(self, row: Row, field: str) -> str:
        """A column, by its field."""
        return row.ref(self.subject.column_of[field])

    def owner(self, row: Row) -> str:
        """The owner as text."""
        subject = self.subject
        if len(subject.owner) == 1 and (text := subject.by_name[subject.owner[0]].text(row)):
            return text
        return row.owner_text(f"({row.payload})::jsonb")

    def key(self, row: Row) -> str:
        """The primary key by field, canonical; NULL for a row of the grants table: it has no scope of keys."""
        if self.is_grants:
            return "NULL"
        signed = [self.subject.by_name[k] for k in self.subject.key]
        texts = [(literal(s.field), s.text(row)) for s in signed]
        if all(text for _, text in texts):
            return f"jsonb_build_object({', '.join(f'{f}, {text}' for f, text in texts)})"
        return f"rowseal._only((({row.payload})::jsonb) -> 'row', ARRAY[{', '.join(f for f, _ in texts)}])"

    def link(self, row: Row) -> str:
        """rowseal.link, written out: PostgreSQL inlines no function with a search path."""
        number, previous = self.of(row, "writer_seq"), self.of(row, "writer_prev")
        return f"sha256(int8send({number}) || coalesce({previous}, '') || {row.signature})"

    def licensed(self, row: Row, function: str = "_licensed") -> str:
        """NULL when the writer's row stands under a chain of grants, else why not."""
        subject = self.subject
        values = [
            str(self.grants),
            self.owner(row),
            self.of(row, "writer_pkey"),
            self.of(row, "writer_seq"),
            self.link(row),
            literal(subject.tag),
            row.ref(subject.timestamp),
            row.ref(subject.deleted),
            self.key(row),
        ]
        return f"rowseal.{function}({', '.join(values)})"

    def malformed(self, row: Row) -> str:
        """A verdict on what the columns say about each other; NULL when it is well formed."""
        holes = {
            "writer": self.of(row, "writer_pkey"),
            "number": self.of(row, "writer_seq"),
            "previous": self.of(row, "writer_prev"),
            "misfit": refusal(Verdict("RS013", "writer, number and previous link do not fit each other")),
            "grants": self.is_grants,
            "deleted": row.ref(self.subject.deleted),
            "tombstone": refusal(Verdict("RS013", "a grant is ended by a revocation, not deleted")),
            "upto": self.of(row, "upto") if self.is_grants else "",
            "until": self.of(row, "until") if self.is_grants else "",
            "endless": refusal(Verdict("RS013", "a grant needs a last timestamp (until)")),
        }
        return rendered("malformed", holes)

    def judged(self, row: Row, verdict: str) -> str:
        return f"coalesce({self.malformed(row)}, {verdict})"

    def problem(self, row: Row, verdict: str) -> str:
        writer = self.of(row, "writer_pkey")
        theirs = f"coalesce({row.judged_by(writer)}, {self.licensed(row)})"
        return f"CASE WHEN {writer} IS NULL THEN {verdict} ELSE {theirs} END"

    # -- slots of the guards
    def variables(self) -> str:
        return "news boolean;"

    def verdict(self, new: Row, statements: str) -> str:
        writer = self.of(new, "writer_pkey")
        holes = {
            "writer": writer,
            "owners": statements,
            "judged": new.judged_by(writer),
            "grants": self.is_grants,
            "licensed": self.licensed(new),
            "admitted": self.licensed(new, "_admit"),
        }
        return rendered("writers_verdict", holes)

    def _locks(self, new: Row) -> str:
        """True when the lock was not held before, so that others may just have changed what was read."""
        exclusive = str(self.is_grants).lower()
        return f"rowseal._lock_writers({self.grants}, {self.owner(new)}, {exclusive})"

    def lock(self, new: Row) -> str:
        return f"IF {self._locks(new)} AND TG_OP = 'INSERT' THEN\n  CONTINUE judged;\nEND IF;"

    def look_again(self) -> str:
        return "IF news THEN\n  CONTINUE judged;\nEND IF;"

    def lock_version(self, new: Row, find: str) -> str:
        return f"IF {self._locks(new)} THEN\n  {find}\n  current := FOUND;\nEND IF;"

    def lock_archived(self, new: Row) -> str:
        """That guard holds the lock; somebody else's trigger would archive what is just being revoked."""
        message = "a current version is archived by its table alone"
        error = f"RAISE EXCEPTION USING ERRCODE = '40001', MESSAGE = '{message}';"
        return f"IF {self._locks(new)} THEN\n  {error}\nEND IF;"

    def lock_one_table(self, new: Row) -> str:
        return f"PERFORM {self._locks(new)};" if self.is_grants else ""

    def spare(self, row: Row, partition: str) -> str:
        """Not what may come back when writers are revoked, down to a version of the owner's."""
        above = f"({partition} ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING)"
        owners = f"{self.of(row, 'writer_pkey')} IS NULL"
        spare = f"coalesce(pg_catalog.bool_or({owners}) OVER {above}, false)"
        if row.place is self.subject.main:
            return spare
        t = self.subject.row("t")
        tip = f"{t.same_key(row)} AND {self.of(t, 'writer_pkey')} IS NULL"
        return f"({spare} OR EXISTS (SELECT FROM {t.place.table} t WHERE {tip}))"

    # -- the ledger
    def functions(self) -> Iterable[Function]:
        for place in self.subject.places:
            name = f"_ledger{place.suffix}_{self.subject.id}"
            yield Function(name, "", "trigger", "plpgsql", self._ledger(place), UNSET, definer=True)

    def _ledger(self, place: Place) -> str:
        subject, new, old = self.subject, *(self.subject.row(a, place) for a in ("NEW", "OLD"))
        columns = [self.of(new, f) for f in GRANT_COLUMNS] if self.is_grants else []
        holes = {
            "here": f"{literal(place.table)}::regclass",
            "main": f"{literal(subject.main.table)}::regclass",
            "grants_id": str(self.grants),
            "grants": self.is_grants,
            "licensed_old": self.licensed(old),
            "owner_old": self.owner(old),
            "writer_old": self.of(old, "writer_pkey"),
            "number_old": self.of(old, "writer_seq"),
            "link_old": self.link(old),
            "signature_old": old.signature,
            "envelope_old": old.envelope,
            "tag": literal(subject.tag),
            "owner": self.owner(new),
            "writer": self.of(new, "writer_pkey"),
            "number": self.of(new, "writer_seq"),
            "previous": self.of(new, "writer_prev"),
            "link": self.link(new),
            "signature": new.signature,
            "at": new.ref(subject.timestamp),
            "columns": ", ".join(columns),
        }
        return rendered("ledger", holes, qualified=True)

    def keep(self, place: Place) -> Optional[str]:
        return "_keep_writers"

    def triggers(self) -> Iterable[Trigger]:
        """They fire after the row is stored, in the order of their names."""
        subject = self.subject
        for place in subject.places:
            on = "main" if place is subject.main else "versions"
            ledger = f"_ledger{place.suffix}_{subject.id}"
            new, old = (f"{self.of(subject.row(a, place), 'writer_pkey')} IS NOT NULL" for a in ("NEW", "OLD"))
            arrives = "AFTER INSERT OR UPDATE"
            settles = "AFTER INSERT" if self.is_grants or on == "versions" else arrives
            written = "" if self.is_grants else new
            revoked = "" if self.is_grants else f"{new} AND pg_catalog.{REVOKED}"
            here = (str(subject.id), on)
            yield Trigger(LEDGER, arrives, on, place.table, ledger, when=written)
            yield Trigger(RETRACT, "AFTER DELETE", on, place.table, ledger, when=old)
            yield Trigger(SETTLE, settles, on, place.table, "_settle_row", here, when=revoked)

    # -- what runs seldom: queries
    def queries(self) -> Mapping[str, str]:
        subject = self.subject
        out = {"retract": self._retract(), "retract_versions": self._retract_versions()}
        for place in subject.places:
            on = "" if place is subject.main else "_versions"
            row = subject.row("($1)", place)
            out[f"settle{on}"] = self._settle(row)
            out[f"spent{on}"] = self._spent(row)
        return out

    def _settle(self, row: Row) -> str:
        """What rowseal._settle has to know of the row $1."""
        grantee, upto = (self.of(row, f) if self.is_grants else "NULL" for f in ("grantee_pkey", "upto"))
        writer = self.of(row, "writer_pkey")
        return (
            f"SELECT {self.owner(row)} AS owner, {writer} AS writer, {self.of(row, 'writer_seq')} AS seq,\n"
            f"       CASE WHEN {writer} IS NOT NULL THEN {self.link(row)} END AS link,\n"
            f"       {grantee}::bytea AS grantee, {upto} IS NOT NULL AS revocation"
        )

    def _spent(self, row: Row) -> str:
        """Whether the row $1 counts no longer, or has moved into the main table: whoever deletes that does no harm."""
        spent = f"{self.of(row, 'writer_pkey')} IS NOT NULL AND {self.licensed(row)} IS NOT NULL"
        if row.place is self.subject.versions:
            key = row.refs([*self.subject.key, self.subject.sign])
            spent = f"rowseal._is_tip_{self.subject.id}({key}) OR {spent}"
        return f"SELECT {spent}"

    def _retract_versions(self) -> str:
        """Takes archived rows of the owner $1 and the writers $2 that count no longer out of the versions table."""
        versions = self.subject.versions
        if versions is None:
            return ""
        v, g = self.subject.row("v", versions), self.subject.row("g")
        return f"DELETE FROM {versions.table} v USING {given_owner(self.subject)} g WHERE {self._gone(v, g)}"

    def _retract(self) -> str:
        """Takes such rows out of the main table; where a tip goes, the greatest valid version takes its place."""
        subject, versions = self.subject, self.subject.versions
        g, t, gone = (subject.row(a) for a in ("g", "t", "gone"))
        delete = f"DELETE FROM {subject.main.table} t USING {given_owner(subject)} g WHERE {self._gone(t, g)}"
        if versions is None:
            return delete
        v = subject.row("v", versions)
        holes = {
            "delete": delete,
            "main": subject.main.table,
            "versions": versions.table,
            "key_t": t.refs(subject.key),
            "names": subject.main.names(subject.stored),
            "key_v": v.refs(subject.key),
            "stored_v": v.refs(subject.stored),
            "same_key": gone.same_key(v),
            "stands": f"({self.of(v, 'writer_pkey')} IS NULL OR {self.licensed(v)} IS NULL)",
            "order_v": v.order,
            "sign": ident(subject.sign),
            "signature_of_v": v.ref(subject.sign),
        }
        return rendered("retract", holes)

    def _gone(self, row: Row, owner: Row) -> str:
        return (
            f"{row.same_key(owner, self.subject.owner)} AND {self.of(row, 'writer_pkey')} = ANY ($2)"
            f" AND {self.licensed(row)} IS NOT NULL"
        )
