"""A hub, two clinics, and a doctor's laptop that is not always honest.

Each clinic owns the records of its patients and receives only these from the hub: its publication
is filtered by owner.  A doctor of Bergen's carries a laptop with a PostgreSQL server of its own.
Bergen has let it write records of the patients p1…, without deleting. It works while it is cut off,
and catches up.  Then somebody takes the laptop over: whatever it sends beyond its grant ends in the
hub's quarantine with the reason, and the good rows behind it go on.

usage: clinics.py      starts four throw-away servers and ends them
"""

from __future__ import annotations

import hashlib
import sys
import time
from base64 import b64encode
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any, Optional

from psycopg.types.json import Json

from demo import Db, say, table, title
from devices import FORMS, Device, Envelope, bring
from kit.server import LOGICAL, Postgres, ended_by_signals, own_environment, temporary_folder
from rowseal.client import Form, SigningKey

TABLES = """
    CREATE EXTENSION rowseal CASCADE; CREATE EXTENSION dblink;
    CREATE TABLE clinics (user_hash bytea PRIMARY KEY, name text, sign_pkey bytea,
        deleted_flag boolean, owner_timestamp bigint, sign_b64 bytea);
    CREATE TABLE grants (user_hash bytea, grantee_pkey bytea, tables text[], keys jsonb,
        tombstones boolean, until bigint, may_grant smallint, upto bytea[], writer_pkey bytea,
        writer_seq bigint, writer_prev bytea, deleted_flag boolean, owner_timestamp bigint,
        sign_b64 bytea, PRIMARY KEY (user_hash, grantee_pkey, sign_b64));
    CREATE TABLE records (user_hash bytea, patient text, record text, writer_pkey bytea,
        writer_seq bigint, writer_prev bytea, deleted_flag boolean, owner_timestamp bigint,
        parent_sign_b64 bytea, sign_b64 bytea, PRIMARY KEY (user_hash, patient));
    SELECT rowseal.declare('clinics', owner => 'user_hash', public_key => 'sign_pkey',
        fingerprint => 'sha256', feed => true);
    SELECT rowseal.declare('grants', owner => 'user_hash', identity => 'clinics', grants => true,
        feed => true);
    SELECT rowseal.declare('records', owner => 'user_hash', identity => 'clinics',
        versions => 'records_versions', writers => 'grants', feed => true)"""
Link = Callable[[Db, Db, str, Optional[list[str]]], None]


class Clinic(Device):
    """An owner: signs with the key that its card names."""

    def __init__(self, name: str):
        key = SigningKey.generate()
        super().__init__(name, key, hashlib.sha256(bytes(key.verify_key)).digest(), chained=False)

    @property
    def owner_text(self) -> str:
        """As in the column ``owner`` of the feed, by which publications are filtered."""
        return b64encode(self.owner).decode()


def records(db: Db) -> list[Any]:
    stored = (
        "SELECT name, patient, record FROM records JOIN clinics USING (user_hash)"
        " WHERE NOT records.deleted_flag ORDER BY 1, 2"
    )
    return db.execute(stored).fetchall()


def until(question: Callable[[], Any]) -> None:
    for _ in range(400):
        if question():
            return
        time.sleep(0.05)
    raise AssertionError("it did not arrive")


def smuggle(laptop: Db, *envelopes: Envelope) -> None:
    """Who owns a server can put anything into its feed:
    the triggers that would check it are his to switch off.
    """
    laptop.execute("ALTER TABLE rowseal.feed DISABLE TRIGGER arrive")
    for e in envelopes:
        laptop.execute(
            "INSERT INTO rowseal.feed (tag, owner, envelope) VALUES ('records', 'x', %s)",
            [Json(e)],
        )
    laptop.execute("ALTER TABLE rowseal.feed ENABLE ALWAYS TRIGGER arrive")


