"""A CPU platform for verl (interface: verl/plugin/platform/platform_base.py)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any

import psutil
import torch
from verl.plugin.platform import PlatformBase, PlatformRegistry

from grrm.catalogue.vllm import ON_CPU

CPU = torch.device("cpu")


def _nothing(*_args: Any, **_kwargs: Any) -> None:
    """Stands for device operations that have no meaning on a CPU."""


def _zero(*_args: Any, **_kwargs: Any) -> int:
    """Stands for device memory counters: no memory of an accelerator is in use."""
    return 0


class _CpuModule(ModuleType):
    """What verl expects of `torch.<device>`, beyond what `torch.cpu` has."""

    def __getattr__(self, name: str) -> Any:
        return getattr(torch.cpu, name)


def _cpu_module() -> _CpuModule:
    module = _CpuModule("grrm_cpu_device")
    for name in ("empty_cache", "synchronize", "set_device", "ipc_collect", "reset_peak_memory_stats"):
        setattr(module, name, _nothing)
    for name in ("memory_allocated", "memory_reserved", "max_memory_allocated", "max_memory_reserved"):
        setattr(module, name, _zero)
    members = {
        "is_available": lambda: True,
        "current_device": lambda: CPU,
        "device_count": lambda: 1,
        "get_device_name": lambda *_: "cpu",
        "manual_seed": torch.manual_seed,
        "manual_seed_all": torch.manual_seed,
        "get_rng_state": torch.get_rng_state,
        "set_rng_state": torch.set_rng_state,
        "mem_get_info": _memory_bytes,
    }
    for name, member in members.items():
        setattr(module, name, member)
    return module


def _memory_bytes(*_args: Any) -> tuple[int, int]:
    """(available, total) bytes of main memory."""
    memory = psutil.virtual_memory()
    return memory.available, memory.total


@PlatformRegistry.register(platform="cpu")
class CpuPlatform(PlatformBase):
    """One CPU "device" per process; collectives over gloo; no streams, profiler, or memory pools."""

    device_name = "cpu"
    vendor_name = "cpu"
    device_module = _cpu_module()

    def is_available(self) -> bool:
        """Always: there is a CPU."""
        return True

    def is_platform_available(self, use_smi_check: bool = False) -> bool:
        """Never by probing, so that loading this package cannot take a GPU machine away from verl.

        The platform is chosen with VERL_PLATFORM=cpu.
        """
        return False

    def current_device(self) -> torch.device:
        """A torch device (verl hands it to torch; a bare index would mean an accelerator)."""
        return CPU

    def device_count(self) -> int:
        """One device per process."""
        return 1

    def set_device(self, device_index: int) -> None:
        """Nothing to select."""

    def synchronize(self, device_index: int | None = None) -> None:
        """CPU work is synchronous."""

    def manual_seed(self, seed: int) -> None:
        """Seed torch's CPU generator."""
        torch.manual_seed(seed)

    def manual_seed_all(self, seed: int) -> None:
        """Seed torch's CPU generator."""
        torch.manual_seed(seed)

    def set_allocator_settings(self, settings: str) -> None:
        """No caching allocator to set."""

    def empty_cache(self) -> None:
        """No caching allocator to empty."""

    def get_device_capability(self, device_index: int = 0) -> tuple[int | None, int | None]:
        """No compute capability."""
        return None, None

    def communication_backend_name(self) -> str:
        """The collective backend of torch.distributed."""
        return "gloo"

    def visible_devices_envvar(self) -> str:
        """The variable Ray sets for its "GPU" resource."""
        return "CUDA_VISIBLE_DEVICES"

    @contextmanager
    def nvtx_range(self, msg: str) -> Iterator[None]:
        """No profiler ranges."""
        yield

    def profiler_start(self) -> None:
        """No device profiler."""

    def profiler_stop(self) -> None:
        """No device profiler."""

    def ray_resource_name(self) -> str:
        """Logical slots: verl counts only GPU and NPU resources (single_controller/ray/base.py).

        They are declared with `+ray_kwargs.ray_init.num_gpus`.
        """
        return "GPU"

    def ray_noset_envvars(self) -> list[str]:
        """The variable that keeps Ray from hiding devices."""
        return ["RAY_EXPERIMENTAL_NOSET_CUDA_VISIBLE_DEVICES"]

    def rollout_env_vars(self) -> dict[str, str]:
        """What the processes of a vLLM server need; a transformers server reads none of it."""
        return dict(ON_CPU)

    def is_ipc_supported(self) -> bool:
        """No device memory to share between processes."""
        return False

    def cudart(self) -> None:
        """No CUDA runtime."""
