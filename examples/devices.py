"""One owner, three devices, one is lost.

Ann's key stays at home in a drawer.  Her phone, laptop and tablet each have a key of their own, and
a grant that she signed.  They write to two servers, which sync.  Then the phone is lost: whoever
finds it has its key.  Ann signs a revocation that names the phone's last row that she knows.  What
the phone wrote until then stands; what the finder writes dies on both servers, whatever its date or
number.

usage: devices.py      starts two throw-away servers and ends them
"""

from __future__ import annotations

import hashlib
import struct
import sys
import time
from base64 import b64decode
from typing import Any

from psycopg.types.json import Jsonb

from demo import Db, say, table, title
from kit.server import LOGICAL, Postgres, ended_by_signals, own_environment, temporary_folder
from rowseal.client import Form, SigningKey, envelope

TABLES = """
    CREATE EXTENSION rowseal CASCADE; CREATE EXTENSION dblink;
    CREATE TABLE user_cards (user_hash bytea PRIMARY KEY, sign_pkey bytea, deleted_flag boolean,
        owner_timestamp bigint, sign_b64 bytea);
    CREATE TABLE user_grants (user_hash bytea, grantee_pkey bytea, tables text[], keys jsonb,
        tombstones boolean, until bigint, may_grant smallint, upto bytea[], writer_pkey bytea,
        writer_seq bigint, writer_prev bytea, deleted_flag boolean, owner_timestamp bigint,
        sign_b64 bytea, PRIMARY KEY (user_hash, grantee_pkey, sign_b64));
    CREATE TABLE notes (user_hash bytea, title text, body text, writer_pkey bytea,
        writer_seq bigint, writer_prev bytea, deleted_flag boolean, owner_timestamp bigint,
        parent_sign_b64 bytea, sign_b64 bytea, PRIMARY KEY (user_hash, title));
    SELECT rowseal.declare('user_cards', owner => 'user_hash', public_key => 'sign_pkey',
        fingerprint => 'sha256', feed => true);
    SELECT rowseal.declare('user_grants', owner => 'user_hash',
        identity => 'user_cards', grants => true, feed => true);
    SELECT rowseal.declare('notes', owner => 'user_hash', identity => 'user_cards',
        versions => 'notes_versions', writers => 'user_grants', feed => true)"""
FORMS: dict[str, Form] = {}
Envelope = dict[str, Any]


class Device:
    """A key that writes for Ann, and knows its place in its chain.  Ann's own key has none."""

    def __init__(self, name: str, key: SigningKey, owner: bytes, chained: bool = True):
        self.name, self.key, self.owner, self.chained = name, key, owner, chained
        self.number, self.last = 0, None  # type: int, bytes | None

    def sign(self, table_: str, **row: Any) -> Envelope:
        row = {"user_hash": self.owner, "deleted_flag": False, **row}
        if self.chained:
            self.number += 1
            row |= {
                "writer_pkey": bytes(self.key.verify_key),
                "writer_seq": self.number,
                "writer_prev": self.last,
            }
        sealed = envelope(FORMS[table_], row, self.key)
        # the link, which the next row names: number, previous link and signature, hashed
        self.last = hashlib.sha256(
            struct.pack(">q", self.number) + (self.last or b"") + b64decode(sealed["sign_b64"])
        ).digest()
        return sealed


def bring(db: Db, *envelopes: Envelope) -> list[tuple[str, str]]:
    """Hand rows to a server, as anybody may; outcome and reason of each."""
    return db.execute(
        "SELECT outcome, reason FROM rowseal.receive(%s)", [Jsonb(list(envelopes))]
    ).fetchall()


def notes(db: Db) -> list[Any]:
    return db.execute("SELECT title, body, writer_seq FROM notes ORDER BY title").fetchall()


def synced(*dbs: Db) -> bool:
    """Both hold the same rows; given some seconds."""
    for _ in range(200):
        states = [
            [
                db.execute("SELECT rowseal.digest(%s)", [t]).fetchone()
                for t in ("user_grants", "notes")
            ]
            for db in dbs
        ]
        if states[0] == states[1]:
            return True
        time.sleep(0.05)
    return False


