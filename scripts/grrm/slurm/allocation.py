"""The Slurm allocation that this process runs in: its machines, its ports, and steps on each machine."""

from __future__ import annotations

import errno
import os
import re
import shutil
import socket
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from grrm.files import PassingError, UserError
from grrm.process import WORKFLOW_PID
from grrm.slurm.network import own_address
from grrm.slurm.queue import AGAIN, ask

# Above what Ray keeps for itself, below Linux's own range for outgoing connections (32768); a block a job.
_FIRST_PORT, _LAST_PORT, _PORTS = 20_000, 32_000, 100
_BLOCKS = (_LAST_PORT - _FIRST_PORT) // _PORTS


@dataclass(frozen=True)
class Allocation:
    """Machines that Slurm lent to a job.

    Attributes:
        job: number of the job.
        nodes: names of the machines; this process runs on the first.
        gpus: GPUs asked for on each machine.
        skipped: blocks of ports passed over, as something on this machine uses them.
    """

    job: str
    nodes: tuple[str, ...]
    gpus: int
    skipped: int = 0

    def port(self, index: int) -> int:
        """The port of the job with this index, from 0 to 99: jobs on one machine have different ones."""
        return _FIRST_PORT + (int(self.job) + self.skipped) % _BLOCKS * _PORTS + index

    def meets(self) -> str:
        """The address at which the machines meet: that of this one, the first, in their common network."""
        return own_address(_addresses(self.nodes[1:])).text

    def step(self, node: str, command: Sequence[str]) -> list[str]:
        """A command that runs `command` once on one machine, beside the step this process belongs to."""
        where = ["--overlap", "--jobid", self.job, "--nodes", "1", "--ntasks", "1", "--nodelist", node]
        # Explicit, or the first machine's step gets what is left of the job's GPUs.
        gpus = ["--gres", f"gpu:{self.gpus}"] if self.gpus else []
        # All of the machine's memory and cores: the steps share them.
        return ["srun", *where, *gpus, "--mem", "0", "--cpu-bind", "none", "--kill-on-bad-exit", *command]


def find_allocation(nodes: int, gpus: int) -> Allocation:
    """The allocation of this process, with ports that are free on this machine, where the others meet.

    Args:
        nodes: machines the training was configured for.
        gpus: GPUs of each.

    Raises:
        UserError: there is none, it has another number of machines, or too few ports are free
            (`PassingError`).
    """
    job = os.environ.get("SLURM_JOB_ID")
    wanted = f"hardware.nodes asks for {nodes} machines"
    if job is None:
        raise UserError(
            f"{wanted}, but this is no Slurm job: start with `snakemake --profile slurm`, "
            "or set hardware.nodes: 1"
        )
    found = tuple(
        _ask(
            "scontrol", "show", "hostnames", _ask("squeue", "--noheader", "--jobs", job, "--format", "%N")
        ).split()
    )
    if len(found) != nodes:
        raise UserError(f"{wanted}, but Slurm job {job} has {len(found)} ({', '.join(found)})")
    for skipped in range(_BLOCKS):
        allocation = Allocation(job, found, gpus, skipped)
        if not any(is_in_use(allocation.port(index)) for index in range(_PORTS)):
            return allocation
    raise PassingError(
        f"no {_PORTS} ports in a row are free on this machine between {_FIRST_PORT} and {_LAST_PORT} "
        "(`ss -ltn` shows who listens): end what is left of earlier jobs, and run the same command again"
    )


def is_in_use(port: int) -> bool:
    """Whether something on this machine listens at a port, at any address."""
    for family in (socket.AF_INET, socket.AF_INET6):
        try:
            socket.create_server(("", port), family=family).close()
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                return True
            if family == socket.AF_INET:  # IPv6 may be switched off
                raise
    return False


def end_of_job(again: Sequence[float] = ()) -> float | None:
    """When this Slurm job's time is over, in seconds since the epoch; None where that is not known.

    As Slurm says now; where it cannot be asked (in a container), as it said when the job began.

    Args:
        again: see `grrm.slurm.queue.ask`.
    """
    job = os.environ.get("SLURM_JOB_ID")
    if job is None:
        return None
    try:
        end = _ask("squeue", "--noheader", "--jobs", job, "--format", "%e", again=again)
        return datetime.fromisoformat(end).timestamp()
    except ValueError:  # "NONE", "N/A"
        return None
    except UserError:
        if shutil.which("squeue"):  # it does not answer: what it said before counts, which may be later
            return None
        end = os.environ.get("SLURM_JOB_END_TIME", "")  # newer versions set it
        return float(end) if end.isdigit() else None


def step_environment(variables: Mapping[str, str]) -> dict[str, str]:
    """`variables` without those of the step this process runs in, which would bend the steps it starts.

    And without the process of the workflow, which other machines do not have.
    """
    kept = ("SLURM_CONF", "SLURM_JOB_ID")
    own = ("SLURM_", "SRUN_", "SBATCH_", "PMI_", "PMIX_", WORKFLOW_PID)
    return {key: value for key, value in variables.items() if key in kept or not key.startswith(own)}


def _addresses(nodes: Sequence[str]) -> list[str]:
    """What other machines of the job are reached by: their names, and Slurm's addresses of them."""
    shown = _ask("scontrol", "--oneliner", "show", "node", ",".join(nodes))
    return [*nodes, *re.findall(r"\bNodeAddr=(\S+)", shown)]


def _ask(*command: str, again: Sequence[float] = AGAIN) -> str:
    return ask(*command, variables=step_environment(os.environ), again=again)
