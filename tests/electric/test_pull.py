"""rowseal pull: what another server's Electric says of a table is merged into a table here."""

from __future__ import annotations

import os
import random
import time
import uuid
from functools import partial

import psycopg
import pytest

from kit.db import Db, Server
from kit.electric import (
    PLAIN,
    TABLES,
    Pull,
    Writer,
    administrator,
    kept,
    quarantined,
    same,
    serving,
)
from kit.example import EXAMPLE, Owner
from kit.network import until
from kit.shape_server import ShapeServer
from kit.shapes import shown
from rowseal.client import Form


def asked(electric: ShapeServer, table: str = "user_storage") -> list[str]:
    return [p["offset"] for p in electric.requests if p["table"] == table]


# --------------------------------------------------------------------------- reading and following
def test_a_snapshot_is_merged_and_the_offset_kept(
    electric: ShapeServer, source: Db, here: Db, ann: Writer
) -> None:
    for n in range(5):
        ann.put(b"%d" % n)
    pull = Pull(here, electric.url, *TABLES).once()
    assert pull.outcomes == {"user_cards inserted": 1, "user_storage inserted": 5}
    assert same(source, here) and kept(here) == {"user_cards": "0_inf", "user_storage": "0_inf"}
    rows = here.all(
        "SELECT role, relation::text, outcomes, up_to_date IS NOT NULL FROM rowseal.shapes"
        " ORDER BY 2"
    )
    assert rows == [
        ("app", "user_cards", {"inserted": 1}, True),
        ("app", "user_storage", {"inserted": 5}, True),
    ]
    assert all(p["replica"] == "full" for p in electric.requests)


@pytest.mark.parametrize("sse", [False, True])
def test_live_changes_follow(
    electric: ShapeServer, source: Db, here: Db, ann: Writer, sse: bool
) -> None:
    key = ann.put(b"1")
    with Pull(here, electric.url, *TABLES, sse=sse) as pull:
        pull.live()
        assert same(source, here)
        ann.put(b"2", key)
        ann.put(b"new")
        until(lambda: same(source, here))
        ann.put(None, key, deleted_flag=True)
        until(lambda: same(source, here))
        Writer(source, here, "Ben").join().put(b"3")
        until(lambda: same(source, here))
        assert here.all("SELECT value_b64 FROM user_storage_versions ORDER BY owner_timestamp") == [
            b"1",
            b"2",
        ]
        assert [s.lag for s in pull.shapes] == [0, 0]
        ends = {s.table: shown(s.end) for s in electric.shapes.values()}
        until(lambda: kept(here) == ends, "the offset of the last operation is kept")
    assert any(p.get("live_sse") == "true" for p in electric.requests) is sse


def test_the_state_and_all_versions_converge_with_a_declared_source(
    server: Server, here: Db
) -> None:
    name = server.database()
    with server.connect(name, "app") as c:
        there = Db(c)
        there.run(EXAMPLE)
        writer = Writer(there, here).join()
        keys = [writer.put(b"first") for _ in range(10)]
        with (
            serving(server, name) as electric,
            Pull(here, electric.url, "user_cards", "user_storage", "user_storage_versions") as pull,
        ):
            pull.live()
            for n in range(50):
                writer.put(b"%d" % n, random.choice(keys))
            until(
                lambda: there.digest("user_storage") == here.digest("user_storage"),
                "the digests are equal",
            )
            assert there.digest("user_cards") == here.digest("user_cards")
            assert here.one("SELECT count(*) FROM user_storage_versions") == 50
    server.drop(name)


def test_it_goes_on_where_it_stopped(
    electric: ShapeServer, source: Db, here: Db, ann: Writer
) -> None:
    key = ann.put(b"1")
    Pull(here, electric.url, *TABLES).once()
    ann.put(b"2", key)
    until(lambda: any(s.log for s in electric.shapes.values()))
    electric.requests.clear()
    assert Pull(here, electric.url, *TABLES).once().outcomes == {"user_storage superseded": 1}
    assert same(source, here) and asked(electric) == ["0_inf"]
    electric.requests.clear()
    again = Pull(here, electric.url, *TABLES, restart=True).once()
    assert (
        asked(electric)[0] == "-1"
        and again.outcomes == {"user_cards duplicate": 1, "user_storage duplicate": 2}
        and same(source, here)
    )
    assert here.one(
        "SELECT outcomes FROM rowseal.shapes WHERE relation = 'user_cards'::regclass"
    ) == {"inserted": 1, "duplicate": 1}


