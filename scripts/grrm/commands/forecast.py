"""`grrm forecast`: what an experiment will take, before anything is submitted."""

from __future__ import annotations

import argparse
from pathlib import Path

from grrm.config import load_experiment
from grrm.preflight.forecast import forecast_experiment, format_forecast, load_assumptions

HELP = "rows, steps, GPU-hours and disk of an experiment, before anything is submitted"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Its options."""
    parser.add_argument(
        *("--config", "--configfile"),
        type=Path,
        nargs="+",
        action="extend",
        default=[],
        metavar="FILE",
        help="laid over config/config.yaml in this order, as by snakemake --configfile",
    )
    parser.add_argument("--workflow", type=Path, default=Path(), help="its folder (default: this one)")
    parser.add_argument("--assumptions", type=Path, help="default: config/forecast.yaml of the workflow")


def run(args: argparse.Namespace) -> None:
    """Print the forecast."""
    config = load_experiment(args.workflow, args.config)
    assumptions = load_assumptions(args.assumptions or args.workflow / "config/forecast.yaml")
    print(format_forecast(config, forecast_experiment(config, args.workflow, assumptions), assumptions))
