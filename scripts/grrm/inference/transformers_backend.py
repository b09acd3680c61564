"""Generation with transformers, on a GPU if there is one, else on the CPU."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    GenerationConfig,
    LogitsProcessor,
    LogitsProcessorList,
    StoppingCriteria,
    StoppingCriteriaList,
)
from transformers.utils.logging import disable_progress_bar

from grrm.inference.backends import (
    Completion,
    Decoding,
    Engine,
    Request,
    folder_origin,
    other_files,
    prompt_too_long,
    unfinished,
)
from grrm.inference.tokens import encode, stop_tokens
from grrm.sampling import draw, processed_log_probs, uniform_draws


class TransformersBackend:
    """A model of transformers. Prompts of like length share a batch, so little is padded."""

    def __init__(self, model: Path, engine: Engine) -> None:
        if engine.threads is not None:
            torch.set_num_threads(engine.threads)
        disable_progress_bar()
        self._model, self._batch_size = model, engine.batch_size
        self._device = "cuda" if torch.cuda.is_available() else "cpu"
        self._tokenizer = AutoTokenizer.from_pretrained(model, local_files_only=True, padding_side="left")
        self._network = AutoModelForCausalLM.from_pretrained(
            model, local_files_only=True, dtype="auto" if self._device == "cuda" else torch.float32
        )
        self._network.to(self._device).eval()
        # Of models that read images, too, the part that writes text (Gemma 3, Qwen-VL).
        self._config = self._network.config.get_text_config()
        # Those that read images keep a state for each row of the batch beside the cache.
        self._rows_may_leave = self._config is self._network.config
        declared = (
            getattr(self._network.generation_config, "eos_token_id", None),
            getattr(self._config, "eos_token_id", None),
        )
        self._stops = stop_tokens(self._tokenizer, *declared)
        if self._tokenizer.pad_token_id is None:
            self._tokenizer.pad_token = self._tokenizer.convert_ids_to_tokens(min(self._stops))
        # The model's own defaults (Qwen's: temperature 0.7, repetition penalty) would fill what is left open.
        self._network.generation_config = GenerationConfig(pad_token_id=self._tokenizer.pad_token_id)

    def generate(self, requests: Sequence[Request], decoding: Decoding) -> Iterator[tuple[int, Completion]]:
        """Complete all requests, batch by batch."""
        encoded = encode(self._tokenizer, requests)
        room = self.context() - decoding.max_new_tokens
        for position, tokens in enumerate(encoded):
            if len(tokens) > room:
                yield position, prompt_too_long(len(tokens), room)
        # Longest first: if memory runs out, it does so at once.
        order = sorted(
            (i for i, tokens in enumerate(encoded) if len(tokens) <= room), key=lambda i: -len(encoded[i])
        )
        for start in range(0, len(order), self._batch_size):
            batch = order[start : start + self._batch_size]
            yield from zip(
                batch,
                self._complete([encoded[i] for i in batch], [requests[i].seed for i in batch], decoding),
                strict=True,
            )

    def origin(self) -> dict[str, Any]:
        """Folder and digest of the weights."""
        return folder_origin(self._model, self._model)

    def other_files(self) -> dict[str, str]:
        """Of the folder."""
        return other_files(self._model)

    def context(self) -> int:
        """Positions of the model; of one without a limit more than any text has."""
        return int(getattr(self._config, "max_position_embeddings", None) or sys.maxsize)

    def close(self) -> None:
        """Free the model."""
        del self._network

    def _complete(self, prompts: list[list[int]], seeds: list[int], decoding: Decoding) -> list[Completion]:
        """Finished rows leave the batch, a fifth of it at a time: the cache is copied then."""
        inputs = self._tokenizer.pad({"input_ids": prompts}, return_tensors="pt").to(self._device)
        width, stops = inputs["input_ids"].shape[1], torch.tensor(sorted(self._stops), device=self._device)
        left = list(range(len(prompts)))
        answers: dict[int, list[int]] = {}
        draw = _Draw(seeds, decoding, self._device) if decoding.temperature > 0 else None
        while left:
            with torch.inference_mode():
                output = self._network.generate(
                    **inputs,
                    generation_config=GenerationConfig(
                        max_new_tokens=width + decoding.max_new_tokens - inputs["input_ids"].shape[1],
                        eos_token_id=stops.tolist(),
                        do_sample=False,
                    ),
                    logits_processor=LogitsProcessorList([draw] if draw else []),
                    stopping_criteria=StoppingCriteriaList(
                        [_FewerLeft(stops)] if self._rows_may_leave else []
                    ),
                    return_dict_in_generate=True,
                )
            tokens = output.sequences[:, width:]
            ended = torch.isin(tokens, stops).any(dim=1)
            if tokens.shape[1] >= decoding.max_new_tokens:
                ended = torch.ones_like(ended)
            answers |= {left[row]: tokens[row].tolist() for row in ended.nonzero()[:, 0].tolist()}
            keep = (~ended).nonzero()[:, 0]
            left = [left[row] for row in keep.tolist()]
            if left:
                cache, mask = output.past_key_values, inputs["attention_mask"][keep]
                cache.batch_select_indices(keep)
                ids = output.sequences[keep]
                more = mask.new_ones(len(left), ids.shape[1] - mask.shape[1])
                mask = torch.cat([mask, more], dim=1)
                inputs = {"input_ids": ids, "attention_mask": mask, "past_key_values": cache}
                if draw:
                    draw.keep(keep)
        return [self._completion(answers[row]) for row in range(len(prompts))]

    def _completion(self, tokens: list[int]) -> Completion:
        end = next((position for position, token in enumerate(tokens) if token in self._stops), None)
        text = self._tokenizer.decode(
            tokens[:end], skip_special_tokens=True, clean_up_tokenization_spaces=False
        )
        return unfinished(text) if end is None else Completion(text)


class _Draw(LogitsProcessor):  # type: ignore[misc]
    """Samples: leaves each row the one token that it draws with random numbers of its own.

    transformers would draw for a whole batch from one stream; a completion would then depend on its batch.
    """

    def __init__(self, seeds: Sequence[int], decoding: Decoding, device: str) -> None:
        self._uniforms = torch.tensor(
            [uniform_draws(decoding.max_new_tokens, seed).tolist() for seed in seeds],
            dtype=torch.float64,
            device=device,
        )
        self._temperature = torch.full((len(seeds),), decoding.temperature, device=device)
        self._top_p = torch.full((len(seeds),), decoding.top_p, device=device)
        self._step = 0

    def keep(self, rows: torch.Tensor) -> None:
        """Go on with these rows alone."""
        self._uniforms, self._temperature = self._uniforms[rows], self._temperature[rows]
        self._top_p = self._top_p[rows]

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        off = torch.full_like(self._top_p, scores.shape[-1], dtype=torch.int64)
        log_probs = processed_log_probs(scores.float(), self._temperature, off, self._top_p)
        tokens = draw(log_probs, self._uniforms[:, self._step])
        self._step += 1
        return torch.full_like(scores, float("-inf")).scatter_(1, tokens[:, None], 0.0)


class _FewerLeft(StoppingCriteria):  # type: ignore[misc]
    """Ends a stretch of decoding once so many rows are finished that the others go on alone."""

    _SHARE = 0.8

    def __init__(self, stops: torch.Tensor) -> None:
        self._stops = stops
        self._ended: torch.Tensor | None = None

    def __call__(self, input_ids: torch.Tensor, scores: Any, **kwargs: Any) -> torch.Tensor:
        ended = torch.isin(input_ids[:, -1], self._stops)
        self._ended = ended if self._ended is None else self._ended | ended
        enough = int((~self._ended).sum()) < self._SHARE * len(ended)
        return torch.full_like(ended, enough)


def open(model: Path, engine: Engine) -> TransformersBackend:
    """Load a model folder.

    Raises:
        UserError: no token ends an answer.
    """
    return TransformersBackend(model, engine)