def test_rows_and_offset_are_one_transaction(
    electric: ShapeServer, source: Db, here: Db, ann: Writer
) -> None:
    """Killed at any moment: whatever is stored, the offset says no more than that."""
    for n in range(40):
        ann.put(b"%d" % n)
    with administrator(here) as admin:
        admin.run(
            """CREATE FUNCTION fail() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN IF random() < 0.5
                THEN RAISE 'no' USING ERRCODE = '57014'; END IF; RETURN NEW; END $$"""
        )
        admin.run(
            "CREATE TRIGGER fail BEFORE INSERT OR UPDATE ON rowseal.shapes FOR EACH ROW"
            " EXECUTE FUNCTION fail()"
        )
    with Pull(here, electric.url, *TABLES) as pull:
        pull.live()
        for n in range(20):
            ann.put(b"%d" % n)
            until(lambda: here.one("SELECT count(*) FROM user_storage") >= 40)
            assert (
                here.one("SELECT count(*) FROM rowseal.shapes WHERE log_offset <> '0_inf'") == 0
                or here.one("SELECT count(*) FROM user_storage") > 40
            )
        until(lambda: same(source, here))
    assert any("database: no" in said for said in pull.said)


def test_stopped_at_random_it_loses_nothing(
    server: Server, source: Db, here: Db, ann: Writer
) -> None:
    with serving(server, source.connection.info.dbname, chunk=2000) as electric:
        for n in range(60):
            ann.put(b"%d" % n)
        for _ in range(8):
            with Pull(here, electric.url, *TABLES):
                ann.put(b"x")
                time.sleep(random.uniform(0, 0.15))
        Pull(here, electric.url, *TABLES).once()
        assert same(source, here)
        assert quarantined(here) == []


# --------------------------------------------------------------------------------- bad rows, order
def test_a_bad_row_is_quarantined_and_the_stream_goes_on(
    electric: ShapeServer, source: Db, here: Db, ann: Writer
) -> None:
    good, bad = ann.put(b"good"), ann.sealed(b"signed")
    source.insert("user_storage", {**bad, "value_b64": b"forged"})
    with Pull(here, electric.url, *TABLES) as pull:
        pull.live()
        assert here.all("SELECT uuid FROM user_storage") == [good]
        assert quarantined(here) == [("RS001", "invalid signature")]
        source.run("UPDATE user_storage SET value_b64 = 'gin' WHERE uuid = %s", good)
        ann.put(b"after")
        until(
            lambda: (
                here.all("SELECT value_b64 FROM user_storage ORDER BY owner_timestamp")
                == [b"good", b"after"]
            )
        )
        until(lambda: pull.shapes[1].outcomes["rejected"] == 2)  # counted after the commit
        assert len(quarantined(here)) == 2
        assert any("rejected 1 rows, RS001: invalid signature" in said for said in pull.said)


@pytest.mark.parametrize("order", [TABLES, TABLES[::-1]])
def test_owners_and_rows_in_either_order(
    electric: ShapeServer, source: Db, here: Db, ann: Writer, order: tuple[str, str]
) -> None:
    ann.put(b"1")
    first = Pull(here, electric.url, order[0]).once()
    if order[0] == "user_storage":
        assert first.outcomes == {"deferred": 1} and [s for s, _ in quarantined(here)] == ["RS002"]
    Pull(here, electric.url, order[1]).once()
    assert same(source, here) and quarantined(here) == []


def test_together_the_owners_come_first(
    electric: ShapeServer, source: Db, here: Db, ann: Writer
) -> None:
    with administrator(here) as admin:  # a quarantine too small for what would wait
        admin.run("UPDATE rowseal.quarantine_limits SET rows = 1")
    for n in range(20):
        ann.put(b"%d" % n)
    assert Pull(here, electric.url, *TABLES[::-1]).once().outcomes == {
        "user_cards inserted": 1,
        "user_storage inserted": 20,
    }


