"""The guards: the functions that decide on each row (templates main, one_table, versions)."""

from __future__ import annotations

from ..form.verdict import UNSIGNED, Verdict
from .filled import rendered
from .plan import UNSET, Function
from .render import Holes
from .subject import Place, Row, Subject
from .values import exact, key_bytes, most_key_bytes, spelled_once, without_domain
from .words import field, ident, literal


def guards(subject: Subject) -> list[Function]:
    """One for each table of the declaration."""
    if subject.declaration.layout == "one table":
        return [_guard(subject, subject.main, "one_table", one_table_holes(subject))]
    out = [_guard(subject, subject.main, "main", main_holes(subject))]
    if subject.versions is not None:
        holes = versions_holes(subject, subject.versions)
        out.append(_guard(subject, subject.versions, "versions", holes))
    return out


def _guard(subject: Subject, place: Place, template: str, holes: Holes) -> Function:
    body = rendered(template, holes, qualified=True)
    return Function(f"_guard{place.suffix}_{subject.id}", "", "trigger", "plpgsql", body, UNSET)


def refusal(verdict: Verdict) -> str:
    """A verdict as a constant."""
    return f"ROW({literal(verdict.sqlstate)}, {literal(verdict.reason)})::rowseal.verdict"


def long_key(row: Row) -> str:
    """The verdict on a primary key that not every index could hold; empty where there is none."""
    subject = row.subject
    columns = [subject.column(k) for k in subject.key]
    sizes = {c.name: size for c in columns if (size := key_bytes(c, row.ref(c.name)))}
    as_its_card = subject.public_key is None and sizes.keys() <= set(subject.owner)
    if as_its_card and all(spelled_once(c) for c in columns):
        return ""
    others = len(columns) - len(sizes)  # in an index, or in an owner's name, they need some, too
    most = most_key_bytes(columns, subject.wish.grants) - 40 * others
    size = "\n        + ".join(sizes.values())
    verdict = refusal(Verdict("54000", f"a primary key of more than {most} bytes"))
    return f"CASE\n  WHEN ({size})\n      > {most}\n  THEN {verdict} END" if size else ""


def _common(subject: Subject, place: Place) -> dict[str, str]:
    """Holes that all guards have."""
    new = subject.row("NEW", place)
    old = new.called("OLD")
    content = f", {new.content}" if new.content else ""
    completed = subject.slot("completed", new, old)
    relation = f"rowseal._table_of({subject.id}, false)"
    refused = f"{new.judged_payload}, {new.signature}, NEW{content}"
    return {
        "leave": rendered("leave", {"relation": relation, "refused": refused}),
        "hear": subject.hear and f"IF TG_OP = 'UPDATE' THEN\n  {subject.hear}\nEND IF;",
        "moved": subject.moved,
        "hold": _hold(subject, place),
        "variables": subject.slot("variables"),
        "prepare": subject.slot("prepare", new),
        "updated_in_place": subject.slot("updated_in_place", new, old),
        "or_completed": f" OR {completed}" if completed else "",
        "verdict": _verdict(new),
    }


def _hold(subject: Subject, place: Place) -> str:
    """Locks the other tables that a guard names; empty where there are none."""
    others = dict.fromkeys(t.qualified for t in subject.tables if t.qualified != place.table)
    if not others:
        return ""
    tables = ", ".join(f"ONLY {name}" for name in others)
    return rendered("hold", {"tables": tables, "moved": subject.moved})


# ---------------------------------------------------------------------------------- the owner's key
def owners_card(row: Row) -> tuple[str, str, str] | None:
    """Where the key stands that must have signed a row: table, condition for its row k, key.

    That is the owner's card, and for old versions of an identity row the current one, which pins
    the key.  None: in the row itself.
    """
    subject, identity = row.subject, row.subject.identity
    if subject.public_key is not None:
        if row.place is subject.main:
            return None
        card = subject.row("k")
        return subject.main.table, card.same_key(row), card.bytes(subject.public_key)
    assert identity.public_key is not None  # a rule
    key = f"k.{field(identity.public_key)}"
    column = identity.table.column(identity.public_key)
    if column.base != "bytea":
        key = f"rowseal._unbase64({exact(column, key)})"
    equal = {k.name: k.equal for k in identity.table.key}
    where = " AND ".join(
        f"{without_domain(identity.table.column(theirs), f'k.{field(theirs)}')} {equal[theirs]}"
        f" {subject.by_name[ours].base(row)}"
        for theirs, ours in zip(identity.owner, subject.owner)
    )
    return identity.table.qualified, where, key


def _verdict(new: Row) -> str:
    """Statements that set ``verdict``, of every version alike: whatever is stored can come back."""
    statements, long = new.subject.wrapped("verdict", new, _by_the_owners_key(new)), long_key(new)
    return f"{statements}\nverdict := coalesce(verdict, {long});" if long else statements


def _by_the_owners_key(new: Row) -> str:
    card = owners_card(new)
    if card is None:
        return f"verdict := {new.judged_by(new.bytes(new.subject.public_key or ''))};"
    table, where, key = card
    return (
        f"SELECT {key} INTO public_key FROM {table} k WHERE {where} LIMIT 1;\n"
        f"verdict := {new.judged_by('public_key')};"
    )


