"""The few functions of verl that have no hook and fail without an accelerator.

Each replacement names the file of verl that needs it. All of them check the parameters of what they replace.
"""

from __future__ import annotations

import functools
from typing import Any

from grrm.verl_plugin.compatibility import check_signature


def use_plain_gloo() -> None:
    """verl/utils/distributed.py, `initialize_global_process_group_ray`.

    It composes "cpu:gloo,<device>:<backend>", which on this platform names "cpu" twice; torch refuses that.
    """
    import verl.utils.distributed as distributed

    original = distributed.initialize_global_process_group_ray
    check_signature(original, ["timeout_second", "backend"], "verl/utils/distributed.py")

    @functools.wraps(original)
    def initialize(timeout_second: int | None = None, backend: str | None = None) -> None:
        original(timeout_second=timeout_second, backend=backend or "cpu:gloo")

    distributed.initialize_global_process_group_ray = initialize


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
