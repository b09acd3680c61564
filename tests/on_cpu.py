"""What a configuration for GPUs must have changed to run on a CPU, and why: the one list of it.

Everything else of a rendered run is executed as a GPU would get it: the engines and their placement, bf16,
packing, dynamic batches, numbers of prompts and rollouts, lengths, losses, sleep and wake calls, validation,
checkpoints.
docs/vllm.md shows this list as what a CPU cannot prove.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from grrm.engines.verl_vllm import vllm_on_cpu

KV_CACHE = 256 << 20

CHANGES: dict[str, tuple[Any, str]] = {
    "trainer.device": ("cpu", "CUDA: its kernels and memory, collectives over NCCL"),
    "data.filter_overlong_prompts_workers": (1, "sixteen processes"),
    "reward.num_workers": (1, "eight processes; a judge's rewards have one on GPUs too"),
    "actor_rollout_ref.rollout.agent.num_workers": (1, "eight processes (verl's default)"),
    "transfer_queue.backend.SimpleStorage.num_data_storage_units": (1, "eight processes (verl's default)"),
}
"""Of every run: key -> value on a CPU, and what the key has on GPUs that a CPU has not."""

ONE_DEVICE = {
    "trainer.nnodes": "a training process on every machine",
    "trainer.n_gpus_per_node": "a training process on every GPU of a machine, with its share of the weights",
    "reward.reward_model.n_gpus_per_node": "a server of the judge on every GPU of a pool of its own",
    "actor_rollout_ref.rollout.tensor_model_parallel_size": "a server's weights spread over several GPUs",
}
"""Of a run on several GPUs, each 1 on a CPU: one training process and one server, alone."""

PACK = "actor_rollout_ref.actor.ppo_max_token_len_per_gpu"
PACKED = (
    "prompt and answer together",
    "packs of 16,384 tokens (verl's default): flash-attn goes over each sequence of a pack by itself, "
    "torch's attention over the square of the whole pack",
)
"""Of a run with dynamic batches: the tokens of a pack, which holds the longest sequence that is rendered."""

SERVER_CHANGES = {
    "enable_sleep_mode": "memory that a CPU does not give back: calls of sleep and wake come, and do nothing",
    "kv_cache_memory_bytes": "the share gpu_memory_utilization of a GPU's memory",
    "worker_extension_cls": "kernels that take weights as they are; oneDNN's are given packed ones",
    "distributed_executor_backend": "a worker process of its own for each GPU",
}
"""Of each vLLM server (`grrm.engines.verl_vllm.vllm_on_cpu`): the last part of the key -> the same."""

SERVERS = {
    "actor_rollout_ref.rollout": "actor_rollout_ref.rollout.name",
    "reward.reward_model.rollout": "reward.reward_model.rollout.name",
}


def on_cpu(rendered: Mapping[str, Any], *, kv_cache: int = KV_CACHE) -> dict[str, Any]:
    """A rendered configuration for GPUs with the changes that a CPU needs.

    Args:
        rendered: the configuration.
        kv_cache: bytes of each server's KV cache.
    """
    changed = {key: value for key, (value, _) in CHANGES.items()}
    changed |= {key: 1 for key in ONE_DEVICE if rendered.get(key, 1) != 1}
    if rendered["actor_rollout_ref.actor.use_dynamic_bsz"]:
        changed[PACK] = rendered["data.max_prompt_length"] + rendered["data.max_response_length"]
    for server, name in SERVERS.items():
        if rendered.get(name) == "vllm":
            changed |= vllm_on_cpu(server, kv_cache)
    return {**rendered, **changed}
