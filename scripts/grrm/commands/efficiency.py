"""`grrm efficiency`: what an experiment took on its GPUs, beside what was forecast."""

from __future__ import annotations

import argparse

from grrm.commands.experiment import add_options, configuration
from grrm.report.efficiency import efficiency_of, format_efficiency

HELP = "GPU-hours that an experiment took, beside what was forecast"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Its options."""
    add_options(parser)


def run(args: argparse.Namespace) -> None:
    """Print the table."""
    print(format_efficiency(efficiency_of(configuration(args), args.workflow)))
