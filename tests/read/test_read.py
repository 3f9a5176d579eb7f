"""Reading: payload, verify, digest, history, heads, declarations, quarantine (rules 6-8)."""

from __future__ import annotations

import itertools
import json
import random
import uuid
from base64 import b64encode
from typing import Any

import psycopg
import pytest

from kit.db import Db, Server
from kit.example import EXAMPLE, Owner
from kit.scratch import Scratch, problems, scratch_role, seal, shared_database, unwell, write

KEY = uuid.UUID(int=7)
STORAGE = "user_hash bytea, uuid uuid, value_b64 bytea, deleted_flag boolean, owner_timestamp bigint, parent_sign_b64 {0}, sign_b64 {0}"


shared = shared_database(
    f"""{EXAMPLE} CREATE TABLE one_table ({STORAGE.format("bytea")}, PRIMARY KEY (user_hash, uuid, sign_b64));
    SELECT rowseal.declare('one_table', owner => 'user_hash', identity => 'user_cards')"""
)
example, admin = scratch_role("app"), scratch_role("postgres")


def key_of(owner: Owner) -> str:
    return json.dumps({"user_hash": b64encode(owner.hash).decode(), "uuid": str(KEY)})


def version(db: Db, owner: Owner, value: bytes, parent: dict[str, Any] | None, **changes: Any) -> dict[str, Any]:
    return seal(db, owner, "user_storage", owner.value(value, KEY, parent_sign_b64=parent and parent["sign_b64"], **changes))


# -------------------------------------------------------------------------------------------- payload
def test_payload_is_the_text_that_the_client_signs(example: Scratch) -> None:
    ann = Owner()
    row = ann.value(b"\x00\xff", KEY)
    expected = example.form("user_storage").payload_of(row).decode()
    canonical = json.loads(expected)["row"]
    assert example.one("SELECT rowseal.payload('user_storage', %s)", json.dumps(canonical)) == expected
    stored = {k: "\\x" + v.hex() if isinstance(v, bytes) else str(v) if isinstance(v, uuid.UUID) else v for k, v in row.items()}
    assert example.one("SELECT rowseal.payload('user_storage', %s)", json.dumps(stored)) == expected  # as to_jsonb shows it
    assert expected.startswith('{"row":{"deleted_flag":false,"owner_timestamp":"') and expected.endswith(
        '"},"rowseal":1,"table":"user_storage"}'
    )
    assert "parent_sign_b64" not in expected  # NULL is left out


def test_payload_takes_a_stored_row_and_ignores_its_signature(example: Scratch, ann: Owner) -> None:
    row = write(example, ann, "user_storage", ann.value(b"v", KEY))
    text = example.form("user_storage").payload_of({k: v for k, v in row.items() if k != "sign_b64"}).decode()
    assert example.one("SELECT rowseal.payload('user_storage', to_jsonb(s)) FROM user_storage s") == text


def test_payload_of_an_unknown_field_is_refused(example: Scratch) -> None:
    diag = example.refused("RS015", "SELECT rowseal.payload('user_storage', '{\"valu\": 1}')")
    assert "'valu'" in str(diag.message_primary) and "user_storage" in str(diag.message_primary) and "value_b64" in str(diag.message_hint)


def test_payload_does_not_depend_on_settings(example: Scratch) -> None:
    example.run(
        """CREATE TABLE c (id text PRIMARY KEY, k bytea, at timestamptz, d interval, f float8, b bytea[], deleted_flag bool,
            owner_timestamp bigint, sign_b64 bytea)"""
    )
    example.run("SELECT rowseal.declare('c', owner => 'id', public_key => 'k')")
    row = '{"at": "2026-11-21T09:00:00.000000Z", "d": "P1DT2H", "f": 0.1, "b": ["\\\\xff", "/w=="]}'
    expected = '{"row":{"at":"2026-11-21T09:00:00.000000Z","b":["/w==","/w=="],"d":"P1DT2H","f":0.1},"rowseal":1,"table":"c"}'
    assert example.one("SELECT rowseal.payload('c', %s)", row) == expected
    example.run(
        "SET LOCAL datestyle = 'German, DMY'; SET LOCAL timezone = 'Asia/Tokyo'; SET LOCAL intervalstyle = sql_standard; "
        "SET LOCAL extra_float_digits = -10; SET LOCAL bytea_output = escape; SET LOCAL search_path = ''"
    )
    assert example.one("SELECT rowseal.payload('public.c', %s)", row) == expected


