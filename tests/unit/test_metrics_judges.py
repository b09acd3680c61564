"""Agreement, confusion, position bias and calibration of judges."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from grrm.metrics.bootstrap import Bootstrap
from grrm.metrics.judges import (
    JudgedPair,
    Metrics,
    bradley_terry_details,
    pairwise_details,
    pointwise_details,
    score_bradley_terry,
    score_pairwise,
    score_pointwise,
)

GOLDEN = Path(__file__).parents[1] / "data/golden"
BOOTSTRAP = Bootstrap(200, 0)


def values(metrics: Metrics) -> dict[str, float]:
    return {name: BOOTSTRAP.estimate(stratum).value for name, (stratum, _) in metrics.items()}


def test_scores_that_are_right_near_and_missing() -> None:
    found = values(score_pointwise([4, 3, 0, 2], [4, 4, None, 0]))
    assert found == {
        "agreement": 0.25,
        "within_one": 0.5,
        "valid_rate": 0.75,
        "mean_absolute_error": 1.0,
        "bias": pytest.approx(-1 / 3),
    }
    assert "bias" not in score_pointwise([1], [None])
    details = pointwise_details([4, 3, 0, 2], [4, 4, None, 0], BOOTSTRAP)
    assert details["confusion"]["said"] == ["0", "1", "2", "3", "4", "invalid"]
    assert details["confusion"]["counts"][0] == [0, 0, 0, 0, 0, 1]
    assert [(row["said"], row["value"], row["n"]) for row in details["calibration"]] == [
        (0, 2, 1),
        (4, 3.5, 2),
    ]


@pytest.mark.parametrize(
    ("pair", "expected"),
    [
        # annotated, answers in both orders: agreement, both orders together, position bias, inconsistent
        (JudgedPair("A", ("A", "B")), (1, 1, 0, 0)),
        (JudgedPair("A", ("A", "A")), (0.5, 0, 1, 1)),
        (JudgedPair("B", ("B", "B")), (0.5, 0, 1, 1)),
        (JudgedPair("tie", ("A", "A")), (0, 1, 1, 1)),
        (JudgedPair("tie", ("tie", "tie")), (1, 1, 0, 0)),
        (JudgedPair("A", ("A", "tie")), (0.5, 0, 0, 1)),
        (JudgedPair("A", ("B", "A")), (0, 0, 0, 0)),
    ],
)
def test_pairs_in_both_orders(pair: JudgedPair, expected: tuple[float, ...]) -> None:
    found = values(score_pairwise([pair]))
    names = ("agreement", "agreement_both_orders", "position_bias", "inconsistent")
    assert tuple(found[name] for name in names) == expected


def test_a_missing_answer_is_neither_right_nor_biased() -> None:
    found = values(score_pairwise([JudgedPair("A", ("A", None)), JudgedPair("A", ("A", "B"))]))
    assert found["agreement"] == 0.75
    assert found["agreement_both_orders"] == 0.5
    assert found["valid_rate"] == 0.75
    assert found["position_bias"] == found["inconsistent"] == 0
    assert found["says_first"] == pytest.approx(2 / 3)
    assert set(values(score_pairwise([JudgedPair("tie", (None, None))]))) == {
        *("agreement", "agreement_both_orders", "valid_rate"),
    }


def test_confusion_and_calibration_of_comparisons() -> None:
    details = pairwise_details([JudgedPair("A", ("A", "A")), JudgedPair("tie", ("tie", None))], BOOTSTRAP)
    assert details["confusion"]["annotated"] == ["A", "B", "tie"]
    assert details["confusion"]["counts"] == [[1, 0, 0, 0], [1, 0, 0, 0], [0, 0, 1, 1]]
    assert [(row["said"], row["value"]) for row in details["calibration"]] == [("A", 0.5), ("tie", 1.0)]


def cases() -> list[dict[str, Any]]:
    return [json.loads(line) for line in (GOLDEN / "bt_loss.jsonl").read_text().splitlines()]


def test_loss_and_accuracy_are_those_published() -> None:
    for case in cases():
        found = values(score_bradley_terry(case["chosen"], case["rejected"]))
        assert found["loss"] == pytest.approx(case["loss"], rel=1e-9), case["id"]
        assert found["agreement"] == pytest.approx(case["accuracy"]), case["id"]


def test_calibration_of_a_judge_that_is_too_sure() -> None:
    details = bradley_terry_details([3.0, 0.0, 0.1], [0.0, 3.0, 0.0], BOOTSTRAP)
    low, high = details["calibration"]
    assert (low["n"], low["value"]) == (1, 1.0)
    assert (high["n"], high["value"]) == (2, 0.5)
    assert high["confidence"] == pytest.approx(0.9526, abs=1e-4)
    error = (abs(low["confidence"] - 1) + 2 * abs(high["confidence"] - 0.5)) / 3
    assert details["expected_calibration_error"] == pytest.approx(error)


def test_nothing_to_score() -> None:
    with pytest.raises(ValueError):
        score_pointwise([], [])
    with pytest.raises(ValueError):
        score_pairwise([])
    with pytest.raises(ValueError):
        score_bradley_terry([1.0], [])
