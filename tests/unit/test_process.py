"""No process outlives the workflow that started it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import psutil
import pytest

from grrm.process import WORKFLOW_PID

SCRIPTS = Path(__file__).parents[2] / "scripts"
# An engine that starts a daemon of its own session, as Ray does, and reports both pids.
ENGINE = """
import os, pathlib, subprocess, sys, time
daemon = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(300)"], start_new_session=True)
pathlib.Path(sys.argv[1]).write_text(f"{os.getpid()} {daemon.pid}")
time.sleep(float(sys.argv[2]))
"""
SCRIPT = """
import sys
from grrm.process import run_engine, run_main
run_main(lambda: sys.exit(run_engine([sys.executable, *sys.argv[1:]])))
"""


@pytest.fixture
def engine(tmp_path: Path) -> Path:
    path = tmp_path / "engine.py"
    path.write_text(textwrap.dedent(ENGINE))
    return path


def start_script(
    engine: Path, pids: Path, seconds: float, workflow: int | None = None
) -> subprocess.Popen[str]:
    env = {**os.environ, "PYTHONPATH": str(SCRIPTS)}
    env.pop(WORKFLOW_PID, None)
    if workflow is not None:
        env[WORKFLOW_PID] = str(workflow)
    command = [sys.executable, "-c", SCRIPT, str(engine), str(pids), str(seconds)]
    return subprocess.Popen(command, env=env, text=True, stderr=subprocess.PIPE)


def wait_for(condition, seconds: float = 20.0) -> bool:  # type: ignore[no-untyped-def]
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if condition():
            return True
        time.sleep(0.1)
    return False


def alive(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def pids_of(file: Path) -> list[int]:
    assert wait_for(lambda: file.exists() and len(file.read_text().split()) == 2)
    return [int(pid) for pid in file.read_text().split()]


def test_an_engines_daemon_ends_with_the_engine(engine: Path, tmp_path: Path) -> None:
    script = start_script(engine, tmp_path / "pids", 0.0)
    assert script.wait(30) == 0
    assert wait_for(lambda: not any(map(alive, pids_of(tmp_path / "pids"))), 1.0)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_signal_to_the_script_ends_engine_and_daemon(engine: Path, tmp_path: Path, number: int) -> None:
    script = start_script(engine, tmp_path / "pids", 300)
    pids = pids_of(tmp_path / "pids")
    script.send_signal(number)
    assert script.wait(30) == 128 + number
    assert not any(map(alive, pids))


def test_killing_the_script_kills_the_engine(engine: Path, tmp_path: Path) -> None:
    script = start_script(engine, tmp_path / "pids", 300)
    running, daemon = pids_of(tmp_path / "pids")
    script.kill()
    assert wait_for(lambda: not alive(running))
    # Nobody is left to reap a daemon that wants to escape; Ray's own ones end with their driver.
    psutil.Process(daemon).kill()


def test_killing_the_workflow_ends_everything(engine: Path, tmp_path: Path) -> None:
    workflow = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(300)"])
    script = start_script(engine, tmp_path / "pids", 300, workflow=workflow.pid)
    pids = pids_of(tmp_path / "pids")
    workflow.kill()
    workflow.wait()
    assert script.wait(30) != 0
    assert not any(map(alive, pids))


def test_what_reading_the_output_raises_ends_the_engine() -> None:
    code = """
import sys
from grrm.files import UserError
from grrm.process import run_engine, run_main
def read(line):
    raise UserError(f"stopped at {line}")
run_main(lambda: run_engine([sys.executable, "-uc", "print(1); import time; time.sleep(300)"], on_line=read))
"""
    env = {**os.environ, "PYTHONPATH": str(SCRIPTS)}
    done = subprocess.run(
        [sys.executable, "-c", code], env=env, capture_output=True, text=True, check=False, timeout=30
    )
    assert (done.returncode, done.stderr) == (2, "error: stopped at 1\n")


def test_output_that_cannot_be_printed_ends_the_engine() -> None:
    """It is more than a pipe holds: an engine that nobody reads from would wait for ever."""
    lines = "for _ in range(9000): print('x' * 99, flush=True)"
    code = f"""
import sys
from grrm.process import run_engine, run_main
run_main(lambda: run_engine([sys.executable, "-c", {lines!r}]))
"""
    env = {**os.environ, "PYTHONPATH": str(SCRIPTS)}
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [sys.executable, "-c", code], env=env, stdout=full, stderr=subprocess.PIPE, text=True, timeout=30
        )
    assert done.returncode == 2
    assert done.stderr == (
        "error: no space left on the disk while writing an output: free some space and run the same command "
        "again\n"
    )
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run(
        [sys.executable, "-c", code], env=env, stdout=writer, stderr=subprocess.PIPE, text=True, timeout=30
    )
    os.close(writer)
    assert (done.returncode, done.stderr) == (2, "error: nobody reads the output any more\n")


def test_a_users_mistake_is_one_line_and_status_2() -> None:
    code = """
from grrm.files import UserError
from grrm.process import run_main
def main():
    raise UserError("seed: no")
run_main(main)
"""
    env = {**os.environ, "PYTHONPATH": str(SCRIPTS)}
    done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (2, "error: seed: no\n")


@pytest.mark.parametrize(
    ("raised", "status", "left"),
    [
        ("UserError('a wrong value')", 2, "2"),
        ("PassingError('nobody answers')", 2, "75"),
        ("OSError(errno.ESTALE, 'Stale file handle', 'rows.parquet')", 2, "75"),
        ("OSError(errno.EACCES, 'Permission denied', 'rows.parquet')", 2, "2"),
        ("ZeroDivisionError()", 70, "70"),
        ("SystemExit(1)", 1, None),
    ],
)
def test_a_slurm_job_leaves_its_scripts_status(
    tmp_path: Path, raised: str, status: int, left: str | None
) -> None:
    script = (
        "import errno\nfrom grrm.files import PassingError, UserError\nfrom grrm.process import run_main\n"
    )
    script += f"def main(): raise {raised}\nrun_main(main)\n"
    stale = tmp_path / ".snakemake/slurm_status/7"
    stale.parent.mkdir(parents=True)
    stale.write_text("2")
    env = {**os.environ, "PYTHONPATH": str(SCRIPTS), "SLURM_JOB_ID": "7", WORKFLOW_PID: str(os.getpid())}
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=tmp_path, env=env, capture_output=True, check=False
    )
    assert done.returncode == status
    assert (stale.read_text() if stale.exists() else None) == left


WITHOUT_PANDAS = """
import sys
from grrm.process import run_main
from grrm.schemas import read_table, write_table

def main():
    row = {"src_text": "a", "trg_text": "b", "src_lang": "zh", "trg_lang": "en"}
    write_table("table.parquet", [row], "pairs")
    table = read_table("table.parquet", "pairs")
    print(table.num_rows, "pandas" in sys.modules)
    # A function of a user's may need it.
    import pandas, pyarrow
    print(table.to_pandas().shape[0], pyarrow.table(pandas.DataFrame({"a": [1]})).num_rows)

run_main(main)
"""


def test_a_program_imports_pandas_only_where_it_is_needed(tmp_path: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": str(SCRIPTS)}
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_PANDAS],
        cwd=tmp_path, env=environment, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert done.stdout.split() == ["1", "False", "1", "1"]
