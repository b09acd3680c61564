"""verl's platform interface on a CPU, and the functions replaced for it."""

from __future__ import annotations

import inspect
import os
import socket

import psutil
import pytest
import torch
import verl  # noqa: F401  (registers the plug-in)
from verl.plugin.platform import PlatformBase, get_platform
from verl.utils import device

from grrm.verl_plugin.platform import CpuPlatform


def test_verl_uses_it_when_told_to() -> None:
    assert isinstance(get_platform(), CpuPlatform)
    assert device.get_device_name() == "cpu"
    assert device.get_nccl_backend() == "gloo"
    assert device.get_resource_name() == "GPU"  # logical slots
    assert device.get_device_id() == torch.device("cpu")


def test_it_is_never_chosen_by_probing() -> None:
    assert not CpuPlatform().is_platform_available(use_smi_check=True)


def test_signatures_are_those_of_the_interface() -> None:
    for name, method in inspect.getmembers(PlatformBase, inspect.isfunction):
        if name.startswith("_"):
            continue
        expected = list(inspect.signature(method).parameters)
        assert list(inspect.signature(getattr(CpuPlatform, name)).parameters) == expected, name


def test_the_device_module_answers_what_verl_asks_torch_cuda() -> None:
    module = device.get_torch_device()
    assert module.is_available()
    assert module.device_count() == 1
    assert module.max_memory_allocated() == 0
    free, total = module.mem_get_info()
    assert 0 < free < total
    module.empty_cache()
    module.synchronize()
    state = module.get_rng_state()
    first = torch.rand(3)
    module.set_rng_state(state)
    assert torch.equal(torch.rand(3), first)
    with pytest.raises(AttributeError):
        _ = module.no_such_function


def test_seeding_reaches_torch() -> None:
    get_platform().manual_seed(7)
    first = torch.rand(3)
    get_platform().manual_seed_all(7)
    assert torch.equal(torch.rand(3), first)


def test_the_process_group_starts_on_gloo(monkeypatch: pytest.MonkeyPatch) -> None:
    from verl.utils.distributed import initialize_global_process_group_ray

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    for name, value in {"RANK": "0", "WORLD_SIZE": "1", "MASTER_ADDR": "127.0.0.1"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("MASTER_PORT", str(port))
    initialize_global_process_group_ray(timeout_second=30)
    try:
        total = torch.ones(2)
        torch.distributed.all_reduce(total)
        assert total.tolist() == [1, 1]
        listening = [c.laddr for c in psutil.Process().net_connections() if c.status == psutil.CONN_LISTEN]
        assert ("127.0.0.1", port) in listening
        assert {address.ip for address in listening if address.port == port} == {"127.0.0.1"}
    finally:
        torch.distributed.destroy_process_group()


def test_the_reference_policy_is_not_pinned() -> None:
    from verl.workers.engine.fsdp import transformer_impl

    assert transformer_impl.CPUOffloadPolicy(pin_memory=True).pin_memory is False


def test_verl_selects_its_stock_fsdp_engine() -> None:
    from verl.workers.engine import EngineRegistry

    assert os.environ["VERL_ENGINE_DEVICE"] == "cuda"
    assert EngineRegistry.get_engine_cls("language_model", "fsdp2").__module__.startswith(
        "verl.workers.engine.fsdp"
    )
