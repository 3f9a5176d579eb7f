"""The canonical form rowseal/1: the server, the client and an independent reading of docs/specification.md agree.

``Value`` holds one value three times: as PostgreSQL reads it, as a client holds it, and as the JSON value that the
specification asks for, written down here without the package's code.  The oracle serialises that with rfc8785.
"""

from __future__ import annotations

import base64
import datetime as dt
import ipaddress
import json
import os
import re
import struct
from collections.abc import Iterator, Sequence
from decimal import Decimal
from functools import partial
from math import isnan
from typing import Any, NamedTuple

import psycopg
import pytest
import rfc8785
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from psycopg.types.json import Jsonb

from conftest import Db, Owner, Server
from rowseal import client
from rowseal.form.canonical import JSON_DEPTH, CanonicalError, Form, encoder


class Value(NamedTuple):
    sql: str
    client: Any
    json: Any


Values = st.SearchStrategy[Value]
UTC = dt.timezone.utc  # noqa: UP017 - Python 3.10 has no other name for it
# the same values in every run; ROWSEAL_EXAMPLES=300 asks for that many new ones
EXAMPLES = int(os.environ.get("ROWSEAL_EXAMPLES", "0"))
quick = settings(
    deadline=None, max_examples=EXAMPLES or 20, suppress_health_check=list(HealthCheck), derandomize=not EXAMPLES, database=None
)


# ------------------------------------------------------------------------------------------ leaves
def b64(raw: bytes) -> str:
    return base64.b64encode(raw).decode()


CHARACTERS = st.characters(exclude_categories=["Cs"], exclude_characters="\0")
TRICKY = ["", "null", "NULL", "\\", '"', "'", "{}", "[]", "true", " ", "a", "a ", "b", "\t\r\n\b\f", "\x01\x1f\x7f", "é", "e\u0301", "\u2028", "😀", "\ufb33", "\\u0041", "$1"]  # fmt: skip


def texts(longest: int = 8) -> st.SearchStrategy[str]:
    return st.sampled_from([t for t in TRICKY if len(t) <= longest]) | st.text(CHARACTERS, max_size=longest)


def plain(strategy: st.SearchStrategy[str]) -> Values:
    return strategy.map(lambda t: Value(t, t, t))


def integers(bits: int) -> Values:
    top = 2 ** (bits - 1)
    numbers = st.sampled_from([0, 1, -1, top - 1, -top]) | st.integers(-top, top - 1)
    return numbers.flatmap(lambda n: st.sampled_from([Value(str(n), n, str(n)), Value(str(n), str(n), str(n))]))


@st.composite
def numerics(draw: st.DrawFn, scale: int | None = None) -> Value:
    if scale is None and draw(st.integers(0, 9)) == 0:
        text = draw(st.sampled_from(["NaN", "Infinity", "-Infinity"]))
    else:
        whole = str(draw(st.sampled_from([0, 1, 10]) | st.integers(0, 10**7 if scale else 10**40)))
        digits = draw(st.integers(0, 6) | st.just(40)) if scale is None else scale
        fraction = draw(st.sampled_from(["0", "5", "9"]) | st.text("0123456789", min_size=1, max_size=40))[:digits].ljust(digits, "0")
        text = whole + ("." + fraction if fraction else "")
        if text.strip("0.") and draw(st.booleans()):
            text = "-" + text  # a numeric has no negative zero
    return Value(text, draw(st.sampled_from([text, Decimal(text)])), text)


def floats(width: Any) -> Values:
    def value(f: float) -> Value:
        if isnan(f):
            return Value("NaN", f, "NaN")
        if f in (float("inf"), float("-inf")):
            return Value(str(f), f, "Infinity" if f > 0 else "-Infinity")
        return Value(repr(f), f, "-0" if repr(f) == "-0.0" else f)

    special = [0.0, -0.0, 1.0, 0.1, 1e20, 1e21, 1e-6, 1e-7, 2.0**53, 5e-324 if width == 64 else 2.0**-149]
    return (st.sampled_from(special).map(lambda f: f if width == 64 else struct.unpack("f", struct.pack("f", f))[0])
            | st.floats(width=width)).map(value)  # fmt: skip


UUIDS = st.uuids().flatmap(lambda u: st.sampled_from([Value(str(u).upper(), u, str(u)), Value(str(u), str(u).upper(), str(u))]))
BYTES = (st.sampled_from([b"", b"\0", b"\\", b"\xff\xfe"]) | st.binary(max_size=9)).map(lambda b: Value("\\x" + b.hex(), b, b64(b)))
BOOLEANS = st.booleans().map(lambda b: Value("t" if b else "f", b, b))
INFINITE = st.sampled_from([Value(t, t, t) for t in ("infinity", "-infinity")])
MOMENTS = st.datetimes(dt.datetime(2, 1, 1), dt.datetime(9998, 12, 31)) | st.sampled_from([dt.datetime(2026, 11, 21, 9), dt.datetime(1999, 12, 31, 23, 59, 59, 999999)])


def moment(m: dt.datetime) -> str:
    return f"{m.year:04}-{m.month:02}-{m.day:02}T{m.hour:02}:{m.minute:02}:{m.second:02}.{m.microsecond:06}"


@st.composite
def timestamps(draw: st.DrawFn, zone: bool) -> Value:
    if draw(st.integers(0, 9)) == 0:
        return draw(INFINITE)
    if draw(st.integers(0, 9)) == 0:
        m = draw(st.sampled_from([dt.datetime.min, dt.datetime.max]))
        m = m.replace(tzinfo=UTC) if zone else m
    else:
        m = draw(MOMENTS)
        if zone:
            m = m.replace(tzinfo=dt.timezone(dt.timedelta(minutes=draw(st.sampled_from([0, 330, -570, 840])))))
    utc = m.astimezone(UTC) if zone else m
    text = moment(utc) + ("Z" if zone else "")
    shown = moment(utc).replace("T", " ").removesuffix(".000000") + ("+00" if zone else "")
    return Value(m.isoformat(" "), draw(st.sampled_from([m, text, shown])), text)


