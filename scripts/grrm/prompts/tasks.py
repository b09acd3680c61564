"""What the models of this project are asked: to rank a group, to grade one translation, to translate."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from types import MappingProxyType
from typing import Any, TypeAlias

from grrm.extract import (
    answer_tag,
    before_reasoning,
    code_block,
    in_form,
    last_code_block,
    translate_tag,
    whole_text,
)
from grrm.languages import base_language, language_name
from grrm.prompts.templates import (
    asked_columns,
    code_fence,
    column_texts,
    fill_template,
    joined,
    keeping_layout,
)
from grrm.ranking import (
    MAX_CANDIDATES,
    MAX_SCORE,
    MIN_CANDIDATES,
    InvalidAnswer,
    RankingAnswer,
    labels,
    parse_ranking_answer,
    parse_score_answer,
    read_answer,
)
from grrm.texts import mark_messages, unmark
from grrm.verdicts import parse_quality

# Kind of prompt -> what reads the answer to it.
RANKING_KINDS: dict[str, Callable[[str, int], RankingAnswer | InvalidAnswer]] = {
    "score": parse_score_answer,
    "ranking": parse_ranking_answer,
    "ranking_score": read_answer,
}
TRANSLATION_KINDS: dict[str, Callable[[str], str | None]] = {
    "codeblock-think": last_code_block,
    "plain": whole_text,
    "seed-x": before_reasoning,
    "ssr": answer_tag,
    "think-translate": translate_tag,
}
REWARDED_KINDS: dict[str, Callable[[str], str | None]] = {
    "codeblock-think": code_block,
    "plain": whole_text,
    "seed-x": before_reasoning,
    "ssr": partial(in_form, names=("think", "answer")),
    "think-translate": partial(in_form, names=("think", "translate")),
}
"""The same while a model is trained: the form must be that which the prompt asks for. None: another form; "":
the right form, and nothing in it, where that can be told."""
UNENDING_KINDS = frozenset({"plain", "seed-x"})
"""Kinds of which a response that was cut looks like one that ended."""
CONTINUED_KINDS = frozenset({"seed-x", "ssr", "think-translate"})
"""Kinds of models that are not asked in a chat template: the prompt is continued as it is."""

Columns: TypeAlias = Mapping[str, Any]
"""A row by the names of its columns, for placeholders that are none of the kind's own."""
NO_COLUMNS: Columns = MappingProxyType({})


@dataclass(frozen=True)
class RankingPrompt:
    """Asks for an analysis and a ranking, scores, or both, of a group of translations (GQM).

    Attributes:
        prompt: template of the whole.
        candidate: template of one candidate; the candidates are joined by line ends.
        example: how an answer ends, put in the place of {example}; may be empty.
        kind: what the answer ends with: `score`, `ranking` or `ranking_score`.
    """

    prompt: str
    candidate: str
    example: str = ""
    kind: str = "ranking_score"

    @property
    def columns(self) -> frozenset[str]:
        """Columns of a row that it names."""
        return asked_columns(self.kind, {"prompt": self.prompt, "candidate": self.candidate})

    def render(
        self,
        *,
        src_text: str,
        mt_texts: Sequence[str],
        src_lang: str,
        trg_lang: str,
        columns: Columns = NO_COLUMNS,
    ) -> str:
        """The prompt for one group; candidates are labelled A, B, C... by position.

        Raises:
            UserError: a language is not known, or a column that the prompt names is not there.
            ValueError: fewer than 2 candidates or more than 26.
        """
        if not MIN_CANDIDATES <= len(mt_texts) <= MAX_CANDIDATES:
            raise ValueError(f"{len(mt_texts)} candidates; expected {MIN_CANDIDATES} to {MAX_CANDIDATES}")
        names = labels(len(mt_texts))
        own = column_texts(self.columns, columns)
        fence = code_fence(src_text, *mt_texts, *own.values())
        keep = keeping_layout(self.prompt, self.candidate)
        candidates = joined(
            fill_template(self.candidate, {**own, "label": label, "text": keep(text), "fence": fence})
            for label, text in zip(names, mt_texts, strict=True)
        )
        return fill_template(
            self.prompt,
            {
                **own,
                "source_language": language_name(src_lang),
                "target_language": language_name(trg_lang),
                "source": keep(src_text),
                "candidates": candidates,
                "fence": fence,
                "count": str(len(names)),
                "labels": ", ".join(names),
                "example": self.example,
            },
        )

    def messages(self, **row: Any) -> list[dict[str, str]]:
        """For an engine to render: `render` as the one message of a user, marked (`grrm.texts.mark`)."""
        return _user(self.render(**row))

    def read(self, answer: str, candidates: int) -> RankingAnswer | InvalidAnswer:
        """What a judge answered about a group of so many candidates, or why it cannot be used."""
        return RANKING_KINDS[self.kind](answer, candidates)

    def without_example(self) -> RankingPrompt:
        """The same prompt without its output example."""
        return replace(self, example="")


