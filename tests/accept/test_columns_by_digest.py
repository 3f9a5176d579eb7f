"""Columns signed by digest: only the table's owner can erase content, and the rows stay.

Erasing is recorded.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
import random
import uuid
from functools import partial
from typing import Any

import psycopg
import pytest
import rfc8785
from nacl.signing import SigningKey
from psycopg.types.json import Json

from kit.attacks import meanwhile
from kit.db import Db, Server
from kit.example import EXAMPLE, Owner
from kit.specification import PAGE, PUBLIC_KEY, SEED
from rowseal import client
from rowseal.client import Form, envelope, sign_many, verify

KEY = uuid.UUID(int=7)
COLUMNS = (
    "user_hash bytea, uuid uuid, value_b64 bytea, note text, value_b64_sha256 bytea,"
    " note_sha256 bytea, local integer, deleted_flag boolean, owner_timestamp bigint,"
    " parent_sign_b64 bytea, sign_b64 bytea"
)
DECLARE = (
    "SELECT rowseal.declare('{}', owner => 'user_hash', identity => 'user_cards',"
    """ columns => '{{"digests": ["value_b64", "note"]{}}}', unsigned => '{{local}}' {})"""
)
LAYOUTS = ["unversioned", "two tables", "one table", "partitioned"]


def make(
    db: Db,
    layout: str,
    options: str = "",
    name: str = "s",
    *,
    healed: bool = False,
    columns: str = COLUMNS,
) -> None:
    key = "user_hash, uuid" + (", sign_b64" if layout == "one table" else "")
    db.run(
        f"CREATE TABLE {name} ({columns}, PRIMARY KEY ({key}))"
        f" {'PARTITION BY HASH (uuid)' if layout == 'partitioned' else ''}"
    )
    if layout == "partitioned":
        db.run(
            f"CREATE TABLE {name}_0 PARTITION OF {name} FOR VALUES WITH (MODULUS 1, REMAINDER 0)"
        )
    db.run(
        DECLARE.format(
            name,
            ', "healed": ["value_b64", "note"]' if healed else "",
            (f", versions => '{name}v'" if layout in ("two tables", "partitioned") else "")
            + options,
        )
    )


def tables(layout: str) -> list[str]:
    return ["s", "sv"] if layout in ("two tables", "partitioned") else ["s"]


def row(
    owner: Owner, value: bytes | None, note: str | None = "zoë", **changes: Any
) -> dict[str, Any]:
    return {**owner.value(value, KEY), "note": note, **changes}


def key(owner: Owner) -> str:
    return json.dumps({"user_hash": base64.b64encode(owner.hash).decode(), "uuid": str(KEY)})


def contents(db: Db, layout: str) -> list[Any]:
    """Of every version kept: value, note, and whether their digests stand beside them."""
    return sorted(
        (
            r
            for t in tables(layout)
            for r in db.all(
                "SELECT owner_timestamp, value_b64, note, value_b64_sha256 IS NOT NULL,"
                f" note_sha256 IS NOT NULL FROM {t}"
            )
        ),
    )


def everything_holds(db: Db) -> bool:
    return (
        db.all("SELECT * FROM rowseal.verify('s')") == []
        and db.all('SELECT "check", detail FROM rowseal.health() WHERE NOT ok') == []
    )


# --------------------------------------------------------------------------------- the signed form
def test_the_example_of_the_specification() -> None:
    section = PAGE.split("\n## Digests\n")[1].split("\n## ")[0]
    payload, intact, erased = (b.split("\n```")[0] for b in section.split("```json\n")[1:])
    signature = section.split("```base64\n")[1].split("\n```")[0]
    content = bytes.fromhex("00ff68656c6c6f")
    assert rfc8785.dumps(json.loads(payload)).decode() == payload
    assert json.loads(payload)["row"]["value_b64"] == {
        "sha256": base64.b64encode(hashlib.sha256(content).digest()).decode()
    }
    assert base64.b64encode(SigningKey(SEED).sign(payload.encode()).signature).decode() == signature
    assert json.loads(erased) == {**json.loads(payload), "sign_b64": signature}
    assert json.loads(intact) == {
        **json.loads(erased),
        "content": {"value_b64": base64.b64encode(content).decode()},
    }
    kinds = {
        "user_hash": "bytea",
        "uuid": "uuid",
        "value_b64": {"digest": "bytea"},
        "deleted_flag": "boolean",
        "owner_timestamp": "integer",
    }
    form, fields = Form("user_storage", kinds), json.loads(payload)["row"]
    ours = {**fields, "user_hash": base64.b64decode(fields["user_hash"]), "value_b64": content}
    assert (
        form.payload_of(ours).decode()
        == payload
        == form.payload_of({**ours, "value_b64": fields["value_b64"]}).decode()
    )
    assert envelope(form, ours, SigningKey(SEED)) == json.loads(intact)
    assert verify(json.loads(intact), PUBLIC_KEY) and verify(json.loads(erased), PUBLIC_KEY)
    for wrong in (
        {"value_b64": "AAAA"},
        {"value_b64": 1},
        {"uuid": "AAAA"},
        {"value_b64": "AP9oZWxsbw"},
        [],
    ):
        assert not verify({**json.loads(erased), "content": wrong}, PUBLIC_KEY)


def test_the_server_signs_what_the_client_signs(example: Db, ann: Owner) -> None:
    make(example, "unversioned")
    form = example.form("s")
    assert example.one(
        "SELECT spec #> '{fields,note}' FROM rowseal.declarations WHERE tag = 's'"
    ) == {"digest": "text"}
    for value, note in (
        (b"", ""),
        (b"\0\xff", "zoë 😀"),
        (None, None),
        (b"x" * 100_000, "y" * 100_000),
        (None, "only"),
    ):
        r = row(ann, value, note)
        sealed = ann.envelope(form, r)
        payload = form.payload_of(r).decode()
        # digests given
        assert example.one("SELECT rowseal.payload('s', %s)", json.dumps(sealed["row"])) == payload
        given = {
            **sealed["row"],
            "value_b64": None if value is None else base64.b64encode(value).decode(),
            "note": note,
        }
        # contents given
        assert example.one("SELECT rowseal.payload('s', %s)", json.dumps(given)) == payload
        assert example.apply("s", [sealed])[0][0] in ("inserted", "superseded")
        assert example.all("SELECT value_b64, note, value_b64_sha256, note_sha256 FROM s") == [
            (value, note, None, None)
        ]
        assert example.all("SELECT rowseal.export('s')") == [sealed]
    assert everything_holds(example)


def test_domains_and_varchar(example: Db, ann: Owner) -> None:
    example.run(
        "CREATE DOMAIN photo AS bytea CHECK (length(VALUE) < 100);"
        " CREATE DOMAIN title AS varchar(20)"
    )
    columns = COLUMNS.replace("value_b64 bytea", "value_b64 photo").replace(
        "note text", "note title"
    )
    example.run(f"CREATE TABLE s ({columns}, PRIMARY KEY (user_hash, uuid))")
    example.run(DECLARE.format("s", "", ", versions => 'sv', feed => true"))
    form = example.form("s")
    for value in (b"1", b"2"):
        [(outcome, reason)] = example.apply("s", [ann.envelope(form, row(ann, value))])
        assert outcome in ("inserted", "superseded"), reason
    assert example.one("SELECT rowseal.erase('s', %s, '{value_b64,note}')", key(ann)) == 2
    example.insert("s", ann.sealed(form, row(ann, b"3")))
    assert everything_holds(example) and len(example.all("SELECT rowseal.export('s')")) == 3
    example.run("ALTER TABLE s RENAME note TO remark")  # renamed columns keep their part
    example.run("ALTER TABLE s RENAME note_sha256 TO kept")
    assert example.one("SELECT digests FROM rowseal.declarations WHERE tag = 's'") == {
        "value_b64": "value_b64_sha256",
        "remark": "kept",
    }
    assert example.one("SELECT rowseal.erase('s', %s, '{remark}')", key(ann)) == 1
    assert example.one("SELECT kept FROM s") == hashlib.sha256(
        "zoë".encode()
    ).digest() and everything_holds(example)


def test_content_that_no_table_has_any_more_goes_out_of_the_feed(
    example: Db, admin: Db, ann: Owner
) -> None:
    """A tombstone, or prune, had taken the last version that had it; erase noted nothing."""
    example.run(f"CREATE TABLE s ({COLUMNS}, PRIMARY KEY (user_hash, uuid))")
    example.run(DECLARE.format("s", "", ", feed => true"))
    form = example.form("s")
    for r in (row(ann, b"secret"), row(ann, None, note=None, deleted_flag=True)):
        assert example.apply("s", [ann.envelope(form, r)])[0][0] in ("inserted", "superseded")
    contents = (
        "SELECT count(*) FROM rowseal.feed WHERE envelope #> '{content,value_b64}' IS NOT NULL"
    )
    assert admin.one(contents) == 1
    other = json.dumps({**json.loads(key(ann)), "uuid": str(uuid.UUID(int=9))})
    for wrong in ("{}", json.dumps({"uuid": str(KEY)}), other):
        assert example.one("SELECT rowseal.erase('s', %s, '{value_b64}')", wrong) == 0
        assert admin.one(contents) == 1 and admin.all("SELECT FROM rowseal.erasures") == []
    assert example.one("SELECT rowseal.erase('s', %s, '{value_b64}')", key(ann)) == 0
    assert admin.one(contents) == 0
    assert admin.one("SELECT versions FROM rowseal.erasures") == 0


# ----------------------------------------------------------------------------------------- erasing
@pytest.mark.parametrize("layout", LAYOUTS)
def test_erased_rows_live_on(
    layout: str, example: Db, ann: Owner, bob: Owner, server: Server
) -> None:
    make(example, layout, ", feed => true")
    form = example.form("s")
    rows = [ann.sealed(form, row(ann, b"%d" % n)) for n in range(3)]
    for r in (*rows, bob.sealed(form, row(bob, b"bob's"))):
        example.insert("s", r)
    example.run("UPDATE s SET local = 5")
    before, digest = contents(example, layout), example.digest("s")
    intact = example.all("SELECT rowseal.export('s')")
    kept = [r for r in before if r[1] != b"bob's"]
    assert example.one("SELECT rowseal.erase('s', %s, '{value_b64}')", key(ann)) == len(kept)
    assert contents(example, layout) == sorted(
        [(at, None, note, True, False) for at, _, note, *_ in kept]
        + [r for r in before if r[1] == b"bob's"]
    )
    assert everything_holds(example) and example.digest("s") == digest
    assert example.one("SELECT rowseal.erase('s', %s, '{value_b64}')", key(ann)) == 0
    assert example.all("SELECT key, fields, versions, role FROM rowseal.erasures") == [
        (json.loads(key(ann)), ["value_b64"], len(kept), "app")
    ]
    assert example.one("SELECT count(*) FROM rowseal.history('s', %s)", key(ann)) == len(kept)
    assert example.all("SELECT DISTINCT local FROM s") == [5]
    # the same versions again, intact: nothing is put back
    for r in rows:
        example.insert("s", r)
    assert {o for o, _ in example.apply("s", intact)} == {"duplicate"}
    assert contents(example, layout)[0][1] is None and example.digest("s") == digest
    # a newer version replaces and archives an erased one; the rest of the content can go as well
    newer = ann.sealed(form, row(ann, b"new", parent_sign_b64=rows[2]["sign_b64"]))
    example.insert("s", newer)
    assert (
        example.one("SELECT rowseal.erase('s', %s, '{note,value_b64}')", key(ann))
        == len(contents(example, layout)) - 1
    )
    assert all(
        r[1:3] == (None, None) for r in contents(example, layout) if r[0] != 0 and r[1] != b"bob's"
    ) and everything_holds(example)
    erased_rows_travel(layout, example, server, ann, bob)


def erased_rows_travel(layout: str, example: Db, server: Server, *owners: Owner) -> None:
    name = server.database()
    try:
        with server.connect(name, "app") as c:
            there = Db(c)
            there.run(EXAMPLE)
            make(there, layout)
            for owner in owners:
                there.insert("user_cards", owner.sealed(there.form("user_cards"), owner.card()))
            exported = example.all("SELECT rowseal.export('s')")
            for one in exported:  # as the feed brings them, one by one
                (outcome,) = there.all("SELECT outcome FROM rowseal.receive(%s)", Json(one))
                assert outcome in ("inserted", "superseded", "archived", "stale")
            assert {o for o, _ in there.apply("s", exported)} <= {"duplicate", "stale"}
            assert there.digest("s") == example.digest("s") and everything_holds(there)
            assert [r[1:] for r in contents(there, layout)] == [
                r[1:] for r in contents(example, layout)
            ]
            assert sorted(there.all("SELECT rowseal.export('s')"), key=str) == sorted(
                exported, key=str
            )
    finally:
        server.drop(name)


def test_the_feed_forgets(example: Db, ann: Owner, bob: Owner, admin: Db) -> None:
    make(example, "two tables", ", feed => true")
    form = example.form("s")
    for owner in (ann, bob):
        for n in range(2):
            example.insert("s", owner.sealed(form, row(owner, b"%d" % n)))
    fed = "SELECT envelope -> 'content' FROM rowseal.feed WHERE owner = %s ORDER BY position"
    theirs = admin.all(fed, base64.b64encode(bob.hash).decode())
    example.run("SELECT rowseal.erase('s', %s, '{value_b64}')", key(ann))
    note = base64.b64encode("zoë".encode()).decode()
    assert admin.all(fed, base64.b64encode(ann.hash).decode()) == [{"note": note}] * 2
    example.run("SELECT rowseal.erase('s', %s, '{note}')", key(ann))
    assert admin.all(
        "SELECT envelope -> 'content' IS NOT NULL FROM rowseal.feed WHERE owner = %s",
        base64.b64encode(ann.hash).decode(),
    ) == [False, False]
    assert admin.all(fed, base64.b64encode(bob.hash).decode()) == theirs and len(theirs) == 2
    assert all(
        verify(e, ann.public_key)
        for e in admin.all(
            "SELECT envelope FROM rowseal.feed WHERE owner = %s",
            base64.b64encode(ann.hash).decode(),
        )
    )
    for statement in ("UPDATE rowseal.feed SET envelope = '{}'", "DELETE FROM rowseal.feed"):
        admin.refused("RS004", statement)


def stripped(one: dict[str, Any], columns: list[str]) -> dict[str, Any]:
    """The row with the digests of these columns in the place of their contents."""
    out = dict(one)
    for column in columns:
        content = one[column]
        raw = content if isinstance(content, bytes) else content.encode()
        out |= {column: None, column + "_sha256": hashlib.sha256(raw).digest()}
    return out


def enveloped(form: Form, one: dict[str, Any]) -> dict[str, Any]:
    """The envelope of a row that may lack contents."""
    strip = {"value_b64_sha256", "note_sha256", "sign_b64"}
    fields = {
        c: {"sha256": base64.b64encode(one[c + "_sha256"]).decode()} if c + "_sha256" in one else v
        for c, v in one.items()
        if c not in strip
    }
    return client.signing.with_signature(form, fields, form.payload_of(fields), one["sign_b64"])


@pytest.mark.parametrize("heal", [False, True])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_the_state_follows_the_model(layout: str, heal: bool, example: Db, ann: Owner) -> None:
    """Versions arrive intact, or stripped of contents by a relay, by INSERT or apply;
    now and then something is erased.
    """
    make(example, layout, healed=heal)
    form, r = example.form("s"), random.Random(f"{layout}{heal}")
    versions = [row(ann, b"%d" % n, str(n)) for n in range(4)]
    signatures = sign_many([(form, v) for v in versions], ann.key)
    sealed = [{**v, "sign_b64": s} for v, s in zip(versions, signatures)]
    state: dict[int, list[bytes | str | None]] = {}  # timestamp: value, note
    for _ in range(40):
        if r.random() < 0.2:
            chosen = r.sample(["value_b64", "note"], r.randint(1, 2))
            example.run("SELECT rowseal.erase('s', %s, %s)", key(ann), chosen)
            for content in state.values():
                pairs = zip(("value_b64", "note"), content)
                content[:] = [None if c in chosen else x for c, x in pairs]
            continue
        whole = r.choice(sealed)
        one = stripped(whole, r.sample(["value_b64", "note"], r.randint(0, 2)))
        if r.random() < 0.5:
            example.insert("s", one)
        else:
            e = enveloped(form, one)
            assert verify(e, ann.public_key)
            outcomes = ("inserted", "superseded", "archived", "stale", "duplicate")
            assert example.apply("s", [e])[0][0] in outcomes
        at, content = one["owner_timestamp"], [one["value_b64"], one["note"]]
        if at not in state:
            if layout == "unversioned":
                if state and at < max(state):
                    continue
                state.clear()
            state[at] = content
        elif heal:
            state[at] = [old if old is not None else new for old, new in zip(state[at], content)]
        assert [[a, v, n] for a, v, n, *_ in contents(example, layout)] == [
            [at, *state[at]] for at in sorted(state)
        ]
        assert all(
            (v is None) == v_ and (n is None) == n_ for _, v, n, v_, n_ in contents(example, layout)
        )
    assert everything_holds(example)


# ----------------------------------------------------------------------------------------- attacks
def test_a_refusal_names_the_first_column_whose_content_was_taken(example: Db, ann: Owner) -> None:
    make(example, "unversioned")
    example.insert("s", ann.sealed(example.form("s"), row(ann, b"1")))
    refused = example.refused(
        "RS004",
        "UPDATE s SET value_b64 = NULL, value_b64_sha256 = sha256(value_b64),"
        " note = NULL, note_sha256 = sha256(convert_to(note, 'UTF8'))",
    )
    assert str(refused.message_primary).startswith("column note is erased")


@pytest.mark.parametrize("heal", [False, True])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_content_cannot_be_changed_or_taken_by_statements(
    layout: str, heal: bool, example: Db, mallory: Db, ann: Owner
) -> None:
    make(example, layout, healed=heal)
    example.run(f"GRANT ALL ON {', '.join(tables(layout))} TO mallory")
    form = example.form("s")
    old, tip = (ann.sealed(form, row(ann, v)) for v in (b"old", b"tip"))
    example.insert("s", old)
    example.insert("s", tip)
    before = contents(example, layout)
    for table in tables(layout):
        no_update_changes_content(mallory, table)
        assert contents(example, layout) == before
    no_altered_content_comes(mallory, ann, form, tip)
    assert contents(example, layout) == before
    erasures_are_the_owners(example, mallory, ann)
    # what the owner has erased, nobody brings back by a statement, unless the table heals;
    # then only as it was signed
    example.run("SELECT rowseal.erase('s', %s, '{value_b64}')", key(ann))
    mallory.refused(
        "RS001" if layout != "one table" else "RS009",
        "UPDATE s SET value_b64 = 'forged', value_b64_sha256 = NULL",
    )
    bring_back = (
        "UPDATE s SET value_b64 = 'tip', value_b64_sha256 = NULL"
        " WHERE value_b64_sha256 = sha256('tip')"
    )
    if heal:
        mallory.run(bring_back)
        assert example.one("SELECT count(*) FROM s WHERE value_b64 = 'tip'") == 1
    else:
        mallory.refused("RS004", bring_back)
    assert example.all("SELECT * FROM rowseal.verify('s')") == []


def no_update_changes_content(mallory: Db, table: str) -> None:
    hash_ = "sha256(value_b64)"
    for sets, code in (
        (f"value_b64 = NULL, value_b64_sha256 = {hash_}", "RS004"),
        ("note = NULL, note_sha256 = sha256(convert_to(note, 'UTF8'))", "RS004"),
        ("value_b64 = NULL", None),
        ("value_b64 = 'forged'", None),
        ("note = NULL", None),
        ("value_b64 = NULL, value_b64_sha256 = 'x'", None),
        (f"value_b64 = 'forged', value_b64_sha256 = {hash_}", None),
    ):
        with pytest.raises(psycopg.Error) as error:
            mallory.run(f"UPDATE {table} SET {sets}")
        codes = [code] if code else ["RS001", "RS006", "RS009"]
        assert error.value.sqlstate in codes, (table, sets)
    # nothing stays beside a content
    mallory.run(f"UPDATE {table} SET value_b64_sha256 = 'x', note_sha256 = {hash_}")


def no_altered_content_comes(mallory: Db, ann: Owner, form: Form, tip: dict[str, Any]) -> None:
    later = tip["owner_timestamp"] + 9
    for change in (
        {"value_b64": b"forged"},
        {"note": "forged"},
        {"note": None},
        {"value_b64": None, "value_b64_sha256": bytes(32)},
        {"value_b64": b"forged", "value_b64_sha256": hashlib.sha256(b"tip").digest()},
    ):
        for forged in ({**tip, "owner_timestamp": later, **change}, {**tip, **change}):
            with pytest.raises(psycopg.Error) as error:
                mallory.insert("s", forged)
            assert error.value.sqlstate == "RS001"
    sealed = ann.envelope(form, {k: v for k, v in tip.items() if k != "sign_b64"})
    for content in ({"value_b64": "AAAA"}, {"note": "AAAA"}):
        e = {
            **sealed,
            "content": {**sealed["content"], **content},
            "row": {**sealed["row"], "owner_timestamp": str(later)},
        }
        assert mallory.apply("s", [e])[0][0] == "rejected"
    # no UTF-8
    assert mallory.apply("s", [{**sealed, "content": {"note": "/w=="}}])[0][0] == "rejected"
    for odd in ("x", 1, [], {"value_b64": 1}, {"value_b64": "*"}):
        assert mallory.apply("s", [{**sealed, "content": odd}])[0][0] in ("duplicate", "rejected")


def erasures_are_the_owners(example: Db, mallory: Db, ann: Owner) -> None:
    mallory.refused("RS008", "SELECT rowseal.erase('s', %s, '{note}')", key(ann))
    mallory.refused(
        "42501",
        "INSERT INTO rowseal.erasures (relation, tag, key, fields, versions)"
        " VALUES ('s', 's', '{}', '{note}', 1)",
    )
    for statement in (
        "UPDATE rowseal.erasures SET versions = 0",
        "DELETE FROM rowseal.erasures",
        "TRUNCATE rowseal.erasures",
    ):
        example.refused("42501", statement)


def test_an_entry_of_another_table_makes_the_feed_forget_nothing(
    example: Db, mallory: Db, ann: Owner, admin: Db
) -> None:
    """Mallory owns a table and may erase there; the feed's entries of others are not hers."""
    make(example, "unversioned", ", feed => true")
    example.insert("s", ann.sealed(example.form("s"), row(ann, b"1")))
    before = admin.all("SELECT envelope FROM rowseal.feed")
    mallory.run(f"CREATE TABLE mine ({COLUMNS}, PRIMARY KEY (user_hash, uuid))")
    mallory.run(DECLARE.format("mine", "", ""))
    for tag, relation in (("s", "mine"), ("s", "s"), ("mine", "s")):
        mallory.refused(
            "42501",
            "INSERT INTO rowseal.erasures (relation, tag, key, fields, versions)"
            " VALUES (%s, %s, '{}', '{value_b64,note}', 1)",
            relation,
            tag,
        )
    mallory.refused(
        "42501",
        "INSERT INTO rowseal.erasures (relation, tag, key, fields, versions, role)"
        " VALUES ('mine', 'mine', '{}', '{note}', 1, 'app')",
    )
    mallory.run(
        "INSERT INTO rowseal.erasures (relation, tag, key, fields, versions)"
        " VALUES ('mine', 'mine', '{}', '{value_b64,note}', 1)"
    )
    mallory.refused(  # the numbers to come
        "42501",
        "INSERT INTO rowseal.erasures (id, relation, tag, key, fields, versions)"
        " OVERRIDING SYSTEM VALUE SELECT n, 'mine', 'mine', '{}', '{note}', 1"
        " FROM generate_series(1, 100) n",
    )
    assert admin.all("SELECT envelope FROM rowseal.feed") == before
    assert example.all("SELECT FROM rowseal.erasures") == []


