"""Render the configuration of a judge's Bradley-Terry training."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import yaml

from grrm.engines.trainer import CPU
from grrm.engines.trl import bradley_terry_config
from grrm.files import UserError, write_text
from grrm.process import run_main


def main(argv: list[str] | None = None) -> None:
    """Write the training configuration."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--settings", type=json.loads, required=True, help="the stage's settings as JSON")
    parser.add_argument("--hardware", type=json.loads, default=CPU, help="the section hardware as JSON")
    parser.add_argument("--deepspeed", type=Path, help="configuration of DeepSpeed (YAML)")
    parser.add_argument("--model", type=Path, required=True, help="folder of the initial model")
    parser.add_argument(
        "--data", type=Path, required=True, help="JSON lines of chosen and rejected responses"
    )
    parser.add_argument("--checkpoints", type=Path, required=True, help="working folder of the training")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output", type=Path, required=True, help="configuration to write (YAML)")
    args = parser.parse_args(argv)

    deepspeed = None
    if args.deepspeed:
        if not args.deepspeed.is_file():
            raise UserError(f"{args.deepspeed}: no such file; it is the stage's key deepspeed")
        deepspeed = yaml.safe_load(args.deepspeed.read_text(encoding="utf-8"))
    config = bradley_terry_config(
        args.settings,
        model=args.model,
        data=args.data,
        output_dir=args.checkpoints,
        seed=args.seed,
        hardware=args.hardware,
        deepspeed=deepspeed,
    )
    write_text(args.output, yaml.safe_dump(config, sort_keys=False))


if __name__ == "__main__":
    run_main(main)
