"""Judging groups of translations with the judges made for them: one by one (SQM) or a whole group in one call
(GQM, what the GRRM does)."""

from __future__ import annotations

import hashlib
import json
import random
from collections.abc import Callable, Sequence
from functools import partial

from grrm.judges.groups import Group, GroupScores, Judged, common_metrics, distinct, spread
from grrm.judges.pointwise import judge_each
from grrm.judges.questions import Decider, Verdict
from grrm.prompts import PointwisePrompt, RankingPrompt
from grrm.ranking import MAX_SCORE, InvalidAnswer, RankingAnswer, labels, parse_answer

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

    def render(group: Group, index: int) -> str:
        return prompt.render(
            src_text=group.question,
            mt_text=group.candidates[index],
            src_lang=group.src_lang,
            trg_lang=group.trg_lang,
            columns=group.columns,
        )

    judged, _ = await judge_each(client, groups, render, prompt.read, lambda scores: scores)
    return judged


# ---------------------------------------------------------------- groups (GQM)

Order = Callable[[Group], list[int]]
"""Which candidates of a group the judge is shown, by index, in which order."""
Read = Callable[[str, int], Sequence[float]]
"""Scores, 0 to 10, in an answer about so many candidates, as shown; ValueError says what is wrong."""

PROMPT_TOO_LONG = "prompt too long"


async def judge_ranking(
    client: Decider,
    groups: Sequence[Group],
    prompt: RankingPrompt,
    *,
    order: Order,
    read: Read,
    fits: Callable[[str], bool] = lambda prompt: True,
) -> Judged:
    """Have the candidates of each group ranked and scored in one call, all groups at once.

    Args:
        client: whom to ask.
        groups: translations, with their languages.
        prompt: of kind ranking_score.
        order: what of a group is shown, `drawn_order` unless the caller has put the candidates in order.
        read: reads an answer, see `reader`.
        fits: whether a prompt is short enough; one that is not is a failed judgement without a call.

    Returns:
        scores from 0 to 10, where there is nothing to choose the middle of them; and the metrics of
        `common_metrics`.

    Raises:
        UserError: too many failures, see `Decider.decide`.
        ValueError: a group has more than 26 distinct candidates.
    """
    pairs = [(group, order(group)) for group in groups]
    prompts = {
        number: prompt.render(
            src_text=group.question,
            mt_texts=[group.candidates[index] for index in indices],
            src_lang=group.src_lang,
            trg_lang=group.trg_lang,
            columns=group.columns,
        )
        for number, (group, indices) in enumerate(pairs)
        if len(indices) > 1
    }
    asked = [number for number, text in prompts.items() if fits(text)]
    verdicts = await client.decide(
        [(prompts[number], _counting(read, len(pairs[number][1]))) for number in asked]
    )
    answers = dict(zip(asked, verdicts, strict=True))
    results = [_ranked(group, indices, answers.get(number)) for number, (group, indices) in enumerate(pairs)]
    failed = len(prompts) - sum(verdict.value is not None for verdict in verdicts)
    return Judged(tuple(results), common_metrics(results, len(prompts), failed))


def _ranked(group: Group, shown: list[int], verdict: Verdict[Sequence[float]] | None) -> GroupScores:
    """What became of a group; without a verdict it was not asked about."""
    size = len(group.candidates)
    if len(shown) < 2:
        return GroupScores((_MIDDLE,) * size)
    if verdict is None:
        return GroupScores((None,) * size, (PROMPT_TOO_LONG,))
    if verdict.value is None:
        why = (_failure(verdict),)
        return GroupScores((None,) * size, why, answer=verdict.text, retries=verdict.retries)
    scores = spread(group.candidates, shown, verdict.value)
    return GroupScores(scores, answer=verdict.text, retries=verdict.retries)


def _counting(read: Read, count: int) -> Callable[[str], Sequence[float]]:
    return lambda answer: read(answer, count)


def drawn_order(seed: int) -> Order:
    """Shows the distinct candidates in an order drawn from the seed, the source and the set of candidates.

    So neither indices nor who came first say anything about the place.
    """

    def order(group: Group) -> list[int]:
        first = {text: index for index, text in reversed(list(enumerate(group.candidates)))}
        candidates = sorted(first)
        key = json.dumps([seed, group.question, group.src_lang, group.trg_lang, candidates])
        random.Random(hashlib.sha256(key.encode()).digest()).shuffle(candidates)
        return [first[text] for text in candidates]

    return order


def given_order(group: Group) -> list[int]:
    """Shows the distinct candidates in the order in which they are given."""
    return distinct(group.candidates)


def reader(prompt: RankingPrompt, *, tolerant: bool = False) -> Read:
    """What reads the answers to a prompt.

    Args:
        prompt: what was asked.
        tolerant: take the habits of a model that was not trained to answer in this form (bold headers, 9/10,
            8.5), as evaluation does. A GRRM was: what it writes in another form is a fault that its own
            training punishes, so training and serving take the form alone.
    """
    parse = parse_answer if prompt.kind == "ranking_score" and not tolerant else prompt.read
    return partial(_scores, parse)


def strict_scores(answer: str, count: int) -> Sequence[float]:
    """Scores of `count` candidates in the answer of a GRRM, in the order in which they were shown.

    Raises:
        ValueError: the answer is malformed; the message says how.
    """
    return _scores(parse_answer, answer, count)


def _scores(
    parse: Callable[[str, int], RankingAnswer | InvalidAnswer], answer: str, count: int
) -> Sequence[float]:
    parsed = parse(answer, count)
    if isinstance(parsed, InvalidAnswer):
        raise ValueError(f"{parsed.reason}: {parsed.detail}")
    return tuple(parsed.scores[label] for label in labels(count))


def _failure(verdict: Verdict[Sequence[float]]) -> str:
    if verdict.reason == "unparsable":
        return f"malformed answer: {verdict.detail}"
    return (
        f"no answer: {verdict.reason}: {verdict.detail}" if verdict.reason else f"no answer: {verdict.detail}"
    )
