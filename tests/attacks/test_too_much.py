"""What a row says, however long, large or oddly spelled, is refused or stored; it stops nobody."""

from __future__ import annotations

import itertools
import json
import time
from base64 import b64encode
from decimal import Decimal
from typing import Any

import pytest
from psycopg.types.json import Json, Jsonb

from kit.attacks import KEY, apply, attempt, insert, intact, row, table, waiting
from kit.db import Db
from kit.example import Owner
from kit.process import cpu, most_memory, spent
from kit.scratch import pgtext
from rowseal.client import CanonicalError, Form

MIB = 2**20


def raw(value: Any) -> str:
    """JSON, with numbers as they are spelled: "@1e999@"."""
    return json.dumps(value).replace('"@', "").replace('@"', "")


def text_of(db: Db, tag: str) -> list[str]:
    return db.all("SELECT envelope::text FROM rowseal.feed WHERE tag = %s ORDER BY position", tag)


# ------------------------------------------------------------------------------------- text travels
def test_an_envelope_travels_as_it_was_signed(example: Db, admin: Db, ann: Owner) -> None:
    """1e308 as jsonb has 309 digits; 24 MB of them were more than 1 GB to print."""
    table(example, "q", "uuid uuid, f float8[], j json", declare=", feed => true")
    form = example.form("q")
    sealed = ann.sealed(form, row(ann, f=[1e308] * 200_000, j="[1e308]"))
    assert insert(example, "q", sealed) is None
    (feed,) = text_of(admin, "q")
    assert len(feed) < 200_000 * 7 + 1000 and "1e+308" in feed
    assert example.one("SELECT octet_length(e::text) FROM rowseal.export('q') e") == len(feed)
    assert len(example.digest("q")) == 32 and intact(example, "q")
    assert apply(example, "q", [json.loads(feed)]) == [("duplicate", None)]


@pytest.mark.parametrize("number", ["1e131071", "-1e131071", "1e400000000", "1e-16000", "1e308"])
@pytest.mark.parametrize("format", ["canonical", "pgtext"])
@pytest.mark.parametrize("type_", ["jsonb", "json", "numeric[]", "float8[]", "jsonb[]"])
def test_numbers_of_many_digits_block_no_good_row(
    type_: str, format: str, number: str, example: Db, admin: Db, ann: Owner
) -> None:
    table(example, "q", f"uuid uuid, v {type_}")
    form = example.form("q")
    good, bad = ann.sealed(form, row(ann)), ann.sealed(form, row(ann))
    many = f"[{','.join([number] * 15_000)}]"
    if format == "canonical":
        rows = [ann.envelope(form, row(ann)), ann.envelope(form, row(ann))]
        given = json.dumps(rows[1])[:-1].replace('"row": {', f'"row": {{"v": {many}, ') + "}"
        sent = f"[{given}, {json.dumps(rows[0])}]"
    else:
        value = many if "json" in type_ else f"{{{many[1:-1]}}}"
        sent = json.dumps([{**pgtext(bad), "v": value}, pgtext(good)])
    pid = example.one("SELECT pg_backend_pid()")
    before = cpu(pid)
    (bad_one, why), good_one = example.all(
        "SELECT outcome, reason FROM rowseal.apply('q', %s::json, %s)", sent, format
    )
    assert (bad_one, good_one) == ("rejected", ("inserted", None))
    assert why[:2] in ("RS", "22"), why  # and not 54 or XX: nothing was written out to find it
    assert spent(pid, before) < 2 and most_memory(pid) // MIB < 500
    assert admin.one("SELECT count(*), max(bytes) < 400000 FROM rowseal.quarantine") == (1, True)


@pytest.mark.parametrize("format", ["canonical", "pgtext"])
def test_numbers_are_not_written_out_for_nobody(format: str, example: Db, ann: Owner) -> None:
    """50 rows of 1.8 kB took 10 s: eight bytes are 131,072 digits in each of their columns."""
    names = [f"n{i}" for i in range(80)]
    table(example, "q", f"uuid uuid, {', '.join(f'{n} numeric' for n in names)}")
    form = example.form("q")
    bad = [
        ann.envelope(form, row(ann)) if format == "canonical" else pgtext(row(ann))
        for _ in range(50)
    ]
    for one in bad:
        (one["row"] if format == "canonical" else one).update(dict.fromkeys(names, "1e131071"))
    pid = example.one("SELECT pg_backend_pid()")
    before = cpu(pid)
    answers = example.all(
        "SELECT DISTINCT outcome FROM rowseal.apply('q', %s, %s)", Json(bad), format
    )
    assert answers == ["rejected"] and spent(pid, before) < 2
    good = row(ann, n1=Decimal("1e131071"), n2=Decimal("-1e-300"), n3=Decimal("NaN"))
    assert apply(example, "q", [ann.envelope(form, good)]) == [("inserted", None)]


