"""rowseal pull against a server that fails or lies: no row is lost, nothing is believed,
neither memory nor time runs away.
"""

from __future__ import annotations

import asyncio
import gzip
import itertools
import json
import random
import resource
import threading
import time
import uuid
from collections import Counter
from collections.abc import AsyncIterator, Iterable, Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kit.db import Db
from kit.electric import (
    DONE,
    TABLES,
    Answer,
    Liar,
    Pull,
    Writer,
    administrator,
    kept,
    log,
    operation,
    same,
)
from kit.example import Owner
from kit.network import until
from kit.scratch import pgtext
from kit.shape_server import ShapeServer
from kit.shapes import Refused
from rowseal.electric import Refusal, Trouble, clean, elements, events


def read(pieces: Iterable[bytes], reader: Any = elements, limit: int = 10_000) -> list[Any]:
    async def chunks() -> AsyncIterator[bytes]:
        for piece in pieces:
            yield piece

    async def collect() -> list[Any]:
        return [message async for message, _ in reader(chunks(), limit)]

    return asyncio.run(collect())


# ------------------------------------------------------------------------------- reading in pieces
texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
messages = st.lists(
    st.dictionaries(
        texts, st.one_of(st.none(), texts, st.dictionaries(texts, texts, max_size=2)), max_size=3
    ),
    max_size=6,
)


def cut(data: bytes, places: list[int]) -> list[bytes]:
    at = [0, *sorted(p % (len(data) + 1) for p in places), len(data)]
    return [data[a:b] for a, b in zip(at, at[1:])]


@given(
    messages,
    st.lists(st.integers(0, 10_000), max_size=20),
    st.booleans(),
    st.sampled_from([None, 1]),
)
def test_an_answer_in_any_pieces_is_the_same(
    rows: list[Any], places: list[int], ascii: bool, indent: int | None
) -> None:
    assert read(cut(json.dumps(rows, ensure_ascii=ascii, indent=indent).encode(), places)) == rows


@given(messages, st.lists(st.integers(0, 10_000), max_size=20), st.sampled_from(["\n", "\r\n"]))
def test_an_event_stream_in_any_pieces_is_the_same(
    rows: list[Any], places: list[int], end: str
) -> None:
    lines = "".join(
        f"data: {json.dumps(r, ensure_ascii=False)}{end}{end}: keep-alive{end}{end}" for r in rows
    )
    assert read(cut(lines.encode(), places), events) == rows


@given(messages.filter(bool), st.data())
def test_an_answer_that_ends_early_is_no_answer(rows: list[Any], data: Any) -> None:
    whole = json.dumps(rows).encode()
    with pytest.raises(Trouble):
        read([whole[: data.draw(st.integers(0, len(whole) - 1))]])


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{}",
        b"null",
        b"<html>",
        b"[1]",
        b"[[]]",
        b"[{}",
        b"[{},]",
        b"[{} {}]",
        b"[,{}]",
        b"[{}]]",
        b"[{}] x",
        b'[{"a": NaN}]',
        b'[{"a": Infinity}]',
        b"\xff",
        b'[{"a": "\xff"}]',
        b"[{'a': 1}]",
        b'[{"a": ' + b"[" * 9000 + b"]" * 9000 + b"}]",
        b'[{"a": ' + b"9" * 9000 + b"}]",
    ],
)
def test_what_is_no_array_of_objects_is_trouble(body: bytes) -> None:
    for pieces in ([body], [body[n : n + 1] for n in range(min(len(body), 300))] + [body[300:]]):
        with pytest.raises(Trouble):
            read(pieces, limit=50_000)


@pytest.mark.parametrize("reader", [elements, events])
def test_no_more_than_the_limit_is_kept(reader: Any) -> None:
    """A message without end: it is given up soon after the limit,
    and at no more cost than its length.
    """
    taken = [0]

    def endless(first: bytes) -> Iterator[bytes]:
        yield first
        for taken[0] in range(10**9):
            yield b"x" * 1000

    for first in (b'[{"a": "', b'data: {"a": "', b"data: ", b": "):
        if (first[:1] == b"[") == (reader is elements):
            with pytest.raises(Trouble, match="more than 1000000 characters"):
                read(endless(first), reader, 1_000_000)
            assert taken[0] < 2100


