"""Finetune a model with LLaMA-Factory, resuming from its last checkpoint if there is one."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

from grrm.engines import trackers
from grrm.engines.adapters import adapters_of
from grrm.engines.attention import has_flash_attn
from grrm.engines.command_line import add_train_options
from grrm.engines.llamafactory import launch_environment
from grrm.engines.supervised import Launch, train
from grrm.engines.trainer import engine_environment
from grrm.files import read_json, read_yaml
from grrm.model_folder import check_model
from grrm.preflight.probes import require_gpus
from grrm.process import run_engine, run_main
from grrm.slurm.allocation import find_allocation
from grrm.slurm.ray_nodes import find_ray_nodes, joined_address
from grrm.slurm.torchrun import torchrun, torchrun_on_all

_SCRIPTS = Path(__file__).parent


def main(argv: list[str] | None = None) -> None:
    """Train, then publish the model folder and the curves, each whole or not at all."""
    parser = argparse.ArgumentParser(description=__doc__)
    add_train_options(parser, rendered_by="render_sft", engine="LLaMA-Factory")
    parser.add_argument("--nodes", type=int, default=1, help="machines; more than one need a Slurm job")
    parser.add_argument("--devices", type=int, default=1, help="GPUs (or processes) of each machine")
    parser.add_argument(
        "--bad-rows", choices=["error", "drop"], default="error", help="of more than cutoff_len tokens"
    )
    args = parser.parse_args(argv)

    config = read_yaml(args.config)
    working = Path(config["output_dir"])
    trained = adapters_of(config)
    if trained is not None:
        check_model(Path(config["model_name_or_path"]))
    launch = Launch(
        "LLaMA-Factory",
        arguments=config,
        nodes=args.nodes,
        devices=args.devices,
        run=lambda: _train(args, config, working),
        curve=lambda folder: _curve(folder / "trainer_state.json"),
        adapters=trained.parameters(Path(config["model_name_or_path"])) if trained else 0,
        merge=partial(_merge, config, args.python) if trained else None,
    )
    train(args, config, launch)


def _train(args: argparse.Namespace, config: dict[str, Any], working: Path) -> int:
    module = [
        *("grrm.engines.sft_main", str(args.config), *_overrides(config, args.python)),
        f"--bad-rows={args.bad_rows}",
        *trackers.llamafactory_arguments(args.tracker),
    ]
    environment = launch_environment(config, python=args.python, scripts=_SCRIPTS)
    on_gpus = not config.get("use_cpu")
    over_ray = joined_address() is not None and (on_gpus or args.nodes > 1)
    if on_gpus and not over_ray:
        require_gpus(args.devices, args.python)
    if args.nodes > 1 or over_ray:
        gpus = args.devices if on_gpus else 0
        return torchrun_on_all(
            find_ray_nodes(args.nodes, gpus, args.python) if over_ray else find_allocation(args.nodes, gpus),
            module,
            python=args.python,
            processes=args.devices,
            environment=environment,
            logs=working / "machines",
        )
    # DeepSpeed insists on torchrun even for one GPU.
    launcher = torchrun(args.python, args.devices) if on_gpus else [args.python]
    return run_engine([*launcher, "-m", *module], env=environment)


def _merge(config: dict[str, Any], python: str, adapters: Path, output: Path) -> int:
    files = [config["model_name_or_path"], str(adapters), str(output)]
    dtype = "bfloat16" if config["bf16"] else "float32"
    command = [python, "-m", "grrm.engines.merge_adapters", *files, dtype]
    return run_engine(command, env=engine_environment(_SCRIPTS))


def _overrides(config: dict[str, Any], python: str) -> list[str]:
    """What LLaMA-Factory reads after the file, and is no part of the training.

    What this environment lacks; and that no activation is computed twice to save memory which a CPU has.
    """
    overrides = []
    if config.get("flash_attn") == "fa2" and not has_flash_attn(python):
        overrides.append("flash_attn=sdpa")
    if config.get("use_cpu"):
        overrides.append("disable_gradient_checkpointing=true")
    return overrides


def _curve(state: Path) -> Iterator[dict[str, float]]:
    """What the trainer kept of its steps; of one done again after a resume, its state has the last values."""
    for row in read_json(state, gaps=True)["log_history"]:
        if "loss" in row:
            # DeepSpeed may tell no norm.
            norm = {"grad_norm": row["grad_norm"]} if "grad_norm" in row else {}
            yield {"step": row["step"], "loss": row["loss"], "lr": row["learning_rate"], **norm}


if __name__ == "__main__":
    run_main(main)
