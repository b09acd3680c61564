"""Generation by a server that speaks OpenAI's API (vLLM, SGLang, llama.cpp, a hosted service...).

Chats go to /chat/completions, texts to be continued to /completions. Retries of failed calls, limits and the
API key are those of `grrm.asking`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from grrm.asking.chat import Reply, question
from grrm.asking.client import JudgeClient
from grrm.asking.options import NO_DEADLINE, JudgeOptions
from grrm.files import UserError
from grrm.inference.backends import Completion, Decoding, Engine, Request

# Answers to what was asked: another request may be answered. 401, 403, 404... would answer every request.
_ABOUT_THE_REQUEST = frozenset({400, 413, 422})


class OpenAIBackend:
    """A model behind a base URL."""

    def __init__(self, model: str, engine: Engine) -> None:
        self._loop = asyncio.new_event_loop()
        self._options = JudgeOptions(
            model=model,
            url=engine.base_url,
            key_variable=engine.key_variable,
            max_concurrency=engine.concurrency,
            timeout=engine.timeout,
            retries=engine.call_retries,
            deadline=NO_DEADLINE,
        )
        self._client = self._loop.run_until_complete(self._enter())

    async def _enter(self) -> JudgeClient:
        return await JudgeClient(self._options).__aenter__()

    def generate(self, requests: Sequence[Request], decoding: Decoding) -> Iterator[tuple[int, Completion]]:
        """Ask everything, as many requests at once as the server is to have.

        Raises:
            UserError: the server refuses to be asked at all (unknown model, wrong key).
        """
        answered: asyncio.Queue[tuple[int, Reply | BaseException]] = asyncio.Queue()

        async def ask(position: int) -> None:
            reply: Reply | BaseException
            try:
                body = _body(requests[position], decoding)
                reply = await self._client.complete(body, requests[position].seed)
            except BaseException as error:  # told to whoever waits for it, who would wait for ever
                reply = error
            answered.put_nowait((position, reply))

        tasks = [self._loop.create_task(ask(position)) for position in range(len(requests))]
        try:
            for _ in requests:
                position, reply = self._loop.run_until_complete(answered.get())
                if isinstance(reply, BaseException):
                    raise reply
                yield position, self._completion(reply)
        finally:
            if not self._loop.is_closed():  # who was interrupted may have closed it before
                self._cancel(tasks)

    def origin(self) -> dict[str, Any]:
        """Name of the model, and where it is served; its weights cannot be seen from here."""
        parts = urlsplit(self._options.url)
        return {
            "model": self._options.model,
            "weights": f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}",
        }

    def context(self) -> None:
        """The server's own affair."""
        return

    def close(self) -> None:
        """Close the connections, whatever still waits for an answer."""
        if self._loop.is_closed():
            return
        self._cancel(asyncio.all_tasks(self._loop))
        self._loop.run_until_complete(self._client.__aexit__(None, None, None))
        self._loop.close()

    def _cancel(self, tasks: Collection[asyncio.Task[Any]]) -> None:
        async def end() -> None:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

        self._loop.run_until_complete(end())

    def _completion(self, reply: Reply) -> Completion:
        if (text := reply.answer) is None:
            if reply.reason == "rejected" and reply.status not in _ABOUT_THE_REQUEST:
                raise UserError(
                    f"{reply.detail}: check the base URL, the model's name ({self._options.model}) and the "
                    f"key in {self._options.key_variable}"
                )
            return Completion(reply.text or "", reply.reason, reply.detail)
        return Completion(text)


def _body(request: Request, decoding: Decoding) -> dict[str, Any]:
    return {
        **question(request.text, chat=request.chat),
        "max_tokens": decoding.max_new_tokens,
        "temperature": decoding.temperature,
        "top_p": decoding.top_p,
        "seed": request.seed,
    }


def open(model: str | Path, engine: Engine) -> OpenAIBackend:
    """Get ready to ask a server for a model by its name there; nothing is sent yet.

    Raises:
        UserError: the base URL cannot be used.
    """
    return OpenAIBackend(str(model), engine)
