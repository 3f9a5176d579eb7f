"""What a declaration must keep to: small rules, each with its message and its hint.

They are asked in the order of the list.
"""

from __future__ import annotations

from collections.abc import Callable

from ..form.canonical import Kind
from ..form.signature import ALGORITHMS, HASHES
from .case import GUARD, LONGEST_TAG, MAX_FIELDS, Case, Refused, column, hashed, typed
from .model import Table
from .options import OPTION_RULES
from .versions import a_versions_table_fits

Rule = Callable[[Case], None]


# ---------------------------------------------------------------------------------- the wish itself
def nothing_essential_is_empty(case: Case) -> None:
    for column_ in ("tag", "owner", "timestamp_column", "deleted_column", "signature_column"):
        value = getattr(case.wish, column_)
        if not value or (isinstance(value, tuple) and not all(value)):
            raise Refused(f"{column_} of {case.label} is empty", "Give its name.")


def the_tag_fits_into_an_index(case: Case) -> None:
    if len(case.wish.tag.encode()) > LONGEST_TAG:
        message = f"the tag of {case.label} has more than {LONGEST_TAG} bytes"
        raise Refused(message, "Choose a shorter one.")


def lists_and_objects_are_well_formed(case: Case) -> None:
    if not all(isinstance(name, str) for name in case.wish.unsigned):
        raise Refused(
            f"unsigned of {case.label} is no list of columns",
            "unsigned => '{one,another}' is expected.",
        )
    for option in ("certificates", "version_columns"):
        value = getattr(case.wish, option)
        if not isinstance(value, dict) or not all(isinstance(v, str) for v in value.values()):
            raise Refused(
                f"{option} is no JSON object of strings", 'It maps columns: {"column": "column"}.'
            )


# ---------------------------------------------------------------------------------------- the table
def it_is_an_ordinary_table(case: Case) -> None:
    _ordinary(case.table)


def _ordinary(table: Table) -> None:
    if table.relkind not in "rp":
        kinds = {"v": "a view", "m": "a materialized view", "f": "a foreign table"}
        raise Refused(
            f"{table.label} is {kinds.get(table.relkind, 'no table')}",
            "Only ordinary and partitioned tables can be declared.",
        )
    if table.persistence != "p":
        kind = {"t": "a temporary", "u": "an unlogged"}[table.persistence]
        raise Refused(
            f"{table.label}, or a partition of it, is {kind} table",
            "Its rows are not kept; only permanent tables can be declared.",
        )
    if table.computed:
        raise Refused(
            f"column {table.computed[0]} is generated, and in {table.label} it is not",
            "A partition stores rows as they were signed: DROP EXPRESSION.",
        )


def it_stands_alone(case: Case) -> None:
    _alone(case.table)


def _alone(table: Table) -> None:
    if table.partition:
        raise Refused(
            f"{table.label} is a partition", "Declare its partitioned table; the partitions follow."
        )
    if table.inherits:
        raise Refused(
            f"{table.label} takes part in table inheritance",
            "Triggers are not inherited: rows of a child would show in the parent unchecked. "
            "Use declarative partitions.",
        )


def nothing_that_it_is_made_of_is_a_strangers(case: Case) -> None:
    _its_owners(case.table)


def _its_owners(table: Table) -> None:
    """Whoever can rename something can put something of his own under its name."""
    hint = (
        "They must be of the table's owner, of the database's, of a superuser, "
        "or of a member of rowseal_trusted: ALTER … OWNER TO …."
    )
    if table.stranger:
        raise Refused(f"{table.label} rests on what is somebody else's: {table.stranger}", hint)
    for column_ in table.columns:
        if column_.stranger:
            raise Refused(
                f"column {column_.name!r} of {table.label} has a type that is not its owner's: "
                f"{column_.stranger}",
                hint,
            )


def nothing_but_the_guard_decides(case: Case) -> None:
    _undisturbed(case.table)


