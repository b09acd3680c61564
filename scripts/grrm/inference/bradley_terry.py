"""Scores of a Bradley-Terry judge: the logit at the last token of a conversation, with transformers.

Runs in an environment with torch, on a GPU if there is one.
"""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from grrm.files import UserError
from grrm.judges.conversation import Message, encode


def score(
    model: str | Path,
    conversations: Sequence[Sequence[Message]],
    max_length: int,
    *,
    batch_size: int = 32,
    threads: int = 1,
    seed: int = 0,
) -> list[float]:
    """The score of each conversation, which ends with the response to judge; higher is better, on no scale.

    Args:
        model: folder of the judge; of one whose head is not trained yet, the head is drawn by `seed`.
        conversations: messages, oldest first.
        max_length: longest conversation in tokens; of a longer one the beginning is cut off.
        batch_size: conversations a batch.
        threads: CPU threads.
        seed: of an untrained head.

    Raises:
        UserError: see `load`.
    """
    started = time.monotonic()
    scores = load(model, max_length, batch_size=batch_size, threads=threads, seed=seed)(conversations)
    print(f"{len(scores)} scores, {time.monotonic() - started:.1f} s", file=sys.stderr, flush=True)
    return scores


def load(
    model: str | Path, max_length: int, *, batch_size: int = 32, threads: int | None = 1, seed: int = 0
) -> Callable[[Sequence[Sequence[Message]]], list[float]]:
    """What scores conversations, as `score` does, with a model that stays loaded.

    Raises:
        UserError: the tokenizer has no chat template, or batch_size or threads is below 1.
    """
    import torch
    from transformers import AutoModelForSequenceClassification

    if batch_size < 1 or (threads is not None and threads < 1):
        raise UserError(f"batch_size {batch_size}, threads {threads}: expected 1 or more")
    if threads is not None:
        torch.set_num_threads(threads)
    torch.manual_seed(seed)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    tokenizer = load_tokenizer(model)
    network = AutoModelForSequenceClassification.from_pretrained(
        model, local_files_only=True, num_labels=1, dtype="auto" if device == "cuda" else torch.float32
    )
    network.config.pad_token_id = tokenizer.pad_token_id
    network.to(device).eval()

    def score_all(conversations: Sequence[Sequence[Message]]) -> list[float]:
        encoded = [encode(tokenizer, conversation, max_length) for conversation in conversations]
        order = sorted(range(len(encoded)), key=lambda i: -len(encoded[i]))
        scores = [0.0] * len(encoded)
        for start in range(0, len(order), batch_size):
            batch = order[start : start + batch_size]
            inputs = tokenizer.pad({"input_ids": [encoded[i] for i in batch]}, return_tensors="pt").to(device)
            with torch.inference_mode():
                logits = network(**inputs, use_cache=False).logits.float().squeeze(-1).tolist()
            for i, value in zip(batch, logits, strict=True):
                scores[i] = value
        if not all(map(math.isfinite, scores)):
            raise UserError(f"{model}: scores are not numbers; the training of this judge has diverged")
        return scores

    return score_all


def load_tokenizer(model: str | Path) -> Any:
    """The tokenizer of a judge, padding on the right.

    Raises:
        UserError: it has no chat template.
    """
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(model, local_files_only=True, padding_side="right")
    if not tokenizer.chat_template:
        raise UserError(f"{model}: the tokenizer has no chat template, so a response cannot be put as a chat")
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token
    return tokenizer
