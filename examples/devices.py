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

from psycopg.types.json import Json, Jsonb

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
        "SELECT outcome, reason FROM rowseal.receive(%s)", [Json(list(envelopes))]
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


class Story:
    """Ann, her devices, two servers; the chapters, each of which ends with what must be so then."""

    def __init__(self, home: Db, club: Db):
        self.home, self.club = home, club
        key = SigningKey.generate()
        self.user = hashlib.sha256(bytes(key.verify_key)).digest()
        self.ann = Device("Ann", key, self.user, chained=False)
        self.phone, self.laptop, self.tablet = (
            Device(name, SigningKey.generate(), self.user) for name in ("phone", "laptop", "tablet")
        )

    def tell(self) -> None:
        self.grant()
        self.write()
        place = self.lose()
        self.revoke(place)
        self.try_again()
        self.show_evidence()

    def show(self, db: Db) -> None:
        table(notes(db), ("title", "body", "writer_seq"))

    def check(self, *dbs: Db) -> None:
        """What Ann wrote is what the servers hold."""
        for db in dbs:
            bodies = [body for _, body, _ in notes(db)]
            assert bodies == ["Dear Bob, sail with me", "milk", "a boat"]

    def grant(self) -> None:
        title(
            "Ann's key signs grants for her phone, laptop and tablet, and goes back into the drawer"
        )
        public_key = bytes(self.ann.key.verify_key)
        bring(self.home, self.ann.sign("user_cards", sign_pkey=public_key, owner_timestamp=1))
        for device in (self.phone, self.laptop, self.tablet):
            grant = self.ann.sign(
                "user_grants",
                grantee_pkey=bytes(device.key.verify_key),
                until=10**6,
                tombstones=True,
                owner_timestamp=1,
            )
            bring(self.home, grant)
        assert synced(self.home, self.club)

    def write(self) -> None:
        title("All three write, to whichever server they reach")
        for db, device, what, body, at in (
            (self.club, self.phone, "shopping", "milk", 10),
            (self.home, self.laptop, "letter", "Dear Bob", 11),
            (self.club, self.tablet, "sketch", "a boat", 12),
            (self.home, self.laptop, "letter", "Dear Bob, sail with me", 13),
        ):
            bring(db, device.sign("notes", title=what, body=body, owner_timestamp=at))
        assert synced(self.home, self.club)
        self.show(self.club)

    def lose(self) -> bytes | None:
        """Where Ann's phone was."""
        title("The phone is lost.  Its finder overwrites the letter before anybody knows")
        number, last = self.phone.number, self.phone.last
        assert number == 1
        hacked = self.phone.sign("notes", title="letter", body="HACKED", owner_timestamp=900)
        bring(self.club, hacked)
        assert synced(self.home, self.club)
        self.show(self.home)
        return last

    def revoke(self, last: bytes | None) -> None:
        title("Ann takes her key out of the drawer and revokes the phone after its first row")
        phone = bytes(self.phone.key.verify_key)
        text, standing = self.home.execute(
            "SELECT payload, standing FROM rowseal.revoke('user_grants', %s, %s, 2, %s)",
            [Jsonb({"user_hash": "\\x" + self.user.hex()}), phone, [last]],
        ).fetchone() or ("", None)
        assert standing == []  # the phone had let nobody else in
        row = {"grantee_pkey": phone, "upto": [last], "owner_timestamp": 2}
        revocation = self.ann.sign("user_grants", **row)
        signed = {"user_hash": self.user, "deleted_flag": False, **row}
        assert FORMS["user_grants"].payload_of(signed).decode() == text
        bring(self.home, revocation)
        assert synced(self.home, self.club)
        self.show(self.club)
        self.check(self.club)

    def try_again(self) -> None:
        title("The finder tries a later row, one dated into the past, and a second row number 1")
        phone = self.phone
        late = phone.sign("notes", title="shopping", body="late", owner_timestamp=901)
        dated = phone.sign("notes", title="diary", body="back-dated", owner_timestamp=2)
        phone.number, phone.last = 0, None
        forked = phone.sign("notes", title="shopping", body="forked", owner_timestamp=902)
        for db, name in ((self.home, "home"), (self.club, "club")):
            for row, outcome in zip((late, dated, forked), bring(db, late, dated, forked)):
                say(f"   {name}: {row['row']['body']:12} {outcome[0]}, {outcome[1]}")
                assert outcome[0] == "deferred" and outcome[1].startswith("RS012")
        assert synced(self.home, self.club)
        self.check(self.home, self.club)
        for db in (self.home, self.club):
            assert db.execute("SELECT * FROM rowseal.verify('notes')").fetchall() == []

    def show_evidence(self) -> None:
        title("The evidence")
        held = (
            "SELECT sqlstate, reason, row -> 'row' ->> 'body' FROM rowseal.quarantine ORDER BY id"
        )
        table(self.home.execute(held).fetchall(), ("sqlstate", "reason", "body"))
        twice = "SELECT writer_seq, cardinality(links) FROM rowseal.equivocations"
        used = self.home.execute(twice).fetchall()
        table(used, ("number used twice", "rows"))
        assert len(used) == 1
        seen = (
            "SELECT left(encode(writer, 'hex'), 8), revoked, rows, held, missing"
            " FROM rowseal.writers ORDER BY revoked DESC, rows"
        )
        columns = ("writer", "revoked", "rows", "held", "missing")
        table(self.home.execute(seen).fetchall(), columns)


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
                "CALL rowseal.subscribe(%s, %s)",
                [name, f"host={there.folder} user=postgres dbname=postgres"],
            )
        Story(home, club).tell()
    return 0


if __name__ == "__main__":
    with ended_by_signals():
        sys.exit(main())