def test_empty_lines_of_an_event_count_too() -> None:
    with pytest.raises(Trouble, match="more than 1000 characters"):
        read(itertools.repeat(b"data:\n"), events, 1000)


def test_one_character_at_a_time_costs_no_more_than_its_length() -> None:
    whole = b'[{"a": "' + b"x" * 300_000 + b'"}]'
    begun = time.process_time()
    assert len(read((whole[n : n + 1] for n in range(len(whole))), limit=10**6)[0]["a"]) == 300_000
    assert time.process_time() - begun < 10


@given(
    st.recursive(
        st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text()),
        lambda inner: st.one_of(
            st.lists(inner, max_size=3), st.dictionaries(st.text(), inner, max_size=3)
        ),
    )
)
def test_what_is_handed_on_is_text_that_postgresql_can_hold(value: Any) -> None:
    def well(text: Any) -> bool:
        return text is None or (
            isinstance(text, str) and "\0" not in text and text.encode() is not None
        )

    result = clean(value)
    assert (
        all(well(k) and well(v) for k, v in result.items())
        if isinstance(value, dict)
        else well(result)
    )


def test_what_can_just_be_read_is_handed_on() -> None:
    for depth in range(900, 1000):
        try:
            value = json.loads("[" * depth + "]" * depth)
        except RecursionError:
            break
        assert clean({"x": value}).keys() == {"x"} and isinstance(clean(value), str)
    else:
        pytest.fail("Python reads everything")


def test_what_is_text_stays_as_it_is() -> None:
    assert clean({"a": "é😀\n", "b": None, "c": 7, "d": {"e": [1]}, "f": "\0 \ud800"}) == {
        "a": "é😀\n",
        "b": None,
        "c": "7",
        "d": '{"e": [1]}',
        "f": "\ufffd \ufffd",
    }


# -------------------------------------------------------------------------- failures of the server
@pytest.mark.parametrize(
    "fault",
    [
        Refused(500, {"message": "oops"}),
        Refused(503, b"<html>"),
        Refused(429, {}),
        Refused(200, b"[]"),
        Refused(200, b""),
        Refused(304, b""),
        Refused(200, b"[", **{"electric-handle": "1-1", "electric-offset": "0_0"}),
        Refused(404, b"gone"),
        Refused(401, b"who?"),
        Refused(302, b"", location="http://127.0.0.1:1/"),
    ],
)
def test_a_failure_passes(
    electric: ShapeServer, source: Db, here: Db, ann: Writer, fault: Refused
) -> None:
    with Pull(here, electric.url, *TABLES) as pull:
        pull.live()
        electric.faults.extend([fault] * 3)
        ann.put(b"1")
        until(lambda: not electric.faults and same(source, here))
        pull.live()


def test_retry_after_is_respected(electric: ShapeServer, source: Db, here: Db, ann: Writer) -> None:
    electric.faults.append(Refused(429, {"message": "slow down"}, **{"retry-after": "1"}))
    begun = time.monotonic()
    pull = Pull(here, electric.url, "user_cards").once()
    assert (
        time.monotonic() - begun >= 1
        and pull.said[0]
        == 'user_cards: 429 Too Many Requests: {"message":"slow down"}; next try in 1.0 s'
    )


def test_a_server_that_comes_later_is_waited_for(
    electric: ShapeServer, source: Db, here: Db, ann: Writer
) -> None:
    electric.stop()
    with Pull(here, electric.url, *TABLES) as pull:
        until(lambda: any("ConnectError" in said for said in pull.said))
        electric.start()
        pull.live()


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        (Refused(401, b"who are you?"), "401 Unauthorized: who are you?"),
        (Refused(404, b"Not found"), "404"),
        (Refused(301, b"", location="http://127.0.0.1/"), "301"),
        (Refused(200, b"<html>"), "electric-handle"),
        (
            Refused(200, b"[]", **{"electric-handle": "1-1", "electric-offset": "next"}),
            "electric-offset is 'next'",
        ),
    ],
)
def test_what_cannot_be_read_at_the_start_is_an_error(
    electric: ShapeServer, source: Db, here: Db, fault: Refused, said: str
) -> None:
    electric.faults.append(fault)
    with pytest.raises(Refusal, match=said):
        Pull(here, electric.url, "user_cards").once()


