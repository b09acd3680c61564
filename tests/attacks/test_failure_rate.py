"""Runs that may go on, and runs that may not: the rate of failures is that of whole steps."""

from __future__ import annotations

import asyncio
import random
from typing import Any

import pytest

from grrm.asking.failures import Failures, FailureWatch, kind_of
from grrm.files import UserError
from grrm.judges.groups import Group
from grrm.judges.translation import PROMPT_TOO_LONG
from grrm.rewards.consistency import PairRewards
from grrm.rewards.group import GroupOptions, GroupRewards, Judgement, Plan, Rollout
from grrm.rewards.pairwise import compute_score

GROUPS = 512
SOURCE = Group("es regnet", (), src_lang="de", trg_lang="en")
TEXTS = [f"```\n{letter}\n```" for letter in "abcdefgh"]

Failing = tuple[str, int]
"""A reason, and how often the event loop turns before it is known: 0 before all others, 20 after them."""
TOO_LONG: Failing = (PROMPT_TOO_LONG, 0)
MALFORMED: Failing = ("malformed answer: incomplete: 1 non-empty lines", 20)
SILENT: Failing = ("no answer: timeout: no complete answer within 600 s", 20)


class Judging:
    """Fails `share` of the groups of each step, in equal parts for each of the reasons."""

    def __init__(self, share: float, *kinds: Failing) -> None:
        self.share, self.kinds = share, kinds
        self.random = random.Random(1)

    def plan_step(self) -> None:
        """Decide which groups of the next step fail, by the number of the group."""
        bad = self.random.sample(range(GROUPS), round(self.share * GROUPS))
        self.failing = {group: self.kinds[place % len(self.kinds)] for place, group in enumerate(bad)}

    async def __call__(self, plan: Plan, source: Group) -> Judgement:
        reason, turns = self.failing.get(int(source.question), ("", 10))
        for _ in range(turns):
            await asyncio.sleep(0)
        scores = tuple(float(index) for index in range(len(plan.candidates)))
        return Judgement("failed", reason=reason) if reason else Judgement("judged", scores)


async def train(judging: Judging, options: GroupOptions, size: int, steps: int, groups: int = GROUPS) -> int:
    """Steps that ran; all rollouts of a step at once, in any order."""
    rewards = GroupRewards(options, judging)
    for step in range(1, steps + 1):
        judging.plan_step()
        arrivals = [(group, text) for group in range(GROUPS) for text in TEXTS[:size]]
        judging.random.shuffle(arrivals)
        calls = [
            rewards.reward(
                f"{step}/{group}",
                Rollout(text, 5),
                Group(str(group), (), src_lang="de", trg_lang="en"),
                expected=size,
                step=step,
                groups=groups,
            )
            for group, text in arrivals
        ]
        for outcome in await asyncio.gather(*calls, return_exceptions=True):
            if isinstance(outcome, BaseException):
                raise UserError(f"step {step}: {outcome}")
    return steps


def options(semantics: Any, **values: Any) -> GroupOptions:
    return GroupOptions(
        prompt="unused",
        semantics=semantics,
        max_failure_rate=0.2,
        score_scale=0.1,
        default_reward=-0.4,
        **values,
    )


@pytest.mark.parametrize(
    ("semantics", "size", "steps"), [("strict", 4, 50), ("paper", 8, 50), ("paper", 4, 5), ("strict", 8, 5)]
)
def test_few_failures_never_stop_a_run_however_they_come(semantics: str, size: int, steps: int) -> None:
    judging = Judging(0.03, TOO_LONG, MALFORMED)
    assert asyncio.run(train(judging, options(semantics), size, steps)) == steps


@pytest.mark.parametrize("known", [GROUPS, 0], ids=["known size", "unknown size"])
@pytest.mark.parametrize(("semantics", "size"), [("strict", 4), ("paper", 8)])
def test_many_failures_stop_it_within_a_step_and_say_why(
    semantics: str, size: int, known: int, capsys: Any
) -> None:
    judging = Judging(0.3, MALFORMED, TOO_LONG, MALFORMED)
    with pytest.raises(UserError, match=r"^step 1: ") as caught:
        asyncio.run(train(judging, options(semantics), size, 2, known))
    said = str(caught.value)
    assert "154 of the last 512 judgements failed" in said
    assert "103 malformed answer: incomplete, 51 prompt too long" in said
    assert "Train the judge longer" in said
    assert said.removeprefix("step 1: ") in capsys.readouterr().out


