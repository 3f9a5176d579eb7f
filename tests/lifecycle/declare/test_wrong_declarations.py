"""A wrong declaration is refused by name, and so is who may not declare."""

from __future__ import annotations

from typing import Any

import psycopg
import pytest

from kit.declaring import LATE, C
from kit.example import Owner
from kit.scratch import CARD, Scratch, card, problems, write

D = "'c', owner => 'id', public_key => 'k'"


IDENTITY = f"""CREATE TABLE i (id bytea PRIMARY KEY, {CARD}, parent_sign_b64 bytea);
    SELECT rowseal.declare('i', owner => 'id', public_key => 'k')"""


WIDE = ", ".join(f"c{i} int" for i in range(92))


REFUSED: dict[str, tuple[str, str, str]] = {
    "no primary key": (f"CREATE TABLE c (id bytea, {CARD})", D, "no primary key"),
    "owner not in the key": (
        f"CREATE TABLE c (id bytea, n int PRIMARY KEY, {CARD})",
        D,
        "owner column 'id' is not part of the primary key",
    ),
    "no such owner": (C, "'c', owner => 'nobody', public_key => 'k'", "no owner column 'nobody'"),
    "an owner half of an array": (C, "'c', owner => '{id', public_key => 'k'", "owner"),
    "no owner": (C, "'c', owner => NULL, public_key => 'k'", "owner"),
    "no relation": (C, "NULL, owner => 'id', public_key => 'k'", "relation"),
    "no signature column": (
        "CREATE TABLE c (id bytea PRIMARY KEY, k bytea, deleted_flag boolean,"
        " owner_timestamp bigint)",
        D,
        "no signature column 'sign_b64'",
    ),
    "no timestamp column": (
        "CREATE TABLE c (id bytea PRIMARY KEY, k bytea, deleted_flag boolean, sign_b64 bytea)",
        D,
        "no timestamp column",
    ),
    "no deletion flag": (
        "CREATE TABLE c (id bytea PRIMARY KEY, k bytea, owner_timestamp bigint, sign_b64 bytea)",
        D,
        "no deletion flag column",
    ),
    "no public key column": (C, "'c', owner => 'id', public_key => 'nokey'", "'nokey'"),
    "signature of a wrong type": (
        "CREATE TABLE c (id bytea PRIMARY KEY, k bytea, deleted_flag boolean,"
        " owner_timestamp bigint, sign_b64 int)",
        D,
        "signature column 'sign_b64'",
    ),
    "timestamp of a wrong type": (
        "CREATE TABLE c (id bytea PRIMARY KEY, k bytea, deleted_flag boolean,"
        " owner_timestamp int, sign_b64 bytea)",
        D,
        "timestamp column",
    ),
    "flag of a wrong type": (
        "CREATE TABLE c (id bytea PRIMARY KEY, k bytea, deleted_flag int,"
        " owner_timestamp bigint, sign_b64 bytea)",
        D,
        "deletion flag column",
    ),
    "parent of a wrong type": (
        f"CREATE TABLE c (id bytea PRIMARY KEY, parent_sign_b64 int, {CARD})",
        D,
        "parent column",
    ),
    "key of a wrong type": (
        "CREATE TABLE c (id bytea PRIMARY KEY, k int, deleted_flag boolean,"
        " owner_timestamp bigint, sign_b64 bytea)",
        D,
        "public key column",
    ),
    "signature column null": (C, D + """, columns => '{"signature": null}'""", "'signature'"),
    "signature column empty": (C, D + """, columns => '{"signature": ""}'""", "signature_column"),
    "a flag that is none": (
        C,
        D + """, legacy => '{"accept_ambiguity": "yes"}'""",
        "'accept_ambiguity' in legacy is not true or false",
    ),
    "digests that are no list": (
        C,
        D + """, columns => '{"digests": "k"}'""",
        "'digests' in columns is not a list of columns",
    ),
    "an identity table as public key": (
        f"{C}; {IDENTITY}",
        "'c', 'id', 'i'",
        "public_key of public.c names the identity table i",
    ),
    "timestamp in the key": (
        f"CREATE TABLE c (id bytea, {CARD}, PRIMARY KEY (id, owner_timestamp))",
        D,
        "timestamp or the deletion flag",
    ),
    "flag in the key": (
        f"CREATE TABLE c (id bytea, {CARD}, PRIMARY KEY (id, deleted_flag))",
        D,
        "timestamp or the deletion flag",
    ),
    **{
        f"a column of type {t}": (
            f"""CREATE TYPE comp AS (a int, m money); CREATE DOMAIN dom AS oid;
            CREATE DOMAIN doms AS regclass[];
            CREATE TYPE roid AS RANGE (SUBTYPE = oid); CREATE DOMAIN ints AS int[];
            CREATE TYPE words AS RANGE (SUBTYPE = text, MULTIRANGE_TYPE_NAME = manywords);
            CREATE TABLE c (id bytea PRIMARY KEY, bad {t}, {CARD})""",
            D,
            "'bad'",
        )
        for t in (
            "money",
            "oid",
            "regclass",
            "regproc",
            "regrole",
            "xid",
            "tid",
            "money[]",
            "regtype[]",
            "comp",
            "comp[]",
            "dom",
            "dom[]",
            "doms",
            "roid",
            "roid[]",
            "oidvector",
            "aclitem[]",
            "ints[]",
            "words",
            "manywords",
        )
    },
    "an inheritance child": (
        f"CREATE TABLE p (x int); CREATE TABLE c (id bytea PRIMARY KEY, {CARD}) INHERITS (p)",
        D,
        "inheritance",
    ),
    "an inheritance parent": (f"{C}; CREATE TABLE kid () INHERITS (c)", D, "inheritance"),
    "a view": (
        f"CREATE TABLE b (id bytea PRIMARY KEY, {CARD}); CREATE VIEW c AS SELECT * FROM b",
        D,
        "a view",
    ),
    "a materialized view": (
        f"CREATE TABLE b (id bytea PRIMARY KEY, {CARD});"
        " CREATE MATERIALIZED VIEW c AS SELECT * FROM b",
        D,
        "a materialized view",
    ),
    "a temporary table": (C.replace("TABLE", "TEMP TABLE"), D, "a temporary table"),
    "an unlogged table": (C.replace("TABLE", "UNLOGGED TABLE"), D, "an unlogged table"),
    "an unlogged partition": (
        f"""CREATE TABLE c (id bytea PRIMARY KEY, {CARD}) PARTITION BY HASH (id);
            CREATE UNLOGGED TABLE p PARTITION OF c FOR VALUES WITH (MODULUS 1, REMAINDER 0)""",
        D,
        "an unlogged table",
    ),
    "a partition that computes a column": (
        f"""CREATE TABLE c (id bytea PRIMARY KEY, a text, {CARD}) PARTITION BY HASH (id);
            CREATE TABLE p (id bytea NOT NULL, a text GENERATED ALWAYS AS ('x') STORED, {CARD});
            ALTER TABLE c ATTACH PARTITION p FOR VALUES WITH (MODULUS 1, REMAINDER 0)""",
        D,
        "column a of public.p is generated",
    ),
    "a long tag": (C, D + f", tag => '{'x' * 1001}'", "more than 1000 bytes"),
    "a sequence": ("CREATE SEQUENCE c", D, "no table"),
    "a partition": (
        f"""CREATE TABLE p (id bytea PRIMARY KEY, {CARD}) PARTITION BY HASH (id);
            CREATE TABLE c PARTITION OF p FOR VALUES WITH (MODULUS 1, REMAINDER 0)""",
        D,
        "is a partition",
    ),
    "a deferrable key": (
        f"CREATE TABLE c (id bytea PRIMARY KEY DEFERRABLE, {CARD})",
        D,
        "deferrable",
    ),
    "a late trigger": (
        f"{C}; {LATE.format('late')} CREATE TRIGGER zzzz BEFORE UPDATE ON c FOR EACH ROW"
        " EXECUTE FUNCTION late()",
        D,
        "'zzzz'",
    ),
    "a rule": (f"{C}; CREATE RULE divert AS ON INSERT TO c DO INSTEAD NOTHING", D, "divert"),
    "public_key and identity": (
        f"{C}; CREATE TABLE i (id bytea PRIMARY KEY, {CARD});"
        " SELECT rowseal.declare('i', owner => 'id', public_key => 'k')",
        D + ", identity => 'i'",
        "both public_key and identity",
    ),
    "neither public_key nor identity": (C, "'c', owner => 'id'", "neither public_key"),
    "an identity that is not declared": (
        f"{C}; CREATE TABLE i (id bytea PRIMARY KEY, {CARD})",
        "'c', owner => 'id', identity => 'i'",
        "not declared as an identity table",
    ),
    "itself as identity": (
        C,
        "'c', owner => 'id', identity => 'c'",
        "not declared as an identity table",
    ),
    "a dependent table as identity": (
        f"{C}; {IDENTITY}; CREATE TABLE j (LIKE i INCLUDING ALL);"
        " SELECT rowseal.declare('j', owner => 'id', identity => 'i')",
        "'c', owner => 'id', identity => 'j'",
        "not declared as an identity table",
    ),
    "an owner of another type": (
        f"CREATE TABLE c (id text PRIMARY KEY, {CARD}); {IDENTITY}",
        "'c', owner => 'id', identity => 'i'",
        "owner of public.c has type",
    ),
    "an identity table with a wider key": (
        f"CREATE TABLE c (id bytea, n int, {CARD}, PRIMARY KEY (id, n))",
        D,
        "not its owner column",
    ),
    "an identity table in one table, without fingerprint": (
        f"CREATE TABLE c (id bytea, parent_sign_b64 bytea, {CARD}, PRIMARY KEY (id, sign_b64))",
        D,
        "without fingerprint",
    ),
    "an unknown fingerprint": (C, D + ", fingerprint => 'md5'", "'md5'"),
    "a fingerprint on a dependent table": (
        f"{C}; CREATE TABLE i (id bytea PRIMARY KEY, {CARD});"
        " SELECT rowseal.declare('i', owner => 'id', public_key => 'k')",
        "'c', owner => 'id', identity => 'i', fingerprint => 'sha256'",
        "fingerprint needs an identity table",
    ),
    "a fingerprint as a number": (
        f"CREATE TABLE c (id int PRIMARY KEY, {CARD})",
        D + ", fingerprint => 'sha256'",
        "owner column 'id'",
    ),
    "a prefix without fingerprint": (
        C,
        D + """, legacy => '{"fingerprint_prefix": "x"}'""",
        "fingerprint_prefix",
    ),
    "a certificate that is not there": (C, D + """, certificates => '{"cert": "k"}'""", "'cert'"),
    "a certificate of nothing": (C, D + """, certificates => '{"k": null}'""", "certificates"),
    "a certificate over a number": (
        C,
        D + """, certificates => '{"k": "owner_timestamp"}'""",
        "'owner_timestamp'",
    ),
    "certificates that are an empty list": (C, D + ", certificates => '[]'", "certificates"),
    "certificates that are no object": (C, D + ", certificates => '[1]'", "certificates"),
    "certificates over a list": (C, D + """, certificates => '{"k": ["id"]}'""", "certificate"),
    "columns that are no object": (C, D + ", columns => '[1]'", "columns is no JSON object"),
    "columns of a versions table that are no object": (
        C,
        D + """, versions => 'v', columns => '{"versions": [1]}'""",
        "'versions' in columns is not an object of columns",
    ),
    "an identity column ALWAYS": (
        f"CREATE TABLE c (id bytea PRIMARY KEY, n int GENERATED ALWAYS AS IDENTITY, {CARD})",
        D,
        "GENERATED ALWAYS AS IDENTITY",
    ),
    "a generated owner": (
        f"CREATE TABLE c (x bytea, id bytea GENERATED ALWAYS AS (x) STORED PRIMARY KEY, {CARD})",
        D,
        "generated",
    ),
    "too many columns": (
        f"CREATE TABLE c (id bytea PRIMARY KEY, {WIDE}, {CARD})",
        D,
        "96 signed columns",
    ),
    "an unsigned column that is not there": (
        C,
        D + ", unsigned => '{x}'",
        "no unsigned column 'x'",
    ),
    "an unsigned owner": (C, D + ", unsigned => '{id}'", "cannot be unsigned"),
    "an unsigned timestamp": (C, D + ", unsigned => '{owner_timestamp}'", "cannot be unsigned"),
    "an unsigned public key": (C, D + ", unsigned => '{k}'", "cannot be unsigned"),
    "versions without a parent column": (
        C,
        D + ", versions => 'c_versions'",
        "without a parent column",
    ),
    "one table without a parent column": (
        f"CREATE TABLE c (id bytea, {CARD}, PRIMARY KEY (id, sign_b64))",
        D + ", fingerprint => 'sha256'",
        "without a parent column",
    ),
    "one table with a versions table": (
        f"CREATE TABLE c (id bytea, parent_sign_b64 bytea, {CARD}, PRIMARY KEY (id, sign_b64))",
        D + ", fingerprint => 'sha256', versions => 'v'",
        "keeps its versions itself",
    ),
    "itself as versions table": (
        f"CREATE TABLE c (id bytea PRIMARY KEY, parent_sign_b64 bytea, {CARD}, UNIQUE (sign_b64))",
        D + ", versions => 'c'",
        "versions",
    ),
    "a declared table as versions table": (
        f"CREATE TABLE c (id bytea PRIMARY KEY, {CARD}, parent_sign_b64 bytea); {IDENTITY};"
        " ALTER TABLE i ADD UNIQUE (sign_b64)",
        D + ", versions => 'i'",
        "versions",
    ),
    "a versions table twice": (
        f"CREATE TABLE c (id bytea PRIMARY KEY, {CARD}, parent_sign_b64 bytea); "
        + IDENTITY.replace("'k')", "'k', versions => 'i_versions')"),
        D + ", versions => 'i_versions'",
        "versions",
    ),
    "a versions table to be declared": (
        f"CREATE TABLE c (id bytea PRIMARY KEY, {CARD}, parent_sign_b64 bytea, UNIQUE (sign_b64));"
        + IDENTITY.replace("'k')", "'k', versions => 'c')"),
        D,
        "versions",
    ),
}


