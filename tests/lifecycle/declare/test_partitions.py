"""Partitions are guarded whenever they come."""

from __future__ import annotations

import psycopg
import pytest

from kit.declaring import LATE, STORAGE, storage
from kit.example import Owner
from kit.scratch import Scratch, card, problems, seal, unwell, write

PARTITIONED = {
    "list": ("LIST (n)", ["FOR VALUES IN (1)", "FOR VALUES IN (2)", "DEFAULT"]),
    "range": ("RANGE (n)", ["FOR VALUES FROM (0) TO (2)", "FOR VALUES FROM (2) TO (3)", "DEFAULT"]),
    "hash": ("HASH (id, n)", [f"FOR VALUES WITH (MODULUS 3, REMAINDER {i})" for i in range(3)]),
}


@pytest.mark.parametrize("kind", PARTITIONED)
@pytest.mark.parametrize("when", ["before", "created", "attached"])
def test_partitions_are_guarded_whenever_they_come(kind: str, when: str, cards: Scratch) -> None:
    db, ann = cards, Owner()
    by, bounds = PARTITIONED[kind]
    db.run(
        f"CREATE TABLE notes (id bytea, n int, {STORAGE}, PRIMARY KEY (id, n)) PARTITION BY {by}"
    )
    declare = (
        "SELECT rowseal.declare('notes', owner => 'id', identity => 'cards',"
        " versions => 'notes_versions')"
    )
    if when != "before":
        db.run(declare)
    for i, bound in enumerate(bounds):
        if when == "attached":
            db.run(
                f"CREATE TABLE p{i} (LIKE notes INCLUDING ALL);"
                f" ALTER TABLE notes ATTACH PARTITION p{i} {bound}"
            )
        else:
            db.run(f"CREATE TABLE p{i} PARTITION OF notes {bound}")
    if when == "before":
        db.run(declare)
    assert unwell(db) == []
    write(db, ann, "cards", card(ann))
    for n in range(1, 5):
        for value in ("1", "2"):
            write(db, ann, "notes", storage(ann, value, n=n))
    assert db.all("SELECT n, value FROM notes ORDER BY n") == [(n, "2") for n in range(1, 5)]
    assert db.one("SELECT count(*) FROM notes_versions") == 4
    assert problems(db, "notes") == []
    # written directly: the same checks,
    # and the clone sees other partitions' keys through the parent
    for n, partition in db.all("SELECT n, tableoid::regclass::text FROM notes"):
        write(db, ann, partition, storage(ann, "3", n=n), tag="notes")
        forged = {**seal(db, ann, "notes", storage(ann, "4", n=n)), "value": "5"}
        with pytest.raises(psycopg.Error, match="invalid signature"):
            db.insert(partition, forged)
        db.refused("RS004", f"DELETE FROM {partition}")
        db.refused("RS004", f"TRUNCATE {partition}")
    assert db.all("SELECT DISTINCT value FROM notes") == ["3"]
    assert db.one("SELECT count(*) FROM notes_versions") == 8


def test_a_partition_with_a_bad_row_cannot_be_attached_and_one_with_good_rows_can(
    cards: Scratch,
) -> None:
    db, ann = cards, Owner()
    write(db, ann, "cards", card(ann))
    db.run(
        f"CREATE TABLE notes (id bytea, n int, {STORAGE}, PRIMARY KEY (id,"
        " n)) PARTITION BY LIST (n)"
    )
    db.run("SELECT rowseal.declare('notes', owner => 'id', identity => 'cards')")
    good = seal(db, ann, "notes", storage(ann, "good", n=1))
    undated = seal(db, ann, "notes", storage(ann, n=1, owner_timestamp=None))
    for i, row in enumerate(({**good, "value": "bad"}, {**good, "id": b"nobody"}, undated)):
        db.run(f"CREATE TABLE bad{i} (LIKE notes INCLUDING ALL)")
        db.insert(f"bad{i}", row)
        diag = db.refused(
            ("RS001", "RS002", "RS001")[i],
            f"ALTER TABLE notes ATTACH PARTITION bad{i} FOR VALUES IN (1)",
        )
        assert (
            "notes" in str(diag.message_primary)
            and '"n": 1' in str(diag.message_detail)
            and diag.message_hint
        )
    db.run("CREATE TABLE good (LIKE notes INCLUDING ALL)")
    db.insert("good", good)
    db.run("ALTER TABLE notes ATTACH PARTITION good FOR VALUES IN (1)")
    assert db.all("SELECT value FROM notes") == ["good"]
    assert (problems(db, "notes"), unwell(db)) == ([], [])


