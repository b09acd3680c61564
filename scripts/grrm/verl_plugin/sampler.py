"""Replay buffer of the synchronous trainer: looks for finished rollouts often, hands them over in order.

trainer.v1.sampler.custom_sampler.{path,name} = pkg://grrm.verl_plugin.sampler, FastPollReplayBuffer
"""

from __future__ import annotations

from typing import Any

from verl.trainer.ppo.v1.replay_buffer import ReplayBuffer

from grrm.verl_plugin.compatibility import check_signature

POLL_SECONDS = 0.05


_WHERE = "verl/trainer/ppo/v1/replay_buffer.py"
check_signature(
    ReplayBuffer._select_prompt_uids, ["self", "partition_id", "sampleable_keys", "batch_size"], _WHERE
)
check_signature(
    ReplayBuffer._materialize_batch,
    ["self", "partition_id", "selected_prompt_uids", "partition_snapshot"],
    _WHERE,
)


class FastPollReplayBuffer(ReplayBuffer):
    """verl's buffer polls every 2 s (trainer/ppo/v1/replay_buffer.py), longer than a step of a small model.

    Its batches have the order in which rollouts were finished, which moves the last digits of every sum over
    them. Here it is that of the step's prompts, each with its rollouts by number.

    verl does not hand group filtering (algorithm.filter_groups) to custom samplers.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **{**kwargs, "poll_interval": POLL_SECONDS})

    def _select_prompt_uids(self, partition_id: str, sampleable_keys: set[str], batch_size: int) -> Any:
        order = self._submitted(partition_id)
        ordered = sorted(sampleable_keys, key=order.__getitem__)  # verl sorts on by step, and keeps this
        return super()._select_prompt_uids(partition_id, ordered, batch_size)

    def _materialize_batch(self, partition_id: str, *args: Any) -> Any:
        order = self._submitted(partition_id)
        batch = super()._materialize_batch(partition_id, *args)

        def place(index: int) -> tuple[int, int, int]:
            uid, session, output = batch.keys[index].split("_")
            return order[uid], int(session), int(output)

        batch.reorder(sorted(range(len(batch)), key=place))
        return batch

    def _submitted(self, partition_id: str) -> dict[str, int]:
        """The places of prompts in the order in which they were handed to be rolled out."""
        return {uid: place for place, uid in enumerate(self.prompt_global_steps[partition_id])}
