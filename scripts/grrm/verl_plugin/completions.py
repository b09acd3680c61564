"""The rollout server's OpenAI-style endpoint: chat completions of plain text, anything else refused.

Beside OpenAI's address there is one for many chats in one message (`grrm.asking.together`).
"""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from aiohttp import web

from grrm.rounds import TOGETHER
from grrm.sampling import SamplingParams
from grrm.texts import encode_chat
from grrm.verl_plugin.generation import Request

# Fields of a chat request that are no sampling parameters, with the values that are accepted (None: any).
CHAT_FIELDS: dict[str, tuple[Any, ...] | None] = {
    "messages": None,
    "model": None,
    "user": None,
    "skip_special_tokens": (None, True, False),
    "stream": (None, False),
    "logprobs": (None, False),
    "top_logprobs": (None, 0),
    "response_format": (None, {"type": "text"}),
    "add_generation_prompt": (None, True),
    "chat_template_kwargs": (None, {}),
}


class Continue(Protocol):
    """Generates: (token ids of the prompt, sampling parameters) of each request."""

    async def __call__(
        self, asked: Sequence[tuple[list[int], SamplingParams]], *, together: bool
    ) -> list[Request]:
        """Done requests, in order; those that belong together share batches with nothing else."""


@dataclass(frozen=True)
class _Chat:
    """A request that was read."""

    body: dict[str, Any]
    prompt: list[int]
    params: SamplingParams


