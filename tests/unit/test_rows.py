"""The one reader of files of rows: every format, compressed or not, and one line about what is wrong."""

from __future__ import annotations

import csv
import gzip
import io
import json
import os
import threading
from collections.abc import Callable, Sequence
from datetime import date, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from grrm.data.rows import numbered_rows, read_rows, row_files
from grrm.files import UserError

Rows = Sequence[dict[str, Any]]


def jsonl(rows: Rows) -> bytes:
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows).encode()


def json_list(rows: Rows) -> bytes:
    return json.dumps(rows, indent=1).encode()


def parquet(rows: Rows) -> bytes:
    out = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(list(rows)), out)
    return out.getvalue()


def flat(rows: Rows) -> list[dict[str, str]]:
    """Rows as tables of texts have them: what is no text is JSON, what is nothing is empty."""
    return [
        {
            key: value if isinstance(value, str) else "" if value is None else json.dumps(value)
            for key, value in row.items()
        }
        for row in rows
    ]


def tsv(rows: Rows) -> bytes:
    lines = [list(rows[0]), *(list(row.values()) for row in flat(rows))]
    return "".join("\t".join(line) + "\n" for line in lines).encode()


def comma_separated(rows: Rows) -> bytes:
    out = io.StringIO(newline="")
    writer = csv.DictWriter(out, list(rows[0]))
    writer.writeheader()
    writer.writerows(flat(rows))
    return out.getvalue().encode()


FORMATS: dict[str, Callable[[Rows], bytes]] = {
    "jsonl": jsonl,
    "ndjson": jsonl,
    "json": json_list,
    "parquet": parquet,
    "tsv": tsv,
    "csv": comma_separated,
}


def written(folder: Path, ending: str, rows: Rows) -> Path:
    """A file of rows by the ending of its name, such as csv.gz."""
    path = folder / f"rows.{ending}"
    content = FORMATS[ending.removesuffix(".gz")](rows)
    path.write_bytes(gzip.compress(content) if ending.endswith(".gz") else content)
    return path


@pytest.mark.parametrize("ending", [name + more for name in FORMATS for more in ("", ".gz")])
def test_every_format_is_read_compressed_or_not(tmp_path: Path, ending: str) -> None:
    rows = [{"a": 'x, "y"', "b": "中\u2028文"}, {"a": "z", "b": None}]
    assert list(read_rows(written(tmp_path, ending, rows))) == rows


def test_dates_and_times_of_a_table_are_texts(tmp_path: Path) -> None:
    day, moment = date(2024, 2, 29), datetime(2024, 2, 29, 23, 5)
    (tmp_path / "a.parquet").write_bytes(parquet([{"id": day, "at": moment}, {"id": None, "at": None}]))
    first, second = read_rows(tmp_path / "a.parquet")
    assert first["id"] == "2024-02-29" and first["at"].startswith("2024-02-29 23:05:00")
    assert second == {"id": None, "at": None}


def test_what_a_file_holds_tells_its_format_where_its_name_does_not(tmp_path: Path) -> None:
    rows = [{"a": "x"}, {"a": "y"}]
    for name, content in (("1", jsonl(rows)), ("2.data", json_list(rows)), ("3.dat", parquet(rows))):
        path = tmp_path / name
        for stored in (content, gzip.compress(content)):  # a compressed file may be called anything
            path.write_bytes(stored)
            assert list(read_rows(path)) == rows
    (tmp_path / "4").write_text("a\nx\n")
    with pytest.raises(UserError, match="cannot tell its format by its ending; name one of jsonl"):
        list(read_rows(tmp_path / "4"))
    assert list(read_rows(tmp_path / "4", "csv")) == [{"a": "x"}]


@given(st.lists(st.fixed_dictionaries({"a": st.text(), "b": st.text()}), min_size=1, max_size=5))
def test_quoted_fields_hold_any_text(tmp_path_factory: pytest.TempPathFactory, rows: Rows) -> None:
    whole = [
        {
            key: value
            for key, value in row.items()
            if "\0" not in value and value.isprintable() and value.strip()
        }
        for row in rows
    ]
    kept = [row for row in whole if len(row) == 2]
    if kept:
        path = written(tmp_path_factory.mktemp("csv"), "csv", kept)
        assert list(read_rows(path)) == kept


