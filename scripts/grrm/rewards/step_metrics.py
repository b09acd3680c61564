"""Figures of one training step from the rewards of its rollouts."""

from __future__ import annotations

import math
import statistics
from collections import defaultdict
from collections.abc import Mapping, Sequence

CONDITIONS = {"judge_score": "judged", "chosen_score": "compared", "above_chosen": "compared"}
"""What counts only where something else is 1; elsewhere it is 0. So do the parts of a mixture."""

# Counts of a whole group, which every rollout of it reports.
_COUNTS = (
    "judgements",
    "judgements_failed",
    "ties",
    "conflicts",
    "pairs",
    "biased_pairs",
    "inconsistent_pairs",
)
# Figure of a step -> counts it is the quotient of.
_SHARES = {
    "judgement_failure_rate": ("judgements_failed", "judgements"),
    "position_bias": ("biased_pairs", "pairs"),
    "inconsistent": ("inconsistent_pairs", "pairs"),
}


def step_metrics(
    groups: Sequence[str], rewards: Sequence[float], infos: Sequence[Mapping[str, float | str]]
) -> dict[str, float]:
    """What the reward functions report, and how much the groups have to learn from.

    Args:
        groups: the group (prompt) of each rollout.
        rewards: one per rollout.
        infos: `reward_extra_info` of each rollout, all with the same keys; texts are passed over.
            `judge_score` counts only where `judged` is 1, `chosen_score` and `above_chosen` only where
            `compared` is.

    Returns:
        reward/<key>: mean over rollouts, of counts of a group (conflicts...) the sum over groups;
        reward/judgement_failure_rate, reward/position_bias and reward/inconsistent: shares of the step;
        reward/judge_score_std: spread of the scores; reward/group_std: mean standard deviation within a
        group; reward/zero_variance_groups: share of groups, in [0, 1], without a gradient. The keys depend on
        those of `infos` alone: what has no value in this step, as nothing was judged, is NaN (verl takes
        numbers only, and writes null).
    """
    members: dict[str, list[int]] = defaultdict(list)
    for index, group in enumerate(groups):
        members[group].append(index)
    spreads = [statistics.pstdev([rewards[index] for index in indices]) for indices in members.values()]
    metrics = {
        "reward/groups": float(len(spreads)),
        "reward/group_std": statistics.fmean(spreads),
        "reward/zero_variance_groups": statistics.fmean(spread < 1e-9 for spread in spreads),
    }
    for key in infos[0]:
        if isinstance(infos[0][key], str):
            continue  # what was predicted, and why not: texts have no mean
        if key in _COUNTS:
            metrics[f"reward/{key}"] = sum(float(infos[first][key]) for first, *_ in members.values())
            continue
        condition = "judged" if key.startswith("part_") else CONDITIONS.get(key)
        values = [float(info[key]) for info in infos if condition is None or info[condition]]
        metrics[f"reward/{key}"] = statistics.fmean(values) if values else math.nan
        if key == "judge_score":
            metrics["reward/judge_score_std"] = statistics.pstdev(values) if values else math.nan
    for name, (part, whole) in _SHARES.items():
        if f"reward/{whole}" in metrics:
            total = metrics[f"reward/{whole}"]
            metrics[f"reward/{name}"] = metrics[f"reward/{part}"] / total if total else math.nan
    return metrics
