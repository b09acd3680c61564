"""Write the result of one part of make test-full into docs/tested.md, in place of its last one.

python tests/record_tested.py --part scale --report report.xml
"""

from __future__ import annotations

import argparse
import os
import subprocess
from datetime import date
from pathlib import Path
from xml.etree import ElementTree

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs/tested.md"
HEAD = "| part | result | minutes | commit | date | machine |\n| --- | --- | ---: | --- | --- | --- |\n"


def main(argv: list[str] | None = None) -> None:
    """Replace the part's row."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--part", required=True, help="of tests/engine*/test_<part>.py")
    parser.add_argument("--report", type=Path, required=True, help="what pytest --junitxml wrote")
    parser.add_argument("--page", type=Path, default=PAGE)
    args = parser.parse_args(argv)
    result, minutes = read_report(args.report)
    row = f"| `{args.part}` | {result} | {minutes:.1f} | {commit()} | {date.today()} | {machine()} |"
    args.page.write_text(with_row(args.page.read_text(encoding="utf-8"), args.part, row), encoding="utf-8")


def with_row(page: str, part: str, row: str) -> str:
    """The page, which ends with the table, with a part's row in place of its last one or below the others."""
    before, head, rows = page.partition(HEAD)
    if not head:
        raise ValueError("the page has no table of parts")
    lines = rows.splitlines()
    places = [place for place, line in enumerate(lines) if line.startswith(f"| `{part}` |")]
    place = places[0] if places else len(lines)
    lines[place : place + 1] = [row]
    return before + head + "".join(f"{line}\n" for line in lines)


def read_report(path: Path) -> tuple[str, float]:
    """The result in words, and how many minutes it took."""
    (suite,) = ElementTree.parse(path).getroot().iter("testsuite")
    counts = {name: int(suite.get(name, 0)) for name in ("tests", "failures", "errors", "skipped")}
    passed = 2 * counts["tests"] - sum(counts.values())
    said = [f"{passed} passed"]
    said += [f"{counts[name]} {word}" for name, word in _OTHERS.items() if counts[name]]
    return ", ".join(said), float(suite.get("time", 0)) / 60


_OTHERS = {"failures": "failed", "errors": "with errors", "skipped": "skipped"}


def commit() -> str:
    """What was tested; this page itself may have changed since."""
    changed = _git("status", "--porcelain", "--untracked-files=no", "--", ".", f":!{PAGE.relative_to(ROOT)}")
    return _git("rev-parse", "--short", "HEAD") + (" with changes" if changed else "")


def _git(*arguments: str) -> str:
    done = subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=True)
    return done.stdout.strip()


def machine() -> str:
    """Cores, memory and kind of processor, in words."""
    with Path("/proc/meminfo").open(encoding="ascii") as file:
        memory = int(file.readline().split()[1]) / 2**20
    with Path("/proc/cpuinfo").open(encoding="ascii", errors="replace") as file:
        flags = {flag for line in file if line.startswith("flags") for flag in line.split()}
    kind = next((name for flag, name in (("avx512f", "AVX-512"), ("avx2", "AVX2")) if flag in flags), "")
    known = f"{os.uname().machine.replace('_', '-')}{f' with {kind}' if kind else ''}"
    return f"{os.cpu_count()} cores, {memory:.0f} GB, {known}"


if __name__ == "__main__":
    main()
