"""State of an optimizer, read as one of several processes on CPUs reads it."""

from __future__ import annotations

from pathlib import Path

import torch

from grrm.engines.cpu_devices import restore_to_numbered_cpus


def test_what_was_saved_is_restored_to_a_numbered_cpu(tmp_path: Path) -> None:
    torch.save({"exp_avg": torch.arange(3.0)}, tmp_path / "optimizer.pt")
    restore_to_numbered_cpus()
    for place in ("cpu:0", "cpu:1", "cpu", torch.device("cpu:0")):
        found = torch.load(tmp_path / "optimizer.pt", map_location=place)["exp_avg"]
        assert found.device.type == "cpu"
        assert found.tolist() == [0, 1, 2]