@pytest.mark.parametrize(
    ("kind", "advice"),
    [(SILENT, "look at the judge's server"), (TOO_LONG, r"max_prompt_length")],
)
def test_without_an_answer_nobody_is_told_to_train_the_judge(kind: Failing, advice: str) -> None:
    with pytest.raises(UserError, match=advice) as caught:
        asyncio.run(train(Judging(0.3, kind), options("strict"), 4, 1))
    assert "Train the judge" not in str(caught.value)


def test_missing_siblings_are_failures() -> None:
    async def play() -> None:
        rewards = GroupRewards(options("strict", deadline=0.05, failure_window=4), Judging(0))
        rewards._ask.failing = {}  # type: ignore[attr-defined]

        async def group(uid: int, size: int) -> None:
            source = Group(str(uid), (), src_lang="de", trg_lang="en")
            calls = [
                rewards.reward(str(uid), Rollout(text, 5), source, expected=3, step=1, groups=4)
                for text in TEXTS[:size]
            ]
            await asyncio.gather(*calls)

        await asyncio.gather(group(0, 3), group(1, 3), group(2, 3), group(3, 2))

    with pytest.raises(
        UserError, match=r"1 of the last 4 judgements failed.*siblings missing: 1 of 3.*deadline"
    ):
        asyncio.run(play())


def test_pairs_without_their_other_order_are_counted_too() -> None:
    async def play() -> None:
        pairs = PairRewards(1, 0.5, deadline=0.05, pairs=64)
        result = compute_score("x", "<better>A</better>", "A")
        calls = [pairs.reward(f"1/{pair}", "a", result, 1) for pair in range(64)]
        await asyncio.gather(*calls)
        await pairs.reward("2/0", "a", result, 2)

    with pytest.raises(UserError, match=r"64 of the last 64 pairs were not whole.*siblings missing: 1 of 2"):
        asyncio.run(asyncio.wait_for(play(), 5))


def test_an_answer_after_the_deadline_does_not_wait_again() -> None:
    async def play() -> dict[str, float | str]:
        pairs = PairRewards(1, 0.5, deadline=0.2)
        result = compute_score("x", "<better>A</better>", "A")
        await pairs.reward("1/7", "a", result)
        return await asyncio.wait_for(pairs.reward("1/7", "b", result), 0.1)

    late = asyncio.run(play())
    assert (late["score"], late["other_order"]) == (0.5, 0.0)


# ---------------------------------------------------------------- the watch


def end_all(watch: FailureWatch, key: Any, results: list[bool], size: int = 0) -> list[Failures | None]:
    for _ in results:
        watch.begin(key, size)
    return [watch.end(key, 1, failed, ["timeout: slow"] if failed else []) for failed in results]


def test_nothing_is_judged_before_a_round_is_whole() -> None:
    found = end_all(FailureWatch(0.2, 4), 1, [True] * 4 + [False] * 16, 20)
    assert found == [None] * 20
    *before, last = end_all(FailureWatch(0.2, 4), 1, [True] * 5 + [False] * 15, 20)
    assert before == [None] * 19
    assert last is not None
    assert (last.failed, last.asked, dict(last.reasons)) == (5, 20, {"timeout": 5})


def test_small_rounds_are_taken_together() -> None:
    watch = FailureWatch(0.5, 64)
    found = [end_all(watch, step, [True, False, True], 3)[-1] for step in range(22)]
    assert found[:21] == [None] * 21
    assert found[21] is not None
    assert (found[21].failed, found[21].asked) == (44, 66)


def test_a_round_that_never_becomes_whole_is_counted_with_the_next() -> None:
    watch = FailureWatch(0.5, 4)
    assert end_all(watch, 1, [True, True], 3) == [None, None]
    assert end_all(watch, 2, [True, True], 2)[-1] is not None


@pytest.mark.parametrize(
    ("reason", "kind"),
    [
        ("candidates 0 and 2: timeout: no complete answer within 60 s", "timeout"),
        ("malformed answer: incomplete: no scores", "malformed answer: incomplete"),
        ("no answer: connection: refused by 127.0.0.1", "no answer: connection"),
        ("score: ValueError: broken\nby something", "score: ValueError"),
        ("", "no reason given"),
    ],
)
def test_reasons_are_told_by_their_kind(reason: str, kind: str) -> None:
    assert kind_of(reason) == kind
