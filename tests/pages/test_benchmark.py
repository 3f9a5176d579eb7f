"""The benchmark runs, counts every row that it claims to have written, and writes its report."""

from __future__ import annotations

import importlib
import json
import shutil
import subprocess
import sys
from pathlib import Path

import psycopg
import pytest
from nacl.exceptions import BadSignatureError

from kit import ROOT
from kit.db import Server
from kit.server import SERVER_PACKAGES

sys.path.insert(0, str(ROOT / "bench"))
import lab  # noqa: E402
import report  # noqa: E402
import rows  # noqa: E402
import run  # noqa: E402
from works import works  # noqa: E402

TINY = (
    "--rows 20 --rounds 2 --largest 10000 --growth 100 200 --depth 1 3 --tables 2 --owners 20"
    " --audit 40 --linked 20"
)


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("results")
    run.main([*TINY.split(), "--output", str(folder)])
    return folder


def test_every_work_is_measured_against_its_limit(results: Path) -> None:
    result = json.loads((results / "short.json").read_text())
    assert {
        "fresh rows, COPY",
        "superseding a versioned row, by UPDATE",
        "stale unversioned row",
    } < {w["work"] for w in result["works"]}
    for work in result["works"]:
        assert len(work["limit"]) == 2 and min(work["limit"]) > 0
        assert {"rowseal"} <= set(work["times"]) and all(
            server > 0 and client >= 0
            for times in work["times"].values()
            for server, client in times
        ), work
    assert all(f["values"] for f in result["figures"])
    table = (results / "short.md").read_text()
    assert all(f"| {w['work']} | " in table for w in result["works"]) and all(
        f["name"] in table for f in result["figures"]
    )


@pytest.mark.parametrize(
    ("name", "arguments"),
    [("writers", "--rows 10 --rounds 1 --retract 20 10"), ("signatures", "--rows 20 --rounds 1")],
)
def test_the_other_benchmarks_run(
    name: str, arguments: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if name == "signatures" and not SERVER_PACKAGES.exists():
        pytest.skip(f"the server's Python has no ML-DSA: {SERVER_PACKAGES} is not there")
    monkeypatch.setattr(sys, "argv", [name, *arguments.split(), "--output", str(tmp_path)])
    importlib.import_module(name).main()
    assert (tmp_path / f"{name}.md").read_text().count("|") > 20


def test_the_profile_says_where_the_time_goes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if (
        not shutil.which("perf")
        or subprocess.run(
            ["perf", "record", "-q", "-e", "cpu-clock", "-o", tmp_path / "try", "true"],
            capture_output=True,
        ).returncode
    ):
        pytest.skip("perf is not there, or not ours to use")
    monkeypatch.setattr(
        sys,
        "argv",
        [
            "profile",
            "--rows",
            "200",
            "--rounds",
            "1",
            "--provider",
            "pynacl",
            "--output",
            str(tmp_path),
        ],
    )
    importlib.import_module("profile_rows").main()
    lines = [
        line.split("|")[1:-1]
        for line in (tmp_path / "profile-pynacl.md").read_text().splitlines()
        if line.startswith("| fresh")
    ]
    verification = [float(cells[2]) for cells in lines]
    assert len(lines) == 2 and min(verification) > 10


def test_the_pages_are_written_between_their_markers(results: Path, tmp_path: Path) -> None:
    readme, performance = tmp_path / "README.md", tmp_path / "performance.md"
    for page in readme, performance:
        page.write_text(
            "before\n<!-- make bench-pages writes this -->\nold\n<!-- until here -->\nafter\n"
        )
    for _ in range(2):
        report.pages(readme, performance, results)
    for page, copies in (readme, 0), (performance, 1):
        text = page.read_text()
        assert text.startswith("before\n") and text.endswith("after\n") and "old" not in text
        assert text.count("| fresh rows, COPY |") == copies
        assert text.count("| a link, fresh rows in one transaction |") == 1
    assert sum(line.startswith("| ") for line in readme.read_text().splitlines()) == 2 + 5
    readme.write_text("no markers")
    with pytest.raises(SystemExit):
        report.pages(readme, performance, results)


def test_contenders_store_the_same_rows(server: Server) -> None:
    """Every way to write ends in the same tables;
    forged rows come through none but the unchecked one.
    """
    bench = lab.Bench(f"host={server.host} port={server.port} user=postgres", 20, 50, 1000)
    try:
        named = {w.name: w for w in works(bench) if w.shape.name in ("storage", "notes")}
        for name, archived in (
            ("fresh rows, INSERT … SELECT", 0),
            ("fresh rows, COPY", 0),
            ("fresh rows, apply in batches of 20", 0),
            ("fresh rows, import of a file", 0),
            ("superseding a versioned row, by UPDATE", 20),
            ("superseding a versioned row, by INSERT", 20),
            ("duplicate of an archived version", 60),
        ):
            work = named[name]
            bench.run(work.shape.state(work.state))
            for contender in work.contenders.values():
                contender(bench.batches["storage"][0])
            kind = "fresh" if archived == 0 else "newer"
            for table, staged in (
                ("storage", kind),
                ("storage_app", kind),
                ("storage_hand", {"fresh": "by_hand", "newer": "newer_by_hand"}[kind]),
            ):
                if table == "storage_hand" and "hand" not in work.contenders:
                    continue
                missing = bench.one(
                    f"SELECT count(*) FROM (SELECT * FROM storage_{staged} EXCEPT SELECT *"
                    f" FROM {table}) x"
                )
                assert missing == 0, (name, table)
                assert bench.one(f"SELECT count(*) FROM {table}_versions") == archived, (
                    name,
                    table,
                )
        batch = bench.batches["storage"][0]
        forged = {**batch.fresh[0], "value_b64": b"forged"}
        bench.run(batch.shape.state("empty"))
        with pytest.raises(BadSignatureError):
            rows.Application(bench.c, batch.shape).write_one(forged)
        for table in "storage", "storage_hand":
            with pytest.raises(psycopg.Error):
                bench.run(f"INSERT INTO {table} {batch.shape.values_sql}", *forged.values())
    finally:
        for c in bench.connections.values():
            c.close()
        server.drop("bench")
