"""The command `grrm`."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

from grrm import __version__
from grrm.files import UserError
from grrm.process import run_main

# In the order of `grrm --help`; the module of "serve-reward" is grrm.commands.serve_reward.
COMMANDS = (
    *("rank", "translate", "grade", "export-data", "serve-reward", "push"),
    *("forecast", "efficiency", "compare"),
)


# Package that is imported where it is needed -> extra of pyproject.toml that installs it, if it is in one.
_EXTRAS = {
    "shtab": "",
    **dict.fromkeys(("httpx", "torch", "transformers", "vllm"), "[infer]"),
    **dict.fromkeys(("comet", "sacrebleu"), "[eval]"),
    **dict.fromkeys(("fastapi", "uvicorn"), "[serve]"),
    **dict.fromkeys(("huggingface_hub", "httpx2"), "[data]"),
}


def main(argv: list[str] | None = None) -> None:
    """Run a subcommand.

    Raises:
        UserError: what it reports, or an optional package is not installed; the message names its extra.
    """
    try:
        _run(argv)
    except ModuleNotFoundError as error:
        package = (error.name or "").partition(".")[0]
        if package not in _EXTRAS:
            raise
        raise UserError(
            f"{package} is not installed here; run pip install -e '.{_EXTRAS[package]}' in this project's "
            "folder, or use the workflow's environment that has it (docs/environments.md)"
        ) from error


def _run(argv: list[str] | None) -> None:
    words = sys.argv[1:] if argv is None else argv
    # What other commands import takes longer than most of these run.
    named = [name for name in words[:1] if name in COMMANDS]
    args = _parser(named or COMMANDS).parse_args(words)
    args.run(args)


def _parser(commands: Sequence[str]) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="grrm", description="Group relative reward modelling (GRRM).")
    parser.add_argument("--version", action="version", version=f"grrm {__version__}")
    parser.add_argument(
        "--print-completion",
        choices=("bash", "zsh", "tcsh"),
        action=_PrintCompletion,
        help="print what makes a shell complete this command",
    )
    subparsers = parser.add_subparsers(required=True, metavar="COMMAND")
    for name in commands:
        command = import_module(f"grrm.commands.{name.replace('-', '_')}")
        subparser = subparsers.add_parser(name, help=command.HELP, description=command.HELP)
        command.add_arguments(subparser)
        subparser.set_defaults(run=command.run)
    return parser


class _PrintCompletion(argparse.Action):
    def __call__(self, parser: argparse.ArgumentParser, _: Any, shell: Any, option: Any = None) -> None:
        # Here, as the environments of the engines do without it.
        import shtab

        (commands,) = (each for each in parser._actions if isinstance(each, argparse._SubParsersAction))
        for command in commands.choices.values():
            for action in command._actions:
                # What is no number and no choice is offered files, as shells do.
                if action.type in (None, Path) and not action.choices:
                    action.complete = shtab.FILE
        print(shtab.complete(parser, shell))
        parser.exit()


def entry() -> None:
    """What the command calls: a mistake of the user's is one line."""
    run_main(main)


if __name__ == "__main__":
    entry()
