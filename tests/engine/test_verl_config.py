"""Every override lands in verl's own configuration (run by the training environment's python)."""

import pytest

pytest.importorskip("verl")

from hydra import compose, initialize_config_module
from hydra.errors import ConfigCompositionException
from omegaconf import OmegaConf
from verl.trainer.ppo.utils import need_critic, need_reference_policy
from verl.utils.config import omega_conf_to_dataclass, validate_config

from grrm.engines.verl import hydra_arguments, launch_overrides, rl_overrides

RL = {
    "steps": 4,
    "train_batch_size": 4,
    "mini_batch_size": 4,
    "micro_batch_size": 8,
    "rollouts": 4,
    "temperature": 1.0,
    "top_p": 1.0,
    "max_prompt_length": 64,
    "max_response_length": 32,
    "learning_rate": 1e-5,
    "lr_scheduler": "cosine",
    "min_lr_ratio": 0.2,
    "warmup_steps": 1,
    "weight_decay": 0.01,
    "max_grad_norm": 1.0,
    "clip_low": 3e-4,
    "clip_high": 4e-4,
    "sft_coef": 0.0,
    "save_steps": 2,
}
REWARD = {
    "semantics": "strict",
    "score_scale": 0.01,
    "default_reward": -0.04,
    "overlong_buffer": 8,
    "overlong_penalty": 0.04,
    "max_prompt_length": 96,
    "max_response_length": 96,
    "temperature": 0.0,
    "retries": 1,
    "deadline": 60,
    "max_failure_rate": 0.5,
}


def overrides(stage, tmp_path):
    judged = stage == "mt_grpo"
    rendered = rl_overrides(
        {**RL, "sft_coef": 0.1, "reward": REWARD} if judged else RL,
        stage=stage,
        model=tmp_path,
        data=tmp_path / "rows.parquet",
        checkpoints=tmp_path / "checkpoints",
        seed=1,
        judge=tmp_path if judged else None,
        judge_prompt=tmp_path / "prompt with 'quotes', commas = signs.yaml" if judged else None,
    )
    return launch_overrides(rendered, temporary=tmp_path / "t", ledger=tmp_path / "ledger.jsonl")


def composed(overrides):
    with initialize_config_module("verl.trainer.config", version_base=None):
        return compose("ppo_trainer", overrides=hydra_arguments(overrides))


@pytest.mark.parametrize("stage", ["grrm_rlvr", "mt_grpo"])
def test_every_override_lands_where_it_is_read(stage, tmp_path):
    given = overrides(stage, tmp_path)
    config = composed(given)
    for key, value in given.items():
        if key.startswith("hydra."):
            continue
        found = OmegaConf.select(config, key.lstrip("+"))
        assert (OmegaConf.to_container(found) if OmegaConf.is_config(found) else found) == value, key
    validate_config(config, need_reference_policy(config), need_critic(config))
    omega_conf_to_dataclass(config.actor_rollout_ref.rollout)
    if stage == "mt_grpo":
        omega_conf_to_dataclass(config.reward.reward_model)


@pytest.mark.parametrize("stage", ["grrm_rlvr", "mt_grpo"])
def test_a_plus_marks_only_keys_that_verl_lacks(stage, tmp_path):
    plain = composed({})
    for key in overrides(stage, tmp_path):
        if key.startswith("+"):
            missing = object()
            assert OmegaConf.select(plain, key[1:], default=missing) is missing, key


def test_a_misspelt_key_is_refused(tmp_path):
    with pytest.raises(ConfigCompositionException):
        composed({"reward.reward_manger.name": "dapo"})


def test_the_likelihood_term_is_part_of_the_actors_configuration(tmp_path):
    actor = omega_conf_to_dataclass(composed(overrides("mt_grpo", tmp_path)).actor_rollout_ref.actor)
    assert type(actor).__name__ == "GspoSftActorConfig"
    assert actor.sft_coef == 0.1


def test_verl_finds_the_group_reward_and_the_ranking_reward(tmp_path):
    from verl.trainer.ppo.reward import get_custom_reward_fn, resolve_reward_manager_cls

    judged = composed(overrides("mt_grpo", tmp_path))
    assert resolve_reward_manager_cls(judged).__name__ == "GroupRewardManager"
    verified = composed(overrides("grrm_rlvr", tmp_path))
    truth = '{"A": 9, "B": 2}'
    answer = "good and bad\n\n### Final Ranking:\n\nA > B\n\n### Scores:\n\nA: 9, B: 2\n"
    score = get_custom_reward_fn(verified)
    assert score(data_source="x", solution_str=answer, ground_truth=truth)["score"] == 2.0
