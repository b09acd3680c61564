"""The protocol of OpenAI-compatible endpoints: what a request is made of, and what an answer says."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import httpx

from grrm.asking.options import JudgeOptions
from grrm.files import as_text
from grrm.judges.questions import Reason

CUT = "length"
"""Why an answer ends that was cut at max_tokens."""

_RETRIED_STATUS = frozenset({408, 409, 425})


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
        return self.finish == CUT


def question(text: str, *, chat: bool = True) -> dict[str, Any]:
    """What a request asks: a conversation of one user message, or a text to be continued."""
    return {"messages": [{"role": "user", "content": text}]} if chat else {"prompt": text}


def defaults(options: JudgeOptions, temperature: float | None = None) -> dict[str, Any]:
    """The fields of a request besides what it asks; None in `extra` leaves a field out."""
    values = {
        "model": options.model,
        "temperature": options.temperature if temperature is None else temperature,
        "top_p": options.top_p,
        "max_tokens": options.max_tokens,
        **options.extra,
    }
    return {name: value for name, value in values.items() if value is not None}


def longest_answer(request: Mapping[str, Any], options: JudgeOptions) -> int:
    """Tokens that the answer to a request may have."""
    return int(request.get("max_tokens") or request.get("max_completion_tokens") or options.max_tokens)


def read_response(response: httpx.Response, address: str, longest_pause: float) -> tuple[Reply, float]:
    """What a response says, and how long, in seconds, the endpoint wants to be left alone.

    Args:
        response: whole, of any status.
        address: of the endpoint, for messages (`shown`).
        longest_pause: in seconds; one header of a thousand years must not end all calls.
    """
    if response.is_success:
        return _read_completion(response), 0.0
    status = response.status_code
    reason = _reason(status)
    reply = Reply(None, reason, f"HTTP {status} from {address}: {response.text[:200]}", status=status)
    wait = min(_retry_after(response.headers.get("Retry-After", "")), longest_pause)
    return reply, 0.0 if reason == "rejected" else wait


def _reason(status: int) -> Reason:
    if status == HTTPStatus.BAD_GATEWAY:  # nobody is behind it
        return "connection"
    if status == HTTPStatus.TOO_MANY_REQUESTS:
        return "rate_limit"
    return "server" if status >= 500 or status in _RETRIED_STATUS else "rejected"


def _read_completion(response: httpx.Response) -> Reply:
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
        return Reply(None, "malformed", f"not a chat completion ({error!r}): {response.text[:200]}")


def shown(url: str) -> str:
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
