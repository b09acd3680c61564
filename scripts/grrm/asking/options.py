"""How a judge behind an endpoint is asked: options, checked, from a configuration and the environment."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any, Self
from urllib.parse import urlsplit, urlunsplit

from grrm.config.environment import judge_options, variable_of
from grrm.files import UserError
from grrm.urls import is_http, read_key, secret_in

NO_DEADLINE = 10.0**9
"""Of a batch whose calls alone are limited, in seconds."""
UNLIMITED = 10**9
"""Calls at once, or failures in a row, that nobody reaches."""

PATIENT = {"outage_patience": 1800.0, "breaker_patience": 1800.0, "deadline": 5400.0}
"""Options where a judge may be started anew while others wait, who would not ask again."""


_ABOVE_ZERO = (
    "max_tokens",
    "max_concurrency",
    "timeout",
    "deadline",
    "breaker_failures",
    "failure_window",
)
_FROM_ZERO = (
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
    "outage_patience",
    "spent",
)
# What an option may be, by its annotation, and in words.
_TYPES: dict[str, tuple[tuple[type, ...], str]] = {
    "str": ((str,), "a text"),
    "bool": ((bool,), "true or false"),
    "int": ((int,), "a whole number"),
    "float": ((int, float), "a number"),
    "Mapping[str, Any]": ((Mapping,), "an object"),
}


@dataclass(frozen=True)
class JudgeOptions:
    """How a judge is asked (times in seconds).

    Raises:
        UserError: a value is of another type or out of range, or the URL cannot be used.
    """

    model: str
    url: str = ""
    """Base URL (http://host:port/v1) or the whole one (.../chat/completions); may be empty in replay."""
    key_variable: str = "JUDGE_API_KEY"
    """Environment variable with the API key, see `key_of`; without one none is sent."""
    temperature: float = 0.0
    top_p: float = 1.0
    max_tokens: int = 2048
    extra: Mapping[str, Any] = field(default_factory=dict)
    """Further fields of every request, for example {"chat_template_kwargs": {"enable_thinking": False}}.

    They go before the options above; None leaves a field out.
    """
    tokenizer: str = ""
    """Of the model: a folder, or a model's name on the hub. Its special strings are broken in what is judged
    (`grrm.texts`); if it is not known, those of the known families of models are."""
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
    outage_patience: float = 0.0
    """Time for which calls to an endpoint that cannot be reached are sent again after all retries."""
    max_failure_share: float = 0.5
    """Share of failures past which judging stops with an error, taken over whole batches."""
    failure_window: int = 64
    """Answers of which the share is taken at least: batches with fewer are taken together."""
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
    budget: float | None = None
    """Cost, by the prices, past which nothing is asked any more: an error."""
    budget_calls: int | None = None
    """Calls past which nothing is asked any more, tries that fail among them."""
    budget_tokens: int | None = None
    """Tokens of prompts and answers past which nothing is asked any more."""
    note_calls: bool = False
    """Note every call in the ledger when it is sent and when it is answered, as with a budget."""
    keep_refusals: bool = False
    """Keep what the model refuses in the cache, too."""
    spent: float = 0.0
    """What launches before have spent of the budget; what the ledger says already counts by itself."""
    verbose: bool = False
    """Print what every request came to: seconds, tokens, answer or failure."""

    def __post_init__(self) -> None:
        """Check the values."""
        self._check_types()
        if not self.model:
            raise UserError("judge: model is empty; expected the name that the endpoint serves")
        if self.replay and not self.cache:
            raise UserError("judge: replay is on but cache is empty; name the file with the answers")
        if not self.replay:
            chat_url(self.url)
        for names, may_be_zero in ((_ABOVE_ZERO, False), (_FROM_ZERO, True)):
            for name in names:
                value = getattr(self, name)
                if not (0 <= value < math.inf and (value or may_be_zero)):
                    expected = "of at least 0" if may_be_zero else "above 0"
                    raise UserError(f"judge: {name} is {value}, expected a number {expected}")
        for name in ("budget", "budget_calls", "budget_tokens"):
            limit = getattr(self, name)
            if limit is not None and not 0 < limit < math.inf:
                raise UserError(f"judge: {name} is {limit}, expected a number above 0")
        if self.budget is not None and not self.prompt_price + self.completion_price:
            raise UserError(
                f"judge: budget is {self.budget:g}, but nothing has a price; set prompt_price and "
                "completion_price, per million tokens"
            )
        if not 0 <= self.max_failure_share <= 1:
            raise UserError(
                f"judge: max_failure_share is {self.max_failure_share}, expected a share from 0 to 1"
            )

    def _check_types(self) -> None:
        """Options of a command line and of Python have not met the configuration's schema."""
        for option in fields(self):
            value, (kind, _, optional) = getattr(self, option.name), str(option.type).partition(" | ")
            types, expected = _TYPES[kind]
            # True is an int to Python.
            fits = isinstance(value, types) and (kind == "bool" or not isinstance(value, bool))
            if not fits and not (value is None and (optional or kind == "str")):
                # A text in place of an object may hold a secret.
                said = type(value).__name__ if kind.startswith("Mapping") else f"{value!r:.80}"
                raise UserError(f"judge: {option.name} is {said}, expected {expected}")

    @classmethod
    def from_mapping(cls, values: Mapping[str, Any], environment: Mapping[str, str] = os.environ) -> Self:
        """Options from the configuration; the environment (`grrm.config.environment`) comes before it.

        Raises:
            UserError: a key is unknown, the model is missing, or a value cannot be used.
        """
        known = {option.name for option in fields(cls)}
        if unknown := sorted(set(values) - known):
            raise UserError(f"judge: unknown {', '.join(unknown)}; known are {', '.join(sorted(known))}")
        laid = judge_options(environment)
        merged = {**values, **laid}
        if merged.get("tokenizer", "") is None:  # it is not known
            del merged["tokenizer"]
        if "model" not in merged:
            raise UserError("judge: model is missing; set it, or JUDGE_MODEL_NAME")
        try:
            return cls(**merged)
        except UserError as error:
            for option in laid:
                if str(error).startswith(f"judge: {option} is "):
                    raise UserError(f"{error} ({variable_of(option)} in the environment)") from error
            raise


def key_of(variable: str, environment: Mapping[str, str]) -> str:
    """The API key of an endpoint: in the variable of this name; where that is the usual one, JUDGE_API_KEY,
    and not set, in OPENAI_API_KEY. Empty if there is none.

    Raises:
        UserError: it cannot be sent, see `grrm.urls.read_key`.
    """
    names = (variable, "OPENAI_API_KEY") if variable == JudgeOptions.key_variable else (variable,)
    return next((key for name in names if (key := read_key(name, environment))), "")


def chat_url(url: str) -> str:
    """The address of chat completions, from a base URL or from the address itself.

    Raises:
        UserError: not an http or https URL with a host, or with an impossible port.
    """
    if not is_http(url):
        said = "one with a secret in it" if secret_in(url) else repr(url)
        raise UserError(
            f"judge: url is {said}, expected one like http://127.0.0.1:8000/v1; set judge.url, JUDGE_API_URL "
            "or --base-url"
        )
    parts = urlsplit(url.strip())
    path = parts.path.rstrip("/")
    if not path.endswith("/chat/completions"):
        path = (path or "/v1") + "/chat/completions"
    return urlunsplit((parts.scheme, parts.netloc, path, parts.query, ""))
