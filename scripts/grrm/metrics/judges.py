"""How well a judge agrees with what is annotated: agreement, confusion, position bias, calibration.

An answer that cannot be used agrees with nothing; it is never left out of an agreement.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from grrm.metrics.bootstrap import Bootstrap, Stratum, mean, ratio
from grrm.metrics.preference_loss import preference_loss
from grrm.verdicts import HELPFULNESS, PREFERENCES, Preference, swap

Metrics = dict[str, tuple[Stratum, str]]

INVALID = "invalid"
_BINS = 5

_LOWEST, _HIGHEST = HELPFULNESS


@dataclass(frozen=True)
class JudgedPair:
    """A comparison in both orders.

    Attributes:
        reference: the annotated preference, in the first order.
        answers: what the judge said in the first order and in the other one, each in its own order; None
            where it gave no valid answer.
    """

    reference: Preference
    answers: tuple[Preference | None, Preference | None]

    @property
    def agreed(self) -> Preference | None:
        """The preference, in the first order: a tie if the orders disagree, None if an answer is missing."""
        first, second = self.answers
        if first is None or second is None:
            return None
        return first if first == swap(second) else "tie"


def score_pointwise(reference: Sequence[int], said: Sequence[int | None]) -> Metrics:
    """Statistics and signature of each metric of a judge that scores, by name.

    `agreement`: share of the very score; `within_one`: at most one point off; `mean_absolute_error` and
    `bias` (said less annotated) over valid answers; `valid_rate`.

    Raises:
        ValueError: there are no rows, or not as many answers.
    """
    if len(reference) != len(said) or not reference:
        raise ValueError(f"{len(said)} answers for {len(reference)} rows; expected one for each")
    valid = [float(answer is not None) for answer in said]
    errors = [0 if answer is None else answer - true for true, answer in zip(reference, said, strict=True)]
    pairs = list(zip(valid, errors, strict=True))
    metrics: Metrics = {
        "agreement": (mean([v * (e == 0) for v, e in pairs]), "agreement|exact|invalid:0|mean:rows"),
        "within_one": (mean([v * (abs(e) <= 1) for v, e in pairs]), "within_one|invalid:0|mean:rows"),
        "valid_rate": (mean(valid), "valid_rate|mean:rows"),
    }
    if any(valid):
        over = "mean:valid rows"
        metrics["mean_absolute_error"] = (
            ratio([abs(e) for _, e in pairs], valid),
            f"mean_absolute_error|{_LOWEST}-{_HIGHEST}|{over}",
        )
        metrics["bias"] = (ratio([e for _, e in pairs], valid), f"said - annotated|{over}")
    return metrics


def score_pairwise(pairs: Sequence[JudgedPair]) -> Metrics:
    """Statistics and signature of each metric of a judge that compares, by name; means over pairs.

    `agreement`: share of the answers, in either order, that say what is annotated; `agreement_both_orders`:
    of the pairs, with a disagreement of the orders taken for a tie; `position_bias`: pairs in which the same
    place won twice; `inconsistent`: pairs whose two answers disagree in any way; `says_first`: answers that
    prefer the response shown first; `valid_rate`.

    Raises:
        ValueError: there are no pairs.
    """
    if not pairs:
        raise ValueError("nothing to score: there are no pairs")
    right = [
        sum(
            answer == true
            for answer, true in zip(pair.answers, (pair.reference, swap(pair.reference)), strict=True)
        )
        / 2
        for pair in pairs
    ]
    both = [float(None not in pair.answers) for pair in pairs]
    biased = [float(pair.answers in (("A", "A"), ("B", "B"))) for pair in pairs]
    differ = [
        float(None not in pair.answers and (pair.agreed == "tie") and pair.answers != ("tie", "tie"))
        for pair in pairs
    ]
    first = [sum(answer == "A" for answer in pair.answers) for pair in pairs]
    valid = [sum(answer is not None for answer in pair.answers) for pair in pairs]
    metrics: Metrics = {
        "agreement": (mean(right), "agreement|both orders apart|invalid:0|mean:pairs"),
        "agreement_both_orders": (
            mean([pair.agreed == pair.reference for pair in pairs]),
            "agreement|both orders together, disagreement:tie|invalid:0|mean:pairs",
        ),
        "valid_rate": (mean([count / 2 for count in valid]), "valid_rate|mean:pairs"),
    }
    if any(both):
        metrics["position_bias"] = (ratio(biased, both), "same place wins twice|mean:pairs with two answers")
        metrics["inconsistent"] = (ratio(differ, both), "orders disagree|mean:pairs with two answers")
    if any(valid):
        metrics["says_first"] = (ratio(first, valid), "says A|mean:valid answers")
    return metrics


def score_bradley_terry(chosen: Sequence[float], rejected: Sequence[float]) -> Metrics:
    """Statistics and signature of each metric of a judge that gives numbers, by name; means over pairs.

    `agreement`: share of pairs whose chosen response scores higher (equal is wrong); `loss`: -log of the
    probability that it gives to what was chosen; `brier`: squared distance of that probability from 1.

    Raises:
        ValueError: there are no pairs, or not as many chosen as rejected.
    """
    preference_loss(chosen, rejected)  # checks the lengths
    margins = np.array(chosen, dtype=np.float64) - np.array(rejected, dtype=np.float64)
    probabilities = _sigmoid(margins)
    return {
        "agreement": (mean((margins > 0).astype(np.float64)), "agreement|ties:0|mean:pairs"),
        "loss": (mean(np.logaddexp(0.0, -margins)), "-log sigmoid(chosen - rejected)|mean:pairs"),
        "brier": (mean((1 - probabilities) ** 2), "(1 - sigmoid(chosen - rejected))^2|mean:pairs"),
        "valid_rate": (mean(np.isfinite(margins).astype(np.float64)), "valid_rate|mean:pairs"),
    }


# ---------------------------------------------------------------- details


def confusion(reference: Sequence[Any], said: Sequence[Any | None], values: Sequence[Any]) -> dict[str, Any]:
    """How often each value was said (columns; the last is no valid answer) where each is annotated (rows)."""
    columns = [*values, None]
    counts = [
        [
            sum(true == row and answer == column for true, answer in zip(reference, said, strict=True))
            for column in columns
        ]
        for row in values
    ]
    return {
        "annotated": [str(value) for value in values],
        "said": [*map(str, values), INVALID],
        "counts": counts,
    }


def pointwise_details(
    reference: Sequence[int], said: Sequence[int | None], bootstrap: Bootstrap
) -> dict[str, Any]:
    """Confusion, and calibration: the mean annotated score of the rows given each score."""
    values = list(range(_LOWEST, _HIGHEST + 1))
    calibration = []
    for value in values:
        found = [true for true, answer in zip(reference, said, strict=True) if answer == value]
        if found:
            calibration.append({"said": value, **asdict(bootstrap.estimate(mean(found)))})
    return {"confusion": confusion(reference, said, values), "calibration": calibration}


def pairwise_details(pairs: Sequence[JudgedPair], bootstrap: Bootstrap) -> dict[str, Any]:
    """Confusion over both orders, and calibration: how often each verdict was right where it was given."""
    reference = [true for pair in pairs for true in (pair.reference, swap(pair.reference))]
    said = [answer for pair in pairs for answer in pair.answers]
    calibration = []
    for verdict in PREFERENCES:
        per_pair = [
            [
                true == answer
                for true, answer in zip((p.reference, swap(p.reference)), p.answers, strict=True)
                if answer == verdict
            ]
            for p in pairs
        ]
        per_pair = [right for right in per_pair if right]
        if per_pair:
            # Both orders of a pair are resampled together.
            stratum = ratio([sum(right) for right in per_pair], [len(right) for right in per_pair])
            calibration.append({"said": verdict, **asdict(bootstrap.estimate(stratum))})
    return {"confusion": confusion(reference, said, PREFERENCES), "calibration": calibration}


def bradley_terry_details(
    chosen: Sequence[float], rejected: Sequence[float], bootstrap: Bootstrap
) -> dict[str, Any]:
    """Calibration: how often the response with the higher score is the chosen one, by the judge's confidence.

    `confidence` is the mean probability of the higher one in a bin of equal width from 0.5 to 1;
    `expected_calibration_error` the mean distance of the two, weighted by pairs.
    """
    margins = np.array(chosen, dtype=np.float64) - np.array(rejected, dtype=np.float64)
    confidences = _sigmoid(np.abs(margins))
    right = (margins > 0).astype(np.float64)
    bins = np.minimum(((confidences - 0.5) * 2 * _BINS).astype(int), _BINS - 1)
    calibration: list[Mapping[str, Any]] = []
    error = 0.0
    for number in range(_BINS):
        chosen_rows = bins == number
        if chosen_rows.any():
            estimate = bootstrap.estimate(mean(right[chosen_rows]))
            confidence = float(confidences[chosen_rows].mean())
            calibration.append({"confidence": confidence, **asdict(estimate)})
            error += abs(confidence - estimate.value) * estimate.n / len(margins)
    return {"calibration": calibration, "expected_calibration_error": error}


def _sigmoid(values: np.ndarray[Any, np.dtype[np.float64]]) -> np.ndarray[Any, np.dtype[np.float64]]:
    probabilities: np.ndarray[Any, np.dtype[np.float64]] = np.exp(-np.logaddexp(0.0, -values))
    return probabilities