def test_a_table_that_is_not_there_is_an_error(electric: ShapeServer, source: Db, here: Db) -> None:
    with pytest.raises(Refusal, match=r"public.*cards.*does not exist"):
        Pull(here, electric.url, "cards=user_cards").once()
    with pytest.raises(ValueError, match="nothing"):
        Pull(here, electric.url, "nothing").once()
    here.run("CREATE TABLE plain (a int)")
    with pytest.raises(ValueError, match="table plain is not declared"):
        Pull(here, electric.url, "plain").once()


def test_a_database_that_goes_away_is_waited_for(
    electric: ShapeServer, source: Db, here: Db, ann: Writer
) -> None:
    with Pull(here, electric.url, *TABLES) as pull:
        pull.live()
        with administrator(here) as admin:
            admin.run(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE datname = current_database() AND application_name = 'rowseal pull'"
            )
        ann.put(b"1")
        until(lambda: same(source, here))
        assert any("database" in said for said in pull.said)


# -------------------------------------------------------------------------------------------- lies
class Forger:
    """Ann's rows without a database behind them."""

    def __init__(self, here: Db):
        self.here, self.owner = here, Owner("Ann")
        self.form = here.form("user_storage")
        here.insert("user_cards", self.owner.sealed(here.form("user_cards"), self.owner.card()))

    def row(
        self, value: bytes = b"value", key: uuid.UUID | None = None, **changes: Any
    ) -> dict[str, Any]:
        return pgtext(self.owner.sealed(self.form, self.owner.value(value, key, **changes)))


@pytest.fixture
def forger(here: Db) -> Forger:
    return Forger(here)


def idle(p: dict[str, str]) -> Answer:
    time.sleep(1.2)
    return log([DONE], p["offset"])


def test_odd_rows_among_good_ones(here: Db, forger: Forger) -> None:
    good = [forger.row(b"%d" % n) for n in range(4)]
    odd: list[Any] = [
        None, 7, "text", [], {}, {"user_hash": 7}, {"user_hash": "\\xzz"},
        {**good[0], "value_b64": "\0"}, {**good[0], "uuid": "\ud800"},
        {**good[0], "owner_timestamp": "1e99"}, {**good[0], "deleted_flag": {"a": [1, None]}},
        {"a\0b": "c"}, {**good[0], "sign_b64": "\\x" + "00" * 64}, {**good[0], "x": "y" * 100_000},
    ]  # fmt: skip
    stream = [
        m
        for n, row in enumerate(odd)
        for m in (
            operation(row),
            operation(good[n % 4], random.choice(["insert", "update"])),
            operation(row, "delete"),
        )
    ]
    stream += [
        {},
        {"headers": 7},
        {"headers": {"operation": "truncate"}},
        {"headers": {"control": "later"}},
        {"headers": {"event": "move-out", "patterns": [{"pos": 0, "value": "x"}]}},
    ]
    with Liar(lambda p, n: log([*stream, DONE], "0_0") if p["offset"] == "-1" else idle(p)) as liar:
        pull = Pull(here, liar.url, "user_storage").once()
    assert here.one("SELECT count(*) FROM user_storage") == 4
    outcomes = pull.shapes[0].outcomes
    # the row with a surplus column is good, but its column may be missing here
    assert (
        outcomes["inserted"] == 4
        and outcomes["deleted"] == len(odd)
        and outcomes["rejected"]
        + outcomes["deferred"]
        + outcomes["duplicate"]
        + outcomes["inserted"]
        == 2 * len(odd)
    )
    assert outcomes["rejected"] >= 11


def test_syntax_errors_of_values_are_the_rows_fault(here: Db, forger: Forger) -> None:
    here.run(
        "CREATE TABLE words (user_hash bytea, id int, w tsvector, deleted_flag boolean,"
        " owner_timestamp bigint, sign_b64 bytea, PRIMARY KEY (user_hash, id))"
    )
    here.run("SELECT rowseal.declare('words', owner => 'user_hash', identity => 'user_cards')")
    row = {
        "user_hash": forger.owner.hash,
        "id": 1,
        "w": "'a'",
        "deleted_flag": False,
        "owner_timestamp": 1,
    }
    good = pgtext(forger.owner.sealed(here.form("words"), row))
    with Liar(
        lambda p, n: log(
            [
                operation({**good, "w": "'"}),
                operation(good),
                operation({**good, "w": "a:b:c"}),
                DONE,
            ],
            "0_0",
        )
    ) as liar:
        assert Pull(here, liar.url, "words").once().shapes[0].outcomes == {
            "inserted": 1,
            "rejected": 2,
        }


