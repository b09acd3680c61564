"""Render the LLaMA-Factory configuration of a supervised finetuning stage."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import yaml

from grrm.engines.llamafactory import dataset_info, sft_config
from grrm.engines.trainer import CPU
from grrm.files import UserError, write_json, write_text
from grrm.process import run_main


def main(argv: list[str] | None = None) -> None:
    """Write the training configuration and, beside it, the dataset_info.json it refers to."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--settings", type=json.loads, required=True, help="the stage's settings as JSON")
    parser.add_argument("--hardware", type=json.loads, default=CPU, help="the section hardware as JSON")
    parser.add_argument("--deepspeed", type=Path, help="configuration of DeepSpeed (YAML or JSON)")
    parser.add_argument("--model", type=Path, required=True, help="folder of the initial model")
    parser.add_argument("--data", type=Path, required=True, help="prepared rows (JSON lines of messages)")
    parser.add_argument("--checkpoints", type=Path, required=True, help="working folder of the training")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output", type=Path, required=True, help="configuration to write (YAML)")
    parser.add_argument("--dataset-info", type=Path, required=True, help="dataset_info.json to write")
    args = parser.parse_args(argv)

    dataset_dir = args.dataset_info.parent
    config = sft_config(
        args.settings,
        model=args.model,
        dataset_dir=dataset_dir,
        output_dir=args.checkpoints,
        seed=args.seed,
        hardware=args.hardware,
        deepspeed=_read(args.deepspeed) if args.deepspeed else None,
    )
    write_json(args.dataset_info, dataset_info(args.data, dataset_dir))
    write_text(args.output, yaml.safe_dump(config, sort_keys=False))


def _read(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise UserError(f"{path}: no such file; it is the stage's key deepspeed")
    config = yaml.safe_load(path.read_text(encoding="utf-8"))
    if not isinstance(config, dict):
        raise UserError(f"{path}: not a configuration of DeepSpeed, expected keys and values")
    return config


if __name__ == "__main__":
    run_main(main)
