"""Whether judges behind an endpoint answer, before a GPU is held for what asks them."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from grrm import event_loop
from grrm.asking.chat import question
from grrm.asking.client import JudgeClient
from grrm.asking.options import JudgeOptions
from grrm.catalogue.rewards import KINDS
from grrm.config.environment import without_variables_of
from grrm.config.rewards import alignment_prompt_of, pieces_of, rewarded_trainings, translation_prompt_of
from grrm.config.teacher import asked_sections
from grrm.files import UserError
from grrm.metrics.llm_judge import load_prompt, score_segments
from grrm.preflight.findings import Finding, failed, ok
from grrm.prompts import UPSTREAM, asked_columns, find_translation_prompt, load_templates
from grrm.rewards.kinds import ScoringOptions
from grrm.rewards.trial import try_judges
from grrm.urls import shown

_REMEDY = "start the judge, or correct %s; JUDGE_API_URL, JUDGE_MODEL_NAME and JUDGE_API_KEY come first"


def check_judges(config: Mapping[str, Any], trained: Collection[str] | None = None) -> list[Finding]:
    """A finding for each judge behind an endpoint: what it says to one question.

    Args:
        config: resolved configuration.
        trained: models that are to be made; None for all.
    """
    findings = []
    tried: list[Mapping[str, Any]] = []
    for run, key, piece, prompt in _judges(config):
        if (trained is not None and run not in trained) or piece["judge"]["replay"] or prompt == UPSTREAM:
            continue
        values = _scoring(piece, prompt)
        if values in tried:
            continue
        tried.append(values)
        findings.append(_tried(f"judge of {run}", key, values))
    if "llm_judge" in config["evaluate"]["metrics"] and trained is None:
        findings.append(_try_metric(config["evaluate"]["llm_judge"]))
    return findings


def check_asked(config: Mapping[str, Any]) -> list[Finding]:
    """A finding for each endpoint of a section `teacher`: what it says to one question, beside the budget."""
    sections = {key: one for key, one in asked_sections(config).items() if one["url"] is not None}
    return [_try_asked(key, section) for key, section in sections.items()]


def _try_asked(key: str, section: Mapping[str, Any]) -> Finding:
    try:
        options = JudgeOptions(
            model=section["model"],
            url=section["url"],
            key_variable=section["key_variable"],
            timeout=section["timeout"],
            retries=1,
            outage_patience=0.0,
            max_failure_share=1.0,
        )
        return ok(key, event_loop.run(_ask(options, section)))
    except UserError as error:
        remedy = f"start the server, or correct {key}: url, model, and the key in {section['key_variable']}"
        return failed(key, str(error), remedy)


async def _ask(options: JudgeOptions, section: Mapping[str, Any]) -> str:
    """Ask for a translation; whatever it answers will do, a refusal too."""
    prompt = find_translation_prompt("plain")
    asked = prompt.render(src_text="Guten Morgen.", src_lang="de", trg_lang="en")
    settings = {"max_tokens": section["max_tokens"], "temperature": section["temperature"]}
    body = {**question(asked, chat=True), **settings, "top_p": section["top_p"], **section["extra"]}
    async with JudgeClient(options) as client:
        reply = await client.complete(body, 0)
    name = f"{options.model} at {shown(options.url)}"
    if reply.reason not in (None, "refused"):
        raise UserError(f"{name}: asked one question, it gave no answer: {reply.detail or reply.reason}")
    return f"{name} answers a question"


def _judges(config: Mapping[str, Any]) -> Iterator[tuple[str, str, Mapping[str, Any], str | None]]:
    """Run, key of the section, the section, and prompt of each judge with an address."""
    for run, section, _, reward in rewarded_trainings(config):
        for piece in pieces_of(reward).values():
            if _is_asked(piece):
                prompt = (
                    alignment_prompt_of(piece)
                    if "." in section
                    else translation_prompt_of(piece, config["prompts"]["ranking"])
                )
                yield run, f"{section}.reward.judge", piece, prompt


def _is_asked(piece: Mapping[str, Any]) -> bool:
    return (
        KINDS[piece["kind"]].asks == "judge"
        and piece["model"] is None
        and piece["judge"]["url"] is not None
        and piece["judge"]["model"] is not None
    )


def _scoring(piece: Mapping[str, Any], prompt: str | None) -> dict[str, Any]:
    judge = {name: value for name, value in piece["judge"].items() if value is not None}
    return {
        "kind": piece["kind"],
        "prompt": prompt or "",
        "tolerant": piece.get("tolerant", False),
        "judge": {
            **judge,
            "temperature": piece["temperature"],
            "top_p": piece["top_p"],
            "max_tokens": piece["max_response_length"],
        },
    }


def _tried(check: str, key: str, values: Mapping[str, Any]) -> Finding:
    try:
        options = ScoringOptions.from_mapping(values, environment={})
        return ok(check, "; ".join(event_loop.run(try_judges(options, os.environ))))
    except UserError as error:
        return failed(check, str(error), _REMEDY % key)


def _try_metric(settings: Mapping[str, Any]) -> Finding:
    key, prompt = "evaluate.llm_judge", Path(settings["prompt"])
    given = {name: value for name, value in settings.items() if value is not None and name != "prompt"}
    try:
        options = JudgeOptions.from_mapping(given, without_variables_of(given, os.environ))
        asked = asked_columns("judge_translation", load_templates(prompt, "judge_translation"))
        row = {name: f"a {name}" for name in asked} | {"src_lang": "de", "trg_lang": "en", "comment": None}
        segment = {"src": "Guten Morgen.", "mt": "Good morning.", "ref": "Good morning.", "row": row}
        once = replace(options, retries=1, max_failure_share=1.0)
        score_segments([segment], load_prompt(prompt), once)
        return ok(key, f"judge {options.model} at {shown(options.url)} answers a question")
    except UserError as error:
        return failed(key, str(error), _REMEDY % key)
