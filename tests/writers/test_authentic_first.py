"""The ledger takes an authentic row because it is authentic: whether or not its table can store it,
however a carrier spelled it, in any order.  What is no grant is refused before anything is stored.
"""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from typing import Any

import psycopg
import pytest
from psycopg.types.json import Json

from kit.db import Db, Server
from kit.example import Owner
from kit.writers import REFUSED, Writer, card, grant, link_of, revocation, tables
from rowseal.client import SigningKey

LONG = "".join(random.Random(1).choices("abcdefghijklmnopqrstuvwxyz0123456789", k=9000))


class Cast:
    """An owner with his card stored, a manager and a device; what both sign, as envelopes."""

    def __init__(self, db: Db):
        self.db, self.forms = db, {t: db.form(t) for t in ("grants", "t", "u")}
        self.owner = Writer(Owner("Ann"))
        self.manager, self.device = (
            Writer(self.owner.owner, SigningKey.generate()) for _ in range(2)
        )
        card(db, self.owner.owner)

    def envelope(self, who: Writer, table: str, **row: Any) -> dict[str, Any]:
        return who.envelope(self.forms[table], row)

    def receive(self, *envelopes: Any) -> list[str]:
        return self.db.all("SELECT outcome FROM rowseal.receive(%s)", Json(list(envelopes)))


def ledger(admin: Db) -> list[Any]:
    return admin.all("SELECT seq, link FROM rowseal._writer_rows ORDER BY 1, 2")


@pytest.mark.parametrize("failing", ["index", "check", "trigger"])
def test_what_its_table_cannot_store_is_a_link_in_any_order(
    db: Db, admin: Db, failing: str
) -> None:
    db.run(tables())
    c = Cast(db)
    if failing == "check":
        db.run("ALTER TABLE t ADD CHECK (key <> 'bad')")
    elif failing == "trigger":
        db.run(
            "CREATE FUNCTION no() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN"
            " IF NEW.key = 'bad' THEN RAISE 'no'; END IF; RETURN NEW; END $$;"
            " CREATE TRIGGER a BEFORE INSERT ON t FOR EACH ROW EXECUTE FUNCTION no()"
        )
    bad = LONG if failing == "index" else "bad"
    rows = [
        c.envelope(c.device, "t", key=key, owner_timestamp=at)
        for at, key in enumerate(("a", bad, "c"), 1)
    ]
    head = c.device.last
    granted = c.envelope(c.owner, "grants", **grant(c.device))
    revoked = c.envelope(c.owner, "grants", **revocation(c.device, [head or b""]))
    everything, seen = [*rows, granted, revoked], set()
    for order in ((0, 1, 2, 3, 4), (3, 0, 1, 2, 4), (4, 3, 2, 1, 0), (2, 4, 0, 3, 1)):
        db.run("BEGIN")
        for n in order:
            c.receive(everything[n])
        seen.add(str((db.all("SELECT key FROM t ORDER BY 1"), len(db.all("SELECT FROM grants")))))
        db.run("ROLLBACK")
    assert seen == {str((["a", "c"], 2))}
    # and the whole of it stays, whatever the bounds of the quarantine
    for n in (3, 1, 0, 2):
        c.receive(everything[n])
    admin.run("UPDATE rowseal.quarantine_limits SET rows = 1")
    for n in range(40):
        db.run("SELECT rowseal._quarantine('t', '(RS001,no)', 'raw', %s)", Json({"n": n}))
    assert len(ledger(admin)) == 3
    c.receive(revoked)
    assert db.all("SELECT key FROM t ORDER BY 1") == ["a", "c"]