INSIDE = (
    "CREATE TYPE noted AS (j jsonb, note text); CREATE TYPE item AS (n numeric, b bytea);"
    " CREATE DOMAIN amount AS numeric"
)


@pytest.mark.parametrize(
    ("type_", "bad", "good"),
    [
        ("jsonb", ["@1e131071@"] * 400, '[1e308, "3e5"]'),
        ("noted", {"j": ["@1e131071@"] * 400, "note": "3e5"}, {"j": "[1e308]", "note": "3e5"}),
        ("item[]", [{"n": "1e131071", "b": "AAAA"}] * 400, [{"n": Decimal(10**400), "b": b"3e5"}]),
        ("item", {"n": "1e131071", "b": None}, {"n": Decimal(10**400), "b": b"3e5"}),
        ("amount[]", ["1e131071"] * 400, [Decimal(10**400)]),
    ],
)
def test_numbers_inside_of_values_are_not_written_out(
    type_: str, bad: Any, good: Any, example: Db, ann: Owner
) -> None:
    """50 rows of 4 kB took two minutes, and one of 60 kB all memory there was."""
    example.run(INSIDE)
    table(example, "q", f"uuid uuid, v {type_}", declare=", feed => true")
    form = example.form("q")
    rows = [ann.envelope(form, row(ann)) for _ in range(50)]
    sent = [json.dumps(e).replace('"row": {', f'"row": {{"v": {raw(bad)}, ', 1) for e in rows]
    pid = example.one("SELECT pg_backend_pid()")
    before = cpu(pid)
    outcomes = "SELECT DISTINCT outcome, reason LIKE '22P02%%' FROM rowseal.receive(%s::json)"
    assert example.all(outcomes, f"[{','.join(sent)}]") == [("rejected", True)]
    assert spent(pid, before) < 2 and most_memory(pid) // MIB < 200
    envelope = ann.envelope(form, row(ann, v=good))
    assert apply(example, "q", [envelope]) == [("inserted", None)]
    assert intact(example, "q")


@pytest.mark.parametrize("type_", ["jsonpath", "span", "spans", "spanned[]", "steps"])
def test_what_has_no_end_when_it_is_written_is_refused(type_: str, example: Db) -> None:
    example.run(
        "CREATE TYPE span AS RANGE (subtype = numeric, multirange_type_name = spans);"
        " CREATE TYPE spanned AS (r numrange, note text); CREATE TYPE steps AS (p jsonpath)"
    )
    table(example, "q", f"uuid uuid, v {type_}", declare=None)
    declare = "SELECT rowseal.declare('q', owner => 'user_hash', identity => 'user_cards')"
    diag = example.refused("RS007", declare)
    assert "which has no canonical form" in str(diag.message_primary)


@pytest.mark.parametrize(
    ("type_", "value"),
    [
        ("numrange[]", ["[1e131071,)"] * 5000),
        ("nummultirange", f"{{{','.join(f'[{n}e131000,{n}e131000]' for n in range(1, 3000))}}}"),
        ("nummultirange[]", [f"{{[{n}e131000,{n}e131000]}}" for n in range(1, 3000)]),
    ],
)
@pytest.mark.parametrize("format", ["canonical", "pgtext"])
def test_ranges_of_long_numbers_are_not_written_out(
    format: str, type_: str, value: Any, example: Db, ann: Owner
) -> None:
    """75 kB took 4 GB; over a link a worker's lack of memory was tried again for ever."""
    table(example, "q", f"uuid uuid, v {type_}")
    form = example.form("q")
    if format == "canonical":
        bad = ann.envelope(form, row(ann))
        bad["row"]["v"] = value
    else:
        text = value if isinstance(value, str) else "{" + ",".join(f'"{v}"' for v in value) + "}"
        bad = {**pgtext(ann.sealed(form, row(ann))), "v": text}
    pid = example.one("SELECT pg_backend_pid()")
    before = cpu(pid)
    answers = "SELECT outcome, reason FROM rowseal.apply('q', %s, %s)"
    ((outcome, reason),) = example.all(answers, Json([bad]), format)
    assert outcome == "rejected"
    assert reason.startswith("22P02"), reason
    assert spent(pid, before) < 2 and most_memory(pid) // MIB < 500


