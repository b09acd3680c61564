"""Prompts as tokens, the same way for every backend that runs a model in this process."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from grrm.files import UserError
from grrm.inference.backends import Request
from grrm.texts import encode_chat, encode_text, ends_of_answer


def encode(tokenizer: Any, requests: Sequence[Request]) -> list[list[int]]:
    """Token ids of each request.

    Raises:
        UserError: a chat is asked for and the tokenizer has no chat template.
    """
    if any(request.chat for request in requests) and not tokenizer.chat_template:
        raise UserError(
            f"{tokenizer.name_or_path}: the tokenizer has no chat template, so a prompt cannot be put as a "
            "chat; use a prompt of a kind that is continued as it is (seed-x, ssr), or another model"
        )
    return [
        encode_chat(tokenizer, [{"role": "user", "content": r.text}], add_generation_prompt=True)
        if r.chat
        else encode_text(tokenizer, r.text)
        for r in requests
    ]


def stop_tokens(tokenizer: Any, *declared: Any) -> set[int]:
    """Tokens that end an answer (`grrm.texts.ends_of_answer`).

    Raises:
        UserError: there are none, so that no answer would ever end.
    """
    stops = ends_of_answer(tokenizer, *declared)
    if not stops:
        raise UserError("neither tokenizer nor model names an end token, so no answer would ever end")
    return stops
