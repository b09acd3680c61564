"""What is read and written: every fault is one line that says where."""

from __future__ import annotations

import decimal
import errno
import gzip
import json
import math
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from grrm import lock
from grrm.data.rows import read_rows
from grrm.data.test_sets import read_flores
from grrm.files import (
    UserError,
    atomic_path,
    read_json,
    read_jsonl,
    read_lines,
    read_text,
    temporary_sibling,
    write_json,
    write_jsonl,
    write_text,
)
from grrm.inference.journal import Journal
from grrm.json_text import parse_json
from grrm.schemas import read_table, write_table

SCRIPTS = Path(__file__).parents[2] / "scripts"
HALF = "\\ud83d"


# --- text ---


@pytest.mark.parametrize(
    ("content", "lines"),
    [
        (b"", []),
        (b"a", ["a"]),
        (b"a\n", ["a"]),
        (b"\n\na\n\n", ["", "", "a", ""]),
        (b"\xef\xbb\xbfa\r\nb\rc\r\n", ["a", "b\rc"]),
        ("a\u2028b\x0bc\x85d\n".encode(), ["a\u2028b\x0bc\x85d"]),
    ],
)
def test_lines_end_where_they_end(tmp_path: Path, content: bytes, lines: list[str]) -> None:
    (tmp_path / "in").write_bytes(content)
    (tmp_path / "in.gz").write_bytes(gzip.compress(content))
    assert list(read_lines(tmp_path / "in")) == list(read_lines(tmp_path / "in.gz")) == lines
    assert read_text(tmp_path / "in") == content.decode("utf-8-sig")


def test_what_is_not_text_is_named_with_its_line(tmp_path: Path) -> None:
    (tmp_path / "in").write_bytes("gut\nschön\n".encode("latin-1"))
    with pytest.raises(UserError, match=r"in, line 2: not UTF-8 text"):
        list(read_lines(tmp_path / "in"))
    (tmp_path / "cut.gz").write_bytes(gzip.compress(b"a\n" * 1000)[:20])
    with pytest.raises(UserError, match=r"cut\.gz: cannot be read"):
        list(read_lines(tmp_path / "cut.gz"))


def test_sentences_stay_beside_their_references(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"\xef\xbb\xbfOne\rand a half.\nTwo.\r\n")
    (tmp_path / "b").write_bytes("一。\n二\r点。\n".encode())
    rows, _ = read_flores(tmp_path / "a", tmp_path / "b", "en-zh")
    assert [(row["src_text"], row["trg_text"]) for row in rows] == [
        ("One\rand a half.", "一。"),
        ("Two.", "二\r点。"),
    ]


# --- JSON ---


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[" * 100_000, "too deep"),
        ('{"a":' * 100_000, "too deep"),
        ("9" * 5000, "thousands of digits"),
        ("[-" + "9" * 20 + "]", "67 bits; expected 64"),
        (f'{{"a": "x{HALF}"}}', "half of a character"),
        (f'{{"{HALF}": 1}}', "half of a character"),
        ('{"a": NaN}', "NaN is no number"),
        ("[1, [-Infinity]]", "-Infinity is no number"),
        ("Infinity", "Infinity is no number"),
        ('{"a": [1e999]}', "more than 308 digits"),
        ("-12.5E+0400", "more than 308 digits"),
        ("9" * 400 + ".5", "more than 308 digits"),
        ("1" + "0" * 200 + "e200", "more than 308 digits"),
        ('{"a": 1, "a": 2}', "the key 'a' stands twice"),
        ('[{"b": {"\\u0061": 1, "a": 2}}]', "the key 'a' stands twice"),
        ("{", "Expecting property name"),
        ("", "Expecting value"),
    ],
)
def test_json_that_is_refused(tmp_path: Path, text: str, words: str) -> None:
    with pytest.raises(ValueError, match=words) as caught:
        parse_json(text)
    assert len(str(caught.value).splitlines()) == 1
    (tmp_path / "in.json").write_text(text, encoding="utf-8")
    with pytest.raises(UserError, match=r"in\.json: not valid JSON"):
        read_json(tmp_path / "in.json")
    if text:
        (tmp_path / "rows.jsonl").write_text('{"a": 1}\n' + text, encoding="utf-8")
        with pytest.raises(UserError, match=r"rows\.jsonl, line 2: not valid JSON"):
            list(read_rows(tmp_path / "rows.jsonl"))


