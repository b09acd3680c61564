"""Machines of a job on networks of several kinds: two network namespaces, and an srun that enters them."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from slurm_commands import SRUN

ROOT = Path(__file__).parents[2]
TRAIN = ROOT / ".snakemake/environments/train/bin/python"
NODES = ("grrm-n1", "grrm-n2")


def why_not() -> str | None:
    if os.geteuid() != 0 or shutil.which("ip") is None:
        return "network namespaces need root and ip (iproute2)"
    try:
        subprocess.run(["ip", "netns", "add", NODES[0]], capture_output=True, text=True, check=True)
        subprocess.run(["ip", "netns", "delete", NODES[0]], check=True)
    except subprocess.CalledProcessError as error:
        return f"no network namespace can be made here: {error.stderr}"
    return None


REASON = why_not()
pytestmark = pytest.mark.skipif(REASON is not None, reason=REASON or "")


@dataclass(frozen=True)
class Network:
    """A network between the two, by the prefix of its addresses (.1 or ::1 is the first's)."""

    interface: str
    prefix: str
    bits: int
    default: bool = False


MANAGEMENT = Network("eth0", "192.168.77.", 24, default=True)
FAST = Network("ib0", "10.77.0.", 24)
SIX = Network("ib0", "fd77::", 64)

IN_NAMESPACE = f'{SRUN}exec ip netns exec $node "$@"\n'
# Each says who it is, and adds what the other has.
MEET = """
import os, torch, torch.distributed as distributed
distributed.init_process_group("gloo")
mine = torch.tensor([float(distributed.get_rank() + 1)])
distributed.all_reduce(mine)
print("sum", mine.item(), os.environ["GLOO_SOCKET_IFNAME"], os.environ["VLLM_HOST_IP"], flush=True)
distributed.barrier()
distributed.destroy_process_group()  # its threads end before Python does
"""
ALLOCATION = """
from grrm.slurm.allocation import find_allocation
print(find_allocation(2, 0).meets())
"""
TORCHRUN = """
import os, sys
from pathlib import Path
from grrm.slurm.allocation import find_allocation
from grrm.slurm.torchrun import torchrun_on_all
allocation, how = find_allocation(2, 0), {"processes": 1, "environment": os.environ, "logs": Path("logs")}
sys.exit(torchrun_on_all(allocation, ["meet"], python=sys.argv[1], **how))
"""
RAY = """
import os, subprocess, sys
from pathlib import Path
from grrm.slurm.allocation import find_allocation
from grrm.slurm.ray import ray_cluster
from grrm.slurm.ray_nodes import find_ray_nodes
from grrm.slurm.torchrun import torchrun_on_all
offers = {"--num-cpus": 1, "--object-store-memory": 100_000_000}
allocation = find_allocation(2, 0)
with ray_cluster(
    allocation, python=sys.argv[1], offers=offers, environment=os.environ, temporary=Path("/tmp/grrm-net"),
    logs=Path("logs"),
) as connection:
    os.environ.update(connection)
    subprocess.run([sys.argv[1], "ask.py"], check=True)
    # An SFT joins a Ray that is there.
    machines, how = find_ray_nodes(2, 0, sys.argv[1]), {"processes": 1, "environment": os.environ}
    sys.exit(torchrun_on_all(machines, ["meet"], python=sys.argv[1], logs=Path("logs/over"), **how))
"""
# A task on each machine.
ASK = """
import os, ray
ray.init(log_to_driver=False)
@ray.remote(num_cpus=1, scheduling_strategy="SPREAD")
def where():
    import time; time.sleep(1)
    return os.environ["VLLM_HOST_IP"], ray.util.get_node_ip_address()
print("tasks", sorted(set(ray.get([where.remote() for _ in range(4)]))))
"""


def ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True, capture_output=True, text=True)


