"""The summary of an experiment: every number with what it stands on, as JSON and as tables."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from grrm.catalogue.metrics import Metric, known_metrics
from grrm.catalogue.trainings import TRAININGS
from grrm.config.recipe import recipe_name
from grrm.config.schema import load_schema, validator
from grrm.files import UserError, read_json
from grrm.ranking import labels
from grrm.report.pages import Block

TASKS = {"ranking": "Ranking", "translation": "Translation"}
# Stands above the scores of each system.
UNUSABLE = "Answers that cannot be used (%)"

_SAMPLES = 3
# What is told by the position of the best candidate: name in the scores of a judge, name in tables.
POSITIONS = {
    "best_found": ("best_found_by_position", "best found (%)"),
    "ranking_accuracy": ("accuracy_by_position", "ranking accuracy (%)"),
}
ABOUT_POSITIONS = (
    "Groups with one best candidate, by the position at which the judge saw it: the share in which the judge "
    "ranks it alone on top, and their ranking accuracy. Without a bias, the positions of one group size "
    "differ by chance only. Where the best was found always or never, the interval has no width: resampling "
    "cannot show what did not occur."
)


def read_scores(path: Path, task: str) -> dict[str, Any]:
    """A document written by score_rankings or score_translations.

    Raises:
        UserError: it is not such a document of that task.
    """
    document = read_json(path)
    if not isinstance(document, dict) or document.get("task") != task or not document.get("systems"):
        raise UserError(f"{path}: not the scores of a {task} test set; run its scoring again")
    return document


def flatten_scores(document: Mapping[str, Any]) -> list[dict[str, Any]]:
    """One record per metric and system, complete in itself."""
    return [
        {
            **_origin(document),
            "system": system["name"],
            "metric": metric,
            **score,
            "answers": system["n"] * len(system["seeds"]),
            "failure_rate": system["failures"]["rate"],
            "failures": system["failures"]["reasons"],
            "model": system["model"],
            "weights": system["weights"],
            "decoding": system["decoding"],
        }
        for system in document["systems"]
        for metric, score in system["metrics"].items()
    ]


def flatten_differences(document: Mapping[str, Any]) -> list[dict[str, Any]]:
    """One record per metric and pair of systems, complete in itself."""
    systems = {system["name"]: system for system in document["systems"]}
    return [
        {
            **_origin(document),
            "baseline": pair["baseline"],
            "system": pair["system"],
            "metric": metric,
            **difference,
            "signature": " and ".join(
                dict.fromkeys(
                    systems[pair[role]]["metrics"][metric]["signature"] for role in ("baseline", "system")
                )
            ),
            "failure_rates": [systems[pair[role]]["failures"]["rate"] for role in ("baseline", "system")],
            "models": [systems[pair[role]]["model"] for role in ("baseline", "system")],
            "weights": [systems[pair[role]]["weights"] for role in ("baseline", "system")],
            "excludes_zero": difference["low"] > 0 or difference["high"] < 0,
        }
        for pair in document["differences"]
        for metric, difference in pair["metrics"].items()
    ]


def flatten_sets(document: Mapping[str, Any]) -> list[dict[str, Any]]:
    """One record per test set (or published mean over several), metric and system."""
    return [
        {
            "task": document["task"],
            "system": system["name"],
            "set": name,
            "metric": metric,
            **score,
            "failure_rate": entry["failures"]["rate"],
        }
        for system in document["systems"]
        for name, entry in system["by_set"].items()
        for metric, score in entry["metrics"].items()
    ]


def positions(document: Mapping[str, Any]) -> list[dict[str, Any]]:
    """How often each judge found the best candidate, and how well it ranked, by where that one stood."""
    return [
        {"system": system["name"], "metric": metric, **entry}
        for system in document["systems"]
        for metric, (name, _) in POSITIONS.items()
        for entry in system.get(name, [])
    ]


def reward_kinds(document: Mapping[str, Any]) -> dict[str, Any]:
    """What compare_reward_kinds found: the model before, and the one that each kind of reward made of it."""
    return {
        "baseline": {key: document["baseline"][key] for key in ("name", "metrics")},
        "kinds": [
            {
                "kind": entry["kind"],
                "system": entry["name"],
                "metrics": entry["metrics"],
                "difference": entry["difference"],
                "to_first": entry["to_first"],
                "failure_rate": entry["failures"]["rate"],
                "training": entry["training"],
                "judge_requests": entry["judge_calls"]["requests"],
            }
            for entry in document["kinds"]
        ],
    }


def to_json(summary: Mapping[str, Any]) -> str:
    """The summary as indented JSON, with lists of numbers on one line each."""
    text = json.dumps(summary, indent=2, ensure_ascii=False)
    # A raw line end is never within a string.
    return (
        re.sub(r"\[\n\s*([-+\d.eE,\s]+?)\n\s*\]", lambda found: f"[{' '.join(found[1].split())}]", text)
        + "\n"
    )


def not_run(summary: Mapping[str, Any]) -> dict[str, str]:
    """Parts of the report that have no data in an experiment, each with why."""
    metrics = {record["metric"] for record in summary["scores"]}
    missing = {
        "training": not summary["curves"] and "finished models were evaluated, no stage was trained",
        "orders": "flipped_pairs" not in metrics
        and "every group was judged in one order (evaluate.orders is 0)",
        "hacking": summary["hacking"] is None
        and "no translation model was trained with a judge's reward and compared with the one before",
        "reward_kinds": not summary["reward_kinds"]
        and "no translation model was trained with a reward and compared with the one before",
        "efficiency": not summary["efficiency"] and "GPU-hours were not compared with a forecast",
        "checkpoints": len(summary["checkpoints"]) < 3
        and "no checkpoint between the first and the last step was evaluated",
    }
    return {part: f"not run: {reason}" for part, reason in missing.items() if reason}


def _origin(document: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "task": document["task"],
        "data": document["data"]["file"],
        "data_sha256": document["data"]["sha256"],
        "level": document["bootstrap"]["level"],
        "bootstrap_samples": document["bootstrap"]["samples"],
        "bootstrap_seed": document["bootstrap"]["seed"],
    }


def check_summary(summary: Mapping[str, Any], schema: Path) -> None:
    """Compare a summary with its schema.

    Raises:
        UserError: they do not fit; the message names the entry.
    """
    rules = load_schema(schema)
    rules["$defs"]["metric"]["enum"] = list(known_metrics(summary.get("configuration", {})))
    problems = sorted(
        validator(rules).iter_errors(summary), key=lambda error: [str(part) for part in error.absolute_path]
    )
    if problems:
        where = ".".join(str(part) for part in problems[0].absolute_path) or "the whole"
        raise UserError(
            f"summary, {where}: {problems[0].message} ({schema.name}; {len(problems)} problems in all)"
        )


# ---------------------------------------------------------------- tables


def comparison_tables(summary: Mapping[str, Any]) -> dict[str, list[list[str]]]:
    """By task, the table before/after: header, then one row per metric."""
    tables = {}
    for task in TASKS:
        scores = [record for record in summary["scores"] if record["task"] == task]
        if scores:
            differences = [record for record in summary["differences"] if record["task"] == task]
            tables[task] = _comparison(scores, differences, known_metrics(summary["configuration"]))
    return tables


def _comparison(
    scores: Sequence[Mapping[str, Any]],
    differences: Sequence[Mapping[str, Any]],
    metrics: Mapping[str, Metric],
) -> list[list[str]]:
    systems = list(dict.fromkeys(record["system"] for record in scores))
    by_name = {(record["system"], record["metric"]): record for record in scores}
    gains = {(record["system"], record["metric"]): record for record in differences}
    rows = [["", *systems, *(f"{system} - {systems[0]}" for system in systems[1:]), "n"]]
    rows.append(
        [
            UNUSABLE,
            *(f"{entry['rate'] * 100:.1f}" for entry in failures(scores)),
            *("-" for _ in systems[1:]),
            answered(failures(scores)),
        ]
    )
    for name, metric in metrics.items():
        records = [by_name.get((system, name)) for system in systems]
        if records[0] is None:
            continue
        scale = (metric.factor, metric.digits)
        cells = [format_estimate(record, *scale) for record in records]
        cells += [format_estimate(gains.get((system, name)), *scale, signed=True) for system in systems[1:]]
        rows.append([metric.label, *cells, sizes(records)])
    return rows


def system_name(name: str) -> str:
    """What a reader calls a system: a training's label, or the name itself."""
    return (TRAININGS[name].label if name in TRAININGS else "") or name


