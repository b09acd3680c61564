"""Render the verl configuration of a judge's reinforcement learning."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import yaml

from grrm.engines.trainer import CPU
from grrm.engines.verl_judges import judge_overrides
from grrm.files import write_text
from grrm.judges.prompts import load_judge_prompt
from grrm.process import run_main


def main(argv: list[str] | None = None) -> None:
    """Write the overrides of verl's trainer, one Hydra key a line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kind", choices=["pointwise", "pairwise"], required=True)
    parser.add_argument("--settings", type=json.loads, required=True, help="the stage's settings as JSON")
    parser.add_argument("--hardware", type=json.loads, default=CPU, help="the section hardware as JSON")
    parser.add_argument("--prompt", required=True, help="prompt of the judge (YAML)")
    parser.add_argument("--model", type=Path, required=True, help="folder of the initial judge")
    parser.add_argument("--data", type=Path, required=True, help="prepared rows (Parquet, verl's columns)")
    parser.add_argument("--validation-data", type=Path, help="prepared rows of the validation")
    parser.add_argument("--checkpoints", type=Path, required=True, help="working folder of the training")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output", type=Path, required=True, help="configuration to write (YAML)")
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
    header = f"# {stage}: overrides for `python -m verl.trainer.main_ppo` (verl 0.9.1).\n"
    write_text(args.output, header + yaml.safe_dump(overrides, sort_keys=False, default_flow_style=None))


if __name__ == "__main__":
    run_main(main)
