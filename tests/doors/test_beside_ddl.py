"""Rows that come while the owner of their table, or of a type, changes it: none is lost.

What the change is, shows once it commits; until then whoever brings rows waits for the table.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import psycopg
import pytest
from psycopg.types.json import Json

from kit.attacks import insert, meanwhile, row, table, trusted
from kit.db import Db, Server
from kit.example import Owner
from kit.network import until
from kit.scratch import problems
from rowseal.client import sign

RECEIVE = "SELECT outcome, reason FROM rowseal.receive(%s)"
DECLARE = (
    "SELECT rowseal.declare('{}', owner => 'user_hash', identity => 'user_cards', tag => '{}')"
)


def received(db: Db, *envelopes: dict[str, Any]) -> Callable[[], list[Any]]:
    return partial(db.all, RECEIVE, Json(list(envelopes)))


def test_rows_that_come_while_their_table_is_undeclared_wait(
    example: Db, ann: Owner, server: Server, database: str
) -> None:
    table(example, "q", "uuid uuid")
    envelope = ann.envelope(example.form("q"), row(ann))
    with server.connect(database, "app") as c:
        answer = meanwhile(Db(c), "SELECT rowseal.undeclare('q')", received(example, envelope))
    assert answer == [("deferred", "RS007: no table is declared with this tag")]
    example.run(DECLARE.format("q", "q"))
    assert example.one("SELECT count(*) FROM q") == 1


def test_rows_go_where_their_tag_went(
    example: Db, ann: Owner, server: Server, database: str
) -> None:
    table(example, "q", "uuid uuid")
    table(example, "other", "uuid uuid", declare=None)
    envelope = ann.envelope(example.form("q"), row(ann))
    swap = f"""SELECT rowseal.undeclare('q'); {DECLARE.format("q", "old")};
        {DECLARE.format("other", "q")}"""
    with server.connect(database, "app") as c:
        assert meanwhile(Db(c), swap, received(example, envelope)) == [("inserted", None)]
    assert example.one("SELECT count(*) FROM other") == 1


def test_rows_find_a_table_that_is_being_renamed(
    example: Db, ann: Owner, server: Server, database: str
) -> None:
    table(example, "q", "uuid uuid")
    envelope = ann.envelope(example.form("q"), row(ann))
    with server.connect(database, "app") as c:
        rename = "ALTER TABLE q RENAME TO r"
        assert meanwhile(Db(c), rename, received(example, envelope)) == [("inserted", None)]
    assert example.one("SELECT count(*) FROM r") == 1


@pytest.mark.parametrize("door", ["apply", "receive"])
def test_rows_that_have_a_column_which_is_being_added_are_read_with_it(
    door: str, example: Db, ann: Owner, server: Server, database: str
) -> None:
    table(example, "q", "uuid uuid")
    before = ann.envelope(example.form("q"), row(ann))
    assert example.apply("q", [before]) == [("inserted", None)]  # plans are kept
    with server.connect(database, "app") as c:
        other = Db(c)
        other.run("BEGIN; ALTER TABLE q ADD COLUMN x text")
        envelope = ann.envelope(other.form("q"), {**row(ann), "x": "new"})
        other.run("ROLLBACK")
        arrive = received(example, envelope)
        if door == "apply":
            arrive = partial(example.apply, "q", [envelope])
        answer = meanwhile(other, "ALTER TABLE q ADD COLUMN x text", arrive)
    assert answer == [("inserted", None)]
    assert example.one("SELECT count(*) FROM q WHERE x = 'new'") == 1


def test_what_passed_a_guard_before_its_table_was_closed_does_not_miss_the_feed(
    mallory: Db, example: Db, admin: Db, ann: Owner, server: Server, database: str
) -> None:
    """The type's owner changes it in the middle of a statement, which waits in a trigger here."""
    mallory.run("CREATE TYPE pair AS (a integer)")
    with trusted(admin):
        table(example, "q", "uuid uuid, c pair", declare=", feed => true")
        example.run(
            "CREATE FUNCTION wait() RETURNS trigger LANGUAGE plpgsql AS"
            " 'BEGIN PERFORM pg_advisory_xact_lock_shared(1); PERFORM FROM pg_am;"
            " RETURN NULL; END';"
            " CREATE TRIGGER a AFTER INSERT ON q FOR EACH ROW EXECUTE FUNCTION wait()"
        )
        signed = ann.sealed(example.form("q"), {**row(ann), "c": {"a": 1}})
        sealed = {**signed, "c": "(1)"}
        with server.connect(database, "app") as c, ThreadPoolExecutor() as pool:
            other = Db(c)
            other.run("SELECT pg_advisory_lock(1)")
            answer = pool.submit(insert, example, "q", sealed)
            until(lambda: other.one("SELECT count(*) FROM pg_locks WHERE NOT granted"))
            mallory.run("ALTER TYPE pair ADD ATTRIBUTE m money")
            other.run("SELECT pg_advisory_unlock(1)")
            assert answer.result() == "RS007"
        mallory.run("ALTER TYPE pair DROP ATTRIBUTE m")
        assert insert(example, "q", sealed) is None
        assert admin.one("SELECT count(*) FROM rowseal.feed WHERE tag = 'q'") == 1


