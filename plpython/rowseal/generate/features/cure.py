"""On an identity table: rows that waited for an owner are tried again when he comes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from ..feature import Feature
from ..plan import Trigger


class Cure(Feature):
    def triggers(self) -> Iterable[Trigger]:
        # after the feed: owners enter it before what waited for them
        table, arguments = self.subject.main.table, (str(self.subject.id),)
        yield Trigger("zzz_rowseal_then_cure", "AFTER INSERT", "main", table, "_cure", arguments)

    def queries(self) -> Mapping[str, str]:
        """The owner of the row $1, as text."""
        row = self.subject.row("($1)")
        return {"owner": f"SELECT {row.owner_text(row.envelope)}"}
