"""All calls to a judge behind an OpenAI-compatible endpoint, through one asynchronous pool.

A failure is not a score: whatever goes wrong comes back as a reply without text and with a reason, and is
counted. The API key is read from the environment, sent in one header, and written nowhere.
"""

from __future__ import annotations

import asyncio
import json
import math
import os
import random
import time
from collections import Counter, deque
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, fields
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from pathlib import Path
from types import TracebackType
from typing import Any, Generic, Literal, Self, TypeAlias, TypeVar
from urllib.parse import urlsplit, urlunsplit

import httpx

from grrm.files import UserError, as_text
from grrm.judges.cache import ReplyCache, cache_key
from grrm.judges.limits import Batch, Breaker, Slots, Window
from grrm.urls import secret_in

T = TypeVar("T")

Reason: TypeAlias = Literal[
    "timeout",  # no complete answer in time
    "connection",  # refused, cut, not HTTP, or a gateway that reaches nobody (502)
    "rate_limit",  # 429
    "server",  # any other 5xx
    "rejected",  # any other status: asking again would not help
    "malformed",  # 2xx, but not a chat completion
    "circuit_open",  # the endpoint is down, not asked
    "deadline",  # the time of the whole batch was over
    "not_cached",  # replay only, and never asked before
    "unparsable",  # an answer, but no verdict in it, or cut at max_tokens
]

_DOWN = frozenset({"timeout", "connection", "server"})
_RETRIED = _DOWN | {"rate_limit", "malformed"}
_RETRIED_STATUS = frozenset({408, 409, 425})
_RATE_PERIOD = 60.0


def _truth(text: str) -> bool:
    if text.lower() in ("1", "true", "yes", "on"):
        return True
    if text.lower() in ("0", "false", "no", "off"):
        return False
    raise ValueError("true or false")


# Names in the published documents of RM-Gallery -> option and its type.
_ENVIRONMENT: dict[str, tuple[str, Callable[[str], Any]]] = {
    "JUDGE_API_URL": ("url", str),
    "JUDGE_MODEL_NAME": ("model", str),
    "MAX_WORKERS": ("max_concurrency", int),
    "TEMPERATURE": ("temperature", float),
    "MAX_TOKENS": ("max_tokens", int),
    "LLM_TIMEOUT": ("timeout", float),
    "MAX_RETRIES": ("retries", int),
    "VERBOSE": ("verbose", _truth),
}


def without_variables_of(options: Iterable[str], environment: Mapping[str, str]) -> dict[str, str]:
    """The environment without the variables that stand for these options (`JudgeOptions`)."""
    named = set(options)
    return {
        variable: text
        for variable, text in environment.items()
        if variable not in _ENVIRONMENT or _ENVIRONMENT[variable][0] not in named
    }


