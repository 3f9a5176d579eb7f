"""The quarantine: what was refused without an error, who sees it, what cures it,
how much of it there can be.
"""

from __future__ import annotations

import time
import uuid
from base64 import b64encode
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from psycopg.types.json import Json, Jsonb

from kit.db import Db
from kit.example import Owner
from kit.network import Net, Site, link, network, sign_of, until
from kit.scratch import CARD, card, pgtext, seal
from rowseal.client import Form

net = pytest.fixture(network)


@pytest.fixture
def site(net: Net) -> Site:
    return net.site()


@pytest.fixture
def app(site: Site) -> Iterator[Db]:
    """Owner of the tables."""
    with site.session("app").connection as connection:
        yield Db(connection)


@pytest.fixture
def keeper(site: Site) -> Iterator[Db]:
    """A member of rowseal_admin, without rights on the tables."""
    with site.session("keeper").connection as connection:
        yield Db(connection)


@pytest.fixture
def writer(site: Site) -> Iterator[Db]:
    """A role that may read and write the tables, but owns none."""
    site.run(
        "GRANT SELECT, INSERT, UPDATE ON user_cards, user_storage, user_storage_versions TO mallory"
    )
    with site.session("mallory").connection as connection:
        yield Db(connection)


def forged(site: Site, owner: Owner, n: int = 0) -> dict[str, Any]:
    envelope = owner.envelope(site.form("user_storage"), owner.value(b"%d" % n))
    return {**envelope, "sign_b64": b64encode(bytes(64)).decode()}


# ----------------------------------------------------------------------------------------- entries
def test_a_row_is_kept_once_and_attempts_count(site: Site, app: Db) -> None:
    ann = Owner()
    site.join(ann)
    one, two = forged(site, ann, 1), forged(site, ann, 2)
    app.run("SET application_name = 'the app'")
    for rows in ([one], [two, one], [one]):
        assert {outcome for outcome, _ in app.apply("user_storage", rows)} == {"rejected"}
    entries = site.all("""SELECT row, attempts, tag, sqlstate, reason, curable, waits_for, role,
        subscription, application_name, format, bytes - octet_length(row::text) < 500,
        last_seen >= first_seen FROM rowseal.quarantine ORDER BY id""")
    why = (
        "user_storage",
        "RS001",
        "invalid signature",
        False,
        None,
        "app",
        None,
        "the app",
        "canonical",
        True,
        True,
    )
    assert entries == [(one, 3, *why), (two, 1, *why)]
    app.refused(
        "RS001",
        "INSERT INTO user_storage SELECT %s, gen_random_uuid(), 'x', false, 1, NULL, 'x'",
        ann.hash,
    )
    assert len(site.quarantined()) == 2  # where an error can be raised, it is


def test_a_row_that_comes_again_and_again_in_one_transaction_is_written_once(
    site: Site, app: Db
) -> None:
    """Each version of an entry stays until the transaction ends: the cost grew by the square."""
    ann = Owner()
    site.join(ann)
    one, attempts = forged(site, ann, 1), "SELECT attempts FROM rowseal.quarantine"
    assert len(app.apply("user_storage", [one] * 300)) == 300
    assert site.all(attempts) == [1]
    other = "SELECT rowseal._quarantine('user_storage', '(RS001,x)', 'canonical', %s)"
    app.run(f"{other} FROM generate_series(1, 300)", Json({"n": 1}))
    unknown = {"table": "no such table"}
    app.all("SELECT outcome FROM rowseal.receive(%s)", Json([unknown] * 300))
    assert site.all(attempts) == [1, 1, 1]
    # what else is said of it is written
    app.run(
        "SELECT rowseal._quarantine('user_storage', ROW('RS001', n::text)::rowseal.verdict,"
        " 'canonical', %s) FROM generate_series(1, 3) n",
        Json({"n": 1}),
    )
    last = "SELECT reason, attempts FROM rowseal.quarantine WHERE row ->> 'n' = '1'"
    assert site.all(last) == [("3", 4)]
    app.apply("user_storage", [one])
    assert site.one(f"{attempts} WHERE sqlstate = 'RS001' ORDER BY id LIMIT 1") == 2