def date(d: dt.date) -> Value:
    return Value(d.isoformat(), d, f"{d.year:04}-{d.month:02}-{d.day:02}")


DATES = INFINITE | (st.dates() | st.sampled_from([dt.date.min, dt.date.max])).map(date)


def clock(t: dt.time) -> str:
    return f"{t.hour:02}:{t.minute:02}:{t.second:02}.{t.microsecond:06}"


TIMES = st.times().map(lambda t: Value(t.isoformat(), t, clock(t))) | st.just(Value("24:00:00", "24:00:00", "24:00:00.000000"))


@st.composite
def intervals(draw: st.DrawFn) -> Value:
    small = st.sampled_from([0, 1, -1, 12, -13])
    months, days = draw(small | st.integers(-4000, 4000)), draw(small | st.integers(-9999, 9999))
    micro = draw(st.sampled_from([0, 1, -1, 500_000, 3_600_000_000, -60_000_000]) | st.integers(-(10**13), 10**13))
    sign, rest = ("-" if micro < 0 else ""), abs(micro)
    seconds = f"{sign}{rest // 10**6}.{rest % 10**6:06}"

    def part(n: int, unit: str) -> str:
        return f"{n}{unit}" if n else ""

    years, months_ = (abs(months) // 12, abs(months) % 12) if months >= 0 else (-(abs(months) // 12), -(abs(months) % 12))
    hours, minutes, s = rest // 3_600_000_000, rest // 60_000_000 % 60, f"{rest // 10**6 % 60}.{rest % 10**6:06}".rstrip("0").rstrip(".")
    time = "".join(sign + f"{v}{u}" for v, u in ((hours, "H"), (minutes, "M"), (s, "S")) if v not in (0, "0"))
    text = "P" + part(years, "Y") + part(months_, "M") + part(days, "D") + ("T" + time if time else "")
    text = "PT0S" if text == "P" else text
    return Value(f"{months} months {days} days {seconds} seconds", text, text)


# -------------------------------------------------------------------------------------------- JSON
JSON_NUMBERS = st.sampled_from([0.0, 1.0, -1.0, 0.1, 1e21, 1e-7, 2.0**53, -(2.0**53), 1e300]) | st.floats(allow_nan=False, allow_infinity=False) | st.integers(-(2**53), 2**53).map(float)  # fmt: skip
JSON_VALUES = st.recursive(
    st.none() | st.booleans() | JSON_NUMBERS | texts(5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts(5), inner, max_size=3),
    max_leaves=6,
)


def spelled(draw: st.DrawFn, value: Any) -> str:
    """Some JSON text of a value: blanks, key order, escapes and the spelling of numbers vary."""
    gap = draw(st.sampled_from(["", "", " ", "\n\t"]))
    if isinstance(value, float):
        spellings = [repr(value)]
        if value == int(value) and abs(value) <= 2**53:
            spellings += [str(int(value)), f"{int(value)}.00", f"{int(value)}.0e0"]
        return draw(st.sampled_from(spellings)) + gap
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=draw(st.booleans())) + gap
    if isinstance(value, list):
        return "[" + gap + ",".join(spelled(draw, v) for v in value) + "]"
    if isinstance(value, dict):
        keys = draw(st.permutations(list(value)))
        return "{" + gap + ",".join(spelled(draw, k) + ":" + spelled(draw, value[k]) for k in keys) + "}"
    return json.dumps(value) + gap


@st.composite
def jsons(draw: st.DrawFn, null: bool = True) -> Value:
    value = draw(JSON_VALUES if null else JSON_VALUES.filter(lambda v: v is not None))
    text = spelled(draw, value)
    return Value(text, text, value)


