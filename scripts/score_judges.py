"""Score judges on held-out rows: agreement, confusion, position bias, calibration, with intervals."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from grrm.data.judge_data import read_records
from grrm.data.records import Compared, Graded, Preferred
from grrm.files import UserError, read_jsonl, write_json
from grrm.metrics.bootstrap import Bootstrap
from grrm.metrics.judges import (
    JudgedPair,
    Metrics,
    bradley_terry_details,
    pairwise_details,
    pointwise_details,
    score_bradley_terry,
    score_pairwise,
    score_pointwise,
)
from grrm.metrics.scores import Metric, Part, System, answers_origin, parse_named_files, scores_document
from grrm.process import run_main

Answers = Sequence[dict[str, Any]]
Scored = tuple[Metrics, dict[str, Any]]


def main(argv: list[str] | None = None) -> None:
    """Write the scores of all judges; the first is the baseline of the differences."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--mode", choices=list(_MODES), required=True)
    parser.add_argument("--reference", type=Path, required=True, help="held-out rows")
    parser.add_argument(
        "--answers",
        nargs="+",
        required=True,
        metavar="NAME=FILE",
        help="answers of each judge, written by ask_judge; the first is the baseline",
    )
    parser.add_argument("--output", type=Path, required=True, help="scores to write (JSON)")
    parser.add_argument("--samples", type=int, default=1000, help="bootstrap samples (default: 1000)")
    parser.add_argument("--seed", type=int, default=0, help="of the bootstrap (default: 0)")
    args = parser.parse_args(argv)

    records = read_records([args.reference], args.mode)
    bootstrap = Bootstrap(args.samples, args.seed)
    systems = [
        _system(name, path, records, args, bootstrap)
        for name, path in parse_named_files(args.answers, "--answers").items()
    ]
    write_json(args.output, scores_document(f"judge_{args.mode}", args.reference, systems, bootstrap))


def _system(
    name: str, path: Path, records: Sequence[Any], args: argparse.Namespace, bootstrap: Bootstrap
) -> System:
    answers = read_jsonl(path)
    expected = len(records) * (2 if args.mode == "pairwise" else 1)
    if [answer.get("index") for answer in answers] != list(range(expected)):
        raise UserError(
            f"{path}: not the {expected} answers of ask_judge to {args.reference}; answer it again"
        )
    metrics, details = _MODES[args.mode](records, answers, bootstrap)
    failures = [answer["failure"] for answer in answers if answer["failure"] is not None]
    scored = {metric: Metric([stratum], signature) for metric, (stratum, signature) in metrics.items()}
    return System(
        name,
        answers_origin(path, [answers]),
        [answers[0]["decoding"].get("seed", 0)],
        [Part(args.reference.stem, "", len(answers), failures, scored)],
        details,
    )


def _pointwise(records: Sequence[Graded], answers: Answers, bootstrap: Bootstrap) -> Scored:
    reference, said = [record.score for record in records], [answer["value"] for answer in answers]
    return score_pointwise(reference, said), pointwise_details(reference, said, bootstrap)


def _pairwise(records: Sequence[Compared], answers: Answers, bootstrap: Bootstrap) -> Scored:
    pairs = [
        JudgedPair(record.preference, (first["value"], second["value"]))
        for record, first, second in zip(records, answers[::2], answers[1::2], strict=True)
    ]
    return score_pairwise(pairs), pairwise_details(pairs, bootstrap)


def _bradley_terry(records: Sequence[Preferred], answers: Answers, bootstrap: Bootstrap) -> Scored:
    chosen, rejected = ([answer["value"][side] for answer in answers] for side in (0, 1))
    return score_bradley_terry(chosen, rejected), bradley_terry_details(chosen, rejected, bootstrap)


_MODES: dict[str, Callable[[Any, Answers, Bootstrap], Scored]] = {
    "pointwise": _pointwise,
    "pairwise": _pairwise,
    "bradley_terry": _bradley_terry,
}

if __name__ == "__main__":
    run_main(main)
