"""Keys of the configuration that contradict each other."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypeAlias

from grrm.catalogue.metrics import METRICS, RESERVED, metrics_of
from grrm.catalogue.trainings import TRAININGS
from grrm.catalogue.vllm import CPU_HEAD_SIZES
from grrm.config.recipe import unnamed_choices
from grrm.config.rewards import served_piece
from grrm.config.schema import shown
from grrm.config.stages import (
    base_trainings,
    checkpoint_metrics,
    devices_of,
    rl_stages,
    rollout_engines,
    sft_stages,
    trained_stages,
    value_of,
)
from grrm.urls import address_fault, secret_in

Check: TypeAlias = Callable[[Mapping[str, Any]], Iterator[str]]
"""What is wrong with a whole configuration, one message for each slip."""


def contradictions(config: Mapping[str, Any]) -> Iterator[str]:
    """What does not go together, in words."""
    for check in _CHECKS:
        yield from check(config)


def _unusable_metrics(config: Mapping[str, Any]) -> Iterator[str]:
    """Metrics without what they need, and own ones whose name means something else."""
    names = [metric.name for metric in metrics_of(config)]
    rewarding = [metric for metric in checkpoint_metrics(config) if metric.name not in names]
    for metric in [*metrics_of(config), *rewarding]:
        settings = metric.settings(config)
        for key in metric.required:
            if settings[key] is None and not (metric.train and settings["steps"]):
                where = "mt_grpo.reward" if metric in rewarding else "evaluate.metrics"
                yield f"{metric.key}.{key} is null, expected a value with {metric.name!r} in {where}"
        if metric.function and (metric.name in {*METRICS, *RESERVED} or names.count(metric.name) > 1):
            yield f"evaluate.metrics has an own metric {metric.name!r}, expected a name that nothing else has"


def _unusable_addresses(config: Mapping[str, Any]) -> Iterator[str]:
    """The configuration is written to disk, and its addresses into commands."""
    evaluate = config["evaluate"]
    for key, url, variable in (
        ("base_url", evaluate["base_url"], "OPENAI_API_KEY"),
        ("llm_judge.url", evaluate["llm_judge"]["url"], "JUDGE_API_KEY"),
    ):
        if url is not None and (fault := address_fault(url, variable)):
            yield f"evaluate.{key} {fault}"


def _secrets_in_what_is_installed(config: Mapping[str, Any]) -> Iterator[str]:
    """It stands in commands and in the record of the environment."""
    environments = config["environments"]
    wheels = {f"flash_attn.{name}": wheel for name, wheel in environments["flash_attn"].items()}
    extra = {f"extra.{name}": text for name, texts in environments.get("extra", {}).items() for text in texts}
    for key, text in {**wheels, **extra}.items():
        # Over SSH the user's name is none.
        if text and "ssh://" not in text and (secret := secret_in(text)):
            yield f"environments.{key} holds {secret}, expected none; download the file and give its path"


# Below these stands no path, but addresses, names and words.
_NO_PATHS = {"url", "base_url", "label", "extra", "environment", "cluster"}
_NAMES = {("judge", "model"), ("llm_judge", "model")}


def _wildcards_in_paths(config: Mapping[str, Any]) -> Iterator[str]:
    """Snakemake takes what stands in braces for a wildcard."""
    parts: list[tuple[tuple[str, ...], Any]] = [((), config)]
    while parts:
        path, value = parts.pop()
        if isinstance(value, Mapping):
            parts += [((*path, key), part) for key, part in value.items() if key not in _NO_PATHS]
        elif isinstance(value, list):
            parts += [((*path, str(number)), part) for number, part in enumerate(value)]
        elif isinstance(value, str) and path[-2:] not in _NAMES and not {*"{}"}.isdisjoint(value):
            yield f"{'.'.join(path)} is {shown(value)}, expected a name without {{ and }}"
    images = config["environments"]["images"]
    if images is not None and any(sign.isspace() for sign in images):  # so Snakemake wants it
        yield f"environments.images is {shown(images)}, expected a folder or an address without white space"


def _unread_starts(config: Mapping[str, Any]) -> Iterator[str]:
    """Sections of one form, of which not every training may start from a model of the user's."""
    for row in TRAININGS.values():
        settings = value_of(config, row.section)
        if not row.taken and isinstance(settings, Mapping) and settings.get("start_from"):
            yield (
                f"{row.section}.start_from is {shown(settings['start_from'])}, expected null: it is trained "
                f"from {row.start}; {row.part}.grpo.start_from and .reward.model name models in its place"
            )


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


