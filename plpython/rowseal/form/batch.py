"""Batches: one signature over the Merkle tree (RFC 9162) of many payloads.

Each row carries a proof that it is in the tree.  A signature column that is longer than the key's
plain signature is, for d[index] of count payloads,

    VERSION ‖ index (4 bytes) ‖ count (4 bytes) ‖ sibling hashes, the lowest first
            ‖ signature over message(count, root)

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
# So many hashes of each proof are computed every time; those above are shared by 2**_MEMO rows.
_MEMO = 3


def message(count: int, root: bytes) -> bytes:
    """What the owner of a batch signs: no payload has a byte 00."""
    return b"rowseal/1 batch\0" + count.to_bytes(4, "big") + root


def leaf(payload: bytes) -> bytes:
    """The hash of a payload, at the bottom of the tree."""
    return sha256(b"\0" + payload).digest()


def _depth(index: int, last: int) -> int:
    """How many siblings the proof of a leaf has, in a tree whose last leaf is ``last``.

    Below the place where the ways to the two part, every level has one; above it, each bit of index
    that is set has one on its left.
    """
    inner = (index ^ last).bit_length()
    return inner + bin(index >> inner).count("1")


def _climb(node: bytes, index: int, last: int, path: bytes) -> bytes:
    """The root of the tree in which node stands at index (RFC 9162, section 2.1.3.2).

    ``path`` has the length that fits.
    """
    for at in range(0, len(path), 32):
        # the last of an odd number of nodes is its own parent
        while index == last and not index & 1:
            index >>= 1
            last >>= 1
        sibling = path[at : at + 32]
        node = sha256(b"\1" + sibling + node if index & 1 else b"\1" + node + sibling).digest()
        index >>= 1
        last >>= 1
    return node


# It depends on its arguments alone, so nobody can make it say something else.  Neighbouring rows
# ask it the same.
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

    The session remembers that a key signed a batch's message (count and root) by a signature; each
    row's own proof is computed every time.  What is remembered holds for ever, for everybody and
    whatever becomes of a transaction; it is entered by nothing but a verification that succeeded,
    and asked for with all of what went into that, byte for byte. So whoever makes this function
    verify things of his choice teaches it nothing that is not true.
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
        if version != VERSION or index >= count:
            return False
        if end != _HEADER.size + 32 * _depth(index, count - 1):
            return False
        top = root(leaf(payload), index, count - 1, column[_HEADER.size : end])
        try:
            signed(column[end:], message(count, top), public_key)
        except _Invalid:
            return False
        return True

    return check


def sign_many(payloads: Iterable[bytes], sign: Callable[[bytes], bytes]) -> Iterator[bytes]:
    """The signature column of each payload, in their order, for one call of ``sign(message)``.

    All payloads are read before the first column comes; what is kept of each are 64 bytes or so.
    ValueError for more than MOST.
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
        pairs = zip(level[0::2], level[1::2])
        above = [sha256(b"\1" + left + right).digest() for left, right in pairs]
        level = above + level[2 * len(above) :]  # an odd one out goes up as it is
    signature = sign(message(count, level[0]))
    for index in range(count):
        path = b""
        for height, nodes in enumerate(levels):
            sibling = (index >> height) ^ 1
            if sibling < len(nodes):
                path += nodes[sibling]
        yield _HEADER.pack(VERSION, index, count) + path + signature
