"""The running example on a throw-away server: make demo.

Two owners, Ann with two devices, a relay that nobody needs to trust; then three servers in a chain,
the one in the middle a liar.  Each lives in a temporary folder, is reached through a socket in it,
and is gone at the end, whatever happens.

usage: demo.py [--stay]      --stay keeps the server until Ctrl-C and says how to reach it
"""

from __future__ import annotations

import hashlib
import json
import re
import signal
import sys
import threading
import time
import uuid
from base64 import b64encode
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
import psycopg
from psycopg.types.json import Json, Jsonb

from kit.server import (
    LOGICAL,
    Postgres,
    ServerError,
    Stopped,
    ended_by_signals,
    own_environment,
    temporary_folder,
)
from rowseal.client import Form, SigningKey, envelope, sign

Row = dict[str, Any]
Db = psycopg.Connection[Any]

USER_CARDS = """CREATE TABLE user_cards (user_hash bytea PRIMARY KEY, sign_pkey bytea,
    contact_pkey bytea, contact_cert bytea, crypt_pkey bytea, crypt_cert bytea, name text,
    deleted_flag boolean, owner_timestamp bigint, sign_b64 bytea)"""
USER_STORAGE = """CREATE TABLE user_storage (user_hash bytea, uuid uuid, value_b64 bytea,
    deleted_flag boolean, owner_timestamp bigint, parent_sign_b64 bytea, sign_b64 bytea,
    PRIMARY KEY (user_hash, uuid))"""
USER_STORAGE_VERSIONS = """CREATE TABLE user_storage_versions (user_hash bytea, storage_uuid uuid,
    value_b64 bytea, deleted_flag boolean, owner_timestamp bigint, parent_sign_b64 bytea,
    sign_b64 bytea PRIMARY KEY)"""
DECLARE_CARDS = """\
SELECT * FROM rowseal.declare('user_cards', owner => 'user_hash', public_key => 'sign_pkey',
    fingerprint => 'sha256', \
certificates => '{"contact_cert": "contact_pkey", "crypt_cert": "crypt_pkey"}')"""
DECLARE_STORAGE = """\
SELECT * FROM rowseal.declare('user_storage', owner => 'user_hash', identity => 'user_cards',
    versions => 'user_storage_versions')"""


# ------------------------------------------------------------------------------------------ output
def title(text: str) -> None:
    print(f"\n\033[1m== {text}\033[0m" if sys.stdout.isatty() else f"\n== {text}", flush=True)


def say(text: str) -> None:
    print(text, flush=True)


