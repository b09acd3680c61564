"""Programs on all machines of an allocation, one on each, that live and end together."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from subprocess import Popen
from typing import Protocol

from grrm.files import PassingError
from grrm.process import end_helper, start_helper
from grrm.slurm.allocation import step_environment
from grrm.slurm.node import READY

DEADLINE = 300.0
"""Seconds until all machines must be there."""
_LAST_LINES = 15


class Machines(Protocol):
    """Machines that a training runs on: a Slurm job's (`Allocation`), or a Ray cluster's (`RayNodes`)."""

    @property
    def nodes(self) -> tuple[str, ...]:
        """Their names; where they meet is the first."""

    def port(self, index: int) -> int:
        """A port of theirs with this index, from 0 to 99."""

    def meets(self) -> str:
        """The address at which they meet."""

    def step(self, node: str, command: Sequence[str]) -> list[str]:
        """A command that runs `command` once on one of them."""


@dataclass(frozen=True)
class Steps:
    """Running steps.

    Attributes:
        processes: the step of each machine.
        logs: what each prints.
    """

    processes: Mapping[str, Popen[bytes]]
    logs: Mapping[str, Path]

    def __or__(self, other: Steps) -> Steps:
        return Steps({**self.processes, **other.processes}, {**self.logs, **other.logs})

    def ended(self) -> list[str]:
        """Machines whose step is over."""
        return [node for node, process in self.processes.items() if process.poll() is not None]

    def failed(self) -> list[str]:
        """Machines whose step ended with an error."""
        return [node for node in self.ended() if self.processes[node].returncode != 0]

    def ready(self) -> set[str]:
        """Machines that have said that they are ready."""
        return {node for node, log in self.logs.items() if f"{node} {READY}" in _read(log)}

    def report(self, node: str) -> str:
        """How the step of a machine ended, with its last lines."""
        lines = _read(self.logs[node]).splitlines()[-_LAST_LINES:]
        return f"{node} ended with status {self.processes[node].returncode}; its last lines:\n" + "\n".join(
            lines
        )


def on_machine(
    node: str,
    command: Sequence[str],
    *,
    meets: str | None = None,
    temporary: Path | None = None,
    reach: str | None = None,
    listens: Sequence[int] = (),
    attempts: int = 1,
) -> list[str]:
    """A command as `grrm.slurm.node` runs it on one machine.

    Args:
        node: the machine's name.
        command: program and arguments; `grrm.slurm.node.ADDRESS` in it becomes the machine's own address.
        meets: address at which the machines meet, that of the first one.
        temporary: folder that it makes there, and removes at the end.
        reach: host:port that must be reached first.
        listens: ports that it listens at; one in use is an error that names it.
        attempts: how often it is run if it fails.
    """
    options = ["--attempts", str(attempts), *(["--temporary", str(temporary)] if temporary else [])]
    if temporary and temporary.is_symlink():  # where it leads to, on this machine as on the others
        options += ["--storage", str(temporary.readlink().parent)]
    options += ["--meets", meets] if meets else []
    options += ["--reach", reach] if reach else []
    options += ["--free", *map(str, listens)] if listens else []
    return [sys.executable, "-m", "grrm.slurm.node", "--node", node, *options, "--", *command]


@contextmanager
def start_steps(
    machines: Machines,
    commands: Mapping[str, Sequence[str]],
    *,
    environment: Mapping[str, str],
    logs: Path,
) -> Iterator[Steps]:
    """Run a command on each of some machines; all are ended with the block, however it ends.

    Args:
        machines: where.
        commands: of each machine.
        environment: theirs.
        logs: folder for what each prints, `<machine>.log`.
    """
    variables = step_environment(environment)
    outputs = {node: logs / f"{node}.log" for node in commands}
    processes: dict[str, Popen[bytes]] = {}
    with ExitStack() as stack:
        try:
            for node, command in commands.items():
                output = stack.enter_context(outputs[node].open("wb"))
                processes[node] = start_helper(machines.step(node, command), env=variables, output=output)
            yield Steps(processes, outputs)
        finally:
            # All at once: each takes some seconds.
            for process in processes.values():
                if process.poll() is None:
                    process.terminate()
            for process in processes.values():
                end_helper(process)


def await_all(
    steps: Steps, is_there: Callable[[], set[str]], *, what: str, deadline: float = DEADLINE
) -> None:
    """Wait until all machines are there.

    Args:
        steps: running ones.
        is_there: the machines that are there by now.
        what: what is waited for, such as "Ray".
        deadline: seconds.

    Raises:
        PassingError: a machine ended before all were there, or did not come up in time; the message names it.
    """
    end = time.monotonic() + deadline
    while missing := set(steps.processes) - is_there():
        if ended := steps.ended():
            raise PassingError(f"{what}: {steps.report(ended[0])}")
        if time.monotonic() > end:
            logs = ", ".join(str(steps.logs[node]) for node in sorted(missing))
            names = ", ".join(sorted(missing))
            raise PassingError(
                f"{what} did not come up on {names} within {deadline:.0f} s; see {logs}. Is the machine "
                "healthy (sinfo -R), are its GPUs free (on a Ray of your own: ray status), and does it have "
                "this folder and the environments?"
            )
        time.sleep(0.2)


def _read(log: Path) -> str:
    return log.read_text(encoding="utf-8", errors="replace") if log.exists() else ""
