"""Reward for a judge that compares, which depends on its answers to the same pair in the other order.

An answer earns 1 - w for saying what is annotated, and w more by the share of the answers to the other order
that say the same. A wrong or malformed answer earns 0, however consistent it is: a judge that always says A
earns less where it happens to be right, and nothing elsewhere.
"""

from __future__ import annotations

import asyncio
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field
from typing import Any

from grrm.asking.failures import FailureWatch
from grrm.files import UserError
from grrm.rewards.pairwise import compute_score
from grrm.rewards.verl_manager import STOP_MARK, Response, RewardManager
from grrm.verdicts import PREFERENCES, swap

_DEADLINE = 300.0
"""Seconds after a pair's first answer until it is rewarded without the missing ones."""

_MAX_INCOMPLETE = 0.2
"""Share of pairs with missing answers past which the run stops, taken over whole steps."""
_LEAST_PAIRS = 64
"""Pairs of which the share is taken at least."""

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

    round: Hashable
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
        pairs: of a step; 0 if nobody knows.
    """

    def __init__(self, rollouts: int, weight: float, deadline: float = _DEADLINE, *, pairs: int = 0) -> None:
        self._expected, self._weight, self._deadline = 2 * rollouts, weight, deadline
        self._pairs = pairs
        self._waiting: dict[str, _Pair] = {}
        self._released: set[str] = set()
        self._watch = FailureWatch(_MAX_INCOMPLETE, _LEAST_PAIRS)
        self._stopped: str | None = None

    async def reward(self, pair: str, prompt: str, result: Result, step: Hashable = None) -> Result:
        """The result with its reward, once both orders are answered or the deadline has passed.

        Args:
            pair: the same for both orders, and for no other pair of this step or another.
            prompt: names the order.
            result: what `grrm.rewards.pairwise.compute_score` returned.
            step: of the training.

        Raises:
            UserError: too many pairs were not whole at their deadline.
        """
        if self._stopped:
            raise UserError(self._stopped)
        if pair in self._released:  # the others were rewarded without it: it agrees with none of them
            (alone,) = consistent_rewards([result], [], self._weight)
            return {**alone, "other_order": 0.0}
        loop = asyncio.get_running_loop()
        if pair not in self._waiting:
            self._waiting[pair] = _Pair(step)
            self._watch.begin(step, self._pairs)
        waiting = self._waiting[pair]
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
        if missing := self._expected - len(waiting):
            self._released.add(pair)
        self._count(waiting, missing)
        first, second = [*waiting.answers.values(), [], []][:2]
        rewarded = consistent_rewards([r for r, _ in first], [r for r, _ in second], self._weight)
        for (_, answer), result in zip([*first, *second], rewarded, strict=True):
            if not answer.done():
                answer.set_result({**result, "other_order": float(bool(second))})

    def _count(self, waiting: _Pair, missing: int) -> None:
        why = f"siblings missing: {missing} of {self._expected} after {self._deadline:g} s"
        if found := self._watch.end(waiting.round, 1, bool(missing), [why] if missing else []):
            self._stopped = (
                f"{found.failed} of the last {found.asked} pairs were not whole at their deadline: {found}. "
                f"{found.advice}"
            )
            print(f"{STOP_MARK} {self._stopped}", flush=True)


class ConsistencyRewardManager(RewardManager):
    """A reward manager of verl 0.9.1 (`reward.reward_manager.source: importlib`).

    `reward.reward_kwargs.weight` is w, `reward.reward_kwargs.tag` the tag of the answers (left out: better).
    `reward.num_workers` must be 1, or the two orders would not meet. Rows are those of
    `grrm.data.prepare_judges`, both orders in one step. Answers of a validation are rewarded each on its own.
    Past a share of pairs with missing answers the run stops.

    Raises:
        UserError: the configuration does not allow it.
    """

    meeting = "the two orders of a pair would not meet in one place"

    def prepare(self, config: Any, judge: str | None, judge_tokenizer: Any) -> None:
        """Read weight and tag."""
        weight = float(config.reward.reward_kwargs.weight)
        self._tag = str(config.reward.reward_kwargs.get("tag", "better"))
        data = getattr(config, "data", None)
        # Both orders of a pair are rows.
        pairs = int(data.train_batch_size) // 2 if data is not None else 0
        self._pairs = PairRewards(int(config.actor_rollout_ref.rollout.n), weight, pairs=pairs)

    async def reward(self, response: Response) -> tuple[float, dict[str, Any]]:
        """The reward of an answer, in a training once the other order is answered too."""
        row = response.row
        info, truth = row["extra_info"], row["reward_model"]["ground_truth"]
        result = compute_score(row["data_source"], response.text, truth, tag=self._tag)
        if info["split"] == "train":
            step = row.get("global_steps", -1)
            result = await self._pairs.reward(f"{step}/{info['pair']}", str(row["uid"]), result, step)
        else:
            result = {**result, "agreement": 0.0, "other_order": 0.0}
        return float(result["score"]), result
