"""ML-DSA (FIPS 204): the key's length chooses, a declaration allows,
and rows live as under Ed25519.
"""

from __future__ import annotations

import base64
import json
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest

from kit import ROOT
from kit.db import Db, Server
from kit.example import EXAMPLE, Owner, changed
from kit.ml_dsa import PRIVATE, every, flipped
from kit.server import SERVER_PACKAGES
from kit.specification import EXAMPLES, PAGE, SEED
from rowseal.client import envelope, envelopes, public_key, sign_many, verify
from rowseal.form.signature import ED25519, Algorithm, pynacl, verifier

if not (SERVER_PACKAGES / "cryptography").is_dir():
    pytest.skip(
        f"the server has no ML-DSA: tests/setup.sh installs cryptography into {SERVER_PACKAGES}",
        allow_module_level=True,
    )

EXAMPLE_ML_DSA = changed(
    EXAMPLE,
    {
        "fingerprint => 'sha256',": (
            "fingerprint => 'sha256', algorithms => '{ed25519,ml-dsa-65,ml-dsa-87}',"
        ),
        "user_storage_versions (user_hash": (
            "user_storage_versions (sign_sha256 bytea GENERATED ALWAYS AS (sha256(sign_b64))"
            " STORED PRIMARY KEY, user_hash"
        ),
        "sign_b64 bytea PRIMARY KEY)": "sign_b64 bytea)",
    },
)


@pytest.fixture
def declared(db: Db) -> Db:
    """The running example, open to all algorithms."""
    db.run(EXAMPLE_ML_DSA)
    return db


@pytest.fixture(params=[*PRIVATE])
def ann(request: pytest.FixtureRequest) -> Owner:
    return Owner("Ann", PRIVATE[request.param].generate())


def test_rows_live_as_under_ed25519(declared: Db, ann: Owner) -> None:
    db, form, bob = declared, declared.form("user_storage"), Owner("Bob")
    contact = b"contact"
    db.insert(
        "user_cards",
        ann.sealed(
            db.form("user_cards"),
            ann.card(contact_pkey=contact, contact_cert=ann.key.sign(contact)),
        ),
    )
    db.insert("user_cards", bob.sealed(db.form("user_cards"), bob.card()))
    first = ann.sealed(form, ann.value(b"one"))
    assert db.insert("user_storage", first) == 1 and db.insert("user_storage", first) == 0
    newer = {k: v for k, v in first.items() if k != "sign_b64"} | {
        "value_b64": b"two",
        "owner_timestamp": next(ann.clock),
        "parent_sign_b64": first["sign_b64"],
    }
    [late] = sign_many([(form, newer)], ann.key)
    assert [
        o
        for o, _ in db.apply(
            "user_storage",
            [{**json.loads(form.payload_of(newer)), "sign_b64": base64.b64encode(late).decode()}],
        )
    ] == ["superseded"]
    assert db.all("SELECT value_b64 FROM user_storage_versions") == [b"one"]
    assert (
        db.insert("user_storage", first) == 0
        and db.one("SELECT count(*) FROM user_storage_versions") == 1
    )
    assert db.apply("user_storage", [ann.envelope(form, ann.value(b"b"))])[0][0] == "inserted"
    # both kinds side by side
    assert db.insert("user_storage", bob.sealed(form, bob.value(b"bob"))) == 1
    for table in ("user_cards", "user_storage"):
        assert db.all("SELECT * FROM rowseal.verify(%s)", table) == []
    assert db.all('SELECT "check" FROM rowseal.health() WHERE NOT ok') == []
    assert "ml-dsa-87 cryptography " in db.one(
        "SELECT detail FROM rowseal.health() WHERE \"check\" = 'algorithms'"
    )
    for change in (
        {"value_b64": b"forged"},
        {"sign_b64": flipped(first["sign_b64"], 7)},
        {"sign_b64": first["sign_b64"][:64]},
        {"sign_b64": bob.key.sign(b"").signature},
    ):
        db.refused(
            "RS001",
            "INSERT INTO user_storage VALUES (%s, %s, %s, %s, %s, %s, %s)",
            *{**first, "owner_timestamp": next(ann.clock), **change}.values(),
        )
    db.refused(
        "RS005",
        "INSERT INTO user_cards VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s)",
        *ann.sealed(
            db.form("user_cards"),
            ann.card(contact_pkey=contact, contact_cert=ann.key.sign(b"other")),
        ).values(),
    )


