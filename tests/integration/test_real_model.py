"""A model that others have trained, on texts that people have written, through every stage with its engine.

SmolLM2-135M-Instruct: tied embeddings, 49,152 tokens, three heads of keys and values for nine, a chat
template with a system turn of its own. It is too small to judge, and large enough to learn 16 rows by heart.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from grrm.files import read_jsonl
from real_model import smollm2
from real_rows import LEARNED, TESTED, write_rows
from training_environment import run_in_training_environment
from workspace import Workspace

SFT = {
    "batch_size": 4,
    "lr_scheduler": "cosine",
    "warmup_steps": 1,
    "cutoff_len": 256,
    "threads": 2,
}
RL = {
    "steps": 1,
    "train_batch_size": 4,
    "mini_batch_size": 4,
    "micro_batch_size": 8,
    "rollouts": 2,
    "max_response_length": 64,
    "learning_rate": 1e-5,
    "warmup_steps": 0,
    "save_steps": 1,
    "threads": 2,
}
CONFIG: dict[str, Any] = {
    "experiment": "real",
    "prompts": {
        "ranking": "config/prompts/toy_ranking.yaml",
        "translation": "config/prompts/toy_translation.yaml",
    },
    # Two and a half epochs.
    "grrm_sft": {**SFT, "template": "model", "max_steps": 10, "save_steps": 10, "learning_rate": 5e-4},
    "grrm_rlvr": {**RL, "augment": {"subgroup": 0, "shuffle": 0}, "max_prompt_length": 192},
    "mt_sft": {**SFT, "max_steps": 8, "save_steps": 8, "learning_rate": 3e-4},
    "mt_grpo": {
        **RL,
        "max_prompt_length": 96,
        "reward": {
            "overlong_buffer": 8,
            "max_prompt_length": 256,
            "max_response_length": 64,
            "retries": 0,
            "max_failure_rate": 0.5,
        },
    },
    "evaluate": {
        "metrics": [],
        "checkpoints": [],
        "orders": 0,
        "batch_size": 8,
        "bootstrap_samples": 200,
        "ranking": {"max_new_tokens": 64},
        "translation": {"max_new_tokens": 48},
        "samples": TESTED,
    },
}


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workspace]:
    made = Workspace(tmp_path_factory.mktemp("real"))
    start = {"start_from": str(smollm2())}
    config = {**CONFIG, "data": write_rows(made.folder / "rows")}
    config |= {stage: {**CONFIG[stage], **start} for stage in ("grrm_sft", "mt_sft")}
    (made.folder / "real.yaml").write_text(yaml.safe_dump(config))
    yield made
    shutil.rmtree(made.folder, ignore_errors=True)  # some 10 GB


def made(workspace: Workspace, path: str) -> Path:
    return workspace.folder / "results" / "real" / path


def run(workspace: Workspace, *targets: str) -> None:
    assert workspace.run("--configfile", "real.yaml", "--", *targets, timeout=3600) == 0, workspace.log[
        -3000:
    ]


def changed(workspace: Workspace, before: str, after: str) -> float:
    """The largest change of any weight between two models."""
    code = (
        "import sys\n"
        "from safetensors.torch import load_file\n"
        "one, other = (load_file(f'{folder}/model.safetensors') for folder in sys.argv[1:])\n"
        "print(max(float((one[name] - other[name]).abs().max()) for name in one.keys() & other.keys()))\n"
    )
    models = [made(workspace, f"models/{name}") for name in (before, after)]
    return float(run_in_training_environment("-c", code, *models).split()[-1])


def test_a_judge_learns_sixteen_rows_by_heart(workspace: Workspace, tmp_path: Path) -> None:
    run(workspace, "grrm_sft")
    model = made(workspace, "models/grrm_sft")
    template = (model / "chat_template.jinja").read_text()
    assert "named SmolLM" in template, "template: model keeps the model's own"
    run_in_training_environment(
        *("-m", "grrm.cli", "rank", "--model", model, "--prompt", "config/prompts/toy_ranking.yaml"),
        *("--input", workspace.folder / "rows/rankings.jsonl", "--output", tmp_path / "ranked.jsonl"),
        *("--backend", "transformers", "--retries", "0", "--max-new-tokens", "64", "--batch-size", "16"),
        timeout=900,
    )
    answers = read_jsonl(tmp_path / "ranked.jsonl")
    assert len(answers) == LEARNED
    usable = [answer for answer in answers if answer["failure"] is None]
    assert len(usable) >= LEARNED / 2, answers


def test_it_is_trained_further_by_verified_rankings(workspace: Workspace) -> None:
    run(workspace, "grrm_rlvr")
    (step,) = workspace.read_jsonl("results/real/curves/grrm_rlvr.jsonl")
    assert step["reward/valid"] > 0, step
    assert step["actor/grad_norm"] > 0, step
    assert changed(workspace, "grrm_sft", "grrm_rlvr") > 0


@pytest.mark.full
def test_a_translator_is_trained_with_it_and_evaluated(workspace: Workspace) -> None:
    run(workspace)
    groups = workspace.read_jsonl("results/real/curves/mt_grpo.judgements.jsonl")
    assert len(groups) == RL["train_batch_size"]
    outcomes = [group["outcome"] for group in groups]
    assert outcomes.count("judged") >= max(1, outcomes.count("failed")), groups
    assert any(len(set(group["rewards"])) > 1 for group in groups), groups
    (step,) = workspace.read_jsonl("results/real/curves/mt_grpo.jsonl")
    assert step["actor/grad_norm"] > 0, step
    assert changed(workspace, "mt_sft", "mt_grpo") > 0
    summary = json.loads(made(workspace, "summary.json").read_text())
    assert summary["experiment"] == "real"
