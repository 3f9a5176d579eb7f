"""Values of every type, three times each: as PostgreSQL reads it, as a client holds it,
and as the JSON value of the specification.

The JSON is written down here without the package's code; the oracle serialises it with rfc8785.
"""

from __future__ import annotations

import base64
import datetime as dt
import ipaddress
import json
import os
import struct
from decimal import Decimal
from math import isnan
from typing import Any, NamedTuple

import rfc8785
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st


class Value(NamedTuple):
    sql: str
    client: Any
    json: Any


Values = st.SearchStrategy[Value]
UTC = dt.timezone.utc  # noqa: UP017 - Python 3.10 has no other name for it
# the same values in every run; ROWSEAL_EXAMPLES=300 asks for that many new ones
EXAMPLES = int(os.environ.get("ROWSEAL_EXAMPLES", "0"))
quick = settings(
    deadline=None,
    max_examples=EXAMPLES or 20,
    suppress_health_check=list(HealthCheck),
    derandomize=not EXAMPLES,
    database=None,
)


# ------------------------------------------------------------------------------------------ leaves
def b64(raw: bytes) -> str:
    return base64.b64encode(raw).decode()


CHARACTERS = st.characters(exclude_categories=["Cs"], exclude_characters="\0")
TRICKY = [
    "", "null", "NULL", "\\", '"', "'", "{}", "[]", "true", " ", "a", "a ", "b", "\t\r\n\b\f",
    "\x01\x1f\x7f", "é", "e\u0301", "\u2028", "😀", "\ufb33", "\\u0041", "$1",
]  # fmt: skip


def texts(longest: int = 8) -> st.SearchStrategy[str]:
    return st.sampled_from([t for t in TRICKY if len(t) <= longest]) | st.text(
        CHARACTERS, max_size=longest
    )


def plain(strategy: st.SearchStrategy[str]) -> Values:
    return strategy.map(lambda t: Value(t, t, t))


def integers(bits: int) -> Values:
    top = 2 ** (bits - 1)
    numbers = st.sampled_from([0, 1, -1, top - 1, -top]) | st.integers(-top, top - 1)
    return numbers.flatmap(
        lambda n: st.sampled_from([Value(str(n), n, str(n)), Value(str(n), str(n), str(n))])
    )


@st.composite
def numerics(draw: st.DrawFn, scale: int | None = None) -> Value:
    if scale is None and draw(st.integers(0, 9)) == 0:
        text = draw(st.sampled_from(["NaN", "Infinity", "-Infinity"]))
    else:
        whole = str(draw(st.sampled_from([0, 1, 10]) | st.integers(0, 10**7 if scale else 10**40)))
        digits = draw(st.integers(0, 6) | st.just(40)) if scale is None else scale
        fraction = draw(
            st.sampled_from(["0", "5", "9"]) | st.text("0123456789", min_size=1, max_size=40)
        )[:digits].ljust(digits, "0")
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

    special = [
        0.0,
        -0.0,
        1.0,
        0.1,
        1e20,
        1e21,
        1e-6,
        1e-7,
        2.0**53,
        5e-324 if width == 64 else 2.0**-149,
    ]
    return (
        st.sampled_from(special).map(
            lambda f: f if width == 64 else struct.unpack("f", struct.pack("f", f))[0]
        )
        | st.floats(width=width)
    ).map(value)


UUIDS = st.uuids().flatmap(
    lambda u: st.sampled_from(
        [Value(str(u).upper(), u, str(u)), Value(str(u), str(u).upper(), str(u))]
    )
)
BYTES = (st.sampled_from([b"", b"\0", b"\\", b"\xff\xfe"]) | st.binary(max_size=9)).map(
    lambda b: Value("\\x" + b.hex(), b, b64(b))
)
BOOLEANS = st.booleans().map(lambda b: Value("t" if b else "f", b, b))
INFINITE = st.sampled_from([Value(t, t, t) for t in ("infinity", "-infinity")])
MOMENTS = st.datetimes(dt.datetime(2, 1, 1), dt.datetime(9998, 12, 31)) | st.sampled_from(
    [dt.datetime(2026, 11, 21, 9), dt.datetime(1999, 12, 31, 23, 59, 59, 999999)]
)


def moment(m: dt.datetime) -> str:
    return f"{m.year:04}-{m.month:02}-{m.day:02}T{clock(m.time())}"


