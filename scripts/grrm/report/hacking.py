"""Is the judge being exploited? The reward of GRPO beside metrics that the training never sees."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from grrm.catalogue.metrics import Metric
from grrm.catalogue.trainings import COMPARED

_BEFORE, _AFTER = COMPARED["translation"]


def independent(metrics: Mapping[str, Metric]) -> list[Metric]:
    """Metrics of translations: first those that say how good they are, then what may please a judge."""
    found = [metric for metric in metrics.values() if metric.task == "translation"]
    return sorted(found, key=lambda metric: not metric.quality)


def compare_reward(
    curves: Mapping[str, Sequence[Mapping[str, Any]]],
    differences: Sequence[Mapping[str, Any]],
    metrics: Mapping[str, Metric],
    stage: str = _AFTER,
) -> dict[str, Any] | None:
    """How the reward went, and which metrics went which way.

    Args:
        curves: condensed curves by stage.
        differences: records of the summary.
        metrics: by name.
        stage: the one that is rewarded by a judge.

    Returns:
        reward (mean of the first and of the last tenth of the steps), better and worse (metrics whose
        interval of the difference excludes zero), suspicious (the reward rose, and a metric became worse);
        None without a reward or without a difference.
    """
    reward = next((curve for curve in curves.get(stage, ()) if curve["title"] == "Reward"), None)
    quality = {metric.name: metric for metric in independent(metrics) if metric.quality}
    found = [r for r in differences if r["system"] == stage and r["metric"] in quality]
    if reward is None or not found:
        return None
    sided = [record for record in found if record["excludes_zero"]]
    better = [r["metric"] for r in sided if r["value"] * quality[r["metric"]].sign > 0]
    worse = [r["metric"] for r in sided if r["metric"] not in better]
    return {
        "stage": stage,
        "reward": [reward["first"], reward["last"]],
        "better": better,
        "worse": worse,
        "suspicious": reward["last"] > reward["first"] and bool(worse),
    }


def by_step(
    document: Mapping[str, Any] | None,
    scores: Sequence[Mapping[str, Any]],
    last_step: int,
    before: str = _BEFORE,
    after: str = _AFTER,
) -> list[dict[str, Any]]:
    """The model at steps of its training: system, step, metrics (estimates by name), and what was logged.

    Args:
        document: written by score_checkpoints; without it the models before and after stand for the ends.
        scores: records of the summary.
        last_step: of the training.
        before, after: systems that stand for the ends.
    """
    keys = ("value", "low", "high", "n")
    if document is not None:
        return [
            {
                "system": system["name"],
                "step": system["step"],
                "training": system["training"],
                "metrics": {
                    metric: {key: found[key] for key in keys} for metric, found in system["metrics"].items()
                },
            }
            for system in document["systems"]
        ]
    return [
        {
            "system": name,
            "step": step,
            "training": None,
            "metrics": {
                record["metric"]: {key: record[key] for key in keys}
                for record in scores
                if (record["task"], record["system"]) == ("translation", name)
            },
        }
        for name, step in ((before, 0), (after, last_step))
    ]
