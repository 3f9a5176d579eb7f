"""Envelopes travel as files: export, import, damage."""

from __future__ import annotations

import json

import pytest

from kit.db import Db
from kit.example import Owner
from rowseal.client.files import DamagedFile, export_rows, import_rows


@pytest.fixture
def filled(example: Db, ann: Owner, bob: Owner) -> Db:
    form = example.form("user_storage")
    for owner in (ann, bob):
        key = owner.value()["uuid"]
        for value in (b"1", b"2", b"3"):
            example.insert("user_storage", owner.sealed(form, owner.value(value, key)))
    return example


def lines(db: Db) -> list[str]:
    return [
        line + "\n"
        for table in ("user_storage", "user_cards")
        for line in export_rows(db.connection, table)
    ]


def test_an_export_carries_the_whole_state_and_importing_it_twice_changes_nothing(
    filled: Db, other: Db
) -> None:
    rows = lines(filled)
    # owners come last in this file: what waits for them follows
    assert import_rows(other.connection, rows) == {"inserted": 4, "archived": 4}
    digests = [other.digest(t) for t in ("user_cards", "user_storage")]
    assert digests == [filled.digest(t) for t in ("user_cards", "user_storage")]
    assert import_rows(other.connection, rows) == {"duplicate": 8}
    assert digests == [other.digest(t) for t in ("user_cards", "user_storage")]
    assert other.all("SELECT * FROM rowseal.verify('user_storage')") == []


def test_rows_before_their_owner_wait_and_follow(filled: Db, other: Db) -> None:
    assert import_rows(other.connection, lines(filled), batch=1) == {"deferred": 6, "inserted": 2}
    assert other.digest("user_storage") == filled.digest("user_storage")
    assert other.one("SELECT count(*) FROM rowseal.quarantine") == 0


def test_one_owner_alone_can_be_exported(filled: Db, ann: Owner) -> None:
    import base64

    owner = {"user_hash": base64.b64encode(ann.hash).decode()}
    assert len(list(export_rows(filled.connection, "user_storage", owner))) == 3


@pytest.mark.parametrize("damage", ["truncated", "not json", "no envelope", "not utf-8"])
def test_a_damaged_file_names_the_line_and_keeps_what_was_before(
    filled: Db, other: Db, damage: str
) -> None:
    rows = [line.encode() for line in reversed(lines(filled))]
    rows[5] = {
        "truncated": rows[5][:40],
        "not json": b"garbage\n",
        "no envelope": b"[1]\n",
        "not utf-8": b'{"\xff": 1}\n',
    }[damage]
    with pytest.raises(DamagedFile, match="line 6: ") as error:
        import_rows(other.connection, rows[: 6 if damage == "truncated" else None])
    assert error.value.line == 6
    assert (
        other.one(
            "SELECT (SELECT count(*) FROM user_cards) + (SELECT count(*)"
            " FROM user_storage) + (SELECT count(*) FROM user_storage_versions)"
        )
        == 5
    )


def test_a_forged_line_is_rejected_and_the_rest_stored(filled: Db, other: Db) -> None:
    rows = [json.loads(line) for line in reversed(lines(filled))]
    rows[3]["row"]["value_b64"] = "Zm9yZ2Vk"
    assert import_rows(other.connection, [json.dumps(r) for r in rows])["rejected"] == 1
    assert other.one("SELECT count(*) FROM user_cards") == 2


NO_TEXT = "RS001: not an envelope: it names no table, or holds what no text can be"


def test_json_that_postgresql_cannot_hold_is_told_by_its_line_and_the_rest_stored(
    filled: Db, other: Db
) -> None:
    rows = [json.loads(line) for line in reversed(lines(filled))]
    rows[3]["row"]["value_b64"] = "\0"
    rows[5]["row"]["value_b64"] = "\ud800"
    told: list[tuple[int, str, str]] = []
    outcomes = import_rows(
        other.connection, [json.dumps(r) for r in rows], refused=lambda *answer: told.append(answer)
    )
    assert outcomes.total() == 8 and outcomes["rejected"] == 2
    assert [(line, outcome, reason) for line, outcome, reason in told] == [
        (4, "rejected", NO_TEXT),
        (6, "rejected", NO_TEXT),
    ]
    assert other.digest("user_cards") == filled.digest("user_cards")


def test_however_deep_a_line_is_nested_those_before_it_are_stored(filled: Db, other: Db) -> None:
    """What could just be read could not be written again: an error without a line."""
    good = [line for line in lines(filled) if '"user_cards"' in line]
    for depth in range(900, 1000):
        deep = f'{{"row":{{"x":{"[" * depth}{"]" * depth}}},"table":"t","sign_b64":""}}\n'
        try:
            outcomes = import_rows(other.connection, [*good, deep, *good])
        except DamagedFile as e:
            assert e.line == 3 and e.outcomes.total() == 2
            break
        assert outcomes.total() == 5
    else:
        pytest.fail("Python reads everything")
    assert other.digest("user_cards") == filled.digest("user_cards")


def test_one_table_alone_takes_rows_as_postgresql_shows_them(filled: Db, other: Db) -> None:
    for table in ("user_cards", "user_storage"):
        rows = filled.all(f"SELECT to_jsonb(t)::text FROM {table} t")
        assert import_rows(other.connection, rows, relation=table, format="pgtext") == {
            "inserted": 2
        }
    told: list[tuple[int, str, str]] = []
    assert import_rows(
        other.connection,
        ['{"user_hash": "\\\\x00"}'],
        relation="user_cards",
        format="pgtext",
        refused=lambda *a: told.append(a),
    ) == {"rejected": 1}
    assert told[0][0] == 1 and told[0][2].startswith("RS001: the row is not signed")


def test_large_rows_are_batched_by_their_size(filled: Db, other: Db) -> None:
    """A thousand rows of one owner could be more than the server has memory for."""
    ann = Owner("Large")
    card = ann.envelope(other.form("user_cards"), ann.card())
    form = other.form("user_storage")
    rows = [card, *(ann.envelope(form, ann.value(bytes(6_000_000))) for _ in range(5))]
    done: list[int] = []
    outcomes = import_rows(other.connection, (json.dumps(r) for r in rows), done.append)
    assert outcomes == {"inserted": 6} and done == [4, 6]


def test_letters_travel_as_themselves(other: Db) -> None:
    """As escapes, a row of Cyrillic would be larger than what a row may have."""
    ann = Owner("Ж" * 12_000_000)
    envelope = ann.envelope(other.form("user_cards"), ann.card())
    assert import_rows(other.connection, [json.dumps(envelope)]) == {"inserted": 1}
    lone = json.dumps({**envelope, "other": "\ud800"})
    assert import_rows(other.connection, [lone]) == {"rejected": 1}