@pytest.mark.parametrize(
    "call", ["payload({}, '{{}}')", "verify({})", "digest({})", "history({}, '{{}}')", "heads({}, '{{}}')", "apply({}, '[]')"]
)
def test_undeclared_tables_have_nothing_to_read(call: str, example: Scratch) -> None:
    example.run("CREATE TABLE other (id int)")
    for table in ("'other'", "NULL"):
        diag = example.refused("RS007", f"SELECT rowseal.{call.format(table)}")
        assert "is not declared" in str(diag.message_primary) and "rowseal.declare" in str(diag.message_hint)


# --------------------------------------------------------------------------------------------- verify
def test_verify_shows_every_row_that_is_not_what_was_signed(example: Scratch, admin: Scratch, ann: Owner, bob: Owner) -> None:
    for value in (b"1", b"2"):
        write(example, ann, "user_storage", ann.value(value, KEY))
    write(example, bob, "user_storage", bob.value(b"b", KEY))
    assert problems(example, "user_storage") == problems(example, "user_cards") == []
    example.run(
        """ALTER TABLE user_storage DISABLE TRIGGER ALL; ALTER TABLE user_storage_versions DISABLE TRIGGER ALL; ALTER TABLE user_cards
            DISABLE TRIGGER ALL"""
    )
    tampered = {
        "UPDATE user_storage SET value_b64 = 'forged' WHERE user_hash = %s": ["RS001"],
        "UPDATE user_storage_versions SET owner_timestamp = owner_timestamp - 1 WHERE user_hash = %s": ["RS001"],
        "UPDATE user_storage SET uuid = gen_random_uuid() WHERE user_hash = %s": ["RS001", "RS009"],
        "DELETE FROM user_storage WHERE user_hash = %s": ["RS009"],
        "INSERT INTO user_storage_versions SELECT * FROM user_storage WHERE user_hash = %s": ["RS009"],
        "DELETE FROM user_cards WHERE user_hash = %s": ["RS002", "RS002"],
        "UPDATE user_storage SET sign_b64 = NULL WHERE user_hash = %s": ["RS001"],
    }
    for statement, expected in tampered.items():
        with example.connection.transaction(force_rollback=True):
            example.run(statement, ann.hash)
            assert sorted(problems(example, "user_storage")) == expected, statement
    example.run("UPDATE user_storage SET value_b64 = 'forged' WHERE user_hash = %s", bob.hash)
    key, sign, sqlstate, problem = example.one("SELECT * FROM rowseal.verify('user_storage')")
    assert (key["uuid"], sqlstate, problem) == (str(KEY), "RS001", "invalid signature")
    assert sign == example.one("SELECT sign_b64 FROM user_storage WHERE user_hash = %s", bob.hash)


