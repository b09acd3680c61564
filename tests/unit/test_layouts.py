"""Every published layout, read by every reader of such rows, from every format; all say the same."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from test_rows import FORMATS, written

from grrm.data import layouts
from grrm.data.alignment import verl_rows
from grrm.data.judge_data import export_data, read_records, write_records
from grrm.data.layouts import LAYOUTS, Layout, UnusedRow, layouts_for, parse_row
from grrm.data.records import (
    Candidates,
    Compared,
    Demonstration,
    Graded,
    Preferred,
    as_candidates,
    conversation_key,
)
from grrm.data.splits import split_records
from grrm.files import UserError
from grrm.inference import grading
from grrm.inference.tables import parse_rows
from grrm.rewards import pairwise, pointwise
from grrm.rewards.rows import read_row

USER = {"role": "user", "content": "What is a judge?"}
ASSISTANT = {"role": "assistant", "content": "A"}
TURNS = [USER, ASSISTANT, {"role": "user", "content": "And [more]?"}]
MARKED = "What is a judge? <extra_id_1>Assistant"  # no turn: its lines are missing


def answer(content: str, **label: Any) -> dict[str, Any]:
    return {"answer": {"role": "assistant", "content": content, "label": label}}


def closed(text: str, turns: list[dict[str, str]] = TURNS) -> list[dict[str, str]]:
    return [*turns, {"role": "assistant", "content": text}]


ONE = (USER,)
ALL = tuple(TURNS)
# Name -> a row of the layout, and its records.
ROWS: dict[str, tuple[dict[str, Any], list[Any]]] = {
    "question and response": (
        {"question": USER["content"], "response": "yes"},
        [Candidates(ONE, ("yes",))],
    ),
    "messages and responses with scores": (
        {"messages": TURNS, "responses": ["a", "[b]", "{c}"], "reference": "r", "scores": [1, 2, 3]},
        [Candidates(ALL, ("a", "[b]", "{c}"), "r", (1, 2, 3))],
    ),
    "prompt and responses with a preference": (
        {"prompt": TURNS, "responses": ["a", "b"], "preference": "B"},
        [Candidates(ALL, ("a", "b"), preference="B")],
    ),
    "preferences as texts": (
        {"prompt": USER["content"], "chosen": "good", "rejected": "bad", "source": "s"},
        [Preferred(ONE, "good", "bad", None, "s")],
    ),
    "preferences as texts after messages": (
        {"x": TURNS, "chosen": "[good", "rejected": "{bad", "margin": 2},
        [Preferred(ALL, "[good", "{bad", 2.0)],
    ),
    "preferences as conversations": (
        {"chosen": closed("good"), "rejected": closed("bad")},
        [Preferred(ALL, "good", "bad")],
    ),
    "preferences as responses after messages": (
        {"prompt": TURNS, "chosen": closed("good", []), "rejected": closed("bad", [])},
        [Preferred(ALL, "good", "bad")],
    ),
    "preferences without a prompt": (
        {"chosen": "good", "rejected": "bad"},
        [Preferred((), "good", "bad")],
    ),
    "OpenJudge scores": (
        {"input": TURNS, "output": [answer("yes", helpfulness=3)], "source": "s"},
        [Graded(ALL, "yes", 3, "s")],
    ),
    "OpenJudge comparisons": (
        {"input": TURNS, "output": [answer("a", preference="B"), answer("b", preference="B")]},
        [Compared(ALL, "a", "b", "B"), Preferred(ALL, "b", "a")],
    ),
    "OpenJudge metadata": (
        {
            "input": USER["content"],
            "output": [{"content": "a"}, {"content": "b"}],
            "metadata": {"preferred": "a", "preference_strength": -2},
        },
        [Compared(ONE, "a", "b", "A", 2.0), Preferred(ONE, "a", "b", 2.0)],
    ),
    "OpenJudge answers": (
        {"input": TURNS, "output": [answer("a", helpfulness=1), answer("b", helpfulness=4), answer("c")]},
        [Candidates(ALL, ("a", "b", "c"), points=(1, 4, None))],
    ),
    "HelpSteer2 scores": (
        {"prompt": MARKED, "response": "yes", "helpfulness": 3, "correctness": 2},
        [Graded(({"role": "user", "content": MARKED},), "yes", 3)],
    ),
    "HelpSteer2 demonstrations": (
        {"prompt": USER["content"], "response": "yes", "correctness": 4},
        [Demonstration((USER, {"role": "assistant", "content": "yes"}))],
    ),
    "HelpSteer2 preferences": (
        {"prompt": USER["content"], "response_1": "a", "response_2": "b", "preference_strength": 2},
        [Compared(ONE, "a", "b", "B", 2.0), Preferred(ONE, "b", "a", 2.0)],
    ),
    "HelpSteer3": (
        {"context": TURNS, "response1": "a", "response2": "b", "overall_preference": 0},
        [Compared(ALL, "a", "b", "tie", 0.0)],
    ),
    "demonstrations": (
        {"messages": closed("yes")},
        [Demonstration(tuple(closed("yes")))],
    ),
}
KINDS = {Graded: "pointwise", Compared: "pairwise", Preferred: "bradley_terry", Demonstration: "sft"}


@pytest.fixture(params=list(ROWS))
def example(request: pytest.FixtureRequest) -> tuple[dict[str, Any], list[Any]]:
    return ROWS[request.param]


@pytest.mark.parametrize("ending", list(FORMATS))
def test_every_layout_in_every_format_says_the_same_to_every_reader(
    example: tuple[dict[str, Any], list[Any]], ending: str, tmp_path: Path
) -> None:
    row, records = example
    path = written(tmp_path, ending, [row])
    for record in records:
        if kind := KINDS.get(type(record)):
            assert read_records([path], kind) == [record]  # type: ignore[arg-type]
    # As responses to grade.
    table = parse_rows(str(path), None)
    (found,) = [grading.read_candidates(*reversed(numbered)) for numbered in table]
    assert found == as_candidates(records[0])
    assert grading.read_row(table[0][1], "row")["messages"] == list(found.conversation)
    # As rows of an alignment.
    preferred = next((record for record in records if isinstance(record, Preferred)), None)
    if preferred and preferred.conversation:
        (made,) = verl_rows(path, split="train")
        info = made["extra_info"]
        assert (tuple(made["prompt"]), info["chosen"], info["rejected"]) == (
            preferred.conversation,
            preferred.chosen,
            preferred.rejected,
        )


def test_every_layout_has_an_example_and_is_told_apart() -> None:
    """Each entry of the table, for each use, is what some example is read by."""
    used = set()
    for row, records in ROWS.values():
        for use in ["grade", *(KINDS[type(r)] for r in records if type(r) in KINDS)]:
            fitting = [layout for layout, _ in layouts_for(use) if layout.is_that_of(row)]  # type: ignore[arg-type]
            used.add(id(fitting[0]))
    assert used == {id(layout) for layout in LAYOUTS}


def test_the_documented_table_is_the_table() -> None:
    lines = (Path(__file__).parents[2] / "docs/judges.md").read_text(encoding="utf-8").splitlines()
    start = lines.index("| layout | columns | and | read for |") + 2
    for layout, line in zip(LAYOUTS, lines[start:], strict=False):
        columns = ", ".join(" or ".join(f"`{name}`" for name in names) for names in layout.columns)
        uses: list[Any] = ["pointwise", "pairwise", "bradley_terry", "sft", "grade"]
        read = ", ".join(f"`{use}`" for use in uses if any(one is layout for one, _ in layouts_for(use)))
        assert line == f"| {layout.name} | {columns} | {layout.more} | {read} |"
    assert lines[start + len(LAYOUTS)] == ""


@pytest.mark.parametrize("form", [lambda row: row, json.dumps], ids=["row", "JSON"])
def test_the_label_of_a_published_row_is_that_which_rewards_go_by(form: Callable[[Any], Any]) -> None:
    for row, records in ROWS.values():
        if "output" not in row:
            continue
        row = {**row, "output": np.array(row["output"], dtype=object)} if form(1) == 1 else row
        if isinstance(records[0], Compared):
            right = f"<better>{records[0].preference}</better>"
            assert pairwise.compute_score("", right, form(row))["score"] == 1
            assert pairwise.compute_score("", right, "", row)["score"] == 1
        elif isinstance(records[0], Graded):
            right = f"<score>{records[0].score}</score>"
            assert pointwise.compute_score("", right, "", row)["score"] == 1


# ---------------------------------------------------------------- a text is a text


TEXTS = ["[1, 2]", "[oops", '{"a": 1}', '{"role": "admin"}', "[]", "{}", '["x"]', "null", '"quoted"', "3"]


@pytest.mark.parametrize("text", TEXTS)
def test_a_text_is_a_text_for_every_reader(text: str, tmp_path: Path) -> None:
    row = {"prompt": text, "chosen": text + " good", "rejected": text}
    asked = {"role": "user", "content": text}
    record = Preferred((asked,), f"{text} good", text)
    path = written(tmp_path, "jsonl", [row])
    assert read_records([path], "bradley_terry") == [record]
    assert verl_rows(path, split="train")[0]["prompt"] == [asked]
    assert grading.read_row(row, "row")["messages"] == [asked]
    assert grading.read_row({"question": text, "response": text}, "row")["responses"] == [text]
    group = read_row({"x": text, "chosen": text})
    assert (group.question, group.chosen) == (text, text)
    graded = {"input": text, "output": [{"content": text, "label": {"helpfulness": 1}}]}
    assert parse_row(graded, "pointwise") == Graded((asked,), text, 1)


@pytest.mark.parametrize("form", [list, json.dumps, lambda turns: np.array(turns, dtype=object)])
def test_messages_are_a_conversation_for_every_reader(form: Callable[[Any], Any]) -> None:
    row = {"x": form(TURNS), "chosen": form(closed("good")), "rejected": form(closed("bad"))}
    assert parse_row(row, "bradley_terry") == Preferred(ALL, "good", "bad")
    assert grading.read_row(row, "row")["messages"] == TURNS
    group = read_row({"x": row["x"], "chosen": row["chosen"]})
    assert (list(group.turns), group.chosen) == (TURNS, "good")


@pytest.mark.parametrize("name", ["output", "responses"])
def test_a_row_without_a_response_is_refused(name: str) -> None:
    row = {"input": TURNS, "output": []} if name == "output" else {"question": "?", "responses": []}
    with pytest.raises(UserError, match=rf"{name} is \[\]; expected"):
        parse_row(row, "grade")


def test_an_unknown_role_is_no_text() -> None:
    wrong = json.dumps([{"role": "robot", "content": "x"}])
    for row in ({"x": wrong}, {"prompt": wrong}):
        with pytest.raises(UserError, match=r"\[0\] is .*robot.*; expected a message whose role is system"):
            parse_row({"chosen": "a", "rejected": "b", **row}, "bradley_terry")


# ---------------------------------------------------------------- rows without a conversation


def test_rows_without_a_conversation_are_split_by_their_texts() -> None:
    records = [
        parse_row({"chosen": f"good {n // 2}", "rejected": f"bad {n // 2}"}, "bradley_terry")
        for n in range(10_000)
    ]
    parts = split_records(records, {"train": 0.9, "test": 0.1}, seed=1)
    assert {name: len(part) for name, part in parts.items()} == {"train": 9000, "test": 1000}
    keys = [set(map(conversation_key, part)) for part in parts.values()]
    assert not keys[0] & keys[1]


def test_both_orders_of_a_pair_without_a_conversation_stay_together(tmp_path: Path) -> None:
    rows = [{"chosen": f"good {n}", "rejected": f"bad {n}"} for n in range(100)]
    shares = {"train": 0.8, "test": 0.2}
    done = export_data(rows, tmp_path, "pairwise", ["jsonl"], shares, 3, in_both_orders=True)
    assert list(done.values()) == [160, 40]
    pairs = [[frozenset((r.first, r.second)) for r in read_records([path], "pairwise")] for path in done]
    train, test = map(set, pairs)
    assert not train & test
    assert (len(train), len(test)) == (80, 20)


def test_the_key_of_a_conversation_is_as_ever() -> None:
    """A split that was made stays as it is."""
    key = "c84ce0382f3e5f16"
    assert conversation_key(Graded(ALL, "yes", 3)).startswith(key)
    assert conversation_key(Preferred(ALL, "a", "b")).startswith(key)


# ---------------------------------------------------------------- what is exported


@pytest.mark.parametrize("ending", ["jsonl", "parquet"])
def test_what_is_exported_can_be_graded(ending: str, tmp_path: Path) -> None:
    for number, (_, records) in enumerate(ROWS.values()):
        if isinstance(records[0], Candidates) or not records[0].conversation:
            continue
        path = tmp_path / f"{number}.{ending}"
        write_records(path, [records[0]])
        (found,) = [grading.read_candidates(*reversed(row)) for row in parse_rows(str(path), None)]
        assert found == as_candidates(records[0])


def test_unused_rows_are_left_out_of_an_alignment_and_counted(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tie, _ = ROWS["HelpSteer3"]
    with pytest.raises(UnusedRow):
        parse_row(tie, "bradley_terry")
    path = written(tmp_path, "jsonl", [tie, {**tie, "overall_preference": -1}])
    assert len(verl_rows(path, split="train")) == 1
    assert "1 rows left out: ties" in capsys.readouterr().out


def test_a_new_layout_is_one_entry_for_every_reader(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def read(row: Any) -> Preferred:
        return Preferred(({"role": "user", "content": row["ask"]},), row["good"], row["bad"])

    own = Layout("mine", (("ask",), ("good",), ("bad",)), {"bradley_terry": read})
    monkeypatch.setattr(layouts, "LAYOUTS", (*LAYOUTS, own))
    row = {"ask": "Why?", "good": "Because.", "bad": "No."}
    asked = {"role": "user", "content": "Why?"}
    for ending in FORMATS:
        path = written(tmp_path, ending, [row])
        assert read_records([path], "bradley_terry") == [Preferred((asked,), "Because.", "No.")]
        assert {record.preference for record in read_records([path], "pairwise")} <= {"A", "B"}
        assert verl_rows(path, split="test")[0]["extra_info"]["rejected"] == "No."
        (_, found), = parse_rows(str(path))  # fmt: skip
        assert grading.read_candidates(found, "row").responses == ("Because.", "No.")
    with pytest.raises(UserError, match=r"or ask, good and bad \(mine\)"):
        parse_row({"other": 1}, "bradley_terry")


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_score_that_is_no_number_is_refused(value: float) -> None:
    row = {"messages": TURNS, "responses": ["a", "b"], "scores": [1.0, value]}
    with pytest.raises(UserError, match=rf"scores is {value}; expected a number"):
        parse_row(row, "grade")