@pytest.mark.parametrize("large", [63 * MIB, 180 * MIB])
def test_one_bound_for_every_row(large: int, example: Db, admin: Db, ann: Owner) -> None:
    """What is accepted can be kept, sent and printed; so it is refused before, with RS006."""
    table(example, "q", "uuid uuid, t text, b bytea", declare=", feed => true, versions => 'qv'")
    form = example.form("q")
    sealed = ann.sealed(form, row(ann))
    for column in ("t", "b"):
        code = attempt(
            example,
            f"INSERT INTO q (user_hash, uuid, {column}, deleted_flag, owner_timestamp, sign_b64)"
            f" SELECT %s, %s, repeat('x', {large}){'::bytea' if column == 'b' else ''}, false, 1,"
            " sha512('x')",
            ann.hash,
            sealed["uuid"],
        )
        assert code == "RS006", column
    # control characters are six bytes each
    assert (
        attempt(
            example,
            "INSERT INTO q (user_hash, uuid, t, deleted_flag, owner_timestamp, sign_b64)"
            f" SELECT %s, %s, repeat(chr(1), {11 * MIB}), false, 1, sha512('x')",
            ann.hash,
            sealed["uuid"],
        )
        == "RS006"
    )
    assert insert(example, "q", sealed) is None
    assert len(text_of(admin, "q")) == 1


def test_json_of_nobody_costs_what_its_bytes_cost(example: Db, ann: Owner) -> None:
    """6 MB that nobody had signed took 9.5 s and 1.3 GB."""
    table(example, "q", "uuid uuid, j json")
    form = example.form("q")
    envelope = json.dumps(ann.envelope(form, row(ann)))
    for element in ("1", "0.5", "{}", "[]", '{"a":1}', '""', "1e5"):
        many = f"[{','.join([element] * (3 * MIB // (len(element) + 1)))}]"
        sent = "[" + envelope.replace('"row": {', f'"row": {{"j": {many}, ') + "]"
        pid = example.one("SELECT pg_backend_pid()")
        before = cpu(pid)
        assert example.all("SELECT outcome FROM rowseal.apply('q', %s::json)", sent) == ["rejected"]
        assert spent(pid, before) / len(sent) * 1e6 < 0.6, element


@pytest.mark.parametrize("elements", [16_000, 60_000, 500_000])
def test_many_elements_of_composites_cost_little(
    elements: int, example: Db, admin: Db, ann: Owner
) -> None:
    """60,000 that were empty took 41 s: each of their attributes was looked at."""
    numbers = ", ".join(f"a{n} numeric, b{n} int[], c{n} jsonb" for n in range(10))
    example.run(f"CREATE TYPE wide AS ({numbers}, t text)")
    table(example, "q", "uuid uuid, n wide[]")
    sent = json.dumps(ann.envelope(example.form("q"), row(ann)))
    many = '[{"t": "5e"}' + ",{}" * (elements - 1) + "]"
    sent = "[" + sent.replace('"row": {', f'"row": {{"n": {many}, ') + "]"
    for who in (example, admin):
        pid = who.connection.info.backend_pid
        before = cpu(pid)
        assert who.all("SELECT outcome FROM rowseal.apply('q', %s::json)", sent) == ["rejected"]
        assert spent(pid, before) < 1 + 3e-6 * len(sent)


def test_elements_are_counted_also_where_they_stand_in_text(example: Db, ann: Owner) -> None:
    """One unsigned row of text took 74 times its size in memory."""
    example.run("CREATE TYPE inner_ AS (i int[])")
    table(example, "q", "uuid uuid, i int[], c inner_[], j jsonb")
    sent = ann.envelope(example.form("q"), row(ann))
    for spelled in ({"i": "{1,1}"}, {"c": "{}"}, {"c": [{"i": "{1,1}"}]}):
        bad = {**sent, "row": {**sent["row"], **spelled}}
        ((outcome, reason),) = example.apply("q", [bad])
        assert outcome == "rejected" and str(reason).startswith("22P02"), spelled
    bad = {**pgtext(row(ann)), "sign_b64": "\\x00", "j": "[" + "1," * 2**19 + "1,1]"}
    ((outcome, reason),) = example.apply("q", [bad], "pgtext")
    assert outcome == "rejected" and str(reason).startswith("22P02")


