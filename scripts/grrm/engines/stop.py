"""Asking a running training to write a checkpoint and stop, so that it can go on later.

Some minutes before a job's time is over, the script of a training leaves a file beside the checkpoints. The
engine, which may run on other machines, looks for it after every step, writes a checkpoint, says so in
another file, and ends. The script looks at the clock itself: Slurm's signal URG, which asks for the same,
does not get through to it on most clusters (it reaches the first process of a job's step only).
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

from grrm.files import write_text
from grrm.process import TRY_AGAIN, going_on

_REQUEST, _DONE = "stop", "stopped"
# Seconds before the end of the job. Set by the workflow from its key `cluster.stop_before`: a parameter of a
# rule would train models anew when it changes.
VARIABLE = "GRRM_STOP_BEFORE"
_AGAIN = 5.0  # seconds, where a disk did not take the request


@contextmanager
def stop_in_time(
    working: Path, ends: Callable[[], float | None], *, look_every: float = 60.0
) -> Iterator[None]:
    """While the block runs, the training in `working` is asked to stop when its job is nearly over.

    That is GRRM_STOP_BEFORE seconds before its end, but not before half of the time that was left at first is
    over; or when the signal URG comes. Requests of earlier jobs are dropped.

    Args:
        working: folder of the training.
        ends: says when the job's time is over, in seconds since the epoch; None where that is not known.
        look_every: seconds after which it is asked again, as limits may be changed.
    """
    for name in (_REQUEST, _DONE):
        (working / name).unlink(missing_ok=True)
    over = threading.Event()

    def ask(*_: int | FrameType | None) -> None:
        if over.is_set() or is_requested(working):
            return
        with going_on("the training could not be asked to stop"):
            (working / _REQUEST).touch()
            print("The job's time is nearly over: the training is asked for a checkpoint", flush=True)

    def watch(before: float) -> None:
        began, end = time.time(), None
        while True:
            end = ends() or end
            left = look_every if end is None else end - min(before, (end - began) / 2) - time.time()
            if left <= 0:
                ask()
                if is_requested(working):
                    return
                left = _AGAIN
            if over.wait(min(left, look_every)):
                return

    previous = signal.signal(signal.SIGURG, ask)
    if before := os.environ.get(VARIABLE):
        threading.Thread(target=watch, args=(float(before),), name="stop-in-time", daemon=True).start()
    try:
        yield
    finally:
        over.set()
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
        sys.exit(TRY_AGAIN)
