"""The reward server (FastAPI)."""

from __future__ import annotations

import asyncio
import logging
import re
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

from fastapi import FastAPI, HTTPException, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse

from grrm import __version__
from grrm.files import UserError
from grrm.reward_server.bodies import BodyLimit
from grrm.reward_server.protocol import Health, Problem, RewardRequest, RewardResponse, items
from grrm.rewards.responses import Item
from grrm.rewards.siblings import Collector, IncompleteError, Reward, Score, rewarded

_LOG = logging.getLogger("uvicorn.error")
_VARIABLE = re.compile(r"\d+(?:\.\d+)?|'[^']*'|\"[^\"]*\"")
_KINDS = 100  # of refusals that are told apart

_PROBLEMS = {
    400: "the body is no text in UTF-8, or no JSON that can be read",
    408: "the body does not come",
    413: "more than the server takes at once",
    422: "the request cannot be understood, or has no group to compare",
    502: "the judge gave no usable answer, so there is no reward",
    500: "a fault of the server",
    503: "too many requests wait already, or siblings have not come yet: ask again",
}


@dataclass(frozen=True)
class ServerOptions:
    """What the server takes (times in seconds).

    Raises:
        UserError: a value is out of range.
    """

    reward: str
    """Kind of the reward, for the description."""
    compares: bool = False
    """Whether a reward is worth something only beside the group's others."""
    group_size: int = 0
    """Responses to a prompt judged together, whichever requests they come in; 0: those of a request."""
    patience: float = 150.0
    """Longest wait for siblings; OpenRLHF gives up after 180 s."""
    concurrency: int = 64
    """Groups scored at once."""
    max_waiting: int = 4096
    """Requests answered at once."""
    max_queries: int = 1024
    """Responses a request."""
    max_group: int = 64
    """Responses a group."""
    max_body: int = 16 * 2**20
    """Bytes a request."""
    max_receiving: int = 64 * 2**20
    """Bytes of all requests that are on their way."""
    receive_seconds: float = 60.0
    """Longest time for a request to come."""

    def __post_init__(self) -> None:
        """Check the values."""
        for name in (
            *("patience", "concurrency", "max_waiting", "max_queries", "max_group", "max_body"),
            *("max_receiving", "receive_seconds"),
        ):
            if not getattr(self, name) > 0:
                raise UserError(f"{name}: {getattr(self, name)}, expected a number above 0")
        if not 0 <= self.group_size <= self.max_group:
            raise UserError(f"group_size: {self.group_size}, expected a number from 0 to {self.max_group}")
        if self.compares and self.group_size == 1:
            raise UserError(f"group_size: 1, but {self.reward} compares the responses of a group: at least 2")


class RefusedError(Exception):
    """An answer without rewards."""

    def __init__(self, status: int, detail: str) -> None:
        super().__init__(detail)
        self.status, self.detail = status, detail


def create_app(
    scoring: Callable[[], AbstractAsyncContextManager[Score]],
    options: ServerOptions,
    check: Callable[[Item], None] = lambda item: None,
) -> FastAPI:
    """The application: POST /get_reward, GET /health, GET /openapi.json.

    Args:
        scoring: opened when the server starts and closed when it ends; gives what rewards a group.
        options: limits.
        check: refuses (UserError) a response that cannot be rewarded.
    """

    app = FastAPI(
        title="GRRM reward server",
        summary="Rewards for the responses of a policy, by the protocol of OpenRLHF's --remote_rm_url.",
        description=f"Reward: {options.reward}.",
        version=__version__,
        lifespan=partial(_lifespan, scoring, options),
        docs_url=None,  # their pages would load scripts from another server
        redoc_url=None,
    )
    app.state.waiting = 0
    app.state.refusals = Refusals()
    app.add_middleware(
        BodyLimit,
        limit=options.max_body,
        together=max(options.max_receiving, options.max_body),
        seconds=options.receive_seconds,
    )
    app.add_exception_handler(RefusedError, _refuse)
    app.add_exception_handler(HTTPException, _refuse)
    app.add_exception_handler(RequestValidationError, _explain)
    app.add_exception_handler(Exception, _fault)

    @app.post(
        "/get_reward",
        summary="Reward responses",
        response_model=RewardResponse,
        responses={status: {"model": Problem, "description": text} for status, text in _PROBLEMS.items()},
    )
    async def get_reward(body: RewardRequest, request: Request) -> RewardResponse:
        asked = await asyncio.to_thread(_checked, body, options, check)
        if app.state.waiting >= options.max_waiting:
            raise RefusedError(503, f"{options.max_waiting} requests wait already; ask again in a second")
        app.state.waiting += 1
        try:
            return _response(await _unless_gone(request, app.state.collector, asked))
        finally:
            app.state.waiting -= 1

    @app.get("/health", summary="What the server is and has done")
    async def health() -> Health:
        return _health(app, options)

    return app