def test_entries_of_a_link_name_the_subscription(net: Net) -> None:
    a, b = net.pair()
    ann = Owner()
    a.join(ann)
    a.run("ALTER TABLE rowseal.feed DISABLE TRIGGER arrive")
    a.run(
        "INSERT INTO rowseal.feed (tag, owner, envelope) VALUES ('user_storage', '', %s)",
        Json(forged(a, ann)),
    )
    until(b.quarantined)
    assert b.one("SELECT role, subscription, application_name FROM rowseal.quarantine") == (
        "postgres",
        link(b, a),
        "",
    )


# ------------------------------------------------------------------------------------------- cures
CURES = ["plain insert", "apply", "replication", "writer's insert"]


@pytest.mark.parametrize("form", ["canonical", "pgtext"])
@pytest.mark.parametrize("cure", CURES)
def test_an_owner_who_arrives_cures_what_waited_for_him(
    cure: str, form: str, net: Net, site: Site, app: Db, writer: Db
) -> None:
    ann, bob, key = Owner("Ann"), Owner("Bob"), uuid.uuid4()
    storage, cards = site.form("user_storage"), site.form("user_cards")
    rows = [
        owner.sealed(storage, owner.value(v, key))
        for owner, v in ((ann, b"1"), (bob, b"b"), (ann, b"2"))
    ]
    if form == "canonical":
        given = [
            {
                **site.one(
                    "SELECT rowseal.payload('user_storage', %s)::jsonb",
                    Jsonb(pgtext(row) | {"sign_b64": None}),
                ),
                "sign_b64": sign_of(row),
            }
            for row in rows
        ]
    else:
        given = [pgtext(row) for row in rows]
    assert app.apply("user_storage", given, form) == [("deferred", "RS002: unknown owner")] * 3
    assert site.all(
        "SELECT DISTINCT format, waits_for FROM rowseal.quarantine ORDER BY 2"
    ) == sorted(("canonical", f"user_cards {b64encode(o.hash).decode()}") for o in (ann, bob))
    row = ann.sealed(cards, ann.card())
    if cure == "replication":
        a = net.site()
        a.run("SELECT rowseal.publish()")
        site.subscribe(a)
        a.insert("user_cards", row)
        until(lambda: site.values())
    elif cure == "apply":
        assert app.apply("user_cards", [pgtext(row)], "pgtext") == [("inserted", None)]
    else:
        (app if cure == "plain insert" else writer).insert("user_cards", row)
    assert site.values() == [b"2"]
    assert site.all("SELECT value_b64 FROM user_storage_versions") == [b"1"]
    # he may not take entries out: the owner of the table finds them known
    if cure.startswith("writer"):
        assert app.all("SELECT outcome FROM rowseal.retry()").count("duplicate") == 2
    assert site.all("SELECT row -> 'row' ->> 'user_hash' FROM rowseal.quarantine") == [
        b64encode(bob.hash).decode()
    ], "what was let in has left the quarantine, the rest stays"


def test_who_may_write_the_identity_table_only_leaves_the_row_for_an_administrator(
    site: Site, app: Db
) -> None:
    ann = Owner()
    app.apply("user_storage", [ann.envelope(site.form("user_storage"), ann.value(b"1"))])
    site.run("GRANT SELECT, INSERT ON user_cards TO mallory")
    with site.session("mallory").connection as connection:
        Db(connection).insert("user_cards", ann.sealed(site.form("user_cards"), ann.card()))
        assert Db(connection).all("SELECT * FROM rowseal.retry()") == []
    assert (site.values(), site.quarantined()) == ([], ["RS002"])
    site.run("GRANT SELECT ON user_cards TO keeper")
    site.run("GRANT SELECT, INSERT, UPDATE ON user_storage, user_storage_versions TO keeper")
    with site.session("keeper").connection as connection:
        assert Db(connection).all("SELECT outcome, reason FROM rowseal.retry()") == [
            ("inserted", None)
        ]
    assert (site.values(), site.quarantined()) == ([b"1"], [])


