"""verl 0.9.1: the configuration of a reinforcement learning stage.

A rendered configuration is a flat mapping from Hydra keys to values: what is trained, on what, to where. Keys
that verl's own configuration does not have start with "+". What belongs to one launch is added by
`grrm.engines.verl_launch`: it does not make another training of it.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

from grrm.engines import adapters, verl_rewards, verl_vllm
from grrm.engines.trainer import CPU
from grrm.engines.verl_rewards import CODE_BLOCK, DEDICATED, Overrides, PartFiles
from grrm.prompts import CONTINUED_KINDS

MODEL = "actor_rollout_ref.model.path"
DATA = "data.train_files"
CHECKPOINTS = "trainer.default_local_dir"
STEPS = "trainer.total_training_steps"
EPOCHS = "trainer.total_epochs"
BATCH = "data.train_batch_size"
DEVICE = "trainer.device"
ATTENTION = "+actor_rollout_ref.model.override_config.attn_implementation"
FILTERED = "data.filter_overlong_prompts"
_NODES, _DEVICES = "trainer.nnodes", "trainer.n_gpus_per_node"
VALIDATION_DATA = "data.val_files"
TRAINER_MODE = "trainer.v1.trainer_mode"
_CHAT_TEMPLATE = "actor_rollout_ref.model.custom_chat_template"
_NO_TEMPLATE = "{% for message in messages %}{{ message['content'] }}{% endfor %}"
"""The policy continues the prompt as it is."""

# verl 0.9.1 still composes these sections of the years before, and ignores them without a word.
_IGNORED_SECTIONS = ("reward_model", "custom_reward_function", "sandbox_fusion")
_TOKENIZERS = 16  # processes; the number that the recipes give for SFT
_DTYPES = {"fp32": "float32", "bf16": "bfloat16"}


def rl_overrides(
    settings: Mapping[str, Any],
    *,
    stage: str,
    model: Path,
    data: Path,
    checkpoints: Path,
    seed: int,
    judge: Path | None = None,
    judge_prompt: str | Path | None = None,
    scorer_python: str = "",
    parts: Mapping[str, PartFiles] = MappingProxyType({}),
    task: str = "translation",
    verified: str = "ranking_score",
    form: str = CODE_BLOCK,
    hardware: Mapping[str, Any] = CPU,
    validation_data: Path | None = None,
) -> Overrides:
    """The overrides of a stage: from verified rankings, or judged in groups if the settings have a reward.

    Args:
        settings: the stage's section of the configuration (grrm_rlvr, mt_grpo, alignment.grpo of the schema).
        stage: its name.
        model: folder of the initial policy.
        data: verl rows (parquet).
        checkpoints: working folder of the training.
        seed: seed of shuffling, sampling and the order of candidates.
        judge: folder of the judge that verl serves, or of the checkpoint that scores; None without either.
        judge_prompt: the judge's prompt: its file, or file.py:function.
        scorer_python: interpreter that runs the checkpoint; empty is verl's own.
        parts: of a mixture, by name: their prompts and checkpoints.
        task: what the rows hold, translation or conversation.
        verified: without a section reward, the module of `grrm.rewards` that scores answers.
        form: kind of the prompt in the rows (`grrm.prompts.REWARDED_KINDS`).
        hardware: the section of that name.
        validation_data: verl rows of the validation; needed if the settings ask for one.

    Raises:
        ValueError: a judge without its prompt, a validation without its rows, or an override that verl would
            ignore.
        UserError: more rollouts at once than can wait for their siblings.
    """
    grouped = "reward" in settings
    # Whether verl serves a judge.
    judged = grouped and judge is not None and verl_rewards.is_served(settings["reward"])
    if not grouped:
        reward = verl_rewards.verified_reward(settings, verified)
    else:
        files = PartFiles(judge_prompt, judge, scorer_python)
        reward = verl_rewards.group_reward(settings, files, parts, task=task, form=form, seed=seed)
        verl_rewards.check_held(settings, stage)
    overrides = {
        **_data(settings, data, seed),
        **_policy(settings, model, seed),
        **adapters.verl_keys(settings),
        **_loss(settings),
        **_rollouts(settings, seed),
        **reward,
        **({_CHAT_TEMPLATE: _NO_TEMPLATE} if form in CONTINUED_KINDS else {}),
        **_trainer(settings, stage, checkpoints, judged=judged),
    }
    if hardware["device"] == "cuda":
        overrides |= _cuda(settings, hardware, grouped=grouped, judged=judged)
    else:
        overrides |= _cpu(settings, hardware, judged=judged)
    if settings.get("validation") is not None:
        overrides |= _validation(settings["validation"], validation_data)
    if ignored := [key for key in overrides if key.split(".")[0] in _IGNORED_SECTIONS]:
        raise ValueError(f"verl 0.9.1 ignores {', '.join(ignored)}: use the section reward")
    return overrides


def _data(settings: Mapping[str, Any], data: Path, seed: int) -> Overrides:
    return {
        DATA: str(data),
        VALIDATION_DATA: str(data),  # verl always loads a validation set; it is never run
        BATCH: settings["train_batch_size"],
        "data.max_prompt_length": settings["max_prompt_length"],
        "data.max_response_length": settings["max_response_length"],
        # A prompt that is too long stops the run: rows do not disappear.
        FILTERED: False,
        "data.truncation": "error",
        "data.shuffle": True,
        "data.seed": seed,
        "data.dataloader_num_workers": 0,
    }


def _policy(settings: Mapping[str, Any], model: Path, seed: int) -> Overrides:
    actor = "actor_rollout_ref.actor"
    overrides = {
        MODEL: str(model),
        f"{actor}.strategy": "fsdp2",
        f"{actor}.shuffle": True,
        f"{actor}.data_loader_seed": seed,
        f"{actor}.fsdp_config.seed": seed,
        f"{actor}.ppo_mini_batch_size": settings["mini_batch_size"],
        f"{actor}.ppo_micro_batch_size_per_gpu": settings["micro_batch_size"],
        f"{actor}.optim.clip_grad": settings["max_grad_norm"],  # verl reads no actor.grad_clip
        f"{actor}.optim.lr": settings["learning_rate"],
        f"{actor}.optim.lr_scheduler_type": settings["lr_scheduler"],
        f"{actor}.optim.lr_warmup_steps": settings["warmup_steps"],
        f"{actor}.optim.weight_decay": settings["weight_decay"],
        # hf_model: as Hugging Face loads it, in the precision of training (verl's merger rounds to bf16).
        f"{actor}.checkpoint.save_contents": ["model", "optimizer", "extra", "hf_model"],
        f"{actor}.checkpoint.load_contents": ["model", "optimizer", "extra"],
    }
    if settings["lr_scheduler"] == "cosine":
        overrides[f"{actor}.optim.min_lr_ratio"] = settings["min_lr_ratio"]
    return overrides


def _loss(settings: Mapping[str, Any]) -> Overrides:
    actor, reference = "actor_rollout_ref.actor", "actor_rollout_ref.ref"
    overrides: Overrides = {
        # GRPO advantages without division by the standard deviation, no KL term (paper, section 4.3).
        "algorithm.adv_estimator": "grpo",
        "algorithm.norm_adv_by_std_in_grpo": False,
        "algorithm.use_kl_in_reward": False,
        f"{actor}.use_kl_loss": False,
        f"{actor}.loss_agg_mode": "seq-mean-token-mean",
        f"{actor}.clip_ratio_low": settings["clip_low"],
        f"{actor}.clip_ratio_high": settings["clip_high"],
        f"{actor}.policy_loss.loss_mode": "gspo",
    }
    if settings["sft_coef"] > 0:  # paper, appendix C
        overrides |= {
            f"{actor}._target_": "grrm.verl_plugin.losses.GspoSftActorConfig",
            f"{actor}.policy_loss.loss_mode": "gspo_sft",
            f"+{actor}.sft_coef": settings["sft_coef"],
        }
    # What only some stages leave open.
    if settings.get("divide_by_std"):
        overrides["algorithm.norm_adv_by_std_in_grpo"] = True
    if settings.get("policy_loss") == "ppo":
        overrides |= {f"{actor}.policy_loss.loss_mode": "vanilla", f"{actor}.loss_agg_mode": "token-mean"}
    if settings.get("kl_coef"):
        overrides |= {
            f"{actor}.use_kl_loss": True,
            f"{actor}.kl_loss_coef": settings["kl_coef"],
            f"{actor}.kl_loss_type": "low_var_kl",
            f"{reference}.strategy": "fsdp2",
            f"{reference}.log_prob_micro_batch_size_per_gpu": (
                settings["log_prob_micro_batch_size"] or settings["micro_batch_size"]
            ),
            f"{reference}.log_prob_use_dynamic_bsz": settings["dynamic_batch_size"],
        }
    return overrides


def _rollouts(settings: Mapping[str, Any], seed: int) -> Overrides:
    rollout = "actor_rollout_ref.rollout"
    return {
        f"{rollout}.n": settings["rollouts"],
        f"{rollout}.temperature": settings["temperature"],
        f"{rollout}.top_p": settings["top_p"],
        f"{rollout}.seed": seed,
        f"{rollout}.calculate_log_probs": True,
        f"{rollout}.log_prob_micro_batch_size_per_gpu": settings["micro_batch_size"],
        f"{rollout}.tensor_model_parallel_size": 1,
    }


def _trainer(settings: Mapping[str, Any], stage: str, checkpoints: Path, *, judged: bool) -> Overrides:
    colocated = judged and settings["reward"]["placement"] == "colocated"
    buffer = "WatchingReplayBuffer" if colocated else "ReportingReplayBuffer"
    return {
        STEPS: settings["steps"],
        # Beside a number of steps never the limit: an epoch has a step at least.
        EPOCHS: settings["steps"] if settings["steps"] is not None else settings["epochs"],
        "trainer.save_freq": settings["save_steps"],
        "+trainer.save_minutes": settings["save_minutes"],
        "trainer.test_freq": -1,
        "trainer.val_before_train": False,
        "trainer.resume_mode": "auto",
        CHECKPOINTS: str(checkpoints),
        "trainer.project_name": "grrm",
        "trainer.experiment_name": stage,
        "trainer.logger": ["console", "file"],
        "trainer.v1.sampler.custom_sampler.path": "pkg://grrm.verl_plugin.step_sampler",
        "trainer.v1.sampler.custom_sampler.name": buffer,
        _NODES: 1,
        _DEVICES: 1,
        **({TRAINER_MODE: "sync_group_reward"} if colocated else {}),
    }


def precision_overrides(precision: str, *, reference: bool) -> Overrides:
    """Of the trained weights, and of computing with them and, if there is one, with the reference model.

    verl computes in bfloat16, whatever the weights are, unless it is told otherwise.
    """
    actor, ref = "actor_rollout_ref.actor", "actor_rollout_ref.ref"
    overrides: Overrides = {f"{actor}.fsdp_config.model_dtype": precision}
    if precision == "fp32":
        computed = dict.fromkeys(("param_dtype", "reduce_dtype", "buffer_dtype"), precision)
        models = [actor, ref] if reference else [actor]
        overrides |= {f"+{model}.fsdp_config.mixed_precision": computed for model in models}
    return overrides


def _cpu(settings: Mapping[str, Any], hardware: Mapping[str, Any], *, judged: bool) -> Overrides:
    """A training process and a rollout server (and a judge) a machine; full precision, no compilation."""
    actor, rollout = "actor_rollout_ref.actor", "actor_rollout_ref.rollout"
    overrides = {
        DEVICE: "cpu",
        _NODES: hardware["nodes"],
        "actor_rollout_ref.model.use_remove_padding": False,
        "actor_rollout_ref.model.enable_gradient_checkpointing": False,
        ATTENTION: "sdpa",
        f"{actor}.fsdp_config.use_torch_compile": False,
        **precision_overrides(hardware["precision"], reference=bool(settings.get("kl_coef"))),
        **verl_vllm.cpu_server(rollout, settings["rollout_engine"], hardware),
        f"{rollout}.agent.num_workers": 1,
        # Each unit is a process that imports verl.
        "transfer_queue.backend.SimpleStorage.num_data_storage_units": 1,
    }
    if judged:
        engine = settings["reward"]["rollout_engine"]
        overrides |= verl_vllm.cpu_server(verl_vllm.JUDGE_SERVER, engine, hardware)
    return overrides


def _cuda(
    settings: Mapping[str, Any], hardware: Mapping[str, Any], *, grouped: bool, judged: bool
) -> Overrides:
    """Training and rollouts on the same GPUs; the judge beside them or on GPUs of its own."""
    actor, rollout = "actor_rollout_ref.actor", "actor_rollout_ref.rollout"
    precision = hardware["precision"]
    overrides = {
        DEVICE: "cuda",
        _NODES: hardware["nodes"],
        _DEVICES: hardware["gpus_per_node"],
        FILTERED: settings["filter_overlong_prompts"],
        "data.filter_overlong_prompts_workers": _TOKENIZERS,
        "actor_rollout_ref.model.use_remove_padding": settings["remove_padding"],
        "actor_rollout_ref.model.enable_gradient_checkpointing": settings["gradient_checkpointing"],
        ATTENTION: settings["attention"],
        f"{actor}.ulysses_sequence_parallel_size": settings["ulysses"],
        f"{actor}.use_dynamic_bsz": settings["dynamic_batch_size"],
        **precision_overrides(precision, reference=bool(settings.get("kl_coef"))),
        f"{actor}.fsdp_config.param_offload": False,
        f"{rollout}.name": settings["rollout_engine"],
        f"{rollout}.dtype": _DTYPES[precision],
        f"{rollout}.top_k": settings["top_k"],
        f"{rollout}.gpu_memory_utilization": settings["gpu_memory_utilization"],
        f"{rollout}.tensor_model_parallel_size": settings["tensor_parallel"],
        f"{rollout}.log_prob_use_dynamic_bsz": settings["dynamic_batch_size"],
        f"{rollout}.log_prob_micro_batch_size_per_gpu": (
            settings["log_prob_micro_batch_size"] or settings["micro_batch_size"]
        ),
        **({} if settings.get("kl_coef") else _WITHOUT_EFFECT),
    }
    if not grouped:
        return overrides | {"reward.num_workers": 8}
    if not judged:
        return overrides
    reward, server = settings["reward"], "reward.reward_model.rollout"
    if reward["placement"] == "dedicated":
        overrides |= {
            "reward.reward_model.n_gpus_per_node": reward["gpus_per_node"],
            "reward.reward_model.nnodes": reward["nodes"],
        }
    return overrides | {
        f"{server}.name": reward["rollout_engine"],
        f"{server}.dtype": _DTYPES[precision],
        f"{server}.temperature": reward["temperature"],
        f"{server}.top_p": reward["top_p"],
        f"{server}.top_k": reward["top_k"],
        f"{server}.gpu_memory_utilization": reward["gpu_memory_utilization"],
        f"{server}.tensor_model_parallel_size": reward["tensor_parallel"],
        f"{server}.max_num_batched_tokens": reward["max_num_batched_tokens"],
    }


# Published settings of models that the objective does not have: no KL term, so no reference; no critic.
_WITHOUT_EFFECT = {
    "actor_rollout_ref.actor.kl_loss_type": "mse",
    "actor_rollout_ref.actor.kl_loss_coef": 0.001,
    "algorithm.kl_ctrl.kl_coef": 0.001,
    "actor_rollout_ref.ref.strategy": "fsdp2",
    "actor_rollout_ref.ref.ulysses_sequence_parallel_size": 1,
    "actor_rollout_ref.ref.log_prob_micro_batch_size_per_gpu": 64,
    "actor_rollout_ref.ref.log_prob_use_dynamic_bsz": True,
    "critic.optim.lr": 1e-5,
    "critic.model.path": None,
    "critic.ppo_micro_batch_size_per_gpu": 4,
}


def _validation(validation: Mapping[str, Any], data: Path | None) -> Overrides:
    if data is None:
        raise ValueError("a validation needs its rows")
    rollout = "actor_rollout_ref.rollout.val_kwargs"
    return {
        VALIDATION_DATA: str(data),
        "data.val_batch_size": validation["batch_size"],
        "trainer.test_freq": validation["steps"],
        "trainer.val_before_train": validation["before_training"],
        f"{rollout}.n": validation["rollouts"],
        f"{rollout}.do_sample": validation["temperature"] > 0,
        f"{rollout}.temperature": validation["temperature"],
        f"{rollout}.top_p": validation["top_p"],
        f"{rollout}.top_k": validation["top_k"],
    }


def total_steps(config: Mapping[str, Any], rows: int) -> int:
    """Steps of a training on `rows` rows; an upper limit if rows with long prompts are left out."""
    if config.get(STEPS) is not None:
        return int(config[STEPS])
    return rows // int(config[BATCH]) * int(config[EPOCHS])


def machines(config: Mapping[str, Any]) -> int:
    """Machines of a training: those of the policy, and those of a judge with devices of its own."""
    dedicated = (
        config["reward.reward_model.nnodes"] if config.get(DEDICATED) and config[DEVICE] != "cpu" else 0
    )
    return int(config.get(_NODES, 1)) + int(dedicated)


def devices_per_machine(config: Mapping[str, Any]) -> int:
    """GPUs that each machine must have; 0 on CPUs."""
    if config.get(DEVICE) == "cpu":
        return 0
    judge = config["reward.reward_model.n_gpus_per_node"] if config.get(DEDICATED) else 0
    return max(int(config.get(_DEVICES, 1)), int(judge))