@dataclass(frozen=True)
class JudgeOptions:
    """How a judge is asked (times in seconds).

    Raises:
        UserError: a value is out of range or the URL cannot be used.
    """

    model: str
    url: str = ""
    """Base URL (http://host:port/v1) or the whole one (.../chat/completions); may be empty in replay."""
    key_variable: str = "JUDGE_API_KEY"
    """Environment variable with the API key; without it none is sent."""
    temperature: float = 0.0
    top_p: float = 1.0
    max_tokens: int = 2048
    extra: Mapping[str, Any] = field(default_factory=dict)
    """Further fields of every request, for example {"chat_template_kwargs": {"enable_thinking": False}}.

    They go before the options above; None leaves a field out.
    """
    max_concurrency: int = 64
    timeout: float = 60.0
    """Longest time for one call."""
    deadline: float = 900.0
    """Longest time for a batch from the turn of its first call; what is not answered then has failed."""
    retries: int = 5
    """Times a failed call is sent again."""
    backoff: float = 0.5
    """First pause before a retry; doubles each time."""
    max_backoff: float = 30.0
    requests_per_minute: int = 0
    """0: no limit."""
    tokens_per_minute: int = 0
    """0: no limit."""
    parse_retries: int = 1
    """Times an answer without a verdict is asked for again."""
    retry_temperature: float = 1.0
    """Of an answer asked for again; at temperature 0 it would be the same."""
    breaker_failures: int = 20
    """Failed calls in a row after which all calls wait for a probe."""
    breaker_cooldown: float = 5.0
    """Time between probes."""
    breaker_patience: float = 120.0
    """Time without a successful call after which all calls fail at once, probes excepted."""
    max_failure_share: float = 0.5
    """Share of failures among the last `failure_window` answers past which judging stops with an error."""
    failure_window: int = 64
    required: bool = False
    """An endpoint that belongs to this run: that it cannot be reached is an error, no failed judgement."""
    cache: str = ""
    """SQLite file with the answers so far; empty is off."""
    replay: bool = False
    """Answer from the cache only, without network."""
    ledger: str = ""
    """File (JSON lines) to which every request is appended, without its texts; empty is off."""
    prompt_price: float = 0.0
    """Per million tokens."""
    completion_price: float = 0.0
    """Per million tokens."""
    verbose: bool = False
    """Print what every request came to: seconds, tokens, answer or failure."""

    def __post_init__(self) -> None:
        """Check the values."""
        if not self.model:
            raise UserError("judge: model is empty; expected the name that the endpoint serves")
        if self.replay and not self.cache:
            raise UserError("judge: replay is on but cache is empty; name the file with the answers")
        if not self.replay:
            chat_url(self.url)
        for name in (
            "max_tokens",
            "max_concurrency",
            "timeout",
            "deadline",
            "breaker_failures",
            "failure_window",
        ):
            if getattr(self, name) <= 0:
                raise UserError(f"judge: {name} is {getattr(self, name)}, expected a number above 0")
        for name in (
            "temperature",
            "retries",
            "backoff",
            "max_backoff",
            "requests_per_minute",
            "tokens_per_minute",
            "parse_retries",
            "retry_temperature",
            "breaker_cooldown",
            "breaker_patience",
        ):
            if getattr(self, name) < 0:
                raise UserError(f"judge: {name} is {getattr(self, name)}, expected a number of at least 0")
        if not 0 <= self.max_failure_share <= 1:
            raise UserError(
                f"judge: max_failure_share is {self.max_failure_share}, expected a share from 0 to 1"
            )

    @classmethod
    def from_mapping(cls, values: Mapping[str, Any], environment: Mapping[str, str] = os.environ) -> Self:
        """Options from the configuration; JUDGE_API_URL, JUDGE_MODEL_NAME, MAX_WORKERS, TEMPERATURE,
        MAX_TOKENS, LLM_TIMEOUT, MAX_RETRIES and VERBOSE in the environment come before it.

        Raises:
            UserError: a key is unknown, the model is missing, or a value cannot be used.
        """
        known = {option.name for option in fields(cls)}
        if unknown := sorted(set(values) - known):
            raise UserError(f"judge: unknown {', '.join(unknown)}; known are {', '.join(sorted(known))}")
        merged = dict(values)
        for variable, (name, kind) in _ENVIRONMENT.items():
            text = environment.get(variable, "").strip()
            if not text:
                continue
            try:
                merged[name] = kind(text)
            except ValueError as error:
                expected = "true or false" if kind is _truth else "a number"
                raise UserError(
                    f"{variable} is {text!r}, expected {expected}; correct or unset it"
                ) from error
        if "model" not in merged:
            raise UserError("judge: model is missing; set it, or JUDGE_MODEL_NAME")
        return cls(**merged)


def chat_url(url: str) -> str:
    """The address of chat completions, from a base URL or from the address itself.

    Raises:
        UserError: not an http or https URL with a host.
    """
    try:
        parts = urlsplit(url.strip())
        usable = parts.scheme in ("http", "https") and bool(parts.hostname)
    except ValueError:
        usable = False
    if not usable:
        shown = "one with a secret in it" if secret_in(url) else repr(url)
        raise UserError(
            f"judge: url is {shown}, expected one like http://127.0.0.1:8000/v1; set it, or JUDGE_API_URL"
        )
    path = parts.path.rstrip("/")
    if not path.endswith("/chat/completions"):
        path = (path or "/v1") + "/chat/completions"
    return urlunsplit((parts.scheme, parts.netloc, path, parts.query, ""))


