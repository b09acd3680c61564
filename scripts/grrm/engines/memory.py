"""How much memory a training may use: what the machine has, or less in a container or a Slurm job."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import psutil

_MIB = 2**20
_PROC = Path("/proc")
# By type of file system: limit and use of a control group, and what of the use is files that can go at once.
_FILES = {
    "cgroup2": ("memory.max", "memory.current", "inactive_file"),
    "cgroup": ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
}


@dataclass(frozen=True)
class Memory:
    """Memory, in bytes.

    Attributes:
        total: the most that can be used.
        available: of it, what is free now.
        where: what has it, for a message.
        remedy: how to come to more.
    """

    total: int
    available: int
    where: str = "this machine"
    remedy: str = "take a larger machine"


def memory(environment: Mapping[str, str] = os.environ, proc: Path = _PROC) -> Memory:
    """The memory of this machine, or the smallest limit that is set to this process.

    Args:
        environment: in which a Slurm job says what it asked for.
        proc: where Linux tells about processes.
    """
    machine = psutil.virtual_memory()
    found = [Memory(machine.total, machine.available)]
    for limit, used in _control_groups(proc):
        found.append(
            Memory(
                limit,
                min(machine.available, limit - used),
                "this container or job (its control group)",
                "raise its limit (of a Slurm job: mem_gb in config/resources.yaml)",
            )
        )
    if asked := _asked_of_slurm(environment):
        remedy = "raise mem_gb in config/resources.yaml"
        found.append(Memory(asked, min(machine.available, asked), "this Slurm job", remedy))
    return min(found, key=lambda memory: memory.total)


def _control_groups(proc: Path) -> Iterator[tuple[int, int]]:
    """Limit and use of each control group that this process is in, with those above it (cgroup v1 and v2)."""
    try:
        groups = (proc / "self/cgroup").read_text(encoding="utf-8").splitlines()
        mounts = [line.split() for line in (proc / "self/mounts").read_text(encoding="utf-8").splitlines()]
    except OSError:  # not Linux
        return
    for group in groups:
        _, controllers, path = group.split(":", 2)
        if controllers and "memory" not in controllers.split(","):
            continue
        kind = "cgroup" if controllers else "cgroup2"
        inside = PurePosixPath(path.lstrip("/"))
        # Of a container that sees its own groups only, the path may begin above them.
        places = [inside, *inside.parents] if ".." not in inside.parts else [PurePosixPath()]
        for _, point, mounted, options, *_ in mounts:
            if mounted == kind and (kind == "cgroup2" or "memory" in options.split(",")):
                yield from filter(None, (_limit(Path(point, place), kind) for place in places))


def _limit(folder: Path, kind: str) -> tuple[int, int] | None:
    limit, usage, idle = _FILES[kind]
    try:
        total, used = (folder / limit).read_text().strip(), int((folder / usage).read_text())
        counts = dict(line.split() for line in (folder / "memory.stat").read_text().splitlines())
    except OSError:  # the group above all has no limit
        return None
    return None if total == "max" else (int(total), used - int(counts.get(idle, 0)))


def _asked_of_slurm(environment: Mapping[str, str]) -> int:
    """What a Slurm job asked for of each machine, in bytes; 0 if that is all of it, or this is no job."""
    per_node = environment.get("SLURM_MEM_PER_NODE", "")
    if per_node.isdigit():
        return int(per_node) * _MIB
    per_core, cores = environment.get("SLURM_MEM_PER_CPU", ""), environment.get("SLURM_CPUS_ON_NODE", "")
    return int(per_core) * int(cores) * _MIB if per_core.isdigit() and cores.isdigit() else 0
