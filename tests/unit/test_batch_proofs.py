"""Batches without a server: a proof leads to one root, has one encoding,
and is taken for nothing else.
"""

from __future__ import annotations

import base64
import hashlib
import shutil
import struct
import subprocess
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kit import ROOT
from rowseal.client import SigningKey
from rowseal.form import batch
from rowseal.form.signature import pynacl, verifier

KEY = SigningKey(bytes(range(32)))


PUBLIC_KEY = bytes(KEY.verify_key)


plain = verifier(pynacl())


# ------------------------------------------------ a reference: RFC 9162, section 2.1, word by word
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


@given(
    st.integers(1, 2**32 - 1).flatmap(lambda n: st.tuples(st.integers(0, n - 1), st.just(n))),
    st.randoms(use_true_random=False),
)
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
    assert batch.root(batch.leaf(b"leaf"), index, count - 1, b"".join(siblings)) == climb(
        index, count, siblings
    )


# ------------------------------------------------------------------------------------ malleability
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
    } - {column for row, column in zip(d, columns) if row == d[i]}  # of equal rows
    assert [o.hex() for o in others if check(o, d[i], PUBLIC_KEY)] == []
    for j, other in enumerate(columns):
        assert check(other, d[i], PUBLIC_KEY) is (d[j] == d[i])
    assert not check(good, d[i] + b"x", PUBLIC_KEY)
    assert not check(good, d[i], bytes(SigningKey(bytes(32)).verify_key))


def test_every_byte_counts() -> None:
    d = [bytes([n]) * n for n in range(11)]
    for i, good in enumerate(signed(d)):
        check = batch.accepting(plain)
        wrong = [
            at
            for at in range(len(good))
            for flip in (1, 128, 255)
            if check(good[:at] + bytes([good[at] ^ flip]) + good[at + 1 :], d[i], PUBLIC_KEY)
        ]
        cut = [at for at in range(len(good)) if check(good[:at], d[i], PUBLIC_KEY)]
        assert (wrong, cut) == ([], [])


def test_other_index_and_count_with_the_same_proof_are_refused() -> None:
    """Leaf 0 of 3 and of 4, say, have proofs of one shape: the count is signed,
    or one would pass for the other.
    """
    d = [b"a", b"b", b"c", b"d", b"e"]
    for n in range(1, 6):
        for i, good in enumerate(signed(d[:n])):
            passed = [
                (j, m)
                for j in range(8)
                for m in range(9)
                if batch.accepting(plain)(
                    good[:1] + struct.pack(">II", j, m) + good[9:], d[i], PUBLIC_KEY
                )
            ]
            assert passed == [(i, n)]


def test_nothing_is_taken_for_something_else() -> None:
    d = [b'{"row":{"a":"1"}}', b'{"row":{"a":"2"}}', b'{"row":{"a":"3"}}']
    columns, check = signed(d), batch.accepting(plain)
    signature = columns[0][-64:]
    assert plain(signature, message(d), PUBLIC_KEY)
    for payload in (*d, mth(d), mth(d[:2]), b""):
        assert not check(signature, payload, PUBLIC_KEY)  # the batch's signature is no row's
    row = KEY.sign(d[0]).signature  # a row's signature is no batch's
    assert not any(
        check(header + row, d[0], PUBLIC_KEY)
        for header in (b"\1" + struct.pack(">II", 0, 1), b"\1")
    )
    assert not check(
        b"\1" + struct.pack(">II", 0, 1) + KEY.sign(sha256(b"\0", d[0])).signature, d[0], PUBLIC_KEY
    )
    # an inner node is no leaf: d[0] and d[1] as one leaf of a tree of two
    inner = b"\1" + sha256(b"\0", d[0]) + sha256(b"\0", d[1])
    assert not check(
        b"\1" + struct.pack(">II", 0, 2) + sha256(b"\0", d[2]) + signature, inner, PUBLIC_KEY
    )
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
    assert (
        not check(forged, d[0], PUBLIC_KEY)
        and not check(forged, d[0], PUBLIC_KEY)
        and len(asked) == 3
    )
    # another root: asked, and refused
    assert not check(columns[0], d[1], PUBLIC_KEY) and len(asked) == 4
    for n in range(100):  # bounded: what is pushed out is verified again
        one = [b"other%d" % n]
        assert check(signed(one)[0], one[0], PUBLIC_KEY)
    before = len(asked)
    assert check(columns[5], d[5], PUBLIC_KEY) and len(asked) == before + 1


# ------------------------------------------------------------------------------- the specification
def test_the_example_of_the_specification() -> None:
    page = (ROOT / "docs/specification.md").read_text()
    d = [s.split("```json\n")[1].split("\n```")[0].encode() for s in page.split("\n### ")[1:4]]
    section = page.split("\n## Batches\n")[1].split("\n## ")[0]
    blocks = [
        [bytes.fromhex(line) for line in b.split("\n```")[0].split("\n")]
        for b in section.split("```hex\n")[1:]
    ]
    (root,), (what,), (signature,) = blocks[1:4]
    assert blocks[0] == [sha256(b"\x00", p) for p in d]
    assert (
        root == mth(d)
        and what == message(d)
        and len(what) == 52
        and signature == KEY.sign(what).signature
    )
    assert blocks[4] == [column(i, d, signature) for i in range(3)] == signed(d)
    for rows, size in ((10_000, "521"), (10_000, "5084"), (100, "297"), (100, "4860")):
        most = 9 + 32 * max(batch._depth(i, rows - 1) for i in range(rows))
        assert int(size) - most in (64, 4627) and size in section


# -------------------------------------------------------------------------------------- JavaScript
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
    pem.write_text(
        f"-----BEGIN PRIVATE KEY-----\n{base64.b64encode(der).decode()}\n-----END PRIVATE"
        " KEY-----\n"
    )
    for n in (1, 2, 3, 7, 8, 100):
        d = [b'{"n":"%d"}' % i for i in range(n)]
        out = subprocess.run(
            [node, str(ROOT / "examples/javascript/batch.mjs"), str(pem)],
            input=b"\n".join(d),
            capture_output=True,
            check=True,
        )
        assert [base64.b64decode(line) for line in out.stdout.split()] == signed(d)
