"""The command line: what it prints, its exit codes, and that nobody ever sees a traceback."""

from __future__ import annotations

import json
import os
import pty
import re
import shutil
import stat
import subprocess
import sys
import uuid
import xml.etree.ElementTree as ET
from base64 import b64decode, b64encode
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from kit import ROOT
from kit.db import Db, Server
from kit.example import Owner
from rowseal.cli import app, drawing
from rowseal.cli.versions import Version
from rowseal.client import keys, verify


def environment(db: Db | None, **more: str) -> dict[str, str]:
    out = {
        "PYTHONPATH": str(ROOT / "plpython"),
        "PATH": os.environ["PATH"],
        "COLUMNS": "200",
        "HOME": "/nonexistent",
        **more,
    }
    if db is not None:
        info = db.connection.info
        out |= {
            "PGHOST": info.host,
            "PGPORT": str(info.port),
            "PGUSER": info.user,
            "PGDATABASE": info.dbname,
        }
    return out


def rowseal(db: Db | None, *args: Any, stdin: str = "", code: int = 0, **more: str) -> Any:
    """Run the command in this process; whatever it does,
    it must exit with ``code`` and show no traceback.
    """
    done = CliRunner(
        env={
            **dict.fromkeys(("PGHOST", "PGPORT", "PGUSER", "PGDATABASE")),
            **environment(db, **more),
        }
    ).invoke(app, list(map(str, args)), input=stdin, prog_name="rowseal")
    assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
    assert "Traceback" not in done.stderr + done.stdout, done.stderr
    assert done.exit_code == code, (args, done.exit_code, done.stdout, done.stderr)
    if code == 3:
        assert re.fullmatch(r"error: [^\n]+\n(hint: [^\n]+\n)?", done.stderr), done.stderr
    return done


def b64(raw: bytes) -> str:
    return b64encode(raw).decode()


KEY = uuid.UUID("a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11")


@pytest.fixture
def forked(example: Db, ann: Owner) -> tuple[Db, Owner]:
    """Ann's note: a first version, one on top of it on each of two devices, a deletion on one,
    one whose parent is not here.
    """
    form = example.form("user_storage")

    def write(value: bytes | None, parent: bytes | None, **more: Any) -> bytes:
        row = ann.sealed(form, ann.value(value, KEY, parent_sign_b64=parent, **more))
        example.insert("user_storage", row)
        return row["sign_b64"]  # type: ignore[no-any-return]

    first = write(b"milk", None)
    second = write(b"tea", first)
    write(b"coffee", second)
    write(None, second, deleted_flag=True)
    write(b"gin", b"\x01" * 64)
    return example, ann


def key_of(owner: Owner) -> str:
    return json.dumps({"user_hash": b64(owner.hash), "uuid": str(KEY)})


# ---------------------------------------------------------------------------------- help, failures
def test_help_names_every_command_and_the_exit_codes() -> None:
    command = [sys.executable, "-m", "rowseal", "--help"]
    assert subprocess.run(
        command, capture_output=True, text=True, env=environment(None)
    ).stdout.split()[:2] == ["Usage:", "python"]
    text = rowseal(None, "--help").stdout
    for command in (
        "keygen",
        "sign",
        "verify",
        "apply",
        "export",
        "import",
        "history",
        "audit",
        "status",
        "vectors",
    ):
        assert f" {command} " in text
        own = rowseal(None, command, "--help").stdout
        assert f"Usage: rowseal {command}" in own
    assert re.search(
        r"0 all is well; 1 .*; 2 wrong usage; 3 it could not be done", " ".join(text.split())
    )


def test_wrong_usage_exits_with_2(example: Db, ann: Owner, tmp_path: Path) -> None:
    for args in (
        ["nothing"],
        ["sign"],
        ["history", "user_storage", "no json"],
        ["history", "user_storage", '{"a": 1}'],
        ["export", "user_cards", "--json"],
        ["history", "user_storage", key_of(ann), "--show", "nothing"],
        ["export", "user_cards", "--owner", "[]"],
    ):
        assert rowseal(example, *args, code=2).stdout == ""


