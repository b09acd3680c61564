"""Responses as trainers of other projects hand them over: a query is a prompt with its response.

Both are as the policy's tokenizer decodes them, special tokens included, and have a label beside them.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from grrm.files import UserError

END_MARKS = ("<|im_end|>", "<|endoftext|>", "<|eot_id|>", "<end_of_turn>", "</s>")
"""Ends of a turn in the chat templates of Qwen, GPT-2, Llama 3, Gemma and Llama 2."""


@dataclass(frozen=True)
class Item:
    """A response to be rewarded.

    Attributes:
        prompt: as the policy saw it, with the marks of its chat template.
        response: without the mark of its end.
        label: what the training data say about the prompt; None if nothing.
    """

    prompt: str
    response: str
    label: Any = None

    @property
    def group(self) -> str:
        """The same for all responses to a prompt."""
        return json.dumps([self.prompt, self.label], sort_keys=True)


def items_of(
    queries: Sequence[str],
    prompts: Sequence[str],
    labels: Sequence[Any] | None,
    end_marks: Sequence[str] = END_MARKS,
) -> list[Item]:
    """The responses of queries.

    Args:
        queries: each prompt with its response.
        prompts: the prompts alone.
        labels: what the training data say about each prompt; None if nothing.
        end_marks: left out where a response ends with them, as often as they stand there.

    Raises:
        UserError: the lists differ in length, or a query does not begin with its prompt.
    """
    count = len(queries)
    labels = [None] * count if labels is None else labels
    for name, values in (("prompts", prompts), ("labels", labels)):
        if len(values) != count:
            raise UserError(f"{name}: {len(values)} for {count} of query; expected as many")
    found = []
    for number, (query, prompt, label) in enumerate(zip(queries, prompts, labels, strict=True)):
        if not query.startswith(prompt):
            raise UserError(
                f"query {number}: it does not begin with prompt {number}, so its response cannot be told "
                "from it; send both as the same tokenizer decodes them"
            )
        found.append(Item(prompt, _without_end(query[len(prompt) :], end_marks), label))
    return found


def _without_end(response: str, end_marks: Sequence[str]) -> str:
    text = response.rstrip()
    while mark := next((mark for mark in end_marks if mark and text.endswith(mark)), None):
        text = text.removesuffix(mark).rstrip()
    return text