def test_an_owner_whose_shape_cannot_be_read_holds_nobody_up(
    electric: ShapeServer, source: Db, here: Db, ann: Writer
) -> None:
    ann.put(b"1")
    with Pull(here, electric.url, "user_storage", "user_cards") as pull:
        pull.live()
        electric.stop()
        until(lambda: all(s.error for s in pull.shapes))
        electric.start()
        pull.live()


def test_a_column_that_is_not_here_yet_is_waited_for(
    electric: ShapeServer, source: Db, here: Db, ann: Writer
) -> None:
    source.run("ALTER TABLE user_storage ADD COLUMN color text")
    form = Form(
        "user_storage",
        {
            **here.one(
                "SELECT spec -> 'fields' FROM rowseal.declarations WHERE tag = 'user_storage'"
            ),
            "color": "text",
        },
    )
    source.insert("user_storage", ann.owner.sealed(form, {**ann.owner.value(b"1"), "color": "red"}))
    assert Pull(here, electric.url, *TABLES).once().outcomes["user_storage deferred"] == 1
    assert quarantined(here) == [("RS015", "no column for field 'color' yet")]
    here.run("ALTER TABLE user_storage_versions ADD COLUMN color text")
    here.run("ALTER TABLE user_storage ADD COLUMN color text")
    assert here.all("SELECT color FROM user_storage") == ["red"] and quarantined(here) == []


def test_surplus_columns_do_not_count(
    electric: ShapeServer, source: Db, here: Db, ann: Writer
) -> None:
    source.run("ALTER TABLE user_storage ADD COLUMN note text DEFAULT 'of the source alone'")
    ann.put(b"1")
    assert Pull(here, electric.url, *TABLES).once().outcomes["user_storage inserted"] == 1


# ------------------------------------------------------------------------------ deletions, refetch
def test_a_deletion_is_noted_and_not_obeyed(
    electric: ShapeServer, source: Db, here: Db, ann: Writer
) -> None:
    key = ann.put(b"1")
    with Pull(here, electric.url, *TABLES) as pull:
        pull.live()
        source.run("DELETE FROM user_storage")
        until(lambda: quarantined(here))
        assert quarantined(here) == [("RS004", "deleted at the source, and kept here")]
        assert here.all("SELECT uuid FROM user_storage") == [key]
        until(lambda: pull.shapes[1].outcomes["deleted"] == 1)
        with administrator(here) as admin:
            assert admin.one("SELECT row ->> 'uuid' FROM rowseal.quarantine") == str(key)


def test_a_changed_key_is_a_deletion_and_a_forgery(
    electric: ShapeServer, source: Db, here: Db, ann: Writer
) -> None:
    key = ann.put(b"1")
    with Pull(here, electric.url, *TABLES) as pull:
        pull.live()
        source.run("UPDATE user_storage SET uuid = %s", uuid.uuid4())
        until(lambda: sorted(s for s, _ in quarantined(here)) == ["RS001", "RS004"])
        assert here.all("SELECT uuid FROM user_storage") == [key]


@pytest.mark.parametrize("sse", [False, True])
def test_truncate_ends_the_log_and_deletes_nothing(
    electric: ShapeServer, source: Db, here: Db, ann: Writer, sse: bool
) -> None:
    """An open long poll ends in 409 without a handle; an event stream just closes."""
    ann.put(b"1")
    with Pull(here, electric.url, *TABLES, sse=sse) as pull:
        pull.live()
        until(lambda: electric.requests[-1].get("live") == "true")
        source.run("TRUNCATE user_storage")
        ann.put(b"2")
        until(
            lambda: (
                here.all("SELECT value_b64 FROM user_storage ORDER BY owner_timestamp")
                == [b"1", b"2"]
            )
        )
        assert any("reads from the beginning" in said for said in pull.said)
        # asked from the beginning, and once more after that
        until(
            lambda: (
                "-1"
                in [p["offset"] for p in electric.requests if p["table"] == "user_storage"][1:-1]
            )
        )
    storage = [p for p in electric.requests if p["table"] == "user_storage"]
    again = next(n for n, p in enumerate(storage) if n and p["offset"] == "-1")
    assert (
        storage[again]["expired_handle"] == storage[0 + 1]["handle"]
        and storage[again + 1]["handle"] != storage[1]["handle"]
    )


