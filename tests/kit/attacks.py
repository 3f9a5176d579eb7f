"""What the attacks have in common: tables to attack, forgeries, doors,
and a trap that tells whose rights it ran with.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import psycopg
from psycopg.types.json import Json

from kit.db import Db
from kit.ed25519 import L
from kit.example import Owner

KEY = uuid.UUID(int=7)
SEALED = "deleted_flag boolean, owner_timestamp bigint, parent_sign_b64 bytea, sign_b64 bytea"
STORAGE = (
    "user_hash",
    "uuid",
    "value_b64",
    "deleted_flag",
    "owner_timestamp",
    "parent_sign_b64",
    "sign_b64",
)
VERSIONS = ("user_hash", "storage_uuid", *STORAGE[2:])


def table(
    db: Db,
    name: str,
    columns: str,
    key: str = "user_hash, uuid",
    extra: str = "",
    declare: str | None = "",
) -> None:
    """A table of the identity user_cards, with the usual sealed columns;
    declared unless declare is None.
    """
    db.run(
        f"CREATE TABLE {name} (user_hash bytea, {columns}, {SEALED}, PRIMARY KEY ({key})) {extra}"
    )
    if declare is not None:
        db.run(
            f"SELECT rowseal.declare('{name}', owner => 'user_hash',"
            f" identity => 'user_cards' {declare})"
        )


@contextmanager
def trusted(admin: Db, role: str = "mallory") -> Iterator[None]:
    """For a while: what is declared then may be of this role, and is still there afterwards."""
    admin.run(f"GRANT rowseal_trusted TO {role}")
    try:
        yield
    finally:
        admin.run(f"REVOKE rowseal_trusted FROM {role}")


def meanwhile(other: Db, open_: str | Callable[[], Any], do: Callable[[], Any]) -> Any:
    """What do() answers while another session's change is open; it commits once do() waits."""
    waits = "SELECT count(*) FROM pg_locks WHERE NOT granted"
    with ThreadPoolExecutor() as pool:
        other.run("BEGIN")
        if isinstance(open_, str):
            other.run(open_)
        else:
            open_()
        answer = pool.submit(do)
        end = time.monotonic() + 5
        while not (answer.done() or other.one(waits) or time.monotonic() > end):
            time.sleep(0.05)
        other.run("COMMIT")
        return answer.result()


def row(owner: Owner, **columns: Any) -> dict[str, Any]:
    """A row for such a table, not yet signed."""
    value = owner.value()
    del value["value_b64"]
    return {**value, **columns}


def waiting(form: Any, owner: Owner, **columns: Any) -> dict[str, Any]:
    """A signed row of user_storage, as an envelope."""
    return owner.envelope(form, {**owner.value(b"waits"), **columns})


def attempt(db: Db, sql: str, *args: Any) -> str | None:
    """Execute; the SQLSTATE of a failure, None for success."""
    try:
        db.run(sql, *args)
    except psycopg.Error as e:
        if e.sqlstate is None:  # not the server's answer
            raise
        assert "Traceback" not in f"{e.diag.message_primary}{e.diag.message_detail}{e.diag.context}"
        return e.sqlstate
    return None


def insert(db: Db, target: str, values: Mapping[str, Any]) -> str | None:
    columns = ", ".join('"' + c.replace('"', '""').replace("%", "%%") + '"' for c in values)
    target = target.replace("%", "%%")
    return attempt(
        db,
        f"INSERT INTO {target} ({columns}) VALUES ({', '.join(['%s'] * len(values))})",
        *values.values(),
    )


def apply(
    db: Db, target: str, rows: Any, format: str = "canonical"
) -> list[tuple[str, str | None]]:
    """Outcome and reason of each row."""
    answer = db.all("SELECT * FROM rowseal.apply(%s::regclass, %s, %s)", target, Json(rows), format)
    return [(outcome, reason) for _, outcome, reason in answer]


def state(db: Db) -> tuple[Any, ...]:
    """All that the running example stores."""
    return tuple(
        db.all(f"SELECT * FROM {t} ORDER BY 1, 2, 7")
        for t in ("user_cards", "user_storage", "user_storage_versions")
    )