def test_a_cure_never_fails_the_owner_who_arrives(site: Site, app: Db) -> None:
    """Whoever brings him may lack a right on what waits: the owner gets in, such rows stay."""
    ann, key = Owner(), uuid.uuid4()
    form = site.form("user_storage")
    app.apply("user_storage", [ann.envelope(form, ann.value(v, key)) for v in (b"1", b"2")])
    # but not on the versions table
    site.run("GRANT SELECT, INSERT, UPDATE ON user_cards, user_storage TO mallory")
    with site.session("mallory").connection as connection:
        mallory = Db(connection)
        mallory.insert("user_cards", ann.sealed(site.form("user_cards"), ann.card()))
        why = ("deferred", "42501: permission denied for table user_storage_versions")
        assert {*mallory.all("SELECT outcome, reason FROM rowseal.retry()")} == {why}
    assert site.one("SELECT count(*) FROM user_cards") == 1
    assert site.quarantined() == ["RS002"] * 2


def test_an_assertion_of_a_trigger_is_a_refusal_as_others(site: Site, app: Db) -> None:
    """WHEN OTHERS leaves out what ASSERT raises."""
    ann, bob, form = Owner(), Owner(), site.form("user_storage")
    site.join(bob)
    app.run(
        "CREATE FUNCTION short() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN"
        " ASSERT octet_length(NEW.value_b64) < 9, 'too long'; RETURN NEW; END $$;"
        " CREATE TRIGGER a BEFORE INSERT ON user_storage FOR EACH ROW EXECUTE FUNCTION short()"
    )
    bad, good = (bob.envelope(form, bob.value(b"x" * n)) for n in (9, 1))
    assert app.apply("user_storage", [bad, good]) == [
        ("rejected", "P0004: too long"),
        ("inserted", None),
    ]
    waiting = [ann.envelope(form, ann.value(b"y" * n)) for n in (9, 2)]
    app.run(
        "SELECT rowseal._quarantine('user_storage', '(RS002,x)', 'canonical', e, %s)"
        " FROM json_array_elements(%s) e",
        f"user_cards {b64encode(ann.hash).decode()}",
        Json(waiting),
    )
    app.insert("user_cards", ann.sealed(site.form("user_cards"), ann.card()))
    assert site.one("SELECT count(*) FROM user_storage") == 2
    assert site.all("SELECT outcome FROM rowseal.retry()") == []
    assert site.quarantined() == ["P0004"] * 2


def test_row_security_on_what_waits_never_fails_the_owner_who_arrives(site: Site, app: Db) -> None:
    ann = Owner()
    app.apply("user_storage", [ann.envelope(site.form("user_storage"), ann.value(b"1"))])
    site.run(
        "GRANT SELECT, INSERT, UPDATE ON user_cards, user_storage, user_storage_versions TO mallory"
    )
    app.run("ALTER TABLE user_storage ENABLE ROW LEVEL SECURITY")  # and no policy for mallory
    with site.session("mallory").connection as connection:
        Db(connection).insert("user_cards", ann.sealed(site.form("user_cards"), ann.card()))
    assert site.one("SELECT count(*) FROM user_cards") == 1


def test_nobody_can_block_an_owner_or_a_declaration_with_a_hand_made_entry(
    site: Site, app: Db
) -> None:
    ann, (stranger, form) = Owner(), (site.session("mallory"), site.form("user_cards"))
    waits_for = f"user_cards {b64encode(ann.hash).decode()}"
    for tag, verdict in (("user_storage", "(RS002,x)"), ("news", "(RS007,x)")):
        for sql in (
            f"SELECT rowseal._quarantine('{tag}', '{verdict}', 'no format', '{{}}', '{waits_for}')",
            f"SELECT rowseal._quarantine('{tag}', '{verdict}', 'pgtext', '[]', '{waits_for}')",
        ):
            try:
                stranger.run(sql)
            except Exception as error:  # not to be called, or not with that, is fine
                assert getattr(error, "sqlstate", None) in ("42501", "22023", "23514")
    app.insert("user_cards", ann.sealed(form, ann.card()))
    app.run(f"CREATE TABLE news (id bytea PRIMARY KEY, {CARD})")
    app.run("SELECT rowseal.declare('news', owner => 'id', public_key => 'k')")
    stranger.connection.close()


