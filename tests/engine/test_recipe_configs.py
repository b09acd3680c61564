"""The published recipes, as rendered for GPUs, in verl's own configuration (in the training environment)."""

import json

import pytest

pytest.importorskip("verl")

from omegaconf import OmegaConf
from test_verl_config import composed
from verl.trainer.ppo.utils import need_critic, need_reference_policy
from verl.utils.config import omega_conf_to_dataclass, validate_config

from configurations import recipe, render_recipe
from grrm.catalogue.recipes import RECIPES
from grrm.engines import verl_rewards
from grrm.engines.verl_launch import launch_overrides
from grrm.rewards.group import GroupOptions

WITH_REFERENCE = {"llm_judge_pairwise", "llm_judge_pointwise", "llm_judge_listwise"}
"""Recipes with a KL term."""


def overrides(name, tmp_path, *more):
    rendered = render_recipe(recipe(name, *more))
    for key in ("actor_rollout_ref.model.path", "reward.reward_model.model_path"):
        if key in rendered:  # a folder that exists: verl looks into it
            rendered[key] = str(tmp_path)
    return launch_overrides(rendered, temporary=tmp_path / "t", ledger=tmp_path / "ledger.jsonl")


TOY = [
    (name, ("recipes/toy",)) for name in ("mt_r1_zero_mix", "llm_judge_pairwise", "ssr_zero", "comet_alone")
]
"""Recipes that differ in kind, as a CPU gets them."""


@pytest.mark.parametrize(("name", "more"), [*((name, ()) for name in RECIPES), *TOY])
def test_every_override_of_a_recipe_lands_where_it_is_read(name, more, tmp_path):
    given = overrides(name, tmp_path, *more)
    config, plain = composed(given), composed({})
    missing = object()
    for key, value in given.items():
        if key.startswith("hydra."):
            continue
        found = OmegaConf.select(config, key.lstrip("+"))
        assert (OmegaConf.to_container(found) if OmegaConf.is_config(found) else found) == value, key
        if key.startswith("+"):
            assert OmegaConf.select(plain, key[1:], default=missing) is missing, key
    validate_config(config, need_reference_policy(config), need_critic(config))
    for section in (config.actor_rollout_ref.actor, config.actor_rollout_ref.rollout, config.algorithm):
        omega_conf_to_dataclass(section)
    assert need_reference_policy(config) == (name in WITH_REFERENCE)
    assert not need_critic(config)
    options = GroupOptions.from_mapping(json.loads(json.dumps(verl_rewards.reward_kwargs(given))))
    served = config.reward.reward_model.enable or recipe(name)["mt_grpo"]["reward"]["placement"] == "policy"
    assert options.scoring(is_served=served).kind == recipe(name)["mt_grpo"]["reward"]["kind"]


def test_mt_r1_zero_is_the_published_objective(tmp_path):
    config = composed(overrides("mt_r1_zero_mix", tmp_path))
    actor, algorithm = config.actor_rollout_ref.actor, config.algorithm
    assert (actor.policy_loss.loss_mode, actor.loss_agg_mode) == ("vanilla", "token-mean")
    assert (actor.clip_ratio_low, actor.clip_ratio_high, actor.entropy_coeff) == (0.2, 0.2, 0)
    assert not actor.use_kl_loss
    assert algorithm.adv_estimator == "grpo"
    assert algorithm.norm_adv_by_std_in_grpo
    assert (config.data.train_batch_size, actor.ppo_mini_batch_size, config.actor_rollout_ref.rollout.n) == (
        8,
        8,
        8,
    )


def test_a_prompt_that_is_continued_gets_no_chat_template(tmp_path):
    from tokenizers import Tokenizer, models
    from transformers import PreTrainedTokenizerFast

    tokenizer = PreTrainedTokenizerFast(tokenizer_object=Tokenizer(models.BPE()))
    template = composed(overrides("mt_r1_zero_lex", tmp_path)).actor_rollout_ref.model.custom_chat_template
    text = "Translate {it}.\nAssistant:"
    shown = tokenizer.apply_chat_template(
        [{"role": "user", "content": text}],
        chat_template=template,
        tokenize=False,
        add_generation_prompt=True,
    )
    assert shown == text
    chat = composed(overrides("peg_rl_baseline", tmp_path)).actor_rollout_ref.model
    assert chat.custom_chat_template is None


def test_the_policy_that_judges_itself_is_loaded_by_verl_as_a_reward_manager(tmp_path):
    from verl.trainer.ppo.reward import resolve_reward_manager_cls

    config = composed(overrides("ssr_zero", tmp_path))
    assert not config.reward.reward_model.enable
    assert resolve_reward_manager_cls(config).__name__ == "SelfJudgingRewardManager"
