"""What counts as trained on and tested on, and that the fast search finds exactly that."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from check_leakage import main
from grrm.data import leakage
from grrm.data.leakage import Index, Match, Segment, Settings, check, normalise, tokens
from grrm.files import UserError

RIVER = "The river rose quietly during the night and by morning the lower fields were under water."
KEY = "She kept the smallest key of all in a tin box that nobody was ever allowed to open."
ZH_RIVER = "夜里河水悄悄上涨，到了早晨，低处的田地已经全部被水淹没了。"
ZH_TEA = "他泡了一壶浓茶，坐在窗边等着那封迟迟没有寄到的信。"


def table(path: Path, rows: list[dict[str, Any]]) -> str:
    pq.write_table(pa.Table.from_pylist(rows), path)
    return str(path)


def pair(
    source: str, target: str, source_language: str = "en", target_language: str = "zh"
) -> dict[str, Any]:
    return {
        "src_text": source,
        "trg_text": target,
        "src_lang": source_language,
        "trg_lang": target_language,
    }


def overlap(tmp_path: Path, train: dict[str, Any], test: dict[str, Any], **more: Any) -> dict[str, Any]:
    paths = table(tmp_path / "train.parquet", [train]), table(tmp_path / "test.parquet", [test])
    found: dict[str, Any] = check({"mt_grpo": paths[0]}, {"wmt": paths[1]}, Settings(**more))["overlaps"][0]
    return found


def test_a_copy_is_found_whatever_its_case_punctuation_width_and_spaces(tmp_path: Path) -> None:
    copy = pair(f"  {RIVER.upper().replace(' ', '  ')}!", ZH_RIVER.replace("，", " , "))
    found = overlap(tmp_path, copy, pair(RIVER, ZH_RIVER))
    assert (found["exact_source"], found["exact_target"], found["leaked"]) == (1, 1, 1)


def test_every_reference_of_a_test_set_is_looked_for(tmp_path: Path) -> None:
    tested = pair(RIVER, ZH_RIVER) | {"references": [ZH_RIVER, ZH_TEA]}
    found = overlap(tmp_path, pair(KEY, ZH_TEA), tested)
    assert (found["exact_source"], found["exact_target"], found["leaked"]) == (0, 1, 1)
    assert overlap(tmp_path, pair(KEY, "无关的一句话"), tested)["leaked"] == 0


def test_a_text_with_a_changed_word_is_a_near_copy_and_another_text_is_none(tmp_path: Path) -> None:
    changed = pair(RIVER.replace("quietly", "slowly"), ZH_RIVER.replace("悄悄", "慢慢"))
    found = overlap(tmp_path, changed, pair(RIVER, ZH_RIVER))
    assert (found["near_source"], found["near_target"], found["exact_source"], found["leaked"]) == (
        1,
        1,
        0,
        1,
    )
    assert overlap(tmp_path, pair(KEY, ZH_TEA), pair(RIVER, ZH_RIVER))["leaked"] == 0
    assert overlap(tmp_path, changed, pair(RIVER, ZH_RIVER), overlap=1.0)["leaked"] == 0


def test_a_test_text_inside_a_longer_training_text_is_found(tmp_path: Path) -> None:
    found = overlap(tmp_path, pair(f"{KEY} {RIVER} {KEY}", "无关的一句话"), pair(RIVER, ZH_RIVER))
    assert (found["near_source"], found["share"]) == (1, 1.0)


def test_short_texts_are_compared_exactly_only(tmp_path: Path) -> None:
    assert (
        overlap(tmp_path, pair("Thank you very much", "谢谢"), pair("thank you", "谢谢。"))["exact_target"]
        == 1
    )
    assert (
        overlap(tmp_path, pair(RIVER, ZH_RIVER), pair("rose quietly during the night", "上涨"))["leaked"] == 0
    )


def test_texts_are_compared_within_a_language_whatever_their_side(tmp_path: Path) -> None:
    reverse = pair(ZH_RIVER, RIVER, "zh_CN", "eng_Latn")
    assert overlap(tmp_path, reverse, pair(RIVER, ZH_RIVER))["exact_source"] == 1
    elsewhere = pair(RIVER, RIVER, "de", "nl")
    assert overlap(tmp_path, elsewhere, pair(RIVER, ZH_RIVER))["leaked"] == 0


def test_candidates_and_reasoned_responses_count_too(tmp_path: Path) -> None:
    group = {"src_text": KEY, "src_lang": "en", "trg_lang": "zh", "mt_texts": [ZH_TEA, ZH_RIVER]}
    response = {
        "src_text": KEY,
        "src_lang": "en",
        "trg_lang": "zh",
        "response": f"我先想一想。\n```\n{ZH_RIVER}\n```",
    }
    assert overlap(tmp_path, group, pair(RIVER, ZH_RIVER))["exact_target"] == 1
    assert overlap(tmp_path, response, pair(RIVER, ZH_RIVER))["near_target"] == 1
    # The candidates of a ranking test are tested texts as well.
    assert overlap(tmp_path, pair(RIVER, ZH_TEA), group)["exact_target"] == 1


def test_every_stage_is_compared_with_every_set_and_all_stages_together(tmp_path: Path) -> None:
    train = {
        "grrm_sft": table(tmp_path / "a.parquet", [pair(KEY, ZH_TEA), pair(RIVER, "无关的一句话")]),
        "mt_grpo": table(tmp_path / "b.parquet", [pair("Nothing of the kind", ZH_RIVER)]),
    }
    test = {
        "wmt": table(tmp_path / "c.parquet", [pair(RIVER, "另一句"), pair("Another one", ZH_RIVER)]),
        "seedx": table(tmp_path / "d.parquet", [pair("A third", "第三句")]),
    }
    found = check(train, test)
    assert {(o["train"], o["test"]): o["leaked"] for o in found["overlaps"]} == {
        ("grrm_sft", "wmt"): 1,
        ("grrm_sft", "seedx"): 0,
        ("mt_grpo", "wmt"): 1,
        ("mt_grpo", "seedx"): 0,
    }
    assert found["tests"] == [
        {"test": "wmt", "rows": 2, "leaked": 2, "share": 1.0},
        {"test": "seedx", "rows": 1, "leaked": 0, "share": 0.0},
    ]
    first = found["examples"][0]
    assert (first["train"], first["train_row"], first["test"], first["test_row"]) == ("grrm_sft", 1, "wmt", 0)
    assert (first["train_text"], first["side"], first["exact"]) == (RIVER, "source", True)


# The search against its definition, over small alphabets so that much is shared by chance.

WORDS = st.lists(st.sampled_from("abcd"), min_size=0, max_size=14).map(" ".join)
HAN = st.text("河水夜早", max_size=16)
TEXTS = st.one_of(st.tuples(st.just("en"), WORDS), st.tuples(st.just("zh"), HAN))


def by_definition(
    segments: list[Segment], train: list[tuple[int, str, str]], s: Settings
) -> dict[int, Match]:
    def grams(text: str, language: str) -> set[tuple[str, ...]]:
        words, n = tokens(normalise(text), language), s.size(language)
        return {tuple(words[i : i + n]) for i in range(len(words) - n + 1)}

    best: dict[int, Match] = {}
    for i, segment in enumerate(segments):
        words = tokens(normalise(segment.text), segment.language)
        wanted = (
            grams(segment.text, segment.language) if len(words) >= 2 * s.size(segment.language) else set()
        )
        for row, language, text in train:
            if language != segment.language:
                continue
            exact = list(words) == list(tokens(normalise(text), language)) and len(words) > 0
            share = 1.0 if exact else len(wanted & grams(text, language)) / max(len(wanted), 1)
            match = Match(share, exact, row, text)
            if (exact or (wanted and share >= s.overlap)) and (
                i not in best or (exact, share, -row) > (best[i].exact, best[i].overlap, -best[i].row)
            ):
                best[i] = match
    return best


@given(
    test=st.lists(TEXTS, min_size=1, max_size=8),
    train=st.lists(TEXTS, max_size=12),
    size=st.integers(1, 4),
    overlap=st.sampled_from([0.3, 0.6, 1.0]),
    batch=st.integers(1, 5),
)
@settings(max_examples=200)
def test_the_search_finds_what_the_definition_says(
    test: list[tuple[str, str]], train: list[tuple[str, str]], size: int, overlap: float, batch: int
) -> None:
    chosen = Settings(size, size, overlap)
    segments = [Segment("set", i, "source", language, text) for i, (language, text) in enumerate(test)]
    rows = [(i, language, text) for i, (language, text) in enumerate(train)]
    batches = [rows[i : i + batch] for i in range(0, len(rows), batch)]
    assert Index(segments, chosen).search(batches) == by_definition(segments, rows, chosen)


@given(test=st.lists(TEXTS, min_size=1, max_size=6), train=st.lists(TEXTS, min_size=1, max_size=8))
@settings(max_examples=50)
def test_splitting_a_batch_with_too_many_pairs_changes_nothing(
    test: list[tuple[str, str]], train: list[tuple[str, str]]
) -> None:
    segments = [Segment("set", i, "source", language, text) for i, (language, text) in enumerate(test)]
    rows = [(i, language, text) for i, (language, text) in enumerate(train)]
    index = Index(segments, Settings(1, 1, 0.3))
    whole = index.search([rows])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(leakage, "_MAX_PAIRS", 1)
        assert index.search([rows]) == whole


@given(train=st.lists(TEXTS, min_size=1, max_size=8), more=st.lists(TEXTS, max_size=4))
@settings(max_examples=50)
def test_more_training_data_never_leaks_less(
    train: list[tuple[str, str]], more: list[tuple[str, str]]
) -> None:
    segments = [Segment("set", i, "source", language, text) for i, (language, text) in enumerate(train[:3])]
    index = Index(segments, Settings(2, 2, 0.5))
    rows = [(i, language, text) for i, (language, text) in enumerate(train + more)]
    assert set(index.search([rows[: len(train)]])) <= set(index.search([rows]))
    # Whatever has text in it is found in itself.
    assert set(index.search([rows])) >= {i for i, s in enumerate(segments) if normalise(s.text)}


def run(tmp_path: Path, *limits: str) -> None:
    train = table(tmp_path / "train.parquet", [pair(RIVER, ZH_RIVER)])
    test = table(tmp_path / "test.parquet", [pair(RIVER, ZH_TEA), pair(KEY, ZH_TEA)])
    main(
        [
            *("--train", f"mt_grpo={train}", "--test", f"wmt={test}", "--max-share", *limits),
            *("--output", str(tmp_path / "leakage.json"), "--table", str(tmp_path / "leakage.tsv")),
        ]
    )


def test_above_the_limit_the_script_fails_and_names_set_share_and_texts(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(UserError, match=r"wmt: 1 of 2 rows \(50\.00%, at most 10\.00%\)"):
        run(tmp_path, "default=0.1")
    assert f"source, exact: wmt row 0: '{RIVER}'; mt_grpo row 0: '{RIVER}'" in capsys.readouterr().out
    found = json.loads((tmp_path / "leakage.json").read_text())
    assert (found["passed"], found["tests"][0]["limit"]) == (False, 0.1)


def test_a_test_set_may_have_a_limit_of_its_own(tmp_path: Path) -> None:
    run(tmp_path, "default=0.1", "wmt=1.0")
    found = json.loads((tmp_path / "leakage.json").read_text())
    assert (found["passed"], found["tests"][0]["limit"], found["overlaps"][0]["leaked"]) == (True, 1.0, 1)
    with pytest.raises(UserError, match=r"wmt: 1 of 2 rows \(50\.00%, at most 10\.00%\)"):
        run(tmp_path, "default=1.0", "wmt=0.1")


def test_a_training_table_and_a_test_set_are_judged_apart(tmp_path: Path) -> None:
    run(tmp_path, "default=0", "mt_grpo:wmt=0.5")
    found = json.loads((tmp_path / "leakage.json").read_text())
    assert (found["passed"], found["tests"][0]["leaked"]) == (True, 0)
    assert (found["overlaps"][0]["leaked"], found["overlaps"][0]["limit"]) == (1, 0.5)
    with pytest.raises(UserError, match=r"mt_grpo:wmt: 1 of 2 rows \(50\.00%, at most 10\.00%\)"):
        run(tmp_path, "default=0", "mt_grpo:wmt=0.1")


@pytest.mark.parametrize(
    ("limit", "words"),
    [
        ("wmt24=1", r"wmt24 is neither a test set \(wmt\) nor a training table \(mt_grpo\)"),
        ("mt_sft:wmt=1", r"mt_sft:wmt is neither"),
        ("wmt=2", "'2' is not a number"),
        ("1", "NAME=SHARE"),
    ],
)
def test_a_limit_that_cannot_be_meant_is_refused(tmp_path: Path, limit: str, words: str) -> None:
    with pytest.raises(UserError, match=words):
        run(tmp_path, limit)


def test_at_the_limit_the_script_passes_and_writes_both_files(tmp_path: Path) -> None:
    run(tmp_path, "default=0.5")
    assert json.loads((tmp_path / "leakage.json").read_text())["passed"] is True
    header, line = (tmp_path / "leakage.tsv").read_text().splitlines()
    assert dict(zip(header.split("\t"), line.split("\t"), strict=True)) == {
        "train": "mt_grpo",
        "test": "wmt",
        "rows": "2",
        "exact_source": "1",
        "near_source": "0",
        "exact_target": "0",
        "near_target": "0",
        "leaked": "1",
        "share": "0.5000",
    }


def test_a_table_without_texts_is_refused(tmp_path: Path) -> None:
    good = table(tmp_path / "good.parquet", [pair(RIVER, ZH_RIVER)])
    bad = table(tmp_path / "bad.parquet", [{"src_text": RIVER}])
    with pytest.raises(UserError, match=r"bad\.parquet: no column src_lang; found src_text"):
        check({"mt_grpo": bad}, {"wmt": good})
    with pytest.raises(UserError, match="no such file"):
        check({"mt_grpo": good}, {"wmt": tmp_path / "absent.parquet"})