@pytest.mark.parametrize("first", ["the row", "the declaration"])
def test_a_row_and_the_declaration_of_its_table_meet(first: str, site: Site, app: Db) -> None:
    """Each in a transaction that does not see the other's."""
    ann = Owner()
    site.join(ann)
    sent = Json([ann.envelope(site.form("user_storage"), ann.value())])
    app.run("SELECT rowseal.undeclare('user_storage')")
    steps = {
        "the row": (app, "SELECT FROM rowseal.receive(%s)", sent),
        "the declaration": (
            site,
            "SELECT FROM rowseal.declare('user_storage', owner => 'user_hash',"
            " identity => 'user_cards', versions => 'user_storage_versions')",
        ),
    }
    site.run("GRANT rowseal_trusted TO app")
    one, *statement = steps.pop(first)
    ((two, *other),) = steps.values()
    one.run("BEGIN")
    one.run(*statement)
    with ThreadPoolExecutor() as pool:
        done = pool.submit(two.run, *other)
        time.sleep(0.5)
        one.run("COMMIT")
        done.result()
    assert site.one("SELECT count(*) FROM user_storage") == 1
    assert site.quarantined() == []


def test_a_new_table_and_a_new_column_cure(site: Site, app: Db) -> None:
    ann = Owner()
    site.join(ann)
    app.run(f"CREATE TABLE news (id bytea PRIMARY KEY, {CARD})")
    app.run("SELECT rowseal.declare('news', owner => 'id', public_key => 'k')")
    news = seal(site, ann, "news", card(ann))
    envelope = site.one(
        "SELECT rowseal.payload('news', %s)::jsonb", Jsonb(pgtext(news) | {"sign_b64": None})
    ) | {"sign_b64": sign_of(news)}
    app.run("SELECT rowseal.undeclare('news')")
    # as a subscription would
    site.run(
        "INSERT INTO rowseal.feed (tag, owner, envelope) VALUES ('news', '', %s)", Json(envelope)
    )
    assert site.all("SELECT sqlstate, curable, tag FROM rowseal.quarantine") == [
        ("RS007", True, "news")
    ]
    app.run("SELECT rowseal.declare('news', owner => 'id', public_key => 'k')")
    assert (app.all("SELECT sign_b64 FROM news"), site.quarantined()) == ([news["sign_b64"]], [])
    app.run("ALTER TABLE news ADD COLUMN headline text")
    titled = ann.envelope(site.form("news"), card(ann, headline="Rain"))
    app.run("ALTER TABLE news DROP COLUMN headline")
    assert app.apply("news", [titled]) == [
        ("deferred", "RS015: no column for field 'headline' yet")
    ]
    app.run("ALTER TABLE news ADD COLUMN elsewhere text")
    assert site.quarantined() == ["RS015"]
    app.run("ALTER TABLE news ADD COLUMN headline text")
    assert (app.all("SELECT headline FROM news"), site.quarantined()) == (["Rain"], [])


@pytest.mark.parametrize("format", ["canonical", "pgtext"])
@pytest.mark.parametrize("first", ["column", "owner"])
def test_a_row_may_wait_for_a_column_and_for_its_owner(
    site: Site, app: Db, format: str, first: str
) -> None:
    """Whichever comes first: what the row says in the column is not lost meanwhile.  Nor does a
    field that nobody has signed, which a relay has put there, make it wait for a column.
    """
    ann = Owner()
    form = Form("user_storage", site.form("user_storage").fields | {"later": "text"})
    row = ann.value(b"1") | {"later": "z"}
    given = pgtext(ann.sealed(form, row)) if format == "pgtext" else ann.envelope(form, row)
    assert app.apply("user_storage", [given], format) == [("deferred", "RS002: unknown owner")]
    for step in (first, *({"column", "owner"} - {first})):
        if step == "owner":
            site.join(ann)
        else:
            app.run("ALTER TABLE user_storage_versions ADD later text")
            app.run("ALTER TABLE user_storage ADD later text")
    assert (app.all("SELECT later FROM user_storage"), site.quarantined()) == (["z"], [])
    bob = Owner("Bob")
    junk = bob.envelope(site.form("user_storage"), bob.value(b"2"))
    junk["row"]["nobody"] = "x"
    assert app.apply("user_storage", [junk]) == [("deferred", "RS002: unknown owner")]
    site.join(bob)
    assert site.quarantined() == []