def _steps_and_epochs(config: Mapping[str, Any]) -> Iterator[str]:
    """A training ends after its steps, or after its epochs."""
    for name, stage, steps in [*sft_stages(config), *rl_stages(config)]:
        if (stage[steps] is None) == (stage["epochs"] is None):
            yield (
                f"{name}.{steps} is {shown(stage[steps])} and {name}.epochs is {shown(stage['epochs'])}, "
                "expected a number for one of them and null for the other"
            )


def _two_warmups(config: Mapping[str, Any]) -> Iterator[str]:
    """Of two lengths of the warm-up one would be passed over."""
    for name, stage, _ in sft_stages(config):
        if stage.get("warmup_steps") and stage["warmup_ratio"]:
            yield f"{name}.warmup_steps and {name}.warmup_ratio are both set, expected 0 for one of them"


def _judging_elsewhere(config: Mapping[str, Any]) -> Iterator[str]:
    """One form for every SFT, and one of them has two tasks."""
    for name, stage, _ in sft_stages(config):
        if stage.get("judging") and name != "mt_sft":
            yield f"{name}.judging is {stage['judging']!r}, expected no such key: it belongs to mt_sft"


def _likelihood_without_gspo(config: Mapping[str, Any]) -> Iterator[str]:
    """The likelihood term belongs to the loss of the paper."""
    stage = config["mt_grpo"]
    if stage.get("policy_loss") == "ppo" and stage["sft_coef"] > 0:
        yield f"mt_grpo.sft_coef is {stage['sft_coef']}, expected 0 with mt_grpo.policy_loss 'ppo'"


def _uneven_batches(config: Mapping[str, Any]) -> Iterator[str]:
    """A step is made of whole updates, and an update spreads over all devices."""
    devices = devices_of(config)
    for name, stage, _ in rl_stages(config):
        batch, mini = stage["train_batch_size"], stage["mini_batch_size"]
        if batch % mini:
            yield f"{name}.mini_batch_size is {mini}, expected a divisor of train_batch_size {batch}"
        if mini * stage["rollouts"] % devices:
            yield (
                f"{name}.mini_batch_size {mini} x rollouts {stage['rollouts']} do not spread evenly "
                f"over {devices} devices"
            )


def _inconsistent_pairs(config: Mapping[str, Any]) -> Iterator[str]:
    """Both orders of a pair can only be compared if they are in one step."""
    stage = (config["judges"] or {}).get("pairwise")
    if stage is None or stage["consistency"] == 0:
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


def _machines_of_judges(config: Mapping[str, Any]) -> Iterator[str]:
    """Bradley-Terry is trained on one machine."""
    nodes = config["hardware"]["nodes"]
    if config["judges"] and nodes > 1:
        yield f"hardware.nodes is {nodes}, expected 1 with judges: TRL trains on one machine"


def _wrong_backend(config: Mapping[str, Any]) -> Iterator[str]:
    """A server that answers in the evaluation needs its address."""
    evaluate = config["evaluate"]
    if evaluate["backend"] == "openai" and not evaluate["base_url"]:
        yield "evaluate.base_url is null, expected the address of a server with evaluate.backend 'openai'"


def _wrong_rollout_engines(config: Mapping[str, Any]) -> Iterator[str]:
    """On GPUs vLLM alone generates rollouts, and the answers of judges."""
    if config["hardware"]["device"] == "cuda":
        for key, engine in rollout_engines(config).items():
            if engine != "vllm":
                yield f"{key} is {engine!r}, expected 'vllm' with hardware.device 'cuda'"


