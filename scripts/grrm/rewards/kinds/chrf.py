"""chrF++ of the sentence: chrF2 with word bigrams."""

from __future__ import annotations

from grrm.rewards.kinds.options import ScoringOptions
from grrm.rewards.kinds.scoring import Asking, Scoring
from grrm.rewards.kinds.text_metrics import sentence_scores


def load(options: ScoringOptions, asking: Asking) -> Scoring:
    """chrF++ as scores of translations are computed."""
    from sacrebleu.metrics import CHRF

    metric = CHRF(word_order=2)
    return sentence_scores(lambda group: metric)
