"""The fork of verl that the paper used: DoubleVII/verl, branch gen_rm, commit c559fa5.

The rendered keys are those of the authors' launch commands (recipes of NJUNLP/GRRM c000509), in their order.
A key with "+" is one that the fork's own configuration does not have. A key that those commands leave out is
rendered where it is to differ from the fork's default.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from grrm.catalogue import vllm
from grrm.engines.verl_launch import hydra_arguments

Overrides = dict[str, Any]

JUDGE = "reward_model.model.path"
_MANAGER = "reward_model.reward_manager"
# Keys that are missing in the authors' commands, and what the fork takes for them.
_DEFAULTS: Overrides = {
    "actor_rollout_ref.actor.optim.lr_warmup_steps": -1,
    "actor_rollout_ref.actor.optim.weight_decay": 0.01,
    "actor_rollout_ref.actor.grad_clip": 1.0,
    "+actor_rollout_ref.actor.sft_coef": 0.0,
    "actor_rollout_ref.rollout.val_kwargs.n": 1,
    "data.seed": None,
}
# Relative to the checkout of the fork.
_CODE = ("custom_reward_function.path", "+reward_model.custom_processor.path")


def is_fork(config: Mapping[str, Any]) -> bool:
    """Whether a rendered configuration is one for the fork."""
    return _MANAGER in config


def fork_overrides(
    settings: Mapping[str, Any],
    *,
    stage: str,
    model: Path,
    data: Path,
    checkpoints: Path,
    hardware: Mapping[str, Any],
    seed: int = 0,
    judge: Path | None = None,
    validation_data: Path | None = None,
) -> Overrides:
    """The overrides of a stage for the fork; parameters as `grrm.engines.verl.rl_overrides` has them.

    The seed is that of the order of rows, and 0 the fork's own: it has none for its rollouts.
    """
    judged = judge is not None
    published = {
        **_data(settings, data, validation_data),
        **_actor(settings, model, hardware, judged=judged),
        **_rollout(settings, judged=judged),
        **_algorithm(judged=judged),
        **(_verified(settings) if judge is None else _judged(settings, judge)),
        **_trainer(settings, stage, checkpoints, hardware),
    }
    further = _further(settings, seed)
    return published | {
        key: value for key, value in further.items() if key not in published and value != _DEFAULTS[key]
    }


def _further(settings: Mapping[str, Any], seed: int) -> Overrides:
    """What the authors' commands leave to the fork's defaults, key by key of `_DEFAULTS`."""
    actor, rollout = "actor_rollout_ref.actor", "actor_rollout_ref.rollout"
    validation = settings.get("validation") or {"rollouts": 1}
    return {
        f"{actor}.optim.lr_warmup_steps": settings["warmup_steps"] or -1,
        f"{actor}.optim.weight_decay": settings["weight_decay"],
        f"{actor}.grad_clip": settings["max_grad_norm"],
        f"+{actor}.sft_coef": settings["sft_coef"],
        f"{rollout}.val_kwargs.n": validation["rollouts"],
        "data.seed": seed or None,
    }


def _data(settings: Mapping[str, Any], data: Path, validation_data: Path | None) -> Overrides:
    validation = settings.get("validation") or {"batch_size": 256}
    return {
        "data.train_files": str(data),
        "data.val_files": str(validation_data or data),
        "data.train_batch_size": settings["train_batch_size"],
        "data.val_batch_size": validation["batch_size"],
        "data.max_prompt_length": settings["max_prompt_length"],
        "data.max_response_length": settings["max_response_length"],
        "data.filter_overlong_prompts": settings["filter_overlong_prompts"],
        "data.shuffle": True,
        "data.truncation": "error",
    }


def _actor(
    settings: Mapping[str, Any], model: Path, hardware: Mapping[str, Any], *, judged: bool
) -> Overrides:
    actor = "actor_rollout_ref.actor"
    cosine = settings["lr_scheduler"] == "cosine"
    return {
        "actor_rollout_ref.model.path": str(model),
        f"{actor}.shuffle": True,
        f"{actor}.optim.lr": settings["learning_rate"],
        f"{actor}.optim.lr_scheduler_type": settings["lr_scheduler"],
        f"{actor}.optim.min_lr_ratio": settings["min_lr_ratio"] if cosine else None,
        **({f"{actor}.optim.lr_warmup_steps": settings["warmup_steps"] or -1} if judged else {}),
        "actor_rollout_ref.model.use_remove_padding": settings["remove_padding"],
        f"{actor}.ppo_mini_batch_size": settings["mini_batch_size"],
        f"{actor}.ppo_micro_batch_size_per_gpu": settings["micro_batch_size"],
        f"{actor}.policy_loss.loss_mode": "gspo",
        **({f"+{actor}.sft_coef": settings["sft_coef"]} if judged else {}),
        f"{actor}.loss_agg_mode": "seq-mean-token-mean",
        f"{actor}.use_kl_loss": False,
        f"{actor}.kl_loss_type": "mse",
        **({f"{actor}.kl_loss_coef": 0.001} if judged else {}),
        f"{actor}.clip_ratio_low": settings["clip_low"],
        f"{actor}.clip_ratio_high": settings["clip_high"],
        f"{actor}.strategy": "fsdp2",
        "actor_rollout_ref.model.enable_gradient_checkpointing": settings["gradient_checkpointing"],
        f"{actor}.fsdp_config.param_offload": False,
        f"{actor}.fsdp_config.model_dtype": hardware["precision"],
        f"{actor}.ulysses_sequence_parallel_size": settings["ulysses"],
        # Not in the authors' commands: without it no checkpoint can be loaded by anything but verl.
        f"{actor}.checkpoint.save_contents": ["model", "optimizer", "extra", "hf_model"],
    }


def _rollout(settings: Mapping[str, Any], *, judged: bool) -> Overrides:
    rollout, ref = "actor_rollout_ref.rollout", "actor_rollout_ref.ref"
    validation = settings.get("validation") or {"temperature": 1.0, "top_p": 0.7, "top_k": -1}
    return {
        # Beside vLLM for the judge, the fork needs SGLang for the policy.
        f"{rollout}.name": "sglang" if judged else "vllm",
        f"{rollout}.mode": "sync",
        f"{rollout}.calculate_log_probs": True,
        f"{rollout}.log_prob_micro_batch_size_per_gpu": (
            settings["log_prob_micro_batch_size"] or settings["micro_batch_size"]
        ),
        f"{rollout}.tensor_model_parallel_size": settings["tensor_parallel"],
        f"{rollout}.gpu_memory_utilization": settings["gpu_memory_utilization"],
        f"{rollout}.n": settings["rollouts"],
        f"{rollout}.temperature": settings["temperature"],
        f"{rollout}.top_p": settings["top_p"],
        f"{rollout}.top_k": settings["top_k"],
        f"{rollout}.val_kwargs.temperature": validation["temperature"],
        f"{rollout}.val_kwargs.top_p": validation["top_p"],
        f"{rollout}.val_kwargs.top_k": validation["top_k"],
        f"{rollout}.val_kwargs.do_sample": validation["temperature"] > 0,
        "actor_rollout_ref.actor.use_dynamic_bsz": settings["dynamic_batch_size"],
        f"{ref}.log_prob_use_dynamic_bsz": True,
        f"{rollout}.log_prob_use_dynamic_bsz": settings["dynamic_batch_size"],
        f"{ref}.log_prob_micro_batch_size_per_gpu": 64,
        f"{ref}.strategy": "fsdp2",
        f"{ref}.ulysses_sequence_parallel_size": settings["ulysses"],
        "critic.optim.lr": 1e-5,
        "critic.model.path": None,
        "critic.ppo_micro_batch_size_per_gpu": 4,
    }


def _algorithm(*, judged: bool) -> Overrides:
    return {
        "algorithm.adv_estimator": "grpo",
        **({} if judged else {"algorithm.kl_ctrl.kl_coef": 0.001}),
        "algorithm.use_kl_in_reward": False,
        "algorithm.norm_adv_by_std_in_grpo": False,
    }


def _verified(settings: Mapping[str, Any]) -> Overrides:
    kwargs = "+reward_model.reward_kwargs"
    overrides: Overrides = {_MANAGER: "dapo"}
    buffer = settings["overlong_buffer"]
    if buffer is not None:
        overrides |= {
            f"{kwargs}.overlong_buffer_cfg.enable": buffer["enabled"],
            f"{kwargs}.overlong_buffer_cfg.len": buffer["length"],
            f"{kwargs}.overlong_buffer_cfg.penalty_factor": buffer["penalty"],
            f"{kwargs}.overlong_buffer_cfg.log": False,
            f"{kwargs}.max_resp_len": buffer["max_response_length"],
        }
    return overrides | {
        "custom_reward_function.path": "reward_utils/ranking_score_reward.py",
        "custom_reward_function.name": "ranking_score_reward_fn",
    }


def _judged(settings: Mapping[str, Any], judge: Path) -> Overrides:
    reward, server = settings["reward"], "+reward_model.rollout"
    processor = "+reward_model.custom_processor"
    return {
        _MANAGER: "naive",
        "reward_model.enable": True,
        "reward_model.strategy": "GenRM",
        "+reward_model.keep_group": True,
        f"{server}.free_cache_engine": True,
        f"{server}.name": reward["rollout_engine"],
        f"{server}.mode": "sync",
        f"{server}.gpu_memory_utilization": reward["gpu_memory_utilization"],
        f"{server}.tensor_model_parallel_size": reward["tensor_parallel"],
        f"{server}.max_num_batched_tokens": reward["max_num_batched_tokens"],
        f"{server}.temperature": reward["temperature"],
        f"{server}.top_p": reward["top_p"],
        f"{server}.top_k": reward["top_k"],
        f"{server}.response_length": reward["max_response_length"],
        "+reward_model.prompt_length": reward["max_prompt_length"],
        "+reward_model.score_scale_factor": reward["score_scale"],
        "+reward_model.default_reward": reward["default_reward"],
        JUDGE: str(judge),
        f"{processor}.path": "reward_utils/rm_lib.py",
        f"{processor}.name": "GroupRewardModelProcessor",
        f"{processor}.extractor_type": "codeblock",
        f"{processor}.overlong_buffer.enable": reward["overlong_buffer"] > 0,
        f"{processor}.overlong_buffer.max_resp_len": settings["max_response_length"],
        f"{processor}.overlong_buffer.len": reward["overlong_buffer"],
        f"{processor}.overlong_buffer.penalty_factor": reward["overlong_penalty"],
        "custom_reward_function.path": "reward_utils/rm_lib.py",
        "custom_reward_function.name": "score_reward_fn",
    }


def _trainer(
    settings: Mapping[str, Any], stage: str, checkpoints: Path, hardware: Mapping[str, Any]
) -> Overrides:
    validation = settings.get("validation") or {"steps": -1, "before_training": False}
    overrides = {
        "trainer.logger": ["console", "wandb"],
        "trainer.project_name": "grrm",
        "trainer.experiment_name": stage,
        "trainer.n_gpus_per_node": hardware["gpus_per_node"],
        "trainer.val_before_train": validation["before_training"],
        "trainer.nnodes": hardware["nodes"],
        "trainer.save_freq": settings["save_steps"],
        "trainer.test_freq": validation["steps"],
        "trainer.resume_mode": "auto",
        "trainer.total_epochs": settings["epochs"] if settings["steps"] is None else settings["steps"],
        "trainer.default_local_dir": str(checkpoints),
    }
    if settings["steps"] is not None:
        overrides["trainer.total_training_steps"] = settings["steps"]
    return overrides


# ---------------------------------------------------------------- one launch


def launch_overrides(config: Mapping[str, Any], *, checkout: Path, temporary: Path) -> Overrides:
    """The overrides of one launch on this machine.

    Args:
        config: the rendered configuration.
        checkout: folder of the fork.
        temporary: folder removed after the launch.
    """
    paths = (
        "data.train_files",
        "data.val_files",
        "actor_rollout_ref.model.path",
        JUDGE,
        "trainer.default_local_dir",
    )
    return {
        **config,
        **{key: str(Path(config[key]).absolute()) for key in paths if key in config},
        **{key: str((checkout / config[key]).absolute()) for key in _CODE if key in config},
        "hydra.run.dir": str(temporary / "hydra"),
        "hydra.output_subdir": None,
    }


def command(python: str, overrides: Mapping[str, Any]) -> list[str]:
    """The command line of the fork's trainer."""
    return [python, "-m", "verl.trainer.main_ppo", *hydra_arguments(overrides)]