class Story:
    """Who takes part, and the chapters: each ends with what must be so then."""

    def __init__(self, hub: Db, bergen: Db, oslo: Db, laptop: Db, link: Link):
        self.hub, self.bergen_db, self.oslo_db, self.laptop_db = hub, bergen, oslo, laptop
        self.link = link
        self.bergen, self.oslo = Clinic("Bergen"), Clinic("Oslo")
        self.laptop = Device("laptop", SigningKey.generate(), self.bergen.owner)

    def tell(self) -> None:
        self.exchange()
        self.lend()
        self.part_and_meet()
        self.take_over()

    def write(self, db: Db, device: Device, patient: str, record: str, at: int) -> None:
        sealed = device.sign("records", patient=patient, record=record, owner_timestamp=at)
        bring(db, sealed)

    def exchange(self) -> None:
        title("Each clinic sends all it has to the hub, and gets its own patients alone")
        for clinic, db in ((self.bergen, self.bergen_db), (self.oslo, self.oslo_db)):
            key = bytes(clinic.key.verify_key)
            card = clinic.sign("clinics", name=clinic.name, sign_pkey=key, owner_timestamp=1)
            bring(db, card)
            self.link(db, self.hub, clinic.name, None)
            self.link(self.hub, db, clinic.name, [clinic.owner_text])
        self.write(self.bergen_db, self.bergen, "p1-ida", "flu", 10)
        self.write(self.bergen_db, self.bergen, "p2-jon", "sprain", 10)
        self.write(self.oslo_db, self.oslo, "p1-kari", "asthma", 10)
        until(lambda: len(records(self.hub)) == 3)
        table(records(self.hub), ("clinic", "patient", "record"))

    def lend(self) -> None:
        title("Bergen lets the laptop write records of the patients p1…, and delete none")
        grant = self.bergen.sign(
            "grants",
            grantee_pkey=bytes(self.laptop.key.verify_key),
            tables=["records"],
            until=1000,
            keys='{"patient": {"prefix": "p1"}}',
            owner_timestamp=11,
        )
        bring(self.bergen_db, grant)
        self.link(self.hub, self.laptop_db, "laptop", [self.bergen.owner_text])
        self.link(self.laptop_db, self.hub, "laptop", None)
        until(lambda: len(records(self.laptop_db)) == 2)
        assert {name for name, *_ in records(self.laptop_db)} == {"Bergen"}
        self.write(self.laptop_db, self.laptop, "p1-ida", "flu, better", 12)
        until(lambda: ("Bergen", "p1-ida", "flu, better") in records(self.bergen_db))

    def part_and_meet(self) -> None:
        title("In the mountains: cut off, both sides write on; back in the valley they meet")
        self.hub.execute("ALTER SUBSCRIPTION from_laptop DISABLE")
        self.laptop_db.execute("ALTER SUBSCRIPTION hub_to_laptop DISABLE")
        self.write(self.laptop_db, self.laptop, "p1-ola", "frostbite", 13)
        self.write(self.bergen_db, self.bergen, "p2-jon", "healed", 14)
        until(lambda: ("Bergen", "p2-jon", "healed") in records(self.hub))
        assert ("Bergen", "p2-jon", "healed") not in records(self.laptop_db)
        assert len(records(self.hub)) == 3
        self.hub.execute("ALTER SUBSCRIPTION from_laptop ENABLE")
        self.laptop_db.execute("ALTER SUBSCRIPTION hub_to_laptop ENABLE")
        until(
            lambda: (
                ("Bergen", "p1-ola", "frostbite") in records(self.bergen_db)
                and ("Bergen", "p2-jon", "healed") in records(self.laptop_db)
            )
        )
        table(records(self.laptop_db), ("clinic", "patient", "record"))

    def take_over(self) -> None:
        title("Somebody takes the laptop over, and writes past its triggers")
        laptop = self.laptop
        genuine = laptop.sign("records", patient="p1-ida", record="flu, worse", owner_timestamp=15)
        forged = {**genuine, "row": {**genuine["row"], "record": "morphine"}}
        foreign = Device("laptop", laptop.key, self.oslo.owner).sign(
            "records", patient="p1-kari", record="morphine", owner_timestamp=16
        )
        beyond = laptop.sign("records", patient="p2-jon", record="morphine", owner_timestamp=17)
        deleting = laptop.sign("records", patient="p1-ola", deleted_flag=True, owner_timestamp=18)
        future = laptop.sign("records", patient="p1-ola", record="morphine", owner_timestamp=10**6)
        good = laptop.sign("records", patient="p1-ida", record="flu, gone", owner_timestamp=19)
        smuggle(self.laptop_db, forged, foreign, beyond, deleting, future, genuine, good)
        until(lambda: ("Bergen", "p1-ida", "flu, gone") in records(self.bergen_db))
        held = (
            "SELECT sqlstate, reason, row -> 'row' ->> 'patient', subscription"
            " FROM rowseal.quarantine ORDER BY id"
        )
        reasons = self.hub.execute(held).fetchall()
        table(reasons, ("sqlstate", "reason", "patient", "from"))
        assert [r[0] for r in reasons] == ["RS001", "RS010", "RS011", "RS011", "RS011"]
        assert not any("morphine" in r for *_, r in records(self.hub))
        assert len(records(self.hub)) == 4
        say("   The stream went on:")
        table(records(self.bergen_db), ("clinic", "patient", "record"))
        assert {name for name, *_ in records(self.oslo_db)} == {"Oslo"}
        for db in (self.hub, self.bergen_db, self.oslo_db):
            assert db.execute("SELECT * FROM rowseal.verify('records')").fetchall() == []


def main() -> int:
    own_environment()
    with temporary_folder("demo") as folder, ExitStack() as stack:
        servers = [
            stack.enter_context(Postgres(folder, name, LOGICAL))
            for name in ("hub", "bergen", "oslo", "laptop")
        ]
        dbs = [s.connect("postgres", "postgres") for s in servers]
        for db in dbs:
            db.execute(TABLES)
        FORMS.update(
            {
                tag: Form(tag, fields)
                for tag, fields in dbs[0].execute(
                    "SELECT tag, spec -> 'fields' FROM rowseal.declarations"
                )
            }
        )

        def link(there: Db, here: Db, name: str, owners: list[str] | None) -> None:
            """``here`` follows ``there``, as far as these owners go; ``name``:
            the one of the two that is not the hub.
            """
            from_hub = there is dbs[0]
            publication, subscription = (
                f"{w}_{name.lower()}" for w in (("to", "hub_to") if from_hub else ("from", "from"))
            )
            there.execute("SELECT rowseal.publish(%s, owners => %s)", [publication, owners])
            conninfo = f"host={servers[dbs.index(there)].folder} user=postgres dbname=postgres"
            here.execute(
                "CALL rowseal.subscribe(%s, %s, %s)", [subscription, conninfo, publication]
            )

        hub, bergen, oslo, laptop = dbs
        Story(hub, bergen, oslo, laptop, link).tell()
    return 0


if __name__ == "__main__":
    with ended_by_signals():
        sys.exit(main())
