"""Sampling parameters of a request: parsed, checked, and turned into tokens.

Conventions are vLLM's: temperature 0 is greedy, top_k -1 or 0 and top_p 1 are off, top-k is applied before
top-p.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

# Names of the longest answer, of which a request gives one.
LIMITS = ("max_tokens", "max_completion_tokens", "max_new_tokens")

# Accepted because the value given means "off" or "as usual"; any other value is refused, not ignored.
NEUTRAL_VALUES: dict[str, tuple[Any, ...]] = {
    "best_of": (None, 1),
    "detokenize": (None, True, False),
    "frequency_penalty": (None, 0),
    "logit_bias": (None, {}),
    "min_p": (None, 0),
    "min_tokens": (None, 0),
    "n": (None, 1),
    "presence_penalty": (None, 0),
    "prompt_logprobs": (None, False),
    "repetition_penalty": (None, 1),
    "stop": (None, [], ()),
}


@dataclass(frozen=True)
class SamplingParams:
    """How to continue one prompt.

    Attributes:
        max_tokens: at least 1; the end-of-sequence token counts.
        temperature: 0 (greedy) or more.
        top_p: in (0, 1].
        top_k: -1 (off) or at least 1.
        stop_token_ids: tokens that end the answer besides the model's own; the token is kept in the answer.
        ignore_eos: do not stop at the model's end-of-sequence tokens.
        seed: makes this request's draws its own; None: derived from the server's seed.
        logprobs: return the log-probability of each token drawn.
    """

    max_tokens: int
    temperature: float = 1.0
    top_p: float = 1.0
    top_k: int = -1
    stop_token_ids: tuple[int, ...] = ()
    ignore_eos: bool = False
    seed: int | None = None
    logprobs: bool = False


def parse_sampling_params(
    raw: Mapping[str, Any], default_max_tokens: int, ignore_eos: bool
) -> SamplingParams:
    """Check a request's parameters.

    Args:
        raw: names as in vLLM's SamplingParams; None means "not given". `max_new_tokens` is max_tokens.
        default_max_tokens: used where `raw` sets no limit.
        ignore_eos: used where `raw` does not say.

    Raises:
        ValueError: an unknown or unsupported parameter, or a value out of range.
    """
    given = {key: value for key, value in raw.items() if value is not None}
    for key in sorted(given.keys() & NEUTRAL_VALUES.keys()):
        value = given.pop(key)
        if value not in NEUTRAL_VALUES[key]:
            raise ValueError(f"{key}={value!r} is not supported by the transformers rollout; leave it out")
    limits = [given.pop(key) for key in LIMITS if key in given]
    if len(limits) > 1:
        raise ValueError(f"give one of {', '.join(LIMITS)}, not {len(limits)}")
    max_tokens = _integer("max_tokens", limits[0] if limits else default_max_tokens, minimum=1)
    temperature = _number("temperature", given.pop("temperature", 1.0))
    if temperature < 0:
        raise ValueError(f"temperature={temperature}: expected 0 (greedy) or more")
    top_p = _number("top_p", given.pop("top_p", 1.0))
    if not 0 < top_p <= 1:
        raise ValueError(f"top_p={top_p}: expected a value in (0, 1]")
    top_k = _integer("top_k", given.pop("top_k", -1), minimum=-1) or -1
    stop = given.pop("stop_token_ids", ())
    if isinstance(stop, str) or not isinstance(stop, Sequence):
        raise ValueError(f"stop_token_ids={stop!r}: expected a list of integers")
    seed = given.pop("seed", None)
    params = SamplingParams(
        max_tokens=max_tokens,
        temperature=temperature,
        top_p=top_p,
        top_k=top_k,
        stop_token_ids=tuple(_integer("stop_token_ids", token, minimum=0) for token in stop),
        ignore_eos=bool(given.pop("ignore_eos", ignore_eos)),
        seed=None if seed is None else _integer("seed", seed, minimum=0),
        # verl passes a bool, vLLM's own type is the number of alternatives.
        logprobs=given.pop("logprobs", False) is not False,
    )
    if given:
        raise ValueError(f"unknown sampling parameter(s): {', '.join(sorted(given))}")
    return params


def uniform_draws(count: int, *key: int | str | Sequence[int]) -> np.ndarray:
    """`count` numbers in [0, 1), float64, that depend on `key` alone.

    A request owns its randomness, so what it draws does not depend on the requests it is batched with.
    """
    digest = hashlib.blake2b(repr(key).encode(), digest_size=16).digest()
    return np.random.Generator(np.random.Philox(key=int.from_bytes(digest, "little"))).random(count)


def processed_log_probs(
    logits: torch.Tensor, temperature: torch.Tensor, top_k: torch.Tensor, top_p: torch.Tensor
) -> torch.Tensor:
    """Log-probabilities of the distribution that is drawn from.

    Args:
        logits: [rows, vocabulary], float32.
        temperature: [rows], above 0.
        top_k: [rows], int64; the vocabulary size means off.
        top_p: [rows]; 1 means off.

    Returns:
        [rows, vocabulary]: normalised, -inf where a token cannot be drawn.
    """
    scores = logits / temperature[:, None]
    limit_k, limit_p = bool((top_k < scores.shape[-1]).any()), bool((top_p < 1).any())
    if limit_k or limit_p:
        ordered, order = scores.sort(dim=-1, descending=True, stable=True)
        if limit_k:
            beyond = torch.arange(scores.shape[-1])[None] >= top_k[:, None]
            ordered = ordered.masked_fill(beyond, float("-inf"))
        if limit_p:
            probs = ordered.softmax(dim=-1)
            # A token stays while the mass before it is below top_p: the most likely one always does.
            beyond = (probs.cumsum(dim=-1) - probs >= top_p[:, None]) & (top_p < 1)[:, None]
            ordered = ordered.masked_fill(beyond, float("-inf"))
        scores = torch.empty_like(scores).scatter_(-1, order, ordered)
    return scores.log_softmax(dim=-1)


def draw(log_probs: torch.Tensor, uniforms: torch.Tensor) -> torch.Tensor:
    """Draw one token per row by inverting the cumulative distribution.

    Args:
        log_probs: [rows, vocabulary], normalised.
        uniforms: [rows], float64 in [0, 1).

    Returns:
        [rows] token ids; never one of probability 0.
    """
    cumulative = log_probs.double().exp().cumsum(dim=-1)
    total = cumulative[:, -1]
    target = torch.minimum(uniforms * total, total.nextafter(torch.zeros_like(total)))
    return torch.searchsorted(cumulative, target[:, None], right=True)[:, 0]


def _number(name: str, value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) < 1e9:
        raise ValueError(f"{name}={value!r}: expected a number")
    return float(value)


def _integer(name: str, value: Any, minimum: int) -> int:
    if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < minimum:
        raise ValueError(f"{name}={value!r}: expected an integer of at least {minimum}")
    return int(value)
