"""Rules on what only some tables have: digests, names of versions, another form, writers."""

from __future__ import annotations

from ..form import concatenated
from ..form.signature import HASHES
from .case import GRANT_COLUMNS, WRITER_COLUMNS, Case, Refused, column, typed


# --------------------------------------------------------------------------------- signed by digest
def columns_signed_by_digest_can_be_empty(case: Case) -> None:
    wish, table = case.wish, case.table
    for name, kept in wish.digests.items():
        typed(table, name, "digest", ("bytea", "text", "character varying"))
        carries_a_rule = name in case.essential | set(wish.unsigned)
        if carries_a_rule or column(table, name, "digest").required:
            raise Refused(
                f"column {name!r} of {case.label} cannot be signed by digest",
                "Only a nullable column without a rule can be erased.",
            )
        typed(table, kept, "digest", ("bytea",))


def what_is_healed_is_signed_by_digest(case: Case) -> None:
    if others := set(case.wish.healed) - case.wish.digests.keys():
        raise Refused(
            f"column {min(others)!r} of {case.label} cannot be healed",
            "Only a column that is signed by digest can be erased, and come back: "
            "list it in digests, too.",
        )


# -------------------------------------------------------------------------------- names of versions
def a_name_has_a_column_of_its_own(case: Case) -> None:
    wish, table = case.wish, case.table
    name = wish.name_column
    if name is None:
        return
    typed(table, name, "name", ("bytea", "text", "character varying"))
    if name in case.essential | set(wish.unsigned) or column(table, name, "name").generated:
        raise Refused(
            f"column {name!r} of {case.label} cannot hold the name of a version",
            "It carries another rule, or is generated.",
        )
    if wish.name_hash not in HASHES:
        raise Refused(
            f"name_hash {wish.name_hash!r} is not known",
            f"Choose one of {', '.join(HASHES)}.",
        )
    bases = [column(table, c, "name").base for c in (name, wish.parent_column) if c]
    mixed = len({b == "bytea" for b in bases}) > 1
    if mixed or (bases[0] == "bytea" and wish.name_prefix):
        raise Refused(
            f"names of versions of {case.label} are bytes in one place and text in another",
            "A prefix, too, needs text.",
        )


def what_carries_a_rule_holds_nothing_else(case: Case) -> None:
    if both := case.unsigned & case.essential:
        raise Refused(
            f"column {min(both)!r} of {case.label} carries a rule",
            "It cannot hold the digest of another column.",
        )


# ------------------------------------------------------------------------------------- another form
def the_form_is_known(case: Case) -> None:
    if case.wish.form not in ("rowseal/1", "concatenated"):
        raise Refused(
            f"form {case.wish.form!r} of {case.label} is not known",
            "rowseal/1, or concatenated for the rows of one older system.",
        )


def the_form_concatenated_fits(case: Case) -> None:
    """Whether these columns can be signed so; and in full knowledge of what that means."""
    if case.wish.form != "concatenated":
        return
    for signed in case.signed:
        if not concatenated.supported(signed.kind):
            raise Refused(
                f"column {signed.name!r} of {case.label} has type {signed.type}, "
                "which the form concatenated does not know"
            )
    if case.wish.digests:
        raise Refused(
            f"columns of {case.label} cannot be signed by digest in the form concatenated",
            "rowseal/1 can.",
        )
    field = case.fields
    order = sorted(case.signed, key=lambda c: field[c.name].encode("utf-16-be"))
    problems = concatenated.ambiguities([(field[c.name], c.kind, not c.notnull) for c in order])
    if problems and not case.wish.accept_ambiguity:
        ranks = {field[case.wish.timestamp_column], field[case.wish.deleted_column]}
        # what shifts digits into the timestamp or the deletion flag comes first, and says so
        worst = [p for p in problems if ranks & set(p.split(" and "))]
        shown = [f"{p} (so that another version is the newest, or deleted)" for p in worst]
        shown += [p for p in problems if p not in worst]
        raise Refused(
            f"rows of {case.label} in the form concatenated can be turned into others "
            f"with the same signature: {', '.join(shown)}",
            "Content can be shifted between these. See docs/specification.md; "
            "legacy => '{\"accept_ambiguity\": true}' takes such rows over as they are.",
        )