@contextlib.contextmanager
def joined(*networks: Network, known: Network) -> Iterator[None]:
    """Two machines in some networks, which know each other's names in one of them."""
    folders = [Path("/etc/netns", node) for node in NODES]
    try:
        for node in NODES:
            ip("netns", "add", node)
            ip("-n", node, "link", "set", "lo", "up")
        for network in networks:
            first, second = [(network.interface, "netns", node) for node in NODES]
            ip("link", "add", *first, "type", "veth", "peer", "name", *second)
            for index, node in enumerate(NODES, 1):
                address = f"{network.prefix}{index}/{network.bits}"
                # No check for doubles, or an address cannot be used for a second.
                flags = ["nodad"] if ":" in address else []
                ip("-n", node, "address", "add", address, "dev", network.interface, *flags)
                ip("-n", node, "link", "set", network.interface, "up")
                if network.default:
                    ip("-n", node, "route", "add", "default", "via", f"{network.prefix}9")
        for folder in folders:
            folder.mkdir(parents=True)
            hosts = "".join(f"{known.prefix}{index} {node}\n" for index, node in enumerate(NODES, 1))
            (folder / "hosts").write_text(f"127.0.0.1 localhost\n{hosts}")
        yield
    finally:
        for node, folder in zip(NODES, folders, strict=True):
            subprocess.run(["ip", "netns", "delete", node], capture_output=True, check=False)
            shutil.rmtree(folder, ignore_errors=True)


def on_the_first(folder: Path, program: str, **variables: str) -> str:
    """What a program prints that runs on the first machine, as a job of two."""
    (folder / "bin").mkdir(exist_ok=True)
    commands = {
        "srun": IN_NAMESPACE,
        "squeue": "#!/bin/sh\necho 'nodes'\n",
        "scontrol": f'#!/bin/sh\n[ "$1" = show ] && printf "{NODES[0]}\\n{NODES[1]}\\n"\nexit 0\n',
    }
    for name, text in commands.items():
        (folder / "bin" / name).write_text(text)
        (folder / "bin" / name).chmod(0o755)
    (folder / "meet.py").write_text(MEET)
    (folder / "ask.py").write_text(ASK)
    environment = {
        **os.environ,
        "PATH": f"{folder}/bin:{os.environ['PATH']}",
        "PYTHONPATH": f"{ROOT}/scripts:{folder}",
        "SLURM_JOB_ID": "4711",
        "OMP_NUM_THREADS": "1",
        **variables,
    }
    command = ["ip", "netns", "exec", NODES[0], sys.executable, "-c", program, str(TRAIN)]
    done = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, timeout=300, check=False
    )
    logs = "".join(log.read_text() for log in sorted((folder / "logs").rglob("*.log")))
    assert done.returncode == 0, done.stdout + done.stderr + logs
    return done.stdout + logs


NETWORKS = {
    "two networks": ((MANAGEMENT, FAST), ""),
    "a named one of two": ((MANAGEMENT, FAST), "eth0"),
    "none by default": ((FAST,), ""),
    "IPv6 only": ((SIX,), ""),
}
ADDRESSES = {
    "two networks": ("ib0", "10.77.0."),
    "a named one of two": ("eth0", "192.168.77."),
    "none by default": ("ib0", "10.77.0."),
    "IPv6 only": ("ib0", "fd77::"),
}


@pytest.mark.parametrize("kind", NETWORKS)
def test_the_address_is_that_of_the_network_that_they_share(tmp_path: Path, kind: str) -> None:
    networks, interface = NETWORKS[kind]
    with joined(*networks, known=networks[-1]):
        said = on_the_first(tmp_path, ALLOCATION, GRRM_INTERFACE=interface)
    assert said == f"{ADDRESSES[kind][1]}1\n"


@pytest.mark.parametrize("kind", ["two networks", "IPv6 only"])
def test_machines_meet_there(tmp_path: Path, kind: str) -> None:
    networks, _ = NETWORKS[kind]
    with joined(*networks, known=networks[-1]):
        said = on_the_first(tmp_path, TORCHRUN)
    name, prefix = ADDRESSES[kind]
    for index in (1, 2):
        assert f"sum 3.0 {name} {prefix}{index}\n" in said


def test_so_do_those_of_a_ray_and_what_joins_it(tmp_path: Path) -> None:
    with joined(SIX, known=SIX):
        said = on_the_first(tmp_path, RAY)
    assert f"tasks {[(f'{SIX.prefix}{index}',) * 2 for index in (1, 2)]}" in said
    for index in (1, 2):
        assert re.search(rf"sum 3.0 \S+ {SIX.prefix}{index}\n", said)
