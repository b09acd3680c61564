"""A user's own files: what is read from them, and sixty broken ones, each of which is told in one line."""

from __future__ import annotations

import gzip
import json
import logging
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

import read_files
from configurations import ROOT, experiment
from grrm.config import STAGES, OwnFiles, own_files
from grrm.data.layouts import TABLE_LAYOUTS
from grrm.files import UserError
from grrm.schemas import read_table

GERMAN = ["--from", "de", "--to", "hsb"]
PAIR = ["--pair", "de-hsb"]
HEAD = "src_text\ttrg_text\n"
GOOD = f"{HEAD}Guten Tag\tDobry dźeń\n"
GROUP = {"src_text": "Tag", "src_lang": "de", "trg_lang": "hsb", "mt_texts": ["a", "b"], "scores": [8, 2]}
PAIR_ROW = {"src_text": "Tag", "trg_text": "dźeń", "src_lang": "de", "trg_lang": "hsb"}


def read(folder: Path, table: str, *arguments: str, files: dict[str, bytes]) -> list[dict[str, Any]]:
    """What the script makes of files, called as the workflow calls it, in their folder."""
    for name, content in files.items():
        (folder / name).write_bytes(content)
    output = folder / "out.parquet"
    read_files.main(["--table", table, *arguments, "--output", str(output)])
    return list(read_table(output, table).to_pylist())


@pytest.fixture(autouse=True)
def _there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def parquet(*rows: dict[str, Any]) -> bytes:
    written = BytesIO()
    pq.write_table(pa.Table.from_pylist(list(rows)), written)
    return written.getvalue()


def jsonl(*rows: Any) -> bytes:
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows).encode()


# ---------------------------------------------------------------- what is read

FORMS: dict[str, tuple[str, bytes]] = {
    "tsv": ("p.tsv", b"src_text\ttrg_text\nTag\td\xc5\xba\nJa\tHaj\n"),
    "csv": ("p.csv", b'src_text,trg_text\r\n"Tag","d\xc5\xba"\r\nJa,Haj\r\n'),
    "jsonl": ("p.jsonl", jsonl({"src_text": "Tag", "trg_text": "dź"}, {"src_text": "Ja", "trg_text": "Haj"})),
    "a JSON list": (
        "p.json",
        b'[{"src_text": "Tag", "trg_text": "d\\u017a"}, {"src_text": "Ja", "trg_text": "Haj"}]',
    ),
    "parquet": (
        "p.parquet",
        parquet({"src_text": "Tag", "trg_text": "dź"}, {"src_text": "Ja", "trg_text": "Haj"}),
    ),
}


@pytest.mark.parametrize("packed", [False, True], ids=["plain", "gz"])
@pytest.mark.parametrize("form", FORMS)
def test_every_format_says_the_same(tmp_path: Path, form: str, packed: bool) -> None:
    name, content = FORMS[form]
    name, content = (f"{name}.gz", gzip.compress(content)) if packed else (name, content)
    rows = read(tmp_path, "mt_grpo", "--input", name, *GERMAN, files={name: content})
    assert rows == [PAIR_ROW | {"trg_text": "dź"}, PAIR_ROW | {"src_text": "Ja", "trg_text": "Haj"}]


@pytest.mark.parametrize("packed", [False, True], ids=["plain", "gz"])
def test_plain_parallel_text_line_by_line(tmp_path: Path, packed: bool) -> None:
    pack: Callable[[bytes], bytes] = gzip.compress if packed else bytes
    files = {"t.de": pack(b"\xef\xbb\xbfTag\r\n\r\nJa\r\n"), "t.hsb": pack("dź\n\nHaj".encode())}
    rows = read(tmp_path, "mt_grpo", "--plain", "--input", "t.de", "--target", "t.hsb", *GERMAN, files=files)
    assert [(row["src_text"], row["trg_text"]) for row in rows] == [("Tag", "dź"), ("Ja", "Haj")]


def test_several_files_make_one_table_in_their_order(tmp_path: Path) -> None:
    files = {"b.tsv": f"{HEAD}B\tb\n".encode(), "a.tsv": f"{HEAD}A\ta\n".encode()}
    rows = read(tmp_path, "mt_grpo", "--input", "b.tsv", "a.tsv", *GERMAN, files=files)
    assert [row["src_text"] for row in rows] == ["B", "A"]


