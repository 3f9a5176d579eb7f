"""Rules of declarations, asked with catalog facts alone: what PostgreSQL 15 cannot be made to say,
and what no other test sees so directly.
"""

from __future__ import annotations

from typing import Any

import pytest

from rowseal.declare.case import Refused
from rowseal.declare.decide import decide
from rowseal.declare.model import Table, Wish


def column(name: str, type_: str, **facts: Any) -> dict[str, Any]:
    kind = {"bytea": "bytea", "boolean": "boolean", "bigint": "integer"}.get(type_, "text")
    return {
        "name": name, "type": type_, "base": type_, "base_qualified": f"pg_catalog.{type_}",
        "kind": kind, "generated": False, "hash_of": None, "identity": "", "filled": False,
        "notnull": False, "toastable": True, "domain": False,
        "modified": False, "required": False, **facts,
    }  # fmt: skip


CARD = [
    column("id", "bytea", notnull=True),
    column("k", "bytea"),
    column("deleted_flag", "boolean"),
    column("owner_timestamp", "bigint"),
    column("sign_b64", "bytea"),
]


def table(*more: dict[str, Any], **facts: Any) -> Table:
    """An identity table with further columns."""
    columns = [*CARD, *more]
    given = {
        "qualified": "public.c", "label": "public.c", "relkind": "r",
        "whose": {"table": None, "types": {}, "versions": None},
        "persistence": "p", "computed": [], "partition": False, "inherits": False,
        "columns": columns,
        "kinds": {c["kind"]: c["kind"] for c in columns},
        "oids": {"relation": 1, "types": {}, "operators": {}},
        "key": [{"name": "id", "equal": "OPERATOR(pg_catalog.=)"}], "key_deferrable": False,
        "key_compares": True, "deferrable": [], "unique": [["id"]], "rules": [],
        "late_triggers": [], "partitions": {}, **facts,
    }  # fmt: skip
    return Table.of(given)


def wish(**given: Any) -> Wish:
    row: dict[str, Any] = {
        **dict.fromkeys(Wish._fields),
        "id": 1, "tag": "c", "owner": ["id"], "public_key": "k", "fingerprint_prefix": "",
        "form": "rowseal/1", "accept_ambiguity": False, "name_hash": "sha256", "name_prefix": "",
        "feed": False, "grants": False, "timestamp_column": "owner_timestamp",
        "deleted_column": "deleted_flag", "signature_column": "sign_b64",
    }  # fmt: skip
    return Wish.of({**row, **given})


def test_such_a_table_can_be_declared() -> None:
    assert decide(wish(), table(), None, None).layout == "unversioned"


@pytest.mark.parametrize("equal", ["OPERATOR(pg_catalog.&&)", "OPERATOR(pg_catalog.=)"])
def test_a_primary_key_without_overlaps_is_refused(equal: str) -> None:
    """Rows with different keys are in each other's way there, and which one stays depends on which
    came first.
    """
    with pytest.raises(Refused, match="another operator than equality") as refused:
        decide(wish(), table(key=[{"name": "id", "equal": equal}], key_compares=False), None, None)
    assert "WITHOUT OVERLAPS" in refused.value.hint


def test_a_deferrable_constraint_is_refused() -> None:
    with pytest.raises(Refused, match=r"constraint 'later' on public\.c is deferrable"):
        decide(wish(), table(deferrable=["later"]), None, None)


KNOWN = {"id": "id", "k": "k", "deleted_flag": "deleted_flag", "owner_timestamp": "owner_timestamp"}


def test_no_column_is_added_to_rows_in_the_form_concatenated() -> None:
    legacy = {"form": "concatenated", "accept_ambiguity": True}
    assert decide(wish(**legacy), table(column("note", "text")), None, None)
    with pytest.raises(Refused, match="cannot be added"):
        decide(wish(fields=KNOWN, **legacy), table(column("note", "text")), None, None)
