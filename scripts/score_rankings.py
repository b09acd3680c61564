"""Score judges on ranking test sets, with intervals and paired differences."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from grrm.files import UserError, write_json
from grrm.metrics.bootstrap import Bootstrap, Stratum
from grrm.metrics.ranking import (
    JudgedGroup,
    accuracy_by_position,
    best_found_by_position,
    score_order_sensitivity,
    score_rankings,
    tie_threshold,
)
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
from grrm.process import run_main
from grrm.ranking import labels

Rows = Sequence[Mapping[str, Any]]


def main(argv: list[str] | None = None) -> None:
    """Write the scores of all judges; the first is the baseline of the differences."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--reference", type=Path, required=True, help="ranking test set (parquet)")
    parser.add_argument(
        "--rankings",
        nargs="+",
        required=True,
        metavar="NAME=FILE",
        help="answers of each judge, written by rank_candidates; the first is the baseline",
    )
    parser.add_argument(
        "--shuffled",
        nargs="*",
        default=[],
        metavar="NAME=FILE,FILE",
        help="answers of each judge to the same groups with their candidates in other orders",
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

    rows = read_test_table(args.reference, "ranking_test", ["src_text", "src_lang", "trg_lang", "scores"])
    bootstrap = Bootstrap(args.samples, args.seed)
    rankings = parse_named_files(args.rankings, "--rankings")
    shuffled = parse_named_lists(args.shuffled, "--shuffled")
    if unknown := set(shuffled) - set(rankings):
        raise UserError(f"--shuffled names {', '.join(sorted(unknown))}, which --rankings does not")
    systems = [
        _system(name, path, [Path(file) for file in shuffled.get(name, [])], rows, args.reference, bootstrap)
        for name, path in rankings.items()
    ]
    means = parse_named_lists(args.means, "--means")
    write_json(args.output, scores_document("ranking", args.reference, systems, bootstrap, means))


def _system(
    name: str, path: Path, shuffled: Sequence[Path], rows: Rows, reference: Path, bootstrap: Bootstrap
) -> System:
    answers = read_answers(path, [row["src_text"] for row in rows], reference)
    runs = _judged(path, answers, rows, reference)
    orders = [runs[0]]
    for file in shuffled:
        others = read_answers(file, [row["src_text"] for row in rows], reference)
        orders += _judged(file, others, rows, reference)
    parts = []
    for (test_set, direction), members in split_parts(rows, reference, directions=False).items():
        failures = [run[i]["failure"] for run in answers for i in members if run[i]["scores"] is None]
        metrics = _metrics([[run[i] for i in members] for run in runs])
        if len(orders) > 1:
            metrics |= _order_metrics([[order[i] for i in members] for order in orders])
        parts.append(Part(test_set, direction, len(members), failures, metrics))
    judgements = [*runs, *orders[1:]]
    return System(
        name,
        answers_origin(path, answers),
        answers_seeds(answers),
        parts,
        {
            "best_found_by_position": _positions(best_found_by_position(*judgements), bootstrap),
            "accuracy_by_position": _positions(accuracy_by_position(*judgements), bootstrap),
        },
    )


def _judged(
    path: Path, runs: Sequence[Sequence[Mapping[str, Any]]], rows: Rows, reference: Path
) -> list[list[JudgedGroup]]:
    try:
        return [
            [
                JudgedGroup(row["scores"], answer["scores"], answer["candidate_order"])
                for row, answer in zip(rows, answers, strict=True)
            ]
            for answers in runs
        ]
    except (KeyError, ValueError) as error:
        raise UserError(f"{path}: not the answers of rank_candidates to {reference} ({error})") from error


def _metrics(runs: Sequence[Sequence[JudgedGroup]]) -> dict[str, Metric]:
    threshold = tie_threshold([group for groups in runs for group in groups])
    scored = [score_rankings(groups, threshold) for groups in runs]
    return {name: Metric([run[name][0] for run in scored], scored[0][name][1]) for name in scored[0]}


def _order_metrics(orders: Sequence[Sequence[JudgedGroup]]) -> dict[str, Metric]:
    """Sensitivity to the order of candidates, and the accuracy over orders, each of which counts as a run."""
    scored = [score_rankings(groups, 0.0)["ranking_accuracy"] for groups in orders]
    return {
        name: Metric([stratum], signature)
        for name, (stratum, signature) in score_order_sensitivity(orders).items()
    } | {
        "ranking_accuracy_orders": Metric(
            [stratum for stratum, _ in scored], f"{scored[0][1]}|orders:{len(orders)}"
        )
    }


def _positions(by_place: Mapping[tuple[int, int], Stratum], bootstrap: Bootstrap) -> list[dict[str, Any]]:
    return [
        {
            "candidates": candidates,
            "position": labels(candidates)[position],
            **asdict(bootstrap.estimate(stratum)),
        }
        for (candidates, position), stratum in by_place.items()
    ]


if __name__ == "__main__":
    run_main(main)
