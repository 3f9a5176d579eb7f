"""Databases with tables of every layout, who is connected to them, and rows for them."""

from __future__ import annotations

import json
import subprocess
from base64 import b64encode
from typing import Any, NamedTuple

import psycopg

from kit import model
from kit.db import Db, Server
from kit.example import Owner
from kit.model import Version
from kit.server import bindir
from kit.state_commands import archive, key_of, main, place
from kit.states import BASE, SIGNATURE, Part, Row, Table
from rowseal.client import Form, envelope, sign

KINDS = {"bytea": "bytea", "boolean": "boolean", "integer": "integer", "bigint": "integer"}
CARD = {"user_hash": "bytea", "pkey": "bytea", "deleted_flag": "boolean",
        "owner_timestamp": "integer"}  # fmt: skip
CARDS = "user_hash bytea PRIMARY KEY, pkey bytea, deleted_flag boolean, owner_timestamp bigint"


class Layout(NamedTuple):
    kind: str
    partitioned: bool
    feed: bool
    schema: str

    def __str__(self) -> str:
        more = " partitioned" * self.partitioned + " feed" * self.feed
        return f"{self.kind}{more} in {self.schema}"


LAYOUTS = [
    Layout(model.TWO_TABLES, False, True, "public"),
    Layout(model.TWO_TABLES, True, False, "s"),
    Layout(model.UNVERSIONED, True, True, "public"),
    Layout(model.ONE_TABLE, True, False, "public"),
    Layout(model.UNVERSIONED, False, False, "s"),
    Layout(model.ONE_TABLE, False, True, "s"),
]


def made(x: Layout) -> str:
    """The statements that make the tables, but for their declarations."""
    columns = ", ".join(f"{c} {kind}" for c, kind in {**BASE, SIGNATURE: "bytea"}.items())
    t = f"{x.schema}.t"
    sql = f"""CREATE DOMAIN dom AS text;
        CREATE TABLE cards ({CARDS}, sign_b64 bytea);
        CREATE TABLE {t} ({columns}, PRIMARY KEY ({key_of(x.kind)}))"""
    if x.partitioned:
        sql += f""" PARTITION BY LIST (n);
            CREATE TABLE {x.schema}.p0 PARTITION OF {t} FOR VALUES IN (0);
            CREATE TABLE {x.schema}.p1 PARTITION OF {t} FOR VALUES IN (1)"""
    return sql


DECLARE_CARDS = (
    "SELECT rowseal.declare('{}', owner => 'user_hash', public_key => '{}', tag => 'cards',"
    " fingerprint => 'sha256', feed => true)"
)


def declare(t: Table, cards: str) -> str:
    """The statement that declares it as it is."""
    more = ""
    if t.two:
        found = t.matched() or {}
        places = json.dumps({"versions": {c: p for c, p in found.items() if c != p}})
        more = f", versions => '{t.archive_schema}.{t.archive_name}', columns => '{places}'"
    return (
        f"SELECT rowseal.declare('{t.schema}.{t.name}', owner => 'user_hash', tag => 't',"
        f" identity => '{cards}', feed => {t.feed}{more})"
    )


HERS = """CREATE TABLE m (user_hash bytea, n int, deleted_flag boolean, owner_timestamp bigint,
    sign_b64 bytea, PRIMARY KEY (user_hash, n));
    SELECT rowseal.declare('m', owner => 'user_hash', identity => 'cards')"""
ROLES = "DO $$ BEGIN CREATE ROLE ann_dba LOGIN; EXCEPTION WHEN duplicate_object THEN END $$"


def template(server: Server, x: Layout) -> str:
    """A database with the tables of a layout; mallory has one that rests on ann's."""
    with server.connect("postgres") as c:
        c.execute(ROLES)
    name = server.database()
    with server.connect(name) as c:
        c.execute("GRANT CREATE ON SCHEMA public TO ann_dba, mallory")
        c.execute("CREATE SCHEMA s AUTHORIZATION ann_dba")
        c.execute("GRANT CREATE, USAGE ON SCHEMA s TO mallory")
        c.execute("GRANT USAGE ON SCHEMA s TO rowseal_internal, ann_dba")
    with server.connect(name, "ann_dba") as c:
        c.execute(made(x))
        c.execute(DECLARE_CARDS.format("cards", "pkey"))
        t = begun(x)
        c.execute(declare(t, "cards"))
        c.execute("GRANT SELECT, INSERT, UPDATE ON ALL TABLES IN SCHEMA public, s TO mallory")
    with server.connect(name, "mallory") as c:
        c.execute(HERS)
    return name


def begun(x: Layout) -> Table:
    t = Table(x.kind, x.feed, x.schema)
    if t.two:
        t.archive = dict(t.columns)
        t.archive_schema = x.schema
        t.archive_name = "t_versions"
        t.places = {c: c for c in t.columns}
    if x.partitioned:
        t.parts = {n: Part(f"p{n}", n, x.schema, known=True) for n in (0, 1)}
    return t


