"""The running example: its tables, and the people who sign its rows."""

from __future__ import annotations

import hashlib
import itertools
import uuid
from collections.abc import Mapping
from typing import Any

from kit.db import Db
from rowseal.client import Form, SigningKey, envelope, public_key, sign


class Owner:
    """A person with a key; signs rows of the running example."""

    clock = itertools.count(1_700_000_000)

    def __init__(self, name: str = "Ann", key: Any = None):
        self.name, self.key = name, key or SigningKey.generate()
        self.public_key = public_key(self.key)
        self.hash = hashlib.sha256(self.public_key).digest()

    def sealed(
        self, form: Form, row: Mapping[str, Any], signature_column: str = "sign_b64"
    ) -> dict[str, Any]:
        return {**row, signature_column: sign(form, row, self.key)}

    def envelope(self, form: Form, row: Mapping[str, Any]) -> dict[str, Any]:
        return envelope(form, row, self.key)

    def card(self, **changes: Any) -> dict[str, Any]:
        """A row of user_cards, not yet signed."""
        row = {
            "user_hash": self.hash, "sign_pkey": self.public_key, "contact_pkey": None,
            "contact_cert": None, "crypt_pkey": None, "crypt_cert": None, "name": self.name,
            "deleted_flag": False, "owner_timestamp": next(self.clock),
        }  # fmt: skip
        return {**row, **changes}

    def value(
        self, value: bytes | None = b"value", key: uuid.UUID | None = None, **changes: Any
    ) -> dict[str, Any]:
        """A row of user_storage, not yet signed."""
        row = {
            "user_hash": self.hash, "uuid": key or uuid.uuid4(), "value_b64": value,
            "deleted_flag": False, "owner_timestamp": next(self.clock), "parent_sign_b64": None,
        }  # fmt: skip
        return {**row, **changes}


EXAMPLE = """
    CREATE TABLE user_cards (user_hash bytea PRIMARY KEY, sign_pkey bytea, contact_pkey bytea,
        contact_cert bytea, crypt_pkey bytea, crypt_cert bytea, name text, deleted_flag boolean,
        owner_timestamp bigint, sign_b64 bytea);
    CREATE TABLE user_storage (user_hash bytea, uuid uuid, value_b64 bytea, deleted_flag boolean,
        owner_timestamp bigint, parent_sign_b64 bytea, sign_b64 bytea,
        PRIMARY KEY (user_hash, uuid));
    CREATE TABLE user_storage_versions (user_hash bytea, storage_uuid uuid, value_b64 bytea,
        deleted_flag boolean, owner_timestamp bigint, parent_sign_b64 bytea,
        sign_b64 bytea PRIMARY KEY);
    SELECT rowseal.declare('user_cards', owner => 'user_hash', public_key => 'sign_pkey',
        fingerprint => 'sha256',
        certificates => '{"contact_cert": "contact_pkey", "crypt_cert": "crypt_pkey"}');
    SELECT rowseal.declare('user_storage', owner => 'user_hash', identity => 'user_cards',
        versions => 'user_storage_versions');
"""


def changed(sql: str, changes: Mapping[str, str]) -> str:
    """The SQL with these parts replaced, each of which it must have."""
    for old, new in changes.items():
        assert old in sql, old
        sql = sql.replace(old, new)
    return sql


def tips(db: Db) -> list[Any]:
    return db.all("SELECT value_b64 FROM user_storage ORDER BY uuid")


def versions(db: Db) -> list[Any]:
    return db.all("SELECT value_b64 FROM user_storage_versions ORDER BY owner_timestamp, value_b64")
