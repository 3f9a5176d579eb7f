"""How rows that count no longer are taken out of their tables: queries."""

from __future__ import annotations

from collections.abc import Mapping

from ..decode import given_owner
from ..filled import rendered
from ..subject import Place, Row
from ..words import ident
from .licensed import Licensed


def retraction(writers: Licensed) -> Mapping[str, str]:
    """Of the owner $1 (an object of fields) and the writers $2.

    retract_rows, retract_versions_rows: signatures of their rows that count no longer, of all or,
    where $3 is given, of those with these signatures.  retract, retract_versions: take them out.
    """
    main, versions = writers.subject.main, writers.subject.versions
    return {
        "retract": _retract(writers),
        "retract_rows": _rows(writers, main),
        "retract_versions": _delete(writers, "v", versions) if versions else "",
        "retract_versions_rows": _rows(writers, versions) if versions else "",
    }


def _gone(writers: Licensed, row: Row) -> str:
    subject = writers.subject
    owner = row.same_key(subject.row("g"), subject.owner)
    writer, licensed = writers.of(row, "writer_pkey"), writers.licensed(row)
    return f"{owner} AND {writer} = ANY ($2) AND {licensed} IS NOT NULL"


def _rows(writers: Licensed, place: Place) -> str:
    """Signatures of such rows."""
    subject = writers.subject
    x = subject.row("x", place)
    return (
        f"SELECT {x.signature} FROM {place.table} x, {given_owner(subject)} g"
        f" WHERE {_gone(writers, x)} AND ($3 IS NULL OR {x.signature} = ANY ($3))"
    )


def _delete(writers: Licensed, alias: str, place: Place) -> str:
    row = writers.subject.row(alias, place)
    return (
        f"DELETE FROM {place.table} {alias} USING {given_owner(writers.subject)} g"
        f" WHERE {_gone(writers, row)} AND {row.signature} = ANY ($3)"
    )


def _retract(writers: Licensed) -> str:
    """Takes rows out of the main table; a tip is replaced by the next that counts."""
    subject, versions = writers.subject, writers.subject.versions
    t, gone = (subject.row(a) for a in ("t", "gone"))
    delete = _delete(writers, "t", subject.main)
    if versions is None:
        return delete
    v = subject.row("v", versions)
    holes: dict[str, str | bool] = {
        "delete": delete,
        "main": subject.main.table,
        "versions": versions.table,
        "key_t": t.refs(subject.key),
        "names": subject.main.names(subject.stored),
        "key_v": v.refs(subject.key),
        "stored_v": v.refs(subject.stored),
        "same_key": gone.same_key(v),
        "stands": f"({writers.of(v, 'writer_pkey')} IS NULL OR {writers.licensed(v)} IS NULL)",
        "order_v": v.order,
        "sign": ident(subject.sign),
        "signature_of_v": v.ref(subject.sign),
    }
    return rendered("retract", holes)
