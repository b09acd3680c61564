"""Bringing the responses to a prompt together, whichever requests they come in.

Current versions of OpenRLHF send each response in a request of its own, and give up after three minutes to
send it again. So a request waits here until its siblings have come; if they have not after `patience`, it is
told to ask again, and leaves the group. A client that goes away leaves it, too. A group that is complete is
scored once; the reward of a client that went away meanwhile is kept for the next time it asks.
"""

from __future__ import annotations

import asyncio
import math
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field

from grrm.files import UserError
from grrm.rewards.responses import Item

_UNCLAIMED = 10_000  # rewards kept for clients that went away


@dataclass(frozen=True)
class Reward:
    """What became of a response.

    Attributes:
        value: the reward; None if there is none.
        share: the reward as a share of the best, above 0 and below 1; None: the reward itself is one.
        info: figures to log, the same keys for every response of a server.
        failure: why there is no reward.
    """

    value: float | None
    info: dict[str, float] = field(default_factory=dict)
    failure: str | None = None
    share: float | None = None


def rewarded(rewards: Sequence[Reward]) -> tuple[list[float], list[float]]:
    """Rewards and shares of responses that all have one; a failure is not a score.

    Raises:
        UserError: one has none, or it is no number.
    """
    known = [reward for reward in rewards if reward.value is not None and math.isfinite(reward.value)]
    if len(known) < len(rewards):
        failed = next(reward for reward in rewards if reward not in known)
        raise UserError(
            f"{len(rewards) - len(known)} of {len(rewards)} responses have no reward: "
            f"{failed.failure or 'not a number'}"
        )
    values = [reward.value for reward in known if reward.value is not None]
    shares = [reward.share for reward in known]
    return values, [value if share is None else share for value, share in zip(values, shares, strict=True)]


Score = Callable[[Sequence[Item]], Awaitable[Sequence[Reward]]]
"""Rewards responses to one prompt; one reward per response, in their order."""


class IncompleteError(Exception):
    """A group was not complete in time."""


@dataclass(eq=False)
class _Member:
    item: Item
    answer: asyncio.Future[Reward]
    together: asyncio.Event = field(default_factory=asyncio.Event)
    """Set once its group is complete."""


class Collector:
    """Collects responses into groups of `size` and has each group scored once.

    Args:
        score: rewards a group.
        size: responses of a group; 0: a group are the responses to a prompt within a request.
        patience: seconds a request waits for its siblings.
        concurrency: groups scored at once.

    Attributes:
        groups: groups rewarded so far.
        failed: groups in which a response got no reward.
    """

    def __init__(self, score: Score, *, size: int, patience: float, concurrency: int) -> None:
        self._score, self._size, self._patience = score, size, patience
        self._free = asyncio.Semaphore(concurrency)
        self._waiting: dict[str, list[_Member]] = {}
        self._unclaimed: OrderedDict[tuple[str, str], list[Reward]] = OrderedDict()
        self._tasks: set[asyncio.Task[None]] = set()
        self.groups = self.failed = 0

    async def rewards(self, items: Sequence[Item]) -> list[Reward]:
        """The rewards of a request's responses, in their order.

        Raises:
            IncompleteError: siblings of a response did not come in time.
        """
        members = [_Member(item, asyncio.get_running_loop().create_future()) for item in items]
        try:
            self._enter(members)
            await self._wait_for_siblings(members)
            return list(await asyncio.gather(*[member.answer for member in members]))
        finally:
            self._leave(members)

    def _enter(self, members: Sequence[_Member]) -> None:
        groups: dict[str, list[_Member]] = {}
        for member in members:
            if (kept := self._claim(member.item)) is not None:
                member.answer.set_result(kept)
                member.together.set()
            else:
                groups.setdefault(member.item.group, []).append(member)
        for group, present in groups.items():
            if not self._size:
                self._release(present)
                continue
            together = self._waiting.pop(group, []) + present
            while len(together) >= self._size:
                self._release(together[: self._size])
                together = together[self._size :]
            if together:
                self._waiting[group] = together

    async def _wait_for_siblings(self, members: Sequence[_Member]) -> None:
        # Scoring may take as long as it takes: only the wait for siblings is limited.
        try:
            async with asyncio.timeout(self._patience):
                for member in members:
                    await member.together.wait()
        except TimeoutError:
            alone = next((member for member in members if not member.together.is_set()), None)
            if alone is None:  # the last sibling came at that very moment
                return
            raise IncompleteError(
                f"{len(self._waiting[alone.item.group])} of {self._size} responses to the prompt have come "
                f"in {self._patience:g} s: ask again; if it stays so, start the server with the number of "
                "samples that the trainer draws per prompt as --group-size"
            ) from None

    def _leave(self, members: Sequence[_Member]) -> None:
        for member in members:
            group = member.item.group
            if not member.together.is_set():
                self._waiting[group].remove(member)
                if not self._waiting[group]:
                    del self._waiting[group]
            member.answer.cancel()

    def _release(self, group: Sequence[_Member]) -> None:
        for member in group:
            member.together.set()
        task = asyncio.get_running_loop().create_task(self._settle(group))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _settle(self, group: Sequence[_Member]) -> None:
        try:
            async with self._free:
                rewards = await self._score([member.item for member in group])
        except Exception as error:
            self.failed += 1
            for member in group:
                if not member.answer.done():
                    member.answer.set_exception(error)
            return
        failed = any(reward.value is None for reward in rewards)
        self.groups, self.failed = self.groups + (not failed), self.failed + failed
        for member, reward in zip(group, rewards, strict=True):
            if not member.answer.done():
                member.answer.set_result(reward)
            elif not failed:
                self._keep(member.item, reward)

    def _keep(self, item: Item, reward: Reward) -> None:
        self._unclaimed.setdefault((item.group, item.response), []).append(reward)
        while len(self._unclaimed) > _UNCLAIMED:
            self._unclaimed.popitem(last=False)

    def _claim(self, item: Item) -> Reward | None:
        key = (item.group, item.response)
        kept = self._unclaimed.pop(key, [])
        if len(kept) > 1:
            self._unclaimed[key] = kept[1:]
        return kept[0] if kept else None
