"""Rule 7 with many sessions at once: nothing is lost, nothing archived twice,
nothing but honest conflicts is reported.

What may reach a client: 23505 when a plain INSERT loses a race for a fresh key, 40001, 40P01;
nothing from apply on its own nor from a single-row INSERT … ON CONFLICT under READ COMMITTED.
"""

from __future__ import annotations

import random
import threading
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import psycopg
import pytest
from psycopg.types.json import Json

from kit import model
from kit.db import Db, Server
from kit.example import Owner
from kit.scratch import pgtext
from rowseal.client import Form

SESSIONS, SECONDS = 8, 7
COLUMNS = ["id", "uuid", "value", "deleted_flag", "owner_timestamp", "parent_sign_b64", "sign_b64"]
NAMES, MARKS = ", ".join(COLUMNS), ", ".join(["%s"] * len(COLUMNS))
CHANGE = ", ".join(f"{c} = EXCLUDED.{c}" for c in COLUMNS)
Row = dict[str, Any]


def tables(layout: str) -> str:
    key = "id, uuid, sign_b64" if layout == model.ONE_TABLE else "id, uuid"
    kept = ", versions => 'items_versions'" if layout == model.TWO_TABLES else ""
    return f"""
        CREATE TABLE cards (id bytea PRIMARY KEY, k bytea, deleted_flag boolean,
            owner_timestamp bigint, sign_b64 bytea);
        CREATE TABLE items (id bytea, uuid uuid, value bytea, deleted_flag boolean,
            owner_timestamp bigint, parent_sign_b64 bytea, sign_b64 bytea, PRIMARY KEY ({key}));
        SELECT rowseal.declare('cards', owner => 'id', public_key => 'k', fingerprint => 'sha256');
        SELECT rowseal.declare('items', owner => 'id', identity => 'cards'{kept})"""


class Field:
    """A database of one layout, an owner, and who was told what."""

    def __init__(self, server: Server, database: str, layout: str):
        self.layout = layout
        self.connect: Callable[[], psycopg.Connection[Any]] = lambda: server.connect(
            database, "app"
        )
        self.db = Db(self.connect())
        with server.connect(database) as c:  # deadlocks are to happen, not to be waited for
            Db(c).run(f"ALTER DATABASE {database} SET deadlock_timeout = '50ms'")
        self.db.run(tables(layout))
        self.owner = Owner("Ann")
        self.add(self.owner)
        self.form: Form = self.db.form("items")
        self.acknowledged: list[model.Version] = []
        self.outcomes: Counter[bytes] = Counter()
        self.errors: Counter[tuple[str, str, str]] = Counter()
        self.failures: list[str] = []

    def card(self, owner: Owner) -> dict[str, Any]:
        card = {
            "id": owner.hash,
            "k": owner.public_key,
            "deleted_flag": False,
            "owner_timestamp": 1,
        }
        return owner.envelope(self.db.form("cards"), card)

    def add(self, owner: Owner) -> None:
        assert self.db.apply("cards", [self.card(owner)]) == [("inserted", None)]

    def sealed(
        self,
        key: uuid.UUID,
        timestamp: int,
        value: bytes = b"v",
        owner: Owner | None = None,
        deleted: bool = False,
    ) -> Row:
        o = owner or self.owner
        return o.sealed(
            self.form,
            {
                "id": o.hash,
                "uuid": key,
                "value": value,
                "deleted_flag": deleted,
                "owner_timestamp": timestamp,
                "parent_sign_b64": None,
            },
        )

    def version(self, row: Row) -> model.Version:
        return model.Version(
            row["uuid"],
            row["owner_timestamp"],
            row["deleted_flag"],
            row["sign_b64"],
            tuple(row.values()),
        )

    def write(self, c: psycopg.Connection[Any], door: str, rows: list[Row]) -> None:
        """One statement, its own transaction (under the session's isolation level);
        acknowledged when it returns.
        """
        key = "id, uuid, sign_b64" if self.layout == model.ONE_TABLE else "id, uuid"
        many = ", ".join([f"({MARKS})"] * len(rows))
        values = [v for r in rows for v in r.values()]
        if door == "apply":
            answers = c.execute(
                "SELECT outcome, reason FROM rowseal.apply('items', %s, 'pgtext') ORDER BY ordinal",
                [Json([*map(pgtext, rows)])],
            ).fetchall()
            for row, (outcome, reason) in zip(rows, answers):
                if outcome in ("inserted", "superseded", "archived"):
                    self.outcomes[row["sign_b64"]] += 1
                elif outcome not in ("duplicate", "stale"):
                    raise AssertionError(f"apply answered {outcome} ({reason})")
        elif door == "update":
            r = rows[0]
            Db(c).update("items", r, "id = %s AND uuid = %s", r["id"], r["uuid"])
        elif door == "versions":
            Db(c).run(f"INSERT INTO items_versions ({NAMES}) VALUES {many}", *values)
        else:
            suffix = {
                "insert": "",
                "do nothing": " ON CONFLICT DO NOTHING",
                "do update": f" ON CONFLICT ({key}) DO UPDATE SET {CHANGE}",
            }[door]
            Db(c).run(f"INSERT INTO items ({NAMES}) VALUES {many}{suffix}", *values)
        self.acknowledged += [self.version(r) for r in rows]

    def check(self) -> None:
        assert not self.failures, self.failures[:3]
        expected = model.state(self.layout, self.acknowledged)
        main = self.db.all(f"SELECT {NAMES} FROM items")
        old = (
            self.db.all(f"SELECT {NAMES} FROM items_versions")
            if self.layout == model.TWO_TABLES
            else []
        )
        assert len(old) == len(set(old))
        # rows that were refused with a conflict may not be there;
        # nothing of what was acknowledged may be missing
        assert set(main) == {v.content for v in expected.main}
        assert set(old) == {v.content for v in expected.versions}
        assert self.db.all("SELECT * FROM rowseal.verify('items')") == []


