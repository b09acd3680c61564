"""Describe the data that a teacher made: one HTML file that needs no network and no server."""

from __future__ import annotations

import argparse
from pathlib import Path

from grrm.files import read_json, read_lines, write_text
from grrm.json_text import parse_json
from grrm.process import run_main
from grrm.report.annotation_page import annotation_page, read_outcome


def main(argv: list[str] | None = None) -> None:
    """Write the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--experiment", required=True, help="its name")
    parser.add_argument("--candidates", type=Path, required=True, help="counts by propose_candidates (JSON)")
    parser.add_argument("--rankings", type=Path, required=True, help="statistics by annotate_rankings (JSON)")
    parser.add_argument("--groups", type=Path, required=True, help="groups by annotate_rankings (JSON lines)")
    parser.add_argument("--translations", type=Path, help="statistics by annotate_translations (JSON)")
    parser.add_argument("--output", type=Path, required=True, help="page to write (HTML)")
    args = parser.parse_args(argv)

    page = annotation_page(
        args.experiment,
        read_json(args.candidates),
        read_outcome(args.rankings, "rankings"),
        # Not all at once: they are many, and long.
        (parse_json(line) for line in read_lines(args.groups)),
        read_outcome(args.translations, "translations") if args.translations else None,
    )
    write_text(args.output, page)
    print(f"{args.output}: {len(page)} characters")


if __name__ == "__main__":
    run_main(main)
