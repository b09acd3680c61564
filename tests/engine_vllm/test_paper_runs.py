"""The paper's runs as they are rendered for GPUs, executed on a CPU: RLVR, and GRPO with two vLLM models.

make test has time for one GPU's; make test-full adds adapters, and a judge on GPUs of its own
(test_paper_batches.py: the paper's own batches).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from gpu_runs import Run, check_grpo, check_rlvr, on_a_cpu, prepare

pytestmark = pytest.mark.timeout(2400)


def kinds(*names: str) -> Any:
    full = [pytest.param(name, marks=pytest.mark.full) for name in names]
    return pytest.mark.parametrize("kind", ["one_gpu", *full])


def trained(kind: str, stage: str, models: dict[str, Path], folder: Path) -> Run:
    run = prepare(on_a_cpu(kind, stage), stage, folder, models)
    if kind != "dedicated":
        run.kill_after_the_first_step()
    run.finish()
    return run


@kinds("lora")
def test_rankings_are_learned_and_validated_before_the_first_step_and_after_the_last(
    kind: str, models: dict[str, Path], tmp_path: Path
) -> None:
    check_rlvr(trained(kind, "grrm_rlvr", models, tmp_path))


@kinds("lora", "dedicated")
def test_every_group_is_judged_once_by_the_judge_that_verl_serves(
    kind: str, models: dict[str, Path], tmp_path: Path
) -> None:
    check_grpo(trained(kind, "mt_grpo", models, tmp_path))
