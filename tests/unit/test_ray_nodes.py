"""Machines of a Ray that is there already; tests/slurm/test_networks.py has a real one."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from grrm.files import PassingError, UserError
from grrm.slurm import ray_nodes
from grrm.slurm.ray_nodes import RayNodes, find_ray_nodes, joined_address

# Answers as `python -m grrm.slurm.ray_step` does.
PYTHON = "#!/bin/sh\necho 'a warning' >&2\n{}\n"


@pytest.fixture
def environments(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("RAY_ADDRESS", "10.0.0.1:6379")
    for name in ("sft_cuda", "rl_cuda"):
        (tmp_path / name / "bin").mkdir(parents=True)
    return tmp_path


def with_ray(environments: Path, script: str) -> None:
    package = environments / "rl_cuda/lib/python3.11/site-packages/ray/__init__.py"
    package.parent.mkdir(parents=True)
    package.touch()
    python = environments / "rl_cuda/bin/python"
    python.write_text(PYTHON.format(script))
    python.chmod(0o755)


def test_an_environment_beside_may_have_ray(environments: Path) -> None:
    there = [["n1", "10.0.0.1"], ["n2", "fd00::2"], ["n3", "10.0.0.3"]]
    with_ray(environments, f"echo \"$@\" > {environments}/asked\necho '{json.dumps(there)}'")
    found = find_ray_nodes(2, 8, str(environments / "sft_cuda/bin/python"))
    assert (found.nodes, found.meets()) == (("n1", "n2"), "10.0.0.1")
    assert (environments / "asked").read_text().split() == ["-m", "grrm.slurm.ray_step", "--gpus", "8"]
    assert found.step("n2", ["true"])[1:] == [
        *("-m", "grrm.slurm.ray_step", "--node", "n2", "--gpus", "8", "--", "true")
    ]
    assert isinstance(found, RayNodes) and 20_000 <= found.port(99) < 32_100


def test_what_is_missing_is_said(environments: Path) -> None:
    python = str(environments / "sft_cuda/bin/python")
    with pytest.raises(UserError, match=r"no environment beside .* has Ray"):
        find_ray_nodes(2, 8, python)
    with_ray(environments, 'echo \'[["n1", "10.0.0.1"]]\'')
    with pytest.raises(UserError, match=r"hardware\.nodes asks for 2 machines with 8 GPUs, .* has 1"):
        find_ray_nodes(2, 8, python)


def test_a_ray_that_does_not_answer_may_later(environments: Path) -> None:
    with_ray(environments, "echo 'ConnectionError: nobody there' >&2; exit 1")
    with pytest.raises(PassingError, match=r"10\.0\.0\.1:6379: Ray does not answer: .*nobody there"):
        find_ray_nodes(2, 8, str(environments / "sft_cuda/bin/python"))


def test_nor_one_that_is_silent(environments: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ray_nodes, "_PATIENCE", 0.5)
    with_ray(environments, "exec sleep 60")
    with pytest.raises(PassingError, match=r"10\.0\.0\.1:6379: Ray does not answer: .*timed out after 0\.5"):
        find_ray_nodes(2, 8, str(environments / "sft_cuda/bin/python"))


@pytest.mark.parametrize(
    ("address", "joined"), [("", None), ("http://head:8265", None), ("auto", "auto"), ("h:6379", "h:6379")]
)
def test_a_dashboard_is_not_joined(monkeypatch: pytest.MonkeyPatch, address: str, joined: str | None) -> None:
    monkeypatch.setenv("RAY_ADDRESS", address)
    assert joined_address() == joined
