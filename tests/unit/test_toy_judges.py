"""Toy data for judges: what is true, and what the teacher gets wrong."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest

from grrm.data.layouts import parse_row
from grrm.data.prepare_judges import judge_rows
from grrm.data.records import Compared, both_orders, conversation_key
from grrm.data.toy_judges import make_judge_tables, quality
from grrm.data.toy_world import make_language, penalty
from grrm.judges.prompts import load_judge_prompt
from grrm.rewards.pairwise import compute_score as compare
from grrm.rewards.pointwise import compute_score as grade
from grrm.verdicts import Preference, parse_preference, parse_score

POINTWISE = load_judge_prompt("config/prompts/toy_pointwise.yaml", "judge_pointwise")
PAIRWISE = load_judge_prompt("config/prompts/toy_pairwise.yaml", "judge_pairwise")
ROWS = {
    "judge_sft": 400,
    "judge_pointwise_train": 100,
    "judge_pointwise_test": 100,
    "judge_pairwise_train": 100,
    "judge_pairwise_test": 60,
    "judge_bradley_terry_train": 40,
    "judge_bradley_terry_test": 40,
}
LANGUAGE = make_language()


@pytest.fixture(scope="module")
def tables() -> dict[str, list[Any]]:
    return make_judge_tables(3, POINTWISE, PAIRWISE, ROWS)


def source(record: Any) -> str:
    return str(record.conversation[0]["content"].partition(": ")[2])


def test_annotations_are_true(tables: dict[str, list[Any]]) -> None:
    for row in tables["judge_pointwise_test"]:
        assert row.score == quality(LANGUAGE, source(row), row.response)
    for row in tables["judge_pairwise_test"]:
        gap = penalty(LANGUAGE, source(row), row.second) - penalty(LANGUAGE, source(row), row.first)
        assert row.preference == ("A" if gap > 0 else "B" if gap < 0 else "tie")
    for row in tables["judge_bradley_terry_test"]:
        assert penalty(LANGUAGE, source(row), row.chosen) < penalty(LANGUAGE, source(row), row.rejected)


def test_no_request_is_in_two_tables(tables: dict[str, list[Any]]) -> None:
    keys = [
        conversation_key(record) for name, rows in tables.items() if name != "judge_sft" for record in rows
    ]
    assert len(set(keys)) == len(keys)
    shown = {message["content"] for record in tables["judge_sft"] for message in record.messages}
    requests = {source(record) for name, rows in tables.items() if name != "judge_sft" for record in rows}
    assert not [text for text in shown for request in requests if request in text]


def test_the_same_seed_gives_the_same_rows(tables: dict[str, list[Any]]) -> None:
    assert make_judge_tables(3, POINTWISE, PAIRWISE, ROWS) == tables
    assert make_judge_tables(4, POINTWISE, PAIRWISE, ROWS) != tables


def test_all_scores_and_verdicts_are_there(tables: dict[str, list[Any]]) -> None:
    assert set(Counter(row.score for row in tables["judge_pointwise_test"])) == {0, 1, 2, 3, 4}
    assert set(Counter(row.preference for row in tables["judge_pairwise_test"])) == {"A", "B", "tie"}


def test_the_teacher_grades_generously_and_prefers_what_it_reads_first(tables: dict[str, list[Any]]) -> None:
    generous, first, seconds = [], 0, 0
    for record in tables["judge_sft"]:
        for asked, answer in zip(record.messages[::2], record.messages[1::2], strict=True):
            request, *responses = asked["content"].split("\n")
            text = request.partition(": ")[2]
            responses = [response.partition(": ")[2] for response in responses]
            if len(responses) == 1:
                said = parse_score(answer["content"], 0, 4)
                generous.append(said - quality(LANGUAGE, text, responses[0]))
            else:
                penalties = [penalty(LANGUAGE, text, response) for response in responses]
                if penalties[1] <= penalties[0]:
                    seconds += 1
                    first += parse_preference(answer["content"]) == "A"
    assert set(generous) == {0, 1}
    assert 0.4 < sum(generous) / len(generous) < 0.65
    assert 0.3 < first / seconds < 0.65
    assert any(len(record.messages) == 4 for record in tables["judge_sft"]), "some have several turns"


def test_rows_of_verl_hold_the_whole_prompt_and_a_truth_that_its_reward_reads(
    tables: dict[str, list[Any]],
) -> None:
    rows = judge_rows(tables["judge_pointwise_train"], POINTWISE, seed=1)
    assert len(rows) == 100 and {row["extra_info"]["pair"] for row in rows} == set(range(100))
    best = grade("x", f"<score>{rows[0]['reward_model']['ground_truth']}</score>",
                 rows[0]["reward_model"]["ground_truth"])  # fmt: skip
    assert best["score"] == 1
    assert rows[0]["prompt"][0]["content"].startswith("Translate from xx to yy: ")


def test_both_orders_follow_each_other_in_verls_rows(tables: dict[str, list[Any]]) -> None:
    rows = judge_rows(tables["judge_pairwise_train"], PAIRWISE, both=True, seed=1)
    assert len(rows) == 200
    for one, other in zip(rows[::2], rows[1::2], strict=True):
        assert one["extra_info"]["pair"] == other["extra_info"]["pair"]
        truths = {one["reward_model"]["ground_truth"], other["reward_model"]["ground_truth"]}
        assert truths in ({"A", "B"}, {"tie"})
        said = f"<better>{other['reward_model']['ground_truth']}</better>"
        assert compare("x", said, other["reward_model"]["ground_truth"])["score"] == 1
    record = parse_row(tables["judge_pairwise_train"][0].row(), "pairwise")
    assert len(both_orders([record])) == 2


def pairwise(first: str, second: str, preference: Preference) -> Compared:
    return Compared(({"role": "user", "content": "Which?"},), first, second, preference)


def test_every_two_rows_are_a_pair_also_where_the_responses_are_equal() -> None:
    """Else all pairs behind a single row would be cut in two by the ends of even steps."""
    records = [pairwise("x", "y", "A"), pairwise("same", "same", "tie"), pairwise("x", "z", "B")]
    for seed in range(6):
        rows = judge_rows(records, PAIRWISE, both=True, seed=seed)
        numbers = [row["extra_info"]["pair"] for row in rows]
        assert numbers[::2] == numbers[1::2]
        assert sorted(numbers[::2]) == [0, 1, 2]
    assert both_orders(records[1:2]) == [records[1], records[1]]


def test_pairs_that_are_there_in_both_orders_are_not_doubled() -> None:
    record, other = pairwise("x", "y", "A"), pairwise("x", "z", "tie")
    given = [record, other, record.swapped()]
    rows = judge_rows(given, PAIRWISE, both=True)
    prompts = [row["prompt"][0]["content"] for row in rows]
    assert len(rows) == len(set(prompts)) == 4
    assert rows[0]["extra_info"]["pair"] == rows[1]["extra_info"]["pair"]
    assert both_orders(given) == [record, record.swapped(), other, other.swapped()]
    assert len(judge_rows(given, PAIRWISE)) == 3, "as they are, where one order is asked for"