def test_a_link_is_of_what_was_signed_not_of_how_it_was_spelled(
    server: Server, db: Db, admin: Db
) -> None:
    """Numbers with leading zeros, hex for base64: the guard decodes them, so does the ledger."""
    db.run(tables())
    c = Cast(db)
    granted = c.envelope(c.owner, "grants", **grant(c.device))
    plain = c.envelope(c.device, "t", key="a", owner_timestamp=50)
    row = plain["row"]
    hex_ = db.one("SELECT decode(%s, 'base64')::text", row["writer_pkey"])
    spelled = [
        {**plain, "row": {**row, "owner_timestamp": "050"}},
        {**plain, "row": {**row, "writer_seq": "+1"}},
        {**plain, "row": {**row, "writer_pkey": hex_, "value": None}},
    ]
    for other in spelled:
        assert c.receive(other) == ["deferred"]
        assert [bytes(link) for _, link in ledger(admin)] == [c.device.last]
        assert {
            w.rpartition(" ")[2] for w in admin.all("SELECT waits_for FROM rowseal.quarantine")
        } == {admin.one("SELECT encode(sha256(%s), 'hex')", c.device.public_key)}
    assert c.receive(granted) == ["inserted"]
    assert db.all("SELECT owner_timestamp FROM t") == [50]
    assert admin.all("SELECT held FROM rowseal._writer_rows") == [None]


def test_held_rows_in_postgresqls_text_form(db: Db, admin: Db) -> None:
    db.run(tables())
    c = Cast(db)
    sealed = c.device.sealed(c.forms["t"], {"key": "a", "owner_timestamp": 5})
    text = {
        k: f"\\x{v.hex()}" if isinstance(v, bytes) else None if v is None else str(v)
        for k, v in sealed.items()
    }
    for more in ({}, {"one too many": "x"}):
        assert [o for o, _ in db.apply("t", [{**text, **more}], "pgtext")] == ["deferred"]
        assert [bytes(link) for _, link in ledger(admin)] == [link_of(sealed)]
    assert c.receive(c.envelope(c.owner, "grants", **grant(c.device))) == ["inserted"]
    assert db.all("SELECT key FROM t") == ["a"]


NO_GRANTS: list[dict[str, Any]] = [
    {"tables": [["t"], ["u"]]},
    {"tables": ["t", None]},
    {"keys": "null"},
    {"keys": "[]"},
    {"keys": '"key"'},
    {"keys": '[{"key": "a"}]'},
    {"upto": [None]},
    {"upto": [[bytes(32)], [bytes(32)]]},
    {"upto": [bytes(31)]},
    {"upto": [bytes(3000)]},
]


@pytest.mark.parametrize("wrong", NO_GRANTS, ids=lambda w: str(w)[:30])
def test_what_is_no_grant_is_refused_whoever_signs_it(db: Db, admin: Db, wrong: Any) -> None:
    """A manager's would have kept its owner from granting anything more."""
    db.run(tables())
    c = Cast(db)
    c.receive(c.envelope(c.owner, "grants", **grant(c.manager, may_grant=1)))
    for who in (c.owner, c.manager):
        sealed = who.sealed(c.forms["grants"], grant(c.device, **wrong))
        with pytest.raises(psycopg.Error, match="no plain array, or keys no JSON object") as error:
            db.insert("grants", sealed)
        assert error.value.sqlstate == "RS013" and error.value.diag.message_hint
    c.manager.number, c.manager.last = 0, None
    envelope = c.envelope(c.manager, "grants", **grant(c.device, **wrong))
    assert c.receive(envelope) == ["rejected"] and ledger(admin) == []
    assert c.receive(c.envelope(c.owner, "grants", **grant(c.device))) == ["inserted"]
    assert c.receive(c.envelope(c.device, "t", key="k", owner_timestamp=1)) == ["inserted"]


def scope(size: int, letter: str = "a") -> str:
    """Keys with so many bytes as PostgreSQL writes them."""
    frame = json.dumps({"key": {"prefix": ""}})
    return frame.replace('""', f'"{letter * ((size - len(frame)) // len(letter.encode()))}"')


