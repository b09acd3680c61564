"""What make test prints at its end: its slowest tests, and the time by folder."""

from __future__ import annotations

from pathlib import Path

import pytest

import slowest
from configurations import ROOT

REPORT = """<?xml version="1.0" encoding="utf-8"?><testsuites><testsuite name="pytest">
<testcase classname="tests.unit.test_a" name="test_x[1.5]" time="0.25"/>
<testcase classname="tests.unit.test_a.TestB" name="test_y" time="90.0"/>
<testcase classname="tests.engine.test_c" name="test_z" time="30.0"/>
</testsuite></testsuites>"""


def test_the_slowest_and_the_sums_by_folder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "report.xml").write_text(REPORT)
    slowest.main([str(tmp_path / "report.xml"), "--count", "2"])
    assert capsys.readouterr().out.splitlines() == [
        "slowest tests:",
        "    90.0 s  unit/test_a::TestB::test_y",
        "    30.0 s  engine/test_c::test_z",
        "sums by folder, of all processes:",
        "     1.5 min  unit (2 tests)",
        "     0.5 min  engine (1 tests)",
    ]


def test_every_folder_of_make_test_is_in_the_sums() -> None:
    lines = (ROOT / "Makefile").read_text().splitlines()
    recipes = [line for line in lines if "-m pytest" in line and "$*" not in line]
    assert recipes
    assert [line for line in recipes if "--junitxml=$(TIMES)/" not in line] == []
