"""Run with the training environment's python: PYTHONPATH=scripts <python> -m pytest tests/engine."""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path

import pytest

from tiny_model import save_tiny_model

if importlib.util.find_spec("verl") is None:
    collect_ignore_glob = ["test_*.py"]  # another environment's pytest
else:
    # Before torch and verl are imported: see grrm.verl_plugin.
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    os.environ["VERL_PLATFORM"] = "cpu"
    os.environ["VERL_ENGINE_DEVICE"] = "cuda"
    os.environ["VERL_USE_EXTERNAL_MODULES"] = "grrm.verl_plugin.register"


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny_model(tmp_path_factory.mktemp("tiny"))


@pytest.fixture(scope="session")
def tied_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny_model(tmp_path_factory.mktemp("tied"), tied=True)