def _not_on_a_cpu(config: Mapping[str, Any]) -> Iterator[str]:
    """On CPUs a machine trains in one process, in full precision, by verl, without DeepSpeed."""
    hardware = config["hardware"]
    if hardware["device"] != "cpu":
        return
    if hardware["gpus_per_node"] > 1:
        yield f"hardware.gpus_per_node is {hardware['gpus_per_node']}, expected 1 with hardware.device 'cpu'"
    if hardware["precision"] != "fp32":
        yield f"hardware.precision is {hardware['precision']!r}, expected 'fp32' with hardware.device 'cpu'"
    if config["rl_engine"] != "verl":
        yield f"rl_engine is {config['rl_engine']!r}, expected 'verl' with hardware.device 'cpu'"
    for name, stage, _ in sft_stages(config):
        if stage["deepspeed"] is not None:
            yield f"{name}.deepspeed is set, expected null with hardware.device 'cpu'"


def _attention_in_full_precision(config: Mapping[str, Any]) -> Iterator[str]:
    """flash-attn has kernels of 16 bits alone."""
    hardware = config["hardware"]
    if (hardware["device"], hardware["precision"]) != ("cuda", "fp32"):
        return
    for name, stage, _ in [*sft_stages(config), *rl_stages(config)]:
        if stage["attention"] in ("fa2", "flash_attention_2"):
            yield (
                f"{name}.attention is {stage['attention']!r}, expected 'sdpa' with hardware.precision 'fp32'"
            )


# Base models, and what runs the models that are made of them.
_RUN_BY = {
    "base_models.grrm": ("grrm_rlvr.rollout_engine", "mt_grpo.reward.rollout_engine", "evaluate.backend"),
    "base_models.mt": ("mt_grpo.rollout_engine", "evaluate.backend"),
    "judges.base_model": ("judges.pointwise.rollout_engine", "judges.pairwise.rollout_engine"),
    "alignment.base_model": ("alignment.grpo.rollout_engine", "alignment.grpo.reward.rollout_engine"),
}


def _heads_unknown_to_vllm(config: Mapping[str, Any]) -> Iterator[str]:
    """Shapes of base models that vLLM's attention on a CPU has no kernel for, where vLLM is to run them."""
    if config["hardware"]["device"] != "cpu":
        return
    bases = [row for row in base_trainings(config) if config[row.section]["start_from"] is None]
    made = {row.start.removesuffix("_base") for row in bases}
    engines = rollout_engines(config) | {"evaluate.backend": config["evaluate"]["backend"]}
    known = ", ".join(map(str, CPU_HEAD_SIZES))
    for key, keys in _RUN_BY.items():
        section, name = key.split(".")
        if (section == "base_models" and name not in made) or config[section] is None:
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


def _longer_than_the_context(config: Mapping[str, Any]) -> Iterator[str]:
    """Prompts and answers that the base models made here have no room for, which would cut the answers."""
    context = config["base_models"]["max_positions"]
    if all(config[row.section]["start_from"] is not None for row in base_trainings(config)):
        return
    stages = [(name, config[name]) for name in trained_stages(config) if TRAININGS[name].engine == "rl"]
    judges = [
        (f"{name}.reward", stage["reward"])
        for name, stage in stages
        if "reward" in stage and (judge := served_piece(stage["reward"])) and judge["model"] is None
    ]
    for name, section in [*stages, *judges]:
        prompt, answer = section["max_prompt_length"], section["max_response_length"]
        if prompt + answer > context:
            yield (
                f"{name}.max_prompt_length {prompt} + max_response_length {answer} are {prompt + answer} "
                f"tokens, expected at most base_models.max_positions, {context}"
            )


def _unpaired_bases(config: Mapping[str, Any]) -> Iterator[str]:
    """Base models are made together, so both are made or both taken."""
    bases = {row.section: config[row.section]["start_from"] for row in base_trainings(config)}
    if len({base is None for base in bases.values()}) == 2:
        found = " and ".join(f"{name}.start_from is {base!r}" for name, base in bases.items())
        yield f"{found}, expected a model for both or null for both: base models are made in pairs"


