"""Judging candidates one by one, from 1 to 10."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Literal, TypeAlias

from grrm.judges.groups import Group, GroupScores, Judged, common_metrics, distinct, spread
from grrm.judges.prompts import JudgePrompt
from grrm.judges.questions import UNUSABLE, Decider
from grrm.verdicts import lenient_score, parse_score

LOWEST = 1
HIGHEST = 10

Scale: TypeAlias = Literal["group", "absolute"]


async def judge_pointwise(
    client: Decider,
    groups: Sequence[Group],
    prompt: JudgePrompt,
    scale: Scale = "group",
    *,
    tolerant: bool = False,
) -> Judged:
    """Score all distinct candidates of all groups at once.

    Args:
        client: whom to ask.
        groups: what to judge.
        prompt: of kind judge_pointwise.
        scale: how 1..10 becomes [-1, 1], see `scale_scores`.
        tolerant: take the words of judges that were not trained on the form (`lenient_score`).

    Returns:
        scores, and the metrics of `common_metrics` besides mean_score, from 1 to 10.

    Raises:
        UserError: too many failures, see `Decider.decide`.
        ValueError: the scale is not known.
    """
    scale_scores([], scale)
    judged, said = await judge_each(
        client,
        groups,
        partial(_render, prompt),
        partial(lenient_score if tolerant else parse_score, lowest=LOWEST, highest=HIGHEST, name=prompt.tag),
        partial(scale_scores, scale=scale),
        # Relative to a group of one, every score is the same: nothing to ask.
        least=1 if scale == "absolute" else 2,
    )
    mean = {"mean_score": sum(said) / len(said)} if said else {}
    return Judged(judged.groups, judged.metrics | mean)


async def judge_each(
    client: Decider,
    groups: Sequence[Group],
    render: Callable[[Group, int], str],
    read: Callable[[str], float],
    scale: Callable[[Sequence[float | None]], Sequence[float | None]],
    least: int = 1,
) -> tuple[Judged, list[float]]:
    """Have every distinct candidate judged by itself.

    Args:
        client: whom to ask.
        groups: what to judge.
        render: makes the prompt about a candidate by its index.
        read: the score in an answer; ValueError if there is none.
        scale: from the scores of a group's distinct candidates to those that they get.
        least: distinct candidates of a group that is asked about; those of others get 0.

    Returns:
        scores and `common_metrics`; and what the judge said, before the scale.
    """
    chosen = [distinct(group.candidates) for group in groups]
    asked = [
        (number, index) for number, indices in enumerate(chosen) if len(indices) >= least for index in indices
    ]
    verdicts = await client.decide([(render(groups[number], index), read) for number, index in asked])
    answers = dict(zip(asked, verdicts, strict=True))
    results = []
    for number, (group, indices) in enumerate(zip(groups, chosen, strict=True)):
        own = {index: answers[number, index] for index in indices if (number, index) in answers}
        if indices and not own:
            results.append(GroupScores((0.0,) * len(group.candidates)))
            continue
        scores = scale([verdict.value for verdict in own.values()])
        failed = [f"candidate {i}: {verdict.failure}" for i, verdict in own.items() if verdict.value is None]
        broken = {group.candidates[i] for i, verdict in own.items() if verdict.reason in UNUSABLE}
        unreadable = frozenset(i for i, text in enumerate(group.candidates) if text in broken)
        results.append(GroupScores(spread(group.candidates, indices, scores), tuple(failed), unreadable))
    said = [verdict.value for verdict in verdicts if verdict.value is not None]
    metrics = common_metrics(results, len(verdicts), len(verdicts) - len(said))
    return Judged(tuple(results), metrics), said


def _render(prompt: JudgePrompt, group: Group, index: int) -> str:
    return prompt.render(
        question=group.question,
        reference=group.reference,
        columns=group.columns,
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
