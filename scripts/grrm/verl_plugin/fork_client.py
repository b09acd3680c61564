"""Runs in place of a Ray worker's interpreter: asks the fork server for a process with the same command.

Started as `python -I -S fork_client.py NAME COMMAND...` for every worker, so it must be quick: standard
library only, no import of grrm. See fork_server.py.
"""

from __future__ import annotations

import json
import os
import socket
import sys


def main() -> None:
    """Hand command, environment, folder and standard streams over; wait until the worker has ended."""
    name, *command = sys.argv[1:]
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        try:
            connection.connect("\0" + name)
        except OSError:  # without a server a worker starts slowly, but it starts
            os.execv(sys.executable, [sys.executable, *command])
        request = {
            "command": command,
            "environment": dict(os.environ),
            "folder": os.getcwd(),  # noqa: PTH109  (pathlib is slow to import)
        }
        body = json.dumps(request).encode()
        socket.send_fds(connection, [len(body).to_bytes(8, "big")], [0, 1, 2])
        connection.sendall(body)
        connection.recv(1)  # the worker holds the other end for life


if __name__ == "__main__":
    main()
