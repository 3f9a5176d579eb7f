"""The shape server of these tests answers like a real Electric:
its own client reads it to the rows of the database.
"""

from __future__ import annotations

import json
from typing import Any

import pytest

from kit.db import Db, Server
from kit.electric import Reader, serving
from kit.shape_server import ShapeServer

ITEMS = """
    CREATE TABLE items (id int PRIMARY KEY, name text NOT NULL, n int DEFAULT 0, big text);
    ALTER TABLE items ALTER COLUMN big SET STORAGE EXTERNAL;
    INSERT INTO items SELECT i, 'item ' || i, i * 10, repeat('x', 3000)
        FROM generate_series(1, 3) i;
"""


@pytest.fixture
def items(source: Db) -> Db:
    source.run(ITEMS)
    return source


def stored(db: Db, table: str = "items") -> list[dict[str, Any]]:
    rows = db.all(f"SELECT to_jsonb(t) FROM {table} t")
    return sorted(
        ({k: None if v is None else str(v) for k, v in sorted(row.items())} for row in rows),
        key=json.dumps,
    )


# --------------------------------------------------------------------------- Electric's own client
@pytest.mark.parametrize("sse", [False, True])
def test_its_client_reads_snapshot_and_live_changes(
    electric: ShapeServer, items: Db, client: None, sse: bool
) -> None:
    with Reader(electric.url, "items", live_sse=sse) as reader:
        reader.until(lambda r: r.rows == stored(items))
        for sql in (
            "INSERT INTO items VALUES (4, 'four', 40, 'small')",
            "UPDATE items SET n = 11 WHERE id = 1",
            "UPDATE items SET big = NULL WHERE id = 4",
            "UPDATE items SET id = 40 WHERE id = 4",
            "DELETE FROM items WHERE id = 40",
            "BEGIN; INSERT INTO items VALUES (5, 'five');"
            " UPDATE items SET name = 'FIVE' WHERE id = 5; DELETE FROM items WHERE id = 2;"
            " COMMIT",
        ):
            items.run(sql)
            reader.until(lambda r: r.rows == stored(items))
        assert any(p.get("live_sse") == "true" for p in electric.requests) is sse


def test_its_client_sees_whole_rows_with_replica_full(
    electric: ShapeServer, items: Db, client: None
) -> None:
    with Reader(electric.url, "items", replica="full") as reader:
        reader.until(lambda r: r.rows == stored(items))
        items.run("UPDATE items SET n = 99 WHERE id = 1")
        reader.until(lambda r: r.rows == stored(items))
        assert reader.changes[-1] == [
            "update",
            {"big": "x" * 3000, "id": "1", "n": "99", "name": "item 1"},
            {"n": "10"},
        ]


@pytest.mark.parametrize(
    "statement",
    [
        "TRUNCATE items; INSERT INTO items VALUES (7, 'again')",
        "ALTER TABLE items ADD COLUMN extra text; INSERT INTO items"
        " VALUES (50, 'fifty', 1, NULL, 'e')",
    ],
)
@pytest.mark.parametrize("sse", [False, True])
def test_its_client_is_told_to_read_again(
    electric: ShapeServer, items: Db, client: None, statement: str, sse: bool
) -> None:
    with Reader(electric.url, "items", live_sse=sse) as reader:
        reader.until(lambda r: r.rows == stored(items))
        before = reader.state["handle"]
        items.run(statement)
        reader.until(lambda r: r.rows == stored(items))
        assert "must-refetch" in reader.changes and reader.state["handle"] != before


def test_its_client_resumes_after_a_restart_of_the_server(
    electric: ShapeServer, items: Db, client: None
) -> None:
    with Reader(electric.url, "items") as reader:
        reader.until(lambda r: r.rows == stored(items))
        at = {k: reader.state[k] for k in ("handle", "offset")}
    electric.stop()
    items.run("UPDATE items SET n = 12 WHERE id = 1")
    items.run("INSERT INTO items VALUES (8, 'eight')")
    electric.start(delay=0.3)
    with Reader(electric.url, "items", resume=at) as reader:
        reader.until(lambda r: len(r.changes) == 2)
        assert [operation for operation, *_ in reader.changes] == [
            "update",
            "insert",
        ] and reader.state["handle"] == at["handle"]


def test_its_client_reads_a_snapshot_in_chunks(server: Server, items: Db, client: None) -> None:
    items.run(
        "INSERT INTO items SELECT i, 'item', i, repeat(md5(i::text), 30)"
        " FROM generate_series(10, 500) i"
    )
    with (
        serving(server, items.connection.info.dbname, chunk=50_000) as electric,
        Reader(electric.url, "items") as reader,
    ):
        reader.until(lambda r: r.rows == stored(items))
        assert [p["offset"] for p in electric.requests][:11] == [
            "-1",
            *(f"0_{n}" for n in range(10)),
        ]


def test_its_client_follows_a_condition(electric: ShapeServer, items: Db, client: None) -> None:
    with Reader(electric.url, "items", where="n > $1", params={"1": "15"}) as reader:
        reader.until(lambda r: [row["id"] for row in r.rows] == ["2", "3"])
        items.run("UPDATE items SET n = 50 WHERE id = 1")
        reader.until(lambda r: [row["id"] for row in r.rows] == ["1", "2", "3"])
        items.run("UPDATE items SET n = 0 WHERE id = 2")
        reader.until(lambda r: [row["id"] for row in r.rows] == ["1", "3"])
