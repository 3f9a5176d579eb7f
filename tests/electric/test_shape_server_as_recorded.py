"""The shape server answers as a real Electric 1.7.12 did:
what was recorded of it is said again, request by request.
"""

from __future__ import annotations

import json
import re
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest

from kit.db import Db, Server
from kit.electric import serving
from kit.network import until
from kit.shape_server import ShapeServer

RECORDED = Path(__file__).parent / "recorded"
# What was done between two requests and is not in the record,
# before the remark where its effect shows.
UNRECORDED = {
    "non-live catch-up from an old offset": [
        "begin; update items set n = 12 where id = 1; update items set n = 23 where id = 2; commit"
    ],
    "the client refetches": ["insert into items values (1, 'again 1', 1), (2, 'again 2', 2)"],
    "drop table while live": [
        "create table gone (id int primary key); insert into gone values (1)"
    ],
    "columns=id,t": [
        "insert into items select i, 'w' || i, i from generate_series(1, 4) i",
        """create table "Odd Name" (a int, b text, c text, primary key (a, b));
        insert into "Odd Name" values (1, 'x/y"z', 'c');
        create table nopk (a int, b text); insert into nopk values (1, 'x'), (1, 'x')""",
    ],
}
# Of these the server of the tests has nothing.
LEFT_OUT = "log=changes_only, then a subset snapshot by POST and GET"
UNCOMPARED = {"date", "x-request-id", "server", "content-length"}


@dataclass
class Exchange:
    method: str
    target: str
    headers: dict[str, str]
    status: int | None  # None: the client went away without an answer
    answer: dict[str, str]
    body: str
    sql: list[str] = field(default_factory=list)
    before: list[str] = field(default_factory=list)


def recorded(name: str) -> Iterator[Exchange]:
    text = (RECORDED / name).read_text().partition(f"## {LEFT_OUT}")[0]
    sql: list[str] = []
    before: list[str] = []
    parts = re.split(
        r"^(--- request|--- response.*|--- SQL run while the request was open|## .*)\n",
        text,
        flags=re.M,
    )
    for kind, part in zip(parts[1::2], parts[2::2]):
        if kind.startswith("## SQL"):
            before.append(re.sub(r"^## SQL( before)?: ", "", kind) + part)
        elif kind.startswith("## "):
            before += UNRECORDED.get(kind[3:], [])
        elif kind.startswith("--- SQL"):
            sql.append(part.strip())
        elif kind == "--- request":
            head, *lines = part.strip().splitlines()
            method, target, _ = head.split(" ")
            asked = method, target, dict(line.split(": ", 1) for line in lines if line)
        else:
            head, _, body = part.partition("\n\n")
            status, *lines = head.strip().splitlines() or [""]
            answer = dict(
                line.split(": ", 1) if ": " in line else (line.rstrip(":"), "") for line in lines
            )
            yield Exchange(
                *asked,
                int(status.split(" ")[1]) if status else None,
                answer,
                body.strip(),
                sql,
                before,
            )
            sql, before = [], []


def whole(text: str) -> str:
    """The record shortens runs of a letter."""
    return re.sub(r"([xy])\1{7}\[…([0-9]+) [xy] in all…\]", lambda m: m[1] * int(m[2]), text)


class Translation:
    """Which handle and which LSN of ours stands for which of the record's."""

    def __init__(self) -> None:
        self.names: dict[str, str] = {}

    def learn(self, theirs: str, ours: str) -> None:
        assert self.names.setdefault(theirs, ours) == ours, (
            f"{theirs} was {self.names[theirs]}, now it is {ours}"
        )

    def offset(self, theirs: str, ours: str) -> None:
        (there, _, position), (here, _, same) = theirs.partition("_"), ours.partition("_")
        assert position == same and (there == "0") == (here == "0"), (theirs, ours)
        self.learn(there, here)

    def target(self, target: str) -> str:
        """A request of the record with our names."""
        target = re.sub(
            r"(?<=offset=)([0-9]+)_", lambda m: self.names.get(m[1], m[1]) + "_", target
        )
        return self.handle(target)

    def handle(self, text: str) -> str:
        return re.sub(r"\b[0-9]{6,}-[0-9]+", lambda m: self.names.get(m[0], m[0]), text)

    def message(self, theirs: dict[str, Any], ours: dict[str, Any]) -> None:
        there, here = theirs.pop("headers"), ours.pop("headers")
        assert theirs == ours and there.keys() == here.keys()
        for name in there.keys() & {"lsn"}:
            self.learn(there[name], here[name])
        volatile = {"lsn", "txids", "global_last_seen_lsn", "xmin", "xmax"}
        assert {k: v for k, v in there.items() if k not in volatile} == {
            k: v for k, v in here.items() if k not in volatile
        }
        assert {k: type(there[k]) for k in there if k in volatile} == {
            k: type(here[k]) for k in here if k in volatile
        }


