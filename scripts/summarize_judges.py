"""Gather what the judges of an experiment have learnt into one page."""

from __future__ import annotations

import argparse
from pathlib import Path

from grrm.files import write_text
from grrm.process import run_main
from grrm.report.judge_blocks import judges_page, read_alignment, read_judge_scores
from grrm.report.pages import to_html, to_markdown


def main(argv: list[str] | None = None) -> None:
    """Write the page as Markdown and as HTML, and print it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--experiment", required=True, help="name of the experiment")
    parser.add_argument("--seed", type=int, required=True, help="seed of the experiment")
    parser.add_argument("--scores", type=Path, nargs="+", required=True, help="written by score_judges")
    parser.add_argument("--alignment", type=Path, help="written by summarize_alignment, if there is one")
    parser.add_argument("--output-markdown", type=Path, required=True, help="page to write (Markdown)")
    parser.add_argument("--output-html", type=Path, required=True, help="the same as HTML")
    args = parser.parse_args(argv)

    scores = [read_judge_scores(path) for path in args.scores]
    alignment = None if args.alignment is None else read_alignment(args.alignment)
    blocks = judges_page(args.experiment, args.seed, scores, alignment)
    write_text(args.output_html, to_html(blocks))
    markdown = to_markdown(blocks)
    write_text(args.output_markdown, markdown)
    print(markdown)


if __name__ == "__main__":
    run_main(main)
