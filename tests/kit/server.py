"""The one way to start a throw-away PostgreSQL server: for tests, examples and benchmarks.

A server lives in a temporary folder and listens on a socket in it, on no network port.  When its
block is left it is stopped and the folder is removed, also after an error, Ctrl-C or a signal.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from types import FrameType, TracebackType
from typing import Any, TypeVar

import psycopg

from kit import ROOT

# What tests/setup.sh adds to the server's Python: cryptography with ML-DSA.
SERVER_PACKAGES = ROOT / ".venv/server"
# For pytest-postgresql, which starts the server of the tests; PostgreSQL refuses root.
PG_CTL = ROOT / "tests/kit/pg_ctl"

# For every server.  Without fsync only a crash of the machine loses anything.
SETTINGS = {"listen_addresses": "", "fsync": "off", "log_min_messages": "warning"}
# For servers that follow each other.
LOGICAL = {
    "wal_level": "logical",
    "max_connections": 150,
    "max_replication_slots": 40,
    "max_wal_senders": 40,
    "max_logical_replication_workers": 40,
    "max_worker_processes": 60,
    "wal_retrieve_retry_interval": "200ms",
}


def options(settings: Mapping[str, Any]) -> str:
    """Settings as the server's command line takes them."""
    return " ".join(f"-c {name}={value}" for name, value in settings.items())


STOP = {"smart": signal.SIGTERM, "fast": signal.SIGINT, "immediate": signal.SIGQUIT}
PostgresT = TypeVar("PostgresT", bound="Postgres")
PATIENCE = 60.0  # seconds until a server that does not start, or stop, has failed


class ServerError(RuntimeError):
    """A server does not start; the message ends with what it said."""


# ------------------------------------------------------------------------------------- environment
def own_environment() -> None:
    """Forget what the environment says of other servers: clients here reach nobody's but ours."""
    for name in [n for n in os.environ if n.startswith("PG") and n != "PG_CONFIG"]:
        del os.environ[name]


def server_environment() -> dict[str, str]:
    """What a server sees: its Python must not look into somebody's home."""
    kept = {n: v for n, v in os.environ.items() if not n.startswith("PG") or n == "PG_CONFIG"}
    python = {"PYTHONNOUSERSITE": "1", "PYTHONPATH": str(SERVER_PACKAGES)}
    return {**kept, **python, "LC_ALL": "C.UTF-8"}


@cache
def bindir() -> Path:
    """The programs of the PostgreSQL that PG_CONFIG names."""
    command = [os.environ.get("PG_CONFIG", "pg_config"), "--bindir"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return Path(done.stdout.strip())


def as_postgres(program: str, *arguments: str | Path) -> list[str]:
    """A command line for one of PostgreSQL's programs; they refuse root, who becomes postgres."""
    become = ["setpriv", "--reuid=postgres", "--regid=postgres", "--init-groups"]
    return [*(become if os.geteuid() == 0 else []), str(bindir() / program), *map(str, arguments)]


# ----------------------------------------------------------------------------------------- signals
class Stopped(SystemExit):
    """A signal other than Ctrl-C asks us to end."""


def stop(number: int, frame: FrameType | None) -> None:
    raise Stopped(143)


def in_main_thread() -> bool:
    """Only there Python lets us handle signals."""
    return threading.current_thread() is threading.main_thread()


@contextmanager
def ended_by_signals() -> Iterator[None]:
    """SIGTERM and SIGHUP leave the block as Ctrl-C does: servers in it are stopped."""
    signals = (signal.SIGTERM, signal.SIGHUP) if in_main_thread() else ()
    before = [(number, signal.signal(number, stop)) for number in signals]
    try:
        yield
    finally:
        for number, handler in before:
            signal.signal(number, handler)


@contextmanager
def undisturbed() -> Iterator[None]:
    """Keep signals until the block is done: a server half started would stay behind."""
    pending: list[int] = []

    def keep(number: int, frame: FrameType | None) -> None:
        pending.append(number)

    signals = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP) if in_main_thread() else ()
    before = [(number, signal.signal(number, keep)) for number in signals]
    try:
        yield
    finally:
        for number, handler in before:
            signal.signal(number, handler)
        if pending:
            signal.raise_signal(pending[0])


