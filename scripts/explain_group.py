"""Follow one group of a finished GRPO training from its source text to the gradient, as a page (Markdown)."""

from __future__ import annotations

import argparse
import shutil
from pathlib import Path

from grrm.files import read_jsonl, read_yaml, write_jsonl, write_text
from grrm.process import run_main
from grrm.report.explained_group import explain, render

# Of an experiment's folder: groups as they were judged, and metrics by step.
PARTS = ("curves/mt_grpo.judgements.jsonl", "curves/mt_grpo.jsonl")


def main(argv: list[str] | None = None) -> None:
    """Write the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--results", type=Path, required=True, help="folder of the experiment: results/NAME")
    parser.add_argument("--step", type=int, required=True, help="of mt_grpo, from 1")
    parser.add_argument("--output", type=Path, required=True, help="page to write (Markdown)")
    parser.add_argument(
        "--extract", type=Path, metavar="FOLDER", help="keep a copy of what the page is made of, and no more"
    )
    args = parser.parse_args(argv)

    config = read_yaml(args.results / "config.yaml")
    judged, curve = (read_jsonl(args.results / part) for part in PARTS)
    write_text(args.output, render(explain(config, judged, curve, args.step), config))
    if args.extract:
        args.extract.mkdir(parents=True, exist_ok=True)
        shutil.copy(args.results / "config.yaml", args.extract)
        for part, rows in zip(PARTS, (judged, curve), strict=True):
            write_jsonl(args.extract / part, [row for row in rows if row["step"] == args.step])


if __name__ == "__main__":
    run_main(main)
