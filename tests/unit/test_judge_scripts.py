"""From published rows to what is held out, and from answers to scores and the page."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import prepare_judge_rl
import prepare_judge_sft
import score_judges
import split_judge_data
import summarize_judges
from grrm.data.judge_data import read_records, write_records
from grrm.data.records import conversation_key
from grrm.data.toy_judges import make_judge_tables
from grrm.files import UserError, read_json, write_json, write_jsonl
from grrm.judges.prompts import load_judge_prompt
from grrm.report.judge_blocks import read_alignment
from grrm.verdicts import swap

USER = {"role": "user", "content": "Explain it."}
PAIRWISE = "config/prompts/trained_pairwise.yaml"


def published_pairs(folder: Path) -> Path:
    """Two files as OpenJudge publishes them; the second repeats conversations of the first."""
    folder.mkdir()
    for name, numbers in (("train.parquet", range(40)), ("val.parquet", range(30, 50))):
        rows = [
            {
                "input": [{"role": "user", "content": f"question {number}"}],
                "output": [
                    {"answer": {"role": "assistant", "content": text, "label": {"preference": "A"}}}
                    for text in (f"good {name}", f"bad {name}")
                ],
                "source": "rewardbench2",
            }
            for number in numbers
        ]
        pq.write_table(pa.Table.from_pylist(rows), folder / name)
    return folder


def test_published_files_are_split_again_without_a_conversation_in_both_parts(tmp_path: Path) -> None:
    train, test = tmp_path / "train.jsonl", tmp_path / "test.jsonl"
    arguments = ["--kind", "pairwise", "--input", str(published_pairs(tmp_path / "hub")), "--seed", "3"]
    split_judge_data.main([*arguments, "--test-share", "0.2", "--train", str(train), "--test", str(test)])
    parts = [read_records([path], "pairwise") for path in (train, test)]
    assert [len(part) for part in parts] == [48, 12]
    keys = [{conversation_key(record) for record in part} for part in parts]
    assert not keys[0] & keys[1]

    rows = tmp_path / "rows.parquet"
    arguments = ["--kind", "pairwise", "--input", str(train), "--prompt", PAIRWISE, "--both-orders"]
    prepare_judge_rl.main([*arguments, "--output", str(rows)])
    table = pq.read_table(rows).to_pylist()
    assert len(table) == 96
    assert {row["reward_model"]["ground_truth"] for row in table} == {"A", "B"}
    assert all("question" in row["prompt"][0]["content"] for row in table)


def test_demonstrations_are_checked_before_they_are_trained_on(tmp_path: Path) -> None:
    turns = [USER, {"role": "assistant", "content": "Like this."}]
    write_jsonl(tmp_path / "rows.jsonl", [{"messages": turns + turns}, {"messages": [USER]}])
    arguments = ["--input", str(tmp_path / "rows.jsonl"), "--output", str(tmp_path / "sft.jsonl")]
    with pytest.raises(UserError, match=r"row 1 .*user and assistant in turn"):
        prepare_judge_sft.main(arguments)
    prepare_judge_sft.main([*arguments, "--bad-rows", "drop"])
    (row,) = [json.loads(line) for line in (tmp_path / "sft.jsonl").read_text().splitlines()]
    assert row["messages"] == turns + turns


# ---------------------------------------------------------------- scores and page


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("rows")
    prompts = [load_judge_prompt(f"config/prompts/toy_{kind}.yaml", f"judge_{kind}")  # type: ignore[arg-type]
               for kind in ("pointwise", "pairwise")]  # fmt: skip
    names = ("pointwise", "pairwise", "bradley_terry")
    counts = {"judge_sft": 1} | {f"judge_{kind}_{part}": 12 for kind in names for part in ("train", "test")}
    tables = make_judge_tables(0, prompts[0], prompts[1], counts)
    paths = {kind: folder / f"{kind}.jsonl" for kind in names}
    for kind, path in paths.items():
        write_records(path, tables[f"judge_{kind}_test"])
    return paths


def said(kind: str, record: Any, *, right: bool) -> list[Any]:
    if kind == "pointwise":
        return [record.score if right else None]
    if kind == "pairwise":
        return [record.preference, swap(record.preference)] if right else ["A", "A"]
    return [[1.0, 0.0] if right else [0.0, 0.0]]


def answers(path: Path, kind: str, rows: Path, *, right: bool) -> str:
    values = [value for record in read_records([rows], kind) for value in said(kind, record, right=right)]  # type: ignore[arg-type]
    write_jsonl(
        path,
        [
            {
                "index": index,
                "value": value,
                "failure": "malformed" if value is None else None,
                "model": path.stem,
                "weights": "w",
                "decoding": {},
            }
            for index, value in enumerate(values)
        ],
    )
    return f"{path.stem}={path}"


def test_what_is_learnt_is_scored_and_shown(rows: dict[str, Path], tmp_path: Path) -> None:
    scores = []
    for kind, path in rows.items():
        named = [answers(tmp_path / f"{kind}_{name}.jsonl", kind, path, right=name == "after")
                 for name in ("before", "after")]  # fmt: skip
        output = tmp_path / f"{kind}.json"
        arguments = ["--mode", kind, "--reference", str(path), "--answers", *named, "--samples", "100"]
        score_judges.main([*arguments, "--output", str(output)])
        document = read_json(output)
        assert document["task"] == f"judge_{kind}"
        assert document["systems"][1]["metrics"]["agreement"]["value"] == 1
        assert document["differences"][0]["metrics"]["agreement"]["value"] > 0
        scores.append(str(output))
    failures = read_json(scores[0])["systems"][0]["failures"]
    assert failures == {"count": 12, "rate": 1.0, "reasons": {"malformed": 12}}

    markdown, page = tmp_path / "judges.md", tmp_path / "judges.html"
    arguments = ["--experiment", "x", "--seed", "0", "--scores", *scores]
    summarize_judges.main([*arguments, "--output-markdown", str(markdown), "--output-html", str(page)])
    text = markdown.read_text()
    assert "| Scores from 0 to 4: agreement (%) | 0.0 [0.0, 0.0] | 100.0 [100.0, 100.0] | +100.0" in text
    assert "Position bias" in text and "Expected calibration error" in text and "malformed 12" in text
    assert "<table>" in page.read_text()
    assert "above chosen" not in text

    summary = tmp_path / "alignment.json"
    above = {"value": 0.25, "low": 0.16, "high": 0.37}
    means = {"n": 64, "judge_score": 4.5, "chosen_score": 6.25}
    validation = [{"step": 0, **means}, {"step": 10, **means, "valid": 1.0, "above_chosen": above}]
    training = {"judge_score": {"first": None, "last": 6.5}}
    calls = {"requests": 12, "answered": 10, "cached": 1, "failed": 1, "failures": {"timeout": 1}}
    document = {"kind": "pairwise_dgr", "steps": 10, "validation": validation, "training": training}
    write_json(summary, {**document, "judge_calls": calls})
    arguments += ["--alignment", str(summary)]
    summarize_judges.main([*arguments, "--output-markdown", str(markdown), "--output-html", str(page)])
    text = markdown.read_text()
    assert "A policy trained against a judge (pairwise_dgr)" in text
    assert "| 10 | 25.0 [16.0, 37.0] | 4.50 | 6.25 | 100.0 |" in text
    assert "| judge score | – | 6.500 |" in text
    assert "12 requests of the judge: 10 answered, 1 from the cache, 1 failed (timeout 1)." in text
    with pytest.raises(UserError, match="not the summary of an alignment"):
        read_alignment(Path(scores[0]))


def test_answers_to_other_rows_are_refused(rows: dict[str, Path], tmp_path: Path) -> None:
    named = answers(tmp_path / "a.jsonl", "pointwise", rows["pointwise"], right=True)
    arguments = ["--mode", "pairwise", "--reference", str(rows["pairwise"]), "--answers", named]
    with pytest.raises(UserError, match="not the 24 answers of ask_judge"):
        score_judges.main([*arguments, "--output", str(tmp_path / "scores.json")])
    with pytest.raises(UserError, match="not the scores of judges"):
        (tmp_path / "other.json").write_text("{}")
        summarize_judges.main(
            ["--experiment", "x", "--seed", "0", "--scores", str(tmp_path / "other.json"),
             "--output-markdown", str(tmp_path / "m"), "--output-html", str(tmp_path / "h")]
        )  # fmt: skip
