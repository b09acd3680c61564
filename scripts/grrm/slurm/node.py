"""What a Slurm step runs on one machine of an allocation; it leaves no process and no file behind."""

from __future__ import annotations

import argparse
import contextlib
import os
import socket
import sys
import time
from pathlib import Path

from grrm.files import UserError
from grrm.process import run_engine, run_main, shell_status
from grrm.slurm.allocation import is_in_use
from grrm.slurm.network import own_address, split_endpoint
from grrm.slurm.storage import make_folder, remove_folder

READY = "is ready"
ADDRESS = "THIS-MACHINES-ADDRESS"
"""In a command: the address of the machine in the network that all of them share."""


def main(argv: list[str] | None = None) -> None:
    """Run a command until it ends or this process is told to end."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--node", required=True, help="name of this machine")
    parser.add_argument("--temporary", type=Path, help="folder to make, and to remove at the end")
    parser.add_argument("--storage", type=Path, help="where that folder lies, if its own path is a link")
    parser.add_argument("--meets", metavar="HOST", help="the address at which the machines meet")
    parser.add_argument("--reach", metavar="HOST:PORT", help="what must be reached before the command is run")
    parser.add_argument(
        "--free", type=int, nargs="+", default=[], metavar="PORT", help="ports that the command listens at"
    )
    parser.add_argument("--attempts", type=int, default=1, help="how often the command is run if it fails")
    parser.add_argument("command", nargs="+", help="what to run, after --")
    args = parser.parse_args(argv)
    if taken := [port for port in args.free if is_in_use(port)]:
        raise UserError(
            f"port {taken[0]} of {args.node} is in use, perhaps by another job there: run the same command "
            "again, as a new job takes other ports"
        )
    made_here = args.temporary is not None and _make(args.temporary, args.storage)
    try:
        if args.reach:
            _reach(args.reach)
        own = own_address([args.meets]) if args.meets else None
        command = [own.text if own and word == ADDRESS else word for word in args.command]
        variables = {**os.environ, **(own.variables(os.environ) if own else {})}
        print(f"{args.node} {READY}", flush=True)
        for _ in range(args.attempts):
            if (status := run_engine(command, env=variables)) == 0:
                break
    finally:
        if made_here:
            remove_folder(args.temporary)
    sys.exit(shell_status(status))  # srun knows no other


def _make(folder: Path, storage: Path | None) -> bool:
    """Whether a folder was not there, as on the machine that the training was started from."""
    try:
        make_folder(folder, storage or folder.parent)
    except FileExistsError:
        return False
    return True


def _reach(address: str) -> None:
    """Wait for a server; for how long is for whoever started this step to say."""
    where = split_endpoint(address)
    while True:
        with contextlib.suppress(OSError), socket.create_connection(where, timeout=5):
            return
        time.sleep(0.5)


if __name__ == "__main__":
    run_main(main)
