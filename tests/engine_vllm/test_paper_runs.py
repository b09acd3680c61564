"""The paper's runs as they are rendered for one GPU, executed on a CPU: RLVR, and GRPO with two vLLM models.

Only what `on_cpu` lists is changed. The models are tiny and have learned by heart what they answer, so that
answers end long before the rendered limits and judgements can be read.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

from configurations import ROOT, experiment, render_rl
from grrm.prompts import load_ranking_prompt
from on_cpu import on_cpu
from tiny_model import learn, save_tiny_model

SOURCES = ["the grass", "a frog", "the other side", "in the throat"]
TRANSLATIONS = ["```\ngreen\n```", "```\nfrog\n```"]
VERDICTS = {"A": "good\n\n### Final Ranking:\n\nA > B\n\n### Scores:\n\nA: 9, B: 2\n"}
VERDICTS["B"] = VERDICTS["A"].replace("A > B", "B > A").replace("A: 9, B: 2", "B: 9, A: 2")
PROMPT = ROOT / "config/prompts/toy_ranking.yaml"
BATCH = 64  # train_batch_size of config/one_gpu.yaml


def ranking_prompts() -> list[str]:
    render = load_ranking_prompt(PROMPT).render
    return [
        render(src_text=source, mt_texts=texts, src_lang="en", trg_lang="de")
        for source in SOURCES
        for texts in (["green", "frog"], ["frog", "green"])
    ]


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A policy that knows two translations, and a judge that prefers either; both with a long context."""
    folder = tmp_path_factory.mktemp("models")
    shape = {"width": 64, "heads": 2, "positions": 8192}
    policy, judge = save_tiny_model(folder / "mt", **shape), save_tiny_model(folder / "grrm", seed=1, **shape)
    learn(policy, [(source, answer) for source in SOURCES for answer in TRANSLATIONS])
    learn(judge, [(prompt, verdict) for prompt in ranking_prompts() for verdict in VERDICTS.values()])
    return {"grrm_rlvr": judge, "mt_grpo": policy}


def row(stage: str, index: int, split: str) -> dict[str, Any]:
    info: dict[str, Any] = {"index": index, "split": split}
    if stage == "grrm_rlvr":
        prompts = ranking_prompts()
        content, truth = prompts[index % len(prompts)], json.dumps({"A": 9, "B": 2 + index % 3})
    else:
        content, truth = SOURCES[index % len(SOURCES)], ""
        info |= {"src_text": content, "src_lang": "en", "trg_lang": "de", "trg_text": None}
    return {
        "data_source": "ranking" if stage == "grrm_rlvr" else "translation",
        "prompt": [{"role": "user", "content": content}],
        "ability": stage,
        "reward_model": {"style": "rule", "ground_truth": truth},
        "extra_info": info,
    }


@dataclass
class Run:
    """One training in a folder of its own, started as often as it takes."""

    folder: Path
    stage: str

    def start(self) -> subprocess.Popen[bytes]:
        """scripts/train_rl.py, as the rule train_<stage> calls it."""
        command = [sys.executable, str(ROOT / "scripts/train_rl.py"), "--python", sys.executable]
        command += ["--config", "config.yaml", "--data", "rows.parquet", "--model", "model"]
        command += ["--curve", "curve.jsonl"]
        if self.stage == "mt_grpo":
            command += ["--judgements", "judgements.jsonl"]
        with (self.folder / "log").open("a") as log:
            environment = {**os.environ, "PYTHONPATH": str(ROOT / "scripts")}
            return subprocess.Popen(command, cwd=self.folder, env=environment, stdout=log, stderr=log)

    def log(self) -> str:
        return (self.folder / "log").read_text(errors="replace")

    def rows(self, name: str) -> list[dict[str, Any]]:
        return [json.loads(line) for line in (self.folder / name).read_text().splitlines()]


