"""Render judged sample translations as a page of the report."""

from __future__ import annotations

import argparse
from pathlib import Path

from grrm.files import write_text
from grrm.process import run_main
from grrm.report.samples import read_samples, render_page


def main(argv: list[str] | None = None) -> None:
    """Write one HTML page that needs no other file."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--samples", type=Path, required=True, help="samples written by judge_translations")
    parser.add_argument("--title", default="Sample translations", help="of the page")
    parser.add_argument("--output", type=Path, required=True, help="page to write (HTML)")
    args = parser.parse_args(argv)

    write_text(args.output, render_page(read_samples(args.samples), args.title))


if __name__ == "__main__":
    run_main(main)
