"""Whether too many judgements fail to go on: judged over whole rounds.

Failures do not come evenly: what is too long fails at once, what is asked again fails last. A rate over the
latest results sees either of them alone. So a rate is taken of rounds only, such as the groups of a step or
the calls that were under way together, once the last of a round has ended; small rounds are taken together.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Hashable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import get_args

from grrm.judges.questions import Reason

_PLACE = re.compile(r"candidates? \d+(?: and \d+)?: ")
_SHORT = re.compile(r"[A-Za-z_ ()]{1,24}")
_LONGEST = 80
_SHOWN = 5
"""Reasons that a message counts one by one."""

# What to do about the commonest reason, by how it begins.
_ADVICE = (
    (
        ("malformed answer", "unparsable"),
        "Train the judge longer, look at what it answers, or give its answers more tokens",
    ),
    (
        ("prompt too long",),
        "Let the judge's prompts be longer (max_prompt_length), or the policy's prompts or responses shorter",
    ),
    (
        ("siblings missing",),
        "Let groups wait longer (deadline), or look in this log why responses came late",
    ),
    (
        ("no answer: unfinished", "unfinished"),
        "Give the judge's answers more tokens (max_response_length, or max_tokens of an endpoint)",
    ),
    (
        ("no answer", *(reason for reason in get_args(Reason) if reason not in ("unparsable", "unfinished"))),
        "No answer came: look at the judge's server, its address and key, and its time limit (timeout)",
    ),
)
_OTHERWISE = "See in the record of judgements what failed"


def in_words(reasons: Mapping[str, int]) -> str:
    """How often which reason was given, the commonest first: "2 timeout, 1 connection"."""
    return ", ".join(f"{count} {reason}" for reason, count in Counter(reasons).most_common())


@dataclass
class Failures:
    """Judgements of whole rounds.

    Attributes:
        asked: their number.
        failed: those of them that failed.
        reasons: of the failures, as `kind_of` has them, with their numbers.
        examples: a reason in full for each.
    """

    asked: int = 0
    failed: int = 0
    reasons: Counter[str] = field(default_factory=Counter)
    examples: dict[str, str] = field(default_factory=dict)

    def add(self, asked: int, failed: int, reasons: Iterable[str]) -> None:
        """Count judgements; reasons may be fewer than failures, where one stands for several."""
        self.asked, self.failed = self.asked + asked, self.failed + failed
        for reason in reasons:
            kind = kind_of(reason)
            self.reasons[kind] += 1
            self.examples.setdefault(kind, " ".join(reason.split())[:200])

    def merge(self, other: Failures) -> None:
        """Count the judgements of another, too."""
        self.asked, self.failed = self.asked + other.asked, self.failed + other.failed
        self.reasons.update(other.reasons)
        self.examples = {**other.examples, **self.examples}

    def __str__(self) -> str:
        """The commonest reasons with their numbers, and the first in full."""
        common = self.reasons.most_common()
        told = [f"{count} {kind}" for kind, count in common[:_SHOWN]]
        if rest := sum(count for _, count in common[_SHOWN:]):
            told.append(f"{rest} other")
        example = self.examples[common[0][0]] if common else ""
        more = f" (such as: {example})" if common and example != common[0][0] else ""
        return (", ".join(told) or "no reason given") + more

    @property
    def advice(self) -> str:
        """What to do about the commonest reason."""
        commonest = next((kind for kind, _ in self.reasons.most_common(1)), "")
        # A part of a mixture stands before its reasons.
        _, _, of_part = commonest.partition(": ")
        return next(
            (text for starts, text in _ADVICE if commonest.startswith(starts) or of_part.startswith(starts)),
            _OTHERWISE,
        )


@dataclass
class _Round:
    size: int
    begun: int = 0
    ended: int = 0
    counts: Failures = field(default_factory=Failures)

    @property
    def is_whole(self) -> bool:
        return self.ended >= (self.size or self.begun)


class FailureWatch:
    """Counts failures round by round.

    Args:
        limit: share of failures that is not too many, 0 to 1.
        least: judgements of which a rate is taken at least; smaller rounds are taken together.
    """

    def __init__(self, limit: float, least: int) -> None:
        self._limit, self._least = limit, least
        self._rounds: dict[Hashable, _Round] = {}
        self._whole = Failures()

    def begin(self, key: Hashable, size: int = 0) -> None:
        """A member of a round is under way.

        Args:
            key: of the round.
            size: members that it will have; 0: it is whole whenever nothing of it is under way.
        """
        # Of rounds before, what has not begun by now never will.
        for other in [k for k, one in self._rounds.items() if k != key and one.ended == one.begun]:
            self._whole.merge(self._rounds.pop(other).counts)
        self._rounds.setdefault(key, _Round(size)).begun += 1

    def end(self, key: Hashable, asked: int, failed: int, reasons: Iterable[str]) -> Failures | None:
        """A member has ended, with so many judgements; too many failures of whole rounds, if there are.

        Args:
            key: as it began.
            asked: judgements of this member.
            failed: those of them that failed.
            reasons: why.
        """
        current = self._rounds[key]
        current.ended += 1
        current.counts.add(asked, failed, reasons)
        if not current.is_whole:
            return None
        self._whole.merge(self._rounds.pop(key).counts)
        if self._whole.asked < self._least:
            return None
        seen, self._whole = self._whole, Failures()
        return seen if seen.failed > self._limit * seen.asked else None


def kind_of(reason: str) -> str:
    """What a reason has in common with others, without places and details.

    "candidates 0 and 2: timeout: no complete answer within 60 s" -> "timeout"
    "malformed answer: incomplete: no scores" -> "malformed answer: incomplete"
    """
    head, *rest = _PLACE.sub("", " ".join(reason.split())).split(": ")
    is_short = head not in get_args(Reason) and rest and _SHORT.fullmatch(rest[0])
    return (f"{head}: {rest[0]}" if is_short else head)[:_LONGEST] or "no reason given"
