"""Holes that were open once: each of these attacks got through when it was written."""

from __future__ import annotations

import threading
from base64 import b64encode

import psycopg
import pytest
from psycopg.types.json import Json

from kit.attacks import attempt, insert
from kit.db import Db, Server
from kit.example import Owner
from kit.scratch import unwell
from kit.writers import Writer, card, grant, link_of, revocation, tables
from rowseal.client import SigningKey, envelope

DECLARE_U = (
    "SELECT rowseal.declare('u', owner => 'user_hash', identity => 'cards', writers => 'grants',"
    " versions => 'u_versions')"
)
DATA = """(user_hash bytea, key text, value integer, parent_sign_b64 bytea, writer_pkey bytea,
    writer_seq bigint, writer_prev bytea, deleted_flag boolean, owner_timestamp bigint,
    sign_b64 bytea, PRIMARY KEY (user_hash, key))"""


def device_of_ann(db: Db, **scope: object) -> tuple[Writer, Writer]:
    """Ann, and a device that she has let in; tables as in writing.tables."""
    db.run(tables())
    ann = Writer(Owner("Ann"))
    device = Writer(ann.owner, SigningKey.generate())
    card(db, ann.owner)
    db.insert("grants", ann.sealed(db.form("grants"), grant(device, **scope)))
    return ann, device


def chain(db: Db, device: Writer, *keys: str, table: str = "t") -> list[dict[str, object]]:
    form = db.form(table)
    return [device.sealed(form, {"key": k, "owner_timestamp": 1, "value": 1}) for k in keys]


def everybody_writes(db: Db) -> None:
    db.run("GRANT ALL ON cards, grants, t, t_versions, u, u_versions TO mallory")


# -- forged rows
def test_the_right_to_create_triggers_does_not_take_a_guard_away_from_links(
    db: Db, admin: Db, mallory: Db
) -> None:
    db.run(
        "CREATE TABLE cards (user_hash bytea PRIMARY KEY, k bytea, deleted_flag boolean,"
        " owner_timestamp bigint, sign_b64 bytea)"
    )
    db.run(
        "SELECT rowseal.declare('cards', owner => 'user_hash', public_key => 'k',"
        " fingerprint => 'sha256', feed => true)"
    )
    db.run("GRANT INSERT, UPDATE, SELECT, TRIGGER ON cards TO mallory")
    guard = db.one("SELECT id FROM rowseal.declarations WHERE tag = 'cards'")
    attempt(
        mallory,
        "CREATE OR REPLACE TRIGGER zzz_rowseal_guard BEFORE INSERT OR UPDATE ON cards"
        f" FOR EACH ROW EXECUTE FUNCTION rowseal._guard_{guard}()",
    )
    ann = Owner("Ann")
    row = {
        "user_hash": b64encode(ann.hash).decode(),
        "k": b64encode(ann.public_key).decode(),
        "deleted_flag": False,
        "owner_timestamp": "1",
    }
    forged = {
        "rowseal": 1,
        "table": "cards",
        "sign_b64": b64encode(bytes(64)).decode(),
        "row": row,
    }
    admin.run("SET session_replication_role = replica")  # as the worker of a link
    admin.run(
        "INSERT INTO rowseal.feed (tag, owner, envelope) VALUES ('cards', 'x', %s)",
        Json(forged),
    )
    assert db.all("SELECT sign_b64 FROM cards") == []


def test_a_digest_of_another_length_has_no_canonical_form(db: Db) -> None:
    db.run(
        "CREATE TABLE cards (user_hash bytea PRIMARY KEY, k bytea, deleted_flag boolean,"
        " owner_timestamp bigint, sign_b64 bytea)"
    )
    db.run(
        "SELECT rowseal.declare('cards', owner => 'user_hash', public_key => 'k',"
        " fingerprint => 'sha256')"
    )
    db.run("""CREATE TABLE d (user_hash bytea, key text, body bytea, body_sha256 bytea,
        deleted_flag boolean, owner_timestamp bigint, parent_sign_b64 bytea, sign_b64 bytea,
        PRIMARY KEY (user_hash, key))""")
    db.run(
        "SELECT rowseal.declare('d', owner => 'user_hash', identity => 'cards',"
        """ columns => '{"digests": ["body"]}')"""
    )
    ann = Owner("Ann")
    card(db, ann)
    outcomes = []
    for n in (0, 5, 31, 33):
        kept, owner = bytes(n), b64encode(ann.hash).decode()
        payload = (
            f'{{"row":{{"body":{{"sha256":"{b64encode(kept).decode()}"}},"deleted_flag":false,'
            f'"key":"k","owner_timestamp":"{n}","user_hash":"{owner}"}},"rowseal":1,"table":"d"}}'
        )
        sign = ann.key.sign(payload.encode()).signature
        outcomes.append(
            insert(
                db,
                "d",
                {
                    "user_hash": ann.hash,
                    "key": "k",
                    "body_sha256": kept,
                    "deleted_flag": False,
                    "owner_timestamp": n,
                    "sign_b64": sign,
                },
            )
        )
    assert outcomes == ["RS006"] * 4


