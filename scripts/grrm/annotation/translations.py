"""Analyses and translations by a teacher, for the SFT of a translation model: kept where checks pass."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from grrm.annotation.asked import Asked, chunks, in_order
from grrm.annotation.checks import failed_check, response_of
from grrm.annotation.rankings import key_of
from grrm.inference.answers import TranslatedSegment, translate_each
from grrm.prompts import TranslationPrompt

Row = dict[str, Any]

_TOGETHER = 4096


@dataclass(frozen=True)
class Translated:
    """A source and what became of it.

    Attributes:
        row: of the table of pairs.
        answer: of the teacher.
        dropped: why it is no row, in one word; None if it is one.
        response: to learn; empty if there is none.
        translation: in it; likewise.
    """

    row: Row
    answer: TranslatedSegment
    dropped: str | None
    response: str = ""
    translation: str = ""


def translate_pairs(
    asked: Asked, rows: Sequence[Row], prompt: TranslationPrompt, checks: Mapping[str, Any], seed: int
) -> Iterator[Translated]:
    """Ask a teacher to translate; answers come in the sequence of rows.

    Args:
        asked: the teacher.
        rows: with src_text, src_lang, trg_lang and the columns that the prompt names.
        prompt: what it is asked.
        checks: see `failed_check`.
        seed: of sampling.
    """
    with asked.progress(len(rows)) as progress:
        for together in chunks(rows, _TOGETHER):
            keys = [(seed, key_of(row)) for row in together]
            found = translate_each(
                asked.backend, together, prompt, asked.decoding, retries=asked.retries, keys=keys
            )
            for row, answer in zip(together, in_order(found, asked.tally, progress), strict=True):
                yield checked(row, answer, prompt, checks)


def checked(
    row: Row, answer: TranslatedSegment, prompt: TranslationPrompt, checks: Mapping[str, Any]
) -> Translated:
    """What becomes of a source by the answer about it."""
    if answer.failure:
        return Translated(row, answer, answer.failure)
    found = response_of(answer.raw, prompt)
    if isinstance(found, str):
        return Translated(row, answer, found)
    response, translation = found
    return Translated(row, answer, failed_check(row, translation, checks), response, translation)


def translation_row(translated: Translated, made_by: Mapping[str, Any]) -> Row:
    """The row that a translation model is trained on."""
    return {
        **{name: translated.row[name] for name in ("src_text", "src_lang", "trg_lang")},
        "response": translated.response,
        "provenance": json.dumps({"teacher": dict(made_by)}, ensure_ascii=False, sort_keys=True),
    }


def record_of(translated: Translated) -> Row:
    """All that was asked and answered about a source."""
    return {
        **{name: translated.row[name] for name in ("src_text", "trg_text", "src_lang", "trg_lang")},
        "answer": translated.answer.raw,
        "detail": translated.answer.detail,
        "attempts": translated.answer.attempts,
        "translation": translated.translation or None,
        "dropped": translated.dropped,
    }
