"""BLEU of the sentence: exponential smoothing, effective order; the tokeniser goes by the language."""

from __future__ import annotations

from functools import cache
from typing import Any

from grrm.files import UserError
from grrm.judges.groups import Group
from grrm.rewards.kinds.options import ScoringOptions
from grrm.rewards.kinds.scoring import Asking, Scoring
from grrm.rewards.kinds.text_metrics import sentence_scores


def load(options: ScoringOptions, asking: Asking) -> Scoring:
    """Scoring raises UserError if the tokeniser of a language is not installed."""
    return sentence_scores(_metric_of)


def _metric_of(group: Group) -> Any:
    from grrm.metrics.translation import tokenizer

    return _metric(tokenizer(group.trg_lang))


@cache
def _metric(tokenizer: str) -> Any:
    from sacrebleu.metrics import BLEU

    try:
        return BLEU(tokenize=tokenizer, effective_order=True)
    except RuntimeError as error:  # what sacreBLEU raises when MeCab is missing
        raise UserError(f"BLEU with tokeniser {tokenizer}: {error}") from error
