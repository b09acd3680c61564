"""The report's page: a summary and its samples as one HTML file that needs no network and no server.

What stands on the page is in the summary (but for the samples' texts and scores); what it looks like is in
report/page: a template, a style sheet and a script.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import yaml
from markupsafe import Markup

from grrm.catalogue.metrics import METRICS, Metric, known_metrics
from grrm.report.findings import changes, to_look_at
from grrm.report.hacking import independent
from grrm.report.numbers import duration, number
from grrm.report.reproduction import JUDGED
from grrm.report.samples import script_json
from grrm.report.summary import (
    ABOUT_POSITIONS,
    POSITIONS,
    TASKS,
    UNUSABLE,
    answered,
    by_place,
    failures,
    format_signatures,
    origin_lines,
    reading,
    recipe_lines,
    sizes,
    system_name,
)
from grrm.report.templates import ASSETS, template
from grrm.report.training_panels import hacking_panel, stage_panel

_SECTIONS = (
    ("glance", "At a glance"),
    ("results", "Before and after"),
    ("paper", "Paper against ours"),
    ("training", "Training"),
    ("hacking", "Reward hacking"),
    ("rewards", "Kinds of reward"),
    ("order", "Order and position"),
    ("leakage", "Leakage"),
    ("samples", "Samples"),
    ("run", "What ran"),
)
_VERDICTS = {
    "reproduced": ("✓", "reproduced"),
    "above": ("▲", "above"),
    "below": ("▼", "below"),
    "not_comparable": ("≠", "not comparable"),
    "not_run": ("–", "not run"),
}


def render_page(
    summary: Mapping[str, Any],
    samples: Sequence[Mapping[str, Any]],
    total: int,
    sets: Iterable[str],
    parts: Sequence[str],
) -> str:
    """The page.

    Args:
        summary: see config/schemas/summary.schema.yaml.
        samples: those that stand in the page itself (`grrm.report.samples`).
        total: number of all samples.
        sets: names of the test sets, or language pairs, among all samples.
        parts: scripts that hold the other samples, relative to the page.
    """
    return template("index.html.j2").render(
        summary=summary,
        css=Markup((ASSETS / "page.css").read_text(encoding="utf-8")),
        js=Markup((ASSETS / "page.js").read_text(encoding="utf-8")),
        sections=_SECTIONS,
        titles=dict(_SECTIONS),
        changed=[found for task in TASKS if (found := changes(summary, task))],
        look=to_look_at(summary),
        verdicts=_VERDICTS,
        subtitle=_subtitle(summary),
        tiles=_tiles(summary),
        reading=reading(summary),
        level=f"{summary['scores'][0]['level']:.0%}",
        tasks=[_task(summary, task) for task in TASKS if _systems(summary, task)],
        paper=_paper(summary["paper"]),
        stages=[stage_panel(name, curves) for name, curves in summary["curves"].items()],
        hacking=hacking_panel(summary),
        rewards=_rewards(summary),
        orders=_orders(summary),
        positions=_positions(summary["positions"]),
        samples={
            "total": total,
            "sets": list(sets),
            "json": Markup(script_json({**_shown_in(summary, samples), "total": total, "parts": parts})),
        },
        run=_run(summary),
    )


def _shown_in(summary: Mapping[str, Any], samples: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """What the browser of samples reads: models, metrics, rows."""
    translators = _systems(summary, "translation")
    metrics, scored = known_metrics(summary["configuration"]), samples[0]["scores"] if samples else {}
    return {
        "systems": translators,
        "names": [system_name(name) for name in translators],
        "metrics": {name: metrics[name].short for name in scored},
        # Of the first metric, in which changes are counted: -1 if lower is better.
        "sign": metrics[next(iter(scored))].sign if scored else 1,
        "rows": samples,
    }


def _systems(summary: Mapping[str, Any], task: str) -> list[str]:
    return list(dict.fromkeys(r["system"] for r in summary["scores"] if r["task"] == task))


def _subtitle(summary: Mapping[str, Any]) -> str:
    source = {
        "toy": "a synthetic language pair",
        "sample": "a small sample of real languages",
        "hub": "the published data sets",
        "files": "the user's own files",
    }[summary["configuration"]["data"]["source"]]
    commit = summary["provenance"]["code"]["commit"]
    code = f"grrm {summary['versions']['grrm']}" + (f", commit {commit[:12]}" if commit else "")
    return f"Group relative reward modelling on {source}; seed {summary['seed']}, {code}."


# ---------------------------------------------------------------- results


_PLAIN = {"before": "", "gain": "", "gain_kind": ""}


def _tiles(summary: Mapping[str, Any]) -> list[dict[str, Any]]:
    tiles = []
    for metric in known_metrics(summary["configuration"]).values():
        if metric.headline and any(record["metric"] == metric.name for record in summary["scores"]):
            tiles.append(_headline(summary, metric))
    if summary["paper"]:
        counts = Counter(cell["verdict"] for cell in summary["paper"]["cells"])
        judged = sum(counts[verdict] for verdict in JUDGED)
        if judged:
            tiles.append(
                {
                    **_PLAIN,
                    "title": "Published numbers reproduced",
                    "value": f"{counts['reproduced']} of {judged}",
                    "note": f"{counts.total() - judged} of {counts.total()} not run or not comparable",
                }
            )
    hours = sum(stage["hours"] for stage in summary["stages"])
    gpu_hours = sum(stage["gpu_hours"] for stage in summary["stages"])
    tiles.append(
        {
            **_PLAIN,
            "title": "GPU-hours" if gpu_hours else "Time, job after job",
            "value": number(gpu_hours) if gpu_hours else duration(hours),
            "note": f"{duration(hours)} of jobs, one after the other" if gpu_hours else "no GPU",
        }
    )
    return tiles


def _headline(summary: Mapping[str, Any], metric: Metric) -> dict[str, Any]:
    """A metric as a tile: after, before, and whether that is a gain."""
    records = [record for record in summary["scores"] if record["metric"] == metric.name]
    tile = {**_PLAIN, "title": metric.label, "note": system_name(records[-1]["system"])}
    tile["value"] = number(records[-1]["value"] * metric.factor, metric.digits)
    gain = next((record for record in summary["differences"] if record["metric"] == metric.name), None)
    if gain:
        value, low, high = (
            number(gain[key] * metric.factor, metric.digits, signed=True) for key in ("value", "low", "high")
        )
        tile |= {
            "before": number(records[0]["value"] * metric.factor, metric.digits),
            "gain": value,
            "gain_kind": "gain" if gain["value"] * metric.sign >= 0 else "loss",
            "note": f"[{low}, {high}]",
        }
    return tile


def _task(summary: Mapping[str, Any], task: str) -> dict[str, Any]:
    scores = [record for record in summary["scores"] if record["task"] == task]
    systems = _systems(summary, task)
    by_name = {(record["system"], record["metric"]): record for record in scores}
    gains = {
        (record["system"], record["metric"]): record
        for record in summary["differences"]
        if record["task"] == task
    }
    rows = []
    metrics = known_metrics(summary["configuration"])
    for name, metric in metrics.items():
        records = [by_name.get((system, name)) for system in systems]
        if not any(records):
            continue
        rows.append(
            {
                **_metric(metric),
                "records": records,
                "gain": gains.get((systems[-1], name)),
                "n": sizes(records),
                "signature": format_signatures([record for record in records if record]),
            }
        )
    return {
        "title": TASKS[task],
        "systems": [system_name(name) for name in systems],
        "unusable": UNUSABLE,
        "failures": failures(scores),
        "answers": answered(failures(scores)),
        "rows": rows,
        "sets": _sets(summary, task, systems),
        "origin": origin_lines(scores, metrics),
    }


def _metric(metric: Metric) -> dict[str, Any]:
    return {"label": metric.label, "factor": metric.factor, "digits": metric.digits}


def _sets(summary: Mapping[str, Any], task: str, systems: Sequence[str]) -> list[dict[str, Any]]:
    records = [record for record in summary["by_set"] if record["task"] == task]
    found = {(record["set"], record["metric"], record["system"]): record for record in records}
    metrics = known_metrics(summary["configuration"])
    rows = []
    for place in dict.fromkeys((record["set"], record["metric"]) for record in records):
        cells = [found.get((*place, system)) for system in systems]
        rows.append({"set": place[0], **_metric(metrics[place[1]]), "records": cells, "n": sizes(cells)})
    return rows


def _rewards(summary: Mapping[str, Any]) -> dict[str, Any] | None:
    """What each kind of reward made of the same model, and what it cost."""
    found = summary["reward_kinds"]
    if found is None:
        return None
    shared = [
        metric
        for metric in independent(known_metrics(summary["configuration"]))
        if metric.name in found["baseline"]["metrics"]
    ]
    metrics = [metric.name for metric in shared]
    return {
        "baseline": found["baseline"]["name"],
        "first": found["kinds"][0]["kind"],
        "metrics": [_metric(metric) for metric in shared],
        "rows": [
            {
                "kind": "before",
                "records": [found["baseline"]["metrics"][metric] for metric in metrics],
                "differences": [None] * len(metrics),
                "to_first": [None] * len(metrics),
                "training": None,
            },
            *(
                {
                    "kind": entry["kind"],
                    "records": [entry["metrics"].get(metric) for metric in metrics],
                    "differences": [entry["difference"].get(metric) for metric in metrics],
                    "to_first": [(entry["to_first"] or {}).get(metric) for metric in metrics],
                    "training": {**entry["training"], "judge_requests": entry["judge_requests"]},
                }
                for entry in found["kinds"]
            ),
        ],
    }


_ORDER_METRICS = ("flipped_pairs", "changed_pairs", "ranking_accuracy", "ranking_accuracy_orders")


def _orders(summary: Mapping[str, Any]) -> dict[str, Any] | None:
    """How far each judge's answers depend on the order of the candidates."""
    found = {(r["system"], r["metric"]): r for r in summary["scores"] if r["metric"] in _ORDER_METRICS}
    systems = [system for system, metric in found if metric == "flipped_pairs"]
    if not systems:
        return None
    return {
        "columns": [METRICS[metric].label for metric in _ORDER_METRICS],
        "signature": format_signatures([found[system, "flipped_pairs"] for system in systems]),
        "rows": [
            {
                "name": system_name(system),
                "records": [found.get((system, metric)) for metric in _ORDER_METRICS],
                "n": found[system, "flipped_pairs"]["n"],
            }
            for system in systems
        ],
    }