def test_columns_are_renamed_and_languages_stand_in_rows(tmp_path: Path) -> None:
    content = b"quelle\tziel\tvon\tnach\tsrc_text\nTag\tdia\tDE\tca-valencia\tsomething else\n"
    columns = {"src_text": "quelle", "trg_text": "ziel", "src_lang": "von", "trg_lang": "nach"}
    given = ["--input", "x.tsv", "--columns", json.dumps(columns)]
    (row,) = read(tmp_path, "mt_grpo", *given, files={"x.tsv": content})
    assert row == {"src_text": "Tag", "trg_text": "dia", "src_lang": "de", "trg_lang": "ca_valencia"}


def test_what_stands_within_a_column_is_a_column_too(tmp_path: Path) -> None:
    columns = {"src_text": "translation.de", "trg_text": "translation.hsb"}
    row = {"id": 1, "translation": {"de": "Tag", "hsb": "dźeń"}}
    for name, content in (("x.jsonl", jsonl(row)), ("x.parquet", parquet(row))):
        given = ["--input", name, "--columns", json.dumps(columns), *GERMAN]
        assert read(tmp_path, "mt_grpo", *given, files={name: content}) == [PAIR_ROW]
    given = ["--input", "x.jsonl", "--columns", json.dumps(columns), "--from", "de", "--to", "pl"]
    with pytest.raises(UserError, match=r"no column 'translation\.hsb' for trg_text; found 'translation'"):
        read(tmp_path, "mt_grpo", *given, files={"x.jsonl": jsonl({"translation": {"de": "Tag", "pl": "a"}})})


def test_a_list_of_objects_is_a_list_of_what_each_has(tmp_path: Path) -> None:
    columns = {"mt_texts": "systems.text", "scores": "systems.score"}
    systems = [{"text": "a", "score": 8}, {"text": "b", "score": 2}]
    row = {"src_text": "Tag", "systems": systems}
    for name, content in (("x.jsonl", jsonl(row)), ("x.parquet", parquet(row))):
        given = ["--input", name, "--columns", json.dumps(columns), *GERMAN]
        assert read(tmp_path, "grrm_rlvr", *given, files={name: content}) == [GROUP]
    given = ["--input", "x.jsonl", "--columns", json.dumps(columns), *GERMAN]
    with pytest.raises(
        UserError, match=r"no column 'systems\.score' for scores; found 'src_text', 'systems'"
    ):
        rows = jsonl({"src_text": "Tag", "systems": [systems[0], {"text": "b"}]})
        read(tmp_path, "grrm_rlvr", *given, files={"x.jsonl": rows})


@pytest.mark.parametrize("score", ["0.8234567880630493", "-1e-05", "+7", ".5", "1234567.25"])
def test_scores_in_text_are_numbers_as_programs_write_them(tmp_path: Path, score: str) -> None:
    content = f"src_text,a,b,s1,s2\nTag,x,y,{score},0\n".encode()
    columns = {"mt_texts": ["a", "b"], "scores": ["s1", "s2"]}
    given = ["--input", "x.csv", "--columns", json.dumps(columns), *GERMAN]
    (row,) = read(tmp_path, "ranking_test", *given, files={"x.csv": content})
    assert row["scores"] == [float(score), 0.0]


def test_a_column_for_each_candidate_makes_groups_of_any_size(tmp_path: Path) -> None:
    content = b"src_text,m1,m2,m3,s1,s2,s3,analysis\nTag,a,b,,9,3,,A is right.\nJa,a,b,c,1,2,10,C is right.\n"
    columns = {"mt_texts": ["m1", "m2", "m3"], "scores": ["s1", "s2", "s3"]}
    given = ["--input", "x.csv", "--columns", json.dumps(columns), *GERMAN]
    rows = read(tmp_path, "grrm_sft", *given, files={"x.csv": content})
    assert [(row["mt_texts"], row["scores"]) for row in rows] == [
        (["a", "b"], [9, 3]),
        (["a", "b", "c"], [1, 2, 10]),
    ]


