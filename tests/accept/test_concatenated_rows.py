"""Rows of the older system: signed as a plain concatenation,
versions named by the hash of their signature.
"""

from __future__ import annotations

import base64
import hashlib
import json
import uuid
from collections.abc import Mapping
from typing import Any

import psycopg
import pytest
from nacl.signing import SigningKey

from kit.concatenated import KEY, named, older
from kit.db import Db, Server
from kit.example import Owner
from kit.server import SERVER_PACKAGES
from rowseal.client import envelope, public_key, verify
from rowseal.form.concatenated import Concatenated

# -------------------------------------------------------------------------------- the older tables
CARDS = (
    "user_hash text PRIMARY KEY, sign_pkey bytea NOT NULL, contact_pkey bytea,"
    " contact_cert bytea, name text, deleted_flag boolean NOT NULL, owner_timestamp bigint NOT"
    " NULL, sign_b64 bytea NOT NULL, sign_hash text NOT NULL"
)
STORAGE = (
    "user_hash text NOT NULL, uuid uuid NOT NULL, value_b64 bytea, parts_b64 bytea[],"
    " deleted_flag boolean NOT NULL, owner_timestamp bigint NOT NULL, parent_sign_hash text,"
    " sign_b64 bytea NOT NULL, sign_hash text NOT NULL"
)
OLDER = (
    f"CREATE TABLE cards ({CARDS}); CREATE TABLE storage ({STORAGE},"
    f" PRIMARY KEY (user_hash, uuid)); CREATE TABLE storage_versions ({STORAGE},"
    " PRIMARY KEY (sign_hash))"
)
NAMED = """columns => '{{"parent": "parent_sign_hash"}}', legacy => '{{"form": "concatenated",
    "name_column": "sign_hash", "name_prefix": "{}", "fingerprint_prefix": "{}"{}}}')"""
DECLARE_CARDS = """SELECT rowseal.declare('cards', owner => 'user_hash',
    public_key => 'sign_pkey', algorithms => '{ed25519,ml-dsa-87}',
    fingerprint => 'sha3-512', certificates => '{"contact_cert": "contact_pkey"}',
    """
DECLARE_STORAGE = """SELECT rowseal.declare('storage', owner => 'user_hash', identity => 'cards',
    versions => 'storage_versions', """
ACCEPT = ', "accept_ambiguity": true'


class Member:
    """An owner as the older system has them."""

    def __init__(self, key: Any):
        self.key, self.public_key = key, public_key(key)
        self.hash = "u_" + hashlib.sha3_512(self.public_key).hexdigest()

    def sealed(self, row: dict[str, Any], prefix: str) -> dict[str, Any]:
        signed = self.key.sign(older(row))
        signature = bytes(getattr(signed, "signature", signed))
        return {**row, "sign_b64": signature, "sign_hash": named(signature, prefix)}

    def card(self, **changes: Any) -> dict[str, Any]:
        contact = b"contact"
        cert = self.key.sign(contact)
        row = {
            "user_hash": self.hash, "sign_pkey": self.public_key, "contact_pkey": contact,
            "contact_cert": bytes(getattr(cert, "signature", cert)), "name": "Zoë",
            "deleted_flag": False, "owner_timestamp": next(Owner.clock),
        }  # fmt: skip
        return self.sealed({**row, **changes}, "uch_")

    def row(
        self, value: bytes | None, parent: Mapping[str, Any] | None = None, **changes: Any
    ) -> dict[str, Any]:
        row = {
            "user_hash": self.hash, "uuid": str(KEY), "value_b64": value,
            "parts_b64": [b"a", value or b""], "deleted_flag": False,
            "owner_timestamp": next(Owner.clock),
            "parent_sign_hash": parent["sign_hash"] if parent else None,
        }  # fmt: skip
        return self.sealed({**row, **changes}, "ush_")


