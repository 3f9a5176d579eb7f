"""The command rowseal pull, and who may do what with the offsets that it keeps."""

from __future__ import annotations

import io
import json
import os
import pty
import signal
import subprocess
import sys
import time
from typing import Any

import pytest
from rich.console import Console

from kit import ROOT
from kit.db import Db, Server
from kit.electric import TABLES, Pull, Writer, administrator, dsn, kept, same
from kit.network import until
from kit.shape_server import ShapeServer
from rowseal.cli.pull import status
from rowseal.electric import Shape, shape

ROWSEAL = [sys.executable, "-c", "from rowseal.cli import app; app()"]


def command(db: Db, url: str, *arguments: str, **environment: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [*ROWSEAL, "pull", url, *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={
            "PATH": os.environ["PATH"],
            "PYTHONPATH": str(ROOT / "plpython"),
            "ROWSEAL_DSN": dsn(db),
            "COLUMNS": "200",
            **environment,
        },
    )


def done(process: subprocess.Popen[str]) -> tuple[int, Any, str]:
    """Exit code, last line of standard output as JSON, standard error."""
    out, err = process.communicate(timeout=60)
    assert "Traceback" not in err, err
    return process.returncode, json.loads(out.splitlines()[-1])["shapes"] if out else None, err


TABLE_OPTIONS = [word for table in TABLES for word in ("--table", table)]


def test_once_and_its_metrics(electric: ShapeServer, source: Db, here: Db, ann: Writer) -> None:
    ann.put(b"1")
    code, shapes, err = done(command(here, electric.url, *TABLE_OPTIONS, "--once", "--json"))
    assert code == 0 and same(source, here) and "user_storage: up to date, 1 rows" in err
    assert [(s["table"], s["state"], s["rows"], s["offset"], s["lag"]) for s in shapes] == [
        (t, "live", {"inserted": 1}, "0_inf", 0) for t in TABLES
    ]
    assert (
        done(command(here, electric.url, "-t", "user_storage", "--once", "--json"))[1][0]["rows"]
        == {}
    )
    source.insert("user_storage", {**ann.sealed(b"2"), "value_b64": b"forged"})
    until(lambda: any(s.log for s in electric.shapes.values()))
    assert done(command(here, electric.url, "-t", "user_storage", "--once"))[0] == 1


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_stops_it_cleanly(
    electric: ShapeServer, source: Db, here: Db, ann: Writer, number: int
) -> None:
    process = command(here, electric.url, *TABLE_OPTIONS, "--json", "--interval", "0.2")
    assert process.stdout
    until(
        lambda: all(s["state"] == "live" for s in json.loads(process.stdout.readline())["shapes"])
    )
    ann.put(b"1")
    until(lambda: same(source, here))
    process.send_signal(number)
    begun = time.monotonic()
    code, shapes, _ = done(process)
    assert code == 0 and time.monotonic() - begun < 5 and shapes[1]["rows"] == {"inserted": 1}
    electric.requests.clear()
    assert done(command(here, electric.url, *TABLE_OPTIONS, "--once"))[0] == 0
    assert "-1" not in {p["offset"] for p in electric.requests}


def test_a_table_of_another_name_a_condition_and_headers(
    electric: ShapeServer, source: Db, here: Db, ann: Writer
) -> None:
    source.run('ALTER TABLE user_cards RENAME TO "Odd Cards"')
    arguments = [
        "-t",
        '"Odd Cards"=user_cards',
        "--where",
        "name = $1",
        "--param",
        "params[1]=Ann",
        "-H",
        "Authorization: Bearer x",
        "--once",
    ]
    assert done(command(here, electric.url, *arguments, ROWSEAL_ELECTRIC_SECRET="s3cret"))[0] == 0
    assert here.all("SELECT name FROM user_cards") == ["Ann"]
    assert electric.requests[0]["secret"] == "s3cret" and "s3cret" not in here.one(
        "SELECT source FROM rowseal.shapes"
    )


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["-t", "nothing"], 3, "nothing"),
        (["-t", "cards=user_cards"], 3, "does not exist"),
        (["-t", "user_cards", "-t", "user_storage", "--where", "true"], 2, "one table"),
        (["-t", "user_cards", "--header", "x"], 2, "NAME:VALUE"),
        ([], 2, "--table"),
        (["-t", "user_cards", "-d", "host=/nowhere"], 3, "connection"),
    ],
)
def test_errors_are_one_line_and_an_exit_code(
    electric: ShapeServer, source: Db, here: Db, arguments: list[str], code: int, said: str
) -> None:
    returned, _, err = done(command(here, electric.url, *arguments, "--once"))
    assert (returned, said in err) == (code, True), err


def test_a_url_that_is_none() -> None:
    with pytest.raises(ValueError, match="is no URL"):
        shape("localhost:3000", "t", "t")


