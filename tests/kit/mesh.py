"""Servers of their own, linked by the feed, and everything that may happen to them.

``Node`` is one server process, ``Mesh`` three of them with a topology.  ``Mesh.trouble`` writes at
all of them at once while links go down and up, a server is killed, another one joins late, and one
peer sends forged rows. ``Mesh.heal`` waits until all is quiet, ``Mesh.check`` says what is not as
it must be, ``Mesh.stand_still`` what goes on moving.  links/test_mesh_in_trouble.py runs it for
seconds, soak.py for as long as wanted.
"""

from __future__ import annotations

import datetime
import hashlib
import json
import random
import threading
import time
import uuid
from base64 import b64decode, b64encode
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from decimal import Decimal
from typing import Any

import psutil
import psycopg
from psycopg.types.json import Jsonb

from kit import model
from kit.db import Db
from kit.server import LOGICAL, Postgres, ended_by_signals, temporary_folder
from rowseal.client import Form, SigningKey, envelope

COMMON = {**LOGICAL, "shared_buffers": "64MB", "deadlock_timeout": "200ms"}
# Nothing of this may matter.
ODD = [
    {
        "TimeZone": "Asia/Kolkata",
        "DateStyle": "German",
        "IntervalStyle": "sql_standard",
        "bytea_output": "escape",
    },
    {
        "TimeZone": "America/St_Johns",
        "DateStyle": "SQL, DMY",
        "IntervalStyle": "postgres_verbose",
        "extra_float_digits": "-3",
    },
    {
        "TimeZone": "Pacific/Chatham",
        "DateStyle": "Postgres, MDY",
        "IntervalStyle": "postgres",
        "extra_float_digits": "0",
    },
]
LOCALES = ["C", "C.UTF-8", "POSIX"]

TABLES = """
    CREATE TABLE user_cards (user_hash bytea PRIMARY KEY, sign_pkey bytea, name text,
        deleted_flag boolean, owner_timestamp bigint, sign_b64 bytea);
    CREATE TABLE user_storage (user_hash bytea, uuid uuid, value_b64 bytea, note text,
        at timestamptz, span interval, amount numeric, ratio double precision, doc jsonb,
        tags text[], day date, deleted_flag boolean, owner_timestamp bigint, parent_sign_b64 bytea,
        sign_b64 bytea, PRIMARY KEY (user_hash, uuid));
    CREATE TABLE user_notes (LIKE user_storage, PRIMARY KEY (user_hash, uuid, sign_b64));
    CREATE TABLE user_settings (LIKE user_storage, PRIMARY KEY (user_hash, uuid));
    SELECT rowseal.declare('user_cards', owner => 'user_hash', public_key => 'sign_pkey',
        fingerprint => 'sha256', feed => true);
    SELECT rowseal.declare('user_storage', owner => 'user_hash', identity => 'user_cards',
        versions => 'user_storage_versions', feed => true);
    SELECT rowseal.declare('user_notes', owner => 'user_hash', identity => 'user_cards',
        feed => true);
    SELECT rowseal.declare('user_settings', owner => 'user_hash', identity => 'user_cards',
        feed => true);
"""
LAYOUT = {
    "user_storage": model.TWO_TABLES,
    "user_notes": model.ONE_TABLE,
    "user_settings": model.UNVERSIONED,
}
TOPOLOGIES: dict[str, list[tuple[int, int]]] = {  # (from, to)
    "chain": [(0, 1), (1, 0), (1, 2), (2, 1)],
    "ring": [(0, 1), (1, 2), (2, 0)],
    "full mesh": [(i, j) for i in range(3) for j in range(3) if i != j],
}


class Node(Postgres):
    """One of the servers, with the few words that are said to it most often."""

    def kill(self) -> None:
        """SIGKILL to the server and all of its processes, at once:
        what a crash leaves is on disk or nowhere.
        """
        assert self.process is not None
        children = psutil.Process(self.process.pid).children(recursive=True)
        self.process.kill()
        for child in children:
            with suppress(psutil.NoSuchProcess):
                child.kill()
        self.process.wait()
        psutil.wait_procs(children, timeout=10)
        self.process = None

    def connect(self, dbname: str, user: str = "postgres") -> psycopg.Connection[Any]:
        c = super().connect(dbname, user)
        c.prepare_threshold = None
        return c

    def all(self, dbname: str, sql: str, *args: Any) -> list[Any]:
        """All rows; of a single column, its values."""
        with self.connect(dbname) as c:
            rows = c.execute(sql, args or None).fetchall()  # type: ignore[arg-type]
        return [r[0] if len(r) == 1 else r for r in rows]

    def one(self, dbname: str, sql: str, *args: Any) -> Any:
        (row,) = self.all(dbname, sql, *args)
        return row

    def run(self, dbname: str, *statements: str) -> None:
        with self.connect(dbname) as c:
            for s in statements:
                c.execute(s)  # type: ignore[arg-type]


