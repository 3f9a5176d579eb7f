"""Sessions side by side: a writer is revoked while it writes, and its owner writes the same keys.

Under READ COMMITTED and REPEATABLE READ the tables end as the rules say about what was committed;
what may reach a client is 40001, 40P01, 23505 of a fresh key, and the refusal of a row that no
longer counts.
"""

from __future__ import annotations

import json
import random
import threading
from base64 import b64encode
from collections.abc import Iterator
from typing import Any

import psycopg
import pytest
from psycopg.types.json import Json

from kit.db import Db, Server
from kit.example import Owner
from kit.writers import Writer, card, grant, link_of, revocation, tables
from kit.writers_model import Row, state
from rowseal.client import SigningKey

LEVELS = ["READ COMMITTED", "REPEATABLE READ"]


@pytest.mark.parametrize("writes", LEVELS)
@pytest.mark.parametrize("revokes", LEVELS)
def test_a_revocation_meets_an_open_transaction_of_its_writer(
    server: Server, database: str, db: Db, writes: str, revokes: str
) -> None:
    """Whoever is second waits; a snapshot that is too old fails."""
    db.run(tables())
    ann = Writer(Owner("Ann"))
    device = Writer(ann.owner, SigningKey.generate())
    card(db, ann.owner)
    db.insert("grants", ann.sealed(db.form("grants"), grant(device)))
    forms = {t: db.form(t) for t in ("grants", "t")}
    first = device.sealed(forms["t"], {"key": "k", "owner_timestamp": 1})
    db.insert("t", first)
    for revoker_first in (False, True):
        device.owner = ann.owner
        with server.connect(database, "app") as a, server.connect(database, "app") as b:
            writing, revoking = Db(a), Db(b)
            late = device.sealed(forms["t"], {"key": f"late{revoker_first}", "owner_timestamp": 5})
            revoked = ann.sealed(
                forms["grants"], revocation(device, [link_of(first)], at=2 + revoker_first)
            )
            a.execute(f"BEGIN ISOLATION LEVEL {writes}")
            b.execute(f"BEGIN ISOLATION LEVEL {revokes}")
            for c in (a, b):
                c.execute("SELECT 1 FROM t")  # the snapshot
            steps = (
                [(revoking, "grants", revoked), (writing, "t", late)]
                if revoker_first
                else [(writing, "t", late), (revoking, "grants", revoked)]
            )
            (one, table, row), (other, table2, row2) = steps
            one.insert(table, row)
            outcome: list[str | None] = []

            def second(
                other: Db = other,
                table2: str = table2,
                row2: dict[str, Any] = row2,
                outcome: list[str | None] = outcome,
            ) -> None:
                try:
                    other.insert(table2, row2)
                    other.connection.execute("COMMIT")
                    outcome.append(None)
                except psycopg.Error as e:
                    other.connection.execute("ROLLBACK")
                    outcome.append(e.sqlstate)

            thread = threading.Thread(target=second)
            thread.start()
            thread.join(0.5)
            assert thread.is_alive(), "it did not wait"
            one.connection.execute("COMMIT")
            thread.join(20)
            level = writes if revoker_first else revokes
            assert outcome == [
                "40001" if level == "REPEATABLE READ" else "RS012" if revoker_first else None
            ]
            if not revoker_first and outcome == ["40001"]:
                db.insert("grants", revoked)  # the client tries again
            assert db.all("SELECT key FROM t") == ["k"]
            assert db.all("SELECT * FROM rowseal.verify('t')") == []


@pytest.mark.parametrize("lower_first", [False, True])
def test_neighbours_below_a_frontier_brought_side_by_side(
    server: Server, database: str, db: Db, lower_first: bool
) -> None:
    """Neither session sees the other's row; the walk meets both all the same."""
    db.run(tables())
    ann = Writer(Owner("Ann"))
    device = Writer(ann.owner, SigningKey.generate())
    card(db, ann.owner)
    db.insert("grants", ann.sealed(db.form("grants"), grant(device)))
    rows = [
        device.envelope(db.form("t"), {"key": key, "owner_timestamp": at})
        for at, key in enumerate("abc", 1)
    ]
    db.insert("grants", ann.sealed(db.form("grants"), revocation(device, [device.last or b""])))
    receive = "SELECT * FROM rowseal.receive(%s)"
    db.all(receive, Json([rows[2]]))
    order = rows[:2] if lower_first else rows[1::-1]
    with server.connect(database, "app") as a, server.connect(database, "app") as b:
        a.execute("BEGIN")
        a.execute(receive, [Json([order[0]])])
        thread = threading.Thread(target=lambda: b.execute(receive, [Json([order[1]])]))
        thread.start()
        thread.join(0.5)
        a.execute("COMMIT")
        thread.join(20)
        assert not thread.is_alive()
    assert db.all("SELECT key FROM t ORDER BY 1") == ["a", "b", "c"]


