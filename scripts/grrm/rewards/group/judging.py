"""Having a group judged."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from typing import TypeVar

from grrm.files import UserError
from grrm.judges.groups import Group, Judged
from grrm.judges.questions import NoAnswerError, Verdict
from grrm.judges.translation import given_order
from grrm.rewards.group.options import GroupOptions
from grrm.rewards.group.plan import Judgement, Plan
from grrm.rewards.group.semantics import semantics_of
from grrm.rewards.kinds import Asking, Scorer

T = TypeVar("T")

Ask = Callable[[Plan, Group], Awaitable[Judgement]]
"""Has a group judged; the group is what its candidates answer."""
AskJudge = Callable[[str, float], Awaitable[str]]
"""Asks the judge: (prompt, temperature) -> answer text. Raises if there is no answer; UserError, which stops
the run, if there is no judge any more."""


class Insisting:
    """Asks a judge again, hotter, until it gives an answer that can be read.

    Args:
        ask: asks the judge once.
        temperature: of the first answer.
        retry_temperature: of the others.
        retries: their number.
    """

    def __init__(self, ask: AskJudge, *, temperature: float, retry_temperature: float, retries: int) -> None:
        self._ask = ask
        self._temperatures = [temperature] + [retry_temperature] * retries

    async def decide(self, questions: Sequence[tuple[str, Callable[[str], T]]]) -> list[Verdict[T]]:
        """See `grrm.judges.questions.Decider`; each question is waited for by itself.

        Raises:
            UserError: there is no judge any more.
        """
        return [await self._decide(prompt, read) for prompt, read in questions]

    async def _decide(self, prompt: str, read: Callable[[str], T]) -> Verdict[T]:
        verdict: Verdict[T] = Verdict(None)
        for retries, temperature in enumerate(self._temperatures):
            try:
                answer = await self._ask(prompt, temperature)
            except UserError:  # there is no judge any more
                raise
            except NoAnswerError as error:
                verdict = Verdict(None, None, str(error), verdict.text, retries)
                continue
            except Exception as error:  # whatever the connection or the server may raise: a failed judgement
                verdict = Verdict(None, None, f"{type(error).__name__}: {error}", verdict.text, retries)
                continue
            try:
                return Verdict(read(answer), text=answer, retries=retries)
            except ValueError as error:
                verdict = Verdict(None, "unparsable", str(error), answer, retries)
        return verdict


def asking_insistently(
    options: GroupOptions, ask: AskJudge, fits: Callable[[str], bool] = lambda prompt: True
) -> Asking:
    """How a group's candidates, put in order by its plan, are judged in one call by the semantics.

    Args:
        options: semantics, retries and temperatures.
        ask: asks the judge once.
        fits: whether a prompt is short enough for it.
    """
    semantics = semantics_of(options)
    judge = Insisting(
        ask,
        temperature=options.temperature,
        retry_temperature=options.retry_temperature,
        retries=semantics.retries,
    )
    return Asking(lambda: judge, fits, given_order, semantics.read)


async def score_plan(plan: Plan, source: Group, *, scorer: Scorer) -> Judgement:
    """Have a group scored by any kind; if no rollout's candidate gets a score, the judgement failed."""
    own = {text for text in plan.translations if text}
    if not own:
        return Judgement("invalid")
    if len(plan.candidates) == 1 and scorer.options.relative:
        return Judgement("identical")
    judged = await scorer.score_groups([replace(source, candidates=plan.candidates)])
    (result,) = judged.groups
    points = tuple(scorer.points(result.scores))
    is_known = any(
        score is not None for text, score in zip(plan.candidates, points, strict=True) if text in own
    )
    reason = result.failures[0] if result.failures else None
    return Judgement(
        "judged" if is_known else "failed",
        points if is_known else None,
        result.answer,
        reason if is_known else reason or "no score",
        result.retries,
        _figures(judged),
        result.parts,
        result.failures,
        frozenset(plan.candidates[index] for index in result.unreadable),
    )


def _figures(judged: Judged) -> dict[str, float]:
    metrics = judged.metrics
    pairs = metrics.get("pairs", 0.0)
    return {
        "judgements": metrics["judgements"],
        "judgements_failed": metrics["failed"],
        "ties": metrics.get("ties", 0.0),
        "conflicts": metrics.get("conflicts", 0.0),
        "pairs": pairs,
        "biased_pairs": pairs * metrics.get("position_bias", 0.0),
        "inconsistent_pairs": pairs * metrics.get("inconsistent", 0.0),
    }
