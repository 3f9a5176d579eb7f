"""Batches: one signature over the Merkle tree (RFC 9162) of many payloads, an inclusion proof in each row.

A signature column that is longer than the key's plain signature is, for d[index] of count payloads,

    VERSION ‖ index (4 bytes) ‖ count (4 bytes) ‖ sibling hashes, the lowest first ‖ signature over message(count, root)

docs/specification.md says why nobody can make a second one out of it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from functools import lru_cache
from hashlib import sha256
from struct import Struct

from .signature import BY_KEY, Verify

VERSION = 1
MOST = 2**32 - 1
_HEADER = Struct(">BII")
_ROOTS = 64  # how many roots a session remembers to have been signed: 0.5 MB with ML-DSA-87
_MEMO = 3  # hashes of each proof that are computed every time; what is above is shared by 2**_MEMO rows


def message(count: int, root: bytes) -> bytes:
    """What the owner of a batch signs: no payload has a byte 00."""
    return b"rowseal/1 batch\0" + count.to_bytes(4, "big") + root


def leaf(payload: bytes) -> bytes:
    return sha256(b"\0" + payload).digest()


def _depth(index: int, last: int) -> int:
    """How many siblings the proof of a leaf has, in a tree whose last leaf is ``last``.

    From where the ways to the two part, each bit of index that is set has a sibling on its left; below, every level has one.
    """
    inner = (index ^ last).bit_length()
    return inner + bin(index >> inner).count("1")


def _climb(node: bytes, index: int, last: int, path: bytes) -> bytes:
    """The root of the tree in which node stands at index (RFC 9162, section 2.1.3.2); path has the length that fits."""
    for at in range(0, len(path), 32):
        while index == last and not index & 1:  # the last of an odd number of nodes is its own parent
            index >>= 1
            last >>= 1
        sibling = path[at : at + 32]
        node = sha256(b"\1" + sibling + node if index & 1 else b"\1" + node + sibling).digest()
        index >>= 1
        last >>= 1
    return node


# A function of all of its arguments, so nobody can make it say something else: neighbours ask it the same.
_upper = lru_cache(4096)(_climb)


def root(start: bytes, index: int, last: int, path: bytes) -> bytes:
    """The root that a leaf's proof leads to."""
    if index >> _MEMO == last >> _MEMO:
        return _climb(start, index, last, path)
    low = 32 * _MEMO
    return _upper(_climb(start, index, last, path[:low]), index >> _MEMO, last >> _MEMO, path[low:])


class _Invalid(Exception):
    pass


@lru_cache
def accepting(verify: Verify) -> Verify:
    """``verify`` for signature columns: plain signatures as before, and batches.

    The session remembers that a key signed a batch's message (count and root) by a signature; each row's own proof is
    computed every time.  What is remembered holds for ever, for everybody and whatever becomes of a transaction; it is
    entered by nothing but a verification that succeeded, and asked for with all of what went into that, byte for byte.
    So whoever makes this function verify things of his choice teaches it nothing that is not true.
    """

    @lru_cache(_ROOTS)
    def signed(signature: bytes, what: bytes, public_key: bytes) -> None:
        if not verify(signature, what, public_key):
            raise _Invalid  # an exception is not remembered

    def check(column: bytes, payload: bytes, public_key: bytes) -> bool:
        algorithm = BY_KEY.get(len(public_key))
        if algorithm is None:
            return False
        end = len(column) - algorithm.signature
        if end <= 0:
            return verify(column, payload, public_key)
        if end < _HEADER.size:
            return False
        version, index, count = _HEADER.unpack_from(column)
        if version != VERSION or index >= count or end != _HEADER.size + 32 * _depth(index, count - 1):
            return False
        try:
            signed(column[end:], message(count, root(leaf(payload), index, count - 1, column[_HEADER.size : end])), public_key)
        except _Invalid:
            return False
        return True

    return check


def sign_many(payloads: Iterable[bytes], sign: Callable[[bytes], bytes]) -> Iterator[bytes]:
    """The signature column of each payload, in their order, for one call of ``sign(message)``; ValueError for more than MOST.

    All payloads are read before the first column comes; what is kept of each are 64 bytes or so.
    """
    level = [leaf(payload) for payload in payloads]
    count = len(level)
    if not count:
        return
    if count > MOST:
        raise ValueError(f"a batch has {MOST} rows at most")
    levels = []
    while len(level) > 1:
        levels.append(level)
        above = [sha256(b"\1" + level[i] + level[i + 1]).digest() for i in range(0, len(level) - 1, 2)]
        level = above + level[2 * len(above) :]  # an odd one out goes up as it is
    signature = sign(message(count, level[0]))
    for index in range(count):
        siblings = (nodes[i] for h, nodes in enumerate(levels) if (i := (index >> h) ^ 1) < len(nodes))
        yield _HEADER.pack(VERSION, index, count) + b"".join(siblings) + signature
