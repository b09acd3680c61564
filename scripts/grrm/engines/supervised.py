"""A training by transformers' Trainer around its engine: what is claimed, checked, recorded and published."""

from __future__ import annotations

import argparse
import shutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from grrm.engines import checkpoints, resources, sessions, stop, trackers
from grrm.files import UserError, atomic_path, write_jsonl
from grrm.lock import held
from grrm.model_folder import check_model
from grrm.preflight.probes import training_hardware
from grrm.slurm.allocation import end_of_job

_MERGED = "merged"


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
        adapters: parameters of the adapters that alone are trained; 0 if all parameters are.
        merge: writes the plain model of the adapters in a working folder to another folder; the exit status.
            None without adapters.
    """

    engine: str
    arguments: Mapping[str, Any]
    nodes: int
    devices: int
    run: Callable[[], int]
    curve: Callable[[Path], Iterator[Mapping[str, float | None]]]
    adapters: int = 0
    merge: Callable[[Path, Path], int] | None = None


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
            if launch.merge is not None:
                _merge(launch.merge, working)
            checkpoints.mark_finished(working)
        write_jsonl(args.curve, launch.curve(working))
        cards = [args.card] if args.card else []
        model = working if launch.merge is None else working / _MERGED
        checkpoints.publish([*checkpoints.model_files(model), *cards], args.model, training)


def _merge(merge: Callable[[Path, Path], int], working: Path) -> None:
    """Write the plain model beside the adapters, with the tokenizer that was saved with them."""
    with atomic_path(working / _MERGED) as partial:
        if merge(working, partial) != 0:
            raise UserError(f"{working}: its adapters cannot be merged; the reason stands above in this log")
        for file in checkpoints.tokenizer_files(working):
            shutil.copy2(file, partial / file.name)


def _run(args: argparse.Namespace, initial: Path, working: Path, launch: Launch) -> None:
    on_cpu = bool(launch.arguments.get("use_cpu"))
    if on_cpu:
        processes = launch.devices if launch.nodes > 1 else 1
        resources.check_sft_memory(initial, processes, launch.adapters)
    saves = checkpoints.saves(launch.arguments)
    device = "cpu" if on_cpu else "cuda"
    resources.check_sft_disk(initial, working, device=device, saves=saves, adapters=launch.adapters)
    trackers.switch_on(args.tracker, working / "tracking", run=args.model.name, python=args.python)
    hardware = training_hardware(launch.nodes, 0 if on_cpu else launch.devices)
    with stop.stop_in_time(working, end_of_job), sessions.recorded(working, hardware):
        status = launch.run()
    if status != 0:
        ended = resources.end_of_engine(launch.engine, status, "the reason stands above in this log")
        raise sessions.failed(
            working,
            checkpoints.last_step(working),
            f"{ended}. The same command resumes from the last checkpoint",
        )
    stop.end_if_stopped(working)