def test_declare_refuses_a_forged_row_of_a_revoked_writer(db: Db, admin: Db) -> None:
    ann, device = device_of_ann(db)
    first, forged = chain(db, device, "k0", "k1", table="u")
    forged["sign_b64"] = bytes(64)
    db.run("SELECT rowseal.undeclare('u')")
    for row in (first, forged):
        db.insert("u", row)
    db.insert(
        "grants",
        ann.sealed(db.form("grants"), revocation(device, [link_of(first)], at=2)),
    )
    refused = attempt(db, DECLARE_U)
    # or it is held unread, and rowseal.revoke would name its link, which no other server ever sees
    assert (refused, admin.all("SELECT link FROM rowseal._writer_rows")) == (
        "RS001",
        [],
    )


# -- rows of a revoked writer that stay
@pytest.mark.parametrize("first", ["declare", "revoke"])
@pytest.mark.parametrize("level", ["READ COMMITTED", "REPEATABLE READ"])
def test_a_revocation_meets_the_declaration_of_a_table(
    server: Server, database: str, db: Db, first: str, level: str
) -> None:
    ann, device = device_of_ann(db)
    (row,) = chain(db, device, "k", table="u")
    db.run("SELECT rowseal.undeclare('u')")
    db.insert("u", row)
    revoked = ann.sealed(db.form("grants"), revocation(device, [], at=2))
    with server.connect(database, "app") as a, server.connect(database, "app") as b:
        a.execute("BEGIN")
        b.execute(f"BEGIN ISOLATION LEVEL {level}; SELECT 1 FROM cards")  # the snapshot
        steps = [
            (a, lambda: Db(a).run(DECLARE_U)),
            (b, lambda: Db(b).insert("grants", revoked)),
        ]
        (one, begin), (other, follow) = steps if first == "declare" else reversed(steps)
        begin()
        failed: list[str | None] = []

        def second() -> None:
            try:
                follow()
                other.execute("COMMIT")
            except psycopg.Error as e:
                failed.append(e.sqlstate)
                other.execute("ROLLBACK")

        thread = threading.Thread(target=second)
        thread.start()
        thread.join(2)
        one.execute("COMMIT")
        thread.join(20)
    assert failed or db.all("SELECT key FROM u") == []


def test_a_setting_does_not_keep_rows_of_a_revoked_writer(db: Db) -> None:
    """device: 1 revokes two, 2 is a row, 3 grants two; 2 comes last and shows that 1 stands."""
    ann, device = device_of_ann(db, may_grant=1)
    two = Writer(ann.owner, SigningKey.generate())
    form = db.form("grants")
    first = device.sealed(form, revocation(two, [], at=3))
    (second,) = chain(db, device, "link")
    third = device.sealed(form, grant(two))
    db.insert("grants", third)
    db.insert("t", chain(db, two, "two")[0])
    db.insert("grants", ann.sealed(form, revocation(device, [link_of(third)], at=2)))
    db.apply(
        "grants",
        [envelope(form, {k: v for k, v in first.items() if k != "sign_b64"}, device.key)],
    )
    db.insert("t", second)
    assert db.all("SELECT key FROM t") == ["link"]


def test_row_security_does_not_hide_rows_from_a_revocation(db: Db, mallory: Db) -> None:
    ann, device = device_of_ann(db)
    everybody_writes(db)
    db.insert("t", chain(db, device, "k")[0])
    db.run(
        "ALTER TABLE t ENABLE ROW LEVEL SECURITY; CREATE POLICY p ON t TO mallory USING (false)"
        " WITH CHECK (true)"
    )
    refused = insert(mallory, "grants", ann.sealed(db.form("grants"), revocation(device, [], at=2)))
    assert refused or db.all("SELECT key FROM t") == []


# -- valid rows that are lost
def test_a_revocation_and_a_row_below_it_in_one_statement(db: Db) -> None:
    ann, device = device_of_ann(db)
    rows = chain(db, device, "k0", "k1", "k2")
    for row in (rows[0], rows[2]):
        db.insert("t", row)
    revoked = ann.sealed(db.form("grants"), revocation(device, [link_of(rows[2])], at=2))
    one, other = (
        f"INSERT INTO {t} ({', '.join(r)}) VALUES ({', '.join(['%s'] * len(r))})"
        for t, r in (("t", rows[1]), ("grants", revoked))
    )
    assert attempt(
        db,
        f"WITH a AS ({one}), b AS ({other}) SELECT 1",
        *rows[1].values(),
        *revoked.values(),
    ) == "40001" or db.all("SELECT key FROM t ORDER BY 1") == ["k0", "k1", "k2"]


