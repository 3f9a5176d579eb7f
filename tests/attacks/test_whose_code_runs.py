"""Where a row says itself which table it is for, nothing runs but code of trusted roles:
of the table's owner, and of everybody who owns a trigger, a check, a default, a domain there.
Where rowseal reads rows with rights of its own, nothing runs but what superusers made.
"""

from __future__ import annotations

from decimal import Decimal
from functools import partial
from typing import Any

import pytest
from psycopg.types.json import Json, Jsonb

from kit.attacks import (
    SEALED,
    attempt,
    meanwhile,
    row,
    set_trap,
    sprung,
    table,
    trusted,
    unhealthy,
)
from kit.db import Db
from kit.example import Owner
from kit.process import cpu, spent
from kit.writers import tables

TRIGGER = "CREATE TRIGGER t BEFORE INSERT ON {} FOR EACH ROW EXECUTE FUNCTION code()"
CODE: dict[str, tuple[str, str, str]] = {
    # the columns of app's table q, what app does to it, what mallory does
    "a trigger": ("", "GRANT TRIGGER ON q TO mallory", TRIGGER.format("q")),
    "a constraint trigger": (
        "",
        "GRANT TRIGGER ON q TO mallory",
        "CREATE CONSTRAINT TRIGGER t AFTER INSERT ON q FOR EACH ROW EXECUTE FUNCTION code()",
    ),
    "a condition of a trigger": (
        "",
        "CREATE FUNCTION own() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END';"
        " CREATE TRIGGER t BEFORE INSERT ON q FOR EACH ROW WHEN (public.yes('x'))"
        " EXECUTE FUNCTION own()",
        "",
    ),
    "a trigger of the versions table": (
        "", "GRANT TRIGGER ON qv TO mallory", TRIGGER.format("qv"),
    ),
    "a trigger of a table with the same grants": (
        "", "GRANT TRIGGER ON siblings TO mallory", TRIGGER.format("siblings"),
    ),
    "a check": ("CHECK (public.yes(a)), ", "", ""),
    "a check by an operator": ("CHECK (a OPERATOR(public.~~~) a), ", "", ""),
    "a domain": ("d public.word, ", "", ""),
    "an array of a domain": ("d public.word[], ", "", ""),
    "a composite with a domain": ("d public.pair, ", "", ""),
    "a domain over a domain": ("d public.phrase, ", "", ""),
    "a default": ("u boolean DEFAULT public.yes('x'), ", "", ""),
    "a generated column": ("g boolean GENERATED ALWAYS AS (public.yes(a)) STORED, ", "", ""),
    "an index": ("", "CREATE INDEX ON q (public.yes(a))", ""),
    "a part of an index": ("", "CREATE INDEX ON q (a) WHERE public.yes(a)", ""),
    "a policy": (
        "",
        "CREATE POLICY p ON q USING (public.yes(a)); ALTER TABLE q ENABLE ROW LEVEL SECURITY",
        "",
    ),
    "a policy of the identity table": (
        "",
        "CREATE POLICY p ON user_cards USING (public.yes(name));"
        " ALTER TABLE user_cards ENABLE ROW LEVEL SECURITY",
        "",
    ),
    "a table that a policy reads": (
        "",
        "CREATE POLICY p ON q USING (a IN (SELECT w FROM words));"
        " ALTER TABLE q ENABLE ROW LEVEL SECURITY",
        "",
    ),
    "a view that a policy of the identity table reads": (
        "",
        "CREATE VIEW mine AS SELECT name FROM user_cards WHERE public.yes(name);"
        " CREATE VIEW ours AS SELECT name FROM mine;"
        " CREATE POLICY p ON user_cards USING (name IN (SELECT name FROM ours));"
        " ALTER TABLE user_cards ENABLE ROW LEVEL SECURITY",
        "",
    ),
    "a policy of a table that a policy reads": (
        "",
        "CREATE TABLE team (name text); CREATE POLICY p ON team USING (public.yes(name));"
        " ALTER TABLE team ENABLE ROW LEVEL SECURITY;"
        " CREATE POLICY p ON q USING (a IN (SELECT name FROM team));"
        " ALTER TABLE q ENABLE ROW LEVEL SECURITY",
        "",
    ),
    "what a condition of a trigger says": (
        "",
        "GRANT TRIGGER ON q TO mallory",
        "CREATE TRIGGER t BEFORE UPDATE ON q FOR EACH ROW"
        " WHEN (query_to_xml('SELECT public.trap()', false, false, '') IS NOT NULL)"
        " EXECUTE FUNCTION suppress_redundant_updates_trigger()",
    ),
    "a trigger of PostgreSQL's": (
        "",
        "GRANT TRIGGER ON q TO mallory",
        "CREATE TRIGGER t BEFORE UPDATE ON q FOR EACH ROW"
        " EXECUTE FUNCTION suppress_redundant_updates_trigger()",
    ),
    "a trigger of rowseal's": (
        "",
        "GRANT TRIGGER ON q TO mallory",
        "CREATE TRIGGER t BEFORE UPDATE ON q FOR EACH ROW EXECUTE FUNCTION rowseal._keep()",
    ),
    "an argument of a trigger": (
        "",
        "GRANT TRIGGER ON q TO mallory",
        "CREATE TRIGGER t BEFORE UPDATE ON q FOR EACH ROW"
        " EXECUTE FUNCTION tsvector_update_trigger('a', 'public.hers', 'a')",
    ),
    "a foreign key to a unique key": (
        "",
        "ALTER TABLE siblings ADD UNIQUE (uuid); GRANT REFERENCES ON siblings TO mallory",
        "CREATE TABLE f (u uuid REFERENCES siblings (uuid) ON UPDATE CASCADE)",
    ),
    "a foreign key to a table with writers": (
        "",
        "GRANT REFERENCES ON siblings TO mallory",
        "CREATE TABLE f (h bytea, u uuid, FOREIGN KEY (h, u) REFERENCES siblings)",
    ),
    "a foreign key to a table with a foreign key": (
        "",
        "CREATE TABLE f (h bytea, u uuid PRIMARY KEY, FOREIGN KEY (h, u) REFERENCES q);"
        " GRANT REFERENCES ON f TO mallory",
        "CREATE TABLE g (u uuid REFERENCES f)",
    ),
    "a trigger of a table with a foreign key": (
        "",
        "CREATE TABLE f (h bytea, u uuid, FOREIGN KEY (h, u) REFERENCES q ON DELETE CASCADE);"
        " GRANT TRIGGER ON f TO mallory",
        TRIGGER.format("f"),
    ),
    "a table that it refers to": ("", "ALTER TABLE q ADD FOREIGN KEY (a) REFERENCES words", ""),
}  # fmt: skip


