"""Every pair of features works together (docs/combinations.md).

A covering array names the tables.  Hypothesis signs rows for each, genuine and forged, and delivers
them to two servers through every door, in different orders.  After each delivery a server must hold
what the model says (kit/expected.py), in the end both the same.
"""

from __future__ import annotations

import json
import os
import subprocess
from base64 import b64decode
from collections import Counter
from collections.abc import Callable, Iterator
from functools import partial
from itertools import combinations
from pathlib import Path
from typing import Any

import psycopg
import pytest
from hypothesis import HealthCheck, Phase, seed, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    precondition,
    rule,
    run_state_machine_as_test,
)

pytest.importorskip("cryptography.hazmat.primitives.asymmetric.mldsa")

from kit import model  # noqa: E402
from kit.combinations import (  # noqa: E402
    FACTORS,
    REFUSED,
    Combination,
    Refused,
    array,
    declaration,
)
from kit.db import Db, Server  # noqa: E402
from kit.expected import SETTLED, Expected, Item, newest_first, turn  # noqa: E402
from kit.scratch import unwell  # noqa: E402
from kit.server import bindir  # noqa: E402
from kit.signed_rows import TOP, Book  # noqa: E402
from rowseal.client.files import import_rows  # noqa: E402


def providers() -> list[str]:
    """Those that are installed."""
    done = subprocess.run([bindir() / "pg_config", "--sharedir"], capture_output=True, text=True)
    there = (Path(done.stdout.strip()) / "extension/pgsodium.control").exists()
    return FACTORS["provider"] if there else ["PyNaCl"]


ARRAY = array({"provider": providers()})
SEED = int(os.environ.get("ROWSEAL_SEED", "1"))
EXAMPLES = int(os.environ.get("ROWSEAL_EXAMPLES", "3"))  # of each table; the first is the dullest
TABLES = ["cards", "grants", "t"]  # in the order in which they were declared


