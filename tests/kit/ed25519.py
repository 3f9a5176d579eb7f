"""Ed25519: signatures that are good, and those about which libraries disagree."""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Iterator
from typing import NamedTuple

import cryptography_vectors

from rowseal.client import SigningKey

P = 2**255 - 19
L = 2**252 + 27742317777372353535851937790883648493
D = -121665 * pow(121666, P - 2, P) % P


class Vector(NamedTuple):
    what: str
    valid: bool
    signature: bytes
    message: bytes
    key: bytes


# ----------------------------------------------------------------------- the curve, for edge cases
Point = tuple[int, int]


def add(p: Point, q: Point) -> Point:
    (a, b), (c, d) = p, q
    k = D * a * b * c * d % P
    return (a * d + b * c) * pow(1 + k, P - 2, P) % P, (b * d + a * c) * pow(1 - k, P - 2, P) % P


def times(n: int, p: Point) -> Point:
    result: Point = (0, 1)
    while n:
        result, p, n = add(result, p) if n & 1 else result, add(p, p), n >> 1
    return result


def root(square: int) -> int:
    x = pow(square, (P + 3) // 8, P)
    return x if x * x % P == square % P else x * pow(2, (P - 1) // 4, P) % P


def at(y: int) -> Point:
    return root((y * y - 1) * pow(D * y * y + 1, P - 2, P)), y


def encoded(p: Point) -> bytes:
    return (p[1] | (p[0] & 1) << 255).to_bytes(32, "little")


BASE = next(
    p for x, y in [at(4 * pow(5, P - 2, P) % P)] for p in ((x, y), (P - x, y)) if p[0] % 2 == 0
)


def on_curve(p: Point) -> bool:
    return (p[1] ** 2 - p[0] ** 2 - 1 - D * p[0] ** 2 * p[1] ** 2) % P == 0


def small_order() -> list[bytes]:
    """The encodings of the eight points of small order, and the non-canonical ones of them."""
    generator = next(
        t for y in range(2, 100) if on_curve(at(y)) and times(4, t := times(L, at(y))) != (0, 1)
    )
    points = [times(i, generator) for i in range(8)]
    canonical = [encoded(p) for p in points]
    others = [
        (y + P | sign << 255).to_bytes(32, "little")
        for _, y in points
        if y + P < 2**255
        for sign in (0, 1)
    ]
    negative_zero = [(y | 1 << 255).to_bytes(32, "little") for x, y in points if x == 0]
    return list(dict.fromkeys(canonical + others + negative_zero))


def flipped(data: bytes, bit: int) -> bytes:
    return data[: bit // 8] + bytes([data[bit // 8] ^ 1 << bit % 8]) + data[bit // 8 + 1 :]


def scalar(*parts: bytes) -> int:
    return int.from_bytes(hashlib.sha512(b"".join(parts)).digest(), "little") % L


def secret_scalar(seed: bytes) -> int:
    """The number behind the public key of this seed."""
    half = hashlib.sha512(seed).digest()[:32]
    return int.from_bytes(half, "little") & (1 << 254) - 8 | 1 << 254


def signed() -> tuple[bytes, bytes, bytes]:
    """A signature, its message and its key."""
    signer, message = SigningKey(bytes(range(32))), b"message"
    return signer.sign(message).signature, message, bytes(signer.verify_key)


def edge_cases() -> Iterator[Vector]:
    good, message, key = signed()
    empty = SigningKey(bytes(range(32))).sign(b"").signature
    yield Vector("a genuine signature", True, good, message, key)
    yield Vector("an empty message", True, empty, b"", key)
    yield from other_scalars()
    yield from small_orders()
    yield from other_encodings()
    yield from other_bytes()
    yield Vector("a longer message", False, good, message + b"\0", key)
    yield Vector("another's key", False, good, message, bytes(SigningKey(bytes(32)).verify_key))
    yield Vector("R and S exchanged", False, good[32:] + good[:32], message, key)


def other_scalars() -> Iterator[Vector]:
    good, message, key = signed()
    r, s = good[:32], int.from_bytes(good[32:], "little")
    for n in range(1, 16):
        if s + n * L < 2**256:
            yield Vector(f"S + {n} L", False, r + (s + n * L).to_bytes(32, "little"), message, key)
    big = {"L": L, "L - 1": L - 1, "2**253": 2**253, "2**256 - 1": 2**256 - 1, "0": 0}
    for name, number in big.items():
        yield Vector(f"S = {name}", False, r + number.to_bytes(32, "little"), message, key)


def small_orders() -> Iterator[Vector]:
    good, message, key = signed()
    a = secret_scalar(bytes(range(32)))
    one = (1).to_bytes(32, "little")
    for point in small_order():
        yield Vector("R of small order", False, point + good[32:], message, key)
        # S = h a with the neutral R: it satisfies the equation, up to the cofactor
        fitting = (scalar(point, key, message) * a % L).to_bytes(32, "little")
        yield Vector("R of small order that fits", False, point + fitting, message, key)
        yield Vector("key of small order", False, good, message, point)
        # S B = R + h A for some of these messages, if A and R of small order were let through
        for n in range(4):
            m = bytes([n])
            yield Vector("key and R of small order", False, point + bytes(32), m, point)
            yield Vector("key of small order, R = B", False, encoded(BASE) + one, m, point)


def other_encodings() -> Iterator[Vector]:
    good, message, key = signed()
    for y in range(19):  # encodings of y + p
        for sign in (0, 1):
            other = (y + P | sign << 255).to_bytes(32, "little")
            yield Vector("non-canonical key", False, good, message, other)
            yield Vector("non-canonical R", False, other + good[32:], message, key)
    no_point = next(y for y in range(2, 100) if not on_curve(at(y))).to_bytes(32, "little")
    yield Vector("key off the curve", False, good, message, no_point)
    yield Vector("R off the curve", False, no_point + good[32:], message, key)


def other_bytes() -> Iterator[Vector]:
    good, message, key = signed()
    for length in (0, 1, 31, 33, 63, 64, 65, 128):
        yield Vector(f"key of {length} bytes", False, good, message, (key * 5)[:length])
    for length in (0, 1, 32, 63, 65, 128):
        yield Vector(f"signature of {length} bytes", False, (good * 3)[:length], message, key)
    for bit in range(0, 512, 5):
        yield Vector(f"bit {bit} of the signature", False, flipped(good, bit), message, key)
    for bit in range(0, 256, 5):
        yield Vector(f"bit {bit} of the key", False, good, message, flipped(key, bit))
    for bit in range(0, 56, 5):
        yield Vector(f"bit {bit} of the message", False, good, flipped(message, bit), key)


def published() -> Iterator[Vector]:
    """sign.input: secret key and public key, public key, message, signature and message, in hex."""
    with cryptography_vectors.open_vector_file("asymmetric/Ed25519/sign.input", "r") as lines:
        for n, line in enumerate(lines):
            _, key, message, signed, *_ = (bytes.fromhex(x) for x in line.strip().split(":"))
            assert signed[64:] == message
            yield Vector(f"sign.input {n + 1}", True, signed[:64], message, key)
            yield Vector(
                f"sign.input {n + 1}, altered", False, flipped(signed[:64], n % 512), message, key
            )


VECTORS = [*edge_cases(), *published()]


@functools.cache
def torsion() -> list[Vector]:
    """Keys and R with a component of small order: libraries differ; agreement is asked for."""
    out = []
    a = secret_scalar(bytes(32))
    generator = next(
        t for y in range(2, 100) if on_curve(at(y)) and times(4, t := times(L, at(y))) != (0, 1)
    )
    for i in range(8):
        for j in range(8):
            key = encoded(add(times(a, BASE), times(i, generator)))
            r = encoded(add(times(12345, BASE), times(j, generator)))
            for n in range(3):
                h = scalar(r, key, bytes([n]))
                out.append(
                    Vector(
                        f"torsion {i} {j}",
                        False,
                        r + ((12345 + h * a) % L).to_bytes(32, "little"),
                        bytes([n]),
                        key,
                    )
                )
    return out