@pytest.mark.parametrize("key", ["user_hash, uuid", "user_hash, uuid, sign_b64"])
def test_parallel_workers_see_the_same(key: str, example: Scratch, admin: Scratch, ann: Owner) -> None:
    """Forced into a parallel plan, whose processes have Python of their own and no SQL in it."""
    example.run(f"""CREATE TABLE many (user_hash bytea, uuid uuid, tags text[], at timestamptz, span interval, doc jsonb, deleted_flag boolean,
        owner_timestamp bigint, parent_sign_b64 bytea, sign_b64 text, PRIMARY KEY ({key}))""")
    layout = example.one("SELECT layout FROM rowseal.declare('many', owner => 'user_hash', identity => 'user_cards')")
    form = example.form("many")
    for n in range(40):
        row = {**ann.value(key=uuid.UUID(int=n % 30)), "tags": ["a", None], "at": "2026-01-01 00:00:00+00", "span": "P1D", "doc": "{}"}
        del row["value_b64"]
        sealed = ann.sealed(form, row)
        example.insert("many", {**sealed, "sign_b64": b64encode(sealed["sign_b64"]).decode()})
    admin.run("ALTER TABLE many DISABLE TRIGGER zzz_rowseal_guard")
    admin.run("UPDATE many SET tags = '{b}' WHERE uuid = %s", uuid.UUID(int=29))
    admin.run("ALTER TABLE many ENABLE ALWAYS TRIGGER zzz_rowseal_guard")
    questions = (
        "SELECT * FROM rowseal.verify('many')",
        "SELECT rowseal.digest('many')",
        "SELECT bucket, rows, digest FROM rowseal.digests('many', 8)",
        "SELECT e FROM rowseal.export('many') e ORDER BY e ->> 'sign_b64'",
        "SELECT * FROM rowseal.verify('user_cards')",
    )
    serial = [admin.all(q) for q in questions]
    forced = "debug_parallel_query" if admin.one("SELECT current_setting('server_version_num')::int") >= 160000 else "force_parallel_mode"
    admin.run(f"SET {forced} = on; SET parallel_setup_cost = 0; SET parallel_tuple_cost = 0; SET min_parallel_table_scan_size = 0")
    assert [admin.all(q) for q in questions] == serial
    assert len(serial[0]) == 1 and len(serial[3]) == (40 if layout == "one table" else 30)


def test_verify_shows_a_foreign_card(example: Scratch, ann: Owner, bob: Owner) -> None:
    example.run("ALTER TABLE user_cards DISABLE TRIGGER ALL")
    example.run("UPDATE user_cards SET sign_pkey = %s WHERE user_hash = %s", bob.public_key, ann.hash)
    assert problems(example, "user_cards") == ["RS001"]
    stolen = seal(example, bob, "user_cards", {**bob.card(), "user_hash": ann.hash})
    example.run("DELETE FROM user_cards WHERE user_hash = %s", ann.hash)
    example.insert("user_cards", stolen)
    assert problems(example, "user_cards") == ["RS005"]


# --------------------------------------------------------------------------------------------- digest
def test_the_digest_of_an_empty_table_is_that_of_nothing(example: Scratch) -> None:
    import hashlib

    assert example.digest("user_storage") == example.digest("user_cards") == hashlib.sha256(b"").digest()


def test_any_difference_changes_the_digest(example: Scratch, ann: Owner) -> None:
    seen = {example.digest("user_storage")}
    first = version(example, ann, b"1", None)
    rows = [
        first,
        version(example, ann, b"2", first),
        version(example, ann, b"", None, deleted_flag=True),
        seal(example, ann, "user_storage", ann.value(b"1")),
    ]
    for row in rows:
        example.insert("user_storage", row)
        seen.add(example.digest("user_storage"))
    assert len(seen) == 5
    example.run("ALTER TABLE user_storage DISABLE TRIGGER ALL; ALTER TABLE user_storage_versions DISABLE TRIGGER ALL")
    for statement in (
        "UPDATE user_storage SET value_b64 = value_b64 || 'x'",
        "DELETE FROM user_storage_versions WHERE value_b64 = '1'",
        "UPDATE user_storage SET sign_b64 = sign_b64 || '\\x00'",
    ):
        example.run(statement)
        seen.add(example.digest("user_storage"))
    assert len(seen) == 8


