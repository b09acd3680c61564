"""What jobs with GPUs ask for, and that on one machine they do not share them."""

from __future__ import annotations

from pathlib import Path

import pytest

from planner import ROOT, snakemake

# The runs of GRPO in the paper's experiment, with a program of no weight in place of the training.
RUNS = """
configfile: "config/config.yaml"
configfile: "config/cluster.yaml"
include: "rules/common.smk"
include: "rules/deployment.smk"
include: "rules/train_names.smk"
rule all:
    input: expand("{run}.txt", run=GRPO_RUNS)
rule train_mt_grpo:
    output: "{run}.txt"
    resources: **resources("train_mt_grpo")
    shell:
        "echo {wildcards.run} >> order.txt; sleep 0.5; echo {wildcards.run} >> order.txt; "
        "echo {resources.nodes} {resources.gres} > {output}"
"""
CHANGES = [
    "reward_comparison=[bleu, chrf]",
    "mt_grpo={reward: {placement: dedicated, nodes: 1, gpus_per_node: 8}}",
]


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    for part in ("rules", "config", "scripts"):
        (tmp_path / part).symlink_to(ROOT / part)
    (tmp_path / "Snakefile").write_text(RUNS)
    return tmp_path


def order(checkout: Path, *arguments: str) -> list[str]:
    options = ("--configfile", "config/paper.yaml", "--config", *CHANGES)
    done = snakemake("--cores", "32", *arguments, *options, cwd=checkout)
    assert done.returncode == 0, done.stdout + done.stderr
    return (checkout / "order.txt").read_text().split()


def test_on_one_machine_jobs_with_gpus_come_one_after_the_other(checkout: Path) -> None:
    runs = order(checkout)
    assert len(set(runs)) == 3 and runs[::2] == runs[1::2]
    # And each asks for the nodes of its own judge.
    asked = {run: (checkout / f"{run}.txt").read_text().split() for run in set(runs)}
    assert asked == {
        "mt_grpo": ["3", "gpu:8"],
        "mt_grpo_bleu": ["2", "gpu:8"],
        "mt_grpo_chrf": ["2", "gpu:8"],
    }


def test_slurm_gives_each_job_its_own(checkout: Path) -> None:
    with (checkout / "Snakefile").open("a") as snakefile:
        snakefile.write("def on_slurm(): return True\n")
    assert len(set(order(checkout)[:3])) == 3


def test_more_at_a_time_can_be_asked_for(checkout: Path) -> None:
    runs = order(checkout, "--resources", "gpu_jobs=3")
    assert len(set(runs[:3])) == 3
