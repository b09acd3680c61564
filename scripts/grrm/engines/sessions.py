"""When and on what a training ran: one file for each of its launches, in its working folder.

sessions/<k>.json    job (Slurm's number or null), hardware (what `training_hardware` in
                     grrm.preflight.probes says, or null if that cannot be known), started and ended in
                     seconds since the epoch; `ended` is written anew every half minute, so that a killed
                     launch is known to that precision
sessions/failure.json   the last launch that an error of the engine ended: number, last checkpoint, words
"""

from __future__ import annotations

import os
import re
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from grrm.files import PassingError, UserError, read_json, write_json
from grrm.process import going_on

STEP_TIMES = "GRRM_STEP_TIMES"
"""Variable of the environment: where a supervised training notes when steps and checkpoints were done."""


@contextmanager
def recorded(working: Path, hardware: Mapping[str, Any] | None, *, every: float = 30.0) -> Iterator[None]:
    """While the block runs, its time goes to a new file in `working`.

    Args:
        working: folder of the training.
        hardware: what it runs on.
        every: seconds between two signs of life.
    """
    file = working / "sessions" / f"{len(read_sessions(working)) + 1}.json"
    session = {"job": os.environ.get("SLURM_JOB_ID"), "hardware": hardware, "started": time.time()}
    over = threading.Event()

    def note() -> None:
        with going_on("the time of this launch could not be noted"):
            write_json(file, {**session, "ended": time.time()})

    def keep() -> None:
        while not over.wait(every):
            note()

    write_json(file, {**session, "ended": session["started"]})
    keeper = threading.Thread(target=keep, daemon=True)
    keeper.start()
    try:
        yield
    finally:
        over.set()
        keeper.join()
        note()


def read_sessions(working: Path) -> list[dict[str, Any]]:
    """The launches of a training so far, in order."""
    files = (working / "sessions").glob("[0-9]*.json")
    return [read_json(file) for file in sorted(files, key=lambda file: int(file.stem))]


def failed(working: Path, step: int, words: str) -> UserError:
    """The error that says how the engine of this launch failed.

    Tried again, it may succeed (`PassingError`), unless the launch before failed alike after the same
    checkpoint, such as for want of a GPU's memory.

    Args:
        working: folder of the training, whose launch is being recorded.
        step: of the last checkpoint.
        words: what happened.
    """
    file, launch = working / "sessions/failure.json", len(read_sessions(working))
    alike = {"step": step, "words": re.sub(r"[\d.]+", "#", words)}  # numbers of processes, free bytes
    before = read_json(file) if file.exists() else {}
    write_json(file, {"launch": launch, **alike})
    if before == {"launch": launch - 1, **alike}:
        return UserError(
            f"{words}. So did the launch before, after the same checkpoint: change something first"
        )
    return PassingError(words)
