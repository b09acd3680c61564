"""Whether a teacher's translation may be learnt from: its form, language and length."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from grrm.extract import after_thinking
from grrm.files import is_text
from grrm.metrics.language import can_tell, is_off_target
from grrm.prompts import TranslationPrompt, translation_answer
from grrm.texts import unmark


def response_of(answer: str, prompt: TranslationPrompt) -> tuple[str, str] | str:
    """The response to learn and the translation in it, or why there is none, in one word.

    Thinking is no part of it. The response is written anew, analysis first, then the translation in the one
    code block: a teacher may have put its own into several.

    Args:
        answer: of the teacher, whole.
        prompt: that it answered.
    """
    translation = prompt.read(answer)
    said = after_thinking(answer)
    if translation is None or said is None:
        return "no_translation"
    head, found, _ = unmark(said).rpartition(translation)
    analysis = head.rstrip().rstrip("`").rstrip() if found else ""
    # What opened the block, with its word for a language.
    first, _, last = analysis.rpartition("\n")
    if last.lstrip().startswith("```"):
        analysis = first.rstrip()
    if not analysis:
        return "no_analysis"
    response = translation_answer(analysis, translation)
    if "\0" in response or not is_text(response):
        return "no_text"
    return response, translation


def failed_check(row: Mapping[str, Any], translation: str, settings: Mapping[str, Any]) -> str | None:
    """The check that a translation fails, in one word; None if it passes all.

    Args:
        row: with src_text, trg_lang and, where it is known, trg_text.
        translation: of it.
        settings: `length` (shortest and longest, as multiples of the reference's characters, without one of
            the source's) and `language` (whether it is looked at).
    """
    shortest, longest = settings["length"]
    expected = len(row.get("trg_text") or row["src_text"])
    if not shortest * expected <= len(translation) <= longest * expected:
        return "length"
    if settings["language"] and can_tell(row["trg_lang"]) and is_off_target(translation, row["trg_lang"]):
        return "language"
    return None
