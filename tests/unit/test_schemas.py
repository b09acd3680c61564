"""Source tables: every row is checked when they are read and when they are written."""

import time

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from grrm.files import UserError
from grrm.schemas import (
    COT,
    GRADES,
    PAIRS,
    RANKING,
    RANKING_TEST,
    SCHEMAS,
    TRANSLATION_TEST,
    read_table,
    write_table,
)

TEXTS = {"src_text": "你好", "trg_text": "Hello", "src_lang": "zh", "trg_lang": "en_US"}
GOOD = {
    "ranking": {**TEXTS, "mt_texts": ["Hi", "Hey", "Ho"], "analysis": "A.", "scores": [10, 8, 0]},
    "grrm_rlvr": {**TEXTS, "mt_texts": ["Hi", "Ho"], "analysis": "A.", "scores": [10, 0]},
    "cot": {"src_text": "你好", "src_lang": "zh", "trg_lang": "en", "response": "```\nHi\n```"},
    "pairs": TEXTS,
    "ranking_test": {
        "src_text": "你好",
        "src_lang": "zh",
        "trg_lang": "en",
        "mt_texts": ["Hi", "Ho"],
        "scores": [-1.5, -20.0],
    },
    "translation_test": {**TEXTS, "comment": None, "references": ["Hello", "Hi"]},
}


def row(**changes):
    return {**GOOD["ranking"], **changes}


def parquet(path, rows):
    pq.write_table(rows if isinstance(rows, pa.Table) else pa.Table.from_pylist(rows), path)
    return path


# Good tables


@pytest.mark.parametrize("name", GOOD)
def test_written_rows_read_back(tmp_path, name):
    path = tmp_path / "table.parquet"
    write_table(path, [GOOD[name]] * 3, name)
    table = read_table(path, name)
    assert table.to_pylist() == [GOOD[name]] * 3
    assert table.schema.equals(SCHEMAS[name])


@pytest.mark.parametrize(
    ("name", "schema"),
    [("RANKING", RANKING), ("grrm_sft", RANKING), ("grrm_rlvr", GRADES), ("mt_sft", COT), ("mt_grpo", PAIRS),
     ("ranking_test", RANKING_TEST), ("TRANSLATION_TEST", TRANSLATION_TEST)],
)  # fmt: skip
def test_a_schema_by_its_name_or_the_name_of_its_table(tmp_path, name, schema):
    good = next(good for key, good in GOOD.items() if SCHEMAS[key] is schema)
    path = parquet(tmp_path / "table.parquet", [good])
    assert read_table(path, name).equals(read_table(path, schema))


def test_further_columns_are_kept_behind(tmp_path):
    path = parquet(tmp_path / "table.parquet", [{"system": "x", **GOOD["ranking_test"]}])
    assert read_table(path, "ranking_test").column_names == [*RANKING_TEST.names, "system"]


def test_comments_may_be_left_out(tmp_path):
    path = parquet(tmp_path / "table.parquet", [TEXTS])
    assert read_table(path, "translation_test")["comment"].to_pylist() == [None]


def test_other_widths_of_the_same_types(tmp_path):
    column_types = {
        "mt_texts": pa.large_list(pa.large_string()),
        "scores": pa.list_(pa.int8()),
        "src_text": pa.large_string(),
    }
    table = pa.Table.from_pylist([GOOD["ranking"]])
    for name, type_ in column_types.items():
        table = table.set_column(table.column_names.index(name), name, table[name].cast(type_))
    table = table.set_column(2, "src_lang", table["src_lang"].dictionary_encode())
    read = read_table(parquet(tmp_path / "table.parquet", table), "ranking")
    assert read.to_pylist() == [GOOD["ranking"]]
    assert read.schema.equals(RANKING)


def test_whole_floating_point_scores_become_integers(tmp_path):
    path = parquet(tmp_path / "table.parquet", [row(scores=[10.0, 8.0, 0.0])])
    assert read_table(path, "ranking")["scores"].to_pylist() == [[10, 8, 0]]


def test_several_row_groups(tmp_path):
    path = tmp_path / "table.parquet"
    pq.write_table(pa.Table.from_pylist([GOOD["ranking"]] * 10), path, row_group_size=3)
    assert read_table(path, "ranking").num_rows == 10


def test_a_folder_named_like_a_partition_adds_no_column(tmp_path):
    (tmp_path / "seed=1").mkdir()
    path = parquet(tmp_path / "seed=1" / "table.parquet", [TEXTS])
    assert read_table(path, "pairs").column_names == PAIRS.names


