"""Signatures: every provider gives libsodium's verdict, on published vectors and on what libraries disagree about."""

from __future__ import annotations

import base64
import functools
import hashlib
import json
import os
from collections.abc import Iterator
from typing import Any, NamedTuple

import cryptography_vectors
import pytest

from conftest import EXAMPLE, Db, Owner, Server
from rowseal.client import SigningKey
from rowseal.form.signature import pynacl, verifier

P = 2**255 - 19
L = 2**252 + 27742317777372353535851937790883648493
D = -121665 * pow(121666, P - 2, P) % P


class Vector(NamedTuple):
    what: str
    valid: bool
    signature: bytes
    message: bytes
    key: bytes


# ------------------------------------------------------------------------------ the curve, for edge cases
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


BASE = next(p for x, y in [at(4 * pow(5, P - 2, P) % P)] for p in ((x, y), (P - x, y)) if p[0] % 2 == 0)


def on_curve(p: Point) -> bool:
    return (p[1] ** 2 - p[0] ** 2 - 1 - D * p[0] ** 2 * p[1] ** 2) % P == 0


def small_order() -> list[bytes]:
    """The encodings of the eight points of small order, and the non-canonical ones of them."""
    generator = next(t for y in range(2, 100) if on_curve(at(y)) and times(4, t := times(L, at(y))) != (0, 1))
    points = [times(i, generator) for i in range(8)]
    canonical = [encoded(p) for p in points]
    others = [(y + P | sign << 255).to_bytes(32, "little") for _, y in points if y + P < 2**255 for sign in (0, 1)]
    negative_zero = [(y | 1 << 255).to_bytes(32, "little") for x, y in points if x == 0]
    return list(dict.fromkeys(canonical + others + negative_zero))


