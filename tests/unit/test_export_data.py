"""`grrm export-data`: published layouts in, files of a grouped split out."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from grrm import cli
from grrm.files import UserError, read_jsonl, write_jsonl


def helpsteer2(requests: int, responses: int = 2) -> list[dict[str, Any]]:
    return [
        {"prompt": f"question {i}", "response": f"answer {i}.{j}", "helpfulness": (i + j) % 5}
        for i in range(requests)
        for j in range(responses)
    ]


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "helpsteer2.jsonl"
    write_jsonl(path, helpsteer2(10))
    return path


def export(source: Path, *flags: str) -> Path:
    folder = source.parent / "exported"
    cli.main(["export-data", str(source), "--output", str(folder), *flags])
    return folder


def questions(rows: list[dict[str, Any]]) -> set[str]:
    return {row["input"][0]["content"] for row in rows}


def test_both_formats_hold_the_same_rows_and_no_conversation_is_in_two_parts(source: Path) -> None:
    folder = export(
        source, "--kind", "pointwise", "--format", "jsonl", "parquet", "--split", "train=0.8", "test=0.2"
    )
    parts = {name: read_jsonl(folder / f"{name}.jsonl") for name in ("train", "test")}
    assert {name: len(rows) for name, rows in parts.items()} == {"train": 16, "test": 4}
    assert not questions(parts["train"]) & questions(parts["test"])
    for name, rows in parts.items():
        assert pq.read_table(folder / f"{name}.parquet").to_pylist() == rows
    assert parts["test"][0]["output"][0]["answer"]["label"]["helpfulness"] in range(5)


def test_the_split_depends_on_the_seed_alone(source: Path) -> None:
    flags = ("--kind", "pointwise", "--format", "jsonl", "--split", "train=0.5", "test=0.5")
    first = questions(read_jsonl(export(source, *flags) / "test.jsonl"))
    assert questions(read_jsonl(export(source, *flags) / "test.jsonl")) == first
    assert questions(read_jsonl(export(source, *flags, "--seed", "1") / "test.jsonl")) != first


def test_what_is_exported_can_be_exported_again(source: Path) -> None:
    flags = ("--kind", "pointwise", "--format", "jsonl")
    exported = export(source, *flags) / "train.jsonl"
    before = sorted(exported.read_text().splitlines())
    again = exported.rename(source.parent / "again.jsonl")
    assert sorted((export(again, *flags) / "train.jsonl").read_text().splitlines()) == before


def test_comparisons_in_both_orders_stay_together(tmp_path: Path) -> None:
    source = tmp_path / "pairs.jsonl"
    pairs = [
        {"prompt": f"q{i}", "response_1": "x", "response_2": "y", "preference_strength": i - 3}
        for i in range(6)
    ]
    write_jsonl(source, pairs)
    flags = ("--kind", "pairwise", "--both-orders", "--format", "jsonl", "--split", "train=0.5", "test=0.5")
    rows = read_jsonl(export(source, *flags) / "test.jsonl")
    assert len(rows) == 6
    by_question: dict[str, list[str]] = {}
    for row in rows:
        by_question.setdefault(row["input"][0]["content"], []).append(row["metadata"]["preferred"])
    assert all(sorted(said) in (["A", "B"], ["tie", "tie"]) for said in by_question.values())


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (("--kind", "pointwise", "--split", "train=0.8", "test=0.1"), "add up to 1"),
        (("--kind", "pointwise", "--split", "train"), "NAME=SHARE"),
        (("--kind", "pointwise", "--split", "a/b=1"), "name of a file"),
        (("--kind", "pointwise", "--split", "a=0.5", "a=0.5"), "named twice"),
        (("--kind", "pointwise", "--split", "train=0.99", "test=0.01"), "too few"),
        (("--kind", "pointwise", "--both-orders"), "only for pairwise"),
        (("--kind", "bradley_terry"), "row 0"),
    ],
)
def test_mistakes_are_named_and_nothing_is_written(source: Path, flags: tuple[str, ...], words: str) -> None:
    with pytest.raises(UserError, match=words):
        export(source, *flags)
    assert not (source.parent / "exported").exists()


def test_a_row_of_no_known_layout_is_an_error_or_left_out_aloud(
    source: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with source.open("a") as file:
        file.write(json.dumps({"question": "?", "answer": "!"}) + "\n")
    with pytest.raises(UserError, match="row 20"):
        export(source, "--kind", "pointwise")
    folder = export(source, "--kind", "pointwise", "--bad-rows", "drop")
    assert pq.read_metadata(folder / "train.parquet").num_rows == 20
    assert "1 rows left out" in capsys.readouterr().out