@st.composite
def timestamps(draw: st.DrawFn, zone: bool) -> Value:
    if draw(st.integers(0, 9)) == 0:
        return draw(INFINITE)  # type: ignore[no-any-return]
    if draw(st.integers(0, 9)) == 0:
        m: dt.datetime = draw(st.sampled_from([dt.datetime.min, dt.datetime.max]))
        m = m.replace(tzinfo=UTC) if zone else m
    else:
        m = draw(MOMENTS)
        if zone:
            m = m.replace(
                tzinfo=dt.timezone(dt.timedelta(minutes=draw(st.sampled_from([0, 330, -570, 840]))))
            )
    utc = m.astimezone(UTC) if zone else m
    text = moment(utc) + ("Z" if zone else "")
    shown = moment(utc).replace("T", " ").removesuffix(".000000") + ("+00" if zone else "")
    return Value(m.isoformat(" "), draw(st.sampled_from([m, text, shown])), text)


def date(d: dt.date) -> Value:
    return Value(d.isoformat(), d, f"{d.year:04}-{d.month:02}-{d.day:02}")


DATES = INFINITE | (st.dates() | st.sampled_from([dt.date.min, dt.date.max])).map(date)


def clock(t: dt.time) -> str:
    return f"{t.hour:02}:{t.minute:02}:{t.second:02}.{t.microsecond:06}"


TIMES = st.times().map(lambda t: Value(t.isoformat(), t, clock(t))) | st.just(
    Value("24:00:00", "24:00:00", "24:00:00.000000")
)


