"""Finetune a model with LLaMA-Factory, resuming from its last checkpoint if there is one."""

from __future__ import annotations

import argparse
import os
from collections.abc import Iterator
from pathlib import Path

import yaml

from grrm.engines import checkpoints, trackers
from grrm.engines.llamafactory import launch_environment
from grrm.files import UserError, read_jsonl, write_jsonl
from grrm.process import run_engine, run_main


def main(argv: list[str] | None = None) -> None:
    """Train, then publish the model folder and the loss curve, each whole or not at all."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--config", type=Path, required=True, help="configuration written by render_sft")
    parser.add_argument("--data", type=Path, required=True, help="prepared rows the configuration refers to")
    parser.add_argument("--python", required=True, help="interpreter of the environment with LLaMA-Factory")
    parser.add_argument("--model", type=Path, required=True, help="finished model folder to write")
    parser.add_argument("--curve", type=Path, required=True, help="loss curve to write (JSON lines)")
    trackers.add_option(parser)
    parser.add_argument("--card", type=Path, help="of a judge: its judge.json")
    args = parser.parse_args(argv)

    config = yaml.safe_load(args.config.read_text(encoding="utf-8"))
    initial, working = Path(config["model_name_or_path"]), Path(config["output_dir"])
    checkpoints.check_model(initial)
    training = checkpoints.identity(args.config, [args.data, initial])
    checkpoints.claim(working, training)
    if not checkpoints.is_finished(working):
        checkpoints.remove_broken(working)
        trackers.check_installed(args.tracker, args.python)
        tracking = trackers.environment(args.tracker, working / "tracking", run=args.model.name)
        status = run_engine(
            [
                *(args.python, "-m", "llamafactory.cli", "train", str(args.config)),
                *trackers.llamafactory_arguments(args.tracker),
            ],
            env={**os.environ, **launch_environment(config, args.python), **tracking},
        )
        if status != 0:
            raise UserError(
                f"LLaMA-Factory ended with status {status}; the reason stands above in this log. "
                "The same command resumes from the last checkpoint"
            )
        checkpoints.mark_finished(working)
    write_jsonl(args.curve, _curve(working / "trainer_log.jsonl"))
    cards = [args.card] if args.card else []
    checkpoints.publish([*checkpoints.model_files(working), *cards], args.model, training)


def _curve(log: Path) -> Iterator[dict[str, float]]:
    steps = {row["current_steps"]: row for row in read_jsonl(log) if "loss" in row}
    for step, row in sorted(steps.items()):
        yield {"step": step, "loss": row["loss"], "lr": row["lr"]}


if __name__ == "__main__":
    run_main(main)
