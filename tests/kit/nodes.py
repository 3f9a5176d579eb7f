"""Servers for a mesh: each a process with settings of its own, which may be killed."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from typing import Any

import psutil
import psycopg

from kit.server import LOGICAL, Postgres, ended_by_signals, temporary_folder

COMMON = {**LOGICAL, "shared_buffers": "64MB", "deadlock_timeout": "200ms"}
# Nothing of this may matter.
ODD = [
    {
        "TimeZone": "Asia/Kolkata",
        "DateStyle": "German",
        "IntervalStyle": "sql_standard",
        "bytea_output": "escape",
    },
    {
        "TimeZone": "America/St_Johns",
        "DateStyle": "SQL, DMY",
        "IntervalStyle": "postgres_verbose",
        "extra_float_digits": "-3",
    },
    {
        "TimeZone": "Pacific/Chatham",
        "DateStyle": "Postgres, MDY",
        "IntervalStyle": "postgres",
        "extra_float_digits": "0",
    },
]
LOCALES = ["C", "C.UTF-8", "POSIX"]


class Node(Postgres):
    """One of the servers, with the few words that are said to it most often."""

    def kill(self) -> None:
        """SIGKILL to the server and all of its processes, at once:
        what a crash leaves is on disk or nowhere.
        """
        assert self.process is not None
        children = psutil.Process(self.process.pid).children(recursive=True)
        self.process.kill()
        for child in children:
            with suppress(psutil.NoSuchProcess):
                child.kill()
        self.process.wait()
        psutil.wait_procs(children, timeout=10)
        self.process = None

    def connect(self, dbname: str, user: str = "postgres") -> psycopg.Connection[Any]:
        c = super().connect(dbname, user)
        c.prepare_threshold = None
        return c

    def all(self, dbname: str, sql: str, *args: Any) -> list[Any]:
        """All rows; of a single column, its values."""
        with self.connect(dbname) as c:
            rows = c.execute(sql, args or None).fetchall()
        return [r[0] if len(r) == 1 else r for r in rows]

    def one(self, dbname: str, sql: str, *args: Any) -> Any:
        (row,) = self.all(dbname, sql, *args)
        return row

    def run(self, dbname: str, *statements: str) -> None:
        with self.connect(dbname) as c:
            for s in statements:
                c.execute(s)


@contextmanager
def nodes(count: int = 3) -> Iterator[list[Node]]:
    """Servers in a temporary folder, each with other settings."""
    with ended_by_signals(), temporary_folder("mesh") as folder, ExitStack() as stack:
        made = []
        for i in range(count):
            settings = {**COMMON, **ODD[i % len(ODD)]}
            node = Node(folder, "abcdefgh"[i], settings, LOCALES[i % len(LOCALES)])
            stack.enter_context(node)
            made.append(node)
        yield made