@dataclass(frozen=True)
class Reply:
    """What came back for one prompt."""

    text: str | None
    """None if there is no answer; then `reason` and `detail` say why."""
    reason: Reason | None = None
    detail: str = ""
    prompt_tokens: int = 0
    completion_tokens: int = 0
    finish: str = ""
    """Why the text ends where it does, in the endpoint's word: stop, length..."""
    status: int = 0
    """HTTP status of a failure; 0 if there was none."""

    @property
    def cut(self) -> bool:
        """Whether the answer was cut at max_tokens: a number may have lost digits, so it is no verdict."""
        return self.finish == "length"


@dataclass(frozen=True)
class Verdict(Generic[T]):
    """What the judge decided about one prompt."""

    value: T | None
    """None if there is no verdict; then `reason` and `detail` say why."""
    reason: Reason | None = None
    detail: str = ""
    text: str | None = None
    """The judge's answer, if there was one."""


@dataclass
class Ledger:
    """Counts of what was asked: requests = answered + cached + shared + failures.

    `calls` are HTTP requests sent, `errors` those that failed by reason, `failures` the requests that did
    in the end. `unparsable` are answers without a verdict.
    """

    requests: int = 0
    answered: int = 0
    cached: int = 0
    shared: int = 0
    calls: int = 0
    unparsable: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    cost: float = 0.0
    errors: Counter[str] = field(default_factory=Counter)
    failures: Counter[str] = field(default_factory=Counter)

    def as_dict(self) -> dict[str, float]:
        """The counts under flat names, for logs."""
        flat: dict[str, float] = {}
        for option in fields(self):
            value = getattr(self, option.name)
            if isinstance(value, Counter):
                flat |= {f"{option.name}/{reason}": count for reason, count in sorted(value.items())}
                flat[option.name] = value.total()
            else:
                flat[option.name] = value
        return flat


