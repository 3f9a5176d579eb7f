"""Batches: one signature for many rows.  Each is checked alone, has one encoding, and is taken for nothing else."""

from __future__ import annotations

import base64
import hashlib
import json
import shutil
import struct
import subprocess
import uuid
from pathlib import Path
from typing import Any

import psycopg
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kit import ROOT
from kit.db import Db, Server
from kit.example import Owner
from rowseal.client import SigningKey, envelopes, sign_many, verify
from rowseal.form import batch
from rowseal.form.signature import pynacl, verifier

KEY = SigningKey(bytes(range(32)))
PUBLIC_KEY = bytes(KEY.verify_key)
plain = verifier(pynacl())


# ----------------------------------------------------------------- a reference: RFC 9162, section 2.1, word by word
def sha256(*parts: bytes) -> bytes:
    return hashlib.sha256(b"".join(parts)).digest()


def split(n: int) -> int:
    """k, the largest power of two smaller than n"""
    return 1 << (n - 1).bit_length() - 1


def mth(d: list[bytes]) -> bytes:
    """2.1.1, for n > 0"""
    if len(d) == 1:
        return sha256(b"\x00", d[0])
    k = split(len(d))
    return sha256(b"\x01", mth(d[:k]), mth(d[k:]))


def path(m: int, d: list[bytes]) -> list[bytes]:
    """2.1.3.1"""
    if len(d) == 1:
        return []
    k = split(len(d))
    return [*path(m, d[:k]), mth(d[k:])] if m < k else [*path(m - k, d[k:]), mth(d[:k])]


def column(m: int, d: list[bytes], signature: bytes) -> bytes:
    return bytes([1]) + struct.pack(">II", m, len(d)) + b"".join(path(m, d)) + signature


def message(d: list[bytes]) -> bytes:
    return b"rowseal/1 batch\x00" + struct.pack(">I", len(d)) + mth(d)


def signed(d: list[bytes]) -> list[bytes]:
    return list(batch.sign_many(d, lambda m: KEY.sign(m).signature))


payloads = st.lists(st.binary(max_size=8), min_size=1, max_size=70)


@given(payloads)
def test_columns_are_what_the_definition_says(d: list[bytes]) -> None:
    assert signed(d) == [column(i, d, KEY.sign(message(d)).signature) for i in range(len(d))]
    check = batch.accepting(plain)
    assert all(check(c, p, PUBLIC_KEY) for c, p in zip(signed(d), d))


@given(st.integers(1, 2**32 - 1).flatmap(lambda n: st.tuples(st.integers(0, n - 1), st.just(n))))
def test_the_length_of_a_proof_follows_from_index_and_count(place: tuple[int, int]) -> None:
    def length(m: int, n: int) -> int:
        if n == 1:
            return 0
        k = split(n)
        return 1 + (length(m, k) if m < k else length(m - k, n - k))

    assert batch._depth(place[0], place[1] - 1) == length(*place) <= 32


@given(st.integers(1, 2**32 - 1).flatmap(lambda n: st.tuples(st.integers(0, n - 1), st.just(n))), st.randoms(use_true_random=False))
def test_a_proof_leads_to_one_root(place: tuple[int, int], random: Any) -> None:
    """Trees too large to build: siblings of our choice, sides by the definition."""
    index, count = place

    def climb(m: int, n: int, siblings: list[bytes]) -> bytes:
        if n == 1:
            return sha256(b"\x00leaf")
        k = split(n)
        if m < k:
            return sha256(b"\x01", climb(m, k, siblings[:-1]), siblings[-1])
        return sha256(b"\x01", siblings[-1], climb(m - k, n - k, siblings[:-1]))

    siblings = [random.randbytes(32) for _ in range(batch._depth(index, count - 1))]
    assert batch.root(batch.leaf(b"leaf"), index, count - 1, b"".join(siblings)) == climb(index, count, siblings)