class _RefusedError(Exception):
    """A request that is not answered, with its status and error."""

    def __init__(self, status: int, kind: str, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.error = {"error": {"message": message, "type": kind, "code": status}}


class ChatEndpoint:
    """Answers /v1/chat/completions, the same with `TOGETHER` behind it, /v1/models and /health.

    Args:
        name: of the model.
        tokenizer: whose chat template renders the messages.
        context: tokens of prompt and answer together.
        parse: sampling parameters from a prompt's token ids and a request's parameters; raises ValueError.
        run: generates.
    """

    def __init__(
        self,
        name: str,
        tokenizer: Any,
        context: int,
        parse: Callable[[list[int], dict[str, Any]], SamplingParams],
        run: Continue,
    ) -> None:
        self._name = name
        self._tokenizer = tokenizer
        self._context = context
        self._parse = parse
        self._run = run

    def application(self) -> web.Application:
        """The routes."""
        app = web.Application(client_max_size=1 << 26)
        app.router.add_post("/v1/chat/completions", self._one)
        app.router.add_post(f"/v1/chat/completions{TOGETHER}", self._together)
        app.router.add_get("/v1/models", self._models)
        app.router.add_get("/health", self._health)
        return app

    async def _health(self, _request: web.Request) -> web.Response:
        return web.json_response({"status": "ok"})

    async def _models(self, _request: web.Request) -> web.Response:
        return web.json_response({"object": "list", "data": [{"id": self._name, "object": "model"}]})

    async def _one(self, request: web.Request) -> web.Response:
        try:
            chat = self._read(await _json(request))
            (done,) = await self._generate([chat], together=False)
            return web.json_response(self._answer(chat, done))
        except _RefusedError as refused:
            return web.json_response(refused.error, status=refused.status)

    async def _together(self, request: web.Request) -> web.Response:
        try:
            bodies = (await _json(request))["requests"]
        except (_RefusedError, KeyError, TypeError) as error:
            refused = _RefusedError(
                400, "invalid_request_error", f"expected an object with requests: {error}"
            )
            return web.json_response(refused.error, status=refused.status)
        chats = [self._read_or_refuse(body) for body in bodies]
        good = [chat for chat in chats if isinstance(chat, _Chat)]
        try:
            done = iter(await self._generate(good, together=True))
        except _RefusedError as refused:
            return web.json_response(refused.error, status=refused.status)
        answers = [
            chat if isinstance(chat, _RefusedError) else self._answer_or_refuse(chat, next(done))
            for chat in chats
        ]
        return web.json_response(
            {
                "answers": [
                    {"status": answer.status, "body": answer.error}
                    if isinstance(answer, _RefusedError)
                    else {"status": 200, "body": answer}
                    for answer in answers
                ]
            }
        )

    async def _generate(self, chats: Sequence[_Chat], *, together: bool) -> list[Request]:
        try:
            return await self._run([(chat.prompt, chat.params) for chat in chats], together=together)
        except Exception as error:
            raise _RefusedError(500, "server_error", f"{type(error).__name__}: {error}") from error

    def _read_or_refuse(self, body: Any) -> _Chat | _RefusedError:
        try:
            return self._read(body)
        except _RefusedError as refused:
            return refused

    def _read(self, body: Any) -> _Chat:
        try:
            messages, raw = split_body(body)
            prompt = self._prompt(messages)
            params = self._parse(prompt, raw)
            wanted = raw.get("max_tokens") or raw.get("max_completion_tokens") or 0
            if wanted > params.max_tokens:
                raise ValueError(
                    f"max_tokens={wanted} and a prompt of {len(prompt)} tokens exceed the context of "
                    f"{self._context} tokens"
                )
        except ValueError as error:
            raise _RefusedError(400, "invalid_request_error", str(error)) from error
        return _Chat(body, prompt, params)

    def _answer_or_refuse(self, chat: _Chat, done: Request) -> dict[str, Any] | _RefusedError:
        try:
            return self._answer(chat, done)
        except _RefusedError as refused:
            return refused

    def _answer(self, chat: _Chat, done: Request) -> dict[str, Any]:
        if done.finish_reason == "abort":
            raise _RefusedError(503, "aborted", "the request was aborted; generation is paused")
        text = self._tokenizer.decode(
            done.tokens, skip_special_tokens=chat.body.get("skip_special_tokens") is not False
        )
        return {
            "id": f"chatcmpl-{uuid.uuid4().hex}",
            "object": "chat.completion",
            "created": int(time.time()),
            "model": chat.body.get("model") or self._name,
            "choices": [
                {
                    "index": 0,
                    "message": {"role": "assistant", "content": text},
                    "finish_reason": done.finish_reason,
                }
            ],
            "usage": {
                "prompt_tokens": len(chat.prompt),
                "completion_tokens": len(done.tokens),
                "total_tokens": len(chat.prompt) + len(done.tokens),
            },
        }

    def _prompt(self, messages: list[dict[str, str]]) -> list[int]:
        try:
            return encode_chat(self._tokenizer, messages, add_generation_prompt=True)
        except Exception as error:  # a template raises whatever it likes on roles it does not know
            raise ValueError(f"the chat template refuses these messages: {error}") from error


def split_body(body: Any) -> tuple[list[dict[str, str]], dict[str, Any]]:
    """(messages, sampling parameters) of a chat request.

    Raises:
        ValueError: not an object, bad messages, or a feature that is not supported.
    """
    if not isinstance(body, dict):
        raise ValueError("the body must be a JSON object")
    messages = body.get("messages")
    if not isinstance(messages, list) or not messages:
        raise ValueError("messages must be a list of at least one message")
    for message in messages:
        if (
            not isinstance(message, dict)
            or not isinstance(message.get("role"), str)
            or not isinstance(message.get("content"), str)
        ):
            raise ValueError(f"each message needs a role and a content, both strings; got {message!r:.200}")
    for name, accepted in CHAT_FIELDS.items():
        if accepted is not None and body.get(name) not in accepted:
            raise ValueError(f"{name}={body[name]!r} is not supported by the transformers rollout")
    return messages, {key: value for key, value in body.items() if key not in CHAT_FIELDS}


async def _json(request: web.Request) -> Any:
    try:
        return await request.json()
    except json.JSONDecodeError as error:
        raise _RefusedError(400, "invalid_request_error", f"the body is not JSON: {error}") from error
