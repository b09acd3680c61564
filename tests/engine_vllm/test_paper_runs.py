"""The paper's runs as they are rendered for GPUs, executed on a CPU: RLVR, and GRPO with two vLLM models.

make test has time for one GPU's; make test-full adds adapters, the paper's own batches, and a judge on GPUs
of its own.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from gpu_runs import STEPS, Run, check, make_model, on_a_cpu, prepare, validated
from grrm.engines import verl


def parametrised(*kinds: str) -> list[Any]:
    return [kind if kind == "one_gpu" else pytest.param(kind, marks=pytest.mark.full) for kind in kinds]


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A policy that knows two translations, and a judge that prefers either."""
    folder = tmp_path_factory.mktemp("models")
    return {stage: make_model(folder / stage, stage) for stage in ("grrm_rlvr", "mt_grpo")}


def trained(kind: str, stage: str, models: dict[str, Path], folder: Path) -> Run:
    run = prepare(on_a_cpu(kind, stage), stage, folder, models)
    if kind in ("one_gpu", "lora"):
        run.kill_after_the_first_step()
    run.finish()
    return run


@pytest.fixture(scope="module", params=parametrised("one_gpu", "lora", "paper"))
def rlvr(request: pytest.FixtureRequest, models: dict[str, Path], tmp_path_factory: Any) -> Run:
    return trained(request.param, "grrm_rlvr", models, tmp_path_factory.mktemp("rlvr"))


@pytest.fixture(scope="module", params=parametrised("one_gpu", "lora", "paper", "dedicated"))
def grpo(request: pytest.FixtureRequest, models: dict[str, Path], tmp_path_factory: Any) -> Run:
    return trained(request.param, "mt_grpo", models, tmp_path_factory.mktemp("grpo"))


@pytest.mark.timeout(2400)
def test_rankings_are_learned_and_validated_before_the_first_step_and_after_the_last(rlvr: Run) -> None:
    check(rlvr)
    # And before the first step of a second attempt.
    assert validated(rlvr) == ([0, 1, STEPS] if rlvr.killed else [0, STEPS])


@pytest.mark.timeout(2400)
def test_every_group_is_judged_once_by_the_judge_that_verl_serves(grpo: Run) -> None:
    data = check(grpo)
    assert all("actor/sft_loss" in metrics for metrics in data)
    judged = grpo.rows("judgements.jsonl")
    batch = grpo.config[verl.BATCH]
    assert [group["step"] for group in judged] == [step for step in range(1, STEPS + 1) for _ in range(batch)]
    assert {group["outcome"] for group in judged} <= {"judged", "identical", "failed"}
    # What a model of 64 numbers has learned by heart is not always said to its end.
    assert sum(group["outcome"] == "judged" for group in judged) > len(judged) / 2