def _undisturbed(table: Table) -> None:
    if table.rules:
        raise Refused(
            f"{table.label} has rewrite rules: {', '.join(table.rules)}",
            "A rule diverts rows before any trigger sees them.",
        )
    if table.late_triggers:
        raise Refused(
            f"trigger {table.late_triggers[0]!r} on {table.label} fires after rowseal's"
            " and could change a verified row",
            f"Give it a name that sorts before {GUARD!r}.",
        )
    if table.deferrable:
        raise Refused(
            f"constraint {table.deferrable[0]!r} on {table.label} is deferrable",
            "Make it NOT DEFERRABLE: it would refuse rows at COMMIT that were accepted before.",
        )


def it_has_a_primary_key(case: Case) -> None:
    if not case.table.key:
        raise Refused(
            f"table {case.label} has no primary key", "Add one that contains the owner column."
        )
    if case.table.key_deferrable:
        raise Refused(
            f"the primary key of {case.label} is deferrable",
            "Make it NOT DEFERRABLE: rows are merged by it at once.",
        )
    if not case.table.key_compares:
        raise Refused(
            f"the primary key of {case.label} compares by another operator than equality",
            "Rows with different keys would be in each other's way. Leave WITHOUT OVERLAPS out.",
        )


def the_key_names_the_owner(case: Case) -> None:
    for name in case.wish.owner:
        column(case.table, name, "owner")
        if name not in case.primary_key:
            raise Refused(
                f"the owner column {name!r} is not part of the primary key of {case.label}",
                "Otherwise somebody else could claim a key first. Add it to the primary key.",
            )


def the_columns_of_the_order_are_there(case: Case) -> None:
    table, wish = case.table, case.wish
    typed(table, wish.timestamp_column, "timestamp", ("bigint",))
    typed(table, wish.deleted_column, "deletion flag", ("boolean",))
    typed(table, wish.signature_column, "signature", ("bytea", "text"))
    if wish.parent_column is not None:
        typed(table, wish.parent_column, "parent", ("bytea", "text"))


def the_key_is_the_same_in_all_versions(case: Case) -> None:
    if {case.wish.deleted_column, case.wish.timestamp_column} & set(case.primary_key):
        raise Refused(
            f"the primary key of {case.label} contains the timestamp or the deletion flag",
            "They differ between versions of a row.",
        )


# ----------------------------------------------------------------------------------- what is signed
def what_carries_a_rule_is_signed(case: Case) -> None:
    for name in case.wish.unsigned:
        column(case.table, name, "unsigned")
    if both := case.essential & set(case.wish.unsigned):
        raise Refused(
            f"column {min(both)!r} of {case.label} cannot be unsigned",
            "Only columns that carry no rule can.",
        )


def every_signed_column_has_a_canonical_form(case: Case) -> None:
    for signed in case.signed:
        if refused := refused_kind(signed.kind):
            raise Refused(
                f"column {signed.name!r} of {case.label} has type {refused}, "
                "which has no canonical form",
                "Its text depends on the server, leaves something out, or has no end. "
                "Use another type, or list the column as unsigned.",
            )
        if signed.identity == "a":
            raise Refused(
                f"column {signed.name!r} of {case.label} is GENERATED ALWAYS AS IDENTITY",
                "The owner chooses signed values. "
                "Make it BY DEFAULT, or list the column as unsigned.",
            )


def refused_kind(kind: Kind) -> str | None:
    """The type in a kind that has no canonical form."""
    if isinstance(kind, str):
        return None
    if "refused" in kind:
        return str(kind["refused"])
    if "array" in kind:
        return refused_kind(kind["array"])
    return next((r for _, k in kind["composite"] if (r := refused_kind(k))), None)


def rows_from_elsewhere_can_be_stored(case: Case) -> None:
    for there in case.table.columns:
        if there.name in case.unsigned - {case.wish.name_column} and there.required:
            raise Refused(
                f"unsigned column {there.name!r} of {case.label} is NOT NULL without a default",
                "Rows from elsewhere do not have it. Give it a default.",
            )


