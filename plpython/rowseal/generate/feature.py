"""What a feature of a declaration may add to what every declared table has.

A feature is one module of ``features``.  It fills slots of the guards (sql/guards), and has
functions, triggers and queries of its own.  Every slot is empty here; a slot's text
is SQL or PL/pgSQL as in a template.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from .plan import Function, Trigger
from .subject import Row, Subject


class Feature:
    """The slots, all empty."""

    keep = ""  # the function that stands in for _keep, which refuses DELETE

    def __init__(self, subject: Subject):
        self.subject = subject

    # -- slots of the guards: statements
    def variables(self) -> str:
        """Declarations of variables."""
        return ""

    def prepare(self, new: Row) -> str:
        """Before anything is asked: what completes NEW."""
        return ""

    def arrived_again(self, new: Row, stored: Row) -> str:
        """NEW was inserted and is known as ``stored``."""
        return ""

    def updated_in_place(self, new: Row, old: Row) -> str:
        """An UPDATE left every signed value alone.  It may set verdict."""
        return ""

    def lock(self, new: Row) -> str:
        """NEW and the tip differ: what has to be locked.  It may CONTINUE judged, to look again."""
        return ""

    def lock_version(self, new: Row, find: str) -> str:
        """The same in the versions table, where ``find`` looks for the tip and sets has_tip."""
        return ""

    def lock_archived(self, new: Row) -> str:
        """The main table's guard archives its tip."""
        return ""

    def lock_one_table(self, new: Row) -> str:
        """Where all versions lie in one table: NEW is not known."""
        return ""

    def look_again(self) -> str:
        """NEW is authentic: whether what is there has to be looked at once more."""
        return ""

    def met_again(self, new: Row, t: Row) -> str:
        """What ON CONFLICT does when t, the version NEW, came while it was judged."""
        return ""

    def archived_again(self, new: Row, t: Row) -> str:
        """What is done when t, a version in the versions table, was there."""
        return ""

    # -- slots of expressions
    def content(self, row: Row) -> str:
        """What an envelope has beside the signed row: a json expression."""
        return ""

    def judged(self, row: Row, verdict: str) -> str:
        """The verdict on what a row itself says, wrapped."""
        return verdict

    def verdict(self, new: Row, statements: str) -> str:
        """The statements that set verdict by the owner's key, wrapped."""
        return statements

    def problem(self, row: Row, verdict: str) -> str:
        """The verdict on a stored row, for verify, wrapped; k is the owner's card."""
        return verdict

    def completed(self, new: Row, old: Row) -> str:
        """Whether an UPDATE has brought back what the same version had lost."""
        return ""

    def spare(self, row: Row, partition: str) -> str:
        """Whether prune may take a version; ``partition``: by key, the newest first."""
        return ""

    # -- what it has of its own
    def functions(self) -> Iterable[Function]:
        return ()

    def triggers(self) -> Iterable[Trigger]:
        return ()

    def queries(self) -> Mapping[str, str]:
        return {}