def test_an_endless_refetch_is_asked_for_ever_more_slowly(here: Db, forger: Forger) -> None:
    with (
        Liar(
            lambda p, n: (409, {"electric-handle": f"{n}-1", "content-length": "2"}, [b"[]"])
        ) as liar,
        Pull(here, liar.url, "user_storage", first=0.1, most=5.0),
    ):
        time.sleep(3)
        assert 3 <= len(liar.requests) <= 9


def test_owners_who_must_be_read_again_and_again_hold_nobody_up(here: Db, forger: Forger) -> None:
    row = forger.row()

    def script(p: dict[str, str], n: int) -> Answer:
        return (
            (409, {"content-length": "0"}, [])
            if p["table"] == "user_cards"
            else log([operation(row), DONE], "0_0")
        )

    with Liar(script) as liar, Pull(here, liar.url, *TABLES):
        until(lambda: here.one("SELECT count(*) FROM user_storage") == 1)


def test_a_refetch_after_each_snapshot_is_slowed_down_too(here: Db, forger: Forger) -> None:
    row = forger.row()

    def script(p: dict[str, str], n: int) -> Answer:
        return (
            log([operation(row), DONE], "0_0", f"{n}-1")
            if p["offset"] == "-1"
            else (409, {"content-length": "2"}, [b"[]"])
        )

    with Liar(script) as liar, Pull(here, liar.url, "user_storage", first=0.1, most=5.0):
        time.sleep(3)
        assert 6 <= len(liar.requests) <= 20
        assert here.one("SELECT count(*) FROM user_storage") == 1


@pytest.mark.parametrize("answer", ["nothing", "the same", "up to date", "event stream"])
def test_answers_without_news_are_no_busy_loop(here: Db, forger: Forger, answer: str) -> None:
    row = forger.row()

    def script(p: dict[str, str], n: int) -> Answer:
        if answer == "event stream" and p.get("live_sse"):
            return (
                200,
                {
                    "electric-handle": "1-1",
                    "electric-offset": "0_0",
                    "content-type": "text/event-stream",
                },
                [b": x\n\n"],
            )
        return log(
            {
                "nothing": [],
                "the same": [operation(row)],
                "up to date": [DONE],
                "event stream": [DONE],
            }[answer],
            "0_0",
        )

    with Liar(script) as liar, Pull(here, liar.url, "user_storage", sse=True, first=0.1, most=5.0):
        time.sleep(3)
        assert 5 <= len(liar.requests) <= 14
        assert answer != "event stream" or "live_sse" not in liar.requests[-1], (
            "it falls back to long polls"
        )


@pytest.mark.parametrize("offset", ["0_0", "-1", "x", "", "1_2_3", "²_0", "9" * 40 + "_0", "now"])
def test_a_wrong_offset_is_not_taken(here: Db, forger: Forger, offset: str) -> None:
    def script(p: dict[str, str], n: int) -> Answer:
        return log(
            [operation(forger.row()), DONE],
            "5_5" if p["offset"] == "-1" else offset.encode("latin-1", "replace").decode("latin-1"),
        )

    with Liar(script) as liar, Pull(here, liar.url, "user_storage") as pull:
        until(lambda: len(liar.requests) > 4)
        assert {p["offset"] for p in liar.requests} == {"-1", "5_5"} and kept(here) == {
            "user_storage": "5_5"
        }
        assert any("goes back" in said or "electric-offset" in said for said in pull.said)


