"""Generation with vLLM's offline engine, on GPUs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from grrm.files import UserError
from grrm.inference.backends import (
    Completion,
    Decoding,
    Engine,
    Request,
    folder_origin,
    prompt_too_long,
    unfinished,
)
from grrm.inference.tokens import encode, stop_tokens

# vLLM fills its own batches; it is handed this many times the batch size at once, and what it has made of
# them is passed on. Larger pieces keep the GPU fuller, smaller ones lose less when a run is interrupted.
_BATCHES = 32


class VllmBackend:
    """A model in a `vllm.LLM`."""

    def __init__(self, model: Path, engine: Engine) -> None:
        from vllm import LLM

        self._model, self._piece = model, engine.batch_size * _BATCHES
        self._llm = LLM(
            model=str(model),
            tensor_parallel_size=engine.gpus,
            gpu_memory_utilization=engine.gpu_memory,
            max_model_len=engine.max_model_len,
            enable_prefix_caching=True,
        )
        self._tokenizer = self._llm.get_tokenizer()
        self._stops = sorted(stop_tokens(self._tokenizer))

    def generate(self, requests: Sequence[Request], decoding: Decoding) -> Iterator[tuple[int, Completion]]:
        """Complete all requests, some thousand at once."""
        from vllm import SamplingParams

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
                    )
                    for i in piece
                ],
                use_tqdm=False,
            )
            for i, output in zip(piece, outputs, strict=True):
                written = output.outputs[0]
                yield (
                    i,
                    Completion(written.text) if written.finish_reason == "stop" else unfinished(written.text),
                )

    def origin(self) -> dict[str, Any]:
        """Folder and digest of the weights."""
        return folder_origin(self._model, self._model)

    def context(self) -> int:
        """Longest sequence that the engine was made for."""
        return int(self._llm.llm_engine.model_config.max_model_len)

    def close(self) -> None:
        """Free the model; GPU memory is free for certain only when the process has ended."""
        del self._llm


def open(model: Path, engine: Engine) -> VllmBackend:
    """Load a model folder.

    Raises:
        UserError: vLLM is not installed, or no token ends an answer.
    """
    try:
        import vllm  # noqa: F401
    except ImportError as error:
        raise UserError(
            f"backend 'vllm' cannot be imported here ({error}); it is part of the environment rl_cuda "
            "(hardware.device: cuda); without a GPU choose the backend transformers"
        ) from error
    return VllmBackend(model, engine)
