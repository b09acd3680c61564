"""Score translations of test sets, with intervals and paired differences."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from grrm.files import UserError, write_json
from grrm.metrics.bootstrap import Bootstrap, mean_of_known
from grrm.metrics.scores import (
    Metric,
    Part,
    System,
    answers_origin,
    answers_seeds,
    parse_named_files,
    parse_named_lists,
    read_answers,
    read_test_table,
    scores_document,
    split_parts,
)
from grrm.metrics.segments import SegmentScores, read_segment_scores
from grrm.metrics.translation import score_translations
from grrm.process import run_main

Rows = Sequence[Mapping[str, Any]]
Answers = Sequence[Mapping[str, Any]]


def main(argv: list[str] | None = None) -> None:
    """Write the scores of all models; the first is the baseline of the differences."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--reference", type=Path, required=True, help="translation test set (parquet)")
    parser.add_argument(
        "--translations",
        nargs="+",
        required=True,
        metavar="NAME=FILE",
        help="translations of each model, written by translate_segments; the first is the baseline",
    )
    parser.add_argument(
        "--segment-scores",
        nargs="*",
        default=[],
        metavar="METRIC=FILE",
        help="scores of the same models' segments, written by score_comet, score_bleurt...",
    )
    parser.add_argument(
        "--means",
        nargs="*",
        default=[],
        metavar="NAME=SET,SET",
        help="means over several test sets, to be given beside the single ones",
    )
    parser.add_argument("--output", type=Path, required=True, help="scores to write (JSON)")
    parser.add_argument("--samples", type=int, default=1000, help="bootstrap samples (default: 1000)")
    parser.add_argument("--seed", type=int, default=0, help="of the bootstrap (default: 0)")
    args = parser.parse_args(argv)

    systems = read_systems(
        args.reference,
        parse_named_files(args.translations, "--translations"),
        parse_named_files(args.segment_scores, "--segment-scores"),
    )
    means = parse_named_lists(args.means, "--means")
    bootstrap = Bootstrap(args.samples, args.seed)
    write_json(args.output, scores_document("translation", args.reference, systems, bootstrap, means))


def read_systems(
    reference: Path, translations: Mapping[str, Path], segment_scores: Mapping[str, Path]
) -> list[System]:
    """Translations of several models, scored.

    Args:
        reference: translation test table.
        translations: answers to it, by model.
        segment_scores: scores of the same translations, by metric.

    Raises:
        UserError: a file is missing or damaged, or does not belong to the others.
    """
    rows = read_test_table(reference, "translation_test", ["src_text", "trg_text", "src_lang", "trg_lang"])
    sources = [row["src_text"] for row in rows]
    answers = {name: read_answers(path, sources, reference) for name, path in translations.items()}
    shapes = {name: (len(runs), len(rows)) for name, runs in answers.items()}
    scores = {metric: read_segment_scores(path, metric, shapes) for metric, path in segment_scores.items()}
    return [
        _system(name, translations[name], reference, rows, runs, scores) for name, runs in answers.items()
    ]


def _system(
    name: str,
    path: Path,
    reference: Path,
    rows: Rows,
    runs: Sequence[Answers],
    segment_scores: Mapping[str, SegmentScores],
) -> System:
    try:
        parts = [
            _part(test_set, direction, members, rows, runs, _of(name, members, segment_scores))
            for (test_set, direction), members in split_parts(rows, reference, directions=True).items()
        ]
    except KeyError as error:
        raise UserError(f"{path}: an answer lacks {error}; not an answer of translate_segments") from error
    return System(name, answers_origin(path, runs), answers_seeds(runs), parts)


def _part(
    test_set: str,
    direction: str,
    members: Sequence[int],
    rows: Rows,
    runs: Sequence[Answers],
    segment_metrics: Mapping[str, Metric],
) -> Part:
    first = rows[members[0]]
    scored = [
        score_translations(
            [answers[i]["translation"] for i in members],
            [rows[i]["trg_text"] for i in members],
            first["trg_lang"],
        )
        for answers in runs
    ]
    metrics = {
        name: Metric([run[name][0] for run in scored], signature)
        for name, (_, signature) in scored[0].items()
        if all(name in run for run in scored)
    }
    failures = [run[i]["failure"] for run in runs for i in members if run[i]["translation"] is None]
    return Part(test_set, direction, len(members), failures, {**metrics, **segment_metrics})


def _of(name: str, members: Sequence[int], segment_scores: Mapping[str, SegmentScores]) -> dict[str, Metric]:
    """The models' scores of one system on one part; a metric without a single one there is left out."""
    metrics = {}
    for metric, scores in segment_scores.items():
        runs = [[run[i] for i in members] for run in scores.systems[name]]
        if all(any(score is not None for score in run) for run in runs):
            missing = sum(score is None for run in runs for score in run)
            metrics[metric] = Metric([mean_of_known(run) for run in runs], scores.signature, missing)
    return metrics


if __name__ == "__main__":
    run_main(main)
