"""Conversations as general judges see them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

from grrm.texts import encode_chat

# {"role": "system" | "user" | "assistant", "content": a text}
Message: TypeAlias = Mapping[str, str]


def question_text(conversation: Sequence[Message]) -> str:
    """A conversation as the {question} of a judge's prompt: all of it, not its first message alone.

    A lone user message stands as it is; else each message begins with its role ("User: ...").

    Args:
        conversation: the messages before the response to judge, oldest first.
    """
    if len(conversation) == 1 and conversation[0]["role"] == "user":
        return conversation[0]["content"]
    return "\n\n".join(f"{message['role'].capitalize()}: {message['content']}" for message in conversation)


def with_response(conversation: Sequence[Message], response: str) -> list[dict[str, str]]:
    """The conversation closed by the response, as a Bradley-Terry model scores it."""
    return [*map(dict, conversation), {"role": "assistant", "content": response}]


def encode(tokenizer: Any, conversation: Sequence[Message], max_length: int) -> list[int]:
    """Tokens of a conversation in the model's chat template, the last `max_length` of them.

    Args:
        tokenizer: of transformers.
        conversation: messages, oldest first.
        max_length: longest conversation in tokens; of a longer one the beginning is cut off.
    """
    return encode_chat(tokenizer, conversation)[-max_length:]
