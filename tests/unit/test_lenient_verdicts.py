"""What judges say that were not trained on the form; strict readers refuse it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

import pytest

from grrm.judges.groups import Group
from grrm.judges.listwise import judge_listwise
from grrm.judges.pairwise import judge_pairwise
from grrm.judges.pointwise import judge_pointwise
from grrm.judges.prompts import load_judge_prompt, shipped_prompt
from grrm.judges.questions import Verdict
from grrm.verdicts import (
    lenient_order,
    lenient_preference,
    lenient_score,
    parse_order,
    parse_preference,
    parse_score,
)


@pytest.mark.parametrize("said", ["8/10", "**8**", "Score: 8", "8.0", "8 / 10.", "\\boxed{8}", "8分"])
@pytest.mark.parametrize("frame", ["Good.\n<score>{}</score>", "It reads well.\n\n{}"])
def test_scores(said: str, frame: str) -> None:
    text = frame.format(said)
    assert lenient_score(text, 1, 10) == 8
    with pytest.raises(ValueError):
        parse_score(text, 1, 10)


@pytest.mark.parametrize("said", ["8.5", "0", "11", "8/5", "between 7 and 8", "n/a", ""])
def test_what_is_no_score(said: str) -> None:
    for text in (f"<score>{said}</score>", said, f"<think>9</think>\n{said}"):
        with pytest.raises(ValueError):
            lenient_score(text, 1, 10)


@pytest.mark.parametrize(
    ("said", "value"),
    [
        ("**A**", "A"),
        ("Response A", "A"),
        ("[[B]]", "B"),
        ("Response B is better.", "B"),
        ("The better response is B", "B"),
        ("Winner: Response A", "A"),
        ("Assistant B wins", "B"),
        ("It's a tie", "tie"),
        ("Draw", "tie"),
        ("b", "B"),
    ],
)
@pytest.mark.parametrize("frame", ["Because.\n<better>{}</better>", "Because.\n\n{}"])
def test_preferences(said: str, value: str, frame: str) -> None:
    assert lenient_preference(frame.format(said)) == value


@pytest.mark.parametrize(
    "said", ["A or B", "Response A is worse", "not A", "both", "A and B", "I cannot decide", "Response C", ""]
)
def test_what_is_no_preference(said: str) -> None:
    for text in (f"<better>{said}</better>", said):
        with pytest.raises(ValueError):
            lenient_preference(text)


@pytest.mark.parametrize(
    "said", ["[3, 2, 1]", "3, 2, 1", "Response 3 > Response 2 > Response 1", "**3 > 2 > 1**"]
)
@pytest.mark.parametrize("frame", ["Because.\n<ranking>{}</ranking>", "Because.\n\n{}", "Ranking: {}"])
def test_orders(said: str, frame: str) -> None:
    assert lenient_order(frame.format(said), 3) == [{2}, {1}, {0}]


@pytest.mark.parametrize("said", ["[3, 2]", "3 2 1 4", "first second third", "3, 3, 1", ""])
def test_what_is_no_order(said: str) -> None:
    for text in (f"<ranking>{said}</ranking>", said):
        with pytest.raises(ValueError):
            lenient_order(text, 3)


@pytest.mark.parametrize(
    ("lenient", "strict", "tag", "one", "other"),
    [
        (lenient_preference, parse_preference, "better", "A", "B"),
        (lambda t: lenient_score(t, 1, 10), lambda t: parse_score(t, 1, 10), "score", "2", "9"),
        (lambda t: lenient_order(t, 2), lambda t: parse_order(t, 2), "ranking", "1 > 2", "2 > 1"),
    ],
)
def test_lenient_readers_believe_no_quoted_verdict_either(
    lenient: Callable[[str], Any], strict: Callable[[str], Any], tag: str, one: str, other: str
) -> None:
    for text in (
        f"<{tag}>{one}</{tag}>\n<{tag}>{other}</{tag}>",
        f"I cannot decide. It contains <{tag}>{one}</{tag}>",
        f"It says <{tag}>{one}</{tag}>.\n{other}",
        f"<think>{one}",
    ):
        for read in (lenient, strict):
            with pytest.raises(ValueError):
                read(text)
    text = f"<{tag}>{one}</{tag}>"
    assert lenient(text) == strict(text)


class Says:
    """A judge that always says the same."""

    def __init__(self, text: str) -> None:
        self._text = text

    async def decide(self, questions: Sequence[tuple[str, Callable[[str], Any]]]) -> list[Verdict[Any]]:
        verdicts = []
        for _, read in questions:
            try:
                verdicts.append(Verdict(read(self._text)))
            except ValueError as error:
                verdicts.append(Verdict(None, "unparsable", str(error)))
        return verdicts


@pytest.mark.parametrize(
    ("judge", "kind", "said"),
    [
        (judge_pairwise, "pairwise_dgr", "Response A"),
        (judge_pointwise, "pointwise", "8/10"),
        (judge_listwise, "listwise", "[2, 1]"),
    ],
)
@pytest.mark.parametrize("tolerant", [False, True])
def test_judges_read_leniently_only_where_they_are_told_to(
    judge: Any, kind: str, said: str, tolerant: bool
) -> None:
    prompt: Any = load_judge_prompt(shipped_prompt(kind), f"judge_{kind.partition('_')[0]}")  # type: ignore[arg-type]
    judged = asyncio.run(judge(Says(said), [Group("q", ("one", "two"))], prompt, tolerant=tolerant))
    assert all((score is not None) == tolerant for score in judged.groups[0].scores)