# ------------------------------------------------------------------------------------ declarations
@pytest.mark.parametrize(
    ("digest", "columns", "says"),
    [
        ("nope", "", "no digest column"),
        ("n", "n integer, n_sha256 bytea", "has type integer"),
        ("v", "v bytea", "no digest column 'v_sha256'"),
        ("v", "v bytea, v_sha256 text", "has type text"),
        ("v", "v bytea NOT NULL, v_sha256 bytea", "cannot be signed by digest"),
        ("sign_b64", "sign_b64_sha256 bytea", "cannot be signed by digest"),
        ("id", "id_sha256 bytea", "cannot be signed by digest"),
        ("k", "k_sha256 bytea", "cannot be signed by digest"),
    ],
)
def test_columns_that_cannot_be_erased_are_refused(
    digest: str, columns: str, says: str, db: Db
) -> None:
    db.run(
        "CREATE TABLE t (id bytea PRIMARY KEY, k bytea,"
        f" {columns + ', ' if columns else ''} deleted_flag boolean, owner_timestamp bigint,"
        " sign_b64 bytea)"
    )
    assert says in str(
        db.refused(
            "RS007",
            "SELECT rowseal.declare('t', owner => 'id', public_key => 'k',"
            f""" columns => '{{"digests": ["{digest}"]}}')""",
        ).message_primary
    )


