"""docs/errors.md is the truth: it lists every SQLSTATE there is,
and every message in it can be provoked.
"""

from __future__ import annotations

import json
import re
import uuid
from collections.abc import Callable
from typing import Any

import psycopg
import pytest
from psycopg.types.json import Jsonb

from kit import ROOT
from kit.db import Db, Server
from kit.example import EXAMPLE, Owner
from kit.scratch import CARD, Scratch, card, seal, shared_database, write
from kit.writers import Writer, grant, revocation, tables
from kit.writers import card as deposit
from rowseal.client import SigningKey

KEY = uuid.UUID(int=7)
ROWS: list[tuple[str, str]] = re.findall(
    r"^\| (RS\d{3}) \| `(.*?)` \| [^|]+ \| [^|]+ \|$", (ROOT / "docs/errors.md").read_text(), re.M
)


def pattern(message: str) -> re.Pattern[str]:
    return re.compile(".+?".join(map(re.escape, message.split("…"))), re.S)


def sources() -> str:
    return "".join(
        p.read_text()
        for folder, kind in (("sql", "*.sql"), ("plpython/rowseal", "*.py"))
        for p in (ROOT / folder).rglob(kind)
    )


def test_the_docs_list_exactly_the_codes_that_the_sources_use() -> None:
    assert {code for code, _ in ROWS} == set(re.findall(r"\bRS0\d\d\b", sources()))


def test_every_code_with_a_refusal_of_rows_has_a_hint() -> None:
    hints = re.search(r"CREATE OR REPLACE FUNCTION rowseal\._hint.*?END\n\$\$", sources(), re.S)
    assert hints
    verdicts = set(re.findall(r"""(?:ROW|Verdict|refusal)\(["'](RS0\d\d)["'],""", sources()))
    assert {"RS001", "RS002", "RS003", "RS006", "RS009"} <= verdicts
    assert verdicts - set(re.findall(r"WHEN '(RS0\d\d)'", hints[0])) <= {
        "RS007"
    }  # comes with a hint of its own, or in the quarantine alone


shared = shared_database(EXAMPLE)


class World:
    """What a provocation needs: the table's owner, a stranger, the superuser,
    an owner of rows with a card.
    """

    def __init__(self, connection: psycopg.Connection[Any]):
        self.db, self.mallory, self.admin = (
            Scratch(connection, role) for role in ("app", "mallory", "postgres")
        )
        self.ann = Owner()
        write(self.db, self.ann, "user_cards", self.ann.card())

    def put(self, value: bytes = b"v", **changes: Any) -> dict[str, Any]:
        return write(self.db, self.ann, "user_storage", self.ann.value(value, KEY, **changes))

    def altered(
        self, table: str, row: dict[str, Any], owner: Owner | None = None, **changes: Any
    ) -> None:
        """Insert a row that was changed after it was signed."""
        self.db.insert(table, {**seal(self.db, owner or self.ann, table, row), **changes})

    def small(self, columns: str = "", more: str = "", **row: Any) -> int:
        """An identity table ``c`` with these columns, and a row in it; how many rows it has."""
        self.db.run(
            f"CREATE TABLE c (id bytea PRIMARY KEY, {columns}{CARD});"
            f" SELECT rowseal.declare('c', owner => 'id', public_key => 'k'{more})"
        )
        if row:
            write(self.db, self.ann, "c", card(self.ann, **row))
        return len(row) and 1


def bad_partition(w: World) -> None:
    w.db.run(
        f"""CREATE TABLE c (id bytea PRIMARY KEY, {CARD}) PARTITION BY HASH (id);
            SELECT rowseal.declare('c', owner => 'id', public_key => 'k')"""
    )
    w.db.run(
        "CREATE TABLE p (LIKE c INCLUDING ALL); INSERT INTO p VALUES ('x', 'x', false, 1, 'x')"
    )
    w.db.run("ALTER TABLE c ATTACH PARTITION p FOR VALUES WITH (MODULUS 1, REMAINDER 0)")


def bad_row(w: World) -> None:
    w.db.run(
        f"CREATE TABLE c (id bytea PRIMARY KEY, {CARD});"
        " INSERT INTO c VALUES ('x', 'x', false, 1, 'x')"
    )
    w.db.run("SELECT rowseal.declare('c', owner => 'id', public_key => 'k')")


