"""A training of verl on a Ray cluster that is there already: RAY_ADDRESS, as the published scripts read it.

The address of a cluster's dashboard (http://host:8265) takes jobs; any other (host:6379, ray://host:10001,
auto) is joined by the trainer itself. Machines of the cluster share this file system and its environments.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

_RAY_INIT = "ray_kwargs.ray_init."


def is_dashboard(address: str) -> bool:
    """Whether an address takes jobs instead of being joined."""
    return address.startswith(("http://", "https://"))


def join_cluster(overrides: Mapping[str, Any], address: str, variables: Mapping[str, str]) -> dict[str, Any]:
    """The overrides of one launch without a Ray of its own; a job finds the cluster by itself.

    Args:
        overrides: what `grrm.engines.verl_launch.launch_overrides` returns.
        address: of the cluster.
        variables: what its workers get, which were not started by this process; a job's have them already.
    """
    kept = {key: value for key, value in overrides.items() if not key.lstrip("+").startswith(_RAY_INIT)}
    if is_dashboard(address):
        return kept | {f"+{_RAY_INIT}address": "auto"}
    return kept | {
        f"+{_RAY_INIT}address": address,
        f"+{_RAY_INIT}runtime_env": {"env_vars": dict(variables)},
    }


def submit(command: Sequence[str], variables: Mapping[str, str], address: str) -> list[str]:
    """The command line of a launch, handed to the cluster as a job if its dashboard is named.

    The job's status becomes the command's.

    Args:
        command: program (an interpreter) and arguments.
        variables: what the command needs.
        address: of the cluster.
    """
    if not is_dashboard(address):
        return list(command)
    ray = str(Path(command[0]).with_name("ray"))
    runtime = json.dumps({"env_vars": dict(variables)})
    return [ray, "job", "submit", "--address", address, "--runtime-env-json", runtime, "--", *command]