def test_more_members_than_can_be_sent_are_refused_at_every_door(
    example: Db, admin: Db, ann: Owner
) -> None:
    """In three values that were not too much each, they were stored, and no server took them."""
    table(example, "q", "uuid uuid, a jsonb, b jsonb, c jsonb, i int[]")
    form = example.form("q")
    value = "[" + "1," * 170_000 + "1]"
    most = ann.sealed(form, {**row(ann), "a": value, "b": value, "c": value})
    assert insert(example, "q", most) is None
    (sent,) = example.all("SELECT * FROM rowseal.export('q')")
    assert [o for o, _ in admin.apply("q", [sent])] == ["duplicate"]
    more = {**row(ann), "a": value, "b": value, "c": value, "i": [1] * 20_000}
    with pytest.raises(CanonicalError, match="524288 elements and members in a row"):
        form.payload_of(more)
    assert insert(example, "q", {**more, "sign_b64": bytes(64)}) == "RS006"


@pytest.mark.parametrize("whose", ["Ann's", "nobody's", "no object", "a long tag"])
@pytest.mark.parametrize("door", ["receive", "apply", "pgtext"])
def test_a_large_row_of_nobody_takes_some_twenty_times_its_size(
    door: str, whose: str, example: Db, admin: Db, ann: Owner
) -> None:
    owner, form = ann if whose == "Ann's" else Owner("Bob"), example.form("user_storage")
    sealed = {**owner.sealed(form, owner.value(b"x" * (24 * MIB))), "sign_b64": bytes(64)}
    if whose == "nobody's":  # signed, and nobody knows by whom
        sealed = owner.sealed(form, {k: v for k, v in sealed.items() if k != "sign_b64"})
    if door == "pgtext":
        sent = json.dumps(pgtext(sealed))
    else:
        row_ = {k: v for k, v in sealed.items() if k != "sign_b64"}
        sent = json.dumps(
            {**owner.envelope(form, row_), "sign_b64": b64encode(sealed["sign_b64"]).decode()}
        )
    if whose == "no object":
        sent = json.dumps([sent])
    elif whose == "a long tag":
        sent = json.dumps({"rowseal": 1, "table": sent, "row": {}})
    (pid,) = example.all("SELECT pg_backend_pid()")
    call = {"receive": "receive(%s)", "apply": "apply('user_storage', %s)"}.get(
        door, "apply('user_storage', %s, 'pgtext')"
    )
    example.all(f"SELECT * FROM rowseal.{call.replace('%s', '%s::json')}", "[{}]")
    before = most_memory(pid)
    outcome = example.one(
        f"SELECT outcome FROM rowseal.{call.replace('%s', '%s::json')}", f"[{sent}]"
    )
    assert outcome in ("rejected", "deferred")
    assert (most_memory(pid) - before) / len(sent) < 26
    example.connection.close()


# -------------------------------------------------------------------------------- each source alone
def test_nobody_labels_or_evicts_what_another_brought(
    example: Db, mallory: Db, admin: Db, ann: Owner
) -> None:
    bob, form = Owner("Bob"), example.form("user_storage")
    envelope = waiting(form, bob)
    lie = "SELECT rowseal._quarantine('user_storage', '(RS001,x)', 'canonical', %s)"
    mallory.run(lie, json.dumps(envelope))
    assert apply(example, "user_storage", [envelope]) == [("deferred", "RS002: unknown owner")]
    mallory.run(lie, json.dumps(envelope))
    admin.run("UPDATE rowseal.quarantine_limits SET rows = 10")
    for n in range(200):
        mallory.run(lie, json.dumps({"row": {"n": n}}))
    assert admin.all(
        "SELECT sqlstate, curable, attempts FROM rowseal.quarantine WHERE role = 'app'"
    ) == [("RS002", True, 1)]
    assert admin.one("SELECT count(*) <= 12 FROM rowseal.quarantine WHERE role = 'mallory'")
    assert insert(example, "user_cards", bob.sealed(example.form("user_cards"), bob.card())) is None
    assert example.one("SELECT count(*) FROM user_storage") == 1


@pytest.mark.parametrize("what", ["sqlstate", "reason", "tag", "waits_for"])
def test_an_entry_is_bounded_in_all_that_it_says(what: str, mallory: Db, admin: Db) -> None:
    """The row alone was: a reason of 540 MB made pg_dump fail, 633 MB were under a limit of 64."""
    many = "(SELECT string_agg(md5(random()::text), '') FROM generate_series(1, 100000))"
    said = {"sqlstate": "'RS007'", "reason": "'x'", "tag": "'t'", "waits_for": "NULL", what: many}
    admin.run("UPDATE rowseal.quarantine_limits SET bytes = 100000")
    for n in range(40):
        mallory.run(
            f"SELECT rowseal._quarantine({said['tag']}, ROW({said['sqlstate']}, {said['reason']})"
            f"::rowseal.verdict, 'raw', '{n}'::json, {said['waits_for']})"
        )
    largest, whole = admin.one(
        "SELECT max(octet_length(q::text)), sum(octet_length(q::text)) FROM rowseal.quarantine q"
    )
    assert largest < 3000 and whole < 120_000
    assert admin.one(
        "SELECT bool_and(length(sqlstate) = 5 AND length(reason) <= 1000"
        " AND octet_length(q::text) - bytes < 500) FROM rowseal.quarantine q"
    )