class JudgeClient:
    """Asks a judge; to be used as `async with JudgeClient(options) as client`, in one event loop.

    Args:
        options: how to ask.
        environment: where the API key is looked up.

    Attributes:
        ledger: counts since the client was made.
    """

    def __init__(self, options: JudgeOptions, environment: Mapping[str, str] = os.environ) -> None:
        self.options = options
        self.ledger = Ledger()
        self._key = environment.get(options.key_variable, "").strip()
        self._url = "" if options.replay else chat_url(options.url)
        # By what a request holds: a chat, or a text to be continued.
        self._addresses = {
            "messages": httpx.URL(self._url),
            "prompt": httpx.URL(self._url.replace("/chat/completions", "/completions")),
        }
        self._headers = httpx.Headers({"Content-Type": "application/json", "Accept": "application/json"})
        if self._key:
            self._headers["Authorization"] = f"Bearer {self._key}"
        self._cache = ReplyCache(Path(options.cache)) if options.cache else None
        self._pending: dict[str, asyncio.Task[Reply]] = {}
        self._slots = Slots(options.max_concurrency)
        self._batches = 0
        # One httpx client, with one connection, per call at once: a pool of many costs httpx a walk through
        # all of its connections for every call. Last in, first out keeps the connections in use warm.
        self._idle: list[httpx.AsyncClient] = []
        self._clients: list[httpx.AsyncClient] = []
        self._requests = Window(options.requests_per_minute, _RATE_PERIOD)
        self._tokens = Window(options.tokens_per_minute, _RATE_PERIOD)
        self._breaker = Breaker(options.breaker_failures, options.breaker_cooldown, options.breaker_patience)
        self._not_before = 0.0
        # One header of a thousand years must not end all calls: past this, the endpoint is asked again.
        self._longest_pause = max(options.max_backoff, options.breaker_patience)
        self._recent: deque[bool] = deque(maxlen=options.failure_window)
        self._tls = httpx.create_ssl_context()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        pending = list(self._pending.values())
        for task in pending:
            task.cancel()
        await asyncio.gather(*pending, return_exceptions=True)
        for http in self._clients:
            await http.aclose()
        if self._cache is not None:
            self._cache.close()

    async def decide(self, questions: Sequence[tuple[str, Callable[[str], T]]]) -> list[Verdict[T]]:
        """Ask everything at once and read the answers; one verdict per question, in their order.

        Args:
            questions: pairs of a prompt and the function that reads the answer. An answer that it refuses
                (ValueError) is asked for again up to `parse_retries` times.

        Raises:
            UserError: more than `max_failure_share` of the last `failure_window` verdicts failed, or a
                `required` endpoint cannot be reached.
        """
        batch = self._new_batch()
        replies = await self._ask([prompt for prompt, _ in questions], 0, self.options.temperature, batch)
        verdicts = [self._read(reply, parse) for reply, (_, parse) in zip(replies, questions, strict=True)]
        for sample in range(1, self.options.parse_retries + 1):
            again = [index for index, verdict in enumerate(verdicts) if verdict.reason == "unparsable"]
            replies = await self._ask(
                [questions[index][0] for index in again], sample, self.options.retry_temperature, batch
            )
            for index, reply in zip(again, replies, strict=True):
                verdicts[index] = self._read(reply, questions[index][1])
        self._check_reached(verdicts)
        self._check_failures(verdicts)
        return verdicts

    async def ask(
        self, prompts: Sequence[str], sample: int = 0, temperature: float | None = None
    ) -> list[Reply]:
        """Ask all prompts at once; one reply per prompt, in their order. Equal ones are sent once.

        Args:
            prompts: each becomes a conversation of one user message.
            sample: number of the draw: another one is asked for anew even if the prompt is in the cache.
            temperature: in place of the one in the options.
        """
        if temperature is None:
            temperature = self.options.temperature
        return await self._ask(prompts, sample, temperature, self._new_batch())

    async def complete(self, request: Mapping[str, Any], sample: int = 0) -> Reply:
        """Send one request of the caller's own making, with `messages` or with a `prompt` to be continued.

        Args:
            request: its fields; model, temperature, top_p, max_tokens and `extra` are added where they lack.
            sample: as in `ask`.
        """
        self.ledger.requests += 1
        return await self._share({**self._defaults(), **request}, sample, self._new_batch())

    def _new_batch(self) -> Batch:
        self._batches += 1
        return Batch(self._batches, self.options.deadline)

    async def _ask(
        self, prompts: Sequence[str], sample: int, temperature: float, batch: Batch
    ) -> list[Reply]:
        self.ledger.requests += len(prompts)
        return list(
            await asyncio.gather(
                *[
                    self._share(
                        {"messages": [{"role": "user", "content": prompt}]} | self._defaults(temperature),
                        sample,
                        batch,
                    )
                    for prompt in prompts
                ]
            )
        )

    def _defaults(self, temperature: float | None = None) -> dict[str, Any]:
        values = {
            "model": self.options.model,
            "temperature": self.options.temperature if temperature is None else temperature,
            "top_p": self.options.top_p,
            "max_tokens": self.options.max_tokens,
            **self.options.extra,
        }
        return {name: value for name, value in values.items() if value is not None}

    async def _share(self, request: Mapping[str, Any], sample: int, batch: Batch) -> Reply:
        key = cache_key(request, sample)
        if key in self._pending:
            self.ledger.shared += 1
        else:
            task = asyncio.create_task(self._answer(key, request, batch))
            self._pending[key] = task
            task.add_done_callback(lambda _: self._pending.pop(key, None))
        return await self._pending[key]

    async def _answer(self, key: str, request: Mapping[str, Any], batch: Batch) -> Reply:
        if self._cache is not None and (row := self._cache.get(key)) is not None:
            self.ledger.cached += 1
            reply = Reply(
                as_text(row["text"]),
                None,
                "",
                row["prompt_tokens"],
                row["completion_tokens"],
                row.get("finish", ""),
            )
            self._note(key, reply, 0.0, cached=True)
            return reply
        if self.options.replay:
            reply = Reply(None, "not_cached", f"{self.options.cache} has no answer to this request")
            self._book(key, reply, 0.0)
            return reply
        start = time.monotonic()
        try:
            async with batch.limit():
                reply = await self._send(request, batch)
        except TimeoutError:
            reply = Reply(None, "deadline", f"not answered within {self.options.deadline:g} s")
        self._book(key, reply, time.monotonic() - start)
        if reply.text is not None and self._cache is not None:
            self._cache.put(
                key,
                request,
                {
                    "text": reply.text,
                    "prompt_tokens": reply.prompt_tokens,
                    "completion_tokens": reply.completion_tokens,
                    "finish": reply.finish,
                },
            )
        return reply

    async def _send(self, request: Mapping[str, Any], batch: Batch) -> Reply:
        """Send a request until it is answered or there is no point in it."""
        content = json.dumps(request).encode()
        address = self._addresses["prompt" if "prompt" in request else "messages"]
        # Four bytes a token is a guess; the endpoint's own count replaces it.
        longest = request.get("max_tokens") or request.get("max_completion_tokens") or self.options.max_tokens
        tokens = len(content) // 4 + int(longest)
        for attempt in range(self.options.retries + 1):
            async with self._slot(batch) as http:
                batch.start()
                if not await self._breaker.admit():
                    return Reply(None, "circuit_open", "the endpoint has been down for too long")
                await self._sleep_until(self._not_before)
                await self._requests.acquire(1)
                spent = await self._tokens.acquire(tokens)
                reply, retry_after = await self._post(http, address, content)
                self._breaker.record(reply.reason not in _DOWN)
                if used := reply.prompt_tokens + reply.completion_tokens:
                    self._tokens.correct(spent, used)
            if reply.reason is None:
                return reply
            self.ledger.errors[reply.reason] += 1
            if retry_after:
                # It is the endpoint that is busy: everybody waits.
                self._not_before = max(self._not_before, time.monotonic() + retry_after)
            if reply.reason not in _RETRIED or attempt == self.options.retries:
                return reply
            pause = min(self.options.backoff * 2**attempt, self.options.max_backoff)
            # Spread out, so that those who failed together do not come back together.
            await asyncio.sleep(max(retry_after, pause * random.uniform(0.5, 1.0)))
        raise AssertionError("unreachable")

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
                    # A proxy for the outside world is not for the judge on this machine.
                    trust_env=urlsplit(self._url).hostname not in ("localhost", "127.0.0.1", "::1"),
                )
                self._clients.append(http)
            try:
                yield http
            finally:
                self._idle.append(http)

    async def _post(self, http: httpx.AsyncClient, address: httpx.URL, content: bytes) -> tuple[Reply, float]:
        """One call: the reply, and how long the endpoint wants to be left alone."""
        self.ledger.calls += 1
        try:
            # The whole call: httpx would only limit the time between two bytes.
            async with asyncio.timeout(self.options.timeout):
                response = await http.send(self._request(address, content))
        except (TimeoutError, httpx.TimeoutException):
            return Reply(None, "timeout", f"no complete answer within {self.options.timeout:g} s"), 0.0
        except httpx.HTTPError as error:
            return Reply(None, "connection", self._hide(f"{type(error).__name__}: {error}")), 0.0
        if response.is_success:
            return self._read_completion(response), 0.0
        status = response.status_code
        detail = self._hide(f"HTTP {status} from {_shown(self._url)}: {response.text[:200]}")
        wait = min(_retry_after(response.headers.get("Retry-After", "")), self._longest_pause)
        if status == HTTPStatus.BAD_GATEWAY:
            return Reply(None, "connection", detail, status=status), wait
        if status == 429:
            return Reply(None, "rate_limit", detail, status=status), wait
        if status >= 500 or status in _RETRIED_STATUS:
            return Reply(None, "server", detail, status=status), wait
        return Reply(None, "rejected", detail, status=status), 0.0

    def _request(self, address: httpx.URL, content: bytes) -> httpx.Request:
        # Made by hand: httpx would parse the address and merge headers and cookies for every call.
        return httpx.Request("POST", address, headers=self._headers, content=content)

    def _read_completion(self, response: httpx.Response) -> Reply:
        try:
            data = response.json()
            choice = data["choices"][0]
            text = choice["message"]["content"] if "message" in choice else choice["text"]
            if not isinstance(text, str):
                raise TypeError(f"content is {text!r}")
            usage = data.get("usage") or {}
            return Reply(
                as_text(text),
                None,
                "",
                int(usage.get("prompt_tokens") or 0),
                int(usage.get("completion_tokens") or 0),
                str(choice.get("finish_reason") or ""),
            )
        except (ValueError, LookupError, TypeError, AttributeError) as error:
            shown = self._hide(response.text[:200])
            return Reply(None, "malformed", f"not a chat completion ({error!r}): {shown}")

    def _read(self, reply: Reply, parse: Callable[[str], T]) -> Verdict[T]:
        if reply.text is None:
            return Verdict(None, reply.reason, reply.detail)
        try:
            if reply.finish == "length":  # a number may have lost digits
                raise ValueError("the answer was cut at its greatest length (max_tokens)")
            return Verdict(parse(reply.text), text=reply.text)
        except ValueError as error:
            self.ledger.unparsable += 1
            return Verdict(None, "unparsable", str(error), reply.text)

    def _book(self, key: str, reply: Reply, seconds: float) -> None:
        ledger, options = self.ledger, self.options
        if reply.reason is None:
            ledger.answered += 1
        else:
            ledger.failures[reply.reason] += 1
        cost = (
            reply.prompt_tokens * options.prompt_price + reply.completion_tokens * options.completion_price
        ) / 1e6
        ledger.prompt_tokens += reply.prompt_tokens
        ledger.completion_tokens += reply.completion_tokens
        ledger.cost += cost
        self._note(key, reply, seconds, cost=cost)

    def _note(
        self, key: str, reply: Reply, seconds: float, *, cached: bool = False, cost: float = 0.0
    ) -> None:
        options = self.options
        if options.verbose:
            said = reply.text if reply.text is not None else f"{reply.reason}: {reply.detail}"
            print(
                f"judge {options.model}: {seconds:.2f} s{' (cached)' if cached else ''}, "
                f"{reply.prompt_tokens} + {reply.completion_tokens} tokens: {said!r:.500}",
                flush=True,
            )
        if options.ledger:
            row = {
                "time": round(time.time(), 3),
                "request": key[:16],
                "model": options.model,
                "reason": reply.reason,
                "detail": reply.detail,
                "seconds": round(seconds, 3),
                "cached": cached,
                "prompt_tokens": reply.prompt_tokens,
                "completion_tokens": reply.completion_tokens,
                "cost": cost,
            }
            path = Path(options.ledger)
            path.parent.mkdir(parents=True, exist_ok=True)
            with path.open("a", encoding="utf-8") as file:
                file.write(json.dumps(row) + "\n")

    def _check_reached(self, verdicts: Sequence[Verdict[T]]) -> None:
        if not self.options.required:
            return
        for verdict in verdicts:
            if verdict.reason in ("connection", "circuit_open"):
                raise UserError(
                    f"judge {self.options.model} at {_shown(self._url)} cannot be reached any more "
                    f"({verdict.detail}); see in this log what ended it, and run the same command again"
                )

    def _check_failures(self, verdicts: Sequence[Verdict[T]]) -> None:
        self._recent.extend(verdict.value is None for verdict in verdicts)
        failed, window = sum(self._recent), self.options.failure_window
        if len(self._recent) < window or failed <= self.options.max_failure_share * window:
            return
        reasons = Counter(verdict.reason for verdict in verdicts if verdict.reason is not None)
        last = next((verdict for verdict in reversed(verdicts) if verdict.reason is not None), None)
        raise UserError(
            f"judge {self.options.model} at {_shown(self._url)}: {failed} of the last {window} answers "
            f"failed, more than max_failure_share {self.options.max_failure_share:g} allows "
            f"({', '.join(f'{count} {reason}' for reason, count in reasons.most_common())} in this batch). "
            f"The last: {last.detail if last else 'in an earlier batch'}. Check the endpoint "
            f"(JUDGE_API_URL, {self.options.key_variable}), the prompt and max_tokens, or raise the share"
        )

    def _hide(self, text: str) -> str:
        return text.replace(self._key, "***") if self._key else text

    @staticmethod
    async def _sleep_until(moment: float) -> None:
        if (left := moment - time.monotonic()) > 0:
            await asyncio.sleep(left)


def _shown(url: str) -> str:
    """An address for messages: without user name, password and query, which may be secret."""
    parts = urlsplit(url)
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", "")) or "no address"


def _retry_after(value: str) -> float:
    """Seconds to wait by a Retry-After header, which holds seconds or a date; 0 if it says nothing."""
    try:
        seconds = float(value)
    except ValueError:
        try:
            seconds = parsedate_to_datetime(value).timestamp() - time.time()
        except (ValueError, TypeError, OverflowError):
            return 0.0
    return max(0.0, seconds) if math.isfinite(seconds) else 0.0
