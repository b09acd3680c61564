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


def join_cluster(overrides: Mapping[str, Any], address: str) -> dict[str, Any]:
    """The overrides of one launch without a Ray of its own; a job finds the cluster by itself.

    Args:
        overrides: what `grrm.engines.verl_launch.launch_overrides` returns.
        address: of the cluster.
    """
    kept = {key: value for key, value in overrides.items() if not key.lstrip("+").startswith(_RAY_INIT)}
    return kept | {f"+{_RAY_INIT}address": "auto" if is_dashboard(address) else address}


def submit(
    command: Sequence[str], variables: Mapping[str, str], inherited: Mapping[str, str], address: str
) -> list[str]:
    """The command line of a launch, handed to the cluster as a job if its dashboard is named.

    The job's status becomes the command's. What is in the launcher's own environment, secrets among it, is
    not handed on: the cluster's machines have theirs.

    Args:
        command: program (an interpreter) and arguments.
        variables: the whole environment that the command needs.
        inherited: the environment of this process.
        address: of the cluster.
    """
    if not is_dashboard(address):
        return list(command)
    # Folders of this launch are on this machine only.
    local = {"RAY_ADDRESS", "TMPDIR", "HF_DATASETS_CACHE"}
    own = {
        name: value for name, value in variables.items() if name not in local and inherited.get(name) != value
    }
    ray = str(Path(command[0]).with_name("ray"))
    runtime = json.dumps({"env_vars": own})
    return [ray, "job", "submit", "--address", address, "--runtime-env-json", runtime, "--", *command]
