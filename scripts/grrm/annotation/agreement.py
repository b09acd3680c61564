"""In which orders a group is shown to a teacher, and what its answers come to."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from statistics import fmean, median_low

from grrm.ranking import Ranking, labels, rank_scores, ranking_accuracy

Scores = Sequence[float]


@dataclass(frozen=True)
class Decision:
    """What becomes of a group that a teacher has answered about in every order.

    Attributes:
        agreement: share of candidate pairs in the same relation, mean over pairs of orders, 0 to 1.
        scores: of the candidates: medians, whole numbers from 0 to 10.
        chosen: number of the answer that is closest to these scores, whose analysis goes with them.
    """

    agreement: float
    scores: list[int]
    chosen: int


def seeded_orders(candidates: int, count: int, rng: random.Random) -> list[list[int]]:
    """Different orders of candidates, each second one the reverse of the first: every pair changes sides.

    Args:
        candidates: how many.
        count: how many orders are wanted; there are no more than the candidates allow.
        rng: draws them.
    """
    orders: list[list[int]] = []
    wanted = min(count, math.factorial(candidates))
    while len(orders) < wanted:
        drawn = rng.sample(range(candidates), candidates)
        orders += [order for order in (drawn, drawn[::-1]) if order not in orders]
    return orders[:wanted]


def decide(answers: Sequence[Scores]) -> Decision:
    """What several answers about one group come to.

    Args:
        answers: one or more; each has the scores of the candidates, in the same sequence.
    """
    medians = [_whole(median_low(scores)) for scores in zip(*answers, strict=True)]
    chosen = min(range(len(answers)), key=lambda number: _remoteness(answers[number], medians))
    return Decision(agreement(answers), medians, chosen)


def agreement(answers: Sequence[Scores]) -> float:
    """Share of candidate pairs in the same relation, mean over pairs of answers; 1 of a single one."""
    pairs = list(combinations([_ranking(scores) for scores in answers], 2))
    return fmean(ranking_accuracy(*pair) for pair in pairs) if pairs else 1.0


def _whole(score: float) -> int:
    """The nearest whole number, half a point up: what a GRRM is trained to write."""
    return math.floor(score + 0.5)


def _remoteness(scores: Scores, medians: Scores) -> tuple[float, float]:
    """How far an answer is from the medians: pairs in another relation, then points."""
    points = sum(abs(one - other) for one, other in zip(scores, medians, strict=True))
    return -ranking_accuracy(_ranking(scores), _ranking(medians)), points


def _ranking(scores: Scores) -> Ranking:
    return rank_scores(dict(zip(labels(len(scores)), scores, strict=True)))
