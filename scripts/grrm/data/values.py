"""Values in published rows: JSON texts, texts, numbers, labels, conversations.

Any value may be a JSON text, and arrays may be numpy's, as verl reads Parquet.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from grrm.data.records import Conversation
from grrm.files import UserError, is_text

Row = Mapping[str, Any]

ROLES = ("system", "user", "assistant")
# As programs write numbers into tables: 7, -3.25, 0.8234567880630493, 1e-05.
_NUMBER = re.compile(r"[+-]?([0-9]+(\.[0-9]*)?|\.[0-9]+)([eE][+-]?[0-9]+)?")
# HelpSteer2 puts the turns of a conversation into its prompt.
_TURN = re.compile(r"\n?<extra_id_1>(User|Assistant)\n")


def number_of(value: Any, name: str) -> float:
    """A number, or a text that is one; anything else is a UserError that names it."""
    number = float(value) if isinstance(value, str) and _NUMBER.fullmatch(value.strip()) else value
    if isinstance(number, bool) or not isinstance(number, int | float) or not math.isfinite(number):
        raise UserError(f"{name} is {short(value)}; expected a number")
    return float(number)


def text_of(value: Any, name: str) -> str:
    """A text, not empty, without NUL and half characters; anything else is a UserError that names it."""
    if not isinstance(value, str) or not value.strip():
        raise UserError(f"{name} is {short(value)}; expected a text that is not empty")
    if "\0" in value or not is_text(value):  # tokenizers in C end at NUL; UTF-8 cannot hold half a character
        raise UserError(f"{name} is {short(value)}; expected a text without NUL and half characters")
    return value


def short(value: Any) -> str:
    """A value for messages."""
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:80]}..."


def decoded(value: Any) -> Any:
    """What a JSON text holds; any other value as it is, arrays as lists (verl reads Parquet into numpy's)."""
    if not isinstance(value, str):
        return as_list(value)
    try:
        return json.loads(value)
    except (ValueError, RecursionError):
        return value


def as_list(value: Any) -> Any:
    """An array of numpy's as a list; any other value as it is."""
    return value.tolist() if hasattr(value, "tolist") else value


def output_labels(row: Row) -> list[Mapping[str, Any]]:
    """The label of each answer, `output[i].answer.label`, empty where there is none.

    `output` may be one answer alone, and the key `answer` may be left out.
    """
    labels = [decoded(answer.get("label")) for answer in _items(row.get("output"))]
    return [label if isinstance(label, Mapping) else {} for label in labels]


def said_preferences(row: Row) -> list[Any]:
    """Whatever a published row says about which response is better, in its metadata and in its labels."""
    metadata = decoded(row.get("metadata"))
    said = [metadata.get("preferred")] if isinstance(metadata, Mapping) else []
    said += [label.get("preference") for label in output_labels(row)]
    return [value for value in said if value is not None and value != ""]


def _items(output: Any) -> Iterator[Mapping[str, Any]]:
    """The answers of an output that are such, without the key around them."""
    found = decoded(output)
    for item in found if isinstance(found, Sequence) and not isinstance(found, str) else [found]:
        answer = decoded(item)
        if isinstance(answer, Mapping) and answer.get("answer"):
            answer = decoded(answer["answer"])
        yield answer if isinstance(answer, Mapping) else {}


def answers_in(output: Any) -> list[Mapping[str, Any]]:
    """The answers of an `output`, each with `content`; UserError where one has none."""
    answers = list(_items(output))
    if not all("content" in answer for answer in answers):
        raise UserError(f"output is {short(output)}; expected answers with content")
    return answers


def label_of(answer: Mapping[str, Any]) -> dict[str, Any]:
    """The label of an answer; UserError where there is none."""
    label = decoded(answer.get("label"))
    if not isinstance(label, Mapping):
        raise UserError(f"label is {short(label)}; expected keys and values")
    return {key: value for key, value in label.items() if value is not None}


def messages_in(value: Any) -> list[Mapping[str, Any]] | None:
    """Messages, or those that a JSON text holds; None: it is a text, which may be JSON of another kind.

    Raises:
        UserError: the value is neither.
    """
    found = decoded(value) if isinstance(value, str) and value.lstrip()[:1] in ("[", "{") else as_list(value)
    messages = [found] if isinstance(found, Mapping) else found
    if isinstance(value, str):
        whole = isinstance(messages, list) and messages and all(map(_is_message, messages))
        return messages if whole else None
    if not isinstance(messages, Sequence) or not messages:
        raise UserError(f"{short(value)}; expected messages with role and content")
    return list(messages)


def _is_message(value: Any) -> bool:
    return isinstance(value, Mapping) and {"role", "content"} <= value.keys()


def as_conversation(value: Any, name: str) -> Conversation:
    """A conversation from messages, one message, a text (the user's turn) or the JSON text of messages.

    Raises:
        UserError: it is empty, or no such thing; `name` says where.
    """
    try:
        found = messages_in(value)
    except UserError as error:
        raise UserError(f"{name} is {error}") from error
    if found is None:
        return ({"role": "user", "content": text_of(value, name)},)
    messages = []
    for number, message in enumerate(found):
        if not isinstance(message, Mapping) or message.get("role") not in ROLES:
            raise UserError(
                f"{name}[{number}] is {short(message)}; expected a message whose role is {', '.join(ROLES)}"
            )
        content = text_of(message.get("content"), f"{name}[{number}].content")
        messages.append({"role": message["role"], "content": content})
    return tuple(messages)


def closed(value: Any, name: str) -> tuple[Conversation, str]:
    """What a response answers, empty if it stands alone, and the response, a text or the last turn.

    Raises:
        UserError: the last turn is not the assistant's, or there is none.
    """
    if isinstance(value, str) and messages_in(value) is None:
        return (), text_of(value, name)
    messages = as_conversation(value, name)
    if messages[-1]["role"] != "assistant":
        raise UserError(f"{name} ends with a message of {messages[-1]['role']}; expected assistant")
    return messages[:-1], messages[-1]["content"]


def marked_turns(prompt: Any) -> Conversation:
    """User's first turn, then marked turns of assistant and user."""
    first, *rest = _TURN.split(text_of(prompt, "prompt"))
    turns = [
        ("user", first),
        *((role.lower(), text) for role, text in zip(rest[::2], rest[1::2], strict=True)),
    ]
    return tuple({"role": role, "content": text_of(text, "prompt")} for role, text in turns)