# ------------------------------------------------------------------------------------------------- malleability
@settings(deadline=None)
@given(payloads, st.data())
def test_no_other_column_is_accepted_for_a_row(d: list[bytes], data: st.DataObject) -> None:
    columns = signed(d)
    i = data.draw(st.integers(0, len(d) - 1))
    good, check = columns[i], batch.accepting(plain)
    assert check(good, d[i], PUBLIC_KEY)  # what the session remembers is of no use to what follows
    at, bit = data.draw(st.integers(0, len(good) - 1)), data.draw(st.integers(1, 255))
    extra = data.draw(st.binary(min_size=1, max_size=40))
    index, count = data.draw(st.integers(0, 2**32 - 1)), data.draw(st.integers(0, 2**32 - 1))
    others = {
        good[:at] + bytes([good[at] ^ bit]) + good[at + 1 :],
        good[:at],
        good[at + 1 :],
        good[:at] + good[at + 1 :],
        good + extra,
        extra + good,
        good[:at] + extra + good[at:],
        good[:1] + struct.pack(">II", index, count) + good[9:],
        good[:1] + struct.pack(">II", index, len(d)) + good[9:],
        good[:1] + struct.pack(">II", i, count) + good[9:],
        good[:9] + good[-64:],
        good[-64:],
        good + good[-64:],
    } - {good}
    assert [o.hex() for o in others if check(o, d[i], PUBLIC_KEY)] == []
    for j, other in enumerate(columns):
        assert check(other, d[i], PUBLIC_KEY) is (d[j] == d[i])
    assert not check(good, d[i] + b"x", PUBLIC_KEY)
    assert not check(good, d[i], bytes(SigningKey(bytes(32)).verify_key))


def test_every_byte_counts() -> None:
    d = [bytes([n]) * n for n in range(11)]
    for i, good in enumerate(signed(d)):
        check = batch.accepting(plain)
        wrong = [at for at in range(len(good)) for flip in (1, 128, 255) if check(good[:at] + bytes([good[at] ^ flip]) + good[at + 1 :], d[i], PUBLIC_KEY)]
        cut = [at for at in range(len(good)) if check(good[:at], d[i], PUBLIC_KEY)]
        assert (wrong, cut) == ([], [])


def test_other_index_and_count_with_the_same_proof_are_refused() -> None:
    """Leaf 0 of 3 and of 4, say, have proofs of one shape: the count is signed, or one would pass for the other."""
    d = [b"a", b"b", b"c", b"d", b"e"]
    for n in range(1, 6):
        for i, good in enumerate(signed(d[:n])):
            passed = [(j, m) for j in range(8) for m in range(9) if batch.accepting(plain)(good[:1] + struct.pack(">II", j, m) + good[9:], d[i], PUBLIC_KEY)]
            assert passed == [(i, n)]


def test_nothing_is_taken_for_something_else() -> None:
    d = [b'{"row":{"a":"1"}}', b'{"row":{"a":"2"}}', b'{"row":{"a":"3"}}']
    columns, check = signed(d), batch.accepting(plain)
    signature = columns[0][-64:]
    assert plain(signature, message(d), PUBLIC_KEY)
    for payload in (*d, mth(d), mth(d[:2]), b""):
        assert not check(signature, payload, PUBLIC_KEY)  # the batch's signature is no row's
    row = KEY.sign(d[0]).signature  # a row's signature is no batch's
    assert not any(check(header + row, d[0], PUBLIC_KEY) for header in (b"\1" + struct.pack(">II", 0, 1), b"\1"))
    assert not check(b"\1" + struct.pack(">II", 0, 1) + KEY.sign(sha256(b"\0", d[0])).signature, d[0], PUBLIC_KEY)
    # an inner node is no leaf: d[0] and d[1] as one leaf of a tree of two
    inner = b"\1" + sha256(b"\0", d[0]) + sha256(b"\0", d[1])
    assert not check(b"\1" + struct.pack(">II", 0, 2) + sha256(b"\0", d[2]) + signature, inner, PUBLIC_KEY)
    assert not check(b"\2" + columns[0][1:], d[0], PUBLIC_KEY)
    for odd in (b"", b"\1", columns[0][:8], columns[0] * 2):
        assert not check(odd, d[0], PUBLIC_KEY)
    assert not check(columns[0], d[0], b"key")


