"""The command `grrm`."""

from __future__ import annotations

import argparse
from pathlib import Path

from grrm.config import load_experiment
from grrm.process import run_main
from grrm.report.forecast import forecast, format_forecast, load_assumptions, source_tables


def main(argv: list[str] | None = None) -> None:
    """Run a subcommand."""
    parser = argparse.ArgumentParser(prog="grrm", description="Group relative reward modelling (GRRM).")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    command = commands.add_parser(
        "forecast", help="rows, steps, GPU-hours and disk of an experiment, before anything is submitted"
    )
    command.add_argument(
        *("--config", "--configfile"),
        type=Path,
        nargs="+",
        action="extend",
        default=[],
        metavar="FILE",
        help="laid over config/config.yaml in this order, as by snakemake --configfile",
    )
    command.add_argument("--workflow", type=Path, default=Path(), help="its folder (default: this one)")
    command.add_argument("--assumptions", type=Path, help="default: config/forecast.yaml of the workflow")
    command.set_defaults(run=_forecast)

    args = parser.parse_args(argv)
    args.run(args)


def _forecast(args: argparse.Namespace) -> None:
    config = load_experiment(args.workflow, args.config)
    assumptions = load_assumptions(args.assumptions or args.workflow / "config/forecast.yaml")
    tables = source_tables(config, assumptions, args.workflow)
    print(format_forecast(config, forecast(config, tables, assumptions), assumptions))


def entry() -> None:
    """What the command calls: a mistake of the user's is one line."""
    run_main(main)


if __name__ == "__main__":
    entry()
