"""Every published row layout, both orders, and the split by conversation."""

from __future__ import annotations

import gzip
import json
import math
from pathlib import Path
from typing import Any

import pytest

from grrm.data.judge_data import read_records, write_records
from grrm.data.layouts import UnusedRow, parse_row
from grrm.data.records import Compared, Demonstration, Graded, Preferred, both_orders, conversation_key
from grrm.data.splits import split_records, split_rows
from grrm.files import UserError

GOLDEN = Path(__file__).parents[1] / "data/golden"
USER = {"role": "user", "content": "What is a judge?"}
TURNS = [USER, {"role": "assistant", "content": "A"}, {"role": "user", "content": "And more?"}]


def answer(content: str, **label: Any) -> dict[str, Any]:
    return {"answer": {"role": "assistant", "content": content, "label": label}}


# ---------------------------------------------------------------- layouts


@pytest.mark.parametrize(
    "row",
    [
        # OpenJudge, README of cookbooks/training_judge_model/grpo
        {"input": [USER], "output": [answer("yes", helpfulness=3)], "source": "x"},
        # the training overview: one answer, without the key around it
        {"input": [USER], "output": {"content": "yes", "label": {"helpfulness": 3}}, "data_source": "x"},
        {"input": [USER], "output": [{"content": "yes", "label": {"helpfulness": 3}}], "source": "x"},
        # exported by RM-Gallery: JSON strings, the label too
        {"input": json.dumps([USER]), "output": json.dumps([answer("yes", helpfulness=3)]), "source": "x"},
        {"input": [USER], "output": {"content": "yes", "label": '{"helpfulness": "3"}'}, "source": "x"},
        # one message, a text
        {"input": USER, "output": answer("yes", helpfulness=3.0), "source": "x"},
        {"input": USER["content"], "output": answer("yes", helpfulness=3), "source": "x"},
        # HelpSteer2
        {"prompt": USER["content"], "response": "yes", "helpfulness": 3, "correctness": 4, "source": "x"},
    ],
)
def test_layouts_of_scores(row: dict[str, Any]) -> None:
    assert parse_row(row, "pointwise") == Graded((USER,), "yes", 3, "x")


@pytest.mark.parametrize(
    "row",
    [
        {"input": [USER], "output": [answer("a", preference="B"), answer("b", preference="B")]},
        {"input": [USER], "output": [{"content": "a"}, {"content": "b"}], "metadata": {"preferred": "b"}},
        {"input": json.dumps([USER]), "output": '[{"content": "a"}, {"content": "b"}]',
         "metadata": '{"preferred": "B"}'},
        {"prompt": USER["content"], "response_1": "a", "response_2": "b", "preference_strength": 2},
        {"context": [USER], "response1": "a", "response2": "b", "overall_preference": 1},
    ],
)  # fmt: skip
def test_layouts_of_comparisons(row: dict[str, Any]) -> None:
    found = parse_row(row, "pairwise")
    assert (found.conversation, found.first, found.second, found.preference) == ((USER,), "a", "b", "B")
    chosen = parse_row(row, "bradley_terry")
    assert (chosen.chosen, chosen.rejected) == ("b", "a")


CONVERSATIONS = {
    "chosen": [*TURNS, {"role": "assistant", "content": "good"}],
    "rejected": [*TURNS, {"role": "assistant", "content": "bad"}],
}


@pytest.mark.parametrize(
    ("row", "conversation"),
    [
        ({"chosen": "good", "rejected": "bad"}, ()),
        ({"prompt": "What is a judge?", "chosen": "good", "rejected": "bad"}, (USER,)),
        ({"x": [USER], "chosen": "good", "rejected": "bad"}, (USER,)),
        (CONVERSATIONS, tuple(TURNS)),
        ({name: json.dumps(value) for name, value in CONVERSATIONS.items()}, tuple(TURNS)),
        ({"x": [TURNS[-1]], "unique_id": "7", **CONVERSATIONS}, tuple(TURNS)),
    ],
)
def test_layouts_of_chosen_and_rejected(row: dict[str, Any], conversation: tuple[Any, ...]) -> None:
    assert parse_row(row, "bradley_terry") == Preferred(conversation, "good", "bad")
    found = parse_row(row, "pairwise")
    assert found in (Compared(conversation, "good", "bad", "A"), Compared(conversation, "bad", "good", "B"))


def test_the_order_of_chosen_and_rejected_is_drawn_from_the_texts() -> None:
    rows = [{"prompt": f"q{i}", "chosen": f"good {i}", "rejected": f"bad {i}"} for i in range(200)]
    records = [parse_row(row, "pairwise") for row in rows]
    assert [parse_row(row, "pairwise") for row in rows] == records
    assert 70 < sum(record.preference == "A" for record in records) < 130
    turned = [
        parse_row(row | {"chosen": row["rejected"], "rejected": row["chosen"]}, "pairwise") for row in rows
    ]
    assert all(
        a.first == b.first and a.preference != b.preference for a, b in zip(records, turned, strict=True)
    )
    assert all({record.first, record.second} == set(list(row.values())[1:])
               for record, row in zip(records, rows, strict=True))  # fmt: skip


