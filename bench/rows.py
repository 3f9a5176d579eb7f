"""Tables and signed rows: what is measured,
and beside each declared table what one would use instead of it.

A ``Shape`` NAME is a declared table and, in the same database, for the same rows

- ``NAME_plain``: no check at all; - ``NAME_hand``: the check written by hand, one PL/pgSQL trigger
over a verify function, ``jsonb::text`` as canonical form; - ``NAME_app``: a plain table that an
application writes, which has verified the rows itself.
"""

from __future__ import annotations

import hashlib
import json
import random
import uuid
from base64 import b64decode, b64encode
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from typing import Any

import psycopg
from nacl.bindings import crypto_sign_open
from nacl.signing import SigningKey

from rowseal.client import Form

Row = dict[str, Any]

HAND = """
CREATE FUNCTION {hand}() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  IF NOT public.hand_verify(NEW.sign_b64, convert_to((to_jsonb(NEW) - 'sign_b64')::text, 'UTF8'),
                            (SELECT sign_pkey FROM public.user_cards
                            WHERE user_hash = NEW.user_hash)) THEN
    RAISE EXCEPTION 'invalid signature';
  END IF;
  IF TG_OP = 'UPDATE' THEN
    IF NEW.owner_timestamp <= OLD.owner_timestamp THEN
      RETURN NULL;
    END IF;
    {archive}
  END IF;
  RETURN NEW;
END $$;
CREATE TRIGGER hand BEFORE INSERT OR UPDATE ON {hand} FOR EACH ROW EXECUTE FUNCTION {hand}();
"""


class Owner:
    """A key and what it is known by."""

    def __init__(self, seed: int):
        self.key = SigningKey(hashlib.sha256(b"rowseal bench %d" % seed).digest())
        self.public_key = bytes(self.key.verify_key)
        self.hash = hashlib.sha256(self.public_key).digest()


class Batch:
    """Signed rows of one shape, in the forms in which they travel;
    ``hand`` ones are signed for the table checked by hand.
    """

    def __init__(
        self,
        shape: Shape,
        fresh: list[Row],
        newer: list[Row],
        hand: list[Row],
        hand_newer: list[Row],
        name: str,
    ):
        self.shape, self.fresh, self.newer, self.hand, self.hand_newer, self.name = (
            shape,
            fresh,
            newer,
            hand,
            hand_newer,
            name,
        )

    def __len__(self) -> int:
        return len(self.fresh)

    @cache  # noqa: B019 - rendered once, outside of what is measured
    def json(self, size: int, hand: bool = False) -> list[str]:
        """Envelopes as JSON arrays of that size."""
        lines = self.lines(hand)
        return ["[" + ",".join(lines[i : i + size]) + "]" for i in range(0, len(lines), size)]

    @cache  # noqa: B019
    def lines(self, hand: bool = False) -> list[str]:
        """Envelopes, one JSON object each."""
        return [envelope(self.shape.name, row) for row in (self.hand if hand else self.fresh)]

    @cache  # noqa: B019
    def copy(self, hand: bool = False) -> bytes:
        """The data of a COPY in text format."""
        return copy_text(self.hand if hand else self.fresh)


KINDS = "fresh", "newer", "by_hand", "newer_by_hand"  # of staging tables


