"""The benchmark that holds demonstrations against marks: what it reads of a summary, when a mark is met."""

from __future__ import annotations

from typing import Any

import pytest
from demo_learning import MARKS, Gain, Mark, gain_of, gain_of_judge

from grrm.catalogue.metrics import METRICS


def estimate(value: float, low: float, high: float) -> dict[str, Any]:
    return {"value": value, "low": low, "high": high, "n": 300}


SUMMARY: dict[str, Any] = {
    "scores": [
        {"system": "grrm_sft", "metric": "ranking_accuracy", **estimate(0.6, 0.5, 0.7)},
        {"system": "grrm_rlvr", "metric": "ranking_accuracy", **estimate(0.8, 0.7, 0.9)},
    ],
    "differences": [
        {
            "baseline": "grrm_sft",
            "system": "grrm_rlvr",
            "metric": "ranking_accuracy",
            **estimate(0.2, 0.1, 0.3),
        }
    ],
    "reward_kinds": {
        "kinds": [
            {"kind": "grrm", "metrics": {"bleu": estimate(99, 98, 100)}, "to_first": None},
            {
                "kind": "before_rlvr",
                "metrics": {"bleu": estimate(69, 65, 73)},
                "to_first": {"bleu": estimate(-30, -35, -25)},
            },
        ]
    },
}


def test_what_rlvr_changed_is_read_in_pairs() -> None:
    assert gain_of(SUMMARY, "ranking_accuracy") == Gain(0.6, 0.8, 0.2, 0.1, 0.3)


def test_the_judge_after_rlvr_is_ahead_by_what_the_one_before_lacks() -> None:
    assert gain_of_judge(SUMMARY, "bleu") == Gain(before=69, after=99, value=30, low=25, high=35)


@pytest.mark.parametrize(
    ("mark", "value", "low", "high", "met"),
    [
        (Mark("m", gain=10), 0.12, 0.01, 0.2, True),
        (Mark("m", gain=10), 0.09, 0.01, 0.2, False),
        (Mark("m"), 0.02, 0.0, 0.04, False),
        (Mark("m", claimed=False), -0.03, -0.05, -0.01, True),
        (Mark("m", points=1, gain=20), 21, 0.5, 40, True),
    ],
)
def test_a_mark_is_met_by_a_gain_and_its_interval(
    mark: Mark, value: float, low: float, high: float, met: bool
) -> None:
    assert mark.is_met(Gain(0, 0, value, low, high)) == met


def test_marks_are_of_metrics_that_there_are_and_all_but_one_are_claimed() -> None:
    assert {mark.metric for mark in MARKS} <= METRICS.keys()
    assert [mark.metric for mark in MARKS if not mark.claimed] == ["valid_rate"]