def test_only_what_the_declaration_lists_is_accepted(db: Db, ann: Owner) -> None:
    db.run(EXAMPLE)
    form = db.form("user_cards")
    diag = db.refused(
        "RS001",
        "INSERT INTO user_cards VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s)",
        *ann.sealed(form, ann.card()).values(),
    )
    assert diag.message_primary is not None and diag.message_primary.startswith(
        "the public key is none of ed25519, in table"
    )
    bob = Owner("Bob")
    # no row chooses: a key of 32 bytes is Ed25519's
    bob.key, bob.public_key = ann.key, ann.public_key[:32]
    bob.hash = __import__("hashlib").sha256(bob.public_key).digest()
    assert db.refused(
        "RS001",
        "INSERT INTO user_cards VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s)",
        *bob.sealed(form, bob.card()).values(),
    )
    db.run("SELECT rowseal.undeclare('user_storage'), rowseal.undeclare('user_cards')")
    db.run(
        "SELECT rowseal.declare('user_cards', owner => 'user_hash',"
        " public_key => 'sign_pkey', algorithms => '{ml-dsa-65,ml-dsa-87}')"
    )
    db.insert("user_cards", ann.sealed(form, ann.card()))
    eve = Owner("Eve")
    assert "none of ml-dsa-65, ml-dsa-87" in str(
        db.refused(
            "RS001",
            "INSERT INTO user_cards VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s)",
            *eve.sealed(form, eve.card()).values(),
        ).message_primary
    )
    db.run("SELECT rowseal.undeclare('user_cards')")
    # what is there must be allowed
    db.refused(
        "RS001",
        "SELECT rowseal.declare('user_cards', owner => 'user_hash', public_key => 'sign_pkey')",
    )


STORAGE = (
    "user_hash bytea, uuid uuid, value_b64 bytea, deleted_flag boolean, owner_timestamp bigint,"
    " parent_sign_b64 {0}, sign_b64 {0}"
)
DECLARE = "SELECT rowseal.declare('s', owner => 'user_hash', identity => 'user_cards' {})"


@pytest.mark.parametrize("type_", ["bytea", "text"])
@pytest.mark.parametrize("layout", ["unversioned", "made", "given", "one table"])
def test_signatures_too_long_for_an_index_are_told_apart_by_hash(
    layout: str, type_: str, declared: Db, ann: Owner
) -> None:
    db, hash_ = (
        declared,
        "sha256(sign_b64)" if type_ == "bytea" else "sha256(decode(sign_b64, 'base64'))",
    )
    generated = f", h bytea GENERATED ALWAYS AS ({hash_}) STORED"
    db.run(
        f"CREATE TABLE s ({STORAGE.format(type_)} {generated if layout == 'one table' else ''},"
        f" PRIMARY KEY (user_hash, uuid{', h' if layout == 'one table' else ''}))"
    )
    if layout == "given":
        db.run(f"CREATE TABLE sv ({STORAGE.format(type_)} {generated} PRIMARY KEY)")
    db.run(DECLARE.format(", versions => 'sv'" if layout in ("made", "given") else ""))
    card = ann.sealed(db.form("user_cards"), ann.card())
    db.insert("user_cards", card)
    encode: Any = (lambda b: b) if type_ == "bytea" else (lambda b: base64.b64encode(b).decode())
    form, rows = db.form("s"), []
    first = ann.value(b"0")
    for n in range(3):
        row = {**first, "value_b64": b"%d" % n, "owner_timestamp": next(ann.clock)}
        rows.append(ann.sealed(form, row))
    for row in [rows[1], rows[0], rows[2], *rows]:
        db.insert("s", {**row, "sign_b64": encode(row["sign_b64"])})
    assert db.one("SELECT value_b64 FROM " + ("s_tips" if layout == "one table" else "s")) == b"2"
    kept = (
        db.all("SELECT value_b64 FROM " + ("s" if layout == "one table" else "sv") + " ORDER BY 1")
        if layout != "unversioned"
        else []
    )
    assert kept == {"unversioned": [], "one table": [b"0", b"1", b"2"]}.get(layout, [b"0", b"1"])
    assert [
        o
        for o, _ in db.apply(
            "s",
            [
                envelope(form, {k: v for k, v in r.items() if k != "sign_b64"}, ann.key)
                | {"sign_b64": base64.b64encode(r["sign_b64"]).decode()}
                for r in rows
            ],
        )
    ] == (["stale", "stale", "duplicate"] if layout == "unversioned" else ["duplicate"] * 3)
    assert db.all("SELECT * FROM rowseal.verify('s')") == []
    assert db.all('SELECT "check", detail FROM rowseal.health() WHERE NOT ok') == []
    if layout == "made":
        assert db.one("SELECT count(*) FROM sv WHERE sign_b64_sha256 = " + hash_) == 2
    forged = {**rows[2], "value_b64": b"forged"}
    db.refused(
        "RS001",
        f"INSERT INTO s ({', '.join(forged)}) VALUES (%s, %s, %s, %s, %s, %s, %s)",
        *{**forged, "sign_b64": encode(forged["sign_b64"])}.values(),
    )


