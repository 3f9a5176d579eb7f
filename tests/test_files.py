"""Envelopes travel as files: export, import, damage."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from conftest import EXAMPLE, ROOT, Db, Owner, Server
from rowseal.files import DamagedFile, export_rows, import_rows


@pytest.fixture
def filled(example: Db, ann: Owner, bob: Owner) -> Db:
    form = example.form("user_storage")
    for owner in (ann, bob):
        key = owner.value()["uuid"]
        for value in (b"1", b"2", b"3"):
            example.insert("user_storage", owner.sealed(form, owner.value(value, key)))
    return example


@pytest.fixture
def other(server: Server) -> Iterator[Db]:
    """The example's empty tables in another database."""
    name = server.database()
    with server.connect(name, "app") as c:
        db = Db(c)
        db.run(EXAMPLE)
        yield db
    server.drop(name)


def lines(db: Db) -> list[str]:
    return [line + "\n" for table in ("user_storage", "user_cards") for line in export_rows(db.connection, table)]


def test_an_export_carries_the_whole_state_and_importing_it_twice_changes_nothing(filled: Db, other: Db) -> None:
    rows = lines(filled)
    # owners come last in this file: what waits for them follows
    assert import_rows(other.connection, rows) == {"inserted": 4, "archived": 4}
    digests = [other.digest(t) for t in ("user_cards", "user_storage")]
    assert digests == [filled.digest(t) for t in ("user_cards", "user_storage")]
    assert import_rows(other.connection, rows) == {"duplicate": 8}
    assert digests == [other.digest(t) for t in ("user_cards", "user_storage")]
    assert other.all("SELECT * FROM rowseal.verify('user_storage')") == []


def test_rows_before_their_owner_wait_and_follow(filled: Db, other: Db) -> None:
    assert import_rows(other.connection, lines(filled), batch=1) == {"deferred": 6, "inserted": 2}
    assert other.digest("user_storage") == filled.digest("user_storage")
    assert other.one("SELECT count(*) FROM rowseal.quarantine") == 0


def test_one_owner_alone_can_be_exported(filled: Db, ann: Owner) -> None:
    import base64

    owner = {"user_hash": base64.b64encode(ann.hash).decode()}
    assert len(list(export_rows(filled.connection, "user_storage", owner))) == 3


@pytest.mark.parametrize("damage", ["truncated", "not json", "no envelope", "not utf-8"])
def test_a_damaged_file_names_the_line_and_keeps_what_was_before(filled: Db, other: Db, damage: str) -> None:
    rows = [line.encode() for line in reversed(lines(filled))]
    rows[5] = {"truncated": rows[5][:40], "not json": b"garbage\n", "no envelope": b"[1]\n", "not utf-8": b'{"\xff": 1}\n'}[damage]
    with pytest.raises(DamagedFile, match="line 6: ") as error:
        import_rows(other.connection, rows[: 6 if damage == "truncated" else None])
    assert error.value.line == 6
    assert other.one("SELECT (SELECT count(*) FROM user_cards) + (SELECT count(*) FROM user_storage) + (SELECT count(*) FROM user_storage_versions)") == 5


def test_a_forged_line_is_rejected_and_the_rest_stored(filled: Db, other: Db) -> None:
    rows = [json.loads(line) for line in reversed(lines(filled))]
    rows[3]["row"]["value_b64"] = "Zm9yZ2Vk"
    assert import_rows(other.connection, [json.dumps(r) for r in rows])["rejected"] == 1
    assert other.one("SELECT count(*) FROM user_cards") == 2


def rowseal(db: Db, *args: str) -> subprocess.CompletedProcess[str]:
    info = db.connection.info
    environment = {"PGHOST": info.host, "PGPORT": str(info.port), "PGUSER": info.user, "PGDATABASE": info.dbname,
                   "PYTHONPATH": str(ROOT / "plpython"), "PATH": "/usr/bin:/bin", "COLUMNS": "100"}  # fmt: skip
    return subprocess.run([sys.executable, "-m", "rowseal.cli", *args], capture_output=True, text=True, env=environment)


def test_the_command_exports_and_imports_with_a_summary(filled: Db, other: Db, tmp_path: Path) -> None:
    for table in ("user_cards", "user_storage"):
        done = rowseal(filled, "export", table, "--output", str(tmp_path / table))
        assert done.returncode == 0, done.stderr
    done = rowseal(other, "import", str(tmp_path / "user_cards"))
    assert done.returncode == 0 and "inserted" in done.stdout, done.stderr
    done = rowseal(other, "import", "--json", str(tmp_path / "user_storage"))
    assert json.loads(done.stdout) == {"outcomes": {"archived": 4, "inserted": 2}, "damaged_line": None}
    with (tmp_path / "user_storage").open("a") as f:
        f.write('{"row": {"cut')
    done = rowseal(other, "import", str(tmp_path / "user_storage"))
    assert done.returncode == 1 and "line 7" in done.stderr and "Traceback" not in done.stderr
    done = rowseal(other, "export", "nothing")
    assert done.returncode == 1 and "nothing" in done.stderr and "Traceback" not in done.stderr
