"""Scores from 0 to 100 by a large language model behind an OpenAI-compatible endpoint (GEMBA-SQM's scale)."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from grrm import event_loop
from grrm.asking.client import JudgeClient
from grrm.asking.failures import in_words
from grrm.asking.options import JudgeOptions
from grrm.config.environment import without_variables_of
from grrm.files import UserError, sha256
from grrm.judges.questions import Verdict
from grrm.languages import language_name
from grrm.metrics.segments import Given, Scored
from grrm.prompts import (
    asked_columns,
    check_columns,
    code_fence,
    column_texts,
    fill_template,
    keeping_layout,
    load_templates,
)
from grrm.verdicts import parse_quality

HIGHEST = 100


@dataclass(frozen=True)
class JudgedSegments:
    """What the judge said.

    Attributes:
        scores: one per segment, 0 to 100; None where the judge failed.
        reasons: why it failed, in one word each, with counts.
        answers: what it wrote; None where it was not asked or did not answer.
    """

    scores: list[float | None]
    reasons: dict[str, int]
    answers: list[str | None]


def score(given: Given) -> Scored:
    """What the judge says about translations; None where it failed.

    Its key is read from the environment variable JUDGE_API_KEY; what was answered is kept in the journal.

    Raises:
        UserError: a setting or the prompt cannot be used; see `score_segments`.
    """
    prompt = Path(given.options["prompt"])
    settings = {key: value for key, value in given.options.items() if value is not None and key != "prompt"}
    # Variables about the judge that rewards are no variables about the one that evaluates.
    environment = without_variables_of(settings, os.environ)
    kept = {"cache": str(given.journal or "")}
    if given.journal and "budget" in settings:  # it goes on where an interrupted run left it
        kept["ledger"] = str(given.journal.with_suffix(".calls.jsonl"))
    options = JudgeOptions.from_mapping({**settings, **kept}, environment)
    render = load_prompt(prompt)
    judged = score_segments(list(given.segments), render, options)
    more = {"model": options.model, "failures": judged.reasons, "answers": judged.answers}
    return Scored(judged.scores, signature(options, prompt), more)


def load_prompt(path: str | Path) -> Callable[[dict[str, Any]], str]:
    """A function from a segment (src, mt, ref, row) to what the judge is asked.

    Raises:
        UserError: the file is missing or not of kind judge_translation.
    """
    templates = load_templates(path, "judge_translation")
    return partial(_render, path, templates, asked_columns("judge_translation", templates))


def score_segments(
    segments: Sequence[dict[str, Any]], render: Callable[[dict[str, Any]], str], options: JudgeOptions
) -> JudgedSegments:
    """Ask the judge about every segment; a failed translation, which is empty, gets 0 without being asked.

    Raises:
        UserError: the judge fails too often, or could not say anything about any segment.
    """
    asked = [i for i, segment in enumerate(segments) if segment["mt"].strip()]
    questions = [(render(segments[i]), partial(parse_quality, highest=HIGHEST)) for i in asked]
    verdicts = dict(zip(asked, event_loop.run(_decide(questions, options)), strict=True))
    reasons = Counter(str(verdict.reason) for verdict in verdicts.values() if verdict.value is None)
    if verdicts and reasons.total() == len(verdicts):
        first = next(iter(verdicts.values()))
        raise UserError(
            f"judge {options.model}: not one of {len(verdicts)} segments was judged "
            f"({in_words(reasons)}; the first: {first.detail})"
        )
    return JudgedSegments(
        [verdicts[i].value if i in verdicts else 0.0 for i in range(len(segments))],
        dict(reasons),
        [verdicts[i].text if i in verdicts else None for i in range(len(segments))],
    )


def signature(options: JudgeOptions, prompt: Path) -> str:
    """Judge, sampling and prompt."""
    return (
        f"LLM judge|model:{options.model}|scale:0-{HIGHEST}|temperature:{options.temperature:g}"
        f"|prompt:{sha256(prompt)[:12]}|failed translation:0|failed judgement:left out"
    )


async def _decide(
    questions: Sequence[tuple[str, Callable[[str], float]]], options: JudgeOptions
) -> list[Verdict[float]]:
    async with JudgeClient(options) as client:
        return await client.decide(questions)


def _render(
    path: str | Path, templates: dict[str, str], asked: frozenset[str], segment: dict[str, Any]
) -> str:
    row = segment["row"]
    check_columns(path, asked, row)
    own = column_texts(asked, row)
    hints = row.get("comment") or ""
    reference = segment["ref"] or ""
    fence = code_fence(segment["src"], segment["mt"], reference, hints, *own.values())
    keep = keeping_layout(*(templates[key] for key in ("prompt", "reference", "hints")))
    return fill_template(
        templates["prompt"],
        {
            **own,
            "source_language": language_name(row["src_lang"]),
            "target_language": language_name(row["trg_lang"]),
            "source": keep(segment["src"]),
            "translation": keep(segment["mt"]),
            "reference": _filled(templates["reference"], "reference", keep(reference), fence, own),
            "hints": _filled(templates["hints"], "hints", keep(hints), fence, own),
            "fence": fence,
        },
    )


def _filled(template: str, name: str, text: str, fence: str, own: dict[str, str]) -> str:
    return fill_template(template, {**own, name: text, "fence": fence}) if text.strip() else ""
