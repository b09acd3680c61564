"""verl's vLLM server as an ordinary object, without Ray around it."""

from __future__ import annotations

from typing import Any

from verl.workers.rollout.replica import RolloutMode

from grrm.verl_plugin.vllm_replica import EndingServer


def server_alone(rollout: Any, model: Any, gpus: int = 1) -> EndingServer:
    """The one replica of a composed section `actor_rollout_ref`, on one machine; not launched yet."""
    return EndingServer(
        config=rollout,
        model_config=model,
        rollout_mode=RolloutMode.HYBRID,
        workers=[],
        replica_rank=0,
        node_rank=0,
        gpus_per_node=gpus,
        nnodes=1,
        cuda_visible_devices="0",
    )