def late_rule(w: World) -> None:
    w.db.run("CREATE RULE divert AS ON INSERT TO user_storage DO INSTEAD NOTHING")


def strangers_versions(w: World) -> None:
    w.admin.run(
        f"CREATE TABLE old (id bytea, parent_sign_b64 bytea, {CARD}, PRIMARY KEY (sign_b64))"
    )
    w.db.run(f"CREATE TABLE c (id bytea PRIMARY KEY, parent_sign_b64 bytea, {CARD})")
    w.db.run("SELECT rowseal.declare('c', owner => 'id', public_key => 'k', versions => 'old')")


def strangers_view(w: World) -> None:
    w.admin.run("CREATE VIEW c_tips AS SELECT 1")
    columns = f"id bytea, parent_sign_b64 bytea, {CARD}"
    w.db.run(f"CREATE TABLE c ({columns}, PRIMARY KEY (id, sign_b64))")
    w.db.run(
        "SELECT rowseal.declare('c', owner => 'id', public_key => 'k', fingerprint => 'sha256')"
    )


def many_digits(w: World) -> None:
    w.small("digits jsonb, ")
    w.db.run(
        "INSERT INTO c (id, k, digits, deleted_flag, owner_timestamp, sign_b64)"
        " SELECT 'x', 'x', jsonb_agg('1e131071'::jsonb), false, 1, 'x'"
        " FROM generate_series(1, 9000)"
    )


def much_content(w: World) -> None:
    w.small("body text, body_sha256 bytea, ", """, columns => '{"digests": ["body"]}'""")
    w.db.run(
        "INSERT INTO c (id, k, body, deleted_flag, owner_timestamp, sign_b64)"
        " VALUES ('x', 'x', repeat('x', 37 * 1024 * 1024), false, 1, 'x')"
    )


def unguarded(w: World) -> None:
    envelope = w.ann.envelope(w.db.form("user_cards"), w.ann.card(name="Ann the second"))
    w.db.run("ALTER TABLE user_cards DISABLE TRIGGER zzz_rowseal_guard")
    number = w.db.one("SELECT id FROM rowseal.declarations WHERE tag = 'user_cards'")
    w.db.run(f"SELECT rowseal._take_{number}(%s)", json.dumps(envelope))


def taken_tag(w: World) -> None:
    w.db.run(
        f"CREATE TABLE c (id bytea PRIMARY KEY, {CARD});"
        " SELECT rowseal.declare('c', owner => 'id', public_key => 'k', tag => 'user_cards')"
    )


def certificate(w: World) -> None:
    w.altered("user_cards", w.ann.card(contact_pkey=b"x", contact_cert=bytes(64)))


def fingerprint(w: World) -> None:
    w.altered("user_cards", w.ann.card(user_hash=b"me"))


def foreign_key_for_owner(w: World) -> None:
    eve = Owner("Eve")
    w.altered("user_cards", eve.card(user_hash=w.ann.hash), eve)


def granted(w: World, **changes: Any) -> tuple[Writer, Writer]:
    """Tables with writers, an owner and a device, and a row of the grants table."""
    w.db.run(tables())
    owner = Writer(w.ann)
    device = Writer(w.ann, SigningKey.generate())
    deposit(w.db, w.ann)
    w.db.insert("grants", owner.sealed(w.db.form("grants"), grant(device, **changes)))
    return owner, device


def written(
    w: World, grant: dict[str, Any] | None = None, number: int = 1, revoked: bool = False
) -> None:
    """A device's row at timestamp 5; without a grant, it is somebody else's."""
    owner, device = granted(w, **(grant or {}))
    if revoked:
        w.db.insert("grants", owner.sealed(w.db.form("grants"), revocation(device, [])))
    writer = device if grant is not None else Writer(w.ann, SigningKey.generate())
    w.db.insert(
        "t", writer.sealed(w.db.form("t"), {"key": "k", "owner_timestamp": 5}, number=number)
    )


def strangers_grants(w: World) -> None:
    w.admin.run(f"{tables().split('; CREATE TABLE t ')[0]}; GRANT SELECT ON cards, grants TO app")
    w.db.run(f"CREATE TABLE t (user_hash bytea PRIMARY KEY, {CARD})")
    w.db.run(
        "SELECT rowseal.declare('t', owner => 'user_hash', identity => 'cards',"
        " writers => 'grants')"
    )


