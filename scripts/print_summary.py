"""Print an experiment's tables before/after on the terminal, and where its report lies."""

from __future__ import annotations

import argparse
from pathlib import Path

from grrm.files import read_json
from grrm.process import run_main
from grrm.report.summary import check_summary, render_terminal

_SCHEMA = Path(__file__).parents[1] / "config/schemas/summary.schema.yaml"


def main(argv: list[str] | None = None) -> None:
    """Print to standard output."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--summary", type=Path, required=True, help="summary.json of the experiment")
    parser.add_argument("--report", type=Path, nargs="*", default=[], help="files to point to")
    args = parser.parse_args(argv)

    summary = read_json(args.summary)
    check_summary(summary, _SCHEMA)
    print(render_terminal(summary))
    for path in args.report:
        print(f"\nReport: {path}", end="")
    print()


if __name__ == "__main__":
    run_main(main)
