"""Rule 7: what the tables hold depends on which rows came, not on how,
in what order or how often (docs/rules.md).

Hypothesis makes up owners with several devices, versions with equal timestamps, tombstones, forks
and forgeries, and hands them to three databases in any order and by any door.  After each delivery
the database must hold what the reference model (kit/model.py) says, in the end all three the same.
"""

from __future__ import annotations

import hashlib
import json
import random
import uuid
from base64 import b64encode
from collections.abc import Iterator
from typing import Any, NamedTuple

import psycopg
import pytest
from hypothesis import HealthCheck, note, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    precondition,
    rule,
    run_state_machine_as_test,
)

from kit import model
from kit.db import Db, Server
from kit.example import Owner
from kit.scratch import pgtext
from rowseal.client import Form, SigningKey, envelope

DATABASES = 3
COLUMNS = {
    "cards": {
        "id": "bytea",
        "k": "bytea",
        "name": "text",
        "deleted_flag": "boolean",
        "owner_timestamp": "bigint",
        "parent_sign_b64": "bytea",
        "sign_b64": "bytea",
    },
    "items": {
        "id": "bytea",
        "uuid": "uuid",
        "value": "bytea",
        "note": "text",
        "deleted_flag": "boolean",
        "owner_timestamp": "bigint",
        "parent_sign_b64": "bytea",
        "sign_b64": "bytea",
    },
}
KEY = {"cards": ["id"], "items": ["id", "uuid"]}


def tables(layout: str) -> str:
    """An identity table and a table of its owners' rows, both in that layout.

    TRUNCATE, which these tests need between examples, is let through;
    all that lets rows in is as in real life.
    """
    out = []
    for table, columns in COLUMNS.items():
        key = KEY[table] + (["sign_b64"] if layout == model.ONE_TABLE else [])
        out.append(
            f"CREATE TABLE {table} ({', '.join(f'{n} {t}' for n, t in columns.items())},"
            f" PRIMARY KEY ({', '.join(key)}))"
        )
        whose = (
            "public_key => 'k', fingerprint => 'sha256'"
            if table == "cards"
            else "identity => 'cards'"
        )
        kept = f", versions => '{table}_versions'" if layout == model.TWO_TABLES else ""
        out.append(f"SELECT rowseal.declare('{table}', owner => 'id', {whose}{kept})")
    for table in stored(layout):
        out.append(f"ALTER TABLE {table} DISABLE TRIGGER zzz_rowseal_keep_all")
    return ";".join(out)


def stored(layout: str) -> list[str]:
    return ["cards", "items"] + (
        ["cards_versions", "items_versions"] if layout == model.TWO_TABLES else []
    )


class Row(NamedTuple):
    """A signed row on its way, genuine or not."""

    table: str
    values: dict[str, Any]
    version: model.Version
    genuine: bool
    envelope: dict[str, Any]

    def __repr__(self) -> str:
        v = self.version
        what = (
            f"{self.table} of {self.owner.hex()[:4]} at"
            f" {v.timestamp}{' deleted' if v.deleted else ''}, signature {v.sign.hex()[:4]}"
        )
        return f"<{what}>" if self.genuine else f"<forged {what}>"

    @property
    def owner(self) -> bytes:
        return self.values["id"]  # type: ignore[no-any-return]


