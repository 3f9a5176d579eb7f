"""What the tests of declare declare."""

from __future__ import annotations

import json
import uuid
from typing import Any

from kit.example import Owner
from kit.scratch import CARD

STORAGE = (
    "value text, deleted_flag boolean, owner_timestamp bigint, parent_sign_b64 bytea,"
    " sign_b64 bytea"
)
KEY = uuid.UUID(int=7)
LATE = (
    "CREATE FUNCTION {0}() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN NEW.value := ''changed'';"
    " RETURN NEW; END';"
)
C = f"CREATE TABLE c (id bytea PRIMARY KEY, {CARD})"


def as_json(row: dict[str, Any]) -> str:
    return json.dumps({k: "\\x" + v.hex() if isinstance(v, bytes) else v for k, v in row.items()})


def storage(owner: Owner, value: str | None = "v", **changes: Any) -> dict[str, Any]:
    """A row of a table with the columns of STORAGE, not yet signed."""
    row = {
        "id": owner.hash,
        "n": 1,
        "value": value,
        "deleted_flag": False,
        "owner_timestamp": next(owner.clock),
        "parent_sign_b64": None,
    }
    return {**row, **changes}