@pytest.mark.parametrize("wrong", REFUSED)
def test_a_wrong_declaration_is_refused_by_name(wrong: str, db: Scratch) -> None:
    setup, call, message = REFUSED[wrong]
    db.run(setup)
    diag = db.refused("RS007", f"SELECT rowseal.declare({call})")
    assert message in str(diag.message_primary)
    assert diag.message_hint


@pytest.mark.parametrize(
    ("options", "hint"),
    [
        ("""columns => '{"timestmp": "at"}'""", "Did you mean 'timestamp'?"),
        ("""columns => '{"digest": ["x"]}'""", "Did you mean 'digests'?"),
        ("""columns => '{"form": "concatenated"}'""", "It may have timestamp, deleted"),
        ("""legacy => '{"name_colum": "x"}'""", "Did you mean 'name_column'?"),
        ("""legacy => '{"fingerprint": "sha256"}'""", "Did you mean 'fingerprint_prefix'?"),
    ],
)
def test_a_misspelt_option_gets_the_name_of_the_right_one(
    options: str, hint: str, db: Scratch
) -> None:
    db.run(C)
    assert hint in str(db.refused("RS007", f"SELECT rowseal.declare({D}, {options})").message_hint)


def test_95_signed_columns_can_be_declared(db: Scratch) -> None:
    ann = Owner()
    db.run(
        f"CREATE TABLE c (id bytea PRIMARY KEY, {WIDE.removesuffix(', c91 int')}, list int[],"
        f" seen int, {CARD})".replace("c90 int, ", "")
    )
    db.run(f"SELECT rowseal.declare({D}, unsigned => '{{seen}}')")
    assert (
        db.one("SELECT count(*) FROM rowseal.declarations, jsonb_object_keys(spec -> 'fields')")
        == 95
    )
    write(db, ann, "c", card(ann, c1=1, list=[1]))
    assert problems(db, "c") == []