@pytest.fixture(params=["ed25519", "ml-dsa-87"])
def member(request: pytest.FixtureRequest) -> Member:
    if request.param == "ed25519":
        return Member(SigningKey.generate())
    mldsa = pytest.importorskip("cryptography.hazmat.primitives.asymmetric.mldsa")
    if not (SERVER_PACKAGES / "cryptography").is_dir():
        pytest.skip("the server has no ML-DSA: tests/setup.sh installs it")
    return Member(mldsa.MLDSA87PrivateKey.generate())


def declare(db: Db) -> None:
    db.run(DECLARE_CARDS + NAMED.format("uch_", "u_", ACCEPT))
    db.run(DECLARE_STORAGE + NAMED.format("ush_", "", ACCEPT))


def key(member: Member) -> str:
    return json.dumps({"user_hash": member.hash, "uuid": str(KEY)})


def test_existing_rows_are_taken_over_as_they_are(db: Db, member: Member, server: Server) -> None:
    db.run(OLDER)
    first = member.row(b"first")
    left, right = member.row(b"left", first), member.row(b"right", first)
    db.insert("cards", member.card())
    db.insert("storage", right)
    for r in (first, left):
        db.insert("storage_versions", r)
    refusal = db.refused("RS007", DECLARE_CARDS + NAMED.format("uch_", "u_", ""))
    assert "name and owner_timestamp" in str(refusal.message_primary)
    assert "accept_ambiguity" in str(refusal.message_hint)
    declare(db)
    for table in ("cards", "storage"):
        assert db.all("SELECT * FROM rowseal.verify(%s)", table) == []
    assert db.all('SELECT "check", detail FROM rowseal.health() WHERE NOT ok') == []
    # all rules hold: order, archive, duplicates, parents as signed
    newest = member.row(b"newest", left)
    assert [db.insert("storage", row) for row in (newest, newest, first)] == [0, 0, 0]
    assert db.all("SELECT value_b64 FROM storage") == [b"newest"]
    assert db.all("SELECT value_b64 FROM storage_versions ORDER BY owner_timestamp") == [
        b"first",
        b"left",
        b"right",
    ]
    walked = db.all(
        "SELECT depth, parent, tip, gap FROM rowseal.history('storage', %s)", key(member)
    )
    assert walked == [
        (0, None, False, False),
        (1, first["sign_b64"], False, False),
        (1, first["sign_b64"], False, False),
        (2, left["sign_b64"], True, False),
    ]
    assert db.all("SELECT sign FROM rowseal.heads('storage', %s)", key(member)) == [
        newest["sign_b64"],
        right["sign_b64"],
    ]
    lost = member.row(b"later", {"sign_hash": "ush_unknown"})
    db.insert("storage", lost)
    assert db.one("SELECT gap FROM rowseal.history('storage', %s) WHERE tip", key(member))
    # the payload is what was signed
    shown = {k: v for k, v in lost.items() if k not in ("sign_b64", "sign_hash")}
    parts = [base64.b64encode(p).decode() for p in shown["parts_b64"]]
    value = base64.b64encode(b"later").decode()
    given = json.dumps({**shown, "value_b64": value, "parts_b64": parts})
    assert db.one("SELECT rowseal.payload('storage', %s)", given).encode() == older(shown)
    envelopes_carry_them(db, member, server, newest)


