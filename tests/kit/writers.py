"""What tests of writers share: tables with writers, and devices that sign chains of rows."""

from __future__ import annotations

import hashlib
import re
import struct
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, NamedTuple

import psycopg
from psycopg.types.json import Json

from kit.db import Db, Server
from kit.example import Owner
from kit.scratch import Scratch
from kit.writers_model import Row, State, state
from rowseal.client import Form, SigningKey, envelope, public_key, sign

WRITER = "writer_pkey bytea, writer_seq bigint, writer_prev bytea"
SIGNED = "deleted_flag boolean, owner_timestamp bigint, sign_b64 bytea"
GRANTS = f"""CREATE TABLE grants (user_hash bytea, grantee_pkey bytea, tables text[], keys jsonb,
    tombstones boolean, until bigint, may_grant smallint, upto bytea[], {WRITER}, {SIGNED},
    PRIMARY KEY (user_hash, grantee_pkey, sign_b64))"""


def tables(layout: str = "two tables", feed: bool = False, ml_dsa: bool = False) -> str:
    """Identity table ``cards``, grants table ``grants``,
    and tables ``t`` and ``u`` with text keys and writers.  ``ml_dsa``: for keys of all algorithms.
    """
    fed = ", feed => true" if feed else ""
    out = _tables(layout, fed)
    if ml_dsa:
        algorithms = ", algorithms => '{ed25519,ml-dsa-65,ml-dsa-87}'"
        out[1] = out[1].replace(", fingerprint", f"{algorithms}, fingerprint")
        hashed = ", h bytea GENERATED ALWAYS AS (sha256(sign_b64)) STORED, PRIMARY KEY"
        out = [re.sub(r",\s+PRIMARY KEY( \(.*), sign_b64\)\)", rf"{hashed}\1, h))", s) for s in out]
    return "; ".join(out)


def _tables(layout: str, fed: str) -> list[str]:
    out = [
        f"CREATE TABLE cards (user_hash bytea PRIMARY KEY, k bytea, {SIGNED})",
        "SELECT rowseal.declare('cards', owner => 'user_hash', public_key => 'k',"
        f" fingerprint => 'sha256'{fed})",
        GRANTS,
        "SELECT rowseal.declare('grants', owner => 'user_hash',"
        f" identity => 'cards', grants => true{fed})",
    ]
    for table in "tu":
        key = "user_hash, key, sign_b64" if layout == "one table" else "user_hash, key"
        kept = "" if layout == "one table" else f", versions => '{table}_versions'"
        out.append(
            f"CREATE TABLE {table} (user_hash bytea, key text, value integer,"
            f" parent_sign_b64 bytea, {WRITER}, {SIGNED}, PRIMARY KEY ({key}))"
        )
        out.append(
            f"SELECT rowseal.declare('{table}', owner => 'user_hash',"
            f" identity => 'cards', writers => 'grants'{kept}{fed})"
        )
    return out


def link(number: int, previous: bytes | None, signature: bytes) -> bytes:
    """The hash by which a writer's next row, or a revocation, names a row."""
    return hashlib.sha256(struct.pack(">q", number) + (previous or b"") + signature).digest()


class Writer:
    """A key that writes an owner's rows: the owner himself, or a device with its own chain."""

    def __init__(self, owner: Owner, key: Any = None):
        self.owner, self.key = owner, key or owner.key
        self.public_key = None if key is None else public_key(key)
        self.number, self.last = 0, None  # type: int, bytes | None

    def row(
        self,
        table: str,
        row: Mapping[str, Any],
        number: int | None = None,
        previous: bytes | None = None,
    ) -> dict[str, Any]:
        """The row with owner, writer, number and link;
        on top of the chain unless a number is given.
        """
        common = {
            "user_hash": self.owner.hash,
            "deleted_flag": False,
            "writer_pkey": None,
            "writer_seq": None,
            "writer_prev": None,
        }
        if self.public_key is not None:
            if number is None:
                number, previous = self.number + 1, self.last
            common |= {
                "writer_pkey": self.public_key,
                "writer_seq": number,
                "writer_prev": previous,
            }
        return {**common, **row}

    def sealed(self, form: Form, row: Mapping[str, Any], **place: Any) -> dict[str, Any]:
        """A signed row; without ``number`` it continues the chain."""
        full = self.row(form.tag, row, **place)
        full["sign_b64"] = sign(form, full, self.key)
        if self.public_key is not None and not place:
            self.number, self.last = full["writer_seq"], link_of(full)
        return full

    def envelope(self, form: Form, row: Mapping[str, Any], **place: Any) -> dict[str, Any]:
        sealed = self.sealed(form, row, **place)
        return envelope(form, {k: v for k, v in sealed.items() if k != "sign_b64"}, self.key)


