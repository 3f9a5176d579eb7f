"""A refusal shows its evidence: what would be stored, and which field that is that was signed
otherwise.
"""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from kit.example import EXAMPLE, Owner
from kit.scratch import Scratch, scratch_role, seal, shared_database

shared = shared_database(EXAMPLE)
example = scratch_role("app")


def declared(db: Scratch, owner: Owner, column: str, value: Any) -> dict[str, Any]:
    """A table with a column ``v``, and values of a row that nobody has signed yet."""
    db.run(
        f"CREATE TABLE n (id bytea PRIMARY KEY, v {column}, deleted_flag boolean,"
        " owner_timestamp bigint, sign_b64 bytea);"
        " SELECT rowseal.declare('n', owner => 'id', identity => 'user_cards')"
    )
    return {"id": owner.hash, "v": value, "deleted_flag": False, "owner_timestamp": 1}


@pytest.mark.parametrize(
    ("column", "value", "told"),
    [
        (
            "numeric(10,2)",
            Decimal("1.5"),
            'signed "1.5", would be stored as "1.50" (numeric(10,2))',
        ),
        ("char(3)", "a", 'signed "a", would be stored as "a  " (character(3))'),
        ("timestamptz(0)", "2026-01-01T00:00:00.500000Z", "(timestamp(0) with time zone)"),
        ("real", 0.1, "signed 0.1, would be stored as 0.10000000149011612 (real)"),
        ("real", 0.5, None),
    ],
)
def test_apply_tells_the_field_that_would_be_stored_otherwise(
    column: str, value: Any, told: str | None, example: Scratch, ann: Owner
) -> None:
    row = declared(example, ann, column, value)
    ((outcome, reason),) = example.apply("n", [ann.envelope(example.form("n"), row)])
    if told is None:
        assert (outcome, reason) == ("inserted", None)
    else:
        assert outcome == "rejected"
        assert str(reason).startswith("RS001: invalid signature; field v: signed ")
        assert told in str(reason)


def test_a_field_that_is_long_is_shown_by_its_ends(example: Scratch, ann: Owner) -> None:
    row = declared(example, ann, "char(3000)", "a" * 2999)
    ((_, reason),) = example.apply("n", [ann.envelope(example.form("n"), row)])
    assert len(str(reason)) < 300 and " … " in str(reason)


def test_what_was_changed_on_the_way_shows_no_difference(example: Scratch, ann: Owner) -> None:
    """It would be stored as it came; only its owner knows what he signed."""
    row = declared(example, ann, "text", "a")
    envelope = ann.envelope(example.form("n"), row)
    envelope["row"]["v"] = "b"
    assert example.apply("n", [envelope]) == [("rejected", "RS001: invalid signature")]


def test_a_session_is_shown_what_has_to_be_signed(example: Scratch, ann: Owner) -> None:
    row = declared(example, ann, "numeric(10,2)", Decimal("1.5"))
    sealed = seal(example, ann, "n", row)
    diag = example.refused(
        "RS001",
        f"INSERT INTO n ({', '.join(sealed)}) VALUES (%s, %s, %s, %s, %s)",
        *sealed.values(),
    )
    payload = example.one(
        "SELECT rowseal.payload('n', to_jsonb(x)) FROM (SELECT %s::bytea AS id, 1.50 AS v,"
        " false AS deleted_flag, 1 AS owner_timestamp) x",
        ann.hash,
    )
    assert diag.message_detail == f"What would be stored, as it has to be signed: {payload}"


@pytest.mark.parametrize("shown", ["column", "policy"])
def test_nobody_is_shown_what_he_may_not_read(shown: str, example: Scratch, ann: Owner) -> None:
    """Whoever may update a column alone would be shown the others."""
    row = declared(example, ann, "text", "secret")
    example.insert("n", seal(example, ann, "n", row))
    example.run("GRANT SELECT (id), UPDATE (owner_timestamp) ON n TO pg_monitor")
    if shown == "policy":
        example.run("GRANT SELECT ON n TO pg_monitor; ALTER TABLE n ENABLE ROW LEVEL SECURITY")
        example.run("CREATE POLICY all_of_them ON n USING (true)")
    example.run("GRANT SELECT ON user_cards TO pg_monitor")
    other = Scratch(example.connection, "pg_monitor")
    diag = other.refused("RS001", "UPDATE n SET owner_timestamp = 2")
    assert diag.message_detail == (
        "What would be stored is shown to who may read all of the table."
    )


def test_what_is_shown_of_a_large_row_is_bounded(example: Scratch, ann: Owner) -> None:
    row = {**declared(example, ann, "text", "x" * 1_000_000)}
    sealed = {**seal(example, ann, "n", row), "v": "y" * 1_000_000}
    diag = example.refused(
        "RS001",
        f"INSERT INTO n ({', '.join(sealed)}) VALUES (%s, %s, %s, %s, %s)",
        *sealed.values(),
    )
    assert len(str(diag.message_detail)) < 1000
