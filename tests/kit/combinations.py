"""The combinations of features of docs/combinations.md, and the tables that have them."""

from __future__ import annotations

import re
from datetime import datetime, timezone
from decimal import Decimal
from typing import Any, NamedTuple
from uuid import UUID

from covertable import make

from kit import ROOT, model
from kit.writers import GRANTS, WRITER

PAGE = (ROOT / "docs/combinations.md").read_text()
FACTORS = {
    factor: values.split("; ")
    for factor, values in re.findall(r"^\| (\w+) \| ([^|]*;[^|]*) \|$", PAGE, re.MULTILINE)
}


class Refused(NamedTuple):
    """A row of the page: two features that do not go together."""

    this: tuple[str, str]
    other: tuple[str, str]
    sqlstate: str
    message: re.Pattern[str]


def _refused(this: str, other: str, sqlstate: str, message: str) -> Refused:
    pattern = ".*".join(map(re.escape, message.split("…")))
    (a, x), (b, y) = this.split(": "), other.split(": ")
    return Refused((a, x), (b, y), sqlstate, re.compile(pattern))


REFUSED = [
    _refused(*row)
    for row in re.findall(
        r"^\| (\w+: [^|]+) \| (\w+: [^|]+) \| (\w{5}) \| (.*) \|$", PAGE, re.MULTILINE
    )
]
# Values of the key's column; those in one bracket are one key to PostgreSQL.
KEYS: dict[str, list[list[Any]]] = {
    "uuid": [[UUID(int=0)], [UUID(int=1)]],
    "text": [["a"], ["A"], ['ä"\\\n']],
    "citext": [["a", "A"], ["b"]],
    "bigint": [[-1], [2**63 - 1]],
    "numeric": [[Decimal("1"), Decimal("1.00")], [Decimal("-0.5")]],
    "double precision": [[0.0, -0.0], [1e308]],
    "timestamptz": [[datetime(2026, 1, 1, tzinfo=timezone.utc)], ["infinity"]],  # noqa: UP017
    "text[]": [[[]], [["a", None]], [["", '"']]],
}
SIGNED = "deleted_flag boolean, owner_timestamp bigint, sign_b64 {sign}"


class Combination(NamedTuple):
    """One value of each factor."""

    layout: str = "unversioned"
    algorithm: str = "ed25519"
    signed: str = "alone"
    key: str = "uuid"
    signature: str = "bytea"
    writers: str = "no"
    digests: str = "no"
    names: str = "no"
    feed: str = "no"
    partitions: str = "no"
    provider: str = "PyNaCl"
    isolation: str = "read committed"
    restored: str = "no"

    def __str__(self) -> str:
        """What differs from the plainest table."""
        plain = Combination()
        return ", ".join(
            f"{factor} {value}"
            for factor, value, usual in zip(self._fields, self, plain)
            if value != usual
        )

    @property
    def model(self) -> str:
        """The layout as the model knows it."""
        return self.layout.replace(" by hash", "")

    @property
    def parent(self) -> str:
        """The type of the parent column: it holds signatures or names."""
        return "text" if self.names == "yes" else self.signature

    @property
    def conflict(self) -> list[str]:
        """The columns of the primary key."""
        apart = {
            "one table": ["sign_b64"],
            "one table by hash": ["name"] if self.names == "yes" else ["h"],
        }
        return ["user_hash", "k", *apart.get(self.layout, [])]


def array(available: dict[str, list[str]]) -> list[Combination]:
    """A covering array: every pair of values that is not refused is in one of these.

    ``available``: of factors that a server limits, what it has.
    """

    def differs(side: tuple[str, str]) -> dict[str, str]:
        return {"operator": "ne", "left": side[0], "value": side[1]}

    constraints = [
        {"operator": "or", "conditions": [differs(r.this), differs(r.other)]} for r in REFUSED
    ]
    rows = make({**FACTORS, **available}, constraints=constraints)
    return sorted(Combination(**row) for row in rows)


def declaration(c: Combination) -> str:
    """The statements that make the identity table ``cards``, ``grants``, and the table ``t``."""
    feed, signed = f"feed => {c.feed == 'yes'}", SIGNED.format(sign=c.signature)
    columns = ["user_hash bytea", f"k {c.key}", "value text", f"parent_sign_b64 {c.parent}"]
    columns += ["photo bytea", "photo_sha256 bytea"] if c.digests != "no" else []
    columns += ["name text"] if c.names == "yes" else []
    columns += [WRITER] if c.writers == "yes" else []
    columns += [signed] + ([hashed(c)] if "h" in c.conflict else [])
    return f"""
        CREATE TABLE cards (user_hash bytea PRIMARY KEY, pkey bytea, {signed});
        SELECT rowseal.declare('cards', owner => 'user_hash', public_key => 'pkey', {feed},
            fingerprint => 'sha256', algorithms => '{{{c.algorithm}}}');
        {grants(c) if c.writers == "yes" else ""}
        CREATE TABLE t ({", ".join(columns)}, PRIMARY KEY ({", ".join(c.conflict)}))
        {PARTITIONED if c.partitions == "yes" else ""};
        SELECT rowseal.declare('t', owner => 'user_hash', identity => 'cards', {feed}
            {", versions => 't_versions'" if c.layout == model.TWO_TABLES else ""}
            {", writers => 'grants'" if c.writers == "yes" else ""}
            {DIGESTS[c.digests]}{NAMES[c.names]});"""


PARTITIONED = """PARTITION BY HASH (k);
    CREATE TABLE t_0 PARTITION OF t FOR VALUES WITH (MODULUS 2, REMAINDER 0);
    CREATE TABLE t_1 PARTITION OF t FOR VALUES WITH (MODULUS 2, REMAINDER 1)"""
DIGESTS = {
    "no": "",
    "yes": """, columns => '{"digests": ["photo"]}'""",
    "healed": """, columns => '{"digests": ["photo"], "healed": ["photo"]}'""",
}
NAMES = {"no": "", "yes": """, legacy => '{"name_column": "name", "name_prefix": "v_"}'"""}


def hashed(c: Combination) -> str:
    """A column with the hash of the signature, which is short enough for an index."""
    signature = "sign_b64" if c.signature == "bytea" else "decode(sign_b64, 'base64')"
    return f"h bytea GENERATED ALWAYS AS (sha256({signature})) STORED"


def grants(c: Combination) -> str:
    table = GRANTS.replace("sign_b64 bytea", f"sign_b64 {c.signature}")
    table = re.sub(r"PRIMARY KEY \((.*), sign_b64\)", rf"{hashed(c)}, PRIMARY KEY (\1, h)", table)
    return f"""{table}; SELECT rowseal.declare('grants', owner => 'user_hash',
        identity => 'cards', grants => true, feed => {c.feed == "yes"});"""