def test_partitions_of_partitions_are_guarded(cards: Scratch) -> None:
    db, ann = cards, Owner()
    db.run(
        f"CREATE TABLE notes (id bytea, n int, {STORAGE}, PRIMARY KEY (id,"
        " n)) PARTITION BY LIST (n)"
    )
    db.run(
        "SELECT rowseal.declare('notes', owner => 'id', identity => 'cards',"
        " versions => 'notes_versions')"
    )
    db.run("CREATE TABLE sub PARTITION OF notes DEFAULT PARTITION BY HASH (id)")
    db.run("CREATE TABLE leaf PARTITION OF sub FOR VALUES WITH (MODULUS 1, REMAINDER 0)")
    assert unwell(db) == []
    write(db, ann, "cards", card(ann))
    write(db, ann, "notes", storage(ann))
    write(db, ann, "leaf", storage(ann), tag="notes")
    assert (db.one("SELECT count(*) FROM leaf"), db.one("SELECT count(*) FROM notes_versions")) == (
        1,
        1,
    )
    for table in ("notes", "sub", "leaf"):
        db.refused("RS004", f"TRUNCATE {table}")


def test_a_one_table_layout_may_be_partitioned(cards: Scratch) -> None:
    db, ann = cards, Owner()
    db.run(
        f"CREATE TABLE logs (id bytea, n int, {STORAGE}, PRIMARY KEY (id, n,"
        " sign_b64)) PARTITION BY HASH (sign_b64)"
    )
    for i in range(2):
        db.run(f"CREATE TABLE logs{i} PARTITION OF logs FOR VALUES WITH (MODULUS 2, REMAINDER {i})")
    db.run("SELECT rowseal.declare('logs', owner => 'id', identity => 'cards')")
    write(db, ann, "cards", card(ann))
    for value in "12345":
        write(db, ann, "logs", storage(ann, value))
    assert (
        db.all("SELECT value FROM logs_tips") == ["5"] and db.one("SELECT count(*) FROM logs") == 5
    )
    assert (problems(db, "logs"), unwell(db)) == ([], [])


@pytest.mark.parametrize("when", ["before", "attached"])
def test_a_partition_with_a_late_trigger_is_refused(when: str, cards: Scratch) -> None:
    db = cards
    db.run(LATE.format("late"))
    db.run(
        f"CREATE TABLE notes (id bytea, n int, {STORAGE}, PRIMARY KEY (id,"
        " n)) PARTITION BY LIST (n)"
    )
    db.run(
        "CREATE TABLE p (LIKE notes INCLUDING ALL); CREATE TRIGGER zzzz BEFORE INSERT ON p"
        " FOR EACH ROW EXECUTE FUNCTION late()"
    )
    declare, attach = (
        "SELECT rowseal.declare('notes', owner => 'id', identity => 'cards')",
        "ALTER TABLE notes ATTACH PARTITION p DEFAULT",
    )
    db.run(attach if when == "before" else declare)
    db.refused("RS007", declare if when == "before" else attach)


def test_undeclare_takes_everything_off_a_detached_partition_too(cards: Scratch) -> None:
    db = cards
    db.run(
        f"CREATE TABLE notes (id bytea, n int, {STORAGE}, PRIMARY KEY (id,"
        " n)) PARTITION BY LIST (n)"
    )
    db.run("CREATE TABLE p PARTITION OF notes DEFAULT")
    db.run("SELECT rowseal.declare('notes', owner => 'id', identity => 'cards')")
    db.run("ALTER TABLE notes DETACH PARTITION p")
    db.run("SELECT rowseal.undeclare('notes')")
    assert db.all("SELECT tgname FROM pg_trigger WHERE tgrelid = 'p'::regclass") == []
    db.run("TRUNCATE p")
