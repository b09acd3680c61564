"""The prompts that a configuration names, read before anything runs.

Imported while the Snakefile is parsed, so nothing heavy is imported here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, cast

from grrm.catalogue.rewards import KINDS
from grrm.config import alignment_prompt_of, grpo_runs, pieces_of, prompt_file, translation_prompt_of
from grrm.files import UserError
from grrm.judges.prompts import Kind, check_judge_prompt, load_template_prompt
from grrm.prompts import (
    TRANSLATION_KINDS,
    UPSTREAM,
    load_pointwise_prompt,
    load_ranking_prompt,
    load_templates,
    load_translation_prompt,
)


def check_prompts(config: Mapping[str, Any]) -> None:
    """Read every prompt that the models and judges of an experiment are asked.

    Of a Python function only the file is looked for: what it imports may be heavy (`check_reward_prompt`).

    Args:
        config: the resolved configuration.

    Raises:
        UserError: a file is missing, is not of the needed kind, or has unknown or missing placeholders.
    """
    if config["prompts"]["ranking"] != UPSTREAM:
        load_ranking_prompt(config["prompts"]["ranking"])
    if config["prompts"]["translation"] != UPSTREAM:
        load_translation_prompt(config["prompts"]["translation"])
    for reward in grpo_runs(config).values():
        for piece in pieces_of(reward).values():
            # The experiment's own ranking prompt is read above, and may not be there yet.
            if KINDS[piece["kind"]].translation_prompt or piece["prompt"] is not None:
                prompt = translation_prompt_of(piece, config["prompts"]["ranking"])
                _check(piece["kind"], prompt, translation=True)
    if config["alignment"] is not None:
        for piece in pieces_of(config["alignment"]["grpo"]["reward"]).values():
            _check(piece["kind"], alignment_prompt_of(piece), translation=False)
    if config["judges"] is not None:
        load_template_prompt(config["judges"]["prompts"]["pointwise"], "judge_pointwise")
        load_template_prompt(config["judges"]["prompts"]["pairwise"], "judge_pairwise")
    if "llm_judge" in config["evaluate"]["metrics"]:
        load_templates(config["evaluate"]["llm_judge"]["prompt"], "judge_translation")


def check_reward_prompt(kind: str, prompt: str, *, translation: bool) -> None:
    """Check what the judge of a reward is asked, a Python function too, which is loaded.

    Args:
        kind: of the reward; one that needs a prompt.
        prompt: its file, or path/to/file.py:function.
        translation: whether translations are judged, so that the languages are known.

    Raises:
        UserError: the prompt cannot be loaded, or is not one of this kind.
    """
    check = _CHECKS.get(KINDS[kind].prompt)
    if check is not None:
        check(prompt)
    else:
        check_judge_prompt(prompt, cast(Kind, KINDS[kind].prompt), translation=translation)


# By kind of prompt; the others are those of general judges.
_CHECKS: dict[str, Callable[[str], object]] = {
    "ranking_score": load_ranking_prompt,
    "sqm": load_pointwise_prompt,
    "translation": lambda prompt: load_translation_prompt(prompt, *TRANSLATION_KINDS),
}


def _check(kind: str, prompt: str | None, *, translation: bool) -> None:
    if prompt is None:
        return
    file = prompt_file(prompt)
    if file == prompt:
        check_reward_prompt(kind, prompt, translation=translation)
    elif not Path(str(file)).is_file():
        raise UserError(f"{file}: no such file; it should hold the prompt of reward kind {kind!r}")
