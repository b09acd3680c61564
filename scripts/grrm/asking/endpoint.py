"""Sending requests to an endpoint: so many at once and a minute, again after failures, held back while it is
down."""

from __future__ import annotations

import asyncio
import json
import os
import random
import ssl
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from http import HTTPStatus
from typing import Any, Self

import httpx

from grrm.asking.chat import Reply, longest_answer, read_response
from grrm.asking.ledger import Counts
from grrm.asking.limits import Batch, Breaker, Slots, Window
from grrm.asking.money import Budget
from grrm.asking.options import JudgeOptions, chat_url
from grrm.asking.proxies import proxy_for
from grrm.asking.together import Together
from grrm.files import UserError
from grrm.judges.questions import Reason
from grrm.urls import shown, without_secrets

_DOWN: frozenset[Reason] = frozenset({"timeout", "connection", "server"})
_RETRIED: frozenset[Reason] = _DOWN | {"rate_limit", "malformed"}
_RATE_PERIOD = 60.0


@dataclass(frozen=True)
class Retrying:
    """Which failed calls are sent again, and when.

    Attributes:
        reasons: of failures after which a call is sent again.
        pauses: seconds before each further try; their number is that of the tries.
        least: share of a pause that is waited at least; how much more is drawn, so that calls that failed
            together do not come back together.
    """

    reasons: frozenset[Reason]
    pauses: tuple[float, ...]
    least: float = 1.0

    @classmethod
    def of(cls, options: JudgeOptions) -> Self:
        """As a judge's options have it: pauses that double."""
        pauses = [min(options.backoff * 2**n, options.max_backoff) for n in range(options.retries)]
        return cls(_RETRIED, tuple(pauses), 0.5)

    def pause(self, reason: Reason, attempt: int) -> float | None:
        """Seconds to wait after a failed attempt, counted from 0; None: that was the last."""
        if reason not in self.reasons or attempt >= len(self.pauses):
            return None
        return self.pauses[attempt] * random.uniform(self.least, 1.0)


def _is_away(reply: Reply) -> bool:
    """Whether nobody is there, as while a server is started anew."""
    return reply.reason == "connection" or reply.status == HTTPStatus.SERVICE_UNAVAILABLE


