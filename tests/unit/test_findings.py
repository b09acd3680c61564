"""What a reader is told first: what became better or worse, and what deserves a second look."""

from __future__ import annotations

from typing import Any

import pytest

from grrm.config import load_experiment
from grrm.report.findings import changes, to_look_at
from report_example import ROOT

CONFIGURATION = load_experiment(ROOT)


def difference(
    metric: str, value: float, half: float = 0.01, task: str = "ranking", system: str = "grrm_rlvr"
) -> dict[str, Any]:
    low, high = value - half, value + half
    return {
        "task": task,
        "system": system,
        "metric": metric,
        "value": value,
        "low": low,
        "high": high,
        "excludes_zero": low > 0 or high < 0,
    }


def summary(*differences: dict[str, Any], **other: Any) -> dict[str, Any]:
    return {
        "configuration": CONFIGURATION,
        "differences": list(differences),
        "scores": [],
        "leakage": {"passed": True},
        "hacking": None,
        "paper": None,
    } | other


def test_metrics_are_sorted_by_whether_they_became_better_beyond_their_interval() -> None:
    found = changes(
        summary(
            difference("ranking_accuracy", 0.196),
            difference("ranking_accuracy_untied", -0.058),
            difference("valid_rate", -0.003),
        ),
        "ranking",
    )
    assert found == {
        "system": "Judge after RLVR",
        "better": "Ranking accuracy +19.6",
        "worse": "Ranking accuracy, pairs without ties −5.8",
        "unclear": 1,
    }


def test_fewer_flipped_pairs_are_better() -> None:
    found = changes(summary(difference("flipped_pairs", -0.2)), "ranking")
    assert found is not None
    assert (found["better"], found["worse"]) == ("Pairs flipped by another order −20.0", "")


def test_of_many_metrics_three_are_named() -> None:
    metrics = (
        "ranking_accuracy",
        "ranking_accuracy_calibrated",
        "exact_share",
        "valid_rate",
        "changed_pairs",
    )
    found = changes(summary(*(difference(metric, 0.1) for metric in metrics[:4])), "ranking")
    assert found is not None
    assert found["better"] == (
        "Ranking accuracy +10.0, Ranking accuracy, ties calibrated +10.0, Groups ranked exactly +10.0, 1 more"
    )


def test_a_metric_without_a_better_direction_is_not_told() -> None:
    assert changes(summary(difference("length_ratio", 0.1, task="translation")), "translation") is None


def test_without_a_comparison_nothing_changed() -> None:
    assert changes(summary(), "ranking") is None


def test_nothing_stands_out() -> None:
    assert to_look_at(summary(difference("ranking_accuracy", 0.2), difference("valid_rate", -0.003))) == []


SCORE = {"task": "translation", "system": "mt_grpo"}


@pytest.mark.parametrize(
    ("other", "section", "text"),
    [
        (
            {"leakage": {"passed": False}},
            "leakage",
            "A test set shares more of its rows with what is trained on than it may.",
        ),
        (
            {"hacking": {"suspicious": True}},
            "hacking",
            "The judge's reward rose while a metric that it never sees became worse.",
        ),
        (
            {"differences": [difference("ranking_accuracy_untied", -0.058)]},
            "results",
            "Ranking accuracy, pairs without ties: −5.8 [−6.8, −4.8].",
        ),
        (
            {"scores": [SCORE | {"failure_rate": 0.051}]},
            "results",
            "Translator after GRPO: 5.1 % of its answers cannot be used.",
        ),
        (
            {"paper": {"cells": [{"verdict": name} for name in ("below", "above", "reproduced", "not_run")]}},
            "paper",
            "1 of 3 published numbers lie above our interval.",
        ),
    ],
)
def test_what_deserves_a_second_look_names_its_section(
    other: dict[str, Any], section: str, text: str
) -> None:
    assert to_look_at(summary(**other)) == [{"section": section, "text": text}]


def test_five_unusable_answers_of_a_hundred_are_no_news() -> None:
    assert to_look_at(summary(scores=[SCORE | {"failure_rate": 0.05}])) == []
