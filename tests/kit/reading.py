"""What the tests of reading read."""

from __future__ import annotations

import json
import uuid
from base64 import b64encode
from typing import Any

from kit.db import Db
from kit.example import Owner
from kit.scratch import seal

KEY = uuid.UUID(int=7)


STORAGE = (
    "user_hash bytea, uuid uuid, value_b64 bytea, deleted_flag boolean, owner_timestamp bigint,"
    " parent_sign_b64 {0}, sign_b64 {0}"
)


def key_of(owner: Owner) -> str:
    return json.dumps({"user_hash": b64encode(owner.hash).decode(), "uuid": str(KEY)})


def version(
    db: Db, owner: Owner, value: bytes, parent: dict[str, Any] | None, **changes: Any
) -> dict[str, Any]:
    return seal(
        db,
        owner,
        "user_storage",
        owner.value(value, KEY, parent_sign_b64=parent and parent["sign_b64"], **changes),
    )
