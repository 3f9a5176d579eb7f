"""The versions of a key, as the server has them."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple, TypedDict

import psycopg
from psycopg.types.json import Jsonb


class Version(NamedTuple):
    """A row of ``rowseal.history``, without its depth."""

    sign: bytes
    parent: bytes | None
    owner_timestamp: int
    deleted: bool
    tip: bool
    gap: bool
    row: dict[str, Any] | None


class VersionAsJson(TypedDict):
    sign_b64: str
    parent_sign_b64: str | None
    owner_timestamp: int
    deleted: bool
    current: bool
    head: bool
    gap: bool
    row: dict[str, Any] | None


def read(connection: psycopg.Connection[Any], relation: str, key: dict[str, Any]) -> list[Version]:
    """All versions of a key, oldest first; psycopg.Error."""
    query = """SELECT sign, parent, owner_timestamp, deleted, tip, gap, "row"
                 FROM rowseal.history(%s::regclass, %s)"""
    return [Version(*row) for row in connection.execute(query, (relation, Jsonb(key)))]


def heads(versions: Iterable[Version]) -> set[bytes]:
    """Signatures of the versions that no other one names as its parent."""
    versions = list(versions)
    parents = {version.parent for version in versions if version.parent}
    return {version.sign for version in versions} - parents


def as_json(versions: Sequence[Version]) -> list[VersionAsJson]:
    """What ``--format json`` prints."""
    ends = heads(versions)
    return [
        {
            "sign_b64": b64encode(version.sign).decode(),
            "parent_sign_b64": b64encode(version.parent).decode() if version.parent else None,
            "owner_timestamp": version.owner_timestamp,
            "deleted": version.deleted,
            "current": version.tip,
            "head": version.sign in ends,
            "gap": version.gap,
            "row": version.row,
        }
        for version in versions
    ]
