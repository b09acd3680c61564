"""`grrm compare`: two experiments side by side, with paired tests."""

from __future__ import annotations

import argparse
from pathlib import Path

from grrm.files import write_json

HELP = "two finished experiments side by side, with paired bootstrap tests on the same segments"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Its options."""
    parser.add_argument("first", metavar="A", help="experiment, or its folder")
    parser.add_argument("second", metavar="B", help="experiment, or its folder; differences are B minus A")
    parser.add_argument(
        "--results", type=Path, default=Path("results"), help="folder of experiments (default: results)"
    )
    parser.add_argument("--samples", type=int, default=1000, help="bootstrap samples (default: 1000)")
    parser.add_argument("--seed", type=int, default=0, help="of the bootstrap (default: 0)")
    parser.add_argument("--output", type=Path, help="the same as JSON")


def run(args: argparse.Namespace) -> None:
    """Print the comparison."""
    # Here, so that other subcommands do not wait for sacreBLEU.
    from grrm.metrics.bootstrap import Bootstrap
    from grrm.report.compare import compare, find_experiment, format_comparison, metrics_shown

    bootstrap = Bootstrap(args.samples, args.seed)
    first, second = (find_experiment(name, args.results) for name in (args.first, args.second))
    compared = compare(first, second, bootstrap)
    if args.output:
        write_json(args.output, compared)
    print(format_comparison(compared, bootstrap, metrics_shown(first, second)))
