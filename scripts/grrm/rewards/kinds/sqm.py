"""A judge that scores each translation by itself (scalar quality metric)."""

from __future__ import annotations

from collections.abc import Sequence

from grrm.judges.groups import Group, Judged
from grrm.judges.translation import judge_quality
from grrm.prompts import check_columns, load_pointwise_prompt
from grrm.rewards.kinds.options import ScoringOptions
from grrm.rewards.kinds.scoring import Asking, Scoring


def load(options: ScoringOptions, asking: Asking) -> Scoring:
    """Raises UserError if the prompt cannot be used."""
    prompt = load_pointwise_prompt(options.prompt)

    async def score(groups: Sequence[Group]) -> Judged:
        for group in groups:
            check_columns(options.prompt, prompt.columns, group.columns)
        return await judge_quality(asking.judge(), groups, prompt)

    return Scoring(score, columns=frozenset(prompt.columns))