def test_what_cannot_be_done_is_one_line_and_exit_code_3(
    example: Db, server: Server, tmp_path: Path
) -> None:
    (tmp_path / "damaged").write_text("{")
    absent = str(tmp_path / "absent")
    for args, words in [
        (["export", "nothing"], "42P01"),
        (["export", "pg_class"], "RS007 table pg_class is not declared"),
        (["history", "pg_class", "{}"], "not declared"),
        (["vectors", "pg_class"], "not declared"),
        (["import", absent], absent),
        (["import", tmp_path / "damaged"], "line 1: not JSON"),
        (["apply", "user_cards", tmp_path / "damaged"], "line 1: not JSON"),
        (["verify", tmp_path / "damaged", "-p", b64(bytes(32))], "line 1: not JSON"),
        (
            ["verify", tmp_path / "damaged", "-p", "no [bold]key[/bold]"],
            "'no [bold]key[/bold]' is neither",
        ),
        (["sign", tmp_path / "damaged", "-t", "user_cards", "-k", absent], absent),
        (["status", "-d", "host=127.0.0.1 port=1"], "port 1"),
        (["status", "-d", "no connection string"], "missing"),
        (["status", "-d", "dbname=postgres"], "rowseal"),
        (["audit", "nothing"], "42P01"),
    ]:
        assert words in rowseal(example, *args, code=3).stderr, args
    assert "CREATE EXTENSION" in rowseal(example, "status", "-d", "dbname=postgres", code=3).stderr


def test_a_closed_pipe_is_no_error(example: Db, ann: Owner) -> None:
    command = f"{sys.executable} -m rowseal export user_cards | true"
    done = subprocess.run(
        ["bash", "-c", command], capture_output=True, text=True, env=environment(example)
    )
    assert "Traceback" not in done.stderr and "error" not in done.stderr


# ---------------------------------------------------------------------------- keygen, sign, verify
def test_keygen_makes_a_key_that_signs_rows_the_server_takes(example: Db, tmp_path: Path) -> None:
    made = json.loads(rowseal(None, "keygen", tmp_path / "key", "--json").stdout)
    assert stat.S_IMODE((tmp_path / "key").stat().st_mode) == 0o600
    key = keys.load(tmp_path / "key")
    assert made["algorithm"] == "ed25519" and made["public_key"] == b64(bytes(key.verify_key))
    assert keys.load_public(made["public_key_file"]) == bytes(key.verify_key)
    card = {
        "user_hash": b64(bytes.fromhex(made["fingerprints"]["sha256"])),
        "sign_pkey": made["public_key"],
        "name": "Zoë",
    }
    command = ["sign", "-", "-k", tmp_path / "key", "-t", "user_cards"]
    sealed = rowseal(example, *command, stdin=json.dumps(card) + "\n").stdout
    assert verify(json.loads(sealed), bytes(key.verify_key))
    assert json.loads(sealed)["row"]["deleted_flag"] is False
    # offline, from the spec
    spec = example.one("SELECT spec FROM rowseal.declarations WHERE tag = 'user_storage'")
    (tmp_path / "spec").write_text(json.dumps(spec))
    note = {
        "user_hash": card["user_hash"],
        "uuid": str(KEY).upper(),
        "value_b64": "AP8=",
        "owner_timestamp": 5,
    }
    deleted = {**note, "deleted_flag": True}
    (tmp_path / "rows").write_text(json.dumps(note) + "\n\n" + json.dumps(deleted) + "\n")
    signed = tmp_path / "signed"
    command = ["sign", tmp_path / "rows", "--form", tmp_path / "spec", "-o", signed]
    rowseal(None, *command, ROWSEAL_KEY=str(tmp_path / "key"))
    checked = rowseal(None, "verify", signed, "-p", made["public_key_file"])
    assert "2 of 2" in checked.stdout
    done = rowseal(example, "import", "-", "--json", stdin=sealed + signed.read_text())
    assert json.loads(done.stdout) == {
        "outcomes": {"archived": 1, "inserted": 2},
        "refused": [],
        "damaged_line": None,
    }
    assert example.one("SELECT deleted_flag FROM user_storage") is True
    # what is there is not overwritten
    assert "is there already" in rowseal(None, "keygen", tmp_path / "key", code=3).stderr
    assert keys.load(tmp_path / "key") == key


