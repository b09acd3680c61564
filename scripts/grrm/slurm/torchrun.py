"""torchrun on all machines of a training: the first one is where the others meet."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from grrm.slurm.network import endpoint
from grrm.slurm.node import ADDRESS
from grrm.slurm.steps import DEADLINE, Machines, Steps, await_all, on_machine, start_steps


def torchrun(python: str, processes: int) -> list[str]:
    """The beginning of a command that runs a module in `processes` processes on this machine."""
    return [python, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(processes)]


def torchrun_on_all(
    machines: Machines,
    module: Sequence[str],
    *,
    python: str,
    processes: int,
    environment: Mapping[str, str],
    logs: Path,
    deadline: float = DEADLINE,
) -> int:
    """Run a module on all machines until it ends on all, or fails on one; nothing of it is left then.

    What the first machine prints is passed on.

    Args:
        machines: where.
        module: its name and arguments.
        python: interpreter of its environment.
        processes: on each machine.
        environment: theirs.
        logs: folder for the output of each machine.
        deadline: seconds until all machines must have met.

    Returns:
        0, or the status of the machine that failed, whose last lines are printed.

    Raises:
        UserError: a machine did not come up; the message names it, and its log.
    """
    host, port = machines.meets(), machines.port(0)

    def command(index: int, node: str) -> list[str]:
        where = ["--nnodes", str(len(machines.nodes)), "--node-rank", str(index)]
        meet = ["--master-addr", host, "--master-port", str(port), "--local-addr", ADDRESS]
        each = ["--nproc-per-node", str(processes)]
        run = [python, "-m", "torch.distributed.run", *where, *meet, *each, "-m", *module]
        if index == 0:
            return on_machine(node, run, meets=host, listens=[port])
        return on_machine(node, run, meets=host, reach=endpoint(host, port))

    logs.mkdir(parents=True, exist_ok=True)
    commands = {node: command(index, node) for index, node in enumerate(machines.nodes)}
    with start_steps(machines, commands, environment=environment, logs=logs) as steps:
        await_all(steps, steps.ready, what="torchrun", deadline=deadline)
        return _follow(steps, machines.nodes[0])


def _follow(steps: Steps, first: str) -> int:
    """Pass on what the first machine prints until all have ended or one has failed."""
    with steps.logs[first].open(encoding="utf-8", errors="replace") as output:
        while True:
            over = len(steps.ended()) == len(steps.processes) or bool(steps.failed())
            print(output.read(), end="", flush=True)
            if over:
                break
            time.sleep(0.5)
    if failed := steps.failed():
        print(steps.report(failed[0]), flush=True)
        return steps.processes[failed[0]].returncode
    return 0