def test_the_digest_is_a_function_of_the_set_of_rows(example: Scratch, ann: Owner, bob: Owner) -> None:
    first = version(example, ann, b"1", None)
    rows = [first, version(example, ann, b"2", first), version(example, ann, b"3", first), version(example, bob, b"b", None)]
    seen = set()
    for order in itertools.islice(itertools.permutations(rows), 0, None, 3):
        with example.connection.transaction(force_rollback=True):
            for row in [*order, *order]:
                example.insert("user_storage", row)
            seen.add((example.digest("user_storage"), tuple(map(str, example.all("SELECT * FROM user_storage ORDER BY user_hash")))))
    assert len(seen) == 1


def test_two_databases_agree_whatever_their_layout_and_storage(server: Server, example: Scratch, ann: Owner) -> None:
    """Two tables with bytea here, one partitioned table with base64 text and other column names there."""
    first = version(example, ann, b"1", None)
    rows = [first, version(example, ann, b"2", first), version(example, ann, b"3", first, deleted_flag=True)]
    form = example.form("user_storage")
    name = server.database()
    try:
        with server.connect(name, "app") as c:
            there = Db(c)
            there.run(
                """CREATE TABLE cards (user_hash bytea PRIMARY KEY, sign_pkey bytea, contact_pkey bytea, contact_cert bytea, crypt_pkey
                    bytea,"""
                " crypt_cert bytea, name text, deleted_flag boolean, owner_timestamp bigint, sign_b64 text)"
            )
            there.run("SELECT rowseal.declare('cards', owner => 'user_hash', public_key => 'sign_pkey', tag => 'user_cards')")
            there.run(
                f"CREATE TABLE storage ({STORAGE.format('text')}, PRIMARY KEY (user_hash, uuid, sign_b64)) PARTITION BY HASH (user_hash)"
            )
            there.run("CREATE TABLE p PARTITION OF storage FOR VALUES WITH (MODULUS 1, REMAINDER 0)")
            there.run("SELECT rowseal.declare('storage', owner => 'user_hash', identity => 'cards', tag => 'user_storage')")
            there.run("ALTER TABLE storage RENAME value_b64 TO content")
            write(there, ann, "cards", dict(zip(ann.card(), example.one("SELECT * FROM user_cards"))), tag="user_cards", text=True)
            random.Random(1).shuffle(rows)
            for row in rows:
                example.insert("user_storage", row)
            for row in reversed(rows):
                envelope = ann.envelope(form, {k: v for k, v in row.items() if k != "sign_b64"})
                there.run("SELECT rowseal.apply('storage', %s::jsonb)", json.dumps(envelope))
            assert there.one("SELECT count(*) FROM storage") == 3
            assert there.digest("storage") == example.digest("user_storage")
            assert there.digest("cards") == example.digest("user_cards")
            write(
                there,
                ann,
                "storage",
                {
                    "user_hash": ann.hash,
                    "uuid": KEY,
                    "content": b"4",
                    "deleted_flag": False,
                    "owner_timestamp": next(ann.clock),
                    "parent_sign_b64": None,
                },
                tag="user_storage",
                text=True,
            )
            assert there.digest("storage") != example.digest("user_storage")
    finally:
        server.drop(name)


