"""TRL: the configuration of a Bradley-Terry training, and how it is launched."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from grrm.engines.llamafactory import CPU
from grrm.engines.trackers import Tracker


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
    steps, epochs = settings["max_steps"], settings["epochs"]
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
            "per_device_train_batch_size": settings["batch_size"],
            "gradient_accumulation_steps": settings["gradient_accumulation"],
            **({"max_steps": steps} if steps is not None else {"num_train_epochs": float(epochs)}),
            "learning_rate": settings["learning_rate"],
            "lr_scheduler_type": settings["lr_scheduler"],
            # A number below 1 is a share of the steps.
            "warmup_steps": settings["warmup_ratio"],
            "weight_decay": settings["weight_decay"],
            "max_grad_norm": settings["max_grad_norm"],
            "center_rewards_coefficient": settings["center_rewards"] or None,
            "gradient_checkpointing": cuda and settings["gradient_checkpointing"],
            "bf16": hardware["precision"] == "bf16",
            **({"ddp_timeout": 180_000_000} if cuda else {"use_cpu": True}),
            "logging_steps": 1 if cuda or steps is None else max(1, steps // 100),
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


def environment(scripts: Path) -> dict[str, str]:
    """The environment of a training; `scripts` is the folder that holds the package grrm."""
    path = [str(scripts.absolute()), *filter(None, [os.environ.get("PYTHONPATH")])]
    return {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(path),
        "HF_HUB_OFFLINE": "1",
        "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", "1"),
        "TOKENIZERS_PARALLELISM": "false",
    }
