"""A name was looked at, somebody waited, and what stood under the name by then was used.

Whoever honestly renames or moves something gives a stranger its old name.  What she puts there is
neither read nor run, however long she makes others wait.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import psycopg
import pytest
from psycopg.types.json import Json

from kit.attacks import insert, row, table
from kit.db import Db, Server
from kit.example import Owner
from kit.network import until
from kit.writers import tables

SPY = """CREATE TABLE ran (who text); GRANT ALL ON ran TO PUBLIC;
    CREATE FUNCTION spy() RETURNS boolean LANGUAGE plpgsql AS $$ BEGIN
      INSERT INTO public.ran VALUES (current_user); RETURN true; END $$"""
BOBS = "SELECT rowseal.declare('b', owner => 'user_hash', identity => 'user_cards')"


@pytest.fixture
def mallory(server: Server, database: str, example: Db) -> Iterator[Db]:
    with server.connect(database, "mallory") as connection:
        db = Db(connection)
        db.run(SPY)
        yield db


@pytest.fixture
def bob(server: Server, database: str, admin: Db, example: Db) -> Iterator[Db]:
    """Another owner of tables, who is trusted; his table b rests on the example's user_cards."""
    admin.run(
        "CREATE ROLE bob LOGIN; GRANT CREATE ON SCHEMA public TO bob; GRANT rowseal_trusted TO bob"
    )
    example.run("GRANT SELECT ON user_cards TO PUBLIC")
    try:
        with server.connect(database, "bob") as connection:
            db = Db(connection)
            table(db, "b", "uuid uuid", declare=None)
            yield db
    finally:
        admin.run("DROP OWNED BY bob CASCADE; DROP ROLE bob")


@contextmanager
def waiting(other: Db, do: Callable[[], Any]) -> Iterator[Any]:
    """do() has begun, and waits for a lock, while the block runs."""
    before = other.one("SELECT count(*) FROM pg_locks WHERE NOT granted")
    with ThreadPoolExecutor() as pool:
        answer = pool.submit(do)
        until(lambda: other.one("SELECT count(*) FROM pg_locks WHERE NOT granted") > before)
        yield answer


def outcome(do: Callable[[], Any]) -> Any:
    try:
        return do()
    except psycopg.Error as e:
        return e.sqlstate


def false_cards(mallory: Db, ann: Owner, forger: Owner) -> None:
    """Under the name that the identity table had."""
    mallory.run(
        f"CREATE VIEW user_cards AS SELECT '\\x{ann.hash.hex()}'::bytea AS user_hash,"
        f" '\\x{forger.public_key.hex()}'::bytea AS sign_pkey WHERE public.spy()"
    )
    mallory.run("GRANT SELECT ON user_cards TO PUBLIC")


# ------------------------------------------------------------------------------------------ guards
def test_a_session_that_is_warm_sees_that_a_table_has_moved(
    server: Server, database: str, example: Db, bob: Db, mallory: Db, ann: Owner
) -> None:
    """Its plan was never made anew: the look was folded into a constant."""
    bob.run(BOBS)
    form, forger = bob.form("b"), Owner("Mallory")
    for _ in range(3):
        assert insert(bob, "b", ann.sealed(form, row(ann))) is None
    with server.connect(database, "bob") as busy:  # so the table cannot follow
        busy.autocommit = False
        busy.execute("ALTER TABLE b ADD extra text")
        example.run("ALTER TABLE user_cards RENAME TO people")
        busy.rollback()
    false_cards(mallory, ann, forger)
    assert insert(bob, "b", forger.sealed(form, row(ann))) == "RS007"
    ((answer, _),) = bob.apply("b", [forger.envelope(form, row(ann))])
    assert answer == "deferred"
    assert mallory.all("SELECT * FROM ran") == [] and bob.one("SELECT count(*) FROM b") == 3


def test_strangers_do_not_use_up_the_turn_of_others(
    example: Db, bob: Db, mallory: Db, ann: Owner
) -> None:
    for n in range(40):
        table(mallory, f"m{n}", "uuid uuid")
    bob.run(BOBS)
    form = bob.form("b")
    example.run("ALTER TABLE user_cards RENAME TO people")
    assert insert(bob, "b", ann.sealed(form, row(ann))) is None


