"""Train a model with verl by reinforcement learning, resuming from its last checkpoint if there is one."""

from __future__ import annotations

import argparse
import os
import shutil
import socket
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from hashlib import sha256
from pathlib import Path
from typing import Any

import psutil
import pyarrow.parquet as pq
import yaml

from grrm.asking.ledger import total_calls
from grrm.asking.options import JudgeOptions
from grrm.engines import (
    checkpoints,
    ray_address,
    resources,
    sessions,
    stop,
    trackers,
    verl,
    verl_fork,
    verl_runs,
)
from grrm.engines.attention import has_flash_attn
from grrm.files import UserError, write_json, write_jsonl
from grrm.lock import held
from grrm.preflight.probes import require_gpus, training_hardware
from grrm.process import run_engine, run_main
from grrm.rewards.group import STOP_MARK
from grrm.slurm.allocation import end_of_job, find_allocation
from grrm.slurm.ray import ray_cluster, ray_token

_SCRIPTS = Path(__file__).parent
_TEMPORARY = "grrm-rl-"
_LONGEST_BASE = 16  # or Ray's sockets, some 90 characters further in, pass the 107 that a socket may have


def main(argv: list[str] | None = None) -> None:
    """Train, then publish the model folder and the training curve, each whole or not at all."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--config", type=Path, required=True, help="configuration written by render_rl")
    parser.add_argument("--data", type=Path, required=True, help="prepared rows the configuration refers to")
    parser.add_argument("--python", required=True, help="interpreter of the environment with verl")
    parser.add_argument("--model", type=Path, required=True, help="finished model folder to write")
    parser.add_argument(
        "--curve", type=Path, required=True, help="metrics of every step to write (JSON lines)"
    )
    parser.add_argument("--judgements", type=Path, help="judged groups to write (JSON lines)")
    parser.add_argument("--judge-calls", type=Path, help="totals of the calls to a judge to write (JSON)")
    parser.add_argument(
        "--keep",
        type=int,
        nargs="*",
        default=[],
        help="steps whose models stay in the working folder (kept/)",
    )
    parser.add_argument("--card", type=Path, help="of a judge: its judge.json")
    parser.add_argument(
        "--ray-from-environment",
        action="store_true",
        help="train on the cluster at RAY_ADDRESS if set",
    )
    parser.add_argument("--fork", type=Path, help="checkout of the fork, for a configuration of its own")
    trackers.add_option(parser)
    args = parser.parse_args(argv)

    config = yaml.safe_load(args.config.read_text(encoding="utf-8"))
    initial, working = Path(config[verl.MODEL]), Path(config[verl.CHECKPOINTS])
    fork = args.fork.absolute() if args.fork else None
    if verl_fork.is_fork(config) != (fork is not None):
        raise UserError(f"{args.config}: --fork belongs to a configuration for the fork, and only to one")
    judges = [Path(config[key]) for key in (verl.JUDGE, verl_fork.JUDGE) if key in config]
    for model in [initial, *judges]:
        checkpoints.check_model(model)
    if verl.is_asked_over_http(config):
        JudgeOptions.from_mapping(verl.judge_options(config))  # a wrong one is told now, not by a worker
    prompts_available = _check_rows(args.data, config[verl.BATCH])
    inputs = [args.data, initial, *judges, *verl.scoring_files(config)]
    training = checkpoints.identity(args.config, inputs, ignored=verl.TRANSPORT)
    steps = verl.total_steps(config, prompts_available)
    with held(working):
        checkpoints.claim(working, training)
        if not checkpoints.is_finished(working):
            if config.get(verl.DEVICE) == "cpu":
                resources.check_rl_memory(initial, judges)
            if verl_runs.prepare_resume(working, args.keep) != steps:
                address = os.environ.get("RAY_ADDRESS") if args.ray_from_environment else None
                trackers.switch_on(
                    args.tracker, working / "tracking", run=args.model.name, python=args.python
                )
                launched = config | trackers.verl_overrides(config, args.tracker)
                # The machines of a cluster that was there before are not seen from here.
                hardware = (
                    None
                    if address
                    else training_hardware(verl.machines(config), verl.devices_per_machine(config))
                )
                with stop.stop_in_time(working, end_of_job), sessions.recorded(working, hardware):
                    _train(args.python, launched, working, steps, fork, args.keep, address)
            checkpoints.mark_finished(working)
        _publish(args, working, verl_runs.last_complete_step(working) or steps, training)


def _publish(args: argparse.Namespace, working: Path, done: int, training: dict[str, Any]) -> None:
    """Write what came out of a finished training of `done` steps."""
    if missing := [step for step in args.keep if not verl_runs.kept_model(working, step).is_dir()]:
        raise UserError(
            f"{working}: steps {missing} of evaluate.checkpoints were not kept by this training, "
            f"which is finished and has {done} steps; take them out of the configuration, or remove the "
            "folder to train anew"
        )
    files = verl_runs.model_files(working, done)
    _check_model(args.python, verl_runs.checkpoint(working, done) / "actor/huggingface")
    attempts = verl_runs.attempts(working)
    rows = verl_runs.merge_metrics(attempt / "metrics.jsonl" for attempt in attempts)
    if lost := verl_runs.unrecorded(rows, done):
        print(f"Interrupted between checkpoint and record: {args.curve} has no metrics of steps {lost}")
    write_jsonl(args.curve, rows)
    if args.judgements:
        write_jsonl(
            args.judgements,
            verl_runs.merge_judgements(attempt / "judgements.jsonl" for attempt in attempts),
        )
    if args.judge_calls:
        write_json(args.judge_calls, total_calls(attempt / "judge_calls.jsonl" for attempt in attempts))
    checkpoints.publish([*files, args.card] if args.card else files, args.model, training)


def _train(
    python: str,
    config: dict[str, Any],
    working: Path,
    steps: int,
    fork: Path | None,
    keep: Sequence[int],
    address: str | None = None,
) -> None:
    if config.get(verl.DEVICE) != "cpu" and not address:
        require_gpus(int(config.get("trainer.n_gpus_per_node", 1)), python)
    attempt = verl_runs.new_attempt(working)
    exceptions: list[str] = []
    first, kept = True, verl_runs.last_complete_step(working)

    def read(line: str) -> None:
        nonlocal first, kept
        if STOP_MARK in line:
            raise UserError(line.partition(STOP_MARK)[2].strip())
        if exception := verl_runs.exception_in(line):
            exceptions.append(exception)
        if fork and (found := verl_runs.console_metrics(line)):
            verl_runs.append_metrics(attempt / "metrics.jsonl", *found)
        if report := verl_runs.progress(line, steps, first=first):
            first = False
            print(report, flush=True)
            last = verl_runs.last_complete_step(working)
            if last is not None and last != kept:
                verl_runs.remove_older(working, last, keep)
                kept = last

    with ExitStack() as stack:
        temporary = stack.enter_context(_temporary_folder())
        width = 4 if config.get(verl.DEVICE) == "cpu" else 2
        resources.check_rl_disk(Path(config[verl.MODEL]), working, temporary, width=width)
        machines = verl.machines(config)
        own_cluster = machines > 1 and not address
        if fork:
            command = verl_fork.command(
                python, verl_fork.launch_overrides(config, checkout=fork, temporary=temporary)
            )
            environment = verl_fork.environment(
                checkout=fork, scripts=_SCRIPTS, temporary=temporary, ends=end_of_job()
            )
        else:
            overrides = verl.launch_overrides(
                _with_attention(config, python),
                temporary=temporary,
                ledger=attempt / "judgements.jsonl",
                cluster=own_cluster,
            )
            command = verl.command(python, overrides, cluster=own_cluster)
            environment = verl.environment(
                config,
                python=python,
                scripts=_SCRIPTS,
                temporary=temporary,
                metrics=attempt / "metrics.jsonl",
            )
            if address:
                overrides = ray_address.join_cluster(overrides, address)
                command = verl.command(python, overrides)
                command = ray_address.submit(command, environment, os.environ, address)
        if own_cluster:
            environment |= stack.enter_context(
                ray_cluster(
                    find_allocation(machines, verl.devices_per_machine(config)),
                    python=python,
                    offers=verl.ray_offers(config),
                    environment=environment,
                    temporary=temporary,
                    logs=attempt / "machines",
                )
            )
        elif not address:
            environment |= ray_token()
        status = run_engine(command, env=environment, on_line=read)
    last = verl_runs.last_complete_step(working)
    if status != 0:
        said = f"the last error it reported is: {exceptions[-1]}" if exceptions else "it reported no error"
        raise UserError(
            f"{resources.end_of_engine('verl', status, said)}. The whole output stands above in this log. "
            f"The same command goes on after step {last or 0}"
        )
    stop.end_if_stopped(working)
    # Rows whose prompt is too long may have been left out: then there are fewer steps.
    if last is None or (last != steps and not (config.get(verl.FILTERED) and last < steps)):
        raise UserError(
            f"verl ended without an error, but its last checkpoint in {working} is of step {last}, expected "
            f"{steps}; its output stands above in this log"
        )


def _with_attention(config: dict[str, Any], python: str) -> dict[str, Any]:
    """The same attention by torch's own kernels, if flash-attn is wanted and not installed."""
    if config.get(verl.ATTENTION) != "flash_attention_2" or has_flash_attn(python):
        return config
    return config | {verl.ATTENTION: "sdpa"}


