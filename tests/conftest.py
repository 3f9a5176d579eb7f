"""A real PostgreSQL server for the tests, and the people of the running example.

The server is started by pytest-postgresql in a temporary folder.  Every test gets a database of its own, made from a
template that has the extension.  ``db`` connects as an ordinary role that owns its tables; ``admin`` is the superuser.
"""

from __future__ import annotations

import hashlib
import itertools
import os
import shutil
import stat
import subprocess
import sys
import uuid
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg.types.json import Jsonb
from pytest_postgresql import factories

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT / "plpython"))
from rowseal.client import Form, SigningKey, envelope, public_key, sign  # noqa: E402

for _name in [n for n in os.environ if n.startswith("PG") and n != "PG_CONFIG"]:
    del os.environ[_name]  # nobody's server but our own
os.environ["PYTHONNOUSERSITE"] = "1"  # the server's Python must not look into somebody's home
SERVER_PACKAGES = ROOT / ".venv/server"  # what tests/setup.sh adds to the server's Python: cryptography with ML-DSA
os.environ["PYTHONPATH"] = str(SERVER_PACKAGES)


def _pg_ctl() -> str:
    """pg_ctl, behind a wrapper that hands the data directory to the user postgres when root runs the tests."""
    bindir = subprocess.run([os.environ.get("PG_CONFIG", "pg_config"), "--bindir"], capture_output=True, text=True, check=True)
    pg_ctl = Path(bindir.stdout.strip()) / "pg_ctl"
    if os.geteuid() != 0:
        return str(pg_ctl)
    wrapper = Path("/tmp") / f"rowseal-pg_ctl-{os.getpid()}" / "pg_ctl"
    wrapper.parent.mkdir(mode=0o755, exist_ok=True)
    # pytest-postgresql makes its folders as root: give them away before each call, parents readable
    wrapper.write_text(
        "#!/bin/bash\n"
        'previous=\nfor arg; do\n  if [ "$previous" = -D ] || [ "$previous" = --pgdata ]; then dir=$arg; fi\n'
        '  case $arg in --pgdata=*) dir=${arg#--pgdata=};; esac\n  previous=$arg\ndone\n'
        'if [ -n "$dir" ]; then\n  mkdir -p "$dir"; chown -R postgres "$(dirname "$dir")"\n'
        '  up=$dir; while [ "$up" != / ] && [ "$up" != /tmp ]; do up=$(dirname "$up"); chmod a+x "$up"; done\nfi\n'
        f'cd /tmp && exec setpriv --reuid postgres --regid postgres --init-groups {pg_ctl} "$@"\n'
    )
    wrapper.chmod(wrapper.stat().st_mode | stat.S_IXUSR | stat.S_IXGRP | stat.S_IXOTH)
    return str(wrapper)


PG_CTL = _pg_ctl()
SETTINGS = (
    "-c fsync=off -c wal_level=logical -c max_replication_slots=40 -c max_wal_senders=40 -c max_logical_replication_workers=40"
    " -c max_worker_processes=60 -c wal_retrieve_retry_interval=200ms -c log_min_messages=warning -c max_connections=150"
)
postgresql_proc = factories.postgresql_proc(executable=PG_CTL, postgres_options=SETTINGS, unixsocketdir="/tmp")


def pytest_unconfigure() -> None:
    if os.geteuid() == 0:
        shutil.rmtree(Path(PG_CTL).parent, ignore_errors=True)


