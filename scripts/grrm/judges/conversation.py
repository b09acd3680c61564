"""Conversations as general judges see them."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

from grrm.texts import MARK, encode_chat

# Where a line begins like a message.
_ROLE = re.compile(r"(?<=[\n\r\u2028\u2029])(?=[^\S\n\r]*(?:System|User|Assistant|Tool)[^\S\n\r]*:)")
# {"role": "system" | "user" | "assistant", "content": a text}
Message: TypeAlias = Mapping[str, str]


def question_text(conversation: Sequence[Message]) -> str:
    """A conversation as the {question} of a judge's prompt: all of it, not its first message alone.

    A lone user message stands as it is; else each message begins with its role ("User: ..."), and a line of a
    message that begins like one is marked (`grrm.texts.MARK`), so that no message adds another.

    Args:
        conversation: the messages before the response to judge, oldest first.
    """
    if len(conversation) == 1 and conversation[0]["role"] == "user":
        return conversation[0]["content"]
    return "\n\n".join(
        f"{message['role'].capitalize()}: {_ROLE.sub(MARK, message['content'])}" for message in conversation
    )


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
