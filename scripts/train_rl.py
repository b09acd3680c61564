"""Train a model with verl by reinforcement learning, resuming from its last checkpoint if there is one."""

from __future__ import annotations

import argparse
import json
import os
import socket
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from hashlib import sha256
from pathlib import Path
from typing import Any

import psutil
import pyarrow.parquet as pq

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
    verl_launch,
    verl_rewards,
    verl_runs,
    verl_vllm,
)
from grrm.engines.adapters import adapters_of
from grrm.engines.attention import has_flash_attn
from grrm.engines.command_line import add_train_options
from grrm.engines.model_limits import check_limits
from grrm.files import UserError, read_yaml, write_json, write_jsonl
from grrm.lock import held
from grrm.model_folder import check_model
from grrm.preflight.probes import require_gpus, training_hardware
from grrm.process import run_engine, run_main
from grrm.rewards.group import STOP_MARK
from grrm.slurm.allocation import end_of_job, find_allocation
from grrm.slurm.queue import AGAIN
from grrm.slurm.ray import ray_cluster, ray_token
from grrm.slurm.ray_step import handed_on
from grrm.slurm.storage import make_folder, remove_folder
from grrm.vllm_cpu import check_heads, check_processor

_SCRIPTS = Path(__file__).parent
_TEMPORARY = "grrm-rl-"
_LONGEST_BASE = 16  # or Ray's sockets, some 90 characters further in, pass the 107 that a socket may have


def main(argv: list[str] | None = None) -> None:
    """Train, then publish the model folder and the training curve, each whole or not at all."""
    args = _parser().parse_args(argv)
    config = read_yaml(args.config)
    initial, working = Path(config[verl.MODEL]), Path(config[verl.CHECKPOINTS])
    if verl_fork.is_fork(config) != (args.fork is not None):
        raise UserError(f"{args.config}: --fork belongs to a configuration for the fork, and only to one")
    judges = [Path(config[key]) for key in (verl_rewards.JUDGE, verl_fork.JUDGE) if key in config]
    for model in [initial, *judges]:
        check_model(model)
    check_limits(config)
    if config.get(verl.DEVICE) == "cpu":
        for model in verl_vllm.models(config):
            check_processor()
            check_heads(model)
    for options in verl_rewards.judges_over_http(config):
        JudgeOptions.from_mapping(options)  # a wrong one is told now, not by a worker
    prompts_available = _check_rows(args.data, config[verl.BATCH])
    inputs = [args.data, initial, *judges, *verl_rewards.scoring_files(config)]
    training = checkpoints.identity(args.config, inputs, ignored=verl_rewards.transport(config))
    steps = verl.total_steps(config, prompts_available)
    _adapters(config)  # a target that the model does not have is told before the folder is this training's
    # Before the folder is this training's: with a repaired function it is another one.
    _try_reward(args, config)
    _try_rendering(args, config, initial, judges)
    with held(working):
        checkpoints.claim(working, training)
        if not checkpoints.is_finished(working):
            if config.get(verl.DEVICE) == "cpu":
                resources.check_rl_memory(initial, judges, _adapters(config))
            if verl_runs.prepare_resume(working, args.keep) != steps:
                _run(args, config, working, steps)
            checkpoints.mark_finished(working)
        _publish(args, config, working, verl_runs.last_complete_step(working) or steps, training)


def _adapters(config: Mapping[str, Any]) -> int:
    """Parameters of the adapters that alone are trained; 0 if all of the model's are."""
    trained = adapters_of(config)
    return trained.parameters(Path(config[verl.MODEL])) if trained else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__)
    add_train_options(parser, rendered_by="render_rl", engine="verl")
    parser.add_argument("--judgements", type=Path, help="judged groups to write (JSON lines)")
    parser.add_argument("--judge-calls", type=Path, help="totals of the calls to a judge to write (JSON)")
    parser.add_argument(
        "--keep",
        type=int,
        nargs="*",
        default=[],
        help="steps whose models stay in the working folder (kept/)",
    )
    parser.add_argument(
        "--ray-from-environment",
        action="store_true",
        help="of earlier versions: the cluster at RAY_ADDRESS is joined in any case, but by the fork",
    )
    parser.add_argument("--fork", type=Path, help="checkout of the fork, for a configuration of its own")
    return parser