@pytest.mark.parametrize("first", ["RENAME COLUMN note TO remark", "ADD COLUMN more text"])
def test_two_commands_side_by_side_are_followed_one_after_the_other(
    first: str, example: Db, ann: Owner, server: Server, database: str
) -> None:
    """Both change what the table rests on; the second knows what the first has made of it."""
    table(example, "q", "uuid uuid, note text")
    signed = ann.sealed(example.form("q"), row(ann, note="n"))
    example.insert("q", signed)
    with server.connect(database, "app") as c:
        second = partial(example.run, "ALTER TABLE user_cards RENAME TO cards")
        meanwhile(Db(c), f"ALTER TABLE q {first}", second)
    fields = example.one("SELECT fields FROM rowseal.declarations WHERE tag = 'q'")
    assert "note" in fields.values() and example.all("SELECT * FROM rowseal.verify('q')") == []
    assert example.apply("q", [ann.envelope(example.form("q"), row(ann, note="m"))]) == [
        ("inserted", None)
    ]


@pytest.mark.parametrize("door", ["apply", "receive", "feed"])
def test_what_comes_while_a_table_is_closed_is_let_in_by_what_opens_it(
    door: str, mallory: Db, example: Db, admin: Db, ann: Owner
) -> None:
    """By whatever door: of a link's rows nothing was tried again."""
    example.run("CREATE TYPE pair AS (a integer)")
    table(example, "q", "uuid uuid, c pair", declare=", unsigned => '{c}'")
    envelope = ann.envelope(example.form("q"), row(ann))
    admin.run("ALTER TYPE pair OWNER TO mallory")
    if door == "apply":
        example.apply("q", [envelope])
    elif door == "receive":
        example.all(RECEIVE, Json([envelope]))
    else:
        admin.run(
            "INSERT INTO rowseal.feed (tag, owner, envelope) VALUES ('q', '', %s)", Json(envelope)
        )
    assert admin.one("SELECT sqlstate FROM rowseal.quarantine") in ("RS007", "RS017")
    admin.run("ALTER TYPE pair OWNER TO app")
    assert example.one("SELECT count(*) FROM q") == 1
    assert admin.all("SELECT sqlstate FROM rowseal.quarantine") == []


def test_a_row_whose_owner_came_while_its_table_was_closed_is_let_in_by_what_opens_it(
    example: Db, admin: Db
) -> None:
    example.run("CREATE TYPE pair AS (a integer)")
    table(example, "q", "uuid uuid, c pair", declare=", unsigned => '{c}'")
    bob = Owner("Bob")
    example.apply("q", [bob.envelope(example.form("q"), row(bob))])
    admin.run("ALTER TYPE pair OWNER TO mallory")
    example.insert("user_cards", bob.sealed(example.form("user_cards"), bob.card()))
    admin.run("ALTER TYPE pair OWNER TO app")
    assert example.one("SELECT count(*) FROM q") == 1