def test_an_answer_of_another_log_is_not_taken(here: Db, forger: Forger) -> None:
    """As from a cache that still has the old one."""
    rows = [forger.row(b"1"), forger.row(b"2")]

    def script(p: dict[str, str], n: int) -> Answer:
        if p["offset"] == "-1":
            return log([operation(rows[0]), DONE], "0_0", "1-1" if n == 0 else "2-2")
        return (
            log([DONE], "7_7", "2-2")
            if n == 1
            else log([operation(rows[1]), DONE], "1_0", "2-2")
            if p["offset"] == "0_0"
            else idle(p)
        )

    with Liar(script) as liar, Pull(here, liar.url, "user_storage"):
        until(lambda: here.one("SELECT count(*) FROM user_storage") == 2)
        assert liar.requests[2]["offset"] == "-1" and liar.requests[2]["expired_handle"] == "1-1"


def test_replays_and_roll_backs_change_nothing(here: Db, forger: Forger) -> None:
    key = uuid.uuid4()
    old, new = forger.row(b"old", key), forger.row(b"new", key)
    with Liar(
        lambda p, n: log(
            [
                operation(new),
                operation(old),
                operation(old, "update"),
                operation(new, "delete"),
                operation(old),
                DONE,
            ],
            f"{n}_0",
        )
    ) as liar:
        Pull(here, liar.url, "user_storage").once()
    assert here.all("SELECT value_b64 FROM user_storage") == [b"new"]


def test_large_bodies_do_not_fill_memory(here: Db, forger: Forger) -> None:
    """An answer of many rows is merged while it comes; a row without end is given up;
    an archive that unpacks to much, too.
    """
    row = json.dumps(operation(forger.row(b"x" * 2000))).encode()
    bomb = gzip.compress(b'[{"value": "' + b"0" * 100_000_000)
    stages = iter(
        [
            (
                200,
                {"electric-handle": "1-1", "electric-offset": "0_0"},
                itertools.chain(
                    [b"["], itertools.repeat(row + b",", 8000), [json.dumps(DONE).encode() + b"]"]
                ),
            ),
            (
                200,
                {"electric-handle": "1-1", "electric-offset": "0_1"},
                itertools.chain([b'[{"value": "'], itertools.repeat(b"x" * 100_000, 1000)),
            ),
            (
                200,
                {"electric-handle": "1-1", "electric-offset": "0_1", "content-encoding": "gzip"},
                [bomb],
            ),
            (
                200,
                {
                    "electric-handle": "1-1",
                    "electric-offset": "0_1",
                    "content-type": "text/event-stream",
                },
                itertools.repeat(b"x" * 100_000, 1000),
            ),
        ]
    )
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with (
        Liar(lambda p, n: next(stages, None) or idle(p)) as liar,
        Pull(here, liar.url, "user_storage") as pull,
    ):
        until(lambda: len(liar.requests) > 4, patience=90)
        assert pull.shapes[0].outcomes == {"inserted": 1, "duplicate": 7999}
        assert sum("more than 16777216 characters" in said for said in pull.said) == 3
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 150_000, "kB"


@pytest.mark.parametrize("sse", [False, True])
def test_an_answer_in_many_batches_counts_when_it_is_whole(
    here: Db, forger: Forger, sse: bool
) -> None:
    """It breaks off when two batches are stored: the offset stays, it is asked for again."""
    row = forger.row()
    asked_again = threading.Event()

    def script(p: dict[str, str], n: int) -> Answer:
        if n == 0:
            return log([DONE], "1_0")
        if n == 2:
            asked_again.wait(20)
            return log([DONE], "9_0")
        if n > 2:
            return idle(p)
        texts = [json.dumps(operation(row, lsn=2, position=m)) for m in range(2500)]
        headers = {"electric-handle": "1-1", "electric-offset": "9_0"}
        if sse:
            assert p["live_sse"] == "true"
            return (
                200,
                {**headers, "content-type": "text/event-stream"},
                [f"data: {t}\n\n".encode() for t in texts],
            )
        return 200, headers, [b"[", ",".join(texts).encode()]

    with Liar(script) as liar, Pull(here, liar.url, "user_storage", sse=sse) as pull:
        until(lambda: len(liar.requests) == 3)
        assert (
            pull.shapes[0].rows == 2000
            and kept(here) == {"user_storage": "1_0"}
            and liar.requests[2]["offset"] == "1_0"
        )
        asked_again.set()
        until(lambda: kept(here) == {"user_storage": "9_0"})