def _try_rendering(
    args: argparse.Namespace, config: dict[str, Any], initial: Path, judges: Sequence[Path]
) -> None:
    """Whether tokenizers and chat templates carry what the rows ask for, and end it."""
    # A checkpoint of another kind (COMET) scores texts, not conversations.
    served = [judge for judge in judges if verl_rewards.judge_lengths(config) is not None]
    models = ["--model", str(initial), "--judge", *map(str, served)]
    _try(args, "grrm.engines.try_rendering", models, "the model cannot be trained")


def _try_reward(args: argparse.Namespace, config: dict[str, Any]) -> None:
    """What can be told of the reward before verl begins: whether the user's functions score a row, in the
    environment and folder that they will score in, and whether the judge can be shown the rows."""
    options = ["--options", json.dumps(verl_rewards.reward_kwargs(config))]
    if verl_rewards.has_functions(config):
        _try(args, "grrm.rewards.try_functions", options, "reward: the function cannot be used")
    if (lengths := verl_rewards.judge_lengths(config)) is not None:
        fault = "reward: the judge cannot be shown the rows"
        _try(args, "grrm.rewards.try_lengths", [*options, *lengths], fault)


def _try(args: argparse.Namespace, module: str, arguments: Sequence[str], fault: str) -> None:
    said: list[str] = []
    command = [args.python, "-m", module, "--data", str(args.data), *arguments]
    path = os.pathsep.join(filter(None, [str(_SCRIPTS), os.environ.get("PYTHONPATH")]))
    if run_engine(command, env={**os.environ, "PYTHONPATH": path}, on_line=said.append) != 0:
        why = said[-1].removeprefix("error: ") if said else "the process that tries it said nothing"
        raise UserError(f"{fault}: {why}")


def _run(args: argparse.Namespace, config: dict[str, Any], working: Path, steps: int) -> None:
    """Train up to the last step, with what is recorded of it."""
    address = None if args.fork else os.environ.get("RAY_ADDRESS")
    trackers.switch_on(args.tracker, working / "tracking", run=args.model.name, python=args.python)
    launched = config | trackers.verl_overrides(config, args.tracker)
    # The machines of a cluster that was there before are not seen from here.
    machines = (verl.machines(config), verl.devices_per_machine(config))
    hardware = None if address else training_hardware(*machines)
    with stop.stop_in_time(working, end_of_job), sessions.recorded(working, hardware):
        _train(args, launched, working, steps, address)


def _publish(
    args: argparse.Namespace, config: dict[str, Any], working: Path, done: int, training: dict[str, Any]
) -> None:
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
    write_jsonl(args.curve, verl_runs.correct_clip_ratios(rows, config["data.max_response_length"]))
    if args.judgements:
        write_jsonl(
            args.judgements,
            verl_runs.merge_judgements(attempt / "judgements.jsonl" for attempt in attempts),
        )
    if args.judge_calls:
        write_json(args.judge_calls, total_calls(attempt / "judge_calls.jsonl" for attempt in attempts))
    checkpoints.publish([*files, args.card] if args.card else files, args.model, training)


class _Watch:
    """What verl's output says while it trains: progress, checkpoints, and why it may end.

    Args:
        working: the folder of the training.
        attempt: that of this launch.
        steps: of the whole training.
        keep: steps whose models stay.
        console: whether its metrics are read from its output, as the fork's are.
    """

    def __init__(
        self, working: Path, attempt: Path, steps: int, keep: Sequence[int], *, console: bool
    ) -> None:
        self.working, self.attempt, self.steps, self.keep = working, attempt, steps, keep
        self.console = console
        self.exceptions: list[str] = []
        self._first, self._kept = True, verl_runs.last_complete_step(working)

    def read(self, line: str) -> None:
        """A line of the output."""
        if STOP_MARK in line:
            last = verl_runs.last_complete_step(self.working)
            raise sessions.failed(self.working, last or 0, line.partition(STOP_MARK)[2].strip())
        if exception := verl_runs.exception_in(line):
            self.exceptions.append(exception)
        elif (
            self.exceptions
            and "ActorDiedError" in self.exceptions[-1]
            and (actor := verl_runs.actor_in(line))
        ):
            self.exceptions[-1] = f"{self.exceptions[-1].rstrip('.')} ({actor})"
        if self.console and (found := verl_runs.console_metrics(line)):
            verl_runs.append_metrics(self.attempt / "metrics.jsonl", *found)
        if report := verl_runs.progress(line, self.steps, first=self._first):
            self._first = False
            print(report, flush=True)
            last = verl_runs.last_complete_step(self.working)
            if last is not None and last != self._kept:
                verl_runs.remove_older(self.working, last, self.keep)
                self._kept = last