def test_the_whole_conversation_counts_not_its_first_message() -> None:
    marked = "What is a judge?\n<extra_id_1>Assistant\nA\n<extra_id_1>User\nAnd more?"
    row = {"prompt": marked, "response": "yes", "helpfulness": 0}
    assert parse_row(row, "pointwise").conversation == tuple(TURNS)
    assert parse_row({"input": TURNS, "output": answer("yes", helpfulness=0)}, "pointwise").score == 0


def test_a_text_that_looks_like_json_stays_a_text() -> None:
    found = parse_row({"prompt": "[1, 2]", "chosen": "[2, 1]", "rejected": '{"a": 1}'}, "bradley_terry")
    assert found == Preferred(({"role": "user", "content": "[1, 2]"},), "[2, 1]", '{"a": 1}')


def test_strength_becomes_a_margin_of_no_sign() -> None:
    row = {"context": [USER], "response1": "a", "response2": "b", "overall_preference": -3}
    assert parse_row(row, "bradley_terry") == Preferred((USER,), "a", "b", 3.0)
    row = {"input": [USER], "output": [{"content": "a"}, {"content": "b"}],
           "metadata": {"preferred": "A", "preference_strength": 2}}  # fmt: skip
    assert parse_row(row, "pairwise").strength == 2.0


def test_what_parquet_fills_with_nothing_does_not_count() -> None:
    output = [
        {"answer": {"content": "a", "label": {"helpfulness": None, "preference": "tie"}}, "x": None}
    ] * 2
    assert parse_row({"input": [USER], "output": output, "metadata": None}, "pairwise").preference == "tie"


@pytest.mark.parametrize(
    ("kind", "row", "words"),
    [
        ("pointwise", {"question": "x"}, "no known layout: the keys are ['question']"),
        ("pointwise", {"input": [USER], "output": [answer("", helpfulness=3)]}, "answer.content is ''"),
        ("pointwise", {"input": [USER], "output": [answer("yes")]}, "expected helpfulness"),
        ("pointwise", {"input": [USER], "output": [{"content": "yes"}]}, "label is None"),
        ("pointwise", {"input": [USER], "output": [answer("yes", helpfulness=5)]}, "helpfulness is 5"),
        ("pointwise", {"input": [USER], "output": [answer("yes", helpfulness=2.5)]}, "helpfulness is 2.5"),
        ("pointwise", {"input": [USER], "output": [answer("yes", helpfulness=True)]}, "helpfulness is True"),
        ("pointwise", {"input": [], "output": [answer("yes", helpfulness=1)]}, "input is []"),
        ("pointwise", {"input": [{"role": "bot", "content": "x"}], "output": answer("y", helpfulness=1)},
         "input[0]"),
        ("pairwise", {"input": [USER], "output": [answer("a")]}, "output has 1 answers; expected two"),
        ("pairwise", {"input": [USER], "output": [answer("a"), answer("b")]}, "no preference"),
        ("pairwise", {"input": [USER], "output": [answer("a", preference="A"), answer("b", preference="B")]},
         "labels and metadata disagree: A, B"),
        ("pairwise", {"input": [USER], "output": [answer("a", preference="C"), answer("b")]}, "'C'"),
        ("pairwise", {"input": [USER], "output": [answer("a", preference="A"), answer("a")]},
         "the same, yet A"),
        ("bradley_terry", {"chosen": "same", "rejected": "same"}, "the same response"),
        ("bradley_terry", {"chosen": [USER], "rejected": [USER]}, "chosen ends with a message of user"),
        ("bradley_terry", {"chosen": [*TURNS, {"role": "assistant", "content": "x"}],
                           "rejected": [USER, {"role": "assistant", "content": "y"}]},
         "different conversations"),
        ("sft", {"messages": [USER]}, "messages are of user"),
        ("sft", {"messages": [USER, USER]}, "user and assistant in turn"),
    ],
)  # fmt: skip
def test_an_unknown_layout_is_an_error_that_shows_the_row(kind: Any, row: dict[str, Any], words: str) -> None:
    with pytest.raises(UserError) as error:
        parse_row(row, kind)
    assert words in str(error.value)
    assert "the row is {" in str(error.value)


def test_demonstrations_and_what_is_not_imitated() -> None:
    turns = [{"role": "system", "content": "Judge."}, USER, {"role": "assistant", "content": "yes"}]
    assert parse_row({"messages": turns}, "sft") == Demonstration(tuple(turns))
    row = {"prompt": USER["content"], "response": "yes", "correctness": 4}
    assert parse_row(row, "sft").messages == (USER, turns[-1])
    with pytest.raises(UnusedRow):
        parse_row({**row, "correctness": 3}, "sft")
    with pytest.raises(UnusedRow):
        parse_row(
            {"context": [USER], "response1": "a", "response2": "b", "overall_preference": 0}, "bradley_terry"
        )