# Bad rows

BAD_ROWS = [
    ("src_text", {"src_text": ""}, "not empty"),
    ("src_text", {"src_text": " \u3000\n"}, "not empty"),
    ("trg_text", {"trg_text": None}, "not empty"),
    ("analysis", {"analysis": " "}, "not empty"),
    ("src_lang", {"src_lang": "qq"}, "known language"),
    ("trg_lang", {"trg_lang": ""}, "known language"),
    ("trg_lang", {"trg_lang": None}, "known language"),
    ("mt_texts", {"mt_texts": ["one"], "scores": [1]}, "2 to 26 candidates"),
    ("mt_texts", {"mt_texts": [], "scores": []}, "2 to 26 candidates"),
    ("mt_texts", {"mt_texts": ["x"] * 27, "scores": [1] * 27}, "2 to 26 candidates"),
    ("mt_texts", {"mt_texts": None}, "2 to 26 candidates"),
    ("mt_texts", {"mt_texts": ["Hi", "", "Ho"]}, "with text"),
    ("mt_texts", {"mt_texts": ["Hi", None, "Ho"]}, "with text"),
    ("scores", {"scores": [1, 2]}, "as many scores"),
    ("scores", {"scores": [1, 2, 3, 4]}, "as many scores"),
    ("scores", {"scores": None}, "as many scores"),
    ("scores", {"scores": [1, 2, 11]}, "integers from 0 to 10"),
    ("scores", {"scores": [-1, 2, 3]}, "integers from 0 to 10"),
    ("scores", {"scores": [1, 2, None]}, "integers from 0 to 10"),
    ("scores", {"scores": [1, 2, 2.5]}, "integers from 0 to 10"),
    ("scores", {"scores": [1, 2, float("nan")]}, "integers from 0 to 10"),
]


@pytest.mark.parametrize(("column", "changes", "expected"), BAD_ROWS)
def test_a_bad_row_is_named_with_column_value_and_expectation(tmp_path, column, changes, expected):
    path = parquet(tmp_path / "table.parquet", [row(), row(), row(**changes), row()])
    with pytest.raises(UserError) as caught:
        read_table(path, "ranking")
    message = str(caught.value)
    assert f"{path}, row 2 " in message
    assert f"column {column} is " in message
    assert expected in message
    assert "1 of 4 rows" in message


@pytest.mark.parametrize(("column", "changes", "expected"), BAD_ROWS)
def test_a_bad_row_is_dropped_on_demand_and_counted(tmp_path, caplog, column, changes, expected):
    good = [row(src_text="1"), row(src_text="2")]
    path = parquet(tmp_path / "table.parquet", [good[0], row(**changes), good[1]])
    assert read_table(path, "ranking", bad_rows="drop").to_pylist() == good
    assert "dropped 1 bad rows of 3" in caplog.text
    assert f"{column}: expected" in caplog.text
    assert expected in caplog.text


@pytest.mark.parametrize(("column", "changes", "expected"), BAD_ROWS)
def test_a_bad_row_is_not_written(tmp_path, column, changes, expected):
    with pytest.raises(UserError, match=f"column {column} is .*{expected}"):
        write_table(tmp_path / "table.parquet", [row(), row(**changes)], "ranking")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("scores", [[1.0, float("inf")], [1.0, float("nan")], [1.0, None], [1.0]])
def test_human_scores_are_finite_numbers_one_for_each_candidate(tmp_path, scores):
    path = parquet(tmp_path / "table.parquet", [{**GOOD["ranking_test"], "scores": scores}])
    with pytest.raises(UserError, match="column scores is"):
        read_table(path, "ranking_test")


def test_no_good_row_is_an_error_even_if_rows_may_be_dropped(tmp_path):
    path = parquet(tmp_path / "table.parquet", [row(src_text="")] * 2)
    with pytest.raises(UserError, match="no good row is left"):
        read_table(path, "ranking", bad_rows="drop")


def test_a_long_value_is_cut_in_the_message(tmp_path):
    path = parquet(tmp_path / "table.parquet", [row(scores=[11] * 5000, mt_texts=["x"] * 5000)])
    with pytest.raises(UserError) as caught:
        read_table(path, "ranking")
    assert len(str(caught.value)) < 1000


def test_rows_with_different_keys_are_not_written(tmp_path):
    with pytest.raises(UserError, match="row 1: keys are"):
        write_table(tmp_path / "table.parquet", [TEXTS, {**TEXTS, "comment": "x"}], "pairs")