def test_keys_that_an_index_cannot_hold_are_refused_at_declaration(declared: Db) -> None:
    db = declared
    db.run(f"CREATE TABLE s ({STORAGE.format('bytea')}, PRIMARY KEY (user_hash, uuid, sign_b64))")
    assert "GENERATED ALWAYS AS (sha256(sign_b64))" in str(
        db.refused("RS007", DECLARE.format("")).message_hint
    )
    db.run(
        f"DROP TABLE s; CREATE TABLE s ({STORAGE.format('bytea')},"
        f" PRIMARY KEY (user_hash, uuid)); CREATE TABLE sv ({STORAGE.format('bytea')},"
        " PRIMARY KEY (sign_b64))"
    )
    assert "GENERATED ALWAYS AS (sha256(sign_b64))" in str(
        db.refused("RS007", DECLARE.format(", versions => 'sv'")).message_hint
    )
    # a hash of something else tells nothing apart
    for wrong in ("sha256(value_b64)", "sha256(sign_b64 || 'x')", "sha224(sign_b64)", "sign_b64"):
        db.run(
            f"DROP TABLE sv; CREATE TABLE sv ({STORAGE.format('bytea')},"
            f" h bytea GENERATED ALWAYS AS ({wrong}) STORED PRIMARY KEY)"
        )
        db.refused("RS007", DECLARE.format(", versions => 'sv'"))
    db.run(
        "CREATE FUNCTION public.sha256(bytea, integer DEFAULT 0) RETURNS bytea"
        " LANGUAGE sql IMMUTABLE AS $$ SELECT ''::bytea $$"
    )
    db.run(
        f"DROP TABLE sv; CREATE TABLE sv ({STORAGE.format('bytea')},"
        " h bytea GENERATED ALWAYS AS (public.sha256(sign_b64)) STORED PRIMARY KEY)"
    )
    db.refused("RS007", DECLARE.format(", versions => 'sv'"))


def test_wrong_lists_of_algorithms(db: Db) -> None:
    db.run(
        "CREATE TABLE t (h bytea PRIMARY KEY, k bytea, deleted_flag boolean,"
        " owner_timestamp bigint, sign_b64 bytea)"
    )
    declare = "SELECT rowseal.declare('{}', owner => 'h', {}, algorithms => '{}')"
    for wrong in ("{}", "{rsa}", "{ed25519,NULL}", "{ed25519,ml-dsa-44}"):
        assert "ed25519,ml-dsa-65,ml-dsa-87" in str(
            db.refused("RS007", declare.format("t", "public_key => 'k'", wrong)).message_hint
        )
    db.run("SELECT rowseal.declare('t', owner => 'h', public_key => 'k')")
    assert db.one("SELECT algorithms FROM rowseal.declarations") == [ED25519.name]
    db.run(
        "CREATE TABLE u (h bytea, n integer, deleted_flag boolean, owner_timestamp bigint,"
        " sign_b64 bytea, PRIMARY KEY (h, n))"
    )
    assert "its owners" in str(
        db.refused("RS007", declare.format("u", "identity => 't'", "{ed25519}")).message_hint
    )


# -------------------------------------------------------------------- a server without the package
@pytest.fixture
def without(server: Server, database: str) -> Iterator[Db]:
    """A session whose Python has Debian's own cryptography, or none."""
    with server.connect(database) as c:
        c.execute(f"DO $$ import sys; sys.path.remove('{SERVER_PACKAGES}') $$ LANGUAGE plpython3u")
        c.execute("SET SESSION AUTHORIZATION app")
        yield Db(c)


def test_without_the_package_a_declaration_is_refused_with_the_way_to_get_it(without: Db) -> None:
    without.run(
        "CREATE TABLE t (h bytea PRIMARY KEY, k bytea, deleted_flag boolean,"
        " owner_timestamp bigint, sign_b64 bytea)"
    )
    declare = (
        "SELECT rowseal.declare('t', owner => 'h', public_key => 'k',"
        " algorithms => '{ed25519,ml-dsa-87}')"
    )
    diag = without.refused("RS014", declare)
    assert "no provider of ml-dsa-87" in str(
        diag.message_primary
    ) and "cryptography, 47 or later" in str(diag.message_hint)
    assert without.all("SELECT FROM rowseal.declarations") == []
    # everything else works
    without.run("SELECT rowseal.declare('t', owner => 'h', public_key => 'k')")
    assert without.one("SELECT ok FROM rowseal.health() WHERE \"check\" = 'algorithms'")


