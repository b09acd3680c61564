"""Questions of many askers, answered together once nobody is left who may still ask.

What is computed together moves the last digits of each result, so no clock may decide what is: a round closes
when every asker either has asked or has left, its questions are put in order of their places, and all are
answered by one call. The askers are counted when they enter, before the first of them asks.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

Question = TypeVar("Question")
Answer = TypeVar("Answer")


@dataclass(eq=False)
class _Asked(Generic[Question, Answer]):
    place: Any
    question: Question
    answer: asyncio.Future[Answer]


class Rounds(Generic[Question, Answer]):
    """For one event loop.

    Args:
        answer: answers the questions of a round: one answer each, in their order. One that is an exception is
            raised to whoever asked; one that it raises itself, to all of the round.
    """

    def __init__(
        self, answer: Callable[[list[Question]], Awaitable[Sequence[Answer | BaseException]]]
    ) -> None:
        self._answer = answer
        self._askers = 0
        self._asked: list[_Asked[Question, Answer]] = []
        self._tasks: set[asyncio.Task[None]] = set()

    def enter(self, count: int = 1) -> None:
        """So many more may ask."""
        self._askers += count

    def leave(self, count: int = 1) -> None:
        """So many will not ask any more."""
        self._askers -= count
        self._close_if_all_asked()

    async def ask(self, question: Question, place: Any = 0) -> Answer:
        """The answer to a question of one asker.

        Args:
            question: what `answer` is given.
            place: in the order of the round; of one type in all questions. Equal places keep the order in
                which they asked.
        """
        asked = _Asked(place, question, asyncio.get_running_loop().create_future())
        self._asked.append(asked)
        self._close_if_all_asked()
        try:
            answer: Answer = await asked.answer
            return answer
        finally:
            if asked in self._asked:  # whoever asked was cancelled
                self._asked.remove(asked)

    @contextmanager
    def spread(self, count: int) -> Iterator[Callable[[], None]]:
        """One asker becomes `count`, and one again in the end; each calls what it is given once it is done.

        The last one that is done is the asker itself, so that it is counted all the time.
        """
        going = count
        self.enter(max(count - 1, 0))

        def done() -> None:
            nonlocal going
            going -= 1
            if going > 0:
                self.leave()

        yield done

    def _close_if_all_asked(self) -> None:
        if not self._asked or len(self._asked) < self._askers:
            return
        asked, self._asked = sorted(self._asked, key=lambda one: one.place), []
        task = asyncio.get_running_loop().create_task(self._settle(asked))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _settle(self, asked: list[_Asked[Question, Answer]]) -> None:
        answers: Sequence[Answer | BaseException]
        try:
            answers = await self._answer([one.question for one in asked])
        except Exception as error:
            answers = [error] * len(asked)
        for one, answer in zip(asked, answers, strict=True):
            if one.answer.done():  # cancelled
                continue
            if isinstance(answer, BaseException):
                one.answer.set_exception(answer)
            else:
                one.answer.set_result(answer)


class Asker(Generic[Question, Answer]):
    """One that may ask; it enters when it is made, and leaves once, however often `leave` is called."""

    def __init__(self, rounds: Rounds[Question, Answer], place: Any) -> None:
        self._rounds, self._place, self._is_in = rounds, place, True
        rounds.enter()

    async def ask(self, question: Question) -> Answer:
        """See `Rounds.ask`."""
        return await self._rounds.ask(question, self._place)

    def leave(self) -> None:
        """It will not ask any more."""
        if self._is_in:
            self._is_in = False
            self._rounds.leave()


TOGETHER = "/together"
"""Behind a server's address of chat completions: many of them in one message. {"requests": [...]} is answered
{"answers": [{"status": 200, "body": {...}}, ...]}."""

PLACE: ContextVar[int] = ContextVar("place", default=0)
"""The place of whoever asks, for questions that are asked far below where it is known."""