REFUSED = (
    "INSERT INTO rowseal._refused (tag, verdict, format, row, changed)"
    " VALUES ('t', '({})', 'canonical', %s, true)"
)
"""What anybody can say was refused, given SQLSTATE and reason."""


def link_of(sealed: Mapping[str, Any]) -> bytes:
    return link(sealed["writer_seq"], sealed["writer_prev"], sealed["sign_b64"])


def card(db: Db, owner: Owner) -> None:
    form = db.form("cards")
    db.insert(
        "cards",
        owner.sealed(
            form,
            {
                "user_hash": owner.hash,
                "k": owner.public_key,
                "deleted_flag": False,
                "owner_timestamp": 1,
            },
        ),
    )


def grant(grantee: Writer, at: int = 1, **changes: Any) -> dict[str, Any]:
    """A row of the grants table that lets ``grantee`` write anything up to timestamp 100,
    not yet signed.
    """
    return {
        "grantee_pkey": grantee.public_key, "owner_timestamp": at, "tables": None, "keys": None,
        "tombstones": False, "until": 100, "may_grant": 0, "upto": None, **changes,
    }  # fmt: skip


def revocation(grantee: Writer, upto: list[bytes], at: int = 1) -> dict[str, Any]:
    return {
        "grantee_pkey": grantee.public_key, "owner_timestamp": at, "tables": None, "keys": None,
        "tombstones": None, "until": None, "may_grant": None, "upto": upto,
    }  # fmt: skip


# -- the model's rows on real servers
WRITERS = "ABCMWXY"


def key(seed: str) -> SigningKey:
    return SigningKey(hashlib.sha256(seed.encode()).digest())


OWNERS = {name: Owner(name, key(name)) for name in "OP"}
KEYS = {name: key(name) for name in WRITERS}


class Sent(NamedTuple):
    """A row on its way: for the model, as columns, as an envelope."""

    row: Row
    table: str
    columns: dict[str, Any]
    envelope: dict[str, Any]

    def __hash__(self) -> int:
        return hash(self.row)

    def __repr__(self) -> str:
        return repr(self.row) + ("" if self.row.authentic else " forged")


class Replica:
    """A database, and what it has been given;
    each example is a transaction that is rolled back at its end.
    """

    def __init__(self, connection: psycopg.Connection[Any], layout: str):
        self.connection, self.layout = connection, layout
        self.admin, self.db = Scratch(connection, "postgres"), Scratch(connection, "app")
        self.db.run(tables(layout, feed=True))
        for owner in OWNERS.values():
            card(self.db, owner)

    def reset(self) -> None:
        self.received: set[Row] = set()
        self.connection.execute("ROLLBACK")
        self.connection.execute("BEGIN")

    def deliver(self, door: str, sent: list[Sent]) -> None:
        if door == "sql":
            for s in sent:
                self.insert(s)
        else:
            if door == "apply":
                self.db.all("SELECT * FROM rowseal.receive(%s)", Json([s.envelope for s in sent]))
            else:
                for s in sent:
                    self.admin.run(
                        "INSERT INTO rowseal.feed (tag, owner, envelope) VALUES (%s, 'x', %s)",
                        s.table,
                        Json(s.envelope),
                    )
            self.received |= {s.row for s in sent}
        self.compare()

    def insert(self, s: Sent) -> None:
        try:
            self.db.insert(s.table, s.columns)
        except psycopg.Error as e:
            assert e.sqlstate in ("RS001", "RS010", "RS011", "RS012", "RS013"), e
            assert s.row not in state({*self.received, s.row}).valid, f"{e} for {s}"
        else:
            self.received.add(s.row)

    def compare(self) -> None:
        want = state(self.received)
        for table in "tu":
            main = {bytes(s) for s in self.db.all(f"SELECT sign_b64 FROM {table}")}
            valid = {r.sign for r in want.valid if r.table == table}
            tips = {r.sign for (t, *_), r in want.tips.items() if t == table}
            if self.layout == "two tables":
                self.equal(want, main, tips, f"tips of {table}")
                self.equal(
                    want,
                    {bytes(s) for s in self.db.all(f"SELECT sign_b64 FROM {table}_versions")},
                    valid - tips,
                    f"versions of {table}",
                )
            else:
                self.equal(want, main, valid, table)
        granted = {r.sign for r in want.valid if r.kind != "data"}
        self.equal(
            want, {bytes(s) for s in self.db.all("SELECT sign_b64 FROM grants")}, granted, "grants"
        )
        held = {
            bytes(x)
            for x in self.admin.all("SELECT link FROM rowseal._writer_rows WHERE held IS NOT NULL")
        }
        assert held == {r.link for r in want.held}, (
            f"held: {self.named(held)} instead of {want.held}"
        )

    def named(self, signs: set[bytes]) -> list[Row]:
        return [r for r in self.received if r.sign in signs or r.link in signs]

    def equal(self, want: State, have: set[bytes], should: set[bytes], what: str) -> None:
        assert have == should, (
            f"{what}: {self.named(have - should)} too many, {self.named(should - have)} missing"
            f" of {self.received}"
        )