def cursor_of_elsewhere(w: World) -> None:
    w.admin.run("GRANT rowseal_admin TO app")
    w.db.run(f"SELECT * FROM rowseal.changes('{uuid.UUID(int=0)}:1:1')")


def identity_gone(w: World) -> None:
    w.db.run("GRANT SELECT ON user_cards TO mallory")
    w.mallory.run(STRANGERS)
    row = seal(w.db, w.ann, "c", {k: v for k, v in card(w.ann).items() if k != "k"})
    w.db.run("DROP TABLE user_storage; SELECT rowseal.undeclare('user_cards')")
    w.mallory.insert("c", row)


def not_followed(w: World) -> None:
    w.admin.run(
        "ALTER EVENT TRIGGER rowseal_ddl DISABLE; ALTER TABLE user_cards RENAME TO cards;"
        " CREATE TABLE user_cards AS TABLE cards"
    )
    w.put()


def strangers_tag(w: World) -> None:
    eve = Owner("Eve")
    w.db.apply("user_storage", [eve.envelope(w.db.form("user_storage"), eve.value())])
    w.db.run("SELECT rowseal.undeclare('user_storage'); GRANT SELECT ON user_cards TO mallory")
    w.mallory.run(
        STRANGERS.replace("TABLE c", "TABLE t").replace(
            "'c', owner => 'id'", "'t', owner => 'id', tag => 'user_storage'"
        )
    )


STRANGERS = """CREATE TABLE c (id bytea PRIMARY KEY, deleted_flag boolean, owner_timestamp bigint,
    sign_b64 bytea); SELECT rowseal.declare('c', owner => 'id', identity => 'user_cards')"""