def test_what_is_healed_must_be_signed_by_digest(db: Db) -> None:
    db.run(
        "CREATE TABLE t (id bytea PRIMARY KEY, k bytea, v bytea, v_sha256 bytea, w bytea,"
        " deleted_flag boolean, owner_timestamp bigint, sign_b64 bytea)"
    )
    declare = """SELECT rowseal.declare('t', owner => 'id', public_key => 'k',
        columns => '{"digests": ["v"], "healed": ["%s"]}')"""
    refused = db.refused("RS007", declare % "w")
    assert refused.message_primary == "column 'w' of public.t cannot be healed"
    assert "list it in digests, too" in str(refused.message_hint)
    db.run(declare % "v")
    assert db.all("SELECT 1 FROM rowseal.health() WHERE relation = 't'::regclass AND NOT ok") == []


def test_wrong_calls_of_erase(example: Db, ann: Owner) -> None:
    make(example, "unversioned")
    for columns in ("{}", "{local}", "{note,local}", "{sign_b64}", None):
        example.refused("RS007", "SELECT rowseal.erase('s', %s, %s)", key(ann), columns)
    example.refused("RS007", "SELECT rowseal.erase('pg_class', '{}', '{note}')")
    example.refused("RS007", "SELECT rowseal.erase('user_cards', '{}', '{name}')")
    assert example.one("SELECT rowseal.erase('s', %s, '{note}')", key(ann)) == 0  # no such key
    assert example.one("SELECT rowseal.erase('s', '{}', '{note}')") == 0
    assert example.all("SELECT FROM rowseal.erasures") == []