def test_a_batch_is_verified_once_and_only_success_is_remembered() -> None:
    asked: list[bytes] = []

    def counting(signature: bytes, what: bytes, key: bytes) -> bool:
        asked.append(what)
        return plain(signature, what, key)

    check = batch.accepting(counting)
    d = [bytes([n]) for n in range(200)]
    columns = signed(d)
    assert all(check(c, p, PUBLIC_KEY) for c, p in zip(columns, d)) and asked == [message(d)]
    forged = columns[0][:-1] + bytes([columns[0][-1] ^ 1])
    assert not check(forged, d[0], PUBLIC_KEY) and not check(forged, d[0], PUBLIC_KEY) and len(asked) == 3
    assert not check(columns[0], d[1], PUBLIC_KEY) and len(asked) == 4  # another root: asked, and refused
    for n in range(100):  # bounded: what is pushed out is verified again
        one = [b"other%d" % n]
        assert check(signed(one)[0], one[0], PUBLIC_KEY)
    before = len(asked)
    assert check(columns[5], d[5], PUBLIC_KEY) and len(asked) == before + 1


# --------------------------------------------------------------------------------------------- the specification
def test_the_example_of_the_specification() -> None:
    page = (ROOT / "docs/specification.md").read_text()
    d = [s.split("```json\n")[1].split("\n```")[0].encode() for s in page.split("\n### ")[1:4]]
    section = page.split("\n## Batches\n")[1].split("\n## ")[0]
    blocks = [[bytes.fromhex(line) for line in b.split("\n```")[0].split("\n")] for b in section.split("```hex\n")[1:]]
    (root,), (what,), (signature,) = blocks[1:4]
    assert blocks[0] == [sha256(b"\x00", p) for p in d]
    assert root == mth(d) and what == message(d) and len(what) == 52 and signature == KEY.sign(what).signature
    assert blocks[4] == [column(i, d, signature) for i in range(3)] == signed(d)
    for rows, size in ((10_000, "521"), (10_000, "5084"), (100, "297"), (100, "4860")):
        most = 9 + 32 * max(batch._depth(i, rows - 1) for i in range(rows))
        assert int(size) - most in (64, 4627) and size in section


# ------------------------------------------------------------------------------------------------- on the server
def many(owner: Owner, db: Db, n: int) -> list[dict[str, Any]]:
    """n rows of user_storage, sealed in one batch."""
    rows = [owner.value(b"%d" % i) for i in range(n)]
    return [{**r, "sign_b64": s} for r, s in zip(rows, sign_many([(db.form("user_storage"), r) for r in rows], owner.key))]


def test_rows_of_a_batch_are_rows_like_others(example: Db) -> None:
    """Through every door, with versions, parents, deletion; cards and what they vouch for in one batch."""
    ann = Owner("Ann")
    forms = {t: example.form(t) for t in ("user_cards", "user_storage")}
    first = [ann.value(b"%d" % i) for i in range(5)]
    rows = [(forms["user_cards"], ann.card()), *((forms["user_storage"], r) for r in first)]
    sealed = list(envelopes(rows, ann.key, size=4))
    assert [len(base64.b64decode(e["sign_b64"])) for e in sealed] == [9 + 64 + 64] * 4 + [9 + 32 + 64] * 2
    assert all(verify(e, ann.public_key) for e in sealed) and not verify(sealed[0], Owner().public_key)
    assert not verify({**sealed[0], "sign_b64": sealed[1]["sign_b64"]}, ann.public_key)
    assert [o for o, _ in example.apply("user_cards", sealed[:1])] == ["inserted"]
    assert [o for o, _ in example.apply("user_storage", sealed[1:])] == ["inserted"] * 5
    assert [o for o, _ in example.apply("user_storage", sealed[1:])] == ["duplicate"] * 5
    newer = [{**r, "value_b64": None, "deleted_flag": True, "owner_timestamp": next(ann.clock), "parent_sign_b64": base64.b64decode(e["sign_b64"])} for r, e in zip(first, sealed[1:])]
    for row, sign in zip(newer, sign_many([(forms["user_storage"], r) for r in newer], ann.key)):
        assert example.insert("user_storage", {**row, "sign_b64": sign}) == 0  # merged into what was there
    assert example.one("SELECT count(*) FROM user_storage WHERE deleted_flag") == example.one("SELECT count(*) FROM user_storage_versions") == 5
    key = json.dumps({"user_hash": "\\x" + ann.hash.hex(), "uuid": str(first[0]["uuid"])})
    assert example.all("SELECT depth, gap FROM rowseal.history('user_storage', %s)", key) == [(0, False), (1, False)]
    for table in ("user_cards", "user_storage"):
        assert example.all("SELECT * FROM rowseal.verify(%s)", table) == []


