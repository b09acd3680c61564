"""Judging groups by having all candidates put in order, in one call each."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from grrm.judges.groups import Group, GroupScores, Judged, common_metrics, distinct, draw, spread
from grrm.judges.prompts import JudgePrompt
from grrm.judges.questions import Decider, Verdict
from grrm.verdicts import lenient_order, parse_order


async def judge_listwise(
    client: Decider, groups: Sequence[Group], prompt: JudgePrompt, *, tolerant: bool = False
) -> Judged:
    """Have the distinct candidates of each group ranked, all groups at once.

    The order in which the judge sees them is drawn from the texts, so that it does not depend on indices.

    Args:
        client: whom to ask.
        groups: what to judge.
        prompt: of kind judge_listwise.
        tolerant: take the words of judges that were not trained on the form (`lenient_order`).

    Returns:
        scores, see `order_scores`, and the metrics of `common_metrics`.

    Raises:
        UserError: too many failures, see `Decider.decide`.
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
                    question=groups[number].question,
                    reference=groups[number].reference,
                    columns=groups[number].columns,
                    candidates=[groups[number].candidates[index] for index in shown[number]],
                    **groups[number].context,
                ),
                partial(lenient_order if tolerant else parse_order, n=len(shown[number]), name=prompt.tag),
            )
            for number in asked
        ]
    )
    answers: dict[int, Verdict[list[set[int]]]] = dict(zip(asked, verdicts, strict=True))
    results = []
    for number, (group, indices) in enumerate(zip(groups, shown, strict=True)):
        if number not in answers:
            results.append(GroupScores((0.0,) * len(group.candidates)))
        elif (order := answers[number].value) is None:
            failure = answers[number].failure
            results.append(GroupScores((None,) * len(group.candidates), (failure,)))
        else:
            results.append(GroupScores(spread(group.candidates, indices, order_scores(order))))
    failed = sum(verdict.value is None for verdict in verdicts)
    return Judged(tuple(results), common_metrics(results, len(verdicts), failed))


def order_scores(order: Sequence[set[int]]) -> list[float]:
    """Scores in [-1, 1] by rank: 1 - 2 rank / (n - 1), best rank 0; tied ones share the mean (RM-Gallery)."""
    n = sum(map(len, order))
    scores = [0.0] * n
    before = 0
    for tied in order:
        rank = before + (len(tied) - 1) / 2
        for index in tied:
            scores[index] = 1 - 2 * rank / (n - 1) if n > 1 else 0.0
        before += len(tied)
    return scores
