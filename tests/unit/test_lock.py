"""One training at a time in a folder: locks that outlive their holders, and those that do not."""

from __future__ import annotations

import errno
import itertools
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from grrm.files import UserError, write_text
from grrm.lock import at_work, held

SCRIPTS = Path(__file__).parents[2] / "scripts"
# Holds the lock of sys.argv[1] for sys.argv[2] seconds.
HOLD = (
    "import sys, time, pathlib; from grrm.lock import held\n"
    "with held(pathlib.Path(sys.argv[1]), beat_every=0.2):\n"
    "    print('holds', flush=True); time.sleep(float(sys.argv[2]))\n"
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "checkpoints/stage"


def lock_of(folder: Path) -> Path:
    return folder.with_name("stage.lock")


def start_holder(folder: Path, seconds: float) -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(folder), str(seconds)],
        env={**os.environ, "PYTHONPATH": str(SCRIPTS)},
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "holds\n"
    return process


def pretend(folder: Path, **values: object) -> None:
    """A lock of somebody on another machine."""
    holder = {
        "token": "theirs",
        "host": "node17",
        "pid": 4711,
        "born": 0.0,
        "job": "815",
        "cluster": "other",
        "since": "2026-01-01 00:00:00",
        "beat": 0,
    }
    folder.parent.mkdir(parents=True, exist_ok=True)
    write_text(lock_of(folder), json.dumps(holder | values))


def test_a_lock_is_gone_after_the_block_even_if_it_fails(folder: Path) -> None:
    with pytest.raises(ZeroDivisionError), held(folder):
        assert lock_of(folder).exists()
        _ = 1 / 0
    assert list(folder.parent.iterdir()) == []