def test_a_key_with_a_passphrase(tmp_path: Path) -> None:
    rowseal(None, "keygen", tmp_path / "key", "--encrypt", ROWSEAL_PASSPHRASE="geheim")
    (tmp_path / "spec").write_text(
        json.dumps(
            {
                "tag": "t",
                "fields": {"x": "text", "at": "integer", "gone": "boolean"},
                "required": ["x", "at", "gone"],
            }
        )
    )
    sign = ("sign", "-", "-k", tmp_path / "key", "--form", tmp_path / "spec")
    assert (
        json.loads(rowseal(None, *sign, stdin='{"x": "y"}', ROWSEAL_PASSPHRASE="geheim").stdout)[
            "row"
        ]["x"]
        == "y"
    )
    assert (
        "passphrase is wrong"
        in rowseal(None, *sign, stdin="{}", code=3, ROWSEAL_PASSPHRASE="falsch").stderr
    )
    assert "ROWSEAL_PASSPHRASE" in rowseal(None, *sign, stdin="{}", code=3).stderr
    assert (
        "empty"
        in rowseal(None, "keygen", tmp_path / "other", "-e", code=3, ROWSEAL_PASSPHRASE="").stderr
    )
    for line, words in [
        ('{"x": 5}', "line 1: field 'x': int is not text"),
        ('{"y": ""}', "unknown field 'y'"),
        ("[]", "not a JSON object"),
    ]:
        assert words in rowseal(None, *sign, stdin=line, code=3, ROWSEAL_PASSPHRASE="geheim").stderr
    (tmp_path / "key").chmod(0o644)
    assert (
        "chmod 600" in rowseal(None, *sign, stdin='{"x": "y"}', ROWSEAL_PASSPHRASE="geheim").stderr
    )


def test_verify_names_the_lines_that_are_not_signed_with_the_key(
    example: Db, ann: Owner, bob: Owner, tmp_path: Path
) -> None:
    text = rowseal(example, "export", "user_cards").stdout
    done = rowseal(None, "verify", "-", "-p", ann.public_key.hex(), "--json", stdin=text, code=1)
    answer = json.loads(done.stdout)
    assert answer["rows"] == 2 and len(answer["wrong_lines"]) == 1
    number = answer["wrong_lines"][0]
    assert json.loads(text.splitlines()[number - 1])["row"]["name"] == "Bob"
    assert (
        f"line {number}: "
        in rowseal(None, "verify", "-", "-p", ann.public_key.hex(), stdin=text, code=1).stderr
    )