def _check_rows(data: Path, batch: int) -> int:
    if not data.is_file():
        raise UserError(f"{data}: no such file")
    rows = int(pq.read_metadata(data).num_rows)
    if rows < batch:
        raise UserError(
            f"{data}: has {rows} rows, a step takes {batch} (train_batch_size); lower it or add rows"
        )
    return rows


def _check_model(python: str, folder: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": str(_SCRIPTS), "HF_HUB_OFFLINE": "1"}
    if run_engine([python, "-m", "grrm.engines.hf_check", str(folder)], env=environment) != 0:
        raise UserError(f"{folder}: the trained model cannot be loaded; the reason stands above in this log")


@contextmanager
def _temporary_folder() -> Iterator[Path]:
    """A short path for Ray's sockets, removed at the end; those of killed runs are removed as well.

    It lies on every machine of a training, named after the process on the first one and that machine. So a
    process that is gone here tells only of folders that are named after this machine.
    """
    base = Path(tempfile.gettempdir())
    if len(str(base)) > _LONGEST_BASE:
        base = Path("/tmp")
    own = f"{_TEMPORARY}{sha256(socket.gethostname().encode()).hexdigest()[:6]}-"
    for folder in base.glob(f"{own}*"):
        pid = folder.name.removeprefix(own)
        over = not (pid.isdigit() and psutil.pid_exists(int(pid))) or pid == str(os.getpid())
        if over and folder.stat().st_uid == os.getuid():
            shutil.rmtree(folder, ignore_errors=True)
    folder = base / f"{own}{os.getpid()}"
    folder.mkdir(mode=0o700)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    run_main(main)
