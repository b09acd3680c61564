"""How far grades agree with what is annotated about the responses."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from grrm.data.records import Candidates
from grrm.inference.judge_backend import Use
from grrm.judges.card import Pairwise, Pointwise
from grrm.metrics.bootstrap import Bootstrap, Stratum, mean
from grrm.metrics.ranking_accuracy import JudgedGroup, accuracy
from grrm.verdicts import Preference

Scores = Sequence[float | None]

# As scores that say the same.
_AS_POINTS: dict[Preference, tuple[float, float]] = {"A": (1, 0), "B": (0, 1), "tie": (0, 0)}


class Agreement:
    """Collects grades, and says in words (`str`) how far they agree with the labels.

    - preferences: share of the pairs of responses that the grades order as the labels do, ties too; of a row
      with an annotated preference, or with annotated points of all of two or more responses;
    - the very points, of a judge that gives points; and their correlation (Pearson), of one that scores each
      response by itself.

    A response without a grade agrees with nothing, but is left out of the correlation. Intervals (95 %) are
    by bootstrap over rows.

    Args:
        rows: what is annotated about each.
        used: how the judge is used.
    """

    def __init__(self, rows: Sequence[Candidates], used: Use) -> None:
        self._rows, self._used = rows, used
        self._ordered: dict[int, list[float]] = {}
        self._exact: dict[int, list[float]] = {}
        self._products: dict[int, npt.NDArray[np.float64]] = {}

    def add(self, index: int, scores: Scores) -> None:
        """Count the grades of a row."""
        row = self._rows[index]
        if (true := _order(row)) is not None:
            said = None if None in scores else [float(score or 0) for score in scores]
            share = accuracy(JudgedGroup(true, said, range(len(true))))
            self._ordered.setdefault(index, []).append(share or 0.0)
        if isinstance(self._used, Pairwise) or not row.points:
            return
        for point, score in zip(row.points, scores, strict=True):
            if point is None:
                continue
            self._exact.setdefault(index, []).append(float(score == point))
            if score is not None:
                sums = self._products.setdefault(index, np.zeros(6))
                sums += [1, point, score, point * point, score * score, point * score]

    def watching(self, results: Iterator[tuple[int, Any]], rows: Sequence[int]) -> Iterator[tuple[int, Any]]:
        """The results (position and grade) as they come; `rows` has the row of each position."""
        for position, grade in results:
            self.add(rows[position], grade.scores)
            yield position, grade

    def __str__(self) -> str:
        parts = []
        if self._ordered:
            shares = mean([sum(values) / len(values) for values in self._ordered.values()])
            parts.append(_words("preferences", shares, len(self._ordered)))
        responses = sum(map(len, self._exact.values()))
        if self._exact and isinstance(self._used, Pointwise):
            shares = mean([sum(values) / len(values) for values in self._exact.values()])
            parts.append(_words("the very points", shares, responses))
        if len(self._products) > 1:
            correlation = Stratum(np.array(list(self._products.values())), _pearson)
            if math.isfinite(correlation.value):
                graded = int(correlation.statistics[:, 0].sum())
                parts.append(_words("correlation of points", correlation, graded, percent=False))
        return f"agreement with the labels: {'; '.join(parts)}" if parts else ""


def _order(row: Candidates) -> Sequence[float] | None:
    """The annotated order of the responses, as scores."""
    if row.preference is not None:
        return _AS_POINTS[row.preference]
    known = [point for point in row.points if point is not None]
    return known if len(known) == len(row.responses) > 1 else None


def _pearson(sums: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    n, x, y, xx, yy, xy = sums.T
    spread = (n * xx - x * x) * (n * yy - y * y)
    result = np.full(len(sums), np.nan)
    np.divide(n * xy - x * y, np.sqrt(np.maximum(spread, 0)), out=result, where=spread > 1e-9)
    return result


def _words(name: str, stratum: Stratum, n: int, *, percent: bool = True) -> str:
    found = Bootstrap().estimate(stratum)
    value, low, high = (100 * x if percent else x for x in (found.value, found.low, found.high))
    digits, unit = (1, " %") if percent else (2, "")
    return f"{name} {value:.{digits}f}{unit} [{low:.{digits}f}, {high:.{digits}f}], n = {n}"
