"""A training by transformers' Trainer around its engine: what is claimed, checked, recorded and published."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from grrm.engines import checkpoints, resources, sessions, stop, trackers
from grrm.files import UserError, write_jsonl
from grrm.lock import held
from grrm.model_folder import check_model
from grrm.preflight.probes import training_hardware
from grrm.slurm.allocation import end_of_job


@dataclass(frozen=True)
class Launch:
    """How an engine trains.

    Attributes:
        engine: its name.
        arguments: what its Trainer is told, by the names of TrainingArguments.
        nodes: machines.
        devices: GPUs, or processes on CPUs, of each.
        run: trains to the end or the next stop; the exit status.
        curve: the metrics of the steps done, from the working folder.
    """

    engine: str
    arguments: Mapping[str, Any]
    nodes: int
    devices: int
    run: Callable[[], int]
    curve: Callable[[Path], Iterator[Mapping[str, float | None]]]


def train(args: argparse.Namespace, config: Mapping[str, Any], launch: Launch) -> None:
    """Train, resuming from the last checkpoint; publish model folder and curve, each whole or not at all.

    Args:
        args: see `grrm.engines.command_line.add_train_options`.
        config: the rendered configuration.
        launch: how.

    Raises:
        UserError: what the training needs is not there, or the engine failed.
    """
    initial, working = Path(config["model_name_or_path"]), Path(config["output_dir"])
    check_model(initial)
    training = checkpoints.identity(args.config, [args.data, initial])
    with held(working):
        checkpoints.claim(working, training)
        if not checkpoints.is_finished(working):
            checkpoints.remove_unusable(working)
            _run(args, initial, working, launch)
            checkpoints.mark_finished(working)
        write_jsonl(args.curve, launch.curve(working))
        cards = [args.card] if args.card else []
        checkpoints.publish([*checkpoints.model_files(working), *cards], args.model, training)


def _run(args: argparse.Namespace, initial: Path, working: Path, launch: Launch) -> None:
    on_cpu = bool(launch.arguments.get("use_cpu"))
    if on_cpu:
        resources.check_sft_memory(initial, launch.devices if launch.nodes > 1 else 1)
    saves = checkpoints.saves(launch.arguments)
    resources.check_sft_disk(initial, working, device="cpu" if on_cpu else "cuda", saves=saves)
    trackers.switch_on(args.tracker, working / "tracking", run=args.model.name, python=args.python)
    hardware = training_hardware(launch.nodes, 0 if on_cpu else launch.devices)
    with stop.stop_in_time(working, end_of_job), sessions.recorded(working, hardware):
        status = launch.run()
    if status != 0:
        ended = resources.end_of_engine(launch.engine, status, "the reason stands above in this log")
        raise UserError(f"{ended}. The same command resumes from the last checkpoint")
    stop.end_if_stopped(working)