def test_a_terminal_has_one_line_when_all_is_live(
    electric: ShapeServer, source: Db, here: Db, ann: Writer
) -> None:
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [*ROWSEAL, "pull", electric.url, *TABLE_OPTIONS],
        stderr=theirs,
        env={
            "PATH": os.environ["PATH"],
            "PYTHONPATH": str(ROOT / "plpython"),
            "ROWSEAL_DSN": dsn(here),
            "TERM": "xterm",
            "COLUMNS": "150",
        },
    )
    seen = ""
    while "2 of 2 shapes live" not in seen:
        assert process.poll() is None, seen
        seen += os.read(ours, 10_000).decode(errors="replace")
    process.terminate()
    assert process.wait(10) == 0 and "1 inserted" in seen and "Traceback" not in seen
    os.close(theirs)
    os.close(ours)


def test_what_a_terminal_shows() -> None:
    shapes = [shape("http://h", t, t) for t in TABLES]

    def shown(of: list[Shape] = shapes) -> str:
        console = Console(width=100, file=(file := io.StringIO()))
        console.print(status(of))
        return file.getvalue()

    assert "0 of 0 shapes live" in shown([])
    shapes[0].outcomes.update(inserted=12_000)
    assert (
        "user_cards" in shown()
        and "12,000 rows" in shown()
        and "rows/s" in shown()
        and len(shown().splitlines()) == 2
    )
    for s in shapes:
        s.live, s.since = True, None
    assert (
        "2 of 2 shapes live · lag 0 s · 12,000 inserted" in shown()
        and len(shown().splitlines()) == 1
    )
    shapes[1].live, shapes[1].error, shapes[1].since = (
        False,
        "503 Service Unavailable",
        time.monotonic() - 61,
    )
    assert "1 of 2 shapes live · lag 61 s" in shown() and "user_storage: 503" in shown()


# -------------------------------------------------------------------------------------- privileges
def test_offsets_belong_to_their_role(
    electric: ShapeServer, source: Db, here: Db, ann: Writer, server: Server
) -> None:
    Pull(here, electric.url, *TABLES).once()
    with server.connect(here.connection.info.dbname, "mallory") as c:
        mallory = Db(c)
        assert mallory.all("SELECT * FROM rowseal.shapes") == []
        (url,) = here.all(
            "SELECT source FROM rowseal.shapes WHERE relation = 'user_cards'::regclass"
        )
        advance = "SELECT rowseal._advance('user_cards', 'x', 'h', '0', '{}', false)"
        mallory.refused("42501", advance)
        here.run("GRANT INSERT ON user_cards TO mallory")
        # his own, not app's
        mallory.run("SELECT rowseal._advance('user_cards', %s, 'h', '99_0', '{}', true)", url)
        assert mallory.all("SELECT role, log_offset FROM rowseal.shapes") == [
            ("mallory", "99_0")
        ] and set(kept(here).values()) == {"0_inf"}
        for sql in (
            "INSERT INTO rowseal.shapes VALUES ('mallory', 'user_cards', 'x', NULL, '-1')",
            "UPDATE rowseal.shapes SET log_offset = '1_0'",
            "DELETE FROM rowseal.shapes",
            "TRUNCATE rowseal.shapes",
        ):
            mallory.refused("42501", sql)
        mallory.refused(
            "42501", "SELECT rowseal._advance('pg_class', 'x', 'h', '99_0', '{}', true)"
        )
        mallory.refused(
            "23514",
            "SELECT rowseal._advance('user_cards', %s, 'h', '99_0', '{}', true)",
            "x" * 3000,
        )
        mallory.run(
            "SELECT rowseal._advance('user_cards', 's' || n, 'h', '9_0', '{\"ballast\": 7}',"
            " true) FROM generate_series(1, 999) n"
        )
        mallory.refused(
            "54000",
            "SELECT rowseal._advance('user_cards', 'one too many', 'h', '99_0', '{}', true)",
        )
        assert mallory.one("SELECT DISTINCT outcomes FROM rowseal.shapes") == {}
        # nobody pulls into tables that he may not write
        assert (
            "permission denied"
            in done(command(mallory, electric.url, "-t", "user_cards", "--once"))[2]
        )
    with administrator(here) as admin:
        admin.run("SET ROLE rowseal_admin")
        assert admin.run("DELETE FROM rowseal.shapes WHERE role = 'mallory'") == 1000


def test_without_its_declaration_a_table_is_read_from_the_beginning_again(
    electric: ShapeServer, source: Db, here: Db, ann: Writer
) -> None:
    Pull(here, electric.url, *TABLES).once()
    here.run("SELECT rowseal.undeclare('user_storage')")
    assert list(kept(here)) == ["user_cards"]