SMALL = (
    f"CREATE TABLE c (id bytea PRIMARY KEY, m money, {CARD});"
    " SELECT rowseal.declare('c', owner => 'id', public_key => 'k')"
)
LATIN = "in a database of its own"
ML_DSA = "without the package cryptography: see accept/test_ml_dsa.py"
NO_PROVIDER = "in a session without provider"
OF_APPLY = "a reason of apply, never raised: see attacks/test_one_entry.py"
RECEIVED = (
    "a reason of receive, never raised: see links/test_linked_servers.py and"
    " attacks/test_table_owner.py"
)
LINKED = "between two servers: see links/test_linked_servers.py"
DERIVED = "what verify says, never raised: see writers/test_verify_derives_anew.py"
PROVOKED: dict[str, Callable[[World], Any] | str] = {
    "licences do not follow": DERIVED,
    "invalid signature": lambda w: w.altered(
        "user_storage", w.ann.value(b"1", KEY), value_b64=b"2"
    ),
    "the row is not signed": lambda w: w.altered(
        "user_storage", w.ann.value(b"1", KEY), sign_b64=None
    ),
    "table … holds a row": bad_row,
    "the new partition": bad_partition,
    "unknown owner": lambda w: w.altered("user_storage", Owner().value()),
    "the public key of an owner": foreign_key_for_owner,
    "primary key and owner": lambda w: (
        w.put(),
        w.db.run("UPDATE user_storage SET uuid = gen_random_uuid()"),
    ),
    "DELETE": lambda w: w.db.run("DELETE FROM user_cards"),
    "TRUNCATE": lambda w: w.db.run("TRUNCATE user_cards"),
    "the owner is not": fingerprint,
    "… is not the owner's": certificate,
    "field …: …, in table …, key": lambda w: (
        w.small("at date, ", at="2026-01-01"),
        w.db.run("UPDATE c SET at = '20000-01-01', owner_timestamp = owner_timestamp + 1"),
    ),
    "an array has": lambda w: (
        w.small("list int[], ", list=[1]),
        w.db.run("UPDATE c SET list = '[0:0]={1}', owner_timestamp = owner_timestamp + 1"),
    ),
    "field …: …, in table …": lambda w: (
        w.small("at date, "),
        w.db.run("SELECT rowseal.payload('c', '{\"at\": \"20000-01-01\"}')"),
    ),
    "more than … elements in an array": lambda w: (
        w.small("list int[], ", list=[1]),
        w.db.run(
            "UPDATE c SET list = array_fill(1, ARRAY[262145]),"
            " owner_timestamp = owner_timestamp + 1"
        ),
    ),
    "more than … elements and members": OF_APPLY,
    "a row of more than … MiB": RECEIVED,
    "more than … bytes of canonical": many_digits,
    "more than … bytes of content": much_content,
    "no guard of": unguarded,
    "table … is not declared": lambda w: w.db.run("SELECT rowseal.verify('pg_class')"),
    "table … is declared already": lambda w: w.db.run(
        "SELECT rowseal.declare('user_cards', owner => 'user_hash', public_key => 'sign_pkey')"
    ),
    "tag": taken_tag,
    "declare needs": lambda w: w.db.run("SELECT rowseal.declare(NULL, owner => 'x')"),
    "table … has no primary key": lambda w: w.db.run(
        "CREATE TABLE c (x int); SELECT rowseal.declare('c', owner => 'x', public_key => 'k')"
    ),
    "column": lambda w: w.db.run(SMALL),
    "the table itself does not have": lambda w: (
        w.put(),
        w.put(),
        w.db.run("ALTER TABLE user_storage_versions ADD title text"),
        w.db.run("UPDATE user_storage_versions SET title = 'x'"),
    ),
    "column … of … holds values": lambda w: w.db.run(
        "ALTER TABLE user_cards ADD colour text DEFAULT 'blue'"
    ),
    "the feed or ledger": lambda w: (
        w.admin.run("CREATE SCHEMA hidden AUTHORIZATION app"),
        w.db.run(
            f"CREATE TABLE hidden.c (id bytea PRIMARY KEY, {CARD}); SELECT"
            " rowseal.declare('hidden.c', owner => 'id', public_key => 'k', feed => true)"
        ),
    ),
    "constraint": lambda w: w.db.run(
        "ALTER TABLE user_cards ADD UNIQUE (user_hash, name) DEFERRABLE"
    ),
    "declared table": lambda w: w.db.run("DROP TABLE user_cards"),
    "the identity table is not": identity_gone,
    "a table or type": not_followed,
    "no right to tag": strangers_tag,
    "no right to use … as identity": lambda w: w.mallory.run(STRANGERS),
    "table … holds the public keys": lambda w: w.db.run("SELECT rowseal.undeclare('user_cards')"),
    "… on declared table": late_rule,
    "rowseal needs": LATIN,
    "role rowseal_internal": "in a cluster of its own: see attacks/test_roles.py",
    "no right to declare": lambda w: w.mallory.run(
        "SELECT rowseal.declare('rowseal.declarations', owner => 'x')"
    ),
    "no right to undeclare": lambda w: w.mallory.run("SELECT rowseal.undeclare('user_storage')"),
    "no right to use": strangers_versions,
    "…, where the current versions": strangers_view,
    "column … is erased": lambda w: (
        w.small(
            "note text, note_sha256 bytea, ", """, columns => '{"digests": ["note"]}'""", note="x"
        ),
        w.db.run("UPDATE c SET note = NULL, note_sha256 = sha256('x')"),
    ),
    "… is not the … of the signature": lambda w: (
        w.small("name text, ", """, legacy => '{"name_column": "name"}'"""),
        w.db.insert("c", {**seal(w.db, w.ann, "c", card(w.ann)), "name": "x"}),
    ),
    "rows of … in the form": lambda w: w.small(more=""", legacy => '{"form": "concatenated"}'"""),
    "columns": lambda w: w.db.run("SELECT rowseal.erase('user_cards', '{}', '{name}')"),
    "no right to erase": lambda w: w.mallory.run(
        "SELECT rowseal.erase('user_cards', '{}', '{name}')"
    ),
    "no right to prune": lambda w: w.mallory.run("SELECT rowseal.prune('user_storage')"),
    "history is": lambda w: (
        w.put(),
        w.put(),
        w.db.run("UPDATE user_storage_versions SET value_b64 = 'x'"),
    ),
    "no provider of …, which": ML_DSA,
    "no provider of …: …": ML_DSA,
    "the public key is none": lambda w: w.altered("user_cards", Owner().card(sign_pkey=bytes(33))),
    "no right to use … as grants table": strangers_grants,
    "column … of … has the type … in it": lambda w: (
        granted(w),
        w.db.run(
            "CREATE TYPE mood AS ENUM (); CREATE TABLE typed (LIKE t INCLUDING ALL, mood mood);"
            " SELECT rowseal.declare('typed', owner => 'user_hash', identity => 'cards',"
            " writers => 'grants', versions => 'typed_versions')"
        ),
    ),
    "column … of … has a type that is not its owner": lambda w: (
        w.mallory.run("CREATE TYPE mood AS ENUM ()"),
        w.db.run(
            "CREATE TABLE q (LIKE user_cards INCLUDING ALL, mood mood);"
            " SELECT rowseal.declare('q', owner => 'user_hash', public_key => 'sign_pkey')"
        ),
    ),
    "… rests on what is somebody else": lambda w: (
        w.admin.run("CREATE SCHEMA hers AUTHORIZATION mallory; GRANT ALL ON SCHEMA hers TO app"),
        w.db.run(
            "CREATE TABLE hers.q (LIKE user_cards INCLUDING ALL);"
            " SELECT rowseal.declare('hers.q', owner => 'user_hash', public_key => 'sign_pkey')"
        ),
    ),
    "table … holds the grants": lambda w: (
        granted(w),
        w.db.run("SELECT rowseal.undeclare('grants')"),
    ),
    "… is retired": lambda w: (
        w.db.run(
            "DO $$ BEGIN EXECUTE (SELECT 'CREATE VIEW v AS SELECT rowseal._take_' || id || '(NULL)'"
            " FROM rowseal.declarations WHERE tag = 'user_storage'); END $$;"
            " SELECT rowseal.undeclare('user_storage')"
        ),
        w.db.run("SELECT * FROM v"),
    ),
    "table … is no grants table": lambda w: w.db.run(
        "SELECT rowseal.allow('user_storage', '{}', 'x', 1, 1)"
    ),
    "no grant for": lambda w: written(w),
    "outside the scope": lambda w: written(w, grant={"until": 4}),
    "beyond the frontier": lambda w: written(w, grant={}, revoked=True),
    "the chain below": lambda w: (
        granted(w),
        w.db.run(
            "SELECT rowseal.revoke('grants', %s, 'x', 1, '{abc}')", Jsonb({"user_hash": "AA=="})
        ),
    ),
    "writer, number and": lambda w: written(w, number=2),
    "a grant is ended": lambda w: granted(w, deleted_flag=True),
    "a grant needs": lambda w: granted(w, until=None),
    "revocations could not": lambda w: w.db.run(
        tables().replace("key text, value integer", "key text, value integer UNIQUE")
    ),
    "the key of a writer": lambda w: granted(w, grantee_pkey=bytes(31)),
    "tables or upto": lambda w: granted(w, tables=["t", None]),
    "tables or keys": lambda w: granted(w, tables=["t" * 4096]),
    "no provider of signatures: neither": NO_PROVIDER,
    "no provider of signatures: …": NO_PROVIDER,
    "no column": lambda w: w.db.run("SELECT rowseal.payload('user_cards', '{\"nam\": 1}')"),
    "the cursor": cursor_of_elsewhere,
    "a write to the table": RECEIVED,
    "the rows of a new partition": "see attacks/test_whose_code_runs.py",
    "rows would count by this one": "see writers/test_whom_the_tables_trust.py",
    "publication": LINKED,
}


