"""Judging candidates one by one, from 1 to 10."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Literal, TypeAlias

from grrm.judges.groups import Group, GroupScores, Judged, common_metrics, distinct, spread
from grrm.judges.prompts import JudgePrompt
from grrm.judges.questions import Decider
from grrm.verdicts import parse_score

LOWEST = 1
HIGHEST = 10

Scale: TypeAlias = Literal["group", "absolute"]


async def judge_pointwise(
    client: Decider, groups: Sequence[Group], prompt: JudgePrompt, scale: Scale = "group"
) -> Judged:
    """Score all distinct candidates of all groups at once.

    Args:
        client: whom to ask.
        groups: what to judge.
        prompt: of kind judge_pointwise.
        scale: how 1..10 becomes [-1, 1], see `scale_scores`.

    Returns:
        scores, and the metrics of `common_metrics` besides mean_score, from 1 to 10.

    Raises:
        UserError: too many failures, see `Decider.decide`.
        ValueError: the scale is not known.
    """
    scale_scores([], scale)
    # Relative to a group of one, every score is the same: nothing to ask.
    chosen = [distinct(group.candidates) for group in groups]
    asked = [
        (number, index)
        for number, indices in enumerate(chosen)
        for index in indices
        if scale == "absolute" or len(indices) > 1
    ]
    parse = partial(parse_score, lowest=LOWEST, highest=HIGHEST, name=prompt.tag)
    verdicts = await client.decide(
        [(_render(prompt, groups[number], index), parse) for number, index in asked]
    )
    answers = dict(zip(asked, verdicts, strict=True))
    results = []
    for number, (group, indices) in enumerate(zip(groups, chosen, strict=True)):
        if indices and (number, indices[0]) not in answers:
            results.append(GroupScores((0.0,) * len(group.candidates)))
            continue
        values = [answers[number, index].value for index in indices]
        failures = [
            f"candidate {index}: {answers[number, index].failure}"
            for index, value in zip(indices, values, strict=True)
            if value is None
        ]
        scores = spread(group.candidates, indices, scale_scores(values, scale))
        results.append(GroupScores(scores, tuple(failures)))
    known = [verdict.value for verdict in verdicts if verdict.value is not None]
    metrics = common_metrics(results, len(verdicts), len(verdicts) - len(known))
    if known:
        metrics["mean_score"] = sum(known) / len(known)
    return Judged(tuple(results), metrics)


def _render(prompt: JudgePrompt, group: Group, index: int) -> str:
    return prompt.render(
        question=group.question,
        reference=group.reference,
        response=group.candidates[index],
        **group.context,
    )


def scale_scores(scores: Sequence[float | None], scale: Scale) -> list[float | None]:
    """Scores from 1 to 10 as scores in [-1, 1]; what is None stays None and does not count.

    group: the lowest becomes -1, the highest 1, equal ones 0 (RM-Gallery); the level is lost. absolute: 1
    becomes -1, 10 becomes 1.

    Raises:
        ValueError: the scale is not known.
    """
    if scale == "group":
        known = [score for score in scores if score is not None]
        low, high = min(known, default=0.0), max(known, default=0.0)
    elif scale == "absolute":
        low, high = float(LOWEST), float(HIGHEST)
    else:
        raise ValueError(f"scale {scale!r} is not known; expected group or absolute")
    if high - low < 1e-6:
        return [None if score is None else 0.0 for score in scores]
    return [None if score is None else 2 * (score - low) / (high - low) - 1 for score in scores]