def envelopes_carry_them(db: Db, member: Member, server: Server, newest: dict[str, Any]) -> None:
    """A server that was told nothing of names fills them in."""
    receive = (
        "SELECT outcome, reason FROM rowseal.receive((SELECT json_agg(e)"
        " FROM json_array_elements(%s) e))"
    )
    name = server.database()
    try:
        with server.connect(name, "app") as c:
            there = Db(c)
            there.run(OLDER)
            declare(there)
            for table in ("cards", "storage"):
                sent = psycopg.types.json.Json(db.all("SELECT rowseal.export(%s)", table))
                answers = there.all(receive, sent)
                assert {o for o, _ in answers} <= {"inserted", "superseded", "archived"}, answers
                assert there.digest(table) == db.digest(table)
                assert there.all("SELECT * FROM rowseal.verify(%s)", table) == []
            form = Concatenated("storage", db.form("storage").fields)
            carried = db.all("SELECT rowseal.export('storage')")
            for e in carried:
                assert verify(e, member.public_key, form) and not verify(e, member.public_key)
            fields = {k: v for k, v in newest.items() if k not in ("sign_b64", "sign_hash")}
            rows = [e["row"] for e in carried]
            assert envelope(form, fields, member.key)["row"] in rows
            assert form.payload_of(fields) == older(fields)
            names = "SELECT sign_hash FROM storage_versions ORDER BY 1"
            assert there.all(names) == db.all(names)
    finally:
        server.drop(name)


def test_names_are_checked(db: Db, member: Member) -> None:
    db.run(OLDER)
    declare(db)
    db.insert("cards", member.card())
    first, second = member.row(b"first"), member.row(b"second")
    marks = ", ".join(["%s"] * len(first))
    for table in ("storage", "storage_versions"):
        for wrong in (
            second["sign_hash"],
            "",
            first["sign_hash"].upper(),
            first["sign_hash"] + " ",
            first["sign_hash"][4:],
        ):
            diag = db.refused(
                "RS005",
                f"INSERT INTO {table} ({', '.join(first)}) VALUES ({marks})",
                *{**first, "sign_hash": wrong}.values(),
            )
            assert "sign_hash is not the sha3-512 of the signature" in str(diag.message_primary)
    db.insert("storage", {**first, "sign_hash": None})
    assert db.all("SELECT sign_hash FROM storage") == [first["sign_hash"]]
    db.refused("RS005", "UPDATE storage SET sign_hash = %s", second["sign_hash"])
    db.run("UPDATE storage SET sign_hash = NULL")
    assert db.all("SELECT sign_hash FROM storage") == [first["sign_hash"]]
    db.insert("storage", second)
    # a name of something that is there already gives nothing away
    for wrong in (first["sign_hash"], second["sign_hash"]):
        third = member.row(b"third")
        db.refused(
            "RS005",
            f"INSERT INTO storage ({', '.join(third)}) VALUES ({marks})",
            *{**third, "sign_hash": wrong}.values(),
        )
    for change in (
        {"value_b64": b"forged"},
        {"owner_timestamp": 9},
        {"parent_sign_hash": first["sign_hash"]},
        {"sign_b64": first["sign_b64"], "sign_hash": None},
    ):
        db.refused(
            "RS001",
            f"INSERT INTO storage ({', '.join(second)}) VALUES ({marks})",
            *{**second, "uuid": str(uuid.UUID(int=9)), **change}.values(),
        )
    assert db.all("SELECT * FROM rowseal.verify('storage')") == []


def test_what_accept_ambiguity_accepts(db: Db) -> None:
    """Why the form is not for new tables: a relay makes rows of Ann's that Ann did not write."""
    ann = Member(SigningKey.generate())
    db.run(OLDER)
    declare(db)
    db.insert("cards", ann.card())
    genuine = ann.row(None, parts_b64=[b"abc"])
    shifted = {**genuine, "parts_b64": [b"", b"abc"], "sign_hash": None}
    assert older(shifted) == older(genuine)
    assert db.insert("storage", shifted) == 1
    assert db.all("SELECT * FROM rowseal.verify('storage')") == []


