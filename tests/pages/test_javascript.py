"""examples/javascript: rows signed in Node are stored, read back, and verified there,
by the servers' rule.
"""

from __future__ import annotations

import json
import subprocess
from base64 import b64encode
from pathlib import Path
from typing import Any

from psycopg.types.json import Json

from kit.db import Db
from kit.ed25519 import VECTORS, torsion
from kit.example import Owner
from kit.node import node, packages
from rowseal.client import SigningKey, keys, verify
from rowseal.form.signature import pynacl, verifier

SEED = bytes(range(32))


def b64(raw: bytes) -> str:
    return b64encode(raw).decode()


def doubles(value: Any) -> Any:
    """Numbers as what they are in JavaScript, however they are spelled."""
    return json.loads(json.dumps(value), parse_int=float)


def test_it_gives_libsodiums_verdict_on_what_libraries_disagree_about() -> None:
    published = [v for v in VECTORS if v.what.startswith("sign.input")]
    cases = [*(v for v in VECTORS if v not in published), *published[::32], *torsion()]
    given = [[b64(v.signature), b64(v.message), b64(v.key)] for v in cases]
    answers = node(
        "console.log(JSON.stringify(given.map((vector) => verifyBytes(...vector.map(bytes)))))",
        given,
    )
    libsodium = verifier(pynacl())
    assert [
        v.what
        for v, answer in zip(cases, answers)
        if answer != libsodium(v.signature, v.message, v.key)
    ] == []
    assert len(cases) > 600 and sum(answers) > 30 and answers.count(False) > 400


SAMPLES = r"""
const b = (...n) => Uint8Array.from(n)
const rows = [
  {
    boolean: true, small: 7, int: -2147483648, big: 9223372036854775807n, numeric: '1.50',
    real: Math.fround(0.1), double: 0.1, text: 'Zoë 😀\u0000'.slice(0, -1), bytea: b(0, 255),
    uuid: 'A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11',
    timestamptz: new Date('2026-11-21T09:00:00.123+05:30'), timestamp: new Date(0),
    date: new Date('2024-02-29T23:59:59Z'), jsonb: null,
    json: { z: [1, 1e21, -0, 'é', null, true], a: { '😀': 1, '\ufb33': 2 } },
    ints: [1, null, 3], grid: [[1n, 2n], [3n, null]], byteas: [b(1), null],
    doubles: [-0, NaN, 1e-7], jsons: [[1], { a: null }], moments: [new Date(1)],
    spot: { x: '1.5', label: 'l', blob: b(9), at: new Date(2) }, spots: [{ x: 1 }, null, {}],
    mood: 'sad', code: 'ab  ',
  },
  {
    boolean: false, big: -5, double: -0, real: -Infinity, text: '', bytea: b(), jsonb: [],
    ints: [], date: 'infinity', timestamptz: '-infinity',
    timestamp: '2026-11-21T09:00:00.123456', interval: 'P1Y2M-3DT4H5M6.5S', inet: '10.0.0.1/8',
    time: '24:00:00.000000', range: '[1,5)', spot: {},
  },
  {
    double: NaN, numeric: 12345678901234567890n, small: null, json: null, jsonb: 'text',
    text: '"\\/\b\f\n\r\t\u0001\u007f\u2028',
  },
  {
    double: 5e-324, real: Math.fround(3.4e38), int: -0, numeric: -7, jsonb: 0.1,
    spots: [[{ x: 2 }], [{}]],
  },
]
"""
TABLE = """
    CREATE TYPE mood AS ENUM ('ok', 'sad');
    CREATE TYPE spot AS (x numeric, label text, blob bytea, at timestamptz);
    CREATE TABLE samples (user_hash bytea, n integer, boolean boolean, small smallint, int integer,
        big bigint, numeric numeric, real real, double float8, text text, bytea bytea, uuid uuid,
        timestamptz timestamptz, timestamp timestamp, date date, time time, interval interval,
        json json, jsonb jsonb, ints int[], grid bigint[], byteas bytea[], doubles float8[],
        jsons jsonb[], moments timestamptz[], spot spot, spots spot[], mood mood, code char(4),
        inet inet, range int4range, deleted_flag boolean, owner_timestamp bigint, sign_b64 bytea,
        PRIMARY KEY (user_hash, n));
    SELECT rowseal.declare('samples', owner => 'user_hash', identity => 'user_cards');
"""


