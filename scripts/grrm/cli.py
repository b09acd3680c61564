"""The command `grrm`."""

from __future__ import annotations

import argparse
from importlib import import_module

from grrm.process import run_main

# In the order of `grrm --help`; the module of "serve-reward" is grrm.commands.serve_reward.
COMMANDS = ("rank", "translate", "forecast", "efficiency", "compare")


def main(argv: list[str] | None = None) -> None:
    """Run a subcommand."""
    parser = argparse.ArgumentParser(prog="grrm", description="Group relative reward modelling (GRRM).")
    subparsers = parser.add_subparsers(required=True, metavar="COMMAND")
    for name in COMMANDS:
        command = import_module(f"grrm.commands.{name.replace('-', '_')}")
        subparser = subparsers.add_parser(name, help=command.HELP, description=command.HELP)
        command.add_arguments(subparser)
        subparser.set_defaults(run=command.run)
    args = parser.parse_args(argv)
    args.run(args)


def entry() -> None:
    """What the command calls: a mistake of the user's is one line."""
    run_main(main)


if __name__ == "__main__":
    entry()
