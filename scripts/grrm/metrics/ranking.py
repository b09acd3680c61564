"""Ranking accuracy of a group judge, and what stands beside it: valid rate, tie policies, bias by position.

Everything here works on scores (higher is better) in the order of a group's candidates.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Literal

from grrm.metrics.bootstrap import Stratum, mean

TiePolicy = Literal["strict", "half", "untied"]


@dataclass(frozen=True)
class JudgedGroup:
    """One group and what the judge made of it.

    Attributes:
        reference: true scores of the candidates (two or more).
        predicted: the judge's scores, in the same order; None when there is no valid answer.
        order: order in which the judge saw the candidates: `order[p]` is the candidate at position p.
    """

    reference: Sequence[float]
    predicted: Sequence[float] | None
    order: Sequence[int]

    def __post_init__(self) -> None:
        n = len(self.reference)
        if n < 2:
            raise ValueError(f"reference: {n} scores, expected 2 or more")
        if self.predicted is not None and len(self.predicted) != n:
            raise ValueError(f"predicted: {len(self.predicted)} scores for {n} candidates")
        if sorted(self.order) != list(range(n)):
            raise ValueError(f"order: {list(self.order)}, expected a permutation of 0..{n - 1}")


def accuracy(group: JudgedGroup, ties: TiePolicy = "strict") -> float | None:
    """Share of candidate pairs that the judge orders as the reference does; 0 without a valid answer.

    Args:
        group: the group.
        ties: `strict`, as in the paper (4.1; `compare_orderings`): a tie must be answered by a tie. `half`:
            a tie on one side only counts one half. `untied`: only pairs that the reference does not tie;
            None if there are none.
    """
    pairs = list(combinations(range(len(group.reference)), 2))
    if ties == "untied":
        pairs = [(i, j) for i, j in pairs if group.reference[i] != group.reference[j]]
    if not pairs:
        return None
    if group.predicted is None:
        return 0.0
    credit = 0.0
    for i, j in pairs:
        expected, answered = (_sign(scores[i] - scores[j]) for scores in (group.reference, group.predicted))
        if expected == answered:
            credit += 1
        elif ties == "half" and 0 in (expected, answered):
            credit += 0.5
    return credit / len(pairs)


def score_rankings(groups: Sequence[JudgedGroup]) -> dict[str, tuple[Stratum, str]]:
    """Statistics and signature of each metric, by name; all are shares in [0, 1], means over groups.

    Names: `ranking_accuracy` (strict, the paper's), `ranking_accuracy_half_ties`, `ranking_accuracy_untied`
    (left out when the reference ties every pair), `valid_rate` (groups with a valid answer), `exact_share`
    (groups with every pair right).

    Raises:
        ValueError: there are no groups.
    """
    if not groups:
        raise ValueError("nothing to score: there are no groups")
    strict = [accuracy(group) or 0.0 for group in groups]
    half = [accuracy(group, "half") or 0.0 for group in groups]
    untied = [value for group in groups if (value := accuracy(group, "untied")) is not None]
    metrics = {
        "ranking_accuracy": (mean(strict), "ranking_accuracy|ties:strict|invalid:0|mean:groups"),
        "ranking_accuracy_half_ties": (mean(half), "ranking_accuracy|ties:half|invalid:0|mean:groups"),
        "valid_rate": (mean([group.predicted is not None for group in groups]), "valid_rate|mean:groups"),
        "exact_share": (
            mean([value == 1.0 for value in strict]),
            "exact_share|ties:strict|invalid:0|mean:groups",
        ),
    }
    if untied:
        signature = "ranking_accuracy|pairs:untied|invalid:0|mean:groups with such pairs"
        metrics["ranking_accuracy_untied"] = (mean(untied), signature)
    return metrics


def best_found_by_position(groups: Sequence[JudgedGroup]) -> dict[tuple[int, int], Stratum]:
    """Share of groups whose best candidate the judge ranks alone on top, by where it showed that candidate.

    Only groups with one best candidate count; an invalid answer has not found it. A judge without a bias
    finds it equally often at every position of groups of one size.

    Returns:
        (number of candidates, position of the best, from 0) -> one value per group.
    """
    found: dict[tuple[int, int], list[bool]] = {}
    for group in groups:
        best = _unique_best(group.reference)
        if best is None:
            continue
        place = (len(group.reference), list(group.order).index(best))
        answered = None if group.predicted is None else _unique_best(group.predicted)
        found.setdefault(place, []).append(answered == best)
    return {place: mean(found[place]) for place in sorted(found)}


def _unique_best(scores: Sequence[float]) -> int | None:
    top = max(scores)
    return scores.index(top) if list(scores).count(top) == 1 else None


def _sign(difference: float) -> int:
    return (difference > 0) - (difference < 0)
