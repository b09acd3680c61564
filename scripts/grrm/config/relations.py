"""Keys of the configuration that contradict each other."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from grrm.catalogue.metrics import METRICS, RESERVED, metrics_of
from grrm.catalogue.vllm import CPU_HEAD_SIZES
from grrm.config.schema import shown
from grrm.config.stages import has_sft, rl_stages, rollout_engines, sft_stages, trained_stages
from grrm.urls import secret_in


def contradictions(config: Mapping[str, Any]) -> Iterator[str]:
    """What does not go together, in words."""
    yield from _unusable_metrics(config)
    yield from _secrets_in_addresses(config["evaluate"])
    yield from _unkept_checkpoints(config)
    hardware = config["hardware"]
    devices = hardware["nodes"] * hardware["gpus_per_node"]
    for name, stage, steps in [*sft_stages(config), *rl_stages(config)]:
        if (stage[steps] is None) == (stage["epochs"] is None):
            yield (
                f"{name}.{steps} is {shown(stage[steps])} and {name}.epochs is {shown(stage['epochs'])}, "
                "expected a number for one of them and null for the other"
            )
    for name in ("grrm_sft", "mt_sft"):
        if config[name]["warmup_steps"] and config[name]["warmup_ratio"]:
            yield f"{name}.warmup_steps and {name}.warmup_ratio are both set, expected 0 for one of them"
    for name, stage, _ in rl_stages(config):
        batch, mini = stage["train_batch_size"], stage["mini_batch_size"]
        if batch % mini:
            yield f"{name}.mini_batch_size is {mini}, expected a divisor of train_batch_size {batch}"
        if mini * stage["rollouts"] % devices:
            yield (
                f"{name}.mini_batch_size {mini} x rollouts {stage['rollouts']} do not spread evenly "
                f"over {devices} devices"
            )
    if judges := config["judges"]:
        yield from _inconsistent_pairs(judges["pairwise"])
        if hardware["nodes"] > 1:
            yield f"hardware.nodes is {hardware['nodes']}, expected 1 with judges: TRL trains on one machine"
    yield from _wrong_for_device(config, hardware["device"])
    if config["rl_engine"] == "gen_rm_fork":
        yield from _wrong_for_fork(config)
    bases = [config[f"{name}_sft"]["start_from"] for name in ("grrm", "mt") if has_sft(config, name)]
    if len({base is None for base in bases}) == 2:
        yield (
            f"grrm_sft.start_from is {bases[0]!r} and mt_sft.start_from is {bases[1]!r}, "
            "expected a model for both or null for both: base models are made in pairs"
        )


def _unusable_metrics(config: Mapping[str, Any]) -> Iterator[str]:
    """Metrics without what they need, and own ones whose name means something else."""
    names = [metric.name for metric in metrics_of(config)]
    for metric in metrics_of(config):
        for key in metric.required:
            if metric.settings(config)[key] is None:
                yield f"{metric.key}.{key} is null, expected a value with {metric.name!r} in evaluate.metrics"
        if metric.function and (metric.name in {*METRICS, *RESERVED} or names.count(metric.name) > 1):
            yield f"evaluate.metrics has an own metric {metric.name!r}, expected a name that nothing else has"


def _secrets_in_addresses(evaluate: Mapping[str, Any]) -> Iterator[str]:
    """The configuration is written to disk, and its addresses into commands."""
    for key, url, variable in (
        ("base_url", evaluate["base_url"], "OPENAI_API_KEY"),
        ("llm_judge.url", evaluate["llm_judge"]["url"], "JUDGE_API_KEY"),
    ):
        if url is not None and (secret := secret_in(url)):
            yield f"evaluate.{key} holds {secret}, expected none; put the key into {variable} instead"


def _unkept_checkpoints(config: Mapping[str, Any]) -> Iterator[str]:
    """Steps after which there is no checkpoint, or only the finished model."""
    stage, wanted = config["mt_grpo"], config["evaluate"]["checkpoints"]
    if wanted == "all":
        if stage["steps"] is None:
            yield "evaluate.checkpoints is 'all' and mt_grpo.steps is null, expected a list of steps"
        return
    for step in wanted:
        if step % stage["save_steps"]:
            expected = f"multiples of mt_grpo.save_steps, {stage['save_steps']}"
            yield f"evaluate.checkpoints has {step}, expected {expected}"
        elif stage["steps"] is not None and step >= stage["steps"]:
            yield f"evaluate.checkpoints has {step}, expected steps before the last, {stage['steps']}"


def _inconsistent_pairs(stage: Mapping[str, Any]) -> Iterator[str]:
    """Both orders of a pair can only be compared if they are in one step."""
    if stage["consistency"] == 0:
        return
    for key, wrong, expected in (
        ("both_orders", not stage["both_orders"], "true"),
        ("filter_overlong_prompts", stage["filter_overlong_prompts"], "false"),
        ("train_batch_size", stage["train_batch_size"] % 2, "an even number"),
    ):
        if wrong:
            yield (
                f"judges.pairwise.{key} is {stage[key]}, expected {expected} where "
                "judges.pairwise.consistency is above 0: both orders of a pair share a step"
            )


def _wrong_for_device(config: Mapping[str, Any], device: str) -> Iterator[str]:
    evaluate = config["evaluate"]
    if evaluate["backend"] == "openai" and not evaluate["base_url"]:
        yield "evaluate.base_url is null, expected the address of a server with evaluate.backend 'openai'"
    if device == "cuda":
        for key, engine in rollout_engines(config).items():
            if engine != "vllm":
                yield f"{key} is {engine!r}, expected 'vllm' with hardware.device 'cuda'"
        return
    yield from _heads_unknown_to_vllm(config)
    if (processes := config["hardware"]["gpus_per_node"]) > 1:
        yield f"hardware.gpus_per_node is {processes}, expected 1 with hardware.device 'cpu'"
    if config["hardware"]["precision"] != "fp32":
        yield "hardware.precision is 'bf16', expected 'fp32' with hardware.device 'cpu'"
    if config["rl_engine"] != "verl":
        yield f"rl_engine is {config['rl_engine']!r}, expected 'verl' with hardware.device 'cpu'"
    for name, stage, _ in sft_stages(config):
        if stage["deepspeed"] is not None:
            yield f"{name}.deepspeed is set, expected null with hardware.device 'cpu'"


# Base models, and what runs the models that are made of them.
_RUN_BY = {
    "base_models.grrm": ("grrm_rlvr.rollout_engine", "mt_grpo.reward.rollout_engine", "evaluate.backend"),
    "base_models.mt": ("mt_grpo.rollout_engine", "evaluate.backend"),
    "judges.base_model": ("judges.pointwise.rollout_engine", "judges.pairwise.rollout_engine"),
    "alignment.base_model": ("alignment.grpo.rollout_engine", "alignment.grpo.reward.rollout_engine"),
}


def _heads_unknown_to_vllm(config: Mapping[str, Any]) -> Iterator[str]:
    """Shapes of base models that vLLM's attention on a CPU has no kernel for, where vLLM is to run them."""
    engines = rollout_engines(config) | {"evaluate.backend": config["evaluate"]["backend"]}
    known = ", ".join(map(str, CPU_HEAD_SIZES))
    for key, keys in _RUN_BY.items():
        section, name = key.split(".")
        if (name in ("grrm", "mt") and not has_sft(config, name)) or config[section] is None:
            continue
        shape = config[section][name]
        width, heads = shape["hidden_size"], shape["heads"]
        if (width % heads or width // heads not in CPU_HEAD_SIZES) and (
            by := [key for key in keys if engines.get(key) == "vllm"]
        ):
            yield (
                f"{key}: {heads} heads of a width of {width} are {width / heads:g} numbers wide, expected "
                f"one of {known} on a CPU with {by[0]} 'vllm'"
            )


