"""The judges' trainings as planned, at toy size and as published."""

from __future__ import annotations

import subprocess
import sys

import pytest
from test_plan import ROOT, overlay, plan, planned_rules, snakemake

TRAININGS = {"train_judge_sft", "train_judge_rl", "train_bradley_terry"}


@pytest.mark.parametrize(
    ("target", "trained"),
    [
        ("judge_sft", {"train_judge_sft"}),
        ("judge_pointwise", {"train_judge_sft", "train_judge_rl"}),
        ("judge_bradley_terry", {"train_bradley_terry"}),
    ],
)
def test_a_target_trains_what_it_needs(target: str, trained: set[str]) -> None:
    rules = planned_rules(plan(target, *overlay("judges")))
    assert rules & TRAININGS == trained
    assert not {rule for rule in rules if "grrm" in rule or "mt_" in rule}


def test_all_judges_with_evaluation_page_and_provenance() -> None:
    rules = planned_rules(plan("judges", *overlay("judges")))
    assert TRAININGS | {"ask_judge", "score_judges", "summarize_judges", "write_judge_provenance"} <= rules
    assert {"train_alignment_grpo", "summarize_alignment"} <= rules
    assert not {rule for rule in rules if "grrm" in rule or "comet" in rule}


def test_without_the_alignment_the_judges_are_all() -> None:
    rules = planned_rules(plan("judges", *overlay("judges"), "--config", "alignment=null"))
    assert "summarize_judges" in rules
    assert not {rule for rule in rules if "alignment" in rule}


def test_published_judges_start_from_published_models_and_data() -> None:
    output = plan("judges", *overlay("paper judges_paper"), "-p")
    rules = planned_rules(output)
    assert TRAININGS | {"download_dataset", "split_judge_data", "take_model"} <= rules
    assert "results/downloads/openjudge/train_rm/grpo/pairwise" in output
    assert "--locks driver=envs/driver.txt rl_cuda=envs/rl_cuda.txt sft_cuda=envs/sft_cuda.txt" in output
    assert not rules & {"make_judge_world", "make_judge_base"}


def test_variables_of_the_published_scripts_are_honoured() -> None:
    command = [sys.executable, "-m", "snakemake", "--snakefile", str(ROOT / "Snakefile"), "--cores", "2"]
    command += ["--dry-run", "--forceall", "-p", "judge_pointwise", *overlay("paper judges_paper")]
    variables = {"MODEL_PATH": "Qwen/Qwen3-14B", "N_GPUS_PER_NODE": "4", "TRAIN_BATCH_SIZE": "48"}
    done = subprocess.run(
        ["env", *(f"{name}={value}" for name, value in variables.items()), *command],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert '"train_batch_size": 48' in done.stdout
    assert '"gpus_per_node": 4' in done.stdout
    assert "--reference Qwen/Qwen3-14B" in done.stdout


def test_without_their_section_the_targets_say_how_to_get_it() -> None:
    done = snakemake("--dry-run", "judges")
    assert done.returncode != 0
    assert "add --configfile config/judges.yaml" in done.stdout + done.stderr