def test_an_old_handle_is_given_up(
    electric: ShapeServer, source: Db, here: Db, ann: Writer
) -> None:
    """After a TRUNCATE while nobody listened: 409 with the new handle."""
    ann.put(b"1")
    Pull(here, electric.url, *TABLES).once()
    source.run("TRUNCATE user_storage")
    ann.put(b"2")
    until(lambda: len(electric.shapes) == 1)
    again = Pull(here, electric.url, *TABLES).once()
    assert (
        again.shapes[1].outcomes == {"inserted": 1}
        and here.one("SELECT count(*) FROM user_storage") == 2
    )


def test_a_changed_table_is_read_again(
    electric: ShapeServer, source: Db, here: Db, ann: Writer
) -> None:
    ann.put(b"1")
    with Pull(here, electric.url, *TABLES) as pull:
        pull.live()
        source.run("ALTER TABLE user_storage ADD COLUMN extra text")
        ann.put(b"2")
        until(lambda: same(source, here))
        assert any("409" in said for said in pull.said)


def test_an_offset_that_the_server_does_not_know_is_given_up(
    electric: ShapeServer, source: Db, here: Db, ann: Writer
) -> None:
    """400 after some seconds: its storage is older than ours."""
    ann.put(b"1")
    Pull(here, electric.url, *TABLES).once()
    with administrator(here) as admin:
        admin.run("UPDATE rowseal.shapes SET log_offset = '99999999999_0'")
    pull = Pull(here, electric.url, *TABLES).once()
    assert any("out of bounds" in said for said in pull.said)
    assert pull.outcomes == {"user_cards duplicate": 1, "user_storage duplicate": 1}


def test_what_happened_while_the_server_was_away_follows(
    electric: ShapeServer, source: Db, here: Db, ann: Writer
) -> None:
    """The handle survives; the first answer may come before the server has read the changes."""
    ann.put(b"1")
    with Pull(here, electric.url, *TABLES) as pull:
        pull.live()
        electric.stop()
        ann.put(b"2")
        until(lambda: all(s.error for s in pull.shapes))
        assert all(s.lag > 0 and s.metrics()["state"] == "waiting" for s in pull.shapes)
        electric.start(delay=0.5)
        pull.live()
        assert not same(source, here), "it was up to date before the server was"
        until(lambda: same(source, here))
    assert "-1" not in asked(electric)[1:]


def test_a_dropped_table_goes_on_being_served_and_a_new_one_is_read_anew(
    electric: ShapeServer, source: Db, here: Db, ann: Writer
) -> None:
    ann.put(b"1")
    with Pull(here, electric.url, *TABLES) as pull:
        pull.live()
        source.run("DROP TABLE user_storage")
        assert Pull(here, electric.url, "user_storage", restart=True).once().outcomes == {
            "duplicate": 1
        }
        source.run(PLAIN.split(";")[1])
        ann.put(b"2")
        until(lambda: here.one("SELECT count(*) FROM user_storage") == 2)
        assert any("409" in said for said in pull.said)


# ------------------------------------------------------------------- other surprises of the source
def test_a_large_column_that_did_not_change_comes_along(
    electric: ShapeServer, source: Db, here: Db, ann: Writer
) -> None:
    source.run("ALTER TABLE user_storage ALTER COLUMN value_b64 SET STORAGE EXTERNAL")
    value = random.randbytes(30_000)
    key = ann.put(value)
    with Pull(here, electric.url, *TABLES) as pull:
        pull.live()
        ann.put(value, key)
        until(lambda: pull.shapes[1].outcomes == {"inserted": 1, "superseded": 1})
        assert same(source, here)


def test_an_update_that_changes_nothing_says_nothing(
    electric: ShapeServer, source: Db, here: Db, ann: Writer
) -> None:
    ann.put(b"1")
    with Pull(here, electric.url, *TABLES) as pull:
        pull.live()
        source.run("UPDATE user_storage SET value_b64 = value_b64")
        ann.put(b"2")
        until(lambda: pull.shapes[1].outcomes == {"inserted": 2})
        assert same(source, here)


