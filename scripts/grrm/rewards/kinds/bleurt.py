"""A BLEURT checkpoint."""

from __future__ import annotations

from grrm.judges.groups import Group
from grrm.rewards.kinds.options import ScoringOptions
from grrm.rewards.kinds.scoring import Asking, Scoring
from grrm.rewards.model_scores import Item, score_with_process


def load(options: ScoringOptions, asking: Asking) -> Scoring:
    """The checkpoint is loaded when the first group is scored."""

    def item(group: Group, text: str) -> Item:
        return {"mt": text, "ref": group.reference}

    assert options.model is not None
    score, close = score_with_process("grrm.rewards.model_scores:load_bleurt", options.model, item)
    return Scoring(score, close=close)