@pytest.mark.parametrize("layout", LAYOUTS)
def test_what_comes_back_travels(layout: str, example: Db, admin: Db, ann: Owner) -> None:
    """Whoever follows has got the row without its content, which somebody had taken off."""
    make(example, layout, ", feed => true", healed=True)
    form = example.form("s")
    first = row(ann, b"1")
    intact = [
        ann.envelope(form, {**first, "owner_timestamp": at, "value_b64": b"%d" % at})
        for at in ([1] if layout == "unversioned" else [1, 2])
    ]
    stripped = [{k: v for k, v in e.items() if k != "content"} for e in intact]
    receive = "SELECT outcome FROM rowseal.receive(%s)"
    for envelopes in (stripped, intact, intact, stripped):
        example.all(receive, Json(envelopes))
    fed = "SELECT envelope::jsonb ? 'content' FROM rowseal.feed WHERE tag = 's' ORDER BY position"
    assert admin.all(fed) == [False] * len(intact) + [True] * len(intact)
    feed = admin.all("SELECT envelope FROM rowseal.feed WHERE tag = 's'")
    whole = "SELECT count(*) FROM rowseal.export('s') e WHERE (e::jsonb -> 'content') IS NOT NULL"
    assert example.one(whole) == len(intact)
    make(example, layout, name="o", healed=True)
    example.run("SELECT rowseal.undeclare('s'), rowseal.undeclare('o')")
    example.run(DECLARE.format("o", ', "healed": ["value_b64", "note"]', ", tag => 's'"))
    example.all(receive, Json(feed))
    newest = "SELECT value_b64 FROM o ORDER BY owner_timestamp DESC LIMIT 1"
    assert example.one(newest) == b"%d" % len(intact)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_what_comes_back_beside_json_that_is_spelled_otherwise(
    layout: str, example: Db, ann: Owner
) -> None:
    """Two rows with one signature: it is verified again, and only then does the content count."""
    make(example, layout, healed=True, columns=COLUMNS + ", doc json")
    form = example.form("s")
    versions = [
        ann.envelope(form, row(ann, b"%d" % n, owner_timestamp=n) | {"doc": '{"a":1,"b":[2]}'})
        for n in ([1] if layout == "unversioned" else [1, 2])
    ]
    other = {"b": [2], "a": 1.0}
    bare = [
        {k: v for k, v in e.items() if k != "content"} | {"row": e["row"] | {"doc": other}}
        for e in versions
    ]
    for rows in (bare, versions):
        assert "rejected" not in {outcome for outcome, _ in example.apply("s", rows)}
    assert [(v, note) for _, v, note, *_ in contents(example, layout)] == [
        (b"%d" % n, "zoë") for n in range(1, len(versions) + 1)
    ]
    assert everything_holds(example)


