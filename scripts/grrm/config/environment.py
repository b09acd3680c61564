"""Variables of the published scripts, laid over the configuration."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Mapping
from typing import Any

from grrm.config.rewards import EVAL_MODES, PAIRWISE_MODES, asks_endpoint, compared_kinds, family, reward_of
from grrm.config.stages import JUDGES, judged_stages, sft_stages
from grrm.files import UserError
from grrm.urls import secret_in


def with_environment(config: Mapping[str, Any], environment: Mapping[str, str]) -> dict[str, Any]:
    """The configuration, in which variables of the published scripts go before keys of judges and alignment.

    MODEL_PATH: the model that every judge starts from, and the policy unless ACTOR_MODEL_PATH names its own;
    N_GPUS_PER_NODE: GPUs of each machine, over which vLLM is spread, and N_NODES: machines, while every batch
    stays as it is; TRAIN_BATCH_SIZE: rows a step; RAY_ADDRESS: a Ray cluster that is there;
    N_SAMPLES_PER_PROMPT, TRAIN_DATA and VAL_DATA: rollouts and rows of the alignment. What was read is kept
    in `judges.environment` and `alignment.environment`. Without these sections, and where a variable is
    empty, nothing changes.

    Args:
        config: with its defaults, see `resolve`.
        environment: the environment.

    Raises:
        UserError: a number is none, or a batch does not spread evenly over the devices.
    """
    changed: dict[str, Any] = copy.deepcopy(dict(config))
    judges, alignment = changed["judges"] or {}, changed["alignment"] or {}
    read = {name: environment[name].strip() for name in _VARIABLES if environment.get(name, "").strip()}
    if (judges or alignment) and (secret := secret_in(read.get("RAY_ADDRESS", ""))):
        raise UserError(
            f"RAY_ADDRESS holds {secret}, expected none, as it is kept with the configuration: let a proxy "
            "or Ray's own authentication guard the cluster"
        )
    if judges:
        judges["environment"] = {name: value for name, value in read.items() if name not in _ALIGNMENT_ONLY}
        for name in JUDGES:
            judges[name]["start_from"] = read.get("MODEL_PATH", judges[name]["start_from"])
    if alignment:
        unread = "MODEL_PATH" if "ACTOR_MODEL_PATH" in read else None
        alignment["environment"] = {name: value for name, value in read.items() if name != unread}
        for name in ("MODEL_PATH", "ACTOR_MODEL_PATH"):
            alignment["grpo"]["start_from"] = read.get(name, alignment["grpo"]["start_from"])
        for name, key in (("TRAIN_DATA", "train"), ("VAL_DATA", "validation")):
            alignment["data"][key] = read.get(name, alignment["data"][key])
        if "N_SAMPLES_PER_PROMPT" in read:
            alignment["grpo"]["rollouts"] = _count(read, "N_SAMPLES_PER_PROMPT", least=2)
    if read.keys() & _MACHINES.keys() and (judges or alignment):
        _use_machines(changed, {name: _count(read, name) for name in _MACHINES if name in read})
    if "TRAIN_BATCH_SIZE" in read:
        rows = _count(read, "TRAIN_BATCH_SIZE")
        for _, stage, _ in judged_stages(changed):
            stage |= {
                "train_batch_size": rows,
                "mini_batch_size": math.gcd(rows, stage["mini_batch_size"]),
            }
        for name in ("sft", "bradley_terry") if judges else ():
            _spread(judges[name], rows, _devices(changed), f"TRAIN_BATCH_SIZE is {rows}: judges.{name}")
    return changed


# Of the published scripts' variables, those that stand for a key (docs/judges.md says why others do not).
_MACHINES = {"N_NODES": "nodes", "N_GPUS_PER_NODE": "gpus_per_node"}
_ALIGNMENT_ONLY = ("ACTOR_MODEL_PATH", "N_SAMPLES_PER_PROMPT", "TRAIN_DATA", "VAL_DATA")
_VARIABLES = ("MODEL_PATH", *_ALIGNMENT_ONLY, *_MACHINES, "TRAIN_BATCH_SIZE", "RAY_ADDRESS")


def _count(variables: Mapping[str, str], name: str, least: int = 1) -> int:
    if not variables[name].isdecimal() or int(variables[name]) < least:
        raise UserError(
            f"{name} is {variables[name]!r} in the environment, expected a whole number from {least}"
        )
    return int(variables[name])


def _devices(config: Mapping[str, Any]) -> int:
    return int(config["hardware"]["nodes"] * config["hardware"]["gpus_per_node"])


def _use_machines(config: dict[str, Any], read: Mapping[str, int]) -> None:
    """Other machines, or GPUs of each; the rows of a step are what was published, not those of a device."""
    before = _devices(config)
    config["hardware"] |= {_MACHINES[name]: count for name, count in read.items()}
    named = ", ".join(f"{name} is {count}" for name, count in read.items())
    for name, stage, _ in sft_stages(config):
        rows = stage["batch_size"] * stage["gradient_accumulation"] * before
        _spread(stage, rows, _devices(config), f"{named}: {name}")
    for _, stage, _ in judged_stages(config):
        stage["tensor_parallel"] = read.get("N_GPUS_PER_NODE", stage["tensor_parallel"])


def _spread(stage: dict[str, Any], rows: int, devices: int, what: str) -> None:
    """Put a step of so many rows together from equal forward passes, as large as the stage's are at most."""
    share, rest = divmod(rows, devices)
    if rest:
        raise UserError(f"{what} cannot spread {rows} rows a step evenly over {devices} devices")
    fits = max(size for size in range(1, stage["batch_size"] + 1) if share % size == 0)
    stage |= {"batch_size": fits, "gradient_accumulation": share // fits}


# Names in the published documents of RM-Gallery -> key of the section judge, or of reward above it.
_JUDGE_VARIABLES: dict[str, tuple[str, Callable[[str], Any]]] = {
    "JUDGE_API_URL": ("url", str),
    "JUDGE_MODEL_NAME": ("model", str),
    "MAX_WORKERS": ("max_concurrency", int),
    "LLM_TIMEOUT": ("timeout", float),
    "MAX_RETRIES": ("retries", int),
    "VERBOSE": ("verbose", lambda text: {"true": True, "1": True, "false": False, "0": False}[text.lower()]),
}
_REWARD_VARIABLES: dict[str, tuple[str, Callable[[str], Any]]] = {
    "TEMPERATURE": ("temperature", float),
    "MAX_TOKENS": ("max_response_length", int),
}


def apply_environment(config: Mapping[str, Any], environment: Mapping[str, str]) -> None:
    """Let what the environment says about judges stand in the configuration, so that it is recorded.

    The policy's alignment takes everything, EVAL_MODE and PAIRWISE_MODE among it, and asks the endpoint if
    JUDGE_API_URL is set; the translation model's reward takes it where it asks an endpoint. The API key
    stays in the environment.

    Raises:
        UserError: a value cannot be used; the message names the variable.
    """
    translation = config["mt_grpo"]["reward"]
    if any(asks_endpoint(reward_of(translation, kind)) for kind in compared_kinds(config)):
        _apply(translation, environment)
    if config["alignment"] is not None:
        reward = config["alignment"]["grpo"]["reward"]
        _apply_modes(reward, environment)
        _apply(reward, environment)
        if environment.get("JUDGE_API_URL", "").strip():
            reward["model"] = None


def _apply(reward: dict[str, Any], environment: Mapping[str, str]) -> None:
    for variables, section in ((_JUDGE_VARIABLES, reward["judge"]), (_REWARD_VARIABLES, reward)):
        for variable, (key, kind) in variables.items():
            text = environment.get(variable, "").strip()
            if not text:
                continue
            if variable == "JUDGE_API_URL" and (secret := secret_in(text)):
                # What stands in the configuration is written to disk.
                raise UserError(f"JUDGE_API_URL holds {secret}; put the key into JUDGE_API_KEY instead")
            try:
                section[key] = kind(text)
            except (ValueError, KeyError) as error:
                expected = "true or false" if variable == "VERBOSE" else "a number"
                raise UserError(
                    f"{variable} is {text!r}, expected {expected}; correct or unset it"
                ) from error


def _apply_modes(reward: dict[str, Any], environment: Mapping[str, str]) -> None:
    kind = kind_of_modes(reward["kind"], environment)
    if family(kind) != family(reward["kind"]):
        # It asks for another verdict.
        reward["prompt"] = None
    reward["kind"] = kind


def kind_of_modes(kind: str, environment: Mapping[str, str]) -> str:
    """The kind of reward that EVAL_MODE and PAIRWISE_MODE in the environment make of another one.

    Raises:
        UserError: one of them is no mode.
    """
    mode = environment.get("EVAL_MODE", "").strip()
    pairwise = environment.get("PAIRWISE_MODE", "").strip()
    for variable, value, known in (
        ("EVAL_MODE", mode, EVAL_MODES),
        ("PAIRWISE_MODE", pairwise, PAIRWISE_MODES),
    ):
        if value and value not in known:
            raise UserError(f"{variable} is {value!r}, expected {', '.join(known)}; correct or unset it")
    if mode and mode != "pairwise":
        return mode
    if pairwise and (mode or family(kind) == "pairwise"):
        return f"pairwise_{pairwise}"
    return "pairwise_dgr" if mode and family(kind) != "pairwise" else kind


def kind_of_environment(environment: Mapping[str, str]) -> str | None:
    """The kind of reward that EVAL_MODE and PAIRWISE_MODE name, pairwise DGR unless they say more; None
    without them.

    Raises:
        UserError: see `kind_of_modes`.
    """
    named = any(environment.get(variable, "").strip() for variable in ("EVAL_MODE", "PAIRWISE_MODE"))
    return kind_of_modes("pairwise_dgr", environment) if named else None
