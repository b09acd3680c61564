"""The report's page: a summary and its samples as one HTML file that needs no network and no server.

What stands on the page is in the summary (but for the samples' texts and scores); what it looks like is in
report/page: a template, a style sheet and a script.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import jinja2
import yaml
from markupsafe import Markup, escape

from grrm.report.charts import Line, line_chart
from grrm.report.hacking import QUALITY, SHAPE
from grrm.report.samples import script_json
from grrm.report.summary import (
    ABOUT_POSITIONS,
    METRICS,
    POSITIONS,
    TASKS,
    UNUSABLE,
    answered,
    by_place,
    failures,
    format_signatures,
    origin_lines,
    reading,
    sizes,
)

_ASSETS = Path(__file__).parents[3] / "report/page"

_SECTIONS = (
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
SYSTEMS = {
    "grrm_sft": "Judge after SFT",
    "grrm_rlvr": "Judge after RLVR",
    "mt_sft": "Translator after SFT",
    "mt_grpo": "Translator after GRPO",
}
# The metrics of the tiles at the top.
_HEADLINES = (("ranking", "ranking_accuracy"), ("translation", "bleu"), ("translation", "comet"))


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
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_ASSETS),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(number=number, significant=significant, duration=duration, code=_code)
    translators = _systems(summary, "translation")
    return environment.get_template("index.html.j2").render(
        summary=summary,
        css=Markup((_ASSETS / "page.css").read_text(encoding="utf-8")),
        js=Markup((_ASSETS / "page.js").read_text(encoding="utf-8")),
        sections=_SECTIONS,
        verdicts=_VERDICTS,
        subtitle=_subtitle(summary),
        tiles=_tiles(summary),
        reading=reading(summary),
        level=f"{summary['scores'][0]['level']:.0%}",
        tasks=[_task(summary, task) for task in TASKS if _systems(summary, task)],
        paper=_paper(summary["paper"]),
        stages=[_stage(name, curves) for name, curves in summary["curves"].items()],
        hacking=_hacking(summary),
        rewards=_rewards(summary["reward_kinds"]),
        orders=_orders(summary),
        positions=_positions(summary["positions"]),
        samples={
            "total": total,
            "sets": list(sets),
            "json": Markup(
                script_json(
                    {
                        "systems": translators,
                        "names": [system_name(name) for name in translators],
                        "metrics": {name: _short(name) for name in (samples[0]["scores"] if samples else ())},
                        "total": total,
                        "parts": parts,
                        "rows": samples,
                    }
                )
            ),
        },
        run=_run(summary),
    )


def number(value: float, digits: int = 1, signed: bool = False) -> str:
    """With a number of digits after the point and a real minus."""
    return f"{value:{'+' if signed else ''}z,.{digits}f}".replace("-", "−")


def significant(value: float) -> str:
    """With four significant digits."""
    return f"{value:.4g}".replace("-", "−")


def duration(hours: float) -> str:
    """As h:mm:ss."""
    seconds = round(hours * 3600)
    return f"{seconds // 3600}:{seconds // 60 % 60:02d}:{seconds % 60:02d}"


def system_name(name: str) -> str:
    """What a reader calls a system."""
    return SYSTEMS.get(name, name)


def _short(metric: str) -> str:
    return METRICS[metric][0].partition(" (")[0]


def _code(text: str) -> Markup:
    return Markup(re.sub(r"`([^`]*)`", r"<code>\1</code>", str(escape(text))))


def _systems(summary: Mapping[str, Any], task: str) -> list[str]:
    return list(dict.fromkeys(r["system"] for r in summary["scores"] if r["task"] == task))


def _subtitle(summary: Mapping[str, Any]) -> str:
    source = {
        "toy": "a synthetic language pair",
        "sample": "a small sample of real languages",
        "hub": "the published data sets",
    }[summary["configuration"]["data"]["source"]]
    commit = summary["provenance"]["code"]["commit"]
    code = f"grrm {summary['versions']['grrm']}" + (f", commit {commit[:12]}" if commit else "")
    return f"Group relative reward modelling on {source}; seed {summary['seed']}, {code}."


# ---------------------------------------------------------------- results


_PLAIN = {"before": "", "gain": "", "gain_kind": ""}


def _tiles(summary: Mapping[str, Any]) -> list[dict[str, Any]]:
    tiles = []
    for task, metric in _HEADLINES:
        label, factor = METRICS[metric]
        records = [r for r in summary["scores"] if (r["task"], r["metric"]) == (task, metric)]
        if not records:
            continue
        tile = {**_PLAIN, "title": label, "note": system_name(records[-1]["system"])}
        tile["value"] = number(records[-1]["value"] * factor)
        gain = next(
            (r for r in summary["differences"] if (r["task"], r["metric"]) == (task, metric)),
            None,
        )
        if gain:
            low, high = (number(gain[key] * factor, signed=True) for key in ("low", "high"))
            tile |= {
                "before": number(records[0]["value"] * factor),
                "gain": number(gain["value"] * factor, signed=True),
                "gain_kind": "gain" if gain["value"] >= 0 else "loss",
                "note": f"[{low}, {high}]",
            }
        tiles.append(tile)
    if summary["paper"]:
        counts = Counter(cell["verdict"] for cell in summary["paper"]["cells"])
        judged = sum(counts[name] for name in ("reproduced", "above", "below"))
        tiles.append(
            {
                **_PLAIN,
                "title": "Published numbers reproduced",
                "value": f"{counts['reproduced']} of {judged}" if judged else "–",
                "note": f"{len(summary['paper']['cells']) - judged} of {len(summary['paper']['cells'])} "
                "not run or not comparable",
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
    for metric in (name for name in METRICS if any(record["metric"] == name for record in scores)):
        records = [by_name.get((system, metric)) for system in systems]
        rows.append(
            {
                **_metric(metric),
                "records": records,
                "gain": gains.get((systems[-1], metric)),
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
        "origin": origin_lines(scores),
    }


def _metric(metric: str) -> dict[str, Any]:
    label, factor = METRICS[metric]
    return {"label": label, "factor": factor, "digits": 2 if metric == "length_ratio" else 1}


def _sets(summary: Mapping[str, Any], task: str, systems: Sequence[str]) -> list[dict[str, Any]]:
    records = [record for record in summary["by_set"] if record["task"] == task]
    found = {(record["set"], record["metric"], record["system"]): record for record in records}
    rows = []
    for place in dict.fromkeys((record["set"], record["metric"]) for record in records):
        cells = [found.get((*place, system)) for system in systems]
        rows.append({"set": place[0], **_metric(place[1]), "records": cells, "n": sizes(cells)})
    return rows


def _rewards(found: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """What each kind of reward made of the same model, and what it cost."""
    if found is None:
        return None
    metrics = [metric for metric in (*QUALITY, *SHAPE) if metric in found["baseline"]["metrics"]]
    return {
        "baseline": found["baseline"]["name"],
        "metrics": [_metric(metric) for metric in metrics],
        "rows": [
            {
                "kind": "before",
                "records": [found["baseline"]["metrics"][metric] for metric in metrics],
                "differences": [None] * len(metrics),
                "training": None,
            },
            *(
                {
                    "kind": entry["kind"],
                    "records": [entry["metrics"].get(metric) for metric in metrics],
                    "differences": [entry["difference"].get(metric) for metric in metrics],
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
        "columns": [METRICS[metric][0] for metric in _ORDER_METRICS],
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


# ---------------------------------------------------------------- training


def _stage(name: str, curves: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    return {
        "name": name,
        "title": {
            "grrm_sft": "SFT of the judge",
            "grrm_rlvr": "RLVR of the judge",
            "mt_sft": "SFT of the translator",
            "mt_grpo": "GRPO of the translator",
        }.get(name, name),
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


def _efficiency(found: Mapping[str, Any] | None) -> dict[str, dict[str, Any]]:
    """GPU-hours by stage beside their forecast; empty where they were not compared."""
    if found is None or found["total"]["gpu_hours"] is None:
        return {}
    return {entry["stage"]: entry for entry in found["stages"]}


def _hacking(summary: Mapping[str, Any]) -> dict[str, Any] | None:
    """The reward's curves, and below them on the same axis what independent metrics say."""
    found = summary["hacking"]
    if found is None:
        return None
    first, last = (significant(value) for value in found["reward"])
    gains = {r["metric"]: r for r in summary["differences"] if r["system"] == found["stage"]}
    words = [
        f"{_short(metric)} {number(gains[metric]['value'] * METRICS[metric][1], signed=True)}"
        for metric in QUALITY
        if metric in gains
    ]
    rose = found["reward"][1] > found["reward"][0]
    conclusion = (
        f"{', '.join(map(_short, found['worse']))} became worse all the same: read the samples in which "
        "judge and metric disagree."
        if found["suspicious"]
        else "no sign that the judge is being exploited."
        if rose and found["better"]
        else "nothing to exploit yet."
        if not rose
        else "no metric has moved beyond its interval."
    )
    curves = {curve["title"]: curve for curve in summary["curves"][found["stage"]]}
    charts = [
        _stage(found["stage"], [curves[title]])["charts"][0]
        for title in ("Reward", "Score by the judge", "Response length (tokens)")
        if title in curves
    ]
    points = summary["checkpoints"]
    metrics = [metric for metric in (*QUALITY, *SHAPE) if any(metric in point["metrics"] for point in points)]
    for metric in metrics:
        here = [point for point in points if metric in point["metrics"]]
        factor = METRICS[metric][1]
        value, low, high = (
            [point["metrics"][metric][key] * factor for point in here] for key in ("value", "low", "high")
        )
        line = Line(_short(metric), [point["step"] for point in here], value, low, high)
        charts.append(_chart(METRICS[metric][0], [line]))
    logged = [name for name in _LOGGED if any((point["training"] or {}).get(name) for point in points)]
    return {
        "warning": found["suspicious"],
        "reading": f"The reward went from {first} to {last}; {', '.join(words)}: {conclusion}",
        "charts": charts,
        "logged": [_LOGGED[name] for name in logged],
        "metrics": [METRICS[metric][0] for metric in metrics],
        "rows": [
            {
                "step": point["step"],
                "logged": [(point["training"] or {}).get(name) for name in logged],
                "cells": [{"record": point["metrics"].get(metric), **_metric(metric)} for metric in metrics],
            }
            for point in points
        ],
    }


# Means over the last steps up to a checkpoint.
_LOGGED = {
    "reward": "Reward",
    "judge_score": "Score by the judge",
    "valid": "Valid answers (share)",
    "response_length": "Response length (tokens)",
    "entropy": "Entropy",
}


# ---------------------------------------------------------------- what ran


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