def environment(
    *, checkout: Path, scripts: Path, temporary: Path, ends: float | None = None
) -> dict[str, str]:
    """The environment of the fork's trainer, and of what starts it on several machines.

    Args:
        checkout: folder of the fork.
        scripts: folder that holds the package grrm, which starts Ray on each machine.
        temporary: folder removed after the launch, for locks and caches.
        ends: when the job's time is over, in seconds since the epoch: the fork saves a checkpoint when less
            than its longest step is left (verl/utils/checkpoint/checkpoint_manager.py, should_save_ckpt_esi).
    """
    inherited = {key: value for key, value in os.environ.items() if key != "RAY_ADDRESS"}
    # The fork's own modules are found before everything else.
    path = [str(checkout), *filter(None, [os.environ.get("PYTHONPATH")]), str(scripts.absolute())]
    return {
        **inherited,
        "PYTHONPATH": os.pathsep.join(path),
        "PYTHONUNBUFFERED": "1",
        "TMPDIR": str(temporary),
        "HF_DATASETS_CACHE": str(temporary / "datasets"),
        "HF_HUB_OFFLINE": "1",
        "HYDRA_FULL_ERROR": "1",
        "RAY_USAGE_STATS_ENABLED": "0",
        **vllm.EVERYWHERE,
        **({"MLP_CURRENT_CAPACITY_BLOCK_EXPIRATION_TIMESTAMP": str(ends)} if ends else {}),
    }
