"""Parts of verl that take their time, by chance: up to DELAY seconds before and after what is asked for."""

from __future__ import annotations

import asyncio
import os
import random
from typing import Any

from verl.experimental.agent_loop.single_turn_agent_loop import SingleTurnAgentLoop

from grrm.rewards.group import GroupRewardManager

_CHANCE = random.SystemRandom()


async def _dawdle() -> None:
    await asyncio.sleep(_CHANCE.uniform(0, float(os.environ["DELAY"])))


class SlowAgentLoop(SingleTurnAgentLoop):
    """actor_rollout_ref.rollout.agent.default_agent_loop = slow."""

    async def run(self, sampling_params: dict[str, Any], **kwargs: Any) -> Any:
        """As verl's."""
        await _dawdle()
        output = await super().run(sampling_params, **kwargs)
        await _dawdle()
        return output


class SlowRewardManager(GroupRewardManager):
    """reward.reward_manager.name."""

    def prepare(self, config: Any, judge: str | None, judge_tokenizer: Any) -> None:
        """As the group's; asking is slow, too."""
        super().prepare(config, judge, judge_tokenizer)
        ask = self._rewards._ask

        async def ask_slowly(*args: Any) -> Any:
            await _dawdle()
            return await ask(*args)

        self._rewards._ask = ask_slowly

    async def reward(self, response: Any) -> Any:
        """As the group's."""
        await _dawdle()
        return await super().reward(response)
