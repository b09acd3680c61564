"""A synchronous trainer whose judge shares the trainer's devices and sees whole groups.

trainer.v1.trainer_mode = sync_group_reward, with this module in VERL_USE_EXTERNAL_MODULES: verl looks the
trainer up by name in a process of its own, which imports what that variable lists.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import transfer_queue as tq
from verl.trainer.ppo.v1.trainer_base import PPOTrainer, register_trainer
from verl.trainer.ppo.v1.trainer_sync import PPOTrainerSync

from grrm.rewards.step_metrics import step_metrics
from grrm.rewards.verl_manager import STEP_GROUPS, STEP_NUMBER
from grrm.verl_plugin.compatibility import check_signature

TRAINER_MODE = "sync_group_reward"

# What a reward manager may need of a rollout beside its text: verl hands on prompt and response only.
# As in the streaming path (verl/experimental/agent_loop/agent_loop.py, `_compute_score`).
_FIELDS = ["uid", "session_id", "index", "data_source", "reward_model", "extra_info", "global_steps"]

check_signature(
    PPOTrainer._compute_reward_colocate, ["self", "batch", "metrics"], "verl/trainer/ppo/v1/trainer_base.py"
)


@register_trainer(TRAINER_MODE)
class GroupRewardTrainer(PPOTrainerSync):
    """verl's synchronous trainer; the judge wakes once all rollouts of a step are there, then sleeps."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self._judged = itertools.count()
        super().__init__(*args, **kwargs)

    @property
    def trainer_mode(self) -> str:
        """Verl takes every name but "sync" for an asynchronous trainer."""
        return "sync"

    @trainer_mode.setter
    def trainer_mode(self, name: str) -> None:
        """verl stores the configured name; it stays "sync"."""

    def _compute_reward_colocate(self, batch: Any, metrics: dict[str, Any] | None = None) -> Any:
        with self._whole_rollouts(batch) as outputs:
            judged = super()._compute_reward_colocate(batch, metrics=metrics)
        if metrics is not None:
            metrics |= _reward_metrics(batch.keys, outputs[0])
        return judged

    @contextmanager
    def _whole_rollouts(self, batch: Any) -> Iterator[list[Any]]:
        """While the judge is asked, add the missing fields to its input; collects its outputs."""
        manager = self.reward_loop_manager
        stored = tq.kv_batch_get(keys=batch.keys, partition_id=batch.partition_id, select_fields=_FIELDS)
        outputs: list[Any] = []
        ask = manager.compute_rm_score

        def ask_with_fields(data: Any) -> Any:
            for name in _FIELDS:
                data.non_tensor_batch[name] = _objects(stored[name])
            groups = len(set(data.non_tensor_batch["uid"]))
            data.non_tensor_batch[STEP_GROUPS] = _objects([groups] * len(data))
            data.non_tensor_batch[STEP_NUMBER] = _objects([next(self._judged)] * len(data))
            outputs.append(ask(data))
            return outputs[-1]

        manager.compute_rm_score = ask_with_fields
        try:
            yield outputs
        finally:
            del manager.compute_rm_score


def _objects(values: Any) -> np.ndarray:
    """One object per rollout, whatever the queue wrapped it in."""
    items = [getattr(value, "data", value) for value in values]
    array = np.empty(len(items), dtype=object)
    array[:] = items
    return array


def _reward_metrics(keys: list[str], output: Any) -> dict[str, float]:
    names = output.meta_info["reward_extra_keys"]
    infos = [
        {name: float(output.non_tensor_batch[name][index]) for name in names} for index in range(len(keys))
    ]
    rewards = [float(scores.sum()) for scores in output.batch["rm_scores"]]
    return step_metrics([key.split("_")[0] for key in keys], rewards, infos)
