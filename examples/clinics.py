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
from typing import Any

from psycopg.types.json import Jsonb

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
            [Jsonb(e)],
        )
    laptop.execute("ALTER TABLE rowseal.feed ENABLE ALWAYS TRIGGER arrive")


def story(
    hub: Db,
    bergen_db: Db,
    oslo_db: Db,
    laptop_db: Db,
    link: Callable[[Db, Db, str, list[str] | None], None],
) -> None:
    bergen, oslo = Clinic("Bergen"), Clinic("Oslo")
    laptop = Device("laptop", SigningKey.generate(), bergen.owner)

    title("Each clinic sends all it has to the hub, and gets its own patients alone")
    for clinic, db in ((bergen, bergen_db), (oslo, oslo_db)):
        bring(
            db,
            clinic.sign(
                "clinics",
                name=clinic.name,
                sign_pkey=bytes(clinic.key.verify_key),
                owner_timestamp=1,
            ),
        )
        link(db, hub, clinic.name, None)
        link(hub, db, clinic.name, [clinic.owner_text])
    bring(bergen_db, bergen.sign("records", patient="p1-ida", record="flu", owner_timestamp=10))
    bring(bergen_db, bergen.sign("records", patient="p2-jon", record="sprain", owner_timestamp=10))
    bring(oslo_db, oslo.sign("records", patient="p1-kari", record="asthma", owner_timestamp=10))
    until(lambda: len(records(hub)) == 3)
    table(records(hub), ("clinic", "patient", "record"))

    title("Bergen lets the laptop write records of the patients p1…, and delete none")
    bring(
        bergen_db,
        bergen.sign(
            "grants",
            grantee_pkey=bytes(laptop.key.verify_key),
            tables=["records"],
            until=1000,
            keys='{"patient": {"prefix": "p1"}}',
            owner_timestamp=11,
        ),
    )
    link(hub, laptop_db, "laptop", [bergen.owner_text])
    link(laptop_db, hub, "laptop", None)
    until(lambda: len(records(laptop_db)) == 2)
    assert {name for name, *_ in records(laptop_db)} == {"Bergen"}
    bring(
        laptop_db,
        laptop.sign("records", patient="p1-ida", record="flu, better", owner_timestamp=12),
    )
    until(lambda: ("Bergen", "p1-ida", "flu, better") in records(bergen_db))

    title("In the mountains: cut off, both sides write on; back in the valley they meet")
    hub.execute("ALTER SUBSCRIPTION from_laptop DISABLE")
    laptop_db.execute("ALTER SUBSCRIPTION hub_to_laptop DISABLE")
    bring(
        laptop_db, laptop.sign("records", patient="p1-ola", record="frostbite", owner_timestamp=13)
    )
    bring(bergen_db, bergen.sign("records", patient="p2-jon", record="healed", owner_timestamp=14))
    until(lambda: ("Bergen", "p2-jon", "healed") in records(hub))
    assert ("Bergen", "p2-jon", "healed") not in records(laptop_db) and len(records(hub)) == 3
    hub.execute("ALTER SUBSCRIPTION from_laptop ENABLE")
    laptop_db.execute("ALTER SUBSCRIPTION hub_to_laptop ENABLE")
    until(
        lambda: (
            ("Bergen", "p1-ola", "frostbite") in records(bergen_db)
            and ("Bergen", "p2-jon", "healed") in records(laptop_db)
        )
    )
    table(records(laptop_db), ("clinic", "patient", "record"))

    title("Somebody takes the laptop over, and writes past its triggers")
    genuine = laptop.sign("records", patient="p1-ida", record="flu, worse", owner_timestamp=15)
    forged = {**genuine, "row": {**genuine["row"], "record": "morphine"}}
    foreign = Device("laptop", laptop.key, oslo.owner).sign(
        "records", patient="p1-kari", record="morphine", owner_timestamp=16
    )
    beyond = laptop.sign("records", patient="p2-jon", record="morphine", owner_timestamp=17)
    deleting = laptop.sign("records", patient="p1-ola", deleted_flag=True, owner_timestamp=18)
    future = laptop.sign("records", patient="p1-ola", record="morphine", owner_timestamp=10**6)
    good = laptop.sign("records", patient="p1-ida", record="flu, gone", owner_timestamp=19)
    smuggle(laptop_db, forged, foreign, beyond, deleting, future, genuine, good)
    until(lambda: ("Bergen", "p1-ida", "flu, gone") in records(bergen_db))
    held = (
        "SELECT sqlstate, reason, row -> 'row' ->> 'patient', subscription"
        " FROM rowseal.quarantine ORDER BY id"
    )
    reasons = hub.execute(held).fetchall()
    table(reasons, ("sqlstate", "reason", "patient", "from"))
    assert [r[0] for r in reasons] == ["RS001", "RS010", "RS011", "RS011", "RS011"]
    assert not any("morphine" in r for *_, r in records(hub)) and len(records(hub)) == 4
    say("   The stream went on:")
    table(records(bergen_db), ("clinic", "patient", "record"))
    assert {name for name, *_ in records(oslo_db)} == {"Oslo"}
    for db in (hub, bergen_db, oslo_db):
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
                "SELECT * FROM rowseal.subscribe(%s, %s, %s)", [subscription, conninfo, publication]
            )

        hub, bergen, oslo, laptop = dbs
        story(hub, bergen, oslo, laptop, link)
    return 0


if __name__ == "__main__":
    with ended_by_signals():
        sys.exit(main())
