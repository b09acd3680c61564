"""vLLM's worker on a CPU, so that verl can give it new weights again and again.

`engine_kwargs.vllm.worker_extension_cls`: vLLM's engine imports this module before it makes the model.
"""

from __future__ import annotations

import functools
from typing import Any

import vllm.model_executor.layers.utils as layers
from verl.workers.rollout.vllm_rollout.utils import vLLMColocateWorkerExtension

from grrm.listeners import listen_nowhere
from grrm.verl_plugin.compatibility import check_signature
from grrm.vllm_cpu import rewind_seeds


class CpuWorkerExtension(vLLMColocateWorkerExtension):
    """verl's own; what differs is what importing this module replaces."""


def keep_linear_weights() -> None:
    """vllm/model_executor/layers/utils.py, `dispatch_cpu_unquantized_gemm`.

    It packs the weights of a linear layer for oneDNN and throws the originals away, so that nothing could be
    loaded into them a second time. With the originals kept, what verl calls after each transfer
    (`process_weights_after_loading`) packs them anew.
    """
    original = layers.dispatch_cpu_unquantized_gemm
    check_signature(
        original, ["layer", "remove_weight"], "vllm/model_executor/layers/utils.py", of="vllm 0.24.0"
    )

    @functools.wraps(original)
    def keep(layer: Any, remove_weight: bool) -> None:
        original(layer, remove_weight=False)

    layers.dispatch_cpu_unquantized_gemm = keep


keep_linear_weights()
listen_nowhere()
rewind_seeds()
