"""One process at a time in a folder, on this machine and on all that share its file system.

A lock is a file beside the folder that says who holds it. The holder rewrites it every few seconds; whoever
waits calls it stale at once when its process or its Slurm job is known to be gone, never while they are known
to be there (perhaps suspended), else when it has not changed for a while by his own clock (the clocks of two
machines differ). All steps are links and renames, which shared file systems do atomically.
"""

from __future__ import annotations

import atexit
import contextlib
import errno
import json
import os
import socket
import subprocess
import threading
import time
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields
from pathlib import Path

import psutil

from grrm.files import UserError, temporary_sibling
from grrm.own_process import machine, start_ticks
from grrm.process import end_descendants, warn

WORKFLOW = Path(".snakemake/workflow")
"""What a running Snakemake holds the lock of: that of Snakemake itself does not say whose it is."""


@dataclass(frozen=True)
class Holder:
    """Who holds a lock.

    Attributes:
        token: its own for each holding.
        host: name of the machine.
        pid: process there.
        born: when that process started, in seconds since the epoch: numbers are used again.
        machine: boot and process numbers of its machine, see `grrm.own_process.machine`; empty if unknown.
        ticks: when the process started, in ticks since that boot; 0 if unknown.
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
    machine: str = ""
    ticks: int = 0

    def __str__(self) -> str:
        job = f"Slurm job {self.job}, " if self.job else ""
        return f"{job}process {self.pid} on {self.host}, since {self.since}"


_FIELDS = tuple(field.name for field in fields(Holder))
# What link(2) says where a file system has no hard links.
_NO_LINKS = (errno.EPERM, errno.ENOTSUP, errno.ENOSYS, errno.EINVAL, errno.EMLINK)


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
        stale_after: seconds without a sign of life after which a holder is gone, if nothing else is known.
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
        _release(lock, own)


def at_work(folder: Path, *, stale_after: float = 90.0) -> Holder | None:
    """Who holds the lock of `folder`, after a look that is long enough to tell; None if nobody is there.

    Args:
        folder: see `held`.
        stale_after: see `held`.
    """
    lock = folder.with_name(f"{folder.name}.lock")
    first, began = read_holder(lock), time.monotonic()
    while (found := read_holder(lock)) is not None:
        lives = _lives(found)
        if lives or found != first:
            return found
        if lives is False or time.monotonic() - began > stale_after:
            return None
        if time.monotonic() - began < 1:
            print(f"{lock}: held by {found}; waiting for a sign of life of it", flush=True)
        time.sleep(min(1.0, stale_after / 10))
    return None


def hold_workflow() -> None:
    """Hold the lock of WORKFLOW until this process ends; not beside one told to do without locks."""
    found = read_holder(WORKFLOW.with_name(f"{WORKFLOW.name}.lock"))
    if found is not None and _lives(found):
        return
    running = contextlib.ExitStack()
    with contextlib.suppress(UserError):
        running.enter_context(held(WORKFLOW))
        atexit.register(running.close)


@dataclass
class _Watched:
    """A lock in the way, as a waiting process sees it.

    Attributes:
        holder: that it names.
        since: when it changed last, by the own clock.
        lives: see `_lives`.
    """

    holder: Holder
    since: float
    lives: bool | None

    def silence(self) -> float:
        return time.monotonic() - self.since

    def is_stale(self, after: float) -> bool:
        return self.lives is False or (self.lives is None and self.silence() > after)


def _acquire(lock: Path, own: Holder, patience: float, stale_after: float) -> None:
    begun = time.monotonic()
    watched: dict[Path, _Watched] = {}
    while True:
        before, watched = watched, {}
        if _seize(lock, own, stale_after, before, watched):
            return
        for path, there in watched.items():
            # One of whom nothing is known, and who has been silent for a while, is soon called gone.
            stays = there.lives or (there.lives is None and there.silence() < stale_after / 2)
            if stays and time.monotonic() - begun > patience:
                raise UserError(_at_work(path, there, stale_after))
        time.sleep(min(1.0, stale_after / 10))


def _at_work(path: Path, there: _Watched, stale_after: float) -> str:
    holder, silence = there.holder, there.silence()
    silent = f" (silent for {silence:.0f} s, but it is there)" if silence > stale_after else ""
    stop = f"end it (scancel {holder.job})" if holder.job else "end it"
    removed = "; if all its processes are gone, remove that file" if silent else ""
    return (
        f"{path}: {holder} is at work here{silent}; wait until it has finished, or {stop}, "
        f"and run the same command again{removed}"
    )


def _seize(
    path: Path,
    own: Holder,
    stale_after: float,
    before: Mapping[Path, _Watched],
    watched: dict[Path, _Watched],
) -> bool:
    """Whether a lock could be had now: it was free, or its holder is gone.

    The lock of one stale holding is replaced by the one who has its marker, `<lock>.<token>`. That is a lock
    of the same kind: who was killed with a marker in his hands is in nobody's way for long.

    Args:
        path: of the lock.
        own: the new holder.
        stale_after: see `held`.
        before: what was in the way at the last try.
        watched: gets what is in the way now.
    """
    if _create(path, own):
        return True
    found = read_holder(path)
    if found is None:  # released in between
        return False
    last = before.get(path)
    if last is None or last.holder.token != found.token:
        print(f"{path}: held by {found}; waiting for it to end or to fall silent", flush=True)
    since = last.since if last is not None and last.holder == found else time.monotonic()
    watched[path] = _Watched(found, since, _lives(found))
    if not watched[path].is_stale(stale_after):
        return False
    marker = path.with_name(f"{path.name}.{found.token}")
    if not _seize(marker, own, stale_after, before, watched):
        return False
    try:
        now = read_holder(path)
        if now is None or now.token != found.token:  # another one was quicker
            return False
        _written(path, own).replace(path)
    finally:
        _release(marker, own)
    print(f"{path}: taken over from {found}, which is gone", flush=True)
    return True


def _release(path: Path, own: Holder) -> None:
    found = None
    with contextlib.suppress(UserError):  # somebody has written over it
        found = read_holder(path)
    if found is not None and found.token == own.token:
        path.unlink(missing_ok=True)


def _create(path: Path, own: Holder) -> bool:
    """Whether `path` could be created: a link to a whole file either succeeds or finds another."""
    partial = _written(path, own)
    try:
        os.link(partial, path)
    except FileExistsError:
        return False
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        return _create_alone(path, partial.read_bytes())
    finally:
        partial.unlink()
    return True


def _create_alone(path: Path, content: bytes) -> bool:
    """The same where a file system has no hard links: the lock is there before it is whole."""
    try:
        with path.open("xb") as file:
            file.write(content)
    except FileExistsError:
        return False
    return True


def _beat(lock: Path, own: Holder, released: threading.Event, every: float) -> None:
    beat = 0
    while not released.wait(every):
        try:
            found = read_holder(lock)
            if found is None or found.token != own.token:
                # Nobody's: whoever took it over while this process was suspended has finished.
                whose = f"taken over by {found}" if found else "gone, perhaps taken over meanwhile"
                print(f"error: {lock}: {whose}; this process ends", flush=True)
                end_descendants()
                os._exit(1)
            beat += 1
            fresh = _written(lock, Holder(**{**asdict(own), "beat": beat}))
            try:
                fresh.replace(lock)
            finally:
                fresh.unlink(missing_ok=True)
        except (OSError, UserError) as error:  # a full disk, or a file server that is away for a while
            warn(f"{lock}: no sign of life could be left ({error})")


def _lives(holder: Holder) -> bool | None:
    """Whether a holder is there, at work or suspended; None if only its silence can tell."""
    here = machine()
    if holder.machine == here and (here or holder.host == socket.gethostname()):
        return _runs(holder)
    if not holder.machine and holder.host == socket.gethostname():  # of version 0.1
        return _runs(holder)
    own_job, own_cluster = os.environ.get("SLURM_JOB_ID"), os.environ.get("SLURM_CLUSTER_NAME")
    # That this process's own job runs says nothing: the holder may belong to what it was before a requeue.
    if holder.job is None or own_job == holder.job:
        return None
    if own_job is None:  # on a cluster without a name: one that does not know the job may be the wrong one
        return _may_run(holder.job) or None
    return _may_run(holder.job) if own_cluster == holder.cluster else None


def _runs(holder: Holder) -> bool | None:
    """Whether a holder's process is there, on this machine; None if another one may have its number."""
    try:
        process = psutil.Process(holder.pid)
        if process.status() == psutil.STATUS_ZOMBIE:
            return False
        if holder.ticks:
            return start_ticks(holder.pid) == holder.ticks
        # The clock may have been set meanwhile.
        return True if abs(process.create_time() - holder.born) <= 1 else None
    except psutil.NoSuchProcess:
        return False


