"""Published tables on the way in: checked, put together, written whole or not at all."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import check_table
import collect_test_sets
from grrm import schemas
from grrm.files import UserError
from grrm.schemas import read_batches, write_table

PAIRS: list[dict[str, Any]] = [
    {"src_text": f"source {n}", "trg_text": f"target {n}", "src_lang": "en", "trg_lang": "de"}
    for n in range(20)
]


@pytest.fixture
def pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(schemas, "BATCH_ROWS", 6)


def stored(path: Path, rows: list[dict[str, Any]]) -> Path:
    pq.write_table(pa.Table.from_pylist(rows), path)
    return path


def check(output: Path, *inputs: Path, bad_rows: str = "error", more: str = "") -> list[dict[str, Any]]:
    flags = ["--schema", "mt_grpo", "--output", str(output), "--bad-rows", bad_rows, *more.split()]
    check_table.main(["--input", *map(str, inputs), *flags])
    found: list[dict[str, Any]] = pq.read_table(output).to_pylist()
    return found


def test_a_checked_table_has_the_columns_of_its_schema(tmp_path: Path, pieces: None) -> None:
    first = stored(tmp_path / "first.parquet", [{"id": n, **row} for n, row in enumerate(PAIRS[:9])])
    second = stored(tmp_path / "second.parquet", PAIRS[9:])
    assert check(tmp_path / "out.parquet", first, second) == PAIRS


@pytest.mark.parametrize("left_out", [{"trg_text"}, {"analysis"}])
def test_columns_that_a_schema_lets_a_table_leave_out_may_be_left_out(
    tmp_path: Path, left_out: set[str]
) -> None:
    row = {"src_text": "Haus", "trg_text": "house", "src_lang": "de", "trg_lang": "en"}
    row |= {"mt_texts": ["a", "b"], "analysis": "a, b", "scores": [1, 2]}
    kept = [name for name in row if name not in left_out]
    first = stored(tmp_path / "first.parquet", [{name: row[name] for name in kept} | {"mine": 1}])
    schema = "ranking" if left_out == {"trg_text"} else "grrm_rlvr"
    output = tmp_path / "out.parquet"
    check_table.main(["--input", str(first), "--schema", schema, "--output", str(output)])
    assert pq.read_table(output).column_names == kept


def test_further_columns_are_kept_where_they_are_wanted(tmp_path: Path, pieces: None) -> None:
    rows = [{**row, "rubric": f"rubric {n}", "years": [n]} for n, row in enumerate(PAIRS)]
    first = stored(tmp_path / "first.parquet", rows[:9])
    second = stored(tmp_path / "second.parquet", [{"id": 1, **row} for row in rows[9:]])
    assert check(tmp_path / "out.parquet", first, second, more="--further") == rows
    for third in ([PAIRS[0]], [{**rows[0], "rubric": 3}]):
        path = stored(tmp_path / "third.parquet", third)
        with pytest.raises(UserError, match=r"third\.parquet: no column rubric of type string, which"):
            check(tmp_path / "none.parquet", first, path, more="--further")
    assert not (tmp_path / "none.parquet").exists()


def test_test_sets_keep_further_columns_where_they_are_wanted(tmp_path: Path) -> None:
    write_table(tmp_path / "one.parquet", [{**PAIRS[0], "rubric": "r", "test_set": "x"}], "translation_test")
    write_table(tmp_path / "two.parquet", PAIRS[1:2], "translation_test")
    output = tmp_path / "out.parquet"
    inputs = [f"{name}={tmp_path / name}.parquet" for name in ("one", "two")]
    flags = ["--schema", "translation_test", "--output", str(output)]
    collect_test_sets.main(["--input", *inputs, *flags, "--further"])
    rows = pq.read_table(output).to_pylist()
    assert [(row["test_set"], row["rubric"]) for row in rows] == [("one", "r"), ("two", None)]
    collect_test_sets.main(["--input", *inputs, *flags])
    assert "rubric" not in pq.read_table(output).column_names


def test_a_bad_row_far_down_is_named_and_nothing_is_written(tmp_path: Path, pieces: None) -> None:
    rows = [*PAIRS[:15], {**PAIRS[15], "src_text": " "}, *PAIRS[16:18], {**PAIRS[18], "trg_lang": "qq"}]
    path = stored(tmp_path / "train.parquet", rows)
    message = r"train\.parquet, row 15 .*column src_text is ' '; .*2 of 19 rows are bad"
    with pytest.raises(UserError, match=message):
        check(tmp_path / "out.parquet", path)
    assert list(tmp_path.iterdir()) == [path]
    kept = check(tmp_path / "out.parquet", path, bad_rows="drop")
    assert kept == [*PAIRS[:15], *PAIRS[16:18]]


def test_nothing_is_yielded_after_a_bad_row(tmp_path: Path, pieces: None) -> None:
    path = stored(tmp_path / "train.parquet", [*PAIRS[:7], {**PAIRS[7], "src_text": ""}, *PAIRS[8:]])
    seen = []
    with pytest.raises(UserError, match="row 7"):
        for table in read_batches(path, "pairs"):
            seen += table.to_pylist()
    assert seen == PAIRS[:6]


def test_test_sets_are_put_together_under_their_names(tmp_path: Path) -> None:
    for name, rows in (("one", PAIRS[:2]), ("two", PAIRS[2:5])):
        write_table(tmp_path / f"{name}.parquet", rows, "translation_test")
    inputs = [f"{name}={tmp_path / name}.parquet" for name in ("two", "one")]
    output = tmp_path / "out.parquet"
    flags = ["--schema", "translation_test", "--output", str(output)]
    collect_test_sets.main(["--input", *inputs, *flags])
    rows = pq.read_table(output).to_pylist()
    assert [row["test_set"] for row in rows] == ["two"] * 3 + ["one"] * 2
    assert [row["src_text"] for row in rows] == [row["src_text"] for row in [*PAIRS[2:5], *PAIRS[:2]]]
    with pytest.raises(UserError, match="expected NAME=PARQUET"):
        collect_test_sets.main(["--input", "one.parquet", *flags])
