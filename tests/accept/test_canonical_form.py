"""The canonical form rowseal/1: server, client and another reading of the specification agree."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any

import psycopg
import pytest
from hypothesis import given
from hypothesis import strategies as st
from psycopg.types.json import Json, Jsonb

from kit.db import Db, Server
from kit.example import Owner
from kit.values import ABSENT, COLUMNS, TYPES, Value, Values, b64, name, oracle, quick
from rowseal import client
from rowseal.form.canonical import JSON_DEPTH
from rowseal.generate.render import qualify

HOSTILE = {
    "DateStyle": "German, DMY", "TimeZone": "Asia/Kolkata", "IntervalStyle": "postgres_verbose",
    "bytea_output": "escape", "extra_float_digits": "0", "lc_monetary": "C",
    "quote_all_identifiers": "on", "backslash_quote": "off", "escape_string_warning": "on",
    "standard_conforming_strings": "off", "array_nulls": "on", "xmlbinary": "hex",
    "transform_null_equals": "on", "search_path": "evil, pg_catalog, public",
}  # fmt: skip
SHADOWS = """
    CREATE SCHEMA evil;  GRANT USAGE ON SCHEMA evil TO app;
    CREATE FUNCTION evil.bad() RETURNS boolean
        LANGUAGE plpgsql AS $$BEGIN RAISE 'a shadow was called'; END$$;
    CREATE FUNCTION evil.array_dims(anyarray)
        RETURNS text LANGUAGE sql AS $$SELECT evil.bad()::pg_catalog.text$$;
    CREATE FUNCTION evil.generate_subscripts(anyarray, integer) RETURNS SETOF integer
        LANGUAGE sql AS $$SELECT 1 WHERE evil.bad()$$;
    CREATE FUNCTION evil.jsonb_to_record(jsonb) RETURNS record
        LANGUAGE sql AS $$SELECT ROW(evil.bad())$$;
    CREATE FUNCTION evil.jsonb_array_length(jsonb) RETURNS integer LANGUAGE sql AS $$SELECT 1
        WHERE evil.bad()$$;
    CREATE FUNCTION evil.sha256(bytea) RETURNS bytea LANGUAGE sql AS $$SELECT $1 WHERE evil.bad()$$;
    CREATE FUNCTION evil.same(text, text) RETURNS boolean LANGUAGE sql AS $$SELECT evil.bad()$$;
    CREATE FUNCTION evil.same(bytea, bytea) RETURNS boolean LANGUAGE sql AS $$SELECT evil.bad()$$;
    CREATE OPERATOR evil.= (LEFTARG = text, RIGHTARG = text, FUNCTION = evil.same);
    CREATE OPERATOR evil.= (LEFTARG = bytea, RIGHTARG = bytea, FUNCTION = evil.same);
    CREATE OPERATOR evil.> (LEFTARG = bytea, RIGHTARG = bytea, FUNCTION = evil.same);
    CREATE OPERATOR evil.~ (LEFTARG = text, RIGHTARG = text, FUNCTION = evil.same);
    CREATE DOMAIN evil.text AS integer;  CREATE DOMAIN evil.bytea AS integer;
    CREATE DOMAIN evil.jsonb AS integer;
    CREATE DOMAIN evil.timestamptz AS integer;  CREATE DOMAIN evil.record AS integer;