def test_a_full_disk_leaves_no_files_beside_a_lock(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    def write(path: Path, *_: object, **__: object) -> None:
        path.touch()  # that much there is room for
        raise OSError(errno.ENOSPC, "No space left on device")

    with held(folder, beat_every=0.02):
        with monkeypatch.context() as patch:
            patch.setattr(Path, "write_text", write)
            time.sleep(0.2)
        assert [path.name for path in folder.parent.iterdir()] == [lock_of(folder).name]
    assert "no sign of life could be left ([Errno 28]" in capfd.readouterr().out


def test_the_second_waits_for_the_first(folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    first = start_holder(folder, 1.5)
    began = time.monotonic()
    with held(folder):
        assert time.monotonic() - began > 0.5
    first.wait()
    assert f"held by process {first.pid} on" in capfd.readouterr().out


def test_who_waits_too_long_is_told_who_is_there(folder: Path) -> None:
    first = start_holder(folder, 30)
    try:
        words = rf"stage\.lock: process {first.pid} on .*run the same command"
        with pytest.raises(UserError, match=words), held(folder, patience=0.5):
            pass
    finally:
        first.kill()
        first.wait()


def test_the_lock_of_a_killed_process_is_taken_over_at_once(folder: Path) -> None:
    first = start_holder(folder, 30)
    first.kill()
    first.wait()
    with held(folder, patience=5):
        assert json.loads(lock_of(folder).read_text())["pid"] == os.getpid()


def test_a_silent_holder_on_another_machine_is_gone_after_a_while(folder: Path) -> None:
    pretend(folder)
    with held(folder, stale_after=0.5):
        assert json.loads(lock_of(folder).read_text())["pid"] == os.getpid()


def test_a_holder_on_another_machine_that_beats_is_not_disturbed(folder: Path) -> None:
    stopped = threading.Event()

    def beat() -> None:
        for number in itertools.count(1):
            pretend(folder, beat=number)
            if stopped.wait(0.1):
                return

    pretend(folder)
    thread = threading.Thread(target=beat)
    thread.start()
    try:
        words = r"Slurm job 815, process 4711 on node17.*scancel 815"
        with pytest.raises(UserError, match=words), held(folder, patience=2.5, stale_after=2):
            pass
    finally:
        stopped.set()
        thread.join()


def test_of_many_that_find_a_stale_lock_one_at_a_time_gets_it(folder: Path) -> None:
    pretend(folder)
    code = (
        "import sys, time, pathlib; from grrm.lock import held\n"
        "folder = pathlib.Path(sys.argv[1])\n"
        "with held(folder, stale_after=0.5, patience=60):\n"
        "    inside = folder.with_name('inside'); inside.mkdir(); time.sleep(0.05); inside.rmdir()\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(SCRIPTS)}
    many = [
        subprocess.Popen(
            [sys.executable, "-c", code, str(folder)], env=environment, stdout=subprocess.DEVNULL
        )
        for _ in range(6)
    ]
    assert [process.wait() for process in many] == [0] * 6
    assert list(folder.parent.iterdir()) == []


def test_who_lost_the_lock_ends_itself(folder: Path) -> None:
    first = start_holder(folder, 60)
    pretend(folder)
    assert first.wait(10) == 1
    assert json.loads(lock_of(folder).read_text())["token"] == "theirs"


def test_who_lost_the_lock_to_one_that_has_finished_ends_itself(folder: Path) -> None:
    first = start_holder(folder, 60)
    first.send_signal(signal.SIGSTOP)
    lock_of(folder).unlink()
    first.send_signal(signal.SIGCONT)
    assert first.wait(10) == 1
    assert not lock_of(folder).exists()


def test_a_suspended_holder_on_this_machine_is_there(folder: Path) -> None:
    first = start_holder(folder, 60)
    try:
        first.send_signal(signal.SIGSTOP)
        words = rf"process {first.pid} on .* \(silent for \d+ s, but it is there\).*remove that file"
        with pytest.raises(UserError, match=words), held(folder, patience=1, stale_after=0.3):
            pass
    finally:
        first.kill()
        first.wait()


# ---------------------------------------------------------------- Slurm's word


@pytest.fixture
def squeue(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Slurm's queue; this process is in job 900 of the same cluster as job 815."""
    command = tmp_path / "bin/squeue"
    command.parent.mkdir()
    command.touch(0o755)
    monkeypatch.setenv("PATH", f"{command.parent}:{os.environ['PATH']}")
    monkeypatch.setenv("SLURM_JOB_ID", "900")
    monkeypatch.setenv("SLURM_CLUSTER_NAME", "other")
    return command


UNKNOWN = "echo 'slurm_load_jobs error: Invalid job id specified' >&2; exit 1"
OUTAGE = "echo 'Unable to contact slurm controller' >&2; exit 1"


@pytest.mark.parametrize("state", ["RUNNING", "SUSPENDED", "COMPLETING"])
@pytest.mark.parametrize("own_job", ["900", None], ids=["a job", "no job"])
def test_a_silent_job_that_slurm_has_not_ended_is_not_taken_over(
    folder: Path, squeue: Path, monkeypatch: pytest.MonkeyPatch, state: str, own_job: str | None
) -> None:
    squeue.write_text(f"#!/bin/sh\necho {state}\n")
    if own_job is None:
        monkeypatch.delenv("SLURM_JOB_ID")
        monkeypatch.delenv("SLURM_CLUSTER_NAME")
    pretend(folder)
    words = r"Slurm job 815, .*silent for \d+ s, but it is there.*scancel 815.*remove that file"
    with pytest.raises(UserError, match=words), held(folder, patience=1, stale_after=0.3):
        pass
    assert json.loads(lock_of(folder).read_text())["token"] == "theirs"


@pytest.mark.parametrize(
    ("answer", "environment", "at_once"),
    [
        ("echo PENDING", {}, True),  # requeued, and whatever it was has ended
        (UNKNOWN, {}, True),
        (OUTAGE, {}, False),
        # Requeued, or another process of this job: that it runs says nothing about the holder.
        ("echo RUNNING", {"SLURM_JOB_ID": "815"}, False),
        ("echo RUNNING", {"SLURM_CLUSTER_NAME": "third"}, False),
        # Perhaps another cluster than the holder's.
        (UNKNOWN, {"SLURM_JOB_ID": "", "SLURM_CLUSTER_NAME": ""}, False),
    ],
    ids=["pending", "unknown", "outage", "own job", "other cluster", "no job"],
)
def test_the_lock_of_a_job_that_is_over_or_of_which_nothing_is_known_is_taken_over(
    folder: Path,
    squeue: Path,
    monkeypatch: pytest.MonkeyPatch,
    answer: str,
    environment: dict[str, str],
    at_once: bool,
) -> None:
    squeue.write_text(f"#!/bin/sh\n{answer}\n")
    for name, value in environment.items():
        monkeypatch.setenv(name, value) if value else monkeypatch.delenv(name)
    pretend(folder)
    began = time.monotonic()
    with held(folder, patience=30, stale_after=1.5):
        assert (time.monotonic() - began < 1.5) == at_once
    assert list(folder.parent.iterdir()) == []


# ---------------------------------------------------------------- killed while taking over


def mark(folder: Path, **values: object) -> Path:
    """The marker of somebody who takes the lock over."""
    lock = lock_of(folder).read_text()
    pretend(folder, token="marks", **values)
    marker = lock_of(folder).rename(folder.with_name("stage.lock.theirs"))
    lock_of(folder).write_text(lock)
    return marker


@pytest.mark.parametrize("depth", [1, 2])
def test_who_was_killed_while_taking_over_is_in_nobodys_way(folder: Path, depth: int) -> None:
    pretend(folder)
    marker = mark(folder)
    if depth == 2:  # and so was the next one
        marker.with_name(f"{marker.name}.marks").write_text(marker.read_text().replace("marks", "second"))
    with held(folder, patience=30, stale_after=0.5):
        assert json.loads(lock_of(folder).read_text())["pid"] == os.getpid()
    assert list(folder.parent.iterdir()) == []


def test_a_marker_whose_process_is_gone_does_not_hold_anyone_up(folder: Path) -> None:
    gone = subprocess.run([sys.executable, "-c", "import os; print(os.getpid())"], stdout=subprocess.PIPE)
    pretend(folder, host=socket.gethostname(), pid=int(gone.stdout))
    mark(folder, host=socket.gethostname(), pid=int(gone.stdout))
    began = time.monotonic()
    with held(folder):
        assert time.monotonic() - began < 10


def test_a_marker_in_the_way_is_named(folder: Path) -> None:
    pretend(folder, host=socket.gethostname())
    own = psutil.Process()
    mark(folder, host=socket.gethostname(), pid=own.pid, born=own.create_time(), job=None)
    words = rf"stage\.lock\.theirs: process {own.pid} on .* is at work here"
    with pytest.raises(UserError, match=words), held(folder, patience=0.5, stale_after=0.2):
        pass


# ---------------------------------------------------------------- clocks and machines


def change(folder: Path, **values: object) -> None:
    """Say something else of who holds a lock, as if it had written that; it beats no more."""
    write_text(lock_of(folder), json.dumps(json.loads(lock_of(folder).read_text()) | values))


@pytest.fixture
def suspended(folder: Path) -> Iterator[subprocess.Popen[str]]:
    """Who holds a lock and cannot beat."""
    process = start_holder(folder, 60)
    process.send_signal(signal.SIGSTOP)
    yield process
    process.kill()
    process.wait()


@pytest.mark.parametrize("seconds", [5, -5, 3600])
def test_a_clock_that_was_set_kills_nobody(
    folder: Path, suspended: subprocess.Popen[str], seconds: float
) -> None:
    change(folder, born=json.loads(lock_of(folder).read_text())["born"] + seconds)
    with (
        pytest.raises(UserError, match=f"process {suspended.pid} on .* but it is there"),
        held(folder, patience=1, stale_after=0.3),
    ):
        pass


def test_a_process_with_the_number_of_one_that_has_ended_holds_nothing(
    folder: Path, suspended: subprocess.Popen[str]
) -> None:
    change(folder, ticks=1)
    with held(folder, patience=5):
        assert json.loads(lock_of(folder).read_text())["pid"] == os.getpid()


@pytest.mark.parametrize("values", [{"host": "localhost"}, {}])
def test_another_machine_of_this_name_and_a_container_of_this_machine_are_judged_by_their_silence(
    folder: Path, values: dict[str, str]
) -> None:
    """Their process numbers mean nothing here, neither that one is gone nor that it is there."""
    gone = subprocess.run([sys.executable, "-c", "import os; print(os.getpid())"], stdout=subprocess.PIPE)
    about = {"host": socket.gethostname(), "pid": int(gone.stdout), "job": None, "ticks": 1}
    pretend(folder, **{**about, "machine": "another", **values})
    began = time.monotonic()
    with held(folder, stale_after=1.5):
        assert time.monotonic() - began > 1.5


def test_a_renamed_machine_is_the_same(folder: Path, suspended: subprocess.Popen[str]) -> None:
    change(folder, host="before")
    with pytest.raises(UserError, match="but it is there"), held(folder, patience=1, stale_after=0.3):
        pass


def test_a_run_elsewhere_is_at_work_as_long_as_it_gives_signs_of_life(folder: Path) -> None:
    assert at_work(folder) is None
    pretend(folder, machine="another")
    threading.Timer(0.5, lambda: pretend(folder, machine="another", beat=1)).start()
    found = at_work(folder, stale_after=5)
    assert found is not None and found.host == "node17"
    assert at_work(folder, stale_after=0.5) is None