def test_a_trigger_of_others_does_not_switch_settling_off(db: Db, mallory: Db) -> None:
    ann, device = device_of_ann(db)
    everybody_writes(db)
    mallory.run(
        "CREATE FUNCTION off() RETURNS boolean LANGUAGE sql AS $$"
        " SELECT pg_catalog.set_config('rowseal.revoked', '', true) IS NULL $$"
    )
    mallory.run(
        "CREATE TRIGGER aaa AFTER INSERT ON t FOR EACH ROW WHEN (public.off())"
        " EXECUTE FUNCTION suppress_redundant_updates_trigger()"
    )
    rows = chain(db, device, "k0", "k1", "k2")
    for row in (rows[0], rows[2]):
        db.insert("t", row)
    db.insert(
        "grants",
        ann.sealed(db.form("grants"), revocation(device, [link_of(rows[2])], at=2)),
    )
    # t runs her code, so what is held for it cannot be let in: nor comes what it would count by
    assert insert(db, "t", rows[1]) == "RS017"
    assert db.all("SELECT * FROM rowseal.verify('grants')") == []
    db.run("DROP TRIGGER aaa ON t")
    assert insert(db, "t", rows[1]) is None
    assert db.all("SELECT key FROM t ORDER BY 1") == ["k0", "k1", "k2"]
    assert db.all("SELECT * FROM rowseal.verify('grants')") == []


def test_the_rows_of_a_new_partition_enter_the_ledger(db: Db) -> None:
    ann, device = device_of_ann(db)
    db.run(
        f"CREATE TABLE p {DATA} PARTITION BY LIST (key);"
        f" CREATE TABLE p0 PARTITION OF p FOR VALUES IN ('k0'); CREATE TABLE p1 {DATA}"
    )
    db.run(
        "SELECT rowseal.declare('p', owner => 'user_hash', identity => 'cards',"
        " writers => 'grants', versions => 'p_versions')"
    )
    rows = chain(db, device, "k0", "k1", table="p")
    db.insert("p", rows[0])
    db.insert("p1", rows[1])
    if attempt(db, "ALTER TABLE p ATTACH PARTITION p1 FOR VALUES IN ('k1')") is None:
        db.insert(
            "grants",
            ann.sealed(db.form("grants"), revocation(device, [link_of(rows[1])], at=2)),
        )
        assert db.all("SELECT key FROM p ORDER BY 1") == ["k0", "k1"]


# -- health
def test_a_condition_with_other_arguments_is_not_the_one_installed(db: Db, mallory: Db) -> None:
    db.run(tables(feed=True))
    everybody_writes(db)
    i = db.one("SELECT id FROM rowseal.declarations WHERE tag = 't'")
    mallory.run("CREATE FUNCTION evil(x text) RETURNS text LANGUAGE sql AS $$ SELECT x $$")
    replace = (
        f"CREATE OR REPLACE TRIGGER zzz_rowseal_feed AFTER INSERT ON t_versions FOR EACH ROW"
        f" WHEN (NOT rowseal._is_tip_{i}(NEW.user_hash, public.evil(NEW.key),"
        f" NEW.sign_b64)) EXECUTE FUNCTION rowseal._feed_versions_{i}()"
    )
    assert attempt(mallory, replace) == "42501"  # who may create triggers there, may not this one
    refused = attempt(db, replace)
    db.run("ALTER TABLE t_versions ENABLE ALWAYS TRIGGER zzz_rowseal_feed")
    assert refused == "RS007" or unwell(db)


def test_health_does_not_depend_on_how_identifiers_are_shown(db: Db) -> None:
    db.run(tables(feed=True))
    db.run("SET quote_all_identifiers = on")
    assert unwell(db) == []


@pytest.mark.parametrize("level", ["READ COMMITTED", "REPEATABLE READ"])
def test_a_row_of_a_writer_is_not_archived_unlocked(
    server: Server, database: str, db: Db, level: str
) -> None:
    """The guard of the versions table took an insert of the current row in a trigger for its
    table's own archiving; a revocation missed it.
    """
    ann, device = device_of_ann(db)
    everybody_writes(db)
    db.insert("t", chain(db, device, "k")[0])
    with server.connect(database, "mallory") as c:
        c.execute("""CREATE TEMP TABLE deeper (x int);
            CREATE FUNCTION pg_temp.f() RETURNS trigger LANGUAGE plpgsql AS $$
                BEGIN INSERT INTO public.t_versions SELECT * FROM public.t; RETURN NEW; END $$;
            CREATE TRIGGER a BEFORE INSERT ON deeper FOR EACH ROW EXECUTE FUNCTION pg_temp.f()""")
        c.execute(f"BEGIN ISOLATION LEVEL {level}")
        with pytest.raises(psycopg.errors.SerializationFailure):
            c.execute("INSERT INTO deeper VALUES (1)")
        c.execute("ROLLBACK")
    db.insert("grants", ann.sealed(db.form("grants"), revocation(device, [], at=2)))
    assert db.all("SELECT key FROM t UNION ALL SELECT key FROM t_versions") == []
