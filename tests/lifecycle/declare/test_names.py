"""Tables and columns may have any name; a tag tells tables of one name apart."""

from __future__ import annotations

import json
from typing import Any

import psycopg
import pytest

from kit.db import Db
from kit.declaring import STORAGE, as_json
from kit.example import Owner
from kit.scratch import CARD, Scratch, card, problems, seal, unwell, write


def test_all_column_names_can_be_chosen(db: Scratch) -> None:
    ann = Owner()
    db.run(
        'CREATE TABLE cards (id bytea PRIMARY KEY, k bytea, gone boolean, "at" bigint, "Sig" bytea)'
    )
    db.run(
        """SELECT rowseal.declare('cards', owner => 'id', public_key => 'k',
            columns => '{"timestamp": "at", "deleted": "gone", "signature": "Sig"}')"""
    )
    db.run(
        'CREATE TABLE notes (id bytea, n int, gone boolean, "at" bigint, "from" bytea,'
        ' "Sig" bytea, PRIMARY KEY (id, n))'
    )
    db.run("""SELECT rowseal.declare('notes', owner => 'id', identity => 'cards',
        versions => 'old_notes', columns => '{"timestamp": "at", "deleted": "gone",
            "signature": "Sig", "parent": "from"}')""")
    write(db, ann, "cards", {"id": ann.hash, "k": ann.public_key, "gone": False, "at": 1})
    one = write(db, ann, "notes", {"id": ann.hash, "n": 1, "gone": False, "at": 1, "from": None})
    write(db, ann, "notes", {"id": ann.hash, "n": 1, "gone": False, "at": 2, "from": one["Sig"]})
    assert db.one('SELECT "at" FROM notes') == 2 and db.one('SELECT "at" FROM old_notes') == 1
    assert db.all(
        "SELECT gap FROM rowseal.history('notes', %s)", as_json({"id": ann.hash, "n": 1})
    ) == [False, False]


OWN_WORDS = [
    "same",
    "verdict",
    "tip",
    "whole",
    "known",
    "t",
    "v",
    "new",
    "old",
    "excluded",
    "r",
    "rows",
    "format",
    "older",
    "stored",
    "kept",
    "outcome",
    "outcomes",
    "key",
    "sign",
    "problem",
    "x",
    "e",
]


@pytest.mark.parametrize("layout", ["two tables", "one table"])
def test_key_columns_may_have_the_names_that_the_functions_use(layout: str, cards: Scratch) -> None:
    db, ann = cards, Owner()
    write(db, ann, "cards", card(ann))
    signature = ", sign_b64" if layout == "one table" else ""
    db.run(
        f"""CREATE TABLE notes (id bytea, {", ".join(f"{w} int" for w in OWN_WORDS)}, {STORAGE},
            PRIMARY KEY (id, {", ".join(OWN_WORDS)}{signature}))"""
    )
    db.run(
        "SELECT rowseal.declare('notes', owner => 'id', identity => 'cards', versions => %s)",
        "old" if layout == "two tables" else None,
    )
    key = {"id": ann.hash, **dict.fromkeys(OWN_WORDS, 1)}
    for at in (1, 3, 2, 2):
        row = {
            **key,
            "value": "v",
            "deleted_flag": False,
            "owner_timestamp": at,
            "parent_sign_b64": None,
        }
        write(db, ann, "notes", row)
        assert db.apply("notes", [ann.envelope(db.form("notes"), row)]) == [("duplicate", None)]
    assert db.one(f"SELECT owner_timestamp FROM notes{'_tips' if signature else ''}") == 3
    assert problems(db, "notes") == []
    assert len(db.all("SELECT * FROM rowseal.history('notes', %s)", as_json(key))) == 3


@pytest.mark.parametrize(
    "name", ["tip", "verdict", "outcome", "kept", "known", "older", "sign", "key"]
)
def test_the_timestamp_may_have_a_name_that_the_functions_use(name: str, db: Scratch) -> None:
    ann = Owner()
    db.run(
        f"CREATE TABLE c (id bytea PRIMARY KEY, k bytea, deleted_flag boolean, {name} bigint,"
        " sign_b64 bytea)"
    )
    db.run(
        "SELECT rowseal.declare('c', owner => 'id', public_key => 'k', columns => %s)",
        json.dumps({"timestamp": name}),
    )
    for at in (1, 3, 2, 2):
        write(db, ann, "c", {"id": ann.hash, "k": ann.public_key, "deleted_flag": False, name: at})
    assert db.one(f"SELECT {name} FROM c") == 3
    assert problems(db, "c") == []


def test_the_tag_is_the_tables_name_or_what_the_declaration_says(db: Scratch) -> None:
    db.run(
        f"CREATE TABLE a (id bytea PRIMARY KEY, {CARD});"
        f" CREATE TABLE b (id bytea PRIMARY KEY, {CARD})"
    )
    db.run("SELECT rowseal.declare('a', owner => 'id', public_key => 'k', tag => 'people')")
    diag = db.refused(
        "RS007", "SELECT rowseal.declare('b', owner => 'id', public_key => 'k', tag => 'people')"
    )
    assert (
        "people" in str(diag.message_primary)
        and "a" in str(diag.message_primary)
        and "tag =>" in str(diag.message_hint)
    )
    db.run("SELECT rowseal.declare('b', owner => 'id', public_key => 'k')")
    ann = Owner()
    row = write(db, ann, "a", card(ann), tag="people")
    with pytest.raises(psycopg.Error, match="invalid signature"):  # no replay into another table
        db.insert("b", row)
    assert '"table":"people"' in db.one("SELECT rowseal.payload('a', '{}')")


