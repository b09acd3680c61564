"""Replay buffers of the synchronous trainer that stop at a failure and report what rewards were made of.

trainer.v1.sampler.custom_sampler.{path,name} = pkg://grrm.verl_plugin.step_sampler, ReportingReplayBuffer;
WatchingReplayBuffer where the judge shares the trainer's devices (colocated.py reports there).
"""

from __future__ import annotations

import math
import time
from typing import Any

import ray
import transfer_queue as tq

from grrm.rewards.step_metrics import step_metrics
from grrm.verl_plugin.actors import ActorWatch
from grrm.verl_plugin.reward_calls import hold_whole_steps
from grrm.verl_plugin.router import answer_for_judges, end_router_with_trainer, living_routers
from grrm.verl_plugin.sampler import FastPollReplayBuffer
from grrm.verl_plugin.save_clock import checkpoint_in_time

_GRACE = 3.0  # seconds


class WatchingReplayBuffer(FastPollReplayBuffer):
    """verl goes on if a rollout or its reward fails, with fewer rollouts, and waits for ever if one of its
    processes is killed. Here the run stops.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        # Made by the trainer's process before it starts router and reward workers: the only hook there.
        end_router_with_trainer()
        answer_for_judges()
        checkpoint_in_time()
        hold_whole_steps()
        self._actors = ActorWatch(lambda: [*ray.util.list_named_actors(), *living_routers()])

    def _sync_metadata_from_transfer_queue(self) -> None:
        super()._sync_metadata_from_transfer_queue()
        failed = [uid for uids in self.failure_keys.values() for uid in uids]
        if failed:  # a process that has ended says more; a server ends a second after its engine
            time.sleep(_GRACE)
        if gone := self._actors.gone(math.inf if failed else time.monotonic()):
            raise RuntimeError(
                f"processes of the training ended: {', '.join(gone)}, perhaps for want of memory: see "
                "what is reported about them above"
            )
        if failed:
            raise RuntimeError(
                f"the rollouts or rewards of {len(failed)} prompts failed: see the errors reported above"
            )


class ReportingReplayBuffer(WatchingReplayBuffer):
    """verl's trainer logs the mean reward only; what `reward_extra_info` holds is dropped after the step."""

    def sample(self, global_steps: int, partition_id: str, batch_size: int) -> tuple[Any, dict[str, Any]]:
        """A batch of rollouts, with the figures of `grrm.rewards.step_metrics` among its metrics."""
        batch, metrics = super().sample(global_steps, partition_id, batch_size)
        if partition_id == "train":
            metrics |= self._reward_metrics(batch)
        return batch, metrics

    def _reward_metrics(self, batch: Any) -> dict[str, float]:
        data = tq.kv_batch_get(
            keys=batch.keys, partition_id=batch.partition_id, select_fields=["rm_scores", "extra_fields"]
        )
        extra_fields = [getattr(fields, "data", fields) for fields in data["extra_fields"]]
        infos = [fields["reward_extra_info"] for fields in extra_fields]
        rewards = [float(scores.sum()) for scores in data["rm_scores"]]
        return step_metrics([key.split("_")[0] for key in batch.keys], rewards, infos)
