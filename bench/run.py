"""Benchmark: what a check costs, as a multiple of what cannot be avoided.

    python bench/run.py [--rows 4000] [--rounds 7] [--size 300] [--output bench/results]

The unit is the *limit*: one bare Ed25519 verification (PyNaCl in the server's Python, in a loop) plus the plain INSERT
of the same rows.  All lines of a table are measured in one run of one server, alternating, several rounds; given are
medians and their spread (the quartiles).  Times are CPU times of the backend (getrusage), so that other load on the
machine disturbs less; ``wall`` says where the wall clock is meant.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
import uuid
from base64 import b64encode
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg

ROOT = Path(__file__).parent.parent
sys.path[:0] = [str(ROOT / "plpython"), str(ROOT / "tests")]
from conftest import EXAMPLE, PG_CTL, Owner  # noqa: E402
from rowseal.client import Form  # noqa: E402

SETTINGS = "fsync=off -c synchronous_commit=off -c listen_addresses= -c max_wal_size=8GB -c checkpoint_timeout=1h -c autovacuum=off"


@contextmanager
def server() -> Iterator[str]:
    """A throw-away server; yields a connection string."""
    with tempfile.TemporaryDirectory(prefix="rowseal-bench-", dir="/tmp", ignore_cleanup_errors=True) as folder:
        os.chmod(folder, 0o777)
        data = Path(folder) / "data"
        subprocess.run([PG_CTL, "initdb", "-D", data, "-o", "-U postgres -A trust -E UTF8 --locale=C.UTF-8"], check=True, stdout=subprocess.DEVNULL)
        options = f"-c unix_socket_directories={folder} -c {SETTINGS}"
        subprocess.run([PG_CTL, "-D", data, "-w", "-l", data / "log", "-o", options, "start"], check=True, stdout=subprocess.DEVNULL)
        try:
            yield f"host={folder} user=postgres dbname=postgres"
        finally:
            subprocess.run([PG_CTL, "-D", data, "-m", "immediate", "stop"], check=True, stdout=subprocess.DEVNULL)


PREPARE = """
    CREATE FUNCTION cpu() RETURNS float8 LANGUAGE plpython3u AS $$
    import resource
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime
    $$;
    CREATE FUNCTION bare() RETURNS void LANGUAGE plpython3u AS $$
    from nacl.bindings import crypto_sign_open
    if "rows" not in SD:
        SD["rows"] = [(r["sign"], r["payload"], r["key"]) for r in plpy.execute("SELECT * FROM bare")]
    for sign, payload, key in SD["rows"]:
        crypto_sign_open(sign + payload, key)
    $$;
    CREATE TABLE bare (sign bytea, payload bytea, key bytea);
    CREATE TABLE plain (LIKE user_storage INCLUDING ALL);
    CREATE TABLE fresh (LIKE user_storage);
    CREATE TABLE newer (LIKE user_storage);
    -- the hand-written alternative: one trigger, jsonb::text as canonical form, no rules
    CREATE TABLE by_hand (LIKE user_storage INCLUDING ALL);
    CREATE FUNCTION one_line_verify(sign bytea, message bytea, key bytea) RETURNS boolean LANGUAGE plpython3u AS $$
    from nacl.bindings import crypto_sign_open
    crypto_sign_open(sign + message, key)
    return True
    $$;
    CREATE FUNCTION by_hand() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
      IF NOT one_line_verify(NEW.sign_b64, convert_to((to_jsonb(NEW) - 'sign_b64')::text, 'UTF8'),
                             (SELECT sign_pkey FROM user_cards WHERE user_hash = NEW.user_hash)) THEN
        RAISE EXCEPTION 'forged';
      END IF;
      RETURN NEW;
    END $$;
    CREATE TRIGGER by_hand BEFORE INSERT ON by_hand FOR EACH ROW EXECUTE FUNCTION by_hand();
    CREATE TABLE fresh_by_hand (LIKE user_storage);
    CREATE FUNCTION reset() RETURNS void LANGUAGE plpgsql SET client_min_messages = error AS $$
    BEGIN
      ALTER TABLE user_storage DISABLE TRIGGER zzz_rowseal_keep_all;
      ALTER TABLE user_storage_versions DISABLE TRIGGER zzz_rowseal_keep_all;
      TRUNCATE user_storage, user_storage_versions, plain, by_hand;
      ALTER TABLE user_storage ENABLE ALWAYS TRIGGER zzz_rowseal_keep_all;
      ALTER TABLE user_storage_versions ENABLE ALWAYS TRIGGER zzz_rowseal_keep_all;
    END $$;
