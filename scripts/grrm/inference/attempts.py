"""Asking until an answer can be used: the failed ones again, hotter each time."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from grrm.files import UserError
from grrm.inference.backends import UNFINISHED, Backend, Completion, Decoding, Request

T = TypeVar("T")


class AnswerError(Exception):
    """An answer that cannot be used: a reason in one word, for counting, and a detail in words."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(reason, detail)
        self.reason, self.detail = reason, detail


@dataclass(frozen=True)
class Question(Generic[T]):
    """What a model is asked, and how its answer is read.

    Attributes:
        text: the prompt.
        read: what the answer says; raises `AnswerError`.
        key: numbers that no other question of the run has, for the seed.
        chat: as in `Request`.
    """

    text: str
    read: Callable[[str], T]
    key: tuple[int, ...]
    chat: bool = True


@dataclass(frozen=True)
class Answer(Generic[T]):
    """What became of a question.

    Attributes:
        text: the whole text of the last attempt.
        value: what it says; None if it cannot be used.
        failure: why not, in one word; None if there is a value.
        detail: the failure in words.
        attempts: how often the model was asked.
    """

    text: str
    value: T | None
    failure: str | None
    detail: str | None
    attempts: int


@dataclass(frozen=True)
class Retries:
    """How often, and how much hotter, an answer that cannot be used is asked for again.

    The step and the limit are those of the paper's authors (NJUNLP/GRRM, inference/run_mt.py).

    Attributes:
        count: times a question is asked again; their README has 6.
        step: added to the temperature each time.
        limit: the temperature does not rise above it (or above where it began).
    """

    count: int = 0
    step: float = 0.1
    limit: float = 1.0

    def __post_init__(self) -> None:
        for name in ("count", "step", "limit"):
            if not getattr(self, name) >= 0:
                raise UserError(f"retries: {name} is {getattr(self, name)}, expected 0 or more")

    def temperature(self, first: float, attempt: int) -> float:
        """Temperature of an attempt, counted from 0."""
        return max(first, min(first + attempt * self.step, self.limit))


NO_RETRIES = Retries()
# As in the README of the paper's authors.
DEFAULT_RETRIES = Retries(6)


def ask(
    backend: Backend, questions: Sequence[Question[T]], decoding: Decoding, retries: Retries = NO_RETRIES
) -> Iterator[tuple[int, Answer[T]]]:
    """Ask all questions; those without a usable answer again, and only those.

    What the backend itself could not do (a prompt too long, a server that is down) is not asked for again.

    Yields:
        position in `questions` and answer: each position once, as soon as it is settled.
    """
    waiting = list(range(len(questions)))
    for attempt in range(retries.count + 1):
        at = decoding.at(retries.temperature(decoding.temperature, attempt))
        # Greedy answers to the same text are the same, in every run.
        asked: dict[Any, list[int]] = {}
        for i in waiting:
            same = (questions[i].text, questions[i].chat) if at.temperature == 0 else i
            asked.setdefault(same, []).append(i)
        members = list(asked.values())
        requests = [
            Request(questions[i].text, seed_of(*questions[i].key, attempt), questions[i].chat)
            for i, *_ in members
        ]
        again = []
        for position, completion in backend.generate(requests, at) if requests else ():
            for number in members[position]:
                answer, may_ask_again = _read(questions[number], completion, attempt + 1)
                if may_ask_again and attempt < retries.count:
                    again.append(number)
                else:
                    yield number, answer
        waiting = sorted(again)


def seed_of(*key: int) -> int:
    """A seed, 0 to 2^31 - 1, that depends on the numbers of `key` alone."""
    digest = hashlib.blake2b(repr(key).encode(), digest_size=4).digest()
    return int.from_bytes(digest) >> 1


def _read(question: Question[T], completion: Completion, attempts: int) -> tuple[Answer[T], bool]:
    """The answer, and whether it failed in a way that another attempt may not."""
    if completion.failure:
        answer: Answer[T] = Answer(completion.text, None, completion.failure, completion.detail, attempts)
        return answer, completion.failure == UNFINISHED
    try:
        return Answer(completion.text, question.read(completion.text), None, None, attempts), False
    except AnswerError as error:
        return Answer(completion.text, None, error.reason, error.detail, attempts), True