"""
HOUSEKEEPING = "h bytea, n integer, deleted_flag boolean, owner_timestamp bigint, sign_b64 bytea"
OWNER = Owner(key=client.SigningKey(bytes(range(32))))


# of these the canonical text is written by SQL, too
IN_SQL = (
    "boolean",
    "smallint",
    "integer",
    "bigint",
    "numeric",
    "scaled",
    "text",
    "varchar",
    "bytea",
    "uuid_",
    "dint",
    "dbytea",
)


class Lab:
    """A database with a declared table of all types for each way in, and an undeclared twin."""

    def __init__(self, db: Db):
        self.db = db
        columns = ", ".join(f"{name(c)} {type_}" for c, (type_, _) in COLUMNS.items())
        db.run(TYPES)
        db.run(
            "CREATE TABLE cards (h bytea PRIMARY KEY, k bytea, deleted_flag boolean,"
            " owner_timestamp bigint, sign_b64 bytea)"
        )
        db.run("SELECT rowseal.declare('cards', owner => 'h', public_key => 'k')")
        db.run(f"CREATE TABLE twin ({HOUSEKEEPING}, {columns})")
        for table in ("inserted", "canonical", "pgtext"):
            db.run(
                f"CREATE TABLE {table} ({HOUSEKEEPING}, parent_sign_b64 bytea, {columns},"
                " PRIMARY KEY (h, n))"
            )
            db.run(
                f"SELECT rowseal.declare('{table}', owner => 'h', identity => 'cards',"
                f" versions => '{table}_versions')"
            )
        self.forms = {t: db.form(t) for t in ("cards", "inserted", "canonical", "pgtext")}
        card = {"h": OWNER.hash, "k": OWNER.public_key, "deleted_flag": False, "owner_timestamp": 1}
        db.insert("cards", OWNER.sealed(self.forms["cards"], card))
        id_ = db.one("SELECT id FROM rowseal.declarations WHERE tag = 'inserted'")
        arguments = ", ".join(
            "NULL::pg_catalog.bytea" if c == "parent_sign_b64" else f"t.{name(c)}"
            for c in self.forms["inserted"].names
        )
        self.payloads = (
            f"SELECT rowseal._payload_{id_}(true, true, true, {arguments})"
            " FROM public.twin t ORDER BY t.n"
        )
        columns = ", ".join(f"{name(c)} {COLUMNS[c][0]}" for c in IN_SQL)
        db.run(f"CREATE TABLE written ({HOUSEKEEPING}, {columns}, PRIMARY KEY (h, n))")
        db.run("SELECT rowseal.declare('written', owner => 'h', identity => 'cards')")
        query = db.one(
            "SELECT queries ->> 'envelopes' FROM rowseal.declarations WHERE tag = 'written'"
        )
        (written,) = re.findall(
            r"^SELECT rowseal\._envelope\((.*), t\.\S+\) AS envelope", query, re.S
        )
        assert "_payload" not in written  # Python has no part in it
        self.written = f"SELECT {qualify(written)} FROM public.twin t ORDER BY t.n"

    def fill(self, column: str, values: Sequence[Value | None]) -> None:
        with self.db.connection.cursor().copy(
            f"COPY public.twin (n, {name(column)}) FROM STDIN"
        ) as copy:
            for i, value in enumerate(values):
                copy.write_row((i, value and value.sql))

    def hostile(self, local: bool = False) -> None:
        calls = ", ".join(
            f"pg_catalog.set_config('{setting}', '{value}', {local})"
            for setting, value in HOSTILE.items()
        )
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


@pytest.mark.parametrize("column", COLUMNS)
def test_server_client_and_oracle_agree_whatever_the_settings(lab: Lab, column: str) -> None:
    form = lab.forms["inserted"]

    @quick
    @given(st.lists(st.none() | COLUMNS[column][1], min_size=1, max_size=20))
    def check(values: list[Value | None]) -> None:
        expected = [
            oracle("inserted", {column: v.json if v else ABSENT, "n": str(i)}).decode()
            for i, v in enumerate(values)
        ]
        assert [
            form.payload_of({column: v and v.client, "n": i}).decode() for i, v in enumerate(values)
        ] == expected
        with lab.db.connection.transaction(force_rollback=True):
            lab.fill(column, values)
            assert lab.db.all(lab.payloads) == expected
            same = set(
                lab.db.all(f"""SELECT a.n, b.n FROM twin a JOIN twin b ON a.n < b.n
                                       WHERE record_image_eq(ROW(a.{name(column)}),
                                       ROW(b.{name(column)}))""")
            )
            lab.hostile(local=True)
            assert lab.db.all(lab.payloads) == expected
            if column in IN_SQL:
                assert lab.db.all(lab.written) == [
                    e.replace('"table":"inserted"}', '"table":"written"}') for e in expected
                ]
            for text in expected[:5]:
                row = json.loads(text)["row"]
                if column not in row or not json_null(column, row[column]):
                    assert (
                        lab.db.one("SELECT rowseal.payload('public.inserted', %s)", Jsonb(row))
                        == text
                    )
        if "json" not in column and column != "nested":  # there, different spellings share bytes
            alone = [e.replace(f'"n":"{i}"', "") for i, e in enumerate(expected)]
            for i in range(len(values)):
                for j in range(i + 1, len(values)):
                    assert (alone[i] == alone[j]) == ((i, j) in same), (values[i], values[j])

    check()


def json_null(column: str, value: Any) -> bool:
    """What other tests are about stays out: a JSON null, an array of JSON arrays."""
    if column == "jsonbs":
        return any(isinstance(v, list) for v in value)
    return (
        value is None
        if "json" in column
        else column == "nested" and "j" in value and value["j"] is None
    )


def storable(column: str, value: Value) -> bool:
    return not json_null(column, value.json)


def sealed(
    lab: Lab, table: str, row: dict[str, Value], n: int, timestamp: int
) -> tuple[dict[str, str], dict[str, Any]]:
    """A row of a lab table as SQL texts and as an envelope, signed over the oracle's bytes."""
    fields = {
        "h": b64(OWNER.hash),
        "n": str(n),
        "deleted_flag": False,
        "owner_timestamp": str(timestamp),
        **{c: v.json for c, v in row.items()},
    }
    payload = oracle(table, fields)
    client_row = {
        "h": OWNER.hash,
        "n": n,
        "deleted_flag": False,
        "owner_timestamp": timestamp,
        **{c: v.client for c, v in row.items()},
    }
    signature = client.sign(lab.forms[table], client_row, OWNER.key)
    assert signature == OWNER.key.sign(payload).signature
    texts_ = {
        "h": "\\x" + OWNER.hash.hex(),
        "n": str(n),
        "deleted_flag": "f",
        "owner_timestamp": str(timestamp),
        "sign_b64": "\\x" + signature.hex(),
    }
    return {**texts_, **{c: v.sql for c, v in row.items()}}, {
        **json.loads(payload),
        "sign_b64": b64(signature),
    }


