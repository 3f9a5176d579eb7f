"""From a wish and the facts that it meets to a declaration.  Pure: it runs without a server."""

from __future__ import annotations

from ..form.canonical import Kind
from ..form.signature import ED25519
from .case import Case
from .model import Declaration, Identity, Spec, Table, Wish
from .rules import RULES
from .versions import version_columns, versions_key


def decide(
    wish: Wish, table: Table, versions: Table | None, identity: Identity | None
) -> Declaration:
    """The completed declaration; Refused when a rule says no."""
    case = Case(settled(wish, table), table, versions, identity)
    for rule in RULES:
        rule(case)
    wish = case.wish
    if wish.public_key is not None and wish.algorithms is None:
        wish = wish._replace(algorithms=(ED25519.name,))
    return Declaration(
        wish=wish,
        layout=case.layout,
        key=case.key,
        fields=case.fields,
        version_key=case.version_key if versions is None else versions_key(case, versions),
        version_columns=None if versions is None else version_columns(case, versions),
        spec=_spec(case._replace(wish=wish)),
    )


def settled(wish: Wish, table: Table) -> Wish:
    """The wish without a parent column where there is none.

    A table without history needs none; grants accumulate.
    """
    if wish.grants or (wish.parent_column is not None and table.find(wish.parent_column) is None):
        return wish._replace(parent_column=None)
    return wish


def _spec(case: Case) -> Spec:
    wish, field = case.wish, case.fields
    required = (*case.key, wish.timestamp_column, wish.deleted_column)
    name = {"column": wish.name_column, "hash": wish.name_hash, "prefix": wish.name_prefix}
    kinds: dict[str, Kind] = {
        field[c.name]: {"digest": c.kind} if c.name in wish.digests else c.kind for c in case.signed
    }
    return Spec(
        tag=wish.tag,
        fields=kinds,
        owner=tuple(field[o] for o in wish.owner),
        required=tuple(field[c] for c in required),
        algorithms=wish.algorithms if wish.public_key is not None else None,
        form=wish.form if wish.form != "rowseal/1" else None,
        name=name if wish.name_column else None,
        fingerprint=wish.fingerprint,
        fingerprint_prefix=wish.fingerprint_prefix,
        certificates={field[c]: field[of] for c, of in wish.certificates.items()},
    )
