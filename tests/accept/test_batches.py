"""Batches: one signature for many rows.  Each is checked alone, in whatever session."""

from __future__ import annotations

import base64
import json
import struct
import uuid
from typing import Any

import psycopg
import pytest

from kit.db import Db, Server
from kit.example import Owner
from rowseal.client import envelopes, sign_many, verify
from rowseal.form import batch

INVALID = '(RS001,"invalid signature")'


def many(owner: Owner, db: Db, n: int) -> list[dict[str, Any]]:
    """n rows of user_storage, sealed in one batch."""
    rows = [owner.value(b"%d" % i) for i in range(n)]
    return [
        {**r, "sign_b64": s}
        for r, s in zip(rows, sign_many([(db.form("user_storage"), r) for r in rows], owner.key))
    ]


def test_rows_of_a_batch_are_rows_like_others(example: Db) -> None:
    """Through every door, with versions, parents, deletion;
    cards and what they vouch for in one batch.
    """
    ann = Owner("Ann")
    forms = {t: example.form(t) for t in ("user_cards", "user_storage")}
    first = [ann.value(b"%d" % i) for i in range(5)]
    rows = [(forms["user_cards"], ann.card()), *((forms["user_storage"], r) for r in first)]
    sealed = list(envelopes(rows, ann.key, size=4))
    assert [len(base64.b64decode(e["sign_b64"])) for e in sealed] == [9 + 64 + 64] * 4 + [
        9 + 32 + 64
    ] * 2
    assert all(verify(e, ann.public_key) for e in sealed) and not verify(
        sealed[0], Owner().public_key
    )
    assert not verify({**sealed[0], "sign_b64": sealed[1]["sign_b64"]}, ann.public_key)
    assert [o for o, _ in example.apply("user_cards", sealed[:1])] == ["inserted"]
    assert [o for o, _ in example.apply("user_storage", sealed[1:])] == ["inserted"] * 5
    assert [o for o, _ in example.apply("user_storage", sealed[1:])] == ["duplicate"] * 5
    newer = [
        {
            **r,
            "value_b64": None,
            "deleted_flag": True,
            "owner_timestamp": next(ann.clock),
            "parent_sign_b64": base64.b64decode(e["sign_b64"]),
        }
        for r, e in zip(first, sealed[1:])
    ]
    for row, sign in zip(newer, sign_many([(forms["user_storage"], r) for r in newer], ann.key)):
        # merged into what was there
        assert example.insert("user_storage", {**row, "sign_b64": sign}) == 0
    assert (
        example.one("SELECT count(*) FROM user_storage WHERE deleted_flag")
        == example.one("SELECT count(*) FROM user_storage_versions")
        == 5
    )
    key = json.dumps({"user_hash": "\\x" + ann.hash.hex(), "uuid": str(first[0]["uuid"])})
    assert example.all("SELECT depth, gap FROM rowseal.history('user_storage', %s)", key) == [
        (0, False),
        (1, False),
    ]
    for table in ("user_cards", "user_storage"):
        assert example.all("SELECT * FROM rowseal.verify(%s)", table) == []


def test_each_row_is_checked_alone_in_a_new_session(
    example: Db, ann: Owner, server: Server, database: str
) -> None:
    for row in many(ann, example, 5)[::2]:
        with server.connect(database, "app") as c:
            assert Db(c).insert("user_storage", row) == 1


def test_text_columns_hold_batches_in_base64(example: Db, ann: Owner) -> None:
    example.run(
        "CREATE TABLE t (user_hash bytea, n integer, deleted_flag boolean,"
        " owner_timestamp bigint, sign_b64 text, PRIMARY KEY (user_hash, n))"
    )
    example.run("SELECT rowseal.declare('t', owner => 'user_hash', identity => 'user_cards')")
    rows = [
        {"user_hash": ann.hash, "n": n, "deleted_flag": False, "owner_timestamp": 1}
        for n in range(3)
    ]
    for row, sign in zip(rows, sign_many([(example.form("t"), r) for r in rows], ann.key)):
        text = base64.b64encode(sign).decode()
        for other in (
            text.rstrip("=") + ("" if "=" in text else "="),
            text + "\n",
            text[:20] + "\n" + text[20:],
        ):
            example.refused(
                "RS001", "INSERT INTO t VALUES (%s, %s, false, 1, %s)", ann.hash, row["n"], other
            )
        example.insert("t", {**row, "sign_b64": text})
    assert example.all("SELECT * FROM rowseal.verify('t')") == []


# ----------------------------------------------------------------------------------------- attacks
def mutations(
    row: dict[str, Any], other: dict[str, Any], alone: bytes
) -> dict[str, dict[str, Any]]:
    sign: bytes = row["sign_b64"]
    (i, n) = struct.unpack(">II", sign[1:9])
    sides = {
        "another row's proof": other["sign_b64"],
        "the signature alone": sign[-64:],
        "a plain signature behind the proof": sign[:-64] + alone,
        "a plain signature as a batch of one": b"\1" + struct.pack(">II", 0, 1) + alone,
        "another version": b"\0" + sign[1:],
        "count + 1": sign[:5] + struct.pack(">I", n + 1) + sign[9:],
        "index + 1": sign[:1] + struct.pack(">I", i + 1) + sign[5:],
        "index = count": sign[:1] + struct.pack(">II", n, n) + sign[9:],
        "count 0": sign[:1] + struct.pack(">II", 0, 0) + sign[9:],
        "path cut": sign[:9] + sign[41:],
        "path longer": sign[:9] + bytes(32) + sign[9:],
        "a byte behind": sign + b"\0",
        "a byte before": b"\1" + sign,
        "S + L": sign[:-32]
        + (
            int.from_bytes(sign[-32:], "little") + 2**252 + 27742317777372353535851937790883648493
        ).to_bytes(32, "little"),
    }
    forged = {name: {**row, "sign_b64": s} for name, s in sides.items()}
    forged["other content"] = {**row, "value_b64": b"forged"}
    forged["re-dated"] = {**row, "owner_timestamp": row["owner_timestamp"] + 1}
    forged["other key"] = {**row, "uuid": uuid.UUID(int=1)}
    return forged


