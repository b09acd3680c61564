"""`grrm rank` and `grrm translate` as they are typed. A server stands for the model."""

from __future__ import annotations

import gzip
import io
import json
import sys
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

sys.path.insert(0, str(Path(__file__).parents[1]))

from grrm import cli
from grrm.files import UserError, read_jsonl
from grrm.inference.tables import read_rows
from judge_server import Act, Call, JudgeServer
from serving import serving

ANSWER = "q is best\n\n### Final Ranking:\n\nB > A\n\n### Scores:\n\nB: 9, A: 5\n"
LANGUAGES = ["--from", "en", "--to", "zh"]


def model(call: Call) -> Act:
    """Ranks two candidates, and translates what has no x in it by shouting."""
    if "Candidates" in call.prompt:
        return Act(ANSWER)
    source = call.prompt.split("```")[1].strip()
    return Act("no block" if "x" in source else f"```\n{source.upper()}\n```")


@pytest.fixture
def server():
    with serving(model) as server:
        yield server


@pytest.fixture
def grrm(server: JudgeServer, capsys: pytest.CaptureFixture[str]):
    """Run the command against the server: exit status, standard output, standard error."""

    def run(*arguments: Any) -> tuple[int, str, str]:
        status = 0
        try:
            cli.main([*map(str, arguments), "--model", "served", "--base-url", server.url])
        except SystemExit as error:
            status = int(error.code or 0)
        except UserError as error:
            print(f"error: {error}", file=sys.stderr)
            status = 2
        return status, *capsys.readouterr()

    return run


@pytest.fixture
def stdin(monkeypatch: pytest.MonkeyPatch):
    def give(text: str) -> None:
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(text.encode())))

    return give


# ---------------------------------------------------------------- one source


def test_a_score_per_candidate_on_standard_output(grrm):
    status, out, err = grrm("rank", "--source", "s", "--candidate", "p", "--candidate", "q", *LANGUAGES)
    assert (status, out, err) == (0, "5\tp\n9\tq\n", "")


def test_a_translation_on_standard_output(grrm):
    assert grrm("translate", "--source", "abc", *LANGUAGES) == (0, "ABC\n", "")


def test_whole_answers_where_they_are_asked_for(grrm):
    status, out, _ = grrm("translate", "--source", "abc", *LANGUAGES, "--output-format", "jsonl", "--seed", 3)
    row = json.loads(out)
    assert status == 0
    assert {
        key: row[key] for key in ("index", "run", "seed", "src_text", "translation", "raw", "failure")
    } == {
        "index": 0,
        "run": 0,
        "seed": 3,
        "src_text": "abc",
        "translation": "ABC",
        "raw": "```\nABC\n```",
        "failure": None,
    }


def test_what_failed_is_an_empty_line_a_word_on_standard_error_and_status_1(grrm):
    status, out, err = grrm("translate", "--source", "a", "--source", "x", "--source", "b", *LANGUAGES)
    assert (status, out) == (1, "A\n\nB\n")
    assert "2 of 3 answers are usable; failed: 1 no_translation" in err


# ---------------------------------------------------------------- tables

TSV = "src_text\tid\tmt_texts.1\tmt_texts.2\tmt_texts.3\ns\t7\tp\tq\t\n"
JSONL = '{"src_text": "s", "mt_texts": ["p", "q"]}\n'


@pytest.mark.parametrize(
    ("text", "options"), [(TSV, ["--input-format", "tsv"]), (JSONL, []), ("\ufeff" + JSONL + "\n\n", [])]
)
def test_groups_from_standard_input(grrm, stdin, text, options):
    stdin(text)
    status, out, _ = grrm("rank", "--input", "-", *options, *LANGUAGES)
    assert (status, json.loads(out)["scores"]) == (0, [5, 9])


def test_groups_in_csv_may_differ_in_size(tmp_path):
    path = tmp_path / "in.csv.gz"
    text = 'src_text,mt_texts.1,mt_texts.2,mt_texts.3\n"a, b",p,"q\nr",\ns,p,q,r\n'
    path.write_bytes(gzip.compress(text.encode()))
    rows = read_rows(str(path), candidates=2, src_lang="en", trg_lang="zh")
    assert [row["mt_texts"] for row in rows] == [["p", "q\nr"], ["p", "q", "r"]]


def test_lines_from_standard_input_become_lines_on_standard_output(grrm, stdin):
    stdin("eins\n\nzwei\r\ndrei")
    options = ["--input-format", "text", "--output-format", "text", "--runs", 2]
    status, out, err = grrm("translate", "--input", "-", *options, *LANGUAGES)
    assert (status, out) == (0, "EINS\n\nZWEI\nDREI\n" * 2)
    assert "8 of 8 answers, 0 failed" in err


@pytest.mark.parametrize("ending", ["jsonl", "tsv", "csv", "parquet", "txt"])
def test_files_are_read_by_their_ending(tmp_path, ending):
    path = tmp_path / f"in.{ending}"
    row = {"src_text": "s", "src_lang": "en", "trg_lang": "zh_CN"}
    if ending == "parquet":
        pq.write_table(pa.Table.from_pylist([{**row, "more": 1}]), path)
    elif ending == "jsonl":
        path.write_text(json.dumps({**row, "more": 1}))
    else:
        table = "src_text\tsrc_lang\ttrg_lang\tmore\ns\ten\tzh_CN\t1\n"
        table = table.replace("\t", ",") if ending == "csv" else table
        path.write_text("s\n" if ending == "txt" else table)
    assert read_rows(str(path), src_lang="en", trg_lang="zh_CN") == [row]


