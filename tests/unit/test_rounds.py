"""Questions that are answered together."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from grrm.rounds import Asker, Rounds


def together(use: Callable[[Rounds[str, str]], Awaitable[Any]]) -> tuple[Any, list[list[str]]]:
    """What `use` returned, and the rounds that it made."""
    made: list[list[str]] = []

    async def answer(questions: list[str]) -> list[str | BaseException]:
        made.append(questions)
        await asyncio.sleep(0.01)
        return [ValueError(q) if q.startswith("bad") else q.upper() for q in questions]

    async def run() -> Any:
        return await asyncio.wait_for(use(Rounds(answer)), 10)

    return asyncio.run(run()), made


def test_a_round_waits_for_all_and_is_in_order_whoever_comes_first() -> None:
    async def use(rounds: Rounds[str, str]) -> list[str]:
        askers = [Asker(rounds, place) for place in range(8)]

        async def ask(place: int) -> str:
            await asyncio.sleep(random.uniform(0, 0.02))
            return await askers[place].ask(f"q{place}")

        return list(await asyncio.gather(*map(ask, range(8))))

    answers, made = together(use)
    assert made == [[f"q{place}" for place in range(8)]]
    assert answers == [f"Q{place}" for place in range(8)]


def test_who_asks_again_meets_only_those_who_ask_again() -> None:
    async def use(rounds: Rounds[str, str]) -> None:
        async def ask(asker: Asker[str, str], place: int) -> None:
            for turn in range(place + 1):
                await asyncio.sleep(random.uniform(0, 0.01))
                await asker.ask(f"{place}.{turn}")
            asker.leave()
            asker.leave()  # leaving twice is leaving once

        await asyncio.gather(*[ask(Asker(rounds, place), place) for place in range(3)])

    _, made = together(use)
    assert made == [["0.0", "1.0", "2.0"], ["1.1", "2.1"], ["2.2"]]


def test_nobody_waits_for_one_that_failed_or_was_cancelled() -> None:
    async def use(rounds: Rounds[str, str]) -> Any:
        stays, fails, cancelled = (Asker(rounds, place) for place in range(3))
        waiting = asyncio.create_task(cancelled.ask("never"))
        answer = asyncio.create_task(stays.ask("stays"))
        await asyncio.sleep(0.01)
        waiting.cancel()
        await asyncio.sleep(0)
        cancelled.leave()
        fails.leave()
        return await answer

    assert together(use) == ("STAYS", [["stays"]])


def test_an_answer_may_be_an_exception_of_one() -> None:
    async def use(rounds: Rounds[str, str]) -> list[Any]:
        rounds.enter(2)
        return list(await asyncio.gather(rounds.ask("bad"), rounds.ask("good"), return_exceptions=True))

    (bad, good), _ = together(use)
    assert isinstance(bad, ValueError)
    assert good == "GOOD"


def test_a_round_that_fails_fails_for_all_of_it() -> None:
    async def answer(questions: list[str]) -> list[str]:
        raise ConnectionError("gone")

    async def run() -> list[Any]:
        rounds: Rounds[str, str] = Rounds(answer)
        rounds.enter(2)
        return list(await asyncio.gather(rounds.ask("a"), rounds.ask("b"), return_exceptions=True))

    assert [str(error) for error in asyncio.run(run())] == ["gone", "gone"]


@pytest.mark.parametrize("count", [1, 3])
def test_an_asker_with_many_questions_counts_as_many(count: int) -> None:
    async def use(rounds: Rounds[str, str]) -> None:
        async def one(name: str, turns: int, done: Callable[[], None]) -> None:
            for turn in range(turns):
                await asyncio.sleep(random.uniform(0, 0.01))
                await rounds.ask(f"{name}{turn}", f"{name}{turn}")
            done()

        async def many() -> None:
            with rounds.spread(count) as done:
                await asyncio.gather(*[one(f"m{number}.", 1 + number, done) for number in range(count)])
            await rounds.ask("z", "z")
            rounds.leave()

        async def single() -> None:
            await asyncio.sleep(0.02)
            await rounds.ask("s", "s")
            rounds.leave()

        rounds.enter(2)
        await asyncio.gather(many(), single())

    _, made = together(use)
    expected = {
        1: [["m0.0", "s"], ["z"]],
        3: [["m0.0", "m1.0", "m2.0", "s"], ["m1.1", "m2.1"], ["m2.2"], ["z"]],
    }
    assert made == expected[count]
