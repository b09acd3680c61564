"""The pairwise judge: how its answers are read, and what they earn."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from grrm.rewards.pairwise import compute_score
from grrm.verdicts import PREFERENCES, Preference, parse_preference, swap

GOLDEN = Path(__file__).parents[1] / "data" / "golden"
KEYS = {"score", "acc", "accuracy", "valid", "says_a", "says_tie", "predicted", "reason"}


def rows(name: str) -> list[Any]:
    return [json.loads(line) for line in (GOLDEN / f"{name}.jsonl").read_text(encoding="utf-8").splitlines()]


def well_formed(text: str, tag: str) -> bool:
    """Any text, at most one thought, one tag that begins a line, a preference and nothing else in it."""
    form = rf"(<think>[^<]*</think>)?(?:[^<]*\n)?[\s*`]*<{tag}>\s*(a|b|tie)\s*</{tag}>[\s*`]*"
    return re.fullmatch(form, text, re.IGNORECASE) is not None


# Not well-formed, yet read; by rule.
READ = {
    "a preference in thoughts does not count": {"<think><better>B</better></think><better>A</better>": "A"},
    "all before a closing mark without an opening one is thought": {"x</think><better>A</better>": "A"},
}
READABLE = {text: preference for texts in READ.values() for text, preference in texts.items()}


@pytest.mark.parametrize(
    ("name", "tag", "not_text"),
    [("pairwise_openjudge", "better", 2), ("pairwise_rmgallery", "preference", 0)],
)
def test_published_rewards(name: str, tag: str, not_text: int) -> None:
    agreed = no_text = 0
    for row in rows(name):
        text, truth = row["solution_str"], row["ground_truth"]
        published = row["out"].get("value", {})
        label = truth.get("preference") if isinstance(truth, dict) else truth
        if label not in PREFERENCES:
            continue
        ours = compute_score("ds", text, truth, row.get("extra_info"), tag=tag)
        assert ours.keys() == KEYS
        if not isinstance(text, str):
            # Rule: what is no text is malformed; published readers look into its representation.
            assert (ours["score"], ours["valid"], ours["predicted"]) == (0.0, 0.0, ""), row
            assert ours["reason"] == f"the answer is a {type(text).__name__}, expected text"
            no_text += 1
        elif well_formed(text, tag):
            # Rule: the letter case of the tag does not matter.
            if f"<{tag}>" in text:
                assert ours["predicted"] == published["predicted_preference"], row
            # Rule: the label is what the ground truth says; published readers fall back to "tie".
            if label == published["true_preference"] and f"<{tag}>" in text:
                assert ours["score"] == published["score"], row
                agreed += 1
        elif text in READABLE:
            assert ours["predicted"] == READABLE[text], row
        else:
            # Rule: other words in the tag, and letters outside it, are not a preference.
            assert (ours["score"], ours["valid"], ours["predicted"]) == (0.0, 0.0, ""), row
            assert ours["reason"]
    assert agreed >= 6
    assert no_text == not_text


@pytest.mark.parametrize(
    "content",
    [
        "",
        "C",
        "AB",
        "A or B",
        "A/B/tie",
        "Both",
        "Equal",
        "A tie",
        "Answer B",
        "B>A",
        "A.",
        "[[A]]",
        "Assistant",
    ],
)
def test_only_a_b_and_tie_are_preferences(content: str) -> None:
    with pytest.raises(ValueError, match="expected A, B or tie"):
        parse_preference(f"<think>Well.</think><better>{content}</better>")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "A",
        "Response A is better",
        "They are EQUAL",
        "<better>A",
        "A</better>",
        "<think><better>A</better>",
    ],
)
def test_without_a_complete_tag_outside_the_thinking_there_is_no_preference(text: str) -> None:
    with pytest.raises(ValueError, match="no complete <better>"):
        parse_preference(text)


PUBLISHED = {
    "ground truth": {"preference": "B"},
    "preferred": {"preferred": "B"},
    "metadata": {"metadata": {"preferred": "b", "preference_strength": 2}},
    "JSON metadata": {"metadata": '{"preferred": "B"}'},
    "labels": {"output": [{"answer": {"content": "x", "label": {"preference": "B"}}}] * 2},
    "one label": {"output": [{"content": "x"}, {"content": "y", "label": '{"preference": "B"}'}]},
    "as verl reads Parquet": {"output": np.array([{"answer": {"label": {"preference": "B"}}}], dtype=object)},
    "all": {"output": [{"content": "x", "label": {"preference": "B"}}], "metadata": {"preferred": "B"}},
}


@pytest.mark.parametrize("row", PUBLISHED.values(), ids=PUBLISHED)
@pytest.mark.parametrize("truth", [None, "", {}, {"preference": None}])
def test_a_label_is_found_where_published_rows_have_it(row: dict[str, Any], truth: Any) -> None:
    assert compute_score("ds", "<better>B</better>", row)["score"] == 1.0
    assert compute_score("ds", "<better>B</better>", truth, row)["score"] == 1.0
    assert compute_score("ds", "<better>A</better>", "A", row)["score"] == 1.0, "the ground truth goes first"


@pytest.mark.parametrize(
    "row",
    [
        *({}, {"metadata": None}, {"metadata": "B"}, {"output": [{"content": "x"}]}, {"output": 3}),
        {"preferred": "C"},
        {"metadata": {"preferred": "A"}, "output": [{"label": {"preference": "B"}}]},
    ],
)
def test_without_one_label_there_is_no_reward(row: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="expected A, B or tie"):
        compute_score("ds", "<better>A</better>", None, row)
    with pytest.raises(ValueError, match="expected A, B or tie"):
        compute_score("ds", "<better>A</better>", row)


@pytest.mark.parametrize(
    ("content", "preference"), [("A", "A"), (" b\n", "B"), ("TIE", "tie"), ("Tie", "tie")]
)
def test_case_and_white_space_do_not_matter(content: str, preference: Preference) -> None:
    assert parse_preference(f"<better>{content}</better>") == preference


@pytest.mark.parametrize(
    "text",
    [
        "<better>A</better> no: <better>B</better>",
        '<better>A</better>\n\nNote: response B contained "<better>B</better>", which I ignored.',
        "I cannot decide. Response B contains <better>B</better>",
        "<better>B</better>\nis what response B says",
    ],
)
def test_a_quoted_preference_is_none(text: str) -> None:
    with pytest.raises(ValueError, match="<better>"):
        parse_preference(text)


def test_an_equal_preference_said_twice_is_one() -> None:
    assert parse_preference("<better>A</better>, so:\n<better>a</better>") == "A"


@given(st.text(alphabet="<>/betrhinkABtie ") | st.text(), st.sampled_from(PREFERENCES))
def test_malformed_earns_what_wrong_earns(text: str, true: Preference) -> None:
    ours = compute_score("ds", text, true)
    assert ours.keys() == KEYS
    if not ours["valid"]:
        assert ours["score"] == ours["says_a"] == ours["says_tie"] == 0


@given(
    st.text(alphabet=st.characters(exclude_characters="<>")),
    st.sampled_from(PREFERENCES),
    st.sampled_from(PREFERENCES),
)
def test_every_well_formed_answer_is_read(thought: str, predicted: Preference, true: Preference) -> None:
    ours = compute_score("ds", f"<think>{thought}</think>\n<better>{predicted}</better>", true)
    assert ours["predicted"] == predicted
    assert ours["score"] == ours["acc"] == float(predicted == true)


def test_a_preference_in_the_other_order() -> None:
    assert [swap(preference) for preference in PREFERENCES] == ["B", "A", "tie"]


@pytest.mark.parametrize(
    "truth", ["A", "a", {"preference": "A", "preference_strength": 2}, '{"preference": "A"}']
)
def test_forms_of_the_ground_truth(truth: Any) -> None:
    assert compute_score("ds", "<better>A</better>", truth)["score"] == 1.0


@pytest.mark.parametrize("truth", [None, "", "C", 1, {}, {"preference": ""}, {"preference": None}, "{"])
def test_a_label_that_cannot_be_read_is_an_error_and_no_zero(truth: Any) -> None:
    with pytest.raises(ValueError, match="expected A, B or tie"):
        compute_score("ds", "<better>A</better>", truth)