def short(value: Any) -> str:
    """Text of a value; long byte strings as the first digits of their hex."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "t" if value else "f"
    if isinstance(value, (bytes, memoryview)):
        data = bytes(value)
        return (
            data.decode()
            if data.isascii() and data.decode().isprintable()
            else data.hex()[:8] + "…"
        )
    return shorten(json.dumps(value) if isinstance(value, dict) else str(value))


def shorten(text: str) -> str:
    """Hex and base64 of 16 bytes and more, cut to a few digits."""
    text = re.sub(r"(\\+x[0-9a-f]{8})[0-9a-f]{24,}", r"\1…", text)
    text = re.sub(r"\b0{8}-0000-4000-8000-0{11}(\d)\b", r"…-\1", text)
    return re.sub(r"([0-9A-Za-z+/]{8})[0-9A-Za-z+/]{24,}=*", r"\1…", text)


def table(rows: Iterable[Iterable[Any]], columns: Iterable[str]) -> None:
    lines = [list(columns)] + [[short(v) for v in row] for row in rows]
    widths = [max(len(line[i]) for line in lines) for i in range(len(lines[0]))]
    for n, line in enumerate(lines):
        say("   " + "   ".join(v.ljust(w) for v, w in zip(line, widths)).rstrip())
        if n == 0:
            say("   " + "   ".join("─" * w for w in widths))
    if len(lines) == 1:
        say("   (no rows)")


def query(db: Db, sql: str, *args: Any, show: bool = False) -> None:
    """Run a query and print its result, the query itself first when asked."""
    if show:
        say("   " + sql.replace("\n", "\n   ") + ";")
    cursor = db.execute(sql, args or None)
    assert cursor.description is not None
    table(cursor.fetchall(), [c.name for c in cursor.description])


hinted: set[str | None] = set()


def refused(what: str, db: Db, sql: str, args: list[Any]) -> None:
    """Run what must be refused and print the refusal; a hint once."""
    say(f"   {what}")
    try:
        with db.transaction():
            db.execute(sql, args)
    except psycopg.Error as e:
        say(f"      {e.sqlstate}: {shorten(e.diag.message_primary or str(e))}")
        if e.diag.message_hint and e.sqlstate not in hinted:
            say(f"      hint: {e.diag.message_hint}")
        hinted.add(e.sqlstate)
    else:
        raise AssertionError(f"not refused: {what}")


# ------------------------------------------------------------------------------------------ people
class Owner:
    """Somebody with a key.  The keys of the demo are fixed, so that it always prints the same."""

    def __init__(self, name: str):
        self.name, self.key = name, SigningKey(hashlib.sha256(name.encode()).digest())
        self.public_key = bytes(self.key.verify_key)
        self.hash = hashlib.sha256(self.public_key).digest()

    def card(self, timestamp: int, **changes: Any) -> Row:
        return {
            "user_hash": self.hash, "sign_pkey": self.public_key, "name": self.name,
            "deleted_flag": False, "owner_timestamp": timestamp, **changes,
        }  # fmt: skip

    def note(
        self,
        timestamp: int,
        key: uuid.UUID,
        value: bytes | None,
        parent: Row | None = None,
        **changes: Any,
    ) -> Row:
        return {
            "user_hash": self.hash, "uuid": key, "value_b64": value, "deleted_flag": value is None,
            "owner_timestamp": timestamp, "parent_sign_b64": parent and parent["sign_b64"],
            **changes,
        }  # fmt: skip

    def signed(self, form: Form, row: Row) -> Row:
        return {**row, "sign_b64": sign(form, row, self.key)}


def insert(table_name: str, row: Mapping[str, Any]) -> tuple[str, list[Any]]:
    return (
        f"INSERT INTO {table_name} ({', '.join(row)}) VALUES ({', '.join(['%s'] * len(row))})",
        list(row.values()),
    )


def store(db: Db, table_name: str, row: Mapping[str, Any]) -> None:
    sql, values = insert(table_name, row)
    db.execute(sql, values)


KEYS = [uuid.UUID(int=(4 << 76) + (8 << 60) + i) for i in range(5)]
COLUMNS = "value_b64, deleted_flag, owner_timestamp, parent_sign_b64, sign_b64"
STORAGE = f"SELECT user_hash, uuid, {COLUMNS} FROM user_storage ORDER BY 1, 2"
VERSIONS = f"SELECT user_hash, storage_uuid, {COLUMNS} FROM user_storage_versions ORDER BY 1, 2, 5"
HEADS = (
    "SELECT sign, parent, owner_timestamp, tip, convert_from(decode(\"row\" ->> 'value_b64',"
    " 'base64'), 'UTF8') AS value"
)
CARDS = (
    "SELECT user_hash, sign_pkey, contact_pkey, contact_cert, name, owner_timestamp, sign_b64"
    " FROM user_cards ORDER BY name"
)


def show_storage(db: Db) -> None:
    say("\n   user_storage")
    query(db, STORAGE)
    say("\n   user_storage_versions")
    query(db, VERSIONS)


# -------------------------------------------------------------------------------------------- demo
def prepare(server: Postgres) -> None:
    """A database with the extension, and two ordinary roles: app, who owns the tables,
    and relay, who owns nothing.
    """
    with server.connect("postgres", "postgres") as c:
        c.execute("CREATE ROLE app LOGIN")
        c.execute("CREATE ROLE relay LOGIN")
        c.execute("CREATE DATABASE demo")
    with server.connect("demo", "postgres") as c:
        c.execute("CREATE EXTENSION rowseal CASCADE")
        c.execute("GRANT CREATE, USAGE ON SCHEMA public TO app")
        version = c.execute(
            "SELECT extversion, current_setting('server_version') FROM pg_extension"
            " WHERE extname = 'rowseal'"
        ).fetchone()
    assert version is not None
    say(f"PostgreSQL {version[1].split()[0]} with rowseal {version[0]} in {server.folder}")


def declare(db: Db) -> tuple[Form, Form, Form]:
    title("Two tables are declared (by app, an ordinary role that owns them)")
    for create in (USER_CARDS, USER_STORAGE, USER_STORAGE_VERSIONS):
        db.execute(create)
    query(db, DECLARE_CARDS, show=True)
    query(db, DECLARE_STORAGE, show=True)
    db.execute(
        "GRANT SELECT, INSERT, UPDATE, DELETE, TRUNCATE ON user_cards, user_storage,"
        " user_storage_versions TO relay"
    )
    fields = dict(db.execute("SELECT tag, spec -> 'fields' FROM rowseal.declarations").fetchall())
    wider = {**fields["user_storage"], "colour": "text"}
    return (
        Form("user_cards", fields["user_cards"]),
        Form("user_storage", fields["user_storage"]),
        Form("user_storage", wider),
    )


def write(
    server: Postgres, db: Db, cards: Form, storage: Form, ann: Owner, bob: Owner
) -> list[Row]:
    """Cards, notes, a fork; the versions of Ann's note, oldest first."""
    title("Ann and Bob sign their cards and first notes")
    phone_key = SigningKey(hashlib.sha256(b"Ann's address").digest())
    contact = bytes(phone_key.verify_key)
    store(
        db,
        "user_cards",
        ann.signed(
            cards,
            ann.card(
                1700000001, contact_pkey=contact, contact_cert=ann.key.sign(contact).signature
            ),
        ),
    )
    store(db, "user_cards", bob.signed(cards, bob.card(1700000002)))
    query(db, CARDS)
    first = ann.signed(storage, ann.note(1700000010, KEYS[1], b"buy milk"))
    store(db, "user_storage", first)
    store(db, "user_storage", bob.signed(storage, bob.note(1700000011, KEYS[1], b"Bob's")))
    say("\n   What Ann signed, in full (form rowseal/1):")
    say(
        "   "
        + shorten(storage.payload_of({k: v for k, v in first.items() if k != "sign_b64"}).decode())
    )

    title(
        "Ann's laptop and phone change the same note at the same moment, neither has seen the"
        " other's"
    )
    versions = {
        "laptop": ann.signed(storage, ann.note(1700000020, KEYS[1], b"buy oat milk", first)),
        "phone": ann.signed(storage, ann.note(1700000021, KEYS[1], b"buy milk and tea", first)),
    }
    ready = threading.Barrier(len(versions))
    failed: list[BaseException] = []

    def device(row: Row) -> None:
        try:
            with server.connect("demo", "app") as c:
                ready.wait()
                store(c, "user_storage", row)
        except BaseException as e:
            failed.append(e)

    threads = [
        threading.Thread(target=device, args=[row], daemon=True) for row in versions.values()
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failed:
        raise failed[0]
    show_storage(db)
    say("\n   Two heads: a fork, in plain sight, nothing lost")
    key = Jsonb({"user_hash": b64encode(ann.hash).decode(), "uuid": str(KEYS[1])})
    query(db, f"{HEADS} FROM rowseal.heads('user_storage', %s)", key)
    return [first, versions["laptop"], versions["phone"]]


def carry(
    relay: Db,
    cards: Form,
    storage: Form,
    wider: Form,
    ann: Owner,
    bob: Owner,
    carol: Owner,
    known: list[Row],
) -> None:
    title(
        "A relay brings envelopes in any order, some twice, one tampered with:"
        " rowseal.apply never fails for a bad one"
    )
    late = envelope(storage, ann.note(1700000015, KEYS[1], b"buy bread", known[0]), ann.key)
    carols = envelope(storage, carol.note(1700000040, KEYS[1], b"Carol's"), carol.key)
    tampered = envelope(storage, bob.note(1700000033, KEYS[2], b"pay Bob 10"), bob.key)
    tampered["row"]["value_b64"] = b64encode(b"pay Bob 99").decode()
    bring(
        relay,
        "user_storage",
        {
            "a new note of Bob": envelope(
                storage, bob.note(1700000031, KEYS[2], b"pay Bob 10"), bob.key
            ),
            "Ann's phone joins both": envelope(
                storage, ann.note(1700000030, KEYS[1], b"buy oat milk and tea", known[2]), ann.key
            ),
            "an older one of hers, late": late,
            "the same again": late,
            "Bob deletes an unknown note": envelope(
                storage, bob.note(1700000032, KEYS[3], None), bob.key
            ),
            "a note of unknown Carol": carols,
            "a field of a later version": envelope(
                wider, {**bob.note(1700000034, KEYS[4], b"x"), "colour": "red"}, bob.key
            ),
            "10 made 99 on the way": tampered,
        },
    )
    bring(
        relay,
        "user_cards",
        {
            "Ann's card of old": envelope(cards, ann.card(1700000000, name="Annie"), ann.key),
            "Carol's card": envelope(cards, carol.card(1700000039), carol.key),
        },
    )
    say("\n   Her note, deferred before, has followed by itself")
    show_storage(relay)


def bring(relay: Db, table_name: str, sealed: Mapping[str, Any]) -> None:
    say(f"   rowseal.apply('{table_name}', …)")
    answer = relay.execute(
        "SELECT * FROM rowseal.apply(%s, %s)", [table_name, Json(list(sealed.values()))]
    ).fetchall()
    table(
        ((n, what, outcome, reason) for what, (n, outcome, reason) in zip(sealed, answer)),
        ["", "what it brings", "outcome", "reason"],
    )


def attack(
    relay: Db, cards: Form, storage: Form, ann: Owner, bob: Owner, mallory: Owner, known: list[Row]
) -> None:
    title("The relay tries plain SQL; it may write both tables, and forge nothing")
    tip = known[2]
    for what, changes in {
        "a value altered": {"value_b64": b"buy whisky"},
        "an old note dated later": {**known[0], "owner_timestamp": 1900000000},
        "Ann's note made Bob's": {"user_hash": bob.hash},
        "a note replayed under another key": {"uuid": KEYS[4]},
        "its history rewritten": {"parent_sign_b64": None},
    }.items():
        refused(what, relay, *insert("user_storage", {**tip, **changes}))
    refused(
        "a note of an owner nobody knows",
        relay,
        *insert("user_storage", mallory.signed(storage, mallory.note(1, KEYS[1], b"hi"))),
    )
    usurped = {**ann.card(1900000000), "sign_pkey": mallory.public_key}
    refused("Ann's key replaced", relay, *insert("user_cards", mallory.signed(cards, usurped)))
    squatted = {**mallory.card(1), "user_hash": Owner("Dave").hash}
    refused(
        "Dave's id claimed before he comes",
        relay,
        *insert("user_cards", mallory.signed(cards, squatted)),
    )
    refused(
        "a card with a certificate of somebody else",
        relay,
        *insert(
            "user_cards",
            mallory.signed(
                cards,
                mallory.card(1, contact_pkey=ann.public_key, contact_cert=known[0]["sign_b64"]),
            ),
        ),
    )
    refused(
        "a note moved to another key",
        relay,
        "UPDATE user_storage SET uuid = %s WHERE user_hash = %s",
        [KEYS[4], ann.hash],
    )
    refused(
        "an archived version changed",
        relay,
        "UPDATE user_storage_versions SET value_b64 = 'x' WHERE user_hash = %s",
        [ann.hash],
    )
    refused("a note deleted", relay, "DELETE FROM user_storage WHERE user_hash = %s", [ann.hash])
    refused("everything deleted", relay, "TRUNCATE user_storage", [])
    sql, values = insert("user_storage", known[0])
    say(
        f"   an old version played again\n      INSERT 0 {relay.execute(sql, values).rowcount},"
        " the newer one stays"
    )


def audit(admin: Db) -> None:
    title("Refused rows are kept in rowseal.quarantine, for the administrator")
    query(
        admin,
        "SELECT id, tag, sqlstate, reason, role, attempts FROM rowseal.quarantine ORDER BY id",
    )

    title("Who owns the table or the server can forge, and it shows (rolled back afterwards)")
    admin.execute("BEGIN")
    say("   ALTER TABLE user_storage DISABLE TRIGGER zzz_rowseal_guard;")
    admin.execute("ALTER TABLE user_storage DISABLE TRIGGER zzz_rowseal_guard")
    say("   UPDATE user_storage SET value_b64 = 'pay Bob 99' WHERE value_b64 = 'pay Bob 10';")
    admin.execute("UPDATE user_storage SET value_b64 = 'pay Bob 99' WHERE value_b64 = 'pay Bob 10'")
    query(admin, "SELECT key, sqlstate, problem FROM rowseal.verify('user_storage')", show=True)
    query(admin, "SELECT * FROM rowseal.health() WHERE NOT ok", show=True)
    admin.execute("ROLLBACK")

    title("All is well at the end")
    query(
        admin,
        "SELECT * FROM rowseal.verify('user_cards') UNION ALL SELECT *"
        " FROM rowseal.verify('user_storage')",
        show=True,
    )
    query(admin, "SELECT * FROM rowseal.health()", show=True)
    say("   Equal on two servers if and only if they hold the same rows:")
    digest = (
        "SELECT relation, rowseal.digest(relation)::text AS digest FROM rowseal.declarations"
        " ORDER BY tag"
    )
    say("   " + digest + ";")
    for relation, value in admin.execute(digest).fetchall():
        say(f"   {relation:13} {value}")


# ----------------------------------------------------------------------------------- three servers
# who follows whom
LINKS = [("bergen", "oslo"), ("oslo", "bergen"), ("narvik", "bergen"), ("bergen", "narvik")]
TOWNS = ("oslo", "bergen", "narvik")


def until(question: Callable[[], Any], what: str) -> None:
    deadline = time.monotonic() + 30
    while not question():
        if time.monotonic() > deadline:
            raise SystemExit(f"not within 30 seconds: {what}")
        time.sleep(0.05)


def one(db: Db, sql: str, *args: Any) -> Any:
    row = db.execute(sql, args or None).fetchone()
    return row and row[0]


def digests(db: Db) -> tuple[str, ...]:
    return tuple(
        d
        for (d,) in db.execute(
            "SELECT rowseal.digest(relation)::text FROM rowseal.declarations ORDER BY tag"
        ).fetchall()
    )


def settle(dbs: Iterable[Db]) -> None:
    chosen = list(dbs)
    until(lambda: len({digests(db) for db in chosen}) == 1, "equal digests")


def state(dbs: Mapping[str, Db], ann: Owner) -> None:
    """A line per server: Ann's note, how much is there, the digests."""
    lines = []
    for name, db in dbs.items():
        note = one(
            db,
            "SELECT value_b64 FROM user_storage WHERE (user_hash, uuid) = (%s, %s)",
            ann.hash,
            KEYS[1],
        )
        counts = [
            one(db, f"SELECT count(*) FROM {t}")
            for t in ("user_storage", "user_storage_versions", "rowseal.quarantine")
        ]
        lines.append([name, note, *counts, *digests(db)])
    table(
        lines,
        [
            "",
            "Ann's note",
            "notes",
            "old versions",
            "quarantine",
            "digest of user_cards",
            "digest of user_storage",
        ],
    )


def chain(folder: Path, cards: Form, storage: Form, ann: Owner, bob: Owner, mallory: Owner) -> None:
    """Servers linked by the feed; the one in the middle lies, and a line breaks."""
    title("Three servers in a chain, oslo ⇄ bergen ⇄ narvik: each follows its neighbours' feed")
    with (
        Postgres(folder, "oslo", LOGICAL) as oslo,
        Postgres(folder, "bergen", LOGICAL) as bergen,
        Postgres(folder, "narvik", LOGICAL) as narvik,
    ):
        servers = {"oslo": oslo, "bergen": bergen, "narvik": narvik}
        for server in servers.values():
            found(server)
        with (
            oslo.connect("demo", "postgres") as o,
            bergen.connect("demo", "postgres") as b,
            narvik.connect("demo", "postgres") as n,
        ):
            dbs = dict(zip(TOWNS, (o, b, n)))
            link(servers, dbs)
            first = ann.signed(storage, ann.note(1700000050, KEYS[1], b"buy milk"))
            for db, table_name, row in [
                (o, "user_cards", ann.signed(cards, ann.card(1700000001))),
                (o, "user_storage", first),
                (n, "user_cards", bob.signed(cards, bob.card(1700000002))),
                (n, "user_storage", bob.signed(storage, bob.note(1700000051, KEYS[1], b"Bob's"))),
            ]:
                store(db, table_name, row)
            settle(dbs.values())
            say("   Ann writes at oslo, Bob at narvik")
            state(dbs, ann)
            lie(dbs, cards, storage, ann, mallory, first)
            part(dbs, storage, ann, bob, first)


def found(server: Postgres) -> None:
    """The example's tables on one server; app, who owns them, is trusted with what links bring."""
    with server.connect("postgres", "postgres") as c:
        c.execute("CREATE DATABASE demo")
    with server.connect("demo", "postgres") as c:
        c.execute("CREATE EXTENSION rowseal CASCADE")
        c.execute("CREATE EXTENSION dblink")
        c.execute("CREATE ROLE app LOGIN")
        c.execute("GRANT rowseal_trusted TO app")
        c.execute("GRANT CREATE, USAGE ON SCHEMA public TO app")
    with server.connect("demo", "app") as c:
        for sql in (
            USER_CARDS,
            USER_STORAGE,
            USER_STORAGE_VERSIONS,
            DECLARE_CARDS,
            DECLARE_STORAGE,
        ):
            c.execute(sql[:-1] + ", feed => true)" if "rowseal.declare" in sql else sql)


def link(servers: Mapping[str, Postgres], dbs: Mapping[str, Db]) -> None:
    say("   on each: SELECT rowseal.publish();  and on oslo, the same way on the others:")
    say("   CALL rowseal.subscribe('oslo_from_bergen', 'host=… dbname=demo');")
    for db in dbs.values():
        db.execute("SELECT rowseal.publish()")
    for here, there in LINKS:
        conninfo = (
            f"host={servers[there].folder} port={servers[there].port} user=postgres dbname=demo"
        )
        dbs[here].execute("CALL rowseal.subscribe(%s, %s)", [f"{here}_from_{there}", conninfo])


def lie(
    dbs: Mapping[str, Db], cards: Form, storage: Form, ann: Owner, mallory: Owner, first: Row
) -> None:
    title("bergen's superuser takes the trigger off its feed, and puts forged rows into it")
    genuine = envelope(storage, {k: v for k, v in first.items() if k != "sign_b64"}, ann.key)
    forged = [
        {**genuine, "row": {**genuine["row"], "value_b64": b64encode(b"buy whisky").decode()}},
        {**genuine, "row": {**genuine["row"], "uuid": str(KEYS[4])}},
        envelope(cards, {**ann.card(1900000000), "sign_pkey": mallory.public_key}, mallory.key),
    ]
    with dbs["bergen"].transaction():
        dbs["bergen"].execute("ALTER TABLE rowseal.feed DISABLE TRIGGER arrive")
        for lying in forged:
            dbs["bergen"].execute(
                "INSERT INTO rowseal.feed (tag, owner, envelope) VALUES (%s, %s, %s)",
                [lying["table"], b64encode(ann.hash).decode(), Json(lying)],
            )
        dbs["bergen"].execute("ALTER TABLE rowseal.feed ENABLE ALWAYS TRIGGER arrive")
    honest = {name: dbs[name] for name in ("oslo", "narvik")}
    until(
        lambda: all(
            one(db, "SELECT count(*) FROM rowseal.quarantine") == len(forged)
            for db in honest.values()
        ),
        "forged rows refused",
    )
    say("   They end in the neighbours' quarantine; the links go on:")
    refusals = "SELECT subscription, tag, sqlstate, reason FROM rowseal.quarantine ORDER BY id"
    lines = [(name, *row) for name, db in honest.items() for row in db.execute(refusals).fetchall()]
    table(lines, ["", "subscription", "tag", "sqlstate", "reason"])


def part(dbs: Mapping[str, Db], storage: Form, ann: Owner, bob: Owner, first: Row) -> None:
    title("narvik is cut off. Both sides go on writing, Ann's two devices even the same note")
    cut = [("narvik", "narvik_from_bergen"), ("bergen", "bergen_from_narvik")]
    for name, subscription in cut:
        dbs[name].execute(f"ALTER SUBSCRIPTION {subscription} DISABLE")
    for name, subscription in cut:
        asleep = partial(
            one,
            dbs[name],
            "SELECT pid IS NULL FROM pg_stat_subscription WHERE subname = %s",
            subscription,
        )
        until(asleep, "a partition")
    store(
        dbs["oslo"],
        "user_storage",
        ann.signed(storage, ann.note(1700000060, KEYS[1], b"buy oat milk", first)),
    )
    store(
        dbs["oslo"], "user_storage", ann.signed(storage, ann.note(1700000061, KEYS[2], b"call Bob"))
    )
    store(
        dbs["narvik"],
        "user_storage",
        ann.signed(storage, ann.note(1700000062, KEYS[1], b"buy milk and tea", first)),
    )
    store(dbs["narvik"], "user_storage", bob.signed(storage, bob.note(1700000063, KEYS[1], None)))
    settle([dbs["oslo"], dbs["bergen"]])
    state(dbs, ann)
    title("The line is mended: equal digests on all three, and nothing is lost, the fork included")
    for name, subscription in cut:
        dbs[name].execute(f"ALTER SUBSCRIPTION {subscription} ENABLE")
    settle(dbs.values())
    state(dbs, ann)
    key = Jsonb({"user_hash": b64encode(ann.hash).decode(), "uuid": str(KEYS[1])})
    query(dbs["bergen"], f"{HEADS} FROM rowseal.heads('user_storage', %s)", key)


def main(stay: bool) -> None:
    own_environment()
    with temporary_folder("demo") as folder:
        say("Starting a server of its own …")
        with Postgres(folder) as server:
            prepare(server)
            ann, bob, carol, mallory = (Owner(name) for name in ("Ann", "Bob", "Carol", "Mallory"))
            with server.connect("demo", "app") as db:
                cards, storage, wider = declare(db)
                known = write(server, db, cards, storage, ann, bob)
            with server.connect("demo", "relay") as relay:
                carry(relay, cards, storage, wider, ann, bob, carol, known)
                attack(relay, cards, storage, ann, bob, mallory, known)
            with server.connect("demo", "postgres") as admin:
                audit(admin)
            chain(folder, cards, storage, ann, bob, mallory)
            if stay:
                say(
                    f"\nThe first server stays until Ctrl-C:  psql -h {server.folder} -U"
                    " postgres demo"
                )
                while True:
                    signal.pause()
    say("\nAll servers are stopped, their folder is removed.")


if __name__ == "__main__":
    try:
        with ended_by_signals():
            main(stay="--stay" in sys.argv[1:])
    except ServerError as error:
        sys.exit(str(error))
    except (KeyboardInterrupt, Stopped) as interrupted:
        with suppress(OSError):
            say("\nInterrupted: all servers are stopped, their folder is removed.")
        sys.exit(130 if isinstance(interrupted, KeyboardInterrupt) else 143)