def story(home: Db, club: Db) -> None:
    title("Ann's key signs grants for her phone, laptop and tablet, and goes back into the drawer")
    key = SigningKey.generate()
    user = hashlib.sha256(bytes(key.verify_key)).digest()
    ann = Device("Ann", key, user, chained=False)
    phone, laptop, tablet = (
        Device(name, SigningKey.generate(), user) for name in ("phone", "laptop", "tablet")
    )
    bring(home, ann.sign("user_cards", sign_pkey=bytes(key.verify_key), owner_timestamp=1))
    for device in (phone, laptop, tablet):
        bring(
            home,
            ann.sign(
                "user_grants",
                grantee_pkey=bytes(device.key.verify_key),
                until=10**6,
                tombstones=True,
                owner_timestamp=1,
            ),
        )
    assert synced(home, club)

    title("All three write, to whichever server they reach")
    bring(club, phone.sign("notes", title="shopping", body="milk", owner_timestamp=10))
    bring(home, laptop.sign("notes", title="letter", body="Dear Bob", owner_timestamp=11))
    bring(club, tablet.sign("notes", title="sketch", body="a boat", owner_timestamp=12))
    bring(
        home,
        laptop.sign("notes", title="letter", body="Dear Bob, sail with me", owner_timestamp=13),
    )
    assert synced(home, club)
    table(notes(club), ("title", "body", "writer_seq"))

    title("The phone is lost.  Its finder overwrites the letter before anybody knows")
    number, last = phone.number, phone.last  # where Ann's phone was
    bring(club, phone.sign("notes", title="letter", body="HACKED", owner_timestamp=900))
    assert synced(home, club)
    table(notes(home), ("title", "body", "writer_seq"))

    title("Ann takes her key out of the drawer and revokes the phone after its first row")
    text, standing = home.execute(
        "SELECT payload, standing FROM rowseal.revoke('user_grants', %s, %s, 2, %s)",
        [Jsonb({"user_hash": "\\x" + user.hex()}), bytes(phone.key.verify_key), [last]],
    ).fetchone() or ("", None)
    assert standing == []  # the phone had let nobody else in
    revocation = ann.sign(
        "user_grants", grantee_pkey=bytes(phone.key.verify_key), upto=[last], owner_timestamp=2
    )
    assert (
        FORMS["user_grants"]
        .payload_of(
            {
                "user_hash": user,
                "grantee_pkey": bytes(phone.key.verify_key),
                "upto": [last],
                "owner_timestamp": 2,
                "deleted_flag": False,
            }
        )
        .decode()
        == text
    )
    bring(home, revocation)
    assert synced(home, club)
    table(notes(club), ("title", "body", "writer_seq"))
    assert [body for _, body, _ in notes(club)] == ["Dear Bob, sail with me", "milk", "a boat"]

    title("The finder tries a later row, one dated into the past, and a second row number 1")
    late = phone.sign("notes", title="shopping", body="late", owner_timestamp=901)
    dated = phone.sign("notes", title="diary", body="back-dated", owner_timestamp=2)
    phone.number, phone.last = 0, None
    forked = phone.sign("notes", title="shopping", body="forked", owner_timestamp=902)
    for db, name in ((home, "home"), (club, "club")):
        for row, outcome in zip((late, dated, forked), bring(db, late, dated, forked)):
            say(f"   {name}: {row['row']['body']:12} {outcome[0]}, {outcome[1]}")
            assert outcome[0] == "deferred" and outcome[1].startswith("RS012")
    assert synced(home, club)
    for db in (home, club):
        assert [body for _, body, _ in notes(db)] == ["Dear Bob, sail with me", "milk", "a boat"]
        assert db.execute("SELECT * FROM rowseal.verify('notes')").fetchall() == []
    assert number == 1

    title("The evidence")
    table(
        home.execute(
            "SELECT sqlstate, reason, row -> 'row' ->> 'body' FROM rowseal.quarantine ORDER BY id"
        ).fetchall(),
        ("sqlstate", "reason", "body"),
    )
    table(
        home.execute("SELECT writer_seq, cardinality(links) FROM rowseal.equivocations").fetchall(),
        ("number used twice", "rows"),
    )
    assert home.execute("SELECT count(*) FROM rowseal.equivocations").fetchone() == (1,)
    seen = (
        "SELECT left(encode(writer, 'hex'), 8), revoked, rows, held, missing"
        " FROM rowseal.writers ORDER BY revoked DESC, rows"
    )
    table(home.execute(seen).fetchall(), ("writer", "revoked", "rows", "held", "missing"))


def main() -> int:
    own_environment()
    with (
        temporary_folder("demo") as folder,
        Postgres(folder, "home", LOGICAL) as one,
        Postgres(folder, "club", LOGICAL) as other,
    ):
        home, club = (s.connect("postgres", "postgres") for s in (one, other))
        for db in (home, club):
            db.execute(TABLES)
            db.execute("SELECT rowseal.publish()")
        FORMS.update(
            {
                tag: Form(tag, fields)
                for tag, fields in home.execute(
                    "SELECT tag, spec -> 'fields' FROM rowseal.declarations"
                )
            }
        )
        for db, there, name in ((home, other, "from_club"), (club, one, "from_home")):
            db.execute(
                "SELECT * FROM rowseal.subscribe(%s, %s)",
                [name, f"host={there.folder} user=postgres dbname=postgres"],
            )
        story(home, club)
    return 0


if __name__ == "__main__":
    with ended_by_signals():
        sys.exit(main())
