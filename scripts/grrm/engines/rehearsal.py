"""The configuration of a rehearsal: that of the training for two steps, on other rows and from another model.

Whatever decides about memory, speed and placement is the training's own.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from grrm.engines import verl, verl_fork, verl_rewards, verl_vllm
from grrm.engines.longest_rows import STEPS

_FAILURES = "+reward.reward_kwargs.max_failure_rate"


@dataclass(frozen=True)
class Files:
    """What a rehearsal reads and writes.

    Attributes:
        model: folder of the model that it starts from.
        judge: folder of the judge that verl serves; None without one.
        rows: of the longest lengths.
        checkpoints: working folder.
        dataset: folder of LLaMA-Factory's dataset_info.json.
    """

    model: Path
    judge: Path | None
    rows: Path
    checkpoints: Path
    dataset: Path


@dataclass(frozen=True)
class Lengths:
    """Limits of a rendered configuration, in tokens, and its rows.

    Attributes:
        batch: rows of a step, on all devices.
        prompt: of reinforcement learning; 0 in supervised trainings.
        longest: answer of reinforcement learning, or whole row.
    """

    batch: int
    prompt: int
    longest: int


def lengths(config: Mapping[str, Any], devices: int) -> Lengths:
    """What rows are made by.

    Args:
        config: rendered configuration of any engine.
        devices: processes of a supervised training.
    """
    if verl.BATCH in config:
        limits = (config[f"data.max_{part}_length"] for part in ("prompt", "response"))
        return Lengths(int(config[verl.BATCH]), *map(int, limits))
    training = config.get("training", config)
    batch = training["per_device_train_batch_size"] * training["gradient_accumulation_steps"] * devices
    return Lengths(
        int(batch), 0, int(config["cutoff_len"] if "cutoff_len" in config else config["max_length"])
    )


def rehearsal_config(config: Mapping[str, Any], files: Files) -> dict[str, Any]:
    """The configuration of a rehearsal.

    Args:
        config: rendered configuration of any engine.
        files: see there.
    """
    if verl.BATCH in config:
        return {**config, **_verl(config, files)}
    steps = {"max_steps": STEPS, "save_steps": STEPS, "logging_steps": 1}
    paths = {"model_name_or_path": str(files.model), "output_dir": str(files.checkpoints)}
    if "training" in config:
        training = _without_epochs(config["training"]) | steps
        return {**config, **paths, "data": str(files.rows), "training": training}
    return _without_epochs(config) | steps | paths | {"dataset_dir": str(files.dataset)}


def _without_epochs(config: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in config.items() if key != "num_train_epochs"}


def _verl(config: Mapping[str, Any], files: Files) -> dict[str, Any]:
    judge = verl_fork.JUDGE if verl_fork.is_fork(config) else verl_rewards.JUDGE
    changes: dict[str, Any] = {
        verl.MODEL: str(files.model),
        verl.DATA: str(files.rows),
        verl.VALIDATION_DATA: str(files.rows),
        verl.CHECKPOINTS: str(files.checkpoints),
        verl.STEPS: STEPS,
        verl.EPOCHS: STEPS,
        "data.shuffle": False,  # the second step is that of the longest rows
        "trainer.save_freq": STEPS,
        "trainer.test_freq": -1,
        "trainer.val_before_train": False,
    }
    optional = {
        judge: None if files.judge is None else str(files.judge),
        _FAILURES: 1.0,  # of judgements: they are counted
    }
    changes |= {key: value for key, value in optional.items() if key in config}
    if config.get(f"{verl_vllm.POLICY_SERVER}.name") == "transformers":
        changes |= verl_vllm.SEEDED  # with vLLM the launch adds it
    return changes
