"""BLEU and chrF++ of single candidates against a reference, by sacreBLEU."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from grrm.judges.groups import Group, GroupScores

NO_REFERENCE = "no reference to compare with"


def score_with_bleu(groups: Sequence[Group]) -> list[GroupScores]:
    """Sentence BLEU, 0 to 100: exponential smoothing, effective order; the tokeniser goes by the language.

    Raises:
        UserError: the tokeniser of a language is not installed.
    """
    from sacrebleu.metrics import BLEU

    from grrm.files import UserError
    from grrm.metrics.translation import tokenizer

    metrics: dict[str, Any] = {}
    for name in {tokenizer(group.trg_lang) for group in groups}:
        try:
            metrics[name] = BLEU(tokenize=name, effective_order=True)
        except RuntimeError as error:  # what sacreBLEU raises when MeCab is missing
            raise UserError(f"BLEU with tokeniser {name}: {error}") from error
    return [_score(metrics[tokenizer(group.trg_lang)], group) for group in groups]


def score_with_chrf(groups: Sequence[Group]) -> list[GroupScores]:
    """Sentence chrF++ (chrF2 with word bigrams), 0 to 100."""
    from sacrebleu.metrics import CHRF

    metric = CHRF(word_order=2)
    return [_score(metric, group) for group in groups]


def _score(metric: Any, group: Group) -> GroupScores:
    if not (group.reference or "").strip():
        return GroupScores((None,) * len(group.candidates), (NO_REFERENCE,))
    return GroupScores(
        tuple(float(metric.sentence_score(text, [group.reference]).score) for text in group.candidates)
    )
