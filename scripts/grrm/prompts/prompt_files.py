"""Prompt files: found by a name or a path, read, and written."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path

import yaml

from grrm.files import UserError, shipped
from grrm.prompts.tasks import (
    RANKING_KINDS,
    TRANSLATION_KINDS,
    PointwisePrompt,
    RankingPrompt,
    TranslationPrompt,
)
from grrm.prompts.templates import load_templates, read_templates

# In the configuration, in the place of a prompt file: the authors' own prompt.
UPSTREAM = "upstream"
# Names for the prompt files of the workflow, as they are given on a command line.
RANKING_PROMPTS = {
    "ranking_score": "ranking.yaml",
    "ranking": "gqm_ranking.yaml",
    "score": "gqm_score.yaml",
    "sqm": "sqm.yaml",
}
TRANSLATION_PROMPTS = {
    "codeblock-think": "translation.yaml",
    "plain": "translation_plain.yaml",
    "tower": "tower.yaml",
    "seed-x": "seed_x.yaml",
    "seed-x-cot": "seed_x_cot.yaml",
    "ssr": "ssr.yaml",
}
_FOLDER = shipped("config/prompts")


def load_ranking_prompt(path: str | Path, *kinds: str) -> RankingPrompt:
    """Read a prompt about a group of translations.

    Args:
        path: prompt file.
        *kinds: those of `RANKING_KINDS` allowed; by default `ranking_score`, which the GRRM is trained on.

    Raises:
        UserError: the file is missing, is not such a prompt, or lacks placeholders.
    """
    kind, templates = read_templates(path, kinds or ("ranking_score",))
    return RankingPrompt(**templates, kind=kind)


def load_pointwise_prompt(path: str | Path) -> PointwisePrompt:
    """Read a prompt of kind `sqm`.

    Raises:
        UserError: the file is missing, is not such a prompt, or lacks placeholders.
    """
    return PointwisePrompt(**load_templates(path, "sqm"))


def load_translation_prompt(path: str | Path, *kinds: str) -> TranslationPrompt:
    """Read a prompt that asks for a translation.

    Args:
        path: prompt file.
        *kinds: those of `TRANSLATION_KINDS` allowed; by default `codeblock-think`, which the translation
            model is trained on.

    Raises:
        UserError: the file is missing, is not such a prompt, or lacks placeholders.
    """
    kind, templates = read_templates(path, kinds or ("codeblock-think",))
    return TranslationPrompt(**templates, kind=kind)


def find_ranking_prompt(name: str | Path) -> RankingPrompt | PointwisePrompt:
    """A prompt that asks for scores: one of `RANKING_PROMPTS` by its name, or a prompt file of any such kind.

    Raises:
        UserError: it is neither, or the file is not such a prompt.
    """
    kind, templates = read_templates(_find(name, RANKING_PROMPTS), (*RANKING_KINDS, "sqm"))
    return PointwisePrompt(**templates) if kind == "sqm" else RankingPrompt(**templates, kind=kind)


def find_translation_prompt(name: str | Path) -> TranslationPrompt:
    """A prompt that asks for a translation: one of `TRANSLATION_PROMPTS` by its name, or a prompt file.

    Raises:
        UserError: it is neither, or the file is not such a prompt.
    """
    return load_translation_prompt(_find(name, TRANSLATION_PROMPTS), *TRANSLATION_KINDS)


def _find(name: str | Path, names: Mapping[str, str]) -> Path:
    known = names.get(str(name).lower())
    if known is None and not Path(name).exists():
        raise UserError(f"{name}: no such prompt file, and not one of {', '.join(names)}")
    return _FOLDER / known if known else Path(name)


def dump_prompt(prompt: RankingPrompt | PointwisePrompt | TranslationPrompt) -> str:
    """A prompt as the content of a prompt file; loading it gives the same prompt."""
    values = {field.name: getattr(prompt, field.name) for field in fields(prompt)}
    content = {"kind": values.pop("kind")} | {name: text for name, text in values.items() if text}
    # In double quotes every character survives; U+0085 would not without them.
    return yaml.safe_dump(content, sort_keys=False, allow_unicode=True, width=1000, default_style='"')
