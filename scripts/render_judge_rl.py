"""Render the verl configuration of a judge's reinforcement learning."""

from __future__ import annotations

import argparse
from pathlib import Path

from grrm.engines.command_line import add_render_options, write_overrides
from grrm.engines.verl_judges import judge_overrides
from grrm.judges.prompts import load_judge_prompt
from grrm.process import run_main


def main(argv: list[str] | None = None) -> None:
    """Write the overrides of verl's trainer, one Hydra key a line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kind", choices=["pointwise", "pairwise"], required=True)
    parser.add_argument("--prompt", required=True, help="prompt of the judge (YAML)")
    add_render_options(parser, data="prepared rows (Parquet, verl's columns)", model="initial judge")
    parser.add_argument("--validation-data", type=Path, help="prepared rows of the validation")
    args = parser.parse_args(argv)

    stage = f"judge_{args.kind}"
    overrides = judge_overrides(
        args.settings,
        stage=stage,
        reward=args.kind,
        tag=load_judge_prompt(args.prompt, f"judge_{args.kind}").tag,  # type: ignore[arg-type]
        model=args.model,
        data=args.data,
        checkpoints=args.checkpoints,
        seed=args.seed,
        hardware=args.hardware,
        validation_data=args.validation_data,
    )
    write_overrides(args.output, stage, overrides)


if __name__ == "__main__":
    run_main(main)
