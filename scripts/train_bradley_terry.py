"""Train a Bradley-Terry judge with TRL, resuming from its last checkpoint if there is one."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path

import yaml

from grrm.engines import checkpoints, resources, sessions, stop, trackers, trl
from grrm.engines.trainer import engine_environment
from grrm.files import UserError, read_jsonl, write_jsonl
from grrm.lock import held
from grrm.preflight.probes import training_hardware
from grrm.process import run_engine, run_main
from grrm.slurm.allocation import end_of_job

_SCRIPTS = Path(__file__).parent
_SHOWN = ("loss", "accuracy", "margin", "mean_reward", "grad_norm")


def main(argv: list[str] | None = None) -> None:
    """Train, then publish the model folder with its card and the curve, each whole or not at all."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--config", type=Path, required=True, help="configuration by render_bradley_terry")
    parser.add_argument("--data", type=Path, required=True, help="rows the configuration refers to")
    parser.add_argument("--python", required=True, help="interpreter of the environment with TRL")
    parser.add_argument("--card", type=Path, required=True, help="the judge's judge.json")
    parser.add_argument("--model", type=Path, required=True, help="finished model folder to write")
    parser.add_argument("--curve", type=Path, required=True, help="metrics by step to write (JSON lines)")
    trackers.add_option(parser)
    args = parser.parse_args(argv)

    config = yaml.safe_load(args.config.read_text(encoding="utf-8"))
    initial, working = Path(config["model_name_or_path"]), Path(config["output_dir"])
    checkpoints.check_model(initial)
    training = checkpoints.identity(args.config, [args.data, initial])
    with held(working):
        checkpoints.claim(working, training)
        if not checkpoints.is_finished(working):
            checkpoints.remove_unusable(working)
            device = "cpu" if config["training"].get("use_cpu") else "cuda"
            if device == "cpu":
                resources.check_sft_memory(initial)
            saves = checkpoints.saves(config["training"])
            resources.check_sft_disk(initial, working, device=device, saves=saves)
            trackers.switch_on(args.tracker, working / "tracking", run=args.model.name, python=args.python)
            command = trl.command(config, args.python, args.config, args.tracker)
            on_cpu = config["training"].get("use_cpu")
            hardware = training_hardware(config["nodes"], 0 if on_cpu else config["gpus_per_node"])
            with stop.stop_in_time(working, end_of_job), sessions.recorded(working, hardware):
                status = run_engine(command, env=engine_environment(_SCRIPTS))
            if status != 0:
                ended = resources.end_of_engine("TRL", status, "the reason stands above in this log")
                raise UserError(f"{ended}. The same command resumes from the last checkpoint")
            stop.end_if_stopped(working)
            checkpoints.mark_finished(working)
        write_jsonl(args.curve, _curve(working / "log.jsonl"))
        checkpoints.publish([*checkpoints.model_files(working), args.card], args.model, training)


def _curve(log: Path) -> Iterator[dict[str, float]]:
    for row in read_jsonl(log):
        if "loss" in row:
            shown = {name: float(row[name]) for name in _SHOWN if name in row}
            yield {"step": row["step"], **shown, "lr": row["learning_rate"]}


if __name__ == "__main__":
    run_main(main)
