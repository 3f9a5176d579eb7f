"""The threat model names rules that it states and tests that exist."""

from __future__ import annotations

import re

from kit import ROOT

PAGE = (ROOT / "docs/threats.md").read_text()
ROWS = re.findall(r"^\|([^|]*)\|([^|]+)\| (\d+|seen) \| (`test_[^|]+) \|$", PAGE, re.M)


def test_every_row_has_a_rule_and_tests_that_exist() -> None:
    code = "".join(p.read_text() for p in (ROOT / "tests").rglob("test_*.py"))
    there = set(re.findall(r"^def (test_\w+)", code, re.M))
    assert len(ROWS) == PAGE.count("\n|") - 2  # all but the head of the table
    for _, attempt, _, tests in ROWS:
        assert set(re.findall(r"`(\w+)`", tests)) <= there, attempt


def test_every_rule_is_stated_and_used() -> None:
    stated = re.findall(r"^(\d+)\. ", PAGE, re.M)
    assert stated == [str(n + 1) for n in range(len(stated))]
    assert {rule for _, _, rule, _ in ROWS} == {*stated, "seen"}
