"""The machines of a Ray cluster that is there already (RAY_ADDRESS), in place of those of a Slurm job.

On KubeRay, SkyPilot and the like nobody else starts programs on the other machines. Each step is a task of
Ray's on one machine, for as long as the step lasts; the machines share this file system and its environments.
"""

from __future__ import annotations

import json
import os
import random
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from grrm.files import PassingError, UserError
from grrm.slurm.queue import why_unanswered

_FIRST_PORT, _LAST_PORT = 20_000, 32_000
_PATIENCE = 300  # seconds


@dataclass(frozen=True)
class RayNodes:
    """Machines of a Ray cluster.

    Attributes:
        python: interpreter of an environment with Ray.
        nodes: Ray's names (numbers) of the machines.
        host: address of the first.
        gpus: taken of each.
        first_port: of a hundred.
    """

    python: str
    nodes: tuple[str, ...]
    host: str
    gpus: int
    first_port: int

    def port(self, index: int) -> int:
        """The port with this index, from 0 to 99."""
        return self.first_port + index

    def meets(self) -> str:
        """The address at which the machines meet, that of the first."""
        return self.host

    def step(self, node: str, command: Sequence[str]) -> list[str]:
        """A command that runs `command` once on one machine."""
        where = ["--node", node, "--gpus", str(self.gpus)]
        return [self.python, "-m", "grrm.slurm.ray_step", *where, "--", *command]


def joined_address() -> str | None:
    """RAY_ADDRESS, if it can be joined: a dashboard (http://) only takes jobs."""
    address = os.environ.get("RAY_ADDRESS")
    return None if not address or address.startswith(("http://", "https://")) else address


def find_ray_nodes(nodes: int, gpus: int, python: str) -> RayNodes:
    """Machines of the Ray cluster at RAY_ADDRESS.

    Args:
        nodes: how many.
        gpus: that each must have.
        python: interpreter of the training; if its environment has no Ray, one beside it must.

    Raises:
        UserError: no environment has Ray, or the cluster has too few such machines.
    """
    ray = _with_ray(python)
    environment = {**os.environ, "PYTHONPATH": _path()}
    command = [ray, "-m", "grrm.slurm.ray_step", "--gpus", str(gpus)]
    try:
        done = subprocess.run(
            command, env=environment, capture_output=True, text=True, timeout=_PATIENCE, check=True
        )
        found: list[tuple[str, str]] = json.loads(done.stdout.splitlines()[-1])
    except (OSError, subprocess.SubprocessError, ValueError, IndexError) as error:
        said = why_unanswered(error).splitlines()[-1:]
        raise PassingError(
            f"RAY_ADDRESS {os.environ.get('RAY_ADDRESS')}: Ray does not answer: {' '.join(said)}"
        ) from error
    if len(found) < nodes:
        with_gpus = f" with {gpus} GPUs" if gpus else ""
        raise UserError(
            f"hardware.nodes asks for {nodes} machines{with_gpus}, the Ray at "
            f"{os.environ.get('RAY_ADDRESS')} has {len(found)}"
        )
    names = tuple(name for name, _ in found[:nodes])
    first = random.SystemRandom().randrange(_FIRST_PORT, _LAST_PORT, 100)
    return RayNodes(ray, names, found[0][1], gpus, first)


def _with_ray(python: str) -> str:
    """An interpreter with Ray: this one, or of an environment beside its own."""
    own = Path(python).absolute().parent.parent
    for folder in [own, *sorted(own.parent.glob("*"))]:
        if any(folder.glob("lib/python3*/site-packages/ray/__init__.py")):
            return str(folder / "bin/python")
    raise UserError(
        f"RAY_ADDRESS is set, and no environment beside {own} has Ray: build that of the RL stages first "
        "(snakemake environments)"
    )


def _path() -> str:
    scripts = str(Path(__file__).parents[2])
    return os.pathsep.join([scripts, *filter(None, [os.environ.get("PYTHONPATH")])])
