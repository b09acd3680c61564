"""Generation with transformers, on a GPU if there is one, else on the CPU."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, GenerationConfig
from transformers.utils.logging import disable_progress_bar

from grrm.files import UserError
from grrm.inference import Completion, Decoding


def generate(
    model: Path, prompts: Sequence[str], decoding: Decoding, *, batch_size: int = 32, threads: int = 1
) -> list[Completion]:
    """Complete each prompt, sent as the user's turn of a chat.

    Prompts of like length share a batch, so little is padded. Greedy completions do not depend on the batch
    (up to rounding); sampled ones do: the same call with the same seed gives the same completions.

    Raises:
        UserError: the tokenizer has no chat template, or `batch_size` or `threads` is below 1.
    """
    if batch_size < 1 or threads < 1:
        raise UserError(f"batch_size {batch_size}, threads {threads}: expected 1 or more")
    torch.set_num_threads(threads)
    disable_progress_bar()
    device = "cuda" if torch.cuda.is_available() else "cpu"
    tokenizer = AutoTokenizer.from_pretrained(model, local_files_only=True, padding_side="left")
    if not tokenizer.chat_template:
        raise UserError(f"{model}: the tokenizer has no chat template, so a prompt cannot be put as a chat")
    network = AutoModelForCausalLM.from_pretrained(
        model, local_files_only=True, dtype="auto" if device == "cuda" else torch.float32
    )
    network.to(device).eval()
    stops = _stop_tokens(tokenizer, network)
    # The model's own defaults (Qwen's: temperature 0.7, repetition penalty) would fill what we leave open.
    network.generation_config = GenerationConfig(pad_token_id=_pad_token(tokenizer, stops))
    settings = GenerationConfig(
        max_new_tokens=decoding.max_new_tokens,
        eos_token_id=sorted(stops),
        **(
            {"do_sample": True, "temperature": decoding.temperature, "top_k": 0, "top_p": 1.0}
            if decoding.temperature > 0
            else {"do_sample": False}
        ),
    )
    encoded = _encode(tokenizer, prompts)
    room = network.config.max_position_embeddings - decoding.max_new_tokens
    completions = {i: Completion("", "prompt") for i, tokens in enumerate(encoded) if len(tokens) > room}
    todo = sorted((i for i in range(len(encoded)) if i not in completions), key=lambda i: len(encoded[i]))
    torch.manual_seed(decoding.seed)
    started = time.monotonic()
    # Longest first: if memory runs out, it does so at once.
    for batch in reversed([todo[start : start + batch_size] for start in range(0, len(todo), batch_size)]):
        inputs = tokenizer.pad({"input_ids": [encoded[i] for i in batch]}, return_tensors="pt").to(device)
        with torch.inference_mode():
            output = network.generate(**inputs, generation_config=settings)
        for i, tokens in zip(batch, output[:, inputs["input_ids"].shape[1] :].tolist(), strict=True):
            completions[i] = _completion(tokenizer, tokens, stops)
        print(
            f"{len(completions)} of {len(prompts)} completions, {time.monotonic() - started:.1f} s",
            file=sys.stderr,
            flush=True,
        )
    return [completions[i] for i in range(len(prompts))]


def _encode(tokenizer: Any, prompts: Sequence[str]) -> list[list[int]]:
    return [
        tokenizer.apply_chat_template(
            [{"role": "user", "content": prompt}], add_generation_prompt=True, tokenize=True, return_dict=True
        )["input_ids"]
        for prompt in prompts
    ]


def _completion(tokenizer: Any, tokens: list[int], stops: set[int]) -> Completion:
    end = next((position for position, token in enumerate(tokens) if token in stops), None)
    text = tokenizer.decode(tokens[:end], skip_special_tokens=True, clean_up_tokenization_spaces=False)
    return Completion(text, "length" if end is None else "stop")


def _stop_tokens(tokenizer: Any, network: Any) -> set[int]:
    declared = [tokenizer.eos_token_id, network.generation_config.eos_token_id, network.config.eos_token_id]
    stops = {token for value in declared for token in (value if isinstance(value, list) else [value])}
    # A chat turn ends here, also in models whose end-of-text token is another one.
    stops.add(tokenizer.get_vocab().get("<|im_end|>"))
    stops.discard(None)
    if not stops:
        raise UserError("neither tokenizer nor model names an end token, so no answer would ever end")
    return stops


def _pad_token(tokenizer: Any, stops: set[int]) -> int:
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.convert_ids_to_tokens(min(stops))
    return int(tokenizer.pad_token_id)
