"""Collecting rollouts into groups, and answering each of them once its group is judged."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Hashable, Sequence
from contextvars import copy_context
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from grrm.asking.failures import FailureWatch
from grrm.catalogue.rewards import KINDS
from grrm.files import UserError
from grrm.judges.groups import Group
from grrm.judges.translation import PROMPT_TOO_LONG
from grrm.rewards.group.judging import Ask
from grrm.rewards.group.ledger import GroupLedger
from grrm.rewards.group.options import GroupOptions
from grrm.rewards.group.plan import (
    FIGURES,
    Judgement,
    Plan,
    Rollout,
    finished,
    overlong_penalty,
    scored,
)
from grrm.rewards.group.semantics import semantics_of
from grrm.rewards.verl_manager import STOP_MARK
from grrm.rounds import PLACE, Rounds


@dataclass(frozen=True)
class Reward:
    """The reward of one rollout and verl's `reward_extra_info`."""

    value: float
    info: dict[str, float]


@dataclass(frozen=True)
class Place:
    """Of a group among those that are rewarded together.

    Attributes:
        number: of the group, such as that of its row.
        step: names those that are rewarded together; no other training step or validation has that name.
        groups: how many they are; 0 if nobody knows.
    """

    number: int = 0
    step: Hashable = None
    groups: int = 0


@dataclass
class _Waiting:
    """A group whose rollouts are not all there yet."""

    source: Group
    step: int
    expected: int
    place: Place = Place()
    round: Hashable = None
    """Of the watch on failures; None if it is not counted."""
    rollouts: list[Rollout] = field(default_factory=list)
    answers: list[asyncio.Future[Reward]] = field(default_factory=list)
    timer: asyncio.TimerHandle | None = None


class GroupRewards:
    """Collects rollouts into groups, has each group judged once and answers every rollout.

    Args:
        options: semantics and limits.
        ask: has a group judged (`score_plan`).
        rounds: of the questions about groups, if all of a step are to be asked together: each group is an
            asker there until it is rewarded.
    """

    def __init__(self, options: GroupOptions, ask: Ask, rounds: Rounds[Any, Any] | None = None) -> None:
        self._options = options
        self._rounds = rounds
        self._entered: Hashable = None
        self._semantics = semantics_of(options)
        self._ask = ask
        self._waiting: dict[str, _Waiting] = {}
        self._released: set[str] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        limits = options.max_failure_rate, options.failure_window
        # Of groups, and of what is asked about each.
        self._watches = [FailureWatch(*limits) for _ in range(1 + options.asks_often)]
        self._stopped: str | None = None
        self._ledger = GroupLedger(Path(options.ledger), options.ledger_texts) if options.ledger else None

    async def reward(
        self,
        uid: str,
        rollout: Rollout,
        source: Group,
        *,
        expected: int,
        step: int,
        groups: int = 0,
        place: Place = Place(),
    ) -> Reward:
        """The reward of `rollout`, once its group is complete or the deadline has passed.

        Args:
            uid: of the group.
            rollout: what is rewarded.
            source: what it answers.
            expected: rollouts of the group.
            step: of the training.
            groups: of the step; 0 if nobody knows: then it is over whenever no group is under way.
            place: of the group among those that are rewarded together.

        Raises:
            UserError: the run cannot go on: too many judgements failed, or judging raised.
        """
        if self._stopped:
            raise UserError(self._stopped)
        if uid in self._released:
            # Its siblings were judged without it: comparable with none of them, so nothing is known about it.
            plan = self._plan([rollout], source)
            late = Judgement("failed" if plan.candidates else "invalid", reason="came after the deadline")
            alone = _Waiting(source, step, expected, rollouts=[rollout])
            return self._finish(uid, alone, plan, late, 0.0)[0]
        loop = asyncio.get_running_loop()
        group = self._waiting.get(uid)
        if group is None:
            group = self._waiting[uid] = _Waiting(source, step, expected, place, (step, groups))
            self._enter(place)
            for watch in self._watches:
                watch.begin(group.round, groups)
        group.rollouts.append(rollout)
        answer: asyncio.Future[Reward] = loop.create_future()
        group.answers.append(answer)
        if len(group.rollouts) == group.expected:
            self._release(uid)
        elif group.timer is None:
            group.timer = loop.call_later(self._options.deadline, self._release, uid, True)
        return await answer

    def _release(self, uid: str, overdue: bool = False) -> None:
        group = self._waiting.pop(uid)
        if group.timer is not None:
            group.timer.cancel()
        if overdue:
            self._released.add(uid)
        order = sorted(range(len(group.rollouts)), key=lambda index: group.rollouts[index].number)
        group.rollouts = [group.rollouts[index] for index in order]
        group.answers = [group.answers[index] for index in order]
        context = copy_context()
        context.run(PLACE.set, group.place.number)
        task = asyncio.get_running_loop().create_task(self._settle(uid, group), context=context)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        if (rounds := self._rounds) is not None:
            task.add_done_callback(lambda _: rounds.leave())

    def _enter(self, place: Place) -> None:
        """Count the groups that may ask: all of a step before the first of them does, if it is known."""
        if self._rounds is None:
            return
        if not place.groups:
            self._rounds.enter()
        elif place.step != self._entered:
            self._entered = place.step
            self._rounds.enter(place.groups)

    async def _settle(self, uid: str, group: _Waiting) -> None:
        start = time.monotonic()
        try:
            plan = self._plan(group.rollouts, group.source)
            judgement = await self._ask(plan, group.source)
            self._watch(group, judgement)
            rewards = self._finish(uid, group, plan, judgement, time.monotonic() - start)
        except Exception as error:
            # Nothing may be skipped in silence: verl would drop the group and go on.
            if not self._stopped:
                self._stop(str(error) if isinstance(error, UserError) else f"{type(error).__name__}: {error}")
            for answer in group.answers:
                if not answer.done():
                    answer.set_exception(error)
            return
        for answer, reward in zip(group.answers, rewards, strict=True):
            if not answer.done():
                answer.set_result(reward)

    def _plan(self, rollouts: Sequence[Rollout], source: Group) -> Plan:
        return self._semantics.plan([finished(rollout, self._options) for rollout in rollouts], source)

    def _finish(
        self, uid: str, group: _Waiting, plan: Plan, judgement: Judgement, seconds: float
    ) -> list[Reward]:
        lengths = [rollout.length for rollout in group.rollouts]
        values = self._semantics.rewards(plan, judgement, lengths)
        infos = extra_info(plan, judgement, lengths, group.source, self._options)
        for info in infos:
            info["missing_siblings"] = float(group.expected - len(group.rollouts))
        if self._ledger:
            self._ledger.write(group.step, uid, group.source, plan, judgement, lengths, values, seconds)
        return [Reward(value, info) for value, info in zip(values, infos, strict=True)]

    def _watch(self, group: _Waiting, judgement: Judgement) -> None:
        missing = group.expected - len(group.rollouts)
        asked, failed = judgement.outcome in ("judged", "failed"), judgement.outcome == "failed"
        reasons = [judgement.reason or "no score"] if failed else []
        if missing:  # judged or not: those that are missing are judged with nobody
            asked = failed = True
            reasons = [f"siblings missing: {missing} of {group.expected} after {self._options.deadline:g} s"]
        figures = judgement.figures
        questions = int(figures.get("judgements", 0)), int(figures.get("judgements_failed", 0))
        counts: list[tuple[int, int, Sequence[str]]] = [
            (int(asked), int(failed), reasons),
            (*questions, judgement.failures),
        ]
        for watch, (all_, bad, why) in zip(self._watches, counts, strict=False):
            if found := watch.end(group.round, all_, bad, why):
                self._stop(
                    f"{found.failed} of the last {found.asked} judgements failed (whole steps, up to "
                    f"{group.step}), more than max_failure_rate {self._options.max_failure_rate:g} allows: "
                    f"{found}. {found.advice}, or raise the rate"
                )
                raise UserError(str(self._stopped))

    def _stop(self, reason: str) -> None:
        self._stopped = " ".join(reason.split())
        print(f"{STOP_MARK} {self._stopped}", flush=True)