# --------------------------------------------------------------------------------------- a server
class Replica:
    """A database, and what it should hold; each example has two of its own."""

    book: Book

    def __init__(self, server: Server, name: str, c: Combination):
        self.server, self.c = server, c
        self.expected = Expected(c.model, c.digests == "healed")
        self.open(name)

    def open(self, name: str) -> None:
        self.name = name
        self.admin = Db(self.server.connect(name))
        self.db = Db(self.server.connect(name, "app"))
        self.db.run(f"SET default_transaction_isolation = '{self.c.isolation}'")
        self.admin.run("SET session_replication_role = replica")  # as a worker
        self.types = {
            (table, column): type_
            for table, column, type_ in self.admin.all(
                "SELECT attrelid::regclass::text, attname, format_type(atttypid, atttypmod)"
                " FROM pg_attribute WHERE attrelid::regclass::text IN ('cards', 'grants', 't')"
            )
        }

    def close(self) -> None:
        self.admin.connection.close()
        self.db.connection.close()
        self.server.drop(self.name)

    def dump_and_restore(self) -> None:
        """Go on as a copy."""
        at = ["-h", self.server.host, "-p", str(self.server.port), "-U", "postgres"]
        copy = self.server.database("template0")
        dump = subprocess.run([bindir() / "pg_dump", *at, self.name], capture_output=True)
        restore = [bindir() / "psql", "-X", "-q", "-v", "ON_ERROR_STOP=1", *at, copy]
        done = subprocess.run(restore, input=dump.stdout, capture_output=True)
        assert done.returncode == 0 and not dump.stderr, (dump.stderr, done.stderr)
        self.close()
        self.open(copy)

    # -- doors
    def deliver(self, door: str, items: list[Item]) -> None:
        if door in LOTS:
            LOTS[door](self, items)
        else:
            for item in items:
                self.one(door, item)
        self.compare()

    def lot(self, answers: list[tuple[Item, str]]) -> None:
        """What rows that came together were answered is as expected."""
        for item, answer in sorted(answers, key=lambda a: turn(a[0]), reverse=True):
            outcome = self.expected.take(item)
            # what waited for a link may have got in by a row that came with it
            moved = item.row.writer and {answer, outcome} <= SETTLED | {"deferred"}
            assert answer == outcome or moved, f"{answer} instead of {outcome}: {item}"

    def apply(self, format: str, items: list[Item]) -> None:
        for table in ("t", "grants", "cards"):  # on purpose owners last
            lot = [i for i in items if i.table == table]
            rows = [i.envelope if format == "canonical" else self.pgtext(i) for i in lot]
            answers = self.db.apply(table, rows, format) if lot else []
            self.lot([(item, outcome) for item, (outcome, _) in zip(lot, answers)])

    def receive(self, items: list[Item]) -> None:
        query = "SELECT outcome FROM rowseal.receive(%s) ORDER BY ordinal"
        answers = self.db.all(query, json.dumps([i.envelope for i in items]))
        for table in TABLES:
            self.lot([(item, a) for item, a in zip(items, answers) if item.table == table])

    def file(self, items: list[Item]) -> None:
        answers = import_rows(self.db.connection, [json.dumps(i.envelope) for i in items])
        in_order = sorted(newest_first(items), key=lambda i: TABLES.index(i.table))
        outcomes = Counter(self.expected.take(i) for i in in_order)
        assert answers == outcomes or any(i.row.writer for i in items), (answers, outcomes)

    def pgtext(self, item: Item) -> Any:
        casts = ", ".join(
            f"%s::text, %s::{self.type_of(item.table, c)}::text" for c in item.columns
        )
        named = [x for pair in item.columns.items() for x in pair]
        return self.db.one(f"SELECT json_build_object({casts})", *named)

    def type_of(self, table: str, column: str) -> str:
        return self.types[table, column]

    def one(self, door: str, item: Item) -> None:
        """A statement with one row is accepted, or refused with a SQLSTATE of rowseal."""
        outcome = self.expected.outcome(item)
        if not self.fits(door, item):
            door = "insert"
        try:
            if door == "feed":  # where links arrive: never an error
                self.admin.run(
                    "INSERT INTO rowseal.feed (tag, owner, envelope) VALUES (%s, 'x', %s)",
                    item.table, json.dumps(item.envelope),
                )  # fmt: skip
            else:
                self.statement(door, item)
        except psycopg.Error as e:
            assert (e.sqlstate or "").startswith("RS") and outcome not in SETTLED, f"{e}: {item}"
        else:
            assert door == "feed" or outcome in SETTLED, f"{door} accepted {item}"
            self.expected.take(item)

    def fits(self, door: str, item: Item) -> bool:
        """Whether one can come through this door at all."""
        if door in ("update", "merge"):
            tip = model.tips(self.expected.versions()).get(item.version.key)
            there = tip is not None and self.c.model != model.ONE_TABLE
            known = item.version.sign in self.expected.known  # nobody erases or heals by UPDATE
            return item.table == "t" and (door == "merge" or there) and not known
        if door == "versions":
            return item.table == "t" and self.c.layout == model.TWO_TABLES
        return door != "do update" or item.table == "t"

    def statement(self, door: str, item: Item) -> None:
        columns, key = list(item.columns), self.c.conflict
        names = ", ".join(columns)
        values = ", ".join(f"%s::{self.type_of(item.table, c)}" for c in columns)
        row = list(item.columns.values())
        change = partial(", ".join)
        insert = f"INSERT INTO {item.table} ({names}) VALUES ({values})"
        if door == "update":
            sets = change(f"{c} = %s::{self.type_of('t', c)}" for c in columns)
            where = f"user_hash = %s AND k = %s::{self.c.key}"
            self.db.run(
                f"UPDATE t SET {sets} WHERE {where}", *row, item.columns["user_hash"],
                item.columns["k"],
            )  # fmt: skip
        elif door == "merge":
            match = " AND ".join(f"t.{k} = s.{k}" for k in key).replace(".h", ".sign_b64")
            self.db.run(
                f"MERGE INTO t USING (VALUES ({values})) s ({names}) ON {match} WHEN NOT MATCHED"
                f" THEN INSERT ({names}) VALUES ({change(f's.{c}' for c in columns)})"
                f" WHEN MATCHED THEN UPDATE SET {change(f'{c} = s.{c}' for c in columns)}", *row,
            )  # fmt: skip
        elif door == "copy":
            with self.db.connection.cursor().copy(
                f"COPY {item.table} ({names}) FROM STDIN"
            ) as copied:
                copied.write_row(row)
        elif door == "do update":
            sets = change(f"{c} = EXCLUDED.{c}" for c in columns)
            self.db.run(f"{insert} ON CONFLICT ({change(key)}) DO UPDATE SET {sets}", *row)
        elif door == "versions":
            self.db.run(insert.replace("INTO t ", "INTO t_versions "), *row)
        else:
            self.db.run(insert + " ON CONFLICT DO NOTHING" * (door == "do nothing"), *row)

    # -- comparison
    def compare(self) -> None:
        counting = self.expected.counting().values()
        for table in self.book.forms:
            layout = {"cards": model.UNVERSIONED, "t": self.c.model}.get(table, model.ONE_TABLE)
            items = {i.version: i for i in counting if i.table == table}
            want = model.state(layout, items)
            if table != "cards":
                self.same(self.signs(table), {v.sign for v in want.main}, table)
            if layout == model.TWO_TABLES:
                self.same(self.signs("t_versions"), {v.sign for v in want.versions}, "versions")
            if table == "t":
                self.compare_export({items[v] for v in want.main | want.versions})
        self.compare_quarantine()

    def compare_export(self, kept: set[Item]) -> None:
        """It holds what the tables hold, as it was signed, and what is held for a writer."""
        have = self.db.all("SELECT e FROM rowseal.export('t') e")
        held = self.expected.held()
        stored = {spelled(e) for e in have if raw(e["sign_b64"]) not in held}
        assert stored == {spelled(item.envelope) for item in kept}

    def compare_quarantine(self) -> None:
        """Rows that will never count are kept as incurable, or not at all."""
        query = "SELECT curable, \"row\" ->> 'sign_b64' FROM rowseal.quarantine"
        entries = [(curable, raw(sign)) for curable, sign in self.admin.all(query)]
        held, dead = self.expected.held(), self.expected.dead()
        self.same({s for curable, s in entries if curable} - dead, held - dead, "held")
        refused = {s for curable, s in entries if not curable}
        self.same(refused - dead, self.expected.refused - dead, "refused")

    def same(self, have: set[bytes], want: set[bytes], what: str) -> None:
        items = {i.version.sign: i for i in reversed(self.book.items)}
        more, less = [items[s] for s in have - want], [items[s] for s in want - have]
        assert not more + less, f"{what}: {more} too many, {less} missing of {self.book.items}"

    def signs(self, table: str) -> set[bytes]:
        return {raw(s) for s in self.db.all(f"SELECT sign_b64 FROM {table}")}

    def sound(self) -> None:
        assert self.db.all("SELECT * FROM rowseal.verify('t')") == []
        assert unwell(self.admin) == []