# ---------------------------------------------------------------------------------- history and heads
@pytest.mark.parametrize("table", ["user_storage", "one_table"])
def test_history_walks_the_tree_and_heads_shows_its_open_ends(table: str, example: Scratch, ann: Owner, bob: Owner) -> None:
    def put(value: bytes, parent: dict[str, Any] | None, **changes: Any) -> dict[str, Any]:
        return write(example, ann, table, ann.value(value, KEY, parent_sign_b64=parent and parent["sign_b64"], **changes))

    call = f"FROM rowseal.{{}}('{table}', %s)"
    assert example.all("SELECT * " + call.format("history"), key_of(ann)) == []
    root = put(b"root", None)
    left, right = put(b"left", root), put(b"right", root)  # two devices that did not see each other
    write(example, bob, table, bob.value(b"bob's", KEY))
    rows = example.all(
        "SELECT depth, sign, parent, owner_timestamp, deleted, tip, gap, row ->> 'value_b64' " + call.format("history"), key_of(ann)
    )
    assert rows == [
        (0, root["sign_b64"], None, root["owner_timestamp"], False, False, False, b64encode(b"root").decode()),
        (1, left["sign_b64"], root["sign_b64"], left["owner_timestamp"], False, False, False, b64encode(b"left").decode()),
        (1, right["sign_b64"], root["sign_b64"], right["owner_timestamp"], False, True, False, b64encode(b"right").decode()),
    ]
    heads = "SELECT sign, tip " + call.format("heads")
    assert example.all(heads, key_of(ann)) == [(right["sign_b64"], True), (left["sign_b64"], False)]
    merged = put(b"merged", left)  # a child of one head: the other stays open
    assert example.all(heads, key_of(ann)) == [(merged["sign_b64"], True), (right["sign_b64"], False)]
    put(b"", right, deleted_flag=True)
    assert example.all("SELECT deleted, tip " + call.format("heads"), key_of(ann)) == [(True, True), (False, False)]
    assert example.all("SELECT depth " + call.format("history"), key_of(ann)) == [0, 1, 1, 2, 2]
    assert example.all("SELECT depth " + call.format("history"), key_of(bob)) == [0]


def test_a_missing_parent_is_a_gap_until_it_comes(example: Scratch, ann: Owner) -> None:
    one = version(example, ann, b"1", None)
    two = version(example, ann, b"2", one)
    three = version(example, ann, b"3", two)
    call = "SELECT depth, gap, tip FROM rowseal.history('user_storage', %s)"
    example.insert("user_storage", three)  # it does not block a row
    assert example.all(call, key_of(ann)) == [(0, True, True)]
    example.insert("user_storage", one)
    assert example.all(call, key_of(ann)) == [(0, False, False), (0, True, True)]
    assert len(example.all("SELECT * FROM rowseal.heads('user_storage', %s)", key_of(ann))) == 2
    example.insert("user_storage", two)
    assert example.all(call, key_of(ann)) == [(0, False, False), (1, False, False), (2, False, True)]
    assert example.all("SELECT sign FROM rowseal.heads('user_storage', %s)", key_of(ann)) == [three["sign_b64"]]


def test_a_child_may_be_older_than_its_parent(example: Scratch, ann: Owner) -> None:
    """A slow clock: the tip is by timestamp, the tree and its order by parents."""
    parent = version(example, ann, b"parent", None, owner_timestamp=100)
    child = version(example, ann, b"child", parent, owner_timestamp=50)
    for row in (parent, child):
        example.insert("user_storage", row)
    assert example.all("SELECT depth, tip FROM rowseal.history('user_storage', %s)", key_of(ann)) == [(0, True), (1, False)]
    assert example.all("SELECT tip FROM rowseal.heads('user_storage', %s)", key_of(ann)) == [False]


def test_history_of_an_unversioned_table_is_its_tip(example: Scratch, ann: Owner) -> None:
    write(example, ann, "user_cards", ann.card(name="new"))
    key = json.dumps({"user_hash": "\\x" + ann.hash.hex()})
    assert example.all("SELECT depth, parent, tip, gap, row ->> 'name' FROM rowseal.history('user_cards', %s)", key) == [
        (0, None, True, False, "new")
    ]
    assert example.all("SELECT tip FROM rowseal.heads('user_cards', %s)", key) == [True]
    assert example.all("SELECT * FROM rowseal.history('user_cards', '{}')") == []


# ---------------------------------------------------------------------------- health and declarations
def test_health_names_its_checks_for_every_table(example: Scratch) -> None:
    checks = example.all('SELECT "check", relation::text, ok FROM rowseal.health()')
    assert all(ok for _, _, ok in checks)
    assert [c for c, r, _ in checks if r is None] == ["provider", "algorithms", "pgsodium", "event triggers", "installation"]
    assert [c for c, r, _ in checks if r == "user_storage"] == ["triggers", "structure", "functions", "unique", "foreign keys"]
    assert {r for _, r, _ in checks} == {None, "user_cards", "user_storage", "one_table"}
    assert example.one("SELECT detail FROM rowseal.health() WHERE \"check\" = 'provider'").split()[0] in ("PyNaCl", "pgsodium")


