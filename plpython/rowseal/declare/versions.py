"""Which columns of a versions table hold which columns of its main table."""

from __future__ import annotations

from .case import Case, Refused, hashed, version_key
from .model import Table


def a_versions_table_fits(case: Case) -> None:
    """A rule: the versions table can hold what is superseded."""
    if case.versions is not None:
        version_columns(case, case.versions)
        versions_key(case, case.versions)


def stored(case: Case) -> tuple[str, ...]:
    """The columns of the main table that a version consists of."""
    wish = case.wish
    name = (wish.name_column,) if wish.name_column else ()
    return (*case.fields, *wish.digests.values(), *name, wish.signature_column)


def version_columns(case: Case, versions: Table) -> dict[str, str]:
    """Main column to versions column.

    That is the one that is given, the one of the same name, or, when it is declared, the only one
    that can be meant.
    """
    label = versions.label
    if versions.relkind == "p":
        raise Refused(
            f"the versions table {label} is partitioned",
            "Its primary key, the signature alone, does not allow that.",
        )
    have = {c.name: c.type for c in versions.columns if not c.generated}
    types = {c.name: c.type for c in case.table.columns}
    found: dict[str, str] = {}
    missing = []
    for name in stored(case):
        match = case.wish.version_columns.get(name, name)
        if match in have and match not in found.values():
            found[name] = match
        else:
            missing.append(name)
    for name in missing:
        free = [c for c in have if c not in found.values() and have[c] == types[name]]
        if len(free) != 1 or case.wish.fields:  # those of before: it has been declared
            raise Refused(
                f"the versions table {label} has no column for {name!r}",
                "Add it, or say which one holds it: "
                f'columns => \'{{"versions": {{"{name}": "…"}}}}\'.',
            )
        found[name] = free[0]
    _nothing_else_is_required(versions, found)
    for name, match in found.items():
        if have[match] != types[name]:
            raise Refused(
                f"column {match!r} of {label} has type {have[match]}, {name!r} has {types[name]}",
                "They must be the same.",
            )
        there, here = versions.column(match).collation, case.table.column(name).collation
        if there != here:
            raise Refused(
                f"column {match!r} of {label} has the collation {there or 'default'}, "
                f"{name!r} has {here or 'default'}",
                "They must be the same.",
            )
    return found


def _nothing_else_is_required(versions: Table, found: dict[str, str]) -> None:
    for column in versions.columns:
        if column.required and column.name not in found.values():
            raise Refused(
                f"column {column.name!r} of {versions.label} is NOT NULL without a default",
                "Nothing is archived into it.",
            )


def versions_key(case: Case, versions: Table) -> str:
    """The unique column of the versions table that tells versions apart."""
    found = version_columns(case, versions)
    unique = tuple(u[0] for u in versions.unique if len(u) == 1)
    signature = found[case.wish.signature_column]
    key = version_key(
        versions, unique, signature, found.get(case.wish.name_column or ""), case.large
    )
    if key is None:
        but = " but its hash" if case.large else ""
        raise Refused(
            f"the versions table {versions.label} has no primary key on the signature{but}",
            hashed(signature) if case.large else "A version is identified by its signature alone.",
        )
    return key
