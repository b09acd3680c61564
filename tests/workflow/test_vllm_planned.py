"""Where vLLM runs without a GPU, and what is said before anything runs where it cannot."""

from __future__ import annotations

import os
import re
import subprocess

import pytest
from test_plan import ROOT, plan, snakemake

OVERLAY = ("--configfile", "config/vllm.yaml")


def commands(output: str, script: str) -> set[str]:
    """Environments that a script's engine is run in."""
    lines = [line for line in output.splitlines() if f"scripts/{script}.py" in line]
    assert lines
    return {found for line in lines for found in re.findall(r"environments/(\w+)/bin/python", line)}


def test_the_environment_follows_the_engine() -> None:
    default, vllm = plan("-p"), plan(*OVERLAY, "-p")
    for script in ("train_rl", "rank_candidates", "translate_segments"):
        assert commands(default, script) == {"train"}
        assert commands(vllm, script) == {"vllm_cpu"}
    assert commands(default, "train_sft") == commands(vllm, "train_sft") == {"train"}


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ("base_models={'mt': {'heads': 4}}", "base_models.mt: 4 heads of a width of 96 are 24 numbers wide"),
        ("evaluate={'backend': 'vllm'}", None),
    ],
)
def test_a_shape_without_a_kernel_ends_the_plan(change: str, words: str | None) -> None:
    done = snakemake("--dry-run", "--quiet", *OVERLAY, "--config", change)
    assert (done.returncode == 0) == (words is None)
    assert words is None or words in done.stdout + done.stderr


def make(*arguments: str) -> subprocess.CompletedProcess[str]:
    """What `make demo` would run; nothing is run."""
    environment = {
        key: value for key, value in os.environ.items() if key not in ("ENGINE", "SEED", "EXPERIMENT")
    }
    command = ["make", "--dry-run", "demo", "CORES=2", *arguments]
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)


@pytest.mark.parametrize(
    ("variables", "said"),
    [
        (["ENGINE=vllm"], "--configfile config/vllm.yaml --config experiment=demo_vllm seed=0"),
        (["ENGINE=vllm", "SEED=2"], "--config experiment=demo_vllm_seed2 seed=2"),
        ([], "scripts/run_workflow.py --cores 2  --config experiment=demo seed=0"),
    ],
)
def test_the_demonstration_takes_an_engine(variables: list[str], said: str) -> None:
    assert said in make(*variables).stdout


def test_another_engine_is_refused() -> None:
    done = make("ENGINE=sglang")
    assert done.returncode != 0 and "ENGINE is sglang, expected transformers or vllm" in done.stderr
