"""Python processes by fork: they begin with everything imported that the server had imported.

A verl run on one machine starts about ten Ray workers, and each spends over ten seconds of processor time on
the same imports. Ray lets a runtime environment name the interpreter (`py_executable`): it is given
`fork_client.py`, which asks this server to fork and run the worker's command.

The server must not have loaded Ray: Ray's native part reads its environment once, and is no friend of forks.
Linux only (abstract sockets, which leave no file behind, and death signals, which leave no process behind).
"""

from __future__ import annotations

import ctypes
import json
import os
import runpy
import secrets
import shlex
import signal
import socket
import struct
import sys
from dataclasses import dataclass
from pathlib import Path

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
    sys.stdout.flush()
    sys.stderr.flush()
    parent = os.getpid()
    if os.fork() != 0:
        listener.close()
        return name
    _die_with(parent)
    return _serve(listener)


def interpreter(name: str) -> str:
    """The command for Ray's `py_executable`: an interpreter whose processes come from the server `name`."""
    return shlex.join([sys.executable, "-I", "-S", str(Path(__file__).with_name("fork_client.py")), name])


def _serve(listener: socket.socket) -> Job:
    """Fork once per request; only the forked processes return."""
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # no zombies
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the driver's, whose end is ours
    server = os.getpid()
    while True:
        connection, _ = listener.accept()
        if not _same_user(connection) or os.fork() != 0:
            connection.close()
            continue
        listener.close()
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        _die_with(server)
        return _receive(connection)


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
