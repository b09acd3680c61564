"""Judging groups by comparing their candidates in pairs.

A failed comparison is missing, never a tie.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from itertools import combinations

from grrm.judges.groups import (
    Group,
    GroupScores,
    Judged,
    common_metrics,
    distinct,
    share,
    shown_first,
    spread,
)
from grrm.judges.prompts import JudgePrompt
from grrm.judges.questions import Decider, Verdict
from grrm.tournament import Comparison, Method, score, solve_feedback_arc_set
from grrm.verdicts import Preference, parse_preference, swap


@dataclass(frozen=True)
class _Question:
    """One call: candidate `first` is shown as A, `second` as B."""

    group: int
    first: int
    second: int


@dataclass(frozen=True)
class _Match:
    """The calls about one pair: one, or one for each order."""

    questions: tuple[_Question, ...]

    @property
    def group(self) -> int:
        return self.questions[0].group

    @property
    def pair(self) -> tuple[int, int]:
        return self.questions[0].first, self.questions[0].second


async def judge_pairwise(
    client: Decider,
    groups: Sequence[Group],
    prompt: JudgePrompt,
    method: Method = "dgr",
    both_orders: bool = True,
) -> Judged:
    """Compare all pairs of distinct candidates of all groups at once.

    Args:
        client: whom to ask.
        groups: what to judge.
        prompt: of kind judge_pairwise.
        method: how comparisons become scores, see `grrm.tournament`.
        both_orders: ask about each pair in both orders: if the answers disagree it is a tie, if one is
            missing the comparison is. Else the order is drawn from the texts, not from the indices.

    Returns:
        scores, and the metrics of `common_metrics` besides ties; says_a, the share of answers that prefer the
        response shown first; conflicts; and with both orders pairs, those answered twice, position_bias, the
        share of them in which the same place won twice, and inconsistent, of those with any disagreement.

    Raises:
        UserError: too many failures, see `Decider.decide`.
    """
    matches = [match for index, group in enumerate(groups) for match in _matches(index, group, both_orders)]
    questions = [question for match in matches for question in match.questions]
    verdicts = await client.decide(
        [
            (_render(prompt, groups[question.group], question), partial(parse_preference, name=prompt.tag))
            for question in questions
        ]
    )
    answers = dict(zip(questions, verdicts, strict=True))

    comparisons: list[list[Comparison]] = [[] for _ in groups]
    failures: list[list[str]] = [[] for _ in groups]
    for match in matches:
        missing = [answers[question] for question in match.questions if answers[question].value is None]
        if missing:
            i, j = match.pair
            failures[match.group].append(f"candidates {i} and {j}: {missing[0].reason}: {missing[0].detail}")
        else:
            preference = _agreed(match, answers)
            comparisons[match.group].append((*match.pair, _winner(match.pair, preference)))

    results = tuple(
        _score(group, compared, failed, method)
        for group, compared, failed in zip(groups, comparisons, failures, strict=True)
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
    matches = []
    for i, j in combinations(distinct(group.candidates), 2):
        forth, back = _Question(index, i, j), _Question(index, j, i)
        if both_orders:
            matches.append(_Match((forth, back)))
        else:
            first = shown_first(group.question, group.candidates[i], group.candidates[j])
            matches.append(_Match((forth,) if first == group.candidates[i] else (back,)))
    return matches


def _render(prompt: JudgePrompt, group: Group, question: _Question) -> str:
    return prompt.render(
        question=group.question,
        reference=group.reference,
        first=group.candidates[question.first],
        second=group.candidates[question.second],
        **group.context,
    )


def _said(match: _Match, answers: dict[_Question, Verdict[Preference]]) -> list[Preference]:
    """What was answered, each in the order of its question."""
    return [value for question in match.questions if (value := answers[question].value) is not None]


def _agreed(match: _Match, answers: dict[_Question, Verdict[Preference]]) -> Preference:
    """The preference in the order of the first question; a tie if the two questions disagree."""
    said = _said(match, answers)
    return "tie" if len(said) == 2 and said[0] != swap(said[1]) else said[0]


def _winner(pair: tuple[int, int], preference: Preference) -> int | None:
    return {"A": pair[0], "B": pair[1], "tie": None}[preference]


def _score(group: Group, compared: list[Comparison], failed: list[str], method: Method) -> GroupScores:
    chosen = distinct(group.candidates)
    if len(chosen) < 2:
        return GroupScores((0.0,) * len(group.candidates))
    # A candidate that was never compared must not count as an average one.
    known = sorted({index for i, j, _ in compared for index in (i, j)})
    place = {index: position for position, index in enumerate(known)}
    local: list[Comparison] = [(place[i], place[j], None if w is None else place[w]) for i, j, w in compared]
    values = dict(zip(known, score(method, len(known), local), strict=True))
    return GroupScores(
        spread(group.candidates, chosen, [values.get(index) for index in chosen]),
        tuple(failed),
        tuple(compared),
        solve_feedback_arc_set(len(known), local).conflicts if method == "dgr" else 0,
    )


def _bias(matches: Sequence[_Match], answers: dict[_Question, Verdict[Preference]]) -> dict[str, float]:
    pairs = [said for match in matches if len(said := _said(match, answers)) == 2]
    return {
        "pairs": len(pairs),
        "position_bias": share(sum(said in (["A", "A"], ["B", "B"]) for said in pairs), len(pairs)),
        "inconsistent": share(sum(first != swap(second) for first, second in pairs), len(pairs)),
    }
