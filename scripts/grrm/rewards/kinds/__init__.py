"""Every way to score a group of candidates, behind one name: `reward.kind`.

    judge = JudgeOptions(model="judge", url="http://127.0.0.1:8000/v1")
    options = ScoringOptions("pairwise_dgr", prompt="config/prompts/judge_pairwise.yaml", judge=judge)
    async with Scorer(options) as scorer:
        result = await scorer.score_group(Group("What is 2 + 2?", ("4", "5")))
        result.scores  # one per candidate, on the kind's own scale; None if nothing is known about it
        scorer.points(result.scores)  # the same on one scale for all kinds, 0 to 10

What a kind is stands in `grrm.catalogue.rewards`; what it does in its module, a function

    load(options: ScoringOptions, asking: Asking) -> Scoring

which raises UserError if what it needs cannot be used. Importable without verl and torch. A failure is None
with a reason, never a score.
"""

from grrm.rewards.kinds.options import MIDDLE, Part, ScoringOptions
from grrm.rewards.kinds.scorer import Scorer
from grrm.rewards.kinds.scoring import Asking, Scoring

__all__ = ["MIDDLE", "Asking", "Part", "Scorer", "Scoring", "ScoringOptions"]
