"""Judging groups of translations with the judges made for them: one by one (SQM) or a whole group in one call
(GQM, what the GRRM does)."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from grrm.judges.groups import Group, GroupScores, Judged, common_metrics, distinct, draw, spread
from grrm.judges.questions import Decider
from grrm.prompts import PointwisePrompt, RankingPrompt
from grrm.ranking import MAX_SCORE, InvalidAnswer, labels

_MIDDLE = MAX_SCORE / 2


async def judge_quality(client: Decider, groups: Sequence[Group], prompt: PointwisePrompt) -> Judged:
    """Score all distinct candidates of all groups at once, from 0 to 10 (scalar quality metric).

    Args:
        client: whom to ask.
        groups: translations, with their languages.
        prompt: of kind sqm.

    Returns:
        scores from 0 to 10, and the metrics of `common_metrics`.

    Raises:
        UserError: too many failures, see `Decider.decide`.
    """
    asked = [(number, index) for number, group in enumerate(groups) for index in distinct(group.candidates)]
    verdicts = await client.decide(
        [
            (
                prompt.render(
                    src_text=groups[number].question,
                    mt_text=groups[number].candidates[index],
                    src_lang=groups[number].src_lang,
                    trg_lang=groups[number].trg_lang,
                ),
                prompt.read,
            )
            for number, index in asked
        ]
    )
    answers = dict(zip(asked, verdicts, strict=True))
    results = []
    for number, group in enumerate(groups):
        indices = distinct(group.candidates)
        own = [answers[number, index] for index in indices]
        failures = tuple(
            f"candidate {index}: {verdict.reason}: {verdict.detail}"
            for index, verdict in zip(indices, own, strict=True)
            if verdict.value is None
        )
        scores = spread(group.candidates, indices, [verdict.value for verdict in own])
        results.append(GroupScores(scores, failures))
    failed = sum(verdict.value is None for verdict in verdicts)
    return Judged(tuple(results), common_metrics(results, len(verdicts), failed))


async def judge_ranking(client: Decider, groups: Sequence[Group], prompt: RankingPrompt) -> Judged:
    """Have the distinct candidates of each group ranked and scored in one call, all groups at once.

    The order in which the judge sees them is drawn from the texts, so that it does not depend on indices.

    Args:
        client: whom to ask.
        groups: translations, with their languages.
        prompt: of kind ranking_score.

    Returns:
        scores from 0 to 10, where there is nothing to choose the middle of them; and the metrics of
        `common_metrics`.

    Raises:
        UserError: too many failures, see `Decider.decide`.
        ValueError: a group has more than 26 distinct candidates.
    """
    shown = [
        sorted(distinct(group.candidates), key=lambda i: (draw(group.question, group.candidates[i]), i))
        for group in groups
    ]
    asked = [number for number, indices in enumerate(shown) if len(indices) > 1]
    verdicts = await client.decide(
        [
            (
                prompt.render(
                    src_text=groups[number].question,
                    mt_texts=[groups[number].candidates[index] for index in shown[number]],
                    src_lang=groups[number].src_lang,
                    trg_lang=groups[number].trg_lang,
                ),
                partial(read_scores, prompt, count=len(shown[number])),
            )
            for number in asked
        ]
    )
    answers = dict(zip(asked, verdicts, strict=True))
    results = []
    for number, (group, indices) in enumerate(zip(groups, shown, strict=True)):
        size = len(group.candidates)
        if number not in answers:
            results.append(GroupScores((_MIDDLE,) * size))
        elif (scores := answers[number].value) is None:
            failure = f"{answers[number].reason}: {answers[number].detail}"
            results.append(GroupScores((None,) * size, (failure,)))
        else:
            results.append(GroupScores(spread(group.candidates, indices, scores)))
    failed = sum(verdict.value is None for verdict in verdicts)
    return Judged(tuple(results), common_metrics(results, len(verdicts), failed))


def read_scores(prompt: RankingPrompt, answer: str, count: int) -> tuple[float, ...]:
    """Scores, 0 to 10, of `count` candidates in the order in which they were shown.

    Raises:
        ValueError: the answer cannot be used; says why.
    """
    parsed = prompt.read(answer, count)
    if isinstance(parsed, InvalidAnswer):
        raise ValueError(f"{parsed.reason}: {parsed.detail}")
    return tuple(float(parsed.scores[label]) for label in labels(count))
