"""Prompts, which are data (config/prompts/*.yaml), and the answers that models are trained to give to them.

A template names its placeholders in braces. They are filled in one pass and what fills them is never read
again, so braces, backticks and angle brackets in a source or a translation are harmless. `{fence}` is a code
fence longer than any run of backticks in the texts of the prompt.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from grrm.files import UserError
from grrm.languages import language_name
from grrm.ranking import (
    MAX_CANDIDATES,
    MAX_SCORE,
    MIN_CANDIDATES,
    MIN_SCORE,
    RANKING_HEADER,
    SCORES_HEADER,
    format_ranking,
    format_scores,
    is_score,
    labels,
)

_PLACEHOLDER = re.compile(r"\{(\w+)\}")
_LANGUAGES = {"source_language", "target_language"}
# What prompts for general judges share: how a reference is put, and the tag of the verdict.
_JUDGE: dict[str, tuple[set[str], set[str]]] = {
    "reference": ({"reference"}, {"fence"}),
    "tag": (set(), set()),
}

# Kind of prompt -> template -> placeholders: the needed ones and those that may be left out.
_KINDS: dict[str, dict[str, tuple[set[str], set[str]]]] = {
    "ranking_score": {
        "prompt": (_LANGUAGES | {"source", "candidates"}, {"fence", "count", "labels"}),
        "candidate": ({"label", "text"}, {"fence"}),
    },
    "codeblock-think": {
        "prompt": (_LANGUAGES | {"source"}, {"fence"}),
    },
    "judge_pairwise": {
        "prompt": ({"question", "first", "second"}, {"fence", "reference"}),
        **_JUDGE,
    },
    "judge_pointwise": {
        "prompt": ({"question", "response"}, {"fence", "reference"}),
        **_JUDGE,
    },
    "judge_listwise": {
        "prompt": ({"question", "candidates"}, {"fence", "count", "reference"}),
        "candidate": ({"number", "text"}, {"fence"}),
        **_JUDGE,
    },
}


@dataclass(frozen=True)
class RankingPrompt:
    """Asks for an analysis, a ranking and scores of a group of translations (kind `ranking_score`).

    Attributes:
        prompt: template of the whole.
        candidate: template of one candidate; the candidates are joined by line ends.
    """

    prompt: str
    candidate: str

    def render(self, *, src_text: str, mt_texts: Sequence[str], src_lang: str, trg_lang: str) -> str:
        """The prompt for one group; candidates are labelled A, B, C... by position.

        Raises:
            UserError: a language is not known.
            ValueError: fewer than 2 candidates or more than 26.
        """
        if not MIN_CANDIDATES <= len(mt_texts) <= MAX_CANDIDATES:
            raise ValueError(f"{len(mt_texts)} candidates; expected {MIN_CANDIDATES} to {MAX_CANDIDATES}")
        names = labels(len(mt_texts))
        fence = code_fence(src_text, *mt_texts)
        candidates = "\n".join(
            fill_template(self.candidate, {"label": label, "text": text, "fence": fence})
            for label, text in zip(names, mt_texts, strict=True)
        )
        return fill_template(
            self.prompt,
            {
                "source_language": language_name(src_lang),
                "target_language": language_name(trg_lang),
                "source": src_text,
                "candidates": candidates,
                "fence": fence,
                "count": str(len(names)),
                "labels": ", ".join(names),
            },
        )

    def messages(
        self, *, src_text: str, mt_texts: Sequence[str], src_lang: str, trg_lang: str
    ) -> list[dict[str, str]]:
        """The same as a conversation of one user message; raises what `render` raises."""
        return _user(self.render(src_text=src_text, mt_texts=mt_texts, src_lang=src_lang, trg_lang=trg_lang))


@dataclass(frozen=True)
class TranslationPrompt:
    """Asks for an analysis and a translation in a code block (kind `codeblock-think`).

    Attributes:
        prompt: template of the whole.
    """

    prompt: str

    def render(self, *, src_text: str, src_lang: str, trg_lang: str) -> str:
        """The prompt for one segment.

        Raises:
            UserError: a language is not known.
        """
        return fill_template(
            self.prompt,
            {
                "source_language": language_name(src_lang),
                "target_language": language_name(trg_lang),
                "source": src_text,
                "fence": code_fence(src_text),
            },
        )

    def messages(self, *, src_text: str, src_lang: str, trg_lang: str) -> list[dict[str, str]]:
        """The same as a conversation of one user message; raises what `render` raises."""
        return _user(self.render(src_text=src_text, src_lang=src_lang, trg_lang=trg_lang))


def load_ranking_prompt(path: str | Path) -> RankingPrompt:
    """Read a prompt of kind `ranking_score`.

    Raises:
        UserError: the file is missing, is not such a prompt, or has unknown or missing placeholders.
    """
    return RankingPrompt(**load_templates(path, "ranking_score"))


def load_translation_prompt(path: str | Path) -> TranslationPrompt:
    """Read a prompt of kind `codeblock-think`.

    Raises:
        UserError: the file is missing, is not such a prompt, or has unknown or missing placeholders.
    """
    return TranslationPrompt(**load_templates(path, "codeblock-think"))


def ranking_answer(analysis: str, scores: Sequence[int]) -> str:
    """The answer that a GRRM is trained to give; `grrm.ranking.parse_answer` reads it back.

    Args:
        analysis: the reasoning; white space around it is left out.
        scores: 0..10 for each candidate, by position.

    Raises:
        ValueError: the analysis is empty, or the scores are not 2 to 26 integers from 0 to 10.
    """
    if not analysis.strip():
        raise ValueError("the analysis is empty")
    if not MIN_CANDIDATES <= len(scores) <= MAX_CANDIDATES:
        raise ValueError(f"{len(scores)} scores; expected {MIN_CANDIDATES} to {MAX_CANDIDATES}")
    if not all(is_score(score) for score in scores):
        raise ValueError(f"scores {list(scores)}; expected integers from {MIN_SCORE} to {MAX_SCORE}")
    by_label = dict(zip(labels(len(scores)), scores, strict=True))
    return (
        f"{analysis.strip()}\n\n{RANKING_HEADER}\n\n{format_ranking(by_label)}\n\n"
        f"{SCORES_HEADER}\n\n{format_scores(by_label)}\n"
    )


def translation_answer(analysis: str, translation: str) -> str:
    """The answer that a translation model is trained to give; `grrm.extract.code_block` reads it back.

    The fence is longer than any run of backticks in either text, so that it stands out as the only one. White
    space around either text is left out; the analysis may be empty.

    Raises:
        ValueError: the translation is empty.
    """
    if not translation.strip():
        raise ValueError("the translation is empty")
    fence = code_fence(analysis, translation)
    return f"{analysis.strip()}\n\n{fence}\n{translation.strip()}\n{fence}".lstrip()


def code_fence(*texts: str) -> str:
    """Three backticks, or one more than the longest run of backticks in any of `texts`."""
    longest = max((len(run) for text in texts for run in re.findall("`+", text)), default=0)
    return "`" * max(3, longest + 1)


def _user(content: str) -> list[dict[str, str]]:
    return [{"role": "user", "content": content}]


def fill_template(template: str, values: Mapping[str, str]) -> str:
    """Put values in the places of {names}, in one pass.

    Raises:
        KeyError: the template names a value that is not there.
    """
    return _PLACEHOLDER.sub(lambda match: values[match[1]], template)


def load_templates(path: str | Path, kind: str) -> dict[str, str]:
    """The templates of a prompt file of this kind, checked.

    Raises:
        UserError: the file is missing, is not of this kind, or has unknown or missing placeholders.
    """
    data = _read_yaml(path)
    if data.get("kind") != kind:
        raise UserError(f"{path}: kind is {data.get('kind')!r}; expected {kind!r}")
    templates = {key: value for key, value in data.items() if key != "kind"}
    expected = _KINDS[kind]
    if templates.keys() != expected.keys():
        raise UserError(f"{path}: keys are {sorted(data)}; expected {sorted({'kind', *expected})}")
    for key, template in templates.items():
        if not isinstance(template, str):
            raise UserError(f"{path}: {key} is {template!r}; expected a text")
        _check_placeholders(f"{path}: {key}", template, *expected[key])
    return templates


def _check_placeholders(where: str, template: str, needed: set[str], optional: set[str]) -> None:
    found = set(_PLACEHOLDER.findall(template))
    for name in sorted(found - needed - optional):
        known = ", ".join(f"{{{name}}}" for name in sorted(needed | optional))
        raise UserError(f"{where} has the unknown placeholder {{{name}}}; known are {known}")
    for name in sorted(needed - found):
        raise UserError(f"{where} lacks the placeholder {{{name}}}")


def _read_yaml(path: str | Path) -> dict[str, Any]:
    try:
        data = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise UserError(
            f"{path}: no such prompt file; those of the workflow lie in config/prompts"
        ) from error
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: cannot be read as a prompt file ({error})") from error
    except yaml.YAMLError as error:
        raise UserError(f"{path}: not valid YAML ({error})") from error
    if not isinstance(data, dict):
        raise UserError(f"{path}: expected a mapping with 'kind' and templates, found {type(data).__name__}")
    return data
