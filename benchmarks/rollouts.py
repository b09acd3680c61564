"""Measure rollouts without a GPU: tokens a second of each engine, its start, and RL steps by their parts.

Models, prompts and configurations are those of a finished `make demo ENGINE=vllm`: both engines can run
them. Run it with that environment's python, on a machine that does nothing else:

    .snakemake/environments/vllm_cpu/bin/python benchmarks/rollouts.py answers
    .snakemake/environments/vllm_cpu/bin/python benchmarks/rollouts.py steps
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

sys.path.extend([str(Path(__file__).parents[1] / folder) for folder in ("scripts", "tests")])

import psutil
import yaml

from grrm.catalogue import vllm
from grrm.engines.verl import CHECKPOINTS, EPOCHS, MODEL, STEPS
from grrm.engines.verl_launch import hydra_arguments
from grrm.engines.verl_vllm import JUDGE_SERVER, POLICY_SERVER, cpu_server

ROOT = Path(__file__).parents[1]
# Answers of many prompts, and the number of their tokens.
Ask = Callable[[list[list[int]]], int]
ENGINES = ("vllm", "transformers", "generate")
TITLES = {
    "vllm": "vLLM's server",
    "transformers": "the transformers server",
    "generate": "`transformers.generate`",
}
STAGES = ("grrm_rlvr", "mt_grpo")
PARTS = ("gen", "old_log_prob", "adv", "update_actor", "update_weights", "step")
LOAD = "load average of the last minute: {:.2f} at the beginning, {:.2f} at the end"


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("measured", choices=["answers", "steps", "engine"])
    parser.add_argument("--results", type=Path, default=ROOT / "results/demo_vllm")
    parser.add_argument("--requests", type=int, nargs="+", default=[1, 16, 64, 256], help="at once")
    parser.add_argument("--tokens", type=int, default=48, help="of each answer")
    parser.add_argument("--runs", type=int, default=5, help="of which the median counts")
    parser.add_argument("--steps", type=int, default=10, help="of each training; the first does not count")
    parser.add_argument("--stages", choices=STAGES, nargs="+", default=STAGES)
    parser.add_argument("--engine", choices=ENGINES, help="(for measured: engine)")
    parser.add_argument("--since", type=float, help="(for measured: engine)")
    args = parser.parse_args(argv)
    if not (args.results / "models/mt_sft").is_dir():
        parser.error(f"{args.results}: no finished demonstration; run make demo ENGINE=vllm first")
    if args.measured == "engine":
        print(json.dumps(measured_here(args)))
        return
    before = os.getloadavg()[0]
    print_answers(args) if args.measured == "answers" else print_steps(args)
    print(f"\n{LOAD.format(before, os.getloadavg()[0])}")


def print_answers(args: argparse.Namespace) -> None:
    """Tokens a second (of processor time, in brackets), each engine in a process of its own."""
    found = {}
    for engine in ENGINES:
        command = [sys.executable, __file__, "engine", "--engine", engine, "--since", repr(time.time())]
        command += ["--results", args.results, "--tokens", args.tokens, "--runs", args.runs]
        command += ["--requests", *args.requests]
        done = subprocess.run(
            [str(part) for part in command], env=environment(), stdout=subprocess.PIPE, text=True, check=True
        )
        found[engine] = json.loads(done.stdout.splitlines()[-1])
    print(f"| requests at once | {' | '.join(TITLES.values())} |")
    print(f"| --- |{' ---: |' * len(TITLES)}")
    for number, count in enumerate(args.requests):
        rates = (found[engine]["rates"][number] for engine in TITLES)
        print(f"| {count} | {' | '.join(f'{wall:,.0f} ({busy:,.0f})' for wall, busy in rates)} |")
    starts = (found[engine]["start"] for engine in TITLES)
    print(f"| start to first token | {' | '.join(f'{wall:.1f} s ({busy:.1f} s)' for wall, busy in starts)} |")


def environment() -> dict[str, str]:
    """That of a training's processes without a GPU."""
    return {
        **os.environ,
        **vllm.EVERYWHERE,
        **vllm.ON_CPU,
        "HF_HUB_OFFLINE": "1",
        "OMP_NUM_THREADS": "1",
        "PYTHONPATH": str(ROOT / "scripts"),
        "VERL_ENGINE_DEVICE": "cuda",
        "VERL_PLATFORM": "cpu",
        "VERL_USE_EXTERNAL_MODULES": "grrm.verl_plugin.register",
        "VLLM_LOGGING_LEVEL": "ERROR",
    }


