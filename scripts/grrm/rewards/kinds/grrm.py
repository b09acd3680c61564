"""The GRRM: the judge of groups, asked once about all candidates."""

from __future__ import annotations

from collections.abc import Sequence

from grrm.judges.groups import Group, Judged
from grrm.judges.translation import drawn_order, judge_ranking, reader
from grrm.prompts import check_columns, load_ranking_prompt
from grrm.rewards.kinds.options import ScoringOptions
from grrm.rewards.kinds.scoring import Asking, Scoring


def load(options: ScoringOptions, asking: Asking) -> Scoring:
    """Raises UserError if the prompt cannot be used."""
    prompt = load_ranking_prompt(options.prompt)
    order = asking.order or drawn_order(options.seed)
    read = asking.read or reader(prompt, tolerant=options.tolerant)

    async def score(groups: Sequence[Group]) -> Judged:
        for group in groups:
            check_columns(options.prompt, prompt.columns, group.columns)
        return await judge_ranking(asking.judge(), groups, prompt, order=order, read=read, fits=asking.fits)

    return Scoring(score, columns=frozenset(prompt.columns))
