"""A Python function of the user's own, path/to/file.py:function, async or not (docs/rewards.md).

It gets a whole group and answers one number, or None, for each candidate; or, with the parameters of verl's
`compute_score`, it gets one response at a time. Whatever else comes of it is a failed judgement with its
reason: an exception, another number of answers, what is no finite number.
"""

from __future__ import annotations

import asyncio
import inspect
import math
from collections.abc import Awaitable, Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from grrm.files import UserError
from grrm.functions import Function, load_function, said
from grrm.judges.groups import Group, GroupScores, Judged, judged_singly
from grrm.rewards.kinds.options import ScoringOptions
from grrm.rewards.kinds.scoring import Asking, Scoring

VERL = ("data_source", "solution_str", "ground_truth")
"""Parameters by which a function for single responses is known."""


def load(options: ScoringOptions, asking: Asking) -> Scoring:
    """Raises UserError if there is no such function, or it takes other parameters."""
    function = load_function(options.function)
    name = options.function.rpartition(":")[2]
    ask = _ask_singly if takes_single_responses(options.function, function) else _ask_group
    # One at a time, beside the event loop: nothing says that it may run twice at once.
    thread = ThreadPoolExecutor(1)

    async def call(*args: Any, **kwargs: Any) -> Any:
        if inspect.iscoroutinefunction(function):
            return await function(*args, **kwargs)
        loop = asyncio.get_running_loop()
        answer = await loop.run_in_executor(thread, lambda: function(*args, **kwargs))
        return await answer if inspect.isawaitable(answer) else answer

    async def score(groups: Sequence[Group]) -> Judged:
        return judged_singly(await asyncio.gather(*[_scores(name, ask, call, group) for group in groups]))

    async def close() -> None:
        thread.shutdown(wait=False, cancel_futures=True)

    return Scoring(score, close=close)


def takes_single_responses(spec: str, function: Function) -> bool:
    """Whether a function is for single responses: it has the parameters of verl's `compute_score`.

    Raises:
        UserError: it has neither these nor one parameter, the group.
    """
    parameters = inspect.signature(function).parameters
    if all(name in parameters for name in VERL):
        return True
    needed = [
        name
        for name, parameter in parameters.items()
        if parameter.default is parameter.empty
        and parameter.kind in (parameter.POSITIONAL_ONLY, parameter.POSITIONAL_OR_KEYWORD)
    ]
    keywords = [
        name
        for name, parameter in parameters.items()
        if parameter.default is parameter.empty and parameter.kind is parameter.KEYWORD_ONLY
    ]
    if len(needed) != 1 or keywords:
        raise UserError(
            f"{spec}: takes {', '.join(parameters) or 'nothing'}; expected one parameter, the group, or "
            f"{', '.join(VERL)}, extra_info for single responses"
        )
    return False


def group_of(group: Group) -> dict[str, Any]:
    """What a function for groups gets: all columns of the row, and over them

    source (the text to translate, or the question), messages (the conversation before the candidates),
    src_lang and trg_lang (empty if the candidates are no translations), candidates (a list of distinct
    texts), reference and chosen (a text or None).
    """
    return {
        **group.columns,
        "source": group.question,
        "messages": list(group.messages),
        "src_lang": group.src_lang,
        "trg_lang": group.trg_lang,
        "candidates": list(group.candidates),
        "reference": group.reference,
        "chosen": group.chosen,
    }


Call = Callable[..., Awaitable[Any]]


async def _scores(
    name: str, ask: Callable[[Call, Group], Awaitable[list[Any]]], call: Call, group: Group
) -> GroupScores:
    try:
        answers = await ask(call, group)
    except Exception as error:
        return GroupScores((None,) * len(group.candidates), (f"{name}: {said(error)}",))
    if len(answers) != len(group.candidates):
        reason = f"{name}: {len(answers)} answers for {len(group.candidates)} candidates"
        return GroupScores((None,) * len(group.candidates), (reason,))
    read = [_read(answer) for answer in answers]
    failures = [f"{name}: candidate {i}: {why}" for i, (_, why) in enumerate(read) if why]
    return GroupScores(tuple(score for score, _ in read), tuple(failures))


async def _ask_group(call: Call, group: Group) -> list[Any]:
    answers = await call(group_of(group))
    if isinstance(answers, str | bytes | Mapping) or not hasattr(answers, "__iter__"):
        raise TypeError(f"answered {answers!r:.80}, expected one number or None for each candidate")
    return list(answers)


async def _ask_singly(call: Call, group: Group) -> list[Any]:
    """One call a candidate; one that raises costs that candidate its score, not its siblings theirs."""
    wanted = group.chosen if group.reference is None else group.reference
    row = {
        "data_source": group.columns.get("data_source", ""),
        "ground_truth": group.columns.get("ground_truth", wanted),
        "extra_info": dict(group.columns),
    }

    async def one(candidate: str) -> Any:
        try:
            return await call(solution_str=candidate, **row)
        except Exception as error:
            return error

    return list(await asyncio.gather(*[one(candidate) for candidate in group.candidates]))


def _read(answer: Any) -> tuple[float | None, str]:
    """The score in an answer, or None and the reason why it is none."""
    if isinstance(answer, Mapping):
        answer = answer.get("score")  # as verl reads it; what else is there is not logged
    if isinstance(answer, Exception):
        return None, said(answer)
    if answer is None:
        return None, "no score (None)"
    try:
        score = float("nan") if isinstance(answer, str | bytes) else float(answer)
    except (TypeError, ValueError, OverflowError):
        score = math.nan
    return (score, "") if math.isfinite(score) else (None, f"{answer!r:.80} is no finite number")
