"""What a writer, a relay and an SQL user may not do where others than the owner write."""

from __future__ import annotations

import json
from base64 import b64encode
from collections.abc import Iterator
from typing import Any

import psycopg
import pytest
from psycopg.types.json import Json

from kit.db import Db, Server
from kit.example import Owner
from kit.writers import REFUSED, Writer, card, grant, link_of, revocation, tables
from rowseal.client import SigningKey

TABLES = ("cards", "grants", "t", "t_versions", "u", "u_versions")
DERIVED = (
    "authority",
    "writer_rows",
    "grants",
    "licences",
    "stands",
    "wanted",
    "changed",
    "writer_locks",
)


class Stage:
    """Ann lets a device write keys that begin with ``d``, no deletions;
    mallory has all rights on the tables but ownership.
    """

    def __init__(self, db: Db, mallory: Db, admin: Db):
        self.db, self.mallory, self.admin = db, mallory, admin
        db.run(tables(feed=True))
        db.run(
            "GRANT SELECT, INSERT, UPDATE, DELETE, TRUNCATE,"
            f" TRIGGER ON {', '.join(TABLES)} TO mallory"
        )
        self.forms = {t: db.form(t) for t in ("grants", "t", "u")}
        self.ann = Writer(Owner("Ann"))
        self.device = Writer(self.ann.owner, SigningKey.generate())
        card(db, self.ann.owner)
        self.write(self.ann, "t", key="d1", owner_timestamp=1)
        self.write(
            self.ann, "grants", **grant(self.device, tables=["t"], keys='{"key": {"prefix": "d"}}')
        )

    def write(self, who: Writer, table: str, by: Db | None = None, **row: Any) -> dict[str, Any]:
        sealed = who.sealed(self.forms[table], row)
        (by or self.db).insert(table, sealed)
        return sealed

    def state(self) -> dict[str, Any]:
        stored = {
            t: self.admin.all(f"SELECT to_jsonb(x)::text FROM {t} x ORDER BY 1") for t in TABLES
        }
        derived = {
            t: self.admin.all(f"SELECT to_jsonb(x)::text FROM rowseal._{t} x ORDER BY 1")
            for t in DERIVED[:-2]
        }
        return stored | derived


@pytest.fixture
def stage(db: Db, admin: Db, server: Server, database: str) -> Iterator[Stage]:
    with server.connect(database, "mallory") as c:
        yield Stage(db, Db(c), admin)


def test_nothing_of_mallorys_runs_when_he_writes(stage: Stage) -> None:
    """What is called for every row has no search path of its own;
    some of it runs with the rights of rowseal_internal.
    """
    stage.admin.run("CREATE SCHEMA trap AUTHORIZATION mallory")
    made = 0
    for operator in ("=", "<>", "<", "<=", ">", ">=", "||", "&", "#", "->", "->>", "~", "+", "-"):
        for left, right in stage.mallory.all(
            "SELECT DISTINCT oprleft::regtype::text, oprright::regtype::text FROM pg_operator"
            " WHERE oprname = %s AND oprleft <> 0 AND oprnamespace = 'pg_catalog'::regnamespace",
            operator,
        ):
            made += 1
            try:
                stage.mallory.run(
                    f"CREATE FUNCTION trap.f{made}({left}, {right}) RETURNS bool"
                    f" LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'sprung by {operator} as %',"
                    " current_user; END $$"
                )
                stage.mallory.run(
                    f"CREATE OPERATOR trap.{operator} (LEFTARG = {left}, RIGHTARG = {right},"
                    f" FUNCTION = trap.f{made})"
                )
            except psycopg.Error:
                made -= 1  # pseudo-types
    for name in (
        "hashtext(text)",
        "pg_backend_pid()",
        "sha256(bytea)",
        "int8send(bigint)",
        "encode(bytea, text)",
        "replace(text, text, text)",
        "current_setting(text, bool)",
    ):
        stage.mallory.run(
            f"CREATE FUNCTION trap.{name} RETURNS text LANGUAGE plpgsql AS $$"
            f" BEGIN RAISE EXCEPTION 'sprung: {name}'; END $$"
        )
    stage.mallory.run("SET search_path = trap, pg_catalog, public")
    assert made > 100
    with pytest.raises(psycopg.Error, match="sprung by ="):
        stage.mallory.run("SELECT 1 = 1")
    for n, (who, row) in enumerate(
        (
            (stage.device, {"key": "d2"}),
            (stage.device, {"key": "d2"}),
            (stage.ann, {"key": "d2"}),
            (stage.ann, {"key": "a"}),
        ),
        2,
    ):
        stage.write(who, "t", by=stage.mallory, owner_timestamp=n, **row)
    stage.write(stage.ann, "grants", by=stage.mallory, **grant(stage.device, until=99))
    stage.write(stage.ann, "grants", by=stage.mallory, **revocation(stage.device, []))
    assert stage.db.all("SELECT key, owner_timestamp FROM t ORDER BY 1") == [
        ("a", 5),
        ("d1", 1),
        ("d2", 4),
    ]
    assert stage.admin.one("SELECT count(*) FROM rowseal._writer_rows WHERE held IS NOT NULL") == 2