def _train(
    args: argparse.Namespace, config: dict[str, Any], working: Path, steps: int, address: str | None
) -> None:
    """One launch of verl, on the Ray cluster at `address` if there is one."""
    if config.get(verl.DEVICE) != "cpu" and not address:
        require_gpus(int(config.get("trainer.n_gpus_per_node", 1)), args.python)
    attempt = verl_runs.new_attempt(working)
    watch = _Watch(working, attempt, steps, args.keep, console=args.fork is not None)
    with ExitStack() as stack:
        temporary = stack.enter_context(_temporary_folder())
        width = 4 if config.get(verl.DEVICE) == "cpu" else 2
        model, adapters = Path(config[verl.MODEL]), _adapters(config)
        resources.check_rl_disk(model, working, temporary, width=width, adapters=adapters)
        command, environment = _launch(args, config, temporary, attempt, address)
        if _starts_cluster(config, address):
            cluster = ray_cluster(
                find_allocation(verl.machines(config), verl.devices_per_machine(config)),
                python=args.python,
                offers=verl_launch.ray_offers(config),
                environment=environment,
                temporary=temporary,
                logs=attempt / "machines",
            )
            environment |= stack.enter_context(cluster)
        elif not address:
            environment |= ray_token()
        status = run_engine(command, env=environment, on_line=watch.read)
    last = verl_runs.last_complete_step(working)
    if status != 0:
        errors = watch.exceptions
        said = f"the last error it reported is: {errors[-1]}" if errors else "it reported no error"
        raise sessions.failed(
            working,
            last or 0,
            f"{resources.end_of_engine('verl', status, said)}. The whole output stands above in this log. "
            f"The same command goes on after step {last or 0}",
        )
    stop.end_if_stopped(working)
    # Rows whose prompt is too long may have been left out: then there are fewer steps.
    if last is None or (last != steps and not (config.get(verl.FILTERED) and last < steps)):
        raise UserError(
            f"verl ended without an error, but its last checkpoint in {working} is of step {last}, expected "
            f"{steps}; its output stands above in this log"
        )


def _starts_cluster(config: Mapping[str, Any], address: str | None) -> bool:
    """Whether a Ray cluster over the machines of this job is to be started."""
    return verl.machines(config) > 1 and not address


def _launch(
    args: argparse.Namespace, config: dict[str, Any], temporary: Path, attempt: Path, address: str | None
) -> tuple[list[str], dict[str, str]]:
    """The command that trains, and its environment."""
    if args.fork:
        checkout = args.fork.absolute()
        overrides = verl_fork.launch_overrides(config, checkout=checkout, temporary=temporary)
        environment = verl_fork.environment(
            checkout=checkout, scripts=_SCRIPTS, temporary=temporary, ends=end_of_job(AGAIN)
        )
        return verl_fork.command(args.python, overrides), environment
    cluster = _starts_cluster(config, address)
    overrides = verl_launch.launch_overrides(
        _with_attention(config, args.python),
        temporary=temporary,
        ledger=attempt / "judgements.jsonl",
        cluster=cluster,
    )
    environment = verl_launch.environment(
        config,
        python=args.python,
        scripts=_SCRIPTS,
        temporary=temporary,
        metrics=attempt / "metrics.jsonl",
    )
    if not address:
        return verl_launch.command(args.python, overrides, cluster=cluster), environment
    handed = handed_on(environment, os.environ)
    joining = ray_address.join_cluster(overrides, address, handed)
    command = verl_launch.command(args.python, joining, cluster=True)
    return ray_address.submit(command, handed, address), environment


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

    Where TMPDIR is too long for them, it is a link in /tmp to a folder there.
    It lies on every machine of a training, named after the process on the first one and that machine. So a
    process that is gone here tells only of folders that are named after this machine.
    """
    storage = Path(tempfile.gettempdir())
    base = storage if len(str(storage)) <= _LONGEST_BASE else Path("/tmp")
    own = f"{_TEMPORARY}{sha256(socket.gethostname().encode()).hexdigest()[:6]}-"
    for folder in base.glob(f"{own}*"):
        pid = folder.name.removeprefix(own)
        over = not (pid.isdigit() and psutil.pid_exists(int(pid))) or pid == str(os.getpid())
        if over and folder.lstat().st_uid == os.getuid():
            remove_folder(folder)
    folder = base / f"{own}{os.getpid()}"
    make_folder(folder, storage)
    try:
        yield folder
    finally:
        remove_folder(folder)


if __name__ == "__main__":
    run_main(main)