def test_where_the_package_went_away_rows_wait_and_health_says_so(
    without: Db, declared: Db, ann: Owner
) -> None:
    """As on a server that such a database was restored on."""
    bob = Owner("Bob")
    form = without.form("user_cards")
    outcomes = without.apply(
        "user_cards", [ann.envelope(form, ann.card()), bob.envelope(form, bob.card())]
    )
    assert [o for o, _ in outcomes] == ["deferred", "inserted"]
    assert str(outcomes[0][1]).startswith(
        "RS014: no provider of ml-dsa-"
    ) and "cryptography, 47 or later" in str(outcomes[0][1])
    ok, detail = without.one(
        "SELECT ok, detail FROM rowseal.health() WHERE \"check\" = 'algorithms'"
    )
    assert not ok and "ml-dsa-65 is not there: " in detail and "cryptography, 47 or later" in detail
    # where it is there
    assert [o for _, o, _ in declared.all("SELECT * FROM rowseal.retry()")] == ["inserted"]
    assert [str(p) for p in without.all("SELECT sqlstate FROM rowseal.verify('user_cards')")] == [
        "RS014"
    ]
    assert declared.all("SELECT * FROM rowseal.verify('user_cards')") == []


# -------------------------------------------------------------------------------------- JavaScript
@pytest.fixture(scope="module")
def noble(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """tests/javascript with its packages."""
    if not shutil.which("node") or not shutil.which("npm"):
        pytest.skip(
            "node and npm are not installed: signatures of @noble/post-quantum are untested here"
        )
    folder = tmp_path_factory.mktemp("javascript")
    for file in (ROOT / "tests/kit/javascript").iterdir():
        if file.is_file():
            shutil.copy(file, folder)
    subprocess.run(["npm", "ci", "--silent", "--no-audit", "--no-fund"], cwd=folder, check=True)
    return folder


def by_node(noble: Path, **request: Any) -> dict[str, Any]:
    run = ["node", "sign.mjs", str(ROOT / "examples/javascript/batch.mjs")]
    return json.loads(
        subprocess.run(
            run, cwd=noble, input=json.dumps(request).encode(), capture_output=True, check=True
        ).stdout
    )  # type: ignore[no-any-return]


@every
def test_the_hashes_of_the_specification(algorithm: Algorithm, noble: Path) -> None:
    import hashlib

    answer = by_node(
        noble,
        algorithm=algorithm.name,
        seed=SEED.hex(),
        deterministic=True,
        payload=EXAMPLES[1].payload,
    )
    key, signature = (base64.b64decode(answer[k]) for k in ("public_key", "signature"))
    assert public_key(PRIVATE[algorithm.name].from_seed_bytes(SEED)) == key
    assert verifier(pynacl())(signature, EXAMPLES[1].octets, key)
    assert (
        f"| `{algorithm.name}` | `{hashlib.sha256(key).hexdigest()}` |"
        f" `{hashlib.sha256(signature).hexdigest()}` |" in PAGE
    )


@every
@pytest.mark.parametrize("together", [False, True])
def test_rows_signed_in_node(
    together: bool, algorithm: Algorithm, noble: Path, declared: Db
) -> None:
    ann = Owner("Ann", PRIVATE[algorithm.name].from_seed_bytes(SEED))
    rows = [
        ("user_cards", ann.card(name='Zoë "Z" \\o/ \u2028 😀')),
        *(("user_storage", ann.value(b"%d" % n)) for n in range(4)),
    ]
    plain = [
        {"table": t, "row": json.loads(declared.form(t).payload_of(r))["row"]} for t, r in rows
    ]
    answer = by_node(
        noble,
        algorithm=algorithm.name,
        seed=SEED.hex(),
        deterministic=False,
        rows=plain,
        batch=together,
    )
    sealed = answer["envelopes"]
    assert base64.b64decode(answer["public_key"]) == ann.public_key
    assert all(verify(e, ann.public_key) for e in sealed)
    assert [
        o
        for _, o, _ in declared.all(
            "SELECT * FROM rowseal.receive(%s)", psycopg.types.json.Json(sealed)
        )
    ] == ["inserted"] * 5
    ours = list(envelopes([(declared.form(t), r) for t, r in rows], ann.key))
    assert [e["row"] for e in ours] == [e["row"] for e in sealed]