def test_a_long_entry_counts_whole(mallory: Db, admin: Db) -> None:
    admin.run("UPDATE rowseal.quarantine_limits SET bytes = 100000")
    for n in range(300):
        mallory.run(
            "SELECT rowseal._quarantine(%s, ROW('RS007', %s)::rowseal.verdict, 'raw', %s, %s)",
            "t" * 8000,
            "r" * 2000,
            json.dumps(n),
            "w" * 8000,
        )
    assert admin.one("SELECT sum(octet_length(q::text)) FROM rowseal.quarantine q") < 120_000


@pytest.mark.parametrize("key", ["user_hash, k", "user_hash, k, sign_b64"])
@pytest.mark.parametrize(
    ("type_", "most", "more"),
    [  # beside 32 bytes of the owner
        ("text", "a" * 1966, "a" * 1967),
        ("varchar", "\x01" * 327, "\x01" * 328),
        ("bytea", bytes(1968), bytes(1969)),
        ("numeric", Decimal("1" * 1968), Decimal("1" * 1969)),
        ("int8[]", [1] * 182, [1] * 183),
    ],
)
def test_a_key_has_the_same_bound_on_every_server(
    key: str, type_: str, most: Any, more: Any, example: Db, ann: Owner
) -> None:
    """What an index takes depends on the compression that a session chose."""
    table(example, "q", f"k {type_}", key=key)
    form = example.form("q")

    def send(value: Any) -> str:
        values = {"k": value, "deleted_flag": False, "owner_timestamp": 1, "user_hash": ann.hash}
        ((outcome, reason),) = apply(example, "q", [ann.envelope(form, values)])
        return reason or outcome

    assert len(ann.hash) == 32 and send(most) == "inserted"
    for compression in ("pglz", "lz4"):
        example.run(f"SET default_toast_compression = {compression}")
        assert send(more).startswith("54000: a primary key of more than")
    assert example.one("SELECT count(*) FROM q") == 1 and intact(example, "q")


@pytest.mark.parametrize("layout", ["two tables", "one table"])
def test_a_key_that_is_spelled_long_is_refused_in_every_order(
    layout: str, example: Db, ann: Owner
) -> None:
    """1 is the key 1.000…, too: what was archived beside it could not come back."""
    key, versions = ("user_hash, k", ", versions => 'q_versions'")
    if layout == "one table":
        key, versions = "user_hash, k, sign_b64", ""
    table(example, "q", "k numeric", key=key, declare=versions)
    form = example.form("q")
    values = {"deleted_flag": False, "user_hash": ann.hash, "parent_sign_b64": None}
    short, long, newest = (
        ann.envelope(form, {**values, "k": Decimal(k), "owner_timestamp": at})
        for at, k in enumerate(("1", "1." + "0" * 2500, "1.0"), 1)
    )
    seen = set()
    for rows in itertools.permutations((short, long, newest)):
        example.run("BEGIN")
        answers = dict(zip(map(id, rows), (apply(example, "q", [r])[0][0] for r in rows)))
        assert answers[id(long)] == "rejected"
        seen.add(example.digest("q"))
        example.run("ROLLBACK")
    assert len(seen) == 1


def test_a_long_key_of_long_ago_is_shown(example: Db, ann: Owner) -> None:
    table(example, "q", "k text", key="user_hash, k", declare=None)
    options = "owner => 'user_hash', identity => 'user_cards'"
    values = {"k": "a" * 9000, "deleted_flag": False, "owner_timestamp": 1, "user_hash": ann.hash}
    example.run(f"SELECT rowseal.declare('q', {options})")
    sealed = ann.sealed(example.form("q"), values)
    assert insert(example, "q", sealed) == "54000"
    example.run("SELECT rowseal.undeclare('q')")
    assert insert(example, "q", sealed) is None
    assert attempt(example, f"SELECT rowseal.declare('q', {options})") == "54000"


