"""The preflight comes before the first job of a training, and stops it."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path

import pytest

import planner
from workspace import lay_out

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("checkout")
    lay_out(folder)
    return folder


def snakemake(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    # No network, no GPU.
    environment = {"HF_HUB_OFFLINE": "1", "PATH": "/usr/bin:/bin"}
    return planner.snakemake("--cores", "1", *arguments, cwd=folder, environment=environment)


def test_nothing_is_started_where_a_check_fails(checkout: Path) -> None:
    done = snakemake(checkout, "--configfile", "config/paper.yaml", "config/small.yaml")
    output = done.stdout + done.stderr
    assert done.returncode != 0 and "Traceback" not in output
    assert "nothing was started" in output
    # Everything that is wrong at once: no GPUs, no data.
    assert "no NVIDIA driver on this machine" in output and "hardware.device" in output
    assert "HF_HUB_OFFLINE forbids asking for it" in output
    assert "Finished jobid" not in output
    assert not (checkout / "results/small/data").exists()


def test_answers_of_released_models_are_looked_at_as_well(checkout: Path) -> None:
    done = snakemake(checkout, "--configfile", "config/paper.yaml", "config/paper_released.yaml")
    output = done.stdout + done.stderr
    assert done.returncode != 0 and "nothing was started" in output
    assert "no NVIDIA driver on this machine" in output


def test_by_itself_it_writes_down_what_it_found(checkout: Path) -> None:
    done = snakemake(checkout, "preflight")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "environments" in done.stdout and " 0 failed" in done.stdout
    found = json.loads((checkout / "results/demo/preflight.json").read_text())["findings"]
    assert {finding["status"] for finding in found} <= {"ok", "warning"}
    assert (checkout / "results/demo/logs/preflight.log").read_text().rstrip().endswith("ok")


def test_a_training_is_planned_without_it(checkout: Path) -> None:
    # A model must not be made anew because a disk was looked at.
    done = snakemake(checkout, "mt_grpo", "--dry-run", "--configfile", "config/paper.yaml")
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.search(r"^train_mt_grpo +1$", done.stdout, re.M)
    assert not re.search(r"^preflight ", done.stdout, re.M)