# ---------------------------------------------------------------------------- names with rowseal/1
def declare_names(example: Db, layout: str, type_: str, prefix: str) -> None:
    """A table ``n`` whose versions have names."""
    columns = (
        "user_hash bytea, uuid uuid, value_b64 bytea, deleted_flag boolean,"
        f" owner_timestamp bigint, parent {type_}, sign_b64 bytea, name {type_}"
    )
    key = "user_hash, uuid, name" if layout == "one table" else "user_hash, uuid"
    example.run(f"CREATE TABLE n ({columns}, PRIMARY KEY ({key}))")
    versions = ", versions => 'nv'" if layout == "made" else ""
    options = (
        """columns => '{"parent": "parent"}', legacy => '{"name_column": "name","""
        f""" "name_hash": "sha256", "name_prefix": "{prefix}"}}'{versions}"""
    )
    assert example.one(
        "SELECT layout FROM rowseal.declare('n', owner => 'user_hash',"
        f" identity => 'user_cards', {options})"
    ) == {"made": "two tables"}.get(layout, layout)


@pytest.mark.parametrize("type_", ["bytea", "text"])
@pytest.mark.parametrize("layout", ["unversioned", "made", "one table"])
def test_versions_by_name_in_the_other_form(
    layout: str, type_: str, example: Db, ann: Owner
) -> None:
    prefix = "v_" if type_ == "text" else ""
    declare_names(example, layout, type_, prefix)
    form, rows, parent = example.form("n"), [], None
    assert "name" not in form.names
    for n in range(3):
        row = {
            "user_hash": ann.hash,
            "uuid": KEY,
            "value_b64": b"%d" % n,
            "deleted_flag": False,
            "owner_timestamp": next(ann.clock),
            "parent": parent,
        }
        rows.append(ann.sealed(form, row))
        digest = hashlib.sha256(rows[-1]["sign_b64"]).digest()
        parent = digest if type_ == "bytea" else prefix + digest.hex()
        rows[-1]["name"] = parent
    for row in [rows[1], rows[0], rows[2], *rows]:
        example.insert("n", row)
    shown = json.dumps({"user_hash": "\\x" + ann.hash.hex(), "uuid": str(KEY)})
    assert example.all("SELECT depth, gap FROM rowseal.history('n', %s)", shown) == (
        [(0, True)] if layout == "unversioned" else [(0, False), (1, False), (2, False)]
    )
    sealed = [
        envelope(form, {k: v for k, v in r.items() if k not in ("sign_b64", "name")}, ann.key)
        for r in rows
    ]
    assert [o for o, _ in example.apply("n", sealed)] == (
        ["stale", "stale", "duplicate"] if layout == "unversioned" else ["duplicate"] * 3
    )
    newer = {**rows[2], "value_b64": b"3", "owner_timestamp": next(ann.clock), "parent": parent}
    new = envelope(form, {k: v for k, v in newer.items() if k not in ("sign_b64", "name")}, ann.key)
    assert [o for o, _ in example.apply("n", [new])] == ["superseded"]
    assert (
        example.all("SELECT * FROM rowseal.verify('n')") == []
        and example.all('SELECT "check", detail FROM rowseal.health() WHERE NOT ok') == []
    )
    assert set(
        example.all(f"SELECT count(*) FROM {'nv' if layout == 'made' else 'n'} WHERE name IS NULL")
    ) == {0}
    # renamed columns keep their part
    example.run("ALTER TABLE n RENAME name TO title")
    assert example.one("SELECT name_column FROM rowseal.declarations WHERE tag = 'n'") == "title"
    if layout != "one table":
        assert example.refused("RS005", "UPDATE n SET title = %s", rows[0]["name"])
    assert example.all("SELECT * FROM rowseal.verify('n')") == []


