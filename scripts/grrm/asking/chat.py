"""The protocol of OpenAI-compatible endpoints: what a request is made of, and what an answer says."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from typing import Any

import httpx

from grrm.asking.options import JudgeOptions
from grrm.files import as_text
from grrm.judges.questions import Reason
from grrm.texts import Filled, mark

STOP = "stop"
FINISHED = frozenset({STOP, "end_turn", "stop_sequence", "eos", "eos_token", "complete", "completed"})
"""Why an answer ends that the model ended itself, in lower case: OpenAI's word, and what others have for it
(Anthropic; text-generation-inference; Cohere). Whatever is not known to mean it is not finished."""
_CUT = frozenset({"length", "max_tokens", "max_output_tokens", "max_length", "model_length"})
_REFUSED = frozenset(
    {"content_filter", "refusal", "safety", "recitation", "blocklist", "prohibited_content", "spii"}
)
_FAILED = frozenset({"error", "error_limit"})
# What holds the thinking of a model that the endpoint keeps apart from its answer.
_REASONING = ("reasoning_content", "reasoning", "thinking")

_RETRIED_STATUS = frozenset({408, 409, 425})


@dataclass(frozen=True)
class Reply:
    """What came back for one prompt."""

    text: str | None
    """What was written; without `reason` it is the whole answer."""
    reason: Reason | None = None
    """Why there is no answer that can be used; None if there is one."""
    detail: str = ""
    """The reason in words."""
    prompt_tokens: int = 0
    completion_tokens: int = 0
    finish: str = ""
    """Why the text ends where it does, in the endpoint's word: stop, length..."""
    status: int = 0
    """HTTP status of a failure; 0 if there was none."""
    sent: bool = True
    """Whether the request can have reached the endpoint."""

    @property
    def cut(self) -> bool:
        """Whether it reached its greatest length: the same request would end there again."""
        return self.reason == "unfinished" and self.finish.lower() in _CUT

    @property
    def answer(self) -> str | None:
        """The whole answer; None if there is none."""
        return self.text if self.reason is None else None


def reply_of(
    text: str | None,
    finish: str,
    prompt_tokens: int = 0,
    completion_tokens: int = 0,
    *,
    thought: bool = False,
) -> Reply:
    """What a text is that ends for a reason: an answer, half of one, or none.

    Only an answer that the model ended itself is one: half a translation passes for a whole one, and "95" cut
    to "9" is a score, too.

    Args:
        text: what was written; None if nothing.
        finish: why it ends there, in the endpoint's word; empty if that is not known.
        prompt_tokens: of the question.
        completion_tokens: of the answer.
        thought: something was written beside the answer.
    """
    word = finish.lower()
    reason: Reason | None = None
    detail = ""
    if word in _CUT:
        reason = "unfinished"
        detail = f"cut at its greatest length (max_tokens) after {completion_tokens} tokens; raise max_tokens"
    elif word in _REFUSED:
        reason, detail = "refused", f"the endpoint ended the answer with {finish!r}"
    elif word not in FINISHED:
        said = f"ends with {finish!r}" if finish else "does not say why it ends (no finish_reason)"
        reason, detail = "unfinished", f"the answer {said}; expected 'stop'"
    elif text is None and thought:
        reason, detail = "unfinished", f"no answer after {completion_tokens} tokens of thinking (max_tokens)"
    return Reply(as_text(text or ""), reason, detail, prompt_tokens, completion_tokens, finish)


def question(text: str, *, chat: bool = True, marked: Callable[[str], str] = mark) -> dict[str, Any]:
    """What a request asks: a conversation of one user message, or a text to be continued.

    It is the endpoint that makes tokens of it, so special strings of the texts in it are broken by `marked`
    (see `grrm.texts`). What is to be continued may hold some of its own.
    """
    if chat or isinstance(text, Filled):
        text = marked(text)
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
        if data.get("error") and not data.get("choices"):
            return _failed(data["error"])
        choice = data["choices"][0]
        finish = str(choice.get("finish_reason") or "")
        if choice.get("error") or finish.lower() in _FAILED:
            return _failed(choice.get("error") or f"finish_reason {finish!r}")
        message = choice["message"] if "message" in choice else {"content": choice["text"]}
        usage = data.get("usage")
        tokens = _count(usage, "prompt_tokens"), _count(usage, "completion_tokens")
        text, refusal = _content(message)
        if refusal:
            return Reply(
                as_text(text or ""), "refused", f"the model refuses: {as_text(refusal)[:200]}", *tokens
            )
        thought = any(message.get(name) for name in _REASONING)
        if text is None and not thought and (not finish or finish.lower() in FINISHED):
            raise TypeError("content is None")
        return reply_of(text, finish, *tokens, thought=thought)
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
        said = f"{type(error).__name__}: {error}"
        return Reply(None, "malformed", f"not a chat completion ({said:.200}): {response.text[:200]}")


def _failed(error: Any) -> Reply:
    """What a server says that failed after it had sent the status of success."""
    code = error.get("code") if isinstance(error, Mapping) else None
    reason: Reason = "rate_limit" if str(code) == str(int(HTTPStatus.TOO_MANY_REQUESTS)) else "server"
    said = error.get("message", error) if isinstance(error, Mapping) else error
    return Reply(None, reason, as_text(f"an error in place of an answer: {said!s:.200}"))


def _content(message: Mapping[str, Any]) -> tuple[str | None, str]:
    """Text of an answer, the parts of it joined, and of a refusal; thinking is no part of either."""
    content, refusals = message["content"], [message.get("refusal")]
    if isinstance(content, list):
        parts = [part for part in content if isinstance(part, Mapping)]
        if len(parts) < len(content):
            raise TypeError(f"content holds {content!r:.80}")
        refusals += [part.get("refusal") for part in parts]
        texts = [part["text"] for part in parts if part.get("type", "text") in ("text", "output_text")]
        content = "".join(texts) if texts else None
    if content is not None and not isinstance(content, str):
        raise TypeError(f"content is {content!r:.80}")
    return content, "".join(refusal for refusal in refusals if isinstance(refusal, str))


def _count(usage: Any, name: str) -> int:
    """Tokens by the endpoint's own count; 0 where it says nothing that can be one."""
    value = usage.get(name) if isinstance(usage, Mapping) else None
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < 1e12:
        return 0
    return int(value)


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
