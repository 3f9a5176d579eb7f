"""What is written at the servers of a mesh: genuine rows by every door, forged ones by the feed."""

from __future__ import annotations

import datetime
import hashlib
import json
import random
import threading
import time
import uuid
from base64 import b64decode, b64encode
from collections.abc import Mapping
from decimal import Decimal
from typing import Any

import psycopg
from psycopg.types.json import Json

from kit import model
from kit.db import Db
from kit.nodes import Node
from rowseal.client import Form, SigningKey, envelope

Envelope = dict[str, Any]

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
INSERT_FEED = "INSERT INTO rowseal.feed (tag, owner, envelope) VALUES (%s, 'x', %s)"
NO_ENVELOPES = [
    {}, [], [1], "x", 1, None, {"row": 1}, {"row": {}}, {"row": {"uuid": "x"}, "sign_b64": 1},
]  # fmt: skip


class Problem(AssertionError):
    """Something is not as it must be."""


class Person:
    """An owner with a deterministic key."""

    def __init__(self, rng: random.Random):
        self.key = SigningKey(rng.randbytes(32))
        self.public_key = bytes(self.key.verify_key)
        self.hash = hashlib.sha256(self.public_key).digest()

    def card(self, name: str = "Ann", timestamp: int = 1) -> dict[str, Any]:
        return {
            "user_hash": self.hash,
            "sign_pkey": self.public_key,
            "name": name,
            "deleted_flag": False,
            "owner_timestamp": timestamp,
        }


BEGIN = datetime.datetime(2026, 1, 1, tzinfo=datetime.timezone.utc)


def random_time(rng: random.Random) -> int:
    """Now, in microseconds or seconds, or one of few small numbers."""
    if rng.random() < 0.2:
        return rng.randrange(5)
    return time.time_ns() // rng.choice([1_000, 1_000_000_000])


def random_row(
    rng: random.Random, keys: list[uuid.UUID], person: Person, last: Mapping[str, Any] | None
) -> dict[str, Any]:
    """A random version; on top of ``last`` it often leaves the large value alone."""
    large = rng.random() < 0.3
    value = rng.randbytes(rng.choice([9_000, 20_000]) if large else rng.randrange(40))
    if last is not None and rng.random() < 0.5:
        value = last["value_b64"]
    parent = last if last is not None and last["user_hash"] == person.hash else None
    deleted = rng.random() < 0.15
    moment = BEGIN + datetime.timedelta(microseconds=rng.getrandbits(45))
    return {
        "user_hash": person.hash,
        "uuid": rng.choice(keys),
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
        "owner_timestamp": random_time(rng),
        "parent_sign_b64": parent and parent["sign_b64"],
    }


