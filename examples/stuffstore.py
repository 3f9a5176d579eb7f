"""Ann's stuff in Ann's own database; services come to it, each to its part.

A calendar and a shop keep no data of Ann's.  Each has a PostgreSQL server of its own and reaches
hers through postgres_fdw, with a role for what it may see and a key for what it may write.  The
feed says who wrote what.  The shop misbehaves and is revoked.  Then Ann moves house: what she has
goes to another server as envelopes, which prove themselves there.

usage: stuffstore.py      starts four throw-away servers and ends them
"""

from __future__ import annotations

import hashlib
import sys
from base64 import b64decode
from contextlib import ExitStack
from typing import Any

import psycopg
from psycopg.types.json import Json

from demo import Db, say, table, title
from devices import FORMS, Device, bring
from kit.server import Postgres, ended_by_signals, own_environment, temporary_folder
from rowseal.client import Form, SigningKey

TABLES = """
    CREATE EXTENSION rowseal CASCADE;
    CREATE TABLE cards (user_hash bytea PRIMARY KEY, sign_pkey bytea, deleted_flag boolean,
        owner_timestamp bigint, sign_b64 bytea);
    CREATE TABLE grants (user_hash bytea, grantee_pkey bytea, tables text[], keys jsonb,
        tombstones boolean, until bigint, may_grant smallint, upto bytea[], writer_pkey bytea,
        writer_seq bigint, writer_prev bytea, deleted_flag boolean, owner_timestamp bigint,
        sign_b64 bytea, PRIMARY KEY (user_hash, grantee_pkey, sign_b64));
    CREATE TABLE stuff (user_hash bytea, path text, value jsonb, writer_pkey bytea,
        writer_seq bigint, writer_prev bytea, deleted_flag boolean, owner_timestamp bigint,
        parent_sign_b64 bytea, sign_b64 bytea, PRIMARY KEY (user_hash, path));
    SELECT rowseal.declare('cards', owner => 'user_hash', public_key => 'sign_pkey',
        fingerprint => 'sha256', feed => true);
    SELECT rowseal.declare('grants', owner => 'user_hash', identity => 'cards', grants => true,
        feed => true);
    SELECT rowseal.declare('stuff', owner => 'user_hash', identity => 'cards',
        versions => 'stuff_versions', writers => 'grants', feed => true)"""
# A role sees and writes its part; the triggers need to see no more.
ROLE = """
    CREATE ROLE {0} LOGIN;
    GRANT SELECT ON cards TO {0}; GRANT SELECT, INSERT, UPDATE ON stuff TO {0};
    GRANT SELECT, INSERT ON stuff_versions TO {0};
    CREATE POLICY {0} ON stuff TO {0} USING (starts_with(path, '{0}/'));
    CREATE POLICY {0} ON stuff_versions TO {0} USING (starts_with(path, '{0}/'))"""
REACH = """
    CREATE EXTENSION postgres_fdw; CREATE SCHEMA ann;
    CREATE SERVER ann FOREIGN DATA WRAPPER postgres_fdw OPTIONS (host '{1}', dbname 'postgres');
    CREATE USER MAPPING FOR postgres SERVER ann OPTIONS (user '{0}');
    IMPORT FOREIGN SCHEMA public LIMIT TO (stuff) FROM SERVER ann INTO ann"""


class Service(Device):
    """A device that stores its rows itself, through the foreign table on its own server."""

    def __init__(self, name: str, owner: bytes, db: Db):
        super().__init__(name, SigningKey.generate(), owner)
        self.db = db

    def put(self, path: str, value: str, at: int) -> None:
        sealed = self.sign("stuff", path=path, value=value, owner_timestamp=at)
        row = {
            **dict.fromkeys(("writer_prev",)),
            **sealed["row"],
            "sign_b64": sealed["sign_b64"],
            "value": value,
        }
        for column in ("user_hash", "writer_pkey", "writer_prev", "sign_b64"):
            row[column] = b64decode(row[column]) if row[column] else None
        self.db.execute(
            f"INSERT INTO ann.stuff ({', '.join(row)}) VALUES ({', '.join(['%s'] * len(row))})",
            list(row.values()),
        )

    def refused(self, path: str, value: str, at: int) -> None:
        """What it tries to put is refused, and takes no place in its chain."""
        place = self.number, self.last
        try:
            self.put(path, value, at)
        except psycopg.Error as e:
            say(
                f"   {self.name} to {path}: {e.sqlstate}"
                f" {str(e.diag.message_primary).partition(', in table')[0]}"
            )
        else:
            raise AssertionError("it was stored")
        self.number, self.last = place