def test_a_foreign_table_is_refused(db: Scratch, admin: Scratch) -> None:
    admin.run(
        "CREATE FOREIGN DATA WRAPPER w; CREATE SERVER s FOREIGN DATA WRAPPER w;"
        " GRANT USAGE ON FOREIGN SERVER s TO app"
    )
    db.run("CREATE FOREIGN TABLE c (id bytea) SERVER s")
    assert "a foreign table" in str(
        db.refused("RS007", f"SELECT rowseal.declare({D})").message_primary
    )


def test_only_who_owns_a_table_may_declare_or_undeclare_it(
    db: Scratch, transaction: psycopg.Connection[Any]
) -> None:
    mallory = Scratch(transaction, "mallory")
    db.run(C)
    db.run("GRANT ALL ON c TO mallory")
    diag = mallory.refused("RS008", f"SELECT rowseal.declare({D})")
    assert "c" in str(diag.message_primary) and diag.message_hint
    db.run(f"SELECT rowseal.declare({D})")
    diag = mallory.refused("RS008", "SELECT rowseal.undeclare('c')")
    assert "c" in str(diag.message_primary) and diag.message_hint
    mallory.refused("42501", "DELETE FROM rowseal.declarations")
    mallory.refused("42501", "INSERT INTO rowseal._removals (relation) VALUES ('c')")
    mallory.refused("42501", "UPDATE rowseal.declarations SET owner = '{k}'")
    db.run(C.replace("c (", "d ("))
    mallory.refused(
        "42501",
        "INSERT INTO rowseal.declarations (relation, tag, owner, public_key)"
        " VALUES ('d', 'd', '{id}', 'k')",
    )


def test_a_role_that_inherits_ownership_may_declare(db: Scratch, admin: Scratch) -> None:
    db.run(C)
    admin.run(
        "CREATE ROLE owners; GRANT owners TO app; GRANT CREATE ON SCHEMA public TO owners;"
        " ALTER TABLE c OWNER TO owners"
    )
    assert db.one(f"SELECT created FROM rowseal.declare({D})")
    assert db.one("SELECT rowseal.undeclare('c')")


def test_a_direct_entry_cannot_squat_on_ids(db: Scratch) -> None:
    """The numbers of generated functions come from the sequence, whoever writes the entry."""
    db.run(C)
    db.run(
        "INSERT INTO rowseal.declarations (relation, id, tag, owner, public_key)"
        " VALUES ('c', 2000000000, 'c', '{id}', 'k')"
    )
    assert db.one("SELECT id FROM rowseal.declarations") < 2000000000
