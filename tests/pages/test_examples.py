"""Each example runs on servers of its own, and asserts what it says."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from kit import ROOT
from kit.pages import environment, gone


@pytest.mark.parametrize("name", ["devices", "stuffstore", "clinics"])
def test_example(name: str) -> None:
    with tempfile.TemporaryDirectory(prefix="rowseal-") as folder:
        Path(folder).chmod(0o755)
        done = subprocess.run(
            [sys.executable, str(ROOT / f"examples/{name}.py")],
            capture_output=True,
            text=True,
            env=environment(Path(folder)),
            timeout=300,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        assert gone(Path(folder))
