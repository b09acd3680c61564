"""LLaMA-Factory: the configuration of a supervised finetuning."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from grrm.engines import adapters
from grrm.engines.trainer import CPU, engine_environment, logging_steps, optimization

DATASET = "stage"
_TASK = {"stage": "sft", "do_train": True}


def sft_config(
    settings: Mapping[str, Any],
    *,
    model: Path,
    dataset_dir: Path,
    output_dir: Path,
    seed: int,
    hardware: Mapping[str, Any] = CPU,
    deepspeed: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """The YAML configuration of `llamafactory-cli train`, for full finetuning or with adapters.

    Resumable: LLaMA-Factory looks for a checkpoint only if `overwrite_output_dir` is false.

    Args:
        settings: a stage's section of the configuration (`$defs/sft` of the schema).
        model: folder of the initial model.
        dataset_dir: folder that holds the dataset_info.json of `dataset_info`.
        output_dir: working folder of the training.
        seed: seed of shuffling and initialisation.
        hardware: the section of that name.
        deepspeed: configuration of DeepSpeed; it becomes a part of this one (cuda only).
    """
    cuda = hardware["device"] == "cuda"
    return {
        "model_name_or_path": str(model),
        **({"flash_attn": settings["attention"]} if cuda else {}),
        **_TASK,
        **adapters.llamafactory_keys(settings),
        **({"deepspeed": dict(deepspeed)} if deepspeed else {}),
        "dataset_dir": str(dataset_dir),
        "dataset": DATASET,
        "template": settings.get("template", "chatml"),
        "cutoff_len": settings["cutoff_len"],
        "overwrite_cache": True,
        "preprocessing_num_workers": settings["preprocessing_workers"] if cuda else 1,
        "dataloader_num_workers": settings["dataloader_workers"] if cuda else 0,
        "output_dir": str(output_dir),
        "overwrite_output_dir": False,
        **optimization(settings, settings["warmup_ratio"] or settings["warmup_steps"]),
        "bf16": hardware["precision"] == "bf16",
        "fp16": False,
        **({"ddp_timeout": 180_000_000} if cuda else {"use_cpu": True}),
        "logging_steps": logging_steps(settings, hardware),
        "save_steps": settings["save_steps"],
        "save_total_limit": 2,
        "plot_loss": False,
        "report_to": "none",
        "disable_tqdm": True,
        "seed": seed,
    }


def launch_environment(config: Mapping[str, Any], *, python: str, scripts: Path) -> dict[str, str]:
    """The environment of LLaMA-Factory.

    Args:
        config: the configuration written by `sft_config`.
        python: interpreter of its environment.
        scripts: folder that holds the package grrm.
    """
    variables = engine_environment(scripts)
    if not config.get("use_cpu"):
        # DeepSpeed looks for ninja and its own programs by name.
        folder = str(Path(python).absolute().parent)
        variables["PATH"] = os.pathsep.join([folder, os.environ.get("PATH", "")])
        # As LLaMA-Factory's own launcher sets them.
        variables |= {
            "PYTORCH_CUDA_ALLOC_CONF": "expandable_segments:True",
            "TORCH_NCCL_AVOID_RECORD_STREAMS": "1",
        }
    return variables


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
