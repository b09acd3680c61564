"""Running code with the python of the training environment."""

from __future__ import annotations

import functools
import json
import os
import subprocess
import tempfile
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]


def training_python() -> Path:
    """The training environment's python: `GRRM_TRAIN_PYTHON`, else the one that the workflow built."""
    named = os.environ.get("GRRM_TRAIN_PYTHON")
    python = Path(named) if named else ROOT / ".snakemake/environments/train/bin/python"
    if not python.exists():
        raise RuntimeError(
            f"{python}: no such file; build the training environment, or set GRRM_TRAIN_PYTHON to its python"
        )
    return python


def environment() -> dict[str, str]:
    """The variables that the training environment's python is given."""
    return {
        **os.environ,
        "PYTHONPATH": str(ROOT / "scripts"),
        "OMP_NUM_THREADS": "1",
        "HF_HUB_OFFLINE": "1",
        "DISABLE_VERSION_CHECK": "1",
    }


def run_in_training_environment(*arguments: str | Path, timeout: float = 300) -> str:
    """Run python with `arguments` from the repository's root; return what it prints."""
    result = subprocess.run(
        [str(training_python()), *map(str, arguments)],
        cwd=ROOT,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=timeout,
    )
    assert result.returncode == 0, result.stderr[-4000:]
    return result.stdout


# Reads requests and forks for each: what takes long to import is imported once.
_FORKS = """
import json, os, signal, sys
replies = os.fdopen(os.dup(1), "w")
os.dup2(2, 1)  # libraries print while they are imported
import llamafactory.data, llamafactory.hparams, llamafactory.model
from transformers import AutoModelForCausalLM, AutoTokenizer

for line in sys.stdin:
    request = json.loads(line)
    child = os.fork()
    if child == 0:
        signal.alarm(300)
        output = os.open(request["output"], os.O_WRONLY)
        os.dup2(output, 1), os.dup2(output, 2)
        sys.argv[1:] = request["arguments"]
        exec(request["code"], {"__name__": "__main__"})
        sys.exit()
    _, status = os.waitpid(child, 0)
    print(os.waitstatus_to_exitcode(status), file=replies, flush=True)
"""


@functools.cache
def _forks() -> subprocess.Popen[str]:
    """It ends with this process, whose end closes its input."""
    return subprocess.Popen(
        [training_python(), "-c", _FORKS],
        cwd=ROOT,
        env=environment(),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def json_from_training_environment(code: str, *arguments: str | Path) -> Any:
    """Run `code` there, with `arguments` in sys.argv[1:]; return its last line, read as JSON."""
    forks = _forks()
    assert forks.stdin is not None and forks.stdout is not None
    with tempfile.NamedTemporaryFile("r") as output:
        request = {"code": code, "arguments": [str(argument) for argument in arguments]}
        print(json.dumps({**request, "output": output.name}), file=forks.stdin, flush=True)
        status = forks.stdout.readline().strip()
        printed = output.read()
    assert status == "0", printed[-4000:]
    return json.loads(printed.strip().splitlines()[-1])
