"""What is asked about the row of a writer: expressions over it (docs/writers.md)."""

from __future__ import annotations

from ...form.signature import ALGORITHMS
from ...form.verdict import Verdict
from ..feature import Feature
from ..filled import rendered
from ..guard import refusal
from ..subject import Row, Subject
from ..words import literal

LARGEST_SCOPE = 4096  # bytes: no key of an index is longer, and it names a hundred tables
OF_GRANTS = {  # holes of malformed
    "grantee": "grantee_pkey",
    "tables": "tables",
    "keys": "keys",
    "until": "until",
    "upto": "upto",
}


class Licensed(Feature):
    """Whose row it is, which place it has in its writer's chain, and whether a grant covers it."""

    def __init__(self, subject: Subject):
        super().__init__(subject)
        self.is_grants = subject.wish.grants
        table = subject.wish.grants_table
        self.grants = table.id if table else subject.id

    def of(self, row: Row, field: str) -> str:
        """A column, by its field."""
        return row.exact(self.subject.column_of[field])

    def owner(self, row: Row) -> str:
        """The owner as text."""
        subject = self.subject
        if len(subject.owner) == 1 and (text := subject.by_name[subject.owner[0]].text(row)):
            return text
        return row.owner_text(f"({row.payload})::jsonb")

    def key(self, row: Row) -> str:
        """The primary key by field, canonical.

        NULL for a row of the grants table: it has no scope of keys.
        """
        if self.is_grants:
            return "NULL"
        signed = [self.subject.by_name[k] for k in self.subject.key]
        texts = [(literal(s.field), s.text(row)) for s in signed]
        if all(text for _, text in texts):
            return f"jsonb_build_object({', '.join(f'{f}, {text}' for f, text in texts)})"
        return (
            f"rowseal._only((({row.payload})::jsonb) -> 'row', "
            f"ARRAY[{', '.join(f for f, _ in texts)}])"
        )

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
        algorithms = self.subject.identity.algorithms
        sizes = ",".join(str(ALGORITHMS[name].public_key) for name in algorithms)
        holes: dict[str, str | bool] = {
            "writer": self.of(row, "writer_pkey"),
            "number": self.of(row, "writer_seq"),
            "previous": self.of(row, "writer_prev"),
            "misfit": refusal(
                Verdict("RS013", "writer, number and previous link do not fit each other")
            ),
            "sizes": f"'{{{sizes}}}'::integer[]",
            "stranger": refusal(
                Verdict("RS013", f"the key of a writer is none of {', '.join(algorithms)}")
            ),
            "grants": self.is_grants,
            "deleted": row.ref(self.subject.deleted),
            "tombstone": refusal(Verdict("RS013", "a grant is ended by a revocation, not deleted")),
            "endless": refusal(Verdict("RS013", "a grant needs a last timestamp (until)")),
            "scopeless": refusal(
                Verdict("RS013", "tables or upto is no plain array, or keys no JSON object")
            ),
            "most": str(LARGEST_SCOPE),
            "large": refusal(
                Verdict("RS013", f"tables or keys have more than {LARGEST_SCOPE} bytes as text")
            ),
        }
        for hole, field in OF_GRANTS.items():
            holes[hole] = self.of(row, field) if self.is_grants else ""
        keys = self.subject.column_of.get("keys") if self.is_grants else None
        holes["written"] = self.subject.by_name[keys].passed(row) if keys else ""
        return rendered("malformed", holes)
