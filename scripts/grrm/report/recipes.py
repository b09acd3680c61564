"""Published recipes side by side: what each reward did to metrics that it is not, its calls, its time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from grrm.catalogue.metrics import METRICS
from grrm.config.recipe import recipe_name

_SHOWN = tuple(metric for metric in METRICS.values() if metric.task == "translation" and metric.quality)
_METRIC_OF = {"chrf": "chrf++"}
"""Kinds of reward that are a metric under another name."""


@dataclass(frozen=True)
class Run:
    """A recipe that was run.

    Attributes:
        name: its own.
        recipe: its section of the configuration.
        begins_at: the model that it began at, in words.
        rewards: kinds of reward that it is made of.
        found: what compare_reward_kinds wrote of it.
        calls: to a judge.
        seconds: that its training took, its start included.
    """

    name: str
    recipe: Mapping[str, Any]
    begins_at: str
    rewards: Sequence[str]
    found: Mapping[str, Any]
    calls: int
    seconds: float


def recipes_document(runs: Sequence[Run], machine: Mapping[str, Any], date: str) -> dict[str, Any]:
    """Everything in the table, and what it stands on."""
    return {"date": date, "machine": dict(machine), "recipes": [_recipe(run) for run in runs]}


def _recipe(run: Run) -> dict[str, Any]:
    (kind,) = run.found["kinds"]
    return {
        "name": run.name,
        "title": recipe_name(run.recipe),
        "source": run.recipe["source"],
        "exact": run.recipe["exact"],
        "open": list(run.recipe.get("open", ())),
        "begins_at": run.begins_at,
        "rewards": list(run.rewards),
        "before": _values(run.found["baseline"]),
        "after": _values(kind),
        "difference": kind["difference"],
        "n": kind["n"],
        "training": {**kind["training"], "seconds": run.seconds},
        "calls": run.calls,
        "judge_calls": kind["judge_calls"],
    }


def _values(system: Mapping[str, Any]) -> dict[str, Any]:
    return {name: system["metrics"][name] for name in system["metrics"]}


def recipes_text(document: Mapping[str, Any]) -> str:
    """The table in Markdown, with the date and the kind of machine."""
    machine, recipes = document["machine"], document["recipes"]
    metrics = [metric for metric in _SHOWN if all(metric.name in recipe["after"] for recipe in recipes)]
    head = ["recipe", "begins at", "reward", *(metric.label for metric in metrics), "steps", "calls", "time"]
    lines = [head, ["---"] * len(head)]
    for recipe in recipes:
        training = recipe["training"]
        reward = training["reward"]
        rewarded = {_METRIC_OF.get(kind, kind) for kind in recipe["rewards"]}
        lines.append(
            [
                recipe["title"],
                recipe["begins_at"],
                f"{reward['first']:.2f} → {reward['last']:.2f}",
                *(_change(metric.name, recipe, rewarded) for metric in metrics),
                str(training["steps"]),
                str(recipe["calls"] or ""),
                f"{training['seconds'] / 60:.1f} min",
            ]
        )
    table = "\n".join(f"| {' | '.join(line)} |" for line in lines)
    return (
        f"{document['date']}, {machine['cpu']}, {machine['cores']} cores. Before → after on "
        f"{recipes[0]['n']} held-out segments of the toy world; * is part of the recipe's own reward. Calls "
        f"are those to a judge; time is that of the training, verl's start included.\n\n{table}\n"
    )


def _change(name: str, recipe: Mapping[str, Any], rewarded: set[str]) -> str:
    factor, digits = METRICS[name].factor, METRICS[name].digits
    before, after = (recipe[when][name]["value"] * factor for when in ("before", "after"))
    return f"{before:.{digits}f} → {after:.{digits}f}{'*' if name in rewarded else ''}"
