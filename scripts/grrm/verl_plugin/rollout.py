"""`rollout.name=transformers`: verl's two ends of the rollout server.

`TransformersReplica` starts servers (verl/workers/rollout/replica.py), `WeightPusher` lives in the training
worker and sends them the actor's weights (verl/workers/rollout/base.py).
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import Any

import ray
import torch
from verl.workers.config import RolloutConfig
from verl.workers.rollout.base import BaseRollout
from verl.workers.rollout.replica import RolloutMode, RolloutReplica

from grrm.verl_plugin.server import ServerSettings, TransformersServer

LOAD_FORMATS = {"dummy": True, "auto": False, "safetensors": False}
LOG_PROBS_MODES = {"processed_logprobs": False, "raw_logprobs": True}
DTYPES = {"float32": "float32", "fp32": "float32", "bfloat16": "bfloat16", "bf16": "bfloat16"}


def server_name(replica_rank: int, reward_model: bool = False, suffix: str = "") -> str:
    """Name of the server's Ray actor."""
    return f"transformers_{'reward_' if reward_model else ''}server_{replica_rank}{suffix}"


def server_settings(config: RolloutConfig, model: Any, replica_rank: int) -> ServerSettings:
    """What the server is told, from verl's configuration.

    Args:
        config: the rollout's configuration.
        model: HFModelConfig, or the same keys as a DictConfig.
        replica_rank: of the server.

    Raises:
        ValueError: a setting this rollout cannot honour; the message names the key.
    """
    for key in ("tensor_model_parallel_size", "data_parallel_size", "pipeline_model_parallel_size"):
        if getattr(config, key) != 1:
            raise ValueError(f"rollout.{key}={getattr(config, key)}: the transformers rollout needs 1")
    if config.repetition_penalty != 1.0:
        raise ValueError(f"rollout.repetition_penalty={config.repetition_penalty}: only 1.0 is supported")
    if config.quantization is not None:
        raise ValueError(f"rollout.quantization={config.quantization!r} is not supported")
    if model.get("trust_remote_code", False):
        raise ValueError("model.trust_remote_code=True is not supported: no code is run from a model folder")
    lora = model.get("lora") or {}
    if max(model.get("lora_rank", 0), lora.get("rank", 0)) > 0 and not lora.get("merge", False):
        raise ValueError(
            "model.lora_rank without model.lora.merge: the transformers rollout takes full weights"
        )
    override = model.get("override_config") or {}
    return ServerSettings(
        model_path=model.get("local_path") or model.get("path"),
        tokenizer_path=model.get("local_tokenizer_path") or model.get("tokenizer_path") or model.get("path"),
        chat_template=model.get("custom_chat_template"),
        dtype=_choice("dtype", config.dtype, DTYPES),
        attn_implementation=override.get("attn_implementation", "sdpa"),
        wait_for_weights=_choice("load_format", config.load_format, LOAD_FORMATS),
        prompt_length=config.prompt_length,
        response_length=config.response_length,
        max_model_len=config.max_model_len,
        max_num_seqs=config.max_num_seqs,
        ignore_eos=config.ignore_eos,
        raw_log_probs=_choice("logprobs_mode", config.logprobs_mode, LOG_PROBS_MODES),
        seed=config.seed,
        replica_rank=replica_rank,
    )


class TransformersReplica(RolloutReplica):
    """One server per training worker, or per replica of the reward model."""

    async def launch_servers(self) -> None:
        """Start the server's process and wait until it listens."""
        settings = server_settings(self.config, self.model_config, self.replica_rank)
        server = (
            ray.remote(TransformersServer)
            .options(
                name=server_name(self.replica_rank, self.is_reward_model, self.name_suffix),
                num_cpus=0,
                max_concurrency=self.max_concurrency,
            )
            .remote(settings)
        )
        host, port = await server.launch_server.remote()
        self.servers = [server]
        self._server_handle = server
        self._server_address = f"{host}:{port}"

    async def init_standalone(self) -> None:
        """A reward model's weights never change: no workers to receive them, hence no processes for that."""
        if not self.is_reward_model:
            await super().init_standalone()
            return
        self.rollout_mode = RolloutMode.STANDALONE
        await self.launch_servers()

    async def init_colocated(self, resource_pool: Any) -> None:
        """As `init_standalone`, beside the trainer."""
        if not self.is_reward_model:
            await super().init_colocated(resource_pool)
            return
        self.rollout_mode = RolloutMode.COLOCATED
        self.resource_pool = resource_pool
        await self.launch_servers()


class WeightPusher(BaseRollout):
    """Sends the actor's full weights to its server after each update."""

    def __init__(self, config: Any, model_config: Any, device_mesh: Any, replica_rank: int = -1) -> None:
        super().__init__(config, model_config, device_mesh)
        rank = int(os.environ["RANK"])
        self.replica_rank = rank if replica_rank == -1 else replica_rank
        self.is_leader_rank = True  # one worker per replica
        self._server: Any = None

    async def resume(self, tags: list[str]) -> None:
        """The server's memory is never released."""

    async def release(self) -> None:
        """The server's memory is never released."""

    async def update_weights(
        self,
        weights: Iterable[tuple[str, torch.Tensor]],
        wire_format: str = "named_tensors",
        global_steps: int | None = None,
        peft_config: Any = None,
        **_kwargs: Any,
    ) -> None:
        """Send all weights and wait until the server has them.

        Args:
            weights: (name, tensor) pairs; iterating may be a collective operation, so every rank does it.
            wire_format: only "named_tensors".
            global_steps: the trainer's step, the version of the weights.
            peft_config: must be None.

        Raises:
            ValueError: deltas or adapters, or weights that do not fit the server's model.
        """
        if wire_format != "named_tensors" or peft_config is not None:
            raise ValueError("the transformers rollout takes full weights only, not deltas or adapters")
        tensors = {name: tensor.detach().cpu() for name, tensor in weights}
        if self._server is None:
            self._server = ray.get_actor(server_name(self.replica_rank))
        await self._server.load_weights.remote(tensors, global_steps)


def _choice(key: str, value: Any, choices: dict[str, Any]) -> Any:
    if value not in choices:
        raise ValueError(f"rollout.{key}={value!r}: the transformers rollout knows {', '.join(choices)}")
    return choices[value]
