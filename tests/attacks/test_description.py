"""The reward server answers whatever is sent as its own description (OpenAPI) says."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import schemathesis
from hypothesis import HealthCheck, settings
from schemathesis.specs.openapi.checks import positive_data_acceptance

from grrm.reward_server.app import ServerOptions, create_app
from grrm.rewards.responses import Item
from grrm.rewards.siblings import Reward


async def by_length(group: Sequence[Item]) -> list[Reward]:
    return [Reward(float(len(item.response))) for item in group]


@asynccontextmanager
async def opened() -> AsyncIterator[Any]:
    yield by_length


server = create_app(opened, ServerOptions("by_length", max_queries=8), lambda item: None)
schema = schemathesis.openapi.from_asgi("/openapi.json", server)


@schema.parametrize()
@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
def test_whatever_is_sent_is_answered_as_described(case: Any) -> None:
    # No schema can say that a query begins with its prompt: tests/unit/test_reward_server.py does.
    case.call_and_validate(excluded_checks=[positive_data_acceptance])