def test_a_row_that_is_larger_than_the_limit_is_named_and_read_with_a_higher_one(
    here: Db, forger: Forger
) -> None:
    rows = [forger.row(b"small"), forger.row(b"x" * 20_000)]
    with Liar(lambda p, n: log([*map(operation, rows), DONE], "0_0")) as liar:
        with Pull(here, liar.url, "user_storage", limit=10_000) as pull:
            until(
                lambda: any("a message of more than 10000 characters" in said for said in pull.said)
            )
        Pull(here, liar.url, "user_storage").once()
    assert here.one("SELECT count(*) FROM user_storage") == 2


def test_no_terminal_is_obeyed(here: Db, forger: Forger) -> None:
    """What the server wrote comes back in errors, in the reasons of PostgreSQL among them."""
    bad = {**forger.row(), "uuid": "\x1b[2J\n\u202e"}
    faults = iter(
        [(500, {"content-length": "8"}, [b"\x1b[31mred"]), (409, {"content-length": "0"}, [])]
    )
    with Liar(lambda p, n: next(faults, None) or log([operation(bad), DONE], "0_0")) as liar:
        pull = Pull(here, liar.url, "user_storage").once()
    assert any("[2J" in said for said in pull.said) and any("[31mred" in said for said in pull.said)
    assert all(said.isprintable() for said in pull.said)


def test_secrets_go_to_the_server_alone(here: Db, forger: Forger) -> None:
    with Liar(lambda p, n: log([DONE], "0_0")) as liar:
        url = liar.url.replace("http://", "http://me:pass@") + "/v1/shape?token=t0p&x=1"
        Pull(here, url, "user_storage", parameters=[("secret", "s3cret")]).once()
    assert liar.requests[0] | {"secret": "s3cret", "token": "t0p", "x": "1"} == liar.requests[0]
    assert (
        here.one("SELECT source FROM rowseal.shapes")
        == f"{liar.url}/v1/shape?table=user_storage&x=1"
    )


# -------------------------------------------------------------------------- any order, any answers
class World:
    """Versions of few keys by two owners, in one table;
    ``state`` is what any order of them must lead to.
    """

    def __init__(self, here: Db):
        self.here, owners = here, [Owner("Ann"), Owner("Bob")]
        form, card = here.form("user_storage"), here.form("user_cards")
        self.cards = [pgtext(o.sealed(card, o.card())) for o in owners]
        keys = sorted(uuid.uuid4() for _ in range(4))
        rows = [
            (o, k, o.sealed(form, o.value(b"%d" % n, k, deleted_flag=n == 2)))
            for o, k in zip(itertools.cycle(owners), keys)
            for n in range(3)
        ]
        self.rows = [pgtext(r) for *_, r in rows]
        newest = {k: r for _, k, r in sorted(rows, key=lambda x: x[2]["owner_timestamp"])}
        self.state = (
            sorted((r["uuid"], r["sign_b64"]) for r in newest.values()),
            sorted(r["sign_b64"] for *_, r in rows if r not in newest.values()),
        )

    def stored(self) -> Any:
        uuids = [u for u, _ in self.state[0]]
        return (
            sorted(
                self.here.all(
                    "SELECT uuid, sign_b64 FROM user_storage WHERE uuid = ANY (%s)", uuids
                )
            ),
            sorted(
                self.here.all(
                    "SELECT sign_b64 FROM user_storage_versions WHERE storage_uuid = ANY (%s)",
                    uuids,
                )
            ),
        )


@settings(
    max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.integers(), st.booleans())