# ---------------------------------------------------------------------------------------- carrying
def test_rows_are_exported_imported_and_applied(
    forked: tuple[Db, Owner], other: Db, tmp_path: Path
) -> None:
    db, _ann = forked
    for table, rows in (("user_cards", 1), ("user_storage", 5)):
        assert json.loads(
            rowseal(db, "export", table, "-o", tmp_path / table, "--json").stdout
        ) == {"rows": rows}
    assert (
        len(
            rowseal(
                db, "export", "user_storage", "--owner", json.dumps({"user_hash": b64(b"nobody")})
            ).stdout
        )
        == 0
    )
    assert re.search(
        r"^inserted +1 *$", rowseal(other, "import", tmp_path / "user_cards").stdout, re.MULTILINE
    )
    lines = (tmp_path / "user_storage").read_text().splitlines()
    forged = json.loads(lines[2])
    forged["row"]["value_b64"] = "Zm9yZ2Vk"
    (tmp_path / "forged").write_text("\n".join([*lines, json.dumps(forged)]) + "\n")
    done = rowseal(other, "apply", "user_storage", tmp_path / "forged", code=1)
    assert "line 6: rejected, RS001: invalid signature" in done.stderr and re.search(
        r"^rejected +1 *$", done.stdout, re.MULTILINE
    )
    done = rowseal(other, "apply", "user_storage", tmp_path / "forged", "--json", code=1)
    assert json.loads(done.stdout) == {
        "outcomes": {"duplicate": 5, "rejected": 1},
        "damaged_line": None,
        "refused": [{"line": 6, "outcome": "rejected", "reason": "RS001: invalid signature"}],
    }
    assert other.digest("user_storage") == db.digest("user_storage")
    with (tmp_path / "user_storage").open("a") as f:
        f.write('{"row": {"cut')
    done = rowseal(other, "import", "--json", tmp_path / "user_storage", code=3)
    assert json.loads(done.stdout)["damaged_line"] == 6 and "line 6" in done.stderr
    shown = other.one("SELECT to_jsonb(s)::text FROM user_storage s")
    assert (
        "duplicate"
        in rowseal(other, "apply", "user_storage", "-", "--format", "pgtext", stdin=shown).stdout
    )


def test_a_failure_leaves_the_old_file(forked: tuple[Db, Owner], tmp_path: Path) -> None:
    db, _ = forked
    old = tmp_path / "notes.ndjson"
    rowseal(db, "export", "user_storage", "-o", old)
    text = old.read_text()
    rowseal(db, "export", "nothing", "-o", old, code=3)
    assert old.read_text() == text and [p.name for p in tmp_path.iterdir()] == ["notes.ndjson"]
    os.mkfifo(tmp_path / "pipe")
    with subprocess.Popen(
        ["cat", str(tmp_path / "pipe")], stdout=subprocess.PIPE, text=True
    ) as reader:
        rowseal(db, "export", "user_storage", "-o", tmp_path / "pipe")
        assert reader.stdout is not None and reader.stdout.read() == text


def test_bars_are_for_terminals(forked: tuple[Db, Owner], tmp_path: Path) -> None:
    db, _ = forked
    assert rowseal(db, "export", "user_storage", "-o", tmp_path / "rows").stderr == "5 rows\n"
    primary, secondary = pty.openpty()
    command = [sys.executable, "-m", "rowseal", "import", str(tmp_path / "rows")]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=secondary, env=environment(db, TERM="xterm")
    ) as process:
        os.close(secondary)
        shown = b""
        while True:
            try:
                piece = os.read(primary, 1000)
            except OSError:  # Linux's end of file
                break
            if not piece:
                break
            shown += piece
        assert process.stdout is not None and "duplicate" in process.stdout.read().decode()
    os.close(primary)
    assert process.returncode == 0 and b"5 rows" in shown and b"\x1b[" in shown


# ----------------------------------------------------------------------------------------- history
def test_history_draws_the_tree(forked: tuple[Db, Owner]) -> None:
    db, ann = forked
    signs = {
        v: s.hex()[:8]
        for v, s in db.all(
            "SELECT value_b64, sign_b64 FROM user_storage UNION ALL SELECT value_b64, sign_b64"
            " FROM user_storage_versions"
        )
    }
    lines = rowseal(
        db, "history", "user_storage", key_of(ann), "--show", "value_b64"
    ).stdout.splitlines()
    assert lines[0].startswith('user_storage {"user_hash": ')
    depth = {
        text: line.index(signs[text]) for text in signs for line in lines if signs[text] in line
    }
    assert len(depth) == 5
    # a chain stays in its column, a fork goes deeper, on both sides alike
    assert depth[b"milk"] == depth[b"tea"] == depth[b"gin"] < depth[b"coffee"] == depth[None]
    text = {value: next(line for line in lines if sign in line) for value, sign in signs.items()}
    assert (
        "current" in text[b"gin"]
        and "open end" in text[b"coffee"]
        and "deleted" in text[None]
        and "open end" in text[None]
    )
    assert (
        "open end" not in text[b"tea"]
        and "value_b64: dGVh" in text[b"tea"]
        and "value_b64" not in text[None]
    )
    order = [lines.index(text[v]) for v in (b"milk", b"tea", b"coffee", None)]
    assert order == sorted(order)
    assert lines[lines.index(text[b"gin"]) - 1].strip("│├└─ ") == "01010101  not here"
    assert (
        "no version"
        in rowseal(
            db,
            "history",
            "user_storage",
            json.dumps({"user_hash": "AA==", "uuid": str(KEY)}),
            code=1,
        ).stderr
    )


