"""verl 0.9.1 for judges: GRPO against annotated scores or preferences (OpenJudge, training_judge_model/grpo).

A stage like any other (`grrm.engines.verl`); what differs is the reward function. GRPO as published for
judges (advantages divided by the standard deviation, PPO's clipped loss, a KL term to the initial model) is
in the settings.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, TypeAlias

from grrm.engines.trainer import CPU
from grrm.engines.verl import rl_overrides
from grrm.engines.verl_rewards import Overrides, check_held

Reward: TypeAlias = Literal["pointwise", "pairwise"]


def judge_overrides(
    settings: Mapping[str, Any],
    *,
    stage: str,
    reward: Reward,
    tag: str,
    model: Path,
    data: Path,
    checkpoints: Path,
    seed: int,
    hardware: Mapping[str, Any] = CPU,
    validation_data: Path | None = None,
) -> Overrides:
    """The overrides of a judge's training.

    Args:
        settings: the stage's section of the configuration (`judges.pointwise` or `judges.pairwise`).
        stage: its name.
        reward: what is annotated.
        tag: in which the judge's prompt asks for its verdict.
        model: folder of the initial judge.
        data: verl rows (parquet) from prepare_judge_rl.
        checkpoints: working folder of the training.
        seed: seed of shuffling and sampling.
        hardware: the section of that name.
        validation_data: verl rows of the validation; needed if the settings ask for one.

    Raises:
        ValueError, UserError: see `grrm.engines.verl.rl_overrides`.
    """
    overrides = rl_overrides(
        {**settings, "overlong_buffer": None},
        stage=stage,
        model=model,
        data=data,
        checkpoints=checkpoints,
        seed=seed,
        hardware=hardware,
        validation_data=validation_data,
    )
    if reward == "pairwise" and settings["consistency"] > 0:
        check_held(settings, stage)
    return overrides | _reward(settings, reward, tag)


def _reward(settings: Mapping[str, Any], reward: Reward, tag: str) -> Overrides:
    options = {"tag": tag}
    if reward == "pointwise":
        options["table"] = settings["reward_table"]
    overrides: Overrides = {
        "reward.reward_manager.name": "naive",
        "reward.custom_reward_function.path": f"pkg://grrm.rewards.{reward}",
        "reward.custom_reward_function.name": "compute_score",
        "+reward.custom_reward_function.reward_kwargs": options,
    }
    if reward == "pairwise" and settings["consistency"] > 0:
        overrides |= {
            # Both orders of a pair follow each other in the rows, and share a step.
            "data.shuffle": False,
            "reward.num_workers": 1,  # they meet in one worker
            "reward.reward_manager.source": "importlib",
            "reward.reward_manager.module.path": "pkg://grrm.rewards.consistency",
            "reward.reward_manager.name": "ConsistencyRewardManager",
            "+reward.reward_kwargs.weight": settings["consistency"],
            "+reward.reward_kwargs.tag": tag,
        }
    return overrides