ELECTRIC = (
    "SET LOCAL bytea_output = hex; SET LOCAL datestyle = 'ISO, DMY'; SET LOCAL timezone = UTC;"
    " SET LOCAL extra_float_digits = 1; SET LOCAL intervalstyle = iso_8601"
)


def counts(lab: Lab, table: str) -> tuple[int, int]:
    """How many rows the table has, and its versions table."""
    main, versions = (lab.db.one(f"SELECT count(*) FROM {t}") for t in (table, f"{table}_versions"))
    return main, versions


def test_signed_rows_of_all_types_come_through_every_door(lab: Lab) -> None:
    serial = iter(range(1, 10**6))
    # JSON nulls: see test_a_json_null_is_not_an_sql_null
    strategies: dict[str, Values] = {
        c: s.filter(partial(storable, c)) for c, (_, s) in COLUMNS.items()
    }

    @quick
    @given(st.lists(st.fixed_dictionaries({}, optional=strategies), min_size=2, max_size=2))
    def check(rows: list[dict[str, Value]]) -> None:
        n = next(serial)
        for row in rows:  # two versions of one key: the first moves into the versions table
            timestamp = next(serial)
            texts_, _ = sealed(lab, "inserted", row, n, timestamp)
            with lab.db.connection.cursor().copy(
                f"COPY inserted ({', '.join(map(name, texts_))}) FROM STDIN"
            ) as copy:
                copy.write_row(list(texts_.values()))
            with lab.db.connection.transaction():
                for statement in ELECTRIC.split(";"):
                    lab.db.run(statement)
                columns = ", ".join(f"{name(c)}::text" for c in texts_)
                shown = dict(
                    zip(texts_, lab.db.one(f"SELECT {columns} FROM inserted WHERE n = {n}"))
                )
            shown["sign_b64"] = sealed(lab, "pgtext", row, n, timestamp)[0]["sign_b64"]
            _, envelope = sealed(lab, "canonical", row, n, timestamp)
            for hostile in (False, True):
                with lab.db.connection.transaction():
                    if hostile:
                        lab.hostile(local=True)
                    for table, element in (("canonical", envelope), ("pgtext", shown)):
                        _, outcome, reason = lab.db.one(
                            "SELECT * FROM rowseal.apply(%s, %s, %s)",
                            "public." + table,
                            Json([element]),
                            table,
                        )
                        assert (outcome, reason) == (
                            "duplicate"
                            if hostile
                            else "inserted"
                            if row is rows[0]
                            else "superseded",
                            None,
                        )
            assert client.verify(envelope, OWNER.public_key)

    tables = ("inserted", "canonical", "pgtext")
    before = {t: counts(lab, t) for t in tables}  # other tests write there, too
    check()
    for table in tables:
        tips, archived = (now - then for now, then in zip(counts(lab, table), before[table]))
        assert tips == archived > 0
        assert lab.db.all("SELECT * FROM rowseal.verify(%s)", table) == []