def test_a_guard_that_waits_ends_when_its_table_closes(
    server: Server, database: str, example: Db, bob: Db, mallory: Db, admin: Db, ann: Owner
) -> None:
    """It went on with a card that nobody guarded any more."""
    bob.run(BOBS)
    bob.run("GRANT SELECT, INSERT, UPDATE ON b TO mallory")
    example.run("GRANT UPDATE ON user_cards TO mallory")
    mallory.run("CREATE VIEW lockview AS SELECT 1 AS one FROM ONLY user_cards")
    form, forger = bob.form("b"), Owner("Mallory")
    forged = forger.sealed(form, row(ann))
    example.run("BEGIN")
    example.all(
        "SELECT rowseal.undeclare(t) FROM unnest('{user_storage,user_cards}'::regclass[]) t"
    )
    mallory.run("BEGIN")
    with (
        server.connect(database, "mallory") as second,
        waiting(admin, lambda: mallory.run("LOCK TABLE lockview IN ACCESS EXCLUSIVE MODE")) as lock,
        waiting(admin, lambda: insert(Db(second), "b", forged)) as written,
    ):
        example.run("COMMIT")
        lock.result()
        mallory.run("UPDATE user_cards SET sign_pkey = %s", forger.public_key)
        mallory.run("COMMIT")
    assert written.result() == "RS007" and admin.one("SELECT count(*) FROM b") == 0


def with_citext(example: Db, admin: Db) -> None:
    admin.run("CREATE EXTENSION citext; CREATE SCHEMA ext; GRANT USAGE ON SCHEMA ext TO PUBLIC")
    table(example, "q", "uuid uuid, k citext", key="user_hash, k")


def false_operator(mallory: Db, type_: str) -> None:
    mallory.run(
        f"CREATE FUNCTION spy(a {type_}, b {type_}) RETURNS boolean LANGUAGE sql"
        " AS 'SELECT public.spy()';"
        f"CREATE OPERATOR public.= (LEFTARG = {type_}, RIGHTARG = {type_}, FUNCTION = public.spy)"
    )


def test_no_name_of_an_operator_is_used_that_was_looked_at_before_a_wait(
    server: Server, database: str, example: Db, mallory: Db, admin: Db, ann: Owner
) -> None:
    with_citext(example, admin)
    form = example.form("q")
    values = {**row(ann), "k": "a"}
    assert insert(example, "q", ann.sealed(form, {**values, "owner_timestamp": 5})) is None
    example.run("GRANT SELECT, UPDATE ON q TO mallory")
    bad = ann.envelope(form, {**values, "owner_timestamp": 9})
    bad["row"]["parent_sign_b64"] = "eA=="
    mallory.run("BEGIN")
    mallory.all("SELECT FROM q FOR UPDATE")
    receive = "SELECT outcome FROM rowseal.receive(%s)"
    with (
        server.connect(database) as second,
        waiting(admin, lambda: outcome(lambda: Db(second).all(receive, Json([bad])))) as answer,
    ):
        admin.run("ALTER EXTENSION citext SET SCHEMA ext")
        with server.connect(database, "mallory") as third:
            false_operator(Db(third), "ext.citext")
        mallory.run("COMMIT")
    assert answer.result() in ("40001", ["rejected"])
    assert admin.all("SELECT * FROM ran") == []


def test_an_operator_that_moved_is_missed(
    server: Server, database: str, example: Db, mallory: Db, admin: Db, ann: Owner
) -> None:
    """Though its table could not follow."""
    with_citext(example, admin)
    form = example.form("q")
    first, second = (ann.envelope(form, {**row(ann), "k": k}) for k in "ab")
    assert example.apply("q", [first]) == [("inserted", None)]
    with server.connect(database, "app") as busy:
        busy.autocommit = False
        busy.execute("ALTER TABLE q ADD extra text")
        admin.run("ALTER OPERATOR public.= (citext, citext) SET SCHEMA ext")
        busy.rollback()
    false_operator(mallory, "citext")
    for carrier in admin, example:
        ((_, answer, _),) = carrier.all("SELECT * FROM rowseal.receive(%s)", Json([second]))
        assert answer == "deferred"
    assert example.apply("q", [second])[0][0] == "deferred"
    assert admin.all("SELECT * FROM ran") == []
    assert admin.all("SELECT k::text FROM q") == ["a"]


