"""Render the report's page: summary and samples as one HTML file that needs no network and no server."""

from __future__ import annotations

import argparse
from pathlib import Path

from grrm.catalogue.metrics import known_metrics
from grrm.files import atomic_path, read_json, write_text
from grrm.metrics.scores import parse_named_files, read_answers
from grrm.metrics.segments import read_segment_scores
from grrm.process import run_main
from grrm.report.page import render_page
from grrm.report.samples import collect_samples, read_samples, split
from grrm.report.summary import check_summary
from grrm.schemas import read_table

_SCHEMA = Path(__file__).parents[1] / "config/schemas/summary.schema.yaml"


def main(argv: list[str] | None = None) -> None:
    """Write the page, and beside it the samples that are too many for it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--summary", type=Path, required=True, help="written by summarize")
    parser.add_argument("--segments", type=Path, required=True, help="translation test set (parquet)")
    parser.add_argument(
        "--translations",
        nargs="+",
        required=True,
        metavar="NAME=FILE",
        help="translations of each model, written by translate_segments; first before, last after",
    )
    parser.add_argument(
        "--segment-scores",
        nargs="*",
        default=[],
        metavar="METRIC=FILE",
        help="scores of the same models' segments; the first orders the samples (default: chrF++)",
    )
    parser.add_argument("--judged", type=Path, required=True, help="samples written by judge_translations")
    parser.add_argument("--output", type=Path, required=True, help="page to write (HTML)")
    parser.add_argument("--samples", type=Path, required=True, help="folder for further samples, beside it")
    args = parser.parse_args(argv)

    summary = read_json(args.summary)
    check_summary(summary, _SCHEMA)
    segments = read_table(args.segments, "translation_test").to_pylist()
    sources = [row["src_text"] for row in segments]
    files = parse_named_files(args.translations, "--translations")
    runs = {name: read_answers(path, sources, args.segments) for name, path in files.items()}
    shapes = {name: (len(answers), len(sources)) for name, answers in runs.items()}
    scores = {
        metric: read_segment_scores(path, metric, files, shapes).systems
        for metric, path in parse_named_files(args.segment_scores, "--segment-scores").items()
    }
    # Of several runs the first is shown.
    rows = collect_samples(
        segments,
        {name: answers[0] for name, answers in runs.items()},
        read_samples(args.judged),
        {metric: {name: found[0] for name, found in systems.items()} for metric, systems in scores.items()},
        known_metrics(summary["configuration"]),
    )
    shown, parts = split(rows)
    with atomic_path(args.samples) as folder:
        folder.mkdir()
        for name, text in parts.items():
            write_text(folder / name, text)
    beside = [f"{args.samples.name}/{name}" for name in parts]
    sets = dict.fromkeys(row["set"] or row["pair"] for row in sorted(rows, key=lambda row: row["row"]))
    write_text(args.output, render_page(summary, shown, len(rows), sets, beside))
    print(f"{args.output}: {len(shown)} of {len(rows)} samples in the page, {len(parts)} files beside it")


if __name__ == "__main__":
    run_main(main)
