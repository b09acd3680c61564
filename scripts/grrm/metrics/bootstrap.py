"""Percentile bootstrap over segments or groups, from sufficient statistics.

A corpus score is a function of sums over segments (n-gram counts for BLEU; a sum and a count for a mean).
So a resample is a new set of sums, and nothing is tokenised or scored twice. Resampling depends only on the
number of segments and the seed: two systems on the same segments are resampled alike, which pairs them
(Koehn 2004).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
# From summed statistics, shape (k,), to a score.
Score = Callable[[Floats], float]

_CELLS = 4_000_000  # resampling counts held at once


@dataclass(frozen=True)
class Stratum:
    """Segments that are scored together.

    Attributes:
        statistics: shape (segments, k); what `score` needs, additive over segments.
        score: from summed statistics, shape (k,), to the score of those segments.
    """

    statistics: Floats
    score: Score

    def __post_init__(self) -> None:
        if self.statistics.ndim != 2 or not len(self.statistics):
            raise ValueError(f"statistics: shape {self.statistics.shape}, expected (segments > 0, k)")


@dataclass(frozen=True)
class Estimate:
    """A score, the bounds of its interval, and the number of segments it stands on."""

    value: float
    low: float
    high: float
    n: int


@dataclass(frozen=True)
class Bootstrap:
    """How intervals are made: number of resamples, seed, and level (0.95: 2.5th to 97.5th percentile)."""

    samples: int = 1000
    seed: int = 0
    level: float = 0.95

    def __post_init__(self) -> None:
        if self.samples < 1:
            raise ValueError(f"samples: {self.samples}, expected 1 or more")
        if not 0 < self.level < 1:
            raise ValueError(f"level: {self.level}, expected a number between 0 and 1")

    def estimate(self, *strata: Stratum) -> Estimate:
        """The unweighted mean of the strata's scores, each stratum resampled within itself."""
        return self._interval(_point(strata), self._resampled(strata), strata)

    def difference(self, baseline: Sequence[Stratum], system: Sequence[Stratum]) -> Estimate:
        """`system` minus `baseline`, resampled in pairs: segment i of both is the same segment.

        Raises:
            ValueError: the two do not have the same segments.
        """
        sizes = [[len(stratum.statistics) for stratum in strata] for strata in (baseline, system)]
        if sizes[0] != sizes[1]:
            raise ValueError(f"a paired difference needs the same segments, got {sizes[0]} and {sizes[1]}")
        differences = self._resampled(system) - self._resampled(baseline)
        return self._interval(_point(system) - _point(baseline), differences, system)

    def _resampled(self, strata: Sequence[Stratum]) -> Floats:
        generators = np.random.default_rng(self.seed).spawn(len(strata))
        scores = [
            [stratum.score(sums) for sums in _resampled_sums(stratum.statistics, self.samples, generator)]
            for stratum, generator in zip(strata, generators, strict=True)
        ]
        averaged: Floats = np.asarray(scores, dtype=np.float64).mean(axis=0)
        return averaged

    def _interval(self, value: float, resampled: Floats, strata: Sequence[Stratum]) -> Estimate:
        tail = (1 - self.level) / 2
        low, high = np.quantile(resampled, [tail, 1 - tail])
        return Estimate(value, float(low), float(high), sum(len(stratum.statistics) for stratum in strata))


def mean(values: Sequence[float] | Floats) -> Stratum:
    """The mean of one value per segment."""
    column = np.asarray(values, dtype=np.float64)
    return ratio(column, np.ones_like(column))


def ratio(numerators: Sequence[float] | Floats, denominators: Sequence[float] | Floats) -> Stratum:
    """The sum of the numerators over the sum of the denominators; nan where the latter is 0."""
    return Stratum(
        np.column_stack([numerators, denominators]).astype(np.float64),
        lambda sums: float(sums[0] / sums[1]) if sums[1] else float("nan"),
    )


def _point(strata: Sequence[Stratum]) -> float:
    if not strata:
        raise ValueError("nothing to score")
    return float(np.mean([stratum.score(stratum.statistics.sum(axis=0)) for stratum in strata]))


def _resampled_sums(statistics: Floats, samples: int, generator: np.random.Generator) -> Floats:
    """Sums over `samples` resamples with replacement, shape (samples, k)."""
    n = len(statistics)
    chunk = max(1, _CELLS // n)
    sums: list[Floats] = []
    for start in range(0, samples, chunk):
        counts = generator.multinomial(n, np.full(n, 1 / n), size=min(chunk, samples - start))
        sums.append(counts @ statistics)
    return np.concatenate(sums)
