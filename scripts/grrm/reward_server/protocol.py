"""What a trainer sends and gets: the protocol of OpenRLHF's `--remote_rm_url`.

OpenRLHF posts {"query": [...], "prompts": [...], "labels": [...]}: a query is a prompt with its response,
both as the policy's tokenizer decodes them, special tokens included. Current versions send one response a
request, older ones a batch (openrlhf/utils/agent.py and remote_rm_utils.py). It reads `rewards`, a list as
long as the query; also `scores` and `extra_logs` where they are there. Headers cannot be set.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

from pydantic import AliasChoices, BaseModel, ConfigDict, Field, JsonValue

from grrm.files import UserError

END_MARKS = ("<|im_end|>", "<|endoftext|>", "<|eot_id|>", "<end_of_turn>", "</s>")
"""Ends of a turn in the chat templates of Qwen, GPT-2, Llama 3, Gemma and Llama 2."""


class RewardRequest(BaseModel):
    """Responses to be rewarded; the three lists go together."""

    model_config = ConfigDict(
        json_schema_extra={
            "example": {
                "query": ["user: 2 + 2?\nassistant: 4<|im_end|>"],
                "prompts": ["user: 2 + 2?\nassistant: "],
                "labels": ["4"],
            }
        }
    )

    query: Annotated[
        list[str],
        Field(
            min_length=1,
            description="each prompt with its response",
            validation_alias=AliasChoices("query", "queries"),
        ),
    ]
    prompts: Annotated[list[str], Field(description="the prompts alone")]
    labels: Annotated[
        list[JsonValue] | None,
        Field(description="what the rows of the training data hold under --label_key"),
    ] = None


class RewardResponse(BaseModel):
    """Rewards in the order of the query."""

    rewards: Annotated[list[float], Field(description="higher is better")]
    scores: Annotated[list[float], Field(description="the same, for dynamic filtering")]
    extra_logs: Annotated[dict[str, list[float]], Field(description="figures to log, one per response")]


class Health(BaseModel):
    """What the server is, and what it has done since it started."""

    status: str
    reward: Annotated[str, Field(description="kind of the reward")]
    group_size: Annotated[
        int, Field(description="responses to a prompt judged together; 0: those of a request")
    ]
    waiting: Annotated[int, Field(description="requests that are being answered")]
    groups: Annotated[int, Field(description="groups rewarded")]
    failed: Annotated[int, Field(description="groups without a reward")]


class Problem(BaseModel):
    """Why there is no reward."""

    detail: Annotated[str, Field(description="a sentence")]


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
    label: JsonValue = None

    @property
    def group(self) -> str:
        """The same for all responses to a prompt."""
        return json.dumps([self.prompt, self.label], sort_keys=True)


def items(request: RewardRequest, end_marks: Sequence[str] = END_MARKS) -> list[Item]:
    """The responses of a request.

    Args:
        request: what was sent.
        end_marks: left out where a response ends with them, as often as they stand there.

    Raises:
        UserError: the lists differ in length, or a query does not begin with its prompt.
    """
    count = len(request.query)
    labels = [None] * count if request.labels is None else request.labels
    for name, values in (("prompts", request.prompts), ("labels", labels)):
        if len(values) != count:
            raise UserError(f"{name}: {len(values)} for {count} of query; expected as many")
    found = []
    for number, (query, prompt, label) in enumerate(zip(request.query, request.prompts, labels, strict=True)):
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
