"""verl 0.9.1's vLLM servers: what they need on a CPU, and seeds for their rollouts everywhere."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from grrm.catalogue import vllm
from grrm.engines.verl_rewards import JUDGE, Overrides

POLICY_SERVER = "actor_rollout_ref.rollout"
JUDGE_SERVER = "reward.reward_model.rollout"
# MiB for the KV cache of a server on a CPU: some ten thousand tokens of the demonstration's models.
KV_CACHE_MB = 256
# Launched, not rendered: which rollouts come out is chance either way, and does not make another training.
SEEDED = {
    f"{POLICY_SERVER}.agent.agent_loop_config_path": str(
        Path(__file__).parents[1] / "verl_plugin/agent_loops.yaml"
    ),
    f"{POLICY_SERVER}.agent.default_agent_loop": "seeded_single_turn",
}


def cpu_server(server: str, engine: str, hardware: Mapping[str, Any]) -> Overrides:
    """A server on a CPU.

    Args:
        server: the section of its configuration.
        engine: transformers or vllm.
        hardware: the section of that name.
    """
    overrides: Overrides = {f"{server}.name": engine, f"{server}.dtype": "float32"}
    if engine == "vllm":
        cache = int(hardware.get("kv_cache_mb", KV_CACHE_MB)) << 20
        overrides |= {f"{server}.enforce_eager": True, **vllm_on_cpu(server, cache)}
    return overrides


def vllm_on_cpu(server: str, cache: int) -> Overrides:
    """What a vLLM server needs to run on a CPU at all.

    Args:
        server: the section of its configuration.
        cache: bytes of its KV cache, which would else be a share of the machine's memory.
    """
    engine = f"+{server}.engine_kwargs.vllm"
    return {
        # The backend refuses it; calls of sleep and wake have no effect.
        f"+{server}.enable_sleep_mode": False,
        f"{engine}.kv_cache_memory_bytes": cache,
        f"{engine}.worker_extension_cls": "grrm.verl_plugin.vllm_worker.CpuWorkerExtension",
        f"{engine}.distributed_executor_backend": "uni",
    }


def launch(config: Mapping[str, Any]) -> Overrides:
    """What one launch adds to a rendered configuration: a seed of its own for each of vLLM's rollouts."""
    return dict(SEEDED) if config.get(f"{POLICY_SERVER}.name") == "vllm" else {}


def environment(python: str) -> dict[str, str]:
    """Variables of the environment for all of a training's processes.

    Args:
        python: interpreter of the environment; what is compiled on the way needs the programs beside it.
    """
    programs = [str(Path(python).absolute().parent)] if os.sep in python else []
    return {**vllm.EVERYWHERE, "PATH": os.pathsep.join([*programs, os.environ.get("PATH", os.defpath)])}


def models(config: Mapping[str, Any]) -> list[Path]:
    """Folders of the models that vLLM is to run in a rendered configuration."""
    servers = {"actor_rollout_ref.model.path": POLICY_SERVER, JUDGE: JUDGE_SERVER}
    return [
        Path(config[model])
        for model, server in servers.items()
        if model in config and config.get(f"{server}.name") == "vllm"
    ]
