"""Score translations of test sets, with intervals and paired differences."""

from __future__ import annotations

import argparse
from pathlib import Path

from grrm.files import UserError, write_json
from grrm.metrics.bootstrap import Bootstrap
from grrm.metrics.scores import parse_named_files, parse_named_lists, scores_document
from grrm.metrics.systems import read_translation_systems
from grrm.process import run_main


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
        help="scores of the same models' segments, written by score_segments",
    )
    parser.add_argument(
        "--means",
        nargs="*",
        default=[],
        metavar="NAME=SET,SET",
        help="means over several test sets, to be given beside the single ones",
    )
    parser.add_argument(
        "--also",
        nargs="*",
        default=[],
        metavar="NAME=NAME,NAME",
        help="models whose paired difference to the one before = is given too",
    )
    parser.add_argument("--output", type=Path, required=True, help="scores to write (JSON)")
    parser.add_argument("--samples", type=int, default=1000, help="bootstrap samples (default: 1000)")
    parser.add_argument("--seed", type=int, default=0, help="of the bootstrap (default: 0)")
    args = parser.parse_args(argv)

    systems = read_translation_systems(
        args.reference,
        parse_named_files(args.translations, "--translations"),
        parse_named_files(args.segment_scores, "--segment-scores"),
    )
    means = parse_named_lists(args.means, "--means")
    named = parse_named_lists(args.also, "--also")
    also = [(name, other) for name, others in named.items() for other in others]
    if unknown := {name for pair in also for name in pair} - {system.name for system in systems}:
        raise UserError(f"--also names {', '.join(sorted(unknown))}, which --translations does not")
    bootstrap = Bootstrap(args.samples, args.seed)
    write_json(args.output, scores_document("translation", args.reference, systems, bootstrap, means, also))


if __name__ == "__main__":
    run_main(main)
