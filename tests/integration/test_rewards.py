"""Rewards inside the real verl: a judge over HTTP, a checkpoint in a process of its own, a metric."""

from __future__ import annotations

import json
import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from workspace import ROOT, Workspace, wait_for

ALIGNMENT = """
experiment: aligned
alignment:
  data: {toy: {train: 16, validation: 4, policy: 300}}
  base_model: {hidden_size: 32, layers: 1, heads: 2}
  policy_sft: {max_steps: 20, save_steps: 20}
  grpo:
    steps: 2
    train_batch_size: 4
    mini_batch_size: 4
    micro_batch_size: 16
    save_steps: 2
    validation: {steps: 2, before_training: true, batch_size: 4, temperature: 0.0}
"""
# Enough SFT that some rollouts hold a translation.
COMPARISON = """
experiment: compared
reward_comparison:
- {name: own, kind: function, function: my_rewards.py:score, range: [0, 1]}
- name: mixed
  kind: mixture
  normalise: group
  parts: [{kind: comet, weight: 2}, {kind: function, name: short, function: my_rewards.py:score}]
data: {toy: {grrm_sft: 50, grrm_rlvr: 50, mt_sft: 1500, mt_grpo: 64, ranking_test: 10, translation_test: 20}}
mt_sft: {max_steps: 120, batch_size: 32, learning_rate: 4.0e-3, save_steps: 40}
mt_grpo: {steps: 1, train_batch_size: 8, mini_batch_size: 8, micro_batch_size: 32, save_steps: 1}
comet: {steps: 20}
evaluate: {bootstrap_samples: 100}
"""


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    return Workspace(tmp_path_factory.mktemp("rewards"))


@pytest.fixture
def judge_url() -> Iterator[str]:
    """A judge that answers at once that the response it reads second is better."""
    server = subprocess.Popen(
        [sys.executable, ROOT / "tests/judge_server.py", "--answer", "<better>B</better>", "--latency", "0"],
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert server.stdout is not None
        yield server.stdout.readline().strip()
    finally:
        server.kill()
        server.wait()


@pytest.fixture
def ray_address(tmp_path: Path) -> Iterator[str]:
    """A Ray that was there before, which knows nothing of this project but the judge's key."""
    ray = str(ROOT / ".snakemake/environments/train/bin/ray")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    storage = tempfile.mkdtemp(prefix="ray-", dir="/tmp")  # a short path, for its sockets
    command = [ray, "start", "--head", "--block", "--node-ip-address", "127.0.0.1", "--port", str(port)]
    command += ["--num-cpus", "8", "--num-gpus", "1", "--object-store-memory", "300000000"]
    command += ["--include-dashboard", "false", "--disable-usage-stats", "--temp-dir", storage]
    environment = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "JUDGE_API_KEY": "not-to-be-seen"}
    log = tmp_path / "ray.log"
    with log.open("w") as output:
        head = subprocess.Popen(command, env=environment, cwd=tmp_path, stdout=output, stderr=output)
    try:
        wait_for(lambda: "Ray runtime started" in log.read_text(), 60, "Ray runs")
        yield f"127.0.0.1:{port}"
    finally:
        head.terminate()
        head.wait(60)
        shutil.rmtree(storage, ignore_errors=True)


def overlay(workspace: Workspace, name: str, text: str) -> str:
    path = workspace.folder / f"{name}.yaml"
    path.write_text(text)
    return str(path)


def test_a_policy_is_aligned_against_an_endpoint_on_a_ray_that_is_there(
    workspace: Workspace, judge_url: str, ray_address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAY_ADDRESS", ray_address)
    monkeypatch.setenv("JUDGE_API_URL", f"{judge_url}/chat/completions")
    monkeypatch.setenv("JUDGE_MODEL_NAME", "scripted")
    monkeypatch.setenv("JUDGE_API_KEY", "not-to-be-seen")
    monkeypatch.setenv("PAIRWISE_MODE", "copeland")
    files = [str(workspace.folder / "config/judges.yaml"), overlay(workspace, "aligned", ALIGNMENT)]
    assert workspace.run("--configfile", *files, "--", "alignment_grpo") == 0, workspace.log[-3000:]
    results = workspace.folder / "results/aligned"
    summary = json.loads((results / "alignment.json").read_text())
    assert (summary["kind"], summary["steps"]) == ("pairwise_copeland", 2)
    log = (results / "logs/train_alignment_grpo.log").read_text()
    assert "Connecting to existing Ray cluster" in log
    # This judge has no opinion but that on the order: all ties, no signal, and it shows.
    assert summary["training"]["position_bias"] == {"first": 1.0, "last": 1.0}
    assert summary["training"]["zero_variance_groups"]["last"] == 1.0
    assert summary["training"]["judge_failed"]["last"] == 0.0
    assert [found["step"] for found in summary["validation"]] == [0, 2]
    assert all(found["chosen_score"] == 5.0 for found in summary["validation"])
    assert all(found["above_chosen"]["value"] == 0.0 for found in summary["validation"])
    calls = summary["judge_calls"]
    assert calls["models"] == ["scripted"]
    assert calls["answered"] == calls["requests"] > 0
    assert not (workspace.folder / "results/aligned/models/alignment_judge").exists()
    seen = [path for path in results.rglob("*") if path.is_file() and b"not-to-be-seen" in path.read_bytes()]
    assert seen == [], "the key is written nowhere"


OWN = """
def score(group):
    assert group["src_lang"] and group["reference"]
    return [1 / (1 + len(text)) for text in group["candidates"]]
"""


def test_kinds_of_reward_are_compared_those_of_ones_own_too(workspace: Workspace) -> None:
    (workspace.folder / "my_rewards.py").write_text(OWN)
    config = overlay(workspace, "compared", COMPARISON)
    assert workspace.run("--configfile", config, "--", "reward_kinds") == 0, workspace.log[-3000:]
    results = workspace.folder / "results/compared"
    comparison = json.loads((results / "evaluation/reward_kinds.json").read_text())
    assert [entry["kind"] for entry in comparison["kinds"]] == ["own", "mixed"]
    for entry in comparison["kinds"]:
        assert {"bleu", "chrf++", "comet", "format_rate"} <= entry["metrics"].keys()
        assert {"value", "low", "high", "n", "p_value"} <= entry["difference"]["comet"].keys()
        assert entry["training"]["steps"] == 1
        assert entry["training"]["judge_failed"] == 0.0
        groups = workspace.read_jsonl(f"results/compared/curves/mt_grpo_{entry['kind']}.judgements.jsonl")
        assert len(groups) == 8
        assert any(group["outcome"] == "judged" for group in groups), "some rollouts hold a translation"
    mixed = workspace.read_jsonl("results/compared/curves/mt_grpo_mixed.judgements.jsonl")
    assert all(group["parts"].keys() == {"comet", "short"} for group in mixed if group["outcome"] == "judged")
    (step,) = [
        row for row in workspace.read_jsonl("results/compared/curves/mt_grpo_mixed.jsonl") if row["step"]
    ]
    assert 0 < step["reward/part_short"] < 1 and step["reward/part_comet"] is not None
    logs = Path(results / "logs").glob("train_mt_grpo_*.log")
    assert all(not re.search(r"^error:", log.read_text(), re.M) for log in logs)
