"""ML-DSA (FIPS 204): the published answers, edge cases, and the specification's table."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import cryptography_vectors

from kit.ml_dsa import PRIVATE, every, flipped
from kit.specification import PAGE
from rowseal.client import public_key
from rowseal.form.signature import ALGORITHMS, Algorithm, ml_dsa, pynacl, verifier


class Known(NamedTuple):
    seed: bytes
    key: bytes
    message: bytes
    signature: bytes
    context: bytes


def known(algorithm: Algorithm) -> Iterator[Known]:
    """The answers that cryptography-vectors publishes; all have a context."""
    size = algorithm.name.removeprefix("ml-dsa-")
    name = f"asymmetric/MLDSA/kat_MLDSA_{size}_det_pure.rsp"
    with cryptography_vectors.open_vector_file(name, "r") as lines:
        for block in lines.read().split("count = ")[1:]:
            v = dict(line.split(" = ", 1) for line in block.splitlines() if " = " in line)
            signed = bytes.fromhex(v["sm"])
            yield Known(
                *(bytes.fromhex(v[k]) for k in ("xi", "pk", "msg")),
                signed[: algorithm.signature],
                bytes.fromhex(v["ctx"]),
            )


@every
def test_known_answers(algorithm: Algorithm) -> None:
    verify, vectors = verifier(pynacl()), list(known(algorithm))
    assert len(vectors) == 100 and all(v.context for v in vectors)
    for v in vectors[::4]:
        private = PRIVATE[algorithm.name].from_seed_bytes(v.seed)
        assert (
            public_key(private) == v.key
            and len(v.key) == algorithm.public_key
            and len(v.signature) == algorithm.signature
        )
        private.public_key().verify(v.signature, v.message, v.context)
        # ours have the empty context: theirs are no signatures of rows
        assert not verify(v.signature, v.message, v.key)
        assert verify(private.sign(v.message), v.message, v.key)


HINT = {"ml-dsa-65": (55, 6), "ml-dsa-87": (75, 8)}  # ω, k: FIPS 204, table 1


Case = tuple[str, bytes, bytes, bytes]


def edge_cases(algorithm: Algorithm) -> Iterator[Case]:
    """What every verifier has to refuse: (what, signature, message, key)."""
    private = PRIVATE[algorithm.name].from_seed_bytes(bytes(32))
    key, message = public_key(private), b"message"
    good = private.sign(message)
    size = algorithm.signature
    for n in (0, 1, 31, 32, 63, 64, size - 1, size + 1, 2 * size):
        yield f"signature of {n} bytes", (good * 2)[:n], message, key
    # 1312: ML-DSA-44
    for n in (0, 1, 31, 33, 1312, algorithm.public_key - 1, algorithm.public_key + 1):
        yield f"key of {n} bytes", good, message, (key * 2)[:n]
    name = next(name for name in PRIVATE if name != algorithm.name)
    other = PRIVATE[name].from_seed_bytes(bytes(32))
    yield "the other algorithm's key", good, message, public_key(other)
    yield "the other algorithm's signature", other.sign(message), message, key
    for bit in range(0, 8 * size, 331):
        yield f"bit {bit} of the signature", flipped(good, bit), message, key
    for bit in range(0, 8 * algorithm.public_key, 331):
        yield f"bit {bit} of the key", good, message, flipped(key, bit)
    yield "another message", good, message + b"\0", key
    yield "zero", bytes(size), message, key
    yield "all ones", b"\xff" * size, message, key
    yield "key zero", good, message, bytes(algorithm.public_key)
    yield from altered_hints(algorithm)
    yield "with context", private.sign(message, b"rowseal"), message, key


def altered_hints(algorithm: Algorithm) -> Iterator[Case]:
    """A signature ends with a hint: positions in rising order, and where each polynomial's end."""
    private = PRIVATE[algorithm.name].from_seed_bytes(bytes(32))
    key, message = public_key(private), b"message"
    omega, k = HINT[algorithm.name]
    while True:  # a signature whose hint has two positions in one polynomial, and room
        good = private.sign(message)
        head, hint = good[: -omega - k], good[-omega - k :]
        ends = [0, *hint[omega:]]
        two = next((ends[i] for i in range(k) if ends[i + 1] - ends[i] >= 2), None)
        if two is not None and ends[-1] < omega:
            break
    swapped = bytearray(hint)
    swapped[two], swapped[two + 1] = hint[two + 1], hint[two]
    yield "hint: positions fall", head + bytes(swapped), message, key
    repeated = bytearray(hint)
    repeated[two + 1] = hint[two]
    yield "hint: a position twice", head + bytes(repeated), message, key
    for at in (ends[-1], omega - 1):
        unused = bytearray(hint)
        unused[at] = 1
        yield "hint: an unused byte", head + bytes(unused), message, key
    for count in (omega + 1, 255):
        above = bytearray(hint)
        above[-1] = count
        yield "hint: more than ω", head + bytes(above), message, key
    falling = bytearray(hint)
    falling[omega] = hint[-1] + 1
    yield "hint: counts fall", head + bytes(falling), message, key
    for end in range(omega, omega + k - 1):  # a polynomial's positions moved over to the next one
        moved = bytearray(hint)
        if moved[end] > (moved[end - 1] if end > omega else 0):
            moved[end] -= 1
            yield "hint: another division", head + bytes(moved), message, key


@every
def test_edge_cases_are_refused(algorithm: Algorithm) -> None:
    verify = verifier(pynacl())
    private = PRIVATE[algorithm.name].from_seed_bytes(bytes(32))
    assert verify(private.sign(b"message"), b"message", public_key(private))
    cases = list(edge_cases(algorithm))
    assert len({what.split(":")[0] for what, *_ in cases}) > 30
    assert [what for what, *vector in cases if verify(*vector)] == []


def test_the_package_is_asked_when_needed_only() -> None:
    assert not verifier(pynacl())(bytes(64), b"", bytes(33))
    assert ml_dsa(ALGORITHMS["ml-dsa-65"]) is ml_dsa(ALGORITHMS["ml-dsa-65"])


def test_the_specifications_table() -> None:
    section = PAGE.split("\n## Signature\n")[1].split("\n## ")[0]
    for a in ALGORITHMS.values():
        assert any(
            line.startswith(f"| `{a.name}` |")
            and line.endswith(f" {a.public_key} bytes | {a.signature} bytes |")
            for line in section.splitlines()
        )
