"""The reward that depends on the answers to the other order."""

from __future__ import annotations

import asyncio

import pytest

from grrm.rewards.consistency import PairRewards, consistent_rewards
from grrm.rewards.pairwise import compute_score


def results(truth: str, *said: str) -> list[dict[str, float | str]]:
    texts = [text if "<" in text or not text else f"<better>{text}</better>" for text in said]
    return [compute_score("x", text, truth) for text in texts]


def test_agreement_between_orders_decides_how_much_a_right_answer_earns() -> None:
    first, second = results("A", "A", "A", "B"), results("B", "B", "A")
    rewarded = consistent_rewards(first, second, 0.5)
    assert [result["agreement"] for result in rewarded] == pytest.approx([0.5, 0.5, 0.5, 2 / 3, 1 / 3])
    assert [result["score"] for result in rewarded] == pytest.approx([0.75, 0.75, 0, 0.5 + 0.5 * 2 / 3, 0])


@pytest.mark.parametrize("weight", [0.0, 0.3, 1.0])
def test_wrong_and_malformed_answers_never_earn(weight: float) -> None:
    rewarded = consistent_rewards(results("A", "B", "garbage"), results("B", "A", "A"), weight)
    assert [result["score"] for result in rewarded] == [0, 0, 0, 0]
    assert {frozenset(result) for result in rewarded} == {frozenset(rewarded[0])}


def test_always_a_earns_less_than_an_honest_judge() -> None:
    always = consistent_rewards(results("A", "A", "A"), results("B", "A", "A"), 0.5)
    honest = consistent_rewards(results("A", "A", "A"), results("B", "B", "B"), 0.5)
    assert [result["score"] for result in always] == [0.5, 0.5, 0, 0]
    assert [result["score"] for result in honest] == [1, 1, 1, 1]


def test_without_answers_to_the_other_order_nothing_is_added() -> None:
    for other in ([], results("B", "")):
        assert consistent_rewards(results("A", "A"), other, 0.4)[0]["score"] == 0.6


def test_pairs_wait_for_their_other_order_and_meet_no_one_else() -> None:
    async def play() -> list[dict[str, float | str]]:
        pairs = PairRewards(rollouts=2, weight=0.5)
        tasks = []
        for pair in ("1/7", "2/7"):  # the same pair in two steps
            tasks += [pairs.reward(pair, f"{pair}a", result) for result in results("A", "A", "B")]
            tasks += [pairs.reward(pair, f"{pair}b", result) for result in results("B", "B", "B")]
        return await asyncio.gather(*tasks)

    rewarded = asyncio.run(asyncio.wait_for(play(), 5))
    assert [result["score"] for result in rewarded] == [1, 0, 0.75, 0.75] * 2
    assert all(result["other_order"] == 1 for result in rewarded)


def test_after_the_deadline_what_is_there_is_rewarded() -> None:
    async def play() -> dict[str, float | str]:
        return await PairRewards(2, 0.5, deadline=0.05).reward("1/7", "a", results("A", "A")[0])

    rewarded = asyncio.run(asyncio.wait_for(play(), 5))
    assert (rewarded["score"], rewarded["other_order"]) == (0.5, 0)