def compare(
    translation: Translation, e: Exchange, status: int, headers: dict[str, str], body: str
) -> None:
    assert status == e.status
    assert headers.keys() - UNCOMPARED == e.answer.keys() - UNCOMPARED
    if "electric-handle" in headers:
        translation.learn(e.answer["electric-handle"], headers["electric-handle"])
    if "electric-offset" in headers:
        translation.offset(e.answer["electric-offset"], headers["electric-offset"])
    for name in headers.keys() - UNCOMPARED:
        ours, theirs = headers[name], e.answer[name]
        if name == "electric-schema":
            assert json.loads(ours) == json.loads(theirs)
        elif name == "etag":
            assert len(ours.split(":")) == len(theirs.split(":"))
        elif name == "electric-cursor":
            assert ours.isdigit() and theirs.isdigit()
        elif name not in ("electric-handle", "electric-offset"):
            assert ours == theirs, name
    if e.answer.get("content-type") == "text/event-stream":
        events = [
            [json.loads(m) for m in re.findall(r"^data: (.*)$", text, re.M)]
            for text in (e.body, body)
        ]
    elif body.startswith("["):
        # the order of a snapshot is nobody's promise
        events = [
            sorted(
                json.loads(whole(text)),
                key=lambda m: m["key"] if "lsn" not in m["headers"] and "key" in m else "~",
            )
            for text in (e.body, body)
        ]
    else:
        assert body == e.body
        return
    assert len(events[0]) == len(events[1])
    for theirs, ours in zip(*events):
        translation.message(theirs, ours)


def ask(
    client: httpx.Client, e: Exchange, target: str, headers: dict[str, str]
) -> tuple[int, dict[str, str], str]:
    """The answer; of an event stream as much as was recorded."""
    with client.stream(e.method, target, headers=headers) as answer:
        body = ""
        for piece in answer.iter_text():
            body += piece
            if (
                answer.headers.get("content-type") == "text/event-stream"
                and e.body
                and body.count("\n\n") > e.body.count("\n\n")
            ):
                break
        return answer.status_code, dict(answer.headers), body


def test_what_was_recorded_is_said_again(server: Server, source: Db) -> None:
    source.run("DROP SCHEMA public CASCADE; CREATE SCHEMA public")
    with (
        serving(
            server, source.connection.info.dbname, poll=1.5, patience=0.3, keep_alive=1.0
        ) as electric,
        httpx.Client(base_url=electric.url, timeout=5) as client,
    ):
        translation = Translation()
        count = 0
        for name in sorted(p.name for p in RECORDED.glob("*.txt")):
            for e in recorded(name):
                live = "live=true" in e.target and "handle" in e.target
                for sql in [*e.before, *([] if live else e.sql)]:
                    source.run(sql)
                if e.before or e.sql:
                    settle(electric, source)
                target = translation.target(e.target)
                where = f"{name}: {e.method} {e.target}, asked as {target}"
                statements = threading.Thread(
                    target=run_slowly, args=(source, e.sql if live else [])
                )
                statements.start()
                try:
                    if e.status is None:
                        with pytest.raises(httpx.TimeoutException):
                            client.get(target, timeout=1)
                    else:
                        compare(
                            translation,
                            e,
                            *ask(
                                client,
                                e,
                                target,
                                {k: translation.handle(v) for k, v in e.headers.items()},
                            ),
                        )
                        count += 1
                except AssertionError as error:
                    raise AssertionError(f"{where}: {error}") from error
                finally:
                    statements.join()
                settle(electric, source)
        assert count > 80


def run_slowly(db: Db, statements: list[str]) -> None:
    for sql in statements:
        time.sleep(0.2)
        db.run(sql)


def settle(electric: ShapeServer, db: Db) -> None:
    """Wait until the server has read what is in the log."""
    lsn = db.one("SELECT pg_current_wal_insert_lsn()")
    until(
        lambda: db.one(
            "SELECT confirmed_flush_lsn >= %s::pg_lsn FROM pg_replication_slots"
            " WHERE slot_name = %s",
            lsn,
            electric.name,
        ),
        "the slot is read",
    )
    turns = electric.turns
    until(lambda: electric.turns > turns, "what was read is taken")
