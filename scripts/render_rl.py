"""Render the verl configuration of a reinforcement learning stage."""

from __future__ import annotations

import argparse
from pathlib import Path

from grrm.catalogue.rewards import JUDGED_KINDS
from grrm.config import pieces_of, prompt_file
from grrm.engines.command_line import add_render_options, write_overrides
from grrm.engines.verl import rl_overrides
from grrm.engines.verl_fork import fork_overrides
from grrm.engines.verl_rewards import CODE_BLOCK, PartFiles
from grrm.judges.configured_prompts import check_reward_prompt
from grrm.metrics.scores import parse_named_files
from grrm.process import run_main
from grrm.prompts import REWARDED_KINDS


def main(argv: list[str] | None = None) -> None:
    """Write the overrides of verl's trainer, one Hydra key a line."""
    parser = _parser()
    args = parser.parse_args(argv)
    kind = args.settings.get("reward", {}).get("kind")
    if kind in JUDGED_KINDS and not args.judge_prompt:
        parser.error("a judge needs --judge-prompt")
    parts = _parts(args)
    asked = {kind: args.judge_prompt} | {
        piece["kind"]: parts[name].prompt
        for name, piece in (pieces_of(args.settings["reward"]) if parts else {}).items()
        if name in parts
    }
    for asking, prompt in asked.items():
        if prompt and prompt_file(str(prompt)) != str(prompt):
            # Prompt files are read while the Snakefile is parsed; the authors' own may not be there yet.
            check_reward_prompt(asking, str(prompt), translation=args.task == "translation")

    given = {
        "stage": args.stage,
        "model": args.model,
        "data": args.data,
        "checkpoints": args.checkpoints,
        "seed": args.seed,
        "judge": args.reward_model,
        "hardware": args.hardware,
        "validation_data": args.validation_data,
    }
    if args.engine == "gen_rm_fork":
        overrides = fork_overrides(args.settings, **given)
        write_overrides(args.output, args.stage, overrides, "DoubleVII/verl, branch gen_rm, commit c559fa5")
        return
    overrides = rl_overrides(
        args.settings,
        **given,
        judge_prompt=args.judge_prompt,
        scorer_python=args.scorer_python,
        parts=parts,
        task=args.task,
        verified=args.verified,
        form=args.form,
    )
    write_overrides(args.output, args.stage, overrides)


def _parts(args: argparse.Namespace) -> dict[str, PartFiles]:
    prompts = parse_named_files(args.part_prompt, "--part-prompt")
    models = parse_named_files(args.part_model, "--part-model")
    pythons = parse_named_files(args.part_python, "--part-python")
    return {
        name: PartFiles(prompts.get(name), models.get(name), str(pythons.get(name, "")))
        for name in [*prompts, *models]
    }


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--stage", required=True, help="name of the stage")
    parser.add_argument("--engine", choices=["verl", "gen_rm_fork"], default="verl", help="default: verl")
    add_render_options(parser, data="prepared rows (Parquet, verl's columns)", model="initial policy")
    parser.add_argument(
        "--verified",
        choices=["ranking_score", "sqm_score"],
        default="ranking_score",
        help="what scores answers that are verified (grrm.rewards; default: ranking_score)",
    )
    parser.add_argument("--validation-data", type=Path, help="prepared rows of the validation")
    parser.add_argument(
        "--reward-model",
        type=Path,
        help="folder of the judge that verl serves, or of a checkpoint that scores",
    )
    parser.add_argument("--judge-prompt", help="prompt of the judge: its file, or path/to/file.py:function")
    parser.add_argument("--scorer-python", default="", help="interpreter that runs the checkpoint")
    for option, what in (("prompt", "prompt"), ("model", "checkpoint"), ("python", "its interpreter")):
        help_text = f"of parts of a mixture: {what}"
        parser.add_argument(f"--part-{option}", nargs="+", default=[], metavar="NAME=FILE", help=help_text)
    parser.add_argument(
        "--task", choices=["translation", "conversation"], default="translation", help="what the rows hold"
    )
    parser.add_argument(
        "--form",
        choices=list(REWARDED_KINDS),
        default=CODE_BLOCK,
        help=f"kind of the prompt in the rows (default: {CODE_BLOCK})",
    )
    return parser


if __name__ == "__main__":
    run_main(main)
