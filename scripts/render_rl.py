"""Render the verl configuration of a reinforcement learning stage."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import yaml

from grrm.config import prompt_file
from grrm.engines.trainer import CPU
from grrm.engines.verl import rl_overrides
from grrm.engines.verl_fork import fork_overrides
from grrm.files import write_text
from grrm.judges.configured_prompts import check_reward_prompt
from grrm.process import run_main
from grrm.rewards.kinds import JUDGE_KINDS


def main(argv: list[str] | None = None) -> None:
    """Write the overrides of verl's trainer, one Hydra key a line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--stage", required=True, help="name of the stage")
    parser.add_argument("--settings", type=json.loads, required=True, help="the stage's settings as JSON")
    parser.add_argument("--hardware", type=json.loads, default=CPU, help="the section hardware as JSON")
    parser.add_argument("--engine", choices=["verl", "gen_rm_fork"], default="verl", help="default: verl")
    parser.add_argument("--model", type=Path, required=True, help="folder of the initial policy")
    parser.add_argument("--data", type=Path, required=True, help="prepared rows (parquet, verl's columns)")
    parser.add_argument("--validation-data", type=Path, help="prepared rows of the validation")
    parser.add_argument(
        "--reward-model",
        type=Path,
        help="folder of the judge that verl serves, or of a checkpoint that scores",
    )
    parser.add_argument("--judge-prompt", help="prompt of the judge: its file, or path/to/file.py:function")
    parser.add_argument("--scorer-python", default="", help="interpreter that runs the checkpoint")
    parser.add_argument(
        "--task", choices=["translation", "conversation"], default="translation", help="what the rows hold"
    )
    parser.add_argument("--checkpoints", type=Path, required=True, help="working folder of the training")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output", type=Path, required=True, help="configuration to write (YAML)")
    args = parser.parse_args(argv)
    kind = args.settings.get("reward", {}).get("kind")
    if kind in JUDGE_KINDS and not args.judge_prompt:
        parser.error("a judge needs --judge-prompt")
    if args.judge_prompt and prompt_file(args.judge_prompt) != args.judge_prompt:
        # Prompt files are read while the Snakefile is parsed; the authors' own may not be there yet.
        check_reward_prompt(kind, args.judge_prompt, translation=args.task == "translation")

    if args.engine == "verl":
        overrides = rl_overrides(
            args.settings,
            stage=args.stage,
            model=args.model,
            data=args.data,
            checkpoints=args.checkpoints,
            seed=args.seed,
            judge=args.reward_model,
            judge_prompt=args.judge_prompt,
            scorer_python=args.scorer_python,
            task=args.task,
            hardware=args.hardware,
            validation_data=args.validation_data,
        )
        version = "verl 0.9.1"
    else:
        overrides = fork_overrides(
            args.settings,
            stage=args.stage,
            model=args.model,
            data=args.data,
            checkpoints=args.checkpoints,
            hardware=args.hardware,
            seed=args.seed,
            judge=args.reward_model,
            validation_data=args.validation_data,
        )
        version = "DoubleVII/verl, branch gen_rm, commit c559fa5"
    header = f"# {args.stage}: overrides for `python -m verl.trainer.main_ppo` ({version}).\n"
    write_text(args.output, header + yaml.safe_dump(overrides, sort_keys=False, default_flow_style=None))


if __name__ == "__main__":
    run_main(main)
