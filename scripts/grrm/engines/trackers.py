"""Experiment trackers: where a training's figures go besides the project's own curves.

A tracker belongs to one launch, not to the training: it is no part of the rendered configuration, so that
switching it on neither trains a model anew nor forbids resuming. Whatever it writes stays on this machine, in
the training's working folder, unless the environment says otherwise (WANDB_MODE=online, SWANLAB_MODE=cloud,
MLFLOW_TRACKING_URI); keys are read from the environment by the tracker itself.
"""

from __future__ import annotations

import argparse
import os
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, TypeAlias, get_args

from grrm.files import UserError

Tracker: TypeAlias = Literal["none", "wandb", "tensorboard", "mlflow", "swanlab"]
TRACKERS: tuple[Tracker, ...] = get_args(Tracker)
PROJECT = "grrm"
_VERL_LOGGERS = "trainer.logger"
# Set by the workflow from its key `tracker`: a parameter of a rule would train models anew when it changes.
VARIABLE = "GRRM_TRACKER"


def add_option(parser: argparse.ArgumentParser) -> None:
    """The option --tracker of a training."""
    parser.add_argument(
        "--tracker",
        choices=TRACKERS,
        default=os.environ.get(VARIABLE, "none"),
        help=f"where figures go besides the curve (default: {VARIABLE} in the environment, else none)",
    )


def check_installed(tracker: Tracker, python: str) -> None:
    """Raise UserError unless the package of a tracker is in an environment.

    Args:
        tracker: `none` needs nothing.
        python: interpreter of the environment.
    """
    if tracker == "none":
        return
    probe = f"import importlib.util, sys; sys.exit(importlib.util.find_spec({tracker!r}) is None)"
    if subprocess.run([python, "-c", probe], check=False).returncode != 0:
        raise UserError(
            f"tracker: {tracker}, but the package {tracker} is not installed for {python}; install it there "
            f"(uv pip install --python {python} {tracker}), choose another tracker, or none"
        )


def switch_on(tracker: Tracker, folder: Path, *, run: str, python: str) -> None:
    """Let every engine that this process starts write to a tracker; arguments as of `environment`.

    Raises:
        UserError: see `check_installed`.
    """
    check_installed(tracker, python)
    os.environ.update(environment(tracker, folder, run=run))


def llamafactory_arguments(tracker: Tracker) -> list[str]:
    """What is added to LLaMA-Factory's command line, laid over its configuration file."""
    return [] if tracker == "none" else [f"report_to={tracker}"]


def verl_overrides(config: Mapping[str, Any], tracker: Tracker) -> dict[str, Any]:
    """What is laid over a rendered configuration of verl, or of its fork."""
    if tracker == "none":
        return {}
    return {_VERL_LOGGERS: list(dict.fromkeys([*config[_VERL_LOGGERS], tracker]))}


def environment(
    tracker: Tracker, folder: Path, *, run: str, inherited: Mapping[str, str] = os.environ
) -> dict[str, str]:
    """Variables that make a tracker write to `folder`; those that the user has set stay as they are.

    Args:
        tracker: the tracker.
        folder: made if it is missing.
        run: name of the run.
        inherited: the user's environment.
    """
    if tracker == "none":
        return {"WANDB_MODE": "disabled"}
    folder.mkdir(parents=True, exist_ok=True)
    place = str(folder.absolute())
    variables: dict[Tracker, dict[str, str]] = {
        "none": {},
        "wandb": {"WANDB_MODE": "offline", "WANDB_DIR": place, "WANDB_PROJECT": PROJECT, "WANDB_NAME": run},
        # transformers reads the first, verl the second.
        "tensorboard": {"TENSORBOARD_LOGGING_DIR": place, "TENSORBOARD_DIR": place},
        "mlflow": {
            "MLFLOW_TRACKING_URI": f"sqlite:///{place}/mlflow.db",
            "MLFLOW_EXPERIMENT_NAME": PROJECT,
        },
        "swanlab": {"SWANLAB_MODE": "offline", "SWANLAB_LOG_DIR": place, "SWANLAB_PROJECT": PROJECT},
    }
    return {name: inherited.get(name, value) for name, value in variables[tracker].items()}
