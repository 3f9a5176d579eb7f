"""health names its checks and shows what was altered; declarations can be read by everybody."""

from __future__ import annotations

from typing import Any

import psycopg

from kit.scratch import Scratch, unwell


def test_health_names_its_checks_for_every_table(example: Scratch) -> None:
    checks = example.all('SELECT "check", relation::text, ok FROM rowseal.health()')
    assert all(ok for _, _, ok in checks)
    assert [c for c, r, _ in checks if r is None] == [
        "provider",
        "algorithms",
        "pgsodium",
        "event triggers",
        "guards",
        "roles",
        "installation",
    ]
    assert [c for c, r, _ in checks if r == "user_storage"] == [
        "triggers",
        "structure",
        "functions",
        "unique",
        "rights",
        "foreign keys",
        "waiting",
    ]
    assert {r for _, r, _ in checks} == {None, "user_cards", "user_storage", "one_table"}
    assert example.one("SELECT detail FROM rowseal.health() WHERE \"check\" = 'provider'").split()[
        0
    ] in ("PyNaCl", "pgsodium")


def test_health_shows_an_altered_function(example: Scratch, admin: Scratch) -> None:
    id_ = example.one("SELECT id FROM rowseal.declarations WHERE tag = 'user_cards'")
    admin.run(
        f"CREATE OR REPLACE FUNCTION rowseal._guard_{id_}() RETURNS trigger"
        " LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END'"
    )
    assert [(c, r) for c, r, _ in unwell(example)] == [("functions", "user_cards")]


def test_health_shows_an_event_trigger_that_is_off(example: Scratch, admin: Scratch) -> None:
    admin.run("ALTER EVENT TRIGGER rowseal_ddl DISABLE")
    assert [c for c, _, _ in unwell(example)] == ["event triggers", "installation"]


def test_declarations_can_be_read_by_everybody(
    example: Scratch, transaction: psycopg.Connection[Any]
) -> None:
    row = Scratch(transaction, "mallory").one("""SELECT relation::text, tag, layout, versions::text,
        owner, identity::text, key, fields -> 'uuid'
        FROM rowseal.declarations WHERE tag = 'user_storage'""")
    assert row == (
        "user_storage",
        "user_storage",
        "two tables",
        "user_storage_versions",
        ["user_hash"],
        "user_cards",
        ["user_hash", "uuid"],
        "uuid",
    )
