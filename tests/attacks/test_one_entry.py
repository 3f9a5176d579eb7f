"""No entry of the quarantine, no row of a batch, no open transaction stops the others."""

from __future__ import annotations

import json
import re
import time
import uuid
from base64 import b64encode
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import psycopg
import pytest
from psycopg.types.json import Json

from kit.attacks import apply, form_fields, insert, row, table, waiting
from kit.db import Db, Server
from kit.example import EXAMPLE, Owner
from kit.process import cpu, most_memory, spent
from rowseal.client import Form

MIB = 2**20
NO_TEXT = r'{"rowseal": 1, "table": "user_storage", "row": {"n": %d, "x": "\u0000"}}'


def card(db: Db, owner: Owner) -> dict[str, Any]:
    return owner.sealed(db.form("user_cards"), owner.card())


def test_json_that_can_be_no_text_is_kept_passed_over_and_discarded(
    example: Db, mallory: Db, admin: Db
) -> None:
    bob, form = Owner("Bob"), example.form("user_storage")
    assert apply(example, "user_storage", [waiting(form, bob)])[0][0] == "deferred"
    mallory.run(
        "SELECT rowseal._quarantine('user_storage', '(RS002,x)', 'canonical', %s::json, %s)",
        NO_TEXT % 0,
        f"user_cards {b64encode(bob.hash).decode()}",
    )
    assert insert(example, "user_cards", card(example, bob)) is None
    assert example.one("SELECT count(*) FROM user_storage") == 1
    assert admin.one("SELECT rowseal.discard(array_agg(id)) FROM rowseal.quarantine") == 1


def test_json_that_can_be_no_text_makes_room_for_other_rows(example: Db, admin: Db) -> None:
    admin.run("UPDATE rowseal.quarantine_limits SET rows = 10")
    bob, form = Owner("Bob"), example.form("user_storage")
    for n in range(40):
        sent = f"[{NO_TEXT % n}]"
        (outcome,) = example.all("SELECT outcome FROM rowseal.receive(%s::json)", sent)
        assert outcome == "rejected"
    sent = f"[{json.dumps(waiting(form, bob))}, {NO_TEXT % 41}]"
    outcomes = example.all("SELECT outcome FROM rowseal.receive(%s::json) ORDER BY ordinal", sent)
    assert outcomes == ["deferred", "rejected"]
    assert admin.one("SELECT count(*) < 15 FROM rowseal.quarantine")


def test_whoever_tries_entries_again_and_stays_open_locks_none(example: Db, mallory: Db) -> None:
    bob, form = Owner("Bob"), example.form("user_storage")
    envelope = waiting(form, bob)
    assert apply(example, "user_storage", [envelope])[0][0] == "deferred"
    mallory.run("BEGIN")
    again = "INSERT INTO rowseal._refused (again, changed) SELECT n, false"
    mallory.run(f"{again} FROM generate_series(1, 1000) n")
    mallory.run("SELECT * FROM rowseal.retry()")
    example.run("SET statement_timeout = '8s'")
    assert apply(example, "user_storage", [envelope])[0][0] == "deferred"
    assert insert(example, "user_cards", card(example, bob)) is None
    assert example.one("SELECT count(*) FROM user_storage") == 1
    mallory.run("ROLLBACK")


def test_whoever_takes_entries_out_and_stays_open_stops_nobody(
    example: Db, mallory: Db, admin: Db
) -> None:
    """The owner of a table may discard what waits for it: a link waited until he was done."""
    admin.run("UPDATE rowseal.quarantine_limits SET rows = 20")
    table(mallory, "notes", "uuid uuid")
    bob, form = Owner("Bob"), mallory.form("notes")
    rows = [bob.envelope(form, row(bob, uuid=uuid.uuid4())) for _ in range(100)]
    receive = "SELECT outcome FROM rowseal.receive(%s)"
    assert set(example.all(receive, Json(rows[:15]))) == {"deferred"}
    mallory.run("BEGIN")
    assert mallory.one("SELECT rowseal.discard(array_agg(id)) FROM rowseal.quarantine") == 15
    example.run("SET statement_timeout = '8s'")
    assert set(example.all(receive, Json(rows))) == {"deferred"}
    assert admin.one("SELECT count(*) <= 22 + 15 FROM rowseal.quarantine")
    mallory.run("COMMIT")
    assert admin.one("SELECT count(*) <= 22 FROM rowseal.quarantine")


