"""Rows from outside are refused or stored, whatever they look like.

Genuine rows, changed by somebody who knows their structure, come beside good ones: as envelopes, as
columns in text form, in files, into the feed.  Nothing raises, no good row is lost, and what is
refused costs no more than its bytes.
"""

from __future__ import annotations

import json
import os
import random
from collections.abc import Iterator
from contextlib import nullcontext, suppress
from typing import Any

import pytest

from kit.db import Db, Server
from kit.example import EXAMPLE, Owner
from kit.process import cpu, most_memory, spent
from kit.scratch import pgtext
from kit.writers import GRANTS, WRITER
from rowseal.client.files import DamagedFile, import_rows

ROUNDS = int(os.environ.get("ROWSEAL_ROUNDS", "120"))
SEED = int(os.environ.get("ROWSEAL_SEED", "1"))
TABLES = f"""{EXAMPLE}
    {GRANTS};
    SELECT rowseal.declare('grants', owner => 'user_hash', identity => 'user_cards',
        grants => true, feed => true);
    CREATE TABLE wide (user_hash bytea, uuid uuid, j json, b jsonb, n numeric, m numeric[],
        f float8[], t timestamptz, i interval, x text, photo bytea, photo_sha256 bytea,
        deleted_flag boolean, owner_timestamp bigint, parent_sign_b64 bytea, sign_b64 bytea,
        PRIMARY KEY (user_hash, uuid));
    SELECT rowseal.declare('wide', owner => 'user_hash', identity => 'user_cards', feed => true,
        versions => 'wide_versions', columns => '{{"digests": ["photo"]}}');
    CREATE TABLE notes (user_hash bytea, uuid uuid, {WRITER}, deleted_flag boolean,
        owner_timestamp bigint, parent_sign_b64 bytea, sign_b64 bytea,
        PRIMARY KEY (user_hash, uuid));
    SELECT rowseal.declare('notes', owner => 'user_hash', identity => 'user_cards', feed => true,
        versions => 'notes_versions', writers => 'grants');"""

# JSON texts that somebody may put in the place of any other
ODD = [
    "null", "true", "0", "-1", "1.5", "1e400", "1e400000000", "-1e131071", "1E-400", "9" * 400,
    '""', '"\\u0000"', '"\\ud800"', '"\\udc00\\ud800"', '"\\u0001\\u001f"', '"\\\\x"', '"\\\\xzz"',
    '"AAAA="', '"=AAA"', '"NaN"', '"Infinity"', '"infinity"', '"-0"', '"01"', '"1e5"', '" 1 "',
    '"2026-02-30"', '"99999-01-01"', '"00000000-0000-0000-0000-00000000000G"', '"{1,NULL}"',
    '"[5:6]={1,2}"', "[]", "{}", "[[]]", '{"": {}}', '{"a": 1, "a": 2}', '{"\\u0000": 1}',
    '{"\\ud800": 1}', "[" * 200 + "]" * 200, "[" * 6000 + "]" * 6000, '{"sha256": 1}',
    '{"sha256": "AAAA"}', '"' + "\U0010ffff" * 50 + '"', '"' + "x" * 100_000 + '"',
    "[" + "1e308," * 2000 + "1]", "[null]", '[[1], [2, 3]]',
]  # fmt: skip
NAMES = [
    "row", "table", "rowseal", "sign_b64", "content", "user_hash", "uuid", "j", "b", "n", "m", "f",
    "t", "i", "x", "photo", "photo_sha256", "deleted_flag", "owner_timestamp", "parent_sign_b64",
    "writer_pkey", "writer_seq", "writer_prev", "grantee_pkey", "tables", "keys", "upto", "extra",
    "", "\\u0000", "\\ud800", "ctid", "tableoid", "__proto__",
]  # fmt: skip


class Raw(str):
    """JSON as it is to be spelled."""


def spell(value: Any) -> str:
    """JSON in which members may repeat: an object is a list of pairs in a tuple."""
    if isinstance(value, Raw):
        return value
    if isinstance(value, tuple):
        return "{" + ", ".join(f'"{k}": {spell(v)}' for k, v in value) + "}"
    return json.dumps(value)


