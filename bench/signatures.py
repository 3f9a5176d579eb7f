"""Benchmark of other signatures: batches and ML-DSA, as a multiple of what cannot be avoided.

    python bench/signatures.py [--rows 10000] [--rounds 5] [--output bench/results]

The limit of an algorithm is one bare verification of it (in the server's Python, in a loop) plus
the plain INSERT of the same rows.  CPU times of the backend, alternating; medians.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
from pathlib import Path
from typing import Any

import psycopg

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
from kit import ROOT
from kit.example import EXAMPLE, Owner, changed
from lab import cpu, server
from rowseal.client import Form, SigningKey, sign_many

PREPARE = """
    CREATE FUNCTION bare(payload bytea, sign bytea, key bytea, times integer) RETURNS void
    LANGUAGE plpython3u AS $$
    if len(key) == 32:
        from nacl.bindings import crypto_sign_open
        for _ in range(times):
            crypto_sign_open(sign + payload, key)
    else:
        from cryptography.hazmat.primitives.asymmetric import mldsa
        load = mldsa.MLDSA65PublicKey if len(key) == 1952 else mldsa.MLDSA87PublicKey
        for _ in range(times):
            load.from_public_bytes(key).verify(sign, payload)
    $$;
    CREATE TABLE plain (LIKE user_storage INCLUDING ALL);
    CREATE TABLE alone (LIKE user_storage);
    CREATE TABLE together (LIKE user_storage);
"""
UNVERSIONED = changed(
    EXAMPLE,
    {
        "'sha256',": "'sha256', algorithms => '{ed25519,ml-dsa-65,ml-dsa-87}',",
        # the index of a versions table does not hold ML-DSA
        ",\n        versions => 'user_storage_versions'": "",
    },
)


class Bench:
    def __init__(self, dsn: str, rows: int, rounds: int, size: int):
        self.n, self.rounds, self.size = rows, rounds, size
        self.c = psycopg.connect(dsn, autocommit=True)
        self.run("CREATE EXTENSION rowseal CASCADE")
        self.run(UNVERSIONED)
        self.run(PREPARE)

    def run(self, sql: str, *args: Any) -> Any:
        return self.c.execute(sql, args or None)

    def time(self, sql: str, rows: int, *args: Any) -> float:
        """Microseconds of the backend's CPU per row."""
        start = cpu(self.c.info.backend_pid)
        self.run(sql, *args)
        return (cpu(self.c.info.backend_pid) - start) / rows * 1e6

    def copy(self, table: str, rows: list[tuple[Any, ...]]) -> None:
        with self.c.cursor().copy(f"COPY {table} FROM STDIN") as copy:
            for row in rows:
                copy.write_row(row)

    def measure(self, name: str, key: Any, alone: int, goals: tuple[str, str]) -> list[str]:
        """Lines of the table: ``alone`` rows signed one by one, n in one batch."""
        owner = Owner(key=key)
        fields = dict(self.run("SELECT tag, spec -> 'fields' FROM rowseal.declarations").fetchall())
        forms = {tag: Form(tag, f) for tag, f in fields.items()}
        card = owner.sealed(forms["user_cards"], owner.card())
        self.run(
            f"INSERT INTO user_cards ({', '.join(card)}) VALUES ({', '.join(['%s'] * len(card))})",
            *card.values(),
        )
        form = forms["user_storage"]
        rows = [owner.value(os.urandom(self.size)) for _ in range(self.n)]
        signs = list(sign_many([(form, r) for r in rows], owner.key))
        self.run("TRUNCATE alone, together")
        single = [owner.sealed(form, r) for r in rows[:alone]]
        self.copy("alone", [tuple(r.values()) for r in single])
        self.copy("together", [(*r.values(), s) for r, s in zip(rows, signs)])
        bare, inserted, each, batch = [], [], [], []
        for _ in range(self.rounds):
            self.run("TRUNCATE plain")
            self.run(
                "ALTER TABLE user_storage DISABLE TRIGGER zzz_rowseal_keep_all;"
                " TRUNCATE user_storage"
            )
            self.run("ALTER TABLE user_storage ENABLE ALWAYS TRIGGER zzz_rowseal_keep_all")
            bare.append(
                self.time(
                    "SELECT bare(%s, %s, %s, %s)",
                    alone,
                    form.payload_of(rows[0]),
                    single[0]["sign_b64"],
                    owner.public_key,
                    alone,
                )
            )
            inserted.append(self.time("INSERT INTO plain SELECT * FROM alone", alone))
            each.append(self.time("INSERT INTO user_storage SELECT * FROM alone", alone))
            self.run(
                "ALTER TABLE user_storage DISABLE TRIGGER zzz_rowseal_keep_all;"
                " TRUNCATE user_storage"
            )
            self.run("ALTER TABLE user_storage ENABLE ALWAYS TRIGGER zzz_rowseal_keep_all")
            # a session that knows no root
            with psycopg.connect(self.c.info.dsn, autocommit=True) as fresh:
                self.c, kept = fresh, self.c
                batch.append(self.time("INSERT INTO user_storage SELECT * FROM together", self.n))
                self.c = kept
        limit = statistics.median(a + b for a, b in zip(bare, inserted))
        out = []
        for what, count, times, size, goal in (
            ("one by one", alone, each, len(single[0]["sign_b64"]), goals[0]),
            ("in one batch", self.n, batch, max(map(len, signs)), goals[1]),
        ):
            ratios = [t / (a + b) for t, a, b in zip(times, bare, inserted)]
            median = statistics.median(times)
            out.append(
                f"| {name}, {count} rows {what} | {median:.1f} | {statistics.median(ratios):.2f}"
                f" | {min(ratios):.2f}-{max(ratios):.2f} | {goal} | {limit:.1f} | {size} |"
            )
        return out


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rows", type=int, default=10_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--size", type=int, default=300, help="bytes of value_b64")
    parser.add_argument("--output", type=Path, default=ROOT / "bench/results")
    args = parser.parse_args()
    from cryptography.hazmat.primitives.asymmetric import mldsa

    with server() as dsn:
        bench = Bench(dsn, args.rows, args.rounds, args.size)
        lines = [
            "| work | µs per row | × limit | range | goal | limit, µs | signature column, bytes |",
            "| --- | ---: | ---: | --- | --- | ---: | ---: |",
        ]
        lines += bench.measure(
            "Ed25519", SigningKey.generate(), args.rows // 4, ("≤ 1.10", "≤ 0.30")
        )
        lines += bench.measure(
            "ML-DSA-65", mldsa.MLDSA65PrivateKey.generate(), args.rows // 10, ("≤ 1.05", "")
        )
        lines += bench.measure(
            "ML-DSA-87", mldsa.MLDSA87PrivateKey.generate(), args.rows // 10, ("≤ 1.05", "≤ 0.08")
        )
        bench.c.close()
    text = "\n".join(lines) + (
        f"\n\n{args.rows} rows of 7 columns, {args.size} B values, {args.rounds} rounds;"
        " a batch meets a new session each time. Load of the machine at the end:"
        f" {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores.\n"
    )
    print(text)
    args.output.mkdir(parents=True, exist_ok=True)
    (args.output / "signatures.md").write_text(text)


if __name__ == "__main__":
    main()
