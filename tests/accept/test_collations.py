"""Texts of a case-insensitive collation: what is signed is compared byte by byte all the same, and
no function of rowseal meets their collation.
"""

from __future__ import annotations

from typing import Any

import pytest

from kit.db import Db
from kit.example import Owner
from kit.writers import Writer, grant, link_of, revocation, tables
from rowseal.client import SigningKey, envelope

CI = "provider = icu, locale = 'und-u-ks-level2', deterministic = false"
SEALED = "deleted_flag boolean, owner_timestamp bigint, parent_sign_b64 {0}, sign_b64 {0}"
DECLARE = (
    "SELECT rowseal.declare('cards', owner => 'id', public_key => 'k', feed => true);"
    " SELECT rowseal.declare('t', owner => 'id', identity => 'cards', feed => true {})"
)
KEY = '{"id": "Ann", "n": "Key"}'
CALLS = [
    "rowseal.verify('t')", "rowseal.digest('t')", """rowseal.digest('t', '{"id": "Ann"}')""",
    "rowseal.export('t')", """rowseal.export('t', '{"id": "Ann"}')""",
    f"rowseal.history('t', '{KEY}')", f"rowseal.heads('t', '{KEY}')", "rowseal.prune('t', 0)",
    f"rowseal.payload('t', '{KEY}')",
]  # fmt: skip


@pytest.fixture
def ci(db: Db, admin: Db) -> Db:
    admin.run(f"CREATE COLLATION ci ({CI}); CREATE COLLATION de (provider = icu, locale = 'de')")
    db.run("CREATE DOMAIN word AS text COLLATE ci CHECK (VALUE <> '')")
    db.run("CREATE TYPE pair AS (a text[] COLLATE ci, b text COLLATE ci)")
    return db


def made(db: Db, columns: str, layout: str = "two tables", type_: str = "bytea") -> None:
    sealed = SEALED.format(type_)
    key = "id, n, sign_b64" if layout == "one table" else "id, n"
    identity = columns.split(",")[0]
    db.run(
        f"CREATE TABLE cards ({identity} PRIMARY KEY, k {type_}, {sealed});"
        f" CREATE TABLE t ({columns}, {sealed}, PRIMARY KEY ({key}));"
        + DECLARE.format(", versions => 't_versions'" if layout == "two tables" else "")
    )


def card(db: Db, ann: Owner, key: Any = None) -> None:
    row = {
        "id": "Ann", "k": key or ann.public_key, "deleted_flag": False, "owner_timestamp": 1,
        "parent_sign_b64": None,
    }  # fmt: skip
    (answer,) = db.apply("cards", [ann.envelope(db.form("cards"), row)])
    assert answer[0] == "inserted"


def value(at: int, **columns: Any) -> dict[str, Any]:
    rest = {"deleted_flag": False, "owner_timestamp": at, "parent_sign_b64": None}
    return {"id": "Ann", "n": "Key", **columns, **rest}


@pytest.mark.parametrize("layout", ["unversioned", "two tables", "one table"])
@pytest.mark.parametrize(
    ("columns", "more"),
    [
        ("id text COLLATE ci, n text COLLATE ci, v text", {"v": "a"}),
        ("id text, n text, v text COLLATE ci", {"v": "a"}),
        ("id text, n word, v word", {"v": "a"}),
        ("id text COLLATE de, n text COLLATE ci, v text", {"v": "a"}),
        ("id text, n text, v varchar(9) COLLATE ci, a text[] COLLATE ci", {"v": "a", "a": ["x"]}),
        ("id text, n text, p pair", {"p": {"a": ["x"], "b": "y"}}),
    ],
)
def test_every_call_works(layout: str, columns: str, more: dict[str, Any], ci: Db) -> None:
    ann = Owner("Ann")
    made(ci, columns, layout)
    card(ci, ann)
    form = ci.form("t")
    for at in (2, 3, 1, 3):
        (answer,) = ci.apply("t", [ann.envelope(form, value(at, **more))])
        assert answer[0] in {"inserted", "superseded", "archived", "stale", "duplicate"}
    for call in CALLS:
        ci.all(f"SELECT * FROM {call}")
    assert ci.all("SELECT * FROM rowseal.verify('t')") == []


