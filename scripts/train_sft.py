"""Finetune a model with LLaMA-Factory, resuming from its last checkpoint if there is one."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from grrm.engines import checkpoints, resources, sessions, stop, trackers
from grrm.engines.attention import has_flash_attn
from grrm.engines.llamafactory import launch_environment
from grrm.files import UserError, read_json, read_yaml, write_jsonl
from grrm.lock import held
from grrm.model_folder import check_model
from grrm.preflight.probes import require_gpus, training_hardware
from grrm.process import run_engine, run_main
from grrm.slurm.allocation import end_of_job, find_allocation
from grrm.slurm.torchrun import torchrun, torchrun_on_all

_SCRIPTS = Path(__file__).parent


def main(argv: list[str] | None = None) -> None:
    """Train, then publish the model folder and the curves, each whole or not at all."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--config", type=Path, required=True, help="configuration written by render_sft")
    parser.add_argument("--data", type=Path, required=True, help="prepared rows the configuration refers to")
    parser.add_argument("--python", required=True, help="interpreter of the environment with LLaMA-Factory")
    parser.add_argument("--model", type=Path, required=True, help="finished model folder to write")
    parser.add_argument("--curve", type=Path, required=True, help="metrics by step to write (JSON lines)")
    parser.add_argument("--nodes", type=int, default=1, help="machines; more than one need a Slurm job")
    parser.add_argument("--devices", type=int, default=1, help="GPUs (or processes) of each machine")
    parser.add_argument("--card", type=Path, help="of a judge: its judge.json")
    trackers.add_option(parser)
    args = parser.parse_args(argv)

    config = read_yaml(args.config)
    initial, working = Path(config["model_name_or_path"]), Path(config["output_dir"])
    check_model(initial)
    training = checkpoints.identity(args.config, [args.data, initial])
    with held(working):
        checkpoints.claim(working, training)
        if not checkpoints.is_finished(working):
            checkpoints.remove_unusable(working)
            device = "cpu" if config.get("use_cpu") else "cuda"
            if device == "cpu":
                resources.check_sft_memory(initial, args.devices if args.nodes > 1 else 1)
            resources.check_sft_disk(initial, working, device=device, saves=checkpoints.saves(config))
            trackers.switch_on(args.tracker, working / "tracking", run=args.model.name, python=args.python)
            hardware = training_hardware(args.nodes, 0 if config.get("use_cpu") else args.devices)
            with stop.stop_in_time(working, end_of_job), sessions.recorded(working, hardware):
                status = _train(args, config, working)
            if status != 0:
                why = "the reason stands above in this log"
                ended = resources.end_of_engine("LLaMA-Factory", status, why)
                raise UserError(f"{ended}. The same command resumes from the last checkpoint")
            stop.end_if_stopped(working)
            checkpoints.mark_finished(working)
        write_jsonl(args.curve, _curve(working / "trainer_state.json"))
        cards = [args.card] if args.card else []
        checkpoints.publish([*checkpoints.model_files(working), *cards], args.model, training)


def _train(args: argparse.Namespace, config: dict[str, Any], working: Path) -> int:
    module = [
        *("grrm.engines.sft_main", str(args.config), *_overrides(config, args.python)),
        *trackers.llamafactory_arguments(args.tracker),
    ]
    environment = launch_environment(config, python=args.python, scripts=_SCRIPTS)
    on_gpus = not config.get("use_cpu")
    if on_gpus:
        require_gpus(args.devices, args.python)
    if args.nodes > 1:
        return torchrun_on_all(
            find_allocation(args.nodes, args.devices if on_gpus else 0),
            module,
            python=args.python,
            processes=args.devices,
            environment=environment,
            logs=working / "machines",
        )
    # DeepSpeed insists on torchrun even for one GPU.
    launcher = torchrun(args.python, args.devices) if on_gpus else [args.python]
    return run_engine([*launcher, "-m", *module], env=environment)


def _overrides(config: dict[str, Any], python: str) -> list[str]:
    """What LLaMA-Factory reads after the file: what this environment lacks is no part of the training."""
    wants_flash_attn = config.get("flash_attn") == "fa2"
    return [] if not wants_flash_attn or has_flash_attn(python) else ["flash_attn=sdpa"]


def _curve(state: Path) -> Iterator[dict[str, float]]:
    """What the trainer kept of its steps; of one done again after a resume, its state has the last values."""
    for row in read_json(state)["log_history"]:
        if "loss" in row:
            # DeepSpeed may tell no norm.
            norm = {"grad_norm": row["grad_norm"]} if "grad_norm" in row else {}
            yield {"step": row["step"], "loss": row["loss"], "lr": row["learning_rate"], **norm}


if __name__ == "__main__":
    run_main(main)
