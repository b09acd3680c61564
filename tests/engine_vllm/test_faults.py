"""Whatever of a run is killed: it ends by name within seconds, nothing stays, the same command goes on."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

from configurations import ROOT, experiment, render_rl
from grrm.engines import verl_runs
from tiny_model import save_tiny_model

# Ray's actors are looked at every ten seconds.
PATIENCE = 60.0


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A policy and a judge, each untrained: no judgement is valid, and the run goes on all the same."""
    folder = tmp_path_factory.mktemp("faults")
    for seed, name in enumerate(("policy", "judge")):
        save_tiny_model(folder / name, seed=seed, width=64, heads=2)
    rows = [
        {
            "data_source": "translation",
            "prompt": [{"role": "user", "content": f"frog {index}"}],
            "ability": "translation",
            "reward_model": {"style": "rule", "ground_truth": ""},
            "extra_info": {
                "index": index,
                "split": "train",
                "src_text": f"frog {index}",
                "src_lang": "en",
                "trg_lang": "de",
            },
        }
        for index in range(8)
    ]
    pq.write_table(pa.Table.from_pylist(rows), folder / "rows.parquet")
    config = experiment("vllm")
    reward = config["mt_grpo"]["reward"] | {
        "max_prompt_length": 120,
        "max_response_length": 16,
        "max_failure_rate": 1.0,
        "retries": 0,
        "placement": "colocated",
        "overlong_buffer": 4,
    }
    sizes: dict[str, Any] = {
        "steps": 1000,
        "train_batch_size": 4,
        "mini_batch_size": 4,
        "micro_batch_size": 16,
        "max_prompt_length": 40,
        "max_response_length": 16,
        "save_steps": 1,
        "reward": reward,
    }
    rendered = render_rl(config, "mt_grpo", **sizes) | {
        "actor_rollout_ref.model.path": str(folder / "policy"),
        "reward.reward_model.model_path": str(folder / "judge"),
        "data.train_files": "rows.parquet",
        "data.val_files": "rows.parquet",
        "trainer.default_local_dir": "checkpoints",
        "+reward.reward_kwargs.prompt": str(ROOT / "config/prompts/toy_ranking.yaml"),
    }
    (folder / "config.yaml").write_text(yaml.safe_dump(rendered))
    return folder


@dataclass
class Attempt:
    """One launch of the training in its folder, with a log of its own."""

    folder: Path
    process: subprocess.Popen[bytes]
    log: Path

    def said(self) -> str:
        return self.log.read_text(errors="replace")

    def wait_for(self, condition: Callable[[], bool], seconds: float) -> None:
        deadline = time.monotonic() + seconds
        while not condition():
            assert self.process.poll() is None, self.said()[-6000:]
            assert time.monotonic() < deadline, self.said()[-6000:]
            time.sleep(0.1)

    def children(self) -> list[psutil.Process]:
        return psutil.Process(self.process.pid).children(recursive=True)


@pytest.fixture
def attempt(folder: Path) -> Iterator[Attempt]:
    """The training, begun or gone on with by the same command."""
    command = [sys.executable, str(ROOT / "scripts/train_rl.py"), "--python", sys.executable]
    command += ["--config", "config.yaml", "--data", "rows.parquet", "--model", "model"]
    command += ["--curve", "curve.jsonl", "--judgements", "judgements.jsonl"]
    log = folder / f"log{len(list(folder.glob('log*')))}"
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "scripts")}
    with log.open("w") as stream:
        process = subprocess.Popen(
            command, cwd=folder, env=environment, stdout=stream, stderr=stream, start_new_session=True
        )
    try:
        yield Attempt(folder, process, log)
    finally:
        process.kill()
        process.wait()


def named(processes: list[psutil.Process], name: str) -> list[psutil.Process]:
    """Those whose name begins so, the older ones first."""
    found = []
    for process in processes:
        try:
            if process.name().startswith(name):
                found.append(process)
        except psutil.NoSuchProcess:
            continue
    return sorted(found, key=psutil.Process.create_time)


def victim(processes: list[psutil.Process], which: str) -> psutil.Process:
    """One of a run's processes. verl starts the judge's server before the policy's."""
    if which == "router":  # forked by the trainer, of whose name it is
        (router,) = [process for process in processes if _forked(process)]
        return router
    whose, _, what = which.partition("'s ")
    judge, policy = named(processes, "ray::EndingServer")
    server = judge if whose == "judge" else policy
    if what == "server":
        return server
    (engine,) = named(server.children(), "VLLM::EngineCor")
    return engine


def _forked(process: psutil.Process) -> bool:
    parent = process.parent()
    return parent is not None and process.name().startswith("ray::") and process.cmdline() == parent.cmdline()


KILLED = {
    "judge's server": "vllm_server_reward_0_0",
    "policy's engine": r"vllm_server_0_0|EngineDeadError",
    "judge's engine": r"vllm_server_reward_0_0|EngineDeadError",
    "router": "reward_router_0",
}
"""What is killed, one after the other -> how the run names it. make test has no time for the router."""


@pytest.mark.timeout(900)
@pytest.mark.parametrize(
    "which",
    [pytest.param(which, marks=pytest.mark.full) if which == "router" else which for which in KILLED],
)
def test_what_is_killed_ends_the_run_by_name_and_the_same_command_goes_on(
    attempt: Attempt, which: str
) -> None:
    working = attempt.folder / "checkpoints"
    first = (verl_runs.last_complete_step(working) or 0) + 1
    attempt.wait_for(lambda: f"step {first} of 1000" in attempt.said(), 600)
    assert re.findall(r"^step (\d+) of 1000", attempt.said(), re.MULTILINE)[0] == str(first)
    before = attempt.children()
    killed = time.monotonic()
    victim(before, which).kill()
    assert attempt.process.wait(timeout=PATIENCE) == 2
    print(f"{which}: the run ended after {time.monotonic() - killed:.1f} s")
    said = attempt.said()
    (last,) = re.findall(r"^error: .*the last error it reported is: (.*)", said, re.MULTILINE)
    assert re.search(KILLED[which], last), said[-6000:]
    assert f"The same command goes on after step {verl_runs.last_complete_step(working)}" in last
    _, alive = psutil.wait_procs(before, timeout=15)
    assert not alive