# ---------------------------------------------------------------------------------------- refusals
BOUNDS = "'[0:1]={1,2}'"
NO_FORM = {
    "timestamptz": [
        "'0001-01-01 00:00:00 UTC BC'",
        "'10000-01-01 00:00:00 UTC'",
        "'294276-12-31 23:59:59 UTC'",
    ],
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
        "'9007199254740993'",
        "'0.1000000000000000055511151231257827'",
        "'1e400'",
        "'-1e400'",
        "'1e-400'",
        "'1180591620717411303424'",
        "'1e99999999999999999999'",
        "repeat('9', 100000)",
        '\'{"a": 1, "a": 1}\'',
        '\'{"a": 1, "\\u0061": 2}\'',
        '\'[{"": [{"x":1,"x":2}]}]\'',
        "'\"\\ud800\"'",
        "'{\"\\udc00\": 1}'",
        "'\"\\udc00\\ud800\"'",
        "'\"\\u0000\"'",
        "'{\"\\u0000\": 1}'",
        f"repeat('[', {JSON_DEPTH + 1}) || repeat(']', {JSON_DEPTH + 1})",
        "repeat('{\"a\":', 129) || '1' || repeat('}', 129)",
        "repeat('[', 3000) || repeat(']', 3000)",
        "repeat('{\"a\":', 1000) || '1' || repeat('}', 1000)",
    ],
    "jsonb": [
        "'9007199254740993'",
        "'1e400'",
        f"(repeat('[', {JSON_DEPTH + 1}) || repeat(']', {JSON_DEPTH + 1}))",
        "'12345678901234567890'",
    ],
    "djson": ["'9007199254740993'"],
    "jsonbs": [
        "ARRAY['null'::jsonb]",
        "ARRAY[['1'::jsonb]]",
        "ARRAY['1e400'::jsonb]",
        "'[0:0]={1}'",
    ],
}


@pytest.mark.parametrize(
    ("column", "literal"), [(c, literal) for c, many in NO_FORM.items() for literal in many]
)
def test_a_value_without_canonical_form_is_refused(lab: Lab, column: str, literal: str) -> None:
    type_ = COLUMNS[column][0]
    diag = lab.db.refused(
        "RS006",
        f"""INSERT INTO inserted (h, n, deleted_flag, owner_timestamp, sign_b64, {name(column)})
        VALUES (%s, 1, false, 1, %s, ({literal})::{type_})""",
        OWNER.hash,
        bytes(64),
    )
    assert "inserted" in str(diag.message_primary) and diag.message_hint


@pytest.mark.parametrize(("column", "literal"), [(c, many[0]) for c, many in NO_FORM.items()])
def test_apply_rejects_a_value_without_canonical_form(lab: Lab, column: str, literal: str) -> None:
    shown = lab.db.one(f"SELECT ({literal})::{COLUMNS[column][0]}::text")
    row = {
        "h": "\\x" + OWNER.hash.hex(),
        "n": "1",
        "deleted_flag": "f",
        "owner_timestamp": "1",
        "sign_b64": "\\x" + "00" * 64,
        column: shown,
    }
    _, outcome, reason = lab.db.one(
        "SELECT * FROM rowseal.apply('inserted', %s, 'pgtext')", Json([row])
    )
    assert outcome == "rejected" and reason.startswith("RS006: ")


def test_json_as_deep_as_allowed_is_signed(lab: Lab) -> None:
    for opening, closing in (("[", "]"), ('{"a":', "}")):
        text = opening * JSON_DEPTH + ("" if opening == "[" else "1") + closing * JSON_DEPTH
        with lab.db.connection.transaction(force_rollback=True):
            lab.fill("json", [Value(text, text, None)])
            assert text in lab.db.one(lab.payloads)


