"""Metrics of sacreBLEU on single candidates, against a reference."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import Any

from grrm.judges.groups import Group, GroupScores, Judged, judged_singly
from grrm.rewards.kinds.scoring import Scoring
from grrm.rewards.model_scores import NO_REFERENCE


def sentence_scores(metric_of: Callable[[Group], Any]) -> Scoring:
    """Scores, on the metric's own scale, by the metric of sacreBLEU that is meant for each group."""

    def score_all(groups: Sequence[Group]) -> Judged:
        return judged_singly([_score(metric_of(group), group) for group in groups])

    async def score(groups: Sequence[Group]) -> Judged:
        # Long texts take seconds, in which whoever waits for the event loop would wait, too.
        return await asyncio.get_running_loop().run_in_executor(_thread(), score_all, groups)

    return Scoring(score)


@cache
def _thread() -> ThreadPoolExecutor:
    """One for all: MeCab's tagger is not for several, and Python would not run them at once."""
    return ThreadPoolExecutor(1, "grrm metrics")


def _score(metric: Any, group: Group) -> GroupScores:
    if not (group.reference or "").strip():
        return GroupScores((None,) * len(group.candidates), (NO_REFERENCE,))
    return GroupScores(
        tuple(float(metric.sentence_score(text, [group.reference]).score) for text in group.candidates)
    )
