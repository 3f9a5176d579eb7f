"""check lists what declare would name one by one, and leaves everything as it is."""

from __future__ import annotations

from typing import Any

import psycopg
import pytest

from kit.example import Owner
from kit.scratch import CARD, Scratch, card, seal

MAKE = f"CREATE TABLE c (id bytea PRIMARY KEY, name text, parent_sign_b64 bytea, {CARD})"
ARGUMENTS = "'c', owner => 'id', public_key => 'k', versions => 'made'"


def wrong(db: Scratch, arguments: str = ARGUMENTS) -> list[Any]:
    return db.all(f"SELECT encode(sign, 'hex'), problem, repair FROM rowseal.check({arguments})")


def filled(db: Scratch) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """A table with a good row and three bad ones, signed for what it will be declared as."""
    db.run(f"{MAKE}; SELECT rowseal.declare({ARGUMENTS})")
    good, *bad = (
        seal(db, o, "c", card(o, name=f"{n}", parent_sign_b64=None))
        for n, o in enumerate(Owner() for _ in range(4))
    )
    db.run("SELECT rowseal.undeclare('c'); DROP TABLE made")
    for r in (good, *({**b, "name": "changed"} for b in bad)):
        db.insert("c", r)
    return good, bad


def test_check_lists_all_and_changes_nothing(db: Scratch) -> None:
    _, bad = filled(db)
    before = db.all("SELECT * FROM c ORDER BY id")
    found = wrong(db)
    assert sorted(sign for sign, _, _ in found) == sorted(b["sign_b64"].hex() for b in bad)
    assert {(p, r) for _, p, r in found} == {("RS001: invalid signature", None)}
    assert db.all("SELECT * FROM c ORDER BY id") == before
    assert db.one("SELECT to_regclass('made')") is None
    assert db.one("SELECT count(*) FROM pg_trigger WHERE tgrelid = 'c'::regclass") == 0
    assert db.one("SELECT count(*) FROM rowseal.declarations WHERE tag = 'c'") == 0
    db.run("DELETE FROM c WHERE name = 'changed'")
    assert wrong(db) == []
    db.run(f"SELECT rowseal.declare({ARGUMENTS})")


@pytest.mark.parametrize(
    ("arguments", "sqlstate"),
    [
        ("'c', owner => 'name', public_key => 'k'", "RS007"),
        ("'cards', owner => 'id', public_key => 'k'", "RS007"),
        ("'rowseal.feed', owner => 'owner', public_key => 'k'", "RS008"),
    ],
)
def test_a_wrong_declaration_is_refused_as_by_declare(
    arguments: str, sqlstate: str, cards: Scratch
) -> None:
    cards.run(MAKE)
    with pytest.raises(psycopg.Error) as error:
        wrong(cards, arguments)
    assert error.value.sqlstate == sqlstate and error.value.diag.message_hint