class Replica:
    """One database, and what it has been given so far."""

    def __init__(self, admin: psycopg.Connection[Any], db: Db, layout: str):
        self.admin, self.db, self.layout = admin, db, layout
        self.received: dict[str, set[model.Version]] = {"cards": set(), "items": set()}
        self.waiting: dict[Any, Row] = {}

    def reset(self) -> None:
        self.received = {"cards": set(), "items": set()}
        self.waiting = {}
        Db(self.admin).run(f"TRUNCATE rowseal.quarantine, {', '.join(stored(self.layout))}")

    def knows(self, row: Row) -> bool:
        return row.table == "cards" or any(v.key == (row.owner,) for v in self.received["cards"])

    def take(self, row: Row) -> None:
        self.received[row.table].add(row.version)
        # the owner is known now: what waited for it gets in, unless it was forged
        if row.table == "cards":
            self.received["items"] |= {
                w.version for w in self.waiting.values() if w.owner == row.owner and w.genuine
            }
            self.waiting = {k: w for k, w in self.waiting.items() if w.owner != row.owner}

    def primary_key(self, row: Row) -> list[bytes]:
        return [
            *map(_bytes, row.version.key),
            *([row.version.sign] if self.layout == model.ONE_TABLE else []),
        ]

    # -- doors
    def apply(self, rows: list[Row], format: str) -> None:
        for table in ("items", "cards"):  # on purpose owners last, within one delivery
            batch = [r for r in rows if r.table == table]
            if not batch:
                continue
            # apply takes key by key, of each the newest version first
            expected: dict[int, set[str]] = {}
            newest_first = sorted(
                range(len(batch)), key=lambda i: batch[i].version.order, reverse=True
            )
            for i in sorted(newest_first, key=lambda i: [_bytes(k) for k in batch[i].version.key]):
                row = batch[i]
                if not self.knows(row):
                    expected[i] = {"deferred"}
                    # kept once, however often it comes
                    self.waiting[(row.table, *row.values.values())] = row
                elif row.genuine:
                    expected[i] = {model.outcome(self.layout, self.received[table], row.version)}
                    self.take(row)
                else:  # without versions, what is old is not looked at
                    expected[i] = {"rejected"} | (
                        {"stale"} if self.layout == model.UNVERSIONED else set()
                    )
            sent = [r.envelope if format == "canonical" else pgtext(r.values) for r in batch]
            outcomes = self.db.apply(table, sent, format)
            for i, (outcome, reason) in enumerate(outcomes):
                assert outcome in expected[i], (
                    f"{outcome} ({reason}) instead of {expected[i]} for {batch[i]}"
                )

    def statement(self, door: str, table: str, rows: list[Row]) -> None:
        """All rows in one statement: all or none."""
        columns = list(COLUMNS[table])
        names = ", ".join(columns)
        one = "(" + ", ".join(f"%s::{t}" for t in COLUMNS[table].values()) + ")"
        many, values = ", ".join([one] * len(rows)), [v for r in rows for v in r.values.values()]
        key = ", ".join(KEY[table] + (["sign_b64"] if self.layout == model.ONE_TABLE else []))
        change = ", ".join(f"{c} = EXCLUDED.{c}" for c in columns)
        try:
            if door == "copy":
                with self.db.connection.cursor().copy(f"COPY {table} ({names}) FROM STDIN") as copy:
                    for r in rows:
                        copy.write_row(tuple(r.values.values()))
            elif door == "update":
                where = " AND ".join(f"{k} = %s" for k in KEY[table])
                self.db.update(
                    table, rows[0].values, where, *(rows[0].values[k] for k in KEY[table])
                )
            elif door == "merge":
                match = " AND ".join(f"t.{k} = s.{k}" for k in key.split(", "))
                self.db.run(
                    f"MERGE INTO {table} t USING (VALUES {one}) s ({names}) ON {match} WHEN NOT"
                    f" MATCHED THEN INSERT ({names})"
                    f" VALUES ({', '.join('s.' + c for c in columns)}) WHEN MATCHED THEN UPDATE"
                    f" SET {', '.join(f'{c} = s.{c}' for c in columns)}",
                    *rows[0].values.values(),
                )
            elif door == "versions":
                self.db.run(f"INSERT INTO {table}_versions ({names}) VALUES {many}", *values)
            else:
                suffix = {
                    "insert": "",
                    "do nothing": " ON CONFLICT DO NOTHING",
                    "do update": f" ON CONFLICT ({key}) DO UPDATE SET {change}",
                }
                self.db.run(f"INSERT INTO {table} ({names}) VALUES {many}{suffix[door]}", *values)
        except psycopg.Error as e:
            assert e.sqlstate is not None and e.sqlstate.startswith("RS"), (
                f"{door}: {e.sqlstate} {e}"
            )
            assert not all(r.genuine and self.knows(r) for r in rows), (
                f"{door} refused genuine rows: {e}"
            )
        else:
            late = [r for r in rows if not r.genuine or not self.knows(r)]
            assert not late or self.layout == model.UNVERSIONED, f"{door} accepted {late}"
            for r in rows:
                if r.genuine:
                    self.take(r)

    def deliver(self, door: str, rows: list[Row]) -> None:
        if door in ("canonical", "pgtext"):
            self.apply(rows, door)
        else:
            for table in ("cards", "items"):
                batch = [r for r in rows if r.table == table]
                if door == "versions" and self.layout != model.TWO_TABLES:
                    door = "insert"
                if door == "merge" and self.db.connection.info.server_version < 150000:
                    door = "update"
                if door in ("update", "merge"):  # one key at a time
                    for r in batch:
                        exists = any(v.key == r.version.key for v in self.received[table])
                        if door == "update" and (self.layout == model.ONE_TABLE or not exists):
                            # there it is refused (history is append-only); here it does nothing
                            continue
                        self.statement(door, table, [r])
                elif batch:
                    self.statement(door, table, batch)
        self.compare()

    def compare(self) -> None:
        for table in COLUMNS:
            expected = model.state(self.layout, self.received[table])
            names = ", ".join(COLUMNS[table])
            main = self.db.all(f"SELECT {names} FROM {table}")
            old = (
                self.db.all(f"SELECT {names} FROM {table}_versions")
                if self.layout == model.TWO_TABLES
                else []
            )
            for what, have, want in (
                ("main", main, expected.main),
                ("versions", old, expected.versions),
            ):
                assert len(have) == len(set(have)), f"{table}: a row twice in {what}"
                assert set(have) == {v.content for v in want}, (
                    f"{table}: {what} is not what the model says"
                )
        curable = self.db.one("SELECT count(*) FROM rowseal.quarantine WHERE curable")
        assert curable == len(self.waiting), (
            f"{curable} rows wait in quarantine, {len(self.waiting)} should"
        )


