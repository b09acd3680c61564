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
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

from configurations import ROOT, experiment, render_rl
from grrm.engines import verl
from grrm.prompts import load_ranking_prompt
from on_cpu import on_cpu
from tiny_model import learn, save_tiny_model

SOURCES = ["the grass", "a frog", "the other side", "in the throat"]
TRANSLATIONS = ["```\ngreen\n```", "```\nfrog\n```"]
VERDICTS = {"A": "good\n\n### Final Ranking:\n\nA > B\n\n### Scores:\n\nA: 9, B: 2\n"}
VERDICTS["B"] = VERDICTS["A"].replace("A > B", "B > A").replace("A: 9, B: 2", "B: 9, A: 2")
PROMPT = ROOT / "config/prompts/toy_ranking.yaml"
STEPS = 2
OVERLAYS = {"one_gpu": ["paper", "small", "one_gpu"], "lora": ["paper", "small", "one_gpu", "lora"]}


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


def rendered_run(kind: str, stage: str) -> dict[str, Any]:
    """What a GPU would get, with what a CPU needs changed."""
    config = experiment(*OVERLAYS.get(kind, ["paper"]))
    if kind == "dedicated":
        config["mt_grpo"]["reward"] |= {"placement": "dedicated", "nodes": 1, "gpus_per_node": 8}
    return on_cpu(render_rl(config, stage))


def trained(kind: str, stage: str, models: dict[str, Path], folder: Path) -> Run:
    """The run, killed once after its first step and then brought to its end."""
    rendered = rendered_run(kind, stage)
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
    epochs = int(rendered[verl.EPOCHS])
    for name, count in (("rows", STEPS * int(rendered[verl.BATCH]) // epochs), ("held_out", 16)):
        split = "train" if name == "rows" else "validation"
        table = pa.Table.from_pylist([row(stage, index, split) for index in range(count)])
        pq.write_table(table, folder / f"{name}.parquet")
    run = Run(folder, stage)
    first, metrics = run.start(), folder / "checkpoints/attempts/1/metrics.jsonl"
    deadline = time.monotonic() + 600
    while not metrics.exists() or '"step":1,' not in metrics.read_text():
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


# What make test has time for; make test-full adds adapters, the paper's own batches, and a judge apart.
KINDS = ["one_gpu", *(pytest.param(kind, marks=pytest.mark.full) for kind in ("lora", "paper", "dedicated"))]


@pytest.fixture(scope="module", params=KINDS[:3])
def rlvr(request: pytest.FixtureRequest, models: dict[str, Path], tmp_path_factory: Any) -> Run:
    return trained(request.param, "grrm_rlvr", models, tmp_path_factory.mktemp("rlvr"))


@pytest.fixture(scope="module", params=KINDS)
def grpo(request: pytest.FixtureRequest, models: dict[str, Path], tmp_path_factory: Any) -> Run:
    return trained(request.param, "mt_grpo", models, tmp_path_factory.mktemp("grpo"))


def check(run: Run) -> list[dict[str, Any]]:
    """What holds of both stages; the metrics of the steps."""
    steps = [row for row in run.rows("curve.jsonl") if "actor/grad_norm" in row]
    assert [row["step"] for row in steps] == list(range(1, STEPS + 1))
    for metrics in steps:
        # bf16 on both sides, by different kernels; another model's would be off by tenths on the mean.
        assert metrics["training/rollout_probs_diff_mean"] < 0.005
        assert metrics["training/rollout_probs_diff_max"] < 0.5
    assert run.log().count("sleep mode is not supported on CPU") >= 4  # told to sleep, and to wake
    assert (run.folder / "checkpoints/latest_checkpointed_iteration.txt").read_text() == str(STEPS)
    assert (run.folder / "model/model.safetensors").exists()
    return steps


@pytest.mark.timeout(1500)
def test_rankings_are_learned_and_validated_before_the_first_step_and_after_the_last(rlvr: Run) -> None:
    check(rlvr)
    curve = rlvr.rows("curve.jsonl")
    validated = [row["step"] for row in curve if any(key.startswith("val-core/") for key in row)]
    assert validated == [0, 1, STEPS]  # and before the first step of the second attempt


@pytest.mark.timeout(1500)
def test_every_group_is_judged_once_by_the_judge_that_verl_serves(grpo: Run) -> None:
    data = check(grpo)
    assert all("actor/sft_loss" in metrics for metrics in data)
    judged = grpo.rows("judgements.jsonl")
    batch = yaml.safe_load((grpo.folder / "config.yaml").read_text())[verl.BATCH]
    assert [group["step"] for group in judged] == [step for step in range(1, STEPS + 1) for _ in range(batch)]
