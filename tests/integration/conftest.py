"""Interpreters of the environments that hold the real engines."""

import os
from pathlib import Path

import pytest

from training_environment import ROOT, training_python


@pytest.fixture(scope="session")
def train_python() -> Path:
    """Python of the training environment: `GRRM_TRAIN_PYTHON`, else the one that the workflow built."""
    return training_python()


@pytest.fixture(scope="session")
def comet_python() -> Path:
    """Python of COMET's environment: `GRRM_COMET_PYTHON`, else the one that the workflow built."""
    named = os.environ.get("GRRM_COMET_PYTHON")
    python = Path(named) if named else ROOT / ".snakemake/environments/comet/bin/python"
    if not python.exists():
        raise RuntimeError(
            f"{python}: no such file; build COMET's environment (make environments), or set GRRM_COMET_PYTHON"
        )
    return python