class Db:
    """A connection in autocommit mode with the few words that tests say most often."""

    def __init__(self, connection: psycopg.Connection[Any]):
        self.connection = connection

    def run(self, sql: str, *args: Any) -> int:
        """Execute; the number of rows."""
        return self.connection.execute(sql, args or None).rowcount

    def all(self, sql: str, *args: Any) -> list[Any]:
        """All rows; of a single column, its values."""
        rows = self.connection.execute(sql, args or None).fetchall()
        return [r[0] if len(r) == 1 else r for r in rows]

    def one(self, sql: str, *args: Any) -> Any:
        rows = self.all(sql, *args)
        assert len(rows) == 1, rows
        return rows[0]

    def refused(self, sqlstate: str, sql: str, *args: Any) -> psycopg.errors.Diagnostic:
        """Execute what must fail with that SQLSTATE; a refusal names the table and never shows a traceback."""
        with pytest.raises(psycopg.Error) as error:
            self.run(sql, *args)
        diag = error.value.diag
        assert diag.sqlstate == sqlstate, f"{diag.sqlstate}: {diag.message_primary}"
        assert "Traceback" not in f"{diag.message_primary}{diag.message_detail}{diag.context}"
        return diag

    def form(self, tag: str) -> Form:
        return Form(tag, self.one("SELECT spec -> 'fields' FROM rowseal.declarations WHERE tag = %s", tag))

    def insert(self, table: str, row: Mapping[str, Any], suffix: str = "") -> int:
        columns = ", ".join(f'"{c}"' for c in row)
        return self.run(f"INSERT INTO {table} ({columns}) VALUES ({', '.join(['%s'] * len(row))}) {suffix}", *row.values())

    def update(self, table: str, row: Mapping[str, Any], where: str, *args: Any) -> int:
        columns = ", ".join(f'"{c}" = %s' for c in row)
        return self.run(f"UPDATE {table} SET {columns} WHERE {where}", *row.values(), *args)

    def apply(self, table: str, rows: Any, format: str = "canonical") -> list[tuple[str, str | None]]:
        """Outcome and reason of each row."""
        answer = self.all("SELECT * FROM rowseal.apply(%s, %s, %s)", table, Jsonb(rows), format)
        assert [a[0] for a in answer] == list(range(1, len(answer) + 1))
        return [(outcome, reason) for _, outcome, reason in answer]

    def digest(self, table: str) -> bytes:
        return self.one("SELECT rowseal.digest(%s)", table)  # type: ignore[no-any-return]


class Owner:
    """A person with a key; signs rows of the running example."""

    clock = itertools.count(1_700_000_000)

    def __init__(self, name: str = "Ann", key: Any = None):
        self.name, self.key = name, key or SigningKey.generate()
        self.public_key = public_key(self.key)
        self.hash = hashlib.sha256(self.public_key).digest()

    def sealed(self, form: Form, row: Mapping[str, Any], signature_column: str = "sign_b64") -> dict[str, Any]:
        return {**row, signature_column: sign(form, row, self.key)}

    def envelope(self, form: Form, row: Mapping[str, Any]) -> dict[str, Any]:
        return envelope(form, row, self.key)

    def card(self, **changes: Any) -> dict[str, Any]:
        """A row of user_cards, not yet signed."""
        row = {"user_hash": self.hash, "sign_pkey": self.public_key, "contact_pkey": None, "contact_cert": None, "crypt_pkey": None,
               "crypt_cert": None, "name": self.name, "deleted_flag": False, "owner_timestamp": next(self.clock)}  # fmt: skip
        return {**row, **changes}

    def value(self, value: bytes | None = b"value", key: uuid.UUID | None = None, **changes: Any) -> dict[str, Any]:
        """A row of user_storage, not yet signed."""
        row = {"user_hash": self.hash, "uuid": key or uuid.uuid4(), "value_b64": value, "deleted_flag": False,
               "owner_timestamp": next(self.clock), "parent_sign_b64": None}  # fmt: skip
        return {**row, **changes}


EXAMPLE = """
    CREATE TABLE user_cards (user_hash bytea PRIMARY KEY, sign_pkey bytea, contact_pkey bytea, contact_cert bytea,
        crypt_pkey bytea, crypt_cert bytea, name text, deleted_flag boolean, owner_timestamp bigint, sign_b64 bytea);
    CREATE TABLE user_storage (user_hash bytea, uuid uuid, value_b64 bytea, deleted_flag boolean, owner_timestamp bigint,
        parent_sign_b64 bytea, sign_b64 bytea, PRIMARY KEY (user_hash, uuid));
    CREATE TABLE user_storage_versions (user_hash bytea, storage_uuid uuid, value_b64 bytea, deleted_flag boolean,
        owner_timestamp bigint, parent_sign_b64 bytea, sign_b64 bytea PRIMARY KEY);
    SELECT rowseal.declare('user_cards', owner => 'user_hash', public_key => 'sign_pkey', fingerprint => 'sha256',
        certificates => '{"contact_cert": "contact_pkey", "crypt_cert": "crypt_pkey"}');
    SELECT rowseal.declare('user_storage', owner => 'user_hash', identity => 'user_cards', versions => 'user_storage_versions');
"""


