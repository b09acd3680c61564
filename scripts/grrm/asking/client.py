"""All calls to a judge behind an OpenAI-compatible endpoint, through one asynchronous pool.

A failure is not a score: whatever goes wrong comes back as a reply without text and with a reason, and is
counted. The API key is read from the environment, sent in one header, and written nowhere.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

from grrm.asking.cache import ReplyCache, cache_key
from grrm.asking.chat import STOP, Reply, defaults, question, reply_of
from grrm.asking.endpoint import Endpoint, Retrying
from grrm.asking.failures import FailureWatch
from grrm.asking.ledger import Counts, write_call
from grrm.asking.limits import Batch
from grrm.asking.money import Budget, cost_of
from grrm.asking.options import JudgeOptions, key_of
from grrm.asking.together import Together
from grrm.asking.tokens import marking
from grrm.content import model_hash
from grrm.files import PassingError, UserError
from grrm.judges.questions import NoAnswerError, Reason, Verdict

T = TypeVar("T")

# What another draw may answer.
_ASKED_AGAIN: frozenset[Reason | None] = frozenset({"unparsable", "unfinished"})


class JudgeClient:
    """Asks a judge; to be used as `async with JudgeClient(options) as client`, in one event loop.

    Args:
        options: how to ask.
        environment: where the API key is looked up.
        retrying: in place of what the options say about retries.
        together: sends all that is asked at once in one message. Then there must be no limit to what is, and
            equal questions are sent each for itself.

    Attributes:
        counts: of what was asked since the client was made.
        budget: what is spent of it, by this client and by those before it that had the same ledger.
    """

    def __init__(
        self,
        options: JudgeOptions,
        environment: Mapping[str, str] = os.environ,
        *,
        retrying: Retrying | None = None,
        together: Together | None = None,
    ) -> None:
        self.options = options
        self.counts = Counts()
        self._together = together
        key = key_of(options.key_variable, environment)
        self._marked = marking(options.tokenizer)
        self.budget = Budget(options)
        self._endpoint = Endpoint(options, key, self.counts, self.budget, retrying, together)
        # A folder may hold another model tomorrow.
        self._content = model_hash(options.model) if options.cache else None
        self._cache = ReplyCache(Path(options.cache)) if options.cache else None
        self._pending: dict[str, asyncio.Task[Reply]] = {}
        self._batches = 0
        self._watch = FailureWatch(options.max_failure_share, options.failure_window)
        self._round = self._begun = 0

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        pending = list(self._pending.values())
        for task in pending:
            task.cancel()
        await asyncio.gather(*pending, return_exceptions=True)
        await self._endpoint.close()
        if self._cache is not None:
            self._cache.close()

    async def decide(self, questions: Sequence[tuple[str, Callable[[str], T]]]) -> list[Verdict[T]]:
        """Ask everything at once and read the answers; one verdict per question, in their order.

        Args:
            questions: pairs of a prompt and the function that reads the answer. An answer that it refuses
                (ValueError), or that is not finished, is asked for again up to `parse_retries` times.

        Raises:
            UserError: more than `max_failure_share` of the verdicts of a round failed, the batches that began
                one after the other until they had `failure_window` questions, a `required` endpoint
                cannot be reached, or the budget is spent.
        """
        number = self._begin(len(questions))
        try:
            verdicts = await self._verdicts(questions)
            self._check_reached(verdicts)
        except BaseException:
            self._watch.end(number, 0, 0, ())
            raise
        self._check_failures(number, verdicts)
        return verdicts

    async def _verdicts(self, questions: Sequence[tuple[str, Callable[[str], T]]]) -> list[Verdict[T]]:
        batch = self._new_batch()
        replies = await self._ask([prompt for prompt, _ in questions], 0, self.options.temperature, batch)
        verdicts = [self._read(reply, parse) for reply, (_, parse) in zip(replies, questions, strict=True)]
        for sample in range(1, self.options.parse_retries + 1):
            again = [index for index, verdict in enumerate(verdicts) if verdict.reason in _ASKED_AGAIN]
            replies = await self._ask(
                [questions[index][0] for index in again], sample, self.options.retry_temperature, batch
            )
            for index, reply in zip(again, replies, strict=True):
                verdicts[index] = replace(self._read(reply, questions[index][1]), retries=sample)
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

    async def answer(self, prompt: str, temperature: float, sample: int = 0) -> str:
        """The answer to one prompt; arguments as of `ask`.

        Raises:
            NoAnswerError: there is none.
            UserError: a `required` endpoint cannot be reached.
        """
        (reply,) = await self.ask([prompt], sample, temperature)
        self._check_reached([reply])
        if (text := reply.answer) is None:
            raise NoAnswerError(f"{reply.reason}: {reply.detail}")
        return text

    async def complete(self, request: Mapping[str, Any], sample: int = 0) -> Reply:
        """Send one request of the caller's own making, with `messages` or with a `prompt` to be continued.

        Args:
            request: its fields; model, temperature, top_p, max_tokens and `extra` are added where they lack,
                and what is None is left out.
            sample: as in `ask`.
        """
        self.counts.requests += 1
        fields = {**defaults(self.options), **request}
        asked = {name: value for name, value in fields.items() if value is not None}
        return await self._share(asked, sample, self._new_batch())

    def _new_batch(self) -> Batch:
        self._batches += 1
        return Batch(self._batches, self.options.deadline)

    async def _ask(
        self, prompts: Sequence[str], sample: int, temperature: float, batch: Batch
    ) -> list[Reply]:
        self.counts.requests += len(prompts)
        with self._spread(len(prompts)) as done:

            async def ask(prompt: str) -> Reply:
                request = question(prompt, marked=self._marked) | defaults(self.options, temperature)
                try:
                    return await self._share(request, sample, batch)
                finally:
                    done()

            return list(await asyncio.gather(*map(ask, prompts)))

    def _spread(self, count: int) -> AbstractContextManager[Callable[[], None]]:
        if self._together is None:
            return nullcontext(lambda: None)
        return self._together.rounds.spread(count)

    def key(self, request: Mapping[str, Any], sample: int) -> str:
        """Under which the answer to a request is kept."""
        return cache_key(request, sample, self._content)

    async def _share(self, request: Mapping[str, Any], sample: int, batch: Batch) -> Reply:
        key = self.key(request, sample)
        if self._together is not None:  # everyone that is counted asks
            return await self._answer(key, request, batch)
        if key in self._pending:
            self.counts.shared += 1
        else:
            task = asyncio.create_task(self._answer(key, request, batch))
            self._pending[key] = task
            task.add_done_callback(lambda _: self._pending.pop(key, None))
        return await self._pending[key]

    async def _answer(self, key: str, request: Mapping[str, Any], batch: Batch) -> Reply:
        if self._cache is not None and (row := self._cache.get(key)) is not None:
            self.counts.cached += 1
            reply = _kept(row)
            self._note(key, reply, 0.0, cached=True)
            return reply
        if self.options.replay:
            reply = Reply(None, "not_cached", f"{self.options.cache} has no answer to this request")
            self._book(key, reply, 0.0)
            return reply
        start = time.monotonic()
        try:
            async with batch.limit():
                reply = await self._endpoint.send(request, batch)
        except TimeoutError:
            reply = Reply(None, "deadline", f"not answered within {self.options.deadline:g} s")
        self._book(key, reply, time.monotonic() - start)
        refused = reply.reason == "refused" and self.options.keep_refusals
        if (reply.reason is None or reply.cut or refused) and self._cache is not None:
            kept = {
                "text": reply.text,
                "prompt_tokens": reply.prompt_tokens,
                "completion_tokens": reply.completion_tokens,
                "finish": reply.finish,
            }
            self._cache.put(key, request, kept | ({"refused": reply.detail} if refused else {}))
        return reply

    def _read(self, reply: Reply, parse: Callable[[str], T]) -> Verdict[T]:
        if (text := reply.answer) is None:
            return Verdict(None, reply.reason, reply.detail, reply.text or None)
        try:
            return Verdict(parse(text), text=text)
        except ValueError as error:
            self.counts.unparsable += 1
            self._note_unread(str(error))
            return Verdict(None, "unparsable", str(error), text)

    def _book(self, key: str, reply: Reply, seconds: float) -> None:
        counts, options = self.counts, self.options
        if reply.reason is None:
            counts.answered += 1
        else:
            counts.failures[reply.reason] += 1
        cost = cost_of(options, reply.prompt_tokens, reply.completion_tokens)
        counts.prompt_tokens += reply.prompt_tokens
        counts.completion_tokens += reply.completion_tokens
        counts.cost += cost
        self._note(key, reply, seconds, cost=cost)

    def _note(
        self, key: str, reply: Reply, seconds: float, *, cached: bool = False, cost: float = 0.0
    ) -> None:
        options = self.options
        if options.verbose:
            said = reply.text if reply.reason is None else f"{reply.reason}: {reply.detail}"
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
                # Its calls one by one.
                **({"noted": True} if self.budget.notes_calls else {}),
            }
            write_call(Path(options.ledger), row)

    def _note_unread(self, detail: str) -> None:
        if self.options.ledger:
            row = {"time": round(time.time(), 3), "model": self.options.model, "without_verdict": detail}
            write_call(Path(self.options.ledger), row)

    def _check_reached(self, results: Iterable[Verdict[T] | Reply]) -> None:
        if not self.options.required:
            return
        for result in results:
            if result.reason in ("connection", "circuit_open"):
                raise PassingError(
                    f"judge {self.options.model} at {self._endpoint.address} cannot be reached any more "
                    f"({result.detail}); see in this log what ended it, and run the same command again"
                )

    def _begin(self, questions: int) -> int:
        """The round of a batch: what began before others ended is judged with them, whoever ends first."""
        if self._begun >= self.options.failure_window:
            self._round, self._begun = self._round + 1, 0
        self._begun += questions
        self._watch.begin(self._round)
        return self._round

    def _check_failures(self, number: int, verdicts: Sequence[Verdict[T]]) -> None:
        reasons = [verdict.failure for verdict in verdicts if verdict.value is None]
        if found := self._watch.end(number, len(verdicts), len(reasons), reasons):
            limit = f"max_failure_share {self.options.max_failure_share:g}"
            raise UserError(
                f"judge {self.options.model} at {self._endpoint.address}: {found.failed} of the last "
                f"{found.asked} answers failed, more than {limit} allows: {found}. {found.advice} "
                f"(JUDGE_API_URL, {self.options.key_variable}), or raise the share"
            )


def _kept(row: Mapping[str, Any]) -> Reply:
    """A reply that was kept."""
    tokens = row["prompt_tokens"], row["completion_tokens"]
    if "refused" in row:
        return Reply(row["text"], "refused", row["refused"], *tokens, row["finish"])
    # Rows of before reasons were kept are answers.
    return reply_of(row["text"], row.get("finish", STOP), *tokens)
