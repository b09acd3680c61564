"""Every override lands in verl's own configuration (run by the training environment's python)."""

import json

import pytest

pytest.importorskip("verl")

from hydra import compose, initialize_config_module
from hydra.errors import ConfigCompositionException
from omegaconf import OmegaConf
from verl.trainer.ppo.utils import need_critic, need_reference_policy
from verl.utils.config import omega_conf_to_dataclass, validate_config
from verl.utils.tracking import Tracking

from configurations import ROOT, experiment, render_rl
from grrm.engines import trackers
from grrm.engines.verl import rl_overrides
from grrm.engines.verl_launch import hydra_arguments, launch_overrides
from grrm.rewards.group import GroupOptions, GroupRewardManager

OVERLAYS = {
    "demo": [],
    "small": ["paper", "small"],
    "one_gpu": ["paper", "small", "one_gpu"],
    "lora": ["paper", "small", "one_gpu", "lora"],
}
STAGES = ["grrm_rlvr", "mt_grpo"]
RUNS = [
    (name, stage) for name in ("demo", "paper", "small", "one_gpu", "lora", "dedicated") for stage in STAGES
]


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


JUDGE = {"model": "judge", "url": "http://127.0.0.1:9/v1", "cache": "cache.sqlite", "extra": {"seed": 1}}
PAIRWISE = str(ROOT / "config/prompts/translation_pairwise.yaml")
FUNCTION = "own_reward.py:shorter"
# Section reward, folder of what scores, prompt.
KINDS = {
    "bleu": ({"kind": "bleu"}, None, None),
    "comet": ({"kind": "comet", "device": "cuda:1"}, "checkpoint", None),
    "endpoint": ({"kind": "pairwise_dgr", "judge": JUDGE}, None, PAIRWISE),
    "served": ({"kind": "pairwise_elo", "swap": False}, "judge", PAIRWISE),
    "colocated": ({"kind": "pairwise_elo", "placement": "colocated"}, "judge", PAIRWISE),
    "function": ({"kind": "function", "function": FUNCTION, "range": [0, 1]}, None, None),
    "mixture": (
        {
            "kind": "mixture",
            "normalise": "group",
            "parts": [
                {"kind": "bleu", "weight": 0.3},
                {"kind": "function", "name": "mine", "function": FUNCTION, "normalise": "none"},
            ],
        },
        None,
        None,
    ),
}


def other_kind(name, tmp_path, stage="mt_grpo", hardware="cpu"):
    config = experiment(*(["paper", "small"] if hardware == "cuda" else []))
    settings = config["mt_grpo"]
    task = "translation"
    if stage == "alignment":
        overlays = ["judges"] if hardware == "cpu" else ["paper", "small", "alignment_gpu"]
        config = experiment(*overlays)
        settings, task = config["alignment"]["grpo"], "conversation"
    reward, folder, prompt = KINDS[name]
    reward = {
        **settings["reward"],
        **reward,
        "judge": {**settings["reward"]["judge"], **reward.get("judge", {})},
    }
    own = tmp_path / "own_reward.py"
    own.write_text("def shorter(group):\n    return [-len(text) for text in group.candidates]\n")
    reward = json.loads(json.dumps(reward).replace(own.name, str(own)))
    rendered = rl_overrides(
        {**settings, "reward": reward},
        stage=stage,
        model=tmp_path,
        data=tmp_path / "rows.parquet",
        checkpoints=tmp_path / "checkpoints",
        seed=0,
        judge=tmp_path if folder else None,
        judge_prompt=prompt,
        scorer_python="envs/comet/bin/python" if name == "comet" else "",
        task=task,
        hardware=config["hardware"],
        validation_data=tmp_path / "validation.parquet",
    )
    return launch_overrides(rendered, temporary=tmp_path / "t", ledger=tmp_path / "judgements.jsonl")


@pytest.mark.parametrize(
    ("name", "stage", "hardware"),
    [
        *((name, "mt_grpo", "cpu") for name in KINDS),
        *((name, "mt_grpo", "cuda") for name in ("endpoint", "served")),
        *(("endpoint", "alignment", hardware) for hardware in ("cpu", "cuda")),
    ],
)
def test_every_kind_of_reward_lands_and_the_manager_reads_it(name, stage, hardware, tmp_path):
    given = other_kind(name, tmp_path, stage, hardware)
    config = composed(given)
    for key, value in given.items():
        if not key.startswith("hydra."):
            found = OmegaConf.select(config, key.lstrip("+"))
            assert (OmegaConf.to_container(found) if OmegaConf.is_config(found) else found) == value, key
    validate_config(config, need_reference_policy(config), need_critic(config))
    served = name in ("served", "colocated")
    assert config.reward.reward_model.enable == served
    assert need_reference_policy(config) == (stage == "alignment" and hardware == "cuda")
    options = GroupOptions.from_mapping(OmegaConf.to_container(config.reward.reward_kwargs))
    assert options.kind == KINDS[name][0]["kind"]
    assert options.task == ("conversation" if stage == "alignment" else "translation")
    GroupRewardManager(config, None, None, "127.0.0.1:9" if served else None)
    if name == "comet":
        assert options.model["device"] == "cuda:1"
        assert options.model["python"].startswith("/")
    if name == "endpoint":
        assert options.judge["ledger"].endswith("judge_calls.jsonl")
        assert options.judge["cache"].startswith("/")