def test_any_order_of_messages_in_any_answers_leads_to_the_same_rows(
    here: Db, seed: int, sse: bool
) -> None:
    """Orders, repetitions, deletions, forgeries, ends in the middle,
    409s and errors as they come, owners first or last.
    """
    world, rng = World(here), random.Random(seed)
    stream = [operation(r, rng.choice(["insert", "update"])) for r in world.rows * 2] + [
        operation(rng.choice(world.rows), "delete") for _ in range(3)
    ]
    stream += [operation({**rng.choice(world.rows), "value_b64": "\\x00"}) for _ in range(2)]
    rng.shuffle(stream)
    log_: list[list[Any]] = [[]]
    for message in stream:
        if rng.random() < 0.3:
            log_.append([])
        log_[-1].append(message)
    troubles = Counter({"409": 1, "500": 2, "cut": 2})

    def script(p: dict[str, str], n: int) -> Answer:
        if p["table"] == "user_cards":
            return (
                log([*map(operation, world.cards), DONE], "0_0") if p["offset"] == "-1" else idle(p)
            )
        trouble = rng.choice(["409", "500", "cut", "", "", ""])
        at = 0 if p["offset"] == "-1" else int(p["offset"].split("_")[0])
        rest = log_[at:]
        if not rest:
            return idle(p)
        if trouble and troubles[trouble]:
            troubles[trouble] -= 1
            body = json.dumps(rest[0]).encode()
            return {
                "409": (409, {"content-length": "0"}, []),
                "500": (500, {"content-length": "0"}, []),
                "cut": (
                    200,
                    {"electric-handle": "1-1", "electric-offset": f"{at + 1}_0"},
                    [body[: len(body) // 2]],
                ),
            }[trouble]
        return log(rest[0] + ([DONE] if len(rest) == 1 else []), f"{at + 1}_0")

    tables = ["user_storage", "user_cards"]
    with Liar(script) as liar:
        if rng.random() < 0.5:
            Pull(here, liar.url, *tables, sse=sse).once()
        else:
            for table in tables:
                Pull(here, liar.url, table, sse=sse).once()
    assert world.stored() == world.state


anything = st.recursive(
    st.one_of(
        st.none(),
        st.booleans(),
        st.integers(-(2**70), 2**70),
        st.floats(),
        st.text(max_size=5),
        st.sampled_from(["insert", "delete", "up-to-date", "must-refetch", "\0", "\\x00", "1e999"]),
    ),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=5), inner, max_size=3)
    ),
    max_leaves=5,
)


def alter(value: Any, data: Any) -> Any:
    """The same JSON with something in it replaced, gone, there twice or under another name."""
    if isinstance(value, (dict, list)) and value and data.draw(st.integers(0, 3)):
        items = list(value.items() if isinstance(value, dict) else enumerate(value))
        name, member = data.draw(st.sampled_from(items))
        how = data.draw(st.sampled_from(["inside"] * 4 + ["gone", "renamed", "twice"]))
        if isinstance(value, list):
            at = {"inside": [alter(member, data)], "gone": []}.get(how, [member, member])
            return [*value[:name], *at, *value[name + 1 :]]
        rest = {k: v for k, v in value.items() if k != name}
        if how == "gone":
            return rest
        if how == "inside":
            return {**value, name: alter(member, data)}
        other = data.draw(st.one_of(st.text(max_size=5), st.sampled_from(sorted(value))))
        return {**(value if how == "twice" else rest), other: member}
    return data.draw(anything)


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.data())
def test_an_answer_altered_anywhere_is_no_traceback_and_stores_nothing_unsigned(
    here: Db, data: Any
) -> None:
    forger = Forger(here)
    rows = [forger.row(b"%d" % n) for n in range(4)]
    whole = [*map(operation, rows), operation(rows[0], "delete"), DONE]
    first = list(whole)
    touched = data.draw(st.sets(st.integers(0, len(whole) - 1), min_size=1, max_size=3))
    for n in touched:
        first[n] = alter(whole[n], data)
    offset = data.draw(st.sampled_from(["0_0", "0_inf", "-1", "9_9", "", "x", "0_0_0", "é"]))
    answer = log(first, offset.encode("ascii", "replace").decode())

    def script(p: dict[str, str], n: int) -> Answer:
        return answer if n == 0 else log(whole if p["offset"] == "-1" else [DONE], "9_9")

    with Liar(script) as liar:
        try:
            Pull(here, liar.url, "user_storage", first=0.01, most=0.02).once()
        except Refusal:
            return  # an answer that is none at the start: see above
    stored = here.all("SELECT value_b64 FROM user_storage WHERE user_hash = %s", forger.owner.hash)
    assert {b"%d" % n for n in range(4) if n not in touched} <= set(stored)
    assert set(stored) <= {b"0", b"1", b"2", b"3"}
    assert here.all("SELECT * FROM rowseal.verify('user_storage')") == []
    assert here.one("SELECT count(*) FROM rowseal.shapes") > 0
