"""Replay buffer of the synchronous trainer that looks for finished rollouts often.

trainer.v1.sampler.custom_sampler.{path,name} = pkg://grrm.verl_plugin.sampler, FastPollReplayBuffer
"""

from __future__ import annotations

from typing import Any

from verl.trainer.ppo.v1.replay_buffer import ReplayBuffer

POLL_SECONDS = 0.05


class FastPollReplayBuffer(ReplayBuffer):
    """verl's buffer polls every 2 s (trainer/ppo/v1/replay_buffer.py), longer than a step of a small model.

    verl does not hand group filtering (algorithm.filter_groups) to custom samplers.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **{**kwargs, "poll_interval": POLL_SECONDS})
