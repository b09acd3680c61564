"""Figures of one training step from the rewards of its rollouts."""

from __future__ import annotations

import statistics
from collections import defaultdict
from collections.abc import Mapping, Sequence


def step_metrics(
    groups: Sequence[str], rewards: Sequence[float], infos: Sequence[Mapping[str, float | str]]
) -> dict[str, float]:
    """Means of what the reward functions report, and how much the groups have to learn from.

    Args:
        groups: the group (prompt) of each rollout.
        rewards: one per rollout.
        infos: `reward_extra_info` of each rollout, all with the same keys; texts are passed over.
            `judge_score` counts only where `judged` is 1.

    Returns:
        reward/<key>: mean over rollouts; reward/judge_score_std: spread of the scores; reward/group_std: mean
        standard deviation within a group; reward/zero_variance_groups: share of groups, in [0, 1], without a
        gradient.
    """
    members: dict[str, list[float]] = defaultdict(list)
    for group, reward in zip(groups, rewards, strict=True):
        members[group].append(reward)
    spreads = [statistics.pstdev(values) for values in members.values()]
    metrics = {
        "reward/groups": float(len(spreads)),
        "reward/group_std": statistics.fmean(spreads),
        "reward/zero_variance_groups": statistics.fmean(spread < 1e-9 for spread in spreads),
    }
    for key in infos[0]:
        if isinstance(infos[0][key], str):
            continue  # what was predicted, and why not: texts have no mean
        values = [float(info[key]) for info in infos if key != "judge_score" or info["judged"]]
        if values:
            metrics[f"reward/{key}"] = statistics.fmean(values)
    scores = [float(info["judge_score"]) for info in infos if info.get("judged")]
    if scores:
        metrics["reward/judge_score_std"] = statistics.pstdev(scores)
    return metrics