def test_what_waits_for_an_owner_with_a_long_name_finds_him(example: Db, admin: Db) -> None:
    example.run(
        "CREATE TABLE people (id text PRIMARY KEY, k bytea, deleted_flag boolean,"
        " owner_timestamp bigint, sign_b64 bytea);"
        " SELECT rowseal.declare('people', owner => 'id', public_key => 'k');"
        " CREATE TABLE p (id text, uuid uuid, deleted_flag boolean, owner_timestamp bigint,"
        " sign_b64 bytea, PRIMARY KEY (id, uuid));"
        " SELECT rowseal.declare('p', owner => 'id', identity => 'people')"
    )
    for name in ("long" * 490, "long" * 490 + "er"):
        bob = Owner()
        common = {"id": name, "deleted_flag": False, "owner_timestamp": 1}
        waits = bob.envelope(example.form("p"), {**common, "uuid": KEY})
        assert apply(example, "p", [waits])[0][0] == "deferred"
        card = bob.sealed(example.form("people"), {**common, "k": bob.public_key})
        assert insert(example, "people", card) is None
        assert admin.one("SELECT count(*) FROM rowseal.quarantine") == 0
    assert example.one("SELECT count(*) FROM p") == 2


def test_what_strangers_enter_makes_no_card_slow(example: Db, mallory: Db, admin: Db) -> None:
    """Row security kept its look-up out of the index; and a plan of an empty table would stay."""
    pid, form = example.one("SELECT pg_backend_pid()"), example.form("user_cards")

    def cards() -> float:
        sealed = [owner.sealed(form, owner.card()) for owner in (Owner() for _ in range(50))]
        before = cpu(pid)
        for card in sealed:
            assert insert(example, "user_cards", card) is None
        return spent(pid, before)

    cards()
    alone = cards()
    mallory.run(
        "SELECT rowseal._quarantine('user_storage', '(RS002,unknown owner)', 'canonical',"
        " json_build_object('n', n), 'user_cards ' || n) FROM generate_series(1, 9900) n"
    )
    admin.run("VACUUM ANALYZE rowseal.quarantine")
    assert cards() < 3 * alone


def test_a_flood_for_one_owner_does_not_push_out_another(
    example: Db, admin: Db, ann: Owner
) -> None:
    admin.run("UPDATE rowseal.quarantine_limits SET rows = 50")
    honest, flood, form = Owner("Bob"), Owner("Mallory"), example.form("user_storage")
    assert apply(example, "user_storage", [waiting(form, honest)])[0][0] == "deferred"
    for _ in range(300):
        apply(example, "user_storage", [waiting(form, flood)])
    cards = example.form("user_cards")
    assert insert(example, "user_cards", honest.sealed(cards, honest.card())) is None
    assert example.one("SELECT count(*) FROM user_storage WHERE user_hash = %s", honest.hash) == 1


def test_a_flood_of_many_owners_does_not_push_out_what_waited_before(
    example: Db, admin: Db
) -> None:
    """A name costs nothing: of each owner one row was kept."""
    admin.run("UPDATE rowseal.quarantine_limits SET rows = 200")
    honest, form = Owner("Bob"), example.form("user_storage")
    apply(example, "user_storage", [waiting(form, honest) for _ in range(6)])
    apply(example, "user_storage", [waiting(form, Owner(str(n))) for n in range(600)])
    assert admin.one("SELECT count(*) < 220 FROM rowseal.quarantine")
    sealed = honest.sealed(example.form("user_cards"), honest.card())
    assert insert(example, "user_cards", sealed) is None
    assert example.one("SELECT count(*) FROM user_storage") == 6


@pytest.mark.parametrize("what", ["column", "table"])
def test_a_flood_of_one_owner_does_not_push_out_what_others_wait_with(
    what: str, example: Db, admin: Db, ann: Owner, bob: Owner
) -> None:
    """All that waits for a column, or for a table that nobody has declared, had one share."""
    admin.run("UPDATE rowseal.quarantine_limits SET rows = 50")
    admin.run("GRANT rowseal_trusted TO app")
    form, tag = example.form("user_storage"), {"column": "user_storage", "table": "none"}[what]

    def send(owner: Owner, values: int) -> None:
        for _ in range(values):
            envelope = {**waiting(form, owner), "table": tag}
            envelope["row"] |= {"value_b64": "eA==", "note": "x"}
            admin.run(
                "INSERT INTO rowseal.feed (tag, owner, envelope) VALUES (%s, %s, %s)",
                tag,
                b64encode(owner.hash).decode(),
                Json(envelope),
            )

    send(ann, 10)
    send(bob, 300)
    assert admin.all(
        "SELECT DISTINCT sqlstate, curable, tag, waits_for FROM rowseal.quarantine"
    ) == [({"column": "RS015", "table": "RS007"}[what], True, tag, None)]
    kept = "SELECT count(*) FROM rowseal.quarantine WHERE row #>> '{row,user_hash}' = %s"
    assert admin.one(kept, b64encode(ann.hash).decode()) == 10
    assert admin.one(kept, b64encode(bob.hash).decode()) < 50


