"""A Ray cluster over all machines of a Slurm allocation, for as long as a training runs.

It is guarded by a token made for this cluster, which travels in the environment. Ready is what Ray itself
counts: every machine must have joined before the training starts.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path

from grrm.process import end_helper, start_helper
from grrm.slurm.allocation import Allocation
from grrm.slurm.network import endpoint
from grrm.slurm.node import ADDRESS
from grrm.slurm.steps import DEADLINE, await_all, on_machine, start_steps


def ray_token() -> dict[str, str]:
    """Variables that let nobody else into a Ray cluster; else Ray keeps one token in the home folder."""
    return {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)}


@contextmanager
def ray_cluster(
    allocation: Allocation,
    *,
    python: str,
    offers: Mapping[str, int],
    environment: Mapping[str, str],
    temporary: Path,
    logs: Path,
    deadline: float = DEADLINE,
) -> Iterator[dict[str, str]]:
    """Ray on all machines of an allocation; it is stopped when the block ends, however it ends.

    Args:
        allocation: where.
        python: interpreter of the environment with Ray.
        offers: options of `ray start` that say what each machine offers; Ray looks for the rest itself.
        environment: of Ray and, through it, of all its workers.
        temporary: short path for Ray's session, made on each machine and removed there.
        logs: folder for the output of each machine's Ray.
        deadline: seconds until all machines must have joined.

    Yields:
        Variables for a program that connects: address and token.

    Raises:
        UserError: a machine did not come up; the message names it, and its log.
    """
    host = allocation.meets()
    connection = {"RAY_ADDRESS": _address(allocation, host), **ray_token()}
    variables = {**environment, **connection}
    start = partial(_start_command, allocation, python=python, offers=offers, head=host, temporary=temporary)
    began = time.monotonic()
    logs.mkdir(parents=True, exist_ok=True)
    listing = logs / "joined.txt"
    listing.unlink(missing_ok=True)
    joined = partial(_joined, listing)

    first, *others = allocation.nodes
    watching = [python, "-m", "grrm.slurm.ray_watch", "--output", str(listing), "--nodes", first, *others]
    with ExitStack() as stack:
        run = partial(start_steps, allocation, environment=variables, logs=logs)
        steps = stack.enter_context(run({first: start(0)}))
        output = stack.enter_context((logs / "watch.log").open("wb"))
        stack.callback(end_helper, start_helper(watching, env=variables, output=output))
        await_all(steps, joined, what="Ray", deadline=deadline)
        # Only now: they look up the first machine in Ray's own list, and do not wait for it.
        steps |= stack.enter_context(run({node: start(index) for index, node in enumerate(others, 1)}))
        await_all(steps, joined, what="Ray", deadline=deadline)
        print(f"Ray runs on {', '.join(allocation.nodes)} after {time.monotonic() - began:.0f} s", flush=True)
        yield connection


def _start_command(
    allocation: Allocation,
    index: int,
    *,
    python: str,
    offers: Mapping[str, int],
    head: str,
    temporary: Path,
) -> list[str]:
    """`ray start` on machine number `index`; the first is the head of the cluster, at address `head`."""
    ports = {
        "--dashboard-agent-listen-port": allocation.port(10 + 3 * index),
        "--runtime-env-agent-port": allocation.port(11 + 3 * index),
        "--metrics-export-port": allocation.port(12 + 3 * index),
    }
    if index == 0:
        ports |= {"--port": allocation.port(0), "--ray-client-server-port": allocation.port(1)}
    options: dict[str, object] = {
        "--node-name": allocation.nodes[index],
        "--node-ip-address": ADDRESS,
        **ports,
        # Whatever is free, or workers of two jobs on one machine meet.
        "--min-worker-port": 0,
        "--max-worker-port": 0,
        **offers,
    }
    if index == 0:
        options |= {"--temp-dir": temporary, "--include-dashboard": "false"}
    else:
        options["--address"] = _address(allocation, head)
    flags = ["--block", "--disable-usage-stats", *(["--head"] if index == 0 else [])]
    words = [str(word) for option in options.items() for word in option]
    ray = [python, "-m", "ray.scripts.scripts", "start", *flags, *words]
    # Ray gives its own processes half a minute to start, which a busy machine may not keep.
    listens = list(ports.values())
    machine = allocation.nodes[index]
    return on_machine(machine, ray, meets=head, temporary=temporary, listens=listens, attempts=3)


def _joined(listing: Path) -> set[str]:
    """Machines that have joined, as `ray_watch` lists them."""
    return set(listing.read_text(encoding="utf-8").split()) if listing.exists() else set()


def _address(allocation: Allocation, head: str) -> str:
    return endpoint(head, allocation.port(0))
