"""The engines read what is rendered for judges (run by the training environment's python)."""

import asyncio
from pathlib import Path
from types import SimpleNamespace

import pytest

pytest.importorskip("verl")

import torch
from hydra import compose, initialize_config_module
from omegaconf import OmegaConf
from verl.trainer.ppo.utils import need_critic, need_reference_policy
from verl.utils.config import validate_config

from configurations import experiment
from grrm.data.records import Preferred
from grrm.engines.trl import bradley_terry_config
from grrm.engines.verl_judges import judge_overrides
from grrm.engines.verl_launch import hydra_arguments, launch_overrides
from grrm.files import UserError
from grrm.rewards.consistency import ConsistencyRewardManager

OVERLAYS = {"demo": ["judges"], "paper": ["paper", "judges_paper"]}
RUNS = [
    *((name, kind, {}) for name in OVERLAYS for kind in ("pointwise", "pairwise")),
    ("demo", "pairwise", {"consistency": 0.3}),
    ("demo", "pointwise", {"kl_coef": 0.01, "policy_loss": "gspo", "reward_table": "exponential"}),
    ("paper", "pairwise", {"finetuning": "lora", "lora": {"rank": 8, "alpha": 16, "targets": ["q_proj"]}}),
]
MESSAGES = [
    {"role": "user", "content": "the grass is greener"},
    {"role": "assistant", "content": "<think>a frog</think>\n<score>3</score>"},
    {"role": "user", "content": "on the other side"},
    {"role": "assistant", "content": "<think>in the throat</think>\n<better>A</better>"},
]


def overrides(name, kind, changes, tmp_path, tag="verdict"):
    config = experiment(*OVERLAYS[name])
    rendered = judge_overrides(
        {**config["judges"][kind], **changes},
        stage=f"judge_{kind}",
        reward=kind,
        tag=tag,
        model=tmp_path,
        data=Path("d.parquet"),
        checkpoints=Path("c"),
        seed=0,
        hardware=config["hardware"],
        validation_data=Path("v.parquet"),
    )
    return launch_overrides(rendered, temporary=tmp_path / "t", ledger=tmp_path / "ledger.jsonl")


def composed(given):
    with initialize_config_module("verl.trainer.config", version_base=None):
        return compose("ppo_trainer", overrides=hydra_arguments(given))


@pytest.mark.parametrize(("name", "kind", "changes"), RUNS)
def test_every_override_lands_where_it_is_read(name, kind, changes, tmp_path):
    given = overrides(name, kind, changes, tmp_path)
    config = composed(given)
    for key, value in given.items():
        if key.startswith("hydra."):
            continue
        found = OmegaConf.select(config, key.lstrip("+"))
        assert (OmegaConf.to_container(found) if OmegaConf.is_config(found) else found) == value, key
    validate_config(config, need_reference_policy(config), need_critic(config))
    assert need_reference_policy(config) == (name == "paper" or "kl_coef" in changes)


def test_verl_loads_the_rewards_with_their_table_and_tag(tmp_path):
    from verl.trainer.ppo.reward import get_custom_reward_fn, resolve_reward_manager_cls

    answer = {"data_source": "x", "solution_str": "<verdict>2</verdict>", "ground_truth": "3"}
    linear = get_custom_reward_fn(composed(overrides("demo", "pointwise", {}, tmp_path)))
    assert linear(**answer)["score"] == 0.75
    changes = {"reward_table": "exponential"}
    exponential = get_custom_reward_fn(composed(overrides("demo", "pointwise", changes, tmp_path)))
    assert exponential(**answer)["score"] == pytest.approx(0.6065, abs=1e-4)
    consistent = composed(overrides("demo", "pairwise", {"consistency": 0.3}, tmp_path))
    assert resolve_reward_manager_cls(consistent).__name__ == "ConsistencyRewardManager"
    pairwise = get_custom_reward_fn(composed(overrides("demo", "pairwise", {}, tmp_path, "preference")))
    said = {"data_source": "x", "ground_truth": "A"}
    assert pairwise(solution_str="<preference>A</preference>", **said)["score"] == 1
    assert pairwise(solution_str="<better>A</better>", **said)["valid"] == 0