def checked(code: str, message: str, error: psycopg.Error) -> None:
    diag = error.diag
    assert diag.sqlstate == code, f"{diag.sqlstate}: {diag.message_primary}"
    said = str(diag.message_primary)
    assert pattern(message).fullmatch(said), said
    assert diag.message_hint
    everything = f"{said}{diag.message_detail}{diag.message_hint}{diag.context}"
    assert "Traceback" not in everything and "plpy" not in everything
    if ", key …" in message:
        assert re.search(r', key \{".*"\}$', said)
    if "in table …" in message and code != "RS015" and not message.endswith("in table …"):
        assert diag.schema_name == "public" and diag.table_name in (
            "user_cards",
            "user_storage",
            "user_storage_versions",
            "c",
            "t",
            "grants",
        )


def test_every_documented_message_has_a_provocation() -> None:
    begun = [
        next(
            (begin for begin in sorted(PROVOKED, key=len, reverse=True) if m.startswith(begin)),
            None,
        )
        for _, m in ROWS
    ]
    assert sorted(map(str, begun)) == sorted(PROVOKED)


@pytest.mark.parametrize(("code", "message"), ROWS)
def test_every_documented_message_is_what_is_said(
    code: str, message: str, transaction: psycopg.Connection[Any], request: pytest.FixtureRequest
) -> None:
    provoke = PROVOKED[
        next(
            begin for begin in sorted(PROVOKED, key=len, reverse=True) if message.startswith(begin)
        )
    ]
    if isinstance(provoke, str):
        pytest.skip(f"{provoke}: has a test of its own")
    world = World(transaction)
    with pytest.raises(psycopg.Error) as error:
        provoke(world)
    checked(code, message, error.value)


