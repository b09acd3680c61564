"""Training curves: which metrics of a stage are shown, and how a curve is condensed into a few numbers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from grrm.files import UserError, read_jsonl


@dataclass(frozen=True)
class Panel:
    """One plot: its title and the metrics it may show, the first one found being shown."""

    title: str
    keys: tuple[str, ...]


# In the order in which they are shown. SFT has loss, grad_norm and lr; the rest are verl's names and ours.
PANELS = (
    Panel("Loss", ("loss",)),
    Panel("Reward", ("critic/score/mean", "critic/rewards/mean")),
    Panel("Ranking reward", ("reward/ranking_reward",)),
    Panel("Score reward", ("reward/score_reward",)),
    Panel("Score by the judge", ("reward/judge_score",)),
    Panel("Score of the chosen response", ("reward/chosen_score",)),
    Panel("Share of responses above the chosen one", ("reward/above_chosen",)),
    Panel("Share of valid answers", ("reward/valid",)),
    Panel("Share of failed judgements", ("reward/judge_failed",)),
    Panel("Share of pairs in which the same place won twice", ("reward/position_bias",)),
    Panel("Share of groups without a gradient", ("reward/zero_variance_groups",)),
    Panel("Reward spread within a group", ("reward/group_std",)),
    Panel("Likelihood term on positive advantages", ("actor/sft_loss",)),
    Panel("Response length (tokens)", ("response_length/mean",)),
    Panel("Entropy", ("actor/entropy",)),
    # On-policy, with one update per rollout, it is 0 whatever is learnt: it shows that nothing is amiss.
    Panel("Policy loss", ("actor/pg_loss",)),
    Panel("Share of clipped tokens or sequences", ("actor/pg_clipfrac",)),
    Panel("Share of answers cut off at the longest length", ("response_length/clip_ratio",)),
    Panel("Gradient norm", ("grad_norm", "actor/grad_norm")),
    Panel("Learning rate", ("lr", "actor/lr")),
)


@dataclass(frozen=True)
class Curve:
    """One metric over the steps of a stage: `steps[i]` had the value `values[i]`."""

    title: str
    metric: str
    steps: Sequence[int]
    values: Sequence[float]


def read_curves(path: str | Path) -> list[Curve]:
    """The curves of a stage that are shown, from one JSON object per training step.

    Raises:
        UserError: the file is empty, a row is not an object with a step, steps do not rise, or there is
            nothing to show.
    """
    rows = read_jsonl(path, gaps=True)
    _check_steps(path, rows)
    curves = []
    for panel in PANELS:
        metric = next((key for key in panel.keys if any(_is_number(row.get(key)) for row in rows)), None)
        if metric is not None:
            points = [(row["step"], float(row[metric])) for row in rows if _is_number(row.get(metric))]
            curves.append(
                Curve(panel.title, metric, [step for step, _ in points], [value for _, value in points])
            )
    if not curves:
        known = ", ".join(key for panel in PANELS for key in panel.keys)
        raise UserError(f"{path}: nothing to show; keys are {', '.join(rows[0])}, known ones are {known}")
    return curves


def condense(curve: Curve) -> dict[str, Any]:
    """A curve as its points, thinned to what a screen shows, and as a few numbers: means of its first and
    last tenth, smallest and largest value."""
    values = np.asarray(curve.values)
    tenth = max(1, len(values) // 10)
    return {
        "title": curve.title,
        "metric": curve.metric,
        "points": len(values),
        "last_step": int(curve.steps[-1]),
        "first": float(values[:tenth].mean()),
        "last": float(values[-tenth:].mean()),
        "min": float(values.min()),
        "max": float(values.max()),
        **dict(zip(("steps", "values"), thin(curve.steps, curve.values), strict=True)),
    }


# A line of more points is thinned: no screen shows more.
MAX_POINTS = 400


def thin(x: Sequence[int], y: Sequence[float], points: int = MAX_POINTS) -> tuple[list[int], list[float]]:
    """A line with at most `points` points: smallest and largest of each of equal stretches, so that no peak
    is lost."""
    if len(x) <= points:
        return list(x), list(y)
    stretch = len(x) / (points // 2)
    kept: list[int] = []
    for i in range(points // 2):
        members = range(round(i * stretch), round((i + 1) * stretch))
        kept += sorted({min(members, key=y.__getitem__), max(members, key=y.__getitem__)})
    return [x[i] for i in kept], [y[i] for i in kept]


def smooth(values: Sequence[float], window: int) -> list[float]:
    """Mean over `window` values (odd) around each one; fewer, but as many on both sides, at the ends."""
    sums = np.concatenate([[0.0], np.cumsum(values)])
    places = np.arange(len(values))
    reach = np.minimum(window // 2, np.minimum(places, places[::-1]))
    smoothed: list[float] = ((sums[places + reach + 1] - sums[places - reach]) / (2 * reach + 1)).tolist()
    return smoothed


def _check_steps(path: str | Path, rows: Sequence[Any]) -> None:
    if not rows:
        raise UserError(f"{path}: no training steps in it; the stage has to be trained again")
    previous = -1
    for number, row in enumerate(rows, 1):
        step = row.get("step") if isinstance(row, Mapping) else None
        if not isinstance(step, int) or step <= previous:
            raise UserError(f"{path}, row {number}: step is {step!r}, expected an integer above {previous}")
        previous = step


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and bool(np.isfinite(value))
