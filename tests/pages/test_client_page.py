"""docs/client.md: its blocks in Python, SQL and shell do what they show.
UPDATE_README=1 writes what was printed into the page.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from kit import ROOT
from kit.db import Server
from kit.example import EXAMPLE
from kit.pages import BLOCK, python, tidy
from kit.server import bindir
from rowseal.cli import COMMANDS

PAGE = ROOT / "docs/client.md"


def shell(code: str, tools: Path) -> str:
    environment = {
        **os.environ,
        "PATH": f"{tools}:{bindir()}:{os.environ['PATH']}",
        "PYTHONPATH": str(ROOT / "plpython"),
        "COLUMNS": "150",
    }
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", code],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=environment,
    )
    assert done.returncode == 0, f"{code}\n{done.stdout}"
    return done.stdout


def test_every_block_does_what_the_page_shows(
    server: Server, database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in {
        "PGHOST": server.host,
        "PGPORT": str(server.port),
        "PGUSER": "app",
        "PGDATABASE": database,
    }.items():
        monkeypatch.setenv(name, value)
    monkeypatch.chdir(tmp_path)
    with server.connect(database, "app") as c:
        c.execute(EXAMPLE)
    tools = tmp_path / "tools"
    tools.mkdir()
    (tools / "rowseal").write_text(f'#!/bin/sh\nexec {sys.executable} -m rowseal "$@"\n')
    (tools / "rowseal").chmod(0o755)
    text = PAGE.read_text()
    blocks = [b for b in BLOCK.findall(text) if not (b[0] == "sh" and b[1].startswith("pip "))]
    namespace: dict[str, Any] = {}
    different, actual = [], []
    for (language, code), following in zip(blocks, [*blocks[1:], ("", "")]):
        if language == "text":
            continue
        printed = python(code, namespace) if language == "python" else shell(code, tools)
        if following[0] == "text":
            actual.append(printed)
            if tidy(printed) != tidy(following[1]):
                different.append(f"{code}\n--- printed\n{printed}\n--- page\n{following[1]}")
        else:
            assert printed == "", printed
    namespace["db"].close()
    if os.environ.get("UPDATE_README"):
        parts = iter(actual)
        PAGE.write_text(
            re.sub(
                r"^```text\n.*?^```$",
                lambda m: f"```text\n{tidy(next(parts))}\n```",
                text,
                flags=re.DOTALL | re.MULTILINE,
            )
        )
    assert not different, "\n".join(different)


def test_the_page_names_every_command_and_status() -> None:
    text = PAGE.read_text()
    assert len(COMMANDS) >= 10 and {c for c in COMMANDS if f"rowseal {c}" not in text} == set()
    status = dict(re.findall(r'"(\w+)": (\d{3})', (ROOT / "examples/api.py").read_text()))
    for code, http in status.items():
        assert re.search(rf"^\| [^|]*\b{code}\b[^|]*\| {http} \|", text, re.MULTILINE), code
    for link in re.findall(r"\]\(([^)#:]+)\)", text):
        assert (PAGE.parent / link).exists(), link
