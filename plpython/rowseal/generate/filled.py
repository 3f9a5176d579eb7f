"""A template of sql/guards, by its name, filled in."""

from __future__ import annotations

from collections.abc import Iterator

from .render import Holes, render
from .subject import Place, Row, Subject
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
    conditions = (c for name in subject.stored for c in _otherwise_typed(subject, new, name))
    holes = {
        "here": f"rowseal._table_of({subject.id}, {versions})",
        "otherwise_typed": " OR ".join(conditions),
    }
    return rendered("only_after", holes)


def _otherwise_typed(subject: Subject, new: Row, name: str) -> Iterator[str]:
    """Conditions, one of which is true when a column's value would be cast on its way.

    What a name outside of pg_catalog means can change; what a function takes does not.
    """
    column = subject.column(name)
    base = f"{literal(column.base_qualified)}::regtype"
    type_ = f"pg_typeof({new.ref(name)})"
    if column.domain:
        type_ = f"rowseal._base_type({type_})"
    signed = [s.name for s in subject.signed]
    if column.base_qualified.startswith("pg_catalog.") or name not in signed:
        yield f"{type_} <> {base}"
        return
    position = len(new.arguments) - len(signed) + signed.index(name)
    function = literal(f"rowseal._payload_{subject.id}")
    takes = f"(SELECT p.proargtypes[{position}] FROM pg_proc p WHERE p.oid = {function}::regproc)"
    yield f"{type_} <> {takes}"
    if column.domain:
        yield f"{base} <> {takes}"
