"""What README.md shows is what happens.

Its blocks run in order in one fresh database, as its superuser: ``sql`` through psql, ``python`` in
one namespace.  A ``text`` block right behind is what the block before it prints, to the letter;
without one the block must just not fail.  ``sh`` blocks are not run, the make targets in them must
exist.  UPDATE_README=1 writes into the page what was printed; read the difference.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
from typing import Any

import pytest

from kit import ROOT
from kit.db import Server
from kit.pages import BLOCK, python, tidy
from kit.server import bindir

README = (ROOT / "README.md").read_text()


def psql(server: Server, database: str, sql: str) -> str:
    command = [
        str(bindir() / "psql"),
        "-X",
        "-q",
        "-v",
        "SHOW_CONTEXT=never",
        "-h",
        server.host,
        "-p",
        str(server.port),
        "-U",
        "postgres",
    ]
    done = subprocess.run(
        [*command, database], input=sql, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    return done.stdout


def test_every_block_prints_what_the_readme_says(
    server: Server, database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in {
        "PGHOST": server.host,
        "PGPORT": str(server.port),
        "PGUSER": "postgres",
        "PGDATABASE": database,
    }.items():
        monkeypatch.setenv(name, value)
    # the README creates the extension itself
    with server.connect(database) as c:
        c.execute("DROP EXTENSION rowseal CASCADE")
        c.execute("DROP EXTENSION plpython3u CASCADE")
        c.execute("SET client_min_messages = error")
    blocks = BLOCK.findall(README)
    namespace: dict[str, Any] = {}
    differences, actual = [], []
    for (language, code), following in zip(blocks, [*blocks[1:], ("", "")]):
        if language == "sql":
            printed = psql(server, database, code)
        elif language == "python":
            printed = python(code, namespace)
        else:
            continue
        if following[0] == "text":
            actual.append(printed)
            if tidy(printed) != tidy(following[1]):
                differences.append(
                    f"{code}\n--- printed\n{tidy(printed)}\n--- README\n{tidy(following[1])}\n"
                )
        elif "ERROR:" in printed:
            differences.append(f"{code}\n--- failed\n{printed}")
    namespace["db"].close()
    if os.environ.get("UPDATE_README"):
        parts = iter(actual)
        text = re.sub(
            r"^```text\n.*?^```$",
            lambda m: f"```text\n{tidy(next(parts))}\n```",
            README,
            flags=re.DOTALL | re.MULTILINE,
        )
        (ROOT / "README.md").write_text(text)
    assert not differences, "\n".join(differences)


def test_the_first_60_lines_show_the_commands_and_a_session() -> None:
    top = "\n".join(README.splitlines()[:60])
    for promised in (
        "make demo",
        "make test",
        "CREATE EXTENSION rowseal",
        "rowseal.declare",
        "sign(",
        "RS001 invalid signature",
    ):
        assert promised in top


def test_commands_and_links_exist() -> None:
    targets = set(re.findall(r"^([\w ]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    targets = {word for line in targets for word in line.split()}
    for language, code in BLOCK.findall(README):
        if language == "sh":
            assert set(re.findall(r"^(?:sudo )?make ([a-z]+)", code, re.MULTILINE)) <= targets
    for link in re.findall(r"\]\(([^)#:]+)\)", README):
        assert (ROOT / link).exists(), link


def test_one_version_number() -> None:
    meta = json.loads((ROOT / "META.json").read_text())
    version = meta["version"]
    provided = meta["provides"]["rowseal"]
    assert (provided["version"], provided["file"]) == (version, f"extension/rowseal--{version}.sql")
    assert f"## {version}" in (ROOT / "CHANGELOG.md").read_text().replace("[", "").replace("]", "")
    for path in (
        "Makefile",
        "plpython/pyproject.toml",
        "extension/rowseal.control.in",
        "sql/build.py",
    ):
        assert version not in (ROOT / path).read_text(), path
