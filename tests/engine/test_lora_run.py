"""verl's real trainer with adapters: rollouts, checkpoints, reference, resumption."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.importorskip("verl")

import torch
from peft import LoraConfig, get_peft_model, set_peft_model_state_dict
from test_lora import difference, load, logits
from test_main_ppo import Run, folder, metric  # noqa: F401

from grrm.engines.adapters import verl_keys
from grrm.engines.hf_check import problems
from grrm.engines.verl_launch import hydra_arguments

LORA = {"rank": 4, "alpha": 8, "targets": ["q_proj", "up_proj"]}
OVERRIDES = [
    *hydra_arguments(verl_keys({"finetuning": "lora", "lora": LORA})),
    "actor_rollout_ref.actor.checkpoint.save_contents=[model,optimizer,extra,hf_model]",
    "actor_rollout_ref.actor.optim.lr=1e-2",  # for two steps to show
]


@pytest.fixture(scope="module")
def first(folder: Path) -> Iterator[str]:  # noqa: F811
    """Two steps to the end."""
    run = Run(folder, 2, OVERRIDES)
    try:
        yield run.finish()
    finally:
        run.clean()


def actor(folder: Path, step: int) -> Path:  # noqa: F811
    return folder / f"checkpoints/global_step_{step}/actor"


def trained(folder: Path, step: int) -> torch.nn.Module:  # noqa: F811
    """The initial model with the adapters of a checkpoint, as peft puts them together."""
    shard = torch.load(actor(folder, step) / "model_world_size_1_rank_0.pt", weights_only=False)
    weights = {name: weight.full_tensor() for name, weight in shard.items()}
    assert {"lora_A", "lora_B"} == {name.split(".")[-3] for name in weights}  # nothing but adapters
    options = {"r": LORA["rank"], "lora_alpha": LORA["alpha"], "target_modules": LORA["targets"]}
    model = get_peft_model(load(folder / "model"), LoraConfig(task_type="CAUSAL_LM", **options))
    found = set_peft_model_state_dict(
        model, {name.replace(".default.", "."): weight for name, weight in weights.items()}
    )
    assert not found.unexpected_keys
    return model.eval()


def test_the_rollouts_are_those_of_the_trained_model(first: str) -> None:
    differences = metric(first, "training/rollout_probs_diff_max")
    assert len(differences) == 2
    assert max(differences) <= 1e-6


def test_the_reference_is_the_model_without_adapters(first: str) -> None:
    kl = metric(first, "actor/kl_loss")
    assert kl[0] == pytest.approx(0, abs=1e-6)
    assert kl[1] > 1e-6


def test_a_checkpoint_holds_the_merged_model(first: str, folder: Path) -> None:  # noqa: F811
    saved = actor(folder, 2) / "huggingface"
    assert not [problem for problem in problems(saved) if problem.startswith("weight")]
    merged = logits(load(saved), folder / "model")
    assert difference(merged, logits(trained(folder, 2), folder / "model")) < 1e-5
    assert difference(merged, logits(load(folder / "model"), folder / "model")) > 1e-3


def test_it_goes_on_from_the_adapters(first: str, folder: Path) -> None:  # noqa: F811
    run = Run(folder, 3, OVERRIDES)
    try:
        log = run.finish()
    finally:
        run.clean()
    assert "step:2 " not in log
    assert metric(log, "training/rollout_probs_diff_max")[0] <= 1e-6
    # Begun anew, the model would be its own reference.
    assert metric(log, "actor/kl_loss")[0] > metric(first, "actor/kl_loss")[1]
