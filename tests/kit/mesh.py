"""Servers of their own, linked by the feed, and everything that may happen to them.

A ``Mesh`` has three servers (nodes.py) with a topology.  ``Mesh.trouble`` writes at all of them at
once (traffic.py) while links go down and up, a server is killed, another one joins late, and one
peer sends forged rows.  ``Mesh.heal`` waits until all is quiet, ``Mesh.check`` says what is not as
it must be, ``Mesh.stand_still`` what goes on moving (mesh_checks.py).
links/test_mesh_in_trouble.py runs it for seconds, soak.py for as long as wanted.
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable

from kit import mesh_checks
from kit.nodes import Node
from kit.traffic import LAYOUT, TABLES, Problem, Traffic

TOPOLOGIES: dict[str, list[tuple[int, int]]] = {  # (from, to)
    "chain": [(0, 1), (1, 0), (1, 2), (2, 1)],
    "ring": [(0, 1), (1, 2), (2, 0)],
    "full mesh": [(i, j) for i in range(3) for j in range(3) if i != j],
}
Link = tuple[int, int]


class Mesh:
    """Three servers, one database of each, and the links between them."""

    def __init__(
        self,
        servers: list[Node],
        dbname: str,
        topology: str,
        seed: int,
        say: Callable[[str], None] = lambda _: None,
    ):
        self.nodes, self.db, self.links, self.say = servers, dbname, TOPOLOGIES[topology], say
        self.rng = random.Random(seed)
        self.linked: list[Link] = []
        drop = f"DROP DATABASE IF EXISTS {dbname} WITH (FORCE)"
        extensions = ("dblink", "pg_walinspect", "rowseal CASCADE")
        for node in self.nodes:
            node.run("postgres", drop, f"CREATE DATABASE {dbname}")
            node.run(dbname, *(f"CREATE EXTENSION {e}" for e in extensions))
            node.run(dbname, TABLES, "SELECT rowseal.publish()")
        self.traffic = Traffic(servers, dbname, seed, self.rng)

    def name(self, source: int, target: int) -> str:
        return f"{self.db}_{self.nodes[source].name}_{self.nodes[target].name}"

    def link(self, source: int, target: int) -> None:
        there = self.nodes[source].conninfo(self.db)
        with self.nodes[target].connect(self.db) as c:
            c.execute("SET statement_timeout = '60s'")
            took = c.execute(
                "CALL rowseal.subscribe(%s, %s)", (self.name(source, target), there)
            ).fetchone()
        self.linked.append((source, target))
        self.say(f"{self.nodes[target].name} follows {self.nodes[source].name}: {took}")

    def enable(self, source: int, target: int, on: bool) -> None:
        self.nodes[target].run(
            self.db,
            f"ALTER SUBSCRIPTION {self.name(source, target)} {'ENABLE' if on else 'DISABLE'}",
        )

    def drop(self) -> None:
        """Take links and databases away."""
        for source, target in self.linked:
            name = self.name(source, target)
            self.nodes[target].run(self.db, f"CALL rowseal.unsubscribe('{name}')")
        for node in self.nodes:
            node.run("postgres", f"DROP DATABASE {self.db} WITH (FORCE)")

    def trouble(
        self, seconds: float, late: int = 2, victim: int = 1, forger: int = 0, writers: int = 1
    ) -> None:
        """Link all but one, write everywhere, disturb, let the late one in,
        kill one and start it again.
        """
        first = [x for x in self.links if late not in x]
        for x in first:
            self.link(*x)
        until = time.monotonic() + seconds
        work = [(i * writers + j, i) for i in range(len(self.nodes)) for j in range(writers)]
        write = self.traffic.writer
        threads = [threading.Thread(target=write, args=(*w, until), daemon=True) for w in work]
        for t in threads:
            t.start()
        off = set[Link]()
        try:
            self._disturb(seconds, first, victim, forger, off)
            for _ in range(20):  # where the draws have left it out, or its server was not there
                if not self.traffic.forged:
                    self.traffic.forge(self.rng, forger)
            if not self.traffic.forged:
                self.traffic.failures.append("no forged row was sent")
        finally:
            for t in threads:
                t.join(60)
            if any(t.is_alive() for t in threads):
                self.traffic.failures.append("a writer hangs: " + self.activity())
        for x in off:
            self.enable(*x, on=True)

    def _disturb(
        self, seconds: float, first: list[Link], victim: int, forger: int, off: set[Link]
    ) -> None:
        """For so long; ``off``: the links that are down."""
        begun = time.monotonic()
        joined = killed = False
        while time.monotonic() < begun + seconds:
            time.sleep(0.2 + self.rng.random() * 0.5)
            passed = (time.monotonic() - begun) / seconds
            if passed > 0.25 and not joined:
                joined = True
                for x in self.links:
                    if x not in first:
                        self.link(*x)
            elif passed > 0.6 and not killed:
                killed = True
                self.say(f"SIGKILL to {self.nodes[victim].name}")
                self.nodes[victim].kill()
                time.sleep(1)
                self.nodes[victim].start()
            elif self.rng.random() < 0.4:
                self.traffic.forge(self.rng, forger)
            elif self.linked:
                x = self.rng.choice(self.linked)
                self.enable(*x, on=x in off)
                off ^= {x}

    def activity(self) -> str:
        """What the servers' processes are waiting for."""
        sql = (
            "SELECT pid, backend_type, state, wait_event_type, wait_event, left(query, 100)"
            " FROM pg_stat_activity WHERE datname = %s AND pid <> pg_backend_pid()"
        )
        return "; ".join(f"{n.name}: {n.all('postgres', sql, self.db)}" for n in self.nodes)

    def counts(self) -> list[tuple[int, ...]]:
        sql = (
            "SELECT (SELECT count(*) FROM rowseal.feed),"
            " (SELECT sum(attempts) FROM rowseal.quarantine)"
        )
        return [n.one(self.db, sql) for n in self.nodes]

    def heal(self, timeout: float = 40) -> float:
        """Wait until every link has handed over everything and nothing moves any more;
        seconds that it took.
        """
        begun = time.monotonic()
        while time.monotonic() - begun < timeout:
            before = self.counts()
            end = "SELECT pg_current_wal_insert_lsn()::text"
            ends = [n.one(self.db, end) for n in self.nodes]
            behind = [self.name(*x) for x in self.linked if not self._arrived(*x, ends[x[0]])]
            if not behind and self.counts() == before:
                return time.monotonic() - begun
        raise Problem(
            f"not quiet after {timeout} s: behind {behind}; {before} then {self.counts()};"
            f" {self.activity()}\n{mesh_checks.errors(self)}"
        )

    def _arrived(self, source: int, target: int, end: str) -> bool:
        """Whether a link has confirmed this point of the WAL within two seconds."""
        sql = (
            "SELECT coalesce(confirmed_flush_lsn >= %s, false) FROM pg_replication_slots"
            " WHERE slot_name = %s"
        )
        there, name = self.nodes[source], self.name(source, target)
        # ends of transactions are confirmed;
        # something must be committed after the last one for it to show
        there.run(self.db, "SELECT pg_logical_emit_message(true, 'rowseal', 'end')")
        for _ in range(20):
            if there.one(self.db, sql, end, name):
                return True
            time.sleep(0.1)
        return False

    def check(self) -> None:
        """Raise Problem for whatever is not as promised."""
        found = list(mesh_checks.wrong(self))
        if found:
            raise Problem("\n".join([*found, mesh_checks.errors(self)]))

    def stand_still(self, seconds: float = 2.0) -> str:
        """Raise Problem when something goes on moving though nobody writes."""
        return mesh_checks.stand_still(self, seconds)

    def summary(self) -> str:
        versions = sum(len(self.traffic.accepted[t]) for t in LAYOUT)
        quarantined = [
            n.one(self.db, "SELECT count(*) FROM rowseal.quarantine") for n in self.nodes
        ]
        retried = [
            n.one(self.db, "SELECT sum(apply_error_count)::int FROM pg_stat_subscription_stats")
            for n in self.nodes
        ]
        return (
            f"{versions} versions and {len(self.traffic.accepted['user_cards'])} cards accepted,"
            f" {self.traffic.forged} forged ones sent, refused to writers {self.traffic.refused},"
            f" quarantine {quarantined}, workers' errors {retried}"
        )