# --------------------------------------------------------------------------------- arrays, composites
def quoted(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


@st.composite
def arrays(draw: st.DrawFn, element: Values, dimensions: int = 2) -> Value:
    elements = st.none() | element
    if dimensions == 1 or draw(st.booleans()):
        items = draw(st.lists(elements, max_size=4))
        sql = "{" + ",".join("NULL" if v is None else quoted(v.sql) for v in items) + "}"
        return Value(sql, [v and v.client for v in items], [v and v.json for v in items])
    width = draw(st.integers(1, 3))
    rows = draw(st.lists(st.lists(elements, min_size=width, max_size=width), min_size=1, max_size=3))
    sql = "{" + ",".join("{" + ",".join("NULL" if v is None else quoted(v.sql) for v in r) + "}" for r in rows) + "}"
    return Value(sql, [[v and v.client for v in r] for r in rows], [[v and v.json for v in r] for r in rows])


@st.composite
def composites(draw: st.DrawFn, **attributes: Values) -> Value:
    values = {name: draw(st.none() | strategy) for name, strategy in attributes.items()}
    sql = "(" + ",".join("" if v is None else quoted(v.sql) for v in values.values()) + ")"
    return Value(sql, {n: v and v.client for n, v in values.items()}, {n: v.json for n, v in values.items() if v is not None})


# -------------------------------------------------------------------------------------- other types
@st.composite
def networks(draw: st.DrawFn, cidr: bool) -> Value:
    address = ipaddress.ip_interface((draw(st.ip_addresses()), draw(st.integers(0, 32))))
    if (address.version == 6 and address.ip.ipv4_mapped) or str(address.ip).startswith("::"):
        address = ipaddress.ip_interface("2001:db8::5/64")  # PostgreSQL shows embedded IPv4 addresses in another way
    text = str(address.network) if cidr else str(address) if address.network.prefixlen < address.max_prefixlen else str(address.ip)
    if address.version == 6:
        text = draw(st.sampled_from(["::/0", "2001:db8::/32"] if cidr else ["::1", "fe80::1/64"]))
    return Value(text, text, text)


@st.composite
def ranges(draw: st.DrawFn) -> Value:
    low, high = sorted(draw(st.lists(st.integers(-(10**6), 10**6), min_size=2, max_size=2)))
    text = draw(st.sampled_from([f"[{low},{high})", f"[{low},)", f"(,{high})", "(,)"])) if low < high else "empty"
    return Value(text, text, text)


@st.composite
def moment_ranges(draw: st.DrawFn) -> Value:
    low = draw(MOMENTS).replace(tzinfo=dt.timezone(dt.timedelta(hours=draw(st.sampled_from([0, 5, -7])))))
    utc = low.astimezone(UTC)
    shown = moment(utc).replace("T", " ").rstrip("0").rstrip(".") if utc.microsecond else moment(utc).replace("T", " ")[:-7]
    return Value(f"[{low.isoformat()},)", f'["{shown}+00",)', f'["{shown}+00",)')


def hstore(pairs: dict[str, str | None]) -> Value:
    ordered = sorted(pairs.items(), key=lambda p: (len(p[0].encode()), p[0].encode()))  # hstore's own order
    text = ", ".join(quoted(k) + "=>" + ("NULL" if v is None else quoted(v)) for k, v in ordered)
    return Value(text, text, text)


@st.composite
def zoned_times(draw: st.DrawFn) -> Value:
    t = draw(st.times())
    fraction = f".{t.microsecond:06}".rstrip("0") if t.microsecond else ""
    text = clock(t)[:8] + fraction + draw(st.sampled_from(["+00", "-08", "+05:30", "-00:30:15"]))
    return Value(text, text, text)


MOODS = ["sad", "ok", "it's \"x\", é\\"]
BITS = st.text("01", min_size=5, max_size=5)
SAMPLES = ["(0.1,-0)", "(1e+300,NaN)", "(-0.5,3)"]
POINT = {"x": integers(32), "Y y": plain(texts()), "b": BYTES}
NEST = {"p": composites(**POINT), "ps": arrays(composites(**POINT)), "i": arrays(integers(32)), "t": timestamps(True), "j": jsons(null=False), "d": BYTES, "f": floats(32), "s": intervals()}  # fmt: skip

TYPES = f"""
    CREATE TYPE mood AS ENUM ({", ".join("'" + m.replace("'", "''") + "'" for m in MOODS)});
    CREATE DOMAIN dint AS integer;  CREATE DOMAIN dbytea AS bytea;  CREATE DOMAIN darray AS int[];  CREATE DOMAIN djson AS jsonb;
    CREATE DOMAIN dd AS dbytea;     CREATE TYPE pt AS (x int, "Y y" text, b dbytea);                CREATE DOMAIN dpt AS pt;
    CREATE TYPE nest AS (p pt, ps pt[], i int[], t timestamptz, j jsonb, d dbytea, f real, s interval);
"""
COLUMNS: dict[str, tuple[str, Values]] = {
    "boolean": ("boolean", BOOLEANS),
    "smallint": ("smallint", integers(16)),
    "integer": ("integer", integers(32)),
    "bigint": ("bigint", integers(64)),
    "numeric": ("numeric", numerics()),
    "scaled": ("numeric(14,4)", numerics(4)),
    "real": ("real", floats(32)),
    "double": ("double precision", floats(64)),
    "text": ("text", plain(texts(30))),
    "varchar": ("varchar(6)", plain(texts(6))),
    "char": ("char(5)", texts(5).map(lambda t: Value(t, t.ljust(5), t.ljust(5)))),
    "name": ("name", plain(texts(12))),
    "citext": ("citext", plain(texts())),
    "enum": ("mood", plain(st.sampled_from(MOODS))),
    "bytea": ("bytea", BYTES),
    "uuid_": ("uuid", UUIDS),
    "timestamptz": ("timestamptz", timestamps(True)),
    "timestamp": ("timestamp", timestamps(False)),
    "date": ("date", DATES),
    "time": ("time", TIMES),
    "interval": ("interval", intervals()),
    "json": ("json", jsons()),
    "jsonb": ("jsonb", jsons()),
    "integers": ("int[]", arrays(integers(32))),
    "texts": ("text[]", arrays(plain(texts()))),
    "byteas": ("bytea[]", arrays(BYTES)),
    "doubles": ("float8[]", arrays(floats(64))),
    "reals": ("real[]", arrays(floats(32))),
    "numerics": ("numeric[]", arrays(numerics())),
    "booleans": ("boolean[]", arrays(BOOLEANS)),
    "uuids": ("uuid[]", arrays(UUIDS)),
    "moments": ("timestamptz[]", arrays(timestamps(True))),
    "dates": ("date[]", arrays(DATES)),
    "moods": ("mood[]", arrays(plain(st.sampled_from(MOODS)))),
    "chars": ("char(5)[]", arrays(texts(5).map(lambda t: Value(t, t.ljust(5), t.ljust(5))))),
    "jsonbs": ("jsonb[]", arrays(jsons(null=False), dimensions=1)),
    "domains": ("dbytea[]", arrays(BYTES)),
    "points": ("pt[]", arrays(composites(**POINT))),
    "composite": ("pt", composites(**POINT)),
    "nested": ("nest", composites(**NEST)),
    "dint": ("dint", integers(32)),
    "dbytea": ("dd", BYTES),
    "darray": ("darray", arrays(integers(32))),
    "djson": ("djson", jsons()),
    "dcomposite": ("dpt", composites(**POINT)),
    "inet": ("inet", networks(False)),
    "cidr": ("cidr", networks(True)),
    "bit": ("bit(5)", plain(BITS)),
    "varbit": ("varbit", plain(st.text("01", max_size=9))),
    "range": ("int4range", ranges()),
    "moment_range": ("tstzrange", moment_ranges()),
    "timetz": ("timetz", zoned_times()),
    "point": ("point", plain(st.sampled_from(SAMPLES))),
    "ranges": ("int4range[]", arrays(ranges())),
    "hstore": ("hstore", st.dictionaries(texts(), st.none() | texts(), max_size=4).map(hstore)),
    'Quer"köpfe': ("text", plain(texts())),
}
HOSTILE = {
    "DateStyle": "German, DMY", "TimeZone": "Asia/Kolkata", "IntervalStyle": "postgres_verbose", "bytea_output": "escape",
    "extra_float_digits": "0", "lc_monetary": "C", "quote_all_identifiers": "on", "backslash_quote": "off", "escape_string_warning": "on",
    "standard_conforming_strings": "off", "array_nulls": "on", "xmlbinary": "hex", "transform_null_equals": "on",
    "search_path": "evil, pg_catalog, public",
}  # fmt: skip
SHADOWS = """
    CREATE SCHEMA evil;  GRANT USAGE ON SCHEMA evil TO app;
    CREATE FUNCTION evil.bad() RETURNS boolean LANGUAGE plpgsql AS $$BEGIN RAISE 'a shadow was called'; END$$;
    CREATE FUNCTION evil.array_dims(anyarray) RETURNS text LANGUAGE sql AS $$SELECT evil.bad()::pg_catalog.text$$;
    CREATE FUNCTION evil.generate_subscripts(anyarray, integer) RETURNS SETOF integer LANGUAGE sql AS $$SELECT 1 WHERE evil.bad()$$;
    CREATE FUNCTION evil.jsonb_to_record(jsonb) RETURNS record LANGUAGE sql AS $$SELECT ROW(evil.bad())$$;
    CREATE FUNCTION evil.jsonb_array_length(jsonb) RETURNS integer LANGUAGE sql AS $$SELECT 1 WHERE evil.bad()$$;
    CREATE FUNCTION evil.sha256(bytea) RETURNS bytea LANGUAGE sql AS $$SELECT $1 WHERE evil.bad()$$;
    CREATE FUNCTION evil.same(text, text) RETURNS boolean LANGUAGE sql AS $$SELECT evil.bad()$$;
    CREATE FUNCTION evil.same(bytea, bytea) RETURNS boolean LANGUAGE sql AS $$SELECT evil.bad()$$;
    CREATE OPERATOR evil.= (LEFTARG = text, RIGHTARG = text, FUNCTION = evil.same);
    CREATE OPERATOR evil.= (LEFTARG = bytea, RIGHTARG = bytea, FUNCTION = evil.same);
    CREATE OPERATOR evil.> (LEFTARG = bytea, RIGHTARG = bytea, FUNCTION = evil.same);
    CREATE OPERATOR evil.~ (LEFTARG = text, RIGHTARG = text, FUNCTION = evil.same);
    CREATE DOMAIN evil.text AS integer;  CREATE DOMAIN evil.bytea AS integer;  CREATE DOMAIN evil.jsonb AS integer;
    CREATE DOMAIN evil.timestamptz AS integer;  CREATE DOMAIN evil.record AS integer;
"""
HOUSEKEEPING = "h bytea, n integer, deleted_flag boolean, owner_timestamp bigint, sign_b64 bytea"
OWNER = Owner(key=client.SigningKey(bytes(range(32))))


# of these the canonical text is written by SQL, too
IN_SQL = ("boolean", "smallint", "integer", "bigint", "numeric", "scaled", "text", "varchar", "bytea", "uuid_", "dint", "dbytea")


def name(column: str) -> str:
    return '"' + column.replace('"', '""') + '"'


class Lab:
    """A database with a declared table of all types for each way in, and an undeclared twin of it."""

    def __init__(self, db: Db):
        self.db = db
        columns = ", ".join(f"{name(c)} {type_}" for c, (type_, _) in COLUMNS.items())
        db.run(TYPES)
        db.run("CREATE TABLE cards (h bytea PRIMARY KEY, k bytea, deleted_flag boolean, owner_timestamp bigint, sign_b64 bytea)")
        db.run("SELECT rowseal.declare('cards', owner => 'h', public_key => 'k')")
        db.run(f"CREATE TABLE twin ({HOUSEKEEPING}, {columns})")
        for table in ("inserted", "canonical", "pgtext"):
            db.run(f"CREATE TABLE {table} ({HOUSEKEEPING}, parent_sign_b64 bytea, {columns}, PRIMARY KEY (h, n))")
            db.run(f"SELECT rowseal.declare('{table}', owner => 'h', identity => 'cards', versions => '{table}_versions')")
        self.forms = {t: db.form(t) for t in ("cards", "inserted", "canonical", "pgtext")}
        card = {"h": OWNER.hash, "k": OWNER.public_key, "deleted_flag": False, "owner_timestamp": 1}
        db.insert("cards", OWNER.sealed(self.forms["cards"], card))
        id_ = db.one("SELECT id FROM rowseal.declarations WHERE tag = 'inserted'")
        arguments = ", ".join("NULL::pg_catalog.bytea" if c == "parent_sign_b64" else f"t.{name(c)}" for c in self.forms["inserted"].names)
        self.payloads = f"SELECT rowseal._payload_{id_}(true, {arguments}) FROM public.twin t ORDER BY t.n"
        columns = ", ".join(f"{name(c)} {COLUMNS[c][0]}" for c in IN_SQL)
        db.run(f"CREATE TABLE written ({HOUSEKEEPING}, {columns}, PRIMARY KEY (h, n))")
        db.run("SELECT rowseal.declare('written', owner => 'h', identity => 'cards')")
        query = db.one("SELECT queries ->> 'envelopes' FROM rowseal.declarations WHERE tag = 'written'")
        (written,) = re.findall(r"^SELECT \((.*)\)::pg_catalog.jsonb ", query)
        assert "rowseal." not in written
        self.written = f"SELECT {written} FROM public.twin t ORDER BY t.n"

    def fill(self, column: str, values: Sequence[Value | None]) -> None:
        with self.db.connection.cursor().copy(f"COPY public.twin (n, {name(column)}) FROM STDIN") as copy:
            for i, value in enumerate(values):
                copy.write_row((i, value and value.sql))

    def hostile(self, local: bool = False) -> None:
        calls = ", ".join(f"pg_catalog.set_config('{setting}', '{value}', {local})" for setting, value in HOSTILE.items())
        self.db.run(f"SELECT {calls}")


@pytest.fixture(scope="module")
def lab(server: Server) -> Iterator[Lab]:
    database = server.database()
    with server.connect(database) as c:
        c.execute("CREATE EXTENSION citext")
        c.execute("CREATE EXTENSION hstore")
        c.execute(SHADOWS)
    with server.connect(database, "app") as c:
        yield Lab(Db(c))
    server.drop(database)


def oracle(tag: str, row: dict[str, Any]) -> bytes:
    return rfc8785.dumps({"row": {k: v for k, v in row.items() if v is not ABSENT}, "rowseal": 1, "table": tag})


ABSENT = object()  # SQL NULL, where None is JSON null


# --------------------------------------------------------------------------------- without a server
KINDS = {  # as rowseal._kind says it; None: not part of this test
    "boolean": "boolean", "smallint": "integer", "bigint": "integer", "numeric": "numeric", "real": "float", "double": "float", "text": "text",
    "char": "text", "bytea": "bytea", "uuid_": "uuid", "timestamptz": "timestamptz", "timestamp": "timestamp", "date": "date", "time": "time",
    "interval": "other", "json": "json", "integers": {"array": "integer"}, "byteas": {"array": "bytea"}, "doubles": {"array": "float"},
    "moments": {"array": "timestamptz"}, "jsonbs": {"array": "json"}, "composite": {"composite": [["x", "integer"], ["Y y", "text"], ["b", "bytea"]]},
    "hstore": "other",
}  # fmt: skip


@settings(quick, max_examples=EXAMPLES or 200)
@given(data=st.data(), tag=texts(), names=st.lists(texts(), min_size=1, max_size=4, unique=True))
def test_the_bytes_are_the_jcs_of_the_specified_mapping(data: st.DataObject, tag: str, names: list[str]) -> None:
    columns = [data.draw(st.sampled_from(list(KINDS))) for _ in names]
    values = [data.draw(st.none() | COLUMNS[c][1]) for c in columns]
    form = Form(tag, dict(zip(names, (KINDS[c] for c in columns))))
    expected = oracle(tag, {n: v.json if v else ABSENT for n, v in zip(names, values)})
    assert form.payload_of({n: v and v.client for n, v in zip(names, values)}) == expected


@settings(quick, max_examples=EXAMPLES or 400)
@given(JSON_NUMBERS)
def test_numbers_are_those_of_ecmascript(number: float) -> None:
    assert encoder("float")(number) == (rfc8785.dumps(number) if repr(number) != "-0.0" else b'"-0"')
    assert encoder("json")(repr(number)) == rfc8785.dumps(number)


# --------------------------------------------------------------------------------- with the server
@pytest.mark.parametrize("column", COLUMNS)
def test_server_client_and_oracle_agree_whatever_the_settings(lab: Lab, column: str) -> None:
    form = lab.forms["inserted"]

    @quick
    @given(st.lists(st.none() | COLUMNS[column][1], min_size=1, max_size=20))
    def check(values: list[Value | None]) -> None:
        expected = [oracle("inserted", {column: v.json if v else ABSENT, "n": str(i)}).decode() for i, v in enumerate(values)]
        assert [form.payload_of({column: v and v.client, "n": i}).decode() for i, v in enumerate(values)] == expected
        with lab.db.connection.transaction(force_rollback=True):
            lab.fill(column, values)
            assert lab.db.all(lab.payloads) == expected
            same = set(lab.db.all(f"""SELECT a.n, b.n FROM twin a JOIN twin b ON a.n < b.n
                                       WHERE record_image_eq(ROW(a.{name(column)}), ROW(b.{name(column)}))"""))
            lab.hostile(local=True)
            assert lab.db.all(lab.payloads) == expected
            if column in IN_SQL:
                assert lab.db.all(lab.written) == [e.replace('"table":"inserted"}', '"table":"written"}') for e in expected]
            for text in expected[:5]:
                row = json.loads(text)["row"]
                if column not in row or not json_null(column, row[column]):
                    assert lab.db.one("SELECT rowseal.payload('public.inserted', %s)", Jsonb(row)) == text
        if "json" not in column and column != "nested":  # there, different spellings share bytes
            alone = [e.replace(f'"n":"{i}"', "") for i, e in enumerate(expected)]
            for i in range(len(values)):
                for j in range(i + 1, len(values)):
                    assert (alone[i] == alone[j]) == ((i, j) in same), (values[i], values[j])

    check()


def json_null(column: str, value: Any) -> bool:
    """What test_a_json_null_… and test_an_array_of_json_arrays_… are about stays out of the other tests."""
    if column == "jsonbs":
        return any(isinstance(v, list) for v in value)
    return value is None if "json" in column else column == "nested" and "j" in value and value["j"] is None


def storable(column: str, value: Value) -> bool:
    return not json_null(column, value.json)


def sealed(lab: Lab, table: str, row: dict[str, Value], n: int, timestamp: int) -> tuple[dict[str, str], dict[str, Any]]:
    """A row of a lab table as SQL texts and as an envelope, signed over the oracle's bytes."""
    fields = {"h": b64(OWNER.hash), "n": str(n), "deleted_flag": False, "owner_timestamp": str(timestamp), **{c: v.json for c, v in row.items()}}
    payload = oracle(table, fields)
    client_row = {"h": OWNER.hash, "n": n, "deleted_flag": False, "owner_timestamp": timestamp, **{c: v.client for c, v in row.items()}}
    signature = client.sign(lab.forms[table], client_row, OWNER.key)
    assert signature == OWNER.key.sign(payload).signature
    texts_ = {"h": "\\x" + OWNER.hash.hex(), "n": str(n), "deleted_flag": "f", "owner_timestamp": str(timestamp), "sign_b64": "\\x" + signature.hex()}
    return {**texts_, **{c: v.sql for c, v in row.items()}}, {**json.loads(payload), "sign_b64": b64(signature)}


ELECTRIC = "SET LOCAL bytea_output = hex; SET LOCAL datestyle = 'ISO, DMY'; SET LOCAL timezone = UTC; SET LOCAL extra_float_digits = 1; SET LOCAL intervalstyle = iso_8601"


def test_signed_rows_of_all_types_come_through_every_door(lab: Lab) -> None:
    serial = iter(range(1, 10**6))
    # JSON nulls: see test_a_json_null_is_not_an_sql_null
    strategies: dict[str, Values] = {c: s.filter(partial(storable, c)) for c, (_, s) in COLUMNS.items()}

    @quick
    @given(st.lists(st.fixed_dictionaries({}, optional=strategies), min_size=2, max_size=2))
    def check(rows: list[dict[str, Value]]) -> None:
        n = next(serial)
        for row in rows:  # two versions of one key: the first moves into the versions table
            timestamp = next(serial)
            texts_, _ = sealed(lab, "inserted", row, n, timestamp)
            with lab.db.connection.cursor().copy(f"COPY inserted ({', '.join(map(name, texts_))}) FROM STDIN") as copy:
                copy.write_row(list(texts_.values()))
            with lab.db.connection.transaction():
                for statement in ELECTRIC.split(";"):
                    lab.db.run(statement)
                columns = ", ".join(f"{name(c)}::text" for c in texts_)
                shown = dict(zip(texts_, lab.db.one(f"SELECT {columns} FROM inserted WHERE n = {n}")))
            shown["sign_b64"] = sealed(lab, "pgtext", row, n, timestamp)[0]["sign_b64"]
            _, envelope = sealed(lab, "canonical", row, n, timestamp)
            for hostile in (False, True):
                with lab.db.connection.transaction():
                    if hostile:
                        lab.hostile(local=True)
                    for table, element in (("canonical", envelope), ("pgtext", shown)):
                        _, outcome, reason = lab.db.one("SELECT * FROM rowseal.apply(%s, %s, %s)", "public." + table, Jsonb([element]), table)
                        assert (outcome, reason) == ("duplicate" if hostile else "inserted" if row is rows[0] else "superseded", None)
            assert client.verify(envelope, OWNER.public_key)

    check()
    for table in ("inserted", "canonical", "pgtext"):
        assert lab.db.one(f"SELECT count(*) FROM {table}") == lab.db.one(f"SELECT count(*) FROM {table}_versions") > 0
        assert lab.db.all("SELECT * FROM rowseal.verify(%s)", table) == []


# ------------------------------------------------------------------------------------- injectivity
NEAR: dict[str, list[Any]] = {
    "text": [None, "", "null", "a", "b", "ab", '"', '","b":"', "\\", "{}"],
    "integer": [None, 0, 1, -1, 10],
    "numeric": [None, Decimal("1.0"), Decimal("1.00"), Decimal(1), Decimal(10), Decimal("NaN"), Decimal(0), Decimal("0.0")],
    "float": [None, 0.0, -0.0, 1.0, float("nan"), float("inf"), -1.0],
    "bytea": [None, b"", b"\0", b"null", b"\0\0"],
    "json": [None, "null", "0", '"null"', "[]", "[null]", "{}", '{"a":null}', "[[]]", "1", '"1"'],
    "boolean": [None, True, False],
    "array": [None, [], [None], ["null"], [""], ["a", "b"], [["a"], ["b"]], [["a", "b"]], ["a,b"], [[None]], ['a","b']],
    "composite": [None, {}, {"x": ""}, {"y": ""}, {"x": "", "y": ""}, {"x": '","y":"'}, {"x": "null"}],
    "nested": [None, [], [None], [{}], [{"x": []}], [{"x": [None]}], [[{}]], [[{"x": [["a"]]}]]],
}
NEAR_KINDS: dict[str, Any] = {
    **{k: k for k in NEAR},
    "array": {"array": "text"},
    "composite": {"composite": [["x", "text"], ["y", "text"]]},
    "nested": {"array": {"composite": [["x", {"array": "text"}]]}},
}


@settings(quick, max_examples=EXAMPLES or 300)
@given(data=st.data(), kinds=st.lists(st.sampled_from(list(NEAR)), min_size=1, max_size=3))
def test_different_rows_never_share_bytes(data: st.DataObject, kinds: list[str]) -> None:
    form = Form("t", {f"c{i}": NEAR_KINDS[k] for i, k in enumerate(kinds)})
    rows = data.draw(st.lists(st.tuples(*(st.sampled_from(NEAR[k]) for k in kinds)), min_size=2, max_size=30))
    assert len({form.payload(r) for r in rows}) == len({repr(r) for r in rows})


def test_tags_and_field_names_are_part_of_the_bytes() -> None:
    payloads = {Form(tag, {field: "text"}).payload(["v"]) for tag in ("a", "b", 'a"', "") for field in ("a", "b", "row", 'a":"v"},"x')}
    assert len(payloads) == 16
    assert Form("t", {"a": "text", "b": "text"}).payload(["v", None]) != Form("t", {"a": "text", "b": "text"}).payload([None, "v"])


# ------------------------------------------------------------------------------------------ refusals
BOUNDS = "'[0:1]={1,2}'"
NO_FORM = {
    "timestamptz": ["'0001-01-01 00:00:00 UTC BC'", "'10000-01-01 00:00:00 UTC'", "'294276-12-31 23:59:59 UTC'"],
    "timestamp": ["'0044-03-15 12:00 BC'", "'10000-01-01'"],
    "date": ["'0001-12-31 BC'", "'10000-01-01'", "'5874897-12-31'"],
    "moments": ["ARRAY['0001-01-01 BC'::timestamptz]"],
    "integers": [BOUNDS, "'[-1:-1]={1}'", "'[2:2][1:1]={{1}}'", "'[1:1][0:0]={{1}}'"],
    "darray": [BOUNDS],
    "byteas": ["'[5:5]={\"\"}'"],
    "points": ["array_fill(NULL::pt, '{1}', '{0}')"],
    "nested": [
        f"ROW(NULL, NULL, {BOUNDS}, NULL, NULL, NULL, NULL, NULL)",
        "ROW(NULL, array_fill(NULL::pt, '{1}', '{0}'), NULL, NULL, NULL, NULL, NULL, NULL)",
        "ROW(NULL, NULL, NULL, '10000-01-01', NULL, NULL, NULL, NULL)",
        "ROW(NULL, NULL, NULL, NULL, '1e400', NULL, NULL, NULL)",
    ],
    "json": [
        "'9007199254740993'", "'0.1000000000000000055511151231257827'", "'1e400'", "'-1e400'", "'1e-400'", "'1180591620717411303424'",
        "'1e99999999999999999999'", "repeat('9', 100000)", "'{\"a\": 1, \"a\": 1}'", "'{\"a\": 1, \"\\u0061\": 2}'", "'[{\"\": [{\"x\":1,\"x\":2}]}]'",
        "'\"\\ud800\"'", "'{\"\\udc00\": 1}'", "'\"\\udc00\\ud800\"'", "'\"\\u0000\"'", "'{\"\\u0000\": 1}'",
        f"repeat('[', {JSON_DEPTH + 1}) || repeat(']', {JSON_DEPTH + 1})", "repeat('{\"a\":', 129) || '1' || repeat('}', 129)",
        "repeat('[', 3000) || repeat(']', 3000)", "repeat('{\"a\":', 1000) || '1' || repeat('}', 1000)",
    ],
    "jsonb": ["'9007199254740993'", "'1e400'", f"(repeat('[', {JSON_DEPTH + 1}) || repeat(']', {JSON_DEPTH + 1}))", "'12345678901234567890'"],
    "djson": ["'9007199254740993'"],
    "jsonbs": ["ARRAY['null'::jsonb]", "ARRAY[['1'::jsonb]]", "ARRAY['1e400'::jsonb]", "'[0:0]={1}'"],
}  # fmt: skip


@pytest.mark.parametrize(("column", "literal"), [(c, literal) for c, many in NO_FORM.items() for literal in many])
def test_a_value_without_canonical_form_is_refused(lab: Lab, column: str, literal: str) -> None:
    type_ = COLUMNS[column][0]
    diag = lab.db.refused("RS006", f"""INSERT INTO inserted (h, n, deleted_flag, owner_timestamp, sign_b64, {name(column)})
        VALUES (%s, 1, false, 1, %s, ({literal})::{type_})""", OWNER.hash, bytes(64))  # fmt: skip
    assert "inserted" in str(diag.message_primary) and diag.message_hint


@pytest.mark.parametrize(("column", "literal"), [(c, many[0]) for c, many in NO_FORM.items()])
def test_apply_rejects_a_value_without_canonical_form(lab: Lab, column: str, literal: str) -> None:
    shown = lab.db.one(f"SELECT ({literal})::{COLUMNS[column][0]}::text")
    row = {"h": "\\x" + OWNER.hash.hex(), "n": "1", "deleted_flag": "f", "owner_timestamp": "1", "sign_b64": "\\x" + "00" * 64, column: shown}
    _, outcome, reason = lab.db.one("SELECT * FROM rowseal.apply('inserted', %s, 'pgtext')", Jsonb([row]))
    assert outcome == "rejected" and reason.startswith("RS006: ")


def test_json_as_deep_as_allowed_is_signed(lab: Lab) -> None:
    for opening, closing in (("[", "]"), ('{"a":', "}")):
        text = opening * JSON_DEPTH + ("" if opening == "[" else "1") + closing * JSON_DEPTH
        with lab.db.connection.transaction(force_rollback=True):
            lab.fill("json", [Value(text, text, None)])
            assert text in lab.db.one(lab.payloads)


def test_client_values_without_canonical_form_are_refused() -> None:
    bad: list[tuple[Any, Any]] = [
        ("boolean", 1), ("integer", True), ("integer", 1.0), ("integer", "1e3"), ("integer", "٣"), ("numeric", "x"), ("text", b"a"), ("text", "\0"),
        ("text", "\ud800"), ("uuid", "0"), ("json", "NaN"), ("json", "[1,]"), ("json", ""), ("json", "'a'"), ("json", "01"), ("json", "\ufeff1"),
        ("timestamptz", dt.datetime(2026, 1, 1)), ("timestamp", dt.datetime(2026, 1, 1, tzinfo=UTC)), ("date", dt.datetime(2026, 1, 1)),
        ("timestamptz", dt.datetime(1, 1, 1, tzinfo=dt.timezone(dt.timedelta(hours=1)))), ("time", "infinity"), ("time", dt.time(1, tzinfo=UTC)),
        ("date", "12026-01-01"), ({"array": "text"}, "a"), ({"array": "json"}, ["null"]), ({"array": "json"}, [["1"]]), ({"composite": [["a", "text"]]}, {"b": "1"}),
        ({"composite": [["a", "text"]]}, ["1"]), ("json", "[" * 100_000),
    ]  # fmt: skip
    for kind, value in bad:
        with pytest.raises(CanonicalError):
            Form("t", {"f": kind}).payload([value])
    with pytest.raises(CanonicalError, match="'g'"):
        Form("t", {"f": "text"}).payload_of({"g": "x"})


@pytest.mark.parametrize("type_", ["money", "oid", "regclass", "regtype", "xid8", "money[]", "moneys", "dmoney", "darray[]", "int2vector"])
def test_types_without_canonical_form_are_refused_at_declaration(db: Db, type_: str) -> None:
    # int2vector fails: it is declared, and then every row with a value in it is refused (RS006 "list is not text")
    db.run("CREATE TYPE moneys AS (a int, m money); CREATE DOMAIN dmoney AS money; CREATE DOMAIN darray AS int[]")
    db.run(f"CREATE TABLE t (h bytea PRIMARY KEY, k bytea, v {type_}, deleted_flag boolean, owner_timestamp bigint, sign_b64 bytea)")
    db.refused("RS007", "SELECT rowseal.declare('t', owner => 'h', public_key => 'k')")
    assert db.one("SELECT created FROM rowseal.declare('t', owner => 'h', public_key => 'k', unsigned => '{v}')")


# ------------------------------------------------------------------ one property each, found by the above
def apply_fresh(lab: Lab, column: str, value: Value, n: int) -> tuple[str, str | None]:
    _, envelope = sealed(lab, "canonical", {column: value}, n, 1)
    return tuple(lab.db.one("SELECT outcome, reason FROM rowseal.apply('canonical', %s)", Jsonb([envelope])))  # type: ignore[return-value]


@pytest.mark.parametrize("column", ["json", "jsonb", "djson"])
def test_a_json_null_is_not_an_sql_null(lab: Lab, column: str) -> None:
    # fails: jsonb_to_record and jsonb_populate_record read JSON null as SQL NULL, so apply rejects a genuine row
    value = Value("null", "null", None)
    assert apply_fresh(lab, column, value, 900_001 + list(COLUMNS).index(column)) == ("inserted", None)


def test_an_array_of_json_arrays_is_not_a_matrix(lab: Lab) -> None:
    # fails: jsonb_to_record takes the elements for dimensions ("expected JSON array")
    assert apply_fresh(lab, "jsonbs", Value("", ["[1]", '"s"'], [[1], "s"]), 900_101) == ("inserted", None)


def test_lower_bounds_inside_a_matrix_of_composites_are_seen(db: Db) -> None:
    # fails: the generated check looks at (value)[i], which is NULL for a matrix; two rows share their bytes
    db.run("CREATE TYPE box_ AS (i int[])")
    db.run("CREATE TABLE t (h bytea PRIMARY KEY, k bytea, v box_[], deleted_flag boolean, owner_timestamp bigint, sign_b64 bytea)")
    db.run("SELECT rowseal.declare('t', owner => 'h', public_key => 'k')")
    row = {"h": b"a", "k": OWNER.public_key, "v": [[{"i": [1, 2]}]], "deleted_flag": False, "owner_timestamp": 1}
    signature = client.sign(db.form("t"), row, OWNER.key)
    insert = "INSERT INTO t VALUES ('a', %s, ARRAY[[ROW(" + BOUNDS + ")::box_]], false, 1, %s)"
    db.refused("RS006", insert, OWNER.public_key, signature)


SHAPES = [5, True, "x", [5], ["A"], {"a": 1}, {"b": 5}, {"b": "A"}, {"d": [1]}, {"p": 5}, [{"b": 5}], [[["AA=="]]], {"ps": {"b": 1}}, [[1], 2]]


@pytest.mark.parametrize("column", ["bytea", "byteas", "composite", "nested", "points", "dcomposite", "integers", "jsonbs", "timestamptz"])
def test_a_value_of_another_shape_never_stops_the_rows_beside_it(lab: Lab, column: str) -> None:
    # fails: _hex raises Python errors (SQLSTATE 38000), which apply and payload do not catch
    wrong = []
    for value in SHAPES:
        _, bad = sealed(lab, "canonical", {}, 900_201, 1)
        _, good = sealed(lab, "canonical", {}, 900_202, 1)
        bad["row"][column] = value
        for sql, rows in (
            ("SELECT outcome FROM rowseal.apply('canonical', %s)", [bad, good]),
            ("SELECT rowseal.payload('canonical', %s)", bad["row"]),
        ):
            try:
                with lab.db.connection.transaction(force_rollback=True):
                    answer = lab.db.all(sql, Jsonb(rows))
                if rows == [bad, good] and answer != ["rejected", "inserted"]:
                    wrong.append((value, str(answer)))
            except psycopg.Error as e:
                if rows == [bad, good] or "Traceback" in str(e):
                    wrong.append((value, f"{e.sqlstate} {e.diag.message_primary}"))
    assert wrong == []


def test_an_input_function_that_fails_in_its_own_way_never_stops_the_rows_beside_it(lab: Lab) -> None:
    # fails: hstore_in raises an internal error (XX000), which apply does not catch
    with lab.db.connection.transaction(force_rollback=True):
        _, bad = sealed(lab, "canonical", {}, 900_201, 1)
        _, good = sealed(lab, "canonical", {}, 900_202, 1)
        bad["row"]["hstore"] = "=>"
        assert lab.db.all("SELECT outcome FROM rowseal.apply('canonical', %s)", Jsonb([bad, good])) == ["rejected", "inserted"]


# ------------------------------------------------------------------------------ client.verify
def test_a_client_verifies_json_as_deep_as_the_server_stores_it() -> None:
    # fails: the depth is counted from the envelope's outermost object, not from the value
    form = Form("t", {"j": "json"})
    assert client.verify(client.envelope(form, {"j": "[" * JSON_DEPTH + "]" * JSON_DEPTH}, OWNER.key), OWNER.public_key)


def test_a_client_refuses_an_envelope_whose_number_was_altered() -> None:
    # fails: float(9007199254740993) is the signed 9007199254740992
    sealed_ = client.envelope(Form("t", {"j": "json"}), {"j": "9007199254740992"}, OWNER.key)
    sealed_["row"]["j"] = 9007199254740993
    assert not client.verify(sealed_, OWNER.public_key)


def test_a_client_refuses_what_is_no_envelope_without_an_error() -> None:
    # fails: OverflowError, AttributeError
    good = client.envelope(Form("t", {"j": "json"}), {"j": "1"}, OWNER.key)
    for change in ({"row": {"j": 10**400}}, {"rowseal": 10**400}, {"row": None}, {"row": {"j": [1, 2]}}, {"sign_b64": None}, {"sign_b64": ""}, {"more": 1}):
        assert not client.verify({**good, **change}, OWNER.public_key)
    assert not client.verify({}, OWNER.public_key)
    assert not client.verify({**good, 1: 2}, OWNER.public_key)  # type: ignore[dict-item]


@pytest.mark.parametrize(
    ("kind", "value"),
    [("bytea", "abc"), ("float", "abc"), ("float", 10**400), ("date", 5), ("time", 5), ("timestamptz", b"x"), ("json", 5), ("numeric", Decimal("sNaN"))],
    ids=lambda v: str(v)[:12],
)
def test_a_client_value_of_another_type_is_a_canonical_error(kind: str, value: Any) -> None:
    # fails: TypeError, ValueError, OverflowError; sNaN is written as such
    with pytest.raises(CanonicalError):
        Form("t", {"v": kind}).payload([value])