def test_a_column_cures_what_waits_for_one_and_tries_nothing_else(site: Site, app: Db) -> None:
    """Thousands may be held there, and an ALTER TABLE keeps the table locked."""
    ann = Owner()
    site.join(ann)
    app.run(
        "CREATE SEQUENCE tries; CREATE FUNCTION short() RETURNS trigger LANGUAGE plpgsql AS $$"
        " BEGIN IF octet_length(NEW.value_b64) > 8 THEN PERFORM nextval('public.tries');"
        " RAISE insufficient_privilege; END IF; RETURN NEW; END $$;"
        " CREATE TRIGGER a BEFORE INSERT ON user_storage FOR EACH ROW EXECUTE FUNCTION short()"
    )
    add = (
        "ALTER TABLE user_storage_versions ADD later text; ALTER TABLE user_storage ADD later text"
    )
    held = ann.envelope(site.form("user_storage"), ann.value(b"x" * 9))
    app.run(add)
    waits = ann.envelope(site.form("user_storage"), ann.value(b"y") | {"later": "z"})
    app.run(add.replace("ADD", "DROP").replace(" text", ""))
    app.apply("user_storage", [held, waits])
    assert sorted(site.quarantined()) == ["42501", "RS015"]
    tries = app.one("SELECT last_value FROM tries")
    app.run("ALTER TABLE user_storage ALTER value_b64 SET STATISTICS 10")
    assert app.one("SELECT last_value FROM tries") == tries
    app.run(add)
    assert (app.all("SELECT later FROM user_storage"), site.quarantined()) == (["z"], ["42501"])


@pytest.mark.parametrize(
    "columns", [{"nobody": "x"}, {"note": 7}, {"uuid": None}, {"user_hash": None}]
)
def test_apply_answers_for_odd_rows_of_unknown_owners(
    columns: dict[str, Any], site: Site, app: Db
) -> None:
    ann = Owner()
    row = pgtext(ann.sealed(site.form("user_storage"), ann.value(b"1"))) | columns
    ((outcome, reason),) = app.apply("user_storage", [row], "pgtext")
    assert outcome in ("deferred", "rejected") and reason
    assert len(site.quarantined()) == 1


def test_apply_answers_for_nested_columns_of_unknown_owners(site: Site, app: Db) -> None:
    app.run("CREATE TYPE pair AS (a bytea, b text)")
    app.run("""CREATE TABLE parcels (user_hash bytea, n integer, parts bytea[], p pair,
        deleted_flag boolean, owner_timestamp bigint, sign_b64 bytea,
        PRIMARY KEY (user_hash, n))""")
    app.run("SELECT rowseal.declare('parcels', owner => 'user_hash', identity => 'user_cards')")
    ann = Owner()
    row = {
        "user_hash": ann.hash,
        "n": 1,
        "parts": [b"x", b"y"],
        "p": {"a": b"z", "b": "t"},
        "deleted_flag": False,
        "owner_timestamp": 1,
    }
    sealed = pgtext(ann.sealed(site.form("parcels"), row)) | {
        "parts": '{"\\\\x78","\\\\x79"}',
        "p": '("\\\\x7a",t)',
    }
    assert app.apply("parcels", [sealed], "pgtext") == [("deferred", "RS002: unknown owner")]
    site.join(ann)
    assert (site.one("SELECT count(*) FROM parcels"), site.quarantined()) == (1, [])


# -------------------------------------------------------------------------- retry, discard, export
def test_entries_can_be_retried_discarded_and_exported(site: Site, app: Db, keeper: Db) -> None:
    ann, bob = Owner("Ann"), Owner("Bob")
    form = site.form("user_storage")
    site.join(ann)
    bad, waiting = forged(site, ann), bob.envelope(form, bob.value(b"1"))
    for row in (bad, waiting):
        app.apply("user_storage", [row])
    first, second = site.all("SELECT id FROM rowseal.quarantine ORDER BY id")
    site.run(
        "GRANT SELECT, INSERT, UPDATE ON user_cards, user_storage, user_storage_versions TO keeper"
    )
    assert keeper.all("SELECT * FROM rowseal.retry()") == [
        (second, "deferred", "RS002: unknown owner")
    ]
    assert keeper.all("SELECT id, outcome FROM rowseal.retry(%s)", [first, second, 99]) == [
        (first, "rejected"),
        (second, "deferred"),
    ]
    # it came once; trying it again changes nothing, so nobody waits for whoever does
    assert site.all("SELECT attempts FROM rowseal.quarantine ORDER BY id") == [1, 1]
    assert keeper.all("SELECT * FROM rowseal.export_quarantine()") == [
        ("user_storage", "canonical", r) for r in (bad, waiting)
    ]
    assert keeper.all('SELECT "row" FROM rowseal.export_quarantine(%s)', [second]) == [waiting]
    assert keeper.one("SELECT rowseal.discard(%s)", [first, 99]) == 1
    site.join(bob)
    assert site.quarantined() == []
    assert keeper.one("SELECT rowseal.discard(%s)", [first, second]) == 0