def intact(db: Db, *tables: str) -> bool:
    return all(
        db.all("SELECT * FROM rowseal.verify(%s::regclass)", t) == []
        for t in tables or ("user_cards", "user_storage")
    )


def unhealthy(db: Db) -> list[str]:
    return db.all('SELECT DISTINCT "check" FROM rowseal.health() WHERE NOT ok ORDER BY 1')


def forgeries(
    ann: Owner, bob: Owner, form: Any, sealed: Mapping[str, Any]
) -> dict[str, dict[str, Any]]:
    """Rows of user_storage that Ann never signed, made from one that she did."""
    sign: bytes = sealed["sign_b64"]
    later = {**sealed, "owner_timestamp": sealed["owner_timestamp"] + 1_000}
    scalar = (int.from_bytes(sign[32:], "little") + L).to_bytes(32, "little")
    unsealed = {k: v for k, v in later.items() if k != "sign_b64"}
    changes: dict[str, dict[str, Any]] = {
        "re-dated": {},
        "value": {"value_b64": b"forged"},
        "value gone": {"value_b64": None},
        "value empty": {"value_b64": b""},
        "key": {"uuid": uuid.UUID(int=99)},
        "owner": {"user_hash": bob.hash},
        "parent": {"parent_sign_b64": sign},
        "parent empty": {"parent_sign_b64": b""},
        "deleted": {"deleted_flag": True},
        "truncated signature": {"sign_b64": sign[:-1]},
        "longer signature": {"sign_b64": sign + b"\0"},
        "empty signature": {"sign_b64": b""},
        "zero signature": {"sign_b64": bytes(64)},
        "malleable signature": {"sign_b64": sign[:32] + scalar},
        "first bit": {"sign_b64": bytes([sign[0] ^ 1]) + sign[1:]},
        "no signature": {"sign_b64": None},
        "no timestamp": {"owner_timestamp": None},
        "no deletion flag": {"deleted_flag": None},
        "no owner": {"user_hash": None},
        "signed by another owner": {"sign_b64": bob.sealed(form, unsealed)["sign_b64"]},
        "signed as another table": {
            "sign_b64": ann.sealed(type(form)("other", form_fields()), unsealed)["sign_b64"]
        },
    }
    return {
        name: {
            **(
                sealed
                if name in ("first bit", "malleable signature", "longer signature")
                else later
            ),
            **c,
        }
        for name, c in changes.items()
    }


def form_fields() -> dict[str, Any]:
    return {
        "user_hash": "bytea",
        "uuid": "uuid",
        "value_b64": "bytea",
        "deleted_flag": "boolean",
        "owner_timestamp": "integer",
        "parent_sign_b64": "bytea",
    }


TRAP = """
CREATE SEQUENCE sprung;  -- what happens to a sequence is not rolled back
CREATE FUNCTION trap() RETURNS boolean LANGUAGE plpgsql AS $$
BEGIN
  IF (SELECT rolsuper FROM pg_catalog.pg_roles WHERE rolname = current_user) THEN
    PERFORM pg_catalog.setval('public.sprung', 666);
  END IF;
  RETURN true;
END $$;
"""


def set_trap(mallory: Db) -> None:
    """A function public.trap() of Mallory's;
    :func:`sprung` says whether it ever ran with a superuser's rights.
    """
    mallory.run(TRAP)


def sprung(mallory: Db) -> bool:
    return bool(mallory.one("SELECT last_value = 666 FROM sprung"))


STACKED = """CREATE FUNCTION {0}(n int) RETURNS int LANGUAGE plpgsql AS
    $$ BEGIN IF n > 0 THEN RETURN {0}(n - 1); END IF; {1}; RETURN 0; END $$"""
"""A function that gives a command at the bottom of so many calls."""


def deepest(db: Db, function: str) -> int:
    """From how deep in the stack such a command goes through; nothing of it stays."""
    enough, too_deep = 0, 4000
    while too_deep - enough > 1:
        depth = (enough + too_deep) // 2
        db.run("BEGIN")
        try:
            db.run(f"SELECT {function}({depth})")
            enough = depth
        except psycopg.errors.StatementTooComplex:
            too_deep = depth
        db.run("ROLLBACK")
    return enough
