"""A sequence-classification checkpoint: the logit of a conversation that ends with the candidate."""

from __future__ import annotations

import math
from collections.abc import Sequence

from grrm.judges.groups import Group
from grrm.prompts import TRANSLATION_KINDS, check_columns, load_translation_prompt
from grrm.rewards.kinds.options import ScoringOptions
from grrm.rewards.kinds.scoring import Asking, Scoring
from grrm.rewards.model_scores import Item, score_with_process


def load(options: ScoringOptions, asking: Asking) -> Scoring:
    """Raises UserError if the prompt cannot be used."""
    prompt = load_translation_prompt(options.prompt, *TRANSLATION_KINDS) if options.prompt else None

    def item(group: Group, text: str) -> Item:
        messages = group.messages
        if prompt is not None:
            check_columns(options.prompt, prompt.columns, group.columns)
            request = prompt.render(
                src_text=group.question,
                src_lang=group.src_lang,
                trg_lang=group.trg_lang,
                columns=group.columns,
            )
            messages = [{"role": "user", "content": request}]
        return {"messages": [*messages, {"role": "assistant", "content": text}]}

    assert options.model is not None
    score, close = score_with_process("grrm.rewards.model_scores:load_bradley_terry", options.model, item)
    return Scoring(score, points, close, frozenset(prompt.columns) if prompt else frozenset())


def points(scores: Sequence[float | None]) -> list[float | None]:
    """Ten times the probability that the model prefers the candidate to one with its group's mean score.

    A score is defined up to a constant per question.
    """
    known = [score for score in scores if score is not None]
    mean = math.fsum(known) / len(known) if known else 0.0
    return [None if score is None else 10 * _sigmoid(score - mean) for score in scores]


def _sigmoid(value: float) -> float:
    return 0.5 * (1 + math.tanh(value / 2))
