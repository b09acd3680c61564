"""A killed engine ends the run by name within seconds, and leaves nothing behind."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import psutil
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

from configurations import ROOT, experiment, render_rl
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
        "save_steps": 1000,
        "reward": reward,
    }
    rendered = render_rl(config, "mt_grpo", **sizes) | {
        "actor_rollout_ref.model.path": str(folder / "policy"),
        "reward.reward_model.model_path": str(folder / "judge"),
        "data.train_files": str(folder / "rows.parquet"),
        "data.val_files": str(folder / "rows.parquet"),
        "+reward.reward_kwargs.prompt": str(ROOT / "config/prompts/toy_ranking.yaml"),
    }
    (folder / "config.yaml").write_text(yaml.safe_dump(rendered))
    return folder


def engines(run: psutil.Process) -> list[psutil.Process]:
    """Both engines of a run, the older one first."""
    found = []
    for process in run.children(recursive=True):
        try:
            if "EngineCore" in " ".join(process.cmdline()):
                found.append(process)
        except psutil.Error:
            continue
    return sorted(found, key=lambda process: process.create_time())


@pytest.mark.timeout(900)
@pytest.mark.parametrize("which", [0, 1])
def test_a_killed_engine_ends_the_run_by_name(folder: Path, tmp_path: Path, which: int) -> None:
    config = yaml.safe_load((folder / "config.yaml").read_text())
    (tmp_path / "config.yaml").write_text(
        yaml.safe_dump(config | {"trainer.default_local_dir": "checkpoints"})
    )
    command = [sys.executable, str(ROOT / "scripts/train_rl.py"), "--python", sys.executable]
    command += ["--config", "config.yaml", "--data", str(folder / "rows.parquet"), "--model", "model"]
    command += ["--curve", "curve.jsonl", "--judgements", "judgements.jsonl"]
    log = tmp_path / "log"
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "scripts")}
    with log.open("w") as stream:
        process = subprocess.Popen(command, cwd=tmp_path, env=environment, stdout=stream, stderr=stream)
    try:
        deadline = time.monotonic() + 600
        while "step 2 of 1000" not in log.read_text(errors="replace"):
            assert process.poll() is None, log.read_text(errors="replace")[-6000:]
            assert time.monotonic() < deadline, log.read_text(errors="replace")[-6000:]
            time.sleep(0.1)
        run = psutil.Process(process.pid)
        before = run.children(recursive=True)
        both = engines(run)
        assert len(both) == 2
        both[which].kill()
        assert process.wait(timeout=PATIENCE) == 2
        said = log.read_text(errors="replace")
        ended = r"the last error it reported is: .*(training ended: vllm_server|EngineDeadError)"
        assert re.search(ended, said), said[-6000:]
        _, alive = psutil.wait_procs(before, timeout=15)
        assert not alive
    finally:
        process.kill()
        process.wait()