def test_what_comes_back_by_the_versions_table_may_be_of_the_current_version(
    example: Db, ann: Owner
) -> None:
    """A publisher of both tables has archived it; here it is not superseded yet."""
    make(example, "two tables", healed=True)
    intact = ann.sealed(example.form("s"), row(ann, b"1", owner_timestamp=1))
    example.insert("s", stripped(intact, ["value_b64", "note"]))
    example.insert("sv", intact)
    assert contents(example, "two tables") == [(1, b"1", "zoë", False, False)]
    with pytest.raises(psycopg.Error, match="invalid signature"):
        example.insert("sv", intact | {"value_b64": b"2"})
    assert everything_holds(example)


def test_who_may_not_update_the_versions_table_is_not_stopped_by_what_would_come_back(
    example: Db, mallory: Db, ann: Owner
) -> None:
    make(example, "two tables", healed=True)
    example.run(
        "GRANT SELECT ON user_cards, s, sv TO mallory; GRANT INSERT, UPDATE ON s TO mallory;"
        " GRANT INSERT ON sv TO mallory"
    )
    form = example.form("s")
    first, second = (ann.sealed(form, row(ann, b"%d" % n, owner_timestamp=n)) for n in (1, 2))
    mallory.insert("s", stripped(first, ["value_b64", "note"]))
    mallory.insert("s", second)
    mallory.insert("s", first)
    assert mallory.apply("s", [enveloped(form, first)]) == [("duplicate", None)]
    assert contents(example, "two tables")[0] == (1, None, None, True, True)
    example.insert("s", first)
    assert contents(example, "two tables")[0] == (1, b"1", "zoë", False, False)