Sent = tuple[str, dict[str, Any]]  # table, sealed row


class Log:
    """Rows that are signed: each for the server, and for the model."""

    def __init__(self, db: Db):
        self.forms = {t: db.form(t) for t in ("grants", "t")}
        self.rows: list[Row] = []

    def sign(self, who: Writer, to: str, fields: dict[str, Any], **row: Any) -> Sent:
        sealed = who.sealed(self.forms[to], fields)
        place = {
            "writer": None if who.public_key is None else who.public_key.hex(),
            "number": sealed["writer_seq"],
            "previous": sealed["writer_prev"],
            "at": sealed["owner_timestamp"],
        }
        self.rows.append(Row(owner="Ann", sign=sealed["sign_b64"], **place, **row))
        return to, sealed

    def data(self, who: Writer, rng: random.Random) -> Sent:
        key = rng.choice("abcdef")
        fields = {"key": key, "owner_timestamp": rng.randint(1, 99)}
        return self.sign(who, "t", fields, kind="data", table="t", key=key)

    def device(self, ann: Writer, rng: random.Random) -> Iterator[list[Sent]]:
        """A device: its grant, its rows, and a revocation somewhere in the middle of them."""
        device = Writer(ann.owner, SigningKey.generate())
        name = bytes(device.key.verify_key).hex()
        granted = {"kind": "grant", "grantee": name, "until": 100}
        yield [self.sign(ann, "grants", grant(device), **granted)]
        rows, links = [], []
        for _ in range(25):
            rows.append(self.data(device, rng))
            links.append(device.last)
        yield rows
        upto = [links[rng.randint(5, 20)]]
        revoked = {"kind": "revocation", "grantee": name, "upto": frozenset(upto)}
        yield [self.sign(ann, "grants", revocation(device, upto), **revoked)]

    def envelope(self, table: str, sealed: dict[str, Any]) -> dict[str, Any]:
        text = {k: v for k, v in sealed.items() if k != "sign_b64"}
        signature = b64encode(sealed["sign_b64"]).decode()
        return {**json.loads(self.forms[table].payload_of(text)), "sign_b64": signature}


def bring(c: psycopg.Connection[Any], level: str, e: dict[str, Any]) -> str | None:
    """One row in a transaction, again after each conflict; what else went wrong."""
    while True:
        try:
            c.execute(f"BEGIN ISOLATION LEVEL {level}")
            c.execute("SELECT * FROM rowseal.receive(%s)", [Json([e])]).fetchall()
            c.execute("COMMIT")
            return None
        except psycopg.Error as error:
            c.execute("ROLLBACK")
            if error.sqlstate not in ("40001", "40P01"):
                return f"{error.sqlstate} {error}"


@pytest.mark.parametrize("level", LEVELS)
def test_owner_devices_and_revocations_at_once(
    server: Server, database: str, db: Db, level: str
) -> None:
    db.run(tables(feed=True))
    ann = Writer(Owner("Ann"))
    card(db, ann.owner)
    with server.connect(database) as c:
        Db(c).run(f"ALTER DATABASE {database} SET deadlock_timeout = '50ms'")
    rng, log = random.Random(level), Log(db)
    jobs = [job for _ in range(4) for job in log.device(ann, rng)]
    jobs.append([log.data(ann, rng) for _ in range(25)])
    failures: list[str | None] = []

    def run(job: list[Sent]) -> None:
        with server.connect(database, "app") as c:
            failures.extend(bring(c, level, log.envelope(*sent)) for sent in job)

    threads = [threading.Thread(target=run, args=(job,)) for job in rng.sample(jobs, len(jobs))]
    for t in threads:
        t.start()
    for t in threads:
        t.join(120)
    assert set(failures) == {None} and len(failures) == len(log.rows)
    want = state(log.rows)
    tips = {r.sign for r in want.tips.values()}
    assert {bytes(s) for s in db.all("SELECT sign_b64 FROM t")} == tips
    versions = {bytes(s) for s in db.all("SELECT sign_b64 FROM t_versions")}
    assert versions == {r.sign for r in want.valid if r.kind == "data"} - tips
    assert [p for t in ("grants", "t") for p in db.all("SELECT * FROM rowseal.verify(%s)", t)] == []