@pytest.mark.parametrize("sse", [False, True])
def test_a_transaction_of_many_operations(
    electric: ShapeServer, source: Db, here: Db, ann: Writer, sse: bool
) -> None:
    with Pull(here, electric.url, *TABLES, sse=sse) as pull:
        pull.live()
        with source.connection.transaction():
            keys = [ann.put(b"1") for _ in range(3)]
            ann.put(b"2", keys[0])
            source.run("DELETE FROM user_storage WHERE uuid = %s", keys[1])
            ann.put(b"3", keys[0])
        until(lambda: pull.shapes[1].rows == 6)
        assert here.all("SELECT value_b64 FROM user_storage ORDER BY owner_timestamp") == [
            b"1",
            b"1",
            b"3",
        ]
        until(
            lambda: kept(here)["user_storage"].endswith("_10"),
            "the offset is that of the sixth operation",
        )


def test_an_idle_long_poll_ends_and_another_begins(
    server: Server, source: Db, here: Db, ann: Writer
) -> None:
    with (
        serving(server, source.connection.info.dbname, poll=1.1) as electric,
        Pull(here, electric.url, "user_cards") as pull,
    ):
        pull.live()
        until(lambda: sum(p.get("live") == "true" for p in electric.requests) >= 3, "three polls")
        before = here.one("SELECT changed FROM rowseal.shapes")
        assert (
            here.one("SELECT up_to_date > changed FROM rowseal.shapes")
            and before
            and pull.said == ["user_cards: up to date, 1 rows"]
        )
        assert electric.requests[-1]["cursor"]


def test_a_source_without_primary_key(
    electric: ShapeServer, source: Db, here: Db, ann: Writer
) -> None:
    """The key of its messages is made of all columns, equal rows share one:
    nothing here depends on it.
    """
    source.run("ALTER TABLE user_storage DROP CONSTRAINT user_storage_pkey")
    key = ann.put(b"1")
    source.run("INSERT INTO user_storage SELECT * FROM user_storage")
    newer = ann.sealed(b"2", key)
    source.insert("user_storage", newer)
    with Pull(here, electric.url, *TABLES) as pull:
        pull.live()
        assert here.all("SELECT value_b64 FROM user_storage") == [b"2"]
        source.run("DELETE FROM user_storage WHERE value_b64 = '2'")
        until(lambda: quarantined(here))
        assert here.all("SELECT value_b64 FROM user_storage") == [b"2"]


def test_a_row_that_leaves_the_shape_stays(
    electric: ShapeServer, source: Db, here: Db, ann: Writer
) -> None:
    key = ann.put(b"in")
    condition = [("where", "value_b64 = $1"), ("params[1]", "\\x696e")]
    Pull(here, electric.url, "user_cards").once()
    with Pull(here, electric.url, "user_storage", parameters=condition) as pull:
        pull.live()
        ann.put(b"out", key)
        until(lambda: quarantined(here))
        assert here.all("SELECT value_b64 FROM user_storage") == [b"in"]
    assert "where=value_b64" in here.one(
        "SELECT source FROM rowseal.shapes WHERE relation = 'user_storage'::regclass"
    )


