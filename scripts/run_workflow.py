"""Run Snakemake here, going on after an interruption of any kind; arguments are passed on to Snakemake."""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import psutil

from grrm import lock
from grrm.files import UserError, read_yaml
from grrm.process import WORKFLOW_PID, run_main

# A script that notices the end of its workflow needs some seconds to end its engine.
_PATIENCE = 60.0


def main(argv: list[str] | None = None) -> None:
    """Wait for what an interrupted run left behind, remove its lock, then become Snakemake."""
    arguments = sys.argv[1:] if argv is None else argv
    _check_files(arguments)
    here = Path.cwd()
    snakemake = [sys.executable, "-m", "snakemake"]
    running = [process.pid for process in _processes(here) if _is_snakemake(process)]
    if running:
        raise UserError(
            f"Snakemake already runs in {here} (process {running[0]}): wait for it, or end it first"
        )
    if elsewhere := lock.at_work(here / lock.WORKFLOW):
        raise UserError(f"Snakemake already runs in {here} ({elsewhere}): wait for it, or end it there first")
    _await_leftovers(here)
    locks = here / ".snakemake" / "locks"
    if locks.is_dir() and any(locks.iterdir()):
        print("An earlier run was interrupted: removing its lock.", flush=True)
        unlocking = subprocess.run([*snakemake, "--unlock", "--quiet", "all", *arguments], check=False)
        if unlocking.returncode != 0:
            sys.exit(unlocking.returncode)  # Snakemake has said why
    os.execv(sys.executable, [*snakemake, "--rerun-incomplete", *arguments])


def _check_files(arguments: list[str]) -> None:
    """Read what Snakemake will read as a configuration, which ends with a traceback on some of it.

    Raises:
        UserError: a file is missing, or is not YAML as this project reads it.
    """
    parser = argparse.ArgumentParser(add_help=False, exit_on_error=False, allow_abbrev=False)
    parser.add_argument("--configfile", "--configfiles", nargs="+", type=Path, default=[])
    with suppress(argparse.ArgumentError):  # Snakemake says it
        for path in parser.parse_known_args(arguments)[0].configfile:
            read_yaml(path)


def _await_leftovers(here: Path) -> None:
    deadline = time.monotonic() + _PATIENCE
    while left := [process.pid for process in _processes(here) if _is_orphaned_script(process)]:
        if time.monotonic() > deadline:
            raise UserError(f"processes of an earlier run are still at work: {left}; end them first")
        print(f"Waiting for processes of an earlier run to end: {left}", flush=True)
        time.sleep(2)


def _processes(here: Path) -> Iterator[psutil.Process]:
    own = {os.getpid(), *(parent.pid for parent in psutil.Process().parents())}
    for process in psutil.process_iter():
        try:
            if process.pid not in own and process.cwd() == str(here):
                yield process
        except (psutil.Error, OSError):
            continue


def _is_snakemake(process: psutil.Process) -> bool:
    try:
        command = process.cmdline()
    except psutil.Error:
        return False
    called = [Path(part).name for part in command[:2]] + command[1:3]
    return "snakemake" in called


def _is_orphaned_script(process: psutil.Process) -> bool:
    try:
        pid = process.environ().get(WORKFLOW_PID, "")
    except (psutil.Error, OSError):
        return False
    return pid.isdigit() and not psutil.pid_exists(int(pid))


if __name__ == "__main__":
    run_main(main)