def trained(stage: str, models: dict[str, Path], folder: Path) -> Run:
    """The run, killed once after its first checkpoint and then brought to its end."""
    rendered = on_cpu(render_rl(experiment("paper", "small", "one_gpu"), stage))
    rendered |= {
        "actor_rollout_ref.model.path": str(models[stage]),
        "data.train_files": "rows.parquet",
        "data.val_files": "held_out.parquet",
        "trainer.default_local_dir": "checkpoints",
        "trainer.save_freq": 1,  # for something to go on from
    }
    if stage == "mt_grpo":
        rendered["reward.reward_model.model_path"] = str(models["grrm_rlvr"])
        rendered["+reward.reward_kwargs.prompt"] = str(PROMPT)
        # It has nothing to validate on, but verl reads a file all the same.
        rendered["data.val_files"] = "rows.parquet"
    (folder / "config.yaml").write_text(yaml.safe_dump(rendered, sort_keys=False))
    for name, count in (("rows", 2 * BATCH), ("held_out", 16)):
        split = "train" if name == "rows" else "validation"
        table = pa.Table.from_pylist([row(stage, index, split) for index in range(count)])
        pq.write_table(table, folder / f"{name}.parquet")
    run = Run(folder, stage)
    first, tracker = run.start(), folder / "checkpoints/latest_checkpointed_iteration.txt"
    deadline = time.monotonic() + 600
    while not tracker.exists():
        assert first.poll() is None, run.log()[-6000:]
        assert time.monotonic() < deadline, run.log()[-6000:]
        time.sleep(0.1)
    before = [psutil.Process(first.pid), *psutil.Process(first.pid).children(recursive=True)]
    first.send_signal(signal.SIGKILL)
    first.wait()
    _, alive = psutil.wait_procs(before, timeout=20)
    assert not alive, [process.cmdline() for process in alive]
    assert run.start().wait(timeout=600) == 0, run.log()[-6000:]
    return run


@pytest.fixture(scope="module")
def rlvr(models: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Run:
    return trained("grrm_rlvr", models, tmp_path_factory.mktemp("rlvr"))


@pytest.fixture(scope="module")
def grpo(models: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Run:
    return trained("mt_grpo", models, tmp_path_factory.mktemp("grpo"))


@pytest.fixture(params=["rlvr", "grpo"])
def run(request: pytest.FixtureRequest) -> Iterator[Run]:
    return request.getfixturevalue(request.param)


@pytest.mark.timeout(1500)
def test_every_step_is_made_once_and_its_rollouts_are_the_actors(run: Run) -> None:
    curve = run.rows("curve.jsonl")
    steps = [entry["step"] for entry in curve if "actor/grad_norm" in entry["data"]]
    assert steps == [1, 2]
    assert "goes on after step" not in run.log()
    for entry in curve:
        if "training/rollout_probs_diff_max" in entry["data"]:
            # bf16 on both sides, by different kernels; another model's would be off by tenths.
            assert entry["data"]["training/rollout_probs_diff_max"] < 0.1
            assert entry["data"]["training/rollout_probs_diff_mean"] < 0.005


@pytest.mark.timeout(1500)
def test_the_finished_model_is_the_last_checkpoints(run: Run) -> None:
    assert (run.folder / "checkpoints/latest_checkpointed_iteration.txt").read_text() == "2"
    assert (run.folder / "model/model.safetensors").exists()


@pytest.mark.timeout(1500)
def test_servers_are_told_to_sleep_and_to_wake(run: Run) -> None:
    assert run.log().count("sleep mode is not supported on CPU") >= 4


@pytest.mark.timeout(1500)
def test_rankings_are_validated_before_the_first_step_and_after_the_last(rlvr: Run) -> None:
    validated = [
        entry["step"]
        for entry in rlvr.rows("curve.jsonl")
        if any(k.startswith("val-core/") for k in entry["data"])
    ]
    assert validated[-1] == 2 and "val-core/" in rlvr.log()


@pytest.mark.timeout(1500)
def test_every_group_is_judged_once_by_the_judge_beside_the_policy(grpo: Run) -> None:
    judged = grpo.rows("judgements.jsonl")
    assert len(judged) == 2 * BATCH
    assert sorted({group["step"] for group in judged}) == [1, 2]
    data = [entry["data"] for entry in grpo.rows("curve.jsonl") if "actor/grad_norm" in entry["data"]]
    assert all("actor/sft_loss" in metrics for metrics in data)
