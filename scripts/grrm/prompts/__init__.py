"""Prompts, which are data (config/prompts/*.yaml), and the answers that models are trained to give to them.

A template names its placeholders in braces. They are filled in one pass and what fills them is never read
again, so braces, backticks and angle brackets in a source or a translation are harmless. `{fence}` is a code
fence longer than any run of backticks in the texts of the prompt. A placeholder that is none of its
kind's own names a column of the row that is asked about.

`templates` reads, checks and fills templates; `tasks` are the prompts about translations; `prompt_files`
finds and writes their files; `targets` are the answers to learn; `authors` has the authors' own prompts.
"""

from __future__ import annotations

from grrm.prompts.authors import (
    gqm_prompt,
    sqm_prompt,
    translation_prompt,
    upstream_pointwise_prompt,
    upstream_ranking_prompt,
    upstream_translation_prompt,
)
from grrm.prompts.prompt_files import (
    RANKING_PROMPTS,
    TRANSLATION_PROMPTS,
    UPSTREAM,
    dump_prompt,
    find_ranking_prompt,
    find_translation_prompt,
    load_pointwise_prompt,
    load_ranking_prompt,
    load_translation_prompt,
)
from grrm.prompts.targets import ranking_answer, ranking_verdict, translation_answer
from grrm.prompts.tasks import (
    CONTINUED_KINDS,
    RANKING_KINDS,
    REWARDED_KINDS,
    TRANSLATION_KINDS,
    UNENDING_KINDS,
    PointwisePrompt,
    RankingPrompt,
    TranslationPrompt,
)
from grrm.prompts.templates import (
    LANGUAGES,
    as_it_is,
    asked_columns,
    check_columns,
    check_templates,
    code_fence,
    column_text,
    column_texts,
    fill_template,
    joined,
    keeping_layout,
    load_templates,
)

__all__ = [
    "CONTINUED_KINDS",
    "LANGUAGES",
    "RANKING_KINDS",
    "RANKING_PROMPTS",
    "REWARDED_KINDS",
    "TRANSLATION_KINDS",
    "TRANSLATION_PROMPTS",
    "UNENDING_KINDS",
    "UPSTREAM",
    "PointwisePrompt",
    "RankingPrompt",
    "TranslationPrompt",
    "as_it_is",
    "asked_columns",
    "check_columns",
    "check_templates",
    "code_fence",
    "column_text",
    "column_texts",
    "dump_prompt",
    "fill_template",
    "find_ranking_prompt",
    "find_translation_prompt",
    "gqm_prompt",
    "joined",
    "keeping_layout",
    "load_pointwise_prompt",
    "load_ranking_prompt",
    "load_templates",
    "load_translation_prompt",
    "ranking_answer",
    "ranking_verdict",
    "sqm_prompt",
    "translation_answer",
    "translation_prompt",
    "upstream_pointwise_prompt",
    "upstream_ranking_prompt",
    "upstream_translation_prompt",
]
