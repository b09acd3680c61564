"""Gather an experiment's scores, curves, times and samples into one summary."""

from __future__ import annotations

import argparse
import platform
from importlib.metadata import version
from pathlib import Path

from grrm import __version__
from grrm.files import write_json, write_text
from grrm.metrics.scores import parse_named_files
from grrm.process import run_main
from grrm.report.benchmarks import read_benchmarks
from grrm.report.curves import condense, read_curves
from grrm.report.pages import to_html, to_markdown
from grrm.report.samples import read_samples
from grrm.report.summary import (
    check_summary,
    flatten_differences,
    flatten_scores,
    positions,
    read_scores,
    summary_page,
)

_SCHEMA = Path(__file__).parents[1] / "config/schemas/summary.schema.yaml"


def main(argv: list[str] | None = None) -> None:
    """Write the summary as JSON and as a page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--experiment", required=True, help="name of the experiment")
    parser.add_argument("--seed", type=int, required=True, help="seed of the experiment")
    parser.add_argument("--ranking", type=Path, required=True, help="scores written by score_rankings")
    parser.add_argument(
        "--translation", type=Path, required=True, help="scores written by score_translations"
    )
    parser.add_argument("--curves", nargs="*", default=[], metavar="STAGE=FILE", help="training curves")
    parser.add_argument("--samples", type=Path, required=True, help="samples written by judge_translations")
    parser.add_argument(
        "--benchmarks", type=Path, required=True, help="folder of Snakemake's benchmark files"
    )
    parser.add_argument("--output-json", type=Path, required=True, help="summary to write")
    parser.add_argument("--output-markdown", type=Path, required=True, help="the same as a page")
    parser.add_argument("--output-html", type=Path, help="the same as a page for the browser")
    args = parser.parse_args(argv)

    scores = [read_scores(args.ranking, "ranking"), read_scores(args.translation, "translation")]
    samples = read_samples(args.samples)
    judged = [sample["judgement"] for sample in samples if sample["judgement"]]
    summary = {
        "experiment": args.experiment,
        "seed": args.seed,
        "versions": {
            "grrm": __version__,
            "python": platform.python_version(),
            "sacrebleu": version("sacrebleu"),
        },
        "scores": [record for document in scores for record in flatten_scores(document)],
        "differences": [record for document in scores for record in flatten_differences(document)],
        "positions": [record for document in scores for record in positions(document)],
        "curves": {
            stage: [condense(curve) for curve in read_curves(path)]
            for stage, path in parse_named_files(args.curves, "--curves").items()
        },
        "benchmarks": read_benchmarks(args.benchmarks),
        "samples": {
            "shown": len(samples),
            "judged": len(judged),
            "judge_failures": sum(judgement["scores"] is None for judgement in judged),
        },
    }
    check_summary(summary, _SCHEMA)
    page = summary_page(summary, samples)
    write_text(args.output_markdown, to_markdown(page))
    if args.output_html:
        write_text(args.output_html, to_html(page))
    write_json(args.output_json, summary)


if __name__ == "__main__":
    run_main(main)