def spelled(envelope: dict[str, Any]) -> str:
    return json.dumps(envelope, sort_keys=True)


def raw(signature: str | bytes) -> bytes:
    """A signature, whatever its column is like."""
    if isinstance(signature, bytes):
        return signature
    return bytes.fromhex(signature[2:]) if signature[:2] == "\\x" else b64decode(signature)


LOTS: dict[str, Callable[[Replica, list[Item]], None]] = {
    "canonical": lambda r, items: r.apply("canonical", items),
    "pgtext": lambda r, items: r.apply("pgtext", items),
    "receive": Replica.receive,
    "file": Replica.file,
}
DOORS = [
    *LOTS, "insert", "do nothing", "do update", "update", "copy", "merge", "versions", "feed",
]  # fmt: skip


# ------------------------------------------------------------------------------------- the machine
class Combined(RuleBasedStateMachine):
    """Rows of one combination of features, on two servers."""

    c: Combination
    server: Server
    template: str

    @initialize()
    def begin(self) -> None:
        self.replicas = [
            Replica(self.server, self.server.database(self.template), self.c) for _ in range(2)
        ]
        tables = ["cards", "t"] + ["grants"] * (self.c.writers == "yes")
        self.book = Book(self.c, {t: self.replicas[0].db.form(t) for t in tables})
        self.items = self.book.items
        for replica in self.replicas:
            replica.book = self.book

    @rule(
        k=st.tuples(st.integers(0, 1), st.integers(0, 1)), at=st.integers(0, 3),
        value=st.sampled_from([None, "", "ü\n"]), photo=st.sampled_from([None, b"", b"\0x"]),
        deleted=st.booleans(), parent=st.none() | st.integers(0, 9), bob=st.booleans(),
    )  # fmt: skip
    def write(
        self, k: Any, at: int, value: Any, photo: Any, deleted: bool, parent: Any, bob: bool
    ) -> None:
        owner = self.book.bob if bob else self.book.ann
        self.items.append(
            self.book.data(owner, owner, fields(k, at, value, photo, deleted, parent))
        )

    @precondition(lambda self: self.c.writers == "yes")
    @rule(k=st.integers(0, 1), at=st.integers(0, 3), deleted=st.booleans(), fork=st.booleans())
    def write_for_ann(self, k: int, at: int, deleted: bool, fork: bool) -> None:
        row = fields((k, 0), at, "by the device", None, deleted, None)
        place = 0 if fork else TOP
        self.items.append(self.book.data(self.book.ann, self.book.device, row, place))

    @precondition(lambda self: self.c.writers == "yes")
    @rule(until=st.integers(1, 3), tombstones=st.booleans())
    def grant(self, until: int, tombstones: bool) -> None:
        self.items.append(self.book.grant(until, tombstones))

    @precondition(lambda self: self.c.writers == "yes" and self.book.written())
    @rule(data=st.data())
    def revoke(self, data: st.DataObject) -> None:
        upto = st.lists(st.sampled_from(self.book.written()), max_size=2, unique=True)
        self.items.append(self.book.revocation(data.draw(upto)))

    @precondition(lambda self: any(i.table == "t" for i in self.items))
    @rule(data=st.data(), how=st.sampled_from(["bare", "signature", "value", "owner_timestamp"]))
    def relay(self, data: st.DataObject, how: str) -> None:
        """Somebody passes on another row than he got."""
        item = data.draw(st.sampled_from([i for i in self.items if genuine(i)]))
        if how == "bare":
            if item.columns.get("photo") is not None:
                self.items.append(self.book.bare(item))
        else:
            other = {"value": "forged", "owner_timestamp": 4}
            self.items.append(self.book.forged(item, **{n: other[n] for n in other if n == how}))

    @rule(to=st.integers(0, 1), door=st.sampled_from(DOORS), data=st.data())
    def deliver(self, to: int, door: str, data: st.DataObject) -> None:
        some = data.draw(st.lists(st.sampled_from(self.items), min_size=1, max_size=5))
        self.replicas[to].deliver(door, some)

    def teardown(self) -> None:
        try:
            if any(i.table == "t" for i in self.items):
                self.finish()
        finally:
            for replica in self.replicas:
                replica.close()

    def finish(self) -> None:
        """One goes on as a copy.  Every door once; then everything everywhere."""
        one, other = self.replicas
        if self.c.restored == "yes":
            other.dump_and_restore()
            other.compare()
        one.deliver("receive", self.items[:2])
        for n, door in enumerate(DOORS):
            row = fields((n % 2, n // 2 % 2), n % 5, door, b"photo", n % 3 == 0, n)
            self.items.append(self.book.data(self.book.ann, self.book.ann, row))
            one.deliver(door, [self.items[-1]])
            other.deliver(DOORS[-n], [self.items[-1]])
        one.deliver("canonical", self.items)
        other.deliver("receive", self.items[::-1])
        for replica in self.replicas:
            replica.sound()
        for table in self.book.forms:
            assert one.db.digest(table) == other.db.digest(table)


def genuine(item: Item) -> bool:
    return item.table == "t" and item.row.authentic and not item.bare


def fields(k: Any, at: int, value: Any, photo: Any, deleted: bool, parent: Any) -> dict[str, Any]:
    return {
        "k": k, "value": value, "photo": photo, "deleted_flag": deleted, "owner_timestamp": at,
        "parent_sign_b64": parent,
    }  # fmt: skip


def prepared(server: Server, c: Combination) -> str:
    """A database with what the tables need."""
    name = server.database()
    with server.connect(name) as admin:
        admin.execute("GRANT CREATE ON SCHEMA public TO app; CREATE EXTENSION citext")
        if c.provider == "pgsodium":
            admin.execute("SET pgsodium.enable_event_trigger = 'on'; CREATE EXTENSION pgsodium")
    return name


@pytest.fixture(params=ARRAY, ids=str)
def machine(server: Server, request: pytest.FixtureRequest) -> Iterator[type]:
    c: Combination = request.param
    template = prepared(server, c)
    with server.connect(template, "app") as app:
        Db(app).run(declaration(c))
    made = type("Machine", (Combined,), {"c": c, "server": server, "template": template})
    yield seed(f"{SEED} {c}")(made)
    server.drop(template)


def test_what_goes_together_follows_the_model(machine: type) -> None:
    run_state_machine_as_test(  # type: ignore[no-untyped-call]
        machine,
        settings=settings(
            max_examples=EXAMPLES, stateful_step_count=40, deadline=None, database=None,
            suppress_health_check=list(HealthCheck), report_multiple_bugs=False,
            phases=[Phase.generate],
        ),
    )  # fmt: skip


@pytest.mark.parametrize("refused", REFUSED, ids=lambda r: f"{r.this} {r.other}")
def test_what_does_not_go_together_is_refused_as_the_page_says(
    server: Server, refused: Refused
) -> None:
    c = Combination(**dict([refused.this, refused.other]))
    name = prepared(server, c)
    with server.connect(name, "app") as app:
        said = Db(app).refused(refused.sqlstate, declaration(c))
    server.drop(name)
    assert refused.message.search(said.message_primary or "")


def test_every_pair_that_is_not_refused_is_tried() -> None:
    values = [(factor, value) for factor in FACTORS for value in FACTORS[factor]]
    apart = [{r.this, r.other} for r in REFUSED]
    wanted = {(a, b) for a, b in combinations(values, 2) if a[0] != b[0] and {a, b} not in apart}
    tried = {pair for c in ARRAY for pair in combinations(c._asdict().items(), 2)}
    if FACTORS["provider"] != providers():
        wanted = {pair for pair in wanted if ("provider", "pgsodium") not in pair}
    assert tried == wanted


def test_both_providers_are_tried() -> None:
    if providers() != FACTORS["provider"]:
        pytest.skip("this PostgreSQL does not have the extension pgsodium")
    assert {c.provider for c in ARRAY} == set(FACTORS["provider"])
