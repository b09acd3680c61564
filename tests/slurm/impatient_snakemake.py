"""Snakemake as it is, but looking at Slurm every few seconds: the intervals are up to some minutes."""

from __future__ import annotations

import signal
import sys
from pathlib import Path
from typing import Any

from snakemake.cli import main
from snakemake_interface_executor_plugins.executors.remote import RemoteExecutor

sys.path.insert(0, str(Path("scripts").absolute()))
from grrm.slurm import executor

_SECONDS = 3
_interval = RemoteExecutor.next_seconds_between_status_checks


def _shorten(executor: Any, seconds: float | None) -> None:
    executor._next_seconds_between_status_checks = seconds and min(seconds, _SECONDS)


if __name__ == "__main__":
    # What is started in the background by a shell ignores it.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    RemoteExecutor.next_seconds_between_status_checks = _interval.setter(_shorten)
    executor.PatientExecutor.submit_again = executor._LOOK_EVERY = _SECONDS
    main()
