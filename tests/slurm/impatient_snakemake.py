"""Snakemake as it is, but asking Slurm every few seconds: the executor's intervals grow to three minutes."""

from __future__ import annotations

from typing import Any

from snakemake.cli import main
from snakemake_interface_executor_plugins.executors.remote import RemoteExecutor

_SECONDS = 3
_interval = RemoteExecutor.next_seconds_between_status_checks


def _shorten(executor: Any, seconds: float | None) -> None:
    executor._next_seconds_between_status_checks = seconds and min(seconds, _SECONDS)


if __name__ == "__main__":
    RemoteExecutor.next_seconds_between_status_checks = _interval.setter(_shorten)
    main()