def test_each_row_is_checked_alone_in_a_new_session(example: Db, ann: Owner, server: Server, database: str) -> None:
    for row in many(ann, example, 5)[::2]:
        with server.connect(database, "app") as c:
            assert Db(c).insert("user_storage", row) == 1


def test_text_columns_hold_batches_in_base64(example: Db, ann: Owner) -> None:
    example.run("CREATE TABLE t (user_hash bytea, n integer, deleted_flag boolean, owner_timestamp bigint, sign_b64 text, PRIMARY KEY (user_hash, n))")
    example.run("SELECT rowseal.declare('t', owner => 'user_hash', identity => 'user_cards')")
    rows = [{"user_hash": ann.hash, "n": n, "deleted_flag": False, "owner_timestamp": 1} for n in range(3)]
    for row, sign in zip(rows, sign_many([(example.form("t"), r) for r in rows], ann.key)):
        text = base64.b64encode(sign).decode()
        for other in (text.rstrip("=") + ("" if "=" in text else "="), text + "\n", text[:20] + "\n" + text[20:]):
            example.refused("RS001", "INSERT INTO t VALUES (%s, %s, false, 1, %s)", ann.hash, row["n"], other)
        example.insert("t", {**row, "sign_b64": text})
    assert example.all("SELECT * FROM rowseal.verify('t')") == []


# ------------------------------------------------------------------------------------------------------- attacks
def mutations(row: dict[str, Any], other: dict[str, Any], alone: bytes) -> dict[str, dict[str, Any]]:
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
        "S + L": sign[:-32] + (int.from_bytes(sign[-32:], "little") + 2**252 + 27742317777372353535851937790883648493).to_bytes(32, "little"),
    }
    forged = {name: {**row, "sign_b64": s} for name, s in sides.items()}
    forged["other content"] = {**row, "value_b64": b"forged"}
    forged["re-dated"] = {**row, "owner_timestamp": row["owner_timestamp"] + 1}
    forged["other key"] = {**row, "uuid": uuid.UUID(int=1)}
    return forged


@pytest.mark.parametrize("warm", [False, True])
def test_a_relay_cannot_re_encode(warm: bool, example: Db, ann: Owner, server: Server, database: str) -> None:
    row, other, known, *_ = many(ann, example, 6)
    alone = ann.sealed(example.form("user_storage"), {k: v for k, v in row.items() if k != "sign_b64"})["sign_b64"]
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
                    db.insert("user_storage_versions", dict(zip(("user_hash", "storage_uuid", "value_b64", "deleted_flag", "owner_timestamp", "parent_sign_b64", "sign_b64"), forged.values())))
                assert error.value.sqlstate == "RS001", name
        assert db.one("SELECT count(*) FROM user_storage_versions") == 0


INVALID = '(RS001,"invalid signature")'