def theirs(mallory: Db) -> None:
    """Functions and types of mallory's, which run what she likes."""
    set_trap(mallory)
    mallory.run("""
        CREATE FUNCTION code() RETURNS trigger LANGUAGE plpgsql
            AS 'BEGIN PERFORM public.trap(); RETURN NEW; END';
        CREATE FUNCTION yes(text) RETURNS boolean LANGUAGE plpgsql IMMUTABLE
            AS 'BEGIN PERFORM public.trap(); RETURN true; END';
        CREATE FUNCTION both_(text, text) RETURNS boolean LANGUAGE plpgsql IMMUTABLE
            AS 'BEGIN PERFORM public.trap(); RETURN true; END';
        CREATE OPERATOR public.~~~ (LEFTARG = text, RIGHTARG = text, FUNCTION = both_);
        CREATE DOMAIN word AS text CHECK (public.yes(VALUE));
        CREATE DOMAIN phrase AS word;
        CREATE TYPE pair AS (w word);
        CREATE TABLE words (w text PRIMARY KEY); INSERT INTO words VALUES ('x');
        GRANT SELECT, REFERENCES ON words TO app""")


@pytest.mark.parametrize("kind", CODE)
def test_a_third_partys_code_keeps_rows_waiting(
    kind: str, mallory: Db, example: Db, admin: Db, ann: Owner
) -> None:
    theirs(mallory)
    columns, ours, hers = CODE[kind]
    writers = "writer_pkey bytea, writer_seq bigint, writer_prev bytea"
    unsigned = "{u}" if columns.startswith("u ") else "{}"
    within = "pair" in columns or "word[]" in columns
    grants = "NULL" if within else "'grants'"  # no writers where a domain is within
    with trusted(admin):
        example.run(f"""
        CREATE TABLE grants (user_hash bytea, grantee_pkey bytea, tables text[], keys jsonb,
            tombstones boolean, until bigint, may_grant smallint, upto bytea[], {writers}, {SEALED},
            PRIMARY KEY (user_hash, grantee_pkey, sign_b64));
        CREATE TABLE q (user_hash bytea, uuid uuid, a text, {columns} {writers}, {SEALED},
            PRIMARY KEY (user_hash, uuid));
        CREATE TABLE siblings (user_hash bytea, uuid uuid, {writers}, {SEALED},
            PRIMARY KEY (user_hash, uuid));
        SELECT rowseal.declare('grants', owner => 'user_hash', identity => 'user_cards',
            grants => true);
        SELECT rowseal.declare('siblings', owner => 'user_hash', identity => 'user_cards',
            writers => 'grants', versions => 'sv');
        SELECT rowseal.declare('q', owner => 'user_hash', identity => 'user_cards',
            writers => {grants}, versions => 'qv', unsigned => '{unsigned}')""")
    example.run(ours or "SELECT")
    if hers:
        mallory.run(hers)
    sent = ann.envelope(example.form("q"), {**row(ann), "a": "x", **dict.fromkeys(unsaid(example))})
    answer = admin.all("SELECT outcome, reason FROM rowseal.receive(%s)", Json([sent]))
    assert [o for o, _ in answer] == ["deferred"] and answer[0][1].startswith("RS017")
    assert "mallory" in answer[0][1]
    assert admin.all("SELECT * FROM rowseal.retry()") == []
    # health says where it does not look, and what keys keep out
    keys = {"foreign keys", "unique", "revocation"}
    problems = {"derived"} | (keys if "foreign key" in kind or "refers to" in kind else set())
    problems |= {"structure"} if "public." in columns else set()  # as she is trusted no more
    assert not sprung(mallory) and set(unhealthy(example)) <= problems
    assert [o for o, _ in example.apply("q", [sent])] == [
        "inserted"
    ]  # who names the table trusts it
    with trusted(admin):
        assert admin.all("SELECT outcome FROM rowseal.retry()") == ["duplicate"]