def extra_info(
    plan: Plan, judgement: Judgement, lengths: Sequence[int], source: Group, options: GroupOptions
) -> list[dict[str, float]]:
    """verl's `reward_extra_info` of each rollout: the same numeric keys whatever happened.

    `judge_score` and a mixture's `part_<name>` (0 to 10) count only where `judged` is 1, `chosen_score` and
    `above_chosen` only where `compared` is; elsewhere they are 0 (`grrm.rewards.step_metrics`).
    """
    scores = judgement.score_of(plan)
    counted = () if KINDS[options.kind].has_semantics else FIGURES
    figures = {name: judgement.figures.get(name, 0.0) for name in counted}
    parts = {name: scored(plan, judgement.parts.get(name)) for name in options.part_names}

    def info(translation: str | None, length: int) -> dict[str, float]:
        values = {
            "valid": float(bool(translation)),
            "judged": float(translation in scores),
            "judge_score": scores.get(translation or "", 0.0),
            "judge_failed": float(judgement.outcome == "failed"),
            "prompt_too_long": float(judgement.reason == PROMPT_TOO_LONG),
            "judge_retries": float(judgement.retries),
            "identical_group": float(judgement.outcome == "identical"),
            "overlong_penalty": overlong_penalty(length, options),
            **figures,
            **{f"part_{name}": points.get(translation or "", 0.0) for name, points in parts.items()},
        }
        if options.task == "conversation":
            compared = translation in scores and source.chosen in scores
            chosen = scores[source.chosen or ""] if compared else 0.0
            values["compared"] = float(compared)
            values["chosen_score"] = chosen
            values["above_chosen"] = float(compared and scores[translation or ""] > chosen)
        return values

    return [info(*member) for member in zip(plan.translations, lengths, strict=True)]