def test_history_as_json_and_as_a_graph(forked: tuple[Db, Owner], tmp_path: Path) -> None:
    db, ann = forked
    versions = json.loads(rowseal(db, "history", "user_storage", key_of(ann), "--json").stdout)
    assert [
        (v["row"].get("value_b64"), v["current"], v["head"], v["deleted"], v["gap"])
        for v in versions
    ] == [
        (b64(b"milk"), False, False, False, False),
        (b64(b"tea"), False, False, False, False),
        (b64(b"coffee"), False, True, False, False),
        (None, False, True, True, False),
        (b64(b"gin"), True, True, False, True),
    ]
    graph = rowseal(db, "history", "user_storage", key_of(ann), "-f", "dot").stdout
    arrows = {
        (a, b) for a, b in re.findall(r'^  "([0-9a-f]+)" -> "([0-9a-f]+)"', graph, re.MULTILINE)
    }
    assert arrows == {
        (b64decode(v["parent_sign_b64"]).hex(), b64decode(v["sign_b64"]).hex())
        for v in versions
        if v["parent_sign_b64"]
    }
    assert graph.count("[label=") == 6 and "not here" in graph
    svg = ("history", "user_storage", key_of(ann), "-f", "svg", "-o", tmp_path / "history.svg")
    assert "apt install graphviz" in rowseal(db, *svg, code=3, PATH=str(tmp_path)).stderr
    if shutil.which("dot") is None:
        pytest.skip("Graphviz's dot is not installed: SVG is not tested")
    rowseal(db, *svg)
    root = ET.parse(tmp_path / "history.svg").getroot()
    assert (
        root.tag.endswith("svg")
        and len(root.findall(".//{http://www.w3.org/2000/svg}ellipse")) == 0
    )
    assert sum(g.get("class") == "node" for g in root.iter("{http://www.w3.org/2000/svg}g")) == 6


