"""A row of a writer as the ledger takes it, whether or not its table can store it."""

from __future__ import annotations

from ..decode import TypeOf, bare, read, read_apart
from .licensed import Licensed


def offered(writers: Licensed) -> dict[str, str]:
    """What the ledger has to know of the row $1 (of format $2), and the verdict on it.

    It is decoded and judged as by the guard, without what its table asks of stored rows. What was
    signed may be too long for its column, or have more digits: offered_bare tells, where any can.
    """
    columns = map(writers.subject.column, writers.subject.stored)
    unlike = any(bare(c) != read(c) for c in columns)
    return {
        "offered": _offered(writers, read),
        "offered_bare": _offered(writers, bare) if unlike else "",
    }


def _offered(writers: Licensed, type_of: TypeOf) -> str:
    subject = writers.subject
    r = subject.row("r")
    names = ("writer_pkey", "writer_seq", "writer_prev")
    writer, number, previous = (writers.of(r, name) for name in names)
    return (
        f"SELECT {writers.owner(r)} AS owner, {writer} AS writer, {number} AS seq,\n"
        f"       {previous} AS prev, {writers.link(r)} AS link,\n"
        f"       {r.ref(subject.timestamp)} AS at, {r.ref(subject.deleted)} AS deleted,\n"
        f"       {writers.key(r)}::jsonb AS key, {r.envelope} AS envelope,\n"
        f"       {r.judged_by(writer)} AS verdict\n  FROM {read_apart(subject, type_of)}"
    )
