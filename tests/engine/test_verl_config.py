"""Every override lands in verl's own configuration (run by the training environment's python)."""

import pytest

pytest.importorskip("verl")

from hydra import compose, initialize_config_module
from hydra.errors import ConfigCompositionException
from omegaconf import OmegaConf
from verl.trainer.ppo.utils import need_critic, need_reference_policy
from verl.utils.config import omega_conf_to_dataclass, validate_config
from verl.utils.tracking import Tracking

from configurations import experiment, render_rl
from grrm.engines import trackers
from grrm.engines.verl import hydra_arguments, launch_overrides

OVERLAYS = {"demo": [], "small": ["paper", "small"], "one_gpu": ["paper", "small", "one_gpu"]}
STAGES = ["grrm_rlvr", "mt_grpo"]
RUNS = [(name, stage) for name in ("demo", "paper", "small", "one_gpu", "dedicated") for stage in STAGES]


def overrides(stage, tmp_path, name="demo"):
    config = experiment(*OVERLAYS.get(name, ["paper"]))
    if name == "dedicated":
        config["mt_grpo"]["reward"] |= {"placement": "dedicated", "nodes": 1, "gpus_per_node": 8}
    rendered = render_rl(config, stage)
    # Folders that exist: verl looks into the model's.
    for key in ("actor_rollout_ref.model.path", "reward.reward_model.model_path"):
        if key in rendered:
            rendered[key] = str(tmp_path)
    if stage == "mt_grpo":
        rendered["+reward.reward_kwargs.prompt"] = "prompt with 'quotes', commas = signs.yaml"
    return launch_overrides(rendered, temporary=tmp_path / "t", ledger=tmp_path / "ledger.jsonl")


def composed(overrides):
    with initialize_config_module("verl.trainer.config", version_base=None):
        return compose("ppo_trainer", overrides=hydra_arguments(overrides))


@pytest.mark.parametrize(("name", "stage"), RUNS)
def test_every_override_lands_where_it_is_read(name, stage, tmp_path):
    given = overrides(stage, tmp_path, name)
    config = composed(given)
    for key, value in given.items():
        if key.startswith("hydra."):
            continue
        found = OmegaConf.select(config, key.lstrip("+"))
        assert (OmegaConf.to_container(found) if OmegaConf.is_config(found) else found) == value, key
    validate_config(config, need_reference_policy(config), need_critic(config))
    omega_conf_to_dataclass(config.actor_rollout_ref.rollout)
    omega_conf_to_dataclass(config.actor_rollout_ref.rollout.val_kwargs)
    omega_conf_to_dataclass(config.algorithm)
    if stage == "mt_grpo":
        judge = omega_conf_to_dataclass(config.reward.reward_model)
        assert judge.rollout.name == ("transformers" if name == "demo" else "vllm")


@pytest.mark.parametrize("stage", STAGES)
def test_nothing_is_trained_that_the_objective_does_not_have(stage, tmp_path):
    config = composed(overrides(stage, tmp_path, "paper"))
    assert not need_reference_policy(config)
    assert not need_critic(config)


def test_the_policys_servers_hold_prompt_and_response(tmp_path):
    config = composed(overrides("mt_grpo", tmp_path, "paper"))
    policy, judge = config.actor_rollout_ref.rollout, config.reward.reward_model.rollout
    assert (policy.prompt_length, policy.response_length) == (1280, 4096)
    assert (judge.prompt_length, judge.response_length) == (2048, 8192)
    assert policy.load_format == "dummy"  # its weights come from the trainer
    assert judge.load_format == "auto"


def test_a_colocated_judge_is_woken_by_a_trainer_that_verl_takes_for_its_synchronous_one(tmp_path):
    from verl.trainer.ppo.v1 import get_trainer_cls

    import grrm.verl_plugin.colocated  # noqa: F401  (registers itself)

    config = composed(overrides("mt_grpo", tmp_path, "paper"))
    trainer = get_trainer_cls(config.trainer.v1.trainer_mode)
    assert trainer.__name__ == "GroupRewardTrainer"
    instance = object.__new__(trainer)
    instance.trainer_mode = config.trainer.v1.trainer_mode
    assert instance.trainer_mode == "sync"


@pytest.mark.parametrize(("name", "stage"), RUNS)
def test_a_plus_marks_only_keys_that_verl_lacks(name, stage, tmp_path):
    plain = composed({})
    for key in overrides(stage, tmp_path, name):
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


@pytest.mark.parametrize("tracker", trackers.TRACKERS)
def test_a_tracker_is_one_of_verls_loggers(tracker, tmp_path):
    given = overrides("grrm_rlvr", tmp_path)
    given |= trackers.verl_overrides(given, tracker)
    loggers = list(composed(given).trainer.logger)
    assert loggers == ["console", "file", *([] if tracker == "none" else [tracker])]
    assert set(loggers) <= set(Tracking.supported_backend)