class Traffic:
    """Writers at all servers; ``accepted`` has what must be everywhere in the end."""

    def __init__(self, nodes: list[Node], db: str, seed: int, rng: random.Random):
        self.nodes, self.db, self.seed = nodes, db, seed
        # per tag, sign_b64: envelope
        self.accepted: dict[str, dict[str, Envelope]] = {t: {} for t in ("user_cards", *LAYOUT)}
        self.refused: dict[str, int] = {}
        self.forged = 0
        self.lock = threading.Lock()
        self.failures: list[str] = []
        fields = nodes[0].all(db, "SELECT tag, spec -> 'fields' FROM rowseal.declarations")
        self.forms = {tag: Form(tag, f) for tag, f in fields}
        self.people = [Person(rng) for _ in range(3)]
        self.keys = {tag: [uuid.UUID(int=rng.getrandbits(128)) for _ in range(4)] for tag in LAYOUT}
        for person in self.people:  # known everywhere from the start
            card = envelope(self.forms["user_cards"], person.card(), person.key)
            for node in nodes:
                self.apply(node, "user_cards", [card])

    def _took(self, tag: str, envelopes: list[dict[str, Any]]) -> None:
        with self.lock:
            for e in envelopes:
                self.accepted[tag][e["sign_b64"]] = e

    def apply(
        self,
        node: Node,
        tag: str,
        envelopes: list[Envelope],
        c: psycopg.Connection[Any] | None = None,
    ) -> None:
        """What apply accepts or defers must be everywhere in the end."""
        sql = "SELECT * FROM rowseal.apply(%s, %s)"
        if c is None:
            answers = node.all(self.db, sql, tag, Json(envelopes))
        else:
            with c.transaction():
                answers = c.execute(sql, (tag, Json(envelopes))).fetchall()
        genuine = ("inserted", "superseded", "archived", "stale", "duplicate", "deferred")
        bad = [a for a in answers if a[1] not in genuine]
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
            # the server is down; what was not acknowledged may be there or not
            except psycopg.OperationalError:
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
        if rng.random() < 0.03:
            self._meet(rng, node, c)
        tag = rng.choice(list(LAYOUT))
        rows = []
        for _ in range(rng.choice([1, 1, 1, 4])):
            with self.lock:
                person = rng.choice(self.people)
            row = random_row(rng, self.keys[tag], person, last.get((tag, person.hash)))
            sealed = envelope(self.forms[tag], row, person.key)
            last[tag, person.hash] = {**row, "sign_b64": b64decode(sealed["sign_b64"])}
            rows.append((last[tag, person.hash], sealed))
        door = rng.choice(["apply", "insert", "on conflict", "update"])
        if door == "apply":
            self.apply(node, tag, [e for _, e in rows], c)
            return
        for row, sealed in rows:
            try:
                if self._statement(Db(c), door, tag, row):
                    self._took(tag, [sealed])
            except psycopg.Error as e:
                # unknown owner: the card is still on its way; a plain INSERT may lose a race for a
                # fresh key; a deadlock is possible between the workers and anybody
                allowed = {"RS002", "40P01"} | ({"23505"} if door != "on conflict" else set())
                if e.sqlstate is None or e.sqlstate in ("57P01", "57P02", "57P03", "25006"):
                    raise
                if e.sqlstate not in allowed:
                    raise Problem(f"{door} into {tag}: {e.sqlstate} {e}") from e
                self.refused[e.sqlstate] = self.refused.get(e.sqlstate, 0) + 1

    def _meet(self, rng: random.Random, node: Node, c: psycopg.Connection[Any]) -> None:
        """Somebody new, or a known person by another name."""
        person = Person(rng) if rng.random() < 0.5 else rng.choice(self.people)
        card = person.card(rng.choice(["Ann", "Bob"]), time.time_ns() // 1000)
        sealed = envelope(self.forms["user_cards"], card, person.key)
        self.apply(node, "user_cards", [sealed], c)
        with self.lock:
            if person not in self.people and len(self.people) < 12:
                self.people.append(person)

    def _statement(self, db: Db, door: str, tag: str, row: Mapping[str, Any]) -> bool:
        """Write a row by plain SQL; whether there was something to do."""
        if door == "update" and tag != "user_notes":
            where, key = "user_hash = %s AND uuid = %s", (row["user_hash"], row["uuid"])
            # an UPDATE of what is not there says nothing: ask before
            if not db.all(f"SELECT 1 FROM {tag} WHERE {where}", *key):
                return False
            db.update(tag, row, where, *key)
            return True
        change = ", ".join(f"{n} = EXCLUDED.{n}" for n in row)
        conflict = (
            "ON CONFLICT DO NOTHING"
            if tag == "user_notes"
            else f"ON CONFLICT (user_hash, uuid) DO UPDATE SET {change}"
        )
        db.insert(tag, row, conflict if door == "on conflict" else "")
        return True

    def forge(self, rng: random.Random, index: int) -> None:
        """The superuser of one server puts bad rows into its feed, past its own trigger,
        so that they travel.
        """
        bad = self._forgeries(rng)
        if not bad:
            return
        try:
            with self.nodes[index].connect(self.db) as c:
                for tag, e in bad:  # a claim by hand: quarantined here
                    c.execute(INSERT_FEED, (tag, Json(e)))
                with c.transaction():
                    c.execute("SET LOCAL lock_timeout = '5s'")
                    c.execute("ALTER TABLE rowseal.feed DISABLE TRIGGER arrive")
                    for tag, e in bad:
                        c.execute(INSERT_FEED, (tag, Json(e)))
                    c.execute("ALTER TABLE rowseal.feed ENABLE ALWAYS TRIGGER arrive")
            self.forged += len(bad)
        except (
            psycopg.OperationalError,
            psycopg.errors.LockNotAvailable,
            psycopg.errors.DeadlockDetected,
        ):
            pass

    def _forgeries(self, rng: random.Random) -> list[tuple[str, Any]]:
        """Bad entries for the feed, made from genuine ones: tag, envelope."""
        with self.lock:
            genuine = [e for tag in LAYOUT for e in list(self.accepted[tag].values())[-3:]]
        if not genuine:
            return []
        changed = json.loads(json.dumps(rng.choice(genuine)))
        tag, row = changed["table"], changed["row"]
        row["owner_timestamp"] = str(int(row["owner_timestamp"]) + 10**15)  # re-dated, so as to win
        mallory = Person(rng)
        other = b64encode(mallory.key.sign(b"x").signature).decode()
        usurped = {**mallory.card(), "user_hash": self.people[0].hash}
        return [
            (tag, changed),
            (tag, {**changed, "sign_b64": other}),
            (tag, {**rng.choice(genuine), "sign_b64": "!"}),
            ("user_cards", envelope(self.forms["user_cards"], usurped, mallory.key)),
            (tag, rng.choice(NO_ENVELOPES)),
            (tag, {**changed, "row": {**row, "owner_timestamp": "9" * 40}}),
            (tag, {**changed, "row": {**row, "at": "yesterday-ish", "ratio": "1e999"}}),
            ("no_such_table", changed),
            (tag, {**changed, "row": {**row, "surplus": "column"}}),
        ]