def no_column_comes_to_rows_that_sign_null(case: Case) -> None:
    """``fields`` of the wish are those of before."""
    wish = case.wish
    if not wish.fields or wish.form != "concatenated":
        return
    for new in (c for c in case.signed if c.name not in wish.fields):
        raise Refused(
            f"column {new.name!r} of {case.label} cannot be added to rows signed in the form "
            "concatenated",
            "It signs NULL as well, so no row that is there would verify: "
            "list the column as unsigned, in a declaration anew.",
        )


def nothing_declared_is_generated(case: Case) -> None:
    signed = {c.name for c in case.signed} | {case.wish.signature_column}
    for name in sorted(case.essential - signed):
        column(case.table, name, "declared")
        raise Refused(
            f"column {name!r} of {case.label} is generated", "A generated column cannot be signed."
        )


def fields_are_different_and_not_too_many(case: Case) -> None:
    if len(set(case.fields.values())) < len(case.signed):
        raise Refused(
            f"two columns of {case.label} stand for the same signed field",
            "Rename the column that was added last.",
        )
    if len(case.signed) > MAX_FIELDS:
        raise Refused(
            f"table {case.label} has {len(case.signed)} signed columns",
            f"At most {MAX_FIELDS} are supported.",
        )


# ---------------------------------------------------------------------------------- owners and keys
def owners_keys_are_in_one_place(case: Case) -> None:
    wish = case.wish
    if (wish.public_key is None) == (wish.identity is None):
        which = "neither" if wish.identity is None else "both"
        raise Refused(
            f"the declaration of {case.label} names {which} public_key and identity",
            "public_key makes it an identity table; "
            "identity names the identity table of its owners.",
        )


def an_identity_table_holds_one_key_per_owner(case: Case) -> None:
    wish = case.wish
    if wish.public_key is None:
        return
    typed(case.table, wish.public_key, "public key", ("bytea", "text"))
    if wish.algorithms is not None and not (
        wish.algorithms and set(wish.algorithms) <= ALGORITHMS.keys()
    ):
        raise Refused(
            f"algorithms of {case.label} are none that is known: "
            f"{', '.join(map(str, wish.algorithms))}",
            f"algorithms => '{{{','.join(ALGORITHMS)}}}' lists what public keys may be.",
        )
    if sorted(wish.owner) != sorted(case.key):
        raise Refused(
            f"the primary key of the identity table {case.label} is not its owner column",
            "An owner has one public key: the primary key must be the owner.",
        )


def the_identity_table_fits(case: Case) -> None:
    wish, identity = case.wish, case.identity
    if wish.public_key is not None:
        return
    if wish.algorithms is not None:
        raise Refused(
            f"algorithms are for identity tables, not for {case.label}",
            "That of its owners says what their keys may be.",
        )
    if identity is None or identity.public_key is None:
        raise Refused(
            f"{wish.identity_label} is not declared as an identity table",
            "Declare it first, with public_key.",
        )
    if {k.name for k in identity.table.key} < set(identity.owner):
        raise Refused(
            f"the identity table {wish.identity_label} has lost its primary key", "Put it back."
        )
    column(identity.table, identity.public_key, "public key")
    theirs = [column(identity.table, n, "owner").base for n in identity.owner]
    ours = [column(case.table, n, "owner").base for n in wish.owner]
    if theirs != ours:
        raise Refused(
            f"the owner of {case.label} has type {ours}, in the identity table {theirs}",
            "They must be the same.",
        )
    for their, our in zip(identity.owner, wish.owner):
        there, here = identity.table.column(their).collation, case.table.column(our).collation
        if there != here:
            raise Refused(
                f"the owner column {our!r} of {case.label} has the collation {here or 'default'}, "
                f"in the identity table {there or 'default'}",
                "They must be the same.",
            )


def certificates_are_bytes(case: Case) -> None:
    for certificate, certified in case.wish.certificates.items():
        typed(case.table, certificate, "certificate", ("bytea", "text"))
        typed(case.table, certified, "certified", ("bytea", "text"))


