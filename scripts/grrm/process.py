"""Starting, watching and ending processes, so that nothing outlives the workflow that started it.

Who ends whom:
- a script started by a rule watches the Snakemake process (`GRRM_WORKFLOW_PID`) and ends itself, with all its
  descendants, when that process is gone, even if it was killed with SIGKILL;
- an engine started by a script is killed by the kernel when the script dies (Linux: PR_SET_PDEATHSIG);
- a script is its descendants' reaper, so that daemons (Ray's) cannot escape it.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import io
import os
import signal
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from types import FrameType
from typing import IO, NoReturn

import psutil

from grrm.files import PassingError, UserError, write_text
from grrm.urls import without_secrets

WORKFLOW_PID = "GRRM_WORKFLOW_PID"
TRY_AGAIN = 75
"""Exit status (EX_TEMPFAIL of sysexits.h) of what may succeed when it is started again."""
_STATUS = Path(".snakemake/slurm_status")
# Of shared storage that is away for a while.
_PASSING = {errno.EIO, errno.ESTALE, errno.ETIMEDOUT, errno.EHOSTDOWN, errno.ENETUNREACH}
_ENDING = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36
_ending = threading.Event()  # the workflow is gone: the thread that saw it ends this process


class _NoPandas:
    """Of the finders of modules: finds no pandas, and stops whoever looks for it."""

    @staticmethod
    def find_spec(name: str, path: object = None, target: object = None) -> None:
        if name == "pandas":
            raise ImportError(name)


def leave_pandas_for_later() -> None:
    """Have pyarrow import pandas only where it is needed.

    With the first value that pyarrow is given it looks whether it is one of pandas's, and imports pandas for
    that: half a second of every program. If that fails, it imports it where a DataFrame is asked for.
    """
    pyarrow = sys.modules.get("pyarrow")
    if pyarrow is None or "pandas" in sys.modules:
        return
    sys.meta_path.insert(0, _NoPandas)
    try:
        pyarrow.scalar(None)
    finally:
        sys.meta_path.remove(_NoPandas)


def run_main(main: Callable[[], object]) -> None:
    """Run a script's `main`: a mistake of the user's ends with one line and exit status 2.

    So do errors of the operating system about a file. Anything else is a fault of this program: a traceback,
    and status 70 (EX_SOFTWARE), since 1 says that some answers cannot be used. Within a Slurm job the status
    is left for Snakemake's executor (`job_status`), which sees that of another Snakemake only; 75 in place of
    2 for what may be over by itself.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # what is printed is UTF-8, whatever the locale says
            stream.reconfigure(encoding="utf-8", errors="backslashreplace")
    end_with_workflow()
    leave_pandas_for_later()
    job = os.environ.get("SLURM_JOB_ID") if os.environ.get(WORKFLOW_PID) else None
    if job:
        job_status(job).unlink(missing_ok=True)

    def end(status: int, *, passing: bool = False) -> NoReturn:
        if job:
            with contextlib.suppress(OSError):
                write_text(job_status(job), str(TRY_AGAIN if passing else status))
        try:
            sys.stdout.flush()
        except OSError:  # Python would try again, and end with a status of its own
            os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        sys.exit(status)

    def say(words: str) -> None:
        with contextlib.suppress(OSError):  # the log may be on the disk that is full
            print(words, file=sys.stderr)

    try:
        main()
    except UserError as error:
        say(f"error: {without_secrets(str(error))}")
        end(2, passing=isinstance(error, PassingError))
    except KeyboardInterrupt:
        say("interrupted")
        sys.exit(128 + signal.SIGINT)
    except Exception as error:
        words = _about_a_file(error) if isinstance(error, OSError) else ""
        if not words:
            say(traceback.format_exc().removesuffix("\n"))
            end(os.EX_SOFTWARE)
        say(f"error: {words}")
        end(2, passing=isinstance(error, OSError) and error.errno in _PASSING)


def warn(words: str) -> None:
    """Say what went wrong where all goes on; nothing, if that cannot be said."""
    with contextlib.suppress(OSError):
        print(f"warning: {words}", flush=True)


@contextlib.contextmanager
def going_on(words: str) -> Iterator[None]:
    """Where the block fails on a full disk, or a file server that is away for a while, these words say so."""
    try:
        yield
    except OSError as error:
        warn(f"{words}: {error}")


def job_status(job: str) -> Path:
    """File for the exit status of a Slurm job's script that ended with an error of its own."""
    return _STATUS / job


def _about_a_file(error: OSError) -> str:
    """An error of the operating system in words; empty if it is about no file."""
    if error.errno == errno.EPIPE and error.filename is None:
        return "nobody reads the output any more"
    full = {errno.ENOSPC: "no space left on the disk", errno.EDQUOT: "the disk quota is used up"}
    if error.errno in full:
        return (
            f"{full[error.errno]} while writing {error.filename or 'an output'}: free some space and run the "
            "same command again"
        )
    return f"{error.filename}: {error.strerror}" if error.filename is not None else ""


def end_with_workflow() -> None:
    """End this process and its descendants as soon as the workflow that started it is gone.

    Does nothing outside a workflow, that is, when `GRRM_WORKFLOW_PID` is not set.
    """
    pid = os.environ.get(WORKFLOW_PID, "")
    if not pid.isdigit() or int(pid) == os.getpid():
        return
    die_with_parent(signal.SIGTERM)
    try:
        workflow = psutil.Process(int(pid))
    except psutil.NoSuchProcess:
        sys.exit("error: the workflow that started this script is gone")

    def watch() -> None:
        with contextlib.suppress(psutil.NoSuchProcess):
            while workflow.is_running() and workflow.status() != psutil.STATUS_ZOMBIE:
                time.sleep(1)
        _ending.set()
        end_descendants()
        os._exit(1)

    threading.Thread(target=watch, name="end-with-workflow", daemon=True).start()


