"""Asking a judge one question before anything depends on its answers: a wrong address, key, model or prompt,
or an answer in another form, is said at once and not after hours on GPUs."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from grrm.asking.options import JudgeOptions
from grrm.files import UserError
from grrm.judges.groups import Group
from grrm.rewards.kinds import Scorer, ScoringOptions
from grrm.urls import shown

_SOURCE, _BETTER, _WORSE = "Guten Morgen, wie geht es Ihnen?", "Good morning, how are you?", "Good night."


async def try_judges(options: ScoringOptions, environment: Mapping[str, str]) -> list[str]:
    """Have each judge of a reward judge two candidates.

    Args:
        options: how groups are scored; parts of a mixture are tried one by one.
        environment: where keys are looked up.

    Returns:
        for each judge that is asked over HTTP what it is and what it said, a line each; none if none is.

    Raises:
        UserError: a judge gives no verdict; names it, and why.
    """
    said = []
    for one in (options, *(part.options for part in options.parts)):
        if one.judge is not None and not one.judge.replay:
            said.append(await _try(one, one.judge, environment))
    return said


def check_checkpoints(options: ScoringOptions) -> None:
    """See that each checkpoint of a reward is there: it is loaded with the first response.

    Raises:
        UserError: a folder or an interpreter is not; names it.
    """
    for one in (options, *(part.options for part in options.parts)):
        if (model := one.model) is not None:
            if not Path(model.model).is_dir():
                raise UserError(
                    f"reward: model {model.model}: no such folder; expected that of a {one.kind} checkpoint"
                )
            if model.python and shutil.which(model.python) is None:
                raise UserError(
                    f"reward: python {model.python}: no such interpreter; expected one of {one.kind}'s"
                )


async def _try(options: ScoringOptions, judge: JudgeOptions, environment: Mapping[str, str]) -> str:
    # One call, now: nothing is waited for, and nothing is kept.
    asked = replace(
        judge, retries=1, outage_patience=0.0, cache="", ledger="", max_failure_share=1.0, required=False
    )
    async with Scorer(replace(options, judge=asked, swap=False), environment) as scorer:
        group = Group(
            _SOURCE,
            (_BETTER, _WORSE),
            reference=_BETTER,
            src_lang="de",
            trg_lang="en",
            columns={name: f"a {name}" for name in scorer.columns}
            | {"src_text": _SOURCE, "src_lang": "de", "trg_lang": "en"},
        )
        found = await scorer.score_group(group)
    name = f"judge {judge.model} at {shown(judge.url)}"
    if any(score is None for score in found.scores):
        why = found.failures[0] if found.failures else "no score"
        raise UserError(
            f"{name}: asked one question, it gave no verdict: {why}; check address, model, key "
            f"({judge.key_variable}) and prompt ({options.prompt})"
        )
    return f"{name} answers a question of kind {options.kind}"
