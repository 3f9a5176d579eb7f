"""Data of every sort, to be dumped, restored and left behind."""

from __future__ import annotations

import json
import uuid

from kit.db import Db
from kit.example import Owner
from kit.scratch import write

KEY = uuid.UUID(int=7)


MORE = """
    CREATE TABLE "Logs" (user_hash bytea, "No" int, at timestamptz, deleted_flag boolean,
        owner_timestamp bigint, parent_sign_b64 bytea, sign_b64 bytea,
        PRIMARY KEY (user_hash, "No", sign_b64));
    SELECT rowseal.declare('"Logs"', owner => 'user_hash', identity => 'user_cards');
    CREATE TABLE parts (user_hash bytea, n int, deleted_flag boolean, owner_timestamp bigint,
        parent_sign_b64 text, sign_b64 text, seen boolean,
        PRIMARY KEY (user_hash, n)) PARTITION BY LIST (n);
    CREATE TABLE parts_1 PARTITION OF parts FOR VALUES IN (1);
    CREATE TABLE parts_rest PARTITION OF parts DEFAULT;
    SELECT rowseal.declare('parts', owner => 'user_hash', identity => 'user_cards',
        versions => 'parts_versions', unsigned => '{seen}');
    ALTER TABLE user_storage RENAME value_b64 TO content;
"""


def fill(db: Db, ann: Owner) -> None:
    write(db, ann, "user_cards", ann.card())
    for value in (b"1", b"2"):
        write(
            db,
            ann,
            "user_storage",
            {("content" if k == "value_b64" else k): v for k, v in ann.value(value, KEY).items()},
        )
        common = {
            "user_hash": ann.hash,
            "deleted_flag": False,
            "owner_timestamp": next(ann.clock),
            "parent_sign_b64": None,
        }
        write(db, ann, '"Logs"', {"No": 1, "at": "2026-11-21 09:00:00+00", **common}, tag="Logs")
        for n in (1, 2):
            write(db, ann, "parts", {"n": n, **common}, text=True)
    eve = Owner("Eve")
    db.run(
        "SELECT rowseal.apply('user_storage', %s::json)",
        json.dumps(eve.envelope(db.form("user_storage"), eve.value())),
    )
