"""The page about data that a teacher made: figures, and the groups with its answers, in one HTML file."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from markupsafe import Markup

from grrm.asking.failures import in_words
from grrm.files import UserError, read_json
from grrm.ranking import MAX_SCORE
from grrm.report.numbers import number
from grrm.report.samples import script_json
from grrm.report.templates import ASSETS, template

# Groups of each sort within the page.
SHOWN = 200

_SECTIONS = (
    ("groups", "Groups"),
    ("agreement", "Agreement"),
    ("systems", "Scores by system"),
    ("positions", "Position bias"),
    ("samples", "Groups and answers"),
)
# What a reader calls a reason; others are shown as they are.
_REASONS = {
    "disagreement": "dropped: the orders disagree",
    "refused": "dropped: refused",
    "budget": "not asked: the budget is spent",
    "no_analysis": "dropped: no analysis",
    "no_translation": "dropped: no translation in the answer",
    "language": "dropped: another language",
    "length": "dropped: too short or too long",
}


def read_outcome(path: Path, task: str) -> dict[str, Any]:
    """Statistics written by annotate_rankings or annotate_translations.

    Raises:
        UserError: it is another file.
    """
    document = read_json(path)
    if not isinstance(document, dict) or document.get("task") != task or "spent" not in document:
        raise UserError(f"{path}: no statistics of {task}; run annotate_{task} again")
    return document


def annotation_page(
    experiment: str,
    candidates: Mapping[str, Any],
    rankings: Mapping[str, Any],
    groups: Iterable[Mapping[str, Any]],
    translations: Mapping[str, Any] | None = None,
) -> str:
    """The page.

    Args:
        experiment: its name.
        candidates: written by propose_candidates.
        rankings: statistics written by annotate_rankings.
        groups: all of them with all answers, written by annotate_rankings.
        translations: statistics written by annotate_translations.
    """
    kept, dropped = _first(groups)
    agreement = rankings["agreement"]
    parts = [_part("Rankings", rankings)]
    if translations is not None:
        parts.append(_part("Translations", translations))
    return template("annotation.html.j2").render(
        experiment=experiment,
        css=Markup((ASSETS / "page.css").read_text(encoding="utf-8")),
        js=Markup(
            "".join((ASSETS / name).read_text(encoding="utf-8") for name in ("page.js", "annotation.js"))
        ),
        sections=_SECTIONS,
        teacher=_teacher(rankings["teacher"]),
        tiles=[
            {
                "title": "Groups kept",
                "value": f"{rankings['kept']} of {rankings['total']}",
                "note": f"of {candidates['sources']} sources",
            },
            {
                "title": "Agreement between orders",
                "value": "–" if agreement["mean"] is None else f"{number(100 * agreement['mean'])} %",
                "note": f"{agreement['n']} groups with an answer in every order",
            },
            {
                "title": "Spent on rankings",
                "value": _money(rankings["spent"]),
                "note": _spent(rankings["spent"]),
            },
        ],
        parts=parts,
        sizes=list(rankings["sizes"].items()),
        tied=rankings["tied_pairs"],
        agreement=agreement,
        systems=_systems(candidates["systems"], rankings["systems"]),
        positions=rankings["positions"],
        reasons=list(rankings["dropped"]),
        shown={
            "kept": len(kept),
            "all_kept": rankings["kept"],
            "dropped": len(dropped),
            "all_dropped": rankings["total"] - rankings["kept"],
        },
        samples=Markup(script_json([*kept, *dropped])),
    )


def _first(groups: Iterable[Mapping[str, Any]]) -> tuple[list[Mapping[str, Any]], list[Mapping[str, Any]]]:
    """The first groups that were kept, and the first that were dropped."""
    kept: list[Mapping[str, Any]] = []
    dropped: list[Mapping[str, Any]] = []
    for group in groups:
        sort = kept if group["dropped"] is None else dropped
        if len(sort) < SHOWN:
            sort.append(group)
    return kept, dropped


def _part(title: str, outcome: Mapping[str, Any]) -> dict[str, Any]:
    dropped = [(_REASONS.get(reason, f"dropped: {reason}"), n) for reason, n in outcome["dropped"].items()]
    return {
        "title": title,
        "rows": [("kept", outcome["kept"]), *dropped],
        "total": max(outcome["total"], 1),
        "spent": _spent(outcome["spent"])
        + (f", {_money(outcome['spent'])}" if outcome["spent"]["cost"] else ""),
        "ended_by_budget": outcome["ended_by_budget"],
    }


def _systems(given: Mapping[str, Any], scored: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Systems, best mean first, those that nobody scored last."""
    nothing = {"n": 0, "mean": None, "counts": [0] * (MAX_SCORE + 1)}
    rows = [
        {
            "name": name,
            **{key: counts[key] for key in ("candidates", "chosen")},
            "missing": in_words(counts["missing"]),
            **scored.get(name, nothing),
        }
        for name, counts in given.items()
    ]
    return sorted(rows, key=lambda row: -(row["mean"] if row["mean"] is not None else -1))


def _teacher(made_by: Mapping[str, Any]) -> str:
    decoding = made_by["decoding"]
    return (
        f"Teacher {made_by['model']} ({made_by['weights'][:64]}), temperature {decoding['temperature']:g}, "
        f"top_p {decoding['top_p']:g}, seed {decoding['seed']}."
    )


def _money(spent: Mapping[str, float]) -> str:
    return f"{number(spent['cost'], 2)} in money" if spent["cost"] else f"{spent['calls']:,.0f} calls"


def _spent(spent: Mapping[str, float]) -> str:
    return f"{spent['calls']:,.0f} calls, {spent['tokens']:,.0f} tokens"
