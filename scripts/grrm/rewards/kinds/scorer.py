"""Scoring groups of candidates by one kind of reward."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from types import TracebackType
from typing import TYPE_CHECKING, Self

from grrm.catalogue import resolve
from grrm.judges.groups import Group, GroupScores, Judged
from grrm.rewards.kinds.options import ScoringOptions
from grrm.rewards.kinds.scoring import Asking, Scoring

if TYPE_CHECKING:
    from grrm.asking.client import JudgeClient


def _finite(result: GroupScores) -> GroupScores:
    """Scores that are no numbers, such as NaN of a diverged checkpoint, are failures."""
    wrong = [i for i, score in enumerate(result.scores) if score is not None and not math.isfinite(score)]
    if not wrong:
        return result
    scores = tuple(None if i in wrong else score for i, score in enumerate(result.scores))
    why = (f"candidate {i}: {result.scores[i]} is no finite number" for i in wrong)
    return replace(result, scores=scores, failures=(*result.failures, *why))


class Scorer:
    """Scores groups of candidates by one kind; to be used in one event loop, `async with` or with `close`.

    All groups, also those of concurrent calls, share one pool of connections to the judge, or one process.

    Args:
        options: the kind and what it needs.
        environment: where the judge's API key is looked up.
        asking: how the judge is asked, in place of a client by `options.judge`; of a mixture, the part that
            verl serves.

    Raises:
        UserError: the prompt or the function cannot be used.
    """

    def __init__(
        self,
        options: ScoringOptions,
        environment: Mapping[str, str] = os.environ,
        asking: Asking | None = None,
    ) -> None:
        self.options = options
        self._environment = environment
        self._client: JudgeClient | None = None
        self._scoring: Scoring = resolve(f"{options.entry.module}:load")(
            options, asking or Asking(self._judge)
        )
        assert self._scoring.points or options.points_range, f"{options.kind}: neither a range nor points"

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Close connections and end processes."""
        if self._client is not None:
            await self._client.__aexit__(None, None, None)
            self._client = None
        if self._scoring.close is not None:
            await self._scoring.close()

    @property
    def columns(self) -> frozenset[str]:
        """Columns of the rows that prompts name."""
        return self._scoring.columns

    @property
    def ledger(self) -> dict[str, float]:
        """What the judge was asked so far: calls, tokens, cost, failures (`grrm.asking.ledger.Counts`)."""
        return self._client.counts.as_dict() if self._client is not None else {}

    async def score_group(self, group: Group) -> GroupScores:
        """Scores of one group; raises what `score_groups` raises."""
        return (await self.score_groups([group])).groups[0]

    async def score_groups(self, groups: Sequence[Group]) -> Judged:
        """Scores of all groups, on the kind's own scale, and figures about them.

        A candidate about which nothing is known has the score None, and the group a reason. Scores that are
        `relative` tell nothing if there is nothing to choose: then they are the middle of their scale.

        Raises:
            UserError: too many judgements failed, a process that scores ended, or a tokeniser is missing.
        """
        if self.options.entry.asks == "judge" and not self.options.reference:
            groups = [replace(group, reference=None) for group in groups]
        judged = await self._scoring.score(groups)
        return replace(judged, groups=tuple(_finite(result) for result in judged.groups))

    def points(self, scores: Sequence[float | None]) -> list[float | None]:
        """Scores of one group on the scale of all kinds, 0 to 10.

        The kind's range is shifted and stretched (COMET may leave 0 to 1, and then 0 to 10).
        """
        if self._scoring.points is not None:
            return self._scoring.points(scores)
        assert self.options.points_range is not None, f"kind {self.options.kind} has no range and no points"
        low, high = self.options.points_range
        if (low, high) == (0, 10):
            return list(scores)
        return [None if score is None else 10 * (score - low) / (high - low) for score in scores]

    def _judge(self) -> JudgeClient:
        if self._client is None:
            # An HTTP client is not needed where nothing is asked, nor is it installed everywhere.
            from grrm.asking.client import JudgeClient

            assert self.options.judge is not None
            self._client = JudgeClient(self.options.judge, self._environment)
        return self._client