@pytest.mark.parametrize(
    ("options", "says"),  # of legacy
    [
        ('"form": "other"', "form 'other'"),
        ('"form": "concatenated"', "can be turned into others with the same signature: "),
        ('"name_column": "nope"', "no name column"),
        ('"name_column": "n"', "has type integer"),
        ('"name_column": "k"', "cannot hold the name"),
        ('"name_column": "title", "name_hash": "md5"', "name_hash 'md5'"),
        ('"name_column": "raw", "name_prefix": "x"', "bytes in one place and text in another"),
        (
            """"name_column": "title"}', columns => '{"parent": "raw\"""",
            "bytes in one place and text in another",
        ),
        (
            """"form": "concatenated", "accept_ambiguity": true}', unsigned => '{j}',
            columns => '{"digests": ["title"]""",
            "cannot be signed by digest",
        ),
        ('"form": "concatenated", "accept_ambiguity": true', "has type jsonb"),
    ],
)
def test_wrong_declarations(options: str, says: str, db: Db) -> None:
    db.run(
        "CREATE TABLE t (id bytea PRIMARY KEY, k bytea, n integer, title text,"
        " title_sha256 bytea, raw bytea, j jsonb, deleted_flag boolean, owner_timestamp bigint,"
        " sign_b64 bytea)"
    )
    if "with the same signature" in says:
        db.run("ALTER TABLE t DROP j")
    assert says in str(
        db.refused(
            "RS007",
            "SELECT rowseal.declare('t', owner => 'id', public_key => 'k',"
            f" legacy => '{{{options}}}')",
        ).message_primary
    )


def test_a_table_without_ambiguity_needs_no_acceptance(example: Db, ann: Owner) -> None:
    example.run(
        "CREATE TABLE t (a_deleted boolean NOT NULL, b_timestamp bigint NOT NULL,"
        " c_flag boolean NOT NULL, d_owner bytea NOT NULL, sign_b64 bytea,"
        " PRIMARY KEY (d_owner))"
    )
    example.run(
        "SELECT rowseal.declare('t', owner => 'd_owner', identity => 'user_cards',"
        """ columns => '{"timestamp": "b_timestamp", "deleted": "a_deleted"}',
        legacy => '{"form": "concatenated"}')"""
    )
    row = {"a_deleted": False, "b_timestamp": 5, "c_flag": True, "d_owner": ann.hash}
    assert example.insert("t", {**row, "sign_b64": ann.key.sign(older(row)).signature}) == 1
    assert example.one("SELECT accept_ambiguity FROM rowseal.declarations WHERE tag = 't'") is False


def spoilt(db: Db, member: Member) -> tuple[list[str], dict[str, Any], list[dict[str, Any]]]:
    """A parent that a server overwrote; a tie, decided by arrival; rows that nobody signed.

    The keys, the first version of the second, the two of the fourth that tie.
    """
    # its versions have the key (owner, id, name), beside a unique name
    db.run(
        OLDER.replace(
            " PRIMARY KEY (sign_hash)",
            " PRIMARY KEY (user_hash, uuid, sign_hash), UNIQUE (sign_hash)",
        )
    )
    db.insert("cards", member.card())
    db.run(DECLARE_CARDS + NAMED.format("uch_", "u_", ACCEPT))
    ids = [str(uuid.UUID(int=n)) for n in range(5)]

    def row(n: int, value: bytes, parent: Any = None, **changes: Any) -> dict[str, Any]:
        return member.row(value, parent, uuid=ids[n], **changes)

    good, first, other = row(0, b"good"), row(1, b"first"), row(1, b"other")
    child = row(1, b"child", first)  # stored with another parent than it was signed with
    rootless = row(2, b"rootless")  # stored with a parent, signed without
    tied = sorted((row(3, v, owner_timestamp=7) for v in (b"x", b"y")), key=lambda r: r["sign_b64"])
    forged = row(4, b"forged")
    for r in (
        good,
        {**child, "parent_sign_hash": other["sign_hash"]},
        {**rootless, "parent_sign_hash": good["sign_hash"]},
        tied[0],
        {**forged, "value_b64": b"changed"},
    ):
        db.insert("storage", r)
    for r in (first, other, tied[1], {**first, "uuid": ids[4], "sign_hash": "ush_x"}):
        db.insert("storage_versions", r)
    return ids, first, tied


