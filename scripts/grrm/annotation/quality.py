"""How good a teacher's rankings are: agreement between orders, scores by system, position bias."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from itertools import combinations
from statistics import fmean, stdev
from typing import Any

from grrm.ranking import MAX_SCORE

_BINS = 10


def quality_of(groups: Sequence[Mapping[str, Any]], limit: float) -> dict[str, Any]:
    """Statistics of annotated groups.

    Args:
        groups: each with `systems` (of each candidate, names), `answers` (order and scores of each),
            `dropped`, `agreement` and `scores`.
        limit: of the agreement.

    Returns:
        `agreement` (of groups with an answer in every order: limit, mean, number, and groups by tenths),
        `systems` (of kept groups: candidates, mean score, and how often each score was given), `positions`,
        `sizes` and `tied_pairs` (of kept groups: share of pairs with equal scores).
    """
    answered = [group for group in groups if group["agreement"] is not None]
    kept = [group for group in groups if group["dropped"] is None]
    values = [group["agreement"] for group in answered]
    pairs = [one == other for group in kept for one, other in combinations(group["scores"], 2)]
    sizes = Counter(len(group["scores"]) for group in kept)
    return {
        "agreement": {
            "limit": limit,
            "n": len(values),
            "mean": fmean(values) if values else None,
            "tenths": tenths(values),
        },
        "systems": by_system(kept),
        "positions": by_position(answered),
        "sizes": dict(sorted(sizes.items())),
        "tied_pairs": sum(pairs) / len(pairs) if pairs else None,
    }


def tenths(values: Iterable[float]) -> list[int]:
    """How many shares lie in each tenth from 0 to 1; the last holds 1, too."""
    counts = [0] * _BINS
    for value in values:
        # Seven tenths are less by a hair as a number.
        counts[min(math.floor(value * _BINS + 1e-9), _BINS - 1)] += 1
    return counts


def by_system(kept: Iterable[Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    """Scores by system, best mean first; a candidate that several gave counts for each."""
    scores: dict[str, list[int]] = {}
    for group in kept:
        for systems, score in zip(group["systems"], group["scores"], strict=True):
            for name in systems:
                scores.setdefault(name, []).append(score)
    return {
        name: {
            "n": len(given),
            "mean": fmean(given),
            "counts": [given.count(score) for score in range(MAX_SCORE + 1)],
        }
        for name, given in sorted(scores.items(), key=lambda item: -fmean(item[1]))
    }


def by_position(answered: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """How much better a candidate is scored at a position than it is over all orders it was shown in.

    A teacher without a bias has 0 everywhere. Groups that were shown in one order say nothing.

    Returns:
        For each number of candidates and position (from 0): `n` scores, their mean `deviation` in points, and
        half of its 95 % interval (`margin`, normal approximation; None of a single score).
    """
    deviations: dict[tuple[int, int], list[float]] = {}
    for group in answered:
        if len(group["answers"]) < 2:
            continue
        means = [fmean(scores) for scores in zip(*(scores for _, scores in group["answers"]), strict=True)]
        for order, scores in group["answers"]:
            for position, candidate in enumerate(order):
                place = (len(order), position)
                deviations.setdefault(place, []).append(scores[candidate] - means[candidate])
    return [
        {
            "candidates": candidates,
            "position": position,
            "n": len(found),
            "deviation": fmean(found),
            "margin": _margin(found),
        }
        for (candidates, position), found in sorted(deviations.items())
    ]


def _margin(values: Sequence[float]) -> float | None:
    return 1.96 * stdev(values) / math.sqrt(len(values)) if len(values) > 1 else None
