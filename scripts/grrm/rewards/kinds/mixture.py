"""Several kinds of reward, weighted.

The points of a candidate are the mean of those of its parts, by weight, so that they go from 0 to 10 like
those of any kind. A part that is normalised in its group counts 5 + z points, z being the distance from the
mean of the group in (population) standard deviations: at most 5 in a group of 26. Then only who is better
by how much of the spread matters, not the width of a part's scale.
"""

from __future__ import annotations

import asyncio
import math
import statistics
from collections.abc import Sequence

from grrm.judges.groups import Group, GroupScores, Judged, common_metrics, share
from grrm.rewards.kinds.options import MIDDLE, Part, ScoringOptions
from grrm.rewards.kinds.scorer import Scorer
from grrm.rewards.kinds.scoring import Asking, Scoring

Points = tuple[float | None, ...]

_NO_SPREAD = 1e-6
"""Points within which candidates count as equal."""


def load(options: ScoringOptions, asking: Asking) -> Scoring:
    """Raises UserError if a part cannot be used; the message names it."""
    scorers = [Scorer(part.options, asking=asking if part.options.served else None) for part in options.parts]

    async def score(groups: Sequence[Group]) -> Judged:
        judged = await asyncio.gather(*[scorer.score_groups(groups) for scorer in scorers])
        results = []
        for number, group in enumerate(groups):
            own = [result.groups[number] for result in judged]
            points = [tuple(s.points(r.scores)) for s, r in zip(scorers, own, strict=True)]
            results.append(_mixed(options.parts, own, points, len(group.candidates)))
        return Judged(tuple(results), _figures(results, judged))

    async def close() -> None:
        for scorer in scorers:
            await scorer.close()

    columns = frozenset[str]().union(*[scorer.columns for scorer in scorers])
    return Scoring(score, close=close, columns=columns)


def normalised(points: Sequence[float | None]) -> Points:
    """5 + the distance of each from the mean in standard deviations; what is None stays None."""
    known = [value for value in points if value is not None]
    mean, spread = (statistics.fmean(known), statistics.pstdev(known)) if known else (0.0, 0.0)
    if spread < _NO_SPREAD:
        return tuple(None if value is None else MIDDLE for value in points)
    return tuple(None if value is None else MIDDLE + (value - mean) / spread for value in points)


def _mixed(
    parts: Sequence[Part], results: Sequence[GroupScores], points: Sequence[Points], size: int
) -> GroupScores:
    counted = [
        normalised(own) if part.normalise == "group" else own for part, own in zip(parts, points, strict=True)
    ]
    total = math.fsum(part.weight for part in parts)

    def mean(index: int) -> float | None:
        weighed = [(part.weight, own[index]) for part, own in zip(parts, counted, strict=True)]
        known = [weight * value for weight, value in weighed if value is not None]
        return math.fsum(known) / total if len(known) == len(parts) else None

    answers = [result.answer for result in results if result.answer is not None]
    return GroupScores(
        tuple(mean(index) for index in range(size)),
        tuple(
            f"{part.name}: {failure}"
            for part, result in zip(parts, results, strict=True)
            for failure in result.failures
        ),
        frozenset[int]().union(*[result.unreadable for result in results]),
        answer=answers[0] if answers else None,
        retries=sum(result.retries for result in results),
        parts={part.name: own for part, own in zip(parts, points, strict=True)},
    )


def _figures(results: Sequence[GroupScores], judged: Sequence[Judged]) -> dict[str, float]:
    def total(name: str, weight: str = "") -> float:
        return sum(
            own.metrics.get(name, 0.0) * (own.metrics.get(weight, 0.0) if weight else 1) for own in judged
        )

    pairs = total("pairs")
    return {
        **common_metrics(results, int(total("judgements")), int(total("failed"))),
        "ties": total("ties"),
        "conflicts": total("conflicts"),
        "pairs": pairs,
        "position_bias": share(total("position_bias", "pairs"), pairs),
        "inconsistent": share(total("inconsistent", "pairs"), pairs),
    }
