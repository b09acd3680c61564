"""Test sets in their publishers' formats (sentences of our own), and the tables made of them."""

from __future__ import annotations

import io
import json
import os
import subprocess
import tarfile
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from convert_test_set import main
from grrm.data.test_sets import language_pair, read_flores, read_seedx, read_wmt23, read_wmt24pp
from grrm.files import UserError
from grrm.schemas import read_table, write_table


def lines(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    return path


def convert(*flags: str | Path) -> None:
    main([str(flag) for flag in flags])


def rows_of(path: Path) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = read_table(path, "translation_test").to_pylist()
    return rows


# --- WMT24++ ---


def wmt24pp(**changes: Any) -> dict[str, Any]:
    row = {
        "lp": "en-de_DE",
        "domain": "news",
        "document_id": "paper_12",
        "segment_id": 3,
        "is_bad_source": False,
        "source": "The mill stands still.",
        "target": "Die Mühle steht still.",
        "original_target": "Die Mühle steht.",
    }
    return row | changes


def test_wmt24pp_leaves_out_bad_sources_and_canaries_and_counts_them(tmp_path: Path) -> None:
    rows = [
        wmt24pp(domain="canary", source="canary, do not train on this", is_bad_source=True),
        wmt24pp(),
        wmt24pp(is_bad_source=True, source="Th mil"),
        wmt24pp(lp="en-zh_CN", target="磨坊停着。", domain="speech"),
    ]
    found, dropped = read_wmt24pp(lines(tmp_path / "en.jsonl", rows))
    assert [(row["src_lang"], row["trg_lang"], row["trg_text"]) for row in found] == [
        ("en", "de_DE", "Die Mühle steht still."),
        ("en", "zh_CN", "磨坊停着。"),
    ]
    assert dropped == {"canary": 1, "bad source": 1}


def test_wmt24pp_files_become_one_table(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    german = lines(tmp_path / "en-de_DE.jsonl", [wmt24pp(), wmt24pp(is_bad_source=True)])
    french = lines(tmp_path / "en-fr_FR.jsonl", [wmt24pp(lp="en-fr_FR", target="Le moulin est arrêté.")])
    out = tmp_path / "out.parquet"
    convert("--format", "wmt24pp", "--input", german, french, "--output", out)
    assert [row["trg_lang"] for row in rows_of(out)] == ["de_DE", "fr_FR"]
    assert [row["comment"] for row in rows_of(out)] == [None, None]
    assert "2 segments, 1 left out (bad source)" in capsys.readouterr().out
    with pytest.raises(UserError, match=r"segment 1 is en-fr_FR, expected en-de"):
        convert("--format", "wmt24pp", "--input", german, french, "--pair", "en-de", "--output", out)


@pytest.mark.parametrize(
    ("file", "pair", "languages"),
    [
        ("en-zh_CN", "en-zh", ("en", "zh")),  # as published
        ("en-pt_PT", "en-pt", ("en", "pt")),
        ("en-zh_TW", "en-zh_TW", ("en", "zh_TW")),
        ("en-zh_TW", "en-zh-Hant", ("en", "zh_Hant")),
        ("en-sr_RS", "en-sr-RS", ("en", "sr_RS")),
    ],
)
def test_the_pair_says_how_a_file_is_called(
    tmp_path: Path, file: str, pair: str, languages: tuple[str, str]
) -> None:
    path = lines(tmp_path / f"{file}.jsonl", [wmt24pp(lp=file)])
    out = tmp_path / "out.parquet"
    convert("--format", "wmt24pp", "--input", path, "--pair", pair, "--output", out)
    assert [(row["src_lang"], row["trg_lang"]) for row in rows_of(out)] == [languages]


@pytest.mark.parametrize(
    ("file", "pair"),
    [("en-zh_TW", "en-zh_CN"), ("en-zh_TW", "en-zh"), ("en-pt_BR", "en-pt_PT"), ("en-sr_Latn", "en-sr")],
)
def test_a_file_of_another_variety_is_refused(tmp_path: Path, file: str, pair: str) -> None:
    path = lines(tmp_path / f"{file}.jsonl", [wmt24pp(lp=file)])
    with pytest.raises(UserError, match=f"segment 0 is {file}, expected {pair}"):
        convert("--format", "wmt24pp", "--input", path, "--pair", pair, "--output", tmp_path / "out.parquet")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"is_bad_source": "false"}, r"row 2: key 'is_bad_source' is 'false', expected bool"),
        ({"target": ""}, r"row 2: key 'target' is '', expected a text that is not empty"),
        ({"lp": "en_de"}, r"language pair 'en_de': expected two codes"),
        ({"lp": "en-qq"}, r"unknown language code 'qq'"),
    ],
)
def test_a_bad_row_is_named_and_nothing_is_written(
    tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    path = lines(tmp_path / "en.jsonl", [wmt24pp(), wmt24pp(**changes)])
    with pytest.raises(UserError, match=message):
        convert("--format", "wmt24pp", "--input", path, "--output", tmp_path / "out.parquet")
    assert not (tmp_path / "out.parquet").exists()


# --- Seed-X ---


def test_seedx_keeps_the_comment_and_strips_what_surrounds_a_segment(tmp_path: Path) -> None:
    rows = [
        {
            "src_text": "He spilled the beans. ",
            "参考译文": "\n他说漏了嘴。",
            "考察点": "1. 习语，不可直译\n2. 语气",
            "领域标签": "日常",
            "文本风格": "",
        },
        {"src_text": "Good morning", "参考译文": "早上好", "考察点": "", "领域标签": "", "文本风格": ""},
    ]
    path = lines(tmp_path / "Challenge_set_en2zh.json", rows)
    out = tmp_path / "out.parquet"
    convert("--format", "seedx", "--input", path, "--pair", "en-zh", "--output", out)
    assert rows_of(out) == [
        {
            "src_text": "He spilled the beans.",
            "trg_text": "他说漏了嘴。",
            "src_lang": "en",
            "trg_lang": "zh",
            "comment": "1. 习语，不可直译\n2. 语气",
        },
        {
            "src_text": "Good morning",
            "trg_text": "早上好",
            "src_lang": "en",
            "trg_lang": "zh",
            "comment": None,
        },
    ]


def test_seedx_without_reference_is_refused(tmp_path: Path) -> None:
    path = lines(tmp_path / "Challenge_set_en2zh.json", [{"src_text": "He left."}])
    with pytest.raises(UserError, match="row 1: key '参考译文' is None"):
        read_seedx(path, "en-zh")
    with pytest.raises(UserError, match="--format seedx needs --pair"):
        convert("--format", "seedx", "--input", path, "--output", tmp_path / "out.parquet")


# --- WMT23 ---

XML = """<?xml version='1.0' encoding='utf-8'?>
<dataset id="wmttest2023.zh-en">
  <collection id="general">
    <doc id="news.1" origlang="zh" domain="news">
      <src lang="zh"><p><seg id="1">磨坊  停了。</seg><seg id="2">水很冷。</seg></p></src>
      <ref lang="en" translator="refA"><p><seg id="1">The mill\tstopped.</seg><seg id="2"></seg></p></ref>
      <hyp system="A" lang="en"><p><seg id="1">Mill stop.</seg><seg id="2">Water cold.</seg></p></hyp>
    </doc>
    <doc id="suite.1" origlang="zh" testsuite="suite">
      <src lang="zh"><p><seg id="1">不算。</seg></p></src>
      <ref lang="en" translator="refA"><p><seg id="1">Does not count.</seg></p></ref>
      <hyp system="A" lang="en"><p><seg id="1">No count.</seg></p></hyp>
    </doc>
    <doc id="news.2" origlang="zh" domain="news">
      <src lang="zh"><p><seg id="1">门开着。</seg></p></src>
      <ref lang="en" translator="refA"><p><seg id="1">The door is open.</seg></p></ref>
      <hyp system="A" lang="en"><p><seg id="1">Door open.</seg></p></hyp>
    </doc>
  </collection>
</dataset>
"""
MEMBER = "wmt23-news-systems-v.0.1/xml/wmttest2023.zh-en.all.xml"


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    path = tmp_path / "v.0.1.tar.gz"
    with tarfile.open(path, "w:gz") as tar:
        member = tarfile.TarInfo(MEMBER)
        member.size = len(XML.encode())
        tar.addfile(member, io.BytesIO(XML.encode()))
    return path


def test_wmt23_is_what_sacrebleu_reads(tmp_path: Path, archive: Path) -> None:
    out = tmp_path / "out.parquet"
    command = ["--format", "wmt23", "--input", archive, "--pair", "zh-en", "--output", out]
    convert(*command, "--any-archive")
    # Segments without a reference and test suites are left out, runs of spaces become one.
    assert [(row["src_text"], row["trg_text"]) for row in rows_of(out)] == [
        ("磨坊 停了。", "The mill stopped."),
        ("门开着。", "The door is open."),
    ]
    with pytest.raises(UserError, match="sacrebleu expects 63576405e4ce07130a19ad76ba7eb75b"):
        convert(*command)


def test_wmt23_from_a_cache_of_sacrebleu(tmp_path: Path, archive: Path) -> None:
    raw = tmp_path / "cache/wmt23/raw"
    (raw / MEMBER).parent.mkdir(parents=True)
    (raw / MEMBER).write_text(XML, encoding="utf-8")
    os.link(archive, raw / "wmt23.v.0.1.tar.gz")
    assert len(read_wmt23(tmp_path / "cache", "zh-en")[0]) == 2


def test_wmt23_refuses_what_it_cannot_read(tmp_path: Path, archive: Path) -> None:
    with pytest.raises(UserError, match="WMT23 has no xx-en; it has cs-uk"):
        read_wmt23(archive, "xx-en")
    with pytest.raises(UserError, match=r"cannot read wmt23-news-systems-v\.0\.1/xml/wmttest2023\.de-en"):
        read_wmt23(archive, "de-en", any_archive=True)
    archive.write_bytes(archive.read_bytes()[:100])
    with pytest.raises(UserError, match="download it again"):
        read_wmt23(archive, "zh-en", any_archive=True)


# --- FLORES ---


def test_flores_pairs_plain_lines_and_json_lines_and_parquet(tmp_path: Path) -> None:
    (tmp_path / "eng_Latn.devtest").write_text("One.\nTwo.\n", encoding="utf-8")
    (tmp_path / "zho_Hans.devtest").write_text("一。\n二。\n", encoding="utf-8")
    plain, _ = read_flores(tmp_path / "zho_Hans.devtest", tmp_path / "eng_Latn.devtest", "zh-en")
    assert [(row["src_text"], row["trg_text"]) for row in plain] == [("一。", "One."), ("二。", "Two.")]

    english = lines(tmp_path / "eng_Latn.jsonl", [{"id": 1, "text": "One."}, {"id": 2, "text": "Two."}])
    chinese = tmp_path / "cmn_Hans.parquet"
    pq.write_table(pa.table({"id": [1, 2], "text": ["一。", "二。"]}), chinese)
    assert read_flores(chinese, english, "zh-en") == (plain, {})


def test_flores_files_that_do_not_belong_together_are_refused(tmp_path: Path) -> None:
    one = lines(tmp_path / "a.jsonl", [{"id": 1, "text": "One."}, {"id": 2, "text": "Two."}])
    short = lines(tmp_path / "b.jsonl", [{"id": 1, "text": "一。"}])
    other = lines(tmp_path / "c.jsonl", [{"id": 1, "text": "一。"}, {"id": 3, "text": "三。"}])
    with pytest.raises(UserError, match=r"has 2 sentences and .* has 1"):
        read_flores(one, short, "en-zh")
    with pytest.raises(UserError, match=r"sentence 2: id is 2 in .* and 3 in"):
        read_flores(one, other, "en-zh")


# --- Bad rows ---


@pytest.mark.parametrize(
    ("form", "good", "bad", "reason"),
    [
        ("wmt24pp", wmt24pp(), {"target": " "}, "key 'target': expected a text that is not empty"),
        ("wmt24pp", wmt24pp(), {"is_bad_source": 1}, "key 'is_bad_source': expected bool"),
        ("wmt24pp", wmt24pp(), {"lp": "en-qq"}, "key 'lp': expected a pair of known languages"),
        (
            "seedx",
            {"src_text": "a", "参考译文": "b"},
            {"src_text": ""},
            "key 'src_text': expected a text that",
        ),
        ("seedx", {"src_text": "a", "参考译文": "b"}, {"考察点": 3}, "key '考察点': expected a text"),
    ],
)
def test_bad_rows_are_dropped_if_that_is_wanted_and_counted(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
    form: str,
    good: dict[str, Any],
    bad: dict[str, Any],
    reason: str,
) -> None:
    out = tmp_path / "out.parquet"
    command: list[str | Path] = ["--format", form, "--output", out, "--bad-rows", "drop", "--input"]
    pair = ["--pair", "en-de"] if form == "seedx" else []
    convert(*command, lines(tmp_path / "in.jsonl", [good, good | bad, good]), *pair)
    assert len(rows_of(out)) == 2
    assert f"2 segments, 1 left out ({reason}" in capsys.readouterr().out
    assert "in.jsonl, row 2: " in caplog.text
    with pytest.raises(UserError, match=r"row 1: .*; 2 rows are bad, and no good row is left"):
        convert(*command, lines(tmp_path / "in.jsonl", [good | bad] * 2), *pair)


def test_bad_sentences_of_flores_are_dropped_in_pairs(tmp_path: Path) -> None:
    english = lines(tmp_path / "a.jsonl", [{"text": text} for text in ("One.", "", "Three.", "Four.")])
    (tmp_path / "b").write_text("一。\n二。\n\n四。\n", encoding="utf-8")
    with pytest.raises(UserError, match=r"a\.jsonl, row 2: key 'text' is '', expected a text"):
        read_flores(english, tmp_path / "b", "en-zh")
    rows, dropped = read_flores(english, tmp_path / "b", "en-zh", "drop")
    assert [(row["src_text"], row["trg_text"]) for row in rows] == [("One.", "一。"), ("Four.", "四。")]
    assert dropped.total() == 2


def test_bad_segments_of_wmt23_are_dropped(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    done = subprocess.CompletedProcess([], 0, stdout="磨坊停了。\tThe mill\rstopped.\n水很冷。\t \n".encode())
    monkeypatch.setattr("grrm.data.test_sets.subprocess.run", lambda *_, **__: done)
    with pytest.raises(UserError, match=r"wmt23 zh-en, row 2: segment is .*, expected source and reference"):
        read_wmt23(tmp_path, "zh-en")
    rows, dropped = read_wmt23(tmp_path, "zh-en", bad_rows="drop")
    assert [row["trg_text"] for row in rows] == ["The mill\rstopped."]
    assert dropped == {"segment: expected source and reference": 1}


# --- Human rankings ---


def test_ranking_groups_are_checked_and_keep_their_further_columns(tmp_path: Path) -> None:
    group = {
        "src_text": "门开着。",
        "src_lang": "zh",
        "trg_lang": "en",
        "mt_texts": ["The door is open.", "Door open."],
        "scores": [0.0, -5.5],
        "system": ["A", "B"],
    }
    path, out = tmp_path / "in.parquet", tmp_path / "out.parquet"
    pq.write_table(pa.Table.from_pylist([group, group | {"scores": [1.0, 2.0]}]), path)
    convert("--format", "ranking", "--input", path, "--output", out)
    assert read_table(out, "ranking_test").to_pylist()[0] == group

    pq.write_table(pa.Table.from_pylist([group, group | {"scores": [1.0]}]), path)
    with pytest.raises(UserError, match=r"row 1 .*expected as many scores as there are mt_texts"):
        convert("--format", "ranking", "--input", path, "--output", tmp_path / "none.parquet")
    assert not (tmp_path / "none.parquet").exists()
    convert("--format", "ranking", "--input", path, "--output", out, "--bad-rows", "drop")
    assert read_table(out, "ranking_test").num_rows == 1


def test_language_pairs() -> None:
    assert language_pair("en-zh_CN") == ("en", "zh_CN")
    assert language_pair("zho_Hans-eng_Latn") == ("zh_Hans", "en")
    assert language_pair("en-pt-BR") == ("en", "pt_BR")  # not English of Portugal and Breton
    assert language_pair("pt-BR-de") == ("pt_BR", "de")  # not Breton of Germany
    assert language_pair("zh-Hant-en") == ("zh_Hant", "en")
    with pytest.raises(UserError, match=r"language pair 'pt-br-de': expected .* such as en-pt_BR"):
        language_pair("pt-br-de")


# --- tables ---


def test_a_table_of_ones_own_keeps_its_columns(tmp_path: Path) -> None:
    row = {"src_text": "one", "trg_text": "eins", "src_lang": "en", "trg_lang": "de", "style": "plain"}
    write_table(tmp_path / "mine.parquet", [row], "translation_test")
    convert(
        "--format", "translation", "--input", tmp_path / "mine.parquet", "--output", tmp_path / "o.parquet"
    )
    assert rows_of(tmp_path / "o.parquet") == [{**row, "comment": None}]
    write_table(tmp_path / "bad.parquet", [row, {**row, "trg_text": "x"}], "translation_test")
    with pytest.raises(UserError, match="expected one input, found 2"):
        convert(
            *("--format", "translation", "--output", tmp_path / "o.parquet"),
            *("--input", tmp_path / "mine.parquet", tmp_path / "bad.parquet"),
        )
