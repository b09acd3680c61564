"""LLaMA-Factory: the configuration of a supervised finetuning."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

DATASET = "stage"


def sft_config(
    settings: Mapping[str, Any], *, model: Path, dataset_dir: Path, output_dir: Path, seed: int
) -> dict[str, Any]:
    """The YAML configuration of `llamafactory-cli train` for full finetuning on a CPU.

    Resumable: LLaMA-Factory looks for a checkpoint only if `overwrite_output_dir` is false.

    Args:
        settings: a stage's section of the configuration (`$defs/sft` of the schema).
        model: folder of the initial model.
        dataset_dir: folder that holds the dataset_info.json of `dataset_info`.
        output_dir: working folder of the training.
        seed: seed of shuffling and initialisation.
    """
    return {
        "model_name_or_path": str(model),
        "stage": "sft",
        "do_train": True,
        "finetuning_type": "full",
        "dataset_dir": str(dataset_dir),
        "dataset": DATASET,
        "template": "chatml",
        "cutoff_len": settings["cutoff_len"],
        "overwrite_cache": True,
        "preprocessing_num_workers": 1,
        "dataloader_num_workers": 0,
        "output_dir": str(output_dir),
        "overwrite_output_dir": False,
        "per_device_train_batch_size": settings["batch_size"],
        "gradient_accumulation_steps": 1,
        "max_steps": settings["max_steps"],
        "learning_rate": settings["learning_rate"],
        "lr_scheduler_type": settings["lr_scheduler"],
        "warmup_steps": settings["warmup_steps"],
        "weight_decay": settings["weight_decay"],
        "max_grad_norm": settings["max_grad_norm"],
        "bf16": False,
        "fp16": False,
        "use_cpu": True,
        "logging_steps": max(1, settings["max_steps"] // 100),
        "save_steps": settings["save_steps"],
        "save_total_limit": 2,
        "plot_loss": False,
        "report_to": "none",
        "disable_tqdm": True,
        "seed": seed,
    }


def dataset_info(rows: Path, dataset_dir: Path) -> dict[str, Any]:
    """The dataset_info.json that tells LLaMA-Factory how to read `rows` (JSON lines of `messages`)."""
    return {
        DATASET: {
            "file_name": os.path.relpath(rows, dataset_dir),
            "formatting": "sharegpt",
            "columns": {"messages": "messages"},
            "tags": {
                "role_tag": "role",
                "content_tag": "content",
                "user_tag": "user",
                "assistant_tag": "assistant",
                "system_tag": "system",
            },
        }
    }
