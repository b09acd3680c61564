"""What judges have learnt, as a page: agreement before and after, confusion, position bias, calibration."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from grrm.catalogue.metrics import JUDGE_METRICS, Metric
from grrm.files import UserError, read_json
from grrm.report.pages import Block

KINDS = {
    "judge_pointwise": "Scores from 0 to 4",
    "judge_pairwise": "Comparisons",
    "judge_bradley_terry": "Chosen and rejected (Bradley-Terry)",
}


def read_judge_scores(path: Path) -> dict[str, Any]:
    """A document written by score_judges.

    Raises:
        UserError: it is not one.
    """
    document = read_json(path)
    if not isinstance(document, dict) or document.get("task") not in KINDS or not document.get("systems"):
        raise UserError(f"{path}: not the scores of judges; run score_judges again")
    return document


def read_alignment(path: Path) -> dict[str, Any]:
    """A document written by summarize_alignment.

    Raises:
        UserError: it is not one.
    """
    document = read_json(path)
    if not isinstance(document, dict) or not {"kind", "validation", "judge_calls"} <= set(document):
        raise UserError(f"{path}: not the summary of an alignment; run summarize_alignment again")
    return document


def judges_page(
    experiment: str,
    seed: int,
    documents: Sequence[Mapping[str, Any]],
    alignment: Mapping[str, Any] | None = None,
) -> list[Block]:
    """The page of an experiment's judges, and of the policy trained against one; with 95 % intervals."""
    blocks = [
        Block("title", f"Judges: {experiment}"),
        Block(
            "text",
            f"Seed {seed}. On held-out rows, before and after training. In brackets: 95 % bootstrap "
            "intervals; differences are paired. An answer that cannot be used agrees with nothing.",
        ),
        Block("table", [["", "before", "after", "difference", "rows"], *map(_headline, documents)]),
    ]
    for document in documents:
        blocks += _kind(document)
    if alignment is not None:
        blocks += _alignment(alignment)
    return blocks


def _headline(document: Mapping[str, Any]) -> list[str]:
    metric = JUDGE_METRICS["agreement"]
    before, after = (document["systems"][place]["metrics"][metric.name] for place in (0, -1))
    return [
        f"{KINDS[document['task']]}: agreement (%)",
        *(_number(estimate, metric.factor, metric.digits) for estimate in (before, after)),
        _difference(document, metric),
        str(after["n"]),
    ]


def _kind(document: Mapping[str, Any]) -> Iterator[Block]:
    systems = document["systems"]
    yield Block("heading", KINDS[document["task"]])
    header = ["", *(system["name"] for system in systems), "difference"]
    rows = [
        [
            metric.label,
            *(_number(system["metrics"].get(name), metric.factor, metric.digits) for system in systems),
            _difference(document, metric),
        ]
        for name, metric in JUDGE_METRICS.items()
        if any(name in system["metrics"] for system in systems)
    ]
    yield Block("table", [header, *rows])
    for system in systems:
        if "confusion" in system:
            table = system["confusion"]
            yield Block("text", f"`{system['name']}`: what is annotated (rows) and what was said (columns).")
            counts = [
                [name, *map(str, row)] for name, row in zip(table["annotated"], table["counts"], strict=True)
            ]
            yield Block("table", [["annotated", *table["said"]], *counts])
        yield from _calibration(document["task"], system)
        reasons = system["failures"]["reasons"]
        if reasons:
            counted = ", ".join(f"{reason} {count}" for reason, count in reasons.items())
            yield Block("text", f"`{system['name']}`: answers that could not be used: {counted}.")


def _alignment(document: Mapping[str, Any]) -> Iterator[Block]:
    yield Block("heading", f"A policy trained against a judge ({document['kind']})")
    validation = document["validation"]
    if validation:
        yield Block(
            "text",
            f"On {validation[0]['n']} held-out requests the judge compares the policy's response with the "
            "chosen one. Above chosen: the response wins (Wilson's 95 % interval).",
        )
        rows = [
            [
                str(row["step"]),
                _number(row.get("above_chosen")),
                *("–" if name not in row else f"{row[name]:.2f}" for name in ("judge_score", "chosen_score")),
                "–" if "valid" not in row else f"{100 * row['valid']:.1f}",
            ]
            for row in validation
        ]
        header = ["step", "above chosen (%)", "score", "score of the chosen", "valid (%)"]
        yield Block("table", [header, *rows])
    training = [
        [name.replace("_", " ")]
        + ["–" if value is None else f"{value:.3f}" for value in (row["first"], row["last"])]
        for name, row in document["training"].items()
    ]
    if training:
        yield Block("text", f"The first and the last of {document['steps']} steps of training:")
        yield Block("table", [["", "first", "last"], *training])
    calls = document["judge_calls"]
    reasons = ", ".join(f"{reason} {count}" for reason, count in calls["failures"].items())
    yield Block(
        "text",
        f"{calls['requests']} requests of the judge: {calls['answered']} answered, {calls['cached']} from "
        f"the cache, {calls['failed']} failed{f' ({reasons})' if reasons else ''}.",
    )


def _calibration(task: str, system: Mapping[str, Any]) -> Iterator[Block]:
    if not system["calibration"]:
        return
    words, column, scale = {
        "judge_pointwise": ("the mean annotated score where a score was said", "annotated", (1, 2)),
        "judge_pairwise": ("how often a verdict is right where it was given", "right (%)", (100, 1)),
        "judge_bradley_terry": ("how often the higher score is right, by confidence", "right (%)", (100, 1)),
    }[task]
    yield Block("text", f"`{system['name']}`, calibration: {words}.")
    rows = [
        [
            str(row["said"]) if "said" in row else f"{100 * row['confidence']:.1f} % sure",
            _number(row, *scale),
            str(row["n"]),
        ]
        for row in system["calibration"]
    ]
    yield Block("table", [["", column, "rows"], *rows])
    if "expected_calibration_error" in system:
        yield Block(
            "text", f"Expected calibration error: {100 * system['expected_calibration_error']:.1f} %."
        )


def _difference(document: Mapping[str, Any], metric: Metric) -> str:
    for difference in document["differences"]:
        if metric.name in difference["metrics"]:
            return _number(difference["metrics"][metric.name], metric.factor, metric.digits, sign="+")
    return "–"


def _number(estimate: Mapping[str, Any] | None, factor: float = 100, digits: int = 1, sign: str = "") -> str:
    if estimate is None:
        return "–"
    value, low, high = (factor * estimate[key] for key in ("value", "low", "high"))
    return f"{value:{sign}.{digits}f} [{low:.{digits}f}, {high:.{digits}f}]"
