"""Rows for the alignment: every documented layout, and what is said about another."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import prepare_alignment
from grrm.data.alignment import ROWS, verl_rows
from grrm.data.toy_manners import judge_chats, policy_chats, politeness, preference_rows, split_requests
from grrm.files import UserError, write_jsonl
from grrm.judges.prompts import load_judge_prompt

ROOT = Path(__file__).parents[2]
ASKED = [{"role": "user", "content": "Why?"}]
TURNS = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": "Hi"},
    {"role": "assistant", "content": "Hello"},
    *ASKED,
]


def answered(turns: list[dict[str, str]], text: str) -> list[dict[str, str]]:
    return [*turns, {"role": "assistant", "content": text}]


def row(turns: list[dict[str, str]] = ASKED, **changes: Any) -> dict[str, Any]:
    values = {
        "x": turns,
        "chosen": answered(turns, "Because."),
        "rejected": answered(turns, "No."),
        "source": "chats",
        "unique_id": "1",
    }
    return {**values, **changes}


def made(tmp_path: Path, *rows: dict[str, Any], **options: Any) -> list[dict[str, Any]]:
    write_jsonl(tmp_path / "rows.jsonl", rows)
    return verl_rows(tmp_path / "rows.jsonl", **{"split": "train", **options})


@pytest.mark.parametrize(
    "given",
    [
        row(),
        row(x=json.dumps(ASKED), chosen=json.dumps(answered(ASKED, "Because."))),
        row(x="Why?", chosen="Because.", rejected="No."),
        row(x=None),
        row(x=ASKED[0], chosen={"role": "assistant", "content": " Because.\n"}),
    ],
    ids=["messages", "JSON texts", "texts", "chosen holds the conversation", "single messages"],
)
def test_every_documented_layout_is_read(given: dict[str, Any], tmp_path: Path) -> None:
    (found,) = made(tmp_path, given)
    assert found["prompt"] == ASKED
    assert found["data_source"] == "chats"
    info = found["extra_info"]
    assert (info["question"], info["chosen"], info["rejected"]) == ("Why?", "Because.", "No.")
    assert (info["split"], info["unique_id"]) == ("train", "1")
    pa.Table.from_pylist([found], schema=ROWS)


def test_all_turns_are_used(tmp_path: Path) -> None:
    (found,) = made(tmp_path, row(TURNS))
    assert found["prompt"] == TURNS
    assert found["extra_info"]["turns"] == TURNS
    assert all(turn["content"] in found["extra_info"]["question"] for turn in TURNS)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (row(chosen=None), "no known layout: .*; expected chosen and rejected"),
        (row(chosen="  "), "chosen is '  '; expected a text that is not"),
        (row(chosen=ASKED), "chosen ends with a message of user; expected assistant"),
        (row(x=answered(ASKED, "x")), "x ends with the role 'assistant', expected 'user'"),
        (row(x="How?"), "chosen answers another conversation than x"),
        (row(x=None, chosen="Because."), "x is missing and chosen holds a response only"),
        (
            row(x=[{"role": "human", "content": "Why?"}]),
            r"x\[0\] is .*; expected a message whose role is system",
        ),
        (row(x=[{"role": "user", "content": ""}]), r"x\[0\].content is ''; expected a text that is not"),
        (row(x="[oops"), "chosen answers another conversation than x"),
        (row(x=3), "x is 3; expected messages"),
        (row(x=None, chosen="a\0b"), "chosen is .*; expected a text without NUL and half"),
        (
            row(x=json.dumps([*ASKED[:-1], {"role": "user", "content": "\ud800"}])),
            "content is .*without NUL and half",
        ),
        (
            row(chosen=json.dumps(answered(ASKED, "a\0"))),
            "content is .*; expected a text without NUL and half",
        ),
    ],
)
def test_another_layout_is_an_error_with_row_and_key(
    given: dict[str, Any], message: str, tmp_path: Path
) -> None:
    with pytest.raises(UserError, match=r"rows.jsonl, row 1 \(the first is 0\): .*" + message):
        made(tmp_path, row(unique_id="0"), given)


def test_bad_rows_may_be_left_out_but_not_all(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert len(made(tmp_path, row(), row(chosen=None), bad_rows="drop")) == 1
    assert "1 rows left out; the first: " in capsys.readouterr().out
    with pytest.raises(UserError, match="no known layout"):
        made(tmp_path, row(chosen=None), bad_rows="drop")


def test_an_id_that_occurs_twice_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"row 1: unique_id '1' is also that of row 0"):
        made(tmp_path, row(), row())


def test_a_file_of_another_format_is_named(tmp_path: Path) -> None:
    (tmp_path / "rows.csv").write_text("x,chosen\n")
    with pytest.raises(UserError, match=r"rows\.csv: no rows"):
        verl_rows(tmp_path / "rows.csv", split="train")


def test_prepared_rows_of_both_splits(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    training, held_out = split_requests(0, 5)
    for name, requests in (("train", training), ("validation", [*held_out, training[0]])):
        table = pa.Table.from_pylist(preference_rows(6, 0, name, requests))
        pq.write_table(table, tmp_path / f"{name}.parquet")
    prepare_alignment.main(
        [
            *(
                "--train",
                str(tmp_path / "train.parquet"),
                "--validation",
                str(tmp_path / "validation.parquet"),
            ),
            *("--train-output", str(tmp_path / "t"), "--validation-output", str(tmp_path / "v")),
        ]
    )
    train, validation = (pq.read_table(tmp_path / name).to_pylist() for name in "tv")
    assert {found["extra_info"]["split"] for found in train} == {"train"}
    assert [found["extra_info"]["unique_id"] for found in validation] == [f"validation-{n}" for n in range(6)]
    assert {found["extra_info"]["unique_id"] for found in train} == {f"train-{n}" for n in range(6)}
    assert "1 of these ask the same" in capsys.readouterr().out


# ---------------------------------------------------------------- the toy


def test_in_the_toy_the_chosen_response_is_the_kinder_one_and_the_judge_tells_the_truth() -> None:
    training, held_out = split_requests(0, 20)
    assert not set(training) & set(held_out)
    for given in preference_rows(50, 0, "train", training):
        better, worse = (given[key][-1]["content"] for key in ("chosen", "rejected"))
        assert politeness(better) > politeness(worse)
    prompt = load_judge_prompt(str(ROOT / "config/prompts/toy_judge_pairwise.yaml"), "judge_pairwise")
    verdicts = []
    for chat in judge_chats(200, 0, training, prompt):
        asked, answer = (message["content"] for message in chat["messages"])
        first, second = asked.split(" A: ")[1].split(" Describe")[0].split(" B: ")
        difference = politeness(first) - politeness(second)
        expected = "A" if difference > 0 else "B" if difference < 0 else "tie"
        assert answer.endswith(f"</think><better>{expected}</better>")
        verdicts.append(expected)
    assert all(verdicts.count(verdict) > 20 for verdict in ("A", "B", "tie"))


def test_the_toys_policy_is_as_rude_as_kind() -> None:
    training, _ = split_requests(0, 20)
    scores = [politeness(chat["messages"][1]["content"]) for chat in policy_chats(500, 0, training)]
    assert abs(sum(scores) / len(scores)) < 0.4