"""


class Bench:
    def __init__(self, dsn: str, rows: int, rounds: int, size: int):
        self.dsn, self.n, self.rounds, self.size = dsn, rows, rounds, size
        self.c = psycopg.connect(dsn, autocommit=True)
        self.times: dict[str, list[float]] = {}
        self.c.execute("CREATE EXTENSION rowseal CASCADE")
        self.c.execute(EXAMPLE)
        self.c.execute(PREPARE)
        self.owner = Owner()
        fields = dict(self.c.execute("SELECT tag, spec -> 'fields' FROM rowseal.declarations").fetchall())
        card = self.owner.sealed(Form("user_cards", fields["user_cards"]), self.owner.card())
        self.c.execute(f"INSERT INTO user_cards ({', '.join(card)}) VALUES ({', '.join(['%s'] * len(card))})", list(card.values()))
        self.form = Form("user_storage", fields["user_storage"])
        self.rows: list[dict[str, Any]] = []
        newer, payloads, by_hand = [], [], []
        for _ in range(rows):
            row = self.owner.value(os.urandom(size))
            payloads.append(self.form.payload_of(row))
            self.rows.append(self.owner.sealed(self.form, row))
            newer.append(self.owner.sealed(self.form, {**row, "owner_timestamp": next(Owner.clock), "parent_sign_b64": self.rows[-1]["sign_b64"]}))
        self.copy("bare", [(r["sign_b64"], p, self.owner.public_key) for r, p in zip(self.rows, payloads)])
        self.copy("fresh", [tuple(r.values()) for r in self.rows])
        self.copy("newer", [tuple(r.values()) for r in newer])
        for text, row in zip(self.c.execute("SELECT (to_jsonb(f) - 'sign_b64')::text FROM fresh f").fetchall(), self.rows):
            by_hand.append((*list(row.values())[:-1], self.owner.key.sign(text[0].encode()).signature))
        self.copy("fresh_by_hand", by_hand)
        self.envelopes = [{**json.loads(p), "sign_b64": b64encode(r["sign_b64"]).decode()} for p, r in zip(payloads, self.rows)]

    def copy(self, table: str, rows: list[tuple[Any, ...]]) -> None:
        with self.c.cursor().copy(f"COPY {table} FROM STDIN") as copy:
            for row in rows:
                copy.write_row(row)

    def cpu(self) -> float:
        return float(self.c.execute("SELECT cpu()").fetchone()[0])  # type: ignore[index]

    def time(self, name: str, work: Callable[[], Any], rows: int | None = None) -> None:
        """Microseconds of the backend's CPU per row."""
        start = self.cpu()
        work()
        self.times.setdefault(name, []).append((self.cpu() - start) / (rows or self.n) * 1e6)

    def run(self, sql: str, *args: Any) -> None:
        self.c.execute(sql, args or None)  # type: ignore[arg-type]

    def xids(self, work: Callable[[], Any]) -> int:
        """Transaction ids that the work takes, besides its own."""
        before = self.c.execute("SELECT pg_current_xact_id()::text::bigint").fetchone()
        work()
        after = self.c.execute("SELECT pg_current_xact_id()::text::bigint").fetchone()
        return int(after[0] - before[0] - 1)  # type: ignore[index]

    def round(self) -> None:
        self.run("SELECT reset()")
        self.time("bare verify", lambda: self.run("SELECT bare()"))
        self.time("plain INSERT", lambda: self.run("INSERT INTO plain SELECT * FROM fresh"))
        self.time("plain UPDATE", lambda: self.run("UPDATE plain p SET value_b64 = n.value_b64, owner_timestamp = n.owner_timestamp, "
                                                   "parent_sign_b64 = n.parent_sign_b64, sign_b64 = n.sign_b64 FROM newer n "
                                                   "WHERE p.user_hash = n.user_hash AND p.uuid = n.uuid"))  # fmt: skip
        self.time("by hand", lambda: self.run("INSERT INTO by_hand SELECT * FROM fresh_by_hand"))
        self.time("fresh", lambda: self.run("INSERT INTO user_storage SELECT * FROM fresh"))
        self.time("duplicate", lambda: self.run("INSERT INTO user_storage SELECT * FROM fresh"))
        self.time("superseding", lambda: self.run("INSERT INTO user_storage SELECT * FROM newer"))
        self.time("archived duplicate", lambda: self.run("INSERT INTO user_storage SELECT * FROM fresh"))
        self.time("verify()", lambda: self.run("SELECT * FROM rowseal.verify('user_storage')"), 2 * self.n)
        self.time("digest()", lambda: self.run("SELECT rowseal.digest('user_storage')"), 2 * self.n)
        self.run("SELECT reset()")
        batch = json.dumps(self.envelopes)
        self.time("apply", lambda: self.run("SELECT count(*) FROM rowseal.apply('user_storage', %s::jsonb)", batch))

    def first_statement(self) -> float:
        """Milliseconds (wall) of the first row that a new connection stores, loading included."""
        row = self.owner.sealed(self.form, self.owner.value(b"first", uuid.uuid4()))
        with psycopg.connect(self.dsn, autocommit=True) as c:
            start = time.perf_counter()
            c.execute(f"INSERT INTO user_storage ({', '.join(row)}) VALUES ({', '.join(['%s'] * len(row))})", list(row.values()))
            return (time.perf_counter() - start) * 1e3


