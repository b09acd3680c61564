"""Locks are whole, hashed, and the conda files carry the same pins."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "scripts"))

from lock_environments import pins  # noqa: E402

ENVS = ROOT / "envs"
STAGES = sorted(path.stem for path in ENVS.glob("*.yaml"))


def locked(name: str) -> list[str]:
    return pins((ENVS / f"{name}.txt").read_text(encoding="utf-8"))


def name_of(requirement: str) -> str:
    return re.split(r"[\[=<>~! ;]", requirement)[0].lower().replace("_", "-")


def wanted(name: str) -> list[str]:
    lines = (ENVS / f"{name}.in").read_text(encoding="utf-8").splitlines()
    return [line.strip() for line in lines if line.strip() and not line.startswith(("#", "-"))]


@pytest.mark.parametrize("stage", STAGES)
def test_the_conda_file_has_the_pins_of_the_lock(stage: str) -> None:
    conda = yaml.safe_load((ENVS / f"{stage}.yaml").read_text(encoding="utf-8"))
    assert conda["dependencies"][-1]["pip"] == locked(stage)


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


def test_torch_has_one_version_wherever_vllm_does_not_decide_it() -> None:
    versions = {pin for stage in STAGES for pin in locked(stage) if name_of(pin) == "torch"}
    vllm = {pin for pin in locked("rl_cuda") if name_of(pin) == "torch"}
    assert len(versions - vllm) == len(vllm) == 1
