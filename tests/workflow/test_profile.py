"""`snakemake --profile slurm`, as it is typed, without a cluster."""

from __future__ import annotations

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


def test_another_configuration_and_single_values_are_taken_from_the_command_line() -> None:
    changes = ("cluster={gpu: {partition: big, max_runtime: 720}}", "hardware={gpus_per_node: 4}")
    output = plan("--configfile", "config/paper.yaml", "config/small.yaml", "--config", *changes)
    assert "results/small/models/mt_grpo" in output
    assert "--nodes 1 --devices 4" in output
