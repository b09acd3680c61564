"""The judges' trainings with the real engines, a few steps each; one of them is killed on its way."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from grrm.judges.card import read_card
from workspace import Workspace

RL = {
    "steps": 1,
    "train_batch_size": 4,
    "mini_batch_size": 4,
    "micro_batch_size": 8,
    "rollouts": 2,
    "max_response_length": 16,
}
TINY = {
    "experiment": "tiny",
    "alignment": None,  # test_rewards.py
    "judges": {
        "data": {
            "toy": {
                "judge_sft": 60,
                "judge_pointwise_train": 8,
                "judge_pointwise_test": 6,
                "judge_pairwise_train": 8,
                "judge_pairwise_test": 4,
                "judge_bradley_terry_train": 60,
                "judge_bradley_terry_test": 6,
            }
        },
        "base_model": {"hidden_size": 16, "layers": 1, "heads": 2},
        "sft": {"max_steps": 2, "batch_size": 4, "save_steps": 2, "warmup_steps": 0},
        "pointwise": RL,
        "pairwise": {**RL, "consistency": 0.5},
        # Slow enough to be killed between its first checkpoint and its end.
        "bradley_terry": {"max_steps": 300, "batch_size": 4, "save_steps": 20, "margin": True},
        "evaluate": {"batch_size": 8, "bootstrap_samples": 100},
    },
}


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    workspace = Workspace(tmp_path_factory.mktemp("judges"))
    (workspace.folder / "tiny.yaml").write_text(yaml.safe_dump(TINY))
    return workspace


OPTIONS = ("--configfile", "config/judges.yaml", "tiny.yaml")


def results(workspace: Workspace) -> Path:
    return workspace.folder / "results/tiny"


def test_a_killed_bradley_terry_training_goes_on_after_its_checkpoint(workspace: Workspace) -> None:
    working = results(workspace) / "checkpoints/judge_bradley_terry"

    def saved() -> bool:
        return any(working.glob("checkpoint-*/trainer_state.json"))

    workspace.kill_when(saved, "a checkpoint is written", "judge_bradley_terry", *OPTIONS)
    assert not (results(workspace) / "models/judge_bradley_terry").exists()
    # A checkpoint that the kill cut off has no state yet: it does not count.
    complete = [file.parent.name for file in working.glob("checkpoint-*/trainer_state.json")]
    kept = max(int(name.partition("-")[2]) for name in complete)
    assert workspace.run("judge_bradley_terry", *OPTIONS) == 0, workspace.log[-3000:]
    steps = [row["step"] for row in workspace.read_jsonl("results/tiny/curves/judge_bradley_terry.jsonl")]
    assert steps == list(range(3, 301, 3)), "every logged step once, those before the kill among them"
    log = (results(workspace) / "logs/train_judge_bradley_terry.log").read_text()
    assert log.count("'grad_norm'") <= (300 - kept) // 3 + 1, "steps before the checkpoint were done again"


def test_all_judges_are_trained_asked_and_reported(workspace: Workspace) -> None:
    assert workspace.run("judges", *OPTIONS, timeout=1200) == 0, workspace.log[-3000:]
    models = results(workspace) / "models"
    assert read_card(models / "judge_sft").modes == ["pointwise", "pairwise"]
    for kind in ("pointwise", "pairwise", "bradley_terry"):
        assert read_card(models / f"judge_{kind}").modes == [kind]
        document = json.loads((results(workspace) / f"evaluation/judge_{kind}.json").read_text())
        assert len(document["systems"]) == 2 and document["differences"]
        assert all("agreement" in system["metrics"] for system in document["systems"])
    (step,) = workspace.read_jsonl("results/tiny/curves/judge_pairwise.jsonl")
    # Both orders of every pair met within the step.
    assert step["reward/other_order"] == 1.0
    assert 0 <= step["reward/valid"] <= 1
    assert "Agreement" in (results(workspace) / "report/judges.html").read_text()
    provenance = results(workspace) / "provenance_judges"
    assert yaml.safe_load((provenance / "config.yaml").read_text())["judges"]["environment"] == {}


def test_a_judge_is_trained_on_own_files_as_the_page_says(workspace: Workspace) -> None:
    rows = "results/tiny/data/judge_pointwise_*.jsonl"
    own = {
        "data": {"source": "files", "pointwise": rows, "test_share": 0.25},
        "pointwise": {**RL, "start_from": "results/tiny/models/judge_sft"},
    }
    judges = {name: part for name, part in TINY["judges"].items() if name != "base_model"}
    config = {"experiment": "own", "alignment": None, "judges": {**judges, **own}}
    (workspace.folder / "own.yaml").write_text(yaml.safe_dump(config))
    files = ("--configfile", "config/judges.yaml", "own.yaml")
    wanted = ("results/own/models/judge_pointwise", "results/own/evaluation/judge_pointwise.json")
    assert workspace.run(*files, "--", *wanted) == 0, workspace.log[-3000:]
    document = json.loads((workspace.folder / wanted[1]).read_text())
    assert document["data"]["n"] == 4, "a quarter of 14 rows, by conversation"
    assert len(workspace.read_jsonl("results/own/curves/judge_pointwise.jsonl")) == 1
    assert not (workspace.folder / "results/own/models/judge_sft").exists(), "it starts from a finished one"