def pairs(value: Any) -> Any:
    """Objects as pairs, so that they can be mutilated."""
    return tuple((k, pairs(v)) for k, v in value.items()) if isinstance(value, dict) else value


def mutated(rng: random.Random, row: Any, others: list[Any]) -> Any:
    """One change at one place of a row."""
    members = list(row)
    if not members:
        return Raw(rng.choice(ODD))
    at = rng.randrange(len(members))
    name, value = members[at]
    if isinstance(value, tuple) and rng.random() < 0.7:
        members[at] = (name, mutated(rng, value, others))
        return tuple(members)
    how = rng.randrange(7)
    if how <= 2:
        members[at] = (name, Raw(rng.choice(ODD)))
    elif how == 3:
        del members[at]
    elif how == 4:
        members.insert(at, (rng.choice([name, *NAMES]), Raw(rng.choice(ODD))))
    elif how == 5:
        members[at] = (rng.choice(NAMES), value)
    else:  # what stands in another row
        other = dict(rng.choice(others))
        members[at] = (name, other.get(name, value))
    return tuple(members)


class Place:
    """A database, and people whose rows are in it."""

    def __init__(self, db: Db, admin: Db):
        self.db, self.admin, self.ann, self.bob = db, admin, Owner("Ann"), Owner("Bob")
        self.forms = {t: db.form(t) for t in ("user_cards", "user_storage", "wide", "notes")}
        db.insert("user_cards", self.ann.sealed(self.forms["user_cards"], self.ann.card()))

    def rows(self, table: str, owner: Owner) -> dict[str, Any]:
        """A new row, unsigned."""
        row = owner.value()
        if table == "user_storage":
            return row
        del row["value_b64"]
        if table == "wide":
            wide = {
                "j": '{"a": [1, "x"]}', "b": "[]", "n": "1.50", "m": ["1", None], "f": [0.5, -0.0],
                "t": "2026-01-01T00:00:00.000000Z", "i": "P1D", "x": "ä\n", "photo": b"\0photo",
            }  # fmt: skip
            return {**row, **wide}
        return row

    def genuine(self, table: str, format: str, owner: Owner) -> Any:
        row = self.rows(table, owner)
        if format == "canonical":
            return pairs(owner.envelope(self.forms[table], row))
        sealed = owner.sealed(self.forms[table], row)
        arrays = {"m": "{1,NULL}", "f": "{0.5,-0}"}
        return pairs({**pgtext(sealed), **{n: v for n, v in arrays.items() if n in sealed}})

    def is_there(self, table: str, row: Any) -> bool:
        fields = dict(row)
        uuid = dict(fields.get("row", row))["uuid"]
        return bool(self.db.all(f"SELECT 1 FROM {table} WHERE uuid = %s", uuid))


@pytest.fixture(scope="module")
def place(server: Server) -> Iterator[Place]:
    name = server.database()
    with server.connect(name, "app") as app, server.connect(name) as admin:
        Db(app).run(TABLES)
        admin.execute("SET session_replication_role = replica")
        yield Place(Db(app), Db(admin))
    server.drop(name)


def bad_rows(rng: random.Random, place: Place, table: str, format: str) -> Any:
    """A row with one to four changes."""
    owner = rng.choice([place.ann, place.bob])
    row = place.genuine(table, format, owner)
    others = [place.genuine(t, format, place.ann) for t in ("user_storage", "wide", "notes")]
    for _ in range(rng.randint(1, 4)):
        row = mutated(rng, row, others) if isinstance(row, tuple) else row
    return row


TARGETS = ("user_storage", "wide", "notes")


COLLECT = """DO LANGUAGE plpython3u $$
plpy.execute("SELECT rowseal._load()")
GD["rowseal"]("server").arrivals(plpy).worker = {}
$$"""
DOORS = ["canonical", "pgtext", "receive", "file", "feed", "worker"]