class Shape:
    """``values``: columns with random content and their size in bytes;
    the columns of every signed row come on top.
    """

    def __init__(
        self,
        name: str,
        values: Mapping[str, int],
        type_: str = "bytea",
        versioned: bool = False,
        feed: bool = False,
    ):
        self.name, self.values, self.type, self.versioned, self.feed = (
            name,
            values,
            type_,
            versioned,
            feed,
        )
        self.columns = {
            "user_hash": "bytea", "uuid": "uuid", **dict.fromkeys(values, type_),
            "deleted_flag": "boolean", "owner_timestamp": "bigint",
            **({"parent_sign_b64": "bytea"} if versioned else {}), "sign_b64": "bytea",
        }  # fmt: skip
        self.kinds = {
            c: {"bigint": "integer"}.get(t, t) for c, t in self.columns.items() if c != "sign_b64"
        }
        self.form = Form(name, self.kinds)
        self.list = ", ".join(self.columns)
        self.set = ", ".join(f"{c} = n.{c}" for c in self.columns)
        self.values_sql = f"({self.list}) VALUES ({', '.join(['%s'] * len(self.columns))})"
        self.from_json = ", ".join(
            (
                "decode(e.v ->> 'sign_b64', 'base64')"
                if c == "sign_b64"
                else f"decode(e.v -> 'row' ->> '{c}', 'base64')"
            )
            if t == "bytea"
            else f"(e.v -> 'row' ->> '{c}')::{t}"
            for c, t in self.columns.items()
        )

    def create(self) -> str:
        """The SQL that makes all its tables."""
        t, columns = self.name, ", ".join(f"{c} {t}" for c, t in self.columns.items())
        sql = [
            f"CREATE TABLE {x} ({columns}, PRIMARY KEY (user_hash, uuid))"
            for x in (t, f"{t}_plain", f"{t}_hand", f"{t}_app")
        ]
        versions = ""
        if self.versioned:
            sql += [
                f"CREATE TABLE {x}_versions ({columns}, PRIMARY KEY (sign_b64))"
                for x in (t, f"{t}_plain", f"{t}_hand", f"{t}_app")
            ]
            versions = f", versions => '{t}_versions'"
        sql += [
            f"CREATE TABLE {t}_{kind}{part} ({columns})" for kind in KINDS for part in ("", "_warm")
        ]
        sql.append(f"CREATE TABLE {t}_bare (sign bytea, message bytea, key bytea)")
        sql.append(
            f"SELECT rowseal.declare('{t}', owner => 'user_hash', identity => 'user_cards',"
            f" feed => {self.feed}{versions})"
        )
        sql.append(
            HAND.format(
                hand=f"{t}_hand",
                archive=f"INSERT INTO public.{t}_hand_versions SELECT OLD.*;"
                if self.versioned
                else "",
            )
        )
        return ";\n".join(sql)

    def state(self, name: str) -> str:
        """The SQL that puts the tables into a state, past the triggers: empty,
        fresh (rows stored), newer (and superseded).
        """
        tables = [self.name, f"{self.name}_plain", f"{self.name}_hand", f"{self.name}_app"]
        archives = [f"{t}_versions" for t in tables] if self.versioned else []
        sql = [f"TRUNCATE {', '.join(tables + archives)}"]
        for table in {"empty": [], "fresh": tables, "newer": tables + archives}[name]:
            kind = "by_hand" if "_hand" in table else "fresh"
            if name == "newer" and table in tables:
                kind = {"fresh": "newer", "by_hand": "newer_by_hand"}[kind]
            sql += [
                f"INSERT INTO {table} SELECT * FROM {self.name}_{kind}{part}"
                for part in ("", "_warm")
            ]
        # not analysed: a plan for a table known to be empty scans it, however it grows
        return self.past_triggers(*sql)

    def past_triggers(self, *statements: str) -> str:
        """The same statements, unseen by the triggers of the shape's tables."""
        guarded = [self.name, f"{self.name}_versions"][: 1 + self.versioned]
        again = """DO $$ DECLARE t name; BEGIN
            FOR t IN SELECT tgname FROM pg_trigger WHERE tgrelid = '{0}'::regclass
            AND NOT tgisinternal LOOP
              EXECUTE format('ALTER TABLE {0} ENABLE ALWAYS TRIGGER %I', t);
            END LOOP; END $$"""
        return ";\n".join(
            [
                "SET client_min_messages = error",
                "SET session_replication_role = replica",
                *(f"ALTER TABLE {t} DISABLE TRIGGER USER" for t in guarded),
                *statements,
                *(again.format(t) for t in guarded),
                "RESET session_replication_role",
                "RESET client_min_messages",
            ]
        )

    # -- rows
    def rows(self, owners: list[Owner], count: int, seed: int, hand: bool = False) -> Iterator[Row]:
        """Random rows, signed; the owners take turns."""
        draw = random.Random(seed)
        for i in range(count):
            owner = owners[i % len(owners)]
            row: Row = {
                "user_hash": owner.hash,
                "uuid": uuid.UUID(int=draw.getrandbits(128), version=4),
            }
            for column, size in self.values.items():
                value = draw.randbytes(size)
                row[column] = value if self.type == "bytea" else value.hex()[:size]
            row |= {"deleted_flag": False, "owner_timestamp": 1_700_000_000_000_000 + i} | (
                {"parent_sign_b64": None} if self.versioned else {}
            )
            yield self.sealed(row, owner, hand)

    def sealed(self, row: Row, owner: Owner, hand: bool = False) -> Row:
        return {
            **row,
            "sign_b64": owner.key.sign(
                jsonb_text(row) if hand else self.form.payload_of(row)
            ).signature,
        }

    def newer(self, row: Row, owner: Owner, hand: bool = False) -> Row:
        """The next version of a row."""
        parent = {"parent_sign_b64": row["sign_b64"]} if self.versioned else {}
        following = unsigned(row) | {"owner_timestamp": row["owner_timestamp"] + 1_000_000} | parent
        return self.sealed(following, owner, hand)

    def batch(
        self, c: psycopg.Connection[Any], owners: list[Owner], count: int, seed: int, part: str = ""
    ) -> Batch:
        """Rows in staging tables, and as a Batch."""
        rows = []
        for hand in False, True:
            fresh = list(self.rows(owners, count, seed, hand))
            rows += [
                fresh,
                [self.newer(r, owners[i % len(owners)], hand) for i, r in enumerate(fresh)],
            ]
        for kind, some in zip(KINDS, rows):
            c.execute(f"CREATE TABLE IF NOT EXISTS {self.name}_{kind}{part} (LIKE {self.name})")
            load(c, f"{self.name}_{kind}{part}", some)
        c.execute(f"ANALYZE {self.name}_fresh{part}, {self.name}_by_hand{part}")
        fresh, newer, hand_fresh, hand_newer = rows
        return Batch(self, fresh, newer, hand_fresh, hand_newer, part)


