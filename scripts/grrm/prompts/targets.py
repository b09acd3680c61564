"""The answers that models are trained to give to the prompts."""

from __future__ import annotations

from collections.abc import Sequence

from grrm.prompts.templates import code_fence
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


def ranking_answer(analysis: str, scores: Sequence[int], kind: str = "ranking_score") -> str:
    """The answer that a GRRM is trained to give; the reader of its kind (`RANKING_KINDS`) reads it back.

    Args:
        analysis: the reasoning; white space around it is left out.
        scores: 0..10 for each candidate, by position.
        kind: what the answer ends with: score, ranking or ranking_score.

    Raises:
        KeyError: the kind is unknown.
        ValueError: the analysis is empty, or see `ranking_verdict`.
    """
    if not analysis.strip():
        raise ValueError("the analysis is empty")
    return f"{analysis.strip()}\n\n{ranking_verdict(scores, kind)}"


def ranking_verdict(scores: Sequence[int], kind: str = "ranking_score") -> str:
    """What such an answer ends with.

    Raises:
        KeyError: the kind is unknown.
        ValueError: the scores are not 2 to 26 integers from 0 to 10.
    """
    if not MIN_CANDIDATES <= len(scores) <= MAX_CANDIDATES:
        raise ValueError(f"{len(scores)} scores; expected {MIN_CANDIDATES} to {MAX_CANDIDATES}")
    if not all(is_score(score) for score in scores):
        raise ValueError(f"scores {list(scores)}; expected integers from {MIN_SCORE} to {MAX_SCORE}")
    by_label = dict(zip(labels(len(scores)), scores, strict=True))
    ranking_block = f"{RANKING_HEADER}\n\n{format_ranking(by_label)}\n"
    ends = {
        "score": ", ".join(f"{label}: {score}" for label, score in by_label.items()) + "\n",
        "ranking": ranking_block,
        "ranking_score": f"{ranking_block}\n{SCORES_HEADER}\n\n{format_scores(by_label)}\n",
    }
    return ends[kind]


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