@asynccontextmanager
async def _lifespan(
    scoring: Callable[[], AbstractAsyncContextManager[Score]], options: ServerOptions, app: FastAPI
) -> AsyncIterator[None]:
    async with scoring() as score:
        app.state.collector = Collector(
            score, size=options.group_size, patience=options.patience, concurrency=options.concurrency
        )
        yield


class Refusals:
    """Refusals, of which trainers show nothing: the first of a kind is logged, the others are counted."""

    def __init__(self) -> None:
        self.counts: Counter[int] = Counter()
        self._kinds: Counter[str] = Counter()

    def note(self, status: int, detail: str) -> None:
        """Count a refusal, and log it if it is the first of its kind, or the tenth, the hundredth..."""
        self.counts[status] += 1
        # What is quoted or counted in the sentence is another one each time.
        kind = f"{status} {_VARIABLE.sub('_', detail)[:120]}"
        if kind not in self._kinds and len(self._kinds) >= _KINDS:
            kind = f"{status}"
        self._kinds[kind] += 1
        if (times := self._kinds[kind]) == 1:
            _LOG.warning("refused (%d): %.500s", status, detail)
        elif str(times).strip("0") == "1":
            _LOG.warning("refused (%d), %d times so far, the last: %.500s", status, times, detail)


def _refusal(request: Request, status: int, detail: str) -> JSONResponse:
    # A text may hold half a pair of surrogates, which JSON can say and UTF-8 cannot.
    sayable = detail.encode(errors="backslashreplace").decode()
    request.app.state.refusals.note(status, sayable)
    return JSONResponse({"detail": sayable}, status, {"Retry-After": "1"} if status == 503 else None)


async def _refuse(request: Request, refusal: Any) -> JSONResponse:
    status = refusal.status if isinstance(refusal, RefusedError) else refusal.status_code
    return _refusal(request, status, str(refusal.detail))


async def _explain(request: Request, error: Any) -> JSONResponse:
    first = error.errors()[0]
    place = ".".join(str(part) for part in first["loc"] if part != "body") or "body"
    return _refusal(request, 422, f"{place}: {first['msg']}")


async def _fault(request: Request, error: Exception) -> JSONResponse:
    if isinstance(error, RecursionError):
        return _refusal(request, 422, "body: nested too deep; expected lists of texts, and rows as labels")
    return _refusal(request, 500, f"{type(error).__name__}: {error}")


def _health(app: FastAPI, options: ServerOptions) -> Health:
    collector: Collector = app.state.collector
    return Health(
        status="ok",
        reward=options.reward,
        group_size=options.group_size,
        waiting=app.state.waiting,
        groups=collector.groups,
        failed=collector.failed,
        refused={str(status): count for status, count in app.state.refusals.counts.items()},
    )


def _checked(body: RewardRequest, options: ServerOptions, check: Callable[[Item], None]) -> list[Item]:
    if len(body.query) > options.max_queries:
        raise RefusedError(
            413, f"query: {len(body.query)} responses, at most {options.max_queries} are taken at once"
        )
    try:
        asked = items(body)
        for item in asked:
            check(item)
    except UserError as error:
        raise RefusedError(422, str(error)) from error
    if options.group_size:
        return asked
    sizes: dict[str, int] = {}
    for item in asked:
        sizes[item.group] = sizes.get(item.group, 0) + 1
    if max(sizes.values()) > options.max_group:
        raise RefusedError(
            413,
            f"query: {max(sizes.values())} responses to a prompt, at most {options.max_group} are compared",
        )
    if options.compares and min(sizes.values()) < 2:
        raise RefusedError(
            422,
            f"query: a single response to its prompt, but {options.reward} compares the responses of a "
            "group; if the trainer sends them one by one, start the server with --group-size",
        )
    return asked


async def _unless_gone(request: Request, collector: Collector, asked: list[Item]) -> list[Reward]:
    """The rewards, given up as soon as the client goes away: it will ask again, and must not count twice."""
    answer = asyncio.ensure_future(_ask(collector, asked))
    gone = asyncio.ensure_future(_disconnected(request))
    try:
        await asyncio.wait([answer, gone], return_when=asyncio.FIRST_COMPLETED)
        if not answer.done():
            raise RefusedError(503, "the client went away")
        return answer.result()
    finally:
        for task in (answer, gone):
            task.cancel()
        await asyncio.gather(answer, gone, return_exceptions=True)


async def _ask(collector: Collector, asked: list[Item]) -> list[Reward]:
    try:
        return await collector.rewards(asked)
    except IncompleteError as error:
        raise RefusedError(503, str(error)) from error
    except UserError as error:
        raise RefusedError(502, str(error)) from error


async def _disconnected(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


def _response(rewards: list[Reward]) -> RewardResponse:
    """The rewards, or a refusal: a failure is not a score."""
    try:
        values, shares = rewarded(rewards)
    except UserError as error:
        raise RefusedError(502, str(error)) from error
    logs = {key: [reward.info[key] for reward in rewards] for key in rewards[0].info}
    return RewardResponse(rewards=values, scores=shares, extra_logs=logs)
