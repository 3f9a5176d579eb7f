"""Node.js for tests: packages from npm, and code that uses those of examples/javascript."""

from __future__ import annotations

import fcntl
import json
import shutil
import subprocess
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from kit import ROOT

PROJECT = ROOT / "examples/javascript"


@cache
def packages(project: Path = PROJECT) -> Path:
    """The folder with its node_modules as package-lock.json says;
    skips where there is no Node or no package registry.
    """
    if not shutil.which("npm"):
        pytest.skip("Node.js and npm are not installed")
    with (project / "package.json").open() as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # two test workers
        installed = project / "node_modules/.package-lock.json"
        if (
            not installed.exists()
            or installed.stat().st_mtime < (project / "package-lock.json").stat().st_mtime
        ):
            command = ["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund"]
            done = subprocess.run(command, cwd=project, capture_output=True, text=True)
            if any(
                code in done.stderr
                for code in ("ENOTFOUND", "EAI_AGAIN", "ECONNREFUSED", "ETIMEDOUT")
            ):
                pytest.skip("npm reaches no registry")
            assert done.returncode == 0, done.stderr
    return project


def node(code: str, given: Any = None) -> Any:
    """What an ES module answers, as JSON: ``code`` reads ``given``,
    and has the functions of examples/javascript/rowseal.mjs.
    """
    before = (
        "import { readFileSync } from 'node:fs'; import { payload, sign, verify,"
        " verifyBytes } from './rowseal.mjs'\n"
    )
    before += (
        "const given = JSON.parse(readFileSync(0, 'utf8'));"
        " const bytes = (text) => new Uint8Array(Buffer.from(text, 'base64'))\n"
    )
    command = ["node", "--input-type=module", "-e", before + code]
    done = subprocess.run(
        command, cwd=packages(), input=json.dumps(given), capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)