@pytest.mark.parametrize("type_", ["bytea", "text"])
@pytest.mark.parametrize("collated", ["id text COLLATE ci, n text", "id text, n text COLLATE ci"])
def test_a_forged_row_stops_no_worker(collated: str, type_: str, ci: Db, admin: Db) -> None:
    ann = Owner("Ann")
    made(ci, f"{collated}, v text", type_=type_)
    text = type_ == "text"
    card(ci, ann, ci.one("SELECT rowseal._encoded(%s)", ann.public_key) if text else None)
    form = ci.form("t")
    row = ann.sealed(form, value(2, v="a"))
    if text:
        row["sign_b64"] = ci.one("SELECT rowseal._encoded(%s)", row["sign_b64"])
    admin.run("SET session_replication_role = replica")
    admin.insert("t", {**row, "v": "forged"})
    admin.insert("t", row)
    assert ci.all("SELECT v FROM t") == ["a"]
    assert admin.all("SELECT sqlstate FROM rowseal.quarantine") == ["RS001"]


def test_letters_of_another_case_are_no_duplicate(ci: Db, admin: Db) -> None:
    ann = Owner("Ann")
    made(ci, "id text, n text, v text COLLATE ci, a text[] COLLATE ci")
    card(ci, ann)
    row = ann.sealed(ci.form("t"), value(2, v="pay bob", a=["x"]))
    ci.insert("t", row)
    ci.refused("RS001", "UPDATE t SET v = 'PAY BOB'")
    ci.refused("RS001", "UPDATE t SET a = '{X}'")


@pytest.mark.parametrize(
    ("identity", "main", "versions"),
    [
        ("text COLLATE ci", "text", None),
        ("text", "text COLLATE ci", None),
        ("text COLLATE ci", 'text COLLATE "C"', None),
        ("text COLLATE ci", "text COLLATE ci", "text"),
    ],
)
def test_columns_that_are_compared_have_the_same_collation(
    identity: str, main: str, versions: str | None, ci: Db
) -> None:
    sealed = SEALED.format("bytea")
    ci.run(
        f"CREATE TABLE cards (id {identity} PRIMARY KEY, k bytea, {sealed});"
        f" CREATE TABLE t (id {main}, n text, {sealed}, PRIMARY KEY (id, n));"
        " SELECT rowseal.declare('cards', owner => 'id', public_key => 'k')"
    )
    if versions:
        ci.run(f"CREATE TABLE tv (id {versions}, n text, {sealed}, PRIMARY KEY (sign_b64))")
    diag = ci.refused(
        "RS007",
        "SELECT rowseal.declare('t', owner => 'id', identity => 'cards', versions => %s)",
        "tv" if versions else None,
    )
    assert "collation" in str(diag.message_primary)


@pytest.mark.parametrize("order", ["CG12R", "C1G2R", "CRG21", "CG2R1"])
def test_the_ledger_tells_owners_as_they_are_signed(order: str, ci: Db, admin: Db) -> None:
    """Whatever the order, the same state: two spellings of an owner are two owners there."""
    ddl = tables().replace("user_hash bytea", "user_hash text COLLATE ci")
    ci.run(ddl.replace(", fingerprint => 'sha256'", ""))
    ann = Owner("Ann")
    ann.hash = "Ann"  # type: ignore[assignment]
    cards, grants, form = (ci.form(t) for t in ("cards", "grants", "t"))
    me, dev = Writer(ann), Writer(ann, SigningKey.generate())
    row = {"user_hash": "Ann", "k": ann.public_key, "deleted_flag": False, "owner_timestamp": 1}
    rows = []
    for spelt, key in (("ann", "k"), ("Ann", "l")):
        content = {"user_hash": spelt, "key": key, "value": 1, "owner_timestamp": 5}
        rows.append(dev.sealed(form, {**content, "parent_sign_b64": None}))
    events = {
        "C": ann.envelope(cards, row),
        "G": me.envelope(grants, grant(dev)),
        "R": me.envelope(grants, revocation(dev, [link_of(rows[1])], 9)),
    }
    for name, signed in zip("12", rows):
        unsigned = {k: v for k, v in signed.items() if k != "sign_b64"}
        events[name] = envelope(form, unsigned, dev.key)
    for name in order:
        tag = {"C": "cards", "G": "grants", "R": "grants"}.get(name, "t")
        assert ci.apply(tag, [events[name]])[0][0] != "rejected", name
    ci.all("SELECT * FROM rowseal.retry()")
    # nothing was granted for "ann", so her first row is no link below the frontier
    assert ci.all("SELECT key FROM t") == ["l"]  # the frontier; nobody let a writer in for "ann"
    owners = "SELECT a.owner, r.seq FROM rowseal._writer_rows r JOIN rowseal._authority a"
    assert admin.all(f"{owners} ON a.id = r.authority ORDER BY 2") == [("ann", 1), ("Ann", 2)]
    assert ci.all("SELECT * FROM rowseal.verify('t')") == []
    unwell = [c for c, ok in admin.all('SELECT "check", ok FROM rowseal.health()') if not ok]
    assert set(unwell) <= {"writers", "walks"}
