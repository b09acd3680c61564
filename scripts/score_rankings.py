"""Score judges on ranking test sets, with intervals and paired differences."""

from __future__ import annotations

import argparse
from pathlib import Path

from grrm.files import UserError, write_json
from grrm.metrics.bootstrap import Bootstrap
from grrm.metrics.scores import parse_named_files, parse_named_lists, read_test_table, scores_document
from grrm.metrics.systems import RANKING_COLUMNS, ranking_system
from grrm.process import run_main


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

    rows = read_test_table(args.reference, "ranking_test", RANKING_COLUMNS)
    bootstrap = Bootstrap(args.samples, args.seed)
    rankings = parse_named_files(args.rankings, "--rankings")
    shuffled = parse_named_lists(args.shuffled, "--shuffled")
    if unknown := set(shuffled) - set(rankings):
        raise UserError(f"--shuffled names {', '.join(sorted(unknown))}, which --rankings does not")
    systems = [
        ranking_system(
            name, path, [Path(file) for file in shuffled.get(name, [])], rows, args.reference, bootstrap
        )
        for name, path in rankings.items()
    ]
    means = parse_named_lists(args.means, "--means")
    write_json(args.output, scores_document("ranking", args.reference, systems, bootstrap, means))


if __name__ == "__main__":
    run_main(main)