def test_large_waiting_rows_do_not_fail_the_owner(example: Db, mallory: Db, admin: Db) -> None:
    """103 entries, 69 MB, made the card of their owner fail: the cure put them into one value."""
    admin.run("UPDATE rowseal.quarantine_limits SET bytes = 2000000000")
    bob = Owner("Bob")
    form = example.form("user_storage")
    fake = waiting(form, bob)
    mallory.run(
        "SELECT rowseal._quarantine('user_storage', '(RS002,unknown owner)', 'canonical',"
        " json_build_object('row', repeat('x', 12000000) || i), %s) FROM generate_series(1, 30) i",
        f"user_cards {b64encode(bob.hash).decode()}",
    )
    assert apply(example, "user_storage", [fake])[0][0] == "deferred"
    assert insert(example, "user_cards", bob.sealed(example.form("user_cards"), bob.card())) is None
    assert example.one("SELECT count(*) FROM user_storage") == 1


def test_what_waits_in_vain_is_looked_up_not_searched_for(
    example: Db, mallory: Db, admin: Db
) -> None:
    """Each row that is still refused read the whole quarantine: 9,000 of them took 102 seconds."""
    bob, form, cards, rows = (
        Owner("Bob"),
        example.form("user_storage"),
        example.form("user_cards"),
        400,
    )
    forged = {**waiting(form, bob), "sign_b64": b64encode(bytes(64)).decode()}
    mallory.run(
        "SELECT rowseal._quarantine('user_storage', '(RS002,unknown owner)', 'canonical',"
        " jsonb_set(%s, '{row,uuid}', to_jsonb(gen_random_uuid()))::json, %s)"
        " FROM generate_series(1, %s)",
        Jsonb(forged),
        f"user_cards {b64encode(bob.hash).decode()}",
        rows,
    )
    with example.connection.transaction():
        example.insert("user_cards", bob.sealed(cards, bob.card()))
        read = example.one(
            "SELECT pg_stat_get_xact_tuples_returned('rowseal.quarantine'::regclass)"
        )
    assert read <= 10 * rows
    assert admin.all("SELECT sqlstate, count(*) FROM rowseal.quarantine GROUP BY 1") == [
        ("RS001", rows)
    ]


def test_an_open_transaction_makes_nobody_wait_for_long(
    example: Db, mallory: Db, admin: Db, ann: Owner
) -> None:
    bob, form = Owner("Bob"), example.form("user_storage")
    envelope = waiting(form, bob)
    example.run("ALTER TABLE user_cards ADD CHECK (name <> 'bad')")
    mallory.run("BEGIN")
    mallory.run("SELECT rowseal._lock_arrival(n::text, true) FROM generate_series(1, 20000) n")
    mallory.run(
        "SELECT rowseal._quarantine('user_storage', '(RS001,x)', 'canonical', %s)",
        json.dumps(envelope),
    )
    start = time.monotonic()
    for owner in (bob, *(Owner() for _ in range(10))):  # a transaction each
        assert apply(example, "user_storage", [waiting(form, owner)])[0][0] == "deferred"
    cards = example.form("user_cards")
    assert insert(example, "user_cards", bob.sealed(cards, bob.card())) is None
    many = [o.envelope(cards, o.card(name=name)) for name in ("bad", "x") * 8 for o in [Owner()]]
    assert [o for o, _ in apply(example, "user_cards", many)] == ["rejected", "inserted"] * 8
    assert 1 < time.monotonic() - start < 10  # once, not once for each, nor for what is rolled back
    mallory.run("ROLLBACK")


def test_no_lock_that_everybody_can_take_makes_others_wait(
    example: Db, mallory: Db, admin: Db, ann: Owner
) -> None:
    mallory.run("SELECT pg_advisory_lock(1919907699, n) FROM generate_series(0, 1023) n")
    for locks in ("_arrival_locks", "_writer_locks"):
        rights = "SELECT, INSERT, UPDATE, DELETE, TRUNCATE"
        assert not mallory.one("SELECT has_table_privilege(%s, %s)", f"rowseal.{locks}", rights)
    example.run("SET lock_timeout = '500ms'")
    bob, form = Owner("Bob"), example.form("user_storage")
    start = time.monotonic()
    for _ in range(3):
        assert apply(example, "user_storage", [waiting(form, bob)])[0][0] == "deferred"
    assert time.monotonic() - start < 1.5


