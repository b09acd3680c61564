"""The preflight on a real Slurm (local_cluster.py): what it would refuse is found, nothing is submitted."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import local_cluster
import pytest

from workspace import lay_out

ROOT = Path(__file__).parents[2]
REASON = local_cluster.why_not()
pytestmark = pytest.mark.skipif(REASON is not None, reason=f"no test cluster here: {REASON}")

GPU = {"partition": "gpu", "model": "h100", "max_runtime": 60}
ENVIRONMENT = {**os.environ, "HF_HUB_OFFLINE": "1"}


@pytest.fixture(scope="module", autouse=True)
def cluster() -> Iterator[None]:
    local_cluster.start()
    try:
        yield
    finally:
        local_cluster.stop()


def slurm_lines(**changes: Any) -> list[str]:
    """The lines about Slurm for the paper's trainings, with changes of the configuration."""
    gpu = GPU | changes.pop("gpu", {})
    overlay = {"cluster": {"gpu": gpu, "cpu": {"partition": "cpu", "max_runtime": 60}}, **changes}
    done = subprocess.run(
        [
            *(sys.executable, "scripts/preflight.py", "--config", "config/paper.yaml"),
            *("--overlay", json.dumps(overlay), "--slurm", "--rules", "train_grrm_sft", "check_leakage"),
        ],
        cwd=ROOT,
        env=ENVIRONMENT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert "Traceback" not in done.stderr
    queue = subprocess.run(["squeue", "--noheader"], capture_output=True, text=True, check=True)
    assert queue.stdout == ""
    lines = done.stdout.splitlines()
    found = [index for index, line in enumerate(lines) if line[8:].startswith("slurm")]
    remedies = [line.strip() if line.strip().startswith("->") else "" for line in [*lines[1:], ""]]
    return [" ".join(f"{lines[index]} {remedies[index]}".split()) for index in found]


def test_what_fits_is_taken() -> None:
    first, second, accounts, third = slurm_lines()
    assert first.startswith("ok slurm train_grrm_sft gpu: 2 nodes of 8 x h100")
    assert second.startswith("ok slurm without GPUs cpu: 1 rules fit")
    assert accounts.startswith("ok slurm accounts none are kept: squeue tells how jobs end, for 600 s")
    # An hour at a time.
    assert third.startswith("warning slurm train_grrm_sft forecast") and "let retries in" in third


@pytest.mark.parametrize(
    ("changes", "words", "key"),
    [
        ({"gpu": {"partition": "nope"}}, "partition 'nope' does not exist", "cluster.gpu.partition"),
        ({"gpu": {"model": "a100"}}, "GPU model 'a100', partition gpu has h100", "cluster.gpu.model"),
        (
            {"gpu": {"max_runtime": None}},
            "asks for 1440 min, partition gpu allows 60",
            "cluster.gpu.max_runtime",
        ),
        (
            {"hardware": {"nodes": 1, "gpus_per_node": 16}},
            "asks for 16 GPUs a node",
            "hardware.gpus_per_node",
        ),
        ({"hardware": {"nodes": 4}}, "asks for 4 nodes, partition gpu has 2 with GPUs", "hardware.nodes"),
    ],
    ids=["partition", "model", "time", "GPUs", "nodes"],
)
def test_what_slurm_would_refuse_is_found_before(changes: dict[str, Any], words: str, key: str) -> None:
    (first, *_) = slurm_lines(**changes)
    assert first.startswith("failed slurm train_grrm_sft") and words in first and key in first


def test_the_literal_command_submits_nothing(tmp_path: Path) -> None:
    lay_out(tmp_path)
    command = ["-m", "snakemake", "--profile", "slurm", "--config", "cluster={gpu: {partition: nope}}"]
    done = subprocess.run(
        [sys.executable, *command], cwd=tmp_path, env=ENVIRONMENT, capture_output=True, text=True, check=False
    )
    output = done.stdout + done.stderr
    assert done.returncode != 0 and "nothing was started" in output
    assert "partition 'nope' does not exist; there are cpu, gpu, scavenge, urgent" in output
    assert "has been submitted" not in output
