"""Python processes by fork: they begin with everything imported that the server had imported.

A verl run on one machine starts about ten Ray workers, and each spends over ten seconds of processor time on
the same imports. Ray lets a runtime environment name the interpreter (`py_executable`): it is given
`fork_client.py`, which asks this server to fork and run the worker's command.

Nothing the caller starts outlives it, whichever process is killed: a guard (the process that called `start`)
has the server as its child, the server has the caller, and both take in orphans. (Two of Ray's daemons
otherwise stay for a minute after a killed driver, waiting for an answer of the daemon that died with it.)

The server must not have loaded Ray: Ray's native part reads its environment once, and is no friend of forks.
Linux only: abstract sockets leave no file behind, and orphans can be taken in.
"""

from __future__ import annotations

import contextlib
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
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import NoReturn

from grrm.process import die_with_parent, end_descendants, shell_status, take_in_orphans


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
    """Fork a server, and the caller from it. Like fork, this returns in several processes.

    The process that called it never returns from here: it waits, passes SIGTERM on, and exits with the
    caller's status, or 128 and the number of the signal that killed it.

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
    # Only the guard holds the writing end: its end tells the server.
    lifeline, held = os.pipe()
    sys.stdout.flush()
    sys.stderr.flush()
    take_in_orphans()
    if (server := os.fork()) != 0:
        listener.close()
        os.close(lifeline)
        _guard(server)
    os.close(held)
    take_in_orphans()
    server = os.getpid()
    if (caller := os.fork()) != 0:
        return _serve(listener, lifeline, caller)
    listener.close()
    os.close(lifeline)
    die_with_parent(signal.SIGKILL, server)
    return name


def interpreter(name: str) -> str:
    """The command for Ray's `py_executable`: an interpreter whose processes come from the server `name`."""
    return shlex.join([sys.executable, "-I", "-S", str(Path(__file__).with_name("fork_client.py")), name])


def _guard(server: int) -> NoReturn:
    """Wait for the server; whatever it could not end because it was killed itself is ended here."""
    _pass_on_signals(server)
    _, status = os.waitpid(server, 0)
    end_descendants(grace=0)
    os._exit(shell_status(os.waitstatus_to_exitcode(status)))


def _serve(listener: socket.socket, lifeline: int, caller: int) -> Job:
    """Fork once per request until the caller or the guard is gone; only the forked processes return."""
    woken, wakes = socket.socketpair()
    wakes.setblocking(False)
    signal.set_wakeup_fd(wakes.fileno(), warn_on_full_buffer=False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    _pass_on_signals(caller)
    server = os.getpid()
    while True:
        if (status := _reap(caller)) is not None:
            end_descendants(grace=0)
            os._exit(shell_status(os.waitstatus_to_exitcode(status)))
        ready, _, _ = select.select([listener.fileno(), lifeline, woken.fileno()], [], [])
        if lifeline in ready:
            end_descendants(grace=0)
            os._exit(1)
        if woken.fileno() in ready:
            woken.recv(4096)
        if listener.fileno() not in ready:
            continue
        connection, _ = listener.accept()
        if not _same_user(connection) or os.fork() != 0:
            connection.close()
            continue
        signal.set_wakeup_fd(-1)
        for end in (listener, woken, wakes):
            end.close()
        os.close(lifeline)
        for number in (signal.SIGCHLD, signal.SIGTERM):
            signal.signal(number, signal.SIG_DFL)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        die_with_parent(signal.SIGKILL, server)
        return _receive(connection)


def _pass_on_signals(child: int) -> None:
    """Leave the end to `child`: a terminal sends SIGINT to the whole group, others SIGTERM to one process."""

    def pass_on(number: int, _frame: FrameType | None) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(child, number)

    signal.signal(signal.SIGTERM, pass_on)
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def _reap(caller: int) -> int | None:
    """Take all ended children away; the caller's status if it is among them."""
    found = None
    with contextlib.suppress(ChildProcessError):
        while (ended := os.waitpid(-1, os.WNOHANG))[0] != 0:
            if ended[0] == caller:
                found = ended[1]
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
