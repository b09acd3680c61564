"""One training at a time in a folder: locks that outlive their holders, and those that do not."""

from __future__ import annotations

import itertools
import json
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from grrm.files import UserError, write_text
from grrm.lock import held

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