@contextmanager
def replica_on(server: Server, layout: str) -> Iterator[Replica]:
    """A replica in a fresh database."""
    name = server.database()
    with server.connect(name) as c:
        c.prepare_threshold = None
        yield Replica(c, layout)
    server.drop(name)


class Book:
    """Rows that have been signed, for the model as well as for a server."""

    def __init__(self, db: Db):
        self.sent: list[Sent] = []
        self.forms = {t: db.form(t) for t in ("grants", "t", "u")}

    def add(
        self,
        by: str | None,
        owner: str,
        place: tuple[int, bytes | None] | None,
        forged: bool,
        to: str,
        fields: dict[str, Any],
        **row: Any,
    ) -> Sent:
        device = Writer(OWNERS[owner], KEYS[by] if by else None)
        number, previous = place or (None, None)
        signer = Writer(OWNERS[owner], device.key)
        columns = signer.row(to, fields, number=number, previous=previous) | {
            "writer_pkey": device.public_key,
            "writer_seq": number,
            "writer_prev": previous,
        }
        if forged:
            signer = Writer(OWNERS[owner], key("Z"))
        columns["sign_b64"] = sign(self.forms[to], columns, signer.key)
        kept = {k: v for k, v in columns.items() if k != "sign_b64"}
        self.sent.append(
            Sent(
                Row(
                    owner=owner,
                    sign=columns["sign_b64"],
                    writer=by,
                    number=number,
                    previous=previous,
                    at=columns["owner_timestamp"],
                    authentic=not forged,
                    **row,
                ),
                to,
                columns,
                envelope(self.forms[to], kept, signer.key),
            )
        )
        return self.sent[-1]

    # -- the words of the named cases: they read like the model's
    def top(self, by: str | None, owner: str) -> tuple[int, bytes | None] | None:
        mine = [s.row for s in self.sent if (s.row.writer, s.row.owner) == (by, owner)]
        last = max(mine, key=lambda r: r.number or 0, default=None)
        return (
            None
            if by is None
            else (1, None)
            if last is None
            else ((last.number or 0) + 1, last.link)
        )

    def data(
        self,
        by: str | None = None,
        key: str = "k",
        at: int = 1,
        place: Any = None,
        owner: str = "O",
        table: str = "t",
        deleted: bool = False,
        forged: bool = False,
    ) -> Sent:
        fields = {
            "key": key,
            "owner_timestamp": at,
            "deleted_flag": deleted,
            "value": len(self.sent),
        }
        return self.add(
            by,
            owner,
            place or self.top(by, owner),
            forged,
            table,
            fields,
            kind="data",
            table=table,
            key=key,
            deleted=deleted,
        )

    def grant(
        self,
        to: str = "A",
        by: str | None = None,
        at: int = 1,
        prefix: str = "",
        until: int = 100,
        may_grant: int = 0,
        tombstones: bool = False,
        place: Any = None,
        owner: str = "O",
    ) -> Sent:
        fields = grant(
            Writer(OWNERS[owner], KEYS[to]),
            at,
            until=until,
            may_grant=may_grant,
            tombstones=tombstones,
            keys=f'{{"key": {{"prefix": "{prefix}"}}}}' if prefix else None,
        )
        return self.add(
            by,
            owner,
            place or self.top(by, owner),
            False,
            "grants",
            fields,
            kind="grant",
            grantee=to,
            prefix=prefix,
            until=until,
            may_grant=may_grant,
            tombstones=tombstones,
        )

    def revoke(
        self,
        of: str = "A",
        upto: Any = (),
        by: str | None = None,
        at: int = 1,
        place: Any = None,
        owner: str = "O",
    ) -> Sent:
        links = [s.row.link if isinstance(s, Sent) else s for s in upto]
        fields = revocation(Writer(OWNERS[owner], KEYS[of]), links, at)
        return self.add(
            by,
            owner,
            place or self.top(by, owner),
            False,
            "grants",
            fields,
            kind="revocation",
            grantee=of,
            upto=frozenset(links),
        )
