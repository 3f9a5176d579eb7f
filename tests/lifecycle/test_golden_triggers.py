"""The functions of some tables as files: a reviewer sees what a change does to the triggers.

``make golden`` writes them anew.  They are what PostgreSQL stores (pg_proc.prosrc), nothing else.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from kit.db import Db
from kit.example import EXAMPLE

GOLDEN = Path(__file__).parent / "golden"
SIGNED = "deleted_flag boolean, owner_timestamp bigint, sign_b64 bytea"
WRITER = "writer_pkey bytea, writer_seq bigint, writer_prev bytea"
EVERYTHING = f"""
    CREATE TABLE grants (user_hash bytea, grantee_pkey bytea, tables text[], keys jsonb,
        tombstones boolean, until bigint, may_grant smallint, upto bytea[], {WRITER}, {SIGNED},
        PRIMARY KEY (user_hash, grantee_pkey, sign_b64));
    SELECT rowseal.declare('grants', owner => 'user_hash', identity => 'user_cards',
        grants => true, feed => true);
    CREATE TABLE notes (user_hash bytea, key text, n numeric, parent_sign_b64 bytea, {WRITER},
        {SIGNED}, PRIMARY KEY (user_hash, key));
    SELECT rowseal.declare('notes', owner => 'user_hash', identity => 'user_cards',
        versions => 'notes_versions', writers => 'grants', feed => true);
    CREATE TABLE files (user_hash bytea, uuid uuid, content bytea, content_sha256 bytea, name text,
        up text, {SIGNED}, PRIMARY KEY (user_hash, uuid)) PARTITION BY HASH (user_hash);
    CREATE TABLE files_0 PARTITION OF files FOR VALUES WITH (MODULUS 1, REMAINDER 0);
    SELECT rowseal.declare('files', owner => 'user_hash', identity => 'user_cards',
        versions => 'files_versions', feed => true,
        columns => '{{"parent": "up", "digests": ["content"], "healed": ["content"]}}',
        legacy => '{{"name_column": "name", "name_prefix": "v_"}}');
    CREATE TABLE events (user_hash bytea, uuid uuid, at timestamptz, parent_sign_b64 bytea,
        {SIGNED}, PRIMARY KEY (user_hash, uuid, sign_b64));
    SELECT rowseal.declare('events', owner => 'user_hash', identity => 'user_cards');
"""
FUNCTIONS = """SELECT d.tag, regexp_replace(p.proname, '_[0-9]+$', ''), p.prosrc
    FROM rowseal.declarations d, jsonb_array_elements(d.manifest -> 'functions') f
    JOIN pg_proc p ON p.proname = f ->> 'name' AND p.pronamespace = 'rowseal'::regnamespace
    JOIN pg_language l ON l.oid = p.prolang AND l.lanname = 'plpgsql' ORDER BY 1, 2"""


@pytest.fixture
def rendered(db: Db) -> dict[str, str]:
    """File name to body."""
    db.run(EXAMPLE)
    db.run(EVERYTHING)
    return {f"{tag}{name}.sql": _portable(body) for tag, name, body in db.all(FUNCTIONS)}


def _portable(body: str) -> str:
    """Numbers of tables and types, which differ from database to database, as one."""
    return re.sub(r"(?<=[{,])\d{5,}(?=[,}])", "12345", body).strip() + "\n"


def test_the_triggers_are_as_committed(rendered: dict[str, str]) -> None:
    if os.environ.get("UPDATE_GOLDEN"):
        for old in GOLDEN.glob("*.sql"):
            old.unlink()
        for name, body in rendered.items():
            (GOLDEN / name).write_text(body)
    committed = {path.name: path.read_text() for path in GOLDEN.glob("*.sql")}
    assert committed.keys() == rendered.keys(), "make golden, and look at the difference"
    assert committed == rendered, "make golden, and look at the difference"


def test_the_guard_of_the_readme_can_be_read(rendered: dict[str, str]) -> None:
    guard = rendered["user_storage_guard.sql"]
    assert len(guard.encode()) <= 7 * 1024
    assert max(map(len, guard.splitlines())) <= 120
    assert guard.count("rowseal._judge_") == 1
    assert guard.count("rowseal._refuse(") == 1
