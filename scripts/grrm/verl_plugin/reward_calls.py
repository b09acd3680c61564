"""A reward worker that takes all rollouts of a step at once."""

from __future__ import annotations

import functools
from typing import Any

from grrm.rewards.verl_manager import held_calls
from grrm.verl_plugin.compatibility import check_signature

RAYS_OWN = 1000
"""Calls that an asynchronous actor of Ray takes at once unless told otherwise."""
_SPARE = 64
"""Calls that are no rollouts."""


def hold_whole_steps() -> None:
    """Size the reward workers for the rollouts that wait in them; call this in the trainer's process.

    A reward manager that compares keeps each rollout's call until its siblings have come. Rollouts come in
    any order: once Ray's 1000 calls all wait, the siblings cannot come any more.

    Raises:
        IncompatibleVerlError: verl makes its reward workers in another way.
    """
    import ray
    from verl.experimental.reward_loop import reward_loop

    original = reward_loop.RewardLoopManager._init_reward_loop_workers
    if hasattr(original, "__wrapped__"):
        return
    check_signature(original, ["self"], "verl/experimental/reward_loop/reward_loop.py")

    @functools.wraps(original)
    def with_room(self: Any) -> None:
        calls = max(RAYS_OWN, held_calls(self.config) + _SPARE)
        self.reward_loop_workers_class = ray.remote(max_concurrency=calls)(reward_loop.RewardLoopWorker)
        original(self)

    reward_loop.RewardLoopManager._init_reward_loop_workers = with_room
