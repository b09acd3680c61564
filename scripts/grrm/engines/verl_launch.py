"""One launch of verl 0.9.1: what is added to a rendered configuration, the command and its environment.

Temporary folders, addresses, threads: they do not make another training of it.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from grrm.engines import verl_rewards, verl_vllm
from grrm.engines.verl import CHECKPOINTS, DATA, DEVICE, MODEL, TRAINER_MODE, VALIDATION_DATA
from grrm.engines.verl_rewards import DEDICATED, Overrides

# Ray's workers need not share the launcher's working folder.
_PATHS = (MODEL, DATA, VALIDATION_DATA, CHECKPOINTS)


def launch_overrides(
    config: Mapping[str, Any], *, temporary: Path, ledger: Path, cluster: bool = False
) -> Overrides:
    """The overrides of one launch of a rendered configuration.

    Args:
        config: the rendered configuration.
        temporary: short path (40 characters at most: Ray puts sockets below it) removed after the launch.
        ledger: file for judged groups; used only if rewards are given to groups. Calls of a judge over HTTP
            are noted beside it, in judge_calls.jsonl.
        cluster: Ray runs already, at the address in the environment; otherwise it is started on this machine.
    """
    overrides = {
        **config,
        **{key: str(Path(config[key]).absolute()) for key in _PATHS if key in config},
        "hydra.run.dir": str(temporary / "hydra"),
        "hydra.output_subdir": None,
        **({} if cluster else _own_ray(config, temporary)),
        **verl_vllm.launch(config),
        **_whole_steps(config),
    }
    return overrides | verl_rewards.launch(config, ledger)


def _whole_steps(config: Mapping[str, Any]) -> Overrides:
    """The server of this project is asked for all rollouts of a step in one message."""
    rollout = "actor_rollout_ref.rollout"
    if config.get(f"{rollout}.name") != "transformers":
        return {}
    return {f"+{rollout}.agent.agent_loop_manager_class": "grrm.verl_plugin.whole_steps.StepManager"}


def _own_ray(config: Mapping[str, Any], temporary: Path) -> Overrides:
    ray = "ray_kwargs.ray_init"
    overrides = {
        f"+{ray}.address": "local",  # never another run's cluster
        f"+{ray}._temp_dir": str(temporary),
        f"+{ray}._node_ip_address": "127.0.0.1",
        f"+{ray}.include_dashboard": False,
    }
    if config[DEVICE] == "cpu":
        offers = _logical_resources(config)
        overrides |= {
            f"+{ray}.object_store_memory": offers["object_store_memory"],
            f"{ray}.num_cpus": offers["num_cpus"],
            f"+{ray}.num_gpus": offers["num_gpus"],
        }
    return overrides


def _logical_resources(config: Mapping[str, Any]) -> dict[str, int]:
    """verl's actors ask for a processor each, and for a "GPU" per model with devices of its own."""
    return {"object_store_memory": 500_000_000, "num_cpus": 8, "num_gpus": 2 if config.get(DEDICATED) else 1}


def ray_offers(config: Mapping[str, Any]) -> dict[str, int]:
    """Options of `ray start` on each machine; on GPUs Ray looks itself."""
    if config.get(DEVICE) != "cpu":
        return {}
    return {f"--{name.replace('_', '-')}": value for name, value in _logical_resources(config).items()}


def command(python: str, overrides: Mapping[str, Any], *, cluster: bool = False) -> list[str]:
    """The command line of verl's trainer.

    On a CPU, unless Ray runs already, through the launcher that starts Ray's workers quicker.
    """
    alone_on_cpu = overrides.get("trainer.device") == "cpu" and not cluster
    module = "grrm.verl_plugin.main_ppo" if alone_on_cpu else "verl.trainer.main_ppo"
    return [python, "-m", module, *hydra_arguments(overrides)]


def hydra_arguments(overrides: Mapping[str, Any]) -> list[str]:
    """Overrides as Hydra reads them on the command line."""
    return [f"{key}={_hydra_value(value)}" for key, value in overrides.items()]


def _hydra_value(value: Any) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, Mapping):
        return "{" + ",".join(f"{key}:{_hydra_value(part)}" for key, part in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ",".join(map(_hydra_value, value)) + "]"
    if isinstance(value, int | float):
        return repr(value)
    # Quoted, or Hydra reads "1e-5", "a,b" and "null" as something else than text.
    return json.dumps(str(value), ensure_ascii=False)


def environment(
    config: Mapping[str, Any], *, python: str, scripts: Path, temporary: Path, metrics: Path
) -> dict[str, str]:
    """The environment of verl's trainer, which Ray hands on to its workers.

    Args:
        config: the rendered configuration.
        python: interpreter of the environment; what is compiled on the way needs the programs beside it.
        scripts: folder that holds the package grrm.
        temporary: folder removed after the launch, for locks and caches.
        metrics: file for verl's metrics (JSON lines), overwritten.
    """
    inherited = {key: value for key, value in os.environ.items() if key != "RAY_ADDRESS"}
    path = [str(scripts.absolute()), *filter(None, [os.environ.get("PYTHONPATH")])]
    variables = {
        **inherited,
        **verl_vllm.environment(python),
        "PYTHONPATH": os.pathsep.join(path),
        "PYTHONUNBUFFERED": "1",
        "TMPDIR": str(temporary),
        "HF_DATASETS_CACHE": str(temporary / "datasets"),
        "VERL_USE_EXTERNAL_MODULES": ",".join(_plugins(config)),
        "VERL_FILE_LOGGER_PATH": str(metrics.absolute()),
        "HF_HUB_OFFLINE": "1",
        "HYDRA_FULL_ERROR": "1",
        # A second thread stalls the training worker whenever anything else wants the core.
        "OMP_NUM_THREADS": "1",
        "TQ_NUM_THREADS": "1",
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_prestart_worker_first_driver": "0",
        # Ray's workers give way to everything (15) unless told otherwise; here they are the work itself.
        "RAY_worker_niceness": "0",
    }
    if config[DEVICE] == "cpu":
        variables |= {
            "VERL_PLATFORM": "cpu",
            "VERL_ENGINE_DEVICE": "cuda",  # the stock FSDP engine, which runs on any torch device
            "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
        }
    return variables


def _plugins(config: Mapping[str, Any]) -> list[str]:
    plugins = ["grrm.verl_plugin.register"]
    if TRAINER_MODE in config:
        plugins.append("grrm.verl_plugin.colocated")
    return plugins