@pytest.mark.parametrize("format", ["canonical", "pgtext"])
def test_a_row_waits_as_it_is_decoded(format: str, example: Db, admin: Db) -> None:
    """Whatever it is spelled like, the owner who comes lets it in, and it is one entry."""
    table(example, "q", "n numeric, t timestamptz", key="user_hash, n")
    bob = Owner("Bob")
    form = example.form("q")
    plain = {k: v for k, v in row(bob).items() if k != "uuid"}
    sealed = bob.sealed(form, {**plain, "n": "1.5", "t": "2026-01-01T00:00:00.000000Z"})
    envelope = bob.envelope(form, {k: v for k, v in sealed.items() if k != "sign_b64"})
    spelled = {
        **envelope["row"],
        "user_hash": "\\x" + bob.hash.hex(),
        "n": 1.5,
        "t": "2026-01-01 02:00+02",
        "owner_timestamp": f"0{envelope['row']['owner_timestamp']}",
    }
    rows = [{**envelope, "row": spelled}, envelope]
    if format == "pgtext":
        sign = "\\x" + sealed["sign_b64"].hex()
        rows = [{**spelled, "sign_b64": sign}, {**spelled, "n": "01.5", "sign_b64": sign}]
    assert [o for o, _ in apply(example, "q", rows, format)] == ["deferred", "deferred"]
    assert admin.all("SELECT waits_for, attempts FROM rowseal.quarantine") == [
        (f"user_cards {b64encode(bob.hash).decode()}", 1)
    ]
    assert insert(example, "user_cards", bob.sealed(example.form("user_cards"), bob.card())) is None
    assert example.one("SELECT n::text FROM q") == "1.5"
    assert admin.one("SELECT count(*) FROM rowseal.quarantine") == 0


# --------------------------------------------------------------------------- guard off, door shut
@pytest.mark.parametrize("what", ["q", "qv"])
@pytest.mark.parametrize("how", ["DISABLE", "ENABLE REPLICA"])
def test_nothing_is_let_in_while_a_guard_is_off(
    how: str, what: str, example: Db, admin: Db, ann: Owner
) -> None:
    table(example, "q", "uuid uuid", declare=", versions => 'qv'")
    form = example.form("q")
    late, tip, newer = (row(ann, uuid=KEY) for _ in range(3))
    rows = [ann.envelope(form, r) for r in (late, tip, newer)]
    assert apply(example, "q", [rows[1]]) == [("inserted", None)]
    example.run(f"ALTER TABLE {what} {how} TRIGGER zzz_rowseal_guard")
    forged = {**rows[0 if what == "qv" else 2], "sign_b64": b64encode(bytes(64)).decode()}
    for sent in (forged, rows[0] if what == "qv" else rows[2]):
        assert apply(example, "q", [sent]) == [
            ("deferred", "RS019: no guard of public.q has seen the row")
        ]
    assert example.one("SELECT (SELECT count(*) FROM q), (SELECT count(*) FROM qv)") == (1, 0)
    example.run(f"ALTER TABLE {what} ENABLE ALWAYS TRIGGER zzz_rowseal_guard")
    example.run("SELECT rowseal.retry()")
    assert example.one("SELECT (SELECT count(*) FROM q), (SELECT count(*) FROM qv)") == (1, 1)
    assert intact(example, "q")


@pytest.mark.parametrize("layout", ["unversioned", "two tables", "one table"])
def test_what_a_new_column_lets_in_enters_the_feed(
    layout: str, example: Db, admin: Db, ann: Owner
) -> None:
    """Followers never got it, where the ALTER TABLE itself let it in."""
    key = "user_hash, uuid, sign_b64" if layout == "one table" else "user_hash, uuid"
    versions = ", versions => 'qv'" if layout == "two tables" else ""
    table(example, "q", "uuid uuid", key, declare=f"{versions}, feed => true")
    now = example.form("q")
    later = Form("q", {**now.fields, "extra": "text"})
    assert apply(example, "q", [ann.envelope(now, row(ann, uuid=KEY))]) == [("inserted", None)]
    rows = [ann.envelope(later, row(ann, uuid=KEY, extra=f"{n}")) for n in range(3)]
    waits = ("deferred", "RS015: no column for field 'extra' yet")
    assert apply(example, "q", rows) == [waits] * 3
    before = len(text_of(admin, "q"))
    if versions:
        example.run("ALTER TABLE qv ADD COLUMN extra text")
    example.run("ALTER TABLE q ADD COLUMN extra text")
    stored = example.one("SELECT count(*) FROM rowseal.export('q')")
    assert stored == {"unversioned": 1, "two tables": 4, "one table": 4}[layout]
    assert len(text_of(admin, "q")) - before == (1 if layout == "unversioned" else 3)