@contextmanager
def nodes(count: int = 3) -> Iterator[list[Node]]:
    """Servers in a temporary folder, each with other settings."""
    with ended_by_signals(), temporary_folder("mesh") as folder, ExitStack() as stack:
        made = []
        for i in range(count):
            settings = {**COMMON, **ODD[i % len(ODD)]}
            node = Node(folder, "abcdefgh"[i], settings, LOCALES[i % len(LOCALES)])
            stack.enter_context(node)
            made.append(node)
        yield made


class Person:
    """An owner with a deterministic key."""

    def __init__(self, rng: random.Random):
        self.key = SigningKey(rng.randbytes(32))
        self.public_key = bytes(self.key.verify_key)
        self.hash = hashlib.sha256(self.public_key).digest()


class Problem(AssertionError):
    """Something is not as it must be."""


class Mesh:
    """Three servers, one database of each, and the links between them."""

    def __init__(
        self,
        servers: list[Node],
        dbname: str,
        topology: str,
        seed: int,
        say: Callable[[str], None] = lambda _: None,
    ):
        self.nodes, self.db, self.links, self.seed, self.say = (
            servers,
            dbname,
            TOPOLOGIES[topology],
            seed,
            say,
        )
        self.rng = random.Random(seed)
        self.linked: list[tuple[int, int]] = []
        # sign_b64: envelope
        self.accepted: dict[str, dict[str, dict[str, Any]]] = {
            tag: {} for tag in ("user_cards", *LAYOUT)
        }
        self.refused: dict[str, int] = {}
        self.forged = self.retried = 0
        self.lock = threading.Lock()
        self.failures: list[str] = []
        for node in self.nodes:
            node.run(
                "postgres",
                f"DROP DATABASE IF EXISTS {dbname} WITH (FORCE)",
                f"CREATE DATABASE {dbname}",
            )
            node.run(
                dbname,
                "CREATE EXTENSION dblink",
                "CREATE EXTENSION pg_walinspect",
                "CREATE EXTENSION rowseal CASCADE",
                TABLES,
                "SELECT rowseal.publish()",
            )
        fields = dict(
            self.nodes[0].all(dbname, "SELECT tag, spec -> 'fields' FROM rowseal.declarations")
        )
        self.forms = {tag: Form(tag, f) for tag, f in fields.items()}
        self.people = [Person(self.rng) for _ in range(3)]
        self.keys = {
            tag: [uuid.UUID(int=self.rng.getrandbits(128)) for _ in range(4)] for tag in LAYOUT
        }
        for person in self.people:  # known everywhere from the start
            card = envelope(self.forms["user_cards"], self.card(person), person.key)
            for node in self.nodes:
                self.apply(node, "user_cards", [card])

    # --------------------------------------------------------------------------------------- links
    def _name(self, source: int, target: int) -> str:
        return f"{self.db}_{self.nodes[source].name}_{self.nodes[target].name}"

    def link(self, source: int, target: int) -> None:
        there = self.nodes[source].conninfo(self.db)
        for attempt in range(5):
            try:
                with self.nodes[target].connect(self.db) as c:
                    c.execute("SET statement_timeout = '60s'")
                    took = c.execute(
                        "SELECT * FROM rowseal.subscribe(%s, %s)",
                        (self._name(source, target), there),
                    ).fetchall()
                break
            except (
                psycopg.errors.DeadlockDetected
            ):  # it takes over the state in one transaction, while others write
                self.retried += 1
                if attempt == 4:
                    raise
        self.linked.append((source, target))
        self.say(f"{self.nodes[target].name} follows {self.nodes[source].name}: {took}")

    def enable(self, source: int, target: int, on: bool) -> None:
        self.nodes[target].run(
            self.db,
            f"ALTER SUBSCRIPTION {self._name(source, target)} {'ENABLE' if on else 'DISABLE'}",
        )

    def drop(self) -> None:
        """Take links and databases away."""
        for source, target in self.linked:
            self.nodes[target].all(
                self.db, "SELECT rowseal.unsubscribe(%s)", self._name(source, target)
            )
        for node in self.nodes:
            node.run("postgres", f"DROP DATABASE {self.db} WITH (FORCE)")

    # ------------------------------------------------------------------------------------- content
    def card(self, person: Person, name: str = "Ann", timestamp: int = 1) -> dict[str, Any]:
        return {
            "user_hash": person.hash,
            "sign_pkey": person.public_key,
            "name": name,
            "deleted_flag": False,
            "owner_timestamp": timestamp,
        }

    def row(
        self, rng: random.Random, tag: str, person: Person, last: Mapping[str, Any] | None
    ) -> dict[str, Any]:
        """A random version; on top of ``last`` it often leaves the large value alone,
        or moves little in time.
        """
        large = rng.random() < 0.3
        value = rng.randbytes(rng.choice([9_000, 20_000]) if large else rng.randrange(40))
        if last is not None and rng.random() < 0.5:
            value = last["value_b64"]
        deleted = rng.random() < 0.15
        moment = datetime.datetime(2026, 1, 1, tzinfo=datetime.timezone.utc) + datetime.timedelta(
            microseconds=rng.getrandbits(45)
        )
        return {
            "user_hash": person.hash,
            "uuid": rng.choice(self.keys[tag]),
            "value_b64": None if deleted else value,
            "note": rng.choice([None, "", "null", "a\tb\\N", "Ünïcödé 💾"]),
            "at": moment,
            "span": rng.choice(["P1Y2M3DT4H5M6.789S", "PT-0.5S", "P1D"]),
            "amount": Decimal(rng.getrandbits(40)).scaleb(-rng.randrange(6)),
            "ratio": rng.choice([0.1, -0.0, 1e300, 5e-324, rng.random()]),
            "doc": json.dumps({"n": rng.random(), "x": [None, True, rng.getrandbits(30)]}),
            "tags": rng.choice([None, [], ["a,b", None, 'q"']]),
            "day": moment.date(),
            "deleted_flag": deleted,
            "owner_timestamp": rng.randrange(5)
            if rng.random() < 0.2
            else time.time_ns() // rng.choice([1_000, 1_000_000_000]),
            "parent_sign_b64": last["sign_b64"]
            if last is not None and last["user_hash"] == person.hash
            else None,
        }

    # ------------------------------------------------------------------------------------- writers
    def _took(self, tag: str, envelopes: list[dict[str, Any]]) -> None:
        with self.lock:
            for e in envelopes:
                self.accepted[tag][e["sign_b64"]] = e

    def apply(
        self,
        node: Node,
        tag: str,
        envelopes: list[dict[str, Any]],
        c: psycopg.Connection[Any] | None = None,
    ) -> None:
        """What apply accepts or defers must be everywhere in the end."""
        with c.transaction() if c else node.connect(self.db) as opened:
            answers = (
                (c or opened)
                .execute("SELECT * FROM rowseal.apply(%s, %s)", (tag, Jsonb(envelopes)))
                .fetchall()
            )
        bad = [
            a
            for a in answers
            if a[1] not in ("inserted", "superseded", "archived", "stale", "duplicate", "deferred")
        ]
        if bad:
            self.failures.append(f"apply on {node.name} refused a genuine row: {bad}")
        self._took(tag, envelopes)

    def writer(self, number: int, index: int, until: float) -> None:
        """Write at one server until then; whatever its server goes through, come back."""
        rng = random.Random(f"{self.seed}/{number}")
        node = self.nodes[index]
        last: dict[tuple[str, Any], dict[str, Any]] = {}
        while time.monotonic() < until:
            try:
                with node.connect(self.db) as c:
                    while time.monotonic() < until:
                        self._write(rng, node, c, last)
                        time.sleep(rng.random() * 0.05)
            except (
                psycopg.OperationalError
            ):  # the server is down; what was not acknowledged may be there or not
                time.sleep(0.2)
            except Exception as e:
                self.failures.append(f"writer {number} at {node.name}: {type(e).__name__} {e}")
                return

    def _write(
        self,
        rng: random.Random,
        node: Node,
        c: psycopg.Connection[Any],
        last: dict[tuple[str, Any], dict[str, Any]],
    ) -> None:
        if rng.random() < 0.03:  # somebody new, or a known person by another name
            person = Person(rng) if rng.random() < 0.5 else rng.choice(self.people)
            card = self.card(person, rng.choice(["Ann", "Bob"]), time.time_ns() // 1000)
            self.apply(
                node, "user_cards", [envelope(self.forms["user_cards"], card, person.key)], c
            )
            with self.lock:
                if person not in self.people and len(self.people) < 12:
                    self.people.append(person)
        tag = rng.choice(list(LAYOUT))
        rows = []
        for _ in range(rng.choice([1, 1, 1, 4])):
            with self.lock:
                person = rng.choice(self.people)
            row = self.row(rng, tag, person, last.get((tag, person.hash)))
            sealed = envelope(self.forms[tag], row, person.key)
            last[tag, person.hash] = {**row, "sign_b64": b64decode(sealed["sign_b64"])}
            rows.append((last[tag, person.hash], sealed))
        door = rng.choice(["apply", "insert", "on conflict", "update"])
        if door == "apply":
            self.apply(node, tag, [e for _, e in rows], c)
            return
        columns = list(rows[0][0])
        names, marks = ", ".join(columns), ", ".join(["%s"] * len(columns))
        change = ", ".join(f"{n} = EXCLUDED.{n}" for n in columns)
        sql = f"INSERT INTO {tag} ({names}) VALUES ({marks})"
        if door == "on conflict":
            sql += (
                " ON CONFLICT DO NOTHING"
                if tag == "user_notes"
                else f" ON CONFLICT (user_hash, uuid) DO UPDATE SET {change}"
            )
        for row, sealed in rows:
            values = list(row.values())
            try:
                if door == "update" and tag != "user_notes":
                    where = "user_hash = %s AND uuid = %s"
                    # an UPDATE of what is not there says nothing: ask before
                    key = (row["user_hash"], row["uuid"])
                    if not Db(c).all(f"SELECT 1 FROM {tag} WHERE {where}", *key):
                        continue
                    Db(c).update(tag, row, where, *key)
                else:
                    Db(c).run(sql, *values)
            except psycopg.Error as e:
                # unknown owner: the card is still on its way; a plain INSERT may lose a race for a
                # fresh key; a deadlock is possible between the workers and anybody
                allowed = {"RS002", "40P01"} | ({"23505"} if door != "on conflict" else set())
                if e.sqlstate is None or e.sqlstate in ("57P01", "57P02", "57P03", "25006"):
                    raise
                if e.sqlstate not in allowed:
                    raise Problem(f"{door} into {tag}: {e.sqlstate} {e}") from e
                self.refused[e.sqlstate] = self.refused.get(e.sqlstate, 0) + 1
            else:
                self._took(tag, [sealed])

    def forge(self, rng: random.Random, index: int) -> None:
        """The superuser of one server puts bad rows into its feed, past its own trigger,
        so that they travel.
        """
        with self.lock:
            genuine = [e for tag in LAYOUT for e in list(self.accepted[tag].values())[-3:]]
        if not genuine:
            return
        changed = json.loads(json.dumps(rng.choice(genuine)))
        tag = changed["table"]
        bad: list[tuple[Any, Any]] = []
        row = changed["row"]
        row["owner_timestamp"] = str(int(row["owner_timestamp"]) + 10**15)  # re-dated, so as to win
        bad.append((tag, changed))
        mallory = Person(rng)
        bad.append(
            (tag, {**changed, "sign_b64": b64encode(mallory.key.sign(b"x").signature).decode()})
        )
        bad.append((tag, {**rng.choice(genuine), "sign_b64": "!"}))
        bad.append(
            (
                "user_cards",
                envelope(
                    self.forms["user_cards"],
                    {**self.card(mallory), "user_hash": self.people[0].hash},
                    mallory.key,
                ),
            )
        )
        bad.append(
            (
                tag,
                rng.choice(
                    [
                        {},
                        [],
                        [1],
                        "x",
                        1,
                        None,
                        {"row": 1},
                        {"row": {}},
                        {"row": {"uuid": "x"}, "sign_b64": 1},
                    ]
                ),
            )
        )
        bad.append((tag, {**changed, "row": {**row, "owner_timestamp": "9" * 40}}))
        bad.append((tag, {**changed, "row": {**row, "at": "yesterday-ish", "ratio": "1e999"}}))
        bad.append(("no_such_table", changed))
        bad.append((tag, {**changed, "row": {**row, "surplus": "column"}}))
        insert = "INSERT INTO rowseal.feed (tag, owner, envelope) VALUES (%s, 'x', %s)"
        try:
            with self.nodes[index].connect(self.db) as c:
                for tag, e in bad:  # a claim by hand: quarantined here
                    c.execute(insert, (tag, Jsonb(e)))
                with c.transaction():
                    c.execute("SET LOCAL lock_timeout = '5s'")
                    c.execute("ALTER TABLE rowseal.feed DISABLE TRIGGER arrive")
                    for tag, e in bad:
                        c.execute(insert, (tag, Jsonb(e)))
                    c.execute("ALTER TABLE rowseal.feed ENABLE ALWAYS TRIGGER arrive")
            self.forged += len(bad)
        except (
            psycopg.OperationalError,
            psycopg.errors.LockNotAvailable,
            psycopg.errors.DeadlockDetected,
        ):
            pass

    # ------------------------------------------------------------------------------------- trouble
    def trouble(
        self, seconds: float, late: int = 2, victim: int = 1, forger: int = 0, writers: int = 1
    ) -> None:
        """Link all but one, write everywhere, disturb, let the late one in,
        kill one and start it again.
        """
        first = [x for x in self.links if late not in x]
        for x in first:
            self.link(*x)
        until = time.monotonic() + seconds
        work = [(i * writers + j, i) for i in range(len(self.nodes)) for j in range(writers)]
        threads = [
            threading.Thread(target=self.writer, args=(*w, until), daemon=True) for w in work
        ]
        for t in threads:
            t.start()
        begun, off = time.monotonic(), set[tuple[int, int]]()
        joined = killed = False
        try:
            while time.monotonic() < until:
                time.sleep(0.2 + self.rng.random() * 0.5)
                passed = (time.monotonic() - begun) / seconds
                if passed > 0.25 and not joined:
                    joined = True
                    for x in self.links:
                        if x not in first:
                            self.link(*x)
                elif passed > 0.6 and not killed:
                    killed = True
                    self.say(f"SIGKILL to {self.nodes[victim].name}")
                    self.nodes[victim].kill()
                    time.sleep(1)
                    self.nodes[victim].start()
                elif self.rng.random() < 0.4:
                    self.forge(self.rng, forger)
                elif self.linked:
                    x = self.rng.choice(self.linked)
                    self.enable(*x, on=x in off)
                    off ^= {x}
            for _ in range(20):  # where the draws have left it out, or its server was not there
                if not self.forged:
                    self.forge(self.rng, forger)
            if not self.forged:
                self.failures.append("no forged row was sent")
        finally:
            for t in threads:
                t.join(60)
            if any(t.is_alive() for t in threads):
                self.failures.append("a writer hangs: " + self.activity())
        for x in off:
            self.enable(*x, on=True)

    def activity(self) -> str:
        """What the servers' processes are waiting for."""
        sql = (
            "SELECT pid, backend_type, state, wait_event_type, wait_event, left(query, 100)"
            " FROM pg_stat_activity WHERE datname = %s AND pid <> pg_backend_pid()"
        )
        return "; ".join(f"{n.name}: {n.all('postgres', sql, self.db)}" for n in self.nodes)

    def counts(self) -> list[tuple[int, ...]]:
        return [
            n.one(
                self.db,
                "SELECT (SELECT count(*) FROM rowseal.feed), (SELECT sum(attempts)"
                " FROM rowseal.quarantine)",
            )
            for n in self.nodes
        ]

    def heal(self, timeout: float = 40) -> float:
        """Wait until every link has handed over everything and nothing moves any more;
        seconds that it took.
        """
        begun = time.monotonic()
        while time.monotonic() - begun < timeout:
            before = self.counts()
            ends = {
                n.name: n.one(self.db, "SELECT pg_current_wal_insert_lsn()::text")
                for n in self.nodes
            }
            behind = []
            for source, target in self.linked:
                sql = (
                    "SELECT coalesce(confirmed_flush_lsn >= %s, false) FROM pg_replication_slots"
                    " WHERE slot_name = %s"
                )
                name = self._name(source, target)
                # ends of transactions are confirmed;
                # something must be committed after the last one for it to show
                self.nodes[source].run(
                    self.db, "SELECT pg_logical_emit_message(true, 'rowseal', 'end')"
                )
                for _ in range(20):
                    if self.nodes[source].one(self.db, sql, ends[self.nodes[source].name], name):
                        break
                    time.sleep(0.1)
                else:
                    behind.append(name)
            if not behind and self.counts() == before:
                return time.monotonic() - begun
        raise Problem(
            f"not quiet after {timeout} s: behind {behind}; {before} then {self.counts()};"
            f" {self.activity()}\n{self.errors()}"
        )

    def errors(self) -> str:
        lines = [
            f"{n.name} {line}"
            for n in self.nodes
            for line in n.log().splitlines()
            if ("ERROR" in line and "unknown owner" not in line)
            or "PANIC" in line
            or "TRAP" in line
        ]
        return "\n".join(lines[-15:])

    def stand_still(self, seconds: float = 2.0) -> str:
        """Watch while nobody writes: raise Problem when a row changes or a worker fails,
        else say what else went into the WAL.

        Autovacuum, checkpoints and decoding write as they like.  An envelope that circulates and a
        row that is tried again and again show as records of the heap or of a sequence, in tables
        that are not the catalog's.
        """
        sql = """
            SELECT CASE WHEN r.resource_manager IN ('Heap', 'Sequence')
                   OR r.record_type LIKE 'MULTI_INSERT%%' THEN b.relation::text END,
                   r.resource_manager || '/' || r.record_type, count(*), sum(r.record_length)::int
              FROM pg_get_wal_records_info(%s, %s) r
              LEFT JOIN LATERAL (
                SELECT coalesce((SELECT c.oid FROM pg_class c WHERE c.reltoastrelid = id),
                    id)::regclass
                  FROM regexp_match(r.block_ref, 'rel ([0-9]+)/([0-9]+)/([0-9]+) ') m,
                  pg_filenode_relation(m[1]::oid, m[3]::oid) id
                 WHERE m[2] = (SELECT oid::text FROM pg_database WHERE datname = current_database())
                 AND id >= 16384 ) b(relation) ON true GROUP BY 1, 2 ORDER BY 1, 2"""
        failures = "SELECT coalesce(sum(apply_error_count), 0)::int FROM pg_stat_subscription_stats"
        begun = [
            (n.one(self.db, "SELECT pg_current_wal_insert_lsn()::text"), n.one(self.db, failures))
            for n in self.nodes
        ]
        time.sleep(seconds)
        moved: list[str] = []
        rest: Counter[str] = Counter()
        for n, (begin, failed) in zip(self.nodes, begun):
            # at least one record to read
            n.run(self.db, "SELECT pg_logical_emit_message(true, 'rowseal', 'end')")
            for relation, kind, count, size in n.all(
                self.db, sql, begin, n.one(self.db, "SELECT pg_current_wal_flush_lsn()::text")
            ):
                if relation:
                    moved.append(f"{n.name}: {count} x {kind} in {relation}")
                else:
                    rest[kind] += size
            if (now := n.one(self.db, failures)) > failed:
                moved.append(f"{n.name}: workers failed {now - failed} times")
        said = (
            f"{sum(rest.values())} bytes of WAL"
            f" ({', '.join(f'{k} {v}' for k, v in rest.most_common(4))})"
        )
        if moved:
            raise Problem(
                f"in {seconds:g} s without a writer: {'; '.join(moved)}; beside that"
                f" {said}\n{self.activity()}\n{self.errors()}"
            )
        return said

    # --------------------------------------------------------------------------------------- check
    def check(self) -> None:
        """Raise Problem for whatever is not as promised."""
        wrong = list(self.failures)
        tags = ["user_cards", *LAYOUT]
        exported: dict[tuple[str, str], dict[str, dict[str, Any]]] = {}
        for tag in tags:
            digests = {n.name: n.one(self.db, "SELECT rowseal.digest(%s)", tag) for n in self.nodes}
            if len(set(digests.values())) > 1:
                wrong.append(
                    f"digests of {tag} differ: { {k: v.hex()[:12] for k, v in digests.items()} }"
                )
            for n in self.nodes:
                exported[tag, n.name] = {
                    e["sign_b64"]: e
                    for e in n.all(self.db, "SELECT e FROM rowseal.export(%s) e", tag)
                }
                if bad := n.all(self.db, "SELECT key::text, problem FROM rowseal.verify(%s)", tag):
                    wrong.append(f"{tag} on {n.name}: {bad[:3]}")
        for n in self.nodes:
            for tag in tags:
                have, layout = exported[tag, n.name], LAYOUT.get(tag, model.UNVERSIONED)
                accepted = self.accepted[tag]
                if layout == model.UNVERSIONED:
                    current = model.tips(map(version, {**accepted, **have}.values())).values()
                    lost = [s for s in map(_sign, current) if s not in have]
                else:
                    lost = [s for s in accepted if s not in have]
                if lost:
                    where = n.all(
                        self.db,
                        "SELECT row -> 'row' ->> 'user_hash', sqlstate, curable"
                        " FROM rowseal.quarantine WHERE row ->> 'sign_b64' = ANY (%s)",
                        lost,
                    )
                    wrong.append(
                        f"{len(lost)} accepted versions of {tag} are not on {n.name}, e.g."
                        f" {lost[0][:20]}; quarantine has {where[:3]}"
                    )
            main, old = (
                set(n.all(self.db, f"SELECT encode(sign_b64, 'base64') FROM {t}"))
                for t in ("user_storage", "user_storage_versions")
            )
            expected = model.state(
                model.TWO_TABLES, map(version, exported["user_storage", n.name].values())
            )
            strip = lambda s: {x.replace("\n", "") for x in s}  # noqa: E731
            if (strip(main), strip(old)) != (
                {_sign(v) for v in expected.main},
                {_sign(v) for v in expected.versions},
            ):
                wrong.append(f"user_storage on {n.name} is not what the model says")
            stuck = n.all(
                self.db,
                "SELECT q.tag, q.role, q.subscription, q.attempts, q.first_seen::text,"
                " q.row ->> 'sign_b64' FROM rowseal.quarantine q WHERE q.sqlstate = 'RS002'"
                " AND EXISTS (SELECT FROM user_cards c WHERE encode(c.user_hash,"
                " 'base64') = q.row -> 'row' ->> 'user_hash')",
            )
            kinds = Counter(
                "stored"
                if sign in exported.get((tag, n.name), {})
                else "genuine"
                if sign in self.accepted.get(tag, {})
                else "forged"
                for tag, *_, sign in stuck
            )
            if stuck:
                wrong.append(
                    f"quarantine of {n.name} waits for owners that are known: {dict(kinds)},"
                    f" e.g. {stuck[0][:-1]}"
                )
            if bad := n.all(
                self.db, 'SELECT "check", relation::text, detail FROM rowseal.health() WHERE NOT ok'
            ):
                wrong.append(f"health of {n.name}: {bad}")
        for source, target in self.linked:
            sql = (
                "SELECT s.subenabled, p.pid IS NOT NULL FROM pg_subscription s LEFT"
                " JOIN pg_stat_subscription p ON p.subid = s.oid WHERE s.subname = %s"
            )
            if self.nodes[target].all(self.db, sql, self._name(source, target)) != [(True, True)]:
                wrong.append(f"link {self._name(source, target)} does not follow")
        for n in self.nodes:
            crashed = [
                line
                for line in n.log().splitlines()
                if "PANIC" in line or "TRAP" in line or "was terminated by signal 11" in line
            ]
            if crashed:
                wrong.append(f"{n.name}: {crashed[:3]}")
        if wrong:
            raise Problem("\n".join([*wrong, self.errors()]))

    def summary(self) -> str:
        versions = sum(len(self.accepted[t]) for t in LAYOUT)
        quarantined = [
            n.one(self.db, "SELECT count(*) FROM rowseal.quarantine") for n in self.nodes
        ]
        retried = [
            n.one(self.db, "SELECT sum(apply_error_count)::int FROM pg_stat_subscription_stats")
            for n in self.nodes
        ]
        return (
            f"{versions} versions and {len(self.accepted['user_cards'])} cards accepted,"
            f" {self.forged} forged ones sent, refused to writers {self.refused},"
            f" quarantine {quarantined}, workers' errors {retried}, subscribe repeated"
            f" {self.retried} times"
        )


def version(e: Mapping[str, Any]) -> model.Version:
    """An envelope as the model sees it."""
    row = e["row"]
    key = (row["user_hash"], row.get("uuid"))
    return model.Version(
        key, int(row["owner_timestamp"]), row["deleted_flag"], b64decode(e["sign_b64"]), ()
    )


def _sign(v: model.Version) -> str:
    return b64encode(v.sign).decode()


def measure(servers: list[Node], rows: int = 2000, size: int = 200) -> str:
    """Rows per second through one link, and bytes of WAL per row on both sides."""
    a, b = servers[:2]
    lsn = "SELECT pg_wal_lsn_diff(pg_current_wal_insert_lsn(), '0/0')::bigint"
    for n in (a, b):
        n.run("postgres", "CREATE DATABASE measured")
        n.run(
            "measured",
            "CREATE EXTENSION dblink",
            "CREATE EXTENSION rowseal CASCADE",
            TABLES,
            "SELECT rowseal.publish()",
        )
        n.run(
            "measured",
            "CREATE TABLE plain (user_hash bytea, uuid uuid, value_b64 bytea,"
            " deleted_flag boolean, owner_timestamp bigint,"
            " parent_sign_b64 bytea, sign_b64 bytea, PRIMARY KEY (user_hash, uuid))",
            "SELECT rowseal.declare('plain', owner => 'user_hash', identity => 'user_cards')",
        )
    rng = random.Random(1)
    person = Person(rng)
    forms = {
        tag: Form(tag, f)
        for tag, f in a.all("measured", "SELECT tag, spec -> 'fields' FROM rowseal.declarations")
    }
    card = {
        "user_hash": person.hash,
        "sign_pkey": person.public_key,
        "name": "Ann",
        "deleted_flag": False,
        "owner_timestamp": 1,
    }

    def batch(tag: str) -> list[dict[str, Any]]:
        return [
            envelope(
                forms[tag],
                {
                    "user_hash": person.hash,
                    "uuid": uuid.UUID(int=rng.getrandbits(128)),
                    "value_b64": rng.randbytes(size),
                    "deleted_flag": False,
                    "owner_timestamp": i,
                },
                person.key,
            )
            for i in range(rows)
        ]

    def write(tag: str) -> float:
        sealed = batch(tag)
        before = a.one("measured", lsn)
        for i in range(0, rows, 500):
            a.all(
                "measured",
                "SELECT count(*) FROM rowseal.apply(%s, %s)",
                tag,
                Jsonb(sealed[i : i + 500]),
            )
        return (a.one("measured", lsn) - before) / rows  # type: ignore[no-any-return]

    try:
        a.all(
            "measured",
            "SELECT * FROM rowseal.apply('user_cards', %s)",
            Jsonb([envelope(forms["user_cards"], card, person.key)]),
        )
        b.all("measured", "SELECT * FROM rowseal.subscribe('measured', %s)", a.conninfo("measured"))
        b.run("measured", "ALTER SUBSCRIPTION measured DISABLE")
        for n in (a, b):
            # images of whole pages are the first change's, not the row's
            n.run("postgres", "CHECKPOINT")
        without, with_feed = write("plain"), write("user_settings")
        before, begun = b.one("measured", lsn), time.monotonic()
        b.run("measured", "ALTER SUBSCRIPTION measured ENABLE")
        first = last = 0.0
        while (
            n_rows := b.one("measured", "SELECT count(*) FROM user_settings")
        ) < rows and time.monotonic() - begun < 60:
            if not first and n_rows:
                first = time.monotonic()
            time.sleep(0.02)
        last = time.monotonic()
        there = (b.one("measured", lsn) - before) / rows
        return (
            f"one link: {rows / (last - begun):.0f} rows/s ({size} bytes of value, batches of 500,"
            " from ALTER SUBSCRIPTION ENABLE);"
            f" WAL per row: {without:.0f} bytes without feed, {with_feed:.0f} with,"
            f" {there:.0f} at the subscriber"
        )
    finally:
        with suppress(psycopg.Error):
            b.all("measured", "SELECT rowseal.unsubscribe('measured')")
        for n in (a, b):
            with suppress(psycopg.Error):
                n.run("postgres", "DROP DATABASE measured WITH (FORCE)")