def _bytes(value: Any) -> bytes:
    return value.bytes if isinstance(value, uuid.UUID) else value  # type: ignore[no-any-return]


DOORS = (
    "canonical", "pgtext", "insert", "update", "copy", "do update", "do nothing", "versions",
    "merge",
)  # fmt: skip
FORGERIES = (
    "re-dated", "undeleted", "other content", "other key", "other signature", "mallory", "zero",
)  # fmt: skip


class Convergence(RuleBasedStateMachine):
    """Three replicas of one layout; ``replicas`` and ``layout`` are set by the test."""

    replicas: list[Replica]
    layout: str

    def __init__(self) -> None:
        super().__init__()
        self.owners = [
            Owner(f"owner {i}", SigningKey(hashlib.sha256(bytes([i])).digest())) for i in range(3)
        ]
        self.forms: dict[str, Form] = type(self).forms  # type: ignore[attr-defined]
        self.genuine: list[Row] = []
        self.forged: list[Row] = []

    def sealed(self, table: str, row: dict[str, Any], owner: Owner, genuine: bool = True) -> Row:
        e = envelope(self.forms[table], row, owner.key)
        return self.row(table, owner.sealed(self.forms[table], row), e, genuine)

    def row(self, table: str, values: dict[str, Any], e: dict[str, Any], genuine: bool) -> Row:
        key = tuple(values[k] for k in KEY[table])
        v = model.Version(
            key,
            values["owner_timestamp"],
            values["deleted_flag"],
            values["sign_b64"],
            tuple(values.values()),
        )
        return Row(table, values, v, genuine, e)

    def parent(self, key: tuple[Any, ...], data: st.DataObject) -> bytes | None:
        """Any version of the key: forks are when two name the same; or one that nobody has."""
        known = [r.version.sign for r in self.genuine if r.version.key == key]
        return data.draw(st.sampled_from([None, b"\0" * 64, *known]), label="parent")

    @initialize()
    def clear(self) -> None:
        for r in self.replicas:
            r.reset()

    @rule(
        who=st.integers(0, 2),
        name=st.sampled_from(["Ann", "", None]),
        deleted=st.booleans(),
        timestamp=st.integers(0, 3),
        data=st.data(),
    )
    def sign_card(
        self, who: int, name: str | None, deleted: bool, timestamp: int, data: st.DataObject
    ) -> None:
        owner = self.owners[who]
        row = {
            "id": owner.hash, "k": owner.public_key, "name": name, "deleted_flag": deleted,
            "owner_timestamp": timestamp, "parent_sign_b64": self.parent((owner.hash,), data),
        }  # fmt: skip
        self.genuine.append(self.sealed("cards", row, owner))

    @rule(
        who=st.integers(0, 2),
        key=st.integers(0, 1),
        value=st.sampled_from([None, b"", b"v", b"w" * 3000]),
        note_=st.sampled_from([None, "", "null", "\\x00", "\t\\N\n"]),
        deleted=st.booleans(),
        timestamp=st.integers(0, 3),
        data=st.data(),
    )
    def sign_item(
        self,
        who: int,
        key: int,
        value: Any,
        note_: Any,
        deleted: bool,
        timestamp: int,
        data: st.DataObject,
    ) -> None:
        owner, id_ = self.owners[who], uuid.UUID(int=key)
        row = {
            "id": owner.hash, "uuid": id_, "value": value, "note": note_, "deleted_flag": deleted,
            "owner_timestamp": timestamp, "parent_sign_b64": self.parent((owner.hash, id_), data),
        }  # fmt: skip
        self.genuine.append(self.sealed("items", row, owner))

    @precondition(lambda self: self.genuine)
    @rule(
        data=st.data(),
        how=st.sampled_from(FORGERIES),
    )
    def forge(self, data: st.DataObject, how: str) -> None:
        base = data.draw(st.sampled_from(self.genuine), label="base")
        values = dict(base.values)
        if how == "re-dated":
            values["owner_timestamp"] += data.draw(st.sampled_from([-1, 1, 9]))
        elif how == "undeleted":
            values["deleted_flag"] = not values["deleted_flag"]
        elif how == "other content":
            column = "name" if base.table == "cards" else "note"
            values[column] = (values[column] or "") + "!"
        elif how == "other key":
            if base.table == "items":
                values["uuid"] = uuid.UUID(int=1 - values["uuid"].int)
            else:
                other = 1 if values["id"] == self.owners[0].hash else 0
                values["id"] = self.owners[other].hash
        elif how == "other signature":
            # another genuine one: of another row, another owner or another table
            others = [r for r in self.genuine if r.version.sign != base.version.sign]
            if not others:
                return
            other_row = data.draw(st.sampled_from(others), label="signature of")
            values["sign_b64"] = other_row.version.sign
        elif how == "mallory":  # a real signature, of somebody else
            unsigned = {c: v for c, v in values.items() if c != "sign_b64"}
            mallory = next(o for o in self.owners if o.hash != values["id"])
            self.forged.append(self.sealed(base.table, unsigned, mallory, False))
            return
        else:
            values["sign_b64"] = bytes(64)
        unsigned = {c: v for c, v in values.items() if c != "sign_b64"}
        signature = b64encode(values["sign_b64"]).decode()
        payload = json.loads(self.forms[base.table].payload_of(unsigned))
        row = self.row(base.table, values, {**payload, "sign_b64": signature}, False)
        if all(row.values != g.values for g in self.genuine):
            self.forged.append(row)

    @precondition(lambda self: self.genuine)
    @rule(where=st.integers(0, DATABASES - 1), door=st.sampled_from(DOORS), data=st.data())
    def deliver(self, where: int, door: str, data: st.DataObject) -> None:
        rows = data.draw(
            st.lists(st.sampled_from(self.genuine), min_size=1, max_size=6), label="rows"
        )
        self.replicas[where].deliver(door, rows)

    @precondition(lambda self: self.forged)
    @rule(where=st.integers(0, DATABASES - 1), door=st.sampled_from(DOORS), data=st.data())
    def deliver_with_forged(self, where: int, door: str, data: st.DataObject) -> None:
        rows = data.draw(
            st.lists(st.sampled_from(self.genuine + self.forged), min_size=1, max_size=6),
            label="rows",
        )
        self.replicas[where].deliver(door, rows)

    def teardown(self) -> None:
        """Everything everywhere, in another order at each:
        what nobody has a card for waits everywhere.
        """
        if not self.genuine:
            return
        for i, replica in enumerate(self.replicas):
            rng = random.Random(i)
            rows = self.genuine + self.forged
            rng.shuffle(rows)
            note(f"database {i}: all {len(rows)} rows by apply")
            while rows:
                n = rng.randint(1, 8)
                replica.deliver(rng.choice(["canonical", "pgtext"]), rows[:n])
                rows = rows[n:]
        first = self.replicas[0]
        for replica in self.replicas[1:]:
            assert replica.received == first.received
            for table in COLUMNS:
                assert replica.db.digest(table) == first.db.digest(table), (
                    f"digests of {table} differ"
                )
        known = {r.owner for r in self.genuine if r.table == "cards"}
        assert first.received["items"] == {
            r.version for r in self.genuine if r.table == "items" and r.owner in known
        }
        replica = self.replicas[len(self.genuine) % DATABASES]
        for table in COLUMNS:
            assert replica.db.all("SELECT * FROM rowseal.verify(%s)", table) == []


