"""A training of the user's own: a row, and rules made of the generic ones, in a file beside the others."""

from __future__ import annotations

from pathlib import Path

import pytest

import planner
from workspace import lay_out

ROOT = Path(__file__).parents[2]
ROW = """\
from dataclasses import replace
from grrm.catalogue.trainings import TRAININGS

TRAININGS["{name}"] = replace(TRAININGS["{like}"], name="{name}", start="mt_grpo", taken="")
"""
GRPO = """
use rule render_rl as render_{name} with:
    wildcard_constraints:
        run="{name}",
    params:
        settings=json.dumps({{**config["mt_grpo"], "steps": 7}}),


use rule train_rl as train_{name} with:
    wildcard_constraints:
        run="{name}",
"""
SFT = """
use rule render_sft as render_{name} with:
    wildcard_constraints:
        run="{name}",


use rule train_sft as train_{name} with:
    wildcard_constraints:
        run="{name}",
"""


@pytest.fixture
def workflow(tmp_path: Path) -> Path:
    """A checkout whose rules can be added to."""
    lay_out(tmp_path, copied=["Snakefile", "rules"])
    return tmp_path


def plan(folder: Path, *targets: str) -> str:
    options = ("--cores", "2", "--dry-run", "--forceall", "--printshellcmds")
    done = planner.snakemake(*options, *targets, cwd=folder)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.parametrize(("like", "body"), [("mt_grpo", GRPO), ("mt_sft", SFT)])
def test_an_own_training_starts_from_what_grpo_made(workflow: Path, like: str, body: str) -> None:
    name = f"{like}_again"
    rules = (ROW + body).format(name=name, like=like)
    assert len([line for line in rules.splitlines() if line]) < 20
    (workflow / f"rules/own_{name}.smk").write_text(rules)
    planned = plan(workflow, name, f"results/demo/evaluation/translation/{name}.jsonl")
    assert f"\n{name} " in planned, "its model can be asked for by its name"
    assert f"--model results/demo/models/{name} --input" in planned, "and asked to translate"
    (rendering,) = [
        line for line in planned.splitlines() if f"--checkpoints results/demo/checkpoints/{name} " in line
    ]
    assert "--model results/demo/models/mt_grpo " in rendering
    assert f"--data results/demo/prepared/{like}." in rendering
    assert ('"steps": 7' in rendering) == (like == "mt_grpo")
    (training,) = [
        line for line in planned.splitlines() if f"--model results/demo/models/{name} --curve" in line
    ]
    assert f"--config results/demo/configs/{name}.yaml " in training
    for rule in (f"train_{name}", "train_mt_grpo", "train_mt_sft"):
        assert f"{rule} " in planned, "what it starts from is made before it"


def test_without_own_rules_the_generic_ones_make_nothing(workflow: Path) -> None:
    planned = plan(workflow)
    for rule in ("render_sft", "train_sft", "render_rl", "train_rl"):
        assert f"\n{rule} " not in planned
        done = planner.snakemake("--cores", "2", "--dry-run", rule, cwd=workflow)
        assert done.returncode != 0 and "wildcards" in done.stdout + done.stderr
