"""The reward of rollouts that are judged together: all rollouts of a prompt, by any of `grrm.rewards.kinds`.

verl hands rollouts over one by one; `GroupRewardManager` (`manager`) holds each until its siblings (same
`uid`) are there (`collect`), has the group scored once (`judging`) and answers all of them. What is judged is
either a translation, the code block that ends the response, or the response itself without its thinking; then
the preferred response of the row (`chosen`) is judged among them. What counts as a translation, the order in
which candidates are shown, how a failure is answered and how scores become rewards is one of two semantics:
`strict` (default) and, for the GRRM alone, `published`.

Importable without verl and torch: only the manager's methods touch what verl passes in.
"""

from grrm.judges.translation import strict_scores
from grrm.rewards.group.collect import GroupRewards, Reward
from grrm.rewards.group.judging import asking_insistently, score_plan
from grrm.rewards.group.ledger import GroupLedger
from grrm.rewards.group.manager import GroupRewardManager, compute_score
from grrm.rewards.group.options import NEUTRAL_SCORE, GroupOptions
from grrm.rewards.group.plan import FIGURES, Judgement, Plan, Rollout, overlong_penalty
from grrm.rewards.group.published import published_code_block, published_scores
from grrm.rewards.group.semantics import plan_group
from grrm.rewards.verl_manager import STOP_MARK

__all__ = [
    "FIGURES",
    "NEUTRAL_SCORE",
    "STOP_MARK",
    "GroupLedger",
    "GroupOptions",
    "GroupRewardManager",
    "GroupRewards",
    "Judgement",
    "Plan",
    "Reward",
    "Rollout",
    "asking_insistently",
    "compute_score",
    "overlong_penalty",
    "plan_group",
    "published_code_block",
    "published_scores",
    "score_plan",
    "strict_scores",
]
