"""Snakemake for tests that plan: a server imports it once, and forks for every call.

That saves most of a call's time. Run as a program it is the server: it reads a call a line (JSON, see
`_run`) and answers each with its exit status.
"""

from __future__ import annotations

import functools
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parents[1]


def snakemake(*arguments: str, cwd: Path = ROOT) -> subprocess.CompletedProcess[str]:
    """`python -m snakemake` with these arguments, in a process of its own."""
    server = _server()
    assert server.stdin is not None and server.stdout is not None
    with tempfile.TemporaryDirectory() as folder:
        call = {"arguments": arguments, "cwd": str(cwd), "output": folder, "environment": {**os.environ}}
        server.stdin.write(json.dumps(call) + "\n")
        server.stdin.flush()
        answer = server.stdout.readline()
        assert answer, "the planner's server is gone"
        stdout, stderr = (Path(folder, name).read_text(errors="replace") for name in ("stdout", "stderr"))
    return subprocess.CompletedProcess(["snakemake", *arguments], int(answer), stdout, stderr)


@functools.cache
def _server() -> subprocess.Popen[str]:
    # Ends with the tests: its standard input is closed then.
    return subprocess.Popen(
        [sys.executable, __file__], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )


def _serve() -> None:
    import snakemake.cli  # noqa: F401

    for line in sys.stdin:
        call = json.loads(line)
        if (child := os.fork()) == 0:
            _run(**call)
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)


def _run(arguments: list[str], cwd: str, output: str, environment: dict[str, str]) -> None:
    from snakemake.cli import main

    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    for number, name in ((1, "stdout"), (2, "stderr")):
        os.dup2(os.open(Path(output, name), os.O_WRONLY | os.O_CREAT), number)
    os.chdir(cwd)
    os.environ.clear()
    os.environ.update(environment)
    sys.path[0] = ""
    status: object = 1
    try:
        main(arguments)
    except SystemExit as end:
        status = end.code
    except BaseException:
        sys.excepthook(*sys.exc_info())
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status if isinstance(status, int) else int(status is not None))


if __name__ == "__main__":
    _serve()
