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

from grrm.files import UserError

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]
# From summed statistics, shape (m, k), to m scores.
Score = Callable[[Floats], Floats]

# Where some segments do not count, that many must: with few of them many resamples have none at all.
FEWEST = 10

_CELLS = 4_000_000  # resampling counts held at once


@dataclass(frozen=True)
class Stratum:
    """Segments that are scored together.

    Attributes:
        statistics: shape (segments, k); what `score` needs, additive over segments.
        score: from summed statistics, one row per resample, to one score per row.
        counted: shape (segments,); whether the score stands on a segment, or would be the same without it.
            None: it stands on all of them.
    """

    statistics: Floats
    score: Score
    counted: Bools | None = None

    def __post_init__(self) -> None:
        if self.statistics.ndim != 2 or not len(self.statistics):
            raise ValueError(f"statistics: shape {self.statistics.shape}, expected (segments > 0, k)")
        if self.counted is not None and self.counted.shape != (len(self.statistics),):
            raise ValueError(f"counted: shape {self.counted.shape}, expected ({len(self.statistics)},)")

    @property
    def rows(self) -> Bools:
        """`counted`, where it is given; else all segments."""
        return np.ones(len(self.statistics), dtype=np.bool_) if self.counted is None else self.counted

    @property
    def value(self) -> float:
        """The score of all segments."""
        return float(self.score(self.statistics.sum(axis=0, keepdims=True))[0])


@dataclass(frozen=True)
class Estimate:
    """A score, the bounds of its interval, and the number of segments it stands on."""

    value: float
    low: float
    high: float
    n: int


@dataclass(frozen=True)
class Resampled:
    """A score, shape (samples,) of what it was in resamples, and which segments it stands on, shape (n,)."""

    value: float
    scores: Floats
    counted: Bools

    @property
    def n(self) -> int:
        """The number of segments it stands on."""
        return int(self.counted.sum())

    @property
    def too_few(self) -> bool:
        """Whether so few segments count that resampling says nothing about the others."""
        return self.n < min(FEWEST, len(self.counted))

    def __sub__(self, baseline: Resampled) -> Resampled:
        """The paired difference; both must have been resampled alike. It stands on what counts in both."""
        counted = self.counted & baseline.counted
        return Resampled(self.value - baseline.value, self.scores - baseline.scores, counted)


@dataclass(frozen=True)
class Bootstrap:
    """How intervals are made: number of resamples, seed, and level (0.95: 2.5th to 97.5th percentile)."""

    samples: int = 1000
    seed: int = 0
    level: float = 0.95

    def __post_init__(self) -> None:
        if self.samples < 1:
            raise UserError(f"samples of the bootstrap are {self.samples}, expected 1 or more")
        if self.seed < 0:
            raise UserError(f"seed of the bootstrap is {self.seed}, expected 0 or more")
        if not 0 < self.level < 1:
            raise ValueError(f"level: {self.level}, expected a number between 0 and 1")

    def resample(self, strata: Sequence[Stratum], stream: int = 0) -> list[Resampled]:
        """Each stratum in all resamples; strata of as many segments are resampled alike (drawn once).

        Args:
            strata: what to score.
            stream: another one resamples apart.
        """
        resampled: dict[int, Resampled] = {}
        for size in dict.fromkeys(len(stratum.statistics) for stratum in strata):
            alike = [i for i, stratum in enumerate(strata) if len(stratum.statistics) == size]
            generator = np.random.default_rng(np.random.SeedSequence(self.seed, spawn_key=(stream,)))
            ends = np.cumsum([strata[i].statistics.shape[1] for i in alike])
            sums = _resampled_sums(np.hstack([strata[i].statistics for i in alike]), self.samples, generator)
            for i, part in zip(alike, np.split(sums, ends[:-1], axis=1), strict=True):
                resampled[i] = Resampled(strata[i].value, strata[i].score(part), strata[i].rows)
        return [resampled[i] for i in range(len(strata))]

    def interval(self, resampled: Resampled) -> Estimate:
        """The percentile interval."""
        tail = (1 - self.level) / 2
        # A ratio may have nothing below it in a few resamples.
        low, high = np.nanquantile(resampled.scores, [tail, 1 - tail])
        return Estimate(resampled.value, float(low), float(high), resampled.n)

    def p_value(self, difference: Resampled) -> float:
        """Two-sided p-value of a paired difference under the null hypothesis that there is none.

        The resampled differences are moved to a mean of 0; counted are those at least as far from it, on
        either side, as the difference itself (Riezler and Maxwell 2005). sacreBLEU's paired bootstrap counts
        one side, so its values are about half of these. Resamples without a score (a ratio with nothing below
        it) say nothing for or against it.
        """
        centred = np.abs(difference.scores - np.nanmean(difference.scores))
        # Rounding must not make equal differences unequal.
        beyond = int(np.sum(centred >= abs(difference.value) - 1e-12))
        return (beyond + 1) / (int(np.isfinite(centred).sum()) + 1)

    def estimate(self, *strata: Stratum) -> Estimate:
        """The unweighted mean of the strata's scores, each stratum resampled within itself."""
        return self.interval(self._averaged(strata))

    def difference(self, baseline: Sequence[Stratum], system: Sequence[Stratum]) -> Estimate:
        """`system` minus `baseline`, resampled in pairs: segment i of both is the same segment.

        Raises:
            ValueError: the two do not have the same segments.
        """
        sizes = [[len(stratum.statistics) for stratum in strata] for strata in (baseline, system)]
        if sizes[0] != sizes[1]:
            raise ValueError(f"a paired difference needs the same segments, got {sizes[0]} and {sizes[1]}")
        return self.interval(self._averaged(system) - self._averaged(baseline))

    def _averaged(self, strata: Sequence[Stratum]) -> Resampled:
        return average([self.resample([stratum], i)[0] for i, stratum in enumerate(strata)])


