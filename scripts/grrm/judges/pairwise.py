"""Judging groups by comparing their candidates in pairs.

A failed comparison is missing, never a tie.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from itertools import combinations

from grrm.judges.comparisons import Shown, agreed, compared, orders_of, too_few_answered, tournament_scores
from grrm.judges.groups import (
    Group,
    GroupScores,
    Judged,
    common_metrics,
    distinct,
    share,
    spread,
)
from grrm.judges.prompts import JudgePrompt
from grrm.judges.questions import UNUSABLE, Decider, Verdict
from grrm.tournament import Comparison, Method, solve_feedback_arc_set
from grrm.verdicts import Preference, lenient_preference, parse_preference, swap


@dataclass(frozen=True)
class _Question:
    """One call: two candidates of a group in the order in which they are shown."""

    group: int
    order: Shown


@dataclass(frozen=True)
class _Match:
    """The calls about one pair: one, or one for each order."""

    questions: tuple[_Question, ...]

    @property
    def group(self) -> int:
        return self.questions[0].group

    @property
    def pair(self) -> Shown:
        return self.questions[0].order


async def judge_pairwise(
    client: Decider,
    groups: Sequence[Group],
    prompt: JudgePrompt,
    method: Method = "dgr",
    both_orders: bool = True,
    *,
    tolerant: bool = False,
) -> Judged:
    """Compare all pairs of distinct candidates of all groups at once.

    Args:
        client: whom to ask.
        groups: what to judge.
        prompt: of kind judge_pairwise.
        method: how comparisons become scores, see `grrm.tournament`.
        both_orders: ask about each pair in both orders: if the answers disagree it is a tie, if one is
            missing the comparison is. Else the order is drawn from the texts, not from the indices.
        tolerant: take the words of judges that were not trained on the form (`lenient_preference`).

    Returns:
        scores, and the metrics of `common_metrics` besides ties; says_a, the share of answers that prefer the
        response shown first; conflicts; and with both orders pairs, those answered twice, position_bias, the
        share of them in which the same place won twice, and inconsistent, of those with any disagreement.

    Raises:
        UserError: too many failures, see `Decider.decide`.
    """
    read = lenient_preference if tolerant else parse_preference
    matches = [match for index, group in enumerate(groups) for match in _matches(index, group, both_orders)]
    questions = [question for match in matches for question in match.questions]
    verdicts = await client.decide(
        [
            (_render(prompt, groups[question.group], question), partial(read, name=prompt.tag))
            for question in questions
        ]
    )
    answers = dict(zip(questions, verdicts, strict=True))

    comparisons: list[list[Comparison]] = [[] for _ in groups]
    failures: list[list[str]] = [[] for _ in groups]
    unreadable: list[list[Comparison]] = [[] for _ in groups]
    for match in matches:
        if missing := [answers[question] for question in match.questions if answers[question].value is None]:
            i, j = match.pair
            failures[match.group].append(f"candidates {i} and {j}: {missing[0].failure}")
            if all(verdict.reason in UNUSABLE for verdict in missing):
                unreadable[match.group].append((i, j, None))
        else:
            comparisons[match.group].append(agreed(_said(match, answers), match.pair))

    results = tuple(
        _score(group, results_of, failed, answered, method)
        for group, results_of, failed, answered in zip(groups, comparisons, failures, unreadable, strict=True)
    )
    said = [verdict.value for verdict in verdicts if verdict.value is not None]
    metrics = common_metrics(results, len(verdicts), len(verdicts) - len(said))
    metrics["ties"] = sum(winner is None for group in comparisons for _, _, winner in group)
    metrics["says_a"] = share(said.count("A"), len(said))
    metrics["conflicts"] = sum(result.conflicts for result in results)
    if both_orders:
        metrics |= _bias(matches, answers)
    return Judged(results, metrics)


def _matches(index: int, group: Group, both_orders: bool) -> list[_Match]:
    return [
        _Match(
            tuple(
                _Question(index, order)
                for order in orders_of(group.question, group.candidates, pair, both_orders)
            )
        )
        for pair in combinations(distinct(group.candidates), 2)
    ]


def _render(prompt: JudgePrompt, group: Group, question: _Question) -> str:
    first, second = question.order
    return prompt.render(
        question=group.question,
        reference=group.reference,
        columns=group.columns,
        first=group.candidates[first],
        second=group.candidates[second],
        **group.context,
    )


def _said(match: _Match, answers: dict[_Question, Verdict[Preference]]) -> list[tuple[Shown, Preference]]:
    """What was answered, each in the order of its question."""
    return [
        (question.order, value)
        for question in match.questions
        if (value := answers[question].value) is not None
    ]


def _score(
    group: Group,
    comparisons: list[Comparison],
    failed: list[str],
    unreadable: list[Comparison],
    method: Method,
) -> GroupScores:
    chosen = distinct(group.candidates)
    if len(chosen) < 2:
        return GroupScores((0.0,) * len(group.candidates))
    place = {index: position for position, index in enumerate(chosen)}
    among = [(place[i], place[j], None if w is None else place[w]) for i, j, w in comparisons]
    values = tournament_scores(len(chosen), among, method)
    known, local = compared(among)
    # Of one that was never compared, the failures of its pairs say enough.
    few = [index for position, index in enumerate(chosen) if values[position] is None and position in known]
    # Those that would have a score if the judge's answers about them could be read.
    silent = too_few_answered(chosen, [*comparisons, *unreadable])
    without = {index for position, index in enumerate(chosen) if values[position] is None}
    broken = {group.candidates[index] for index in without - silent}
    return GroupScores(
        spread(group.candidates, chosen, values),
        (*failed, *(f"candidate {index}: fewer than half of its pairs were answered" for index in few)),
        frozenset(index for index, text in enumerate(group.candidates) if text in broken),
        tuple(comparisons),
        solve_feedback_arc_set(len(known), local).conflicts if method == "dgr" else 0,
    )


def _bias(matches: Sequence[_Match], answers: dict[_Question, Verdict[Preference]]) -> dict[str, float]:
    said = [[answer for _, answer in _said(match, answers)] for match in matches]
    pairs = [both for both in said if len(both) == 2]
    return {
        "pairs": len(pairs),
        "position_bias": share(sum(both in (["A", "A"], ["B", "B"]) for both in pairs), len(pairs)),
        "inconsistent": share(sum(first != swap(second) for first, second in pairs), len(pairs)),
    }
