"""A judge that scores each candidate by itself."""

from __future__ import annotations

from collections.abc import Sequence

from grrm.judges.groups import Group, Judged
from grrm.judges.pointwise import judge_pointwise
from grrm.judges.prompts import load_judge_prompt
from grrm.rewards.kinds.options import ScoringOptions
from grrm.rewards.kinds.scoring import Asking, Scoring


def load(options: ScoringOptions, asking: Asking) -> Scoring:
    """Raises UserError if the prompt cannot be used."""
    prompt = load_judge_prompt(options.prompt, "judge_pointwise")

    async def score(groups: Sequence[Group]) -> Judged:
        return await judge_pointwise(asking.judge(), groups, prompt, options.scale, tolerant=options.tolerant)

    return Scoring(score, columns=frozenset(prompt.columns))