@pytest.mark.parametrize("isolation", ["READ COMMITTED", "REPEATABLE READ"])
@pytest.mark.parametrize("door", ["apply", "insert"])
def test_a_session_that_has_waited_for_a_row_hears_what_was_committed(
    door: str, isolation: str, server: Server, database: str, example: Db, mallory: Db, admin: Db,
    ann: Owner,
) -> None:  # fmt: skip
    """To wait for a row does not; so the look was one at the names of before."""
    example.run("CREATE TYPE kind AS ENUM ('a', 'b'); CREATE DOMAIN named AS kind")
    table(example, "q", "uuid uuid, k named", key="user_hash, k")
    form = example.form("q")
    old, new = (ann.sealed(form, {**row(ann), "k": "a", "owner_timestamp": n}) for n in (5, 9))
    assert insert(example, "q", old) is None
    example.run("GRANT SELECT, UPDATE ON q TO mallory")
    mallory.run("BEGIN")
    mallory.all("SELECT FROM q FOR UPDATE")
    envelope = ann.envelope(form, {k: v for k, v in new.items() if k != "sign_b64"})
    with server.connect(database) as second:
        carrier = Db(second)
        carrier.run(f"SET default_transaction_isolation = '{isolation}'")

        def bring() -> Any:
            if door == "insert":
                return insert(carrier, "q", new)
            return outcome(lambda: carrier.apply("q", [envelope])[0][0])

        with waiting(admin, bring) as answer:
            example.run("ALTER TYPE kind RENAME TO sort")
            with server.connect(database, "mallory") as third:
                third.execute("CREATE DOMAIN kind AS text CHECK (public.spy())")
            mallory.run("COMMIT")
        assert answer.result() in ("40001", "RS007", "deferred")
    assert admin.all("SELECT * FROM ran") == []


def test_no_row_is_judged_by_an_identity_table_that_is_declared_no_more(
    server: Server, database: str, example: Db, bob: Db, mallory: Db, admin: Db, ann: Owner
) -> None:
    """Though the table that rests on it could not be closed: its owner was altering it."""
    bob.run(BOBS)
    bob.run("GRANT SELECT, INSERT, UPDATE ON b TO mallory")
    form, forger = bob.form("b"), Owner("Mallory")
    assert insert(bob, "b", ann.sealed(form, row(ann))) is None
    bob.run("BEGIN")
    bob.run("ALTER TABLE b ADD extra text")
    example.run(
        "SELECT rowseal.undeclare(t) FROM unnest('{user_storage,user_cards}'::regclass[]) t"
    )
    bob.run("ROLLBACK")
    example.run("UPDATE user_cards SET sign_pkey = %s", forger.public_key)
    assert insert(bob, "b", forger.sealed(form, row(ann))) == "RS007"
    assert admin.one("SELECT count(*) FROM b") == 1


# ----------------------------------------------------------------------------------------- reading
def test_a_transaction_with_an_older_snapshot_reads_no_other_table(
    server: Server, database: str, example: Db, mallory: Db, admin: Db
) -> None:
    """The look was one at the catalogs of its snapshot, the parser's is at those of now."""
    number = admin.one("SELECT 'user_storage'::regclass::oid")
    with server.connect(database) as second:
        second.autocommit = False
        second.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
        second.execute("SELECT count(*) FROM pg_am")
        example.run("ALTER TABLE user_storage RENAME TO gone")
        columns = "NULL::bytea AS user_hash, NULL::uuid AS uuid, NULL::bytea AS value_b64"
        mallory.run(f"CREATE VIEW user_storage AS SELECT {columns} WHERE public.spy()")
        mallory.run("GRANT ALL ON user_storage TO PUBLIC")
        for reader in READERS.values():
            with pytest.raises(psycopg.Error) as error, second.transaction():
                second.execute(reader.format(number))
            assert error.value.sqlstate in ("RS007", "40001")
        second.rollback()
    assert admin.all("SELECT * FROM ran") == []