def test_whoever_brings_an_entry_again_and_stays_open_keeps_nobody_from_discarding(
    example: Db, mallory: Db, admin: Db
) -> None:
    form = example.form("user_storage")
    mine, hers = (waiting(form, Owner(name)) for name in ("Bob", "Mallory"))
    enter = "SELECT rowseal._quarantine('user_storage', '(RS002,x)', 'canonical', %s)"
    mallory.run(enter, Json(hers))
    assert apply(example, "user_storage", [mine])[0][0] == "deferred"
    mallory.run("BEGIN")
    mallory.run(enter, Json(hers))
    everything = "SELECT rowseal.discard(array_agg(id)) FROM rowseal.quarantine"
    for who in (example, admin):
        who.run("SET statement_timeout = '5s'")
    assert example.one(everything) == 1 and admin.one(everything) == 0
    mallory.run("COMMIT")
    assert admin.one(everything) == 1
    assert admin.one("SELECT count(*) FROM rowseal.quarantine") == 0


def test_whoever_erases_and_stays_open_keeps_nobody_from_pruning_the_feed(
    example: Db, mallory: Db, admin: Db, ann: Owner
) -> None:
    example.run("GRANT SELECT ON user_cards TO mallory")
    digests = """, feed => true, columns => '{"digests": ["v"]}'"""
    table(example, "q", "uuid uuid", declare=", feed => true")
    table(mallory, "m", "uuid uuid, v bytea, v_sha256 bytea", declare=digests)
    for who, name in ((example, "q"), (mallory, "m"), (example, "q")):
        columns = {"v": b"secret"} if name == "m" else {}
        sealed = ann.sealed(who.form(name), row(ann, uuid=uuid.uuid4(), **columns))
        assert insert(who, name, sealed) is None
    mallory.run("BEGIN")
    key = mallory.one("SELECT jsonb_build_object('user_hash', user_hash, 'uuid', uuid) FROM m")
    assert mallory.one("SELECT rowseal.erase('m', %s::jsonb, '{v}')", Json(key)) == 1
    admin.run("SET statement_timeout = '5s'")
    assert admin.one("SELECT rowseal.prune_feed('0')") == 1
    mallory.run("COMMIT")
    assert admin.one("SELECT rowseal.prune_feed('0')") == 2


def test_a_prune_of_the_feed_does_not_take_back_the_mark_of_another(
    example: Db, server: Server, database: str, admin: Db, ann: Owner
) -> None:
    """Whoever read on from between missed rows and was not told."""
    table(example, "q", "uuid uuid", declare=", feed => true")
    form = example.form("q")
    for seconds in 1.2, 0:
        for _ in range(3):
            assert insert(example, "q", ann.sealed(form, row(ann, uuid=uuid.uuid4()))) is None
        time.sleep(seconds)
    with server.connect(database) as other, ThreadPoolExecutor() as pool:
        other.autocommit = False
        assert other.execute("SELECT rowseal.prune_feed('0')").fetchone() == (6,)
        answer = pool.submit(admin.one, "SELECT rowseal.prune_feed('1 second')")
        time.sleep(0.5)
        other.commit()
        assert answer.result(30) == 0
    assert admin.one("SELECT pruned_position FROM rowseal.feed_state") == 6


def test_a_cure_does_not_wait_for_whoever_takes_entries_out(
    example: Db, server: Server, database: str
) -> None:
    bob, form = Owner("Bob"), example.form("user_storage")
    assert apply(example, "user_storage", [waiting(form, bob)])[0][0] == "deferred"
    with server.connect(database, "app") as other:
        other.execute("BEGIN")
        other.execute("SELECT rowseal.discard(ARRAY(SELECT id FROM rowseal.quarantine))")
        example.run("SET statement_timeout = '8s'")
        assert insert(example, "user_cards", card(example, bob)) is None
        assert example.one("SELECT count(*) FROM user_storage") == 1
        other.execute("ROLLBACK")
    assert example.all("SELECT outcome FROM rowseal.retry()") == ["duplicate"]
    assert example.one("SELECT count(*) FROM rowseal.quarantine") == 0


def test_a_row_that_a_policy_refuses_keeps_no_other_out(
    example: Db, mallory: Db, admin: Db, ann: Owner
) -> None:
    """42501 is said of a row, too; so is 42622, of a label of ltree that is too long."""
    example.run(
        "ALTER TABLE user_storage ENABLE ROW LEVEL SECURITY;"
        "CREATE POLICY r ON user_storage TO mallory USING (true)"
        " WITH CHECK (octet_length(value_b64) < 100)"
    )
    form = example.form("user_storage")
    large = ann.envelope(form, ann.value(b"x" * 200))
    rows = [ann.envelope(form, ann.value(b"1")), large, ann.envelope(form, ann.value(b"2"))]
    outcomes = [outcome for outcome, _ in mallory.apply("user_storage", rows)]
    assert outcomes == ["inserted", "deferred", "inserted"]
    assert admin.one("SELECT count(*) FROM user_storage") == 2
    assert [o for o, _ in example.apply("user_storage", [large])] == ["inserted"]