@pytest.mark.parametrize(
    "text",
    [
        '"\\ud83d\\ude00"',
        "9223372036854775807",
        '{"a": {"b": 1}, "b": [1e3]}',
        "1.5e308",
        "1e-999",
        '"NaN, Infinity and 1e999"',
        "0." + "9" * 400,
        "1e+0030",
    ],
)
def test_json_that_is_read_as_python_reads_it(text: str) -> None:
    assert parse_json(text) == json.loads(text)


def test_a_figure_without_a_value_in_a_log_is_a_gap_and_is_written_as_one(tmp_path: Path) -> None:
    (tmp_path / "log.jsonl").write_text('{"loss": NaN, "norm": [1.5, -Infinity]}\n', encoding="utf-8")
    assert read_jsonl(tmp_path / "log.jsonl", gaps=True) == [{"loss": None, "norm": [1.5, None]}]
    write_jsonl(tmp_path / "out.jsonl", [{"é": (math.nan, 1), "b": {"c": math.inf}}])
    assert (tmp_path / "out.jsonl").read_text(encoding="utf-8") == '{"é": [null, 1], "b": {"c": null}}\n'
    write_json(tmp_path / "out.json", [math.nan])
    assert read_json(tmp_path / "out.json") == [None]


# --- Arrow ---

TEXTS = [pa.array(["a"], kind) for kind in (pa.string(), pa.large_string(), pa.string_view())]
TEXTS.append(pa.array(["a"]).dictionary_encode())
LISTS = [
    pa.array([["p", "q"]], kind(inner))
    for kind in (pa.list_, pa.large_list)
    for inner in (pa.string(), pa.string_view())
]
LISTS.append(pa.ListArray.from_arrays([0, 2], pa.array(["p", "q"]).dictionary_encode()))
LISTS.append(pa.array([["p", "q"]], pa.list_(pa.string(), 2)))
NUMBERS = [pa.array([[1.5, -2.0]], pa.list_(kind)) for kind in (pa.float16(), pa.float32(), pa.float64())]
NUMBERS.append(pa.array([[decimal.Decimal("1.5"), decimal.Decimal(-2)]], pa.list_(pa.decimal128(5, 2))))


@pytest.mark.parametrize("texts", TEXTS, ids=lambda array: str(array.type))
@pytest.mark.parametrize("lists", LISTS, ids=lambda array: str(array.type))
@pytest.mark.parametrize("numbers", NUMBERS, ids=lambda array: str(array.type))
def test_arrow_types_are_read_as_they_come(tmp_path: Path, texts: Any, lists: Any, numbers: Any) -> None:
    languages = pa.array(["en"], pa.string_view())
    columns = {"src_text": texts, "src_lang": languages, "trg_lang": languages, "mt_texts": lists}
    pq.write_table(pa.table({**columns, "scores": numbers, "note": lists}), tmp_path / "in.parquet")
    row = {"src_text": "a", "src_lang": "en", "trg_lang": "en", "mt_texts": ["p", "q"]}
    row |= {"scores": [1.5, -2.0], "note": ["p", "q"]}
    assert read_table(tmp_path / "in.parquet", "ranking_test").to_pylist() == [row]
    assert list(read_rows(tmp_path / "in.parquet")) == [row]


def test_two_columns_of_one_name_are_refused(tmp_path: Path) -> None:
    pq.write_table(pa.table([["a"], ["b"]], names=["src_text", "src_text"]), tmp_path / "rows.parquet")
    with pytest.raises(UserError, match=r"rows\.parquet: two columns have the same name: src_text, src_text"):
        list(read_rows(tmp_path / "rows.parquet"))


@pytest.mark.parametrize("column", ["src_text", "trg_text"])
def test_nul_is_a_fault_of_the_row(tmp_path: Path, column: str) -> None:
    good = {"src_text": "a", "trg_text": "b", "src_lang": "en", "trg_lang": "ko"}
    table = pa.Table.from_pylist([good, {**good, column: "c\0d"}])
    pq.write_table(table, tmp_path / "in.parquet")
    with pytest.raises(
        UserError, match=rf"row 1 .*column {column} is 'c\\x00d'; expected a text without the char"
    ):
        read_table(tmp_path / "in.parquet", "translation_test")
    assert read_table(tmp_path / "in.parquet", "translation_test", "drop").num_rows == 1
    with pytest.raises(UserError, match="without the character NUL"):
        write_table(tmp_path / "out.parquet", table, "translation_test")


# --- errors of the operating system ---


def run(code: str, **environment: str) -> subprocess.CompletedProcess[str]:
    program = f"import sys; sys.path.insert(0, {str(SCRIPTS)!r})\nfrom grrm.process import run_main\n{code}"
    return subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, **environment},
    )


