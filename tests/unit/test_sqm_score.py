"""Reward for a judge's score of a single translation, against the annotated one."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from grrm.rewards.sqm_score import compute_score, reward

GOLDEN = Path(__file__).parents[1] / "data" / "golden" / "grrm_qe.jsonl"
KEYS = {"score", "acc", "valid", "predicted", "reason"}


def score(solution: str, truth: Any = 7, **kwargs: Any) -> dict[str, float | str]:
    result = compute_score("sqm", solution, truth, None, **kwargs)
    assert set(result) == KEYS
    return result


def test_only_the_annotated_score_earns_all() -> None:
    assert score("Fluent, but a name is wrong.\n\n7") == {
        "score": 1.0, "acc": 1.0, "valid": 1.0, "predicted": "7", "reason": "",
    }  # fmt: skip
    assert [score(f"x\n{said}")["score"] for said in range(11)] == [
        0,
        0,
        0,
        0,
        0.2,
        0.4,
        0.8,
        1,
        0.8,
        0.4,
        0.2,
    ]


@pytest.mark.parametrize(
    ("true", "earned"),
    [
        (0, [1, 1, 0.64, 0]),
        (1, [0.96, 1, 0.96, 0.48, 0]),
        (5, [0, 0, 0, 0.4, 0.8, 1, 0.8, 0.4, 0]),
    ],
)
def test_near_the_ends_of_the_scale_answers_may_earn_more(true: int, earned: list[float]) -> None:
    assert [reward(said, true, "ends") for said in range(len(earned))] == pytest.approx(earned)
    # The scale is the same from its other end.
    assert [reward(10 - said, 10 - true, "ends") for said in range(len(earned))] == pytest.approx(earned)


@pytest.mark.parametrize(
    "answer", ["10", "x\n10", "x\n10<|im_end|>", "<think>5\n6</think>\nx\n10", "x\n 10 \n"]
)
def test_the_last_line_is_the_score(answer: str) -> None:
    assert score(answer, 10)["predicted"] == "10"


@pytest.mark.parametrize(
    "answer",
    ["", "x", "7\nx", "x\n-1", "x\n+1", "x\n11", "x\n10.5", "x\n07", "x\n7/10", "x\n7 8", "<think>x\n7"],
)
def test_a_malformed_answer_earns_nothing_and_says_why(answer: str) -> None:
    result = score(answer, 0)
    assert (result["score"], result["valid"], result["predicted"]) == (0.0, 0.0, "")
    assert "expected a score from 0 to 10" in str(result["reason"])


@pytest.mark.parametrize("truth", [11, -1, "x", "7.5", 7.5, None, True, "７", {"A": 7}])
def test_a_bad_ground_truth_is_an_error(truth: Any) -> None:
    with pytest.raises(ValueError, match=r"ground truth .* expected an integer from 0 to 10"):
        score("x\n7", truth)


def test_an_unknown_table_is_an_error() -> None:
    with pytest.raises(ValueError, match="'linear' is not known; expected plain or ends"):
        score("x\n7", table="linear")


# ---------------------------------------------------------------- published


@pytest.mark.parametrize("table", ["plain", "ends"])
@pytest.mark.parametrize(
    "vector",
    [json.loads(line) for line in GOLDEN.read_text(encoding="utf-8").splitlines()],
    ids=lambda vector: vector["id"],
)
def test_golden_reward(vector: dict[str, Any], table: str) -> None:
    result = score(vector["solution_str"], vector["ground_truth"], table=table)
    if vector["solution_str"].isascii():
        assert result["score"] == pytest.approx(vector["out"]["value"])
    else:  # published: digits of any script
        assert (result["score"], result["valid"]) == (0.0, 0.0)