@pytest.mark.parametrize(
    "wrong",
    [
        {"tables": ["t", "x" * 4093]},
        {"tables": [""] * 1400},
        {"keys": scope(4097)},
        {"keys": scope(4099, "é")},
    ],
    ids=["tables", "tables without names", "keys", "in UTF-8"],
)
def test_a_scope_has_an_end(db: Db, admin: Db, wrong: Any) -> None:
    """A manager's of 8 MB, and some grants below it, were more than could be derived: no revocation
    was stored any more, and health failed for everybody.
    """
    db.run(tables())
    c = Cast(db)
    c.receive(c.envelope(c.owner, "grants", **grant(c.manager, may_grant=1)))
    for who in (c.owner, c.manager):
        sealed = who.sealed(c.forms["grants"], grant(c.device, **wrong))
        with pytest.raises(psycopg.Error, match="have more than 4096 bytes as text") as error:
            db.insert("grants", sealed)
        assert error.value.sqlstate == "RS013" and error.value.diag.message_hint
    c.manager.number, c.manager.last = 0, None
    envelope = c.envelope(c.manager, "grants", **grant(c.device, **wrong))
    assert c.receive(envelope) == ["rejected"] and ledger(admin) == []
    c.manager.number, c.manager.last = 0, None
    most = {"tables": ["t", "x" * 4092], "keys": scope(4096)}
    assert c.receive(c.envelope(c.manager, "grants", **grant(c.device, **most))) == ["inserted"]
    (licences,) = db.all("SELECT licences FROM rowseal.writers WHERE rows = 0")
    assert licences[0]["tables"] == most["tables"]
    assert licences[0]["keys"] == [json.loads(most["keys"])]


@pytest.mark.parametrize("length", [0, 31, 33, 3000])
def test_what_is_no_link_is_refused(db: Db, admin: Db, length: int) -> None:
    """It would be looked up in an index, which takes no more than 2.7 kB."""
    db.run(tables())
    c = Cast(db)
    row = c.device.envelope(
        c.forms["t"], {"key": "a", "owner_timestamp": 1}, number=2, previous=bytes(length)
    )
    assert c.receive(row) == ["rejected"] and ledger(admin) == []
    assert c.receive(c.envelope(c.owner, "grants", **grant(c.device)), row) == [
        "inserted",
        "rejected",
    ]


def test_a_held_row_of_a_known_writer_is_held_once_whoever_brings_it(db: Db, admin: Db) -> None:
    """Else every link of a mesh would add an entry that no bound ever drops."""
    db.run(tables())
    c = Cast(db)
    beyond = c.envelope(c.device, "t", key="k", owner_timestamp=5)
    granted = c.envelope(c.owner, "grants", **grant(c.device, until=4))
    assert c.receive(granted, beyond) == ["inserted", "deferred"]
    again = admin.all("SELECT outcome FROM rowseal.receive(%s)", Json([beyond]))
    assert again == ["deferred"]
    entries = admin.all("SELECT sqlstate, kept FROM rowseal.quarantine")
    assert entries == [("RS011", True)] and len(ledger(admin)) == 1


# type of a column, a value that it takes, one that it does not
UNFIT: dict[str, tuple[str, Any, Any]] = {
    "domain": ("positive", 1, -1),
    "domain of bytes": ("short", b"a", b"abc"),
    "length": ("varchar(3)", "abc", "abcd"),
    "too great": ("numeric(5,2)", "1.50", "12345.00"),
    "rounded": ("numeric(5,2)", "1.50", "1.505"),
    "bits": ("bit(3)", "101", "1011"),
}


