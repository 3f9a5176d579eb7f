"""Links: what the worker spends that takes over rows of another database, beside plain replication.

Both databases are of one server.  Rows are verified twice, where they are written and where they
arrive; what is measured is the second server's share alone.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import psycopg

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
from lab import WARM, Bench, Cost, Times, cpu, per_row
from rows import Row, Shape

Connection = psycopg.Connection[Any]


def one(c: Connection, sql: str, *args: Any) -> Any:
    found = c.execute(sql, args).fetchone()
    return found and found[0]


FRESH = "a link, fresh rows in one transaction"
NEWER = "a link, superseding rows in one transaction"
SINGLE = "a link, transactions of one row"
DIRECT = "direct publication, fresh rows in one transaction"
GOALS = {FRESH: (6.07, 1.5), NEWER: (7.64, 1.8), SINGLE: (None, 2.5), DIRECT: (None, None)}


class Followed:
    """A publication of one database, and the other's subscription to it, under one name."""

    def __init__(self, bench: Bench, up: Connection, down: Connection, name: str, tables: str = ""):
        self.name, self.up, self.down = name, up, down
        if name == "link":
            up.execute("SELECT rowseal.publish('link')")
        else:
            up.execute(f"CREATE PUBLICATION {name} FOR TABLE {tables}")
        # a subscription to its own server's slot would wait for itself
        up.execute("SELECT pg_create_logical_replication_slot(%s, 'pgoutput')", [name])
        down.execute(
            f"CREATE SUBSCRIPTION {name} CONNECTION '{bench.server} dbname=upstream'"
            f" PUBLICATION {name} WITH (create_slot = false, copy_data = false)"
        )

    def caught_up(self) -> None:
        """Wait until the worker has confirmed all that is written."""
        end = one(self.up, "SELECT pg_current_wal_insert_lsn()")
        slot = "SELECT confirmed_flush_lsn >= %s::pg_lsn FROM pg_replication_slots"
        while not one(self.up, f"{slot} WHERE slot_name = %s", end, self.name):
            failed = "SELECT sum(apply_error_count) FROM pg_stat_subscription_stats"
            assert not one(self.down, failed), f"{self.name}: see the server's log"
            time.sleep(0.02)

    def spent(self, write: Callable[[], Any]) -> Cost:
        """Of the worker; the client is the walsender that serves it."""
        self.caught_up()
        worker = one(
            self.down, "SELECT pid FROM pg_stat_subscription WHERE subname = %s", self.name
        )
        slot = "SELECT active_pid FROM pg_replication_slots WHERE slot_name = %s"
        sender = one(self.up, slot, self.name)
        before = cpu(worker), cpu(sender)
        write()
        self.caught_up()
        return Cost(cpu(worker) - before[0], cpu(sender) - before[1])


class Pair:
    """The two databases, with three tables that the one has of the other.

    They are a declared one by its feed (``link``), a declared one itself (``direct``), and a plain
    one.
    """

    def __init__(self, bench: Bench):
        self.bench = bench
        self.up, down = bench.database("upstream"), bench.database("downstream")
        value = {"value_b64": 300}
        self.fed = Shape("link", value, versioned=True, feed=True)
        leaf = Shape("link", value, versioned=True)
        self.itself = Shape("direct", value, versioned=True)
        self.up.execute(f"{self.fed.create()}; {self.itself.create()}")
        down.execute(f"{leaf.create()}; {self.itself.create()}")
        plain = "link_plain, link_plain_versions"
        self.plain = Followed(bench, self.up, down, "link_plain", plain)
        self.link = Followed(bench, self.up, down, "link")
        self.direct = Followed(bench, self.up, down, "direct", "direct")

    def together(self, *statements: str) -> Callable[[], None]:
        """One transaction."""

        def write() -> None:
            with self.up.transaction():
                for sql in statements:
                    self.up.execute(sql)

        return write

    def one_by_one(self, table: str, rows: Iterable[Row]) -> Callable[[], None]:
        """A transaction for each row."""

        def write() -> None:
            for row in rows:
                sql = f"INSERT INTO {table} {self.fed.values_sql}"
                self.up.execute(sql, list(row.values()))

        return write

    def round(self, rows: int, seed: int) -> Mapping[str, tuple[int, dict[str, Cost]]]:
        """Of each work the number of rows, and what they cost each contender in all."""
        fed, itself = (
            shape.batch(self.up, [self.bench.owner], rows, seed, f"_{seed}")
            for shape in (self.fed, self.itself)
        )
        single = list(self.fed.rows([self.bench.owner], max(10, rows // 10), seed + 1))
        fresh, newer = f"link_fresh{fed.name}", f"link_newer{fed.name}"
        if not self.bench.one("SELECT to_regclass('link_bare') IS NOT NULL"):
            self.bench.run("CREATE TABLE link_bare (sign bytea, message bytea, key bytea)")
            self.bench.load_bare(self.fed, fed.fresh)
        update = (
            f"UPDATE link_plain t SET {self.fed.set} FROM {newer} n"
            " WHERE t.user_hash = n.user_hash AND t.uuid = n.uuid"
        )
        archive = f"INSERT INTO link_plain_versions SELECT * FROM {fresh}"
        works = {
            FRESH: (
                rows,
                self.together(f"INSERT INTO link_plain SELECT * FROM {fresh}"),
                self.together(f"INSERT INTO link SELECT * FROM {fresh}"),
            ),
            NEWER: (
                rows,
                self.together(update, archive),
                self.together(f"INSERT INTO link SELECT * FROM {newer}"),
            ),
            SINGLE: (
                len(single),
                self.one_by_one("link_plain", single),
                self.one_by_one("link", single),
            ),
        }
        bare, out = self.bench.bare("link"), {}
        for name, (count, plain, link) in works.items():
            costs = {"verify": Cost(bare * count), "plain": self.plain.spent(plain)}
            out[name] = count, {**costs, "rowseal": self.link.spent(link)}
        source = f"direct_fresh{itself.name}"
        direct = self.direct.spent(self.together(f"INSERT INTO direct SELECT * FROM {source}"))
        out[DIRECT] = rows, {**out[FRESH][1], "rowseal": direct}
        return out


def measure(bench: Bench, rows: int, rounds: int) -> None:
    """What comes by links: many rows in one transaction, and one in each."""
    pair, counts = Pair(bench), {}
    times: dict[str, Times] = {name: {} for name in GOALS}
    pair.round(WARM, 100)
    for i in range(1, rounds + 1):
        for name, (count, costs) in pair.round(rows, 100 + 10 * i).items():
            counts[name] = count
            for who, cost in costs.items():
                times[name].setdefault(who, []).append(per_row(cost, count))
    for name, (before, goal) in GOALS.items():
        limit = "verify", "plain"
        bench.work(name, counts[name], times[name], limit, before=before, goal=goal)
