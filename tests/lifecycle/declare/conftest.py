"""A database with an identity table, and the tests' roles in it."""

from __future__ import annotations

import pytest

from kit.scratch import CARD, Scratch, scratch_role, shared_database

shared = shared_database(
    f"CREATE TABLE cards (id bytea PRIMARY KEY, {CARD});"
    " SELECT rowseal.declare('cards', owner => 'id', public_key => 'k')"
)
cards = scratch_role("app")  # with a small identity table
admin = scratch_role("postgres")


@pytest.fixture
def db(cards: Scratch) -> Scratch:
    cards.run("DROP TABLE cards")
    return cards
