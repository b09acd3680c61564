"""The scores of several systems on one test set, as a document in which every number carries its origin."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from grrm.files import UserError, read_jsonl, sha256
from grrm.metrics.bootstrap import Bootstrap, Stratum


@dataclass(frozen=True)
class Metric:
    """One metric of one system: its statistics (one stratum per language direction) and its signature."""

    strata: Sequence[Stratum]
    signature: str


@dataclass(frozen=True)
class System:
    """One model's answers to a test set, scored.

    Attributes:
        name: short name, unique in a document.
        origin: what made the answers: model and decoding.
        failures: reason of each answer that could not be used.
        metrics: by name.
        details: further entries of the system in the document.
    """

    name: str
    origin: Mapping[str, Any]
    n: int
    failures: Sequence[str]
    metrics: Mapping[str, Metric]
    details: Mapping[str, Any] = field(default_factory=dict)


def scores_document(
    task: str, test_set: str | Path, systems: Sequence[System], bootstrap: Bootstrap
) -> dict[str, Any]:
    """Scores of all systems with intervals, and the difference of each system to the first one, in pairs.

    Args:
        task: `ranking` or `translation`.
        test_set: the table that the systems answered.
        systems: scored on the same segments; the first is the baseline.
        bootstrap: how the intervals are made.
    """
    baseline, *others = systems
    return {
        "task": task,
        "data": {"file": str(test_set), "sha256": sha256(test_set), "n": baseline.n},
        "bootstrap": asdict(bootstrap),
        "systems": [_system(system, bootstrap) for system in systems],
        "differences": [
            {
                "baseline": baseline.name,
                "system": system.name,
                "metrics": {
                    name: asdict(bootstrap.difference(baseline.metrics[name].strata, metric.strata))
                    for name, metric in system.metrics.items()
                    if name in baseline.metrics
                },
            }
            for system in others
        ],
    }


def _system(system: System, bootstrap: Bootstrap) -> dict[str, Any]:
    return {
        "name": system.name,
        **system.origin,
        "n": system.n,
        "failures": {
            "count": len(system.failures),
            "rate": len(system.failures) / system.n,
            "reasons": dict(Counter(system.failures).most_common()),
        },
        "metrics": {
            name: {**asdict(bootstrap.estimate(*metric.strata)), "signature": metric.signature}
            for name, metric in system.metrics.items()
        },
        **system.details,
    }


def parse_named_files(arguments: Sequence[str], flag: str) -> dict[str, Path]:
    """NAME=FILE arguments as a mapping, in the order given.

    Raises:
        UserError: an argument is not of that form, or a name is given twice.
    """
    files: dict[str, Path] = {}
    for argument in arguments:
        name, equals, path = argument.partition("=")
        if not (name and equals and path):
            raise UserError(f"{flag} {argument}: expected NAME=FILE")
        if name in files:
            raise UserError(f"{flag} {argument}: the name {name!r} is given twice")
        files[name] = Path(path)
    return files


def read_answers(path: str | Path, sources: Sequence[str], test_set: str | Path) -> list[dict[str, Any]]:
    """Answers to a test set, one per row and in its order, as `rank_candidates` and `translate_segments`
    write them.

    Raises:
        UserError: an answer is missing or too many, or answers another source text.
    """
    answers = read_jsonl(path)
    if len(answers) != len(sources):
        raise UserError(
            f"{path}: {len(answers)} answers for {len(sources)} rows of {test_set}; answer it again"
        )
    for number, (answer, source) in enumerate(zip(answers, sources, strict=True)):
        if not isinstance(answer, dict) or answer.get("index") != number or answer.get("src_text") != source:
            raise UserError(
                f"{path}, line {number + 1}: not an answer to row {number} of {test_set} ({source!r}); "
                "answer the same test set again"
            )
    return answers


def answers_origin(path: str | Path, answers: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Model and decoding of answers, which must be the same on every line.

    Raises:
        UserError: they are missing or differ.
    """
    origin = {key: answers[0].get(key) for key in ("model", "weights", "decoding")}
    for number, answer in enumerate(answers, 1):
        if any(value is None or answer.get(key) != value for key, value in origin.items()):
            raise UserError(
                f"{path}, line {number}: model, weights or decoding is missing or not that of the first line"
            )
    return origin