@pytest.mark.parametrize("at", ["q", "qv"])
def test_a_row_of_a_publication_that_comes_while_its_table_is_closed_is_let_in_later(
    at: str, example: Db, admin: Db, ann: Owner
) -> None:
    """PostgreSQL does not send it again."""
    example.run("CREATE TYPE pair AS (a integer)")
    more = "".join(f", m{n} text" for n in range(60))
    table(example, "q", f"uuid uuid, note text, c pair{more}", declare=", versions => 'qv'")
    value = row(ann, note="a 'quoted' \\\\ note", m59="x")
    sealed = ann.sealed(example.form("q"), value)
    admin.run("ALTER TYPE pair OWNER TO pg_monitor; SET session_replication_role = replica")
    admin.insert(at, sealed)  # as a worker does
    admin.run("RESET session_replication_role")
    kept = admin.all("SELECT sqlstate, curable, format FROM rowseal.quarantine")
    assert (kept, example.one("SELECT count(*) FROM q")) == ([("RS007", True, "pgtext")], 0)
    admin.run("ALTER TYPE pair OWNER TO app")
    assert example.all("SELECT note FROM q") == [value["note"]]
    assert admin.all("SELECT sqlstate FROM rowseal.quarantine") == []


SWAPS = {  # what the owner does in one transaction, and what stands under the old names then
    "tables": "ALTER TABLE user_cards RENAME TO old_cards;"
    " ALTER TABLE new_cards RENAME TO user_cards",
    "columns": "ALTER TABLE user_cards RENAME sign_pkey TO x;"
    " ALTER TABLE user_cards RENAME contact_pkey TO sign_pkey;"
    " ALTER TABLE user_cards RENAME x TO contact_pkey",
}


@pytest.mark.parametrize("swap", SWAPS)
@pytest.mark.parametrize("forged", [False, True])
def test_no_row_is_judged_by_a_key_that_has_just_come_under_the_name(
    forged: bool, swap: str, example: Db, ann: Owner, bob: Owner, server: Server, database: str
) -> None:
    """The guard has waited for the command; it was made before, and names what was there before."""
    table(example, "q", "uuid uuid")
    example.insert("q", ann.sealed(example.form("q"), row(ann)))
    example.run("CREATE TABLE new_cards (LIKE user_cards)")
    example.insert("new_cards", {"user_hash": ann.hash, "sign_pkey": bob.public_key})
    form = example.form("q")
    sealed = ann.sealed(form, row(ann))
    if forged:
        sealed["sign_b64"] = sign(form, {**row(ann)}, bob.key)
    with server.connect(database, "app") as c:
        arrive = partial(insert, example, "q", sealed)
        assert meanwhile(Db(c), SWAPS[swap], arrive) == "40001"
    assert insert(example, "q", sealed) == ("RS001" if forged else None)


def test_no_version_is_lost_where_columns_of_the_versions_table_have_changed_places(
    example: Db, ann: Owner, server: Server, database: str
) -> None:
    example.run("ALTER TABLE user_storage_versions ADD a text, ADD b text")
    example.run("ALTER TABLE user_storage ADD a text, ADD b text")
    form = example.form("user_storage")
    old, new = (
        ann.envelope(form, ann.value(v, uuid.UUID(int=1), a="a", b="b")) for v in (b"1", b"2")
    )
    assert example.apply("user_storage", [old]) == [("inserted", None)]
    swap = """ALTER TABLE user_storage_versions RENAME a TO x;
        ALTER TABLE user_storage_versions RENAME b TO a;
        ALTER TABLE user_storage_versions RENAME x TO b"""
    with server.connect(database, "app") as c:
        other = Db(c)
        with pytest.raises(psycopg.Error) as error:
            meanwhile(other, swap, partial(example.apply, "user_storage", [new]))
        assert error.value.sqlstate == "40001"
    assert example.apply("user_storage", [new]) == [("superseded", None)]
    assert example.all("SELECT a, b FROM user_storage_versions") == [("b", "a")]
    assert problems(example, "user_storage") == []


def test_a_version_that_a_trigger_takes_away_is_not_superseded(example: Db, ann: Owner) -> None:
    form = example.form("user_storage")
    old, new = (ann.envelope(form, ann.value(v, uuid.UUID(int=1))) for v in (b"1", b"2"))
    assert example.apply("user_storage", [old]) == [("inserted", None)]
    example.run(
        "CREATE FUNCTION norm() RETURNS trigger LANGUAGE plpgsql AS"
        " 'BEGIN NEW.value_b64 := ''x''; RETURN NEW; END';"
        " CREATE TRIGGER norm BEFORE INSERT ON user_storage_versions"
        " FOR EACH ROW EXECUTE FUNCTION norm()"
    )
    ((outcome, reason),) = example.apply("user_storage", [new])
    assert outcome == "deferred" and str(reason).startswith("RS019")
    assert example.one("SELECT value_b64 FROM user_storage") == b"1"