def test_a_missing_right_on_the_table_is_an_error_at_once(example: Db, mallory: Db) -> None:
    example.run("REVOKE INSERT ON user_storage FROM mallory")
    with pytest.raises(psycopg.errors.InsufficientPrivilege, match="permission denied"):
        mallory.apply("user_storage", [{}])


def test_a_cure_leaves_entries_to_whoever_brought_them(db: Db, admin: Db) -> None:
    """What many had brought for a table became the declarer's, and more than he may keep."""
    admin.run("CREATE ROLE c1 LOGIN; CREATE ROLE c2 LOGIN")
    admin.run("UPDATE rowseal.quarantine_limits SET rows = 100")
    admin.run("GRANT rowseal_trusted TO app")
    ann, form = Owner(), Form("user_storage", form_fields())
    for carrier in ("c1", "c2"):
        admin.run(f"SET SESSION AUTHORIZATION {carrier}")
        rows = [ann.envelope(form, ann.value()) for _ in range(90)]
        admin.all("SELECT count(*) FROM rowseal.receive(%s::json)", json.dumps(rows))
        admin.run("RESET SESSION AUTHORIZATION")
    db.run(EXAMPLE)
    entries = "SELECT role, sqlstate, count(*) FROM rowseal.quarantine GROUP BY 1, 2 ORDER BY 1"
    assert admin.all(entries) == [("c1", "RS002", 90), ("c2", "RS002", 90)]
    db.run("GRANT INSERT ON user_storage TO c1")
    assert insert(db, "user_cards", card(db, ann)) is None
    # much of roles that could not store it is no burden of who stores a card
    assert 90 < db.one("SELECT count(*) FROM user_storage") < 180
    assert db.all("SELECT DISTINCT outcome FROM rowseal.retry()") == ["inserted"]
    assert db.one("SELECT count(*) FROM user_storage") == 180
    assert admin.one("SELECT count(*) FROM rowseal.quarantine_dropped") == 0


def test_a_deferrable_foreign_key_is_refused(example: Db) -> None:
    """It would refuse rows at COMMIT, after they were said to be inserted."""
    example.run("CREATE TABLE places (id integer PRIMARY KEY)")
    with pytest.raises(psycopg.errors.DatabaseError, match="is deferrable"):
        table(
            example, "q", "uuid uuid, place integer REFERENCES places DEFERRABLE INITIALLY DEFERRED"
        )


# --------------------------------------------------------------- rows that nobody has signed, again
@pytest.mark.parametrize(
    ("type_", "element"),
    [
        ("jsonb", "1"),
        ("json", '"\\\\"'),
        ("jsonb", "{}"),
        ("jsonb[]", "[]"),
        ("float8[]", "1"),
        ("text[]", '"a"'),
        ("bytea[]", '"YQ=="'),
        ("pair[]", "{}"),
    ],
)
def test_many_elements_of_nobody_cost_little(
    type_: str, element: str, example: Db, ann: Owner
) -> None:
    """Two bytes each, they took up to 950 times as much memory, and time by the square."""
    example.run("CREATE TYPE pair AS (a text, b bytea)")
    table(example, "q", f"uuid uuid, v {type_}")
    envelope = json.dumps(ann.envelope(example.form("q"), row(ann)))
    many = f"[{','.join([element] * (2 * MIB // (len(element) + 1)))}]"
    sent = "[" + envelope.replace('"row": {', f'"row": {{"v": {many}, ') + "]"
    pid = example.one("SELECT pg_backend_pid()")
    before = cpu(pid)
    ((outcome, why),) = example.all(
        "SELECT outcome, reason FROM rowseal.apply('q', %s::json)", sent
    )
    assert outcome == "rejected" and re.match("RS006: .*more than", why), why
    assert spent(pid, before) < 2 and most_memory(pid) // MIB < 400


@pytest.mark.parametrize("elements", [2**18, 2**18 + 1])
def test_how_many_elements_there_may_be(elements: int, example: Db, ann: Owner) -> None:
    table(example, "q", "uuid uuid, a smallint[], j jsonb")
    form = example.form("q")
    for values in ({"a": [1] * elements}, {"j": json.dumps([1] * elements)}):
        if elements > 2**18:
            with pytest.raises(ValueError, match="more than 262144 elements"):
                ann.sealed(form, row(ann, **values))
            sealed = {**ann.sealed(form, row(ann)), **values}
            assert insert(example, "q", sealed) == "RS006"
        else:
            assert insert(example, "q", ann.sealed(form, row(ann, **values))) is None