def failures(scores: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """For each system of some scores: `rate` of its answers that cannot be used, `reasons`, `answers`."""
    return [
        {"rate": score["failure_rate"], "reasons": score["failures"], "answers": score["answers"]}
        for score in {score["system"]: score for score in scores}.values()
    ]


def answered(found: Sequence[Mapping[str, Any]]) -> str:
    """Number of all answers; one for each system where they differ."""
    return ", ".join(dict.fromkeys(str(entry["answers"]) for entry in found))


def sizes(records: Sequence[Mapping[str, Any] | None]) -> str:
    """The number of segments or groups that scores stand on; one for each where they differ."""
    return ", ".join(dict.fromkeys(str(record["n"]) for record in records if record))


def format_estimate(
    record: Mapping[str, Any] | None, factor: float, digits: int = 1, signed: bool = False
) -> str:
    """A value with its interval: "83.9 [80.4, 87.1]"; "-" if there is none.

    Answers that the metric itself could not score are counted: "83.9 [80.4, 87.1], 3 not scored".
    """
    if record is None:
        return "-"
    sign = "+" if signed else ""
    value, low, high = (f"{record[key] * factor:{sign}z.{digits}f}" for key in ("value", "low", "high"))
    missing = f", {record['missing']} not scored" if record.get("missing") else ""
    return f"{value} [{low}, {high}]{missing}"


def plain_table(rows: Sequence[Sequence[str]]) -> str:
    """A table for the terminal: the first column to the left, the others to the right."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = [
        "  ".join(
            [row[0].ljust(widths[0]), *(cell.rjust(w) for cell, w in zip(row[1:], widths[1:], strict=True))]
        )
        for row in rows
    ]
    return "\n".join([lines[0], "-" * len(lines[0]), *lines[1:]])


# ---------------------------------------------------------------- pages


def summary_page(summary: Mapping[str, Any], samples: Sequence[Mapping[str, Any]]) -> list[Block]:
    """The summary as a page: tables before/after, what they stand on, curves, times and a few samples."""
    blocks = [
        Block("title", f"Experiment {summary['experiment']}"),
        Block("text", f"Seed {summary['seed']}. {reading(summary)}"),
        *(Block("text", f"Recipe: {line}") for line in recipe_lines(summary["configuration"])),
    ]
    for task, table in comparison_tables(summary).items():
        records = [record for record in summary["scores"] if record["task"] == task]
        blocks += [
            Block("heading", f"{TASKS[task]}, before and after reinforcement learning"),
            Block("table", table),
            Block("list", origin_lines(records, known_metrics(summary["configuration"]))),
        ]
    if summary["positions"]:
        blocks += [
            Block("heading", "Is the judge fair to every position?"),
            Block("text", ABOUT_POSITIONS),
            Block("table", _position_table(summary["positions"])),
        ]
    blocks += [Block("heading", "Training"), Block("table", _curve_table(summary["curves"]))]
    blocks += [Block("heading", "Time and memory"), Block("table", _time_table(summary["benchmarks"]))]
    if samples:
        shown = samples[:_SAMPLES]
        blocks += [
            Block("heading", "Samples"),
            Block("text", f"The first {len(shown)} segments of the test set; nothing was chosen."),
            *(Block("verbatim", _sample(sample)) for sample in shown),
        ]
    return blocks


def render_terminal(summary: Mapping[str, Any]) -> str:
    """The tables before/after for the end of a run."""
    parts = [
        f"{TASKS[task]}, held-out\n{plain_table(table)}" for task, table in comparison_tables(summary).items()
    ]
    recipe = [f"Recipe: {line}" for line in recipe_lines(summary["configuration"])]
    return "\n\n".join([*recipe, *parts, reading(summary)])


def recipe_lines(config: Mapping[str, Any]) -> list[str]:
    """The recipe that an experiment follows, or in whose style it is, with what is not published."""
    if (recipe := config.get("recipe")) is None:
        return []
    unknown = f" Not published, chosen here: {'; '.join(recipe['open'])}." if recipe.get("open") else ""
    return [f"{recipe_name(recipe)} ({recipe['source']}).{unknown}"]


def reading(summary: Mapping[str, Any]) -> str:
    """How the numbers in brackets are to be read."""
    bootstrap = summary["scores"][0]
    return (
        f"In brackets: {bootstrap['level']:.0%} intervals (percentile bootstrap over segments or groups, "
        f"{bootstrap['bootstrap_samples']} resamples, seed {bootstrap['bootstrap_seed']}); differences are "
        "resampled in pairs."
    )


def origin_lines(records: Sequence[Mapping[str, Any]], metrics: Mapping[str, Metric]) -> list[str]:
    """What the scores of a task stand on: test set, models, decoding, failures, signatures."""
    lines = [f"test set: `{records[0]['data']}`, SHA-256 `{records[0]['data_sha256'][:16]}`"]
    for record in {record["system"]: record for record in records}.values():
        decoding = record["decoding"]
        how = "greedy" if decoding["temperature"] == 0 else f"temperature {decoding['temperature']}"
        reasons = ", ".join(f"{reason}: {count}" for reason, count in record["failures"].items())
        lines.append(
            f"{record['system']}: `{record['model']}` (weights `{record['weights'][:12]}`), {how}, at most "
            f"{decoding['max_new_tokens']} tokens, seed {decoding['seed']}; failed answers "
            f"{record['failure_rate']:.1%}{f' ({reasons})' if reasons else ''}"
        )
    for metric in dict.fromkeys(record["metric"] for record in records):
        alike = [record for record in records if record["metric"] == metric]
        lines.append(f"{metrics[metric].label}: {format_signatures(alike, mark='`')}")
    return lines


def format_signatures(records: Sequence[Mapping[str, Any]], mark: str = "") -> str:
    """How a metric is computed; where that differs between systems (a tie threshold), for each of them.

    Args:
        records: scores of one metric, of one system each.
        mark: stands before and after each signature.
    """
    systems: dict[str, list[str]] = {}
    for record in records:
        systems.setdefault(record["signature"], []).append(record["system"])
    return ", ".join(
        f"{mark}{signature}{mark}" + (f" ({', '.join(names)})" if len(systems) > 1 else "")
        for signature, names in systems.items()
    )


def _position_table(entries: Sequence[Mapping[str, Any]]) -> list[list[str]]:
    columns, rows = by_place(entries)
    header = ["Candidates, position", *(f"{system}: {POSITIONS[metric][1]}" for system, metric in columns)]
    return [
        [*header, "n"],
        *(
            [f"{place[0]}, {place[1]}", *(format_estimate(cell, 100) for cell in cells), sizes(cells)]
            for place, cells in rows.items()
        ),
    ]


def by_place(
    entries: Sequence[Mapping[str, Any]],
) -> tuple[list[tuple[str, str]], dict[tuple[int, str], list[Mapping[str, Any] | None]]]:
    """A table of `positions`: (system, metric) of each column, cells of each (candidates, position)."""
    columns = list(dict.fromkeys((entry["system"], entry["metric"]) for entry in entries))
    found = {(e["system"], e["metric"], e["candidates"], e["position"]): e for e in entries}
    places = sorted({(entry["candidates"], entry["position"]) for entry in entries})
    return columns, {place: [found.get((*column, *place)) for column in columns] for place in places}


def _curve_table(curves: Mapping[str, Sequence[Mapping[str, Any]]]) -> list[list[str]]:
    rows = [["Stage, metric", "steps", "first tenth", "last tenth", "min", "max"]]
    for stage, entries in curves.items():
        for entry in entries:
            numbers = [f"{entry[key]:.4g}" for key in ("first", "last", "min", "max")]
            rows.append(
                [f"{stage}: {entry['title']} (`{entry['metric']}`)", str(entry["last_step"]), *numbers]
            )
    return rows


def _time_table(jobs: Sequence[Mapping[str, Any]]) -> list[list[str]]:
    rows = [["Job", "seconds", "CPU seconds", "peak memory (MB)"]]
    for job in sorted(jobs, key=lambda job: -job["seconds"]):
        numbers = [job["seconds"], job["cpu_seconds"], job["max_rss_mb"]]
        rows.append([job["job"], *("-" if number is None else f"{number:.0f}" for number in numbers)])
    rows.append(["all, one after the other", f"{sum(job['seconds'] for job in jobs):.0f}", "", ""])
    return rows


def labelled(sample: Mapping[str, Any]) -> dict[str, str]:
    """The candidates of a judged sample by the label under which the judge saw them, A first."""
    order = sample["judgement"]["candidate_order"]
    return {label: sample["candidates"][i] for label, i in zip(labels(len(order)), order, strict=True)}


def _sample(sample: Mapping[str, Any]) -> str:
    lines = [f"source: {sample['src_text']}", f"reference: {sample['trg_text'] or '(none)'}"]
    given = sample["translations"]
    for name, translation in given.items():
        lines.append(f"{name}: {'(no translation)' if translation is None else translation}")
    judgement = sample["judgement"]
    if judgement is None:
        lines.append("judge: not asked, there are no two different translations")
    else:
        shown = "; ".join(
            f"{label}: {text} ({' and '.join(name for name in given if given[name] == text)})"
            for label, text in labelled(sample).items()
        )
        lines += [f"the judge saw {shown}", "", judgement["answer"].rstrip()]
        if judgement["failure"]:
            lines.append(f"(not a valid answer: {judgement['failure']})")
    return "\n".join(lines)
