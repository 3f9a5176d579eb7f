"""The feed: accepted versions are appended to rowseal.feed."""

from __future__ import annotations

from collections.abc import Iterable

from ..feature import Feature
from ..filled import rendered
from ..plan import UNSET, Function, Trigger
from ..subject import Subject
from ..words import literal

NAME = "zzz_rowseal_feed"


def partition_of(subject: Subject) -> str:
    """The main table as a constant.

    Its partitions are the tables that its triggers are cloned to.
    """
    return f"{literal(subject.main.table)}::regclass"


class Feed(Feature):
    """AFTER triggers: they see a row as it is stored."""

    def functions(self) -> Iterable[Function]:
        subject = self.subject
        for place in subject.places:
            new = subject.row("NEW", place)
            holes = {
                "here": f"{literal(place.table)}::regclass",
                "main": partition_of(subject),
                "same_version": f"{new.ref(subject.sign)} = {new.called('OLD').ref(subject.sign)}",
                "envelope": new.envelope,
                "tag": literal(subject.tag),
                "owner": new.owner_text("envelope"),
            }
            body = rendered("feed", holes, qualified=True)
            name = f"_feed{place.suffix}_{subject.id}"
            yield Function(name, "", "trigger", "plpgsql", body, UNSET, definer=True)

    def triggers(self) -> Iterable[Trigger]:
        subject = self.subject
        name = f"_feed_{subject.id}"
        yield Trigger(NAME, "AFTER INSERT OR UPDATE", "main", subject.main.table, name)
        if subject.versions is not None:
            # a version that came late is news; archiving a tip is not
            new = subject.row("NEW", subject.versions)
            late = f"NOT rowseal._is_tip_{subject.id}({new.refs([*subject.key, subject.sign])})"
            name = f"_feed_versions_{subject.id}"
            table = subject.versions.table
            yield Trigger(NAME, "AFTER INSERT", "versions", table, name, when=late)
