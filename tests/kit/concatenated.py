"""The concatenated form of the older system, written down again without the package's code."""

from __future__ import annotations

import base64
import hashlib
import uuid
from collections.abc import Mapping
from typing import Any

KEY = uuid.UUID(int=7)


def older(row: Mapping[str, Any]) -> bytes:
    """The older system's payload, written from its description alone."""

    def text(value: Any) -> str:
        if isinstance(value, list):
            return "".join(map(text, value))
        if isinstance(value, bytes):
            return base64.b64encode(value).decode()
        return (
            "null"
            if value is None
            else str(value).lower()
            if isinstance(value, bool)
            else str(value)
        )

    return "".join(
        text(row[name]) for name in sorted(row) if name not in ("sign_b64", "sign_hash")
    ).encode()


def named(signature: bytes, prefix: str = "ush_") -> str:
    return prefix + hashlib.sha3_512(signature).hexdigest()