class World:
    """A database of an example, and who is connected to it."""

    def __init__(self, server: Server, name: str):
        self.server = server
        self.open(name)

    def open(self, name: str) -> None:
        self.name = name
        self.su, self.ann, self.mallory, self.other = (
            self.connect(role) for role in ("postgres", "ann_dba", "mallory", "mallory")
        )

    def connect(self, role: str) -> Db:
        c = self.server.connect(self.name, role)
        c.prepare_threshold = None
        c.execute("SET lock_timeout = '5s'")
        return Db(c)

    def close(self) -> None:
        for db in (self.su, self.ann, self.mallory, self.other):
            db.connection.close()
        self.server.drop(self.name)

    def dump_and_restore(self) -> None:
        """Go on as a copy."""
        at = ["-h", self.server.host, "-p", str(self.server.port), "-U", "postgres"]
        copy = self.server.database("template0")
        dump = subprocess.run(
            [str(bindir() / "pg_dump"), *at, "-Fc", self.name], capture_output=True
        )
        restore = [str(bindir() / "pg_restore"), "--exit-on-error", *at, "-d", copy]
        done = subprocess.run(restore, input=dump.stdout, capture_output=True)
        assert done.returncode == 0 and not dump.stderr, (dump.stderr, done.stderr)
        self.close()
        self.open(copy)


def error_of(db: Db, sql: str, *args: Any) -> str | None:
    """The SQLSTATE of a failure; never one that nobody meant."""
    try:
        db.run(sql, *args)
    except psycopg.Error as e:
        state = e.sqlstate or ""
        sane = state.startswith("RS") or state in ORDINARY
        assert sane, f"{state}: {e} {e.diag.context} of {sql}"
        return state
    return None


# PostgreSQL's own: no right, no partition, not there, is there, depends, cannot be attached
ORDINARY = {"42501", "23514", "42P01", "42703", "42P07", "42701", "42710", "2BP01", "55000",
            "42809", "0A000"}  # fmt: skip
DOORS = ["insert", "copy", "partition", "versions", "update", "apply", "receive", "feed"]


class Rows:
    """Signs rows of one person, and brings them."""

    def __init__(self, owner: Owner, thief: Owner):
        self.owner, self.thief = owner, thief
        self.signed: dict[bytes, Row] = {}

    def form(self, t: Table) -> Form:
        kinds = {f: KINDS.get(t.columns[c], "text") for c, f in t.fields.items()}
        return Form("t", kinds)

    def sign(self, t: Table, said: dict[str, Any]) -> Row:
        said = {"user_hash": self.owner.hash, **{f: v for f, v in said.items() if v is not None}}
        signature = sign(self.form(t), said, self.owner.key)
        at, gone = said["owner_timestamp"], said["deleted_flag"]
        row = Row(Version(said["n"], at, gone, signature, ()), said)
        self.signed[signature] = row
        return row

    def forge(self, t: Table, row: Row, by_thief: bool) -> Row:
        said = {**row.said, "value": "forged", "owner_timestamp": 99}
        signature = sign(self.form(t), said, self.thief.key) if by_thief else row.version.sign
        return Row(row.version._replace(sign=signature), said)

    def sent(self, row: Row) -> dict[str, Any]:
        kinds = {"n": "integer", "owner_timestamp": "integer", "deleted_flag": "boolean"}
        kinds |= {"user_hash": "bytea"}
        form = Form("t", {f: kinds.get(f, "integer" if isinstance(v, int) else "text")
                          for f, v in row.said.items()})  # fmt: skip
        whole = envelope(form, row.said, self.owner.key)
        return {**whole, "sign_b64": b64encode(row.version.sign).decode()}


def columns_of(t: Table, row: Row) -> dict[str, Any]:
    """A row by the names that its columns have now."""
    out = {c: row.said[f] for c, f in t.fields.items() if f in row.said}
    return {**out, SIGNATURE: row.version.sign}


def bring(w: World, db: Db, t: Table, door: str, row: Row, sent: dict[str, Any]) -> str | None:
    """Through a door; the outcome, or the SQLSTATE, or None for success."""
    columns = columns_of(t, row)
    if door in ("apply", "receive"):
        call = f"apply('{main(t)}', %s)" if door == "apply" else "receive(%s)"
        return str(db.one(f"SELECT outcome FROM rowseal.{call}", json.dumps([sent])))
    if door == "feed":
        w.su.run("SET session_replication_role = replica")  # as a worker
        sql = "INSERT INTO rowseal.feed (tag, owner, envelope) VALUES ('t', 'x', %s)"
        answer = error_of(w.su, sql, json.dumps(sent)) or "deferred"
        w.su.run("RESET session_replication_role")
        return answer
    target = main(t)
    if door == "versions":
        target = archive(t)
        columns = {t.places.get(c, c): v for c, v in columns.items()}
    elif door == "partition" and t.parts is not None and row.n in t.parts:
        target = place(t.parts[row.n])
    names, values = ", ".join(columns), list(columns.values())
    if door == "copy":
        return copied(db, f"COPY {target} ({names}) FROM STDIN", values)
    marks = ", ".join(["%s"] * len(columns))
    if door == "update":
        empty = [c for c in t.columns if c not in columns]
        sets = ", ".join([f"{c} = %s" for c in columns] + [f"{c} = NULL" for c in empty])
        return error_of(db, f"UPDATE {target} SET {sets} WHERE n = %s", *values, row.n)
    return error_of(db, f"INSERT INTO {target} ({names}) VALUES ({marks})", *values)


def copied(db: Db, sql: str, values: list[Any]) -> str | None:
    try:
        with db.connection.cursor().copy(sql) as c:
            c.write_row(values)
    except psycopg.Error as e:
        assert (e.sqlstate or "").startswith("RS") or e.sqlstate in ORDINARY, (e, e.diag.context)
        return e.sqlstate
    return None
