"""Generation by a server that speaks OpenAI's API (vLLM, SGLang, llama.cpp, a hosted service...).

Chats go to /chat/completions, texts to be continued to /completions. Retries of failed calls, limits and the
API key are those of `grrm.asking`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future
from functools import partial
from pathlib import Path
from queue import SimpleQueue
from typing import Any

from grrm.asking.chat import Reply, question
from grrm.asking.client import JudgeClient
from grrm.asking.ledger import Spent
from grrm.asking.money import BudgetError
from grrm.asking.options import NO_DEADLINE, JudgeOptions
from grrm.event_loop import LoopThread
from grrm.files import UserError
from grrm.inference.backends import BUDGET, Completion, Decoding, Engine, Request
from grrm.urls import shown

# Answers to what was asked: another request may be answered. 401, 403, 404... would answer every request.
_ABOUT_THE_REQUEST = frozenset({400, 413, 422})


class OpenAIBackend:
    """A model behind a base URL."""

    def __init__(self, model: str, engine: Engine) -> None:
        self._loop, self._extra = LoopThread(f"grrm asks {model}"), dict(engine.extra)
        self._options = JudgeOptions(
            model=model,
            url=engine.base_url,
            key_variable=engine.key_variable,
            max_concurrency=engine.concurrency,
            timeout=engine.timeout,
            retries=engine.call_retries,
            deadline=NO_DEADLINE,
            **engine.asking,
        )
        self._client = self._loop.run(self._enter())

    async def _enter(self) -> JudgeClient:
        return await JudgeClient(self._options).__aenter__()

    def generate(self, requests: Sequence[Request], decoding: Decoding) -> Iterator[tuple[int, Completion]]:
        """Ask everything, as many requests at once as the server is to have.

        Raises:
            UserError: the server refuses to be asked at all (unknown model, wrong key).
        """
        # Whatever becomes of a call wakes who waits here, in whichever thread.
        ended: SimpleQueue[tuple[int, Future[Reply]]] = SimpleQueue()
        calls = []
        try:
            for position, request in enumerate(requests):
                asked = self._client.complete(_body(request, decoding, self._extra), request.seed)
                call = self._loop.start(asked)
                call.add_done_callback(partial(_put, ended, position))
                calls.append(call)
            for _ in requests:
                position, call = ended.get()
                try:
                    completion = self._completion(call.result())
                except BudgetError as error:  # what is under way is still waited for
                    completion = Completion("", BUDGET, str(error))
                yield position, completion
        finally:
            for call in calls:
                call.cancel()

    def origin(self) -> dict[str, Any]:
        """Name of the model, and where it is served; its weights cannot be seen from here."""
        return {
            "model": self._options.model,
            "weights": shown(self._options.url),
            **({"extra": self._extra} if self._extra else {}),
        }

    def spent(self) -> Spent:
        """What this backend's calls came to, without what its cache answered."""
        counts = self._client.counts
        return Spent(counts.calls, counts.prompt_tokens + counts.completion_tokens, counts.cost)

    @property
    def cached(self) -> int:
        """Requests that its cache answered."""
        return self._client.counts.cached

    def other_files(self) -> dict[str, str]:
        """They cannot be seen from here."""
        return {}

    def context(self) -> None:
        """The server's own affair."""
        return

    def close(self) -> None:
        """Close the connections."""
        self._loop.run(self._client.__aexit__(None, None, None))
        self._loop.close()

    def _completion(self, reply: Reply) -> Completion:
        if (text := reply.answer) is None:
            if reply.reason == "rejected" and reply.status not in _ABOUT_THE_REQUEST:
                raise UserError(
                    f"{reply.detail}: check the base URL, the model's name ({self._options.model}) and the "
                    f"key in {self._options.key_variable}"
                )
            return Completion(reply.text or "", reply.reason, reply.detail)
        return Completion(text)


def _put(ended: SimpleQueue[tuple[int, Future[Reply]]], position: int, call: Future[Reply]) -> None:
    ended.put((position, call))


def _body(request: Request, decoding: Decoding, extra: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of a request; None in `extra` leaves one out."""
    fields = {
        "max_tokens": decoding.max_new_tokens,
        "temperature": decoding.temperature,
        "top_p": decoding.top_p,
        "seed": request.seed,
        **extra,
    }
    return {**question(request.text, chat=request.chat), **fields}


def open(model: str | Path, engine: Engine) -> OpenAIBackend:
    """Get ready to ask a server for a model by its name there; nothing is sent yet.

    Raises:
        UserError: the base URL cannot be used.
    """
    return OpenAIBackend(str(model), engine)