# --------------------------------------------------------------------------------------------- main
def main_holes(subject: Subject) -> Holes:
    new, tip = subject.row("NEW"), subject.row("tip")
    key, public_key = subject.row("t").same_key(new), subject.public_key
    return {
        **_common(subject, subject.main),
        "main": subject.main.table,
        "incomplete": new.incomplete,
        "unsigned": refusal(UNSIGNED),
        "key_of_new": key,
        "same_as_tip": tip.same_as(new),
        "arrived_again": subject.slot("arrived_again", new, tip),
        "lock": subject.slot("lock", new),
        "look_again": subject.slot("look_again"),
        "same_key": new.same_key(tip),
        "identity": public_key is not None,
        "same_public_key": f"{new.ref(public_key)} = {tip.ref(public_key)}" if public_key else "",
        "order_new": new.order,
        "order_tip": tip.order,
        "other_signature": f"{new.ref(subject.sign)} <> {tip.ref(subject.sign)}",
        "versions": subject.versions is not None,
        "archive_new": archive(new),
        "archive_tip": archive(tip),
        "id": str(subject.id),
        "signature_of_tip": tip.ref(subject.sign),
        "set_new": set_from(subject, "NEW"),
        "whole": _whole(subject),
        "copies": _copies(new),
        "toastable": bool(_toastable(subject)),
    }


def archive(row: Row) -> str:
    """Puts a row of the main table into the versions table, whose guard looks at it."""
    subject, versions = row.subject, row.subject.versions
    if versions is None:
        return ""
    return (
        f"INSERT INTO {versions.table} ({versions.names(subject.stored)})\n"
        f"  VALUES ({row.refs(subject.stored)})"
        f" ON CONFLICT ({ident(versions.version_key or '')}) DO NOTHING;"
        f"{subject.slot('archived_again', row, subject.row('t', versions))}"
    )


def set_from(subject: Subject, alias: str) -> str:
    """The assignments of an UPDATE that stores a whole version."""
    return ", ".join(f"{ident(c)} = {alias}.{field(c)}" for c in subject.stored)


def merge(subject: Subject, rows: str) -> str:
    """Hands versions, VALUES (…) or a SELECT, to the main table, whatever is there."""
    key = ", ".join(ident(k.name) for k in subject.table.key)
    names, after = subject.main.names(subject.stored), ""
    if subject.declaration.layout == "one table":
        t = subject.row(subject.main.table)  # ON CONFLICT knows the table by its name
        do = subject.slot("met_again", t.called("EXCLUDED"), t) or "NOTHING"
        after = STORED_BY_ANOTHER
    else:
        do = f"UPDATE SET {set_from(subject, 'EXCLUDED')}"
    return (
        f"INSERT INTO {subject.main.table} ({names}) {rows}\n  ON CONFLICT ({key}) DO {do};{after}"
    )


STORED_BY_ANOTHER = """
IF NOT FOUND AND current_setting('rowseal.outcome') IN ('inserted', 'superseded', 'archived') THEN
  PERFORM set_config('rowseal.outcome', 'duplicate', true);  -- another session has stored it
END IF;"""


def _toastable(subject: Subject) -> list[str]:
    return [s.name for s in subject.signed if s.column.toastable]


def _whole(subject: Subject) -> str:
    return f"ROW({', '.join(f'NEW.{field(c.name)}' for c in subject.table.columns)})"


def _copies(new: Row) -> str:
    return "\n".join(f"{new.ref(c)} := whole.{field(c)};" for c in _toastable(new.subject))


# ---------------------------------------------------------------------------------------- one table
def one_table_holes(subject: Subject) -> Holes:
    new, stored, t, public_key = (*map(subject.row, ("NEW", "stored", "t")), subject.public_key)
    other = f"({t.ref(public_key)} = {new.ref(public_key)}) IS NOT TRUE" if public_key else ""
    return {
        **_common(subject, subject.main),
        "main": subject.main.table,
        "version_of_new": f"{t.same_key(new)} AND {t.same_version(new)}",
        "key_of_new": t.same_key(new),
        "same_as_old": new.same_as(new.called("OLD")),
        "same_as_stored": stored.same_as(new),
        "arrived_again": subject.slot("arrived_again", new, stored),
        "lock": subject.slot("lock_one_table", new),
        "identity": public_key is not None,
        "owner_of_new": t.same_key(new, subject.owner),
        "other_public_key": other,
        "order_t": t.order,
        "order_new": new.order,
    }


# ----------------------------------------------------------------------------------------- versions
def versions_holes(subject: Subject, versions: Place) -> Holes:
    new, stored, v = (subject.row(alias, versions) for alias in ("NEW", "stored", "v"))
    tip, public_key = subject.row("tip"), subject.public_key
    find = f"SELECT * INTO tip FROM {subject.main.table} t WHERE {subject.row('t').same_key(new)};"
    return {
        **_common(subject, versions),
        "incomplete": new.incomplete,
        "unsigned": refusal(UNSIGNED),
        "find_tip": find,
        "ahead": bool(subject.ahead),
        "says_more": f"num_nonnulls({', '.join(f'NEW.{field(c)}' for c in subject.ahead)}) > 0",
        "same_as_old": new.same_as(new.called("OLD")),
        "same_as_tip": tip.same_as(new),
        "same_as_stored": stored.same_as(new),
        "lock_archived": subject.slot("lock_archived", new),
        "versions": versions.table,
        "version_of_new": v.same_version(new),
        "arrived_again": subject.slot("arrived_again", new, stored),
        "lock": subject.slot("lock_version", new, find),
        "order_new": new.order,
        "order_tip": tip.order,
        "merge_new": merge(subject, f"VALUES ({new.refs(subject.stored)})"),
        "identity": public_key is not None,
        "same_public_key": f"{new.ref(public_key)} = {tip.ref(public_key)}" if public_key else "",
    }
