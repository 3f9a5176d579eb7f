"""Writers: what the calls for them answer, what health and prune make of their rows."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import psycopg
import pytest

from kit.db import Db
from kit.example import Owner
from kit.writers import Replica, Writer, card, grant, link_of, revocation, tables
from rowseal.client import SigningKey


class Cast:
    """An owner with his card stored, and a device."""

    def __init__(self, db: Db):
        self.db, self.forms = db, {t: db.form(t) for t in ("grants", "t", "u")}
        self.owner = Writer(Owner("Ann"))
        self.device = Writer(self.owner.owner, SigningKey.generate())
        card(db, self.owner.owner)

    def write(self, who: Writer, table: str, **row: Any) -> dict[str, Any]:
        sealed = who.sealed(self.forms[table], row)
        self.db.insert(table, sealed)
        return sealed

    def allow(self, grantee: Writer, by: Writer | None = None, **changes: Any) -> dict[str, Any]:
        return self.write(by or self.owner, "grants", **grant(grantee, **changes))


@pytest.fixture
def cast(replica: Replica) -> Cast:
    replica.reset()
    return Cast(replica.db)


def test_a_session_is_told_and_nothing_is_kept(cast: Cast) -> None:
    row = cast.device.sealed(cast.forms["t"], {"key": "k", "owner_timestamp": 5})
    columns = f"INSERT INTO t ({', '.join(row)}) VALUES ({', '.join(['%s'] * len(row))})"
    assert cast.db.refused("RS010", columns, *row.values()).message_hint
    cast.allow(cast.device)
    cast.db.run(columns, *row.values())
    cast.write(cast.owner, "grants", **revocation(cast.device, []))
    cast.db.refused("RS012", columns, *row.values())


def test_a_scope_on_a_column_outside_the_key_matches_nothing(cast: Cast) -> None:
    """Else a writer would move another's row into its scope by the very version that it signs
    (takeover_by_scoped_column).
    """
    cast.write(cast.owner, "t", key="chicago", owner_timestamp=1, value=1)
    cast.allow(cast.device, keys='{"value": "2"}')
    for key in ("chicago", "boston"):
        row = cast.device.sealed(
            cast.forms["t"], {"key": key, "owner_timestamp": 2, "value": 2}, number=1, previous=None
        )
        cast.db.refused(
            "RS011",
            f"INSERT INTO t ({', '.join(row)}) VALUES ({', '.join(['%s'] * len(row))})",
            *row.values(),
        )
    assert cast.db.all("SELECT key, value FROM t") == [("chicago", 1)]


def test_tables_with_writers_are_well(cast: Cast) -> None:
    cast.allow(cast.device)
    cast.write(cast.device, "t", key="k", owner_timestamp=1)
    assert cast.db.all('SELECT "check", detail FROM rowseal.health() WHERE NOT ok') == []
    assert [
        p for t in ("grants", "t", "u") for p in cast.db.all("SELECT * FROM rowseal.verify(%s)", t)
    ] == []


def test_health_counts_the_numbers_that_are_missing(cast: Cast) -> None:
    cast.allow(cast.device)
    cast.db.insert(
        "t",
        cast.device.sealed(
            cast.forms["t"], {"key": "k", "owner_timestamp": 1}, number=4, previous=bytes(32)
        ),
    )
    (detail,) = cast.db.all("SELECT detail FROM rowseal.health() WHERE NOT ok")
    assert detail.endswith(f"{bytes(cast.device.key.verify_key).hex()[:16]}: 3")
    assert cast.db.all("SELECT rows, last, missing, held, revoked FROM rowseal.writers") == [
        (1, 4, 3, 0, False)
    ]


def test_a_number_used_twice_is_shown(cast: Cast) -> None:
    cast.allow(cast.device)
    rows = [
        cast.device.sealed(cast.forms["t"], {"key": k, "owner_timestamp": 1}, number=1)
        for k in "ab"
    ]
    for row in rows:
        cast.db.insert("t", row)
    (links,) = cast.db.all("SELECT links FROM rowseal.equivocations")
    assert sorted(map(bytes, links)) == sorted(map(link_of, rows))


def test_allow_and_revoke_say_what_is_to_be_signed(cast: Cast) -> None:
    manager, puppet = cast.device, Writer(cast.owner.owner, SigningKey.generate())
    owner = f'{{"user_hash": "\\\\x{cast.owner.owner.hash.hex()}"}}'
    form = cast.forms["grants"]
    text = cast.db.one(
        "SELECT rowseal.allow('grants', %s, %s, 100, 1, may_grant => 1::smallint)",
        owner,
        manager.public_key,
    )
    unsigned = cast.owner.row("grants", grant(manager, may_grant=1))
    assert text == form.payload_of(unsigned).decode()
    cast.allow(manager, may_grant=1)
    first = cast.write(manager, "t", key="k", owner_timestamp=1)
    text = cast.db.one(
        "SELECT rowseal.allow('grants', %s, %s, 100, 1, writer => %s)",
        owner,
        puppet.public_key,
        manager.public_key,
    )
    let_in = manager.sealed(form, grant(puppet))
    assert text == form.payload_of({k: v for k, v in let_in.items() if k != "sign_b64"}).decode()
    cast.db.insert("grants", let_in)
    call = "SELECT upto, payload, standing FROM rowseal.revoke('grants', %s, %s, 1, %s)"
    ((upto, text, standing),) = cast.db.all(call, owner, manager.public_key, None)
    assert ([bytes(u) for u in upto], [bytes(s) for s in standing]) == (
        [link_of(let_in)],
        [puppet.public_key],
    )
    revoked = cast.owner.row(
        "grants",
        {"grantee_pkey": manager.public_key, "owner_timestamp": 1, "upto": [link_of(let_in)]},
    )
    assert text == form.payload_of(revoked).decode()
    ((_, _, standing),) = cast.db.all(call, owner, manager.public_key, [link_of(first)])
    assert standing == []
    cast.db.refused("RS012", call, owner, manager.public_key, [bytes(32)])
    # once revoked, no further revocation is walked through what never counts again: a server that
    # took its state from this one may not have it
    cast.write(cast.owner, "grants", **revocation(manager, [link_of(first)]))
    ((upto, _, standing),) = cast.db.all(call, owner, manager.public_key, None)
    assert ([bytes(u) for u in upto], standing) == ([link_of(first)], [])


def test_a_version_that_merges_two_ends_a_conflict(db: Db) -> None:
    db.run(
        tables().replace(
            "parent_sign_b64 bytea",
            "parent_sign_b64 bytea, merged_sign_b64 bytea[], writer_seen bytea[]",
        )
    )
    c = Cast(db)
    c.allow(c.device)
    key = f'{{"user_hash": "\\\\x{c.owner.owner.hash.hex()}", "key": "k"}}'
    first = c.write(c.owner, "t", key="k", owner_timestamp=1)
    here = c.write(c.owner, "t", key="k", owner_timestamp=2, parent_sign_b64=first["sign_b64"])
    there = c.write(c.device, "t", key="k", owner_timestamp=3, parent_sign_b64=first["sign_b64"])
    heads = sorted([here["sign_b64"], there["sign_b64"]])
    assert [[bytes(s) for s in h] for h in db.all("SELECT heads FROM rowseal.conflicts('t')")] == [
        heads
    ]
    assert sorted(bytes(s) for s in db.all("SELECT sign FROM rowseal.heads('t', %s)", key)) == heads
    both = c.write(
        c.device,
        "t",
        key="k",
        owner_timestamp=2,
        parent_sign_b64=here["sign_b64"],
        merged_sign_b64=[there["sign_b64"]],
        writer_seen=[bytes(32)],
    )
    assert db.all("SELECT * FROM rowseal.conflicts('t')") == []
    told = db.all("SELECT depth, sign, writer FROM rowseal.history('t', %s)", key)
    assert [(d, bytes(s)) for d, s, _ in told] == [
        (0, first["sign_b64"]),
        (1, here["sign_b64"]),
        (1, there["sign_b64"]),
        (2, both["sign_b64"]),
    ]
    assert [w and bytes(w) for *_, w in told] == [
        None,
        None,
        c.device.public_key,
        c.device.public_key,
    ]
    later = db.all("SELECT sign FROM rowseal.history('t', %s, %s)", key, [there["sign_b64"]])
    assert [bytes(s) for s in later] == [here["sign_b64"], both["sign_b64"]]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: s.replace(", versions => 't_versions'", ""), "keeps no versions"),
        (
            lambda s: s.replace("public_key => 'k'", "public_key => 'k', grants => true"),
            "identity table",
        ),
        (lambda s: s.replace("writers => 'grants'", "writers => 'cards'"), "not declared as one"),
        (lambda s: s.replace("upto bytea[], ", ""), "column upto"),
        (
            lambda s: s.replace(
                "PRIMARY KEY (user_hash, grantee_pkey, sign_b64)",
                "PRIMARY KEY (user_hash, sign_b64)",
            ),
            "primary key",
        ),
        (lambda s: s.replace("writer_seq bigint", "writer_seq integer"), "column writer_seq"),
    ],
)
def test_wrong_declarations_are_refused(db: Db, change: Callable[[str], str], message: str) -> None:
    with pytest.raises(psycopg.Error, match=message) as error:
        db.run(change(tables()))
    assert error.value.sqlstate == "RS007" and error.value.diag.message_hint


def test_prune_keeps_what_may_come_back(cast: Cast) -> None:
    cast.allow(cast.device)
    for at, who in (
        (1, cast.owner),
        (2, cast.owner),
        (3, cast.device),
        (4, cast.device),
        (5, cast.device),
    ):
        cast.write(who, "t", key="k", owner_timestamp=at)
    assert cast.db.one("SELECT rowseal.prune('t')") == 1
    cast.write(cast.owner, "grants", **revocation(cast.device, []))
    assert cast.db.all("SELECT owner_timestamp FROM t") == [2]
    cast.write(cast.owner, "t", key="k", owner_timestamp=6)
    assert cast.db.one("SELECT rowseal.prune('t')") == 1
    assert cast.db.one("SELECT rowseal.prune('grants')") == 0


def test_declaring_again_finds_what_is_there(db: Db) -> None:
    db.run(tables())
    c = Cast(db)
    c.allow(c.device)
    c.write(c.device, "t", key="k", owner_timestamp=1)
    last = c.write(c.device, "t", key="k", owner_timestamp=2)
    db.refused("RS007", "SELECT rowseal.undeclare('grants')")
    db.run("SELECT rowseal.undeclare('t'), rowseal.undeclare('u')")
    db.run("SELECT rowseal.undeclare('grants')")
    assert db.all("SELECT * FROM rowseal.writers") == []
    for statement in tables().split("; "):
        if "declare('cards'" not in statement and "CREATE TABLE" not in statement:
            db.run(statement)
    assert db.all("SELECT rows, last, missing FROM rowseal.writers") == [(2, 2, 0)]
    c.write(c.owner, "grants", **revocation(c.device, [link_of(last)]))
    assert db.one("SELECT count(*) FROM t_versions") == 1


def test_a_table_that_is_declared_after_a_revocation_follows_it(db: Db) -> None:
    db.run(tables())
    c = Cast(db)
    c.allow(c.device)
    c.write(c.owner, "t", key="k", owner_timestamp=1)
    for at in (2, 3):
        c.write(c.device, "t", key="k", owner_timestamp=at)
    db.run("SELECT rowseal.undeclare('t')")
    c.write(c.owner, "grants", **revocation(c.device, []))
    assert db.one("SELECT owner_timestamp FROM t") == 3
    db.run(next(s for s in tables().split("; ") if "declare('t'" in s))
    assert (db.all("SELECT owner_timestamp FROM t"), db.one("SELECT count(*) FROM t_versions")) == (
        [1],
        0,
    )
    assert db.all("SELECT rows, held FROM rowseal.writers") == [(2, 2)]