# Bad tables


def test_a_missing_column(tmp_path):
    bad = {key: value for key, value in GOOD["ranking"].items() if key != "scores"}
    with pytest.raises(UserError, match="no column scores; found src_text"):
        read_table(parquet(tmp_path / "table.parquet", [bad]), "ranking")


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("src_text", 5),
        ("src_text", ["x"]),
        ("mt_texts", "Hi"),
        ("mt_texts", [1, 2]),
        ("scores", 3),
        ("scores", ["1", "2"]),
        ("scores", [True, False]),
    ],
)
def test_a_column_of_another_type(tmp_path, column, value):
    with pytest.raises(UserError, match=f"column {column} is of type .*; expected"):
        read_table(parquet(tmp_path / "table.parquet", [row(**{column: value})]), "ranking")


def test_a_number_too_large(tmp_path):
    table = pa.Table.from_pylist([row(scores=[1, 2, 3])])
    huge = pa.array([[1, 2, 2**63]], pa.list_(pa.uint64()))
    table = table.set_column(table.column_names.index("scores"), "scores", huge)
    with pytest.raises(UserError, match="column scores cannot be read"):
        read_table(parquet(tmp_path / "table.parquet", table), "ranking")


def test_an_empty_table(tmp_path):
    with pytest.raises(UserError, match="no rows"):
        read_table(parquet(tmp_path / "table.parquet", RANKING.empty_table()), "ranking")
    with pytest.raises(UserError, match="no rows"):
        write_table(tmp_path / "other.parquet", RANKING.empty_table(), "ranking")


def test_a_missing_file(tmp_path):
    with pytest.raises(UserError, match=r"none\.parquet: no such file"):
        read_table(tmp_path / "none.parquet", "pairs")
    with pytest.raises(UserError, match="no such file"):
        read_table(tmp_path, "pairs")


@pytest.mark.parametrize("content", [b"", b"text", b"PAR1PAR1", b"PAR1" + bytes(100) + b"PAR1"])
def test_a_file_that_is_not_parquet(tmp_path, content):
    path = tmp_path / "table.parquet"
    path.write_bytes(content)
    with pytest.raises(UserError, match=r"table\.parquet: not a Parquet file, or a damaged one"):
        read_table(path, "pairs")


@pytest.mark.parametrize("keep", [0.3, 0.99])
def test_a_truncated_file(tmp_path, keep):
    path = parquet(tmp_path / "table.parquet", [GOOD["ranking"]] * 100)
    whole = path.read_bytes()
    path.write_bytes(whole[: int(len(whole) * keep)])
    with pytest.raises(UserError, match="not a Parquet file, or a damaged one"):
        read_table(path, "ranking")


def test_a_flipped_bit(tmp_path):
    path = tmp_path / "table.parquet"
    write_table(path, [GOOD["ranking"]] * 100, "ranking")
    scores = pq.ParquetFile(path).metadata.row_group(0).column(RANKING.names.index("scores"))
    content = bytearray(path.read_bytes())
    content[scores.data_page_offset + scores.total_compressed_size // 2] ^= 1
    path.write_bytes(content)
    with pytest.raises(UserError, match="not a Parquet file, or a damaged one"):
        read_table(path, "ranking")


def test_text_that_is_not_utf8(tmp_path):
    table = pa.Table.from_pylist([TEXTS])
    broken = pa.array([b"\xff\xfe"], pa.binary()).view(pa.string())
    path = parquet(tmp_path / "table.parquet", table.set_column(0, "src_text", broken))
    with pytest.raises(UserError, match="damaged"):
        read_table(path, "pairs")


def test_an_unknown_schema_is_the_callers_mistake(tmp_path):
    with pytest.raises(ValueError, match="unknown schema 'paris'"):
        read_table(tmp_path / "table.parquet", "paris")


def test_a_failed_write_leaves_the_old_file(tmp_path):
    path = tmp_path / "table.parquet"
    write_table(path, [TEXTS], "pairs")
    with pytest.raises(UserError):
        write_table(path, [{**TEXTS, "src_text": ""}], "pairs")
    assert read_table(path, "pairs").to_pylist() == [TEXTS]


def test_a_hundred_thousand_rows_take_seconds(tmp_path):
    n = 100_000
    table = pa.table({name: [value] * n for name, value in GOOD["ranking"].items()})
    path = parquet(tmp_path / "table.parquet", table)
    start = time.process_time()
    assert read_table(path, "ranking").num_rows == n
    assert time.process_time() - start < 5