@pytest.fixture(params=model.LAYOUTS, ids=lambda layout: layout.replace(" ", "-"))
def field(server: Server, request: pytest.FixtureRequest) -> Iterator[Field]:
    name = server.database()
    made = Field(server, name, request.param)
    yield made
    made.db.connection.close()
    server.drop(name)


@pytest.fixture
def two(server: Server) -> Iterator[Field]:
    name = server.database()
    made = Field(server, name, model.TWO_TABLES)
    yield made
    made.db.connection.close()
    server.drop(name)


def together(*work: Callable[[], Any], seconds: float = 20) -> None:
    """Run all at once; a hang is a failure."""
    errors: list[BaseException] = []

    def run(w: Callable[[], Any]) -> None:
        try:
            w()
        except BaseException as e:
            errors.append(e)

    threads = [threading.Thread(target=run, args=(w,), daemon=True) for w in work]
    end = time.monotonic() + seconds
    for t in threads:
        t.start()
    for t in threads:
        t.join(max(0.0, end - time.monotonic()))
    assert not any(t.is_alive() for t in threads), f"still waiting after {seconds} s"
    if errors:
        raise errors[0]


class Crowd:
    """Sessions that write rows of the same keys at random; they meet at a gate now and then."""

    def __init__(self, field: Field):
        self.field = field
        self.keys = [uuid.UUID(int=i) for i in range(3)]
        self.pool: list[Row] = []  # what others write as well
        self.gate = threading.Barrier(SESSIONS)
        self.begun = time.monotonic()
        for key in self.keys:  # so that an UPDATE finds them
            field.write(field.db.connection, "insert", [field.sealed(key, 0)])

    def guarded(self, number: int) -> None:
        try:
            self.session(random.Random(number))
        except threading.BrokenBarrierError:
            pass
        finally:
            self.gate.abort()

    def session(self, rng: random.Random) -> None:
        with self.field.connect() as c:
            generation = 0
            while time.monotonic() - self.begun < SECONDS and not self.field.failures:
                generation += 1
                if generation % 8 == 1:
                    self.gate.wait(30)  # all at the same fresh keys at once
                    current = self.keys + self.fresh(generation // 8)
                repeatable = rng.random() < 0.3
                c.isolation_level = (
                    psycopg.IsolationLevel.REPEATABLE_READ
                    if repeatable
                    else psycopg.IsolationLevel.READ_COMMITTED
                )
                door = self.door(rng)
                # DO NOTHING of a fresh key is another test's;
                # UPDATE says nothing of what is not there
                choice = self.keys if door in ("update", "do nothing") else current
                rows = self.rows(rng, door, choice, generation)
                if rows:
                    self.write(c, door, rows, repeatable)

    def fresh(self, generation: int) -> list[uuid.UUID]:
        """A new generation of keys now and then."""
        return [uuid.UUID(int=1000 * (1 + generation % 199) + i) for i in range(3)]

    def door(self, rng: random.Random) -> str:
        doors = ["apply", "apply", "insert", "update", "do update", "do nothing", "versions"]
        door = rng.choice(doors)
        layout = self.field.layout
        useless = (door == "update" and layout == model.ONE_TABLE) or (
            door == "versions" and layout != model.TWO_TABLES
        )
        return "apply" if useless else door

    def rows(
        self, rng: random.Random, door: str, choice: list[uuid.UUID], generation: int
    ) -> list[Row]:
        rows = []
        # plain statements of several rows would deadlock with each other,
        # and the victim may be anybody's
        for _ in range(rng.choice([1, 6]) if door == "apply" else 1):
            if self.pool and rng.random() < 0.5:
                row = rng.choice(self.pool[-40:])
                if row["uuid"] not in choice:
                    continue
            else:
                deleted = rng.random() < 0.1
                row = self.field.sealed(
                    rng.choice(choice),
                    rng.choice([1, 2, generation]),
                    rng.randbytes(rng.choice([4, 3000])),
                    deleted=deleted,
                )
                self.pool.append(row)
            rows.append(row)
        rng.shuffle(rows)
        return rows

    def write(
        self, c: psycopg.Connection[Any], door: str, rows: list[Row], repeatable: bool
    ) -> None:
        field, level = self.field, "repeatable read" if repeatable else "read committed"
        try:
            field.write(c, door, rows)
        except psycopg.Error as e:
            conflicts = repeatable or door not in ("apply", "do update", "do nothing")
            allowed = {"40001", "40P01"} if conflicts else set()
            # the signature is the key of the versions table
            if door in ("insert", "versions"):
                allowed.add("23505")
            field.errors[door, level, str(e.sqlstate)] += 1
            if e.sqlstate not in allowed:
                said = f"{door}, {level}, {len(rows)} rows: {e.sqlstate} {e}"
                field.failures.append(said)
        except AssertionError as e:
            field.failures.append(str(e))


def test_many_sessions_write_the_same_keys(field: Field) -> None:
    crowd = Crowd(field)
    together(*(partial(crowd.guarded, n) for n in range(SESSIONS)), seconds=SECONDS + 30)
    print(
        f"\n{field.layout}: {len(field.acknowledged)} rows acknowledged, conflicts"
        f" {dict(field.errors)}"
    )
    field.check()


def test_apply_in_opposite_order_never_deadlocks(field: Field) -> None:
    keys = [uuid.UUID(int=i) for i in range(40)]

    def session(number: int) -> None:
        with field.connect() as c:
            for turn in range(8):
                rows = [
                    field.sealed(k, 10 * turn + t, bytes([number]))
                    for k in keys[:: 1 if number % 2 else -1]
                    for t in (number % 3, 1)
                ]
                field.write(c, "apply", rows)

    together(*(partial(session, n) for n in range(4)))
    field.check()


def test_the_same_bad_rows_in_opposite_order_never_deadlock(two: Field) -> None:
    bad = [{**two.sealed(uuid.UUID(int=i), 1), "value": b"forged"} for i in range(60)]

    def session(number: int) -> None:
        with two.connect() as c:
            for _ in range(8):
                answers = c.execute(
                    "SELECT outcome FROM rowseal.apply('items', %s, 'pgtext')",
                    [Json([*map(pgtext, bad[:: 1 if number % 2 else -1])])],
                ).fetchall()
                assert {a[0] for a in answers} == {"rejected"}

    together(*(partial(session, n) for n in range(4)))


def test_transactions_of_several_applies_in_opposite_order_end(two: Field) -> None:
    """As two replication workers do, each with a transaction of several rows: one must give way."""
    one, other = uuid.UUID(int=1), uuid.UUID(int=2)
    meet = threading.Barrier(2)
    ended: list[str] = []

    def session(keys: list[uuid.UUID], timestamp: int) -> None:
        with two.connect() as c:
            try:
                with c.transaction():
                    c.execute("SET LOCAL statement_timeout = '8s'")
                    two.write(c, "apply", [two.sealed(keys[0], timestamp)])
                    meet.wait(10)
                    two.write(c, "apply", [two.sealed(keys[1], timestamp)])
                ended.append("committed")
            except psycopg.errors.DeadlockDetected:
                ended.append("gave way")

    together(lambda: session([one, other], 1), lambda: session([other, one], 2))
    assert "committed" in ended and set(ended) <= {"committed", "gave way"}


@pytest.mark.parametrize("suffix", ["do update"])  # DO NOTHING does what it says: docs/limits.md
def test_on_conflict_that_loses_a_race_for_a_fresh_key_still_merges(
    suffix: str, two: Field
) -> None:
    key = uuid.UUID(int=1)
    with two.connect() as a, two.connect() as b:
        with a.transaction():
            two.write(a, suffix, [two.sealed(key, 1)])
            waiting = threading.Thread(target=lambda: two.write(b, suffix, [two.sealed(key, 2)]))
            waiting.start()
            time.sleep(0.3)
        waiting.join(10)
    two.check()


def test_each_version_is_new_once(two: Field) -> None:
    """apply says inserted, superseded or archived to one session, duplicate to all others."""
    rows = [two.sealed(uuid.UUID(int=i % 2), i) for i in range(60)]

    def session(number: int) -> None:
        with two.connect() as c:
            for row in rows:
                two.write(c, "apply", [row])

    together(*(partial(session, n) for n in range(4)))
    two.check()
    assert {two.outcomes[r["sign_b64"]] for r in rows} == {1}


def test_a_row_and_its_owner_s_card_at_the_same_time_end_up_stored(two: Field) -> None:
    """The card comes while the row is on its way into the quarantine: neither sees the other."""
    bob = Owner("Bob")
    row, card = two.sealed(uuid.UUID(int=1), 1, owner=bob), two.card(bob)
    with two.connect() as a, two.connect() as b:
        with a.transaction():
            assert a.execute(
                "SELECT outcome FROM rowseal.apply('items', %s, 'pgtext')", [Json([pgtext(row)])]
            ).fetchone() == ("deferred",)
            bringing = threading.Thread(
                target=lambda: b.execute("SELECT rowseal.apply('cards', %s)", [Json([card])])
            )
            bringing.start()
            bringing.join(0.5)  # it may wait for us, or be done
        bringing.join(10)
    assert two.db.all("SELECT uuid FROM items") == [row["uuid"]]
