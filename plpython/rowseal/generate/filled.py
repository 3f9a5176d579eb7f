"""A template of sql/guards, by its name, filled in."""

from __future__ import annotations

from .render import Holes, render
from .subject import Place, Subject
from .templates import TEMPLATES
from .words import literal


def rendered(name: str, holes: Holes, qualified: bool = False) -> str:
    """The text of a template.

    ``qualified``: for a function that runs with its caller's search path.
    """
    return render(TEMPLATES[name], holes, qualified)


def only_after(subject: Subject, place: Place) -> str:
    """The statement by which a definer function binds itself to the AFTER triggers of a place."""
    versions = str(place is subject.versions).lower()
    new = subject.row("NEW", place)  # of the types of its columns OLD is, too
    types = {c: literal(subject.column(c).type_qualified) for c in subject.stored}
    holes = {
        "here": f"rowseal._table_of({subject.id}, {versions})",
        "otherwise_typed": " OR ".join(
            f"pg_typeof({new.ref(c)}) <> {types[c]}::regtype" for c in types
        ),
    }
    return rendered("only_after", holes)