def test_tables_of_one_name_in_two_schemas_need_two_tags(db: Scratch, admin: Scratch) -> None:
    admin.run("CREATE SCHEMA one AUTHORIZATION app; CREATE SCHEMA two AUTHORIZATION app")
    for schema in ("one", "two"):
        db.run(
            f"CREATE TABLE {schema}.c (id bytea, n int, parent_sign_b64 bytea, {CARD},"
            " PRIMARY KEY (id))"
        )
    call = (
        "SELECT versions FROM rowseal.declare('{}.c', owner => 'id', public_key => 'k',"
        " versions => '{}', tag => {})"
    )
    assert db.one(call.format("one", "c_versions", "NULL")) == "one.c_versions"
    db.refused("RS007", call.format("two", "c_versions", "NULL"))
    assert db.one(call.format("two", "one.c_two_versions", "'c two'")) == "one.c_two_versions"
    ann = Owner()
    for tag, table in (("c", "one.c"), ("c two", "two.c")):
        for _ in range(2):
            write(db, ann, table, card(ann), tag=tag)
        assert problems(db, table) == []
    assert unwell(db) == []


ODD = [
    "Mixed Case",
    'dou"ble',
    "sing'le",
    "back\\slash",
    "per%cent %s",
    "dol$$lar $rowseal$",
    "dot.ted",
    "größe 名前 🗝",
    "br{a,c}e",
    "{x}",
    ":colon",
    "select",
]


def quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def insert(db: Db, into: str, row: dict[str, Any]) -> None:
    columns = ", ".join(map(quoted, row)).replace("%", "%%")
    marks = ", ".join(["%s"] * len(row))
    db.run(f"INSERT INTO {into.replace('%', '%%')} ({columns}) VALUES ({marks})", *row.values())


def create_odd(db: Db, name: str, layout: str) -> tuple[str, str]:
    """Two declared tables in which every name holds ``name``: identity table, table."""
    q, c = quoted, "c" + name
    cards, table = f"{q(name)}.{q('cards' + name)}", f"{q(name)}.{q(name)}"
    db.run(
        f"CREATE TABLE {cards} ({q(c)} bytea PRIMARY KEY, k bytea, deleted_flag boolean,"
        " owner_timestamp bigint, sign_b64 bytea)"
    )
    db.run("SELECT rowseal.declare(%s, owner => %s, public_key => 'k', tag => 'c')", cards, c)
    db.run(f"""CREATE TABLE {table} ({q(c)} bytea, {q(name)} text, {q("v" + name)} bytea[],
        deleted_flag boolean, owner_timestamp bigint, parent_sign_b64 bytea, sign_b64 bytea,
        PRIMARY KEY ({q(c)}, {q(name)}{", sign_b64" if layout == "one table" else ""}))""")
    declare = "SELECT rowseal.declare(%s, owner => %s, identity => %s, versions => %s)"
    db.run(declare, table, c, cards, q("old" + name) if layout == "two tables" else None)
    return cards, table


@pytest.mark.parametrize("name", ODD)
@pytest.mark.parametrize("layout", ["two tables", "one table"])
def test_names_may_be_anything(name: str, layout: str, db: Scratch, admin: Scratch) -> None:
    ann, c = Owner(), "c" + name
    admin.run(f"CREATE SCHEMA {quoted(name)} AUTHORIZATION app")
    cards_, table = create_odd(db, name, layout)
    card_ = {c: ann.hash, "k": ann.public_key, "deleted_flag": False, "owner_timestamp": 1}
    insert(db, cards_, seal(db, ann, "c", card_))
    value = {"v" + name: [b"a"], "deleted_flag": False, "parent_sign_b64": None}
    row = {c: ann.hash, name: "x", **value}
    for at in (1, 3, 2):
        version = {**row, "owner_timestamp": at}
        insert(db, table, seal(db, ann, name, version))
        sealed = ann.envelope(db.form(name), version)
        assert db.apply(table, [sealed]) == [("duplicate", None)]
    assert (problems(db, table), unwell(db)) == ([], [])
    key = as_json({c: ann.hash, name: "x"})
    history = db.all("SELECT * FROM rowseal.history(%s, %s)", table, key)
    assert [h[3] for h in history] == [1, 2, 3]
    altered = {**seal(db, ann, name, {**row, "owner_timestamp": 4}), "v" + name: [b"b"]}
    with pytest.raises(psycopg.Error, match="invalid signature"):
        insert(db, table, altered)
    assert db.one("SELECT rowseal.undeclare(%s)", table)


def test_names_of_63_bytes(db: Scratch) -> None:
    ann, name = Owner(), "n" * 63
    db.run(
        f"CREATE TABLE {name} (id bytea PRIMARY KEY, {name} text, parent_sign_b64 bytea, {CARD})"
    )
    db.run("SELECT rowseal.declare(%s, owner => 'id', public_key => 'k', versions => 'v')", name)
    for at in (1, 2):
        write(db, ann, name, card(ann, **{name: "x", "owner_timestamp": at}))
    assert db.one("SELECT owner_timestamp FROM v") == 1