@pytest.mark.parametrize("door", DOORS)
def test_no_row_raises_or_takes_a_good_one_with_it(door: str, place: Place) -> None:
    rng = random.Random(f"{SEED} {door}")
    format = "pgtext" if door == "pgtext" else "canonical"
    pid = place.db.one("SELECT pg_backend_pid()")
    for n in range(ROUNDS):
        table = rng.choice(TARGETS)
        good = place.genuine(table, format, place.ann)
        rows = [bad_rows(rng, place, table, format) for _ in range(rng.randint(1, 3))]
        rows.insert(rng.randrange(len(rows) + 1), good)
        sent = [spell(row) for row in rows]
        before = cpu(pid)
        try:
            enter(place, door, table, sent)
        except Exception as e:
            raise AssertionError(f"round {n}, {table}: {e}\n" + "\n".join(sent)[:3000]) from e
        size = sum(map(len, sent)) / 1e6
        assert spent(pid, before) < 0.25 + 0.6 * size, f"round {n}: {sent}"[:3000]
        assert place.is_there(table, good), f"round {n}, {table}: lost beside\n{sent}"[:3000]


def enter(place: Place, door: str, table: str, sent: list[str]) -> None:
    text = f"[{', '.join(sent)}]"
    if door == "receive":
        place.db.all("SELECT outcome FROM rowseal.receive(%s::json)", text)
    elif door in ("feed", "worker"):
        # a worker collects what a transaction brings
        place.admin.run(COLLECT.format(door == "worker"))
        with place.admin.connection.transaction() if door == "worker" else nullcontext():
            for row in sent:
                place.admin.run(
                    "INSERT INTO rowseal.feed (tag, owner, envelope) VALUES (%s, 'x', %s::json)",
                    table,
                    row,
                )
    elif door == "file":  # a line that is no envelope is told by its number
        for row in sent:
            with suppress(DamagedFile):
                import_rows(place.db.connection, [row + "\n"])
    else:
        place.db.all("SELECT outcome FROM rowseal.apply(%s, %s::json, %s)", table, text, door)


# ------------------------------------------------------------------------------ what it costs
MB = 1
# Wanted are 0.2 s and 20 bytes, which is not met yet; this much shows what is more than linear.
SECONDS, BYTES = 1.5, 250  # for each MB, for each byte
ABOVE = {("numbers", "b"), ("objects", "b")}
LARGE = {
    "numbers": "[" + "1e308," * (MB * 160_000) + "1]",
    "digits": "9" * (MB * 10**6),
    "objects": "[" + '{"a":1},' * (MB * 120_000) + "1]",
    "members": "{" + ",".join(f'"{n}":1' for n in range(MB * 90_000)) + "}",
    "one name": "{" + '"a":1,' * (MB * 160_000) + '"a":1}',
    "controls": '"' + "\\u0001" * (MB * 160_000) + '"',
    "strings": "[" + '"",' * (MB * 330_000) + '""]',
    "depth": "[" * 5000 + "1" + "]" * 5000,
}


DEAR = pytest.mark.xfail(reason="as jsonb, numbers are written with all their digits")
CASES = [
    pytest.param(shape, field, marks=DEAR if (shape, field) in ABOVE else ())
    for shape in LARGE
    for field in ("j", "b", "x", "extra")
]


@pytest.mark.parametrize(("shape", "field"), CASES)
def test_what_is_refused_costs_what_its_bytes_cost(
    shape: str, field: str, place: Place, server: Server
) -> None:
    row = place.genuine("wide", "canonical", place.ann)
    inner = dict(dict(row)["row"])
    inner[field] = Raw(LARGE[shape])
    sent = spell(tuple({**dict(row), "row": tuple(inner.items())}.items()))
    with server.connect(place.db.connection.info.dbname, "app") as c:
        db = Db(c)
        pid = db.one("SELECT pg_backend_pid()")
        good = place.genuine("wide", "canonical", place.ann)
        db.all("SELECT rowseal.apply('wide', %s::json)", spell(good))  # loads Python
        before, memory = cpu(pid), most_memory(pid)
        answer = db.one("SELECT outcome FROM rowseal.apply('wide', %s::json)", sent)
        seconds, memory = spent(pid, before), most_memory(pid) - memory
    assert answer == "rejected" or field == "extra"
    megabytes = len(sent) / 1e6
    assert seconds < 0.1 + SECONDS * megabytes, f"{seconds / megabytes:.2f} s/MB"
    assert memory < 16e6 + BYTES * len(sent), f"{memory / len(sent):.0f} bytes for each"