READERS = {
    "digest": "SELECT rowseal.digest({0})",
    "digests": "SELECT * FROM rowseal.digests({0})",
    "export": "SELECT * FROM rowseal.export({0})",
    "verify": "SELECT * FROM rowseal.verify({0})",
    "conflicts": "SELECT * FROM rowseal.conflicts({0})",
    "history": "SELECT * FROM rowseal.history({0}, '{{}}')",
}


@pytest.mark.parametrize("reader", READERS)
def test_what_reads_a_table_reads_no_other_under_its_name(
    reader: str, server: Server, database: str, example: Db, mallory: Db, admin: Db, ann: Owner
) -> None:
    relation = "user_cards" if reader == "verify" else "user_storage"
    storage = example.form("user_storage")
    assert insert(example, "user_storage", ann.sealed(storage, ann.value())) is None
    number = admin.one("SELECT 'user_storage'::regclass::oid")
    example.run(f"GRANT SELECT, UPDATE ON {relation} TO mallory")
    mallory.run(f"CREATE VIEW lockview AS SELECT 1 AS one FROM ONLY {relation}")
    columns = admin.one(
        "SELECT string_agg(format('NULL::%%s AS %%I', format_type(atttypid, NULL), attname), ', ')"
        " FROM pg_attribute WHERE attrelid = %s::regclass AND attnum > 0",
        relation,
    )
    example.run("BEGIN")
    example.run(f"ALTER TABLE {relation} RENAME TO gone")
    mallory.run("BEGIN")
    read = READERS[reader].format(number)
    with (
        server.connect(database) as second,
        waiting(admin, lambda: mallory.run("LOCK TABLE lockview IN ACCESS EXCLUSIVE MODE")) as lock,
        waiting(admin, lambda: outcome(lambda: Db(second).all(read))) as answer,
    ):
        example.run("COMMIT")
        lock.result()
        mallory.run(f"CREATE VIEW {relation} AS SELECT {columns} WHERE public.spy()")
        mallory.run(f"GRANT ALL ON {relation} TO PUBLIC")
        mallory.run("COMMIT")
    assert answer.result() != "42501" and admin.all("SELECT * FROM ran") == []


@pytest.mark.parametrize(
    ("read", "relation"),
    [("SELECT * FROM rowseal.verify('grants')", "u"), ("SELECT * FROM rowseal.health()", "grants")],
)
def test_nor_does_what_reads_the_ledger_beside_its_tables(
    read: str, relation: str, server: Server, database: str, db: Db, admin: Db
) -> None:
    db.run(tables())
    db.run(f"GRANT SELECT, UPDATE ON {relation} TO mallory")
    columns = admin.one(
        "SELECT string_agg(format('NULL::%%s AS %%I', format_type(atttypid, NULL), attname), ', ')"
        " FROM pg_attribute WHERE attrelid = %s::regclass AND attnum > 0",
        relation,
    )
    with server.connect(database, "mallory") as first, server.connect(database) as second:
        mallory = Db(first)
        mallory.run(SPY)
        mallory.run(f"CREATE VIEW lockview AS SELECT 1 AS one FROM ONLY {relation}")
        db.run("BEGIN")
        db.run(f"ALTER TABLE {relation} RENAME TO gone")
        mallory.run("BEGIN")
        with (
            waiting(
                admin, lambda: mallory.run("LOCK TABLE lockview IN ACCESS EXCLUSIVE MODE")
            ) as a,
            waiting(admin, lambda: outcome(lambda: Db(second).all(read))),
        ):
            db.run("COMMIT")
            a.result()
            signed = columns.replace("NULL::bytea AS writer_pkey", "''::bytea AS writer_pkey")
            mallory.run(f"CREATE VIEW {relation} AS SELECT {signed} WHERE public.spy()")
            mallory.run(f"GRANT ALL ON {relation} TO PUBLIC")
            mallory.run("COMMIT")
    assert admin.all("SELECT * FROM ran") == []