def documented(begin: str) -> tuple[str, str]:
    return next((code, m) for code, m in ROWS if m.startswith(begin))


def test_another_encoding_is_refused(server: Server) -> None:
    with server.connect("postgres") as c:
        c.execute("CREATE DATABASE latin ENCODING 'LATIN1' LOCALE 'C' TEMPLATE template0")
    try:
        with server.connect("latin") as c:
            c.execute("CREATE EXTENSION plpython3u")
            with pytest.raises(psycopg.Error) as error:
                c.execute("CREATE EXTENSION rowseal")
        checked(*documented("rowseal needs"), error.value)
    finally:
        server.drop("latin")


def test_without_provider_nothing_gets_in(server: Server, database: str) -> None:
    with server.connect(database, "app") as c:
        Db(c).run(
            f"""CREATE TABLE c (id bytea PRIMARY KEY, {CARD});
                SELECT rowseal.declare('c', owner => 'id', public_key => 'k');
                CREATE TABLE d (LIKE c INCLUDING ALL)"""
        )
        sealed = seal(Db(c), ann := Owner(), "c", card(ann))
    with server.connect(database) as c:
        db = Db(c)
        if db.one("SELECT version FROM rowseal._pgsodium()"):
            pytest.skip("pgsodium is in the database")
        db.run(
            """DO LANGUAGE plpython3u $$
import sys
sys.modules['nacl'] = sys.modules['nacl.bindings'] = None
            $$;
            SET SESSION AUTHORIZATION app"""
        )
        with pytest.raises(psycopg.Error) as error:
            db.run("SELECT rowseal.declare('d', owner => 'id', public_key => 'k')")
        checked(*documented("no provider of signatures: neither"), error.value)
        with pytest.raises(psycopg.Error) as error:
            db.insert("c", sealed)
        checked(*documented("no provider of signatures: …"), error.value)
        assert [
            name for name, ok in db.all('SELECT "check", ok FROM rowseal.health()') if not ok
        ] == ["provider"]
        assert (
            Scratch(c, "app").apply("c", [ann.envelope(db.form("c"), card(ann))])[0][0]
            == "deferred"
        )


def test_the_reasons_of_apply_carry_the_same_codes(transaction: psycopg.Connection[Any]) -> None:
    w = World(transaction)
    form, ann = w.db.form("user_storage"), w.ann
    good = ann.envelope(form, ann.value(b"1", KEY))
    forms = {
        "RS001: invalid signature": {**good, "row": {**good["row"], "value_b64": "AA=="}},
        'RS001: not an envelope: it has no object "row"': {"table": "user_storage"},
        "RS001: not an envelope of form rowseal/1": {
            **good,
            "rowseal": 2,
            "row": {**good["row"], "value_b64": "AA=="},
        },
        "RS001: the envelope is for table 'other', not 'user_storage'": {
            **good,
            "table": "other",
            "row": {**good["row"], "value_b64": "AA=="},
        },
        "RS015: no column for field 'more' yet": {
            **good,
            "row": {**good["row"], "more": "x", "value_b64": "AA=="},
        },
    }
    answers = w.db.apply("user_storage", list(forms.values()))
    assert [reason for _, reason in answers] == list(forms)
    assert [outcome for outcome, _ in answers] == ["rejected"] * 4 + ["deferred"]


def test_calls_with_wrong_arguments_say_so(transaction: psycopg.Connection[Any]) -> None:
    db = World(transaction).db
    for call in (
        "apply('user_storage', '[]', 'xml')",
        "apply('user_storage', '1')",
        "apply('user_storage', NULL)",
    ):
        db.refused("22023", f"SELECT * FROM rowseal.{call}")