def test_lists_in_a_cell_are_json(tmp_path: Path) -> None:
    content = b'src_text\tmt_texts\tscores\nTag\t["a", "[b]"]\t[9, "3"]\n'
    (row,) = read(tmp_path, "grrm_rlvr", "--input", "x.tsv", *GERMAN, files={"x.tsv": content})
    assert (row["mt_texts"], row["scores"]) == (["a", "[b]"], [9, 3])


def test_groups_of_rlvr_need_no_analysis(tmp_path: Path) -> None:
    (row,) = read(tmp_path, "grrm_rlvr", "--input", "x.jsonl", files={"x.jsonl": jsonl(GROUP)})
    assert row == GROUP


def test_test_groups_have_scores_on_any_scale(tmp_path: Path) -> None:
    group = GROUP | {"scores": [-1.5, -20.25]}
    (row,) = read(tmp_path, "ranking_test", "--input", "x.jsonl", files={"x.jsonl": jsonl(group)})
    assert row["scores"] == [-1.5, -20.25]


def test_pairs_serve_sft_without_an_analysis_and_reasoned_rows_serve_grpo(tmp_path: Path) -> None:
    (row,) = read(tmp_path, "mt_sft", "--input", "x.tsv", *GERMAN, files={"x.tsv": GOOD.encode()})
    assert row["response"] == "```\nDobry dźeń\n```"
    reasoned = {
        "src_text": "Tag",
        "response": "Short.\n\n```\ndźeń\n```",
        "src_lang": "de",
        "trg_lang": "hsb",
    }
    (row,) = read(tmp_path, "mt_grpo", "--input", "x.jsonl", files={"x.jsonl": jsonl(reasoned)})
    assert row == PAIR_ROW


def test_a_test_set_has_one_reference_several_or_none(tmp_path: Path) -> None:
    files = {"s": b"Tag\nJa\n", "r1": b"dzen\nhaj\n", "r2": b"dobry\njo\n"}
    plain = ["--plain", "--input", "s", *PAIR]
    one = read(tmp_path, "translation_test", *plain, "--target", "r1", files=files)
    assert [row["trg_text"] for row in one] == ["dzen", "haj"]
    assert "references" not in one[0]
    two = read(tmp_path, "translation_test", *plain, "--target", "r1", "r2", files=files)
    assert [(row["trg_text"], row["references"]) for row in two] == [
        ("dzen", ["dzen", "dobry"]),
        ("haj", ["haj", "jo"]),
    ]
    none = read(tmp_path, "translation_test", *plain, files=files)
    assert [row["trg_text"] for row in none] == [None, None]