# ---------------------------------------------------------------- files

RECORDS: dict[str, Any] = {
    "pointwise": Graded(tuple(TURNS), "yes", 3, "x"),
    "pairwise": Compared(tuple(TURNS), "a", "b", "tie", 0.0, "x"),
    "bradley_terry": Preferred(tuple(TURNS), "a", "b", None, "x"),
    "sft": Demonstration((USER, {"role": "assistant", "content": "yes"}), "x"),
}


@pytest.mark.parametrize("kind", list(RECORDS))
@pytest.mark.parametrize("suffix", ["parquet", "jsonl"])
def test_written_records_are_read_back(tmp_path: Path, kind: Any, suffix: str) -> None:
    path = tmp_path / f"rows.{suffix}"
    assert write_records(path, [RECORDS[kind]] * 3) == 3
    assert read_records([path], kind) == [RECORDS[kind]] * 3


def test_compressed_lines_lists_and_folders(tmp_path: Path) -> None:
    row = {"prompt": "q", "response": "r", "helpfulness": 1}
    (tmp_path / "a.jsonl.gz").write_bytes(gzip.compress((json.dumps(row) + "\n").encode()))
    (tmp_path / "b.json").write_text(json.dumps([row, row], indent=1))
    assert len(read_records([tmp_path], "pointwise")) == 3


def test_bad_rows_stop_or_are_counted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "rows.jsonl"
    good, bad = {"prompt": "q", "response": "r", "helpfulness": 1}, {"prompt": "q"}
    path.write_text("".join(json.dumps(row) + "\n" for row in (good, bad, bad)))
    with pytest.raises(UserError, match=r"rows.jsonl, row 1 \(the first is 0\): no known layout"):
        read_records([path], "pointwise")
    assert len(read_records([path], "pointwise", "drop")) == 1
    assert "2 rows left out: no known layout" in capsys.readouterr().out
    path.write_text(json.dumps(bad))
    with pytest.raises(UserError, match="no row for a training of kind pointwise is left"):
        read_records([path], "pointwise", "drop")


# ---------------------------------------------------------------- orders, split


def test_both_orders_and_never_twice() -> None:
    record = Compared((USER,), "a", "b", "A", 1.0)
    assert both_orders([record]) == [record, Compared((USER,), "b", "a", "B", 1.0)]
    assert both_orders(both_orders([record])) == both_orders([record])


def test_a_split_is_exact_and_keeps_conversations_together() -> None:
    records = [
        Compared(({"role": "user", "content": f"question {number // 3}"},), f"a{number}", "b", "A")
        for number in range(300)
    ]
    parts = split_records(both_orders(records), {"train": 0.9, "test": 0.1}, seed=7)
    assert {name: len(part) for name, part in parts.items()} == {"train": 540, "test": 60}
    keys = {name: {conversation_key(record) for record in part} for name, part in parts.items()}
    assert not keys["train"] & keys["test"]
    again = split_records(both_orders(records), {"train": 0.9, "test": 0.1}, seed=7)
    assert again == parts
    assert split_records(both_orders(records), {"train": 0.9, "test": 0.1}, seed=8) != parts


def test_rows_of_their_own_are_split_as_published() -> None:
    for line in (GOLDEN / "split.jsonl").read_text().splitlines():
        case = json.loads(line)
        shares = {"train": case["train_ratio"], "test": round(1 - case["train_ratio"], 10)}
        found = split_rows(range(case["n"]), shares, seed=42)
        assert [found["train"], found["test"]] == [case["train"], case["test"]], case["id"]


def test_a_share_is_met_to_less_than_a_group() -> None:
    keys = [number // 7 for number in range(100)]
    parts = split_rows(keys, {"train": 0.7, "validation": 0.2, "test": 0.1}, seed=1)
    assert sorted(number for part in parts.values() for number in part) == list(range(100))
    for name, share in (("train", 70), ("validation", 20), ("test", 10)):
        assert abs(len(parts[name]) - share) < 7


@pytest.mark.parametrize(
    "shares",
    [{"train": 0.8, "test": 0.1}, {"train": 1.2, "test": -0.2}, {"train": math.nan}, {"train": math.inf}],
)
def test_shares_that_do_not_add_up(shares: dict[str, float]) -> None:
    with pytest.raises(UserError, match="expected numbers from 0 that add up to 1"):
        split_rows([1, 2], shares, 0)


def test_a_part_must_not_be_empty() -> None:
    with pytest.raises(UserError, match="1 rows are too few"):
        split_records([RECORDS["pointwise"]], {"train": 0.9, "test": 0.1}, 0)