# ----------------------------------------------------------------------------------------- servers
@contextmanager
def temporary_folder(purpose: str = "server") -> Iterator[Path]:
    """A folder that postgres may enter; it is removed at the end."""
    long = len(tempfile.gettempdir()) > 60  # a socket's path has at most 107 bytes
    folder = None
    try:
        with undisturbed():
            prefix = f"rowseal-{purpose}-"
            folder = Path(tempfile.mkdtemp(prefix=prefix, dir="/tmp" if long else None))
            folder.chmod(0o755)
        yield folder
    finally:
        with undisturbed():
            if folder is not None:
                shutil.rmtree(folder, ignore_errors=True)


class Postgres:
    """A server of its own: data, socket and log in ``folder / name``; runs while its block does.

    Its process is a child of this one, in a session of its own: Ctrl-C is for us alone.
    """

    port = 5432  # of the socket's name

    def __init__(
        self,
        folder: Path,
        name: str = "server",
        settings: Mapping[str, Any] | None = None,
        locale: str = "C.UTF-8",
    ):
        self.name, self.folder, self.locale = name, folder / name, locale
        sockets = {"unix_socket_directories": self.folder}
        self.settings = {**SETTINGS, **sockets, **(settings or {})}
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def host(self) -> str:
        return str(self.folder)

    def conninfo(self, dbname: str) -> str:
        return f"host={self.host} port={self.port} user=postgres dbname={dbname}"

    def connect(self, dbname: str, user: str = "postgres") -> psycopg.Connection[Any]:
        return psycopg.connect(self.conninfo(dbname), user=user, autocommit=True)

    def log(self) -> str:
        path = self.folder / "log"
        return path.read_text(errors="replace") if path.exists() else ""

    def __enter__(self: PostgresT) -> PostgresT:
        try:
            with undisturbed():
                self.create()
                self.start()
        except BaseException:  # a signal that had to wait, too
            self.__exit__(None, None, None)
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        with undisturbed():
            self.stop()

    def create(self) -> None:
        """Make the data folder."""
        self.folder.mkdir(mode=0o700)
        if os.geteuid() == 0:
            shutil.chown(self.folder, "postgres", "postgres")
        how = ["--username=postgres", "--auth=trust", "--encoding=UTF8", "--no-sync"]
        data = self.folder / "data"
        command = as_postgres("initdb", *how, f"--locale={self.locale}", "-D", data)
        done = subprocess.run(command, cwd="/", env=server_environment(), capture_output=True)
        if done.returncode:
            raise ServerError(f"initdb failed: {done.stderr.decode(errors='replace')}")
        with (data / "postgresql.conf").open("a") as conf:
            for setting, value in self.settings.items():
                quoted = str(value).replace("'", "''")
                conf.write(f"{setting} = '{quoted}'\n")

    def start(self) -> None:
        """Start the server and wait until it takes connections."""
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(
                as_postgres("postgres", "-D", self.folder / "data"),
                cwd="/",
                env=server_environment(),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        end = time.monotonic() + PATIENCE
        while not self.ready():
            if self.process.poll() is not None or time.monotonic() > end:
                self.stop("immediate")
                raise ServerError(f"{self.name} does not start: {self.log()[-2000:]}")
            time.sleep(0.02)

    def ready(self) -> bool:
        """Whether it takes connections: postmaster.pid says so in its eighth line."""
        try:
            lines = (self.folder / "data/postmaster.pid").read_text().splitlines()
        except FileNotFoundError:
            return False
        ours = self.process is not None and lines[:1] == [str(self.process.pid)]
        return ours and [line.strip() for line in lines[7:8]] == ["ready"]

    def stop(self, mode: str = "immediate") -> None:
        """End the process; the data stays until the folder is removed."""
        if self.process is not None:
            if self.process.poll() is None:
                self.process.send_signal(STOP[mode])
            try:
                self.process.wait(PATIENCE)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
            self.process = None