def version(n: int, parent: int | None, **row: Any) -> Version:
    sign = lambda i: bytes([i // 256, i % 256]) * 32  # noqa: E731
    return Version(
        sign(n),
        None if parent is None else sign(parent),
        1_700_000_000_000_000 + n,
        False,
        False,
        False,
        row,
    )


def test_a_long_history_is_drawn_without_going_deep() -> None:
    from rich.console import Console

    versions = [version(1, None), *(version(n, n - 1) for n in range(2, 3000))]
    with Console(width=100).capture() as captured:
        console = Console(width=100, file=None)
        with console.capture() as captured:
            console.print(drawing.tree(versions, "t"))
    lines = captured.get().splitlines()
    assert len(lines) == 3000 and max(map(len, lines)) < 70
    assert drawing.dot(versions, "t").count("->") == 2998


def test_what_strangers_signed_neither_moves_the_terminal_nor_breaks_the_graph() -> None:
    from rich.console import Console

    evil = '\x1b[2J\x07[red]x[/red]"];}\\ \n\u202e'
    versions = [version(1, None, **{evil: evil})]
    console = Console(width=1000, force_terminal=True, no_color=True)
    with console.capture() as captured:
        console.print(drawing.tree(versions, evil, [evil]))
    text = re.sub(r"\x1b\[[0-9;]*m", "", captured.get())
    assert (
        "\x1b" not in text
        and "\x07" not in text
        and "\u202e" not in text
        and "[red]x[/red]" in text
        and len(text.splitlines()) == 2
    )
    graph = drawing.dot(versions, evil, [evil])
    without = re.sub(r'"(\\.|[^"\\])*"', "", graph)
    assert "red" not in without and graph.isprintable() is False and "\x1b" not in graph
    if shutil.which("dot"):
        assert "[red]x[/red]" in drawing.svg(graph)


# ----------------------------------------------------------------------------------- audit, status
def test_audit_is_silent_about_health_and_loud_about_tampering(
    forked: tuple[Db, Owner], admin: Db
) -> None:
    db, _ann = forked
    assert json.loads(rowseal(db, "audit", "--json").stdout) == {
        "tables": ["user_cards", "user_storage"],
        "problems": [],
    }
    assert "user_storage: no problems" in rowseal(db, "audit").stdout
    admin.run(
        "ALTER TABLE user_storage_versions DISABLE TRIGGER USER;"
        " UPDATE user_storage_versions SET value_b64 = 'gin' WHERE value_b64 = 'tea'"
    )
    answer = json.loads(rowseal(db, "audit", "--json", code=1).stdout)
    (row,) = (p for p in answer["problems"] if p["check"] == "verify")
    assert (row["table"], row["sqlstate"], row["problem"], row["key"]["uuid"]) == (
        "user_storage",
        "RS001",
        "invalid signature",
        str(KEY),
    )
    assert any("ENABLE ALWAYS" in p["problem"] for p in answer["problems"])
    text = rowseal(db, "audit", "user_storage", code=1).stdout
    assert "RS001 invalid signature" in text and re.search(
        r"^user_storage: [1-9] problems?$", text, re.MULTILINE
    )
    assert json.loads(rowseal(db, "audit", "user_cards", "--json").stdout)["problems"] == []


def test_status_shows_tables_health_links_and_quarantine(
    forked: tuple[Db, Owner], admin: Db
) -> None:
    db, ann = forked
    db.apply(
        "user_storage",
        [{"row": {}}, ann.envelope(db.form("user_storage"), ann.value(user_hash=b"who"))],
    )
    answer = json.loads(rowseal(admin, "status", "--json").stdout)
    assert (
        answer["ok"]
        and {t["table"] for t in answer["tables"]} == {"user_cards", "user_storage"}
        and answer["links"] == []
    )
    assert sorted((q["sqlstate"], q["curable"], q["rows"]) for q in answer["quarantine"]) == [
        ("RS001", False, 1),
        ("RS002", True, 1),
    ]
    text = rowseal(admin, "status").stdout
    assert "checks are well" in text and "RS002" in text and "two tables" in text
    # an ordinary role sees what is its own, and is told what it may not see
    answer = json.loads(rowseal(db, "status", "--json").stdout)
    assert answer["links"] is None and answer["dropped"] is None
    assert "links: not for this role" in rowseal(db, "status").stdout
    admin.run("ALTER TABLE user_storage DISABLE TRIGGER zzz_rowseal_guard")
    assert json.loads(rowseal(db, "status", "--json", code=1).stdout)["ok"] is False
    assert "zzz_rowseal_guard" in rowseal(db, "status", code=1).stdout


def test_vectors_are_written_as_one_document(example: Db, tmp_path: Path) -> None:
    document = json.loads(rowseal(example, "vectors", "user_storage").stdout)
    assert (
        document["spec"]["tag"] == "user_storage"
        and len(document["accept"]) > 10
        and len(document["refuse"]) > 20
    )
    rowseal(example, "vectors", "user_storage", "-o", tmp_path / "vectors.json")
    assert json.loads((tmp_path / "vectors.json").read_text()) == document
