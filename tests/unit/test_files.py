"""Files: an output is there whole or not at all."""

import hashlib
import os
from pathlib import Path

import pytest

from grrm.files import (
    UserError,
    as_text,
    atomic_path,
    errors_in_logs,
    is_text,
    read_json,
    read_jsonl,
    sha256,
    write_json,
    write_jsonl,
    write_text,
)


class InterruptedRunError(Exception):
    pass


def test_a_file_appears_when_the_block_is_done(tmp_path):
    final = tmp_path / "new" / "folder" / "out.txt"
    with atomic_path(final) as partial:
        partial.write_text("x", encoding="utf-8")
        assert partial.parent == final.parent  # the same file system: a rename is atomic
        assert not final.exists()
    assert final.read_text(encoding="utf-8") == "x"
    assert [path.name for path in final.parent.iterdir()] == ["out.txt"]


def test_a_folder_appears_when_the_block_is_done(tmp_path):
    final = tmp_path / "model"
    with atomic_path(final) as partial:
        partial.mkdir()
        (partial / "weights").write_text("x", encoding="utf-8")
        assert not final.exists()
    assert [path.name for path in tmp_path.iterdir()] == ["model"]
    assert (final / "weights").read_text(encoding="utf-8") == "x"


def test_a_failure_leaves_the_old_file_and_nothing_else(tmp_path):
    final = tmp_path / "out.txt"
    write_text(final, "old")
    with pytest.raises(InterruptedRunError), atomic_path(final) as partial:
        partial.write_text("half", encoding="utf-8")
        raise InterruptedRunError
    assert final.read_text(encoding="utf-8") == "old"
    assert list(tmp_path.iterdir()) == [final]


def test_a_failure_leaves_the_old_folder_and_nothing_else(tmp_path):
    final = tmp_path / "model"
    final.mkdir()
    (final / "old").touch()
    with pytest.raises(InterruptedRunError), atomic_path(final) as partial:
        partial.mkdir()
        (partial / "half").touch()
        raise InterruptedRunError
    assert [path.name for path in final.iterdir()] == ["old"]
    assert list(tmp_path.iterdir()) == [final]


def test_a_new_folder_replaces_an_old_one(tmp_path):
    final = tmp_path / "model"
    final.mkdir()
    (final / "old").touch()
    with atomic_path(final) as partial:
        partial.mkdir()
        (partial / "new").touch()
    assert [path.name for path in final.iterdir()] == ["new"]
    assert list(tmp_path.iterdir()) == [final]


def test_a_link_to_a_folder_elsewhere_is_replaced_and_that_folder_left_alone(tmp_path):
    elsewhere, final = tmp_path / "scratch", tmp_path / "model"
    elsewhere.mkdir()
    (elsewhere / "old").touch()
    final.symlink_to(elsewhere)
    with atomic_path(final) as partial:
        partial.mkdir()
        (partial / "new").touch()
    assert [path.name for path in final.iterdir()] == ["new"]
    assert [path.name for path in elsewhere.iterdir()] == ["old"]
    assert sorted(tmp_path.iterdir()) == [final, elsewhere]


def test_a_block_that_writes_nothing_is_an_error(tmp_path):
    with pytest.raises(FileNotFoundError), atomic_path(tmp_path / "out.txt"):
        pass
    assert list(tmp_path.iterdir()) == []


VALUES = ["你好", "a\u2028b\x85c", {"a": [1, None, True]}, 1.5, ""]


def test_json_reads_back(tmp_path):
    write_json(tmp_path / "out.json", VALUES)
    assert read_json(tmp_path / "out.json") == VALUES
    assert "你好" in (tmp_path / "out.json").read_text(encoding="utf-8")


def test_jsonl_reads_back_whatever_line_separators_strings_hold(tmp_path):
    write_jsonl(tmp_path / "out.jsonl", VALUES)
    assert read_jsonl(tmp_path / "out.jsonl") == VALUES


def test_a_row_that_is_not_json_leaves_no_file(tmp_path):
    with pytest.raises(TypeError):
        write_jsonl(tmp_path / "out.jsonl", [{"a": 1}, {"b": Path()}])
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("read", [read_json, read_jsonl])
def test_a_missing_file_is_named(tmp_path, read):
    with pytest.raises(UserError, match=r"none: no such file"):
        read(tmp_path / "none")


@pytest.mark.parametrize("read", [read_json, read_jsonl])
def test_bytes_that_are_not_text(tmp_path, read):
    (tmp_path / "out").write_bytes(b"\xff")
    with pytest.raises(UserError, match="out, line 1: not UTF-8"):
        read(tmp_path / "out")


def test_a_damaged_line_is_named(tmp_path):
    (tmp_path / "out.jsonl").write_text('{"a": 1}\n\n{"a": \n', encoding="utf-8")
    with pytest.raises(UserError, match=r"out\.jsonl, line 3: not valid JSON"):
        read_jsonl(tmp_path / "out.jsonl")


def test_damaged_json_is_named(tmp_path):
    (tmp_path / "out.json").write_text('{"a": ', encoding="utf-8")
    with pytest.raises(UserError, match=r"out\.json: not valid JSON"):
        read_json(tmp_path / "out.json")


def test_half_a_character_is_no_text():
    assert is_text("ü\u2028\U0001f600")
    assert not is_text("so \ud83d")
    assert as_text("so \ud83d, \U0001f600 and \ude00") == "so \ufffd, \U0001f600 and \ufffd"


def test_sha256(tmp_path):
    (tmp_path / "out").write_bytes(b"abc")
    assert sha256(tmp_path / "out") == hashlib.sha256(b"abc").hexdigest()


def test_the_errors_of_this_run_are_found_in_its_logs(tmp_path):
    (tmp_path / "new.log").write_text("step 1\nerror: row 3 is empty\n")
    (tmp_path / "fine.log").write_text("done, 0 errors\n")
    (tmp_path / "old.log").write_text("error: long ago\n")
    os.utime(tmp_path / "old.log", (1, 1))
    assert errors_in_logs([tmp_path, tmp_path / "missing"], since=2) == [
        f"{tmp_path / 'new.log'}: error: row 3 is empty"
    ]
