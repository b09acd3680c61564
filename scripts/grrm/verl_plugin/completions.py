"""The rollout server's OpenAI-style endpoint: chat completions of plain text, anything else refused."""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Awaitable, Callable
from typing import Any

from aiohttp import web

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


class ChatEndpoint:
    """Answers /v1/chat/completions, /v1/models and /health.

    Args:
        name: of the model.
        tokenizer: whose chat template renders the messages.
        context: tokens of prompt and answer together.
        parse: sampling parameters from a prompt's token ids and a request's parameters; raises ValueError.
        run: generates: id of the request, token ids of the prompt, sampling parameters.
    """

    def __init__(
        self,
        name: str,
        tokenizer: Any,
        context: int,
        parse: Callable[[list[int], dict[str, Any]], SamplingParams],
        run: Callable[[str, list[int], SamplingParams], Awaitable[Request]],
    ) -> None:
        self._name = name
        self._tokenizer = tokenizer
        self._context = context
        self._parse = parse
        self._run = run

    def application(self) -> web.Application:
        """The routes."""
        app = web.Application(client_max_size=1 << 26)
        app.router.add_post("/v1/chat/completions", self._chat)
        app.router.add_get("/v1/models", self._models)
        app.router.add_get("/health", self._health)
        return app

    async def _health(self, _request: web.Request) -> web.Response:
        return web.json_response({"status": "ok"})

    async def _models(self, _request: web.Request) -> web.Response:
        return web.json_response({"object": "list", "data": [{"id": self._name, "object": "model"}]})

    async def _chat(self, request: web.Request) -> web.Response:
        try:
            try:
                body = await request.json()
            except json.JSONDecodeError as error:
                raise ValueError(f"the body is not JSON: {error}") from error
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
            return _http_error(400, "invalid_request_error", str(error))
        try:
            done = await self._run(f"chatcmpl-{uuid.uuid4().hex}", prompt, params)
        except Exception as error:
            return _http_error(500, "server_error", f"{type(error).__name__}: {error}")
        if done.finish_reason == "abort":
            return _http_error(503, "aborted", "the request was aborted; generation is paused")
        text = self._tokenizer.decode(
            done.tokens, skip_special_tokens=body.get("skip_special_tokens") is not False
        )
        return web.json_response(
            {
                "id": f"chatcmpl-{uuid.uuid4().hex}",
                "object": "chat.completion",
                "created": int(time.time()),
                "model": body.get("model") or self._name,
                "choices": [
                    {
                        "index": 0,
                        "message": {"role": "assistant", "content": text},
                        "finish_reason": done.finish_reason,
                    }
                ],
                "usage": {
                    "prompt_tokens": len(prompt),
                    "completion_tokens": len(done.tokens),
                    "total_tokens": len(prompt) + len(done.tokens),
                },
            }
        )

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


def _http_error(status: int, kind: str, message: str) -> web.Response:
    return web.json_response({"error": {"message": message, "type": kind, "code": status}}, status=status)
