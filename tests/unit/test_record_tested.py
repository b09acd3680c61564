"""docs/tested.md is written from what pytest reports."""

from __future__ import annotations

from pathlib import Path

import record_tested
from configurations import ROOT

REPORT = """<?xml version="1.0" encoding="utf-8"?><testsuites name="pytest tests"><testsuite name="pytest"
errors="1" failures="2" skipped="1" tests="9" time="330.0" timestamp="2026-01-01">
</testsuite></testsuites>"""


def test_a_report_in_words(tmp_path: Path) -> None:
    (tmp_path / "report.xml").write_text(REPORT)
    said = ("5 passed, 2 failed, 1 with errors, 1 skipped", 5.5)
    assert record_tested.read_report(tmp_path / "report.xml") == said


def test_a_row_takes_the_place_of_the_parts_last_one() -> None:
    page = f"Before.\n\n{record_tested.HEAD}"
    for part, row in (("a", "| `a` | 1 |"), ("b", "| `b` | 1 |"), ("a", "| `a` | 2 |")):
        page = record_tested.with_row(page, part, row)
    assert page == f"Before.\n\n{record_tested.HEAD}| `a` | 2 |\n| `b` | 1 |\n"


def test_the_page_names_every_part() -> None:
    page = (ROOT / "docs/tested.md").read_text(encoding="utf-8")
    marked = [
        path.stem.removeprefix("test_")
        for folder in ("engine*", "integration")
        for path in (ROOT / "tests").glob(f"{folder}/test_*.py")
        if "mark.full" in path.read_text(encoding="utf-8")
    ]
    assert record_tested.HEAD in page
    (parts,) = [line for line in (ROOT / "Makefile").read_text().splitlines() if line.startswith("FULL :=")]
    assert sorted(parts.split()[2:]) == sorted(marked)
    assert all(f"make test-full-{part} " in page for part in marked)
