"""The feed: accepted versions are appended to rowseal.feed."""

from __future__ import annotations

from collections.abc import Iterable

from ..feature import Feature
from ..filled import only_after, rendered
from ..plan import UNSET, Function, Trigger
from ..words import literal

NAME = "zzz_rowseal_feed"


class Feed(Feature):
    """AFTER triggers: they see a row as it is stored."""

    def functions(self) -> Iterable[Function]:
        subject = self.subject
        for place in subject.places:
            new, old = (subject.row(alias, place) for alias in ("NEW", "OLD"))
            same = f"{new.ref(subject.sign)} = {old.ref(subject.sign)}"
            completed = subject.slot("completed", new, old)
            holes = {
                "only_after": only_after(subject, place),
                "no_news": f"{same} AND NOT ({completed})" if completed else same,
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
            # a version that came late is news, or what one gets back; archiving a tip is not
            new = subject.row("NEW", subject.versions)
            key = ", ".join(map(new.exact, (*subject.key, subject.sign)))
            late = f"NOT rowseal._is_tip_{subject.id}({key})"
            name = f"_feed_versions_{subject.id}"
            table = subject.versions.table
            healed = "AFTER INSERT OR UPDATE" if subject.wish.healed else "AFTER INSERT"
            yield Trigger(NAME, healed, "versions", table, name, when=late)
