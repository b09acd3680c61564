"""`grrm forecast`: what an experiment will take, before anything is submitted."""

from __future__ import annotations

import argparse
from pathlib import Path

from grrm.commands.experiment import add_options, configuration
from grrm.preflight.forecast import forecast_experiment, format_forecast, load_assumptions

HELP = "rows, steps, GPU-hours and disk of an experiment, before anything is submitted"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Its options."""
    add_options(parser)
    parser.add_argument("--assumptions", type=Path, help="default: config/forecast.yaml of the workflow")


def run(args: argparse.Namespace) -> None:
    """Print the forecast."""
    config = configuration(args)
    assumptions = load_assumptions(args.assumptions or args.workflow / "config/forecast.yaml")
    print(format_forecast(config, forecast_experiment(config, args.workflow, assumptions), assumptions))