class Server:
    """Where databases come from."""

    def __init__(self, host: str, port: int):
        self.host, self.port = host, port
        self.serial = itertools.count()
        with self.connect("postgres") as c:
            c.execute("CREATE ROLE app LOGIN")
            c.execute("CREATE ROLE mallory LOGIN")
            c.execute("CREATE DATABASE rowseal_template")
        with self.connect("rowseal_template") as c:
            if os.environ.get("ROWSEAL_PGSODIUM"):  # the whole suite with its C function under the guards
                for role in ("postgres", "app", "mallory"):
                    c.execute(f"ALTER ROLE {role} SET pgsodium.enable_event_trigger = 'on'")
                c.execute("SET pgsodium.enable_event_trigger = 'on'; CREATE EXTENSION pgsodium")
            c.execute("CREATE EXTENSION rowseal CASCADE")
            c.execute("GRANT CREATE, USAGE ON SCHEMA public TO app, mallory")
            c.execute("GRANT rowseal_trusted TO app")

    def connect(self, dbname: str, user: str = "postgres") -> psycopg.Connection[Any]:
        return psycopg.connect(host=self.host, port=self.port, user=user, dbname=dbname, autocommit=True)

    def database(self, template: str = "rowseal_template") -> str:
        name = f"test{next(self.serial)}"
        with self.connect("postgres") as c:
            c.execute(f"CREATE DATABASE {name} TEMPLATE {template}")
        return name

    def drop(self, name: str) -> None:
        with self.connect("postgres") as c:
            c.execute(f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture(scope="session")
def server(postgresql_proc: Any) -> Server:
    return Server(postgresql_proc.host, postgresql_proc.port)


@pytest.fixture
def database(server: Server) -> Iterator[str]:
    """The name of a fresh database with the extension."""
    name = server.database()
    yield name
    server.drop(name)


@pytest.fixture
def db(server: Server, database: str) -> Iterator[Db]:
    """Connection of the ordinary role ``app``, in the fresh database."""
    with server.connect(database, "app") as c:
        yield Db(c)


@pytest.fixture
def admin(server: Server, database: str) -> Iterator[Db]:
    """Connection of the superuser, in the same database."""
    with server.connect(database) as c:
        yield Db(c)


@pytest.fixture
def example(db: Db) -> Db:
    """``db`` with the tables of the running example, owned by ``app``, declared and empty."""
    db.run(EXAMPLE)
    return db


@pytest.fixture
def transaction(shared: psycopg.Connection[Any]) -> Iterator[psycopg.Connection[Any]]:
    """The connection of a module that shares one database (scratch.py), in a transaction that is rolled back."""
    with shared.transaction(force_rollback=True):
        yield shared


@pytest.fixture
def other(server: Server) -> Iterator[Db]:
    """The example's empty tables in another database."""
    name = server.database()
    with server.connect(name, "app") as c:
        db = Db(c)
        db.run(EXAMPLE)
        yield db
    server.drop(name)


@pytest.fixture
def mallory(server: Server, database: str, example: Db) -> Iterator[Db]:
    """Connection of a role that may read and write the example's tables and create objects, but owns none of them."""
    example.run("GRANT SELECT, INSERT, UPDATE, DELETE, TRUNCATE, TRIGGER ON user_cards, user_storage, user_storage_versions TO mallory")
    with server.connect(database, "mallory") as c:
        yield Db(c)


@pytest.fixture
def ann(example: Db) -> Owner:
    """An owner whose card is stored."""
    owner = Owner("Ann")
    example.insert("user_cards", owner.sealed(example.form("user_cards"), owner.card()))
    return owner


@pytest.fixture
def bob(example: Db) -> Owner:
    owner = Owner("Bob")
    example.insert("user_cards", owner.sealed(example.form("user_cards"), owner.card()))
    return owner