# ---------------------------------------------------------------- one engine, in a process of its own


def measured_here(args: argparse.Namespace) -> dict[str, Any]:
    """Seconds from the start of the process to the first token, and tokens a second, by both clocks."""
    config = configuration(
        args.results, "mt_grpo", "transformers" if args.engine == "generate" else args.engine
    )
    config[MODEL] = str((args.results / "models/mt_sft").absolute())
    prompts = prompts_of(args.results, config)
    group = int(config[f"{POLICY_SERVER}.n"])
    opened = {"vllm": vllm_server, "transformers": transformers_server, "generate": plain_generate}[
        args.engine
    ]
    with opened(config) as ask_for:
        ask_for(1)(prompts[:1])
        start = time.time() - args.since, processor_seconds()
        rates = []
        for count in args.requests:
            asked = [prompts[number // group % len(prompts)] for number in range(count)]
            ask = ask_for(args.tokens)
            ask(asked)
            runs = [rate(ask, asked) for _ in range(args.runs)]
            rates.append([statistics.median(clock) for clock in zip(*runs, strict=True)])
    return {"start": start, "rates": rates}


def rate(ask: Ask, prompts: list[list[int]]) -> tuple[float, float]:
    """Tokens a second, and a second of processor time of this process and of those below it."""
    start, used = time.perf_counter(), processor_seconds()
    tokens = ask(prompts)
    return tokens / (time.perf_counter() - start), tokens / max(processor_seconds() - used, 0.01)


def processor_seconds() -> float:
    processes = [psutil.Process(), *psutil.Process().children(recursive=True)]
    return sum(sum(process.cpu_times()[:2]) for process in processes)


def configuration(results: Path, stage: str, engine: str) -> dict[str, Any]:
    """What was rendered for a stage, with this engine for policy and judge."""
    rendered = yaml.safe_load((results / f"configs/{stage}.yaml").read_text(encoding="utf-8"))
    for server in (POLICY_SERVER, JUDGE_SERVER):
        if f"{server}.name" in rendered:
            for key in cpu_server(server, "vllm", {}):
                rendered.pop(key, None)
            rendered |= cpu_server(server, engine, {})
    return rendered


def prompts_of(results: Path, config: dict[str, Any]) -> list[list[int]]:
    """The prompts of the training of the translation model, as tokens."""
    import pyarrow.parquet as pq
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(config[MODEL])
    rows = pq.read_table(results / "prepared/mt_grpo.parquet", columns=["prompt"]).to_pylist()[:256]
    return [
        tokenizer.apply_chat_template(row["prompt"], add_generation_prompt=True, return_dict=False)
        for row in rows
    ]


def section(config: dict[str, Any]) -> Any:
    """verl's configuration of the policy and its server, whose weights are the folder's."""
    from hydra import compose, initialize_config_module

    overrides = config | {f"{POLICY_SERVER}.load_format": "auto"}
    with initialize_config_module("verl.trainer.config", version_base=None):
        return compose("ppo_trainer", overrides=hydra_arguments(overrides)).actor_rollout_ref


def requests_of(prompts: list[list[int]], tokens: int) -> list[dict[str, Any]]:
    """As verl's agent loops ask: each rollout has a name, and on vLLM a seed of its own."""
    sampling = {"temperature": 1.0, "top_p": 1.0, "top_k": -1, "logprobs": True}
    sampling |= {"ignore_eos": True, "max_tokens": tokens}
    return [
        {"prompt_ids": prompt, "sampling_params": sampling | {"seed": number}, "request_id": uuid4().hex}
        for number, prompt in enumerate(prompts)
    ]


def tokens_of(outputs: Sequence[Any]) -> int:
    return sum(len(output.token_ids) for output in outputs)


@contextmanager
def vllm_server(config: dict[str, Any]) -> Iterator[Callable[[int], Ask]]:
    from vllm_server import server_alone, without_ray

    without_ray(job=f"benchmark{os.getpid()}")
    whole = section(config)
    with asyncio.Runner() as runner:
        runner.get_loop()
        server = server_alone(whole.rollout, whole.model)
        runner.run(server.launch_server())

        async def ask(requests: list[dict[str, Any]]) -> int:
            return tokens_of(await asyncio.gather(*(server.generate(**request) for request in requests)))

        try:
            yield lambda tokens: lambda prompts: runner.run(ask(requests_of(prompts, tokens)))
        finally:
            server.engine.shutdown()


@contextmanager
def transformers_server(config: dict[str, Any]) -> Iterator[Callable[[int], Ask]]:
    from verl.utils.config import omega_conf_to_dataclass
    from verl.workers.config import HFModelConfig

    from grrm.verl_plugin.rollout import server_settings
    from grrm.verl_plugin.server import TransformersServer

    whole = section(config)
    model = omega_conf_to_dataclass(whole.model, dataclass_type=HFModelConfig)
    server = TransformersServer(server_settings(omega_conf_to_dataclass(whole.rollout), model, 0))
    with asyncio.Runner() as runner:

        async def ask(requests: list[dict[str, Any]]) -> int:
            return tokens_of(await server.generate_together(requests))  # a step is one message

        yield lambda tokens: lambda prompts: runner.run(ask(requests_of(prompts, tokens)))


@contextmanager
def plain_generate(config: dict[str, Any]) -> Iterator[Callable[[int], Ask]]:
    import torch
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(config[MODEL]).eval()

    def ask_for(tokens: int) -> Ask:
        def ask(prompts: list[list[int]]) -> int:
            longest = max(map(len, prompts))
            ids = torch.tensor([[0] * (longest - len(prompt)) + prompt for prompt in prompts])
            seen = torch.tensor([[0] * (longest - len(prompt)) + [1] * len(prompt) for prompt in prompts])
            limits = {"min_new_tokens": tokens, "max_new_tokens": tokens}
            with torch.inference_mode():
                written = model.generate(ids, attention_mask=seen, do_sample=True, top_k=0, **limits)
            return int((written.shape[1] - longest) * len(prompts))

        return ask

    yield ask_for


# ---------------------------------------------------------------- steps of trainings


def print_steps(args: argparse.Namespace) -> None:
    """Medians of what verl measures of a step, for both stages and engines."""
    print(f"| stage | engine | {' | '.join(PARTS)} | until the first step is done |")
    print(f"| --- | --- |{' ---: |' * (len(PARTS) + 1)}")
    for stage in args.stages:
        for engine in ("transformers", "vllm"):
            steps, first = trained(args, stage, engine)
            medians = (statistics.median(row[f"timing_s/{part}"] for row in steps[1:]) for part in PARTS)
            cells = " | ".join(f"{seconds:.2f} s" for seconds in medians)
            print(f"| `{stage}` | {engine} | {cells} | {first:.0f} s |", flush=True)


def trained(args: argparse.Namespace, stage: str, engine: str) -> tuple[list[dict[str, float]], float]:
    """The metrics of a short training's steps, and the seconds until the first of them is done."""
    config = configuration(args.results, stage, engine)
    with tempfile.TemporaryDirectory() as name:
        folder, results = Path(name), args.results.absolute()
        config |= {STEPS: args.steps, EPOCHS: args.steps, "trainer.save_freq": args.steps}
        config[CHECKPOINTS] = str(folder / "checkpoints")
        (folder / "config.yaml").write_text(yaml.safe_dump(config), encoding="utf-8")
        command = [sys.executable, ROOT / "scripts/train_rl.py", "--python", sys.executable]
        command += ["--config", folder / "config.yaml", "--data", results / f"prepared/{stage}.parquet"]
        command += ["--model", folder / "model", "--curve", folder / "curve.jsonl"]
        started, first = time.perf_counter(), 0.0
        with (
            (folder / "log").open("w+") as log,
            # The paths in a rendered configuration are those of the workflow's folder.
            subprocess.Popen(command, cwd=results.parents[1], stdout=subprocess.PIPE, stderr=log) as process,
        ):
            for line in process.stdout or ():
                if not first and line.startswith(f"step 1 of {args.steps}".encode()):
                    first = time.perf_counter() - started
            if process.wait():
                log.seek(0)
                sys.exit(f"{stage} with {engine} failed:\n{log.read()[-3000:]}")
        rows = [json.loads(line) for line in (folder / "curve.jsonl").read_text().splitlines()]
    return [row for row in rows if "timing_s/step" in row], first


if __name__ == "__main__":
    main()
