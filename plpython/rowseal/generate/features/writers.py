"""Writers other than the owner (docs/writers.md), of a table with writers or a grants table."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from ...declare.case import GRANT_COLUMNS
from ..filled import only_after, rendered
from ..plan import UNSET, Function, Trigger
from ..subject import Place, Row
from ..words import literal
from .licensed import Licensed
from .offered import offered
from .retraction import retraction

LEDGER, RETRACT, SETTLE = "zzz_rowseal_ledger", "zzz_rowseal_retract", "zzz_rowseal_settle"


class Writers(Licensed):
    """Asks for licences; enters rows into the ledger; takes back what counts no longer."""

    keep = "_keep_writers"

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
        holes: dict[str, str | bool] = {
            "writer": writer,
            "owners": statements,
            "judged": new.judged_by(writer),
            "grants": self.is_grants,
            "licensed": self.licensed(new),
            "admitted": self.licensed(new, "_admit"),
        }
        return rendered("writers_verdict", holes)

    def _locks(self, new: Row) -> str:
        """True when the lock was not held before: others may just have changed what was read."""
        exclusive = str(self.is_grants).lower()
        return f"rowseal._lock_writers({self.grants}, {self.owner(new)}, {exclusive})"

    def lock(self, new: Row) -> str:
        again = self.subject.heard("CONTINUE judged;")
        return f"IF {self._locks(new)} THEN\n{again}\nEND IF;"

    def look_again(self) -> str:
        again = self.subject.heard("CONTINUE judged;")
        return f"IF news THEN\n{again}\nEND IF;"

    def lock_version(self, new: Row, find: str) -> str:
        again = f"{self.subject.ask_moved}\n{find}\nhas_tip := FOUND;"
        return f"IF {self._locks(new)} THEN\n{again}\nEND IF;"

    def lock_archived(self, new: Row) -> str:
        """That guard holds the lock; somebody else's trigger could archive what is revoked."""
        message = "a current version is archived by its table alone"
        error = f"RAISE EXCEPTION USING ERRCODE = '40001', MESSAGE = '{message}';"
        return f"IF {self._locks(new)} THEN\n  {error}\nEND IF;"

    def lock_one_table(self, new: Row) -> str:
        return f"PERFORM {self._locks(new)};\n{self.subject.ask_moved}" if self.is_grants else ""

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
            if not self.is_grants:
                name = f"_settle{place.suffix}_{self.subject.id}"
                yield Function(name, "", "trigger", "plpgsql", self._followed(place), UNSET)

    def _ledger(self, place: Place) -> str:
        subject, new, old = self.subject, *(self.subject.row(a, place) for a in ("NEW", "OLD"))
        columns = [self.of(new, f) for f in GRANT_COLUMNS] if self.is_grants else []
        holes: dict[str, str | bool] = {
            "only_after": only_after(subject, place),
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

    def _followed(self, place: Place) -> str:
        subject, new = self.subject, self.subject.row("NEW", place)
        holes: dict[str, str | bool] = {
            "grants_id": str(self.grants),
            "same_version": f"{new.ref(subject.sign)} = {new.called('OLD').ref(subject.sign)}",
            "owner": self.owner(new),
            "writer": self.of(new, "writer_pkey"),
            "number": self.of(new, "writer_seq"),
            "link": self.link(new),
            "versions": place is subject.versions,
            "is_tip": self._is_tip(new),
        }
        return rendered("settle", holes, qualified=True)

    def triggers(self) -> Iterable[Trigger]:
        """They fire after the row is stored, in the order of their names."""
        subject = self.subject
        for place in subject.places:
            on = "main" if place is subject.main else "versions"
            ledger = f"_ledger{place.suffix}_{subject.id}"
            new, old = (
                f"{self.of(subject.row(a, place), 'writer_pkey')} IS NOT NULL"
                for a in ("NEW", "OLD")
            )
            arrives = "AFTER INSERT OR UPDATE"
            settles = "AFTER INSERT" if self.is_grants or on == "versions" else arrives
            written = "" if self.is_grants else new
            follows = "_settle_row" if self.is_grants else f"_settle{place.suffix}_{subject.id}"
            here = (str(subject.id), on) if self.is_grants else ()
            yield Trigger(LEDGER, arrives, on, place.table, ledger, when=written)
            yield Trigger(RETRACT, "AFTER DELETE", on, place.table, ledger, when=old)
            yield Trigger(SETTLE, settles, on, place.table, follows, here, when=written)

    # -- what runs seldom: queries
    def queries(self) -> Mapping[str, str]:
        subject = self.subject
        out = {**offered(self), **retraction(self), "granted": self._granted()}
        for place in subject.places:
            on = "" if place is subject.main else "_versions"
            row = subject.row("($1)", place)
            if self.is_grants:
                out["settle"] = self._settle(row)
            out[f"spent{on}"] = self._spent(row)
        entered = [self._entered(subject.row("x", place)) for place in subject.places]
        out["entered"] = "\nUNION ALL\n".join(entered)
        return out

    def _entered(self, row: Row) -> str:
        """What the ledger says of stored rows."""
        names = ("writer_pkey", "writer_seq", "writer_prev")
        writer, number, previous = (self.of(row, name) for name in names)
        return (
            f"SELECT {self.owner(row)} AS owner, {writer} AS writer, {number} AS seq,\n"
            f"       {previous} AS prev, {self.link(row)} AS link,\n"
            f"       {self.licensed(row)} AS problem\n"
            f"  FROM {row.place.table} {row.alias} WHERE {writer} IS NOT NULL"
        )

    def _granted(self) -> str:
        """What rowseal._grants says of the rows of a grants table, by a hash of it."""
        if not self.is_grants:
            return ""
        x = self.subject.row("x")
        writer = self.of(x, "writer_pkey")
        columns = ", ".join(self.of(x, f) for f in GRANT_COLUMNS)
        return (
            f"SELECT {self.owner(x)} AS owner, rowseal._grant_hash(ROW(NULL, NULL, {x.signature},\n"
            f"         {x.ref(self.subject.timestamp)}, {writer},\n"
            f"         CASE WHEN {writer} IS NOT NULL THEN {self.link(x)} END,\n"
            f"         {columns})::rowseal._grants) AS hash\n"
            f"  FROM {x.place.table} x"
        )

    def _settle(self, row: Row) -> str:
        """What rowseal._settle has to know of the row $1."""
        writer, upto, grantee = (self.of(row, f) for f in ("writer_pkey", "upto", "grantee_pkey"))
        return (
            f"SELECT {self.owner(row)} AS owner, {writer} AS writer,\n"
            f"       {self.of(row, 'writer_seq')} AS seq,\n"
            f"       CASE WHEN {writer} IS NOT NULL THEN {self.link(row)}\n"
            f"            ELSE sha256({row.signature}) END AS link,\n"
            f"       CASE WHEN {upto} IS NOT NULL THEN {grantee} END AS revoked"
        )

    def _spent(self, row: Row) -> str:
        """Whether the row $1 counts no longer, or has moved into the main table.

        Whoever deletes that does no harm.
        """
        spent = f"{self.of(row, 'writer_pkey')} IS NOT NULL AND {self.licensed(row)} IS NOT NULL"
        if row.place is self.subject.versions:
            spent = f"{self._is_tip(row)} OR {spent}"
        return f"SELECT {spent}"

    def _is_tip(self, row: Row) -> str:
        key = ", ".join(map(row.exact, (*self.subject.key, self.subject.sign)))
        return f"rowseal._is_tip_{self.subject.id}({key})"
