"""`trainer.v1.trainer_mode=sync_group_reward`: a judge on the trainer's own devices, asked group by group.

With `reward.reward_model.enable_resource_pool=False` the judge wakes after the rollouts are done, and verl's
trainer then hands the reward manager nothing but prompt and response (verl/trainer/ppo/v1/trainer_base.py,
`_compute_reward_colocate`): not the `uid` that makes a group, nor the source text. This one adds them.

To be imported after the plug-in itself:
VERL_USE_EXTERNAL_MODULES=grrm.verl_plugin.register,grrm.verl_plugin.colocated
"""

from __future__ import annotations

from typing import Any

import numpy as np
import transfer_queue as tq
from omegaconf import DictConfig, open_dict
from verl.trainer.ppo.v1.trainer_base import PPOTrainer, register_trainer
from verl.trainer.ppo.v1.trainer_sync import PPOTrainerSync

from grrm.verl_plugin.compatibility import check_signature

TRAINER_MODE = "sync_group_reward"
# As in the streaming path (verl/experimental/agent_loop/agent_loop.py, `_compute_score`).
GROUP_FIELDS = ("uid", "session_id", "data_source", "reward_model", "extra_info", "global_steps")


def object_array(values: Any) -> np.ndarray:
    """A one-dimensional array of Python objects (numpy would make equal-length lists a matrix)."""
    values = [getattr(value, "data", value) for value in values]
    array = np.empty(len(values), dtype=object)
    array[:] = values
    return array


class GroupFields:
    """A reward loop manager whose reward managers also see the fields that make a group.

    Args:
        manager: verl's RewardLoopManager.
        fields: one array per name, in the order of the batch.
    """

    def __init__(self, manager: Any, fields: dict[str, np.ndarray]) -> None:
        self._manager, self._fields = manager, fields

    def compute_rm_score(self, data: Any) -> Any:
        """verl's, with the fields added to `data`, a DataProto."""
        data.non_tensor_batch.update(self._fields)
        return self._manager.compute_rm_score(data)


check_signature(
    PPOTrainer._compute_reward_colocate, ["self", "batch", "metrics"], "verl/trainer/ppo/v1/trainer_base.py"
)


@register_trainer(TRAINER_MODE)
class GroupRewardTrainer(PPOTrainerSync):
    """verl's synchronous trainer, whose colocated reward sees whole groups."""

    reward_loop_manager: Any

    def __init__(self, config: DictConfig, *args: Any, **kwargs: Any) -> None:
        with open_dict(config):  # whatever verl does for this mode it shall do here
            config.trainer.v1.trainer_mode = "sync"
        super().__init__(config, *args, **kwargs)

    def _compute_reward_colocate(self, batch: Any, metrics: dict[str, Any] | None = None) -> Any:
        found = tq.kv_batch_get(
            keys=batch.keys, partition_id=batch.partition_id, select_fields=list(GROUP_FIELDS)
        )
        manager: Any = self.reward_loop_manager
        self.reward_loop_manager = GroupFields(
            manager, {name: object_array(found[name]) for name in GROUP_FIELDS}
        )
        try:
            return super()._compute_reward_colocate(batch, metrics=metrics)
        finally:
            self.reward_loop_manager = manager
