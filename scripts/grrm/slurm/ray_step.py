"""A program on one machine of the Ray cluster at RAY_ADDRESS, or a list of its machines.

Run in an environment with Ray. What the program prints is passed on; it ends with this process.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from grrm.process import shell_status
from grrm.urls import secret_in

# Of this process's environment: the rest, secrets among it, is not handed on.
_HANDED = (
    *("GRRM_", "HF_", "NCCL_", "GLOO_", "OMP_", "PYTORCH_", "TORCH", "TOKENIZERS_", "TRITON_", "VLLM_"),
    *("WANDB_", "SWANLAB_", "MLFLOW_", "TENSORBOARD_"),
)
# Of this machine, or of this launch: other machines have their own.
_HERE = ("GRRM_WORKFLOW_PID", "VLLM_HOST_IP", "RAY_ADDRESS", "TMPDIR", "HF_DATASETS_CACHE")
_SECRET = re.compile(r"(KEY|TOKEN|SECRET|PASSWORD)$")


def main(argv: list[str] | None = None) -> None:
    """Run a command on a machine; without one, print the machines that have enough GPUs."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--node", help="Ray's number of the machine")
    parser.add_argument("--gpus", type=int, default=0, help="that the command takes, or a machine must have")
    parser.add_argument("command", nargs="*", help="what to run, after --")
    args = parser.parse_args(argv)
    import ray

    ray.init(log_to_driver=False, logging_level="error")
    if not args.command:
        there = [node for node in ray.nodes() if node["Alive"]]
        found = [node for node in there if node["Resources"].get("GPU", 0) >= args.gpus]
        print(json.dumps([(node["NodeID"], node["NodeManagerAddress"]) for node in found]))
        return
    sys.exit(_run(ray, args.node, args.gpus, args.command))


def handed_on(variables: Mapping[str, str], inherited: Mapping[str, str] | None = None) -> dict[str, str]:
    """What of an environment processes on the machines of a cluster get, over what they have: no secrets.

    Args:
        variables: the whole environment.
        inherited: what this process was started with; what differs from it was set for the engine.
    """
    before = variables if inherited is None else inherited
    return {
        name: value
        for name, value in variables.items()
        if (name.startswith(_HANDED) or before.get(name) != value)
        and name not in _HERE
        and not _SECRET.search(name)
        and secret_in(value) is None
    }


def _run(ray: Any, node: str, gpus: int, command: Sequence[str]) -> int:
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    there = NodeAffinitySchedulingStrategy(node_id=node, soft=False)
    step = ray.remote(_step).options(
        num_gpus=gpus, num_cpus=0, max_retries=0, scheduling_strategy=there, num_returns="streaming"
    )
    status = 1
    for found in step.remote(
        list(command), handed_on(os.environ), str(Path.cwd()), str(Path(__file__).parents[2])
    ):
        said = ray.get(found)
        if isinstance(said, int):
            status = said
        else:
            print(said, end="", flush=True)
    return shell_status(status)


def _step(
    command: Sequence[str], variables: Mapping[str, str], folder: str, scripts: str
) -> Iterator[str | int]:
    """On the machine: lines of the command's output, then its status."""
    import ctypes
    import signal
    import subprocess

    worker = os.getpid()

    def end_with_worker() -> None:
        ctypes.CDLL(None).prctl(1, signal.SIGTERM)  # PR_SET_PDEATHSIG
        if os.getppid() != worker:
            os._exit(1)

    process = subprocess.Popen(
        command,
        cwd=folder,
        env={**os.environ, **variables, "PYTHONPATH": scripts},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        preexec_fn=end_with_worker,
    )
    assert process.stdout is not None
    # No `yield from`: Ray sends to the generator, which a file does not take.
    for line in process.stdout:  # noqa: UP028
        yield line
    yield process.wait()


if __name__ == "__main__":
    main()