def average(parts: Sequence[Resampled]) -> Resampled:
    """The unweighted mean of scores that were resampled apart.

    Raises:
        ValueError: there are none.
    """
    if not parts:
        raise ValueError("nothing to score")
    scores: Floats = np.mean([part.scores for part in parts], axis=0)
    counted = np.concatenate([part.counted for part in parts])
    return Resampled(float(np.mean([part.value for part in parts])), scores, counted)


def over_runs(runs: Sequence[Stratum]) -> Stratum:
    """The mean of several runs' scores on the same segments; a resample takes the same segments of each run.

    It stands on the segments that count in any of the runs.

    Raises:
        ValueError: there are no runs, or they do not have the same number of segments.
    """
    if len({len(run.statistics) for run in runs}) != 1:
        raise ValueError(f"runs on {[len(run.statistics) for run in runs]} segments, expected equal numbers")
    if len(runs) == 1:
        return runs[0]
    ends = np.cumsum([run.statistics.shape[1] for run in runs])

    def score(sums: Floats) -> Floats:
        parts = np.split(sums, ends[:-1], axis=1)
        mean_score: Floats = np.mean([run.score(part) for run, part in zip(runs, parts, strict=True)], axis=0)
        return mean_score

    counted = np.logical_or.reduce([run.rows for run in runs])
    return Stratum(np.hstack([run.statistics for run in runs]), score, counted)


def mean(values: Sequence[float] | Floats) -> Stratum:
    """The mean of one value per segment."""
    column = np.asarray(values, dtype=np.float64)
    return ratio(column, np.ones_like(column))


def mean_of_known(values: Sequence[float | None]) -> Stratum:
    """The mean of the values that are there; None is left out."""
    known = [value is not None for value in values]
    return ratio([0.0 if value is None else value for value in values], np.asarray(known, dtype=np.float64))


def ratio(numerators: Sequence[float] | Floats, denominators: Sequence[float] | Floats) -> Stratum:
    """The sum of the numerators over the sum of the denominators; nan where the latter is 0.

    A segment with a denominator of 0 does not count.
    """
    statistics = np.column_stack([numerators, denominators]).astype(np.float64)
    return Stratum(statistics, _divide, statistics[:, 1] != 0)


def _divide(sums: Floats) -> Floats:
    quotients = np.full(len(sums), np.nan)
    np.divide(sums[:, 0], sums[:, 1], out=quotients, where=sums[:, 1] != 0)
    return quotients


def _resampled_sums(statistics: Floats, samples: int, generator: np.random.Generator) -> Floats:
    """Sums over `samples` resamples with replacement, shape (samples, k)."""
    n = len(statistics)
    chunk = max(1, _CELLS // n)
    sums: list[Floats] = []
    for start in range(0, samples, chunk):
        counts = generator.multinomial(n, np.full(n, 1 / n), size=min(chunk, samples - start))
        sums.append(counts.astype(np.float64) @ statistics)
    return np.concatenate(sums)
