"""Follow one group of a finished GRPO training from its source text to the gradient, as a page (Markdown)."""

from __future__ import annotations

import argparse
from pathlib import Path

from grrm.files import read_jsonl, read_yaml, write_text
from grrm.process import run_main
from grrm.report.explained_group import explain, render


def main(argv: list[str] | None = None) -> None:
    """Write the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--results", type=Path, required=True, help="folder of the experiment: results/NAME")
    parser.add_argument("--step", type=int, required=True, help="of mt_grpo, from 1")
    parser.add_argument("--output", type=Path, required=True, help="page to write (Markdown)")
    args = parser.parse_args(argv)

    config = read_yaml(args.results / "config.yaml")
    curves = args.results / "curves"
    found = explain(
        config,
        rows=read_jsonl(curves / "mt_grpo.judgements.jsonl"),
        curve=read_jsonl(curves / "mt_grpo.jsonl"),
        step=args.step,
    )
    write_text(args.output, render(found, config))


if __name__ == "__main__":
    run_main(main)