def test_what_comes_back_while_a_newer_version_comes_goes_where_its_row_is(
    example: Db, ann: Owner, server: Server, database: str
) -> None:
    """It was given to the newer version, whose signature says otherwise."""
    make(example, "two tables", healed=True)
    form = example.form("s")
    old, new = (
        ann.envelope(form, row(ann, b"%d" % at, owner_timestamp=at, parent_sign_b64=None))
        for at in (1, 2)
    )
    bare = [{k: v for k, v in e.items() if k != "content"} for e in (old, new)]
    receive = "SELECT outcome FROM rowseal.receive(%s)"
    assert example.all(receive, Json(bare[:1])) == ["inserted"]
    with server.connect(database, "app") as c:
        other = Db(c)

        def newer() -> None:
            assert other.all(receive, Json(bare[1:])) == ["superseded"]

        older = partial(example.all, receive, Json([old]))
        assert meanwhile(other, newer, older) == ["duplicate"]
    assert contents(example, "two tables") == [
        (1, b"1", "zoë", False, False),
        (2, None, None, True, True),
    ]
    assert everything_holds(example)


@pytest.mark.parametrize("first", ["stripped", "intact"])
@pytest.mark.parametrize("at", [1, 5, 9])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_two_copies_side_by_side_are_one_row_with_what_either_has(
    layout: str, at: int, first: str, example: Db, ann: Owner, server: Server, database: str
) -> None:
    """One of them without its content, whichever comes first; late, the first, or newer."""
    make(example, layout, healed=True)
    form = example.form("s")
    there, intact = (
        ann.envelope(form, row(ann, b"%d" % n, owner_timestamp=n, parent_sign_b64=None))
        for n in (5, at)
    )
    copies = [intact, {k: v for k, v in intact.items() if k != "content"}]
    one, two = copies if first == "intact" else reversed(copies)
    receive = "SELECT outcome FROM rowseal.receive(%s)"
    if at != 5:
        example.all(receive, Json([there]))
    with server.connect(database, "app") as c:
        other = Db(c)
        answer = meanwhile(
            other,
            partial(other.all, receive, Json([one])),
            partial(example.all, receive, Json([two])),
        )
    kept = layout != "unversioned" or at >= 5
    assert answer == ["duplicate"] if kept else answer == ["stale"]
    stored = [r for r in contents(example, layout) if r[0] == at]
    assert stored == ([(at, b"%d" % at, "zoë", False, False)] if kept else [])
    assert everything_holds(example)