# ------------------------------------------------------------------------------------------ writers
def _what(case: Case) -> str:
    return "grants table" if case.wish.grants else "table with writers"


def writers_need_a_plain_table(case: Case) -> None:
    wish, what = case.wish, _what(case)
    if not wish.has_writers:
        return
    if wish.public_key is not None:
        raise Refused(
            f"identity table {case.label} can be no {what}",
            "Only an owner speaks about his own keys. Use a table of its own.",
        )
    if wish.form != "rowseal/1" or wish.digests or wish.name_column:
        raise Refused(
            f"{what} {case.label} cannot have another form, digests or names of versions",
            "They go without writers.",
        )


def rows_of_writers_are_decoded_by_nobodys_code(case: Case) -> None:
    for signed in case.signed if case.wish.has_writers else ():
        if signed.changeable:
            raise Refused(
                f"column {signed.name!r} of {case.label} has the type {signed.changeable} in it",
                "rowseal itself reads rows of writers, whether or not they can be stored: nobody "
                "but a superuser may change what that runs, and no constraint may stop it. Take "
                "text with a CHECK constraint; of a composite type columns of its parts, or jsonb. "
                "Or have a superuser own the enum or range, its schema and its extension.",
            )


def a_grants_table_speaks_of_the_same_owners(case: Case) -> None:
    wish, grants = case.wish, case.wish.grants_table
    if grants is None:
        return
    if not grants.grants:
        raise Refused(
            f"the grants table of {case.label} is not declared as one",
            "Declare it first, with grants => true.",
        )
    if str(grants.identity) != str(wish.identity):
        raise Refused(
            f"{case.label} and its grants table {grants.label} have different identity tables",
            "Owners must be the same.",
        )
    if case.layout == "unversioned":
        raise Refused(
            f"{case.label} has writers, but keeps no versions",
            "When a writer is revoked, the version before his comes back. Name a versions table.",
        )


def all_rows_of_a_grants_table_count(case: Case) -> None:
    wish = case.wish
    key = (*wish.owner, case.column_of.get("grantee_pkey"))
    if wish.grants and (case.layout != "one table" or case.key != key):
        raise Refused(
            f"the primary key of the grants table {case.label} is not "
            "its owner, grantee_pkey and the signature",
            "All rows of it count.",
        )


def the_columns_of_writers_are_there(case: Case) -> None:
    wish, what = case.wish, _what(case)
    if not wish.has_writers:
        return
    for field, type_ in {**WRITER_COLUMNS, **(GRANT_COLUMNS if wish.grants else {})}.items():
        nullable = field in WRITER_COLUMNS
        have = case.table.find(case.column_of.get(field))
        if have is None or have.type != type_ or (nullable and have.required):
            raise Refused(
                f"the {what} {case.label} has no signed{', nullable' if nullable else ''} "
                f"column {field} of type {type_}",
                f"ALTER TABLE {case.label} ADD COLUMN {field} {type_};",
            )


OPTION_RULES = {
    "columns": (
        columns_signed_by_digest_can_be_empty,
        what_is_healed_is_signed_by_digest,
        a_name_has_a_column_of_its_own,
        what_carries_a_rule_holds_nothing_else,
    ),
    "form": (the_form_concatenated_fits, the_form_is_known),
    "writers": (
        writers_need_a_plain_table,
        rows_of_writers_are_decoded_by_nobodys_code,
        a_grants_table_speaks_of_the_same_owners,
        all_rows_of_a_grants_table_count,
        the_columns_of_writers_are_there,
    ),
}
