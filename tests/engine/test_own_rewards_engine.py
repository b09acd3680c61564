"""Mixtures and functions in verl's own configuration (run by the training environment's python)."""

import asyncio
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

pytest.importorskip("verl")

from hydra import compose, initialize_config_module
from omegaconf import OmegaConf
from verl import DataProto

from configurations import ROOT, experiment
from grrm.config import resolve_experiment
from grrm.engines.verl import rl_overrides
from grrm.engines.verl_launch import hydra_arguments, launch_overrides
from grrm.engines.verl_rewards import PartFiles
from grrm.rewards.group import GroupRewardManager

FUNCTION = "def score(group): return [len(text) / 10 for text in group['candidates']]"
MIXTURE = {
    "kind": "mixture",
    "parts": [
        {"kind": "chrf", "weight": 0.25},
        {"kind": "function", "name": "mine", "range": [0, 1], "normalise": "group"},
    ],
}


class Tokenizer:
    def decode(self, ids, skip_special_tokens):
        return "".join(map(chr, ids.tolist()))


@pytest.fixture
def config(tmp_path):
    """verl's configuration of a training with a mixture, as its trainer reads it."""
    (tmp_path / "mine, or 'yours'.py").write_text(FUNCTION)
    MIXTURE["parts"][1]["function"] = f"{tmp_path}/mine, or 'yours'.py:score"
    settings = experiment()
    settings["mt_grpo"]["reward"] |= MIXTURE
    settings = resolve_experiment(settings, ROOT / "config/schemas/config.schema.yaml", {})["mt_grpo"]
    rendered = rl_overrides(
        settings,
        stage="mt_grpo",
        model=tmp_path,
        data=Path("rows.parquet"),
        checkpoints=tmp_path / "checkpoints",
        seed=0,
        parts={"chrf": PartFiles()},
    )
    given = launch_overrides(rendered, temporary=tmp_path / "t", ledger=tmp_path / "ledger.jsonl")
    with initialize_config_module("verl.trainer.config", version_base=None):
        composed = compose("ppo_trainer", overrides=hydra_arguments(given))
    for key, value in given.items():
        if not key.startswith("hydra."):
            found = OmegaConf.select(composed, key.lstrip("+"))
            assert (OmegaConf.to_container(found) if OmegaConf.is_config(found) else found) == value, key
    return composed


def trajectory(text):
    letters = torch.tensor([ord(letter) for letter in text])
    info = {"split": "train", "src_text": "s", "src_lang": "de", "trg_lang": "en", "trg_text": "a dog"}
    item = SimpleNamespace(
        batch={"responses": letters, "attention_mask": torch.ones(3 + len(text), dtype=torch.long)},
        non_tensor_batch={"uid": "u", "extra_info": info, "global_steps": 1, "data_source": "mine"},
    )
    return [item]


def test_a_mixture_scores_as_verl_loads_it(config):
    n = config.actor_rollout_ref.rollout.n

    async def main():
        manager = GroupRewardManager(config, Tokenizer())
        texts = ["a dog", "a dog barks", *["no"] * (n - 2)]
        return await asyncio.gather(*[manager.run_single(trajectory(f"x\n```\n{t}\n```")) for t in texts])

    first, second, *others = asyncio.run(main())
    assert first["reward_extra_info"]["part_chrf"] == pytest.approx(10)
    assert first["reward_extra_info"]["part_mine"] == pytest.approx(5)
    assert second["reward_extra_info"]["part_mine"] == pytest.approx(11)
    assert len({other["reward_score"] for other in others}) == 1
    assert all(other["reward_score"] < first["reward_score"] for other in others)


def test_the_manager_keeps_the_form_that_verl_wants():
    data = DataProto.from_dict(
        tensors={
            "prompts": torch.zeros(1, 1, dtype=torch.long),
            "responses": torch.ones(1, 2, dtype=torch.long),
            "attention_mask": torch.ones(1, 3, dtype=torch.long),
        }
    )
    assert GroupRewardManager.assemble_rm_scores(data, [0.5]).tolist() == [[0, 0.5]]