def a_fingerprint_is_of_one_owner_column(case: Case) -> None:
    wish = case.wish
    if wish.fingerprint is None:
        if wish.fingerprint_prefix:
            raise Refused("fingerprint_prefix without fingerprint", "Name the hash as well.")
        return
    if wish.public_key is None or len(wish.owner) != 1:
        raise Refused(
            f"fingerprint needs an identity table with one owner column, not {case.label}",
            "Declare it there.",
        )
    if wish.fingerprint not in HASHES:
        raise Refused(
            f"fingerprint {wish.fingerprint!r} is not known",
            f"Choose one of {', '.join(HASHES)}.",
        )
    typed(case.table, wish.owner[0], "owner", ("bytea", "text", "character varying"))


# ------------------------------------------------------------------------------------------ layouts
def a_signature_in_the_key_fits_there(case: Case) -> None:
    signature = case.wish.signature_column
    if case.version_key is None and signature in case.primary_key:
        raise Refused(
            f"the primary key of {case.label} contains the signature itself", hashed(signature)
        )


def versions_are_kept_in_one_place(case: Case) -> None:
    if case.layout == "one table" and case.versions is not None:
        raise Refused(
            f"{case.label} keeps its versions itself: the signature is part of its primary key",
            "Leave versions out, or take the signature out of the primary key.",
        )


def the_same_goes_for_a_versions_table(case: Case) -> None:
    if case.versions is not None:
        _ordinary(case.versions)
        _alone(case.versions)
        _its_owners(case.versions)
        _undisturbed(case.versions)


def one_table_of_identities_needs_a_fingerprint(case: Case) -> None:
    wish = case.wish
    if case.layout == "one table" and wish.public_key is not None and wish.fingerprint is None:
        raise Refused(
            f"identity table {case.label} keeps all versions in one table, without fingerprint",
            "Nothing would stop two keys for one new owner. "
            "Add fingerprint, or use another layout.",
        )


def versions_name_their_parent(case: Case) -> None:
    wish = case.wish
    if case.layout != "unversioned" and wish.parent_column is None and not wish.grants:
        raise Refused(
            f"table {case.label} is versioned, without a parent column",
            'Add parent_sign_b64, or name it: columns => \'{"parent": "…"}\'.',
        )


WISH_RULES: tuple[Rule, ...] = (
    nothing_essential_is_empty,
    the_tag_fits_into_an_index,
    lists_and_objects_are_well_formed,
)
TABLE_RULES: tuple[Rule, ...] = (
    it_is_an_ordinary_table,
    it_stands_alone,
    nothing_that_it_is_made_of_is_a_strangers,
    nothing_but_the_guard_decides,
    it_has_a_primary_key,
    the_key_names_the_owner,
    the_columns_of_the_order_are_there,
    the_key_is_the_same_in_all_versions,
)
SIGNED_RULES: tuple[Rule, ...] = (
    what_carries_a_rule_is_signed,
    *OPTION_RULES["columns"],
    every_signed_column_has_a_canonical_form,
    rows_from_elsewhere_can_be_stored,
    no_column_comes_to_rows_that_sign_null,
    nothing_declared_is_generated,
    fields_are_different_and_not_too_many,
    *OPTION_RULES["form"],
)
OWNER_RULES: tuple[Rule, ...] = (
    owners_keys_are_in_one_place,
    an_identity_table_holds_one_key_per_owner,
    the_identity_table_fits,
    certificates_are_bytes,
    a_fingerprint_is_of_one_owner_column,
)
LAYOUT_RULES: tuple[Rule, ...] = (
    a_signature_in_the_key_fits_there,
    versions_are_kept_in_one_place,
    one_table_of_identities_needs_a_fingerprint,
    the_same_goes_for_a_versions_table,
    a_versions_table_fits,
    *OPTION_RULES["writers"],
    versions_name_their_parent,
)
RULES = (*WISH_RULES, *TABLE_RULES, *SIGNED_RULES, *OWNER_RULES, *LAYOUT_RULES)
