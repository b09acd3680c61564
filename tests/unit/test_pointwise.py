"""The pointwise judge: how its answers are read, and what they earn."""

from __future__ import annotations

import json
import math
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from grrm.metrics.preference_loss import preference_accuracy, preference_loss
from grrm.rewards.pointwise import HIGHEST, LOWEST, Table, compute_score, reward
from grrm.verdicts import parse_score

GOLDEN = Path(__file__).parents[1] / "data" / "golden"
KEYS = {"score", "acc", "accuracy", "valid", "predicted", "reason"}


def rows(name: str) -> list[Any]:
    return [json.loads(line) for line in (GOLDEN / f"{name}.jsonl").read_text(encoding="utf-8").splitlines()]


# Any text, at most one thought, one tag that begins a line, an integer from 0 to 4 and nothing else in it,
# and nothing but marks behind it.
WELL_FORMED = re.compile(
    r"(<think>[^<]*</think>)?(?:[^<]*\n)?[\s*`]*<score>\s*[0-4]\s*</score>[\s*`]*(?:<\|im_end\|>)?"
)

# Not well-formed, yet read; by rule. Published readers differ, from these and from each other.
READ = {
    "the letter case of the tag does not matter": {"<Score>3</Score>": 3},
    "what shows a form is no verdict": {
        "Output Format\n<think>Analysis process based on principles</think>"
        "<score>helpfulness score from 0 to 4</score>\n<score>2</score>": 2,
    },
    "of nested tags the innermost counts": {"<score><score>3</score></score>": 3},
    "a score in thoughts does not count": {
        "<think>a <score>4</score></think><score>2</score>": 2,
        "<think>a</think><think>b <score>1</score></think><score>3</score>": 3,
        "<THINK>x <score>1</score></THINK><score>4</score>": 4,
        "<thinking><score>1</score></thinking><score>4</score>": 4,
        "<think><think>in</think>mid <score>0</score></think><score>4</score>": 4,
    },
    "all before a closing mark without an opening one is thought": {
        "reasoning </think><score>3</score>": 3,
        "I'd say <score>1</score></think><score>3</score>": 3,
    },
}
READABLE = {text: score for texts in READ.values() for text, score in texts.items()}


@pytest.mark.parametrize(
    ("name", "table", "not_text"),
    [("pointwise_openjudge", "linear", 5), ("pointwise_rmgallery", "exponential", 3)],
)
def test_published_rewards(name: str, table: Table, not_text: int) -> None:
    agreed = no_text = 0
    for row in rows(name):
        text, truth = row["solution_str"], row["ground_truth"]
        if not is_label(truth):
            continue
        ours = compute_score("ds", text, truth, row.get("extra_info"), table=table)
        assert ours.keys() == KEYS
        if not isinstance(text, str):
            # Rule: what is no text is malformed; published readers look into its representation.
            assert (ours["score"], ours["valid"], ours["predicted"]) == (0.0, 0.0, ""), row
            assert ours["reason"] == f"the answer is a {type(text).__name__}, expected text"
            no_text += 1
        elif WELL_FORMED.fullmatch(text.removeprefix("\ufeff")):
            published = row["out"]["value"]
            assert ours["score"] == pytest.approx(published["score"]), row
            assert ours["predicted"] == str(published["predicted_helpfulness"]), row
            agreed += 1
        elif text in READABLE:
            assert ours["predicted"] == str(READABLE[text]), row
        else:
            assert (ours["score"], ours["valid"], ours["predicted"]) == (0.0, 0.0, ""), row
            assert ours["reason"]
    assert agreed >= 15
    assert no_text == not_text


def is_label(truth: Any) -> bool:
    """Labels in other forms the published readers take for 0, truncate, or fail on; see below."""
    value = truth.get("helpfulness") if isinstance(truth, dict) else truth
    return isinstance(value, int) and not isinstance(value, bool) and LOWEST <= value <= HIGHEST


@pytest.mark.parametrize("row", rows("pointwise_table"), ids=lambda row: row["id"])
def test_published_tables(row: dict[str, Any]) -> None:
    assert reward(row["predicted"], row["true"], "linear") == pytest.approx(row["openjudge"])
    assert reward(row["predicted"], row["true"], "exponential") == pytest.approx(row["rm_gallery"])


@pytest.mark.parametrize(
    "content",
    [
        "5",
        "10",
        "-1",
        "+3",
        "3.0",
        "3.7",
        "4/4",
        "3 out of 4",
        "1 to 4",
        "02",
        "",
        "three",
        "３",
        "٣",
        "²",
        "3_0",
    ],
)
def test_only_an_integer_in_range_is_a_score(content: str) -> None:
    with pytest.raises(ValueError, match="expected an integer from 0 to 4"):
        parse_score(f"<think>Fine.</think><score>{content}</score>", LOWEST, HIGHEST)


@pytest.mark.parametrize(
    "text", ["", "3", "score: 3", "<score>3", "3</score>", "< score>3</score>", "<think>so <score>3</score>"]
)
def test_without_a_complete_tag_outside_the_thinking_there_is_no_score(text: str) -> None:
    with pytest.raises(ValueError, match="no complete <score>"):
        parse_score(text, LOWEST, HIGHEST)


def test_a_malformed_last_tag_is_not_rescued_by_an_earlier_one() -> None:
    with pytest.raises(ValueError, match="holds 'unsure'"):
        parse_score("<score>3</score> <score>unsure</score>", LOWEST, HIGHEST)


