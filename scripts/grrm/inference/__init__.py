"""Asking models: ranking groups of candidates, translating segments.

    from grrm.inference import rank

    rank("path/to/grrm", [{"src_text": "…", "src_lang": "en", "trg_lang": "zh", "mt_texts": ["…", "…"]}])

Nothing heavy is imported before a model is loaded.
"""

from __future__ import annotations

from grrm.inference.answers import (
    RankedGroup,
    TranslatedSegment,
    rank,
    rank_each,
    translate,
    translate_each,
)
from grrm.inference.attempts import Answer, AnswerError, Question, Retries, ask
from grrm.inference.backends import (
    BACKENDS,
    Backend,
    Completion,
    Decoding,
    Engine,
    Request,
    choose_backend,
    open_backend,
)
from grrm.inference.grading import Grade, Judgement, grade

__all__ = [
    "BACKENDS",
    "Answer",
    "AnswerError",
    "Backend",
    "Completion",
    "Decoding",
    "Engine",
    "Grade",
    "Judgement",
    "Question",
    "RankedGroup",
    "Request",
    "Retries",
    "TranslatedSegment",
    "ask",
    "choose_backend",
    "grade",
    "open_backend",
    "rank",
    "rank_each",
    "translate",
    "translate_each",
]