def test_the_consistency_reward_reads_the_prompts_tag(tmp_path):
    config = composed(overrides("demo", "pairwise", {"consistency": 0.3}, tmp_path, "preference"))
    tokenizer = SimpleNamespace(decode=lambda tokens, skip_special_tokens: "<preference>B</preference>")
    manager = ConsistencyRewardManager(config, tokenizer)
    batch = {"responses": torch.zeros(4), "attention_mask": torch.ones(8)}
    truth = {"ground_truth": "B"}
    values = {"data_source": "x", "reward_model": truth, "extra_info": {"split": "test"}, "uid": "1"}
    row = SimpleNamespace(batch=batch, non_tensor_batch=values)
    assert asyncio.run(manager.run_single([row]))["reward_score"] == 1


def test_llamafactory_trains_on_every_turn_of_the_assistant_and_on_nothing_else(tiny_model):
    from llamafactory.data.processor import SupervisedDatasetProcessor
    from llamafactory.data.template import get_template_and_fix_tokenizer
    from llamafactory.hparams import DataArguments
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(tiny_model)
    arguments = DataArguments(template="chatml", cutoff_len=512)
    template = get_template_and_fix_tokenizer(tokenizer, arguments)
    processor = SupervisedDatasetProcessor(template, tokenizer, None, arguments)
    tokens, labels = processor._encode_data_example(MESSAGES[:-1], MESSAGES[-1:], None, None, [], [], [])
    trained = tokenizer.decode([token for token, label in zip(tokens, labels, strict=True) if label != -100])
    assert trained == "".join(f"{message['content']}<|im_end|>\n" for message in MESSAGES[1::2])
    assert tokens == tokenizer.apply_chat_template(MESSAGES, tokenize=True, return_dict=False)


# ---------------------------------------------------------------- Bradley-Terry


def bradley_terry(name, **changes):
    config = experiment(*OVERLAYS[name])
    return bradley_terry_config(
        {**config["judges"]["bradley_terry"], **changes},
        model=Path("m"),
        data=Path("d.jsonl"),
        output_dir=Path("c"),
        seed=0,
        hardware=config["hardware"],
    )


@pytest.mark.parametrize("name", list(OVERLAYS))
def test_trl_reads_every_key(name, tmp_path):
    from trl import RewardConfig

    training = bradley_terry(name)["training"] | {"bf16": False, "use_cpu": True}
    arguments = RewardConfig(output_dir=str(tmp_path), max_length=None, **training)
    for key, value in training.items():
        assert getattr(arguments, key) == (value if key != "report_to" else []), key
    assert arguments.get_warmup_steps(1000) == 30


def test_what_is_cut_off_is_the_beginning(tiny_model):
    from grrm.engines.trl_reward import training_rows
    from grrm.inference.bradley_terry import load_tokenizer

    tokenizer = load_tokenizer(tiny_model)
    record = Preferred((MESSAGES[0],), "a frog", "A: 9", 2.0)
    (whole,) = training_rows([record], tokenizer, {"max_length": 500, "margin": True, "data": "d"})
    assert tokenizer.decode(whole["chosen_input_ids"]).endswith("assistant\na frog<|im_end|>\n")
    assert whole["margin"] == 2.0
    (cut,) = training_rows([record], tokenizer, {"max_length": 5, "margin": False, "data": "d"})
    assert cut == {side: whole[side][-5:] for side in ("chosen_input_ids", "rejected_input_ids")}
    without = Preferred((), "a", "b")
    with pytest.raises(UserError, match=r"row 0 .*no margin or preference_strength"):
        training_rows([without], tokenizer, {"max_length": 5, "margin": True, "data": "d"})
