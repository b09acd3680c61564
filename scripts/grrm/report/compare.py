"""Two experiments side by side: what the same stage of both answered to the same test table, in pairs."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from grrm.catalogue.metrics import Metric, known_metrics
from grrm.files import UserError, read_json, sha256
from grrm.metrics.bootstrap import FEWEST, Bootstrap
from grrm.metrics.scores import System, read_test_table, scores_document
from grrm.metrics.systems import RANKING_COLUMNS, ranking_system, read_translation_systems
from grrm.report.summary import TASKS, UNUSABLE, format_estimate, plain_table, read_scores


def compare(first: Path, second: Path, bootstrap: Bootstrap) -> list[dict[str, Any]]:
    """Scores and paired differences of every system that two experiments share.

    Args:
        first, second: folders of finished experiments (results/<experiment>).
        bootstrap: of the intervals and of the p-values.

    Returns:
        One entry for each task and system: task, system, names (of the experiments), failures (of each
        experiment: count, rate and reasons of answers that cannot be used), metrics: by name values (two
        estimates), difference (an estimate with p_value; None if the metric was not computed alike in both,
        or on too few common segments: then reason says why), by_set (failures and metrics of each test set,
        if there are several).

    Raises:
        UserError: an experiment is not finished, its answers have changed since they were scored, the test
            sets differ, or the two share no system.
    """
    names = [folder.name for folder in (first, second)]
    metrics = metrics_shown(first, second)
    compared = []
    for task in TASKS:
        documents = [read_scores(folder / f"evaluation/{task}.json", task) for folder in (first, second)]
        table = _shared_table(task, (first, second), documents)
        systems = [[system["name"] for system in document["systems"]] for document in documents]
        for name in (name for name in systems[0] if name in systems[1]):
            pair = [
                _read_system(task, folder, label, _scored(document, name), table, bootstrap)
                for folder, label, document in zip(
                    (first, second), ("first", "second"), documents, strict=True
                )
            ]
            compared.append(
                {
                    "task": task,
                    "system": name,
                    "names": names,
                    **_compare(task, table, pair, bootstrap, metrics),
                }
            )
    if not compared:
        raise UserError(f"{first} and {second} share no model: there is nothing to compare")
    return compared


def _shared_table(task: str, folders: tuple[Path, Path], documents: list[dict[str, Any]]) -> Path:
    """The test table, which must be the same one in both."""
    digests = [document["data"]["sha256"] for document in documents]
    if digests[0] != digests[1]:
        described = " and ".join(
            f"{folder} (SHA-256 {digest[:12]}, {document['data']['n']} rows)"
            for folder, digest, document in zip(folders, digests, documents, strict=True)
        )
        raise UserError(
            f"the {task} test tables of {described} differ: only answers to the same segments can be "
            "compared; evaluate both on the same table"
        )
    table = folders[0] / f"data/{task}_test.parquet"
    if not table.is_file():
        raise UserError(f"{table}: no such file; it should be the table that {folders[0]} was tested on")
    if sha256(table) != digests[0]:
        raise UserError(f"{table}: not the table that {folders[0]} was scored on; score it again")
    return table


def _scored(document: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    found: Mapping[str, Any] = next(system for system in document["systems"] if system["name"] == name)
    return found


def _read_system(
    task: str, folder: Path, label: str, scored_as: Mapping[str, Any], table: Path, bootstrap: Bootstrap
) -> System:
    name = scored_as["name"]
    answers = folder / f"evaluation/{task}/{name}.jsonl"
    if task == "ranking":
        rows = read_test_table(table, "ranking_test", RANKING_COLUMNS)
        # Each order counted as a run, the first being that of the test table. Files of more may lie there.
        orders = len(scored_as["metrics"].get("ranking_accuracy_orders", {"runs": [None]})["runs"])
        shuffled = [folder / f"evaluation/ranking/orders/{name}.{order}.jsonl" for order in range(1, orders)]
        return ranking_system(label, answers, shuffled, rows, table, bootstrap)
    # Files of metrics that are no longer asked for may lie there too.
    scored = {metric: folder / f"evaluation/{metric}.json" for metric in scored_as["metrics"]}
    scored = {metric: path for metric, path in scored.items() if path.is_file()}
    (system,) = read_translation_systems(table, {name: answers}, scored)
    return replace(system, name=label)


def metrics_shown(*folders: Path) -> dict[str, Metric]:
    """The metrics of finished experiments by name, their own among them."""
    return known_metrics(*(read_json(folder / "summary.json").get("configuration", {}) for folder in folders))


def _compare(
    task: str, table: Path, pair: list[System], bootstrap: Bootstrap, metrics: Mapping[str, Metric]
) -> dict[str, Any]:
    """What is said of the whole table and, where it has several test sets, of each of them."""
    document = scores_document(task, table, pair, bootstrap)
    systems, difference = document["systems"], document["differences"][0]
    sets = difference["by_set"] if len(difference["by_set"]) > 1 else {}
    return {
        **_side_by_side(systems, difference, metrics),
        "by_set": {
            name: _side_by_side([system["by_set"][name] for system in systems], found, metrics)
            for name, found in sets.items()
        },
    }


def _side_by_side(
    systems: Sequence[Mapping[str, Any]], difference: Mapping[str, Any], metrics: Mapping[str, Metric]
) -> dict[str, Any]:
    first, second = (system["metrics"] for system in systems)
    differences = difference["metrics"]
    compared = {}
    for metric in (name for name in metrics if name in first or name in second):
        values = [found.get(metric) for found in (first, second)]
        signatures = [value and value["signature"] for value in values]
        reason = None
        if None in values:
            reason = "computed in one of them only"
        elif _method(signatures[0]) != _method(signatures[1]):
            reason = f"computed differently: {signatures[0]} and {signatures[1]}"
        elif metric not in differences:
            reason = f"too few: fewer than {FEWEST} segments count in both"
        compared[metric] = {
            "values": values,
            "difference": None if reason else differences[metric],
            "reason": reason,
        }
    return {"failures": [system["failures"] for system in systems], "metrics": compared}


def _method(signature: str) -> set[str]:
    """How a metric is computed on each part, but for what was calibrated: that is a result."""
    return set(re.sub(r"(\|ties:calibrated)\|threshold:[^|]+", r"\1", signature).split(" + "))


def format_comparison(
    compared: list[dict[str, Any]], bootstrap: Bootstrap, metrics: Mapping[str, Metric]
) -> str:
    """The comparison as tables for the terminal."""
    parts = []
    for entry in compared:
        title = f"{TASKS[entry['task']]}, {entry['system']}"
        parts.append(_table(title, entry["names"], entry, metrics))
        for name, found in entry["by_set"].items():
            parts.append(_table(f"{title}, {name}", entry["names"], found, metrics))
    return "\n\n".join(
        [
            *parts,
            f"In brackets: {bootstrap.level:.0%} intervals (percentile bootstrap, {bootstrap.samples} "
            f"resamples, seed {bootstrap.seed}). Differences are resampled in pairs; p is the two-sided "
            "p-value of no difference.",
        ]
    )


def _table(title: str, names: Sequence[str], found: Mapping[str, Any], metrics: Mapping[str, Metric]) -> str:
    first, second = names
    rows = [
        ["", first, second, f"{second} - {first}", "p"],
        [UNUSABLE, *(f"{failed['rate'] * 100:.1f}" for failed in found["failures"]), "-", ""],
    ]
    notes = []
    for name, pair in found["metrics"].items():
        metric = metrics[name]
        scale = (metric.factor, metric.digits)
        difference = pair["difference"]
        rows.append(
            [
                metric.label,
                *(format_estimate(value, *scale) for value in pair["values"]),
                format_estimate(difference, *scale, signed=True),
                "" if difference is None else _p_value(difference["p_value"]),
            ]
        )
        signatures = list(dict.fromkeys(value["signature"] for value in pair["values"] if value))
        if pair["reason"]:
            notes.append(f"{metric.label}: {pair['reason']}")
        elif len(signatures) > 1:
            notes.append(f"{metric.label}: each calibrated on its own answers: {' and '.join(signatures)}")
    return "\n".join([title, plain_table(rows), *notes])


def _p_value(value: float) -> str:
    return f"{value:.3f}"


def find_experiment(name: str, results: Path) -> Path:
    """Folder of an experiment that is named, or given as a folder.

    Raises:
        UserError: there is no such experiment, or it has no summary yet.
    """
    folder = Path(name) if Path(name).is_dir() else results / name
    if not folder.is_dir():
        known = sorted(path.parent.name for path in results.glob("*/summary.json"))
        raise UserError(
            f"{name}: neither a folder nor an experiment in {results} (there: {', '.join(known) or 'none'})"
        )
    read_json(folder / "summary.json")
    return folder