class Endpoint:
    """An address that answers chats, for one event loop.

    Args:
        options: how to ask; `url` and what limits the calls is used.
        key: sent in one header, written nowhere; empty: none is sent.
        counts: where calls and their errors are counted.
        budget: what calls are paid from.
        retrying: in place of what the options say.
        together: sends the calls, in place of each for itself.

    Attributes:
        address: of chat completions, for messages; without secrets.
    """

    def __init__(
        self,
        options: JudgeOptions,
        key: str,
        counts: Counts,
        budget: Budget,
        retrying: Retrying | None = None,
        together: Together | None = None,
    ) -> None:
        self._options, self._key, self._counts, self._budget = options, key, counts, budget
        self._together = together
        self._retrying = retrying or Retrying.of(options)
        url = "" if options.replay else chat_url(options.url)
        self.address = shown(url)
        # By what a request holds: a chat, or a text to be continued.
        self._addresses = {
            "messages": _parsed(url),
            "prompt": _parsed(url.replace("/chat/completions", "/completions")),
        }
        self._headers = httpx.Headers({"Content-Type": "application/json", "Accept": "application/json"})
        if key:
            self._headers["Authorization"] = f"Bearer {key}"
        # A proxy for the outside world is not for the judge on this machine, or in this run.
        self._proxy = None if options.required else proxy_for(url)
        self._slots = Slots(options.max_concurrency)
        # One httpx client, with one connection, per call at once: a pool of many costs httpx a walk through
        # all of its connections for every call. Last in, first out keeps the connections in use warm.
        self._idle: list[httpx.AsyncClient] = []
        self._clients: list[httpx.AsyncClient] = []
        self._requests = Window(options.requests_per_minute, _RATE_PERIOD)
        self._tokens = Window(options.tokens_per_minute, _RATE_PERIOD)
        self._breaker = Breaker(options.breaker_failures, options.breaker_cooldown, options.breaker_patience)
        self._not_before = 0.0
        # The last call that it did not answer.
        self._lost = "nothing"
        # Past this, the endpoint is asked again.
        self._longest_pause = max(options.max_backoff, options.breaker_patience)
        self._tls = _tls(url)

    async def send(self, request: Mapping[str, Any], batch: Batch) -> Reply:
        """Send a request until it is answered or there is no point in it.

        Raises:
            BudgetError: the budget does not allow it.
        """
        content = json.dumps(request).encode()
        address = self._addresses["prompt" if "prompt" in request else "messages"]
        # Four bytes a token is a guess; the endpoint's own count replaces it.
        tokens = len(content) // 4 + longest_answer(request, self._options)
        attempt = 0
        down_since: float | None = None
        while True:
            async with self._slot(batch) as http:
                batch.start()
                if not await self._breaker.admit():
                    why = f"the endpoint has been down for too long; the last call ended with {self._lost}"
                    return Reply(None, "circuit_open", why)
                await self._sleep_until(self._not_before)
                await self._requests.acquire(1)
                spent = await self._tokens.acquire(tokens)
                async with self._budget.call(request) as paid:
                    reply, retry_after = await self._post(http, address, content)
                    self._budget.settle(paid, reply)
                lost = reply.reason in _DOWN
                self._breaker.record(not lost)
                if lost:
                    self._lost = f"{reply.reason} ({reply.detail})"
                if used := reply.prompt_tokens + reply.completion_tokens:
                    self._tokens.correct(spent, used)
            if reply.reason is None:
                return reply
            self._counts.errors[reply.reason] += 1
            if retry_after:
                # It is the endpoint that is busy: everybody waits.
                self._not_before = max(self._not_before, time.monotonic() + retry_after)
            down_since = (down_since or time.monotonic()) if _is_away(reply) else None
            if (pause := self._retrying.pause(reply.reason, attempt)) is None:
                if down_since is None or time.monotonic() - down_since > self._options.outage_patience:
                    return reply
                pause = self._options.max_backoff * random.uniform(0.5, 1.0)
            await asyncio.sleep(max(retry_after, pause))
            attempt += 1

    async def close(self) -> None:
        """Close the connections."""
        for http in self._clients:
            await http.aclose()
        if self._together is not None:
            await self._together.close()

    @asynccontextmanager
    async def _slot(self, batch: Batch) -> AsyncIterator[httpx.AsyncClient]:
        """Wait for leave to call at the same time as others."""
        async with self._slots.take(batch.rank):
            if self._idle:
                http = self._idle.pop()
            else:
                http = httpx.AsyncClient(
                    verify=self._tls,
                    limits=httpx.Limits(max_connections=1, max_keepalive_connections=1),
                    timeout=None,  # the whole call has one; httpx's own is five seconds without a byte
                    proxy=self._proxy,
                    trust_env=False,  # what it says is read above, once
                )
                self._clients.append(http)
            try:
                yield http
            finally:
                self._idle.append(http)

    async def _post(self, http: httpx.AsyncClient, address: httpx.URL, content: bytes) -> tuple[Reply, float]:
        """One call: the reply, and how long the endpoint wants to be left alone."""
        self._counts.calls += 1
        limit = self._options.timeout
        # Made by hand: httpx would parse the address and merge headers and cookies for every call.
        request = httpx.Request("POST", address, headers=self._headers, content=content)
        try:
            if self._together is not None:
                response = await self._together.post(content)
            else:
                # The whole call: httpx would only limit the time between two bytes.
                async with asyncio.timeout(limit):
                    response = await http.send(request)
        except (TimeoutError, httpx.TimeoutException) as error:
            return Reply(None, "timeout", str(error) or f"no complete answer within {limit:g} s"), 0.0
        except httpx.HTTPError as error:
            # What it says of a header holds the header.
            said = "" if isinstance(error, httpx.LocalProtocolError) else f": {error}"
            sent = not isinstance(error, httpx.ConnectError)
            detail = self._hide(f"{type(error).__name__}{said}")
            return Reply(None, "connection", detail, sent=sent), 0.0
        reply, wait = read_response(response, self.address, self._longest_pause)
        return replace(reply, detail=self._hide(reply.detail)) if reply.detail else reply, wait

    def _hide(self, text: str) -> str:
        return without_secrets(text.replace(self._key, "***") if self._key else text)

    @staticmethod
    async def _sleep_until(moment: float) -> None:
        if (left := moment - time.monotonic()) > 0:
            await asyncio.sleep(left)


def _parsed(url: str) -> httpx.URL:
    """An address as the client reads it.

    Raises:
        UserError: it cannot.
    """
    try:
        found = httpx.URL(url)
        _ = found.host  # of international names
    except (httpx.InvalidURL, ValueError) as error:
        raise UserError(f"judge: url is {shown(url)}, which cannot be asked ({error})") from error
    return found


def _tls(url: str) -> ssl.SSLContext:
    """Whom to trust; an address without TLS needs nobody.

    Raises:
        UserError: what the environment names cannot be read.
    """
    try:
        return httpx.create_ssl_context()
    except OSError as error:
        if not url.startswith("https:"):
            return ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        named = {name: os.environ[name] for name in ("SSL_CERT_FILE", "SSL_CERT_DIR") if os.environ.get(name)}
        about = ", ".join(f"{name} is {path!r}" for name, path in named.items()) or "certificates"
        raise UserError(
            f"{about}: cannot be read ({error.strerror or type(error).__name__}); expected certificates "
            "(PEM); correct or unset it"
        ) from error
