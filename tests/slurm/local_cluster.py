"""A real Slurm on this machine for the tests: Debian's packages, two virtual nodes.

It listens on the loopback interface only, keeps everything below /run/grrm-test-slurm, and is stopped by the
process ids that its daemons wrote. Needs root, and Debian's or Ubuntu's apt if Slurm is not installed.

    python tests/slurm/local_cluster.py start|stop
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import IO

PACKAGES = ["slurmctld", "slurmd", "slurm-client", "munge"]
FOLDER = Path("/run/grrm-test-slurm")
LOCK = FOLDER.with_suffix(".lock")
CONFIGURATION = Path("/etc/slurm/slurm.conf")
NODES = ["a1", "a2"]
_held: list[IO[str]] = []
_MARK = "# Written by the tests of the GRRM workflow."

# config_overrides: the nodes may claim more than this machine has. Requests are kept small in the tests, and
# nobody is killed for its memory. Fake GPUs need a device file each; links to /dev/null will do.
_SETTINGS = f"""{_MARK}
ClusterName=grrm
SlurmctldHost=localhost(127.0.0.1)
SlurmctldPort={{controller}}
CommunicationParameters=NoInAddrAny,NoCtldInAddrAny
AuthType=auth/munge
SlurmUser=root
StateSaveLocation={FOLDER}/state
SlurmdSpoolDir={FOLDER}/spool-%n
SlurmctldPidFile={FOLDER}/slurmctld.pid
SlurmdPidFile={FOLDER}/slurmd-%n.pid
SlurmctldLogFile={FOLDER}/slurmctld.log
SlurmdLogFile={FOLDER}/slurmd-%n.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
SlurmdParameters=config_overrides
ReturnToService=2
GresTypes=gpu
AccountingStorageType=accounting_storage/none
JobAcctGatherType=jobacct_gather/none
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
JobRequeue=1
KillWait=5
UnkillableStepTimeout=600
MinJobAge=600
InactiveLimit=0
DefMemPerCPU=256
SchedulerParameters=sched_interval=2,bf_interval=3,batch_sched_delay=0
NodeName=DEFAULT CPUs=32 Sockets=1 CoresPerSocket=32 ThreadsPerCore=1 RealMemory=2000000
{{nodes}}
PartitionName=cpu Nodes=a1,a2 Default=YES MaxTime=60
PartitionName=gpu Nodes=a1,a2 MaxTime=60
PartitionName=scavenge Nodes=a1,a2 MaxTime=60 PriorityTier=1
PartitionName=urgent Nodes=a1,a2 MaxTime=60 PriorityTier=9
"""


def why_not() -> str | None:
    """Why this machine cannot have the cluster; None if it can."""
    if os.geteuid() != 0:
        return "Slurm's daemons need root"
    if CONFIGURATION.exists() and not _is_ours():
        return f"{CONFIGURATION} belongs to another Slurm, which is left alone"
    if not _installed() and shutil.which("apt-get") is None:
        return f"{', '.join(PACKAGES)} are not installed, and there is no apt-get to install them"
    return None


def start() -> None:
    """Install Slurm where it is absent, and start it; returns once all nodes are idle.

    A machine has one: whoever comes second waits until the first process stops it, or ends.
    """
    if reason := why_not():
        raise RuntimeError(reason)
    LOCK.parent.mkdir(exist_ok=True)
    if not _held:  # after a start that failed this process has it still, and would wait for itself
        _held.append(LOCK.open("w"))
        fcntl.flock(_held[-1], fcntl.LOCK_EX)
    if not _installed():
        _install()
    if _alive(FOLDER / "slurmctld.pid"):
        raise RuntimeError(f"a test cluster runs already ({FOLDER}): stop it first, with this file's `stop`")
    shutil.rmtree(FOLDER, ignore_errors=True)
    for name in ("state", "gpus", *(f"spool-{node}" for node in NODES)):
        (FOLDER / name).mkdir(parents=True)
    for index in range(8):
        (FOLDER / f"gpus/nvidia{index}").symlink_to("/dev/null")
    CONFIGURATION.parent.mkdir(exist_ok=True)
    # Ports that nothing has: what an earlier cluster left behind must not find this one.
    controller, *ports = _free_ports(1 + len(NODES))
    where = "NodeHostname=localhost NodeAddr=127.0.0.1 Gres=gpu:h100:8"
    nodes = [f"NodeName={name} {where} Port={port}\n" for name, port in zip(NODES, ports, strict=True)]
    CONFIGURATION.write_text(_SETTINGS.format(controller=controller, nodes="".join(nodes)))
    gpus = f"NodeName={','.join(NODES)} Name=gpu Type=h100 File={FOLDER}/gpus/nvidia[0-7]\n"
    CONFIGURATION.with_name("gres.conf").write_text(f"{_MARK}\nAutoDetect=off\n{gpus}")
    _start_munge()
    start_controller()
    for node in NODES:
        subprocess.run(["slurmd", "-N", node], check=True)
    _wait(_all_idle, "all nodes are idle")


def start_controller() -> None:
    """Start slurmctld, which takes up its jobs where it left them."""
    subprocess.run(["slurmctld"], check=True)
    _wait(lambda: _succeeds("scontrol", "ping"), "slurmctld answers")


def kill_controller() -> None:
    """Kill slurmctld without a warning, once it has written down the jobs it has (every five seconds)."""
    time.sleep(10)
    pid = int((FOLDER / "slurmctld.pid").read_text())
    os.kill(pid, signal.SIGKILL)
    _wait(lambda: not Path(f"/proc/{pid}").exists(), "slurmctld is gone")


def stop() -> None:
    """Cancel all jobs, and stop what was started here."""
    if not FOLDER.exists():
        return
    subprocess.run(["scancel", "--user", "root"], capture_output=True, check=False)
    # Before the daemons: what is left of a job would find the next cluster's.
    with contextlib.suppress(RuntimeError):
        _wait(_no_job, "all jobs are over", 30)
    pids = [
        _pid(file) for file in [*FOLDER.glob("slurmd-*.pid"), FOLDER / "slurmctld.pid", FOLDER / "munged.pid"]
    ]
    running = [pid for pid in pids if pid is not None]
    for pid in running:
        os.kill(pid, signal.SIGTERM)
    end = time.monotonic() + 15
    while any(Path(f"/proc/{pid}").exists() for pid in running):
        if time.monotonic() > end:
            for pid in running:
                if Path(f"/proc/{pid}").exists():
                    os.kill(pid, signal.SIGKILL)
            break
        time.sleep(0.1)
    if _is_ours():
        CONFIGURATION.unlink()
        CONFIGURATION.with_name("gres.conf").unlink()
    shutil.rmtree(FOLDER, ignore_errors=True)
    while _held:
        _held.pop().close()


def _free_ports(count: int) -> list[int]:
    with contextlib.ExitStack() as stack:
        servers = [stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(count)]
        return [server.getsockname()[1] for server in servers]


def _installed() -> bool:
    return all(shutil.which(name) for name in ("slurmctld", "slurmd", "sbatch", "munged"))


def _install() -> None:
    print(f"Installing {', '.join(PACKAGES)}", flush=True)
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    for command in (["update"], ["install", "--yes", "--no-install-recommends", *PACKAGES]):
        done = subprocess.run(
            ["apt-get", *command], env=environment, capture_output=True, text=True, check=False
        )
        if done.returncode != 0:
            raise RuntimeError(f"apt-get {command[0]} failed: {done.stderr[-1000:]}")


def _start_munge() -> None:
    """The machine's own munged if it runs; otherwise one that `stop` ends."""
    if _succeeds("munge", "-n"):
        return
    folder = Path("/run/munge")
    folder.mkdir(exist_ok=True)
    shutil.chown(folder, "munge", "munge")
    folder.chmod(0o755)
    pid_file = folder / "munged.pid"
    as_munge = ["setpriv", "--reuid=munge", "--regid=munge", "--clear-groups"]
    subprocess.run([*as_munge, "/usr/sbin/munged", "--force", f"--pid-file={pid_file}"], check=True)
    _wait(lambda: _succeeds("munge", "-n"), "munged answers")
    shutil.copy(pid_file, FOLDER / "munged.pid")


def _no_job() -> bool:
    done = subprocess.run(["squeue", "--noheader"], capture_output=True, text=True, check=False)
    return not done.stdout.strip()


def _all_idle() -> bool:
    done = subprocess.run(
        ["sinfo", "--noheader", "--Node", "--format", "%N %t"], capture_output=True, text=True, check=False
    )
    idle = {line.split()[0] for line in done.stdout.splitlines() if line.split()[1] == "idle"}
    return idle == set(NODES)


def _succeeds(*command: str) -> bool:
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


def _is_ours() -> bool:
    return CONFIGURATION.exists() and CONFIGURATION.read_text().startswith(_MARK)


def _pid(file: Path) -> int | None:
    text = file.read_text().strip() if file.exists() else ""
    return int(text) if text.isdigit() and Path(f"/proc/{text}").exists() else None


def _alive(file: Path) -> bool:
    return _pid(file) is not None


def _wait(condition: Callable[[], bool], what: str, seconds: float = 20) -> None:
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            raise RuntimeError(f"after {seconds:.0f} s: {what}; see the logs in {FOLDER}")
        time.sleep(0.1)


if __name__ == "__main__":
    {"start": start, "stop": stop}[sys.argv[1]]()
