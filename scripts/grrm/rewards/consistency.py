"""Reward for a judge that compares, which depends on its answers to the same pair in the other order.

An answer earns 1 - w for saying what is annotated, and w more by the share of the answers to the other order
that say the same. A wrong or malformed answer earns 0, however consistent it is: a judge that always says A
earns less where it happens to be right, and nothing elsewhere.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from grrm.rewards.pairwise import compute_score
from grrm.rewards.verl_manager import Response, RewardManager
from grrm.verdicts import PREFERENCES, swap

_DEADLINE = 300.0
"""Seconds after a pair's first answer until it is rewarded without the missing ones."""

_MIRRORED: dict[str, str] = {preference: swap(preference) for preference in PREFERENCES}

Result = dict[str, float | str]


def consistent_rewards(first: Sequence[Result], second: Sequence[Result], weight: float) -> list[Result]:
    """Results of both orders with the agreement between them, in the order first, then second.

    Args:
        first: what `grrm.rewards.pairwise.compute_score` returned for the answers in one order.
        second: the same for those in the other order.
        weight: w, 0 to 1.

    Returns:
        the results, `score` changed and with `agreement`: the share of the valid answers to the other order
        that say the same; 0 for malformed answers and where the other order has no valid answer.
    """
    rewarded = []
    for own, others in ((first, second), (second, first)):
        said = [_MIRRORED[str(other["predicted"])] for other in others if other["valid"]]
        for result in own:
            agreement = said.count(str(result["predicted"])) / len(said) if said else 0.0
            right = float(result["acc"])
            rewarded.append(
                {**result, "score": right * (1 - weight + weight * agreement), "agreement": agreement}
            )
    return rewarded


@dataclass
class _Pair:
    """Answers to a pair that are not all there yet: by prompt, each with whoever waits for its reward."""

    answers: dict[str, list[tuple[Result, asyncio.Future[Result]]]] = field(default_factory=dict)
    timer: asyncio.TimerHandle | None = None

    def __len__(self) -> int:
        return sum(map(len, self.answers.values()))


class PairRewards:
    """Collects the answers to both orders of a pair, then answers every one of them.

    Args:
        rollouts: answers to each order.
        weight: see `consistent_rewards`.
        deadline: seconds until a pair is rewarded without what is missing.
    """

    def __init__(self, rollouts: int, weight: float, deadline: float = _DEADLINE) -> None:
        self._expected, self._weight, self._deadline = 2 * rollouts, weight, deadline
        self._waiting: dict[str, _Pair] = {}

    async def reward(self, pair: str, prompt: str, result: Result) -> Result:
        """The result with its reward, once both orders are answered or the deadline has passed.

        Args:
            pair: the same for both orders, and for no other pair of this step or another.
            prompt: names the order.
            result: what `grrm.rewards.pairwise.compute_score` returned.
        """
        loop = asyncio.get_running_loop()
        waiting = self._waiting.setdefault(pair, _Pair())
        answer: asyncio.Future[Result] = loop.create_future()
        waiting.answers.setdefault(prompt, []).append((result, answer))
        if len(waiting) == self._expected:
            self._release(pair)
        elif waiting.timer is None:
            waiting.timer = loop.call_later(self._deadline, self._release, pair)
        return await answer

    def _release(self, pair: str) -> None:
        waiting = self._waiting.pop(pair)
        if waiting.timer is not None:
            waiting.timer.cancel()
        first, second = [*waiting.answers.values(), [], []][:2]
        rewarded = consistent_rewards([r for r, _ in first], [r for r, _ in second], self._weight)
        for (_, answer), result in zip([*first, *second], rewarded, strict=True):
            if not answer.done():
                answer.set_result({**result, "other_order": float(bool(second))})


class ConsistencyRewardManager(RewardManager):
    """A reward manager of verl 0.9.1 (`reward.reward_manager.source: importlib`).

    `reward.reward_kwargs.weight` is w, `reward.reward_kwargs.tag` the tag of the answers (left out: better).
    `reward.num_workers` must be 1, or the two orders would not meet. Rows are those of
    `grrm.data.prepare_judges`, both orders in one step. Answers of a validation are rewarded each on its own.

    Raises:
        UserError: the configuration does not allow it.
    """

    meeting = "the two orders of a pair would not meet in one place"

    def prepare(self, config: Any, judge: str | None, judge_tokenizer: Any) -> None:
        """Read weight and tag."""
        weight = float(config.reward.reward_kwargs.weight)
        self._tag = str(config.reward.reward_kwargs.get("tag", "better"))
        self._pairs = PairRewards(int(config.actor_rollout_ref.rollout.n), weight)

    async def reward(self, response: Response) -> tuple[float, dict[str, Any]]:
        """The reward of an answer, in a training once the other order is answered too."""
        row = response.row
        info, truth = row["extra_info"], row["reward_model"]["ground_truth"]
        result = compute_score(row["data_source"], response.text, truth, tag=self._tag)
        if info["split"] == "train":
            pair = f"{row.get('global_steps', -1)}/{info['pair']}"
            result = await self._pairs.reward(pair, str(row["uid"]), result)
        else:
            result = {**result, "agreement": 0.0, "other_order": 0.0}
        return float(result["score"]), result