@pytest.mark.parametrize("warm", [False, True])
def test_a_relay_cannot_re_encode(
    warm: bool, example: Db, ann: Owner, server: Server, database: str
) -> None:
    row, other, known, *_ = many(ann, example, 6)
    alone = ann.sealed(
        example.form("user_storage"), {k: v for k, v in row.items() if k != "sign_b64"}
    )["sign_b64"]
    with server.connect(database, "app") as c:
        db = Db(c)
        if warm:
            db.insert("user_storage", known)
        for name, forged in mutations(row, other, alone).items():
            with pytest.raises(psycopg.Error) as error:
                db.insert("user_storage", forged)
            assert error.value.sqlstate == "RS001", name
        assert db.insert("user_storage", row) == 1
        for name, forged in mutations(row, other, alone).items():
            if name != "other key":  # on what is there: no second version, whether above or below
                with pytest.raises(psycopg.Error) as error:
                    db.insert(
                        "user_storage_versions",
                        dict(
                            zip(
                                (
                                    "user_hash",
                                    "storage_uuid",
                                    "value_b64",
                                    "deleted_flag",
                                    "owner_timestamp",
                                    "parent_sign_b64",
                                    "sign_b64",
                                ),
                                forged.values(),
                            )
                        ),
                    )
                assert error.value.sqlstate == "RS001", name
        assert db.one("SELECT count(*) FROM user_storage_versions") == 0


def judge(db: Db, key: bytes, row: dict[str, Any]) -> Any:
    """What _judge_N says, which everybody may call."""
    function = db.one(
        "SELECT p.oid::regproc::text FROM rowseal.declarations d"
        " JOIN pg_proc p ON p.proname = '_judge_' || d.id WHERE d.tag = 'user_storage'"
    )
    names = db.form("user_storage").names
    return db.one(
        f"SELECT {function}(%s, %s, {', '.join(['%s'] * len(names))})",
        key,
        row["sign_b64"],
        *(row[n] for n in names),
    )


def test_nobody_teaches_the_session_something_false(
    mallory: Db, example: Db, ann: Owner, bob: Owner
) -> None:
    """Mallory is an owner herself (bob), and verifies here what she likes before she writes."""
    form = example.form("user_storage")
    wish = [ann.value(b"forged %d" % n) for n in range(4)]
    forged = [
        {**r, "sign_b64": s} for r, s in zip(wish, sign_many([(form, r) for r in wish], bob.key))
    ]
    genuine = many(ann, example, 4)
    # true: bob's key signed a batch whose leaves are those payloads.
    # It says nothing about Ann's key
    assert [judge(mallory, bob.public_key, r) for r in forged] == [None] * 4
    assert [judge(mallory, ann.public_key, r) for r in genuine] == [None] * 4
    for r in forged:
        assert judge(mallory, ann.public_key, r) == INVALID
        assert (
            judge(
                mallory,
                ann.public_key,
                {**r, "sign_b64": r["sign_b64"][:-64] + genuine[0]["sign_b64"][-64:]},
            )
            == INVALID
        )
        with pytest.raises(psycopg.Error) as error:
            mallory.insert("user_storage", r)
        assert error.value.sqlstate == "RS001"
    # a refusal, an error, a rollback leave nothing behind
    with pytest.raises(ZeroDivisionError), mallory.connection.transaction():
        assert judge(mallory, bob.public_key, forged[0]) is None
        raise ZeroDivisionError
    for trick in (
        "SET rowseal.mode = 'apply'",
        "SET search_path = pg_temp, public",
        "CREATE FUNCTION pg_temp.sha256(bytea) RETURNS bytea LANGUAGE sql AS $$"
        " SELECT ''::bytea $$",
        "SELECT rowseal._load()",
    ):
        mallory.run(trick)
        assert judge(mallory, ann.public_key, forged[0]) == INVALID
    mallory.run("RESET ALL")
    # swaps between a genuine and a forged batch of one shape
    for f, g in zip(forged, genuine):
        assert judge(mallory, ann.public_key, {**f, "sign_b64": g["sign_b64"]}) == INVALID
        assert judge(mallory, bob.public_key, {**g, "sign_b64": f["sign_b64"]}) == INVALID
    assert mallory.apply("user_storage", [bob.envelope(form, wish[0])])[0][0] == "rejected"
    for r in genuine:
        assert mallory.insert("user_storage", r) == 1
    assert example.all("SELECT * FROM rowseal.verify('user_storage')") == []


def test_a_batch_can_be_a_certificate_of_nothing(example: Db) -> None:
    """Certificates are plain signatures over a column's bytes."""
    ann = Owner()
    certified = b"contact key of Ann"
    [cert] = batch.sign_many([certified], lambda m: ann.key.sign(m).signature)
    form = example.form("user_cards")
    for bad in (cert, cert[-64:]):
        with pytest.raises(psycopg.Error) as error:
            example.insert(
                "user_cards", ann.sealed(form, ann.card(contact_pkey=certified, contact_cert=bad))
            )
        assert error.value.sqlstate == "RS005"
    example.insert(
        "user_cards",
        ann.sealed(
            form, ann.card(contact_pkey=certified, contact_cert=ann.key.sign(certified).signature)
        ),
    )
