"""The page's panels about training: curves of the stages, and the reward beside metrics that never see it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from markupsafe import Markup

from grrm.catalogue.metrics import Metric, known_metrics
from grrm.catalogue.trainings import TRAININGS
from grrm.report.charts import Line, line_chart
from grrm.report.hacking import independent
from grrm.report.numbers import number, significant


def stage_panel(name: str, curves: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The curves of a stage as charts."""
    return {
        "name": name,
        "title": TRAININGS[name].title if name in TRAININGS else name,
        "curves": curves,
        "charts": [
            _chart(
                curve["title"],
                [Line(curve["title"], curve["steps"], curve["values"])],
                metric=curve["metric"],
                smoothed=True,
            )
            for curve in curves
        ],
    }


def _chart(title: str, lines: Sequence[Line], metric: str = "", smoothed: bool = False) -> dict[str, Any]:
    return {
        "title": title,
        "metric": metric,
        "key": [line.name for line in lines] if len(lines) > 1 else [],
        "svg": Markup(line_chart(title, lines, smoothed=smoothed)),
    }


def hacking_panel(summary: Mapping[str, Any]) -> dict[str, Any] | None:
    """The reward's curves, and below them on the same axis what independent metrics say."""
    found = summary["hacking"]
    if found is None:
        return None
    points = summary["checkpoints"]
    all_metrics = independent(known_metrics(summary["configuration"]))
    metrics = [metric for metric in all_metrics if any(metric.name in point["metrics"] for point in points)]
    curves = {curve["title"]: curve for curve in summary["curves"][found["stage"]]}
    shown_curves = [
        stage_panel(found["stage"], [curves[title]])["charts"][0]
        for title in ("Reward", "Score by the judge", "Response length (tokens)")
        if title in curves
    ]
    logged = [name for name in _LOGGED if any((point["training"] or {}).get(name) for point in points)]
    return {
        "warning": found["suspicious"],
        "reading": _reading(found, summary["differences"], all_metrics),
        "charts": [*shown_curves, *(_metric_chart(metric, points) for metric in metrics)],
        "logged": [_LOGGED[name] for name in logged],
        "metrics": [metric.label for metric in metrics],
        "rows": [
            {
                "step": point["step"],
                "logged": [(point["training"] or {}).get(name) for name in logged],
                "cells": [
                    {
                        "record": point["metrics"].get(metric.name),
                        "factor": metric.factor,
                        "digits": metric.digits,
                    }
                    for metric in metrics
                ],
            }
            for point in points
        ],
    }


def _reading(
    found: Mapping[str, Any], differences: Sequence[Mapping[str, Any]], metrics: Sequence[Metric]
) -> str:
    """Where the reward went, where the metrics went, and what follows."""
    first, last = (significant(value) for value in found["reward"])
    gains = {record["metric"]: record for record in differences if record["system"] == found["stage"]}
    words = [
        f"{metric.short} {number(gains[metric.name]['value'] * metric.factor, metric.digits, signed=True)}"
        for metric in metrics
        if metric.quality and metric.name in gains
    ]
    if found["suspicious"]:
        worse = ", ".join(metric.short for metric in metrics if metric.name in found["worse"])
        conclusion = (
            f"{worse} became worse all the same: read the samples in which judge and metric disagree."
        )
    elif found["reward"][1] <= found["reward"][0]:
        conclusion = "nothing to exploit yet."
    elif found["better"]:
        conclusion = "no sign that the judge is being exploited."
    else:
        conclusion = "no metric has moved beyond its interval."
    return f"The reward went from {first} to {last}; {', '.join(words)}: {conclusion}"


def _metric_chart(metric: Metric, points: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    here = [point for point in points if metric.name in point["metrics"]]
    value, low, high = (
        [point["metrics"][metric.name][key] * metric.factor for point in here]
        for key in ("value", "low", "high")
    )
    return _chart(metric.label, [Line(metric.short, [point["step"] for point in here], value, low, high)])


# Means over the last steps up to a checkpoint.
_LOGGED = {
    "reward": "Reward",
    "judge_score": "Score by the judge",
    "valid": "Valid answers (share)",
    "response_length": "Response length (tokens)",
    "entropy": "Entropy",
}
