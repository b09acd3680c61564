"""Adapters of low rank: rollout engine and checkpoints get merged weights, in the precision of training.

Named as `actor_rollout_ref.model.external_lib`, so that verl imports it wherever it reads that model's
configuration, in trainings with adapters alone. Two functions of verl are replaced:

- verl/workers/engine/fsdp/transformer_impl.py, `FSDPEngine._merged_lora_per_tensor_param`: it rounds what it
  sends to bf16, whatever the model is trained in, and changes the frozen weights in place for that time, with
  a copy of all of them beside. Here each weight is merged on its way.
- verl/utils/checkpoint/fsdp_checkpoint_manager.py, `get_fsdp_full_state_dict`: as hf_model it saves frozen
  weights and adapters by peft's names, which nothing loads as a model.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
import verl.utils.checkpoint.fsdp_checkpoint_manager as checkpoints
from peft import PeftModel
from peft.tuners.lora import LoraLayer
from verl.utils.fsdp_utils import normalize_peft_param_name, offload_fsdp_model_to_cpu
from verl.utils.model import convert_weight_keys
from verl.workers.engine.fsdp.transformer_impl import FSDPEngine

from grrm.verl_plugin.compatibility import check_signature

_ADAPTER = "default"
_FROZEN = ".base_layer.weight"

check_signature(
    FSDPEngine._merged_lora_per_tensor_param, ["self"], "verl/workers/engine/fsdp/transformer_impl.py"
)
_full_state_dict = checkpoints.get_fsdp_full_state_dict
check_signature(_full_state_dict, ["model", "offload_to_cpu", "rank0_only"], "verl/utils/fsdp_utils.py")


def merged_weights(model: Any) -> Iterator[tuple[str, torch.Tensor]]:
    """(name, weight) pairs of the plain model; iterating is a collective operation of all ranks.

    Args:
        model: a PeftModel, sharded by FSDP2 or not.
    """
    layers = {name: layer for name, layer in model.named_modules() if isinstance(layer, LoraLayer)}
    with torch.no_grad():
        for name, tensor in model.state_dict().items():
            if not (plain := list(normalize_peft_param_name({name: tensor}))):  # of an adapter
                continue
            weight = _whole(tensor)
            if name.endswith(_FROZEN):
                layer = layers[name.removesuffix(_FROZEN)]
                weight = weight + _whole(layer.get_delta_weight(_ADAPTER)).to(weight.dtype)
            yield plain[0], weight


def _whole(tensor: torch.Tensor) -> torch.Tensor:
    """A copy of its own: senders in buckets keep it for a while."""
    return tensor.full_tensor() if hasattr(tensor, "full_tensor") else tensor.detach().clone()


def _send(self: Any) -> Iterator[tuple[str, torch.Tensor]]:
    try:
        for name, weight in merged_weights(self.module):
            yield from convert_weight_keys({name: weight}, self.module).items()
    finally:
        if self._is_offload_param:
            offload_fsdp_model_to_cpu(self.module)


def _save(model: Any, offload_to_cpu: bool = True, rank0_only: bool = True) -> dict[str, torch.Tensor]:
    if not isinstance(model, PeftModel):
        state: dict[str, torch.Tensor] = _full_state_dict(model, offload_to_cpu, rank0_only)
        return state
    keeps = not rank0_only or torch.distributed.get_rank() == 0
    weights = ((name, weight.cpu() if offload_to_cpu else weight) for name, weight in merged_weights(model))
    # The others take part in what is gathered.
    return {name: weight for name, weight in weights if keeps}


FSDPEngine._merged_lora_per_tensor_param = _send
checkpoints.get_fsdp_full_state_dict = _save
