"""What LLaMA-Factory and TRL share: both train with transformers' Trainer, in a process of their own."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

CPU = {"device": "cpu", "nodes": 1, "gpus_per_node": 1, "precision": "fp32"}
"""The hardware section of a configuration without one."""


def optimization(settings: Mapping[str, Any], warmup: float) -> dict[str, Any]:
    """Batches, length and steps of the optimizer, by the names of TrainingArguments.

    Args:
        settings: a stage's section of the configuration.
        warmup: steps; a number below 1 is a share of the steps.
    """
    steps, epochs = settings["max_steps"], settings["epochs"]
    return {
        "per_device_train_batch_size": settings["batch_size"],
        "gradient_accumulation_steps": settings["gradient_accumulation"],
        **({"max_steps": steps} if steps is not None else {"num_train_epochs": float(epochs)}),
        "learning_rate": settings["learning_rate"],
        "lr_scheduler_type": settings["lr_scheduler"],
        "warmup_steps": warmup,
        "weight_decay": settings["weight_decay"],
        "max_grad_norm": settings["max_grad_norm"],
    }


def logging_steps(settings: Mapping[str, Any], hardware: Mapping[str, Any]) -> int:
    """Every step is logged, except in long trainings on a CPU."""
    steps = settings["max_steps"]
    return 1 if hardware["device"] == "cuda" or steps is None else max(1, steps // 100)


def engine_environment(scripts: Path) -> dict[str, str]:
    """The environment of an engine; `scripts` is the folder that holds the package grrm."""
    path = [str(scripts.absolute()), *filter(None, [os.environ.get("PYTHONPATH")])]
    return {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(path),
        "HF_HUB_OFFLINE": "1",
        "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", "1"),
        # Threads that spin while they wait take the core from whoever they wait for.
        "OMP_WAIT_POLICY": os.environ.get("OMP_WAIT_POLICY", "PASSIVE"),
        "TOKENIZERS_PARALLELISM": "false",
    }