def unsigned(row: Row) -> Row:
    return {k: v for k, v in row.items() if k != "sign_b64"}


def jsonb_text(row: Row) -> bytes:
    """What PostgreSQL shows as to_jsonb(row)::text."""

    def value(v: Any) -> Any:
        return (
            "\\x" + v.hex() if isinstance(v, bytes) else str(v) if isinstance(v, uuid.UUID) else v
        )

    return json.dumps(
        {k: value(row[k]) for k in sorted(row, key=lambda k: (len(k), k))}, ensure_ascii=False
    ).encode()


def copy_text(rows: Iterable[Row]) -> bytes:
    def value(v: Any) -> str:
        return "\\N" if v is None else "\\\\x" + v.hex() if isinstance(v, bytes) else str(v)

    return "".join("\t".join(value(v) for v in row.values()) + "\n" for row in rows).encode()


def load(c: psycopg.Connection[Any], table: str, rows: Iterable[Row]) -> None:
    """COPY rows into a table that checks nothing."""
    with c.cursor().copy(f"COPY {table} FROM STDIN") as copy:
        copy.write(copy_text(rows))


def envelope(tag: str, row: Row) -> str:
    """The signed row as the JSON text of an envelope."""
    return (
        payload(tag, unsigned(row)).decode()[:-1]
        + f',"sign_b64":"{b64encode(row["sign_b64"]).decode()}"}}'
    )