def test_a_strangers_view_that_a_policy_reads_runs_in_nobodys_name(
    mallory: Db, example: Db, ann: Owner
) -> None:
    """She can put any function into it afterwards; superusers go by no policy, others do."""
    theirs(mallory)
    mallory.run("CREATE VIEW team AS SELECT w FROM words; GRANT SELECT ON team TO PUBLIC")
    example.run(
        "CREATE POLICY p ON user_storage"
        " USING (encode(user_hash, 'hex') <> ALL (SELECT w FROM public.team));"
        " ALTER TABLE user_storage ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY"
    )
    mallory.run("CREATE OR REPLACE VIEW team AS SELECT w FROM words WHERE public.yes(w)")
    sent = ann.envelope(example.form("user_storage"), ann.value())
    ((outcome, reason),) = example.all(
        "SELECT outcome, reason FROM rowseal.receive(%s)", Json([sent])
    )
    assert not sprung(mallory)
    assert outcome == "deferred" and reason.startswith("RS017") and "mallory" in reason


def test_what_a_policy_reads_keeps_no_row_waiting_where_its_owners_are_trusted(
    example: Db, admin: Db, ann: Owner
) -> None:
    """Nor does a view of PostgreSQL's, nor who owns the schema: it is read by its number."""
    admin.run("CREATE SCHEMA hers AUTHORIZATION mallory; GRANT ALL ON SCHEMA hers TO app")
    example.run(
        "CREATE TABLE hers.team (name text);"
        " CREATE POLICY p ON user_storage USING (EXISTS (SELECT FROM information_schema.tables t"
        "   LEFT JOIN hers.team ON team.name = t.table_name));"
        " ALTER TABLE user_storage ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY"
    )
    sent = ann.envelope(example.form("user_storage"), ann.value())
    assert example.all("SELECT outcome FROM rowseal.receive(%s)", Json([sent])) == ["inserted"]


def unsaid(db: Db) -> list[Any]:
    """Fields of q besides those of every such table."""
    known = {"user_hash", "uuid", "a", "deleted_flag", "owner_timestamp", "parent_sign_b64"}
    return [f for f in db.form("q").names if f not in known]


def test_code_that_runs_on_reading_alone_or_is_ours_keeps_no_row_waiting(
    mallory: Db, example: Db, admin: Db, ann: Owner
) -> None:
    theirs(mallory)
    example.run("GRANT REFERENCES ON user_storage TO mallory")
    mallory.run(f"""CREATE VIEW v AS SELECT public.yes('x') FROM user_storage;
        CREATE TABLE lines (user_hash bytea, uuid uuid,
            FOREIGN KEY (user_hash, uuid) REFERENCES user_storage);
        {TRIGGER.format("lines")}""")
    sent = ann.envelope(example.form("user_storage"), ann.value())
    answer = admin.all("SELECT outcome FROM rowseal.receive(%s)", Json([sent]))
    assert answer == ["inserted"] and not sprung(mallory)


def test_a_trigger_that_says_something_is_its_owners_by_enable_always(
    mallory: Db, example: Db, admin: Db
) -> None:
    """Whom the table's owner lets create triggers cannot say so himself."""
    example.run("""GRANT TRIGGER ON user_storage TO mallory;
        CREATE TRIGGER t BEFORE UPDATE ON user_storage FOR EACH ROW WHEN (OLD IS DISTINCT FROM NEW)
            EXECUTE FUNCTION suppress_redundant_updates_trigger()""")
    question = "SELECT rowseal._distrusted('user_storage')"
    assert admin.one(question) == "mallory"
    always = "ALTER TABLE user_storage ENABLE ALWAYS TRIGGER t"
    assert attempt(mallory, always) == "42501"
    example.run(
        "REVOKE TRIGGER ON user_storage FROM mallory; GRANT TRIGGER ON user_storage TO PUBLIC"
    )
    assert admin.one(question) == "PUBLIC"
    example.run(always)
    assert admin.one(question) is None


@pytest.mark.parametrize(
    ("event", "function"),
    [
        ("AFTER INSERT", "_cure('{}')"),
        ("AFTER INSERT", "_settle_row('{}')"),
        ("BEFORE INSERT", "_keep_writers('{}', 'main')"),
        ("AFTER INSERT", "_guard_versions_{}()"),
    ],
)
def test_triggers_of_rowseal_run_nothing_of_another_table(
    event: str, function: str, mallory: Db, example: Db, admin: Db, ann: Owner
) -> None:
    """Functions that everybody may make triggers of, and those of her own table."""
    theirs(mallory)
    example.run("GRANT TRIGGER ON user_storage TO mallory; GRANT SELECT ON user_cards TO mallory")
    table(mallory, "hers", "uuid uuid, value_b64 bytea", declare=", versions => 'hv'")
    mallory.run(TRIGGER.format("hers"))
    mine = mallory.one("SELECT id FROM rowseal.declarations WHERE tag = 'hers'")
    trap = dict.fromkeys(("owner", "settle", "spent"), "SELECT public.trap()")
    admin.run("SET session_replication_role = replica")
    admin.run(
        "UPDATE rowseal.declarations SET queries = queries || %s WHERE id = %s", Jsonb(trap), mine
    )
    admin.run("RESET session_replication_role")
    mallory.run(
        f"CREATE TRIGGER x {event} ON user_storage FOR EACH ROW"
        f" EXECUTE FUNCTION rowseal.{function.format(mine)}"
    )
    sent = Json([ann.envelope(example.form("user_storage"), ann.value())])
    question = "SELECT outcome, reason FROM rowseal.receive(%s)"
    ((outcome, reason),) = admin.all(question, sent)
    assert outcome == "deferred" and "mallory" in reason
    example.run("REVOKE TRIGGER ON user_storage FROM mallory")  # nobody knows whose it is
    admin.all(question, sent)
    assert not sprung(mallory)