@st.composite
def intervals(draw: st.DrawFn) -> Value:
    small = st.sampled_from([0, 1, -1, 12, -13])
    months, days = draw(small | st.integers(-4000, 4000)), draw(small | st.integers(-9999, 9999))
    micro = draw(
        st.sampled_from([0, 1, -1, 500_000, 3_600_000_000, -60_000_000])
        | st.integers(-(10**13), 10**13)
    )
    sign, rest = ("-" if micro < 0 else ""), abs(micro)
    seconds = f"{sign}{rest // 10**6}.{rest % 10**6:06}"

    def part(n: int, unit: str) -> str:
        return f"{n}{unit}" if n else ""

    years, months_ = (
        (abs(months) // 12, abs(months) % 12)
        if months >= 0
        else (-(abs(months) // 12), -(abs(months) % 12))
    )
    hours, minutes, s = (
        rest // 3_600_000_000,
        rest // 60_000_000 % 60,
        f"{rest // 10**6 % 60}.{rest % 10**6:06}".rstrip("0").rstrip("."),
    )
    time = "".join(
        sign + f"{v}{u}" for v, u in ((hours, "H"), (minutes, "M"), (s, "S")) if v not in (0, "0")
    )
    text = (
        "P" + part(years, "Y") + part(months_, "M") + part(days, "D") + ("T" + time if time else "")
    )
    text = "PT0S" if text == "P" else text
    return Value(f"{months} months {days} days {seconds} seconds", text, text)


# -------------------------------------------------------------------------------------------- JSON
JSON_NUMBERS = (
    st.sampled_from([0.0, 1.0, -1.0, 0.1, 1e21, 1e-7, 2.0**53, -(2.0**53), 1e300])
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.integers(-(2**53), 2**53).map(float)
)
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
        return (
            "{"
            + gap
            + ",".join(spelled(draw, k) + ":" + spelled(draw, value[k]) for k in keys)
            + "}"
        )
    return json.dumps(value) + gap


@st.composite
def jsons(draw: st.DrawFn, null: bool = True) -> Value:
    value = draw(JSON_VALUES if null else JSON_VALUES.filter(lambda v: v is not None))
    text = spelled(draw, value)
    return Value(text, text, value)


# ------------------------------------------------------------------------------ arrays, composites
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
    rows = draw(
        st.lists(st.lists(elements, min_size=width, max_size=width), min_size=1, max_size=3)
    )
    sql = (
        "{"
        + ",".join(
            "{" + ",".join("NULL" if v is None else quoted(v.sql) for v in r) + "}" for r in rows
        )
        + "}"
    )
    return Value(
        sql, [[v and v.client for v in r] for r in rows], [[v and v.json for v in r] for r in rows]
    )


@st.composite
def composites(draw: st.DrawFn, /, **attributes: Values) -> Value:
    values = {name: draw(st.none() | strategy) for name, strategy in attributes.items()}
    sql = "(" + ",".join("" if v is None else quoted(v.sql) for v in values.values()) + ")"
    return Value(
        sql,
        {n: v and v.client for n, v in values.items()},
        {n: v.json for n, v in values.items() if v is not None},
    )


# ------------------------------------------------------------------------------------- other types
@st.composite
def networks(draw: st.DrawFn, cidr: bool) -> Value:
    address = ipaddress.ip_interface((draw(st.ip_addresses()), draw(st.integers(0, 32))))
    if (address.version == 6 and address.ip.ipv4_mapped) or str(address.ip).startswith("::"):
        # PostgreSQL shows embedded IPv4 addresses in another way
        address = ipaddress.ip_interface("2001:db8::5/64")
    text = (
        str(address.network)
        if cidr
        else str(address)
        if address.network.prefixlen < address.max_prefixlen
        else str(address.ip)
    )
    if address.version == 6:
        text = draw(st.sampled_from(["::/0", "2001:db8::/32"] if cidr else ["::1", "fe80::1/64"]))
    return Value(text, text, text)


@st.composite
def ranges(draw: st.DrawFn) -> Value:
    low, high = sorted(draw(st.lists(st.integers(-(10**6), 10**6), min_size=2, max_size=2)))
    text = (
        draw(st.sampled_from([f"[{low},{high})", f"[{low},)", f"(,{high})", "(,)"]))
        if low < high
        else "empty"
    )
    return Value(text, text, text)


@st.composite
def moment_ranges(draw: st.DrawFn) -> Value:
    low = draw(MOMENTS).replace(
        tzinfo=dt.timezone(dt.timedelta(hours=draw(st.sampled_from([0, 5, -7]))))
    )
    utc = low.astimezone(UTC)
    shown = (
        moment(utc).replace("T", " ").rstrip("0").rstrip(".")
        if utc.microsecond
        else moment(utc).replace("T", " ")[:-7]
    )
    return Value(f"[{low.isoformat()},)", f'["{shown}+00",)', f'["{shown}+00",)')


def hstore(pairs: dict[str, str | None]) -> Value:
    # hstore's own order
    ordered = sorted(pairs.items(), key=lambda p: (len(p[0].encode()), p[0].encode()))
    text = ", ".join(quoted(k) + "=>" + ("NULL" if v is None else quoted(v)) for k, v in ordered)
    return Value(text, text, text)


@st.composite
def zoned_times(draw: st.DrawFn) -> Value:
    t = draw(st.times())
    fraction = f".{t.microsecond:06}".rstrip("0") if t.microsecond else ""
    text = clock(t)[:8] + fraction + draw(st.sampled_from(["+00", "-08", "+05:30", "-00:30:15"]))
    return Value(text, text, text)


MOODS = ["sad", "ok", 'it\'s "x", é\\']
BITS = st.text("01", min_size=5, max_size=5)
SAMPLES = ["(0.1,-0)", "(1e+300,NaN)", "(-0.5,3)"]
POINT = {"x": integers(32), "Y y": plain(texts()), "b": BYTES}
NEST = {
    "p": composites(**POINT), "ps": arrays(composites(**POINT)), "i": arrays(integers(32)),
    "t": timestamps(True), "j": jsons(null=False), "d": BYTES, "f": floats(32), "s": intervals(),
}  # fmt: skip

TYPES = f"""
    CREATE TYPE mood AS ENUM ({", ".join("'" + m.replace("'", "''") + "'" for m in MOODS)});
    CREATE DOMAIN dint AS integer;  CREATE DOMAIN dbytea AS bytea;  CREATE DOMAIN darray AS int[];
    CREATE DOMAIN djson AS jsonb;
    CREATE DOMAIN dd AS dbytea;     CREATE TYPE pt AS (x int, "Y y" text, b dbytea);
    CREATE DOMAIN dpt AS pt;
    CREATE TYPE nest AS (p pt, ps pt[], i int[], t timestamptz, j jsonb, d dbytea, f real,
        s interval);
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


def name(column: str) -> str:
    return '"' + column.replace('"', '""') + '"'


def oracle(tag: str, row: dict[str, Any]) -> bytes:
    return rfc8785.dumps(
        {"row": {k: v for k, v in row.items() if v is not ABSENT}, "rowseal": 1, "table": tag}
    )


ABSENT = object()  # SQL NULL, where None is JSON null


# -------------------------------------------------------------------------------- without a server
KINDS = {  # as rowseal._kind says it; None: not part of this test
    "boolean": "boolean",
    "smallint": "integer",
    "bigint": "integer",
    "numeric": "numeric",
    "real": "float",
    "double": "float",
    "text": "text",
    "char": "text",
    "bytea": "bytea",
    "uuid_": "uuid",
    "timestamptz": "timestamptz",
    "timestamp": "timestamp",
    "date": "date",
    "time": "time",
    "interval": "other",
    "json": "json",
    "integers": {"array": "integer"},
    "byteas": {"array": "bytea"},
    "doubles": {"array": "float"},
    "moments": {"array": "timestamptz"},
    "jsonbs": {"array": "json"},
    "composite": {"composite": [["x", "integer"], ["Y y", "text"], ["b", "bytea"]]},
    "hstore": "other",
}
