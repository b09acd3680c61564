"""Batched decoding of a transformers causal language model, with a parameter set per row."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import torch
from transformers import PreTrainedModel

from grrm.sampling import SamplingParams, draw, processed_log_probs

# Finished rows are dropped once so many have gathered: dropping copies the cache.
COMPACT_BELOW = 0.8

FinishReason = Literal["stop", "length", "abort"]


@dataclass
class Request:
    """One prompt on its way through the model; `tokens`, `log_probs` and `finish_reason` are filled in.

    Attributes:
        prompt: token ids, at least one.
        uniforms: one number in [0, 1) per token that may be drawn; unused if greedy.
        aborted: may be set by another thread; the row then ends before its next token.
    """

    prompt: list[int]
    params: SamplingParams
    uniforms: np.ndarray
    aborted: bool = False
    tokens: list[int] = field(default_factory=list)
    log_probs: list[float] = field(default_factory=list)
    finish_reason: FinishReason | None = None


@torch.inference_mode()
def generate(
    model: PreTrainedModel,
    requests: Sequence[Request],
    eos_token_ids: Sequence[int],
    pad_token_id: int,
    raw_log_probs: bool = False,
) -> None:
    """Continue all prompts, in place. Equal prompts share one prefill.

    Args:
        model: in evaluation mode.
        requests: at least one; not begun.
        eos_token_ids: tokens that end an answer (kept in it).
        pad_token_id: any valid id; padded positions are masked.
        raw_log_probs: report log-probabilities of the model itself rather than those after temperature, top-k
            and top-p. (Greedy rows always report the model's own.)
    """
    cache, logits, mask, position = _prefill(model, requests, pad_token_id)
    live = list(requests)  # rows of the batch, finished ones included until the next compaction
    rows = _RowParams.of(live, logits.shape[-1])
    step = 0
    while True:
        tokens, chosen = rows.next_tokens(logits, step, raw_log_probs)
        for request, token, log_prob in zip(live, tokens.tolist(), chosen.tolist(), strict=True):
            if request.finish_reason is None:
                _append(request, token, log_prob, eos_token_ids)
        step += 1
        going = [row for row, request in enumerate(live) if request.finish_reason is None]
        if not going:
            return
        if len(going) < COMPACT_BELOW * len(live):
            keep = torch.tensor(going)
            cache.batch_select_indices(keep)
            live, rows = [live[row] for row in going], rows.select(keep)
            tokens, mask, position = tokens[keep], mask[keep], position[keep]
        position = position + 1
        mask = torch.cat([mask, mask.new_ones(len(live), 1)], dim=1)
        output = model(
            input_ids=tokens[:, None],
            attention_mask=mask,
            position_ids=position,
            past_key_values=cache,
            use_cache=True,
        )
        logits = output.logits[:, -1].float()


def _prefill(
    model: PreTrainedModel, requests: Sequence[Request], pad_token_id: int
) -> tuple[Any, torch.Tensor, torch.Tensor, torch.Tensor]:
    """Cache, next logits [rows, vocabulary], mask [rows, width], last position [rows, 1]; a row a request."""
    prompts = list(dict.fromkeys(tuple(request.prompt) for request in requests))
    row_of = {prompt: row for row, prompt in enumerate(prompts)}
    expand = torch.tensor([row_of[tuple(request.prompt)] for request in requests])
    width = max(map(len, prompts))
    ids = torch.tensor([[pad_token_id] * (width - len(prompt)) + list(prompt) for prompt in prompts])
    mask = torch.tensor([[0] * (width - len(prompt)) + [1] * len(prompt) for prompt in prompts])
    positions = (mask.cumsum(dim=1) - 1).clamp(min=0)
    output = model(
        input_ids=ids, attention_mask=mask, position_ids=positions, use_cache=True, logits_to_keep=1
    )
    cache = output.past_key_values
    cache.batch_select_indices(expand)
    return cache, output.logits[expand, -1].float(), mask[expand], positions[expand, -1:]


def _append(request: Request, token: int, log_prob: float, eos_token_ids: Sequence[int]) -> None:
    if request.aborted:
        request.finish_reason = "abort"
        return
    request.tokens.append(token)
    request.log_probs.append(log_prob)
    params = request.params
    if token in params.stop_token_ids or (token in eos_token_ids and not params.ignore_eos):
        request.finish_reason = "stop"
    elif len(request.tokens) == params.max_tokens:
        request.finish_reason = "length"


@dataclass
class _RowParams:
    """The sampling parameters of a batch as tensors, one entry per row."""

    greedy: torch.Tensor
    temperature: torch.Tensor
    top_k: torch.Tensor
    top_p: torch.Tensor
    uniforms: torch.Tensor  # [rows, longest answer], float64

    @classmethod
    def of(cls, requests: Sequence[Request], vocabulary: int) -> _RowParams:
        params = [request.params for request in requests]
        greedy = [p.temperature == 0 for p in params]
        longest = max(p.max_tokens for p in params)
        uniforms = np.zeros((len(requests), longest))
        for row, request in enumerate(requests):
            if not greedy[row]:
                uniforms[row, : request.params.max_tokens] = request.uniforms[: request.params.max_tokens]
        return cls(
            greedy=torch.tensor(greedy),
            temperature=torch.tensor([p.temperature or 1.0 for p in params]),
            top_k=torch.tensor(
                [p.top_k if p.top_k > 0 and p.temperature else vocabulary for p in params], dtype=torch.int64
            ),
            top_p=torch.tensor([p.top_p if p.temperature else 1.0 for p in params]),
            uniforms=torch.from_numpy(uniforms),
        )

    def select(self, keep: torch.Tensor) -> _RowParams:
        return _RowParams(
            self.greedy[keep],
            self.temperature[keep],
            self.top_k[keep],
            self.top_p[keep],
            self.uniforms[keep],
        )

    def next_tokens(
        self, logits: torch.Tensor, step: int, raw_log_probs: bool
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Token ids and their log-probabilities, [rows] each."""
        log_probs = processed_log_probs(logits, self.temperature, self.top_k, self.top_p)
        tokens = log_probs.argmax(dim=-1)
        if not bool(self.greedy.all()):
            tokens = torch.where(self.greedy, tokens, draw(log_probs, self.uniforms[:, step]))
        reported = logits.log_softmax(dim=-1) if raw_log_probs else log_probs
        return tokens, reported.gather(1, tokens[:, None])[:, 0]
