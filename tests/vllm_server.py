"""verl's vLLM server as an ordinary object, without Ray around it."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import ray
from verl.workers.rollout.replica import RolloutMode

from grrm.verl_plugin.vllm_replica import EndingServer


def without_ray(replace: Callable[[Any, str, Any], None] = setattr, job: str = "test") -> None:
    """Answer the two things that the server asks Ray for.

    Args:
        replace: puts an attribute in place of a module's.
        job: names the sockets through which it is given weights.
    """
    replace(ray, "get_runtime_context", lambda: SimpleNamespace(get_job_id=lambda: job))
    replace(ray.util, "get_node_ip_address", lambda: "127.0.0.1")


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