def test_a_writer_beyond_its_grant(stage: Stage) -> None:
    d, before = stage.device, stage.state()
    for table, row in (
        ("t", {"key": "x"}),
        ("u", {"key": "d"}),
        ("t", {"key": "d1", "deleted_flag": True}),
        ("t", {"key": "d1", "owner_timestamp": 101}),
    ):
        sealed = d.sealed(stage.forms[table], {"owner_timestamp": 5, **row}, number=1)
        with pytest.raises(psycopg.Error) as error:
            stage.db.insert(table, sealed)
        assert error.value.sqlstate == "RS011"
    puppet = Writer(stage.ann.owner, SigningKey.generate())
    with pytest.raises(psycopg.Error) as error:
        stage.db.insert("grants", d.sealed(stage.forms["grants"], grant(puppet), number=1))
    assert error.value.sqlstate == "RS011"
    assert stage.state() == before


def test_a_device_cannot_write_in_its_owners_name_or_anothers(stage: Stage) -> None:
    row = stage.ann.row("t", {"key": "d1", "owner_timestamp": 9})
    forged = {
        **row,
        "sign_b64": stage.device.sealed(
            stage.forms["t"], {"key": "d1", "owner_timestamp": 9}, number=1
        )["sign_b64"],
    }
    bob = Owner("Bob")
    card(stage.db, bob)
    stranger = Writer(bob, stage.device.key).sealed(
        stage.forms["t"], {"key": "d1", "owner_timestamp": 9}, number=1
    )
    for bad, sqlstate in ((forged, "RS001"), (stranger, "RS010")):
        with pytest.raises(psycopg.Error) as error:
            stage.mallory.insert("t", bad)
        assert error.value.sqlstate == sqlstate


def test_nothing_of_a_revoked_writer_counts_whatever_its_number_or_date(stage: Stage) -> None:
    d = stage.device
    first = stage.write(d, "t", key="d1", owner_timestamp=5)
    stage.write(d, "t", key="d1", owner_timestamp=6)
    stage.write(stage.ann, "grants", **revocation(d, [link_of(first)]))
    before = stage.state()["t"]
    for place in (
        {},
        {"number": 1},
        {"number": 2, "previous": link_of(first)},
        {"number": 10**9, "previous": bytes(32)},
    ):
        for at in (0, 4, 99):
            sealed = d.sealed(stage.forms["t"], {"key": "d1", "owner_timestamp": at}, **place)
            with pytest.raises(psycopg.Error) as error:
                stage.mallory.insert("t", sealed)
            assert error.value.sqlstate == "RS012"
    stage.write(stage.ann, "grants", **grant(d, at=50))  # a later grant does not revive the key
    with pytest.raises(psycopg.Error):
        stage.mallory.insert("t", d.sealed(stage.forms["t"], {"key": "d1", "owner_timestamp": 7}))
    assert stage.state()["t"] == before and json.loads(before[0])["owner_timestamp"] == 5


def test_what_is_derived_can_be_neither_read_nor_written(stage: Stage) -> None:
    stage.write(stage.device, "t", key="d1", owner_timestamp=5)
    for table in DERIVED:
        for statement in (
            f"SELECT * FROM rowseal._{table}",
            f"DELETE FROM rowseal._{table}",
            f"TRUNCATE rowseal._{table}",
        ):
            stage.mallory.refused("42501", statement)
            stage.db.refused("42501", statement)
    internal = (
        "_derive(1, '{}', 'x')", "_walk(1, 'x', 1, 'x')", "_enter(2, 'x', 'x', 1, NULL, 'x', NULL)",
        "_ungrant(2, 'x', 'x')", "_held(1, 't', NULL, NULL)", "_forget_writers(NULL)",
        "_retracted(2, 'x', 'x', 1, 'x', 't', 'x', '(RS010,x)', '{}')", "_authority_of(2, 'x')",
        "_make_room(NULL, NULL, NULL)", "_count_dropped(NULL, NULL, 1, 1)",
    )  # fmt: skip
    for call in internal:
        stage.mallory.refused("42501", f"SELECT rowseal.{call}")


