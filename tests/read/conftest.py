"""A database with the running example and one-table storage, and two roles in it."""

from __future__ import annotations

from kit.example import EXAMPLE
from kit.reading import STORAGE
from kit.scratch import scratch_role, shared_database

shared = shared_database(
    f"""{EXAMPLE} CREATE TABLE one_table ({STORAGE.format("bytea")},
        PRIMARY KEY (user_hash, uuid, sign_b64));
    SELECT rowseal.declare('one_table', owner => 'user_hash', identity => 'user_cards')"""
)


example, admin = scratch_role("app"), scratch_role("postgres")
