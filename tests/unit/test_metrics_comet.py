"""Translations of known quality, on which the tiny COMET is trained. The model itself: tests/integration."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from grrm.files import UserError
from grrm.metrics.comet import read_hparams
from grrm.metrics.tiny import degraded_references, join_words, split_words

PAIRS = [(f"s{i} t{i} u{i} v{i}", f"a{i} b{i} c{i} d{i}") for i in range(200)]


def test_each_pair_gives_as_many_translations_as_asked_for():
    rows = degraded_references(PAIRS[:3], 4, seed=0)
    assert [row["src"] for row in rows] == [source for source, _ in PAIRS[:3] for _ in range(4)]


def test_the_same_seed_gives_the_same_rows():
    assert degraded_references(PAIRS, 2, seed=1) == degraded_references(PAIRS, 2, seed=1)
    assert degraded_references(PAIRS, 2, seed=1) != degraded_references(PAIRS, 2, seed=2)


@pytest.mark.parametrize("pairs", [PAIRS, [("今天下雨", "雨がふる"), ("你好世界", "こんにちは")] * 50])
def test_the_score_is_one_exactly_for_the_reference_itself(pairs):
    rows = degraded_references(pairs, 3, seed=0)
    assert all((row["score"] == 1) == (row["mt"] == row["ref"]) for row in rows)
    assert all(0 <= row["score"] <= 1 for row in rows)


def test_all_qualities_occur_the_empty_translation_among_them():
    rows = degraded_references(PAIRS, 4, seed=0)
    assert {round(row["score"] * 4) for row in rows} == {0, 1, 2, 3, 4}
    assert {row["score"] for row in rows if not row["mt"]} == {0.0}
    assert sum(row["score"] == 1 for row in rows) > len(rows) / 10


@given(st.lists(st.text(alphabet="abcß", min_size=1), min_size=2))
def test_words_are_split_at_spaces(words):
    text = " ".join(words)
    assert split_words(text) == words
    assert join_words(words, like=text) == text


@given(st.text(alphabet="今天下雨", min_size=1))
def test_a_text_without_spaces_is_split_into_characters(text):
    assert join_words(split_words(text), like=text) == text
    assert len(split_words(text)) == len(text)


def test_a_folder_that_is_no_checkpoint_is_named(tmp_path):
    with pytest.raises(UserError, match=r"it lacks hparams\.yaml and checkpoints/model\.ckpt"):
        read_hparams(tmp_path)


def test_hyperparameters_without_a_class_are_refused(tmp_path):
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "checkpoints" / "model.ckpt").touch()
    (tmp_path / "hparams.yaml").write_text("loss: mse\n")
    with pytest.raises(UserError, match="no class_identifier"):
        read_hparams(tmp_path)
