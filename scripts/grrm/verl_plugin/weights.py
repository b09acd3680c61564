"""The rollout server's model: loaded from its folder, and given the trainer's weights."""

from __future__ import annotations

from typing import Any

import torch
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedModel


def load_model(path: str, dtype: str, attn_implementation: str, random: bool) -> PreTrainedModel:
    """A model in evaluation mode, in "float32" or "bfloat16"; `random`: without its folder's weights."""
    kwargs = {
        "dtype": {"float32": torch.float32, "bfloat16": torch.bfloat16}[dtype],
        "attn_implementation": attn_implementation,
    }
    if random:
        model = AutoModelForCausalLM.from_config(AutoConfig.from_pretrained(path), **kwargs)
    else:
        model = AutoModelForCausalLM.from_pretrained(path, **kwargs)
    return model.eval()


def context_length(model: PreTrainedModel) -> int:
    """Tokens of prompt and answer together.

    Raises:
        ValueError: the model's configuration does not say.
    """
    length = getattr(model.config.get_text_config(), "max_position_embeddings", None)
    if length is None:
        raise ValueError(
            "the model's configuration has no max_position_embeddings: set rollout.max_model_len"
        )
    return int(length)


def copy_weights(model: PreTrainedModel, weights: dict[str, torch.Tensor]) -> None:
    """Copy `weights` into `model`; nothing is copied unless all of them fit.

    Raises:
        ValueError: see `TransformersServer.load_weights`.
    """
    own = model.state_dict()
    by_storage: dict[tuple[Any, ...], list[str]] = {}
    for name, tensor in own.items():
        by_storage.setdefault((tensor.data_ptr(), tensor.shape), []).append(name)
    unexpected = sorted(weights.keys() - own.keys())
    missing = [names for names in by_storage.values() if not any(name in weights for name in names)]
    if unexpected or missing:
        raise ValueError(
            f"weights do not fit {type(model).__name__}: {len(missing)} missing "
            f"{[names[0] for names in missing][:5]}, {len(unexpected)} unexpected {unexpected[:5]}"
        )
    for name, tensor in weights.items():
        if tensor.shape != own[name].shape:
            raise ValueError(
                f"weight {name} has shape {tuple(tensor.shape)}, expected {tuple(own[name].shape)}"
            )
    for names in by_storage.values():
        first, *others = [name for name in names if name in weights]
        for other in others:
            if not torch.equal(weights[first], weights[other]):
                raise ValueError(
                    f"{first} and {other} are tied in the model but were sent with different values"
                )
    with torch.no_grad():
        for name, tensor in weights.items():
            own[name].copy_(tensor)