@pytest.mark.parametrize(
    "type_",
    [
        "money",
        "oid",
        "regclass",
        "regtype",
        "xid8",
        "money[]",
        "moneys",
        "dmoney",
        "darray[]",
        "int2vector",
    ],
)
def test_types_without_canonical_form_are_refused_at_declaration(db: Db, type_: str) -> None:
    # int2vector fails: it is declared,
    # and then every row with a value in it is refused (RS006 "list is not text")
    db.run(
        "CREATE TYPE moneys AS (a int, m money); CREATE DOMAIN dmoney AS money;"
        " CREATE DOMAIN darray AS int[]"
    )
    db.run(
        f"CREATE TABLE t (h bytea PRIMARY KEY, k bytea, v {type_}, deleted_flag boolean,"
        " owner_timestamp bigint, sign_b64 bytea)"
    )
    db.refused("RS007", "SELECT rowseal.declare('t', owner => 'h', public_key => 'k')")
    assert db.one(
        "SELECT created FROM rowseal.declare('t', owner => 'h',"
        " public_key => 'k', unsigned => '{v}')"
    )


# ----------------------------------------------------------- one property each, found by the above
def apply_fresh(lab: Lab, column: str, value: Value, n: int) -> tuple[str, str | None]:
    _, envelope = sealed(lab, "canonical", {column: value}, n, 1)
    return tuple(
        lab.db.one("SELECT outcome, reason FROM rowseal.apply('canonical', %s)", Json([envelope]))
    )  # type: ignore[return-value]


@pytest.mark.parametrize("column", ["json", "jsonb", "djson"])
def test_a_json_null_is_not_an_sql_null(lab: Lab, column: str) -> None:
    # fails: jsonb_to_record and jsonb_populate_record read JSON null as SQL NULL,
    # so apply rejects a genuine row
    value = Value("null", "null", None)
    assert apply_fresh(lab, column, value, 900_001 + list(COLUMNS).index(column)) == (
        "inserted",
        None,
    )


def test_an_array_of_json_arrays_is_not_a_matrix(lab: Lab) -> None:
    # fails: jsonb_to_record takes the elements for dimensions ("expected JSON array")
    assert apply_fresh(lab, "jsonbs", Value("", ["[1]", '"s"'], [[1], "s"]), 900_101) == (
        "inserted",
        None,
    )


def test_lower_bounds_inside_a_matrix_of_composites_are_seen(db: Db) -> None:
    # fails: the generated check looks at (value)[i], which is NULL for a matrix;
    # two rows share their bytes
    db.run("CREATE TYPE box_ AS (i int[])")
    db.run(
        "CREATE TABLE t (h bytea PRIMARY KEY, k bytea, v box_[], deleted_flag boolean,"
        " owner_timestamp bigint, sign_b64 bytea)"
    )
    db.run("SELECT rowseal.declare('t', owner => 'h', public_key => 'k')")
    row = {
        "h": b"a",
        "k": OWNER.public_key,
        "v": [[{"i": [1, 2]}]],
        "deleted_flag": False,
        "owner_timestamp": 1,
    }
    signature = client.sign(db.form("t"), row, OWNER.key)
    insert = "INSERT INTO t VALUES ('a', %s, ARRAY[[ROW(" + BOUNDS + ")::box_]], false, 1, %s)"
    db.refused("RS006", insert, OWNER.public_key, signature)


SHAPES = [
    5,
    True,
    "x",
    [5],
    ["A"],
    {"a": 1},
    {"b": 5},
    {"b": "A"},
    {"d": [1]},
    {"p": 5},
    [{"b": 5}],
    [[["AA=="]]],
    {"ps": {"b": 1}},
    [[1], 2],
]


@pytest.mark.parametrize(
    "column",
    [
        "bytea",
        "byteas",
        "composite",
        "nested",
        "points",
        "dcomposite",
        "integers",
        "jsonbs",
        "timestamptz",
    ],
)
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
                    answer = lab.db.all(sql, Json(rows))
                if rows == [bad, good] and answer != ["rejected", "inserted"]:
                    wrong.append((value, str(answer)))
            except psycopg.Error as e:
                if rows == [bad, good] or "Traceback" in str(e):
                    wrong.append((value, f"{e.sqlstate} {e.diag.message_primary}"))
    assert wrong == []


def test_an_input_function_that_fails_in_its_own_way_never_stops_the_rows_beside_it(
    lab: Lab,
) -> None:
    # fails: hstore_in raises an internal error (XX000), which apply does not catch
    with lab.db.connection.transaction(force_rollback=True):
        _, bad = sealed(lab, "canonical", {}, 900_201, 1)
        _, good = sealed(lab, "canonical", {}, 900_202, 1)
        bad["row"]["hstore"] = "=>"
        assert lab.db.all(
            "SELECT outcome FROM rowseal.apply('canonical', %s)", Json([bad, good])
        ) == ["rejected", "inserted"]