@pytest.fixture
def replicas(server: Server, request: pytest.FixtureRequest) -> Iterator[list[Replica]]:
    layout = request.param
    names = [server.database() for _ in range(DATABASES)]
    connections: list[psycopg.Connection[Any]] = []
    made = []
    for name in names:
        admin, app = server.connect(name), server.connect(name, "app")
        connections += [admin, app]
        app.execute(tables(layout))  # type: ignore[arg-type]
        made.append(Replica(admin, Db(app), layout))
    yield made
    for c in connections:
        c.close()
    for name in names:
        server.drop(name)


@pytest.mark.parametrize(
    "replicas", model.LAYOUTS, indirect=True, ids=lambda layout: layout.replace(" ", "-")
)
def test_the_state_is_a_function_of_the_set_of_authentic_rows(replicas: list[Replica]) -> None:
    forms = {table: replicas[0].db.form(table) for table in COLUMNS}
    machine = type(
        "Machine",
        (Convergence,),
        {"replicas": replicas, "layout": replicas[0].layout, "forms": forms},
    )
    run_state_machine_as_test(  # type: ignore[no-untyped-call]
        machine,
        settings=settings(
            max_examples=50,
            stateful_step_count=30,
            deadline=None,
            database=None,
            suppress_health_check=list(HealthCheck),
            report_multiple_bugs=False,
        ),
    )
