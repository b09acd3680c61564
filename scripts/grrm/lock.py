"""One process at a time in a folder, on this machine and on all that share its file system.

A lock is a file beside the folder that says who holds it. The holder rewrites it every few seconds; whoever
waits calls it stale when it has not changed for a while by his own clock (the clocks of two machines differ),
or at once when its process is known to be gone. All steps are links and renames, which shared file systems do
atomically.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import subprocess
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import psutil

from grrm.files import UserError, temporary_sibling
from grrm.process import end_descendants


@dataclass(frozen=True)
class Holder:
    """Who holds a lock.

    Attributes:
        token: its own for each holding.
        host: name of the machine.
        pid: process there.
        born: when that process started, in seconds since the epoch: numbers are used again.
        job: Slurm job, or None.
        cluster: Slurm's name of the cluster of that job.
        since: when it took the lock, as text.
        beat: counts on for as long as it lives.
    """

    token: str
    host: str
    pid: int
    born: float
    job: str | None
    cluster: str | None
    since: str
    beat: int = 0

    def __str__(self) -> str:
        job = f"Slurm job {self.job}, " if self.job else ""
        return f"{job}process {self.pid} on {self.host}, since {self.since}"


@contextmanager
def held(
    folder: Path, *, patience: float = 150.0, stale_after: float = 90.0, beat_every: float = 10.0
) -> Iterator[None]:
    """Hold the lock of `folder` (`<folder>.lock`, beside it) while the block runs.

    If another process takes it away meanwhile, because this one had been silent for too long, this process
    ends itself and its descendants.

    Args:
        folder: what nobody else shall work in; need not exist.
        patience: seconds to wait for another holder that is alive.
        stale_after: seconds without a sign of life after which a holder is gone.
        beat_every: seconds between signs of life.

    Raises:
        UserError: another process holds it; the message names it.
    """
    lock = folder.with_name(f"{folder.name}.lock")
    lock.parent.mkdir(parents=True, exist_ok=True)
    own = _myself()
    _acquire(lock, own, patience, stale_after)
    released = threading.Event()
    beating = threading.Thread(target=_beat, args=(lock, own, released, beat_every), daemon=True)
    beating.start()
    try:
        yield
    finally:
        released.set()
        beating.join()
        found = read_holder(lock)
        if found is not None and found.token == own.token:
            lock.unlink(missing_ok=True)


def _acquire(lock: Path, own: Holder, patience: float, stale_after: float) -> None:
    begun = seen = time.monotonic()
    last: Holder | None = None
    while not _create(lock, own):
        found = read_holder(lock)
        if found is None:  # released in between
            continue
        now = time.monotonic()
        if found != last:
            if last is None or found.token != last.token:
                print(f"{lock}: held by {found}; waiting for it to end or to fall silent", flush=True)
            last, seen = found, now
        if _is_gone(found) or now - seen > stale_after:
            if _take_over(lock, found, own):
                print(f"{lock}: taken over from {found}, which is gone", flush=True)
                return
        elif now - begun > patience and now - seen < stale_after / 2:
            stop = f"end it (scancel {found.job})" if found.job else "end it"
            raise UserError(
                f"{lock}: {found} is at work here; wait until it has finished, or {stop}, "
                "and run the same command again"
            )
        time.sleep(min(1.0, stale_after / 10))


def _create(path: Path, own: Holder) -> bool:
    """Whether `path` could be created: a link to a whole file either succeeds or finds another."""
    partial = _written(path, own)
    try:
        os.link(partial, path)
    except FileExistsError:
        return False
    finally:
        partial.unlink()
    return True


def _take_over(lock: Path, stale: Holder, own: Holder) -> bool:
    """Replace the lock of one stale holding: only who creates the marker of that holding may."""
    marker = lock.with_name(f"{lock.name}.{stale.token}")
    if not _create(marker, own):
        return False
    try:
        found = read_holder(lock)
        if found is None or found.token != stale.token:  # another one was quicker
            return False
        _written(lock, own).replace(lock)
        return True
    finally:
        marker.unlink()


def _beat(lock: Path, own: Holder, released: threading.Event, every: float) -> None:
    beat = 0
    while not released.wait(every):
        try:
            found = read_holder(lock)
            if found is not None and found.token != own.token:
                print(f"error: {lock}: taken over by {found}; this process ends", flush=True)
                end_descendants()
                os._exit(1)
            beat += 1
            _written(lock, Holder(**{**asdict(own), "beat": beat})).replace(lock)
        except OSError as error:  # a full disk, or a file server that is away for a while
            print(f"warning: {lock}: no sign of life could be left ({error})", flush=True)


def _is_gone(holder: Holder) -> bool:
    """Whether the holder is known to be gone; False when only its silence can tell."""
    if holder.host == socket.gethostname():
        try:
            return abs(psutil.Process(holder.pid).create_time() - holder.born) > 1
        except psutil.NoSuchProcess:
            return True
    own_job, own_cluster = os.environ.get("SLURM_JOB_ID"), os.environ.get("SLURM_CLUSTER_NAME")
    # A job that was requeued has its number still: only silence can tell.
    if holder.job is None or own_job in (None, holder.job) or own_cluster != holder.cluster:
        return False
    return not _may_run(holder.job)


def _may_run(job: str) -> bool:
    """Whether a Slurm job may have processes; True if Slurm does not answer."""
    command = ["squeue", "--noheader", "--jobs", job, "--format", "%T"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return True
    if done.returncode != 0:
        return "Invalid job id" not in done.stderr
    return any(state in done.stdout for state in ("RUNNING", "COMPLETING", "SUSPENDED", "STOPPED"))


def _myself() -> Holder:
    return Holder(
        token=uuid.uuid4().hex,
        host=socket.gethostname(),
        pid=os.getpid(),
        born=psutil.Process().create_time(),
        job=os.environ.get("SLURM_JOB_ID"),
        cluster=os.environ.get("SLURM_CLUSTER_NAME"),
        since=time.strftime("%Y-%m-%d %H:%M:%S"),
    )


def _written(path: Path, holder: Holder) -> Path:
    """A fresh file beside `path` that names the holder."""
    partial = temporary_sibling(path)
    partial.write_text(json.dumps(asdict(holder)) + "\n", encoding="utf-8")
    return partial


def read_holder(path: Path) -> Holder | None:
    """The holder that a lock names; None if there is no lock."""
    with contextlib.suppress(FileNotFoundError):
        values: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        return Holder(**values)
    return None