@pytest.mark.parametrize(
    "text",
    [
        "<score>2</score> (the response claims <score>3</score>)",
        "The response contains <score>3</score>, which I ignore.\n<score>2</score>",
        "I cannot grade this. The response says <score>3</score>",
        "<score>3</score>\nThat is what the response says; I give none.",
        "<score>3</score> is what it asks for",
        "Score: <score>3</score>",
        "<score>3</score><score>1</score>",
        "> <score>3</score>",
        "```\n<score>3</score>\n```\nis a quotation",
    ],
)
def test_a_quoted_score_is_none(text: str) -> None:
    with pytest.raises(ValueError, match="<score>"):
        parse_score(text, LOWEST, HIGHEST)
    assert compute_score("ds", text, 3)["score"] == 0


@pytest.mark.parametrize(
    "text",
    [
        "As asked (<score>0-4</score>):\n<score>3</score>",
        "<score>3</score>\n\nSo I say it once more:\n<score>3</score>",
        "It deserves\n  **<score>3</score>**\n",
        "```\n<score>3</score>\n```",
        "<think>It says <score>0</score></think>\n<score>3</score><|im_end|>",
        "it says <score>0</score></think><score> 3\n</score> </s>\n",
    ],
)
def test_the_only_score_is_read(text: str) -> None:
    assert parse_score(text, LOWEST, HIGHEST) == 3


@given(st.text(alphabet="<>/scorethink 0123456789-.\n") | st.text(), st.integers(LOWEST, HIGHEST))
def test_malformed_never_earns_more_than_wrong(text: str, true: int) -> None:
    for table in ("linear", "exponential"):
        ours = compute_score("ds", text, true, table=table)
        assert ours.keys() == KEYS
        if not ours["valid"]:
            assert ours["score"] == 0 <= min(reward(p, true, table) for p in range(LOWEST, HIGHEST + 1))


@given(
    st.text(alphabet=st.characters(exclude_characters="<>")),
    st.integers(LOWEST, HIGHEST),
    st.integers(LOWEST, HIGHEST),
)
def test_every_well_formed_answer_is_read(thought: str, predicted: int, true: int) -> None:
    ours = compute_score("ds", f"<think>{thought}</think>\n<score>{predicted}</score>", true)
    assert ours["predicted"] == str(predicted)
    assert ours["acc"] == float(predicted == true)
    assert ours["score"] == reward(predicted, true)


@pytest.mark.parametrize(
    "truth",
    [
        *(3, "3", {"helpfulness": 3, "task_type": "pointwise"}, {"helpfulness": "3"}, '{"helpfulness": 3}'),
        *(3.0, "3.0", {"helpfulness": 3.0}, '{"helpfulness": "3.0"}', np.float32(3), np.int64(3)),
    ],
)
def test_forms_of_the_ground_truth(truth: Any) -> None:
    assert compute_score("ds", "<score>3</score>", truth)["score"] == 1.0
    other = {"output": [{"answer": {"label": {"helpfulness": 1}}}]}
    assert compute_score("ds", "<score>3</score>", truth, other)["score"] == 1.0, "it goes first"


LABEL = {"helpfulness": 3.0}


@pytest.mark.parametrize(
    "output",
    [
        [{"answer": {"content": "x", "label": LABEL}}],
        [{"answer": {"content": "x", "label": json.dumps(LABEL)}}],
        [{"content": "x", "label": LABEL}],
        {"answer": {"content": "x", "label": LABEL}},
        json.dumps([{"answer": {"label": LABEL}}]),
        np.array([{"answer": {"label": LABEL}}], dtype=object),
    ],
    ids=["published", "JSON label", "without answer", "not a list", "JSON", "as verl reads Parquet"],
)
@pytest.mark.parametrize("truth", [None, "", {}, {"helpfulness": None}])
def test_a_label_in_extra_info_counts_where_the_ground_truth_holds_none(truth: Any, output: Any) -> None:
    assert compute_score("ds", "<score>3</score>", truth, {"output": output})["score"] == 1.0


@pytest.mark.parametrize(
    "output",
    ["str", [], [None], [{}], [{"answer": None}], [{"answer": {"label": {"helpfulness": 2.5}}}], 3, [3]],
)
def test_an_output_without_a_label_is_an_error(output: Any) -> None:
    with pytest.raises(ValueError, match="expected an integer from 0 to 4"):
        compute_score("ds", "<score>0</score>", None, {"output": output})


@pytest.mark.parametrize(
    "truth",
    [
        None,
        "",
        "x",
        True,
        3.9,
        math.nan,
        math.inf,
        "NaN",
        5,
        -1,
        {},
        {"helpfulness": None},
        {"helpfulness": 5},
        "[3]",
    ],
)
def test_a_label_that_cannot_be_read_is_an_error_and_no_zero(truth: Any) -> None:
    with pytest.raises(ValueError, match="expected an integer from 0 to 4"):
        compute_score("ds", "<score>0</score>", truth)


def test_an_unknown_table_is_an_error() -> None:
    with pytest.raises(ValueError, match="expected linear or exponential"):
        compute_score("ds", "<score>0</score>", 3, table="cubic")  # type: ignore[arg-type]


# ---------------------------------------------------------------- Bradley-Terry


@pytest.mark.parametrize("row", rows("bt_loss"), ids=lambda row: row["id"])
def test_bradley_terry_loss(row: dict[str, Any]) -> None:
    assert preference_loss(row["chosen"], row["rejected"]) == pytest.approx(row["loss"], rel=1e-9)
    assert preference_accuracy(row["chosen"], row["rejected"]) == pytest.approx(row["accuracy"])


def test_bradley_terry_needs_pairs() -> None:
    assert preference_loss([-1e4], [1e4]) == pytest.approx(2e4)
    for chosen, rejected in (([], []), ([1.0], [1.0, 2.0])):
        with pytest.raises(ValueError, match="expected as many"):
            preference_loss(chosen, rejected)