def test_what_strangers_own_is_not_read_to_say_that_it_is_theirs(
    mallory: Db, example: Db, admin: Db
) -> None:
    """One junk envelope cost seconds: her table's types have any number of checks."""
    checks = " ".join(f"CONSTRAINT c{n} CHECK (VALUE <> '{n}')" for n in range(20_000))
    mallory.run(f"CREATE DOMAIN much AS text {checks}")
    example.run("GRANT SELECT ON user_cards TO mallory")
    table(mallory, "hers", "uuid uuid, t much", declare=", unsigned => '{t}'")
    with trusted(admin):
        table(example, "q", "uuid uuid, t much", declare=", unsigned => '{t}'")
    junk = Json([{"table": "hers", "row": 0}, {"table": "q", "row": 0}])
    receive = "SELECT outcome, reason FROM rowseal.receive(%s)"
    assert all("mallory" in reason for _, reason in admin.all(receive, junk))
    before = cpu(admin.connection.info.backend_pid)
    for _ in range(5):
        admin.all(receive, junk)
    assert spent(admin.connection.info.backend_pid, before) < 0.5  # it was 0.3 for each


# ------------------------------------------------------------------------ judged, and then changed
def test_a_trigger_that_is_being_created_keeps_rows_waiting(
    mallory: Db, example: Db, admin: Db, ann: Owner
) -> None:
    theirs(mallory)
    example.run("GRANT TRIGGER ON user_storage TO mallory")
    sent = Json([ann.envelope(example.form("user_storage"), ann.value())])
    receive = partial(admin.all, "SELECT outcome, reason FROM rowseal.receive(%s)", sent)
    ((outcome, reason),) = meanwhile(mallory, TRIGGER.format("user_storage"), receive)
    assert outcome == "deferred" and "code of mallory" in reason and not sprung(mallory)


def test_a_trigger_that_is_being_created_where_rows_are_archived_keeps_them_waiting(
    mallory: Db, example: Db, admin: Db, ann: Owner
) -> None:
    """Who carries rows may do no more there than INSERT, and locks it by that."""
    theirs(mallory)
    table(admin, "q", "uuid uuid, a text", declare=", versions => 'qv'")
    admin.run(
        "GRANT SELECT, INSERT, UPDATE ON q TO app; GRANT SELECT, INSERT ON qv TO app;"
        " GRANT TRIGGER ON qv TO mallory"
    )
    first = {**row(ann), "a": "1"}
    later = {**first, "a": "2", "owner_timestamp": first["owner_timestamp"] + 1}
    one, two = (Json([ann.envelope(example.form("q"), r)]) for r in (first, later))
    question = "SELECT outcome, reason FROM rowseal.receive(%s)"
    assert example.all(question, one) == [("inserted", None)]
    receive = partial(example.all, question, two)
    ((outcome, reason),) = meanwhile(mallory, TRIGGER.format("qv"), receive)
    assert outcome == "deferred" and "code of mallory" in reason and not sprung(mallory)


@pytest.mark.parametrize(
    ("type_", "first", "again", "waits"),
    [
        ("numeric", Decimal(1), Decimal("1.0"), True),
        ("citext", "a", "A", True),
        ("bpchar", "a", "a ", True),
        ("interval", "P1D", "PT24H", True),
        ("text", "a", "b", False),
    ],
)
def test_no_strangers_table_follows_a_key_that_is_spelled_otherwise(
    type_: str, first: Any, again: Any, waits: bool, mallory: Db, example: Db, admin: Db, ann: Owner
) -> None:
    """It is the same key, so it never goes; but ON UPDATE CASCADE goes by its bytes."""
    theirs(mallory)
    admin.run("CREATE EXTENSION citext SCHEMA public")
    example.run(f"""
        CREATE TABLE q (user_hash bytea, n {type_}, {SEALED}, PRIMARY KEY (user_hash, n));
        SELECT rowseal.declare('q', owner => 'user_hash', identity => 'user_cards');
        GRANT SELECT, REFERENCES ON q TO mallory""")
    common = {"user_hash": ann.hash, "deleted_flag": False, "parent_sign_b64": None}
    one, two = (
        ann.envelope(example.form("q"), common | {"n": n, "owner_timestamp": at})
        for at, n in enumerate((first, again), 1)
    )
    assert [o for o, _ in example.apply("q", [one])] == ["inserted"]
    mallory.run(f"""
        CREATE TABLE f (h bytea, n {type_}, FOREIGN KEY (h, n) REFERENCES q ON UPDATE CASCADE);
        CREATE TRIGGER t AFTER UPDATE ON f FOR EACH ROW EXECUTE FUNCTION code()""")
    mallory.run("INSERT INTO f SELECT user_hash, n FROM q")
    question = "SELECT outcome, reason FROM rowseal.receive(%s)"
    ((outcome, reason),) = admin.all(question, Json([two]))
    assert not sprung(mallory)
    if waits:
        assert outcome == "deferred" and "code of mallory" in reason
    else:
        assert outcome == "inserted"