@dataclass(frozen=True)
class PointwisePrompt:
    """Asks for an analysis and a score from 0 to 10 of a single translation (SQM, kind `sqm`).

    Attributes:
        prompt: template of the whole.
        kind: always `sqm`.
    """

    prompt: str
    kind: str = "sqm"

    @property
    def columns(self) -> frozenset[str]:
        """Columns of a row that it names."""
        return asked_columns(self.kind, {"prompt": self.prompt})

    def render(
        self, *, src_text: str, mt_text: str, src_lang: str, trg_lang: str, columns: Columns = NO_COLUMNS
    ) -> str:
        """The prompt for one translation.

        Raises:
            UserError: a language is not known, or a column that the prompt names is not there.
        """
        own = column_texts(self.columns, columns)
        keep = keeping_layout(self.prompt)
        return fill_template(
            self.prompt,
            {
                **own,
                "source_language": language_name(src_lang),
                "target_language": language_name(trg_lang),
                "source": keep(src_text),
                "translation": keep(mt_text),
                "fence": code_fence(src_text, mt_text, *own.values()),
            },
        )

    def messages(self, **row: Any) -> list[dict[str, str]]:
        """For an engine to render: `render` as the one message of a user, marked (`grrm.texts.mark`)."""
        return _user(self.render(**row))

    def read(self, answer: str) -> float:
        """The score, 0 to 10, on the last line of the answer.

        Raises:
            ValueError: there is none; says what there is.
        """
        return parse_quality(answer, MAX_SCORE)


@dataclass(frozen=True)
class TranslationPrompt:
    """Asks for a translation.

    Attributes:
        prompt: template of the whole.
        kind: `codeblock-think`: an analysis, then the translation in a code block; `plain`: nothing but the
            translation; `seed-x`: the translation, then reasoning if it is asked for; `ssr` and
            `think-translate`: reasoning, then the translation in a tag.
    """

    prompt: str
    kind: str = "codeblock-think"

    @property
    def chat(self) -> bool:
        """Whether it is put as a user's turn; else the model continues it as it is."""
        return self.kind not in CONTINUED_KINDS

    @property
    def columns(self) -> frozenset[str]:
        """Columns of a row that it names."""
        return asked_columns(self.kind, {"prompt": self.prompt})

    def render(self, *, src_text: str, src_lang: str, trg_lang: str, columns: Columns = NO_COLUMNS) -> str:
        """The prompt for one segment.

        Raises:
            UserError: a language is not known, or a column that the prompt names is not there.
        """
        own = column_texts(self.columns, columns)
        return fill_template(
            self.prompt,
            {
                **own,
                "source_language": language_name(src_lang),
                "target_language": language_name(trg_lang),
                "target_code": base_language(trg_lang),
                "source": src_text,
                "fence": code_fence(src_text, *own.values()),
            },
        )

    def messages(self, **row: Any) -> list[dict[str, str]]:
        """For an engine to render: `render` as the one message of a user, marked (`grrm.texts.mark`)."""
        return _user(self.render(**row))

    def read(self, answer: str) -> str | None:
        """The translation in a model's answer, without marks; None if there is none."""
        translation = TRANSLATION_KINDS[self.kind](answer)
        return None if translation is None else unmark(translation)


def _user(content: str) -> list[dict[str, str]]:
    return mark_messages([{"role": "user", "content": content}])