def test_a_field_may_hold_lines_and_the_place_is_its_first(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    path.write_bytes(b'\xef\xbb\xbfa,b\r\n"one\ntwo",x\r\n\r\n"" ,y\r\nq,"z"\r\n'.replace(b'"" ', b""))
    assert list(numbered_rows(path)) == [
        ("line 2", {"a": "one\ntwo", "b": "x"}),
        ("line 5", {"a": None, "b": "y"}),
        ("line 6", {"a": "q", "b": "z"}),
    ]


def not_utf8() -> bytes:
    """A Parquet file as writers make it that do not look at their texts."""
    ends, text = pa.array([0, 4], pa.int32()).buffers()[1], pa.py_buffer(b"ab\xff\xfe")
    file = io.BytesIO()
    pq.write_table(pa.table({"a": pa.StringArray.from_buffers(1, ends, text)}), file)
    return file.getvalue()


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("a.jsonl", b'{"a": 1}\n{"a": \n', "a.jsonl, line 2: not valid JSON"),
        ("a.jsonl", b'\n"text"\n', "a.jsonl, line 2: '\"text\"'; expected a JSON object"),
        ("a.jsonl", b"[" * 100_000, "a.jsonl, line 1: not valid JSON (lists or objects too deep"),
        ("a.jsonl", b'{"a": ' + b"9" * 5000 + b"}", "a.jsonl, line 1: not valid JSON"),
        ("a.jsonl", b'{"a": 1}\n\xff', "a.jsonl, line 2: not UTF-8"),
        ("a.json", b'[{"a": 1}, 2]', "a.json, row 1 (the first is 0): '2'; expected a JSON object"),
        ("a.tsv", b"a\tb\n1\n", "a.tsv, line 2: 1 fields; the first line names 2 columns"),
        ("a.csv", b"a,b\n1,2,3\n", "a.csv, line 2: 3 fields; the first line names 2 columns"),
        ("a.csv", b"a,a\n1,2\n", "a.csv, line 1: two columns have the same name: a, a"),
        ("a.csv", b'a,b\n"1,2\n', "not valid CSV"),
        ("a.csv", b'a,b\n"1" 2,3\n', "a.csv, line 2: not valid CSV"),
        ("a.csv", b"a,b\n1,\xff\n", "not UTF-8"),
        ("a.parquet", b"PAR1", "a.parquet: not a Parquet file"),
        ("a.parquet", not_utf8(), "a.parquet: not a Parquet file, or a damaged one"),
        ("a.parquet.gz", gzip.compress(b"x", mtime=0), "a.parquet.gz: not a Parquet file"),
        ("a.csv.gz", gzip.compress(b"a,b\n" * 99, mtime=0)[:-12], "a.csv.gz: cannot be read"),
        ("a.jsonl.gz", gzip.compress(b"{}", mtime=0)[:3] + b"\xff" * 40, "a.jsonl.gz: cannot be read"),
    ],
)
def test_what_is_wrong_is_said_in_one_line(tmp_path: Path, name: str, content: bytes, words: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UserError) as error:
        list(read_rows(tmp_path / name))
    assert words in str(error.value)
    assert "\n" not in str(error.value)


def test_a_missing_file_and_a_folder_without_rows(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"none\.csv: no such file"):
        list(read_rows(tmp_path / "none.csv"))
    (tmp_path / "notes.txt").write_text("x")
    with pytest.raises(UserError, match="no file of rows in this folder"):
        row_files(tmp_path)
    for name in ("b.csv", "a.jsonl.gz", "c.parquet"):
        (tmp_path / name).touch()
    assert [path.name for path in row_files(tmp_path)] == ["a.jsonl.gz", "b.csv", "c.parquet"]


@pytest.mark.parametrize("ending", ["jsonl", "csv.gz", "parquet"])
def test_a_pipe_is_read_once(tmp_path: Path, ending: str) -> None:
    rows = [{"a": "x"}, {"a": "y"}]
    content = written(tmp_path, ending, rows).read_bytes()
    pipe = tmp_path / f"pipe.{ending}"
    os.mkfifo(pipe)
    writer = threading.Thread(target=pipe.write_bytes, args=(content,))
    writer.start()
    assert list(read_rows(pipe)) == rows
    writer.join()


def test_rows_are_read_one_by_one(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text('{"a": 1}\nbroken\n')
    rows = read_rows(path)
    assert next(rows) == {"a": 1}
    with pytest.raises(UserError, match="line 2"):
        next(rows)