def test_every_type_in_snapshot_and_log(
    electric: ShapeServer, source: Db, here: Db, ann: Writer
) -> None:
    table = """CREATE TABLE types (user_hash bytea, id bigint, b bool, i2 int2, i8 int8, f4 float4,
        f8 float8, num numeric(10,2), t text, vc varchar(10), ch char(4), j json, jb jsonb, u uuid,
        d date, ts timestamp, tz timestamptz, ti time, iv interval, ia int[], ta text[], ba bytea[],
        "CamelCase" text, deleted_flag boolean, owner_timestamp bigint, sign_b64 bytea,
        PRIMARY KEY (user_hash, id))"""
    for db in (source, here):
        db.run(table)
    here.run("SELECT rowseal.declare('types', owner => 'user_hash', identity => 'user_cards')")
    full = """true, -3::int2, 9007199254740993, 0.1::float4, 1.5e300::float8, 12.50,
        E'quote " back\\\\ nl\\n tab\\t é 😀', 'vc', 'ab', '{"a": 1,  "b":[1,2]}'::json,
        '{"b":2,"a":null}'::jsonb, 'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11'::uuid,
        '2026-01-02'::date, '2026-01-02 03:04:05.678'::timestamp,
        '2026-01-02 03:04:05.678+02'::timestamptz, '03:04:05'::time, '1 day 02:03:04'::interval,
        '{1,NULL,3}'::int[], '{"a b",NULL,"c\\"d"}'::text[], ARRAY['\\xdeadbeef'::bytea], 'cc'"""
    empty = """false, NULL, NULL, 'NaN', '-Infinity', NULL, '', NULL, NULL, 'null', 'null', NULL,
        'infinity', NULL, NULL, NULL, NULL, '{}', NULL, NULL, NULL"""

    def write(number: int, values: str) -> None:
        with source.connection.transaction():
            source.run(
                f"INSERT INTO types SELECT %s, {number}, {values}, false, {number}", ann.owner.hash
            )
            row = source.one(
                "SELECT (to_jsonb(r) - 'sign_b64')::text FROM types r WHERE id = %s", number
            )
            payload = here.one("SELECT rowseal.payload('types', %s::jsonb)", row)
            source.run(
                "UPDATE types SET sign_b64 = %s WHERE id = %s",
                ann.owner.key.sign(payload.encode()).signature,
                number,
            )

    for number, values in enumerate((full, empty)):
        write(number, values)
    with Pull(here, electric.url, "user_cards", "types") as pull:
        pull.live()
        assert pull.shapes[1].outcomes == {"inserted": 2}, pull.said
        for number, values in enumerate((full, empty)):
            write(number + 2, values)
        # each of these is an INSERT, unsigned yet, and an UPDATE
        until(lambda: pull.shapes[1].rows == 6)
        assert pull.shapes[1].outcomes == {"inserted": 4, "rejected": 2}, pull.said
    text = "SELECT r::text FROM types r ORDER BY id"
    assert source.all(text) == here.all(text)


# --------------------------------------------------------------------------------- a real Electric
@pytest.mark.skipif(
    "ROWSEAL_ELECTRIC_URL" not in os.environ,
    reason="no real Electric is named: ROWSEAL_ELECTRIC_URL and ROWSEAL_ELECTRIC_DSN, its database",
)
@pytest.mark.parametrize("sse", [False, True])
def test_a_real_electric(here: Db, sse: bool) -> None:
    suffix = uuid.uuid4().hex[:8]
    url, renamed = os.environ["ROWSEAL_ELECTRIC_URL"], {t: f"{t}_{suffix}" for t in TABLES}
    with psycopg.connect(os.environ["ROWSEAL_ELECTRIC_DSN"], autocommit=True) as c:
        there = Db(c)
        for table, other in renamed.items():
            there.run(
                next(x for x in PLAIN.split(";") if f"CREATE TABLE {table} " in x).replace(
                    table, other
                )
            )
        try:
            ann, form = Owner("Ann"), here.form("user_storage")
            there.insert(renamed["user_cards"], ann.sealed(here.form("user_cards"), ann.card()))
            first = ann.sealed(form, ann.value(b"1"))
            there.insert(renamed["user_storage"], first)
            with Pull(
                here, url, *(f"{other}={table}" for table, other in renamed.items()), sse=sse
            ) as pull:
                pull.live()
                values = partial(
                    here.all, "SELECT value_b64 FROM user_storage ORDER BY owner_timestamp"
                )
                assert values() == [b"1"]
                there.update(
                    renamed["user_storage"],
                    ann.sealed(form, ann.value(b"2" * 5000, first["uuid"])),
                    "uuid = %s",
                    first["uuid"],
                )
                until(lambda: values() == [b"2" * 5000])
                there.run(f"DELETE FROM {renamed['user_storage']}")
                until(
                    lambda: quarantined(here) == [("RS004", "deleted at the source, and kept here")]
                )
                there.run(f"TRUNCATE {renamed['user_storage']}")
                there.insert(renamed["user_storage"], ann.sealed(form, ann.value(b"3")))
                until(lambda: values() == [b"2" * 5000, b"3"], patience=60)
            again = Pull(here, url, f"{renamed['user_cards']}=user_cards").once()
            assert again.outcomes == {}
        finally:
            for other in renamed.values():
                there.run(f"DROP TABLE {other}")
