"""`snakemake --profile slurm`, as it is typed, without a cluster."""

from __future__ import annotations

import re

from test_plan import planned_rules

from planner import snakemake


def plan(*arguments: str) -> str:
    done = snakemake("--profile", "slurm", "--dry-run", "--forceall", *arguments)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_it_plans_the_papers_experiment() -> None:
    output = plan()
    assert {"train_grrm_sft", "train_grrm_rlvr", "train_mt_sft", "train_mt_grpo"} <= planned_rules(output)
    assert "results/paper/models/mt_grpo" in output
    assert "--nodes 2 --devices 8" in output
    # What takes seconds, or needs the internet, runs here.
    (said,) = re.findall(r"^Slurm: (\d+) of (\d+) jobs go to the queue \((.*)\)", output, re.M)
    assert int(said[0]) < 30 < int(said[1]) and "train_mt_grpo" in said[2] and "convert" not in said[2]


def test_a_partition_with_the_internet_gets_the_downloads() -> None:
    output = plan("--config", "cluster={network: {partition: transfer}}")
    (said,) = re.findall(r"jobs go to the queue \((.*)\)", output)
    assert "download_dataset" in said and "build_environment" in said


def test_another_configuration_and_single_values_are_taken_from_the_command_line() -> None:
    changes = ("cluster={gpu: {partition: big, max_runtime: 720}}", "hardware={gpus_per_node: 4}")
    output = plan("--configfile", "config/paper.yaml", "config/small.yaml", "--config", *changes)
    assert "results/small/models/mt_grpo" in output
    assert "--nodes 1 --devices 4" in output
