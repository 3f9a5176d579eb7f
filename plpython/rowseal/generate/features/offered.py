"""A row of a writer as the ledger takes it, whether or not its table can store it."""

from __future__ import annotations

from ..decode import arrived
from .licensed import Licensed


def offered(writers: Licensed) -> str:
    """What the ledger has to know of the row $1 (of format $2), and the verdict on it.

    It is decoded and judged as by the guard, without what its table asks of stored rows.
    """
    subject = writers.subject
    r = subject.row("r")
    names = ("writer_pkey", "writer_seq", "writer_prev")
    writer, number, previous = (writers.of(r, name) for name in names)
    return (
        f"SELECT {writers.owner(r)} AS owner, {writer} AS writer, {number} AS seq,\n"
        f"       {previous} AS prev, {writers.link(r)} AS link,\n"
        f"       {r.ref(subject.timestamp)} AS at, {r.ref(subject.deleted)} AS deleted,\n"
        f"       {writers.key(r)}::jsonb AS key, {r.envelope} AS envelope,\n"
        f"       {r.judged_by(writer)} AS verdict\n  FROM {arrived(subject)} r"
    )
