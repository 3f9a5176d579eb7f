"""A template of sql/guards, by its name, filled in."""

from __future__ import annotations

from .render import Holes, render
from .subject import Place, Subject
from .templates import TEMPLATES


def rendered(name: str, holes: Holes, qualified: bool = False) -> str:
    """The text of a template.

    ``qualified``: for a function that runs with its caller's search path.
    """
    return render(TEMPLATES[name], holes, qualified)


def only_after(subject: Subject, place: Place) -> str:
    """The statement by which a definer function binds itself to the AFTER triggers of a place."""
    versions = str(place is subject.versions).lower()
    return rendered("only_after", {"here": f"rowseal._table_of({subject.id}, {versions})"})