def test_no_index_of_a_strangers_partition_runs_that_is_only_read(
    mallory: Db, example: Db, admin: Db, ann: Owner
) -> None:
    """Whoever plans to read a table evaluates what is constant in its indexes."""
    set_trap(mallory)
    example.run(f"""
        CREATE TABLE c (user_hash bytea PRIMARY KEY, k bytea, {SEALED})
            PARTITION BY HASH (user_hash);
        CREATE TABLE c0 PARTITION OF c FOR VALUES WITH (MODULUS 2, REMAINDER 0);
        CREATE TABLE c1 PARTITION OF c FOR VALUES WITH (MODULUS 2, REMAINDER 1);
        CREATE TABLE q (user_hash bytea, n int, {SEALED}, PRIMARY KEY (user_hash, n));
        SELECT rowseal.declare('c', owner => 'user_hash', public_key => 'k');
        SELECT rowseal.declare('q', owner => 'user_hash', identity => 'c')""")
    with trusted(admin):
        admin.run("ALTER TABLE c0 OWNER TO mallory; ALTER TABLE c1 OWNER TO mallory")
    mallory.run("""
        CREATE FUNCTION constant() RETURNS bigint IMMUTABLE LANGUAGE plpgsql
            AS $$ BEGIN PERFORM public.trap(); RETURN 1; END $$;
        CREATE INDEX ON c0 ((owner_timestamp + constant()));
        CREATE INDEX ON c1 ((owner_timestamp + constant()))""")
    sent = ann.envelope(example.form("q"), {"user_hash": ann.hash, "n": 1, "owner_timestamp": 1})
    question = "SELECT outcome, reason FROM rowseal.receive(%s)"
    ((outcome, reason),) = admin.all(question, Json([sent]))
    assert outcome == "deferred" and "code of mallory" in reason
    assert not sprung(mallory)


def test_a_row_that_is_noted_runs_no_cast_of_a_types_owner(
    mallory: Db, example: Db, admin: Db, ann: Owner
) -> None:
    """To show it to administrators, to_jsonb called one to json."""
    set_trap(mallory)
    mallory.run(
        "CREATE TYPE mood AS ENUM ('good'); CREATE FUNCTION shown(mood) RETURNS json"
        " LANGUAGE plpgsql AS $$ BEGIN PERFORM public.trap(); RETURN '1'; END $$;"
        " CREATE CAST (mood AS json) WITH FUNCTION shown(mood)"
    )
    with trusted(admin):
        table(example, "q", "uuid uuid, c mood, n numeric[], j jsonb")
    values = {"c": "good", "n": [Decimal(10) ** 400] * 20, "j": '{"a": [1]}'}
    envelope = ann.envelope(example.form("q"), {**row(ann), **values})
    assert [o for o, _ in example.apply("q", [envelope])] == ["inserted"]
    admin.run("SET session_replication_role = replica")
    admin.run("DELETE FROM q")
    admin.run("RESET session_replication_role")
    noted = admin.one("SELECT row FROM rowseal.quarantine")
    assert (noted["c"], noted["j"], noted["deleted_flag"]) == ("good", {"a": [1]}, False)
    assert 100 < noted["n"] < 5000 and noted["parent_sign_b64"] is None  # its size
    assert not sprung(mallory)


def test_the_owner_of_an_identity_table_can_put_something_else_under_its_name(
    mallory: Db, example: Db, admin: Db, ann: Owner
) -> None:
    """So rows for tables that read it wait where he is not trusted."""
    theirs(mallory)
    mallory.run(f"""
        CREATE TABLE hers (user_hash bytea PRIMARY KEY, sign_pkey bytea, {SEALED});
        SELECT rowseal.declare('hers', owner => 'user_hash', public_key => 'sign_pkey');
        GRANT SELECT ON hers TO app""")
    example.run(f"""
        CREATE TABLE q (user_hash bytea, uuid uuid, {SEALED}, PRIMARY KEY (user_hash, uuid));
        SELECT rowseal.declare('q', owner => 'user_hash', identity => 'hers')""")
    sent = ann.envelope(example.form("q"), row(ann))
    ((outcome, reason),) = admin.all(
        "SELECT outcome, reason FROM rowseal.receive(%s)", Json([sent])
    )
    assert outcome == "deferred" and reason.startswith("RS017") and "mallory" in reason


def test_rows_of_a_new_partition_are_read_by_whoever_trusts_its_owner(
    mallory: Db, example: Db, admin: Db, ann: Owner
) -> None:
    theirs(mallory)
    mallory.run(f"""
        CREATE TABLE p (user_hash bytea, uuid uuid, n int, {SEALED},
            PRIMARY KEY (user_hash, uuid, n)) PARTITION BY LIST (n);
        SELECT rowseal.declare('p', owner => 'user_hash', identity => 'user_cards');
        CREATE TABLE p1 (LIKE p); CREATE TRIGGER t BEFORE UPDATE ON p1
            FOR EACH ROW EXECUTE FUNCTION code()""")
    sealed = ann.sealed(mallory.form("p"), {**row(ann), "n": 1})
    mallory.insert("p1", sealed)
    attach = "ALTER TABLE p ATTACH PARTITION p1 FOR VALUES IN (1)"
    assert attempt(admin, attach) == "RS017" and not sprung(mallory)
    admin.run("CREATE TABLE p2 PARTITION OF p FOR VALUES IN (2)")  # there is nothing to read
    mallory.run(attach)
    assert admin.one("SELECT count(*) FROM rowseal._new_partitions") == 0
    admin.run("CREATE TABLE p3 PARTITION OF p FOR VALUES IN (3)")
    assert not sprung(mallory)


