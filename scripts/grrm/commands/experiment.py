"""Which experiment a command is about: options and configuration."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from grrm.config import load_experiment


def add_options(parser: argparse.ArgumentParser) -> None:
    """Options that name configuration files and the workflow."""
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


def configuration(args: argparse.Namespace) -> dict[str, Any]:
    """The whole, valid configuration of the experiment that the options name."""
    return load_experiment(args.workflow, args.config)
