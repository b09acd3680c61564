"""What a reader should know first: what reinforcement learning changed, and what to look at."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from grrm.catalogue.metrics import Metric, known_metrics
from grrm.report.numbers import number
from grrm.report.reproduction import JUDGED
from grrm.report.summary import TASKS, system_name

NAMED = 3
"""Metrics that are named with their change; the others are counted."""
UNUSABLE_SHARE = 0.05
"""Share of unusable answers above which they are worth a look."""


def changes(summary: Mapping[str, Any], task: str) -> dict[str, Any] | None:
    """How the metrics of a task moved between the models before and after reinforcement learning.

    Args:
        summary: see config/schemas/summary.schema.yaml.
        task: `ranking` or `translation`.

    Returns:
        system (what a reader calls the model after), better and worse (texts such as "BLEU +59.8", of metrics
        whose 95 % interval leaves out zero), unclear (number of the others); None where nothing was compared.
    """
    moved = _moved(summary, task)
    if not moved:
        return None
    return {
        "system": system_name(moved[0][0]["system"]),
        "better": _named([pair for pair in moved if _gain(pair) > 0]),
        "worse": _named([pair for pair in moved if _gain(pair) < 0]),
        "unclear": sum(_gain(pair) == 0 for pair in moved),
    }


def to_look_at(summary: Mapping[str, Any]) -> list[dict[str, str]]:
    """What deserves a second look, each with the id of the section that shows it; empty if nothing does."""
    return [{"section": section, "text": text} for section, text in _worth_a_look(summary)]


def _worth_a_look(summary: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    if not summary["leakage"]["passed"]:
        yield "leakage", "A test set shares more of its rows with what is trained on than it may."
    if summary["hacking"] and summary["hacking"]["suspicious"]:
        yield "hacking", "The judge's reward rose while a metric that it never sees became worse."
    for task in TASKS:
        for record, metric in _moved(summary, task):
            if _gain((record, metric)) < 0:
                low, high = (_shown(record[key], metric) for key in ("low", "high"))
                yield "results", f"{metric.short}: {_shown(record['value'], metric)} [{low}, {high}]."
    for score in {(score["task"], score["system"]): score for score in summary["scores"]}.values():
        if score["failure_rate"] > UNUSABLE_SHARE:
            share = number(100 * score["failure_rate"])
            yield (
                "results",
                f"{system_name(score['system'])}: {share} % of its answers cannot be used.",
            )
    verdicts = Counter(cell["verdict"] for cell in (summary["paper"] or {"cells": []})["cells"])
    if verdicts["below"]:
        judged = sum(verdicts[verdict] for verdict in JUDGED)
        yield "paper", f"{verdicts['below']} of {judged} published numbers lie above our interval."


_Moved = tuple[Mapping[str, Any], Metric]


def _moved(summary: Mapping[str, Any], task: str) -> list[_Moved]:
    """Differences of a task's metrics of which one direction is better, in the order of tables."""
    compared = [record for record in summary["differences"] if record["task"] == task]
    found = {record["metric"]: record for record in compared if record["system"] == compared[-1]["system"]}
    metrics = known_metrics(summary["configuration"])
    return [(found[name], metric) for name, metric in metrics.items() if name in found and metric.sign]


def _gain(pair: _Moved) -> float:
    """Above zero if it became better, below if worse, zero if the interval does not say."""
    record, metric = pair
    return float(record["value"]) * metric.sign if record["excludes_zero"] else 0.0


def _named(moved: Sequence[_Moved]) -> str:
    words = [f"{metric.short} {_shown(record['value'], metric)}" for record, metric in moved[:NAMED]]
    if len(moved) > NAMED:
        words.append(f"{len(moved) - NAMED} more")
    return ", ".join(words)


def _shown(value: float, metric: Metric) -> str:
    return number(value * metric.factor, metric.digits, signed=True)