def test_a_table_that_lacks_triggers_and_is_no_longer_as_declared_is_closed(
    mallory: Db, example: Db, admin: Db
) -> None:
    """Nothing is read through queries that were made for other types."""
    theirs(mallory)
    mallory.run(f"""
        CREATE TYPE ty AS ENUM ('a');
        CREATE FUNCTION as_bytea(ty) RETURNS bytea LANGUAGE plpgsql
            AS $$ BEGIN PERFORM public.trap(); RETURN 'x'; END $$;
        CREATE CAST (ty AS bytea) WITH FUNCTION as_bytea AS IMPLICIT;
        CREATE TABLE hers (user_hash bytea PRIMARY KEY, sign_pkey bytea, extra ty, {SEALED});
        SELECT rowseal.declare('hers', owner => 'user_hash', public_key => 'sign_pkey',
            feed => true)""")
    for name in mallory.all("SELECT tgname FROM pg_trigger WHERE tgrelid = 'hers'::regclass"):
        mallory.run(f"DROP TRIGGER {name} ON hers")
    mallory.run("ALTER TABLE hers ALTER sign_b64 TYPE ty USING 'a'::ty")
    closed = "SELECT queries = '{}' FROM rowseal.declarations WHERE tag = 'hers'"
    assert mallory.one(closed)
    admin.all("SELECT * FROM rowseal.health()")
    assert not sprung(mallory)


def test_the_code_of_an_index_asks_in_nobodys_name(
    mallory: Db, example: Db, admin: Db, ann: Owner
) -> None:
    """As autovacuum runs it: with her rights, while session_user is a superuser."""
    waits = example.apply("user_storage", [Owner("Bob").envelope(example.form("user_storage"), {})])
    assert [outcome for outcome, _ in waits] == ["rejected"]  # administrators alone see such
    # for a tag that is mallory's later; and a row of hers that row security hides from her
    table(mallory, "hers", "uuid uuid", declare=None)
    form = example.form("user_storage")
    later = {**ann.envelope(form, ann.value()), "table": "hers"}
    waits = Owner("Eve").envelope(form, Owner("Eve").value())
    admin.all("SELECT * FROM rowseal.receive(%s)", Json([later, waits]))
    example.run(
        "GRANT SELECT, INSERT, UPDATE ON user_storage, user_storage_versions TO mallory;"
        " ALTER TABLE user_storage ENABLE ROW LEVEL SECURITY"
    )
    mallory.run("SELECT rowseal.declare('hers', owner => 'user_hash', identity => 'user_cards')")
    before = admin.all("SELECT * FROM rowseal.quarantine")
    assert len(before) == 3 and mallory.one("SELECT count(*) FROM rowseal.quarantine") == 0
    mallory.run("""
        CREATE TABLE answers (t text); CREATE TABLE bait AS SELECT 1 AS i;
        CREATE FUNCTION all_questions() RETURNS void LANGUAGE plpgsql AS $$
        DECLARE
            question text;
        BEGIN
            IF session_user <> current_user THEN
                FOREACH question IN ARRAY ARRAY[
                    'SELECT count(*) FROM rowseal._unlocked(ARRAY(SELECT generate_series(1, 99)))',
                    'SELECT count(*) FROM rowseal._held_envelopes(''t'')',
                    'SELECT rowseal._quarantine(''x'', ROW(''RS001'', ''''), ''canonical'', ''{}'')'
                ] LOOP
                    IF EXISTS (SELECT FROM rowseal.quarantine) THEN
                        INSERT INTO public.answers VALUES ('seen');
                    END IF;
                    BEGIN
                        EXECUTE question;
                        INSERT INTO public.answers VALUES ('answered');
                    EXCEPTION WHEN OTHERS THEN
                        INSERT INTO public.answers VALUES (SQLSTATE);
                    END;
                END LOOP;
            END IF;
        END $$;
        CREATE FUNCTION asks(i int) RETURNS int IMMUTABLE LANGUAGE plpgsql
            AS $$ BEGIN PERFORM public.all_questions(); RETURN i; END $$;
        CREATE INDEX ON bait (asks(i))""")
    admin.run("REINDEX TABLE bait")
    assert mallory.all("SELECT t FROM answers") == ["42501"] * 3
    assert admin.all("SELECT * FROM rowseal.quarantine") == before


# ---------------------------------------------------------------- what rowseal itself reads (RS007)
WRITTEN = """CREATE TABLE q (user_hash bytea, uuid uuid, c {}, deleted_flag boolean,
        owner_timestamp bigint, parent_sign_b64 bytea, sign_b64 bytea, writer_pkey bytea,
        writer_seq bigint, writer_prev bytea, PRIMARY KEY (user_hash, uuid));
    SELECT rowseal.declare('q', owner => 'user_hash', identity => 'cards', writers => {},
        versions => 'qv')"""
# types, made by a superuser; who owns what is the question
TYPES = """CREATE SCHEMA safe; CREATE SCHEMA his;
    CREATE TYPE safe.mood AS ENUM ('a'); CREATE TYPE his.mood AS ENUM ('a');
    CREATE TYPE public.mood AS ENUM ('a'); CREATE TYPE public.moody AS ENUM ('a');
    CREATE TYPE safe.span AS RANGE (subtype = public.moody);
    CREATE DOMAIN safe.word AS public.moody;
    GRANT USAGE ON SCHEMA safe, his TO PUBLIC; GRANT CREATE ON SCHEMA safe, his TO app;
    ALTER SCHEMA his OWNER TO app; ALTER TYPE public.moody OWNER TO app"""
CHANGEABLE = {
    "his enum": ("public.moody", "public.moody"),
    "an array of it": ("public.moody[]", "public.moody[]"),
    "a domain of others over it": ("safe.word", "public.moody"),
    "a range of it": ("safe.span", "public.moody"),
    "a multirange of it": ("safe.multispan", "public.moody"),
    "an enum in his schema": ("his.mood", "his.mood"),
}


