"""TRL: the configuration of a Bradley-Terry training, and how it is launched."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from grrm.engines.trackers import Tracker
from grrm.engines.trainer import CPU, logging_steps, optimization


def bradley_terry_config(
    settings: Mapping[str, Any],
    *,
    model: Path,
    data: Path,
    output_dir: Path,
    seed: int,
    hardware: Mapping[str, Any] = CPU,
    deepspeed: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """What `grrm.engines.trl_reward` reads: model, data, and under `training` the keys of TRL's RewardConfig.

    Args:
        settings: the section `judges.bradley_terry` of the configuration.
        model: folder of the initial model.
        data: JSON lines of `chosen` and `rejected`.
        output_dir: working folder of the training.
        seed: of the head's weights and of shuffling.
        hardware: the section of that name.
        deepspeed: configuration of DeepSpeed; it becomes a part of this one (cuda only).
    """
    cuda = hardware["device"] == "cuda"
    return {
        "model_name_or_path": str(model),
        "data": str(data),
        "output_dir": str(output_dir),
        "max_length": settings["max_length"],
        "margin": settings["margin"],
        "precision": hardware["precision"],
        "nodes": hardware["nodes"],
        "gpus_per_node": hardware["gpus_per_node"],
        "training": {
            **({"deepspeed": dict(deepspeed)} if deepspeed else {}),
            **optimization(settings, settings["warmup_ratio"]),
            "center_rewards_coefficient": settings["center_rewards"] or None,
            "gradient_checkpointing": cuda and settings["gradient_checkpointing"],
            "bf16": hardware["precision"] == "bf16",
            **({"ddp_timeout": 180_000_000} if cuda else {"use_cpu": True}),
            "logging_steps": logging_steps(settings, hardware),
            "save_steps": settings["save_steps"],
            "save_total_limit": 2,
            "disable_tqdm": True,
            "seed": seed,
        },
    }


def weights_dtype(config: Mapping[str, Any]) -> str:
    """Type of the weights that are trained, torch's name for it.

    The optimizer's steps are lost in bfloat16: they are far below its precision. Only DeepSpeed keeps weights
    of float32 of its own; else `bf16` computes in bfloat16 (autocast) with weights of float32.

    Args:
        config: what `bradley_terry_config` returned.
    """
    sharded = bool(config["training"].get("deepspeed"))
    return "bfloat16" if sharded and config["precision"] == "bf16" else "float32"


def command(config: Mapping[str, Any], python: str, path: Path, tracker: Tracker = "none") -> list[str]:
    """The command line of a training, one process a GPU.

    Args:
        config: what `bradley_terry_config` returned.
        python: interpreter of the environment with TRL.
        path: the file that holds the configuration.
        tracker: where figures go besides the curve.
    """
    module = ["-m", "grrm.engines.trl_reward", str(path), tracker]
    if config["training"].get("use_cpu"):
        return [python, *module]
    processes = ["--nproc-per-node", str(config["gpus_per_node"])]
    return [python, "-m", "torch.distributed.run", "--standalone", *processes, *module]