# ---------------------------------------------------------------- what the fork would pass over in silence

_FORK = "with rl_engine 'gen_rm_fork'"
# What its group reward does, and has no key for.
_FORK_OBJECTIVE = ("policy_loss", "divide_by_std", "kl_coef")
_FORK_REWARD: dict[str, tuple[Any, str]] = {
    "placement": ("colocated", "its judge shares the policy's GPUs"),
    "prompt": (None, "it asks the judge in the authors' own words"),
    "semantics": ("paper", "its reward is the published one"),
    "retries": (0, "it asks the judge once"),
    "max_failure_rate": (1, "it does not count failures"),
}


def _forked(config: Mapping[str, Any]) -> list[str]:
    """Stages that the fork trains."""
    if config["rl_engine"] != "gen_rm_fork":
        return []
    return [name for name in trained_stages(config) if TRAININGS[name].engine == "rl"]


def _attention_of_the_fork(config: Mapping[str, Any]) -> Iterator[str]:
    """Its attention is its own."""
    for name in _forked(config):
        attention = config[name]["attention"]
        if attention != "flash_attention_2":
            yield f"{name}.attention is {attention!r}, expected 'flash_attention_2' {_FORK}"


def _precision_of_the_fork(config: Mapping[str, Any]) -> Iterator[str]:
    """It computes in bfloat16, whatever the weights are."""
    precision = config["hardware"]["precision"]
    if _forked(config) and precision != "bf16":
        yield f"hardware.precision is {precision!r}, expected 'bf16' {_FORK}"


def _objective_of_the_fork(config: Mapping[str, Any]) -> Iterator[str]:
    """Its objective is the published one."""
    for name in _forked(config):
        for key in _FORK_OBJECTIVE:
            if config[name].get(key):
                yield f"{name}.{key} is {shown(config[name][key])}, expected no such key {_FORK}"


def _reward_of_the_fork(config: Mapping[str, Any]) -> Iterator[str]:
    """Its group reward is the published one."""
    for name in _forked(config):
        reward = config[name].get("reward", {})
        for key, (expected, why) in _FORK_REWARD.items():
            if reward and reward[key] != expected:
                found = shown(reward[key])
                yield f"{name}.reward.{key} is {found}, expected {shown(expected)} {_FORK}: {why}"


def _prompt_of_the_fork(config: Mapping[str, Any]) -> Iterator[str]:
    """It asks in the authors' own words, which a judge must have been trained on."""
    ranking = config["prompts"]["ranking"]
    for row in (TRAININGS[name] for name in _forked(config) if TRAININGS[name].judge):
        taken = config[row.name]["reward"]["model"] or config["evaluate"]["start_from"][row.judge]
        if ranking != "upstream" and not taken:
            yield (
                f"prompts.ranking is {ranking!r}, expected 'upstream' {_FORK} "
                "(config/paper_fork.yaml), or a judge that was trained on the authors' own words "
                f"(evaluate.start_from.{row.judge}): in these the fork asks it"
            )


_CHECKS: tuple[Check, ...] = (
    _unusable_metrics,
    _unusable_addresses,
    _secrets_in_what_is_installed,
    _wildcards_in_paths,
    _unread_starts,
    _unkept_checkpoints,
    _steps_and_epochs,
    _two_warmups,
    unnamed_choices,
    _judging_elsewhere,
    _likelihood_without_gspo,
    _uneven_batches,
    _inconsistent_pairs,
    _machines_of_judges,
    _wrong_backend,
    _wrong_rollout_engines,
    _not_on_a_cpu,
    _attention_in_full_precision,
    _heads_unknown_to_vllm,
    _longer_than_the_context,
    _attention_of_the_fork,
    _precision_of_the_fork,
    _objective_of_the_fork,
    _reward_of_the_fork,
    _prompt_of_the_fork,
    _unpaired_bases,
)
