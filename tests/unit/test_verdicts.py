"""The score of a translation on the last line of a judge's answer."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from grrm.verdicts import parse_quality


@pytest.mark.parametrize(
    ("line", "score"),
    [
        ("8", 8),
        ("0", 0),
        ("10", 10),
        ("7.5", 7.5),
        ("**8**", 8),
        ("8/10", 8),
        ("8 / 10.", 8),
        ("10/10", 10),
        ("Score: 8", 8),
        ("**Final score:** 8/10", 8),
        ("### Score (0-10): `8`", 8),
        ("评分：8", 8),
        ("  8 \t", 8),
        ("8.", 8),
        ("Score = 8", 8),
        ("score=7.5", 7.5),
        (r"\boxed{8}", 8),
        (r"Final score: $\boxed{8/10}$.", 8),
        ("8分", 8),
        ("评分：8分。", 8),
        ("得分（满分十分）：8 分/10 分", 8),
        ("Overall score (on a scale from 0 to 10): 8", 8),
        ("Self-assessed quality: 8", 8),
        ("Score out of 10: 8", 8),
        ("Final score (out of 10) is: 8", 8),
        ("Score (1-10, higher = better): 8", 8),
        ("Rating on the 0-10 scale: 8", 8),
        ("कुल स्कोर: 8", 8),
    ],
)
def test_a_score_on_the_last_line(line, score):
    assert parse_quality(line) == score
    assert parse_quality(f"Some 3 reasons.\n2/10\n\n{line}\n\n") == score


@pytest.mark.parametrize(
    "line",
    [
        *("", "eight", "900", "-3", "10.5", "11", "8/5", "8/100", "+8", "08", "８", "8_0", "1e1", "nan"),
        *("inf", "8 9", "between 7 and 8", "I give it 8", "in 2024", "8 points", "Score: -3", "2024: 8"),
        *(".", "A: 8, B: 9", "Score:", "8/", "/10", "85.5", "1" * 5000, "A-3: 5", "error -: 3", "x - : 3"),
        *("error = -3", "A2: 5", "B - 2 = 5", r"-\boxed{3}", r"1\boxed{0}", r"\boxed{900}", r"\boxed{}"),
        *("-8分", "18分", "分", "=8", "Score == 8", "a" * 5000, "a " * 2500, "a-" * 2500),
        *("8" + " " * 300_000 + "x", "$" * 300_000),
    ],
)  # fmt: skip
def test_what_is_no_score_from_0_to_10(line):
    with pytest.raises(ValueError, match="expected a score from 0 to 10"):
        parse_quality(f"Reasons.\n{line}")


def test_another_scale():
    assert parse_quality("Score (0-100): 85.5", 100) == 85.5
    assert parse_quality("85/100", 100) == 85
    with pytest.raises(ValueError, match="from 0 to 100"):
        parse_quality("900", 100)
    with pytest.raises(ValueError, match="from 0 to 100"):
        parse_quality("8/10", 100)


def test_a_score_in_a_thought_is_none():
    assert parse_quality("<think>\n3\n</think>\n8") == 8
    with pytest.raises(ValueError, match="the last line is ''"):
        parse_quality("<think>\n3")
    with pytest.raises(ValueError, match="the last line is ''"):
        parse_quality("3\n<think>")


@given(st.integers(0, 1000), st.sampled_from(["{}", "**{}**", "{}/10", "Score: {}", "`{}`"]), st.text())
def test_every_score_reads_back_in_every_form(hundredths, form, before):
    if "think" not in before:
        assert parse_quality(f"{before}\n{form.format(hundredths / 100)}") == hundredths / 100


@given(st.text() | st.lists(st.sampled_from([*"0123456789./*:- \n", "Score", "10", "<think>"])).map("".join))
def test_any_text_is_a_score_on_the_scale_or_an_error(text):
    try:
        score = parse_quality(text)
    except ValueError:
        return
    assert 0 <= score <= 10
