"""What a model's architecture allows of a rendered configuration: lengths of texts, number of devices.

verl would find out minutes later (more devices than heads), or never: of an answer that the context has no
room for, it takes the beginning.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from grrm.engines import verl, verl_fork, verl_rewards, verl_vllm
from grrm.files import UserError
from grrm.model_folder import configuration


@dataclass(frozen=True)
class _Keys:
    """Where a rendered configuration says what a server's model has to bear, and what users call it."""

    prompt: str
    response: str
    devices: str
    section: str = ""


_FORK_JUDGE = "+reward_model"
_SERVERS = {
    verl.MODEL: _Keys(
        "data.max_prompt_length",
        "data.max_response_length",
        f"{verl_vllm.POLICY_SERVER}.tensor_model_parallel_size",
    ),
    verl_rewards.JUDGE: _Keys(
        f"{verl_vllm.JUDGE_SERVER}.prompt_length",
        f"{verl_vllm.JUDGE_SERVER}.response_length",
        f"{verl_vllm.JUDGE_SERVER}.tensor_model_parallel_size",
        section="reward.",
    ),
    verl_fork.JUDGE: _Keys(
        f"{_FORK_JUDGE}.prompt_length",
        f"{_FORK_JUDGE}.rollout.response_length",
        f"{_FORK_JUDGE}.rollout.tensor_model_parallel_size",
        section="reward.",
    ),
}


def check_limits(config: Mapping[str, Any]) -> None:
    """Refuse lengths and devices that the policy's or the judge's architecture does not allow.

    Args:
        config: a rendered configuration; what it or a model's config.json leaves out is not looked at.

    Raises:
        UserError: a context that is too short, or heads that do not spread over the devices.
    """
    for model, keys in _SERVERS.items():
        if model in config:
            shape = _shape(Path(config[model]))
            _check_context(config, keys, config[model], shape.get("max_position_embeddings"))
            _check_heads(int(config.get(keys.devices, 1)), keys, config[model], shape)


def _shape(model: Path) -> dict[str, Any]:
    config = configuration(model)
    return {**config, **(config.get("text_config") or {})}


def _check_context(config: Mapping[str, Any], keys: _Keys, model: str, context: int | None) -> None:
    if context is None or keys.prompt not in config:
        return
    prompt, response = int(config[keys.prompt]), int(config[keys.response])
    if prompt + response > context:
        raise UserError(
            f"{model} has a context of {context} tokens, expected at least {prompt + response}: "
            f"{keys.section}max_prompt_length {prompt} + {keys.section}max_response_length {response}; lower "
            "one of them, or take another model"
        )


def _check_heads(devices: int, keys: _Keys, model: str, shape: Mapping[str, Any]) -> None:
    heads = shape.get("num_attention_heads")
    if heads is None or _spreads(heads, shared := shape.get("num_key_value_heads") or heads, devices):
        return
    possible = [count for count in range(1, heads + 1) if _spreads(heads, shared, count)]
    of_keys = f" and {shared} of keys and values" if heads % devices == 0 else ""
    raise UserError(
        f"{model} has {heads} attention heads{of_keys}, which {keys.section}tensor_parallel {devices} does "
        f"not divide; take {', '.join(map(str, possible))}"
    )


def _spreads(heads: int, shared: int, devices: int) -> bool:
    """Whether each device gets as many heads; those of keys and values are copied if there are too few."""
    return heads % devices == 0 and (shared % devices == 0 or devices % shared == 0)
