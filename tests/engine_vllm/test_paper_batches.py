"""The paper's RLVR and GRPO as rendered for its machines, on a CPU: a step of 512 prompts."""

from __future__ import annotations

from pathlib import Path

import pytest

from gpu_runs import check_grpo, check_rlvr, on_a_cpu, prepare
from grrm.engines import verl

pytestmark = [pytest.mark.full, pytest.mark.timeout(3600)]


@pytest.mark.parametrize(("stage", "rollouts"), [("grrm_rlvr", 8), ("mt_grpo", 4)])
def test_a_step_of_the_papers_own_batch(
    stage: str, rollouts: int, models: dict[str, Path], tmp_path: Path
) -> None:
    run = prepare(on_a_cpu("paper", stage), stage, tmp_path, models, steps=1)
    assert (run.config[verl.BATCH], run.config["actor_rollout_ref.rollout.n"]) == (512, rollouts)
    run.finish()
    (check_rlvr if stage == "grrm_rlvr" else check_grpo)(run)
