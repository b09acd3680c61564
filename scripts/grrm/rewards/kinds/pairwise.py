"""A judge that compares candidates in pairs; a tournament makes scores of its answers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

from grrm.judges.groups import Group, Judged
from grrm.judges.pairwise import judge_pairwise
from grrm.judges.prompts import load_judge_prompt
from grrm.rewards.kinds.options import ScoringOptions
from grrm.rewards.kinds.scoring import Asking, Scoring
from grrm.tournament import Method


def load(options: ScoringOptions, asking: Asking) -> Scoring:
    """Raises UserError if the prompt cannot be used."""
    prompt = load_judge_prompt(options.prompt, "judge_pairwise")
    method = cast(Method, options.entry.mode)

    async def score(groups: Sequence[Group]) -> Judged:
        return await judge_pairwise(
            asking.judge(), groups, prompt, method, options.swap, tolerant=options.tolerant
        )

    return Scoring(score, columns=frozenset(prompt.columns))