def test_health_shows_an_altered_function(example: Scratch, admin: Scratch) -> None:
    id_ = example.one("SELECT id FROM rowseal.declarations WHERE tag = 'user_cards'")
    admin.run(f"CREATE OR REPLACE FUNCTION rowseal._guard_{id_}() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END'")
    assert [(c, r) for c, r, _ in unwell(example)] == [("functions", "user_cards")]


def test_health_shows_an_event_trigger_that_is_off(example: Scratch, admin: Scratch) -> None:
    admin.run("ALTER EVENT TRIGGER rowseal_ddl DISABLE")
    assert [c for c, _, _ in unwell(example)] == ["event triggers", "installation"]


def test_declarations_can_be_read_by_everybody(example: Scratch, transaction: psycopg.Connection[Any]) -> None:
    row = Scratch(transaction, "mallory").one("""SELECT relation::text, tag, layout, versions::text, owner, identity::text, key,
        fields -> 'uuid'
        FROM rowseal.declarations WHERE tag = 'user_storage'""")
    assert row == (
        "user_storage",
        "user_storage",
        "two tables",
        "user_storage_versions",
        ["user_hash"],
        "user_cards",
        ["user_hash", "uuid"],
        "uuid",
    )


# ----------------------------------------------------------------------------------------- quarantine
def test_what_apply_refuses_is_kept_once_with_reason_and_source(example: Scratch, admin: Scratch, ann: Owner) -> None:
    form, eve = example.form("user_storage"), Owner("Eve")
    forged = {**ann.envelope(form, ann.value(b"1", KEY)), "sign_b64": b64encode(bytes(64)).decode()}
    unknown = eve.envelope(form, eve.value(b"2"))
    for _ in range(2):
        outcomes = example.apply("user_storage", [forged, unknown, "no row"])
        assert [o for o, _ in outcomes] == ["rejected", "deferred", "rejected"]
        assert all(reason for _, reason in outcomes)
    kept = admin.all(
        """SELECT tag, sqlstate, reason, curable, role, format, attempts, row, bytes > 0, first_seen < last_seen FROM rowseal.quarantine
            ORDER BY sqlstate DESC"""
    )
    assert [k[:3] for k in kept] == [
        ("user_storage", "RS002", "unknown owner"),
        ("user_storage", "RS001", "invalid signature"),
        ("user_storage", "22023", "not a JSON object"),
    ]
    assert [k[3] for k in kept] == [True, False, False]
    assert {k[4:7] for k in kept} == {("app", "canonical", 2)}
    assert kept[1][7] == forged
    assert example.one("SELECT count(*) FROM user_storage") == 0


def test_what_others_were_refused_is_not_for_everybody(example: Scratch, transaction: psycopg.Connection[Any], admin: Scratch) -> None:
    """Administrators see all of it; who may write the table sees what can still be cured; nobody writes it by hand."""
    form, eve = example.form("user_storage"), Owner("Eve")
    curable = eve.envelope(form, eve.value(b"1"))
    example.apply("user_storage", [curable, "no row"])
    mallory = Scratch(transaction, "mallory")
    seen = "SELECT sqlstate FROM rowseal.quarantine ORDER BY id"
    assert (example.all(seen), mallory.all(seen), len(admin.all(seen))) == (["RS002"], [], 2)
    for statement in (
        "INSERT INTO rowseal.quarantine DEFAULT VALUES",
        "UPDATE rowseal.quarantine SET attempts = 0",
        "TRUNCATE rowseal.quarantine",
    ):
        example.refused("42501", statement)
    assert mallory.run("DELETE FROM rowseal.quarantine") == 0
    admin.run("GRANT rowseal_admin TO mallory")
    assert len(mallory.all(seen)) == 2
