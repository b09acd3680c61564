"""Comparing responses in pairs: which orders are asked, and what the answers come to.

A missing answer is a missing comparison, never a tie.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TypeAlias

from grrm.judges.groups import shown_first
from grrm.tournament import Comparison, Method, score
from grrm.verdicts import Preference, swap

Shown: TypeAlias = tuple[int, int]
"""Two responses by index; the first is shown first, as A."""


def orders_of(question: str, texts: Sequence[str], pair: Shown, both: bool) -> tuple[Shown, ...]:
    """The orders in which a judge is asked about two responses: both, or one that is drawn from the texts."""
    i, j = pair
    if both:
        return (i, j), (j, i)
    return ((i, j),) if shown_first(question, texts[i], texts[j]) == texts[i] else ((j, i),)


def agreed(answers: Iterable[tuple[Shown, Preference]], pair: Shown) -> Comparison:
    """What the answers about a pair come to, each in the order it was shown in; a tie if they disagree."""
    said = {answer if order == pair else swap(answer) for order, answer in answers}
    preference = said.pop() if len(said) == 1 else "tie"
    winners: dict[Preference, int | None] = {"A": pair[0], "B": pair[1], "tie": None}
    return *pair, winners[preference]


LEAST_ANSWERED = 0.5
"""Share of a response's pairs that have to be answered; a response with fewer has no score."""


def compared(comparisons: Iterable[Comparison]) -> tuple[list[int], list[Comparison]]:
    """The responses that were compared, in order, and the comparisons with their places among these.

    A response that was never compared must not count as an average one.
    """
    given = list(comparisons)
    known = sorted({index for i, j, _ in given for index in (i, j)})
    place = {index: position for position, index in enumerate(known)}
    return known, [(place[i], place[j], None if w is None else place[w]) for i, j, w in given]


def tournament_scores(n: int, comparisons: Iterable[Comparison], method: Method) -> list[float | None]:
    """Scores of `n` distinct responses, in [-1, 1]; None of those in `too_few_answered`."""
    given = list(comparisons)
    known, local = compared(given)
    values = dict(zip(known, score(method, len(known), local), strict=True)) if known else {}
    unknown = too_few_answered(range(n), given)
    return [None if index in unknown else values[index] for index in range(n)]


def too_few_answered(responses: Sequence[int], comparisons: Iterable[Comparison]) -> set[int]:
    """Which of the responses were compared with less than `LEAST_ANSWERED` of the others."""
    met: dict[int, set[int]] = {index: set() for index in responses}
    for i, j, _ in comparisons:
        met[i].add(j)
        met[j].add(i)
    least = LEAST_ANSWERED * (len(met) - 1)
    return {index for index, others in met.items() if not others or len(others) < least}
