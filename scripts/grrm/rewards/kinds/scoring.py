"""What the module of a kind gives, and what it is given to ask with."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from grrm.judges.groups import Group, Judged
from grrm.judges.questions import Decider
from grrm.judges.translation import Order, Read


@dataclass(frozen=True)
class Asking:
    """How a judge is asked.

    Attributes:
        judge: who answers; called when the first group is scored.
        fits: whether a prompt is short enough for it (grrm).
        order: which candidates the GRRM is shown, in which order; None: as the seed draws it.
        read: what reads its answer; None: as it was trained to answer.
    """

    judge: Callable[[], Decider]
    fits: Callable[[str], bool] = lambda prompt: True
    order: Order | None = None
    read: Read | None = None


@dataclass(frozen=True)
class Scoring:
    """A kind that is ready to score.

    Attributes:
        score: scores of groups, on the kind's own scale: one result per group, in their order. A candidate
            about which nothing is known has the score None, and its group a reason.
        points: scores of one group as points, 0 to 10; None: as the range of the kind says.
        close: ends what was started.
        columns: of the rows that its prompt names.
    """

    score: Callable[[Sequence[Group]], Awaitable[Judged]]
    points: Callable[[Sequence[float | None]], list[float | None]] | None = None
    close: Callable[[], Awaitable[None]] | None = None
    columns: frozenset[str] = frozenset()
