"""Score judges on a ranking test set, with intervals and paired differences."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from grrm.files import UserError, write_json
from grrm.metrics.bootstrap import Bootstrap
from grrm.metrics.ranking import JudgedGroup, best_found_by_position, score_rankings
from grrm.metrics.scores import (
    Metric,
    System,
    answers_origin,
    parse_named_files,
    read_answers,
    scores_document,
)
from grrm.process import run_main
from grrm.ranking import labels
from grrm.schemas import read_table


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
    parser.add_argument("--output", type=Path, required=True, help="scores to write (JSON)")
    parser.add_argument("--samples", type=int, default=1000, help="bootstrap samples (default: 1000)")
    parser.add_argument("--seed", type=int, default=0, help="of the bootstrap (default: 0)")
    args = parser.parse_args(argv)

    test_set = read_table(args.reference, "ranking_test").select(["src_text", "scores"]).to_pylist()
    bootstrap = Bootstrap(args.samples, args.seed)
    systems = [
        _system(name, path, test_set, args.reference, bootstrap)
        for name, path in parse_named_files(args.rankings, "--rankings").items()
    ]
    write_json(args.output, scores_document("ranking", args.reference, systems, bootstrap))


def _system(
    name: str, path: Path, test_set: Sequence[dict[str, Any]], reference: Path, bootstrap: Bootstrap
) -> System:
    answers = read_answers(path, [row["src_text"] for row in test_set], reference)
    try:
        groups = [
            JudgedGroup(row["scores"], answer["scores"], answer["candidate_order"])
            for row, answer in zip(test_set, answers, strict=True)
        ]
    except (KeyError, ValueError) as error:
        raise UserError(f"{path}: not the answers of rank_candidates to {reference} ({error})") from error
    return System(
        name,
        answers_origin(path, answers),
        len(groups),
        [answer["failure"] for answer in answers if answer["scores"] is None],
        {
            metric: Metric([stratum], signature)
            for metric, (stratum, signature) in score_rankings(groups).items()
        },
        {
            "best_found_by_position": [
                {
                    "candidates": candidates,
                    "position": labels(candidates)[position],
                    **asdict(bootstrap.estimate(stratum)),
                }
                for (candidates, position), stratum in best_found_by_position(groups).items()
            ]
        },
    )


if __name__ == "__main__":
    run_main(main)
