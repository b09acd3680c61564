"""Run with the python of the environment trl: PYTHONPATH=scripts <python> -m pytest tests/trainers."""

from __future__ import annotations

import importlib.util
import os

if importlib.util.find_spec("openrlhf") is None:
    collect_ignore_glob = ["test_*.py"]  # another environment's pytest
else:
    # Before torch is imported.
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    os.environ["HF_HUB_OFFLINE"] = "1"
    os.environ["TRL_EXPERIMENTAL_SILENCE"] = "1"