# ------------------------------------------------------------------------------------------ bounds
def test_the_oldest_incurable_rows_go_first_and_are_counted(
    site: Site, app: Db, keeper: Db
) -> None:
    ann, bob = Owner("Ann"), Owner("Bob")
    form = site.form("user_storage")
    site.join(ann)
    waiting = bob.envelope(form, bob.value(b"waits"))
    app.apply("user_storage", [waiting])
    keeper.run("UPDATE rowseal.quarantine_limits SET rows = 10")
    bad = [forged(site, ann, n) for n in range(30)]
    for row in bad:
        app.apply("user_storage", [row])
    assert site.all("SELECT row FROM rowseal.quarantine ORDER BY id") == [waiting, *bad[-9:]]
    assert keeper.all(
        "SELECT role, subscription, rows, bytes > 0 FROM rowseal.quarantine_dropped"
    ) == [("app", "", 21, True)]
    site.apply("user_storage", [forged(site, ann, 77)])  # another source has room of its own
    assert site.all("SELECT role, count(*) FROM rowseal.quarantine GROUP BY 1 ORDER BY 1") == [
        ("app", 10),
        ("postgres", 1),
    ]


def test_bytes_are_bounded_too(site: Site, app: Db, keeper: Db) -> None:
    ann = Owner()
    site.join(ann)
    keeper.run("UPDATE rowseal.quarantine_limits SET bytes = 100000")
    for n in range(20):
        app.apply("user_storage", [{**forged(site, ann, n), "ballast": "x" * 20_000}])
    assert site.one("SELECT sum(bytes) FROM rowseal.quarantine") <= 100_000
    assert site.one("SELECT count(*) FROM rowseal.quarantine") == 4
    # larger than all that may be
    app.apply("user_storage", [{**forged(site, ann, 99), "ballast": "x" * 200_000}])
    assert site.one("SELECT rows, bytes > 500000 FROM rowseal.quarantine_dropped") == (17, True)
    assert site.one("SELECT count(*) FROM rowseal.quarantine") == 4, (
        "one that is too large takes no other's place"
    )


def test_no_pattern_of_rows_evades_the_bounds(site: Site, app: Db, keeper: Db) -> None:
    """A known row wherever the bounds might be looked after, new ones between them."""
    ann, rows = Owner(), 1000
    site.join(ann)
    keeper.run("UPDATE rowseal.quarantine_limits SET rows = %s", rows)
    known = forged(site, ann)
    step = rows // 100
    base = ann.envelope(site.form("user_storage"), ann.value(b"x")) | {
        "sign_b64": b64encode(bytes(64)).decode()
    }
    app.apply("user_storage", [known])
    last = site.one("SELECT max(id) FROM rowseal.quarantine")
    app.apply(
        "user_storage",
        [known if n % step == 0 else {**base, "n": n} for n in range(last + 1, last + 2 * rows)],
    )
    assert site.one("SELECT count(*) FROM rowseal.quarantine WHERE role = 'app'") <= rows * 1.2


