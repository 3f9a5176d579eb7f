"""From a wish and the facts that it meets to a declaration.  Pure: it runs without a server."""

from __future__ import annotations

import difflib
from collections.abc import Mapping

from ..form.canonical import Kind
from ..form.signature import ED25519
from .case import Case, Refused
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


# --------------------------------------------------------------------------- options by their names
COLUMNS = {
    "timestamp": "timestamp_column",
    "deleted": "deleted_column",
    "signature": "signature_column",
    "parent": "parent_column",
    "versions": "version_columns",
    "digests": "digests",
    "healed": "healed",
}
LEGACY = {
    name: name
    for name in (
        "fingerprint_prefix",
        "form",
        "accept_ambiguity",
        "name_column",
        "name_hash",
        "name_prefix",
    )
}

OPTION_TYPES: Mapping[str, type] = {
    "versions": dict,
    "digests": list,
    "healed": list,
    "accept_ambiguity": bool,
}


def options(argument: str, given: object) -> dict[str, object]:
    """What ``columns`` or ``legacy`` of rowseal.declare say.

    It goes by the columns of rowseal.declarations, and raises Refused for what they cannot say.
    """
    known = COLUMNS if argument == "columns" else LEGACY
    if not isinstance(given, dict):
        raise Refused(
            f"{argument} of declare is no JSON object",
            f"{argument} => '{{\"{next(iter(known))}\": …}}' is expected.",
        )
    for name, value in given.items():
        if name not in known:
            raise Refused(f"{argument} of declare has no option {name!r}", _meant(name, known))
        if value is not None and not _is_a(OPTION_TYPES.get(name, str), value):
            wanted = {
                list: "a list of strings",
                dict: "an object of strings",
                bool: "true or false",
            }
            raise Refused(
                f"option {name!r} of declare is not what it should be",
                f"{argument} => '{{\"{name}\": …}}' takes "
                f"{wanted.get(OPTION_TYPES.get(name, str), 'a string')}.",
            )
    out = {known[name]: value for name, value in given.items() if value is not None}
    if isinstance(out.get("digests"), list):  # of columns; the digest stays beside each
        out["digests"] = {column: f"{column}_sha256" for column in out["digests"]}
    return out


def _is_a(type_: type, value: object) -> bool:
    if isinstance(value, dict):
        return type_ is dict and all(isinstance(v, str) for v in value.values())
    if isinstance(value, list):
        return type_ is list and all(isinstance(v, str) for v in value)
    return isinstance(value, type_)


def _meant(name: str, known: Mapping[str, str]) -> str:
    """A hint: the option that is meant, and those that there are."""
    near = difflib.get_close_matches(name, [*known, *known.values()], 1)
    meant = [option for option, column in known.items() if near and near[0] in (option, column)]
    return (f"{meant[0]!r} is meant? " if meant else "") + f"There are: {', '.join(known)}."