def _may_run(job: str) -> bool | None:
    """Whether a Slurm job may have processes; None if Slurm does not answer."""
    command = ["squeue", "--noheader", "--jobs", job, "--format", "%T"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    if done.returncode != 0:
        return False if "Invalid job id" in done.stderr else None
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
        machine=machine(),
        ticks=start_ticks(os.getpid()) or 0,
    )


def _written(path: Path, holder: Holder) -> Path:
    """A fresh file beside `path` that names the holder."""
    partial = temporary_sibling(path)
    try:
        partial.write_text(json.dumps(asdict(holder)) + "\n", encoding="utf-8")
    except BaseException:  # a full disk makes an empty file
        partial.unlink(missing_ok=True)
        raise
    return partial


def read_holder(path: Path) -> Holder | None:
    """The holder that a lock names; None if there is no lock.

    Raises:
        UserError: the file stays what no holder writes (empty, cut off, of another program).
    """
    for _ in range(20):  # without hard links, one that is being written is there before it is whole
        try:
            content = path.read_bytes()
        except FileNotFoundError:
            return None
        with contextlib.suppress(ValueError, TypeError, AttributeError, RecursionError):
            values = json.loads(content)
            found = Holder(**{name: values[name] for name in _FIELDS if name in values})
            if isinstance(found.token, str) and isinstance(found.pid, int):
                return found
        time.sleep(0.1)
    raise UserError(
        f"{path}: {content[:40]!r} is no lock of this project, or one that was cut off; remove the file if "
        "nothing is at work here"
    )
