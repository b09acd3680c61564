"""`snakemake --profile slurm`, as it is typed, without a cluster: what would be asked for."""

from __future__ import annotations

import re
import subprocess
import sys

from test_plan import ROOT, planned_rules


def plan(*arguments: str) -> str:
    command = [sys.executable, "-m", "snakemake", "--profile", "slurm", "--dry-run", "--forceall", *arguments]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def resources(output: str, rule: str) -> dict[str, str]:
    """What a dry run with --verbose says of a rule's resources."""
    found = re.search(rf"^rule {rule}:\n(?:    .*\n)*?    resources: (.*)$", output, re.M)
    assert found is not None, output[-3000:]
    return dict(part.split("=", 1) for part in found[1].split(", "))


def test_it_plans_the_papers_experiment_with_what_each_rule_asks_for() -> None:
    output = plan("--verbose", "--config", "cluster={gpu: {partition: big, model: h100}}")
    assert {"train_grrm_sft", "train_grrm_rlvr", "train_mt_sft", "train_mt_grpo"} <= planned_rules(output)
    training = resources(output, "train_mt_grpo")
    assert training["nodes"] == "2"
    assert training["gres"] == "gpu:h100:8"
    assert training["slurm_partition"] == "big"
    assert training["runtime"] == "1440"
    assert "slurm_partition" not in resources(output, "check_leakage")


def test_what_it_says_gives_way_to_the_command_line() -> None:
    changes = "resources={train_mt_grpo: {cuda: {runtime: 99}}}"
    files = ("--configfile", "config/paper.yaml", "config/small.yaml")
    training = resources(plan("--verbose", *files, "--config", changes), "train_mt_grpo")
    assert training["nodes"] == "1"
    assert training["gres"] == "gpu:8"
    assert training["runtime"] == "99"
