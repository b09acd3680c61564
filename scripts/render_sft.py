"""Render the LLaMA-Factory configuration of a supervised finetuning stage."""

from __future__ import annotations

import argparse
from pathlib import Path

import yaml

from grrm.engines.command_line import add_deepspeed, add_render_options, read_deepspeed
from grrm.engines.llamafactory import dataset_info, sft_config
from grrm.files import write_json, write_text
from grrm.process import run_main


def main(argv: list[str] | None = None) -> None:
    """Write the training configuration and, beside it, the dataset_info.json it refers to."""
    parser = argparse.ArgumentParser(description=__doc__)
    add_render_options(parser, data="prepared rows (JSON lines of messages)")
    add_deepspeed(parser)
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
        deepspeed=read_deepspeed(args.deepspeed),
    )
    write_json(args.dataset_info, dataset_info(args.data, dataset_dir))
    write_text(args.output, yaml.safe_dump(config, sort_keys=False))


if __name__ == "__main__":
    run_main(main)
