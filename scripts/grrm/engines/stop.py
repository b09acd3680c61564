"""Asking a running training to write a checkpoint and stop, so that it can go on later.

Some minutes before a job's time is over, Slurm sends it the signal URG, which a process that does not wait
for it ignores. The script of a training then leaves a file beside the checkpoints; the engine, which may run
on other machines, looks for it after every step, writes a checkpoint, says so in another file, and ends.
"""

from __future__ import annotations

import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

from grrm.files import write_text

_REQUEST, _DONE = "stop", "stopped"
STOPPED_STATUS = 75
"""Exit status of a training that goes on when it is started again (EX_TEMPFAIL of sysexits.h)."""


@contextmanager
def stop_on_signal(working: Path) -> Iterator[None]:
    """While the block runs, the signal URG asks the training in `working` to stop; drops earlier ones."""
    for name in (_REQUEST, _DONE):
        (working / name).unlink(missing_ok=True)

    def ask(_number: int, _frame: FrameType | None) -> None:
        print("The job's time is nearly over: the training is asked for a checkpoint", flush=True)
        (working / _REQUEST).touch()

    previous = signal.signal(signal.SIGURG, ask)
    try:
        yield
    finally:
        signal.signal(signal.SIGURG, previous)


def is_requested(working: str | Path) -> bool:
    """Whether the training in `working` is asked to stop."""
    return Path(working, _REQUEST).exists()


def acknowledge(working: str | Path, step: int) -> None:
    """Say that the training stops after `step`, whose checkpoint is complete."""
    write_text(Path(working, _DONE), str(step))


def end_if_stopped(working: Path) -> None:
    """End this script, with a status of its own, if the training stopped because it was asked to."""
    done = working / _DONE
    if done.exists():
        step = done.read_text(encoding="utf-8")
        print(
            f"error: stopped before the end of the job's time, after the checkpoint of step {step}; "
            "when the job is tried again, it goes on from there",
            file=sys.stderr,
            flush=True,
        )
        sys.exit(STOPPED_STATUS)