def run_engine(
    command: Sequence[str],
    *,
    env: Mapping[str, str] | None = None,
    cwd: str | Path | None = None,
    on_line: Callable[[str], None] | None = None,
) -> int:
    """Run an engine to its end and return its exit status; no descendant of it is left behind.

    The engine's output is passed on as it comes (and to `on_line`, without its line end). SIGTERM, SIGINT and
    SIGHUP sent to this process end the engine first.

    Args:
        command: program and arguments.
        env: the whole environment of the engine; None inherits this process's.
        cwd: the engine's working folder.
        on_line: called with every line the engine prints; if it raises, the engine is ended and this function
            raises the same.
    """
    take_in_orphans()

    def stop(number: int, _frame: FrameType | None) -> None:
        end_descendants()
        sys.exit(128 + number)

    # Before the engine starts: a signal in between would leave it behind.
    # Whoever ignores one of them (nohup) goes on doing so.
    heeded = [number for number in _ENDING if signal.getsignal(number) is not signal.SIG_IGN]
    previous = {number: signal.signal(number, stop) for number in heeded}
    failures: list[Exception] = []
    try:
        process = _start_engine(command, env, cwd)
        # In a thread: a daemon of the engine may hold its output open after the engine itself has ended.
        reader = threading.Thread(target=_pass_on, args=(process.stdout, on_line, failures), daemon=True)
        reader.start()
        status = process.wait()
        if _ending.is_set():
            threading.Event().wait()  # whoever reaped the engine has its status: it is not 0
    finally:
        end_descendants()
        for number, handler in previous.items():
            signal.signal(number, handler)
    reader.join()
    if failures:
        raise failures[0]
    return status


def _start_engine(
    command: Sequence[str], env: Mapping[str, str] | None, cwd: str | Path | None
) -> subprocess.Popen[str]:
    """Start a program that the kernel kills when this process dies, its output in one pipe."""
    script = os.getpid()
    return subprocess.Popen(
        command,
        env=dict(env) if env is not None else None,
        cwd=cwd,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        bufsize=1,
        preexec_fn=lambda: die_with_parent(signal.SIGKILL, script),
    )


def _pass_on(output: IO[str], on_line: Callable[[str], None] | None, failures: list[Exception]) -> None:
    """Print what comes, and give it to `on_line`, until either fails, which ends the engine.

    It is read to its end all the same: an engine whose output nobody takes stands still.
    """
    printable = True
    for line in output:
        try:
            if printable:
                print(line, end="", flush=True)
            if on_line is not None and not failures:
                on_line(line.rstrip("\n"))
        except Exception as error:
            printable = printable and not isinstance(error, OSError)  # of a full disk, or of who read it
            failures.append(error)
            end_descendants()


def shell_status(code: int) -> int:
    """A `returncode` of subprocess as a shell says it: 128 and the signal for what was killed."""
    return code if code >= 0 else 128 - code


def start_helper(
    command: Sequence[str], *, env: Mapping[str, str], output: IO[bytes]
) -> subprocess.Popen[bytes]:
    """Start a program that runs beside this process and is told to end when this process dies.

    Args:
        command: program and arguments.
        env: its whole environment.
        output: file for what it prints.
    """
    caller = os.getpid()
    return subprocess.Popen(
        command,
        env=dict(env),
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=subprocess.STDOUT,
        # The kernel sends it when the thread that calls this ends: call it from one that lasts.
        preexec_fn=lambda: die_with_parent(signal.SIGTERM, caller),
    )


def end_helper(process: subprocess.Popen[bytes], grace: float = 20.0) -> None:
    """Ask a program to end, and kill it if it has not after `grace` seconds."""
    if process.poll() is None:
        process.terminate()
    try:
        process.wait(grace)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def die_with_parent(number: int, parent: int | None = None) -> None:
    """Have the kernel send this process a signal when its parent is gone (Linux; elsewhere nothing).

    Args:
        number: the signal.
        parent: the parent's pid, if it may be gone already: then this process ends here.
    """
    _prctl(_PR_SET_PDEATHSIG, number)
    if parent is not None and os.getppid() != parent:
        os._exit(1)


def take_in_orphans() -> None:
    """Become the parent of descendants whose own is gone, instead of init (Linux; elsewhere nothing)."""
    _prctl(_PR_SET_CHILD_SUBREAPER, 1)


def end_descendants(grace: float = 5.0) -> None:
    """Terminate every descendant of this process, then kill what is left after `grace` seconds."""
    deadline = time.monotonic() + grace
    # New ones may be born, or change parents, while we look: only two empty looks in a row count.
    while children := _living_descendants() or _living_descendants():
        for child in children:
            _signal(child, signal.SIGTERM if time.monotonic() < deadline else signal.SIGKILL)
        psutil.wait_procs(children, timeout=min(1.0, grace))
        if time.monotonic() > deadline + 10:
            break


def _living_descendants() -> list[psutil.Process]:
    living = []
    for child in psutil.Process().children(recursive=True):
        try:
            if child.status() == psutil.STATUS_ZOMBIE:
                _reap(child.pid)
            else:
                living.append(child)
        except psutil.NoSuchProcess:
            continue
    return living


def _reap(pid: int) -> None:
    with contextlib.suppress(OSError):
        os.waitpid(pid, os.WNOHANG)


def _signal(process: psutil.Process, number: int) -> None:
    with contextlib.suppress(psutil.NoSuchProcess):
        process.send_signal(number)


def _prctl(option: int, value: int) -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(option, value, 0, 0, 0)
