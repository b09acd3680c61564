"""What is asked of a judge, and what becomes of it. Who answers is not known here."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Generic, Literal, Protocol, TypeAlias, TypeVar

T = TypeVar("T")

Reason: TypeAlias = Literal[
    "timeout",  # no complete answer in time
    "connection",  # refused, cut, not HTTP, or a gateway that reaches nobody (502)
    "rate_limit",  # 429
    "server",  # any other 5xx
    "rejected",  # any other status: asking again would not help
    "malformed",  # 2xx, but not a chat completion
    "unfinished",  # a text that the model did not end itself: cut at max_tokens, aborted, or nobody says
    "refused",  # the model will not answer, or a filter took the answer away
    "circuit_open",  # the endpoint is down, not asked
    "deadline",  # the time of the whole batch was over
    "not_cached",  # replay only, and never asked before
    "unparsable",  # an answer, but no verdict in it
]


UNUSABLE: frozenset[Reason | None] = frozenset({"unparsable", "unfinished", "refused"})
"""The judge answered, but nothing can be read in it: the texts that it was shown may be why."""


@dataclass(frozen=True)
class Verdict(Generic[T]):
    """What the judge decided about one prompt."""

    value: T | None
    """None if there is no verdict; then `reason` and `detail` say why."""
    reason: Reason | None = None
    detail: str = ""
    text: str | None = None
    """The judge's answer, if there was one."""
    retries: int = 0
    """Times it was asked again."""

    @property
    def failure(self) -> str:
        """Why there is no verdict, in one line."""
        return f"{self.reason}: {self.detail}"


class NoAnswerError(Exception):
    """A judge has not answered; says why."""


class Decider(Protocol):
    """Who answers, such as `grrm.asking.client.JudgeClient`."""

    async def decide(self, questions: Sequence[tuple[str, Callable[[str], T]]]) -> list[Verdict[T]]:
        """Ask everything at once and read the answers; one verdict per question, in their order.

        Args:
            questions: pairs of a prompt and the function that reads the answer; it raises ValueError where
                there is no verdict in it.

        Raises:
            UserError: too many failed to go on.
        """
        ...