def test_forged_entries_of_the_quarantine_enter_no_ledger(stage: Stage) -> None:
    device = Writer(stage.ann.owner, SigningKey.generate())
    genuine = device.envelope(stage.forms["t"], {"key": "d1", "owner_timestamp": 5}, number=1)
    before = stage.state()
    lies: list[Any] = [
        {**genuine, "sign_b64": b64encode(bytes(64)).decode()},
        {**genuine, "row": {**genuine["row"], "writer_seq": "2"}},
        {
            **genuine,
            "row": {
                **genuine["row"],
                "writer_pkey": b64encode(bytes(stage.device.key.verify_key)).decode(),
            },
        },
        {"row": {}},
        {},
        [],
        "x",
    ]
    for lie in lies:
        stage.mallory.run(REFUSED.format("RS012,beyond"), Json(lie))
    assert stage.state() == before
    stage.mallory.run(REFUSED.format("RS012,beyond"), Json(genuine))
    assert stage.admin.all(
        "SELECT sqlstate FROM rowseal.quarantine q JOIN rowseal._writer_rows r ON r.held = q.id"
    ) == ["RS010"]


def test_valid_rows_can_be_neither_deleted_nor_retracted(stage: Stage) -> None:
    stage.write(stage.device, "t", key="d1", owner_timestamp=5)
    stage.write(stage.device, "t", key="d1", owner_timestamp=6)
    before = stage.state()
    for table in ("t", "t_versions", "grants"):
        stage.mallory.refused("RS004", f"DELETE FROM {table}")
    owner = b64encode(stage.ann.owner.hash).decode()
    for id_ in stage.db.all(
        "SELECT id FROM rowseal.declarations WHERE grants OR writers IS NOT NULL"
    ):
        stage.mallory.run(
            "SELECT rowseal._retract(d, %s, %s) FROM rowseal.declarations d WHERE d.id = %s",
            owner,
            [stage.device.public_key],
            id_,
        )
    stage.mallory.run(
        "SELECT rowseal._settle(2, %s, %s, 1, 'x', %s)",
        owner,
        stage.device.public_key,
        stage.device.public_key,
    )
    assert stage.state() == before


def test_the_functions_of_the_ledger_serve_no_other_table(stage: Stage) -> None:
    """Not even one that has the name of theirs by now, whoever attaches them."""
    db, ann = stage.db, stage.ann
    number = db.one("SELECT id FROM rowseal.declarations WHERE grants")
    attach = (
        "CREATE TABLE {0} (LIKE grants); CREATE TRIGGER x AFTER INSERT ON {0} FOR EACH ROW"
        f" EXECUTE FUNCTION rowseal._ledger_{number}()"
    )
    stage.mallory.refused("42501", attach.format("mine"))
    forged = {**ann.row("grants", grant(stage.device)), "sign_b64": bytes(64)}
    db.run(attach.format("other"))
    with pytest.raises(psycopg.Error) as error:
        db.insert("other", forged)
    assert error.value.sqlstate == "RS009"
    # closed, with the name of another table in its functions
    db.run("DROP TRIGGER zzz_rowseal_keep_all ON grants; ALTER TABLE grants RENAME TO former")
    db.run("ALTER TABLE other RENAME TO grants")
    ledger = (
        "SELECT r, NULL FROM rowseal._writer_rows r UNION ALL SELECT NULL, g FROM rowseal._grants g"
    )
    before = stage.admin.all(ledger)
    with pytest.raises(psycopg.Error) as error:
        db.insert("grants", forged)
    assert error.value.sqlstate == "RS007"
    assert stage.admin.all(ledger) == before


def test_who_may_not_delete_cannot_half_bring_a_revocation(stage: Stage) -> None:
    first = stage.write(stage.device, "t", key="d1", owner_timestamp=5)
    stage.db.run("REVOKE DELETE ON t FROM mallory")
    revoked = stage.ann.envelope(stage.forms["grants"], revocation(stage.device, []))
    before = stage.state()
    stage.mallory.all("SELECT * FROM rowseal.receive(%s)", Json([revoked]))
    assert stage.state() == before
    stage.db.all("SELECT * FROM rowseal.receive(%s)", Json([revoked]))
    assert stage.db.one("SELECT owner_timestamp FROM t") == 1 and first["owner_timestamp"] == 5


def test_an_interposed_trigger_changes_nothing(stage: Stage) -> None:
    """mallory may attach triggers; hers, between the ledger's two, undo nothing."""
    stage.write(stage.device, "t", key="d1", owner_timestamp=5)
    stage.mallory.run("""
        CREATE FUNCTION meddle() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
            PERFORM rowseal._affected(2, 'x', NEW.grantee_pkey, 1, 'x', NEW.grantee_pkey);
            RETURN NULL; END $$""")
    stage.mallory.run(
        "CREATE TRIGGER zzz_rowseal_n AFTER INSERT ON grants FOR EACH ROW EXECUTE FUNCTION meddle()"
    )
    stage.write(stage.ann, "grants", **revocation(stage.device, []))
    assert stage.db.one("SELECT owner_timestamp FROM t") == 1