def test_a_finished_file_is_left_alone_and_another_input_is_an_error(grrm, server, tmp_path):
    source, output = tmp_path / "in.txt", tmp_path / "out.jsonl"
    source.write_text("a\nb\n")
    command = ["translate", "--input", source, "--output", output, *LANGUAGES]
    assert grrm(*command)[:2] == (0, "")
    assert [row["translation"] for row in read_jsonl(output)] == ["A", "B"]
    asked = len(server.calls)
    status, _, err = grrm(*command)
    assert (status, len(server.calls)) == (0, asked)
    assert "2 of 2 answers are there already" in err
    source.write_text("a\nc\n")
    status, _, err = grrm(*command)
    assert (status, len(server.calls)) == (2, asked)
    assert "made with other settings or from another input" in err
    assert grrm(*command, "--overwrite")[0] == 0
    assert [row["translation"] for row in read_jsonl(output)] == ["A", "C"]


def test_a_server_that_fails_leaves_a_file_that_the_same_command_completes(capsys, tmp_path):
    down = True

    def failing(call: Call) -> Act:
        return Act(status=503) if down and "bad" in call.prompt else model(call)

    source, output = tmp_path / "in.txt", tmp_path / "out.jsonl"
    source.write_text("good\nbad\n")
    with serving(failing) as server:
        command = ["translate", "--model", "m", "--base-url", server.url, "--call-retries", "0", *LANGUAGES]
        command += ["--input", str(source), "--output", str(output)]
        with pytest.raises(UserError, match=r"1 of 2 .* not answered \(1 server; of the last: HTTP 503"):
            cli.main(command)
        assert not output.exists()
        down = False
        asked = len(server.calls)
        cli.main(command)
        assert len(server.calls) == asked + 1
    assert [row["translation"] for row in read_jsonl(output)] == ["GOOD", "BAD"]
    assert "1 of 2 answers are there already" in capsys.readouterr().err


# ---------------------------------------------------------------- mistakes


@pytest.mark.parametrize(
    ("command", "message"),
    [
        (["rank"], "Give --source, or --input"),
        (["rank", "--source", "s", "--input", "f"], "Give --source, or --input"),
        (["rank", "--source", "s", "--candidate", "p", *LANGUAGES], "1 candidates; expected 2 to 26"),
        (
            ["rank", "--source", "s", "--candidate", "p", "--candidate", " ", *LANGUAGES],
            "' '; expected a text",
        ),
        (["rank", "--source", "s", "--source", "t", *LANGUAGES], "--source is given more than once"),
        (["rank", "--input", "f", "--candidate", "p"], "--candidate goes with --source"),
        (["translate", "--source", "s", "--to", "zh"], "no src_lang; add the column, or give --from"),
        (["translate", "--source", "s", "--from", "en", "--to", "qq"], "unknown language code 'qq'"),
        (["translate", "--source", "s", *LANGUAGES, "--prompt", "none"], "not one of codeblock-think, plain"),
        (["translate", "--source", "s", *LANGUAGES, "--runs", "0"], "--runs 0"),
        (["translate", "--source", "s", *LANGUAGES, "--retries", "-1"], "retries: count is -1"),
        (["translate", "--input", "none.jsonl"], "none.jsonl: no such file"),
        (["translate", "--input", "none.jsnl"], "none.jsnl: no such file"),
        (["translate", "--input", "f.txt", "--output", "f.txt"], "the same file"),
        (["translate", "--input", "f.txt", "--output", "o", "--output-format", "text"], "standard output"),
    ],
)
def test_a_mistake_is_named_before_anything_is_asked(grrm, server, command, message):
    status, out, err = grrm(*command)
    assert (status, out) == (2, "")
    assert message in err
    assert not server.calls


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.jsonl", '{"src_text": "s", "mt_texts": ["p", "q"]}\n{', "a.jsonl, line 2: not valid JSON"),
        ("a.jsonl", "[]\n", "no rows"),
        ("a.jsonl", "[1]\n", "row 0 (the first is 0): '1'; expected a JSON object"),
        ("a.jsonl", '{"source": "s"}\n', "line 1: src_text is missing; found source"),
        ("a.jsonl", '{"src_text": ""}\n', "line 1: src_text is ''; expected a text"),
        ("a.jsonl", '{"src_text": 5}\n', "line 1: src_text is 5; expected a text"),
        ("a.jsonl", '{"src_text": "s \\ud83d"}\n', "line 1: not valid JSON ('s \\ud83d' has half of a char"),
        ("a.jsonl", '{"src_text": "s"}\n', "line 1: mt_texts is None; expected 2 to 26 texts"),
        ("a.jsonl", '{"src_text": "s", "mt_texts": ["p", null]}\n', "mt_texts: 1 is None; expected a text"),
        ("a.tsv", "src_text\tmt_texts.1\ns\tp\tq\n", "line 2: 3 fields; the first line names 2 columns"),
        ("a.tsv", "src_text\tmt_texts.1\ns\tp\n", "line 2: 1 candidates; expected 2 to 26"),
        ("a.txt", "s\n", "lines of text have no candidates"),
        ("a.jsonl", "\n \n", "no rows"),
        ("a.parquet", "PAR1", "not a Parquet file"),
        ("a.jsonl", b"\xff\xfe", "not UTF-8"),
    ],
)
def test_a_bad_row_is_named(tmp_path, name, content, message):
    path = tmp_path / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(UserError) as caught:
        read_rows(str(path), candidates=2, src_lang="en", trg_lang="zh")
    assert message in str(caught.value)


def test_without_torch_the_error_says_where_to_find_it(tmp_path, monkeypatch):
    monkeypatch.setenv("GRRM_PYTHON", str(tmp_path / "python"))
    with pytest.raises(UserError, match=r"'transformers' needs torch.*GRRM_PYTHON.*--base-url"):
        cli.main(["translate", "--model", str(tmp_path), "--source", "s", *LANGUAGES])
