"""`grrm efficiency`: what an experiment took on its GPUs, beside what was forecast."""

from __future__ import annotations

import argparse
from pathlib import Path

from grrm.config import load_experiment
from grrm.report.efficiency import efficiency_of, format_efficiency

HELP = "GPU-hours that an experiment took, beside what was forecast"


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


def run(args: argparse.Namespace) -> None:
    """Print the table."""
    print(format_efficiency(efficiency_of(load_experiment(args.workflow, args.config), args.workflow)))
