"""What a teacher and the systems beside it will be asked, before anything is: calls, tokens, money."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from grrm.preflight.forecast import Table, shown_range
from grrm.preflight.speeds import Range


@dataclass(frozen=True)
class Questions:
    """The forecast of what one model is asked, without repeats.

    Attributes:
        name: what for.
        model: that is asked.
        calls: how many.
        prompt: tokens of all prompts.
        answer: tokens of all answers.
        cost: by the prices of the configuration; None of a model that runs here, or without prices.
        limit: what of the budget is below this, in words; empty if nothing is.
    """

    name: str
    model: str
    calls: Range
    prompt: Range
    answer: Range
    cost: Range | None
    limit: str


def annotation_questions(
    config: Mapping[str, Any], pairs: Table, assumptions: Mapping[str, Any]
) -> list[Questions]:
    """What is asked for ranking data; nothing without a teacher.

    Args:
        config: resolved configuration.
        pairs: the table that groups are made of.
        assumptions: see config/forecast.yaml.
    """
    teacher = config.get("teacher")
    if teacher is None:
        return []
    candidates, translations = teacher["candidates"], teacher["translations"]
    sources = _at_most(pairs.rows, candidates["groups"])
    found = [
        _questions(f"candidates of {one['name']}", one, sources * one["samples"], "translation", assumptions)
        for one in candidates["models"]
    ]
    sizes = candidates["sizes"]
    orders = sum(min(teacher["orders"], math.factorial(size)) for size in sizes) / len(sizes)
    found.append(_questions("rankings", teacher, sources * orders, "ranking", assumptions))
    if translations is not None:
        section = {**teacher, "budget": translations["budget"]}
        rows = _at_most(pairs.rows, translations["rows"])
        found.append(_questions("translations", section, rows, "translation", assumptions))
    return found


def _at_most(rows: Range, limit: int | None) -> Range:
    return rows if limit is None else Range(min(rows.low, limit), min(rows.high, limit))


def _questions(
    name: str, section: Mapping[str, Any], calls: Range, task: str, assumptions: Mapping[str, Any]
) -> Questions:
    prompt, answer = (
        calls * Range(*assumptions["tokens"][f"{task}_{part}"]["range"]) for part in ("prompt", "answer")
    )
    cost = None
    if section["url"] is not None and section["prompt_price"] + section["completion_price"]:
        cost = prompt * (section["prompt_price"] / 1e6) + answer * (section["completion_price"] / 1e6)
    needed = {"calls": calls, "tokens": prompt + answer, "cost": cost}
    below = [
        f"{key} {limit:g}"
        for key, limit in section["budget"].items()
        if limit is not None and (found := needed[key]) is not None and limit < found.high
    ]
    return Questions(name, section["model"], calls, prompt, answer, cost, ", ".join(below))


def format_questions(questions: Sequence[Questions], pairs: Table) -> str:
    """The forecast as text; empty where nobody is asked."""
    if not questions:
        return ""
    lines = [
        f"{'ranking data':<28}{'model':<24}{'calls':>16}{'M tokens asked':>18}{'M answered':>14}{'cost':>14}"
    ]
    for one in questions:
        lines.append(
            f"{one.name:<28}{one.model[:23]:<24}{shown_range(one.calls):>16}"
            f"{shown_range(one.prompt * 1e-6):>18}{shown_range(one.answer * 1e-6):>14}"
            f"{shown_range(one.cost):>14}"
        )
    costs = [one.cost for one in questions if one.cost is not None]
    if costs:
        lines.append(f"All of it: cost {shown_range(sum(costs, Range(0, 0)))}")
    lines += [f"The budget of {one.name} may end it: {one.limit}" for one in questions if one.limit]
    lines.append(f"Calls: without repeats. Sources: {pairs.source}")
    return "\n".join(lines)
