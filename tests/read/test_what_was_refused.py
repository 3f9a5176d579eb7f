"""What apply refused is kept once, with reason and source, and is not for everybody."""

from __future__ import annotations

from base64 import b64encode
from typing import Any

import psycopg

from kit.example import Owner
from kit.reading import KEY
from kit.scratch import Scratch


def test_what_apply_refuses_is_kept_once_with_reason_and_source(
    example: Scratch, admin: Scratch, ann: Owner
) -> None:
    form, eve = example.form("user_storage"), Owner("Eve")
    forged = {**ann.envelope(form, ann.value(b"1", KEY)), "sign_b64": b64encode(bytes(64)).decode()}
    unknown = eve.envelope(form, eve.value(b"2"))
    for _ in range(2):  # in one transaction, so each is counted once
        outcomes = example.apply("user_storage", [forged, unknown, "no row"])
        assert [o for o, _ in outcomes] == ["rejected", "deferred", "rejected"]
        assert all(reason for _, reason in outcomes)
    kept = admin.all(
        """SELECT tag, sqlstate, reason, curable, role, format, attempts, row, bytes > 0
            FROM rowseal.quarantine
            ORDER BY sqlstate DESC"""
    )
    assert [k[:3] for k in kept] == [
        ("user_storage", "RS002", "unknown owner"),
        ("user_storage", "RS001", "invalid signature"),
        ("user_storage", "22023", "not a JSON object"),
    ]
    assert [k[3] for k in kept] == [True, False, False]
    assert {k[4:7] for k in kept} == {("app", "canonical", 1)}
    assert kept[1][7] == forged
    assert example.one("SELECT count(*) FROM user_storage") == 0


def test_what_others_were_refused_is_not_for_everybody(
    example: Scratch, transaction: psycopg.Connection[Any], admin: Scratch
) -> None:
    """Administrators see all of it; who may write the table sees what can still be cured;
    nobody writes it by hand.
    """
    form, eve = example.form("user_storage"), Owner("Eve")
    curable = eve.envelope(form, eve.value(b"1"))
    example.apply("user_storage", [curable, "no row"])
    mallory = Scratch(transaction, "mallory")
    seen = "SELECT sqlstate FROM rowseal.quarantine ORDER BY id"
    assert (example.all(seen), mallory.all(seen), len(admin.all(seen))) == (["RS002"], [], 2)
    for statement in (
        "INSERT INTO rowseal.quarantine DEFAULT VALUES",
        "UPDATE rowseal.quarantine SET attempts = 0",
        "DELETE FROM rowseal.quarantine",
        "INSERT INTO rowseal._removals (entry) SELECT id FROM generate_series(1, 99) id",
        "TRUNCATE rowseal.quarantine",
    ):
        example.refused("42501", statement)
    assert mallory.one("SELECT rowseal.discard(ARRAY(SELECT generate_series(1, 99)))") == 0
    admin.run("GRANT rowseal_admin TO mallory")
    assert len(mallory.all(seen)) == 2
