"""Ranking accuracy of a group judge, and what stands beside it: valid rate, tie policies, bias by position,
sensitivity to the order of candidates.

Everything here works on scores (higher is better) in the order of a group's candidates.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Literal

import numpy as np

from grrm.metrics.bootstrap import Stratum, mean, ratio

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


def accuracy(group: JudgedGroup, ties: TiePolicy = "strict", threshold: float = 0.0) -> float | None:
    """Share of candidate pairs that the judge orders as the reference does; 0 without a valid answer.

    Args:
        group: the group.
        ties: `strict`, as in the paper (4.1; `compare_orderings`): a tie must be answered by a tie. `half`:
            a tie on one side only counts one half. `untied`: only pairs that the reference does not tie;
            None if there are none.
        threshold: predicted scores that differ by no more than this count as tied.
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
        expected = _sign(group.reference[i] - group.reference[j])
        answered = _sign(group.predicted[i] - group.predicted[j], threshold)
        if expected == answered:
            credit += 1
        elif ties == "half" and 0 in (expected, answered):
            credit += 0.5
    return credit / len(pairs)


def tie_threshold(groups: Sequence[JudgedGroup]) -> float:
    """The threshold of `accuracy` at which its mean over the groups is highest; the smallest of several.

    Tie calibration (Deutsch et al. 2023, "Ties Matter"): it makes judges that never tie comparable with those
    that do. It is chosen on the very groups that are scored, so what it gives is an upper bound.
    """
    # Pairs turn from ordered to tied, in the order of their differences, as the threshold rises.
    differences, gains = [], []
    for group in groups:
        if group.predicted is None:
            continue
        pairs = list(combinations(range(len(group.reference)), 2))
        for i, j in pairs:
            expected = _sign(group.reference[i] - group.reference[j])
            difference = group.predicted[i] - group.predicted[j]
            if difference:
                differences.append(abs(difference))
                gains.append(((expected == 0) - (expected == _sign(difference))) / len(pairs))
    if not differences:
        return 0.0
    values, places = np.unique(differences, return_inverse=True)
    total = np.cumsum(np.bincount(places, weights=gains))
    best = int(np.argmax(total))
    # Gains within rounding of nothing are none.
    return float(values[best]) if total[best] > 1e-9 else 0.0


def score_rankings(
    groups: Sequence[JudgedGroup], threshold: float | None = None
) -> dict[str, tuple[Stratum, str]]:
    """Statistics and signature of each metric, by name; all are shares in [0, 1], means over groups.

    Names: `ranking_accuracy` (strict, the paper's; the WMT metrics task's acc_eq over groups),
    `ranking_accuracy_calibrated` (with the tie threshold), `ranking_accuracy_half_ties`,
    `ranking_accuracy_untied` (left out when the reference ties every pair), `valid_rate` (groups with a valid
    answer), `exact_share` (groups with every pair right).

    Args:
        groups: what to score.
        threshold: of the calibrated accuracy; None chooses it on these groups (`tie_threshold`).

    Raises:
        ValueError: there are no groups.
    """
    if not groups:
        raise ValueError("nothing to score: there are no groups")
    if threshold is None:
        threshold = tie_threshold(groups)
    strict = [accuracy(group) or 0.0 for group in groups]
    half = [accuracy(group, "half") or 0.0 for group in groups]
    calibrated = [accuracy(group, threshold=threshold) or 0.0 for group in groups]
    untied = [value for group in groups if (value := accuracy(group, "untied")) is not None]
    metrics = {
        "ranking_accuracy": (mean(strict), "ranking_accuracy|ties:strict|invalid:0|mean:groups"),
        "ranking_accuracy_calibrated": (
            mean(calibrated),
            f"ranking_accuracy|ties:calibrated|threshold:{threshold:g}|invalid:0|mean:groups",
        ),
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


def score_order_sensitivity(judgements: Sequence[Sequence[JudgedGroup]]) -> dict[str, tuple[Stratum, str]]:
    """How much the judge's answer depends on the order in which it sees the candidates.

    Names: `flipped_pairs` (share of candidate pairs that two judgements put in opposite orders) and
    `changed_pairs` (share that they relate differently, ties included); means over groups with at least two
    valid judgements in different orders, over all such pairs of judgements. Left out without such groups.

    Args:
        judgements: each of the same groups in the same sequence, with candidates shown in another order.
    """
    flipped, changed, counted = [], [], []
    for versions in zip(*judgements, strict=True):
        answers = [(group.predicted, group.order) for group in versions if group.predicted is not None]
        relations = [
            (_sign(one[i] - one[j]), _sign(other[i] - other[j]))
            # A shuffle may leave a small group as it was: that says nothing.
            for (one, one_order), (other, other_order) in combinations(answers, 2)
            if list(one_order) != list(other_order)
            for i, j in combinations(range(len(one)), 2)
        ]
        counted.append(float(bool(relations)))
        total = max(len(relations), 1)
        flipped.append(sum(one == -other != 0 for one, other in relations) / total)
        changed.append(sum(one != other for one, other in relations) / total)
    if not any(counted):
        return {}
    signature = f"orders:{len(judgements)}|mean:groups with valid answers in two orders"
    return {
        "flipped_pairs": (ratio(flipped, counted), f"flipped_pairs|{signature}"),
        "changed_pairs": (ratio(changed, counted), f"changed_pairs|{signature}"),
    }


def best_found_by_position(*judgements: Sequence[JudgedGroup]) -> dict[tuple[int, int], Stratum]:
    """Share of groups whose best candidate the judge ranks alone on top, by where it showed that candidate.

    Only groups with one best candidate count; an invalid answer has not found it. A judge without a bias
    finds it equally often at every position of groups of one size.

    Args:
        judgements: each of the same groups in the same sequence; a group that was judged several times counts
            with each of its judgements, but is resampled as one.

    Returns:
        (number of candidates, position of the best, from 0) -> statistics of one row per group.
    """

    def found(group: JudgedGroup, best: int) -> float:
        return float(group.predicted is not None and _unique_best(group.predicted) == best)

    return _by_position(judgements, found)


def accuracy_by_position(*judgements: Sequence[JudgedGroup]) -> dict[tuple[int, int], Stratum]:
    """Ranking accuracy (strict) by the position of the best candidate; else as `best_found_by_position`."""
    return _by_position(judgements, lambda group, best: accuracy(group) or 0.0)


def _by_position(
    judgements: Sequence[Sequence[JudgedGroup]], value: Callable[[JudgedGroup, int], float]
) -> dict[tuple[int, int], Stratum]:
    collected: dict[tuple[int, int], list[tuple[float, float]]] = {}
    for versions in zip(*judgements, strict=True):
        best = _unique_best(versions[0].reference)
        if best is None:
            continue
        here: dict[tuple[int, int], list[float]] = {}
        for group in versions:
            place = (len(group.reference), list(group.order).index(best))
            here.setdefault(place, []).append(value(group, best))
        for place, values in here.items():
            collected.setdefault(place, []).append((sum(values), len(values)))
    return {place: ratio(*zip(*collected[place], strict=True)) for place in sorted(collected)}


def _unique_best(scores: Sequence[float]) -> int | None:
    top = max(scores)
    return scores.index(top) if list(scores).count(top) == 1 else None


def _sign(difference: float, threshold: float = 0.0) -> int:
    return (difference > threshold) - (difference < -threshold)