def flipped(data: bytes, bit: int) -> bytes:
    return data[: bit // 8] + bytes([data[bit // 8] ^ 1 << bit % 8]) + data[bit // 8 + 1 :]


def scalar(*parts: bytes) -> int:
    return int.from_bytes(hashlib.sha512(b"".join(parts)).digest(), "little") % L


def edge_cases() -> Iterator[Vector]:
    signer = SigningKey(bytes(range(32)))
    key, message = bytes(signer.verify_key), b"message"
    good = signer.sign(message).signature
    r, s = good[:32], int.from_bytes(good[32:], "little")
    yield Vector("a genuine signature", True, good, message, key)
    yield Vector("an empty message", True, signer.sign(b"").signature, b"", key)
    for n in range(1, 16):
        if s + n * L < 2**256:
            yield Vector(f"S + {n} L", False, r + (s + n * L).to_bytes(32, "little"), message, key)
    for name, big in (("L", L), ("L - 1", L - 1), ("2**253", 2**253), ("2**256 - 1", 2**256 - 1), ("0", 0)):
        yield Vector(f"S = {name}", False, r + big.to_bytes(32, "little"), message, key)
    a = int.from_bytes(hashlib.sha512(bytes(range(32))).digest()[:32], "little") & (1 << 254) - 8 | 1 << 254
    for point in small_order():
        yield Vector("R of small order", False, point + good[32:], message, key)
        # S = h a with the neutral R: it satisfies the equation, up to the cofactor
        yield Vector("R of small order that fits", False, point + (scalar(point, key, message) * a % L).to_bytes(32, "little"), message, key)
        yield Vector("key of small order", False, good, message, point)
        for n in range(4):  # S B = R + h A for some of these messages, if A and R of small order were let through
            m = bytes([n])
            yield Vector("key and R of small order", False, point + bytes(32), m, point)
            yield Vector("key of small order, R = B", False, encoded(BASE) + (1).to_bytes(32, "little"), m, point)
    for y in range(19):  # encodings of y + p
        for sign in (0, 1):
            other = (y + P | sign << 255).to_bytes(32, "little")
            yield Vector("non-canonical key", False, good, message, other)
            yield Vector("non-canonical R", False, other + good[32:], message, key)
    no_point = next(y for y in range(2, 100) if not on_curve(at(y))).to_bytes(32, "little")
    yield Vector("key off the curve", False, good, message, no_point)
    yield Vector("R off the curve", False, no_point + good[32:], message, key)
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
    yield Vector("a longer message", False, good, message + b"\0", key)
    yield Vector("another's key", False, good, message, bytes(SigningKey(bytes(32)).verify_key))
    yield Vector("R and S exchanged", False, good[32:] + r, message, key)


def published() -> Iterator[Vector]:
    """sign.input: secret key and public key, public key, message, signature and message, in hex."""
    with cryptography_vectors.open_vector_file("asymmetric/Ed25519/sign.input", "r") as lines:
        for n, line in enumerate(lines):
            _, key, message, signed, *_ = (bytes.fromhex(x) for x in line.strip().split(":"))
            assert signed[64:] == message
            yield Vector(f"sign.input {n + 1}", True, signed[:64], message, key)
            yield Vector(f"sign.input {n + 1}, altered", False, flipped(signed[:64], n % 512), message, key)


VECTORS = [*edge_cases(), *published()]


@functools.cache
def torsion() -> list[Vector]:
    """Keys and R with a component of small order: libraries differ, so only agreement is asked for."""
    out = []
    seed = hashlib.sha512(bytes(32)).digest()
    a = int.from_bytes(seed[:32], "little") & (1 << 254) - 8 | 1 << 254
    generator = next(t for y in range(2, 100) if on_curve(at(y)) and times(4, t := times(L, at(y))) != (0, 1))
    for i in range(8):
        for j in range(8):
            key = encoded(add(times(a, BASE), times(i, generator)))
            r = encoded(add(times(12345, BASE), times(j, generator)))
            for n in range(3):
                h = scalar(r, key, bytes([n]))
                out.append(Vector(f"torsion {i} {j}", False, r + ((12345 + h * a) % L).to_bytes(32, "little"), bytes([n]), key))
    return out


def test_the_vectors_are_what_they_say() -> None:
    assert len(small_order()) >= 12 and on_curve(BASE) and times(L, BASE) == (0, 1)
    assert sum(v.what.startswith("sign.input") for v in VECTORS) == 2 * 1024
    assert encoded(times(int.from_bytes(hashlib.sha512(bytes(32)).digest()[:32], "little") & (1 << 254) - 8 | 1 << 254, BASE)) == bytes(
        SigningKey(bytes(32)).verify_key
    )


def test_pynacl_gives_the_right_verdict_on_every_vector() -> None:
    verify = verifier(pynacl())
    wrong = [v.what for v in VECTORS if verify(v.signature, v.message, v.key) is not v.valid]
    assert wrong == []


# --------------------------------------------------------------------------------------- on the server
VERDICTS = """
CREATE FUNCTION verdicts(provider text, vectors text) RETURNS text[] LANGUAGE plpython3u AS $$
import json
from base64 import b64decode
plpy.execute("SELECT rowseal._load()")
server, signature = GD["rowseal"]("server"), GD["rowseal"]("form.signature")
verify = server._pgsodium(plpy) if provider == "pgsodium" else signature.pynacl()
if verify is None:
    return None
verify = signature.verifier(verify)
out = []
for vector in json.loads(vectors):
    try:
        out.append(str(verify(*map(b64decode, vector))))
    except Exception as e:
        out.append(type(e).__name__)
return out
$$"""


def verdicts(db: Db, provider: str, vectors: list[Vector]) -> list[str]:
    packed = json.dumps([[base64.b64encode(x).decode() for x in (v.signature, v.message, v.key)] for v in vectors])
    return db.one("SELECT verdicts(%s, %s)", provider, packed)  # type: ignore[no-any-return]


@pytest.fixture(scope="module")
def sodium(server: Server) -> Iterator[str]:
    """A database with the extension pgsodium."""
    with server.connect("postgres") as c:
        if not Db(c).all("SELECT FROM pg_available_extensions WHERE name = 'pgsodium'"):
            pytest.skip("the extension pgsodium is not available to this server: its provider is untested here")
    database = server.database()
    with server.connect(database) as c:
        # without it every ALTER TABLE fails where pgsodium is not in shared_preload_libraries
        c.execute(f"ALTER DATABASE {database} SET pgsodium.enable_event_trigger = 'on'")
    with server.connect(database) as c:
        c.execute("CREATE EXTENSION IF NOT EXISTS pgsodium")
        c.execute(VERDICTS)
    yield database
    server.drop(database)


@pytest.fixture(scope="module", params=["PyNaCl", "pgsodium"])
def provider(request: pytest.FixtureRequest, server: Server) -> Iterator[tuple[str, Db]]:
    if request.param == "pgsodium":
        with server.connect(request.getfixturevalue("sodium")) as c:
            yield request.param, Db(c)
        return
    if os.environ.get("ROWSEAL_PGSODIUM"):
        pytest.skip("pgsodium is in every database")
    database = server.database()
    with server.connect(database) as c:
        c.execute(VERDICTS)
        yield request.param, Db(c)
    server.drop(database)


def test_the_servers_providers_give_the_right_verdict_on_every_vector(provider: tuple[str, Db]) -> None:
    name, db = provider
    assert db.one("SELECT rowseal._provider()").startswith(name)
    answers = verdicts(db, name, VECTORS)
    assert [(v.what, a) for v, a in zip(VECTORS, answers, strict=True) if a != str(v.valid)] == []


def test_all_providers_agree_on_components_of_small_order(provider: tuple[str, Db]) -> None:
    verify, vectors = verifier(pynacl()), torsion()
    assert verdicts(provider[1], provider[0], vectors) == [str(verify(v.signature, v.message, v.key)) for v in vectors]


def test_what_guards_call_gives_the_same_verdicts(sodium: str, server: Server) -> None:
    vectors = [v for v in VECTORS + torsion() if (len(v.signature), len(v.key)) == (64, 32)]
    verify = verifier(pynacl())
    with server.connect(sodium, "mallory") as c:
        answers = [Db(c).one("SELECT rowseal._verified(%s, %s, %s)", v.signature, v.message, v.key) for v in vectors]
    assert len(vectors) > 100 and answers == [verify(v.signature, v.message, v.key) for v in vectors]


def test_guards_take_pgsodium_when_it_comes_and_leave_it_when_it_goes(sodium: str, server: Server, database: str) -> None:
    """``sodium`` for its check that the extension is there."""
    with server.connect("postgres") as c:
        c.execute(f"ALTER DATABASE {database} SET pgsodium.enable_event_trigger = 'on'")
    with server.connect(database) as c:
        db, ann = Db(c), Owner("Ann")
        db.run("DROP EXTENSION IF EXISTS pgsodium")
        db.run(EXAMPLE)
        form = db.form("user_storage")
        db.insert("user_cards", ann.sealed(db.form("user_cards"), ann.card()))
        bound = "SELECT probin IS NOT NULL FROM pg_proc WHERE oid = 'rowseal._verified'::regproc"
        for change, now in (("SELECT", False), ("CREATE EXTENSION pgsodium", True), ("DROP EXTENSION pgsodium", False), ("CREATE EXTENSION pgsodium", True)):
            db.run(change)
            assert (db.one(bound), db.all("SELECT \"check\" FROM rowseal.health() WHERE NOT ok")) == (now, [])
            row = ann.sealed(form, ann.value(b"genuine"))
            assert db.insert("user_storage", row) == 1
            forged = {**row, "value_b64": b"forged", "owner_timestamp": row["owner_timestamp"] + 1}
            db.refused("RS001", f"INSERT INTO user_storage ({', '.join(forged)}) VALUES ({', '.join(['%s'] * len(forged))})", *forged.values())
            assert db.all("SELECT * FROM rowseal.verify('user_storage')") == []
        # somebody with the rights of a superuser replaces it: evident, and put right
        db.run("CREATE OR REPLACE FUNCTION rowseal._verified(signature bytea, message bytea, public_key bytea) RETURNS boolean LANGUAGE sql IMMUTABLE AS 'SELECT true'")
        assert db.all("SELECT \"check\" FROM rowseal.health() WHERE NOT ok") == ["pgsodium"]
        db.run("SELECT rowseal._bind()")
        assert (db.one(bound), db.all("SELECT FROM rowseal.health() WHERE NOT ok")) == (True, [])


BAD = [v for v in VECTORS if not v.valid and len(v.key) == 32][::40] + [v for v in VECTORS if len(v.key) != 32 or len(v.signature) != 64]


@pytest.mark.parametrize("name", ["PyNaCl", "pgsodium"])
def test_a_declared_table_refuses_them_as_it_refuses_any_signature(name: str, request: pytest.FixtureRequest, server: Server) -> None:
    database = request.getfixturevalue("sodium") if name == "pgsodium" else server.database()
    with server.connect(database, "app") as c:
        db = Db(c)
        db.run("CREATE TABLE IF NOT EXISTS edge (h bytea PRIMARY KEY, k bytea, deleted_flag boolean, owner_timestamp bigint, sign_b64 bytea)")
        db.run("SELECT rowseal.declare('edge', owner => 'h', public_key => 'k', if_not_exists => true)")
        for vector in BAD:
            db.refused("RS001", "INSERT INTO edge VALUES ('x', %s, false, 1, %s)", vector.key, vector.signature)
        assert db.all("SELECT * FROM edge") == []
    if name == "PyNaCl":
        server.drop(database)


def test_an_ordinary_user_works_end_to_end_with_pgsodium(sodium: str, server: Server) -> None:
    with server.connect(sodium, "app") as c:
        db = Db(c)
        assert db.one("SELECT rowseal._provider()").startswith("pgsodium ")
        db.run(EXAMPLE)
        ann = Owner("Ann")
        form = db.form("user_storage")
        db.insert("user_cards", ann.sealed(db.form("user_cards"), ann.card()))
        first = ann.value(b"one")
        second = {**first, "value_b64": b"two", "owner_timestamp": next(ann.clock)}
        assert db.insert("user_storage", ann.sealed(form, first)) == 1
        db.insert("user_storage", ann.sealed(form, second))
        db.refused("RS001", "UPDATE user_storage SET value_b64 = 'forged', owner_timestamp = owner_timestamp + 1")
        assert db.all("SELECT value_b64 FROM user_storage") == [b"two"]
        assert db.all("SELECT value_b64 FROM user_storage_versions") == [b"one"]
        for table in ("user_cards", "user_storage"):
            assert db.all("SELECT * FROM rowseal.verify(%s)", table) == []


LIE = """
    CREATE SCHEMA pgsodium;
    CREATE FUNCTION pgsodium.crypto_sign_verify_detached(bytea, bytea, bytea) RETURNS boolean LANGUAGE sql AS 'SELECT true';
    GRANT USAGE ON SCHEMA pgsodium TO PUBLIC;
"""


@pytest.mark.skipif("ROWSEAL_PGSODIUM" in os.environ, reason="pgsodium is in every database")
def test_a_schema_called_pgsodium_is_not_the_extension(database: str, server: Server) -> None:
    with server.connect(database) as c:
        c.execute(f"GRANT CREATE ON DATABASE {database} TO mallory")
    with server.connect(database, "mallory") as c:
        c.execute(LIE)
    with server.connect(database, "app") as c:
        db = Db(c)
        assert db.one("SELECT rowseal._provider()").startswith("PyNaCl ")
        db.run("CREATE TABLE t (h bytea PRIMARY KEY, k bytea, deleted_flag boolean, owner_timestamp bigint, sign_b64 bytea)")
        db.run("SELECT rowseal.declare('t', owner => 'h', public_key => 'k')")
        db.refused("RS001", "INSERT INTO t VALUES ('x', %s, false, 1, %s)", Owner().public_key, bytes(64))


def test_functions_beside_the_extensions_own_are_not_used(sodium: str, server: Server) -> None:
    """A better match by name cannot come between: the schema is not writable, the search path has pg_catalog alone."""
    with server.connect(sodium, "mallory") as c:
        db = Db(c)
        db.refused("42501", "CREATE FUNCTION pgsodium.crypto_sign_verify_detached(bytea, bytea, text) RETURNS boolean LANGUAGE sql AS 'SELECT true'")
        db.run("CREATE FUNCTION pg_temp.crypto_sign_verify_detached(bytea, bytea, bytea) RETURNS boolean LANGUAGE sql AS 'SELECT true'")
        assert not db.one("SELECT rowseal._verified(%s, 'm', %s)", bytes(64), Owner().public_key)


def test_the_verifying_function_is_open_to_everybody_and_only_verifies(sodium: str, server: Server) -> None:
    with server.connect(sodium, "mallory") as c:
        db = Db(c)
        key = SigningKey(bytes(32))
        signature: Any = key.sign(b"m").signature
        assert db.one("SELECT rowseal._verified(%s, 'm', %s)", signature, bytes(key.verify_key))
        assert not db.one("SELECT rowseal._verified(%s, 'other', %s)", signature, bytes(key.verify_key))
