"""`snakemake --profile slurm`, as it is typed, without a cluster."""

from __future__ import annotations

import subprocess
import sys

from test_plan import ROOT, planned_rules


def plan(*arguments: str) -> str:
    command = [sys.executable, "-m", "snakemake", "--profile", "slurm", "--dry-run", "--forceall", *arguments]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_it_plans_the_papers_experiment() -> None:
    output = plan()
    assert {"train_grrm_sft", "train_grrm_rlvr", "train_mt_sft", "train_mt_grpo"} <= planned_rules(output)
    assert "results/paper/models/mt_grpo" in output
    assert "--nodes 2 --devices 8" in output


def test_another_configuration_and_single_values_are_taken_from_the_command_line() -> None:
    changes = ("cluster={gpu: {partition: big, max_runtime: 720}}", "hardware={gpus_per_node: 4}")
    output = plan("--configfile", "config/paper.yaml", "config/small.yaml", "--config", *changes)
    assert "results/small/models/mt_grpo" in output
    assert "--nodes 1 --devices 4" in output
