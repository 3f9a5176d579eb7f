"""Several servers that sync with each other: databases of the test server,
and a second server where settings matter.

``Net.site()`` makes a database with the running example declared with ``feed => true``; PostgreSQL
replicates between databases of one server as between servers, as long as the slot is made by one
side and used by the other.
"""

from __future__ import annotations

import contextlib
import time
import uuid
from base64 import b64encode
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import psycopg

from kit.db import Db, Server
from kit.example import EXAMPLE, Owner, changed
from kit.server import LOGICAL, Postgres, temporary_folder

PATIENCE = 20.0  # seconds until something that must happen counts as not happening
NET_EXAMPLE = changed(
    EXAMPLE,
    {
        "'user_storage_versions')": "'user_storage_versions', feed => true)",
        '"crypt_cert": "crypt_pkey"}\')': '"crypt_cert": "crypt_pkey"}\', feed => true)',
    },
)


def until(question: Callable[[], Any], what: str = "", patience: float = PATIENCE) -> Any:
    """The first true answer; the test fails when none comes."""
    end = time.monotonic() + patience
    while True:
        answer = question()
        if answer:
            return answer
        assert time.monotonic() < end, f"still not: {what or question}"
        time.sleep(0.02)


class Site(Db):
    """A server as its administrator sees it: one database, with links to others."""

    def __init__(self, server: Server, name: str):
        super().__init__(server.connect(name))
        self.server, self.name = server, name

    @property
    def conninfo(self) -> str:
        return f"host={self.server.host} port={self.server.port} user=postgres dbname={self.name}"

    def session(self, user: str = "postgres") -> Db:
        return Db(self.server.connect(self.name, user))

    def put(
        self,
        owner: Owner,
        value: bytes | None = b"value",
        key: uuid.UUID | None = None,
        **changes: Any,
    ) -> dict[str, Any]:
        """A new version of a row of user_storage, signed and inserted here."""
        row = owner.sealed(self.form("user_storage"), owner.value(value, key, **changes))
        self.insert("user_storage", row)
        return row

    def join(self, *owners: Owner) -> None:
        """The owners' cards, signed and inserted here."""
        for owner in owners:
            self.insert("user_cards", owner.sealed(self.form("user_cards"), owner.card()))

    def subscribe(
        self, other: Site, name: str | None = None, publication: str = "rowseal", **more: Any
    ) -> dict[str, dict[str, int]]:
        """Follow another site; the subscription is called after both.  Outcomes by tag."""
        arguments = "".join(f", {argument} => %s" for argument in more)
        return self.one(  # type: ignore[no-any-return]
            f"CALL rowseal.subscribe(%s, %s, %s{arguments})",
            name or link(self, other),
            other.conninfo,
            publication,
            *more.values(),
        )

    def digests(self) -> tuple[Any, ...]:
        return tuple(
            self.one("SELECT rowseal.digest('user_cards'), rowseal.digest('user_storage')")
        )

    def values(self) -> list[Any]:
        return self.all("SELECT value_b64 FROM user_storage ORDER BY owner_timestamp")

    def quarantined(self) -> list[Any]:
        return self.all("SELECT sqlstate FROM rowseal.quarantine ORDER BY id")

    def wal(self) -> int:
        return self.one("SELECT pg_current_wal_insert_lsn() - '0/0'")  # type: ignore[no-any-return]

    def leave(self) -> None:
        """Take every link down, whatever its state, and the database away."""
        for name in self.all(
            "SELECT subname FROM pg_subscription WHERE subdbid = (SELECT oid FROM pg_database"
            " WHERE datname = current_database())"
        ):
            self.run(f"ALTER SUBSCRIPTION {name} DISABLE")
            self.run(f"ALTER SUBSCRIPTION {name} SET (slot_name = NONE)")
            self.run(f"DROP SUBSCRIPTION {name}")
        for slot in self.all(
            "SELECT slot_name FROM pg_replication_slots WHERE database = current_database()"
        ):
            self.all(
                "SELECT pg_terminate_backend(active_pid, 5000) FROM pg_replication_slots"
                " WHERE slot_name = %s AND active",
                slot,
            )
            with contextlib.suppress(psycopg.errors.UndefinedObject):
                self.run("SELECT pg_drop_replication_slot(%s)", slot)
        self.connection.close()
        self.server.drop(self.name)


def sign_of(row: Any) -> str:
    """The signature of a sealed row or of an envelope, in base64."""
    sign = row["sign_b64"]
    return sign if isinstance(sign, str) else b64encode(sign).decode()


def link(here: Site, there: Site) -> str:
    return f"{here.name}_from_{there.name}"


class Net:
    """Sites that vanish at the end of the test."""

    def __init__(self, server: Server):
        self.server = server
        self.sites: list[Site] = []

    def template(self) -> str:
        """A database with the example declared for the feed, made once per server."""
        name = "rowseal_site"
        with self.server.connect("postgres") as c:
            if not c.execute("SELECT 1 FROM pg_database WHERE datname = %s", (name,)).fetchone():
                c.execute("CREATE ROLE keeper LOGIN")  # administers rowseal, owns nothing
                c.execute(f"CREATE DATABASE {name} TEMPLATE rowseal_template")
                with self.server.connect(name) as t:
                    t.execute("CREATE EXTENSION dblink")
                    t.execute("GRANT rowseal_admin TO keeper")
                    t.execute("SET SESSION AUTHORIZATION app")
                    t.execute(NET_EXAMPLE)
        return name

    def site(self, template: str | None = None) -> Site:
        """A fresh site; ``template`` rowseal_template: with the extension alone."""
        site = Site(self.server, self.server.database(template or self.template()))
        # a copied database is another server
        site.run("UPDATE rowseal.feed_state SET id = gen_random_uuid()")
        self.sites.append(site)
        return site

    def pair(self) -> tuple[Site, Site]:
        """Two sites; the first publishes, the second follows."""
        a, b = self.site(), self.site()
        a.run("SELECT rowseal.publish()")
        b.subscribe(a)
        return a, b

    def close(self) -> None:
        for site in self.sites:
            with contextlib.suppress(psycopg.OperationalError):
                site.leave()


def network(server: Server) -> Iterator[Net]:
    """For ``net = pytest.fixture(network)``."""
    net = Net(server)
    yield net
    net.close()


class SecondServer(Postgres):
    """A server process of its own, for what belongs to a whole server: its settings, its end."""

    def set(self, **settings: Any) -> None:
        """Settings that need no restart, until they are set again."""
        applied = "SELECT setting FROM pg_file_settings WHERE name = %s AND applied"
        with self.connect("postgres") as c:
            db = Db(c)
            for name, value in settings.items():
                db.run(f"ALTER SYSTEM SET {name} = '{value}'")
            db.run("SELECT pg_reload_conf()")
            for name, value in settings.items():
                until(partial(lambda n, v: db.all(applied, n) == [str(v)], name, value))
        time.sleep(0.1)  # other sessions read the settings between two statements


@contextlib.contextmanager
def second_server() -> Iterator[tuple[SecondServer, Net]]:
    """A second server and a net of sites on it."""
    with temporary_folder("second") as folder, SecondServer(folder, settings=LOGICAL) as second:
        net = Net(Server(second.host, second.port))
        yield second, net
        net.close()