def test_bad_rows_are_dropped_and_counted_where_that_is_wanted(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    content = f"{GOOD}\tleer\nJa\t\nNein\tNě\n".encode()
    with caplog.at_level(logging.WARNING):
        rows = read(
            tmp_path, "mt_grpo", "--input", "x.tsv", *GERMAN, "--bad-rows", "drop", files={"x.tsv": content}
        )
    assert [row["src_text"] for row in rows] == ["Guten Tag", "Nein"]
    assert "dropped 2 bad rows of 4; the first: x.tsv, line 3: src_text is None" in caplog.text


def test_further_columns_are_kept_where_they_are_wanted(tmp_path: Path) -> None:
    content = jsonl(PAIR_ROW | {"style": "formal", "n": 3}, PAIR_ROW | {"style": None, "n": 4})
    given = ["--input", "x.jsonl"]
    rows = read(tmp_path, "mt_grpo", *given, "--further", files={"x.jsonl": content})
    assert [(row["style"], row["n"]) for row in rows] == [("formal", 3), (None, 4)]
    assert read(tmp_path, "mt_grpo", *given, files={"x.jsonl": content}) == [PAIR_ROW, PAIR_ROW]


def test_an_object_that_is_empty_in_every_row_is_nothing(tmp_path: Path) -> None:
    content = jsonl(PAIR_ROW | {"meta": {}, "style": "formal"}, PAIR_ROW | {"meta": {}, "style": None})
    rows = read(tmp_path, "mt_grpo", "--input", "x.jsonl", "--further", files={"x.jsonl": content})
    assert [(row["meta"], row["style"]) for row in rows] == [(None, "formal"), (None, None)]


# ---------------------------------------------------------------- sixty broken files


@dataclass(frozen=True)
class Broken:
    """A broken file: what is wrong with it, and what its error says: where, what, and what was expected."""

    what: str
    files: dict[str, bytes]
    says: tuple[str, ...]
    table: str = "mt_grpo"
    more: list[str] = field(default_factory=lambda: GERMAN)

    @property
    def arguments(self) -> list[str]:
        return self.more if "--input" in self.more else ["--input", *self.files, *self.more]


def one(what: str, name: str, content: bytes | str, *says: str, **more: Any) -> Broken:
    raw = content.encode() if isinstance(content, str) else content
    return Broken(what, {name: raw}, says, **more)


def plain(what: str, source: bytes | str, target: bytes | str, *says: str) -> Broken:
    files = {"t.de": source, "t.hsb": target}
    raw = {name: text.encode() if isinstance(text, str) else text for name, text in files.items()}
    more = ["--plain", "--input", "t.de", "--target", "t.hsb", *GERMAN]
    return Broken(what, raw, says, more=more)


def groups(what: str, row: dict[str, Any], *says: str, table: str = "grrm_rlvr") -> Broken:
    good = GROUP | {"analysis": "A is right."}
    rows = jsonl(good, {key: value for key, value in (good | row).items() if value is not ...})
    return Broken(what, {"g.jsonl": rows}, ("g.jsonl, line 2: ", *says), table, [])


TEXT = "expected a text that is not empty"
UTF8 = ("not UTF-8 text", "save the file as UTF-8")
LINES = "expected as many, line by line"
NUMBER = "expected a number"
BROKEN = [
    # encodings
    one(
        "Excel's cp1252",
        "x.tsv",
        f"{HEAD}Tag\tDobry\nGrüße\tStrowy\n".encode("cp1252"),
        "x.tsv, line 3: ",
        "0xfc",
        *UTF8,
    ),
    one(
        "cp1252 in a CSV far down",
        "x.csv",
        b"src_text,trg_text\n" + b"a,b\n" * 5000 + b"\xe4,b\n",
        "x.csv, line 5002: ",
        "0xe4",
        *UTF8,
    ),
    one("UTF-16, Excel's Unicode text", "x.tsv", GOOD.encode("utf-16"), "x.tsv, line 1: ", "0xff", *UTF8),
    one("UTF-16 in a CSV", "x.csv", "src_text,trg_text\na,b\n".encode("utf-16"), "x.csv, line 1: ", *UTF8),
    one("Shift JIS", "x.jsonl", '{"src_text": "日本"}'.encode("shift-jis"), "x.jsonl, line 1: ", *UTF8),
    one("half a character", "x.tsv", GOOD.encode() + "ź".encode()[:1] + b"\tb\n", "x.tsv, line 3: ", *UTF8),
    one(
        "a lone surrogate",
        "x.jsonl",
        b'{"src_text": "\\ud800", "trg_text": "a"}\n',
        "x.jsonl, line 1: ",
        "half of a character",
    ),
    one(
        "a mark of the byte order in the middle",
        "x.jsonl",
        jsonl(PAIR_ROW) + b"\xef\xbb\xbf" + jsonl(PAIR_ROW),
        "x.jsonl, line 2: ",
        "not valid JSON",
    ),
    plain("cp1250 in plain text", "Tag\nJa\n", "dźeń\nně\n".encode("cp1250"), "t.hsb, line 1: ", *UTF8),
    # compression
    one(
        "a torn gzip", "x.tsv.gz", gzip.compress(GOOD.encode() * 99)[:-9], "x.tsv.gz: cannot be read", "ended"
    ),
    one(
        "a gzip with a wrong checksum",
        "x.tsv.gz",
        gzip.compress(GOOD.encode())[:-8] + b"12345678",
        "x.tsv.gz: cannot be read",
        "CRC",
    ),
    one(
        "a gzip that is garbage inside",
        "x.tsv.gz",
        b"\x1f\x8b\x08\x00" + b"\xff" * 40,
        "x.tsv.gz: cannot be read",
    ),
    one("text that is called gz", "x.parquet.gz", b"no parquet", "x.parquet.gz: not a Parquet file"),
    one("a torn Parquet file", "x.parquet", parquet(PAIR_ROW)[:-20], "x.parquet: not a Parquet file"),
    one("text that is called Parquet", "x.parquet", GOOD, "x.parquet: not a Parquet file"),
    plain("a torn gzip of plain text", gzip.compress(b"Tag\n" * 99)[:-9], "d\n" * 99, "t.de: cannot be read"),
    # columns
    one(
        "no such column",
        "x.tsv",
        "source\ttrg_text\na\tb\n",
        "x.tsv, line 2: the columns are 'source', 'trg_text'; ",
        "src_text and trg_text (sentence pairs)",
    ),
    one(
        "no line of columns",
        "x.tsv",
        "Guten Tag\tDobry\nJa\tHaj\n",
        "x.tsv, line 2: ",
        "'Guten Tag'",
        "expected src_text",
    ),
    one("a column named twice", "x.tsv", "src_text\tsrc_text\na\tb\n", "x.tsv, line 1: ", "the same name"),
    one(
        "semicolons for commas", "x.csv", "src_text;trg_text\na;b\n", "x.csv, line 2: ", "'src_text;trg_text'"
    ),
    one("commas in a TSV", "x.tsv", "src_text,trg_text\na,b\n", "x.tsv, line 2: ", "'src_text,trg_text'"),
    one("another letter case", "x.tsv", "Src_Text\tTrg_Text\na\tb\n", "x.tsv, line 2: ", "'Src_Text'"),
    one("a field too many", "x.tsv", f"{GOOD}a\tb\tc\n", "x.tsv, line 3: 3 fields", "2 columns"),
    one("a field too few", "x.tsv", f"{GOOD}Ja\n", "x.tsv, line 3: 1 fields", "2 columns"),
    one("a ragged CSV", "x.csv", "src_text,trg_text\na,b\nMy, oh my,b\n", "x.csv, line 3: 3 fields"),
    one("a quote that never ends", "x.csv", 'src_text,trg_text\na,b\n"a,b\n', "x.csv, line 3: not valid CSV"),
    one("a quote in the middle", "x.csv", 'src_text,trg_text\n"a"b,c\n', "x.csv, line 2: not valid CSV"),
    one(
        "a renamed column that is not there",
        "x.tsv",
        GOOD,
        "x.tsv, line 2: ",
        "no column 'quelle' for src_text",
        "found 'src_text', 'trg_text'",
        more=["--columns", '{"src_text": "quelle"}', *GERMAN],
    ),
    one(
        "a test set without sources",
        "x.tsv",
        "trg_text\na\n",
        "x.tsv, line 2: ",
        "expected src_text",
        table="translation_test",
        more=["--input", "x.tsv", *PAIR],
    ),
    # line ends and other characters
    one("lines of an old Mac", "x.tsv", GOOD.replace("\n", "\r"), "x.tsv, line 1: ", r"\r", "lines that end"),
    plain("plain text of an old Mac", "Tag\rJa\r", "d\rh\r", "t.de, line 1: 'Tag\\rJa'", "carriage returns"),
    one("NUL in a text", "x.tsv", f"{GOOD}a\0b\tc\n", "x.tsv, line 3: src_text is 'a\\x00b'", "NUL"),
    one("NUL in a CSV", "x.csv", "src_text,trg_text\na,b\0\n", "x.csv, line 2: trg_text", "NUL"),
    plain("NUL in plain text", "a\n\0\n", "b\nc\n", "t.de, line 2: src_text", "NUL"),
    # lengths
    plain(
        "more sources than targets", "a\nb\nc\n", "a\nb\n", "t.de has 3 lines and t.hsb has 2 lines", LINES
    ),
    plain("more targets than sources", "a\n", "a\nb\n", "t.de has 1 lines and t.hsb has 2 lines", LINES),
    plain("a line that is empty at the end", "a\nb\n\n", "a\nb\n", "t.de has 3 lines", LINES),
    Broken(
        "more files of sources than of targets",
        {"a.de": b"a\n", "b.de": b"b\n", "a.hsb": b"a\n"},
        ("2 files of sources and 1 of targets", "a.de, b.de, a.hsb"),
        more=["--plain", "--input", "a.de", "b.de", "--target", "a.hsb", *GERMAN],
    ),
    Broken(
        "references of another length",
        {"s": b"a\nb\n", "r1": b"a\nb\n", "r2": b"a\n"},
        ("r1 has 2 lines and r2 has 1 lines", LINES),
        "translation_test",
        ["--plain", "--input", "s", "--target", "r1", "r2", *PAIR],
    ),
    # empty
    one("an empty file", "x.tsv", b"", "x.tsv: no rows"),
    one("a file of another program", "x.xlsx", b"PK\x03\x04", "x.xlsx: cannot tell its format", "tsv, csv"),
    one("an empty JSON list", "x.json", "[]", "x.json: no rows"),
    one("nothing but columns", "x.csv", "src_text,trg_text\n", "x.csv: no rows"),
    one("an empty gzip", "x.jsonl.gz", gzip.compress(b""), "x.jsonl.gz: no rows"),
    plain("empty plain text", "", "", "t.de: no rows"),
    one("an empty source", "x.tsv", f"{GOOD}\tb\n", "x.tsv, line 3: src_text is None", TEXT, "1 of 2 rows"),
    one(
        "a source of spaces",
        "x.jsonl",
        jsonl(PAIR_ROW, PAIR_ROW | {"src_text": " \t"}),
        "x.jsonl, line 2: src_text is ' \\t'",
        TEXT,
        more=[],
    ),
    one("an empty translation", "x.tsv", f"{GOOD}a\t\n", "x.tsv, line 3: trg_text is None", TEXT),
    plain("a translation is missing", "a\nb\nc\n", "a\n\nc\n", "t.hsb, line 2: trg_text is None", TEXT),
    one(
        "a reference that is missing in one row",
        "x.tsv",
        f"{HEAD}a\tb\nc\t\n",
        "x.tsv, line 3: ",
        "trg_text is None; expected a value, as in the first row",
        table="translation_test",
        more=["--input", "x.tsv", *PAIR],
    ),
    # languages
    one("no languages", "x.tsv", GOOD, "x.tsv, line 2: src_lang is None", "from", more=[]),
    one(
        "a language nobody knows",
        "x.jsonl",
        jsonl(PAIR_ROW | {"trg_lang": "qzz"}),
        "x.jsonl, line 1: trg_lang",
        "'qzz'",
        more=[],
    ),
    one(
        "the name of a language",
        "x.jsonl",
        jsonl(PAIR_ROW | {"src_lang": "German"}),
        "x.jsonl, line 1: src_lang",
        "'German'",
        more=[],
    ),
    one(
        "another language than the file's",
        "x.jsonl",
        jsonl(PAIR_ROW, PAIR_ROW | {"trg_lang": "pl"}),
        "x.jsonl, line 2: trg_lang is 'pl'; expected hsb",
    ),
    # JSON
    one("torn JSON", "x.jsonl", jsonl(PAIR_ROW) + b'{"src_text": "a', "x.jsonl, line 2: not valid JSON"),
    one(
        "a list in a line",
        "x.jsonl",
        b'{"src_text": "a", "trg_text": "b"}\n5\n',
        "x.jsonl, line 2: '5'",
        "expected a JSON object",
    ),
    one(
        "a number for a text",
        "x.jsonl",
        jsonl(PAIR_ROW | {"src_text": 5}),
        "x.jsonl, line 1: src_text is 5",
        TEXT,
        more=[],
    ),
    one(
        "a key twice", "x.jsonl", b'{"src_text": "a", "src_text": "b"}\n', "x.jsonl, line 1: ", "stands twice"
    ),
    # groups and reasoning
    groups("one candidate", {"mt_texts": ["a"], "scores": [1]}, "mt_texts has 1; expected 2 to 26"),
    groups("too many candidates", {"mt_texts": ["a"] * 27, "scores": [1] * 27}, "mt_texts has 27"),
    groups("a score too few", {"scores": [1]}, "scores has 1; expected 2"),
    groups("a score above ten", {"scores": [11, 2]}, "scores[0] is 11; expected an integer from 0 to 10"),
    groups("half a point", {"scores": [7.5, 2]}, "scores[0] is 7.5; expected an integer"),
    groups("a score too large for a number", {"scores": ["1e999", 2]}, "scores[0] is '1e999'", NUMBER),
    groups("a decimal comma", {"scores": ["7,5", 2]}, "scores[0] is '7,5'", NUMBER),
    groups("a score in words", {"scores": ["good", "bad"]}, "scores[0] is 'good'", NUMBER),
    groups(
        "a score that is no number",
        {"scores": [float("nan"), 2]},
        "not valid JSON (NaN is no number",
        table="ranking_test",
    ),
    groups("an empty candidate", {"mt_texts": ["a", ""]}, "mt_texts[1] is ''", TEXT),
    groups("candidates in one text", {"mt_texts": "a | b"}, "mt_texts is 'a | b'; expected a list"),
    groups("no scores", {"scores": ...}, "expected src_text, mt_texts and scores"),
    groups("no analysis for the SFT", {"analysis": ...}, "analysis is None", table="grrm_sft"),
    one(
        "a response without a code block",
        "x.jsonl",
        jsonl({"src_text": "a", "response": "b"}),
        "x.jsonl, line 1: response is 'b'",
        "one code block",
        table="mt_sft",
    ),
]


def test_they_are_sixty_and_more() -> None:
    assert len({broken.what for broken in BROKEN}) == len(BROKEN) >= 60


@pytest.mark.parametrize("broken", BROKEN, ids=lambda broken: broken.what)
def test_a_broken_file_is_one_line_that_says_where_and_what(tmp_path: Path, broken: Broken) -> None:
    with pytest.raises(UserError) as error:
        read(tmp_path, broken.table, "--key", "data.files.x", *broken.arguments, files=broken.files)
    said = str(error.value)
    assert re.fullmatch(r"data\.files\.x: [^\n\r]+", said), said
    assert [words for words in broken.says if words not in said] == [], said
    assert not (tmp_path / "out.parquet").exists()


# ---------------------------------------------------------------- what is written about it


def test_the_documented_layouts_are_those_that_are_read() -> None:
    lines = (ROOT / "docs/own_data.md").read_text(encoding="utf-8").splitlines()
    start = lines.index("| layout | columns | and | read for |") + 2
    for layout, line in zip(TABLE_LAYOUTS, lines[start:], strict=False):
        columns = ", ".join(" or ".join(f"`{name}`" for name in names) for names in layout.columns)
        uses = ("ranking", "cot", "pairs", "ranking_test", "translation_test")
        read = ", ".join(f"`{use}`" for use in uses if use in layout.read)
        assert line == f"| {layout.name} | {columns} | {layout.more} | {read} |"
    assert lines[start + len(TABLE_LAYOUTS)] == ""


def test_the_example_is_of_the_written_sample_in_six_languages(tmp_path: Path) -> None:
    config = experiment("smoke", "example_files")
    read_tables = {
        **{name: (name, given) for name, given in own_files(config, ROOT).items()},
        "ranking_test": ("ranking_test", given_in(config, "graded")),
        "translation_test": ("translation_test", given_in(config, "mine")),
    }
    sample = [
        item["source"]
        for name in ("rankings", "translations")
        for item in yaml.safe_load((ROOT / f"config/sample/{name}.yaml").read_text(encoding="utf-8"))
    ]
    rows = {name: read_given(tmp_path, table, given) for name, (table, given) in read_tables.items()}
    used = {row["src_text"] for table in rows.values() for row in table}
    assert used == {*sample}
    languages = {row["src_lang"] for table in rows.values() for row in table}
    assert languages == {"de", "en", "ja", "ko", "ru", "zh"}
    tested = {row["src_text"] for name in ("ranking_test", "translation_test") for row in rows[name]}
    assert tested.isdisjoint(row["src_text"] for name in STAGES for row in rows[name])


def given_in(config: dict[str, Any], name: str) -> OwnFiles:
    item = config["data"]["test_sets"][name]
    return OwnFiles("", (item["file"],), columns=item["columns"])


def read_given(folder: Path, table: str, given: OwnFiles) -> list[dict[str, Any]]:
    options = [str(ROOT / word) if word in given.every else word for word in given.options]
    return read(folder, table, *options, files={})