_FORK = "with rl_engine 'gen_rm_fork'"
# What the fork's group reward does, and has no key for.
_FORK_REWARD: dict[str, tuple[Any, str]] = {
    "placement": ("colocated", "its judge shares the policy's GPUs"),
    "prompt": (None, "it asks the judge in the authors' own words"),
    "semantics": ("paper", "its reward is the published one"),
    "retries": (0, "it asks the judge once"),
    "max_failure_rate": (1, "it does not count failures"),
}


def _wrong_for_fork(config: Mapping[str, Any]) -> Iterator[str]:
    """Settings that the fork's trainer would pass over without a word."""
    trained = trained_stages(config)
    for name in ("grrm_rlvr", "mt_grpo"):
        attention = config[name]["attention"]
        if name in trained and attention != "flash_attention_2":
            yield f"{name}.attention is {attention!r}, expected 'flash_attention_2' {_FORK}"
    if "mt_grpo" not in trained:
        return
    reward = config["mt_grpo"]["reward"]
    for key, (expected, why) in _FORK_REWARD.items():
        if reward[key] != expected:
            yield (f"mt_grpo.reward.{key} is {shown(reward[key])}, expected {shown(expected)} {_FORK}: {why}")
    taken = reward["model"] or config["evaluate"]["start_from"]["grrm_rlvr"]
    if config["prompts"]["ranking"] != "upstream" and not taken:
        yield (
            f"prompts.ranking is {config['prompts']['ranking']!r}, expected 'upstream' {_FORK} "
            "(config/paper_fork.yaml), or a judge that was trained on the authors' own words "
            "(evaluate.start_from.grrm_rlvr): in these the fork asks it"
        )
