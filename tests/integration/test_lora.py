"""Adapters of low rank on the toy world: SFT and GRPO learn, SFT goes on after a kill, what is left are
plain models. That verl goes on from adapters is shown by tests/engine/test_lora_run.py.

Adapters change a model that knows something already: it is trained in full first, a little.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from training_environment import json_from_training_environment
from workspace import Workspace

DATA = """
data:
  toy: {grrm_sft: 50, grrm_rlvr: 50, mt_sft: 2000, mt_grpo: 400, ranking_test: 10, translation_test: 100}
"""
PRETRAINED = f"""
experiment: pretrained
{DATA}
mt_sft: {{max_steps: 200, batch_size: 32, learning_rate: 4.0e-3, save_steps: 200}}
"""
ADAPTED = f"""
experiment: adapted
{DATA}
finetuning: lora
lora: {{rank: 32, alpha: 32}}
grrm_sft: {{start_from: results/pretrained/models/mt_sft}}
mt_sft:
  start_from: results/pretrained/models/mt_sft
  max_steps: 100
  batch_size: 32
  learning_rate: 5.0e-3
  save_steps: 20
mt_grpo: {{steps: 8, save_steps: 2, learning_rate: 1.5e-3, reward: {{kind: bleu}}}}
"""
DIFFERENCE = """
import json, sys, torch
from peft import PeftModel
from transformers import AutoModelForCausalLM
load = AutoModelForCausalLM.from_pretrained
base, merged = [load(name, dtype="float32") for name in sys.argv[1::2]]
tokens = torch.arange(3, 103).reshape(4, 25)
with torch.no_grad():
    plain, found = base.eval()(tokens).logits, merged.eval()(tokens).logits
    expected = PeftModel.from_pretrained(base, sys.argv[2]).eval()(tokens).logits
print(json.dumps([(found - expected).abs().max().item(), (plain - expected).abs().max().item()]))
"""


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    workspace = Workspace(tmp_path_factory.mktemp("lora"))
    for name, text in (("pretrained", PRETRAINED), ("adapted", ADAPTED)):
        (workspace.folder / f"{name}.yaml").write_text(text)
    return workspace


def translations(experiment: str, model: str) -> str:
    return f"results/{experiment}/evaluation/translation/{model}.jsonl"


def make(workspace: Workspace, experiment: str, *targets: str) -> None:
    assert workspace.run("--configfile", f"{experiment}.yaml", "--", *targets) == 0, workspace.log[-3000:]


def gain(workspace: Workspace, before: str, after: str) -> dict[str, float]:
    """BLEU of the second system less that of the first, with its interval."""
    command = [sys.executable, "scripts/score_translations.py", "--output", "scores.json"]
    command += ["--reference", "results/adapted/data/translation_test.parquet"]
    command += ["--translations", f"before={before}", f"after={after}"]
    subprocess.run(command, cwd=workspace.folder, check=True)
    (difference,) = json.loads((workspace.folder / "scores.json").read_text())["differences"]
    found: dict[str, float] = difference["metrics"]["bleu"]
    return found


def test_sft_goes_on_from_its_adapters_and_learns(workspace: Workspace) -> None:
    make(workspace, "pretrained", translations("pretrained", "mt_sft"))
    working = workspace.folder / "results/adapted/checkpoints/mt_sft"

    def saved() -> bool:
        return any(working.glob("checkpoint-[24]0/trainer_state.json"))

    training = ("--configfile", "adapted.yaml", "--", "results/adapted/models/mt_sft")
    workspace.kill_when(saved, "mt_sft has a checkpoint", *training)
    make(workspace, "adapted", translations("adapted", "mt_sft"))
    log = (workspace.folder / "results/adapted/logs/train_mt_sft.log").read_text()
    assert "Resuming training from results/adapted/checkpoints/mt_sft/checkpoint-" in log
    assert len(workspace.read_jsonl("results/adapted/curves/mt_sft.jsonl")) == 100
    found = gain(workspace, translations("pretrained", "mt_sft"), translations("adapted", "mt_sft"))
    assert found["low"] > 0, found


def test_the_finished_model_is_its_adapters_on_the_first_model(workspace: Workspace) -> None:
    folder = workspace.folder / "results/adapted"
    folders = (folder / "models/mt_base", folder / "checkpoints/mt_sft", folder / "models/mt_sft")
    merged, adapters = json_from_training_environment(DIFFERENCE, *folders)
    assert merged < 1e-5
    assert adapters > 1


def test_grpo_learns(workspace: Workspace) -> None:
    make(workspace, "adapted", translations("adapted", "mt_grpo"), "results/adapted/config.yaml")
    steps = workspace.read_jsonl("results/adapted/curves/mt_grpo.jsonl")
    assert steps[-1]["step"] == 8
    # What generates is what is trained.
    assert max(step["training/rollout_probs_diff_max"] for step in steps) < 1e-4
    found = gain(workspace, translations("adapted", "mt_sft"), translations("adapted", "mt_grpo"))
    assert found["low"] > 0, found


@pytest.mark.parametrize("stage", ["mt_sft", "mt_grpo"])
def test_it_is_written_down_what_was_trained(workspace: Workspace, stage: str) -> None:
    folder = workspace.folder / "results/adapted"
    card = (folder / "models" / stage / "README.md").read_text()
    assert "LoRA: adapters of rank 32 and alpha 32 on all linear layers were trained, and merged" in card
    training = json.loads((folder / "models" / stage / "training.json").read_text())["config"]
    rank = "lora_rank" if stage == "mt_sft" else "actor_rollout_ref.model.lora_rank"
    assert training[rank] == 32
    # The copy of the configuration goes into the provenance.
    lora = yaml.safe_load((folder / "config.yaml").read_text())[stage]["lora"]
    assert (lora["rank"], lora["targets"]) == (32, "all-linear")
    assert not list(Path(folder / "models" / stage).glob("adapter*"))
