"""Paper against ours: every published number with our value, the difference and a verdict.

The rule (`judge`): a published number is *reproduced* if it lies within our interval, else ours is *above* or
*below* it. Published numbers come without intervals, and both stand on the same test segments, so our
interval is an ample allowance for their choice; it allows nothing for the chance in training. A number is
judged only if ours is of the same thing: the same metric, test set, base model and training (`when` in
config/reference_results.yaml); otherwise the two are *not comparable*, and it says why. What was not
measured is *not run*.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Literal

from grrm.report.reference import Cell, cells, find_score, incomparable

Verdict = Literal["reproduced", "above", "below", "not_comparable", "not_run"]

JUDGED: tuple[Verdict, ...] = ("reproduced", "above", "below")
"""Verdicts on numbers that are of the same thing."""

# Published numbers have two digits after the point.
_ROUNDING = 0.005


def judge(published: float, low: float, high: float) -> Verdict:
    """The verdict on comparable numbers: where the published one lies in our interval [low, high].

    All three on the published scale. The ends count as inside, and so does what was rounded to two digits.
    """
    if low - published > _ROUNDING:
        return "above"
    if published - high > _ROUNDING:
        return "below"
    return "reproduced"


def compare_with_paper(
    reference: Mapping[str, Any], config: Mapping[str, Any], scores: Mapping[str, Mapping[str, Any]]
) -> dict[str, Any]:
    """The published tables as printed, and one entry for every number in them, in their order.

    Args:
        reference: see `grrm.report.reference.load_reference`.
        config: the experiment's resolved configuration.
        scores: documents of score_rankings and score_translations, by task.
    """
    return {
        "tables": {name: _printed(reference, table) for name, table in reference["tables"].items()},
        "cells": list(_compared(reference, config, scores)),
    }


def _printed(reference: Mapping[str, Any], table: Mapping[str, Any]) -> dict[str, Any]:
    source = reference["sources"][table["source"]]
    return {
        "title": table["title"],
        "source": f"{source['what']}; {source['repository']} at {source['revision'][:12]}, {source['file']}",
        "columns": {
            name: {"printed": column["printed"], "note": column.get("note")}
            for name, column in table["columns"].items()
        },
        "rows": {name: row["printed"] for name, row in table["rows"].items()},
        "metrics": {name: metric["printed"] for name, metric in table["metrics"].items()},
    }


def _compared(
    reference: Mapping[str, Any], config: Mapping[str, Any], scores: Mapping[str, Mapping[str, Any]]
) -> Iterator[dict[str, Any]]:
    for cell in cells(reference):
        if cell.value is None:
            continue
        named = {key: getattr(cell, key) for key in ("table", "row", "column", "metric")}
        yield {**named, "published": cell.value, **_compare(cell, cell.value, config, scores)}


def _compare(
    cell: Cell, published: float, config: Mapping[str, Any], scores: Mapping[str, Mapping[str, Any]]
) -> dict[str, Any]:
    obstacle = incomparable(cell, config)
    score = find_score(cell, scores[cell.task]) if cell.task in scores else None
    if score is None:
        nothing: dict[str, Any] = dict.fromkeys(("value", "low", "high", "n", "difference"))
        reason = obstacle or f"{cell.metric} of {cell.system} on {cell.column} was not computed"
        return {**nothing, "verdict": "not_run", "reason": reason}
    value, low, high = (score[key] * cell.factor for key in ("value", "low", "high"))
    return {
        "value": value,
        "low": low,
        "high": high,
        "n": score["n"],
        "difference": value - published,
        "verdict": "not_comparable" if obstacle else judge(published, low, high),
        "reason": obstacle,
    }