def test_errors_about_a_file_are_one_line_with_its_path(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x", encoding="utf-8")
    for path in (tmp_path / "file/out", tmp_path / ("x" * 300), Path("/proc/none/out")):
        done = run(f"from grrm.files import write_text\nrun_main(lambda: write_text({str(path)!r}, 'x'))")
        assert done.returncode == 2
        (line,) = done.stderr.splitlines()
        assert line.startswith("error: /") and not line.endswith(": None")
        assert ".tmp" not in line


def test_a_last_line_that_is_cut_off_within_a_character_is_passed_over(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_bytes('{"a": "你"}\n\n{"a": "你'.encode()[:-1])
    assert read_jsonl(path, cut=True) == [{"a": "你"}]
    with pytest.raises(UserError, match=r"rows\.jsonl, line 3: not UTF-8"):
        read_jsonl(path)


def test_a_full_disk_names_the_file(tmp_path: Path) -> None:
    def full() -> None:
        with atomic_path(tmp_path / "out"):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with pytest.raises(OSError) as caught:
        full()
    assert caught.value.filename == str(tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


def test_long_names_are_written(tmp_path: Path) -> None:
    write_text(tmp_path / ("ü" * 120), "x")
    assert [path.name for path in tmp_path.iterdir()] == ["ü" * 120]


def test_a_fault_of_the_program_is_no_answer_that_cannot_be_used() -> None:
    done = run("def main(): raise KeyError('x')\nrun_main(main)")
    assert done.returncode == 70
    assert "Traceback" in done.stderr
    assert run("def main(): raise KeyboardInterrupt\nrun_main(main)").returncode == 130


def test_what_is_printed_is_utf_8_whatever_the_locale() -> None:
    done = run("run_main(lambda: print('好\\ud83d'))", PYTHONIOENCODING="ascii", LC_ALL="C")
    assert (done.returncode, done.stdout) == (0, "好\\ud83d\n")


# --- what killed programs leave ---


def test_the_next_run_removes_what_a_killed_one_left_and_nothing_else(tmp_path: Path) -> None:
    final = tmp_path / "out.parquet"
    killed = run(
        "import os, signal\nfrom pathlib import Path\nfrom grrm.files import atomic_path\n"
        f"with atomic_path({str(final)!r}) as partial:\n"
        "    partial.write_text('x')\n    os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    assert killed.returncode == -9
    (left,) = tmp_path.iterdir()
    mine = temporary_sibling(final)
    machine = left.name.removeprefix(".out.parquet.").partition("-")[0]
    elsewhere = left.with_name(left.name.replace(machine, "0" * 8))
    others = tmp_path / ".out.parquet.notes.tmp"
    for path in (mine, elsewhere, others):
        path.write_text("x", encoding="utf-8")
    write_text(final, "whole")
    assert not left.exists()
    assert {path.name for path in tmp_path.iterdir()} == {
        *(final.name, mine.name, elsewhere.name, others.name)
    }


# --- locks ---


@pytest.mark.parametrize(
    "content", [b"", b'{"token": "x", "ho', b"[1]", b"{}", b"\xff", b"12345\n", b"[" * 100_000]
)
def test_a_file_that_is_no_lock_is_one_line(
    tmp_path: Path, content: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lock.time, "sleep", lambda _: None)
    (tmp_path / "work.lock").write_bytes(content)
    refused = pytest.raises(UserError, match=r"work\.lock: .* is no lock of this project.*remove the file")
    with refused, lock.held(tmp_path / "work"):
        pass


@pytest.mark.parametrize("number", [errno.EPERM, errno.ENOTSUP, errno.ENOSYS])
def test_a_lock_without_hard_links(tmp_path: Path, number: int, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "link", refuse)
    with lock.held(tmp_path / "work"):
        assert lock.read_holder(tmp_path / "work.lock") is not None
        with pytest.raises(UserError, match="is at work here"), lock.held(tmp_path / "work", patience=0):
            pass
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("number", [errno.ENOSYS, errno.ENOLCK, errno.ENOTSUP])
def test_a_journal_without_flock(tmp_path: Path, number: int, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr("fcntl.flock", refuse)
    output = tmp_path / "out.jsonl"
    with Journal(output, {}, 1, 1) as journal:
        with pytest.raises(UserError, match=r"out\.jsonl\.partial\.lock: .* is at work here"):
            Journal(output, {}, 1, 1)
        journal.add(0, 0, {"failure": None})
        journal.publish()
    assert [path.name for path in tmp_path.iterdir()] == ["out.jsonl"]


def test_an_output_that_is_a_folder_is_said_before_anything_is_asked(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="a folder; expected the name of a file"):
        Journal(tmp_path, {}, 1, 1)