def table(bench: Bench) -> str:
    """The results as Markdown."""
    median = {k: statistics.median(v) for k, v in bench.times.items()}
    limit = [a + b for a, b in zip(bench.times["bare verify"], bench.times["plain INSERT"])]
    supersede = [a + b + c for a, b, c in zip(bench.times["bare verify"], bench.times["plain UPDATE"], bench.times["plain INSERT"])]
    lines = [
        ("fresh row, INSERT … SELECT", "fresh", limit, "verify + plain INSERT"),
        ("fresh row, trigger written by hand (jsonb::text, no rules)", "by hand", limit, "verify + plain INSERT"),
        ("fresh row, apply in one batch", "apply", limit, "verify + plain INSERT"),
        ("newer version, archived and replaced", "superseding", supersede, "verify + plain UPDATE + plain INSERT"),
        ("duplicate of the current version", "duplicate", bench.times["fresh"], "fresh row"),
        ("duplicate of an archived version", "archived duplicate", bench.times["fresh"], "fresh row"),
        ("verify()", "verify()", bench.times["bare verify"], "bare verify"),
        ("digest()", "digest()", bench.times["bare verify"], "bare verify"),
    ]
    out = ["| work | µs per row | × | of | spread |", "| --- | ---: | ---: | --- | --- |"]
    for label, name, unit, of in lines:
        ratios = sorted(a / b for a, b in zip(bench.times[name], unit))
        low, _, high = statistics.quantiles(ratios, n=4)
        out.append(f"| {label} | {median[name]:.1f} | {statistics.median(ratios):.2f} | {of} | {low:.2f}-{high:.2f} |")
    return "\n".join(out)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=4000)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--size", type=int, default=300, help="bytes of value_b64")
    parser.add_argument("--output", type=Path, default=ROOT / "bench/results")
    args = parser.parse_args()
    with server() as dsn:
        bench = Bench(dsn, args.rows, args.rounds, args.size)
        for _ in range(args.rounds):
            bench.round()
        bench.run("SELECT reset()")
        xids = bench.xids(lambda: bench.run("INSERT INTO user_storage SELECT * FROM fresh"))
        again = bench.xids(lambda: bench.run("INSERT INTO user_storage SELECT * FROM newer"))
        first = statistics.median(bench.first_statement() for _ in range(9))
        version, provider = bench.c.execute("SELECT current_setting('server_version'), rowseal._provider()").fetchone()  # type: ignore[misc]
        median = {k: statistics.median(v) for k, v in bench.times.items()}
        text = f"""{table(bench)}

{args.rows} rows of 7 columns, {args.size} B values, {args.rounds} rounds; medians, quartiles of the ratio. Bare verify {median['bare verify']:.1f} µs, plain INSERT
{median['plain INSERT']:.1f} µs (CPU). Transaction ids for {args.rows} fresh rows in one statement: {xids}, for {args.rows} superseding ones: {again}. First row of a
new connection: {first:.0f} ms (wall). PostgreSQL {version}, {provider}, {platform.machine()}, Python {platform.python_version()}, {os.cpu_count()} cores.
"""
        print(text)
        args.output.mkdir(parents=True, exist_ok=True)
        (args.output / "core.md").write_text(text)
        bench.c.close()


if __name__ == "__main__":
    main()