@pytest.fixture
def writers(db: Db, admin: Db) -> Db:
    db.run(tables())
    admin.run(TYPES)
    return db


@pytest.mark.parametrize("kind", CHANGEABLE)
def test_rows_of_writers_have_no_type_that_others_than_superusers_can_change(
    kind: str, writers: Db
) -> None:
    type_, within = CHANGEABLE[kind]
    if "multirange" in kind:
        type_ = writers.one(
            "SELECT rngmultitypid::regtype::text FROM pg_range"
            " WHERE rngtypid = 'safe.span'::regtype"
        )
    diag = writers.refused("RS007", WRITTEN.format(type_, "'grants'"))
    assert f"column 'c' of public.q has the type {within} in it" in str(diag.message_primary)
    assert "have a superuser own" in str(diag.message_hint)
    writers.run(WRITTEN.format(type_, "NULL"))  # without writers nobody but its writers reads it


@pytest.mark.parametrize("type_", ["safe.mood", "public.mood[]", "int4range", "public.mood"])
def test_rows_of_writers_have_types_of_superusers(type_: str, writers: Db) -> None:
    writers.run(WRITTEN.format(type_, "'grants'"))
    assert unhealthy(writers) == []


@pytest.mark.parametrize(
    "change",
    [
        "ALTER TYPE safe.mood OWNER TO mallory",
        "ALTER SCHEMA safe OWNER TO mallory",
        "DROP TYPE his.mood; ALTER TYPE safe.mood SET SCHEMA his",
    ],
)
def test_a_type_that_changes_hands_closes_the_tables_of_writers(
    change: str, writers: Db, admin: Db
) -> None:
    writers.run(WRITTEN.format("safe.mood", "'grants'"))
    admin.run(f"GRANT CREATE ON SCHEMA safe TO mallory; {change}")
    assert admin.one("SELECT queries = '{}' FROM rowseal.declarations WHERE tag = 'q'")
    assert "structure" in unhealthy(admin)
    admin.run(
        "ALTER SCHEMA his OWNER TO postgres; ALTER SCHEMA safe OWNER TO postgres;"
        f" ALTER TYPE {'his' if 'his' in change else 'safe'}.mood OWNER TO postgres"
    )
    writers.run("ALTER TABLE q ALTER c DROP NOT NULL")  # it is looked at again
    assert unhealthy(admin) == []


def test_an_extension_of_others_brings_no_types_of_writers(
    writers: Db, admin: Db, database: str
) -> None:
    """Who owns it can move it, and with it the types, though a superuser owns those."""
    if not admin.one("SELECT count(*) FROM pg_available_extensions WHERE name = 'citext'"):
        pytest.skip("the extension citext is not available")
    admin.run(f"GRANT CREATE ON DATABASE {database} TO app")
    writers.run("CREATE EXTENSION citext")
    assert (
        admin.one("SELECT typowner::regrole::text FROM pg_type WHERE typname = 'citext'") != "app"
    )
    writers.refused("RS007", WRITTEN.format("citext", "'grants'"))
    admin.run("DROP EXTENSION citext; CREATE EXTENSION citext")
    writers.run(WRITTEN.format("citext", "'grants'"))


TEMPORARY = {
    "itself": "pg_temp.mood",
    "an array": "pg_temp.mood[]",
    "a domain over it": "public.over",
    "a range of it": "public.span",
    "within a composite": "public.pair",
    "rows of a temporary table": "pg_temp.passing",
}


@pytest.mark.parametrize("kind", TEMPORARY)
def test_no_signed_column_has_a_temporary_type(kind: str, example: Db) -> None:
    """In every other session its name is another type, or none."""
    example.run(
        "CREATE TYPE pg_temp.mood AS ENUM ('a'); CREATE DOMAIN public.over AS pg_temp.mood;"
        " CREATE TYPE public.span AS RANGE (subtype = pg_temp.mood);"
        " CREATE TYPE public.pair AS (a int, b pg_temp.mood[]); CREATE TABLE pg_temp.passing ()"
    )
    table(example, "q", f"uuid uuid, c {TEMPORARY[kind]}", declare=None)
    declare = "SELECT rowseal.declare('q', owner => 'user_hash', identity => 'user_cards')"
    diag = example.refused("RS007", declare)
    assert "has type pg_temp." in str(diag.message_primary)
    table(example, "r", "uuid uuid")
    example.refused("RS007", f"ALTER TABLE r ADD COLUMN c {TEMPORARY[kind]}")
    assert unhealthy(example) == []


def test_the_feed_of_a_table_that_has_changed_runs_nothing_of_its_owners(
    mallory: Db, example: Db, admin: Db
) -> None:
    """Though she has left no other trigger: it would run as rowseal_internal."""
    mallory.run(f"""
        CREATE TYPE ty AS ENUM ('a'); CREATE TABLE ran (who name);
        GRANT INSERT ON ran TO PUBLIC;
        CREATE FUNCTION as_bytea(ty) RETURNS bytea LANGUAGE plpgsql
            AS $$ BEGIN INSERT INTO public.ran VALUES (current_user); RETURN 'x'; END $$;
        CREATE CAST (ty AS bytea) WITH FUNCTION as_bytea AS IMPLICIT;
        CREATE TABLE hers (user_hash bytea PRIMARY KEY, sign_pkey bytea, extra ty, {SEALED});
        SELECT rowseal.declare('hers', owner => 'user_hash', public_key => 'sign_pkey',
            feed => true)""")
    triggers = mallory.all("SELECT tgname FROM pg_trigger WHERE tgrelid = 'hers'::regclass")
    assert "zzz_rowseal_feed" in triggers
    for name in triggers:
        if name != "zzz_rowseal_feed":
            mallory.run(f"DROP TRIGGER {name} ON hers")
    mallory.run("ALTER TABLE hers ALTER sign_b64 TYPE ty USING 'a'::ty")
    mallory.refused("RS007", "INSERT INTO hers VALUES ('x', 'y', 'a', false, 1, '', 'a')")
    assert mallory.all("SELECT who FROM ran") == []
    assert admin.one("SELECT count(*) FROM rowseal.feed") == 0


