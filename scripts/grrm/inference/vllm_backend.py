"""Generation with vLLM's offline engine, on GPUs or, with its CPU backend, without."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from grrm.catalogue import vllm as vllm_facts
from grrm.files import UserError
from grrm.inference.backends import (
    Completion,
    Decoding,
    Engine,
    Request,
    local_origin,
    other_files,
    precision_used,
    prompt_too_long,
    unfinished,
)
from grrm.inference.tokens import encode, stop_tokens
from grrm.listeners import listen_nowhere
from grrm.vllm_cpu import check_heads, check_processor, rewind_seeds

# vLLM fills its own batches; it is handed this many times the batch size at once, and what it has made of
# them is passed on. Larger pieces keep the GPU fuller, smaller ones lose less when a run is interrupted.
_BATCHES = 32


# MiB for the KV cache on a CPU, where vLLM would else take a share of all memory.
_CPU_CACHE_MB = 1024


class VllmBackend:
    """A model in a `vllm.LLM`."""

    def __init__(self, model: Path, engine: Engine, *, cpu: bool) -> None:
        from vllm import LLM

        self._model, self._engine = model, engine
        self._piece = engine.batch_size * _BATCHES
        self._llm = LLM(
            model=str(model),
            dtype=precision_used(model, engine),
            tensor_parallel_size=engine.gpus,
            gpu_memory_utilization=engine.gpu_memory,
            max_model_len=engine.max_model_len,
            enable_prefix_caching=True,
            # On a CPU compilation takes longer than the models that it is for.
            enforce_eager=cpu,
            kv_cache_memory_bytes=(engine.kv_cache_mb or _CPU_CACHE_MB) << 20 if cpu else None,
        )
        self._tokenizer = self._llm.get_tokenizer()
        self._stops = sorted(stop_tokens(self._tokenizer))

    def generate(self, requests: Sequence[Request], decoding: Decoding) -> Iterator[tuple[int, Completion]]:
        """Complete all requests, some thousand at once."""
        from vllm import SamplingParams

        # What is cached moves the last bits of what follows: an answer would depend on what was asked before.
        self._llm.reset_prefix_cache()
        encoded = encode(self._tokenizer, requests)
        room = self.context() - decoding.max_new_tokens
        fitting = []
        for position, tokens in enumerate(encoded):
            if len(tokens) > room:
                # vLLM would refuse all prompts because of this one.
                yield position, prompt_too_long(len(tokens), room)
            else:
                fitting.append(position)
        for start in range(0, len(fitting), self._piece):
            piece = fitting[start : start + self._piece]
            outputs = self._llm.generate(
                [{"prompt_token_ids": encoded[i]} for i in piece],
                [
                    SamplingParams(
                        max_tokens=decoding.max_new_tokens,
                        temperature=decoding.temperature,
                        top_p=decoding.top_p,
                        seed=requests[i].seed,
                        # Besides those of the model's own generation configuration, which vLLM adds.
                        stop_token_ids=self._stops,
                        # Its own way of it leaves out a character that is cut at the end.
                        detokenize=False,
                    )
                    for i in piece
                ],
                use_tqdm=False,
            )
            for i, output in zip(piece, outputs, strict=True):
                written = output.outputs[0]
                tokens, ended = list(written.token_ids), written.finish_reason == "stop"
                text = self._tokenizer.decode(
                    tokens[:-1] if ended else tokens,
                    skip_special_tokens=True,
                    clean_up_tokenization_spaces=False,
                )
                yield i, Completion(text) if ended else unfinished(text)

    def origin(self) -> dict[str, Any]:
        """Folder and digest of the weights, and the precision that they are used in."""
        return local_origin(self._model, "vllm", self._engine)

    def other_files(self) -> dict[str, str]:
        """Of the folder."""
        return other_files(self._model)

    def context(self) -> int:
        """Longest sequence that the engine was made for."""
        return int(self._llm.llm_engine.model_config.max_model_len)

    def close(self) -> None:
        """Free the model; GPU memory is free for certain only when the process has ended."""
        self._llm.llm_engine.engine_core.shutdown()
        del self._llm


def open(model: Path, engine: Engine) -> VllmBackend:
    """Load a model folder.

    Raises:
        UserError: vLLM is not installed, it cannot run on this processor, or no token ends an answer.
    """
    os.environ |= vllm_facts.EVERYWHERE
    # What is compiled on the way needs the programs of the environment.
    os.environ["PATH"] = os.pathsep.join(
        [str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)]
    )
    try:
        from vllm.platforms import current_platform
    except ImportError as error:
        raise UserError(
            f"backend 'vllm' cannot be imported here ({error}); it is part of the environments rl_cuda "
            "(hardware.device: cuda) and vllm_cpu (a rollout engine or evaluate.backend vllm on a CPU)"
        ) from error
    cpu = bool(current_platform.is_cpu())
    if cpu:
        import torch

        check_processor()
        check_heads(model)
        os.environ |= vllm_facts.ON_CPU
        torch.set_num_threads(engine.threads or os.cpu_count() or 1)
        listen_nowhere()
        rewind_seeds()
    return VllmBackend(model, engine, cpu=cpu)
