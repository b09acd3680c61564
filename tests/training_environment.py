"""Running code with the python of the training environment."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

from forking import ForkServer

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


_server = ForkServer(
    "import llamafactory.data, llamafactory.hparams, llamafactory.model\n"
    "from transformers import AutoModelForCausalLM, AutoTokenizer"
)


def json_from_training_environment(code: str, *arguments: str | Path) -> Any:
    """Run `code` there, with `arguments` in sys.argv[1:]; return its last line, read as JSON."""
    words = [str(argument) for argument in arguments]
    limited = f"import signal; signal.alarm(300)\n{code}"
    result = _server.run(training_python(), limited, *words, cwd=ROOT, environment=environment())
    assert result.returncode == 0, result.stderr[-4000:]
    return json.loads(result.stdout.strip().splitlines()[-1])
