"""Render the configuration of a judge's Bradley-Terry training."""

from __future__ import annotations

import argparse

import yaml

from grrm.engines.command_line import add_deepspeed, add_render_options, read_deepspeed
from grrm.engines.trl import bradley_terry_config
from grrm.files import write_text
from grrm.process import run_main


def main(argv: list[str] | None = None) -> None:
    """Write the training configuration."""
    parser = argparse.ArgumentParser(description=__doc__)
    add_render_options(parser, data="JSON lines of chosen and rejected responses")
    add_deepspeed(parser)
    args = parser.parse_args(argv)

    config = bradley_terry_config(
        args.settings,
        model=args.model,
        data=args.data,
        output_dir=args.checkpoints,
        seed=args.seed,
        hardware=args.hardware,
        deepspeed=read_deepspeed(args.deepspeed),
    )
    write_text(args.output, yaml.safe_dump(config, sort_keys=False))


if __name__ == "__main__":
    run_main(main)