@pytest.mark.parametrize("case", UNFIT)
def test_no_type_keeps_an_authentic_row_from_being_a_link(db: Db, admin: Db, case: str) -> None:
    """It is decoded without domains, at first as its table would, then without lengths, too."""
    type_, good, bad = UNFIT[case]
    db.run(
        "CREATE SEQUENCE seen; GRANT ALL ON SEQUENCE seen TO public;"
        "CREATE FUNCTION seen() RETURNS boolean LANGUAGE sql AS"
        " $$ SELECT current_user <> 'rowseal_internal' OR nextval('public.seen') = 0 $$;"
        "CREATE DOMAIN positive AS integer CHECK (public.seen() AND VALUE > 0);"
        "CREATE DOMAIN short AS bytea CHECK (length(VALUE) < 3);"
        + tables().replace("value integer", f"value {type_}")
    )
    c = Cast(db)
    rows = [
        c.envelope(c.device, "t", key=key, value=value, owner_timestamp=at)
        for at, (key, value) in enumerate((("a", good), ("b", bad), ("c", good)), 1)
    ]
    granted = c.envelope(c.owner, "grants", **grant(c.device))
    revoked = c.envelope(c.owner, "grants", **revocation(c.device, [c.device.last or b""]))
    garbage = {**rows[1], "row": {**rows[1]["row"], "writer_prev": None, "writer_pkey": "AAAA"}}
    everything, seen = [*rows, granted, revoked], set()
    for order in ((0, 1, 2, 3, 4), (3, 0, 1, 2, 4), (4, 3, 2, 1, 0), (2, 4, 0, 3, 1)):
        db.run("BEGIN")
        for n in order:
            outcomes = c.receive(everything[n], garbage)
            assert outcomes[1] == "rejected"
        seen.add(str(db.all("SELECT key FROM t ORDER BY 1")))
        db.run("ROLLBACK")
    assert seen == {str(["a", "c"])}
    assert [o for o, _ in db.apply("t", [garbage, granted])] == ["rejected", "rejected"]
    c.receive(*everything)
    assert len(ledger(admin)) == 3
    # whoever decodes it runs nobody's code as the ledger's owner
    assert not db.one("SELECT is_called FROM seen")


def test_another_spelling_of_a_number_waits_for_the_same_grant(db: Db) -> None:
    db.run(tables().replace("value integer", "value numeric(5,2)"))
    c = Cast(db)
    row = c.envelope(c.device, "t", key="a", value="1.50", owner_timestamp=1)
    assert c.receive({**row, "row": {**row["row"], "value": "1.5"}}) == ["deferred"]
    c.receive(c.envelope(c.owner, "grants", **grant(c.device)))
    assert db.one("SELECT value FROM t") == 1.5


@pytest.mark.parametrize("type_", ["plain", "inner_[]", "outer_", "span", "spans"])
def test_a_type_that_its_owner_can_change_is_refused(db: Db, type_: str) -> None:
    with pytest.raises(psycopg.Error, match="in it") as error:
        db.run(
            "CREATE DOMAIN positive AS integer CHECK (VALUE > 0);"
            "CREATE TYPE plain AS (a integer); CREATE TYPE inner_ AS (a positive);"
            "CREATE TYPE outer_ AS (i inner_[]);"
            "CREATE TYPE span AS RANGE (subtype = positive, multirange_type_name = spans);"
            + tables().replace("value integer", f"value {type_}")
        )
    assert error.value.diag.message_hint


@pytest.fixture
def mallory(server: Server, database: str, db: Db) -> Iterator[Db]:
    """Somebody who may read the grants, and nothing else."""
    db.run(tables(feed=True) + "; GRANT SELECT ON grants TO mallory")
    with server.connect(database, "mallory") as connection:
        yield Db(connection)


def test_what_is_stored_is_not_held_whoever_says_so(db: Db, admin: Db, mallory: Db) -> None:
    c = Cast(db)
    granted = c.envelope(c.owner, "grants", **grant(c.device))
    rows = [c.envelope(c.device, "t", key=k, owner_timestamp=1) for k in "abc"]
    head = c.device.last or b""
    c.receive(granted, *rows)
    for spelled in (rows[1], {**rows[1], "more": 1}):
        given = mallory.all("SELECT outcome FROM rowseal.receive(%s)", Json([spelled]))
        assert given == ["deferred"]
    assert admin.all("SELECT held FROM rowseal._writer_rows") == [None] * 3
    assert admin.all("SELECT DISTINCT kept FROM rowseal.quarantine") == [False]
    c.receive(c.envelope(c.owner, "grants", **grant(c.device, at=5, tombstones=True)))
    db.all("SELECT rowseal.retry()")
    c.receive(c.envelope(c.owner, "grants", **revocation(c.device, [head], at=9)))
    assert db.all("SELECT key FROM t ORDER BY 1") == ["a", "b", "c"]
    assert db.all("SELECT * FROM rowseal.verify('grants')") == []