def seal(db: Db, key: bytes, row: dict[str, Any]) -> Any:
    """What _seal_N says, which everybody may call: NULL, or a verdict."""
    function = db.one("SELECT p.oid::regproc::text FROM rowseal.declarations d JOIN pg_proc p ON p.proname = '_seal_' || d.id WHERE d.tag = 'user_storage'")
    names = db.form("user_storage").names
    return db.one(f"SELECT {function}(%s, %s, {', '.join(['%s'] * len(names))})", key, row["sign_b64"], *(row[n] for n in names))


def test_nobody_teaches_the_session_something_false(mallory: Db, example: Db, ann: Owner, bob: Owner) -> None:
    """Mallory is an owner herself (bob), and in this session verifies what she likes before she writes."""
    form = example.form("user_storage")
    wish = [ann.value(b"forged %d" % n) for n in range(4)]
    forged = [{**r, "sign_b64": s} for r, s in zip(wish, sign_many([(form, r) for r in wish], bob.key))]
    genuine = many(ann, example, 4)
    # true: bob's key signed a batch whose leaves are those payloads.  It says nothing about Ann's key
    assert [seal(mallory, bob.public_key, r) for r in forged] == [None] * 4
    assert [seal(mallory, ann.public_key, r) for r in genuine] == [None] * 4
    for r in forged:
        assert seal(mallory, ann.public_key, r) == INVALID
        assert seal(mallory, ann.public_key, {**r, "sign_b64": r["sign_b64"][:-64] + genuine[0]["sign_b64"][-64:]}) == INVALID
        with pytest.raises(psycopg.Error) as error:
            mallory.insert("user_storage", r)
        assert error.value.sqlstate == "RS001"
    # a refusal, an error, a rollback leave nothing behind
    with pytest.raises(ZeroDivisionError), mallory.connection.transaction():
        assert seal(mallory, bob.public_key, forged[0]) is None
        raise ZeroDivisionError
    for trick in (
        "SET rowseal.mode = 'apply'",
        "SET search_path = pg_temp, public",
        "CREATE FUNCTION pg_temp.sha256(bytea) RETURNS bytea LANGUAGE sql AS $$ SELECT ''::bytea $$",
        "SELECT rowseal._load()",
    ):
        mallory.run(trick)
        assert seal(mallory, ann.public_key, forged[0]) == INVALID
    mallory.run("RESET ALL")
    # swaps between a genuine and a forged batch of one shape
    for f, g in zip(forged, genuine):
        assert seal(mallory, ann.public_key, {**f, "sign_b64": g["sign_b64"]}) == INVALID
        assert seal(mallory, bob.public_key, {**g, "sign_b64": f["sign_b64"]}) == INVALID
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
            example.insert("user_cards", ann.sealed(form, ann.card(contact_pkey=certified, contact_cert=bad)))
        assert error.value.sqlstate == "RS005"
    example.insert("user_cards", ann.sealed(form, ann.card(contact_pkey=certified, contact_cert=ann.key.sign(certified).signature)))


# ---------------------------------------------------------------------------------------------------- JavaScript
@pytest.fixture(scope="module")
def node() -> str:
    program = shutil.which("node")
    if program is None:
        pytest.skip("node is not installed: the JavaScript example is untested here")
    return program


def test_the_javascript_example_writes_the_same(node: str, tmp_path: Path) -> None:
    # PKCS #8 of an Ed25519 seed (RFC 8410)
    der = bytes.fromhex("302e020100300506032b657004220420") + bytes(range(32))
    pem = tmp_path / "key.pem"
    pem.write_text(f"-----BEGIN PRIVATE KEY-----\n{base64.b64encode(der).decode()}\n-----END PRIVATE KEY-----\n")
    for n in (1, 2, 3, 7, 8, 100):
        d = [b'{"n":"%d"}' % i for i in range(n)]
        out = subprocess.run([node, str(ROOT / "examples/javascript/batch.mjs"), str(pem)], input=b"\n".join(d), capture_output=True, check=True)
        assert [base64.b64decode(line) for line in out.stdout.split()] == signed(d)
