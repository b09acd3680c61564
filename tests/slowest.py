"""Print the slowest tests of reports by pytest, and the time by folder.

python tests/slowest.py .snakemake/times/*.xml
"""

from __future__ import annotations

import argparse
from collections import defaultdict
from collections.abc import Iterable, Iterator
from pathlib import Path
from xml.etree import ElementTree


def main(argv: list[str] | None = None) -> None:
    """Print both tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("reports", type=Path, nargs="+", help="what pytest --junitxml wrote")
    parser.add_argument("--count", type=int, default=10, help="of the slowest (default: 10)")
    args = parser.parse_args(argv)
    print(summary([time for report in args.reports for time in times(report)], args.count))


def times(report: Path) -> Iterator[tuple[str, str, float]]:
    """Folder, test and seconds; what a fixture takes counts for the first test that asks for it."""
    for case in ElementTree.parse(report).getroot().iter("testcase"):
        _, folder, *below = case.get("classname", "").split(".")
        yield folder, "::".join([*below, case.get("name", "")]), float(case.get("time", 0))


def summary(found: Iterable[tuple[str, str, float]], count: int) -> str:
    """The slowest tests, and sums by folder; where two processes share a folder, it takes half its sum."""
    found = sorted(found, key=lambda time: -time[2])
    folders: dict[str, list[float]] = defaultdict(list)
    for folder, _, seconds in found:
        folders[folder].append(seconds)
    slowest = [f"{seconds:8.1f} s  {folder}/{test}" for folder, test, seconds in found[:count]]
    sums = sorted(((sum(values), len(values), folder) for folder, values in folders.items()), reverse=True)
    by_folder = [f"{seconds / 60:8.1f} min  {folder} ({tests} tests)" for seconds, tests, folder in sums]
    return "\n".join(["slowest tests:", *slowest, "sums by folder, of all processes:", *by_folder])


if __name__ == "__main__":
    main()