# ----------------------------------------------------------------------------------- who sees what
def test_who_can_read_the_quarantine(site: Site, app: Db, keeper: Db) -> None:
    ann, bob = Owner("Ann"), Owner("Bob")
    site.join(ann)
    for row in (forged(site, ann), bob.envelope(site.form("user_storage"), bob.value(b"secret"))):
        app.apply("user_storage", [row])
    with site.session("mallory").connection as connection:
        mallory = Db(connection)
        assert (
            mallory.all("SELECT * FROM rowseal.quarantine")
            == mallory.all("SELECT * FROM rowseal.export_quarantine()")
            == []
        )
        assert mallory.one("SELECT rowseal.discard(ARRAY(SELECT generate_series(1, 100)))") == 0
        for sql in (
            "INSERT INTO rowseal.quarantine (tag) VALUES ('x')",
            "UPDATE rowseal.quarantine SET curable = true",
            "TRUNCATE rowseal.quarantine",
            "SELECT * FROM rowseal.quarantine_dropped",
            "UPDATE rowseal.quarantine_limits SET rows = 1",
            "SELECT * FROM rowseal.links",
        ):
            mallory.refused("42501", sql)
        # could have written the row that waits
        site.run("GRANT SELECT, INSERT, UPDATE ON user_storage TO mallory")
        assert mallory.all("SELECT sqlstate FROM rowseal.quarantine") == ["RS002"]
        # but not take it out
        assert mallory.one("SELECT rowseal.discard(ARRAY(SELECT id FROM rowseal.quarantine))") == 0
    assert app.all("SELECT sqlstate FROM rowseal.quarantine") == ["RS002"]  # the table's owner
    assert keeper.all("SELECT sqlstate FROM rowseal.quarantine ORDER BY id") == ["RS001", "RS002"]
    assert app.one("SELECT rowseal.discard(ARRAY(SELECT id FROM rowseal.quarantine))") == 1
    assert site.quarantined() == ["RS001"]
    for sql in (
        "INSERT INTO rowseal.quarantine (tag) VALUES ('x')",
        "UPDATE rowseal.quarantine SET curable = true",
        "UPDATE rowseal.quarantine_dropped SET rows = 0",
    ):
        keeper.refused("42501", sql)


def test_a_delete_as_a_replication_worker_would_do_it_is_noted_and_skipped(
    site: Site, app: Db
) -> None:
    ann = Owner()
    site.join(ann)
    row = site.put(ann, b"1")
    site.run("SET session_replication_role = replica")
    assert site.run("DELETE FROM user_storage") == 0
    site.run("RESET session_replication_role")
    assert site.values() == [b"1"]
    (entry,) = site.all(
        "SELECT sqlstate, curable, tag, format, row ->> 'sign_b64' FROM rowseal.quarantine"
    )
    assert entry == ("RS004", False, "user_storage", "raw", f"\\x{row['sign_b64'].hex()}")
    # nothing to be tried again
    assert site.all("SELECT * FROM rowseal.retry(ARRAY(SELECT id FROM rowseal.quarantine))") == []


def test_nobody_chooses_when_the_bounds_are_looked_after(site: Site, app: Db, keeper: Db) -> None:
    """By the seed of random(), and by entries just too small to be looked at each."""
    keeper.run("UPDATE rowseal.quarantine_limits SET bytes = 1000000, rows = 100000")
    app.run("""DO $$ BEGIN FOR i IN 1..400 LOOP
        PERFORM setseed(0.5);
        PERFORM rowseal._quarantine('user_storage', ROW('RS001', 'x')::rowseal.verdict, 'raw',
                                    to_json(i || repeat('x', 9500)));
    END LOOP; END $$""")
    assert keeper.one("SELECT sum(bytes) FROM rowseal.quarantine") < 1_500_000


def test_an_entry_that_is_tried_again_is_told_apart_as_before_and_grows_no_more(
    site: Site, app: Db, keeper: Db
) -> None:
    """What its table's owner makes of it stands in nobody's way."""
    app.run("SELECT rowseal._quarantine('user_storage', '(RS002,x)', 'raw', '\"first\"', 'w')")
    ((entry, hash_),) = keeper.all("SELECT id, hash FROM rowseal.quarantine")
    again = "SELECT rowseal._quarantine('user_storage', '(RS017,x)', 'raw', %s, 'w', %s)"
    for text, kept in (("second", "second"), ("x" * 1_000_000, "second")):
        app.run(again, Json(text), entry)
        assert keeper.all('SELECT id, hash, "row", sqlstate FROM rowseal.quarantine') == [
            (entry, hash_, kept, "RS017")
        ]
