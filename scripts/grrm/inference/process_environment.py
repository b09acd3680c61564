"""Going on in an environment that can run models.

The command `grrm` lives beside the driver, which has no torch; the workflow builds environments that have it.
"""

from __future__ import annotations

import argparse
import os
import sys
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

from grrm.files import UserError
from grrm.inference.backends import Engine, choose_backend
from grrm.process import run_main

# Names an interpreter to be used in place of those of the workflow.
PYTHON = "GRRM_PYTHON"

_SCRIPTS = Path(__file__).parents[2]
_ENVIRONMENTS = {
    "torch": [f".snakemake/environments/{name}" for name in ("rl_cuda", "train", "vllm_cpu")],
    "vllm": [f".snakemake/environments/{name}" for name in ("rl_cuda", "vllm_cpu")],
}


def enter(engine: Engine) -> None:
    """Return if the engine's backend can run here; else let the command go on where it can, and not return.

    Raises:
        UserError: there is no such environment.
    """
    backend = choose_backend(engine)
    needed = {"transformers": "torch", "vllm": "vllm"}.get(backend)
    if needed is None or find_spec(needed):
        return
    named = os.environ.get(PYTHON)
    roots = Path(), _SCRIPTS.parent
    built = [root / folder / "bin/python" for root in roots for folder in _ENVIRONMENTS[needed]]
    pythons = [Path(named)] if named else built
    python = next((python for python in pythons if python.exists()), None)
    # Only the command may be replaced by another process, not a program that calls its functions.
    if python is None or Path(sys.argv[0]).name not in ("grrm", "cli.py"):
        raise UserError(
            f"backend {backend!r} needs {needed}, which {sys.executable} has not; build the environments "
            f"(make environments), name an interpreter that has it in {PYTHON}, or name a server (--base-url)"
        )
    paths = [str(_SCRIPTS), *filter(None, [os.environ.get("PYTHONPATH")])]
    os.environ["PYTHONPATH"] = os.pathsep.join(paths)
    sys.stdout.flush()
    os.execv(python, [str(python), "-m", __spec__.name, *sys.argv[1:]])


def main(argv: list[str] | None = None) -> None:
    """A subcommand of `grrm`, by its name; the others, and what they import, are left alone."""
    name, *rest = sys.argv[1:] if argv is None else argv
    command = import_module(f"grrm.commands.{name}")
    parser = argparse.ArgumentParser(prog=f"grrm {name}", description=command.HELP)
    command.add_arguments(parser)
    command.run(parser.parse_args(rest))


if __name__ == "__main__":
    run_main(main)