class Story:
    """Ann's database, her services, and where she moves; the chapters end with what must be so."""

    def __init__(self, home: Db, calendar: Db, shop: Db, new_home: Db, folder: Any):
        self.home, self.new_home, self.folder = home, new_home, folder
        key = SigningKey.generate()
        user = hashlib.sha256(bytes(key.verify_key)).digest()
        self.ann = Device("Ann", key, user, chained=False)
        self.calendar, self.shop = Service("calendar", user, calendar), Service("shop", user, shop)

    def tell(self) -> None:
        self.share()
        self.write()
        self.ask()
        self.revoke()
        self.move()

    def stuff(self, db: Db) -> list[Any]:
        return db.execute("SELECT path, value FROM stuff ORDER BY path").fetchall()

    def share(self) -> None:
        title("Ann's database: a role and a grant for each service")
        key = bytes(self.ann.key.verify_key)
        bring(self.home, self.ann.sign("cards", sign_pkey=key, owner_timestamp=1))
        self.home.execute(
            "ALTER TABLE stuff ENABLE ROW LEVEL SECURITY;"
            " ALTER TABLE stuff_versions ENABLE ROW LEVEL SECURITY"
        )
        for service in (self.calendar, self.shop):
            self.home.execute(ROLE.format(service.name))
            service.db.execute(REACH.format(service.name, self.folder))
            keys = f'{{"path": {{"prefix": "{service.name}/"}}}}'
            grant = self.ann.sign(
                "grants",
                grantee_pkey=bytes(service.key.verify_key),
                until=1000,
                keys=keys,
                owner_timestamp=1,
            )
            bring(self.home, grant)

    def write(self) -> None:
        title("Both write where they may, and only there")
        self.calendar.put("calendar/monday", '"dentist"', 10)
        self.calendar.put("calendar/monday", '"dentist, 9:30"', 11)
        self.shop.put("shop/basket", '["oars"]', 12)
        diary = self.ann.sign("stuff", path="diary", value='"a fine day"', owner_timestamp=13)
        bring(self.home, diary)
        # row security stops the role, and were it not there, the grant would stop the key
        self.shop.refused("calendar/monday", '"SALE!"', 14)
        for service in (self.calendar, self.shop):
            table(
                service.db.execute("SELECT path, value FROM ann.stuff ORDER BY path").fetchall(),
                (f"what {service.name} sees", "value"),
            )
        assert self.shop.db.execute("SELECT path FROM ann.stuff").fetchall() == [("shop/basket",)]

    def ask(self) -> None:
        title("Who wrote what: the feed has role, key and row")
        names = {bytes(d.key.verify_key).hex(): d.name for d in (self.calendar, self.shop)}
        trail = self.home.execute("""SELECT role,
            encode(decode(envelope #>> '{row,writer_pkey}', 'base64'), 'hex'),
            envelope #>> '{row,path}', envelope #> '{row,value}'
            FROM rowseal.changes() WHERE tag = 'stuff'""").fetchall()
        table(
            ((role, names.get(writer, "Ann"), path, value) for role, writer, path, value in trail),
            ("role", "key of", "path", "value"),
        )
        assert [(r, names.get(w, "Ann")) for r, w, *_ in trail] == [("calendar",) * 2] * 2 + [
            ("shop",) * 2,
            ("postgres", "Ann"),
        ]

    def revoke(self) -> None:
        title("The shop fills Ann's basket by itself, and is revoked after its first row")
        last = self.shop.last
        self.shop.put("shop/basket", '["oars", "a yacht"]', 20)
        key = bytes(self.shop.key.verify_key)
        revocation = self.ann.sign("grants", grantee_pkey=key, upto=[last], owner_timestamp=2)
        bring(self.home, revocation)
        self.shop.refused("shop/basket", '["two yachts"]', 21)
        self.calendar.put("calendar/tuesday", '"sailing"', 22)
        stuff = self.stuff(self.home)
        table(stuff, ("path", "value"))
        assert dict(stuff)["shop/basket"] == ["oars"]

    def move(self) -> None:
        title(
            "Ann moves house: envelopes out, envelopes in,"
            " and nobody on the way can have changed one"
        )
        stuff = self.stuff(self.home)
        for name in ("cards", "grants", "stuff"):
            exported = self.home.execute("SELECT * FROM rowseal.export(%s)", [name])
            envelopes = [envelope for (envelope,) in exported]
            counted = "SELECT outcome, count(*) FROM rowseal.receive(%s) GROUP BY 1 ORDER BY 1"
            outcomes = self.new_home.execute(counted, [Json(envelopes)]).fetchall()
            say(f"   {name}: {dict(outcomes)}")
        for name in ("cards", "grants", "stuff"):
            digest = "SELECT rowseal.digest(%s)"
            here, there = (
                db.execute(digest, [name]).fetchone() for db in (self.home, self.new_home)
            )
            assert here == there
        assert (
            self.new_home.execute("SELECT path, value FROM stuff ORDER BY path").fetchall() == stuff
        )
        yachts = '["three yachts"]'
        late = self.shop.sign("stuff", path="shop/basket", value=yachts, owner_timestamp=30)
        ((outcome, reason),) = bring(self.new_home, late)
        say(f"   The shop at the new address: {outcome}, {reason}")
        assert reason.startswith("RS012")


def main() -> int:
    own_environment()
    with temporary_folder("demo") as folder, ExitStack() as stack:
        servers = [
            stack.enter_context(Postgres(folder, name))
            for name in ("home", "calendar", "shop", "new_home")
        ]
        home, calendar, shop, new_home = (s.connect("postgres", "postgres") for s in servers)
        for db in (home, new_home):
            db.execute(TABLES)
        FORMS.update(
            {
                tag: Form(tag, fields)
                for tag, fields in home.execute(
                    "SELECT tag, spec -> 'fields' FROM rowseal.declarations"
                )
            }
        )
        Story(home, calendar, shop, new_home, servers[0].folder).tell()
    return 0


if __name__ == "__main__":
    with ended_by_signals():
        sys.exit(main())