@pytest.mark.parametrize("heal", [False, True])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_who_writes_need_not_update_the_versions_table(
    layout: str, heal: bool, example: Db, mallory: Db, ann: Owner
) -> None:
    make(example, layout, healed=heal)
    example.run(
        "GRANT SELECT ON user_cards TO mallory; GRANT SELECT, INSERT, UPDATE ON s TO mallory"
    )
    for table in tables(layout)[1:]:
        example.run(f"GRANT SELECT, INSERT ON {table} TO mallory")
    form = example.form("s")
    first, late, newer = (
        ann.envelope(form, row(ann, b"%d" % at, owner_timestamp=at, parent_sign_b64=None))
        for at in (2, 1, 3)
    )
    outcomes = [o for e in (first, newer, late, late) for o, _ in mallory.apply("s", [e])]
    kept = ["archived", "duplicate"] if layout != "unversioned" else ["stale", "stale"]
    assert outcomes == ["inserted", "superseded", *kept]


@pytest.mark.parametrize("heal", [False, True])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_no_setting_takes_content_away_or_brings_it_back(
    layout: str, heal: bool, example: Db, mallory: Db, ann: Owner
) -> None:
    """Where apply is at work, or a replication worker, a refusal is no error."""
    make(example, layout, healed=heal)
    example.run(f"GRANT ALL ON {', '.join(tables(layout))} TO mallory")
    form = example.form("s")
    for value in (b"old", b"tip"):
        example.insert("s", ann.sealed(form, row(ann, value)))
    mallory.run("SET rowseal.mode = 'apply'")
    before = contents(example, layout)
    for table in tables(layout):
        mallory.run(f"UPDATE {table} SET value_b64 = NULL, value_b64_sha256 = sha256(value_b64)")
        mallory.run(f"UPDATE {table} SET note = 'x'")
    assert contents(example, layout) == before
    example.run("SELECT rowseal.erase('s', %s, '{value_b64}')", key(ann))
    erased = contents(example, layout)
    for table in tables(layout):
        for value in ("x", "old", "tip"):
            mallory.run(
                f"UPDATE {table} SET value_b64 = '{value}', value_b64_sha256 = NULL"
                f" WHERE value_b64_sha256 = sha256('{value}')"
            )
    assert contents(example, layout) == (before if heal else erased)
    assert everything_holds(example)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_no_more_comes_back_than_may_come(layout: str, example: Db, ann: Owner) -> None:
    """An envelope that nobody can write would stop every export."""
    make(example, layout, healed=True)
    form, content = example.form("s"), bytes(37 << 20)
    sealed = ann.sealed(form, row(ann, content))
    digest = {"value_b64_sha256": hashlib.sha256(content).digest()}
    example.insert("s", {**sealed, "value_b64": None, **digest})
    columns, values = ", ".join(sealed), ", ".join(["%s"] * len(sealed))
    again = f"INSERT INTO s ({columns}) VALUES ({values})"
    diag = example.refused("RS006", again, *sealed.values())
    assert "bytes of content" in str(diag.message_primary)
    diag = example.refused("RS006", "UPDATE s SET value_b64 = %s", content)
    assert everything_holds(example) and list(example.all("SELECT rowseal.export('s')"))


@pytest.mark.skipif(
    "ROWSEAL_SLOW_TESTS" not in os.environ, reason="takes a minute: set ROWSEAL_SLOW_TESTS"
)
def test_however_much_the_versions_are_they_can_be_erased(example: Db, ann: Owner) -> None:
    """All their payloads in one value would be more than a value can be."""
    example.run(
        f"CREATE TABLE s ({COLUMNS}, big text, PRIMARY KEY (user_hash, uuid));"
        + DECLARE.format("s", "", ", versions => 'sv'")
    )
    form, big = example.form("s"), "x" * 14_600_000
    for n in range(76):
        sealed = ann.sealed(form, row(ann, b"secret", big=big, owner_timestamp=n))
        columns = [c for c in sealed if c not in ("user_hash", "uuid")]
        example.insert(
            "s",
            sealed,
            "ON CONFLICT (user_hash, uuid) DO UPDATE SET "
            + ", ".join(f"{c} = EXCLUDED.{c}" for c in columns),
        )
    assert example.one("SELECT rowseal.erase('s', %s, '{value_b64}')", key(ann)) == 76
    assert example.all("SELECT versions FROM rowseal.erasures") == [76]
