"""What a trainer sends and gets: the protocol of OpenRLHF's `--remote_rm_url`.

OpenRLHF posts {"query": [...], "prompts": [...], "labels": [...]}: a query is a prompt with its response,
both as the policy's tokenizer decodes them, special tokens included. Current versions send one response a
request, older ones a batch (openrlhf/utils/agent.py and remote_rm_utils.py). It reads `rewards`, a list as
long as the query; also `scores` and `extra_logs` where they are there. Headers cannot be set.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import AliasChoices, BaseModel, ConfigDict, Field, JsonValue

from grrm.rewards.responses import Item, items_of


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
    scores: Annotated[
        list[float],
        Field(description="the same as shares of the best one, above 0 and below 1, for dynamic filtering"),
    ]
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
    refused: Annotated[dict[str, int], Field(description="requests refused, by status")]


class Problem(BaseModel):
    """Why there is no reward."""

    detail: Annotated[str, Field(description="a sentence")]


def items(request: RewardRequest) -> list[Item]:
    """The responses of a request; raises what `grrm.rewards.responses.items_of` raises."""
    return items_of(request.query, request.prompts, request.labels)