CHECK = DECLARE_STORAGE.replace(
    "rowseal.declare(", "key ->> 'uuid', problem, repair FROM rowseal.check("
) + NAMED.format("ush_", "", ACCEPT)


def test_check_lists_all_rows_that_stand_against_declaring(db: Db, member: Member) -> None:
    ids, first, _ = spoilt(db, member)
    before = everything(db)
    found = {(k, p): r for k, p, r in db.all(f"{CHECK} ORDER BY 1, 2")}
    repairs = {k: r for (k, _), r in found.items() if r}
    assert everything(db) == before
    assert repairs == {
        ids[1]: f"signed with another parent: set parent_sign_hash to {first['sign_hash']}",
        ids[2]: "signed with another parent: set parent_sign_hash to NULL",
        ids[3]: "both are authentic: exchange it with the current version",
    }
    assert {k for (k, p), r in found.items() if not r} == {ids[4]}
    assert {p.partition(":")[0] for _, p in found} == {"RS001", "RS009"}


def test_rows_that_are_repaired_as_check_says_can_be_declared(db: Db, member: Member) -> None:
    ids, first, tied = spoilt(db, member)
    for sql in (
        f"UPDATE storage SET parent_sign_hash = '{first['sign_hash']}' WHERE uuid = '{ids[1]}'",
        f"UPDATE storage SET parent_sign_hash = NULL WHERE uuid = '{ids[2]}'",
        f"DELETE FROM storage WHERE uuid IN ('{ids[3]}', '{ids[4]}')",
        f"DELETE FROM storage_versions WHERE uuid IN ('{ids[3]}', '{ids[4]}')",
    ):
        db.run(sql)
    db.insert("storage", tied[1])
    db.insert("storage_versions", tied[0])
    assert db.all(CHECK) == []
    db.run(DECLARE_STORAGE + NAMED.format("ush_", "", ACCEPT))
    assert db.all('SELECT "check", detail FROM rowseal.health() WHERE NOT ok') == []
    db.insert("storage", member.row(b"newest", tied[1], uuid=ids[3]))
    assert db.one("SELECT count(*) FROM storage_versions WHERE uuid = %s", ids[3]) == 2


def everything(db: Db) -> list[Any]:
    """Declarations, rows, and what is installed."""
    return [
        db.all("SELECT * FROM rowseal.declarations"),
        db.all("SELECT * FROM rowseal.tags"),
        db.all("SELECT s.*::text FROM storage s ORDER BY uuid"),
        db.all("SELECT s.*::text FROM storage_versions s ORDER BY uuid, sign_hash"),
        db.all(
            "SELECT oid::regclass::text FROM pg_class WHERE relnamespace = 'public'::regnamespace"
        ),
        db.all("SELECT proname FROM pg_proc WHERE pronamespace = 'rowseal'::regnamespace"),
        db.all("SELECT tgname FROM pg_trigger ORDER BY oid"),
    ]


def test_a_column_cannot_be_added_where_null_is_signed(db: Db, member: Member) -> None:
    db.run(OLDER)
    db.insert("cards", member.card())
    declare(db)
    db.run("ALTER TABLE storage_versions ADD note text")
    for table in ("cards", "storage"):
        diag = db.refused("RS007", f"ALTER TABLE {table} ADD note text")
        assert "note" in str(diag.message_primary) and "NULL" in str(diag.message_hint)
        assert db.all("SELECT * FROM rowseal.verify(%s)", table) == []


def test_what_shifts_into_the_order_is_named_first(db: Db) -> None:
    db.run(OLDER)
    said = str(db.refused("RS007", DECLARE_CARDS + NAMED.format("uch_", "u_", "")).message_primary)
    worse = "(so that another version is the newest, or deleted)"
    shifted = said.partition("with the same signature: ")[2]
    assert shifted.startswith(f"contact_pkey and deleted_flag {worse}, deleted_flag and name")
    assert shifted.count(worse) == 4
    assert shifted.endswith("NULL and the content 'null' of name")
