"""A checkout of its own for a test that runs the workflow."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any

import psutil

ROOT = Path(__file__).parents[1]
PATIENCE = 30.0
"""Seconds in which what a run has started ends after it."""
PARTS = ("Snakefile", "rules", "config", "scripts", "envs", "report", "slurm")


def lay_out(folder: Path, *, copied: Collection[str] = ()) -> None:
    """Make a folder a checkout of the workflow, its parts linked, or copied to be changed there."""
    for part in PARTS:
        source = ROOT / part
        if part not in copied:
            (folder / part).symlink_to(source)
        elif source.is_dir():
            shutil.copytree(source, folder / part, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, folder / part)


class Workspace:
    """A copy of the workflow in its own folder; the stages' environments are those of this checkout.

    Args:
        folder: where; empty.
        environments: whether the test needs them.
    """

    def __init__(self, folder: Path, environments: bool = True) -> None:
        self.folder = folder
        lay_out(folder, copied=PARTS)
        (folder / ".snakemake").mkdir()
        if not environments:
            return
        built = ROOT / ".snakemake" / "environments"
        if not (built / "train.json").exists():
            raise RuntimeError("the stages' environments are not built: run `make environments` first")
        (folder / ".snakemake" / "environments").symlink_to(built)

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        """Start the workflow as the Makefile does."""
        command = [sys.executable, "scripts/run_workflow.py", "--cores", "2", *arguments]
        log = (self.folder / "workflow.log").open("a")
        # A session of its own, as a terminal would give it.
        return subprocess.Popen(
            command, cwd=self.folder, stdout=log, stderr=subprocess.STDOUT, text=True, start_new_session=True
        )

    def run(self, *arguments: str, timeout: float = 900) -> int:
        """Run the workflow to its end; its exit status."""
        process = self.start(*arguments)
        try:
            return process.wait(timeout)
        finally:
            if process.poll() is None:
                process.terminate()

    def kill_when(self, condition: Callable[[], Any], what: str, *arguments: str) -> None:
        """Start the workflow and kill Snakemake (SIGKILL) once the condition holds; nothing of it is left."""
        workflow = self.start(*arguments)

        def reached() -> bool:
            assert workflow.poll() is None, self.log[-3000:]
            return bool(condition())

        wait_for(reached, 300, what)
        workflow.send_signal(signal.SIGKILL)
        workflow.wait()
        self.nothing_is_left()

    def nothing_is_left(self) -> None:
        """Ray's daemons and the engines' workers have a while to notice that their parent is gone."""
        wait_for(lambda: not self.processes(), PATIENCE, "no process of the workflow is left")

    @property
    def log(self) -> str:
        """All that Snakemake printed so far."""
        return (self.folder / "workflow.log").read_text(errors="replace")

    def processes(self) -> list[psutil.Process]:
        """Every living process that works in this folder or names it on its command line."""
        found = []
        for process in psutil.process_iter():
            try:
                if process.status() == psutil.STATUS_ZOMBIE:
                    continue
                in_folder = process.cwd().startswith(str(self.folder))
                if in_folder or any(str(self.folder) in part for part in process.cmdline()):
                    found.append(process)
            except (psutil.Error, OSError):
                continue
        return [process for process in found if process.pid != os.getpid()]

    def read_jsonl(self, path: str) -> list[Any]:
        """The rows of a JSON-lines file of this folder."""
        return [json.loads(line) for line in (self.folder / path).read_text().splitlines()]


def wait_for(condition: Callable[[], Any], seconds: float, what: str) -> Any:
    """Wait until `condition` is true; fail after `seconds`, saying `what` was waited for."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if value := condition():
            return value
        time.sleep(0.2)
    raise AssertionError(f"after {seconds:.0f} s: {what}")
