"""The prompts that a configuration names, read before anything runs.

Imported while the Snakefile is parsed, so nothing heavy is imported here.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

from grrm.config import alignment_prompt_of, prompt_file, reward_of, translation_prompt_of
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
    own = config["mt_grpo"]["reward"]
    for kind in dict.fromkeys([own["kind"], *config["reward_comparison"]]):
        reward = reward_of(own, kind)
        if kind != "grrm" or reward["prompt"] is not None:
            _check(kind, translation_prompt_of(reward, config["prompts"]["ranking"]), translation=True)
    if config["alignment"] is not None:
        reward = config["alignment"]["grpo"]["reward"]
        _check(reward["kind"], alignment_prompt_of(reward), translation=False)
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
    if kind == "grrm":
        load_ranking_prompt(prompt)
    elif kind == "sqm":
        load_pointwise_prompt(prompt)
    elif kind == "bradley_terry":
        load_translation_prompt(prompt, *TRANSLATION_KINDS)
    else:
        check_judge_prompt(prompt, cast(Kind, f"judge_{kind.partition('_')[0]}"), translation=translation)


def _check(kind: str, prompt: str | None, *, translation: bool) -> None:
    if prompt is None:
        return
    file = prompt_file(prompt)
    if file == prompt:
        check_reward_prompt(kind, prompt, translation=translation)
    elif not Path(str(file)).is_file():
        raise UserError(f"{file}: no such file; it should hold the prompt of reward kind {kind!r}")