def test_every_type_that_javascript_has_a_value_for_is_signed_stored_read_back_and_verified(
    example: Db,
) -> None:
    ann = Owner(key=SigningKey(SEED))
    example.insert("user_cards", ann.sealed(example.form("user_cards"), ann.card()))
    example.run(TABLE)
    spec = example.one("SELECT spec FROM rowseal.declarations WHERE tag = 'samples'")
    given = {"spec": spec, "seed": b64(SEED), "owner": b64(ann.hash)}
    code = (
        SAMPLES
        + """
        const row = (r, n) => ({
          ...r, user_hash: bytes(given.owner), n, deleted_flag: false,
          owner_timestamp: 1700000000000000n + BigInt(n),
        })
        const sealed = rows.map((r, n) => sign(given.spec, row(r, n), bytes(given.seed)))
        console.log(JSON.stringify(sealed))"""
    )
    signed = node(code, given)
    kinds = {json.dumps(k) for n, k in spec["fields"].items() if any(n in s["row"] for s in signed)}
    assert kinds == {json.dumps(k) for k in spec["fields"].values()}
    assert example.apply("samples", signed) == [("inserted", None)] * 4
    back = example.all("SELECT rowseal.export('samples')")
    assert doubles(sorted(back, key=lambda e: e["row"]["n"])) == doubles(signed)
    changed = [{**e, "row": {**e["row"], "n": "9"}} for e in back]
    check = (
        "console.log(JSON.stringify(given[0].map((envelope) => verify(envelope, bytes(given[1])))))"
    )
    assert node(check, [back + changed, b64(ann.public_key)]) == [True] * 4 + [False] * 4
    assert all(verify(e, ann.public_key) for e in back)
    # what the columns hold is what JavaScript had
    assert (
        example.one(
            "SELECT big = 9223372036854775807 AND real = 0.1::real AND doubles[1]::text = '-0'"
            " AND jsonb = 'null' AND timestamptz ="
            " '2026-11-21T03:30:00.123Z' AND uuid = 'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11'"
            " FROM samples WHERE n = 0"
        )
        is True
    )
    assert (
        example.one(
            "SELECT json::text = 'null' AND small IS NULL AND double = 'NaN' FROM samples"
            " WHERE n = 2"
        )
        is True
    )


def test_what_has_no_exact_value_is_not_signed() -> None:
    spec = {"tag": "t", "fields": {"i": "integer", "n": "numeric", "d": "timestamptz"}}
    code = """
        const rows = [
          { i: 9007199254740993 }, { i: 1.5 }, { n: 0.1 }, { d: new Date(NaN) }, { x: 1 },
          { toString: 'x' },
        ]
        const tried = rows.map((row) => {
          try { return payload(given, row) } catch (error) { return error instanceof RangeError }
        })
        console.log(JSON.stringify(tried))"""
    assert node(code, spec) == [True] * 6


def test_the_command_signs_with_a_key_file(example: Db, tmp_path: Path) -> None:
    ann = Owner(key=keys.generate())
    keys.save(ann.key, tmp_path / "key.pem")
    (tmp_path / "spec.json").write_text(
        json.dumps(example.one("SELECT spec FROM rowseal.declarations WHERE tag = 'user_cards'"))
    )
    row = {
        "user_hash": b64(ann.hash),
        "sign_pkey": b64(ann.public_key),
        "name": "Ann",
        "deleted_flag": False,
        "owner_timestamp": "5",
    }
    command = [
        "node",
        str(packages() / "sign.mjs"),
        str(tmp_path / "key.pem"),
        str(tmp_path / "spec.json"),
    ]
    done = subprocess.run(
        command, input=json.dumps(row) + "\n", capture_output=True, text=True, check=True
    )
    sealed: dict[str, Any] = json.loads(done.stdout)
    assert verify(sealed, ann.public_key)
    assert example.one("SELECT outcome FROM rowseal.receive(%s)", Json(sealed)) == "inserted"
