"""What a semantics of group rewards does, and which there are."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from grrm.judges.groups import Group
from grrm.rewards.group.options import GroupOptions
from grrm.rewards.group.plan import Judgement, Plan
from grrm.rewards.group.published import Published
from grrm.rewards.group.strict import Strict


class Semantics(Protocol):
    """What a response holds, what the judge is shown, how it is read, and what scores are worth."""

    retries: int
    """Times a failed judgement is asked again."""

    def extract(self, response: str) -> str | None:
        """What is judged of a response; None if it is not there: the response is invalid."""

    def plan(self, responses: Sequence[str], source: Group) -> Plan:
        """What is to be judged of a group's responses."""

    def read(self, answer: str, count: int) -> Sequence[float]:
        """Scores in a GRRM's answer about so many candidates, as shown; ValueError if it is malformed."""

    def rewards(self, plan: Plan, judgement: Judgement, lengths: Sequence[int]) -> list[float]:
        """One reward per rollout of a group; lengths in tokens."""


def semantics_of(options: GroupOptions) -> Semantics:
    """The semantics that options name."""
    return Strict(options) if options.semantics == "strict" else Published(options)


def plan_group(texts: Sequence[str], source: Group, options: GroupOptions) -> Plan:
    """Extract what is judged of a group's responses and decide what the judge is shown."""
    return semantics_of(options).plan(texts, source)
