"""Python processes by fork: they begin with everything imported that the server had imported.

A verl run on one machine starts about ten Ray workers, and each spends over ten seconds of processor time on
the same imports. Ray lets a runtime environment name the interpreter (`py_executable`): it is given
`fork_client.py`, which asks this server to fork and run the worker's command.

The server is also the last one out: it outlives its caller by a moment and kills whatever the caller left
behind. (If a driver is killed, two of Ray's daemons otherwise stay for a minute.)

The server must not have loaded Ray: Ray's native part reads its environment once, and is no friend of forks.
Linux only: abstract sockets leave no file behind, and /proc tells which processes belong to the run.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import runpy
import secrets
import select
import shlex
import signal
import socket
import struct
import sys
import time
from dataclasses import dataclass
from pathlib import Path

# In the environment of all that the caller starts: how the server knows what belongs to it.
MARK = "GRRM_FORK_SERVER"
_PR_SET_PDEATHSIG = 1


@dataclass(frozen=True)
class Job:
    """A forked process's task: what `fork_client.py` was asked to run."""

    command: list[str]
    connection: socket.socket  # kept open for life: its end tells the client

    def run(self) -> None:
        """Run the command, a Python file with arguments, as `__main__`."""
        sys.argv = self.command
        sys.path[0] = str(Path(self.command[0]).parent)
        runpy.run_path(self.command[0], run_name="__main__")


def start() -> str | Job:
    """Fork a server. Like fork, this returns in several processes.

    Returns:
        In the caller: the server's name, for `interpreter`. In every process forked on demand: its job.

    Raises:
        RuntimeError: Ray has been imported already.
    """
    if "ray" in sys.modules:
        raise RuntimeError("the fork server must be started before Ray is imported")
    name = f"grrm-{os.getpid()}-{secrets.token_hex(8)}"
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    listener.bind("\0" + name)
    listener.listen(64)
    # The caller holds the writing end for life and passes it to nobody: its end tells the server.
    lifeline, held = os.pipe()
    sys.stdout.flush()
    sys.stderr.flush()
    if os.fork() != 0:
        listener.close()
        os.close(lifeline)
        os.environ[MARK] = name
        return name
    os.close(held)
    return _serve(listener, lifeline, name)


def interpreter(name: str) -> str:
    """The command for Ray's `py_executable`: an interpreter whose processes come from the server `name`."""
    return shlex.join([sys.executable, "-I", "-S", str(Path(__file__).with_name("fork_client.py")), name])


def _serve(listener: socket.socket, lifeline: int, name: str) -> Job:
    """Fork once per request; only the forked processes return."""
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # no zombies
    for number in (signal.SIGINT, signal.SIGTERM):  # sent to the whole group; the caller decides
        signal.signal(number, signal.SIG_IGN)
    server = os.getpid()
    while True:
        ready, _, _ = select.select([listener.fileno(), lifeline], [], [])
        if lifeline in ready:
            listener.close()
            kill_marked(name)
            os._exit(0)
        connection, _ = listener.accept()
        if not _same_user(connection) or os.fork() != 0:
            connection.close()
            continue
        listener.close()
        os.close(lifeline)
        for number in (signal.SIGCHLD, signal.SIGTERM):
            signal.signal(number, signal.SIG_DFL)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        _die_with(server)
        return _receive(connection)


def kill_marked(name: str, seconds: float = 10.0) -> None:
    """Kill all other processes with `MARK`=`name` in their environment, and those they start meanwhile."""
    deadline = time.monotonic() + seconds
    # New ones may be born while we look: only two empty looks in a row count.
    while left := _marked(name) or _marked(name):
        for pid in left:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        if time.monotonic() > deadline:
            return
        time.sleep(0.05)


def _marked(name: str) -> list[int]:
    needle = f"\0{MARK}={name}\0".encode()
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        # Gone meanwhile, or another user's.
        with contextlib.suppress(OSError):
            if needle in b"\0" + (folder / "environ").read_bytes() and int(folder.name) != os.getpid():
                found.append(int(folder.name))
    return found


def _receive(connection: socket.socket) -> Job:
    """Take over the client's environment, folder and streams."""
    head, streams, _, _ = socket.recv_fds(connection, 8, 3)
    with connection.makefile("rb") as reader:
        request = json.loads(reader.read(int.from_bytes(head, "big")))
    for target, stream in enumerate(streams):
        os.dup2(stream, target)
        os.close(stream)
    os.environ.clear()
    os.environ.update(request["environment"])
    os.chdir(request["folder"])
    if "numpy" in sys.modules:  # random.* reseeds itself after a fork, numpy does not
        sys.modules["numpy"].random.seed()
    return Job(request["command"], connection)


def _same_user(connection: socket.socket) -> bool:
    """Abstract sockets have no permissions: look at who is calling."""
    credentials = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
    _pid, uid, _gid = struct.unpack("3i", credentials)
    return bool(uid == os.getuid())


def _die_with(parent: int) -> None:
    """Have the kernel kill this process when `parent` is gone."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:  # gone already
        os._exit(1)
