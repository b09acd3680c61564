"""Trainings of judges, and of a policy against a judge, as they are rendered for GPUs, executed on a CPU."""

from __future__ import annotations

import json
import math
from collections import Counter
from pathlib import Path

import pytest

from gpu_runs import STEPS, check, make_model, on_a_cpu, prepare, validated
from grrm.engines import verl
from judge_server import Act, Call
from serving import serving

pytestmark = [pytest.mark.full, pytest.mark.timeout(2400)]


@pytest.mark.parametrize("stage", ["judge_pointwise", "judge_pairwise"])
def test_a_judge_learns_from_what_is_annotated(stage: str, tmp_path: Path) -> None:
    models = {stage: make_model(tmp_path / "start", stage)}
    run = prepare(on_a_cpu("judges", stage), stage, tmp_path, models, steps=1)
    run.finish()
    for metrics in check(run):
        assert metrics["actor/kl_loss"] >= 0  # there is a model that it is held to
        assert metrics["reward/valid"] > 0.5
        assert 0 < metrics["critic/score/mean"] < 1
    assert validated(run) == [1]


def test_a_policy_is_aligned_to_a_judge_behind_an_endpoint(tmp_path: Path) -> None:
    stage = "alignment_grpo"

    def prefers(call: Call) -> Act:
        """The answer that comes first in the alphabet of answers: whatever the order."""
        first, second = (call.prompt.partition(f"Response {label}:")[2].split("\n")[2] for label in "AB")
        return Act(f"<better>{'A' if first < second else 'B'}</better>")

    with serving(prefers) as server:
        reached = {"JUDGE_API_URL": server.url, "JUDGE_MODEL_NAME": "scripted", "JUDGE_API_KEY": "none"}
        models = {stage: make_model(tmp_path / "start", stage)}
        run = prepare(on_a_cpu("alignment", stage), stage, tmp_path, models, environment=reached)
        run.finish()
    for metrics in check(run):
        assert metrics["actor/kl_loss"] >= 0
        assert metrics["reward/group_std"] > 0
    assert validated(run) == [0, STEPS]
    groups = run.rows("judgements.jsonl")
    batch = run.config[verl.BATCH]
    trained = [group for group in groups if len(group["rewards"]) > 1]
    assert Counter(group["step"] for group in trained) == dict.fromkeys(range(1, STEPS + 1), batch)
    assert all(group["outcome"] in ("judged", "identical") for group in groups)
    # Of validation too, where the one rollout is compared with the chosen answer.
    pairs = sum(math.comb(len(group["scores"]), 2) for group in groups)
    calls = json.loads((tmp_path / "judge_calls.json").read_text())
    assert calls["requests"] == calls["answered"] == len(server.calls)
    # Groups of the same source may ask the same at the same moment, and share a call.
    assert 0.75 * pairs < len(server.calls) <= pairs
    assert server.busiest <= 10