# ------------------------------------------------ the application that checks and merges by itself
def payload(tag: str, row: Row) -> bytes:
    """A canonical form as applications write it; for these types it is rowseal/1."""

    def value(v: Any) -> Any:
        return (
            b64encode(v).decode()
            if isinstance(v, bytes)
            else v
            if isinstance(v, (str, bool))
            else str(v)
        )

    signed = {k: value(v) for k, v in row.items() if v is not None}
    return json.dumps(
        {"row": signed, "rowseal": 1, "table": tag},
        sort_keys=True,
        separators=(",", ":"),
        ensure_ascii=False,
    ).encode()


class Application:
    """Verifies with PyNaCl, writes with psycopg; a newer version wins,
    the one that it supersedes is archived.
    """

    def __init__(self, c: psycopg.Connection[Any], shape: Shape):
        self.c, self.shape, self.keys = c, shape, dict[bytes, bytes]()
        self.merge = self._merge(
            f"VALUES ({', '.join(f'%s::{t}' for t in shape.columns.values())})"
        )
        self.merge_staged = self._merge("SELECT * FROM pg_temp.staged")

    def _merge(self, source: str) -> str:
        table = f"{self.shape.name}_app"
        newer = (
            "({0}.owner_timestamp, {0}.deleted_flag, {0}.sign_b64)"
            " < ({1}.owner_timestamp, {1}.deleted_flag, {1}.sign_b64)"
        )
        rest = ", ".join(
            f"{c} = EXCLUDED.{c}" for c in self.shape.columns if c not in ("user_hash", "uuid")
        )
        archived = f""", archived AS (INSERT INTO {table}_versions SELECT t.* FROM {table} t JOIN n
            USING (user_hash, uuid)
                        WHERE {newer.format("t", "n")} ON CONFLICT DO NOTHING)"""
        return f"""WITH n ({self.shape.list})
            AS ({source}){archived if self.shape.versioned else ""}
            INSERT INTO {table} AS t SELECT * FROM n ON CONFLICT (user_hash, uuid) DO UPDATE
                SET {rest} WHERE {newer.format("t", "EXCLUDED")}"""

    def check(self, signed: bytes, signature: bytes, owner: bytes) -> None:
        """Raises when the signature is not the owner's."""
        if owner not in self.keys:
            self.keys.update(
                self.c.execute(
                    "SELECT user_hash, sign_pkey FROM user_cards WHERE user_hash = %s", [owner]
                ).fetchall()
            )
        crypto_sign_open(signature + signed, self.keys[owner])

    def checked(self, row: Row) -> list[Any]:
        self.check(payload(self.shape.name, unsigned(row)), row["sign_b64"], row["user_hash"])
        return list(row.values())

    def write_one(self, row: Row) -> None:
        self.c.execute(self.merge, self.checked(row))

    def write(self, rows: Iterable[Row]) -> None:
        """One transaction; executemany sends them in pipeline mode."""
        with self.c.transaction():
            self.c.cursor().executemany(self.merge, [self.checked(r) for r in rows])

    def copy(self, rows: Iterable[Row]) -> None:
        """COPY into a staging table, merged by one statement."""
        checked = [self.checked(row) for row in rows]
        with self.c.transaction():
            self.c.execute(
                "CREATE TEMPORARY TABLE staged ON COMMIT DROP AS SELECT *"
                f" FROM {self.shape.name}_app LIMIT 0"
            )
            with self.c.cursor().copy("COPY staged FROM STDIN") as copy:
                for row in checked:
                    copy.write_row(row)
            self.c.execute(self.merge_staged)

    def write_json(self, text: str) -> None:
        """Envelopes, as rowseal.apply takes them."""
        rows = []
        for e in json.loads(text):
            row, signature = e["row"], b64decode(e.pop("sign_b64"))
            owner = b64decode(row["user_hash"])
            self.check(
                json.dumps(e, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode(),
                signature,
                owner,
            )
            rows.append(
                [
                    signature
                    if c == "sign_b64"
                    else b64decode(row[c])
                    if t == "bytea" and c in row
                    else row.get(c)
                    for c, t in self.shape.columns.items()
                ]
            )
        with self.c.transaction():
            self.c.cursor().executemany(self.merge, rows)
