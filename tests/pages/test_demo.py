"""make demo: every outcome is seen, and its servers are gone afterwards, however it ends."""

from __future__ import annotations

import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from kit import ROOT
from kit.pages import environment, gone

DEMO = [sys.executable, str(ROOT / "examples/demo.py")]


@pytest.fixture
def folder() -> Iterator[Path]:
    """Where the demo makes its temporary folder: open to the user postgres, with a short name."""
    with tempfile.TemporaryDirectory(prefix="rowseal-") as name:
        place = Path(name)
        place.chmod(0o755)
        yield place


def test_the_demo_shows_every_outcome_and_refusal_and_cleans_up(folder: Path) -> None:
    done = subprocess.run(
        DEMO, capture_output=True, text=True, env=environment(folder), timeout=180
    )
    assert done.returncode == 0, done.stdout + done.stderr
    for outcome in (
        "inserted",
        "superseded",
        "archived",
        "stale",
        "duplicate",
        "deferred",
        "rejected",
    ):
        assert outcome in done.stdout
    for sqlstate in ("RS001", "RS002", "RS003", "RS004", "RS005", "RS009", "RS015"):
        assert sqlstate in done.stdout
    assert "Traceback" not in done.stdout + done.stderr
    assert len(done.stdout.splitlines()) < 210
    mended = done.stdout[done.stdout.index("== The line is mended") :].splitlines()[3:6]
    assert [line.split()[0] for line in mended] == ["oslo", "bergen", "narvik"]
    assert len({tuple(line.split()[-2:]) for line in mended}) == 1  # digests
    assert gone(folder)


@pytest.mark.parametrize(
    ("number", "moment"),
    [
        *(
            (signal.SIGINT, m)
            for m in (
                "Starting a server",
                "PostgreSQL",
                "== A relay",
                "== Three servers",
                "== narvik is cut off",
                "The first server stays",
            )
        ),
        (signal.SIGTERM, "Starting a server"),
        (signal.SIGHUP, "== A relay"),
    ],
)
def test_the_server_is_gone_after_a_signal(
    number: signal.Signals, moment: str, folder: Path
) -> None:
    demo = subprocess.Popen(
        [*DEMO, "--stay"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment(folder),
    )
    assert demo.stdout is not None
    for line in demo.stdout:
        if line.startswith(moment):
            break
    time.sleep(0.2)
    demo.send_signal(number)
    out, err = demo.communicate(timeout=60)
    assert (demo.returncode, "Traceback" in err) == (
        130 if number == signal.SIGINT else 143,
        False,
    ), err
    assert "removed" in out
    assert gone(folder)


def test_the_server_is_gone_after_an_error(folder: Path) -> None:
    program = (
        f"import sys; sys.path.insert(0, {str(ROOT / 'examples')!r}); import demo\n"
        "def fail(*args): raise RuntimeError('on purpose')\n"
        "demo.declare = fail\ndemo.main(stay=False)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        env=environment(folder),
        timeout=120,
    )
    assert "on purpose" in done.stderr
    assert gone(folder)
