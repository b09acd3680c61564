"""What is judged of a group, what became of it, and what both semantics compute alike."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from grrm.prompts import UNENDING_KINDS
from grrm.rewards.group.options import GroupOptions

Outcome = Literal["judged", "identical", "invalid", "failed"]

FIGURES = (
    "judgements",  # asked for: pairs in one order, candidates or groups
    "judgements_failed",
    "ties",
    "conflicts",  # results that an optimal order contradicts (pairwise_dgr)
    "pairs",  # judged in both orders
    "biased_pairs",  # in which the same place won twice
    "inconsistent_pairs",  # with any disagreement
)
"""Counts of a group, each reported with every rollout of it."""


@dataclass(frozen=True)
class Rollout:
    """A response of the policy, its length in tokens, and its number among its siblings."""

    text: str
    length: int
    number: int = 0


@dataclass(frozen=True)
class Plan:
    """What is to be judged of a group."""

    translations: tuple[str | None, ...]
    """One per rollout: its translation, or its response without thinking; None if there is none, "" if
    nothing is in it."""
    candidates: tuple[str, ...]
    """The distinct ones and the chosen response, in the order in which the judge sees them."""


@dataclass(frozen=True)
class Judgement:
    """What became of a group, and the judge's scores if there are any."""

    outcome: Outcome
    scores: tuple[float | None, ...] | None = None
    """One per candidate of the plan, in its order, 0 to 10; None unless the outcome is "judged"."""
    answer: str | None = None
    """The judge's last answer."""
    reason: str | None = None
    """Why the judgement, or a part of it, failed."""
    retries: int = 0
    figures: Mapping[str, float] = field(default_factory=dict)
    """Counts of `FIGURES`."""
    parts: Mapping[str, Sequence[float | None]] = field(default_factory=dict)
    """Points of each part of a mixture, 0 to 10, one per candidate of the plan."""
    failures: tuple[str, ...] = ()
    """Why each judgement failed of those asked for."""
    unreadable: frozenset[str] = frozenset()
    """Candidates without a score about which the judge did answer, but nothing that can be read."""

    def score_of(self, plan: Plan) -> dict[str, float]:
        """The candidates that have a score, with it."""
        return scored(plan, self.scores)


def scored(plan: Plan, scores: Sequence[float | None] | None) -> dict[str, float]:
    """The candidates of a plan that have a score, with it."""
    pairs = zip(plan.candidates, scores, strict=True) if scores is not None else ()
    return {candidate: float(score) for candidate, score in pairs if score is not None}


def finished(rollout: Rollout, options: GroupOptions) -> str:
    """The response; nothing in the place of one that was cut, where its form does not show whether it was."""
    unending = options.task == "translation" and options.form in UNENDING_KINDS
    return "" if unending and 0 < options.max_response_length <= rollout.length else rollout.text


def overlong_penalty(length: int, options: GroupOptions) -> float:
    """Penalty of a response of `length` tokens: 0 up to the buffer, then linear up to `overlong_penalty`."""
    if not options.overlong_buffer:
        return 0.0
    excess = length - (options.max_response_length - options.overlong_buffer)
    return options.overlong_penalty * min(max(excess / options.overlong_buffer, 0.0), 1.0)