def _positions(entries: Sequence[Mapping[str, Any]]) -> dict[str, Any] | None:
    if not entries:
        return None
    columns, rows = by_place(entries)
    return {
        "about": ABOUT_POSITIONS,
        "columns": [f"{system_name(system)}: {POSITIONS[metric][1]}" for system, metric in columns],
        "rows": [
            {"candidates": candidates, "position": position, "records": cells, "n": sizes(cells)}
            for (candidates, position), cells in rows.items()
        ],
    }


# ---------------------------------------------------------------- the paper


def _paper(paper: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """The published tables with ours in every cell, and the cells one by one."""
    if paper is None:
        return None
    cells = {(cell["table"], cell["row"], cell["metric"], cell["column"]): cell for cell in paper["cells"]}
    tables = []
    for name, table in paper["tables"].items():
        many = len(table["metrics"]) > 1
        rows = [
            {
                "printed": printed,
                "metric": table["metrics"][metric] if many else None,
                "cells": [cells.get((name, row, metric, column)) for column in table["columns"]],
            }
            for row, printed in table["rows"].items()
            for metric in table["metrics"]
        ]
        tables.append(
            {
                "title": table["title"],
                "source": table["source"],
                "columns": list(table["columns"].values()),
                "rows": rows,
            }
        )
    printed = [
        {
            **cell,
            "printed": {
                "row": paper["tables"][cell["table"]]["rows"][cell["row"]],
                "column": paper["tables"][cell["table"]]["columns"][cell["column"]]["printed"],
                "metric": paper["tables"][cell["table"]]["metrics"][cell["metric"]],
            },
        }
        for cell in paper["cells"]
    ]
    return {
        "tables": tables,
        "cells": printed,
        "total": len(printed),
        "counts": Counter(cell["verdict"] for cell in printed),
    }


# ---------------------------------------------------------------- what ran


def _efficiency(found: Mapping[str, Any] | None) -> dict[str, dict[str, Any]]:
    """GPU-hours by stage beside their forecast; empty where they were not compared."""
    if found is None or found["total"]["gpu_hours"] is None:
        return {}
    return {entry["stage"]: entry for entry in found["stages"]}


def _run(summary: Mapping[str, Any]) -> dict[str, Any]:
    hardware, machine, code = (
        summary["hardware"],
        summary["hardware"]["machine"],
        summary["provenance"]["code"],
    )
    device = (
        "CPU" if hardware["device"] == "cpu" else f"{hardware['nodes']} × {hardware['gpus_per_node']} GPUs"
    )
    changed = ", ".join(f"`{name}`" for name in code["changed"])
    facts = [
        ("Experiment", f"`{summary['experiment']}`, seed {summary['seed']}"),
        *(("Recipe", line) for line in recipe_lines(summary["configuration"])),
        ("Training on", f"{device}, {hardware['precision']}"),
        (
            "Summarised on",
            f"{machine['cpu']}, {machine['cores']} cores, {machine['memory_gb']:.0f} GB, {machine['system']}",
        ),
        (
            "Code",
            f"grrm {code['grrm']}"
            + (f", commit `{code['commit']}`" if code["commit"] else ", not under git")
            + (f"; changed since: {changed}" if changed else ""),
        ),
        (
            "Driver",
            ", ".join(f"{name} {version}" for name, version in summary["provenance"]["driver"].items()),
        ),
        *(
            (system_name(record["system"]), f"`{record['model']}`, weights `{record['weights'][:16]}`")
            for record in {record["system"]: record for record in summary["scores"]}.values()
        ),
        *(
            (f"Data, {name}", f"`{entry['origin']}` at `{entry['revision']}`")
            for name, entry in summary["provenance"]["data"].items()
        ),
        *(
            (f"File, {path}", f"SHA-256 `{file['sha256'][:16]}`, {file['size']} bytes")
            for path, file in summary["provenance"].get("files", {}).items()
        ),
    ]
    return {
        "facts": facts,
        "time_note": "Time of the last attempt of every job. GPU-hours: "
        + (
            "of every launch of a training, and of what else held a GPU."
            if summary["efficiency"]
            else "all GPUs of a training job for as long as it ran."
        ),
        "efficiency": _efficiency(summary["efficiency"]),
        "hardware": {
            entry["stage"]: "; ".join(entry.get("hardware", []))
            for entry in (summary["efficiency"] or {"stages": []})["stages"]
        },
        "configuration": yaml.safe_dump(dict(summary["configuration"]), sort_keys=False, allow_unicode=True),
    }
