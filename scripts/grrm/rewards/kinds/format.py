"""The bonus for a right form: 1 for every translation.

What is not in the form that its prompt asks for is no candidate: its rollout gets `default_reward`, or
`empty_reward` if nothing stands in the form. In a mixture this is the term by which good ones stand above it.
"""

from __future__ import annotations

from collections.abc import Sequence

from grrm.judges.groups import Group, GroupScores, Judged, judged_singly
from grrm.rewards.kinds.options import ScoringOptions
from grrm.rewards.kinds.scoring import Asking, Scoring


def load(options: ScoringOptions, asking: Asking) -> Scoring:
    """Nothing is loaded."""

    async def score(groups: Sequence[Group]) -> Judged:
        return judged_singly([GroupScores((1.0,) * len(group.candidates)) for group in groups])

    return Scoring(score)
