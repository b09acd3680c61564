"""Asking models: ranking groups of candidates, translating segments.

    from grrm.inference import Decoding, rank
    from grrm.prompts import load_ranking_prompt

    rank("path/to/grrm", rows, load_ranking_prompt("config/prompts/ranking.yaml"), Decoding(8192))

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
from grrm.inference.asking import Answer, AnswerError, Question, Retries, ask
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

__all__ = [
    "BACKENDS",
    "Answer",
    "AnswerError",
    "Backend",
    "Completion",
    "Decoding",
    "Engine",
    "Question",
    "RankedGroup",
    "Request",
    "Retries",
    "TranslatedSegment",
    "ask",
    "choose_backend",
    "open_backend",
    "rank",
    "rank_each",
    "translate",
    "translate_each",
]
