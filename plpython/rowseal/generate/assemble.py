"""From a declaration to all that enforces it."""

from __future__ import annotations

from collections.abc import Iterator

from ..declare.case import GUARD
from ..declare.model import Declaration, Identity, Table
from .feature import Feature
from .features import added
from .filled import rendered
from .functions import apply, decode, in_python, take
from .guard import guards
from .plan import UNSET, Function, Plan, Trigger
from .queries import queries, tips
from .subject import Subject
from .words import field

KEEP = "zzz_rowseal_keep"


def assemble(
    declaration: Declaration, table: Table, versions: Table | None, identity: Identity | None
) -> Plan:
    """The functions, triggers and queries of a declaration, in the order of their installation."""
    wish = declaration.wish
    if wish.public_key is not None:  # its rows carry the keys themselves
        algorithms = wish.algorithms or ("ed25519",)
        identity = Identity(table, wish.owner, wish.public_key, algorithms)
    assert identity is not None  # a rule
    subject = Subject(declaration, table, versions, identity)
    features = added(subject)
    return Plan(
        functions=tuple(_functions(subject, features)),
        triggers=tuple(_triggers(subject, features)),
        queries=queries(subject, features),
        names=subject.names,
        tips=tips(subject) if declaration.layout == "one table" else None,
        version_hash=_hash(table, wish.signature_column) if identity.large else None,
    )


def _hash(table: Table, signature: str) -> str:
    """The expression of a generated column that is the hash of the signature."""
    text = table.column(signature).base != "bytea"
    return (
        f"sha256(decode({field(signature)}, 'base64'))" if text else f"sha256({field(signature)})"
    )


def _functions(subject: Subject, features: list[Feature]) -> Iterator[Function]:
    yield from in_python(subject)
    yield moved(subject)
    yield from guards(subject)
    yield apply(subject)
    yield take(subject)
    yield decode(subject)
    if subject.versions is not None:
        yield is_tip(subject)
    for feature in features:
        yield from feature.functions()


def moved(subject: Subject) -> Function:
    """NULL, or the verdict where what was generated cannot go on."""
    holes = {
        "id": str(subject.id),
        "generation": str(subject.wish.generation),
        "elsewhere": subject.elsewhere,
    }
    body, name = rendered("moved", holes, qualified=True), f"_moved_{subject.id}"
    arguments, returns = "generation integer", "rowseal.verdict"
    return Function(name, arguments, returns, "sql", body, UNSET, "STABLE", parallel=True)


def is_tip(subject: Subject) -> Function:
    """Whether a version is the current one."""
    columns = [*subject.key, subject.sign]
    arguments = ", ".join(f"k{n} {subject.column(c).base}" for n, c in enumerate(columns))
    t = subject.row("t")
    same = (
        f"{subject.by_name[k].base(t)} {subject.operators[k]} k{n}"
        for n, k in enumerate(subject.key)
    )
    holes = {
        "hear": subject.hear,
        "moved": subject.moved,
        "main": subject.main.table,
        "same_key": " AND ".join(same),
        "same_signature": f"{t.ref(subject.sign)} = k{len(subject.key)}",
    }
    body = rendered("is_tip", holes)
    return Function(
        f"_is_tip_{subject.id}", arguments, "boolean", "plpgsql", body, volatility="STABLE"
    )


def _triggers(subject: Subject, features: list[Feature]) -> Iterator[Trigger]:
    for place in subject.places:
        on = "main" if place is subject.main else "versions"
        guard = f"_guard{place.suffix}_{subject.id}"
        keep = [f.keep for f in features if f.keep]
        yield Trigger(GUARD, "BEFORE INSERT OR UPDATE", on, place.table, guard)
        name, arguments = (keep[0], (str(subject.id), on)) if keep else ("_keep", ())
        yield Trigger(KEEP, "BEFORE DELETE", on, place.table, name, arguments)
        yield _keep_all(subject, on, place.table)
    for partition in subject.table.partitions:  # a statement's trigger is not cloned to them
        yield _keep_all(subject, "partitions", partition)
    for feature in features:
        yield from feature.triggers()


def _keep_all(subject: Subject, on: str, table: str) -> Trigger:
    """Refuses TRUNCATE.

    The number tells whose it is when a partition leaves: names may mean other tables by then.
    """
    name, arguments = f"{KEEP}_all", (str(subject.id),)
    return Trigger(name, "BEFORE TRUNCATE", on, table, "_keep", arguments, level="STATEMENT")