def test_to_ask_who_acts_leaves_the_session_as_it_is(example: Db) -> None:
    """It did so by UNLISTEN, which ended a client's own, and forbade PREPARE TRANSACTION."""
    example.run("LISTEN rowseal")
    example.run("PREPARE mine AS SELECT 1")
    with example.connection.transaction():
        example.run("SELECT rowseal._quarantine('t', '(RS007,x)', 'raw', '{}')")
        assert example.all("SELECT pg_listening_channels()") == ["rowseal"]
        assert example.all("SELECT name FROM pg_prepared_statements WHERE name = 'mine'") == [
            "mine"
        ]
    assert example.all("SELECT pg_listening_channels()") == ["rowseal"]


def test_an_operator_for_a_domain_does_not_choose_the_key(
    mallory: Db, example: Db, admin: Db
) -> None:
    """Whoever may create in the schema of an extension can make one for a domain over its type."""
    admin.run("CREATE EXTENSION citext SCHEMA public; GRANT CREATE ON SCHEMA public TO mallory")
    example.run(
        "CREATE DOMAIN handle AS citext;"
        " CREATE TABLE people (id handle PRIMARY KEY, k bytea, deleted_flag boolean,"
        "   owner_timestamp bigint, sign_b64 bytea);"
        " SELECT rowseal.declare('people', owner => 'id', public_key => 'k');"
        f" CREATE TABLE posts (id handle, n integer, {SEALED}, PRIMARY KEY (id, n));"
        " SELECT rowseal.declare('posts', owner => 'id', identity => 'people', feed => true);"
        " GRANT SELECT, INSERT, UPDATE ON people, posts TO mallory"
    )
    ann, eve = Owner("Ann"), Owner("Eve")
    for owner in (ann, eve):
        card = {"id": owner.name, "k": owner.public_key, "deleted_flag": False}
        example.insert(
            "people", owner.sealed(example.form("people"), card | {"owner_timestamp": 1})
        )
    mallory.run(
        "CREATE FUNCTION public.eq(handle, handle) RETURNS boolean LANGUAGE sql"
        " AS $$ SELECT $1::text = 'Eve' $$;"
        " CREATE OPERATOR public.= (LEFTARG = handle, RIGHTARG = handle, FUNCTION = public.eq)"
    )
    forged = {"id": "Ann", "n": 1, "deleted_flag": False, "owner_timestamp": 5}
    envelope = eve.envelope(example.form("posts"), forged | {"parent_sign_b64": None})
    for who in (mallory, example, admin):
        ((outcome, _),) = who.all(
            "SELECT outcome, reason FROM rowseal.receive(%s)", Json([envelope])
        )
        assert outcome == "rejected"
    late = {"id": "Ann", "n": 1, "deleted_flag": False, "parent_sign_b64": None}
    form = example.form("posts")
    for at in (7, 6):
        envelope = ann.envelope(form, late | {"owner_timestamp": at})
        example.all("SELECT outcome FROM rowseal.receive(%s)", Json([envelope]))
    assert example.all("SELECT owner_timestamp FROM posts") == [7]


@pytest.mark.parametrize(
    "made", ["INDEX ON a ((k + f(1)))", "STATISTICS st ON (k + f(1)), k FROM a"]
)
@pytest.mark.parametrize("opens", ["mallory", "admin"])
def test_planning_runs_nothing_of_a_table_that_opens(
    made: str, opens: str, mallory: Db, example: Db, admin: Db
) -> None:
    """Where expressions of indexes and statistics are folded, immutable functions are called."""
    theirs(mallory)
    mallory.run(f"""
        CREATE TABLE a (user_hash bytea, k int, x int, {SEALED}, PRIMARY KEY (user_hash, k));
        SELECT rowseal.declare('a', owner => 'user_hash', identity => 'user_cards',
            versions => 'b');
        CREATE TABLE ran (by name);
        CREATE FUNCTION noted() RETURNS int LANGUAGE sql VOLATILE
            AS 'INSERT INTO public.ran VALUES (current_user) RETURNING 1';
        CREATE FUNCTION f(int) RETURNS int LANGUAGE plpgsql IMMUTABLE
            AS 'BEGIN RETURN public.noted(); END';
        CREATE {made};
        ALTER TABLE b ALTER x TYPE bigint""")
    mallory.run("ALTER TABLE b ADD z text; ALTER TABLE a ADD z text")
    opening = "ALTER TABLE b ALTER x TYPE int"
    {"mallory": mallory, "admin": admin}[opens].run(opening)
    is_open = "SELECT queries <> '{}' FROM rowseal.declarations WHERE tag = 'a'"
    assert admin.one(is_open) is (opens == "mallory")
    assert set(admin.all("SELECT DISTINCT by FROM ran")) <= {"mallory"}