@pytest.mark.parametrize("first", ["app", "mallory"])
def test_the_ledger_is_for_those_who_may_write(db: Db, admin: Db, mallory: Db, first: str) -> None:
    """What a stranger brings is an entry of his, and nobody waits for what he does with it."""
    c = Cast(db)
    row = c.envelope(c.device, "t", key="a", owner_timestamp=1)
    put = REFUSED.format("RS010,x")
    entered = [
        lambda: c.receive(row),
        lambda: mallory.run(put, Json({**row, "more": "x"})),
    ]
    for enter in entered if first == "app" else reversed(entered):
        enter()
    held = "SELECT q.role FROM rowseal._writer_rows r JOIN rowseal.quarantine q ON q.id = r.held"
    assert admin.all(held) == ["app"]
    with mallory.connection.transaction():
        again = "INSERT INTO rowseal._refused (again, changed) SELECT n, false"
        mallory.run(f"{again} FROM generate_series(1, 9) n")
        c.receive(c.envelope(c.owner, "grants", **grant(c.device)))
    assert db.all("SELECT key FROM t") == ["a"]


def test_nothing_licensed_is_held_because_somebody_says_so(db: Db, admin: Db, mallory: Db) -> None:
    """It was in the feed and not in its table."""
    c = Cast(db)
    c.receive(c.envelope(c.owner, "grants", **grant(c.device)))
    row = c.envelope(c.device, "t", key="a", owner_timestamp=1)
    mallory.run(REFUSED.format("23514,lie"), Json(row))
    assert ledger(admin) == []
    assert admin.one("SELECT count(*) FROM rowseal.feed WHERE tag = 't'") == 0


def test_spellings_of_a_known_writers_row_do_not_evade_the_bounds(
    db: Db, admin: Db, mallory: Db
) -> None:
    db.run(
        "GRANT INSERT, UPDATE, SELECT ON t, t_versions TO mallory; GRANT SELECT ON cards TO mallory"
    )
    c = Cast(db)
    c.receive(c.envelope(c.owner, "grants", **grant(c.device)))
    row = c.envelope(c.device, "t", key="a", owner_timestamp=1)
    for blanks in range(5):
        mallory.run(REFUSED.format("22000,x"), json.dumps({**row, "more": " " * blanks}))
    kept = admin.all("SELECT kept, row ->> 'more' FROM rowseal.quarantine")
    assert kept == [(True, None)]


def test_a_row_that_waits_is_nobody_elses_to_spell(db: Db, admin: Db) -> None:
    """What the ledger points to was an entry of mallory's, and went with his flood."""
    db.run(tables())
    c = Cast(db)
    early = c.envelope(c.device, "t", key="a", owner_timestamp=1)
    assert c.receive(early) == ["deferred"]
    db.run("GRANT SELECT ON grants TO mallory")
    admin.run("UPDATE rowseal.quarantine_limits SET rows = 10")
    admin.run("SET SESSION AUTHORIZATION mallory")
    for blanks in range(1, 4):
        text = json.dumps(early).replace(":", ":" + " " * blanks)
        admin.run(REFUSED.format("RS010,x"), text)
    for n in range(200):
        admin.run("SELECT rowseal._quarantine('t', '(RS001,x)', 'canonical', %s)", Json({"n": n}))
    admin.run("RESET SESSION AUTHORIZATION")
    assert c.receive(c.envelope(c.owner, "grants", **grant(c.device))) == ["inserted"]
    assert db.all("SELECT key FROM t") == ["a"]
