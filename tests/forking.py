"""Python in processes forked from one that has made the imports: they take most of a short call's time.

Run as a program, with the imports as its argument, it is the server: it reads a call a line (JSON, see
`_run`) and answers each with its exit status.
"""

from __future__ import annotations

import atexit
import json
import os
import subprocess
import sys
import tempfile
import traceback
from collections.abc import Mapping
from pathlib import Path
from typing import NoReturn


class ForkServer:
    """It is started by the first call, and ends with the tests: its standard input is closed then."""

    def __init__(self, imports: str) -> None:
        self.imports = imports
        self.server: subprocess.Popen[str] | None = None

    def run(
        self, python: str | Path, code: str, *arguments: str, cwd: Path, environment: Mapping[str, str]
    ) -> subprocess.CompletedProcess[str]:
        """`python -c code arguments...`, in a process of its own."""
        if self.server is None:
            self.server = subprocess.Popen(
                [str(python), __file__, self.imports],
                env=dict(environment),
                cwd=cwd,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
            )
        assert self.server.stdin is not None and self.server.stdout is not None
        call = {"code": code, "arguments": arguments, "cwd": str(cwd), "environment": dict(environment)}
        with tempfile.TemporaryDirectory() as folder:
            self.server.stdin.write(json.dumps({**call, "output": folder}) + "\n")
            self.server.stdin.flush()
            answer = self.server.stdout.readline()
            assert answer, f"the server with {self.imports!r} is gone"
            stdout, stderr = (Path(folder, name).read_text(errors="replace") for name in ("stdout", "stderr"))
        return subprocess.CompletedProcess(arguments, int(answer), stdout, stderr)


def _serve(imports: str) -> None:
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # libraries print while they are imported
    sys.path[0] = ""
    exec(imports, {})
    for line in sys.stdin:
        call = json.loads(line)
        if (child := os.fork()) == 0:
            _run(**call)
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), file=answers, flush=True)


def _run(code: str, arguments: list[str], cwd: str, output: str, environment: dict[str, str]) -> NoReturn:
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    for number, name in ((1, "stdout"), (2, "stderr")):
        os.dup2(os.open(Path(output, name), os.O_WRONLY | os.O_CREAT), number)
    os.chdir(cwd)
    os.environ.clear()
    os.environ.update(environment)
    sys.argv = ["-c", *arguments]
    status: object = 0
    atexit._clear()  # of the server
    try:
        exec(code, {"__name__": "__main__"})
    except SystemExit as end:
        status = end.code
    except BaseException:
        traceback.print_exc()
        status = 1
    finally:
        atexit._run_exitfuncs()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status if isinstance(status, int) else int(status is not None))


if __name__ == "__main__":
    _serve(sys.argv[1])
